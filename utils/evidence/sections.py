"""The parts of the page of results, as Markdown, from the tables in a folder of results."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from utils.configurations import label
from utils.evidence import paper, suppression, verdicts
from utils.evidence.intervals import interval, interval_text
from utils.evidence.paper import Quantity

L2, FIXED_NORM = paper.CONFIGURATIONS[1], "fixed-norm=1"
SUGGESTED = (0, 1, 2)  # seeds of medium scale, at which the tests of the conclusion were found
CONCLUSION = (
    "The publication concludes that L2 makes the network rely on low frequencies, and explains its "
    "noise sensitivity by that. If it did, six things would follow, each tested below. They were "
    "found by looking at seeds 0, 1 and 2 of medium scale, in float32; seeds 3, 4 and 5, trained "
    "after they had been named, test them alone. Every column of verdicts is adjusted for itself."
)
NORM = (
    "`fixed norm 1` has no decay: after every step each filter that BatchNorm follows is scaled to "
    "its norm at initialisation. What it shares with L2 comes from the norm; what it does not is "
    "something else."
)
CORNERS = [
    paper.corner_share(place, layer, weights)
    for weights in ("raw", "folded")
    for place, layer in suppression.PLACES.items()
]
NETWORK = [  # largest differences of L2 first
    paper.TESTS["band noise 0.65"].quantity,
    paper.TESTS["band noise 0.15"].quantity,
    paper.TESTS["high-pass 0.2"].quantity,
    paper.CLEAN,
    paper.SENSITIVITY,
]


@dataclass(frozen=True)
class Results:
    """What lies in a folder.

    Attributes:
        settings: how it arose, by experiment (a, b, c, d, or analyze).
        tables: training, ssr, accuracy, sensitivity, as `verdicts.by_run` takes them; learned.
    """

    settings: dict[str, dict]
    tables: dict[str, pd.DataFrame]

    @property
    def labels(self) -> dict:
        """Of experiment B if it is there: "dataset", "scale" and "device" among them."""
        return self.settings.get("b") or next(iter(self.settings.values()))

    @property
    def seeds(self) -> list[int]:
        return list(self.labels["settings"].get("seeds") or [])

    @property
    def configurations(self) -> list[str]:
        return list(self.labels["settings"].get("configurations") or [])

    @property
    def precision(self) -> str:
        return "bfloat16" if "bfloat16" in self.labels["device"] else "float32"


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A table, plain or compressed; without rows where there is none."""
    found = sorted(folder.glob(f"{name}.csv*"))
    return pd.read_csv(found[0], dtype={"layer": str}) if found else pd.DataFrame()


def read(folder: Path) -> Results:
    settings = {}
    for path in sorted(folder.glob("*_settings.json")):
        name = path.name.removeprefix("exp_").split("_")[0]
        settings[name] = json.loads(path.read_text("utf-8"))
    names = {"training": "exp_b_training", "ssr": "exp_b_ssr", "learned": "exp_a_learned"}
    names |= {"sensitivity": "exp_c_sensitivity_summary"}
    tables = {name: read_table(folder, file) for name, file in names.items()}
    tested = ["exp_c_robustness", "exp_d_resolution_robustness"]
    tables["accuracy"] = pd.concat([read_table(folder, file) for file in tested])
    return Results(settings, tables)


def markdown(rows) -> str:
    table = pd.DataFrame(rows).fillna("-")
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).values.tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def claims(name: str, results: Results) -> list[str]:
    """What was measured of every claim of the publication, about L2 of the published strength."""
    found = verdicts.claim_table(results.tables, results.labels)
    found = found[(found.family == "publication") & (found.configuration == L2)]
    rows = [
        {
            f"{label(L2)} ...": row.claim,
            "quantity": row.quantity,
            "claimed": f"{row.claimed} {row.no_effect:g}",
            "published": _number(row.published),
            "baseline": _number(row.baseline),
            "minus baseline, or ratio": verdicts.measured(row),
            "p": _number(row.p, ".2g"),
            "adjusted": _number(row.p_adjusted, ".2g"),
            "direction": row.direction,
            "published run": _size(row),
        }
        for row in found.itertuples()
    ]
    if not rows:
        return []
    title = f"{_title(name, results)}; {found.judged.max()} claims judged together"
    return [title, markdown(rows), *_absent(paper.CLAIMS, rows)]


