"""The constants at the top of a script are its settings, and its command line.

An upper-case name assigned between the import of this module and `if __name__ == "__main__"`,

    EPOCHS = None  # passes over the training images

becomes the flag --epochs, with the comment behind it as its help. None means: what SCALES (or
SETTINGS), a table of the script, says for the chosen SCALE (or SETTING). Elsewhere a constant may
be None if its comment says "None:" and what that means. A constant takes values of the type that
it has in the script, and of the range that RANGES gives it, if any.
"""

import argparse
import ast
import difflib
import io
import math
import numbers
import os
import re
import shlex
import sys
import tokenize
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from unicodedata import category

from utils import configurations

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
        for number in NUMBER if word.isascii() and "_" not in word else ():
            with suppress(ValueError):
                return number(word)
        if str in self.types:
            return word
        raise argparse.ArgumentTypeError(f"{word!r}; allowed: {self.text}")

    def allows(self, value) -> bool:
        try:
            return type(value) in self.types and bool(self.check(value))
        except (ValueError, OSError, RuntimeError):  # also: too long a path, ~ of an unknown user
            return False

    def wrong(self, value) -> list:
        """What of a value is not allowed: it, or some of its elements; [] where all is well."""
        if not self.several or not isinstance(value, list) or not value:
            return [] if not self.several and self.allows(value) else [value]
        doubles = value if "distinct" in self.text and len(set(value)) < len(value) else []
        return [x for x in value if not self.allows(x)] or doubles


def whole(low: int, high: int, several: bool = False) -> Kind:
    text = "a list of distinct whole numbers" if several else "a whole number"
    return Kind(f"{text} from {low} to {high}", range(low, high + 1).__contains__, (int,), several)


def number_list(low: float, high: float) -> Kind:
    text = f"a list of distinct numbers from {low:g} to {high:g}"
    return Kind(text, lambda x: low <= x <= high, NUMBER, several=True)


def one_of(*choices: str) -> Kind:
    return Kind("one of " + ", ".join(choices), choices.__contains__)


def _is_name(text: str) -> bool:
    """Neither empty nor with control characters or bytes that are no text."""
    return text.strip() != "" and not any(category(c) in ("Cc", "Cs") for c in text)


def _is_folder(text: str, made_if_needed: bool = False) -> bool:
    path = Path(text).expanduser()
    while made_if_needed and not path.exists():
        path = path.parent
    return _is_name(text) and path.is_dir()


COUNT, SIZES = whole(1, 10**8), {0, *range(1, 32, 2)}
POSITIVE = Kind("a number above 0, below 1e6", lambda x: 0 < x < 1e6, NUMBER)
FLAG = Kind("True or False", types=(bool,))
BY_TYPE = {  # what a constant without a range may be
    bool: FLAG,
    int: Kind("a whole number", types=(int,)),
    float: Kind("a number", math.isfinite, NUMBER),
    str: Kind("text"),
    type(None): Kind("a number or text", types=(*NUMBER, str)),
}
RANGES = {  # of the scripts' constants, as far as there is more to say than their type
    "DATASET": one_of("auto", "cifar10", "planted"),
    "IMAGE_SPECTRUM": one_of("natural", "whitened", "inverted"),
    "PRECISION": one_of("auto", "bfloat16", "float32"),
    "CONFIGURATIONS": Kind(
        f"a list of distinct ones of: {configurations.ALLOWED}",
        lambda x: configurations.canonical_name(x, SimpleNamespace(weight_decay=0, dropout=0)),
        several=True,
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
        "a list of distinct sizes: 0, or odd from 1 to 31", lambda x: x in SIZES, (int,), True
    ),
    "STRENGTHS": number_list(0, 1e6),
    "SIGMAS": number_list(0, 10),
    "CENTRES": number_list(0.01, 0.7),
    "LOW_PASS_CUTOFFS": number_list(0, 0.75),
    "HIGH_PASS_CUTOFFS": number_list(0, 0.7),
    "AMPLITUDES": replace(POSITIVE, text="a list of numbers above 0, below 1e6", several=True),
    "LEARNING_RATE INTERVAL": POSITIVE,
    "WEIGHT_DECAY BAND_NORM MODE_NORM": Kind(
        "a number of at least 0, below 1e6", lambda x: 0 <= x < 1e6, NUMBER
    ),
    "MOMENTUM DROPOUT": Kind("a number from 0 to below 1", lambda x: 0 <= x < 1, NUMBER),
    "BAND_WIDTH": Kind("cycles/pixel from 0.05 to below 1", lambda x: 0.05 <= x < 1, NUMBER),
    "CUTOFF": Kind("cycles/pixel from 0 to below sqrt(2)/3", lambda x: 0 <= x < 2**0.5 / 3, NUMBER),
    "RANDOM_PHASES CLIP FOLDED": FLAG,
    "TRAINING_FLAGS": Kind("flags of experiment B", lambda x: shlex.split(x) is not None),
    "RUN": Kind("latest, or the name of a folder", lambda x: x not in ("", ".", "..")),
    "MODEL WEIGHTS COMPARE_WITH": Kind("a name or a path", _is_name),
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
RANGES = {name: kind for names, kind in RANGES.items() for name in names.split()}

# Constants that no label has to name: results say these in other ways, or do not depend on them.
NOT_NAMED = {"SCALE", "SETTING", "DATASET", "CONFIGURATIONS", "SEEDS", "DEVICE", "PRECISION"}
NOT_NAMED |= {"DATA_ROOT", "RESULTS_DIR", "SAVE_REFERENCE", "REDRAW", "RUN", "TRAINING_FLAGS"}


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str):
        if "unrecognized" in message:
            flags = [flag for action in self._actions for flag in action.option_strings]
            words = [word.split("=")[0] for word in message.split() if word[0] in "-\u2013\u2014"]
            near = [difflib.get_close_matches(f"--{w.strip(w[0])}".lower(), flags) for w in words]
            meant = ", ".join(found[0] for found in near if found)
            shown = [action.option_strings[0] for action in self._actions[1:]]  # without --help
            hint = f"did you mean {meant}?" if meant else f"allowed: {', '.join(shown)}"
            message = f"{message}; {hint}"
        shown = (c if c.isprintable() else repr(c)[1:-1] for c in message)  # one line, always
        self.exit(2, f"error: {''.join(shown)}\n")


