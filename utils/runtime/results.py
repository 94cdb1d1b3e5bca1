"""Tables and figures: read, written, copied to the reference."""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from utils import visualizer
from utils.evidence import reference
from utils.runtime import files, provenance

FLOAT = "%.7g"  # numbers in tables: as many digits as float32 holds


def print_plan(lines: dict[str, str]) -> None:
    """What a script is about to do, a line each."""
    print(*(f"{name:8} {text}" for name, text in lines.items()), sep="\n", flush=True)


def with_columns(table: pd.DataFrame, labels: dict) -> pd.DataFrame:
    """The table after constant columns, one for each label."""
    return pd.concat([pd.DataFrame(labels, index=table.index), table], axis=1)


def read_run_tables(folder: Path, runs: list, name: str) -> pd.DataFrame:
    """The tables `name` of all runs that have one, below each other."""
    paths = [folder / run.name / f"{name}.csv" for run in runs]
    tables = [pd.read_csv(path) for path in paths if path.exists()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def write(
    settings: SimpleNamespace,
    script: str,
    labels: dict,
    tables: dict[str, pd.DataFrame],
    figures: Callable[[dict], dict[str, Figure]],
    problems: list[str],
    **conditions,
) -> int:
    """Write what a script has found, and say where it is.

    Args:
        script: what all names of files begin with: <script>_<name>.csv.
        labels: dataset, scale or setting, device: columns of every table.
        figures: of the script: tables by name -> figures by name.
        problems: what went wrong, a sentence each; "" is nothing.
        conditions: more for <script>_settings.json, which says how the results arose.

    Returns the exit code.
    """
    folder = Path(settings.results_dir)
    written = []
    for name, table in tables.items():
        written.append(folder / "data" / f"{script}_{name}.csv")
        with files.replacing(written[-1]) as path:
            with_columns(table, labels).to_csv(path, index=False, float_format=FLOAT)
    written += draw(written, folder / "figures", script, figures)
    written.append(folder / "data" / f"{script}_settings.json")
    provenance.write_conditions(written[-1], settings, labels | conditions)
    if settings.save_reference:
        copies = folder / "reference" / settings.save_reference
        ours = [path for path in written if not path.stem.endswith("examples")]
        if settings.save_reference not in reference.SCALES:  # the page shows no film of a control
            ours = [path for path in ours if path.name != "exp_b_evolution.gif"]
        written += [copy(path, copies) for path in ours]
        written.append(reference.write_page(folder / "reference"))
    print("\nWritten:", *written, sep="\n  ")
    return report(problems)


def copy(path: Path, folder: Path) -> Path:
    """A file in a folder of reference results: large tables compressed, the same each time."""
    large = path.suffix == ".csv" and path.stat().st_size > 2**17
    plain, compressed = folder / path.name, folder / f"{path.name}.gz"
    place, other = (compressed, plain) if large else (plain, compressed)
    with files.replacing(place) as temporary:
        content = path.read_bytes()
        temporary.write_bytes(gzip.compress(content, mtime=0) if large else content)
    other.unlink(missing_ok=True)  # of an earlier job
    return place


def write_figure(path: Path, figure: Figure | FuncAnimation) -> Path:
    with files.replacing(path) as temporary:
        visualizer.save(figure, temporary)
    return path


def clean(settings: SimpleNamespace) -> None:
    """Remove what killed processes left half written among the results."""
    for place in ("checkpoints", "data", "figures", "reference/*"):
        for folder in Path(settings.results_dir).glob(place):
            files.clean(folder)


def draw(tables: list[Path], folder: Path, prefix: str, figures: Callable) -> list[Path]:
    """Draw the figures of written tables, <prefix>_<name>.csv or .csv.gz, into a folder."""
    named = {path.name.split(".")[0].removeprefix(f"{prefix}_"): path for path in tables}
    read = {name: pd.read_csv(path, dtype={"layer": str}) for name, path in named.items()}
    return [
        write_figure(folder / f"{prefix}_{name}.{'png' if isinstance(f, Figure) else 'gif'}", f)
        for name, f in figures(read).items()
    ]


def redraw(folder: str, prefix: str, figures: Callable) -> int:
    """Draw the figures of the tables in a folder there again; the exit code."""
    tables = sorted(Path(folder).glob(f"{prefix}_*.csv*"))
    if not tables:
        return report([f"REDRAW: no table {prefix}_*.csv in {folder}"])
    try:
        print(*draw(tables, Path(folder), prefix, figures), sep="\n")
    except KeyError as error:
        return report([f"REDRAW: the tables in {folder} lack {error}, a table or a column"])
    return 0


def report(problems: list[str]) -> int:
    """Print what went wrong, a line each; the exit code."""
    for problem in filter(None, problems):
        print(f"error: {problem}", file=sys.stderr)
    return 1 if any(problems) else 0
