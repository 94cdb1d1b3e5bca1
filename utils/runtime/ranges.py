"""What a script's constants may be: a table of ranges, and else the type of their value."""

import math
import re
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unicodedata import category

from utils.configurations import ALLOWED, canonical_name

NUMBER = (int, float)


@dataclass(frozen=True)
class Kind:
    """What a constant may be."""

    text: str  # for whoever gives something else
    check: Callable[[object], object] = lambda value: True  # what is false, or an error, is refused
    types: tuple[type, ...] = (str,)
    several: bool = False  # a list
    distinct: bool = False  # a list without doubles

    def read(self, word: str) -> str | int | float:
        """A word of the command line, as a number if it is one; 1_0 and other scripts' are not."""
        for type_ in self.types if word.isascii() and "_" not in word else ():
            with suppress(ValueError):
                return type_(word)
        return word

    def wrong(self, value) -> list:
        """What of a value is not allowed: it, or some of its elements; [] where all is well."""
        if self.several and (not isinstance(value, list) or not value):
            return [value]
        values, wrong = value if self.several else [value], []
        for one in values:
            try:
                allowed = type(one) in self.types and self.check(one)
            except (ValueError, OSError, RuntimeError):  # too long a path, ~ of an unknown user
                allowed = False
            wrong += [] if allowed else [one]
        return wrong or (value if self.distinct and len(set(value)) < len(value) else [])


def several(kind: Kind, distinct: bool = True) -> Kind:
    text = f"a list of {'distinct ones' if distinct else 'some'}, each {kind.text}"
    return replace(kind, text=text, several=True, distinct=distinct)


def whole(low: int, high: int) -> Kind:
    return Kind(f"a whole number from {low} to {high}", range(low, high + 1).__contains__, (int,))


def number(low: float, high: float) -> Kind:
    return Kind(f"a number from {low:g} to {high:g}", lambda x: low <= x <= high, NUMBER)


def one_of(*choices) -> Kind:
    types = tuple({type(x) for x in choices})
    return Kind(f"one of {', '.join(map(str, choices))}", choices.__contains__, types)


def _is_name(text: str) -> bool:
    """Neither empty nor with control characters or bytes that are no text."""
    return text.strip() != "" and not any(category(c) in ("Cc", "Cs") for c in text)


def _is_folder(text: str, made_if_needed: bool = False) -> bool:
    path = Path(text).expanduser()
    while made_if_needed and not path.exists():
        path = path.parent
    return _is_name(text) and path.is_dir()


BY_TYPE = {  # what a constant without a range may be
    bool: Kind("True or False", types=(bool,)),
    int: Kind("a whole number", types=(int,)),
    float: Kind("a number", math.isfinite, NUMBER),
    str: Kind("a name or a path", _is_name),
    type(None): Kind("a number or text", types=(*NUMBER, str)),
}
STRENGTHS = SimpleNamespace(weight_decay=0, dropout=0)  # allowed ones, as a name may have none
DEVICES = re.compile("auto|cpu|mps|cuda(:[0-9]+)?")
RANGES = {  # of the scripts' constants, as far as there is more to say than their type
    "DATASET": one_of("auto", "cifar10", "planted"),
    "IMAGE_SPECTRUM": one_of("natural", "whitened", "inverted"),
    "PRECISION": one_of("auto", "bfloat16", "float32"),
    "FIGURE_FORMAT": one_of("png", "pdf", "svg"),
    "EPOCHS STEPS BATCH_SIZE CHECKPOINT_EVERY RECORDS TRAIN_POINTS": whole(1, 10**8),
    "TEST_IMAGES HEATMAP_IMAGES SENSITIVITY_IMAGES IMAGE_COUNT": whole(1, 10**8),
    "TRAIN_IMAGES": whole(2, 10**8),
    "WIDTH MODES": whole(1, 1024),
    "HIDDEN_LAYERS": whole(1, 100),
    "GRID_POINTS": whole(4, 10**8),
    "NOISE_SEED": whole(0, 10**6),
    "SEEDS": several(whole(0, 10**6)),
    "FREQUENCIES": several(whole(1, 10**6)),
    "RESOLUTIONS": several(whole(1, 32)),
    "BLUR_SIZES": several(one_of(0, *range(1, 32, 2))),
    "STRENGTHS": several(number(0, 1e6)),
    "SIGMAS": several(number(0, 10)),
    "CENTRES": several(number(0.01, 0.7)),
    "LOW_PASS_CUTOFFS": several(number(0, 0.75)),
    "HIGH_PASS_CUTOFFS": several(number(0, 0.7)),
    "AMPLITUDES": several(number(1e-6, 1e6), distinct=False),
    "LEARNING_RATE INTERVAL": number(1e-9, 1e6),
    "WEIGHT_DECAY BAND_NORM MODE_NORM": number(0, 1e6),
    "MOMENTUM DROPOUT": number(0, 0.9999),
    "BAND_WIDTH": number(0.05, 0.9999),
    "CUTOFF": number(0, 0.47),  # cycles/pixel; the highest radius of a 3x3 kernel is 0.4714
    "CONFIGURATIONS": several(Kind(ALLOWED, lambda x: canonical_name(x, STRENGTHS))),
    "TRAINING_FLAGS": Kind("flags of experiment B", lambda x: shlex.split(x) is not None),
    "RUN": Kind("latest, or the name of a folder", lambda x: x not in ("", ".", "..")),
    "DEVICE": Kind("auto, cuda, cuda:1 (and so on), mps, cpu", DEVICES.fullmatch),
    "MODEL": several(BY_TYPE[str]),
    "RANDOM_PHASES CLIP FOLDED": BY_TYPE[bool],
    "WEIGHTS COMPARE_WITH PART": BY_TYPE[str],
    "DATA_ROOT REDRAW": Kind("an existing folder", _is_folder),
    "RESULTS_DIR": Kind("a folder, made if needed", partial(_is_folder, made_if_needed=True)),
    "IMAGES": Kind("cifar10, or an existing folder", lambda x: x == "cifar10" or _is_folder(x)),
}
RANGES = {name: kind for names, kind in RANGES.items() for name in names.split()}


def kind_of(name: str, value) -> Kind | None:
    """What a constant may be, by RANGES, else by its value in the script; None: no setting."""
    if name in RANGES or not isinstance(value, list) or not value:
        return RANGES.get(name) or BY_TYPE.get(type(value))
    one = BY_TYPE.get(type(value[0])) if not isinstance(value[0], bool) else None
    return one and several(one, distinct=False)