def find_constants(script: dict) -> dict[str, str]:
    """Names of a script's constants, in their order, and the comments behind them.

    Args:
        script: the script's `globals()`.
    """
    with tokenize.open(script["__file__"]) as file:
        source = file.read()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found, begun = {}, False
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            break
        if isinstance(node, ast.ImportFrom) and node.module == __name__.rpartition(".")[0]:
            begun = True
        if not begun or not isinstance(node, (ast.Assign, ast.AnnAssign)):
            continue
        comment = comments.get(node.lineno) or comments.get(node.end_lineno, "")
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for part in (part for target in targets for part in ast.walk(target)):
            name = getattr(part, "id", "")
            if name.isupper() and not isinstance(script.get(name, {}), dict):  # SCALES is a table
                found[name] = comment
    return found


def plain(value):
    """The value as Python's own bool, int, float, str or list where it is another library's."""
    if hasattr(value, "tolist"):  # numpy's and torch's
        value = value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(element) for element in value]
    return value


def kind_of(name: str, value, scales: dict) -> Kind | None:
    """What a constant may be, by RANGES, else by its value in the script; None: no setting.

    Args:
        value: plain; where it is None, the first of `scales`, a table by name and scale, counts.
    """
    if name in RANGES:
        return RANGES[name]
    if name in ("SCALE", "SETTING"):
        return one_of(*next(iter(scales.values())))
    value = (
        plain(next(iter(scales.get(name.lower(), {}).values()), None)) if value is None else value
    )
    several = isinstance(value, list) and value != []
    found = BY_TYPE.get(type(value[0] if several else value))
    if found and several:
        return replace(found, text=f"a list; each {found.text}", several=True)
    return found


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
    comments = find_constants(script)
    constants = {name.lower(): plain(script[name]) for name in comments}
    scales = script.get("SCALES") or script.get("SETTINGS") or {}
    kinds = {name: kind_of(name, constants[name.lower()], scales) for name in comments}
    kinds = {name: kind for name, kind in kinds.items() if kind}
    parser = OneLineParser(
        description=script["__doc__"],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, kind in kinds.items():
        default = script[name]
        if default is None and name.lower() in scales:
            default = ", ".join(f"{scale} {v}" for scale, v in scales[name.lower()].items())
        default = "none" if isinstance(default, str) and default == "" else default
        options = {"nargs": "+" if kind.several else None, "metavar": "X", "type": kind.read}
        if kind is FLAG:
            options = {"action": argparse.BooleanOptionalAction}
        options["help"] = f"{comments[name]} (default: {default})".replace("%", "%%")
        parser.add_argument(_flag(name), dest=name.lower(), default=argparse.SUPPRESS, **options)
    given = vars(parser.parse_args(arguments))
    settings = SimpleNamespace(**constants | given, changed=[])
    compared = constants | {k: v for k, v in (recipe or {}).items() if k in constants}
    fill_from_scale(settings, {name: v for name, v in compared.items() if v is not None})
    if chosen := constants.keys() & {"scale", "setting"}:
        fill_from_scale(settings, scales, getattr(settings, *chosen))
    for name, kind in kinds.items():
        value = getattr(settings, name.lower())
        wrong = [] if value is None and "None:" in comments[name] else kind.wrong(value)
        if wrong:
            refuse(name, wrong, kind.text)
        if name in ("REDRAW", "RESULTS_DIR") and value:
            setattr(settings, name.lower(), str(Path(value).expanduser()))
    return settings


def fill_from_scale(settings: SimpleNamespace, values: dict, scale: str | None = None) -> None:
    """Give settings that are None their values; add to "changed" which others differ.

    Args:
        values: by name; with a scale, dictionaries by scale.
    """
    for name, value in values.items():
        value, found = plain(value.get(scale) if scale else value), getattr(settings, name)
        if found is None:
            setattr(settings, name, value)
        elif found != value and name.upper() not in NOT_NAMED:
            settings.changed.append(name)


def refuse(name: str, wrong: Sequence, allowed: str) -> None:
    """End the program with exit code 2 and one line about what is wrong of a setting."""
    shown = wrong[0] if len(wrong) == 1 else " ".join(map(str, wrong))
    sys.stderr.write(f"error: {name} ({_flag(name)}) is {shown!r}; allowed: {allowed}\n")
    sys.exit(2)


def _flag(name: str) -> str:
    return "--" + name.lower().replace("_", "-")
