"""The constants at the top of a script are its settings, and its command line.

A constant is an upper-case name assigned on one line with a comment behind it:

    EPOCHS = None  # passes over the training images

becomes the flag --epochs with that comment as its help. None means: what SCALES, a dictionary
of the script, says for the chosen SCALE (or SETTINGS for the chosen SETTING), or what the comment
says.
"""

import argparse
import codecs
import contextlib
import io
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from utils import configurations

CONSTANT = re.compile(r"^([A-Z][A-Z0-9_]*) = [^{\n].*?  # (.+)$", re.MULTILINE)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Kind:
    """What a constant may be."""

    read: Callable[[str], object]  # a word of the command line
    check: Callable[[object], bool]
    text: str  # for whoever gives something else
    several: bool = False  # a list of distinct ones


def read_number(text: str) -> int | float:
    """A whole number where the text is one; Python's 1_0 and other scripts' digits are not."""
    if not NUMBER.fullmatch(text):
        raise ValueError(text)
    with contextlib.suppress(ValueError):
        return int(text)
    return float(text)


def whole(low: int, high: int) -> Kind:
    text = f"a whole number from {low} to {high}"
    return Kind(read_number, lambda x: type(x) is int and low <= x <= high, text)


def number(low: float, below: float, text: str) -> Kind:
    return Kind(read_number, lambda x: type(x) in (int, float) and low <= x < below, text)


def one_of(*choices: str) -> Kind:
    return Kind(str, lambda x: x in choices, "one of " + ", ".join(choices))


def word(check: Callable[[str], bool], text: str) -> Kind:
    return Kind(str, lambda x: type(x) is str and check(x), text)


def several(kind: Kind, text: str) -> Kind:
    """Distinct ones of a kind, at least one."""

    def check(values) -> bool:
        listed = isinstance(values, (list, tuple)) and len(values) > 0
        return listed and all(map(kind.check, values)) and len(set(values)) == len(values)

    return Kind(kind.read, check, text, several=True)


def _numbers(low: float, high: float) -> Kind:
    return several(
        number(low, math.nextafter(high, math.inf), ""),
        f"distinct numbers from {low:g} to {high:g}",
    )


def _is_configuration(name) -> bool:
    try:
        return bool(configurations.complete(name, SimpleNamespace(weight_decay=0, dropout=0)))
    except ValueError:
        return False


def _is_path(text: str, check: Callable[[Path], bool]) -> bool:
    try:
        return text != "" and text.isprintable() and check(Path(text).expanduser())
    except (OSError, RuntimeError):  # too long, closed; ~ of an unknown user
        return False


def _can_be_folder(path: Path) -> bool:
    while not path.exists():
        path = path.parent
    return path.is_dir()


FLAG = Kind(str, lambda x: type(x) is bool, "True or False")
NAME = word(lambda x: x.strip() != "" and x.isprintable(), "a name or a path")
FOLDER = word(lambda x: _is_path(x, Path.is_dir), "an existing folder")

