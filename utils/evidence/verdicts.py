"""Claims, what was measured of them, and verdicts."""

import numpy as np
import pandas as pd
from scipy import stats

from utils import configurations
from utils.evidence import paper
from utils.evidence.intervals import interval
from utils.evidence.paper import Claim, Quantity

LEVEL = 0.05  # of the tests, after Holm's adjustment


def by_run(tables: dict[str, pd.DataFrame], quantity: Quantity) -> pd.Series:
    """A quantity of every run after its last epoch, by (configuration, seed).

    Args:
        tables: "training", "ssr", "accuracy" (the rows of the last epoch), "sensitivity": as
            experiments B, C and D write them. Where one is missing there are no rows.
    """
    run = ["configuration", "seed"]
    table = tables.get(quantity.table)
    if table is None or not len(table) or quantity.column not in table:
        return pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[], []], names=run))
    if "epoch" in table:
        table = table[table.epoch == table.epoch.max()]
    chosen = table
    for column, value in quantity.rows.items():
        chosen = chosen[chosen[column] == value]
    values = chosen.drop_duplicates(run).set_index(run)[quantity.column]
    if quantity.beyond_clean:
        clean = table[(table.images == "test") & (table.corruption == "none")]
        values = values - clean.drop_duplicates(run).set_index(run)[quantity.column]
    return values


def of(values: pd.Series, configuration: str) -> pd.Series:
    """The values of one configuration, by seed; without rows where it has none."""
    found = values[values.index.get_level_values("configuration") == configuration]
    return found.droplevel("configuration")


def difference(values: pd.Series, configuration: str, other: str = "baseline") -> pd.Series:
    """A configuration minus another of the same seed, for the seeds that both have."""
    return (of(values, configuration) - of(values, other)).dropna()


def statistics(claim: Claim, seeds) -> dict:
    """Mean, interval and two-sided t-test over seeds of what is claimed.

    Args:
        seeds: a number per seed, NaN where the quantity is not defined.

    Returns mean, low, high (ends of the 95 % interval), n, not_defined, no_effect and p. There is
    no p for one seed, for values without any spread, and where the quantity is not defined in
    some seeds: the rest would be a selection.
    """
    seeds = np.asarray(seeds, dtype=float)
    values, p = seeds[~np.isnan(seeds)], np.nan
    has_spread = len(values) > 1 and np.ptp(values.round(9)) > 0  # below that it is rounding
    if claim.side and has_spread and len(values) == len(seeds):
        transformed = np.log if claim.ratio else np.asarray
        p = stats.ttest_1samp(transformed(values), transformed(claim.no_effect)).pvalue
    row = dict(zip(("mean", "low", "high"), interval(values, claim.ratio)))
    row |= {"n": len(values), "not_defined": len(seeds) - len(values)}
    return row | {"no_effect": claim.no_effect if claim.side else np.nan, "p": p}


def holm(p: pd.Series) -> pd.Series:
    """p-values adjusted for as many tests as there are (Holm 1979); NaN are none of them."""
    ordered = p.dropna().sort_values()
    factors = np.arange(len(ordered), 0, -1)
    return (ordered * factors).clip(upper=1).cummax().reindex(p.index)


def verdict(row) -> str:
    """ "holds", "contradicted" or "undecided" of what is claimed to lie above or below.

    Args:
        row: claimed ("above", "below" or ""), mean, no_effect, p_adjusted, not_defined. Without a
            p it is undecided; what is not defined in some seeds is not judged.
    """
    if not row["claimed"]:
        return "-"
    if row["not_defined"]:
        return "not judged"
    if not row["p_adjusted"] < LEVEL:
        return "undecided"
    as_claimed = (row["mean"] > row["no_effect"]) == (row["claimed"] == "above")
    return "holds" if as_claimed else "contradicted"


def size(claim: Claim, seeds) -> dict:
    """Is the published number, one run, what a further run here could give?

    Returns expected_low and expected_high, the 95 % prediction interval, and size: "compatible"
    where it contains the published number, else "not compatible"; "not judged" for fewer than 3
    seeds, or where the quantity is not defined in some of them.
    """
    seeds = np.asarray(seeds, dtype=float)
    judged = len(seeds) >= 3 and not np.isnan(seeds).any()
    _, low, high = interval(seeds, claim.ratio, of_one_more=True) if judged else (np.nan,) * 3
    said = "not judged"
    if np.isnan(claim.published):
        said = "nothing published"
    elif judged:
        said = "compatible" if low <= claim.published <= high else "not compatible"
    return {"expected_low": low, "expected_high": high, "size": said}


def is_published_setting(labels: dict, configuration: str) -> bool:
    """Are results about CIFAR-10 at the published scale and recipe, with nothing changed?"""
    same = (labels["dataset"], labels["scale"]) == (paper.DATASET, paper.SCALE)
    return same and configuration in paper.CONFIGURATIONS


SAID = {  # after a claim, in the words of a terminal
    "holds": "this holds",
    "contradicted": "the opposite holds",
    "undecided": "undecided, as chance may be the reason",
    "not judged": "not judged, as it is not defined in every seed",
}


