"""The constants at the top of a script are its settings, and its command line.

An upper-case name assigned on one line with a comment behind it,

    EPOCHS = None  # passes over the training images

becomes the flag --epochs with that comment as its help. None means: what SCALES (or SETTINGS), a
table of the script, says for the chosen SCALE (or SETTING). Elsewhere a constant may be None if its
comment says "None:" and what that means.
"""

import argparse
import codecs
import io
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from utils import configurations

CONSTANT = re.compile(r"^([A-Z][A-Z0-9_]*) = [^{\n].*?  # (.+)$", re.MULTILINE)
NUMBER = (int, float)


@dataclass(frozen=True)
class Kind:
    """What a constant may be."""

    text: str  # for whoever gives something else
    check: Callable[[object], bool] = lambda value: True  # or an error where it is not allowed
    types: tuple[type, ...] = (str,)
    several: bool = False  # a list; of distinct ones where the text says so

    def read(self, word: str) -> str | int | float:
        """A word of the command line; Python's 1_0 and other scripts' digits are no numbers."""
        if int not in self.types:
            return word
        for number in (int, float) if word.isascii() and "_" not in word else ():
            with suppress(ValueError):
                return number(word)
        raise argparse.ArgumentTypeError(f"{word!r}; allowed: {self.text}")

    def allows(self, value) -> bool:
        values = value if self.several else [value]
        if not isinstance(values, (list, tuple)) or len(values) == 0:
            return False
        try:
            fit = all(type(x) in self.types and self.check(x) for x in values)
        except (ValueError, OSError, RuntimeError):  # also: too long a path, ~ of an unknown user
            return False
        return fit and ("distinct" not in self.text or len(set(values)) == len(values))


def whole(low: int, high: int, several: bool = False) -> Kind:
    text = "distinct whole numbers" if several else "a whole number"
    return Kind(f"{text} from {low} to {high}", range(low, high + 1).__contains__, (int,), several)


def numbers(low: float, high: float) -> Kind:
    text = f"distinct numbers from {low:g} to {high:g}"
    return Kind(text, lambda x: low <= x <= high, NUMBER, several=True)


def one_of(*choices: str) -> Kind:
    return Kind("one of " + ", ".join(choices), choices.__contains__)


def _is_configuration(name: str) -> bool:
    return configurations.complete(name, SimpleNamespace(weight_decay=0, dropout=0)) != ""


def _is_folder(text: str, made_if_needed: bool = False) -> bool:
    path = Path(text).expanduser()
    while made_if_needed and not path.exists():
        path = path.parent
    return text != "" and text.isprintable() and path.is_dir()


COUNT = whole(1, 10**8)
FLAG = Kind("True or False", types=(bool,))
KINDS = {  # of every constant of the scripts
    "SCALE": one_of("quick", "medium", "full"),
    "SETTING": one_of("demo", "rahaman"),
    "DATASET": one_of("auto", "cifar10", "planted"),
    "IMAGE_SPECTRUM": one_of("natural", "whitened", "inverted"),
    "CONFIGURATIONS": Kind(
        f"distinct ones of: {configurations.ALLOWED}", _is_configuration, several=True
    ),
    "EPOCHS STEPS BATCH_SIZE CHECKPOINT_EVERY RECORDS TRAIN_POINTS": COUNT,
    "TEST_IMAGES HEATMAP_IMAGES SENSITIVITY_IMAGES IMAGE_COUNT": COUNT,
    "TRAIN_IMAGES": whole(2, 10**8),
    "WIDTH": whole(1, 1024),
    "HIDDEN_LAYERS": whole(1, 100),
    "GRID_POINTS": whole(4, 10**8),
    "NOISE_SEED": whole(0, 10**6),
    "SEEDS": whole(0, 10**6, several=True),
    "FREQUENCIES": whole(1, 10**6, several=True),
    "RESOLUTIONS": whole(1, 32, several=True),
    "BLUR_SIZES": Kind(
        "distinct sizes: 0, or odd from 1 to 31", {0, *range(1, 32, 2)}.__contains__, (int,), True
    ),
    "STRENGTHS": numbers(0, 1e6),
    "SIGMAS": numbers(0, 10),
    "CENTRES": numbers(0.01, 0.7),
    "LOW_PASS_CUTOFFS": numbers(0, 0.75),
    "HIGH_PASS_CUTOFFS": numbers(0, 0.7),
    "AMPLITUDES": Kind("numbers above 0, below 1e6", lambda x: 0 < x < 1e6, NUMBER, several=True),
    "LEARNING_RATE INTERVAL": Kind("a number above 0, below 1e6", lambda x: 0 < x < 1e6, NUMBER),
    "WEIGHT_DECAY BAND_NORM MODE_NORM": Kind(
        "a number of at least 0, below 1e6", lambda x: 0 <= x < 1e6, NUMBER
    ),
    "MOMENTUM DROPOUT": Kind("a number from 0 to below 1", lambda x: 0 <= x < 1, NUMBER),
    "BAND_WIDTH": Kind("cycles/pixel from 0.05 to below 1", lambda x: 0.05 <= x < 1, NUMBER),
    "CUTOFF": Kind("cycles/pixel from 0 to below sqrt(2)/3", lambda x: 0 <= x < 2**0.5 / 3, NUMBER),
    "RANDOM_PHASES CLIP FOLDED": FLAG,
    "TRAINING_FLAGS": Kind("flags of experiment B", lambda x: shlex.split(x) is not None),
    "RUN": Kind("latest, or the name of a folder", lambda x: x not in ("", ".", "..")),
    "WEIGHTS COMPARE_WITH PART": Kind(
        "a name or a path", lambda x: x.strip() != "" and x.isprintable()
    ),
    "MODEL": Kind("names or paths", lambda x: x.strip() != "" and x.isprintable(), several=True),
    "MODES": whole(1, 1024),
    "PRECISION": one_of("auto", "bfloat16", "float32"),
    "DEVICE": Kind(
        "auto, cuda, cuda:1 (and so on), mps, cpu",
        re.compile("auto|cpu|mps|cuda(:[0-9]+)?").fullmatch,
    ),
    "SAVE_REFERENCE": Kind(
        "the name of a folder", re.compile("[A-Za-z0-9_.-]*[A-Za-z0-9_-]").fullmatch
    ),
    "DATA_ROOT REDRAW": Kind("an existing folder", _is_folder),
    "RESULTS_DIR": Kind("a folder, made if needed", lambda x: _is_folder(x, made_if_needed=True)),
    "IMAGES": Kind("cifar10, or an existing folder", lambda x: x == "cifar10" or _is_folder(x)),
}
ALLOWED = {name: kind for names, kind in KINDS.items() for name in names.split()}

