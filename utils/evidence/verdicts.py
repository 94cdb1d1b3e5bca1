"""Claims, what was measured of them, and verdicts."""

import numpy as np
import pandas as pd

from utils import configurations
from utils.evidence import paper
from utils.evidence.intervals import interval
from utils.evidence.paper import Claim

Values = list[tuple[Claim, str, pd.Series]]  # claim, configuration, a number per seed


def judge(claim: Claim, seeds) -> dict:
    """What was measured, and two verdicts, by the 95 % interval over seeds.

    Args:
        seeds: a number per seed, NaN where the quantity is not defined.

    Direction: "holds" where the interval lies wholly on the claimed side of no effect,
    "contradicted" where wholly on the other, else "undecided", as is everything from one seed;
    "-" where no side is claimed. Size: "reproduced" where the interval contains the published
    value and the direction, if any, holds, "not reproduced" where it does not contain it, else
    "inconclusive"; with a bound by the side of it on which the interval lies.
    """
    seeds = pd.Series(seeds, dtype=float)
    mean, low, high = interval(seeds, claim.ratio)
    direction = "undecided" if claim.side else "-"
    if claim.side and (low > claim.no_effect or high < claim.no_effect):
        direction = "holds" if (low > claim.no_effect) == (claim.side > 0) else "contradicted"
    size = "inconclusive"
    if np.isnan(claim.published):
        size = "nothing published"
    elif not np.isnan(claim.bound):
        if low > claim.bound or high < claim.bound:
            size = "reproduced" if low > claim.bound else "not reproduced"
    elif low > claim.published or high < claim.published:
        size = "not reproduced"
    elif not np.isnan(low) and direction in ("holds", "-"):
        size = "reproduced"
    row = {"published": claim.published, "mean": mean, "low": low, "high": high}
    row |= {"n": seeds.count(), "not_defined": seeds.isna().sum(), "no_effect": claim.no_effect}
    return row | {"direction": direction, "size": size}


def is_published_setting(labels: dict, configuration: str) -> bool:
    """Are results about CIFAR-10 at the published scale and recipe, with nothing changed?"""
    same = (labels["dataset"], labels["scale"]) == (paper.DATASET, paper.SCALE)
    return same and configuration in paper.CONFIGURATIONS


def claim_table(values: Values, labels: dict) -> pd.DataFrame:
    """A row per claim and configuration: what was measured, and the verdicts.

    Args:
        labels: of the results: "dataset" and "scale" among them.
    """
    rows = []
    for claim, name, seeds in values:
        row = {"claim": claim.text, "configuration": name, "quantity": claim.quantity}
        judged = {} if is_published_setting(labels, name) else {"size": "not judged"}
        rows.append(row | judge(claim, seeds) | judged)
    return pd.DataFrame(rows)


def l2_values(key: str, table: pd.DataFrame, column: str) -> Values:
    """For a claim, by its key in `paper.CLAIMS`: a column of every strength of L2.

    Nothing where there is no baseline; leads have been compared with theirs before.
    """
    claim = paper.CLAIMS[key]
    if not claim.lead and "baseline" not in set(table.configuration):
        return []
    models = table.groupby("configuration", sort=False)
    l2 = (model for model in models if configurations.family(model[0]) == "l2")
    return [(claim, name, rows[column]) for name, rows in l2]


def published_values(table: pd.DataFrame, column: str, quantity: str, values: tuple) -> Values:
    """A column of the published configurations, beside the published values."""
    of = dict(zip(paper.CONFIGURATIONS, values))
    models = table[table.configuration.isin(of)].groupby("configuration", sort=False)[column]
    return [(paper.value(quantity, of[name]), name, seeds) for name, seeds in models]


def accuracy_values(accuracy: pd.DataFrame, leads: pd.DataFrame) -> Values:
    """For all claims about leads, and all published accuracies, that tables of test images have."""
    accuracy, leads = accuracy[accuracy.images == "test"], leads[leads.images == "test"]
    values = []
    for key, claim in paper.CLAIMS.items():
        if claim.lead:
            corruption, level, column = claim.lead
            rows = leads[(leads.corruption == corruption) & (leads.level == level)]
            values += l2_values(key, rows, column)
    for corruption, levels in paper.ACCURACY.items():
        for level, numbers in levels.items():
            rows = accuracy[(accuracy.corruption == corruption) & (accuracy.level == level)]
            quantity = f"accuracy, %: {corruption} {level:g}"
            values += published_values(rows, "accuracy", quantity, numbers)
    return values


def claim_text(rows: pd.DataFrame) -> str:
    """The claims of a script in plain words, a paragraph each.

    Of L2 in several strengths only the published one is told, where it is there.
    """
    rows = rows[rows.direction != "-"] if len(rows) else rows
    if rows.empty:
        return "No claim: none is about these configurations, or their baseline is missing."
    if (rows.configuration == paper.CONFIGURATIONS[1]).any():
        rows = rows[rows.configuration == paper.CONFIGURATIONS[1]]
    lines = []
    for row in rows.itertuples():
        ends = f", 95 % interval {row.low:.3g} to {row.high:.3g}" if row.n > 1 else ""
        here = f"here {row.mean:.3g}{ends}, n = {row.n}" if row.n else "here in no seed defined"
        if row.n and row.not_defined:
            here += f"; in {row.not_defined} more not defined"
        was, verdict = "", f"direction: {row.direction}"
        if pd.notna(row.published):
            was = f"{paper.SOURCE}: {row.published:g}; "
            verdict += f"; size: {row.size}"
            if row.size == "not judged":
                where = f"{paper.DATASET} at {paper.SCALE} scale"
                verdict += f" (claimed for {where}, unchanged)"
        lines += [
            f"Claim: {configurations.label(row.configuration)} {row.claim}.",
            f"  {row.quantity} ({was}no effect: {row.no_effect:g})",
            f"  {here}",
            f"  {verdict}",
        ]
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
        quantity = f"explained variance, strength {strength:g}, k = {frequency}"
        claim = paper.value(quantity, paper.EXPLAINED_VARIANCE[strength][frequency])
        rows.append({"quantity": quantity} | judge(claim, cell.explained_variance))
    return pd.DataFrame(rows).drop(columns=["no_effect", "direction"])
