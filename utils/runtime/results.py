"""Tables and figures of a script: written together, read to draw them again."""

import json
import shlex
import sys
import time
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pandas as pd

from utils.runtime import files, provenance
from utils.runtime.settings import STARTED

FLOAT = "%.7g"  # numbers in tables: as many digits as float32 holds

Draw = Callable[[dict[str, pd.DataFrame]], dict[str, object]]  # tables by name -> figures by name
Save = Callable[[object, Path, str], None]  # figure, path, format; `utils.visualizer.save`


def print_plan(lines: dict[str, str]) -> None:
    """Say what a script is about to do, a line each."""
    print(*(f"{name:8} {text}" for name, text in lines.items()), sep="\n", flush=True)


def with_columns(table: pd.DataFrame, labels: dict) -> pd.DataFrame:
    """The table after constant columns, one for each label."""
    return pd.concat([pd.DataFrame(labels, index=table.index), table], axis=1)


def as_written(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its numbers as a file has them: who reads the file finds the same."""
    floats = table.select_dtypes("float")
    return table.assign(**{name: [float(FLOAT % x) for x in floats[name]] for name in floats})


def one_at_a_time(settings: SimpleNamespace) -> IO:
    """Wait until no other start writes results into this folder; until closed, none does."""
    return files.lock(Path(settings.results_dir) / "lock", wait=True)


def write(
    settings: SimpleNamespace,
    script: str,
    labels: dict,
    tables: dict[str, pd.DataFrame],
    figures: Draw,
    save: Save,
    problems: list[str],
    answer: str = "",
    **conditions,
) -> int:
    """Write what a script has found, and say where it is. To be called within `one_at_a_time`.

    Args:
        script: what all names of files begin with: <script>_<name>.csv.
        labels: dataset, scale or setting, device: columns of every table.
        problems: what went wrong, a sentence each; "" is nothing.
        answer: what the results say, printed between the figure to look at, the first, and files.
        conditions: more for <script>_settings.json, which says how the results arose.

    Returns the exit code.
    """
    folder, written = Path(settings.results_dir), []
    tables = {name: as_written(with_columns(table, labels)) for name, table in tables.items()}
    for name, table in tables.items():
        written.append(folder / "data" / f"{script}_{name}.csv")
        with files.atomic_write(written[-1]) as path:
            table.to_csv(path, index=False, float_format=FLOAT)
    drawn = []
    for name, figure in figures(tables).items():
        path = folder / "figures" / f"{script}_{name}"
        drawn += write_figure(path, figure, save, settings.figure_format)
    written += [*drawn, folder / "data" / f"{script}_settings.json"]
    provenance.write_conditions(written[-1], settings, labels | conditions)
    minutes, seconds = divmod(round(time.monotonic() - STARTED), 60)
    ended = "Ended, but see below," if any(problems) else "Finished"
    look = f" Look first at {drawn[0]}" if drawn else ""
    print(f"\n{ended} in {minutes}:{seconds:02}.{look}", end=f"\n\n{answer}\n" if answer else "\n")
    print("\nWritten:", *written, sep="\n  ")
    return report(problems)


def write_figure(path: Path, figure, save: Save, format: str = "png") -> list[Path]:
    """Save a figure as PNG and in another format too, an animation as GIF; returns the paths."""
    kinds = dict.fromkeys(["png", format]) if hasattr(figure, "savefig") else ["gif"]
    paths = [path.with_name(f"{path.name}.{kind}") for kind in kinds]
    for one, kind in zip(paths, kinds):
        with files.atomic_write(one) as temporary:
            save(figure, temporary, kind)
    return paths


def redraw(settings: SimpleNamespace, script: str, figures: Draw, save: Save) -> int:
    """Draw the figures of the tables in the folder REDRAW again; the exit code.

    They are written beside the tables or, where RESULTS_DIR is not the usual one, to its figures.
    """
    source, results, tables = Path(settings.redraw), Path(settings.results_dir), {}
    for path in sorted(source.glob(f"{script}_*.csv*")):
        name = path.name.split(".")[0].removeprefix(f"{script}_")
        try:
            tables[name] = pd.read_csv(path, dtype={"layer": str})
        except (ValueError, EOFError, OSError, zlib.error) as error:
            return report([f"REDRAW: {path} is no table ({error})"])
    if not tables:
        return report([f"REDRAW: no table {script}_*.csv in {source}"])
    try:
        drawn = figures(tables)
    except KeyError as error:
        return report([f"REDRAW: the tables in {source} lack {error}, a table or a column"])
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        return report([f"REDRAW: the tables in {source} cannot be drawn ({error})"])
    place = source if results == provenance.ROOT / "results" else results / "figures"
    for name, figure in drawn.items():
        print(*write_figure(place / f"{script}_{name}", figure, save, settings.figure_format))
    return 0


def remove_old_temporary_files(settings: SimpleNamespace) -> None:
    """Remove what killed processes left half written among the results."""
    for place in ("checkpoints", "data", "figures"):
        files.remove_old_temporary_files(Path(settings.results_dir, place))


def one_seed(seeds: Collection[int], job: Path | None = None) -> str:
    """What follows the answer of one seed: that it decides nothing, and the commands of three; ""
    where there are more.

    Args:
        job: folder of the runs of experiment B that this start has evaluated; None: it has trained.
    """
    if len(seeds) != 1:
        return ""
    words, again = sys.argv, []
    if job:
        runs = sorted(job.glob("*/settings.json"))
        command = json.loads(runs[0].read_text("utf-8"))["command"]
        words = shlex.split(command)[1:]
        words[0] = str(Path(sys.argv[0]).with_name(Path(words[0]).name))
        names = dict.fromkeys(run.parent.name.rpartition("-seed")[0] for run in runs)
        now = {"--results-dir": [str(job.parents[1])], "--configurations": names}
        for flag in (flag for flag in now if flag in command):  # no private path, of one start only
            words = _with(words, flag, *now[flag])
        again = [_with(sys.argv, "--seeds")]
    commands = [_with(words, "--seeds", "0", "1", "2"), *again]
    text = "One seed: no verdict. Three give intervals, in three times the time:"
    return "\n".join(["\n", text, *(shlex.join([sys.executable, *words]) for words in commands)])


def _with(words: list[str], flag: str, *values: str) -> list[str]:
    """A command line with other values of a flag; without values it has not the flag."""
    kept, left_out = [], False
    for word in words:
        left_out = word.split("=")[0] == flag or left_out and not word.startswith("-")
        kept += [] if left_out else [word]
    return [*kept, flag, *values] if values else kept


def report(problems: list[str]) -> int:
    """Print what went wrong, a line each; the exit code."""
    for problem in filter(None, problems):
        print(f"error: {' '.join(problem.split())}", file=sys.stderr)
    return 1 if any(problems) else 0