def claim_table(tables: dict[str, pd.DataFrame], labels: dict, seeds=None) -> pd.DataFrame:
    """A row per claim and configuration, and per published value: what was measured, the verdicts.

    Args:
        tables: as `by_run` takes them. What they do not hold is left out.
        labels: of the results: "dataset" and "scale" among them.
        seeds: to judge by; None: all.

    The direction is judged by Holm's p over the claims of one family about one configuration.
    """
    rows = []
    for family, (claims, kinds) in paper.FAMILIES.items():
        for claim in claims.values():
            values = by_run(tables, claim.quantity)
            for name in values.index.unique("configuration"):
                if configurations.family(name) in kinds and len(of(values, "baseline")):
                    about = {"family": family, "configuration": name}
                    rows.append(about | _measured(claim, values, name, labels, seeds))
    for quantity, published in paper.VALUES:
        values = by_run(tables, quantity)
        for name, number in zip(paper.CONFIGURATIONS, published):
            claim = Claim("published value", quantity, 0, number)
            about = {"family": "values", "configuration": name}
            rows.append(about | _measured(claim, values, name, labels, seeds))
    rows = [row for row in rows if row["n"] + row["not_defined"]]
    if not rows:
        return pd.DataFrame(columns=["family", "configuration", "direction"])
    table = pd.DataFrame(rows)
    groups = table.groupby(["family", "configuration"], sort=False).p
    table["p_adjusted"], table["judged"] = groups.transform(holm), groups.transform("count")
    table["direction"] = [verdict(row) for row in table.to_dict("records")]
    return table


def _measured(claim: Claim, values: pd.Series, name: str, labels: dict, seeds) -> dict:
    """What was measured of a claim about a configuration, and the levels of a difference."""
    row = {"claim": claim.text, "quantity": claim.quantity.text, "published": claim.published}
    row |= {"claimed": {1: "above", -1: "below", 0: ""}[claim.side], "baseline": np.nan}
    found = of(values, name)
    found = found if seeds is None else found[found.index.isin(seeds)]
    if claim.side and not claim.ratio:
        baseline = of(values, "baseline")
        found = (found - baseline).dropna()
        row["baseline"] = baseline.reindex(found.index).mean()
    row |= statistics(claim, found) | size(claim, found)
    if not is_published_setting(labels, name) and row["size"] != "nothing published":
        row["size"] = "not judged"
    return row


def claim_text(rows: pd.DataFrame) -> str:
    """The claims of a script in plain words, a paragraph each.

    Of L2 in several strengths only the published one is told, where it is there.
    """
    rows = rows[rows.direction != "-"]
    if rows.empty:
        return "No claim: none is about these configurations, or their baseline is missing."
    if (rows.configuration == paper.CONFIGURATIONS[1]).any():
        strengths = rows.configuration.map(configurations.family) == "l2"
        rows = rows[~strengths | (rows.configuration == paper.CONFIGURATIONS[1])]
    return "\n".join(_sentences(row) for row in rows.itertuples())


def measured(row) -> str:
    """Mean and interval of a row of `claim_table`, and where it is not defined."""
    if row.n == 0:
        return "not defined"
    text = f"{row.mean:.3g} [{row.low:.3g}, {row.high:.3g}]" if row.n > 1 else f"{row.mean:.3g}"
    lost = f" (not defined in {row.not_defined} of {row.n + row.not_defined} seeds)"
    return text + lost * (row.not_defined > 0)


def _sentences(row) -> str:
    """A claim and its verdict as a sentence, and on further lines the numbers."""
    said = SAID[row.direction]
    if row.direction == "undecided" and row.n < 2:
        said = "one seed, so no verdict" if row.n else "not defined in any seed, so no verdict"
    here = f"{measured(row)}, {'one seed' if row.n == 1 else f'n = {row.n}'}"
    if pd.notna(row.baseline):
        here = f"{row.baseline + row.mean:.4g} minus {row.baseline:.4g} of the baseline: {here}"
    if pd.notna(row.p):
        here += f"; p = {row.p:.2g}, among {row.judged} claims judged together {row.p_adjusted:.2g}"
    lines = [
        f"{configurations.label(row.configuration)} {row.claim}: {said}.",
        f"  {row.quantity}: {here} (tested against {row.no_effect:g})",
    ]
    if pd.notna(row.published):
        size = f"to judge its size takes {paper.DATASET} at {paper.SCALE} scale and 3 seeds or more"
        if row.size != "not judged":
            ends = f"{row.expected_low:.3g} to {row.expected_high:.3g}"
            size = f"{row.size} with one further run here, expected within {ends}"
        lines.append(f"  {paper.SOURCE}, one run: {row.published:g}; {size}.")
    return "\n".join(lines)


def learned_table(frequency: pd.DataFrame) -> pd.DataFrame:
    """The last step of every network and frequency, and when it was learned to 50 %.

    Args:
        frequency: rows of (strength, seed, frequency, step, explained_variance, ...).

    Returns the rows of the last step with a further column step_half: the first recorded step
    whose explained variance is at least 0.5, NaN if there is none.
    """
    key = ["strength", "seed", "frequency"]
    half = frequency[frequency.explained_variance >= 0.5].groupby(key).step.min()
    last = frequency[frequency.step == frequency.step.max()]
    return last.join(half.rename("step_half"), on=key).reset_index(drop=True)


def learned_claims(learned: pd.DataFrame) -> pd.DataFrame:
    """Published explained variances of experiment A, and what was measured: a row per cell."""
    rows = []
    for (strength, frequency), cell in learned.groupby(["strength", "frequency"]):
        text = f"explained variance, strength {strength:g}, k = {frequency}"
        quantity = Quantity(text, "learned", "explained_variance")
        claim = Claim("", quantity, 0, paper.EXPLAINED_VARIANCE[strength][frequency])
        found = statistics(claim, cell.explained_variance) | size(claim, cell.explained_variance)
        rows.append({"quantity": text, "published": claim.published} | found)
    return pd.DataFrame(rows).drop(columns=["no_effect", "p"])