ALLOWED = {
    "SCALE": one_of("quick", "medium", "full"),
    "DATASET": one_of("auto", "cifar10", "planted"),
    "IMAGE_SPECTRUM": one_of("natural", "whitened", "inverted"),
    "CONFIGURATIONS": several(
        Kind(str, _is_configuration, ""), f"distinct ones of: {configurations.ALLOWED}"
    ),
    "SEEDS": several(whole(0, 10**6), "distinct whole numbers from 0 to 1000000"),
    "EPOCHS": whole(1, 100_000),
    "WIDTH": whole(1, 1024),
    "TRAIN_IMAGES": whole(2, 10**7),
    "TEST_IMAGES": whole(1, 10**7),
    "BATCH_SIZE": whole(1, 10**6),
    "CHECKPOINT_EVERY": whole(1, 10**6),
    "LEARNING_RATE": number(1e-12, 1e6, "a number above 0, below 1e6"),
    "MOMENTUM": number(0, 1, "a number from 0 to below 1"),
    "WEIGHT_DECAY": number(0, 1e6, "a number of at least 0"),
    "DROPOUT": number(0, 1, "a probability from 0 to below 1"),
    "CUTOFF": number(0, math.sqrt(2) / 3, "a radius in cycles/pixel from 0 to below sqrt(2)/3"),
    "SETTING": one_of("demo", "rahaman"),
    "FREQUENCIES": several(whole(1, 10**6), "distinct whole numbers of cycles, at least 1"),
    "AMPLITUDES": Kind(
        read_number,
        lambda x: isinstance(x, (list, tuple)) and all(0 < a < 1e6 for a in x),
        "numbers above 0",
        several=True,
    ),
    "RANDOM_PHASES": FLAG,
    "INTERVAL": number(1e-6, 1e6, "a number above 0"),
    "GRID_POINTS": whole(4, 10**6),
    "TRAIN_POINTS": whole(1, 10**6),
    "STRENGTHS": _numbers(0, 1e6),
    "STEPS": whole(1, 10**8),
    "HIDDEN_LAYERS": whole(1, 100),
    "RECORDS": whole(1, 10**6),
    "RUN": word(lambda x: x not in ("", ".", ".."), "latest, or the name of a folder"),
    "TRAINING_FLAGS": word(lambda x: True, "flags of experiment B"),
    "SIGMAS": _numbers(0, 10),
    "CENTRES": _numbers(0.01, 0.7),
    "RESOLUTIONS": several(whole(1, 32), "distinct whole numbers of pixels from 1 to 32"),
    "BLUR_SIZES": several(
        Kind(read_number, lambda x: type(x) is int and (x == 0 or (x % 2 and 0 < x < 32)), ""),
        "distinct sizes: 0, or odd from 1 to 31 pixels",
    ),
    "LOW_PASS_CUTOFFS": _numbers(0, 0.75),
    "HIGH_PASS_CUTOFFS": _numbers(0, 0.7),
    "BAND_WIDTH": number(0.05, 1, "a number of cycles/pixel from 0.05 to below 1"),
    "BAND_NORM": number(0, 1e6, "a number of at least 0"),
    "MODE_NORM": number(0, 1e6, "a number of at least 0"),
    "HEATMAP_IMAGES": whole(1, 10**7),
    "SENSITIVITY_IMAGES": whole(1, 10**7),
    "CLIP": FLAG,
    "NOISE_SEED": whole(0, 10**6),
    "DEVICE": word(
        lambda x: re.fullmatch("auto|cpu|mps|cuda(:[0-9]+)?", x) is not None,
        "auto, cuda, cuda:1 (and so on), mps, cpu",
    ),
    "DATA_ROOT": FOLDER,
    "RESULTS_DIR": word(lambda x: _is_path(x, _can_be_folder), "a folder, made if needed"),
    "SAVE_REFERENCE": word(
        lambda x: re.fullmatch(r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]", x) is not None,
        "the name of a folder in results/reference",
    ),
    "REDRAW": FOLDER,
    "MODEL": NAME,
    "WEIGHTS": NAME,
    "COMPARE_WITH": NAME,
    "FOLDED": FLAG,
    "IMAGES": word(
        lambda x: x == "cifar10" or _is_path(x, Path.is_dir), "cifar10, or an existing folder"
    ),
    "IMAGE_COUNT": whole(1, 10_000),
}

# These may stay None; what it means then stands in the script.
MAY_BE_NONE = {"DATA_ROOT", "TEST_IMAGES", "HEATMAP_IMAGES", "SENSITIVITY_IMAGES"}
MAY_BE_NONE |= {"SAVE_REFERENCE", "REDRAW", "CONFIGURATIONS", "SEEDS", "IMAGES"}
# Constants that no label has to name: results say these in other ways, or do not depend on them.
NOT_NAMED = {"SCALE", "SETTING", "DATASET", "CONFIGURATIONS", "SEEDS", "DEVICE", "DATA_ROOT"}
NOT_NAMED |= {"RESULTS_DIR", "SAVE_REFERENCE", "REDRAW", "RUN", "TRAINING_FLAGS"}


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str):
        flags = ", ".join(a.option_strings[0] for a in self._actions)
        unknown = f"; allowed: {flags}" if "unrecognized" in message else ""
        shown = (c if c.isprintable() else repr(c)[1:-1] for c in message)
        message = "".join(shown)  # one line, also where an argument has several
        self.exit(2, f"error: {message}{unknown}\n")