# Constants that no label has to name: results say these in other ways, or do not depend on them.
NOT_NAMED = {
    "SCALE",
    "SETTING",
    "DATASET",
    "CONFIGURATIONS",
    "SEEDS",
    "DEVICE",
    "DATA_ROOT",
    "PRECISION",
}
NOT_NAMED |= {"RESULTS_DIR", "SAVE_REFERENCE", "REDRAW", "RUN", "TRAINING_FLAGS"}


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str):
        if "unrecognized" in message:
            flags = ", ".join(action.option_strings[0] for action in self._actions)
            message = f"{message}; allowed: {flags}"
        shown = (c if c.isprintable() else repr(c)[1:-1] for c in message)  # one line, always
        self.exit(2, f"error: {''.join(shown)}\n")


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
        kind, default = ALLOWED[name], script[name]
        if default is None and name.lower() in scales:
            default = ", ".join(f"{scale} {v}" for scale, v in scales[name.lower()].items())
        default = "none" if default == "" else default
        options = {"nargs": "+" if kind.several else None, "metavar": "X", "type": kind.read}
        if kind is FLAG:
            options = {"action": argparse.BooleanOptionalAction}
        options["help"] = f"{comment} (default: {default})".replace("%", "%%")
        parser.add_argument(_flag(name), dest=name.lower(), default=argparse.SUPPRESS, **options)
    given = vars(parser.parse_args(arguments))
    settings = SimpleNamespace(**constants | given, changed=[])
    compared = constants | {k: v for k, v in (recipe or {}).items() if k in constants}
    complete(settings, {name: value for name, value in compared.items() if value is not None})
    if chosen := constants.keys() & {"scale", "setting"}:
        complete(settings, scales, getattr(settings, *chosen))
    for name, comment in comments.items():
        value = getattr(settings, name.lower())
        if not (value is None and "None:" in comment or ALLOWED[name].allows(value)):
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
        one, other = (tuple(x) if isinstance(x, list) else x for x in (found, value))
        if found is None:
            setattr(settings, name, value)
        elif one != other and name.upper() not in NOT_NAMED:
            settings.changed.append(name)


def refuse(name: str, value, allowed: str) -> None:
    """End the program with exit code 2 and one line about a setting."""
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    sys.stderr.write(f"error: {name} ({_flag(name)}) is {shown!r}; allowed: {allowed}\n")
    sys.exit(2)


def _flag(name: str) -> str:
    return "--" + name.lower().replace("_", "-")


STOPPED = "Stopped. Nothing is written; the same command starts over."


def run_script(main: Callable[[], int | None], stopped: str = STOPPED):
    """Run main; the errors a user can cause or mend end it with one line, not a traceback."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook has others
            stream.reconfigure(errors="plain")
    try:
        sys.exit(main())
    except OSError as error:
        sys.exit(f"error: {error}")
    except (MemoryError, RuntimeError) as error:  # torch's allocators raise both
        short = re.search("out of memory|alloc", str(error), re.IGNORECASE)
        if not (short or isinstance(error, MemoryError)):
            raise
        sys.exit("error: out of memory; a smaller BATCH_SIZE, WIDTH or TEST_IMAGES needs less")
    except KeyboardInterrupt:
        sys.exit(f"\n{stopped}")


def _plain(error: UnicodeEncodeError) -> tuple[str, int]:
    """What a terminal cannot show, in signs that it can."""
    text = error.object[error.start : error.end].replace("±", "+-")
    return text.encode("ascii", "backslashreplace").decode(), error.end
