"""The constants at the top of a script are its settings, and its command line.

A constant is an upper-case name assigned on one line with a comment behind it:

    EPOCHS = None  # passes over the training images

becomes the flag --epochs with that comment as its help. None means: what SCALES (or SETTINGS), a
table of the script, says for the chosen SCALE (or SETTING), or what the comment says.
"""

import argparse
import codecs
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
DIGITS = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan", re.ASCII | re.IGNORECASE)
NUMBER = (int, float)


@dataclass(frozen=True)
class Kind:
    """What a constant may be."""

    text: str  # for whoever gives something else
    types: tuple[type, ...] = (str,)
    check: Callable[[object], bool] = lambda value: True
    several: bool = False  # a list of them
    distinct: bool = True

    def read(self, word: str) -> str | int | float:
        """A word of the command line; Python's 1_0 and other scripts' digits are no numbers."""
        if int not in self.types:
            return word
        if not DIGITS.fullmatch(word):
            raise argparse.ArgumentTypeError(f"{word!r}; allowed: {self.text}")
        try:
            return int(word)
        except ValueError:
            return float(word)

    def allows(self, value) -> bool:
        values = value if self.several else (value,)
        if not isinstance(values, (list, tuple)) or len(values) == 0:
            return False
        fit = all(type(x) in self.types and self.check(x) for x in values)
        return fit and (not self.distinct or len(set(values)) == len(values))


def whole(low: int, high: int, several: bool = False) -> Kind:
    text = "distinct whole numbers" if several else "a whole number"
    return Kind(f"{text} from {low} to {high}", (int,), lambda x: low <= x <= high, several)


def numbers(low: float, high: float) -> Kind:
    text = f"distinct numbers from {low:g} to {high:g}"
    return Kind(text, NUMBER, lambda x: low <= x <= high, several=True)


def one_of(*choices: str) -> Kind:
    return Kind("one of " + ", ".join(choices), (str,), lambda x: x in choices)


def matching(pattern: str, text: str) -> Kind:
    return Kind(text, (str,), lambda x: re.fullmatch(pattern, x) is not None)


def _is_configuration(name: str) -> bool:
    try:
        return bool(configurations.complete(name, SimpleNamespace(weight_decay=0, dropout=0)))
    except ValueError:
        return False


def _is_folder(text: str, made_if_needed: bool = False) -> bool:
    try:
        path = Path(text).expanduser()
        while made_if_needed and not path.exists():
            path = path.parent
        return text != "" and text.isprintable() and path.is_dir()
    except (OSError, RuntimeError):  # too long, closed; ~ of an unknown user
        return False


FLAG = Kind("True or False", (bool,))
NAME = Kind("a name or a path", (str,), lambda x: x.strip() != "" and x.isprintable())
FOLDER = Kind("an existing folder", (str,), _is_folder)

