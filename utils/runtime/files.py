"""Files that are never half written, locks, and warnings."""

import functools
import os
import secrets
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from tqdm import tqdm

try:
    import fcntl
except ImportError:  # Windows: no locks there
    fcntl = None

MARK = f".tmp-{socket.gethostname().replace('-', '_')}-"  # in the name of a temporary file


@contextmanager
def atomic_write(path: Path, strict: bool = False) -> Iterator[Path]:
    """Give a temporary name to write to; it becomes `path` once complete and on the disk.

    A reader of `path` sees the old file or the new one, also after a crash, and writers do not
    disturb each other. Errors are an OSError of one sentence; `strict` as in `rename`.
    """
    own = f"{MARK}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    temporary = path.with_name(f".{path.name}{own}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        rename(temporary, path, strict)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> OSError:
    return OSError(f"cannot write {path} ({error.strerror or error}); earlier results stay")


def rename(old: Path, new: Path, strict: bool = True) -> None:
    """Replace `new`; once more after a moment where Windows refuses, as virus scanners open files.

    Where it still refuses, because `new` is open in a viewer, `new` stays as it was: an error if
    strict, else a warning.
    """
    for seconds in (0.5, None):
        try:
            old.replace(new)
            return
        except PermissionError as error:
            if seconds:
                time.sleep(seconds)
            elif strict:
                raise
            else:
                warn(f"{new} stays as it was ({error.strerror}): is it open elsewhere?")


def remove_old_temporary_files(folder: Path) -> None:
    """Remove temporary files a day old, and those of this machine's processes that are gone."""
    for path in folder.glob(".*.tmp-*"):
        with suppress(OSError, ValueError, OverflowError):  # what cannot be removed is left
            _, ours, rest = path.name.partition(MARK)
            if time.time() - path.stat().st_mtime > 24 * 3600:
                path.unlink()
            elif ours and os.name != "nt":  # there, asking would end the process
                try:
                    os.kill(int(rest.split("-")[0]), 0)
                except ProcessLookupError:
                    path.unlink()


def lock(path: Path, wait: bool = False) -> IO:
    """Lock a file until it is closed or the process ends, in whatever way.

    Args:
        wait: until who holds it has finished; else an OSError says who does, and since when.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (stays open)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise OSError(f"{path.parent} is in use by {holder}") from None
    except OSError as error:  # network disks without locks say so in many ways
        warn_once(f"this disk has no locks ({error.strerror}); start nothing twice at once")
    file.truncate(0)
    now = datetime.now().astimezone()
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M:%S}\n")
    file.flush()
    return file


def warn(text: str) -> None:
    tqdm.write(f"warning: {text}", file=sys.stderr)


warn_once = functools.cache(warn)
