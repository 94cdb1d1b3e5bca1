"""Claims, what was measured of them, and verdicts."""

import numpy as np
import pandas as pd
from scipy import stats

from utils import configurations
from utils.evidence import paper
from utils.evidence.intervals import interval
from utils.evidence.paper import Claim
from utils.evidence.quantities import Quantity

LEVEL = 0.05  # of the tests, after Holm's adjustment
SAID = {  # of a claim, in the words of a terminal
    "holds": "this holds",
    "contradicted": "the opposite holds",
    "undecided": "undecided, as chance may be the reason",
    "not judged": "not judged, as it is not defined in every seed",
}


def measure(claim: Claim, seeds, comparable: bool = True) -> dict:
    """What was measured of a claim.

    Args:
        seeds: a number per seed, NaN where the quantity is not defined.
        comparable: whether the published number can be judged by these seeds.

    Returns mean, low, high (ends of the 95 % interval), n, not_defined (seeds), no_effect, p
    (two-sided t-test), expected_low, expected_high (95 % prediction interval of one more run) and
    size: "compatible" where that holds the published number, which is one run, else "not
    compatible"; "not judged" for fewer than 3 seeds. There is no p for one seed or without any
    spread. Where the quantity is not defined in some seeds the rest would be a selection: no p,
    and "not judged".
    """
    seeds = np.asarray(seeds, dtype=float)
    values = seeds[~np.isnan(seeds)]
    is_whole = len(values) == len(seeds)
    has_spread = len(values) > 1 and np.ptp(values.round(9)) > 0  # below that it is rounding
    row = dict(zip(("mean", "low", "high"), interval(values, claim.ratio)))
    row |= {"n": len(values), "not_defined": len(seeds) - len(values)}
    row |= {"no_effect": claim.no_effect if claim.side else np.nan, "p": np.nan}
    if claim.side and has_spread and is_whole:
        transformed = np.log if claim.ratio else np.asarray
        row["p"] = stats.ttest_1samp(transformed(values), transformed(claim.no_effect)).pvalue
    low, high, size = np.nan, np.nan, "not judged"
    if is_whole and len(seeds) >= 3:
        _, low, high = interval(seeds, claim.ratio, of_one_more=True)
        if comparable:
            size = "compatible" if low <= claim.published <= high else "not compatible"
    if np.isnan(claim.published):
        size = "nothing published"
    return row | {"expected_low": low, "expected_high": high, "size": size}


def holm(p: pd.Series) -> pd.Series:
    """p-values adjusted for as many tests as there are (Holm 1979); NaN are none of them."""
    ordered = p.dropna().sort_values()
    factors = np.arange(len(ordered), 0, -1)
    return (ordered * factors).clip(upper=1).cummax().reindex(p.index)


def judge(rows: pd.DataFrame) -> pd.DataFrame:
    """Add p_adjusted, judged (the number of tests of the family about the configuration) and
    direction: "holds", "contradicted", "undecided", "not judged", or "-" where nothing is claimed.

    Args:
        rows: of family, configuration, claimed ("above", "below" or "") and those of `measure`.
    """
    groups = rows.groupby(["family", "configuration"], sort=False).p
    rows = rows.assign(p_adjusted=groups.transform(holm), judged=groups.transform("count"))
    cases = {
        "-": rows.claimed == "",
        "not judged": rows.not_defined > 0,
        "undecided": ~(rows.p_adjusted < LEVEL),
        "holds": (rows["mean"] > rows.no_effect) == (rows.claimed == "above"),
    }
    return rows.assign(direction=np.select(list(cases.values()), list(cases), "contradicted"))


def is_published_setting(labels: dict, configuration: str) -> bool:
    """Are results about CIFAR-10 at the published scale and recipe, with nothing changed?"""
    same = (labels["dataset"], labels["scale"]) == (paper.DATASET, paper.SCALE)
    return same and configuration in paper.CONFIGURATIONS