ALLOWED = {
    "SCALE": one_of("quick", "medium", "full"),
    "DATASET": one_of("auto", "cifar10", "planted"),
    "IMAGE_SPECTRUM": one_of("natural", "whitened", "inverted"),
    "CONFIGURATIONS": Kind(
        f"distinct ones of: {configurations.ALLOWED}", (str,), _is_configuration, several=True
    ),
    "SEEDS": whole(0, 10**6, several=True),
    "EPOCHS": whole(1, 100_000),
    "WIDTH": whole(1, 1024),
    "TRAIN_IMAGES": whole(2, 10**7),
    "TEST_IMAGES": whole(1, 10**7),
    "BATCH_SIZE": whole(1, 10**6),
    "CHECKPOINT_EVERY": whole(1, 10**6),
    "LEARNING_RATE": Kind("a number above 0, below 1e6", NUMBER, lambda x: 0 < x < 1e6),
    "MOMENTUM": Kind("a number from 0 to below 1", NUMBER, lambda x: 0 <= x < 1),
    "WEIGHT_DECAY": Kind("a number of at least 0", NUMBER, lambda x: 0 <= x < 1e6),
    "DROPOUT": Kind("a probability from 0 to below 1", NUMBER, lambda x: 0 <= x < 1),
    "CUTOFF": Kind(
        "a radius in cycles/pixel from 0 to below sqrt(2)/3",
        NUMBER,
        lambda x: 0 <= x < math.sqrt(2) / 3,
    ),
    "SETTING": one_of("demo", "rahaman"),
    "FREQUENCIES": whole(1, 10**6, several=True),
    "AMPLITUDES": Kind(
        "numbers above 0", NUMBER, lambda x: 0 < x < 1e6, several=True, distinct=False
    ),
    "RANDOM_PHASES": FLAG,
    "INTERVAL": Kind("a number above 0", NUMBER, lambda x: 0 < x < 1e6),
    "GRID_POINTS": whole(4, 10**6),
    "TRAIN_POINTS": whole(1, 10**6),
    "STRENGTHS": numbers(0, 1e6),
    "STEPS": whole(1, 10**8),
    "HIDDEN_LAYERS": whole(1, 100),
    "RECORDS": whole(1, 10**6),
    "RUN": matching(r"(?!\.{0,2}$).*", "latest, or the name of a folder"),
    "TRAINING_FLAGS": Kind("flags of experiment B"),
    "SIGMAS": numbers(0, 10),
    "CENTRES": numbers(0.01, 0.7),
    "RESOLUTIONS": whole(1, 32, several=True),
    "BLUR_SIZES": Kind(
        "distinct sizes: 0, or odd from 1 to 31 pixels",
        (int,),
        lambda x: x == 0 or (x % 2 == 1 and 0 < x < 32),
        several=True,
    ),
    "LOW_PASS_CUTOFFS": numbers(0, 0.75),
    "HIGH_PASS_CUTOFFS": numbers(0, 0.7),
    "BAND_WIDTH": Kind("cycles/pixel from 0.05 to below 1", NUMBER, lambda x: 0.05 <= x < 1),
    "BAND_NORM": Kind("a number of at least 0", NUMBER, lambda x: 0 <= x < 1e6),
    "MODE_NORM": Kind("a number of at least 0", NUMBER, lambda x: 0 <= x < 1e6),
    "HEATMAP_IMAGES": whole(1, 10**7),
    "SENSITIVITY_IMAGES": whole(1, 10**7),
    "CLIP": FLAG,
    "NOISE_SEED": whole(0, 10**6),
    "DEVICE": matching("auto|cpu|mps|cuda(:[0-9]+)?", "auto, cuda, cuda:1 (and so on), mps, cpu"),
    "DATA_ROOT": FOLDER,
    "RESULTS_DIR": Kind("a folder, made if needed", (str,), lambda x: _is_folder(x, True)),
    "SAVE_REFERENCE": matching(
        r"[A-Za-z0-9_.-]*[A-Za-z0-9_-]", "the name of a folder in results/reference"
    ),
    "REDRAW": FOLDER,
    "MODEL": NAME,
    "WEIGHTS": NAME,
    "COMPARE_WITH": NAME,
    "FOLDED": FLAG,
    "IMAGES": Kind(
        "cifar10, or an existing folder", (str,), lambda x: x == "cifar10" or _is_folder(x)
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
    constants = {name.lower(): script[name] for name in comments}
    scales = script.get("SCALES") or script.get("SETTINGS") or {}
    parser = OneLineParser(
        description=script["__doc__"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, comment in comments.items():
        _add_flag(parser, name, comment, script[name], scales.get(name.lower(), {}))
    given = vars(parser.parse_args(arguments))
    settings = SimpleNamespace(**constants | given, changed=[])
    compared = constants | {k: v for k, v in (recipe or {}).items() if k in constants}
    complete(settings, {name: value for name, value in compared.items() if value is not None})
    if chosen := constants.keys() & {"scale", "setting"}:
        complete(settings, scales, getattr(settings, *chosen))
    for name in comments:
        value = getattr(settings, name.lower())
        if not (value is None and name in MAY_BE_NONE or ALLOWED[name].allows(value)):
            refuse(name, value, ALLOWED[name].text)
        if name in ("REDRAW", "RESULTS_DIR") and value:
            setattr(settings, name.lower(), str(Path(value).expanduser()))
    return settings


def complete(settings: SimpleNamespace, values: dict, scale: str | None = None) -> None:
    """Give settings that are None their values; add to "changed" which others differ.

    Args:
        values: by name; with a scale, dictionaries by scale.
    """
    for name, value in values.items():
        value, found = value.get(scale) if scale else value, getattr(settings, name)
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
        if isinstance(stream, io.TextIOWrapper):  # a notebook has others
            stream.reconfigure(errors="plain")
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"error: {error}")
    except (MemoryError, RuntimeError) as error:
        if not re.search("out of memory|allocate", str(error)) and type(error) is RuntimeError:
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


def _add_flag(parser, name: str, comment: str, default, by_scale: dict) -> None:
    """One constant as a flag."""
    kind, options = ALLOWED[name], {"dest": name.lower(), "default": argparse.SUPPRESS}
    if default is None and by_scale:
        default = ", ".join(f"{scale} {value}" for scale, value in by_scale.items())
    if kind is FLAG:
        options["action"] = argparse.BooleanOptionalAction
    else:
        options |= {"nargs": "+" if kind.several else None, "metavar": "X", "type": kind.read}
    comment = f"{comment} (default: {'none' if default in ('', None) else default})"
    parser.add_argument("--" + _flag(name), help=comment.replace("%", "%%"), **options)
