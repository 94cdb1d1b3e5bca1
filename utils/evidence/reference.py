"""The page results/reference/README.md: what was run, claims at every scale, controls, figures.

All of it follows from the tables in the folders beside it, which `--save-reference` writes.
"""

import itertools
import json
from pathlib import Path

import pandas as pd

from utils import configurations
from utils import visualizer as vis
from utils.evidence import paper
from utils.evidence.intervals import interval_text
from utils.evidence.suppression import closing_table
from utils.figures import analyze_model, exp_a, exp_b, exp_b_ssr, exp_c_d
from utils.runtime.files import replacing
from utils.training.runs import FORMAT

SCALES = ("quick", "medium", "full")  # folders whose claims stand side by side
CLAIM = ["configuration", "claim", "quantity"]
HEAD = """# Reference results

This page is written by `--save-reference` from the tables in the folders beside it. Mean and ends
of the 95 % Student-t interval over seeds; differences are paired by seed; n is the number of
seeds, of a cell where it says so. Spectra: raw weights after the last epoch; *: of the corner,
radius sqrt(2)/3, in the hidden layers. In each folder,
`.venv/bin/python experiments/exp_b_spectrum_evolution.py --redraw FOLDER` draws the figures again
(and so do the other experiments). Times are wall-clock, of runs that shared the machine."""
QUESTIONS = {  # folder -> what its control asks
    "dose": "Is there a dose, and where does accuracy turn?",
    "weights": "Does decay on BatchNorm and biases matter?",
    "whitened": "Data or regulariser: images with a flat amplitude spectrum",
    "inverted": "Data or regulariser: images in which high frequencies dominate",
    "dropout": "Does dropout keep high frequencies?",
    "steps": "Steps or images? As many steps as at medium scale, on a tenth of the images",
}
FIGURES = vars(exp_a) | vars(exp_b) | vars(exp_b_ssr) | vars(exp_c_d)  # functions, by name
FIGURES |= {"scales": exp_b.corner_over_steps}
OTHERS = {"_features": analyze_model.features, "_sensitivity": analyze_model.sensitivity}


def write_page(folder: Path) -> Path:
    """Write README.md of the folder results/reference, and its scales.png."""
    places = _places(folder)
    named = dict(zip(SCALES, SCALES)) | {"steps": "quick with 100 epochs"}
    spectra = {named[name]: _table(places, name, "exp_b_spectrum") for name in named}
    spectra = {name: t for name, t in spectra.items() if len(t) and t.configuration.nunique() > 1}
    if spectra:
        with replacing(folder / "scales.png") as temporary:
            vis.save(exp_b.corner_over_steps(spectra), temporary)
    path = folder / "README.md"
    with replacing(path) as temporary:
        temporary.write_text(page(folder), "utf-8")
    return path


def page(folder: Path) -> str:
    """The text of the page for the tables in the folders of `folder`."""
    places = _places(folder)
    parts = [HEAD, "## What was run", _markdown(pd.DataFrame(_runs(places)))]
    claims = claims_table(places)
    judged = claims.claim != "published value"
    parts += ["## Claims", _markdown(claims[judged])]
    spectra = [name for name in (*QUESTIONS, *SCALES) if len(_table(places, name, "exp_b_ssr"))]
    for name in spectra:
        tables = [_table(places, name, table) for table in ("exp_b_training", "exp_b_ssr")]
        question, n = QUESTIONS.get(name, f"Spectra at {name} scale"), tables[0].seed.nunique()
        parts.append(f"## {question} (`{name}/`, n = {n})")
        parts.append(_markdown(closing_table(*tables).rename_axis("").reset_index()))
    for name in places:
        if len(learned := _table(places, name, "exp_a_learned")):
            title = f"What an MLP learns of each frequency in {learned.step.max():,} steps"
            parts.append(f"## {title} (`{name}/`, n = {learned.seed.nunique()})")
            parts.append(_markdown(learned_cells(learned)))
    values = claims[~judged].drop(columns="claim")
    parts += ["## Published values, and the same here", _markdown(values)]
    missing = [name for name in (*SCALES, *QUESTIONS) if name not in places]
    if missing:
        parts.append(f"Not run yet: {', '.join(missing)}.")
    return "\n\n".join([*parts, *_figures(folder, places)]) + "\n"


def _places(folder: Path) -> dict[str, Path]:
    """The folders that hold results of this version, by name."""
    return {path.name: path for path in sorted(folder.iterdir()) if _settings(path)}


