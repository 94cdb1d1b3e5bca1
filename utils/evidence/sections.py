"""The parts of the page of results, as Markdown, from the tables in a folder of results."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from utils.configurations import label
from utils.evidence import paper, suppression, verdicts
from utils.evidence.intervals import interval, interval_text
from utils.evidence.quantities import CORNERS, RUN

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
TABLES = {  # as `verdicts.claim_table` takes them, and of experiment A; their files
    "training": ["exp_b_training"],
    "ssr": ["exp_b_ssr"],
    "accuracy": ["exp_c_robustness", "exp_d_resolution_robustness"],
    "sensitivity": ["exp_c_sensitivity_summary"],
    "learned": ["exp_a_learned"],
}


@dataclass(frozen=True)
class Results:
    """What lies in a folder."""

    name: str
    settings: dict[str, dict]  # how it arose, by experiment (a, b, c, d, or analyze)
    labels: dict  # of experiment B if it is there: "dataset", "scale" and "device" among them
    tables: dict[str, pd.DataFrame]
    seeds: list[int]
    configurations: list[str]
    precision: str


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A table, plain or compressed; without rows where there is none."""
    found = sorted(folder.glob(f"{name}.csv*"))
    return pd.read_csv(found[0], dtype={"layer": str}) if found else pd.DataFrame()


def read(folder: Path) -> Results:
    settings = {}
    for path in sorted(folder.glob("*_settings.json")):
        name = path.name.removeprefix("exp_").split("_")[0]
        settings[name] = json.loads(path.read_text("utf-8"))
    labels = settings.get("b") or next(iter(settings.values()))
    chosen = [labels["settings"].get(key) or [] for key in ("seeds", "configurations")]
    precision = "bfloat16" if "bfloat16" in labels["device"] else "float32"
    tables = {
        name: pd.concat([read_table(folder, file) for file in files])
        for name, files in TABLES.items()
    }
    return Results(folder.name, settings, labels, tables, *chosen, precision)


def markdown(rows) -> str:
    table = pd.DataFrame(rows).fillna("-")
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).values.tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def claims(results: Results) -> list[str]:
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
    title = f"{_title(results)}; {found.judged.max()} claims judged together"
    return [title, markdown(rows), *_absent(paper.CLAIMS, rows)]


def tests(results: Results) -> list[str]:
    """What was measured of every test of the conclusion, on new seeds alone and on all."""
    new = [seed for seed in results.seeds if seed not in SUGGESTED]
    is_medium = results.labels["scale"] == "medium"
    columns = {f"seeds {_list(new)} alone": new} if is_medium and new else {}
    columns[f"all seeds ({_list(results.seeds)})"] = None
    parts, rows = [], {L2: {}, FIXED_NORM: {}}
    for title, seeds in columns.items():
        found = verdicts.claim_table(results.tables, results.labels, seeds)
        found = found[(found.family == "conclusion") & found.configuration.isin(list(rows))]
        for row in found.itertuples():
            first = {f"{label(row.configuration)} ...": row.claim, "quantity": row.quantity}
            first |= {"predicted": f"{row.claimed} 0", "baseline": _number(row.baseline)}
            cells = rows[row.configuration].setdefault(row.claim, first)
            cells["baseline"] = first["baseline"]  # in the end that of all seeds
            p = f"p = {_number(row.p, '.2g')}, adjusted {_number(row.p_adjusted, '.2g')}"
            text = f"{verdicts.measured(row)}; {p}: {row.direction}"
            cells[f"{title}; {row.judged} judged together"] = text
    for configuration, table in rows.items():
        if table:
            parts += [f"{_title(results)}, {label(configuration)}", markdown(table.values())]
            parts += _absent(paper.TESTS, table.values())
    if parts and is_medium and not new:
        parts.append("These seeds suggested the tests: they cannot confirm them.")
    return parts


def _absent(claims: list, rows) -> list[str]:
    """What a table has no row of."""
    found = {row["quantity"] for row in rows}
    texts = [c.quantity.text for c in claims if c.quantity.text not in found]
    return [f"Not measured here: {'; '.join(texts)}."] if texts else []


def norm(results: Results) -> list[str]:
    """Filters of fixed norm minus baseline, and minus L2."""
    if FIXED_NORM not in results.configurations:
        return []
    rows, names = [], ["baseline", L2, FIXED_NORM]
    network = [test.quantity for test in paper.TESTS[:3]]  # largest differences of L2 first
    for quantity in [*network, paper.CLEAN, paper.SENSITIVITY, *CORNERS]:
        values = quantity.by_run(results.tables).unstack("configuration").reindex(columns=names)
        row = {"quantity": quantity.text}
        row |= {label(name): _number(values[name].mean()) for name in names}
        for one, other in ((FIXED_NORM, "baseline"), (FIXED_NORM, L2), (L2, "baseline")):
            found = (values[one] - values[other]).dropna()
            text = _ends(found) if len(found) > 1 else "not measured"
            row[f"{label(one)} minus {label(other)}"] = text
        rows.append(row)
    return [_title(results), markdown(rows)]