def read_settings(
    script: dict, arguments: list[str] | None = None, recipe: dict | None = None
) -> SimpleNamespace:
    """Constants of a script, overridden by the command line, completed by SCALES, checked.

    Args:
        script: the script's `globals()`.
        arguments: command line, sys.argv by default.
        recipe: values of settings that are the same at every scale, to compare with.

    Returns the settings under their lower-case names, and as `changed` the names of those that
    differ from the recipe, the scale or the script. A setting that is not allowed ends the
    program with exit code 2 and one line.
    """
    comments = dict(CONSTANT.findall(Path(script["__file__"]).read_text("utf-8")))
    scales = script.get("SCALES") or script.get("SETTINGS") or {}
    parser = OneLineParser(
        description=script["__doc__"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, comment in comments.items():
        _add_flag(parser, name, script[name], comment, scales)
    given = vars(parser.parse_args(arguments))
    settings = SimpleNamespace(**{name.lower(): script[name] for name in comments} | given)

    chosen = getattr(settings, "scale", None) or getattr(settings, "setting", None)
    defaults = {n.lower(): script[n] for n in comments if script[n] is not None}
    defaults |= recipe or {}
    settings.changed = []
    complete(settings, defaults | scales.get(chosen, {}))
    for name in comments:
        value = getattr(settings, name.lower())
        if value is None and name in MAY_BE_NONE:
            continue
        if name in ALLOWED and not ALLOWED[name].check(value):
            refuse(name, value, ALLOWED[name].text)
    return settings


def complete(settings: SimpleNamespace, values: dict) -> None:
    """Give settings that are None their values; add to "changed" which others differ."""
    for name, value in values.items():
        found = getattr(settings, name)
        if found is None:
            setattr(settings, name, value)
        elif _tuple(found) != _tuple(value) and name.upper() not in NOT_NAMED:
            settings.changed.append(name)


def refuse(name: str, value, allowed: str) -> None:
    """End the program with exit code 2 and one line about a setting."""
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    sys.stderr.write(f"error: {name} (--{_flag(name)}) is {shown!r}; allowed: {allowed}\n")
    sys.exit(2)


def run_script(main: Callable[[], int | None], stopped: str = "Stopped."):
    """Run main; the errors a user can cause or mend end it with one line, not a traceback."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # notebooks have streams of their own
            stream.reconfigure(errors="plain")
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"error: {error}")
    except (MemoryError, RuntimeError) as error:
        if (
            not re.search("out of memory|alloc", str(error), re.IGNORECASE)
            and type(error) is RuntimeError
        ):
            raise
        sys.exit("error: out of memory; a smaller BATCH_SIZE, WIDTH or TEST_IMAGES needs less")
    except KeyboardInterrupt:
        sys.exit(f"\n{stopped}")


def _plain(error: UnicodeEncodeError) -> tuple[str, int]:
    """What a terminal cannot show, in signs that it can."""
    text = error.object[error.start : error.end].replace("±", "+-")
    return text.encode("ascii", "backslashreplace").decode(), error.end


def _tuple(value) -> tuple:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _flag(name: str) -> str:
    return name.lower().replace("_", "-")


def _add_flag(parser, name: str, default, comment: str, scales: dict) -> None:
    """One constant as a flag."""
    by_scale = {s: values[name.lower()] for s, values in scales.items() if name.lower() in values}
    shown = default
    if default is None and by_scale:
        shown = ", ".join(f"{scale} {value}" for scale, value in by_scale.items())
    kind = ALLOWED[name]

    def read(text: str):
        try:
            return kind.read(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}; allowed: {kind.text}") from None

    options = {"dest": name.lower(), "default": argparse.SUPPRESS}
    if kind is FLAG:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {"nargs": "+" if kind.several else None, "metavar": "X", "type": read}
    comment = f"{comment} (default: {shown})".replace("%", "%%")
    parser.add_argument("--" + _flag(name), help=comment, **options)