def tests(name: str, results: Results) -> list[str]:
    """What was measured of every test of the conclusion, on new seeds alone and on all."""
    new = [seed for seed in results.seeds if seed not in SUGGESTED]
    is_medium = results.labels["scale"] == "medium"
    columns = {f"seeds {_list(new)} alone": new} if is_medium and new else {}
    columns[f"all seeds ({_list(results.seeds)})"] = None
    rows = {L2: {}, FIXED_NORM: {}}
    for title, seeds in columns.items():
        for row in verdicts.claim_table(results.tables, results.labels, seeds).itertuples():
            if row.family == "conclusion" and row.configuration in rows:
                first = {f"{label(row.configuration)} ...": row.claim, "quantity": row.quantity}
                first |= {"predicted": f"{row.claimed} 0", "baseline": _number(row.baseline)}
                p, adjusted = _number(row.p, ".2g"), _number(row.p_adjusted, ".2g")
                text = f"{verdicts.measured(row)}; p = {p}, adjusted {adjusted}: {row.direction}"
                cells = rows[row.configuration].setdefault(row.claim, first)
                cells[f"{title}; {row.judged} judged together"] = text
    parts = []
    for configuration in [name for name in rows if rows[name]]:
        table = list(rows[configuration].values())
        parts += [f"{_title(name, results)}, {label(configuration)}", markdown(table)]
        parts += _absent(paper.TESTS, table)
    if parts and is_medium and not new:
        parts.append("These seeds suggested the tests: they cannot confirm them.")
    return parts


def _absent(claims: dict, rows: list[dict]) -> list[str]:
    """What a table has no row of."""
    found = {row["quantity"] for row in rows}
    texts = [c.quantity.text for c in claims.values() if c.quantity.text not in found]
    return [f"Not measured here: {'; '.join(texts)}."] if texts else []


def norm(name: str, results: Results) -> list[str]:
    """Filters of fixed norm minus baseline, and minus L2."""
    if FIXED_NORM not in results.configurations:
        return []
    rows = []
    for quantity in [*NETWORK, *CORNERS]:
        values, row = verdicts.by_run(results.tables, quantity), {"quantity": quantity.text}
        for name_of in ("baseline", L2, FIXED_NORM):
            row[label(name_of)] = _number(verdicts.of(values, name_of).mean())
        for one, other in ((FIXED_NORM, "baseline"), (FIXED_NORM, L2), (L2, "baseline")):
            found = verdicts.difference(values, one, other)
            text = _ends(found) if len(found) > 1 else "not measured"
            row[f"{label(one)} minus {label(other)}"] = text
        rows.append(row)
    return [_title(name, results), markdown(rows)]


def numbers(results: Results) -> list[str]:
    """Tables of experiments B and A: every number after the last epoch, or step."""
    parts, tables = [], results.tables
    if len(tables["ssr"]):
        table = suppression.closing_table(tables["training"], tables["ssr"])
        n = tables["training"].seed.nunique()
        parts.append(f"n = {n}; in brackets minus baseline; raw weights where nothing is said.")
        parts.append(markdown(table.rename_axis("").reset_index()))
    if len(learned := tables["learned"]):
        steps, n = f"{learned.step.max():,}", learned.seed.nunique()
        parts.append(f"Explained variance of each frequency after {steps} steps (n = {n}):")
        parts.append(markdown(learned_cells(learned)))
    return parts


def learned_cells(learned: pd.DataFrame) -> pd.DataFrame:
    """Explained variance of experiment A, 1 is exact: a row per frequency, a column per penalty."""
    groups, n = learned.groupby(["frequency", "strength"]), learned.seed.nunique()
    cells = groups.explained_variance.apply(lambda values: interval_text(values, ".3f", n))
    names = "penalty " + cells.index.levels[1].map("{:g}".format)
    return cells.unstack().set_axis(names, axis=1).reset_index()


def published(main: dict[str, Results]) -> list[str]:
    """The published values, and the same in every folder at the published recipe or another width;
    then those of experiment A."""
    widths = {"full", "full, changed: width"}
    columns = {name: r for name, r in main.items() if r.labels.get("scale") in widths}
    rows = {}
    for name, results in columns.items():
        table = verdicts.claim_table(results.tables, results.labels)
        for row in table[table.family == "values"].itertuples():
            first = {"": label(row.configuration), "quantity": row.quantity}
            first["published"] = _number(row.published)
            said = "" if row.size == "not judged" else f"; {_size(row)}"
            title = f"`{name}`, n = {results.tables['training'].seed.nunique()}"
            rows.setdefault((row.configuration, row.quantity), first)[title] = (
                verdicts.measured(row) + said
            )
    parts = [markdown(rows.values())] if rows else []
    if not {"narrow", "wide"} & set(main):
        parts.append("The same recipe at other widths (`narrow`: 16, `wide`: 32) has not been run.")
    for name, results in main.items():
        if len(learned := results.tables["learned"]) and learned.setting.iloc[0] == "demo":
            cells = [
                {"experiment A": row.quantity, "published": _number(row.published)}
                | {f"`{name}`, n = {row.n}": f"{verdicts.measured(row)}; {_size(row)}"}
                for row in verdicts.learned_claims(learned).itertuples()
            ]
            return [*parts, markdown(cells)]
    return parts


