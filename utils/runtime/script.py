"""How a script starts and ends: the process around its work."""

import codecs
import importlib.util
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from utils.runtime import settings

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "tqdm")
STOPPED = "Stopped. Nothing is written; the same command starts over."


def prepare(script: dict) -> None:
    """Set up the process of a script, by its `globals()`; end it before the long imports for
    --help, settings that are not allowed, and a Python without the packages."""
    mend_streams()
    set_environment()
    settings.read_settings(script)
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        python = Path(".venv", "Scripts" if os.name == "nt" else "bin", "python")
        sys.exit(
            f"error: this Python, {sys.executable}, has no {', '.join(missing)}; start the script "
            f"with {python}, which the first command of README.md makes"
        )


def set_environment() -> None:
    """What torch's OpenMP and matplotlib read when they are imported."""
    # How long threads wait awake for the others. GNU OpenMP's default, 300,000 rounds, makes a
    # step 20 times slower where another process keeps a core busy; 20,000 are as fast where none
    # does. The OpenMP of Intel and LLVM (macOS, Windows) counts in milliseconds, by default 200.
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"} & set(os.environ):
        os.environ.update(GOMP_SPINCOUNT="20000", KMP_BLOCKTIME="1")
    # Notebooks export a backend that scripts cannot use; figures do not depend on the user's file.
    os.environ.update(MPLBACKEND="agg", MATPLOTLIBRC=os.devnull)


class Outlet(io.FileIO):
    """A standard stream; where nobody reads it any more (a pager has ended, a terminal is gone,
    the log's disk is full), what is written to it is lost and the work goes on."""

    def write(self, data) -> int | None:
        try:
            return super().write(data)
        except OSError:
            _to_nowhere(self.fileno())
            return len(data)


def mend_streams() -> None:
    """Standard streams that can always be written to, in characters that they can show."""
    codecs.register_error("plain", _plain)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream, original = getattr(sys, name), getattr(sys, f"__{name}__")
        if stream is None and original is None:  # closed: no file opened later takes its place
            _to_nowhere(number)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
        elif number and isinstance(stream, io.TextIOWrapper):  # a notebook has others
            raw = getattr(stream.buffer, "raw", stream.buffer)
            if stream is original and isinstance(raw, io.FileIO):
                stream.flush()
                buffer = io.BufferedWriter(Outlet(number, "w", closefd=False))
                lines = stream.line_buffering or stream.write_through
                setattr(sys, name, io.TextIOWrapper(buffer, stream.encoding, "plain", None, lines))
            else:
                stream.reconfigure(errors="plain")


def _to_nowhere(number: int) -> None:
    """Make a file descriptor one of the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def _plain(error: UnicodeEncodeError) -> tuple[str, int]:
    """What a terminal cannot show, in signs that it can."""
    text = error.object[error.start : error.end].replace("±", "+-")
    return text.encode("ascii", "backslashreplace").decode(), error.end


def run(main: Callable[[], int | None], stopped: str = STOPPED):
    """Run main; the errors a user can cause or mend end it with one line, not a traceback."""
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"error: {error}")
    except (MemoryError, RuntimeError) as error:  # torch's allocators raise both
        if isinstance(error, RuntimeError) and not re.search("(?i)out of memory|alloc", str(error)):
            raise
        sys.exit("error: out of memory; a smaller BATCH_SIZE, WIDTH or TEST_IMAGES needs less")
    except KeyboardInterrupt:
        sys.exit(f"\n{stopped}")
