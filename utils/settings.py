"""The constants at the top of a script are its settings, and its command line.

A constant is an upper-case name assigned on one line with a comment behind it:

    EPOCHS = None  # passes over the training images

becomes the flag --epochs with that comment as its help. None means: what SCALES, a dictionary
of the script, says for the chosen SCALE (or SETTINGS for the chosen SETTING).
"""

import argparse
import contextlib
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch

CONSTANT = re.compile(r"^([A-Z][A-Z0-9_]*) = [^{\n].*?  # (.+)$", re.MULTILINE)


def whole(low: int, high: int) -> tuple[Callable, str]:
    def check(x) -> bool:
        return type(x) is int and low <= x <= high

    return check, f"a whole number from {low} to {high}"


def number(low: float, below: float, text: str) -> tuple[Callable, str]:
    def check(x) -> bool:
        return type(x) in (int, float) and low <= x < below

    return check, text


def one_of(*choices: str) -> tuple[Callable, str]:
    return lambda x: x in choices, "one of " + ", ".join(choices)


def some_of(*choices: str) -> tuple[Callable, str]:
    return _distinct(lambda x: x in choices), "some of " + ", ".join(choices)


def _distinct(check: Callable) -> Callable:
    def all_distinct(values):
        return (
            isinstance(values, (list, tuple))
            and 0 < len(values) == len(set(values))
            and all(map(check, values))
        )

    return all_distinct


def _numbers(low: float, high: float) -> tuple[Callable, str]:
    check = _distinct(lambda x: type(x) in (int, float) and low <= x <= high)
    return check, f"distinct numbers from {low:g} to {high:g}"


def _is_path(text, check: Callable[[Path], bool]) -> bool:
    if type(text) is not str or not text or not text.isprintable():
        return False
    try:
        return check(Path(text))
    except (OSError, RuntimeError):  # too long, closed; ~ of an unknown user
        return False


def _can_be_folder(path: Path) -> bool:
    while not path.exists():
        path = path.parent
    return path.is_dir()


# What each constant may be: a test and its description.
ALLOWED = {
    "SCALE": one_of("auto", "quick", "full"),
    "DATASET": one_of("auto", "cifar10", "planted"),
    "CONFIGURATIONS": some_of("baseline", "l2", "dropout"),
    "SEEDS": (_distinct(whole(0, 10**6)[0]), "distinct whole numbers from 0 to 1000000"),
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
    "FREQUENCIES": (_distinct(whole(1, 10**6)[0]), "distinct whole numbers of cycles, at least 1"),
    "AMPLITUDES": (
        lambda x: isinstance(x, (list, tuple)) and all(0 < a < 1e6 for a in x),
        "numbers above 0",
    ),
    "RANDOM_PHASES": (lambda x: type(x) is bool, "True or False"),
    "INTERVAL": number(1e-6, 1e6, "a number above 0"),
    "GRID_POINTS": whole(4, 10**6),
    "TRAIN_POINTS": whole(1, 10**6),
    "STRENGTHS": _numbers(0, 1e6),
    "STEPS": whole(1, 10**8),
    "HIDDEN_LAYERS": whole(1, 100),
    "RECORDS": whole(1, 10**6),
    "RUN": (
        lambda x: type(x) is str and x not in ("", ".", ".."),
        "latest, or the name of a folder",
    ),
    "TRAINING_FLAGS": (lambda x: type(x) is str, "flags of experiment B"),
    "SIGMAS": _numbers(0, 10),
    "CENTRES": _numbers(0.01, 0.7),
    "RESOLUTIONS": (_distinct(whole(1, 32)[0]), "distinct whole numbers of pixels from 1 to 32"),
    "BLUR_SIZES": (
        _distinct(lambda x: x == 0 or (whole(1, 31)[0](x) and x % 2 == 1)),
        "distinct sizes: 0, or odd from 1 to 31 pixels",
    ),
    "LOW_PASS_CUTOFFS": _numbers(0, 0.75),
    "HIGH_PASS_CUTOFFS": _numbers(0, 0.7),
    "BAND_WIDTH": number(0.05, 1, "a number of cycles/pixel from 0.05 to below 1"),
    "BAND_NORM": number(0, 1e6, "a number of at least 0"),
    "MODE_NORM": number(0, 1e6, "a number of at least 0"),
    "HEATMAP_IMAGES": whole(1, 10**7),
    "CLIP": (lambda x: type(x) is bool, "True or False"),
    "NOISE_SEED": whole(0, 10**6),
    "DEVICE": one_of("auto", "cuda", "mps", "cpu"),
    "DATA_ROOT": (
        lambda x: _is_path(x, lambda path: path.expanduser().is_dir()),
        "an existing folder",
    ),
    "RESULTS_DIR": (lambda x: _is_path(x, _can_be_folder), "a folder, made if needed"),
    "SAVE_REFERENCE": (lambda x: type(x) is bool, "True or False"),
}