def numbers(results: Results) -> list[str]:
    """Tables of experiments B and A: every number after the last epoch, or step."""
    parts, training, learned = [], results.tables["training"], results.tables["learned"]
    if len(ssr := results.tables["ssr"]):
        n = training.seed.nunique()
        parts.append(f"n = {n}; in brackets minus baseline; raw weights where nothing is said.")
        table = suppression.closing_table(training, ssr)
        parts.append(markdown(table.rename_axis("").reset_index()))
    if len(learned):
        steps, n = f"{learned.step.max():,}", learned.seed.nunique()
        parts.append(f"Explained variance of each frequency after {steps} steps (n = {n}):")
        cells = learned.groupby(["frequency", "strength"]).explained_variance
        table = cells.agg(lambda values: interval_text(values, ".3f", n)).unstack()
        parts.append(markdown(table.rename(columns="penalty {:g}".format).reset_index()))
    return parts


def published(main: list[Results]) -> list[str]:
    """The published values, and the same in every folder at the published recipe or another width;
    then those of experiment A."""
    rows, parts = {}, []
    for results in main:
        if results.labels.get("scale") not in ("full", "full, changed: width"):
            continue
        table = verdicts.claim_table(results.tables, results.labels)
        title = f"`{results.name}`, n = {results.tables['training'].seed.nunique()}"
        for row in table[table.family == "values"].itertuples():
            first = {"": label(row.configuration), "quantity": row.quantity}
            first["published"] = _number(row.published)
            said = "" if row.size == "not judged" else f"; {_size(row)}"
            cells = rows.setdefault((row.configuration, row.quantity), first)
            cells[title] = verdicts.measured(row) + said
    if rows:
        parts.append(markdown(rows.values()))
    if not {"narrow", "wide"} & {results.name for results in main}:
        parts.append("The same recipe at other widths (`narrow`: 16, `wide`: 32) has not been run.")
    for results in main:
        if len(learned := results.tables["learned"]) and learned.setting.iloc[0] == "demo":
            cells = [
                {"experiment A": row.quantity, "published": _number(row.published)}
                | {f"`{results.name}`, n = {row.n}": f"{verdicts.measured(row)}; {_size(row)}"}
                for row in verdicts.learned_claims(learned).itertuples()
            ]
            return [*parts, markdown(cells)]
    return parts


def precisions(main: list[Results]) -> list[str]:
    """Runs of the same job in both precisions: a row a quantity."""
    claims = [c for c in (*paper.TESTS, *paper.CLAIMS) if not (c.quantity.beyond_clean or c.ratio)]
    quantities = [paper.CLEAN, paper.PUBLISHED_SSR, *(claim.quantity for claim in claims)]
    parts = []
    for pair in itertools.permutations(main, 2):
        a, b = pair
        is_same = all(a.labels[key] == b.labels[key] for key in ("dataset", "scale"))
        if not is_same or (a.precision, b.precision) != ("float32", "bfloat16"):
            continue
        rows, beyond = [], 0
        for quantity in quantities:
            both = pd.DataFrame({r.precision: quantity.by_run(r.tables) for r in pair}).dropna()
            if both.empty:
                continue
            difference = both.bfloat16 - both.float32
            spread = both.groupby(level="configuration").var().mean().mean() ** 0.5
            row = {"quantity": quantity.text, "runs": len(both)}
            row |= {name: _number(both[name].mean()) for name in both}
            row["bfloat16 minus float32"] = _ends(difference)
            _, low, high = interval(difference)
            beyond += low > 0 or high < 0
            row["spread over seeds"] = _number(spread, ".2g")
            rows.append(row | {"difference / spread": f"{difference.mean() / spread:.2f}"})
        parts.append(
            f"`{a.name}` ({a.labels['device']}) against `{b.name}` ({b.labels['device']}), all runs "
            "that both have; they differ in more than precision. Spread: standard deviation over "
            f"seeds, within configurations. Without adjustment {beyond} of {len(rows)} intervals "
            "leave out 0."
        )
        parts.append(markdown(rows))
    return parts or ["No job has been run in both."]


def runs(found: dict[str, Results]) -> list[str]:
    """What each folder holds, on what it was made, and how long all trainings took."""
    rows, hours = [], 0.0
    quick = _histories(found["quick"]) if "quick" in found else {}
    for name, results in found.items():
        written, s = results.labels, results.labels["settings"]
        starts = pd.DataFrame(written.get("starts") or [written])
        commits = starts.commit.dropna().unique()
        ours = _histories(results) if name != "quick" else {}
        shared = sum(history == quick.get(run) for run, history in ours.items())
        count = len(results.configurations) * len(results.seeds)
        own = written.get("seconds", 0) / 3600
        hours += own * (1 - shared / count if shared else 1)
        time = f"{own:.2f}" if own else ""
        time += f", {shared} of {count} runs are those of `quick/`" if shared else ""
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


def _histories(results: Results) -> dict:
    """Test losses, epoch by epoch, by run: the same in two folders, the same run."""
    table = results.tables["training"]
    groups = table.groupby(RUN) if len(table) else []
    return {run: rows.test_loss.dropna().tolist() for run, rows in groups}


def _title(results: Results) -> str:
    name, scale, n = results.name, results.labels["scale"], len(results.seeds)
    seeds = f"seeds {_list(results.seeds)} (n = {n})"
    return f"### `{name}/`: {scale} scale, {seeds}, {results.precision}"


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
