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
import os
import sys
import time
import tokenize
from pathlib import Path
from types import SimpleNamespace

from utils.runtime.ranges import kind_of, one_of

# Constants that no label has to name: results say these in other ways, or do not depend on them.
NOT_NAMED = {"scale", "setting", "dataset", "configurations", "seeds", "device", "precision"}
NOT_NAMED |= {"figure_format", "data_root", "results_dir", "redraw", "run", "training_flags"}
STARTED = time.monotonic()


class OneLineParser(argparse.ArgumentParser):
    def error(self, message: str):
        if "unrecognized" in message:
            flags = [flag for action in self._actions for flag in action.option_strings]
            words = [word.split("=")[0] for word in message.split() if word[0] in "-\u2013\u2014"]
            near = [difflib.get_close_matches(f"--{w.strip(w[0])}".lower(), flags) for w in words]
            meant = ", ".join(found[0] for found in near if found)
            hint = f"did you mean {meant}?" if meant else f"allowed: {', '.join(flags[2:])}"
            message = f"{message}; {hint}"
        shown = (c if c.isprintable() else repr(c)[1:-1] for c in message)  # one line, always
        self.exit(2, f"error: {''.join(shown)}\n")


def find_constants(script: dict) -> dict[str, str]:
    """Names of the constants of a script, by its `globals()`, and the comments behind them."""
    with tokenize.open(script["__file__"]) as file:
        source = file.read()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found, begun = {}, False
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            break
        begun |= isinstance(node, ast.ImportFrom) and node.module == "utils.runtime"
        for part in ast.walk(node) if begun else []:  # an assignment may be inside an "if"
            if isinstance(part, (ast.Assign, ast.AnnAssign)):
                comment = comments.get(part.lineno) or comments.get(part.end_lineno, "")
                names = [n for n in ast.walk(part) if isinstance(n, ast.Name)]
                for name in (n.id for n in names if isinstance(n.ctx, ast.Store)):
                    if name.isupper() and not isinstance(script.get(name, {}), dict):  # no table
                        found[name] = comment or found.get(name, "")
    return found


def plain(value):
    """Paths as text, tuples as lists, numbers and arrays of other libraries as Python's own."""
    if hasattr(value, "tolist"):  # numpy's and torch's
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return [plain(x) for x in value] if isinstance(value, (list, tuple, range)) else value


def read_settings(
    script: dict, arguments: list[str] | None = None, recipe: dict | None = None
) -> SimpleNamespace:
    """Constants of a script, overridden by the command line, completed by SCALES, checked.

    Args:
        script: the script's `globals()`.
        arguments: command line, sys.argv by default.
        recipe: values of settings that are the same at every scale, to compare with.

    Returns the settings under their lower-case names, and as `changed` the names of those that
    differ from the recipe, the scale or the script. What is not allowed ends the program.
    """
    comments = find_constants(script)
    constants = {name.lower(): plain(script[name]) for name in comments}
    scales = script.get("SCALES") or script.get("SETTINGS") or {}
    examples = constants | {k: plain(next(iter(by.values()))) for k, by in scales.items()}
    kinds = {name: kind_of(name, examples[name.lower()]) for name in comments}
    chosen = constants.keys() & {"scale", "setting"}
    kinds |= {name.upper(): one_of(*next(iter(scales.values()))) for name in chosen}
    kinds = {name: kind for name, kind in kinds.items() if kind}

    style = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = OneLineParser(description=script["__doc__"], **style)
    for name, kind in kinds.items():
        default = str(script[name]) or "none"
        if script[name] is None and name.lower() in scales:
            default = ", ".join(f"{scale} {x}" for scale, x in scales[name.lower()].items())
        options = {"nargs": "+" if kind.several else None, "metavar": "X", "type": kind.read}
        if kind.types == (bool,):
            options = {"action": argparse.BooleanOptionalAction}
        options["help"] = f"{comments[name]} (default: {default})".replace("%", "%%")
        flag = "--" + name.lower().replace("_", "-")
        parser.add_argument(flag, dest=name.lower(), default=argparse.SUPPRESS, **options)
    settings = SimpleNamespace(**constants | vars(parser.parse_args(arguments)), changed=[])

    recipe = constants | {k: v for k, v in (recipe or {}).items() if k in constants}
    fill_from_scale(settings, {name: v for name, v in recipe.items() if v is not None})
    if chosen:
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
    """Give settings that are None their values, by name (with a scale: by name and scale); add to
    "changed" which others differ."""
    for name, value in values.items():
        value, found = plain(value.get(scale) if scale else value), getattr(settings, name)
        if found is None:
            setattr(settings, name, value)
        elif found != value and name not in NOT_NAMED:
            settings.changed.append(name)


def refuse(name: str, wrong, allowed: str) -> None:
    """End the program with exit code 2 and one line about a setting's value, or elements of it."""
    wrong = wrong if isinstance(wrong, list) else [wrong]
    shown = wrong[0] if len(wrong) == 1 else " ".join(map(str, wrong))
    flag = "--" + name.lower().replace("_", "-")
    sys.stderr.write(f"error: {name} ({flag}) is {shown!r}; allowed: {allowed}\n")
    sys.exit(2)