MAY_BE_NONE = {"DATA_ROOT", "TEST_IMAGES", "HEATMAP_IMAGES"}  # where no scale says more


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str):
        flags = ", ".join(a.option_strings[0] for a in self._actions)
        unknown = f"; allowed: {flags}" if "unrecognized" in message else ""
        shown = (c if c.isprintable() else repr(c)[1:-1] for c in message)
        message = "".join(shown)  # one line, also where an argument has several
        self.exit(2, f"error: {message}{unknown}\n")


def read_settings(script: dict, arguments: list[str] | None = None) -> SimpleNamespace:
    """Constants of a script, overridden by the command line, completed by SCALES, checked.

    Args:
        script: the script's `globals()`.
        arguments: command line, sys.argv by default.

    Returns the settings under their lower-case names. A setting that is not allowed ends the
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
    settings = parser.parse_args(arguments)

    if getattr(settings, "scale", None) == "auto":
        settings.scale = "full" if torch.cuda.is_available() else "quick"
    chosen = getattr(settings, "scale", None) or getattr(settings, "setting", None)
    complete(settings, scales.get(chosen, {}))
    for name in comments:
        value = getattr(settings, name.lower())
        if value is None and name in MAY_BE_NONE:
            continue
        check, text = ALLOWED.get(name, (lambda x: True, ""))
        if not check(value):
            refuse(name, value, text)
    return SimpleNamespace(**vars(settings))


def refuse(name: str, value, allowed: str) -> None:
    """End the program with exit code 2 and one line about a setting."""
    shown = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
    line = f"error: {name} (--{_flag(name)}) is {shown!r}; allowed: {allowed}\n"
    sys.stderr.write(line)
    sys.exit(2)


def complete(settings, values: dict) -> None:
    """Give settings that are None their values; note in "changed" which others differ."""
    for name, value in values.items():
        if getattr(settings, name) is None:
            setattr(settings, name, value)
    settings.changed = [n for n in values if getattr(settings, n) != values[n]]


def run_script(main: Callable[[], int | None], errors: tuple[type[Exception], ...]):
    """Run main; the errors a user can cause or mend end it with one line, not a traceback."""
    try:
        sys.exit(main())
    except errors as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command goes on from the last finished epoch.")


def _flag(name: str) -> str:
    return name.lower().replace("_", "-")


def _reader(name: str, example) -> Callable[[str], object]:
    """Text to a value of the example's type; where it is whole, fractions are read too."""
    kinds = {int: (int, float), float: (float,)}.get(type(example), (str,))

    def read(text: str):
        plain = text.isascii() and "_" not in text  # Python reads 1_0 and other digits too
        for kind in kinds if plain or kinds == (str,) else ():
            with contextlib.suppress(ValueError):
                return kind(text)
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: {ALLOWED[name][1]}")

    return read


def _add_flag(parser, name: str, default, comment: str, scales: dict) -> None:
    """One constant as a flag, of the type of its value, or of the value its scales give."""
    shown, example = default, default
    if default is None:
        by_scale = {scale: values.get(name.lower()) for scale, values in scales.items()}
        example = next((v for v in by_scale.values() if v is not None), "")
        if example != "":
            shown = ", ".join(f"{scale} {value}" for scale, value in by_scale.items())
    kind = {"dest": name.lower(), "default": default}
    if isinstance(example, bool):
        kind["action"] = argparse.BooleanOptionalAction
    else:
        several = isinstance(example, (tuple, list))
        kind |= {"nargs": "+" if several else None, "metavar": "X"}
        kind["type"] = _reader(name, (*example, "")[0] if several else example)
    comment = f"{comment} (default: {shown})".replace("%", "%%")
    parser.add_argument("--" + _flag(name), help=comment, **kind)