def precisions(main: dict[str, Results]) -> list[str]:
    """Runs of the same job in both precisions: a row a quantity."""
    claims = [*paper.TESTS.values(), *paper.CLAIMS.values()]
    quantities = [c.quantity for c in claims if not (c.quantity.beyond_clean or c.ratio)]
    parts = []
    for (one, a), (other, b) in itertools.permutations(main.items(), 2):
        same = all(a.labels[key] == b.labels[key] for key in ("dataset", "scale"))
        if same and (a.precision, b.precision) == ("float32", "bfloat16"):
            rows = [_both(q, a, b) for q in (paper.CLEAN, paper.PUBLISHED_SSR, *quantities)]
            parts.append(
                f"`{one}` ({a.labels['device']}) against `{other}` ({b.labels['device']}), all runs "
                "that both have; they differ in more than precision. Spread: standard deviation over "
                "seeds, within configurations."
            )
            parts.append(markdown([row for row in rows if row]))
    return parts or ["No job has been run in both."]


def _both(quantity: Quantity, a: Results, b: Results) -> dict:
    """A quantity in both precisions, {} where one lacks it."""
    values = [verdicts.by_run(results.tables, quantity) for results in (a, b)]
    both = pd.concat(values, axis=1, keys=["float32", "bfloat16"]).dropna()
    if both.empty:
        return {}
    difference = both.bfloat16 - both.float32
    spread = both.groupby(level="configuration").var().mean().mean() ** 0.5
    row = {"quantity": quantity.text, "runs": len(both)}
    row |= {name: _number(both[name].mean()) for name in both}
    row["bfloat16 minus float32"] = _ends(difference)
    row["spread over seeds"] = _number(spread, ".2g")
    return row | {"difference / spread": f"{difference.mean() / spread:.2f}"}


def runs(found: dict[str, Results]) -> list[str]:
    """What each folder holds, on what it was made, and how long all trainings took."""
    rows, hours = [], 0.0
    for name, results in found.items():
        written, s = results.labels, results.labels["settings"]
        starts = pd.DataFrame(written.get("starts") or [written])
        commits = starts.commit.dropna().unique()
        shared, seconds = _shared(name, found), written.get("seconds", 0)
        count = len(results.configurations) * len(results.seeds)
        hours += seconds / 3600 * (1 - len(shared) / count if shared else 1)
        time = f"{seconds / 3600:.2f}" if seconds else ""
        time += f", {len(shared)} of {count} runs are those of `quick/`" if shared else ""
        rows.append(
            {
                "folder": f"`{name}/`",
                "experiments": ", ".join(n if len(n) > 1 else n.upper() for n in results.settings),
                "data": written.get("dataset") or written["model"],
                "scale": written.get("scale") or written.get("setting", ""),
                "configurations": ", ".join(map(label, results.configurations)),
                "seeds": _list(results.seeds),
                "steps a run": written.get("steps", s.get("steps", "")),
                "training, h": time,
                "device": "; ".join(starts.device.unique()),
                "processor": "; ".join(starts.processor.unique()),
                "commit": ", ".join(f"`{commit[:8]}{commit[40:]}`" for commit in commits),
            }
        )
    text = f"{hours:.2f} hours of training in all, of runs that shared machines; runs that several "
    return [markdown(rows), text + "folders show are counted once, a part by the number of runs."]


def _shared(name: str, found: dict[str, Results]) -> set:
    """Runs that are those of the folder `quick`: the same history, epoch by epoch."""
    if name == "quick" or "quick" not in found:
        return set()
    ours, quick = (_histories(found[folder]) for folder in (name, "quick"))
    return {run for run in ours.keys() & quick.keys() if ours[run] == quick[run]}


def _histories(results: Results) -> dict:
    table = results.tables["training"]
    groups = table.groupby(["configuration", "seed"]) if len(table) else []
    return {run: rows.test_loss.dropna().tolist() for run, rows in groups}


def _title(name: str, results: Results) -> str:
    scale, seeds = results.labels["scale"], results.seeds
    return f"### `{name}/`: {scale} scale, seeds {_list(seeds)} (n = {len(seeds)}), {results.precision}"


def _list(seeds: list) -> str:
    return ", ".join(map(str, seeds))


def _number(value: float, digits: str = ".4g") -> str:
    return "-" if pd.isna(value) else f"{value:{digits}}"


def _ends(values) -> str:
    mean, low, high = interval(values)
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


def _size(row) -> str:
    if row.size in ("nothing published", "not judged"):
        return row.size if row.size == "not judged" else "-"
    return f"{row.size} ({row.expected_low:.3g} to {row.expected_high:.3g})"