def _figures(folder: Path, places: dict[str, Path]) -> list[str]:
    """Every figure of the largest scale that has it (of experiment A all), and what to see in it."""
    found = {path.name: [path.name] for path in folder.glob("scales.png")}
    for place in sorted(places, key=lambda name: -SCALES.index(name) if name in SCALES else 1):
        for path in sorted(places[place].glob("exp_?_*.*")):
            if path.suffix in (".png", ".gif"):
                found.setdefault(path.name, []).append(f"{place}/{path.name}")
    parts = ["## Figures, and what to see in them"]
    for name, paths in sorted(found.items()):
        title = Path(name).stem.split("_", 2)[-1].removeprefix("rahaman_")
        says = FIGURES.get(title, exp_c_d.robustness).__doc__.split("\n\n")[0]
        shown = paths if name.startswith("exp_a") else paths[:1]
        parts += [f"### {name}", *(f"![{path}]({path})" for path in shown), " ".join(says.split())]
    for path in sorted(folder.glob("*/analyze_*.png")):
        draws = next(
            (OTHERS[end] for end in OTHERS if path.stem.endswith(end)), analyze_model.kernels
        )
        shown = path.relative_to(folder).as_posix()
        parts += [f"### {path.name}", f"![{shown}]({shown})", draws.__doc__.split("\n\n")[0]]
    return parts


def _table(places: dict[str, Path], folder: str, name: str) -> pd.DataFrame:
    """A table of a folder, plain or compressed; without rows where there is none."""
    found = sorted(places[folder].glob(f"{name}.csv*")) if folder in places else []
    return pd.read_csv(found[0]) if found else pd.DataFrame()


def claims_table(places: dict[str, Path]) -> pd.DataFrame:
    """A row per claim and published number, a column per scale."""
    rows = {}
    for scale, letter in itertools.product(SCALES, "bcd"):
        for row in _table(places, scale, f"exp_{letter}_claims").itertuples():
            if row.configuration in paper.CONFIGURATIONS:
                said = (configurations.label(row.configuration), row.claim, row.quantity)
                new = dict(zip(CLAIM, said))
                new["published"] = "" if pd.isna(row.published) else f"{row.published:g}"
                rows.setdefault(said, new | dict.fromkeys(SCALES, ""))[scale] = _cell(row)
    return pd.DataFrame(rows.values(), columns=[*CLAIM, "published", *SCALES])


def learned_cells(learned: pd.DataFrame) -> pd.DataFrame:
    """Explained variance of experiment A, 1 is exact: a row per frequency, a column per penalty."""
    groups, n = learned.groupby(["frequency", "strength"]), learned.seed.nunique()
    cells = groups.explained_variance.apply(lambda values: interval_text(values, ".3f", n))
    names = "penalty " + cells.index.levels[1].map("{:g}".format)
    return cells.unstack().set_axis(names, axis=1).reset_index()


def _settings(place: Path) -> dict[str, dict]:
    """How the results of a folder arose, by experiment; {} where another version wrote them."""
    files = sorted(place.glob("*_settings.json"))
    files = {path.name.removeprefix("exp_").split("_")[0]: path for path in files}
    found = {name: json.loads(path.read_text("utf-8")) for name, path in files.items()}
    return {name: written for name, written in found.items() if written.get("format") == FORMAT}


def _runs(places: dict[str, Path]) -> list[dict]:
    """What each folder holds, and on what it was made."""
    rows = []
    for name, place in places.items():
        found = _settings(place)
        written = found.get("b") or next(iter(found.values()))
        starts, s = pd.DataFrame(written.get("starts") or [written]), written["settings"]
        names, commits = s.get("configurations") or [], starts.commit.dropna().unique()
        row = {
            "folder": f"`{name}/`",
            "experiments": ", ".join(n if len(n) > 1 else n.upper() for n in found),
            "data": written.get("dataset") or written["model"],
            "scale": written.get("scale") or written.get("setting", ""),
            "configurations": ", ".join(map(configurations.label, names)),
            "seeds": ", ".join(map(str, s.get("seeds") or [])),
            "steps a run": written.get("steps", s.get("steps", "")),
            "training, h": f"{written['seconds'] / 3600:.2f}" if "seconds" in written else "",
            "device": "; ".join(starts.device.unique()),
            "processor": "; ".join(starts.processor.unique()),
            "commit": ", ".join(f"`{commit[:8]}{commit[40:]}`" for commit in commits),
        }
        rows.append(row)
    return rows


def _cell(row) -> str:
    if row.n == 0:
        return "not defined"
    ends = f" [{row.low:.3g}, {row.high:.3g}]" if row.n > 1 else ""
    text = f"{row.mean:.3g}{ends}, n = {row.n}"
    text += f" ({row.not_defined} not defined)" if row.not_defined else ""
    said = {"-", "not judged", "nothing published"}
    return "; ".join([text, *(v for v in (row.direction, row.size) if v not in said)])


def _markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).values.tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
