"""The constants at the top of a script are its settings, and its command line.

An upper-case name assigned between the import of this module and `if __name__ == "__main__"`,

    EPOCHS = None  # passes over the training images

becomes the flag --epochs, with the comment behind it as its help. None means: what SCALES (or
SETTINGS), a table of the script, says for the chosen SCALE (or SETTING). Elsewhere a constant may
be None if its comment says "None:" and what that means. A constant takes values of the type that
it has in the script, and of the range that `ranges.RANGES` gives it, if any.
"""

import argparse
import ast
import difflib
import io
import numbers
import os
import sys
import time
import tokenize
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from utils.runtime.ranges import Kind, kind_of, one_of

# Constants that no label has to name: results say these in other ways, or do not depend on them.
NOT_NAMED = {"SCALE", "SETTING", "DATASET", "CONFIGURATIONS", "SEEDS", "DEVICE", "PRECISION"}
NOT_NAMED |= {"FIGURE_FORMAT", "DATA_ROOT", "RESULTS_DIR", "REDRAW", "RUN", "TRAINING_FLAGS"}
APART = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)  # names in them are others
STARTED = time.monotonic()


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
        for part in ast.walk(node) if begun else []:  # an assignment may be inside an "if"
            if isinstance(part, (ast.Assign, ast.AnnAssign)) and not isinstance(node, APART):
                comment = comments.get(part.lineno) or comments.get(part.end_lineno, "")
                targets = part.targets if isinstance(part, ast.Assign) else [part.target]
                for name in (getattr(n, "id", "") for t in targets for n in ast.walk(t)):
                    if name.isupper() and not isinstance(script.get(name, {}), dict):  # no table
                        found[name] = comment or found.get(name, "")
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
    kinds = {}
    for name in comments:
        value, by_scale = constants[name.lower()], scales.get(name.lower())
        kind = kind_of(name, plain(next(iter(by_scale.values()))) if by_scale else value)
        if name in ("SCALE", "SETTING"):
            kind = one_of(*next(iter(scales.values())))
        kinds |= {name: kind} if kind else {}
    given = vars(_parser(script, comments, scales, kinds).parse_args(arguments))
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


def _parser(script: dict, comments: dict, scales: dict, kinds: dict[str, Kind]) -> OneLineParser:
    """The command line: a flag for each constant, its comment and value as help."""
    style = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = OneLineParser(description=script["__doc__"], **style)
    for name, kind in kinds.items():
        default = script[name]
        if default is None and name.lower() in scales:
            default = ", ".join(f"{scale} {v}" for scale, v in scales[name.lower()].items())
        default = "none" if isinstance(default, str) and default == "" else default
        options = {"nargs": "+" if kind.several else None, "metavar": "X", "type": kind.read}
        if kind.types == (bool,) and not kind.several:
            options = {"action": argparse.BooleanOptionalAction}
        options["help"] = f"{comments[name]} (default: {default})".replace("%", "%%")
        parser.add_argument(_flag(name), dest=name.lower(), default=argparse.SUPPRESS, **options)
    return parser


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


def refuse(name: str, wrong, allowed: str) -> None:
    """End the program with exit code 2 and one line about a setting's value, or elements of it."""
    shown = wrong[0] if isinstance(wrong, list) and len(wrong) == 1 else wrong
    shown = " ".join(map(str, shown)) if isinstance(shown, list) and shown else shown
    sys.stderr.write(f"error: {name} ({_flag(name)}) is {shown!r}; allowed: {allowed}\n")
    sys.exit(2)


def _flag(name: str) -> str:
    return "--" + name.lower().replace("_", "-")