def claim_table(tables: dict[str, pd.DataFrame], labels: dict, seeds=None) -> pd.DataFrame:
    """A row per claim and configuration, and per published value: what was measured, the verdicts.

    Args:
        tables: "training", "ssr", "accuracy" (the rows of the last epoch), "sensitivity": as
            experiments B, C and D write them. What they do not hold is left out.
        labels: of the results: "dataset" and "scale" among them.
        seeds: to judge by; None: all.

    The direction is judged by Holm's p over the claims of one family about one configuration.
    """
    rows = []
    for family, about, claim in paper.FAMILIES:
        values = claim.quantity.by_run(tables)
        if seeds is not None:
            values = values[values.index.isin(seeds, level="seed")]
        groups = values.groupby(level="configuration", sort=False)
        found = {name: group.droplevel("configuration") for name, group in groups}
        for name in found if "baseline" in found or not claim.side else []:
            if not about & {name, configurations.family(name)}:
                continue
            of_seeds, level = found[name], np.nan
            if claim.side and not claim.ratio:
                of_seeds = (of_seeds - found["baseline"]).dropna()
                level = found["baseline"].reindex(of_seeds.index).mean()
            row = {"family": family, "configuration": name, "claim": claim.text}
            row |= {"quantity": claim.quantity.text, "published": claim.published}
            row |= {"claimed": ["", "above", "below"][claim.side], "baseline": level}
            if len(of_seeds):
                rows.append(row | measure(claim, of_seeds, is_published_setting(labels, name)))
    if not rows:
        return pd.DataFrame(columns=["family", "configuration", "direction"])
    return judge(pd.DataFrame(rows))


def claim_text(rows: pd.DataFrame) -> str:
    """The claims of a script in plain words, a paragraph each.

    Of L2 in several strengths only the published one is told, where it is there.
    """
    rows, published = rows[rows.direction != "-"], paper.CONFIGURATIONS[1]
    if rows.empty:
        return "No claim: none is about these configurations, or their baseline is missing."
    if (rows.configuration == published).any():
        strengths = rows.configuration.map(configurations.family) == "l2"
        rows = rows[~strengths | (rows.configuration == published)]
    return "\n".join(_sentences(row) for row in rows.itertuples())


def _sentences(row) -> str:
    """A claim and its verdict as a sentence, and on further lines the numbers."""
    said = SAID[row.direction]
    if row.direction == "undecided" and row.n == 1:
        said = "one seed, so no verdict"
    here = f"{measured(row)}, {'one seed' if row.n == 1 else f'n = {row.n}'}"
    if pd.notna(row.baseline):
        here = f"{row.baseline + row.mean:.4g} minus {row.baseline:.4g} of the baseline: {here}"
    if pd.notna(row.p):
        here += f"; p = {row.p:.2g}, among {row.judged} claims judged together {row.p_adjusted:.2g}"
    text = f"{configurations.label(row.configuration)} {row.claim}: {said}.\n"
    text += f"  {row.quantity}: {here} (tested against {row.no_effect:g})"
    if pd.notna(row.published):
        size = f"to judge its size takes {paper.DATASET} at {paper.SCALE} scale and 3 seeds or more"
        if row.size != "not judged":
            size = f"{row.size} with one further run here, expected within "
            size += f"{row.expected_low:.3g} to {row.expected_high:.3g}"
        text += f"\n  {paper.SOURCE}, one run: {row.published:g}; {size}."
    return text


def measured(row) -> str:
    """Mean and interval of a row of `claim_table`, and where it is not defined."""
    if row.n == 0:
        return "not defined"
    text = f"{row.mean:.3g} [{row.low:.3g}, {row.high:.3g}]" if row.n > 1 else f"{row.mean:.3g}"
    lost = f" (not defined in {row.not_defined} of {row.n + row.not_defined} seeds)"
    return text + lost * (row.not_defined > 0)


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
        row = {"quantity": text, "published": claim.published}
        rows.append(row | measure(claim, cell.explained_variance))
    return pd.DataFrame(rows).drop(columns=["no_effect", "p"])
