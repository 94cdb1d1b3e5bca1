"""From seeds to means with intervals, paired differences, and verdicts on claims."""

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # quantiles of Student's t

from utils import configurations, published
from utils.published import Claim

Values = list[tuple[Claim, str, pd.Series]]  # claim, configuration, a number per seed


def interval(values, ratio: bool = False) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % Student-t interval, NaN for fewer than two values.

    For paired differences or ratios pass one value per pair (per seed). NaN is left out.

    Args:
        ratio: of the logarithms (geometric mean); the values must be above 0.
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    values, n = np.log(values) if ratio else values, len(values)
    mean = values.mean() if n else np.nan
    half = stdtrit(n - 1, 0.975) * (values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    ends = np.array([mean, mean - half, mean + half])
    return tuple(np.exp(ends) if ratio else ends)


def interval_text(values, digits: str, n: int | None = None, ratio: bool = False) -> str:
    """Mean and, from two values on, the 95 % interval: "94.46 ± 0.21", "3.2 [2.9, 3.5]".

    Args:
        n: how many values are expected; where there are others, their number is added.
        ratio: geometric mean, and both ends as its interval is not symmetric.
    """
    mean, low, high = interval(values, ratio)
    if np.isnan(mean):
        return "-"
    count, text = np.count_nonzero(~np.isnan(np.asarray(values, dtype=float))), f"{mean:{digits}}"
    if count > 1:
        text += f" [{low:{digits}}, {high:{digits}}]" if ratio else f" ± {high - mean:{digits}}"
    return text if n in (None, count) else f"{text} (n = {count})"


def minus_baseline(table: pd.DataFrame, column: str, at: tuple[str, ...] = ("seed",)) -> pd.Series:
    """A number minus that of the baseline of the same seed; NaN for the baseline itself.

    Args:
        at: columns, "seed" among them, in which the two agree.
    """
    is_baseline, at = table.configuration == "baseline", list(at)
    baseline = table[is_baseline].set_index(at)[column].rename("baseline")
    return (table[column] - table[at].join(baseline, on=at).baseline).where(~is_baseline)


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
    same = (labels["dataset"], labels["scale"]) == (published.DATASET, published.SCALE)
    return same and configuration in published.CONFIGURATIONS


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
    """For a claim, by its key in `published.CLAIMS`: a column of every strength of L2.

    Nothing where there is no baseline; leads have been compared with theirs before.
    """
    claim = published.CLAIMS[key]
    if not claim.lead and "baseline" not in set(table.configuration):
        return []
    models = table.groupby("configuration", sort=False)
    l2 = (model for model in models if configurations.family(model[0]) == "l2")
    return [(claim, name, rows[column]) for name, rows in l2]


def published_values(table: pd.DataFrame, column: str, quantity: str, values: tuple) -> Values:
    """A column of the published configurations, beside the published values."""
    of = dict(zip(published.CONFIGURATIONS, values))
    models = table[table.configuration.isin(of)].groupby("configuration", sort=False)[column]
    return [(published.value(quantity, of[name]), name, seeds) for name, seeds in models]


def accuracy_values(accuracy: pd.DataFrame, leads: pd.DataFrame) -> Values:
    """For all claims about leads, and all published accuracies, that tables of test images have."""
    accuracy, leads = accuracy[accuracy.images == "test"], leads[leads.images == "test"]
    values = []
    for key, claim in published.CLAIMS.items():
        if claim.lead:
            corruption, level, column = claim.lead
            rows = leads[(leads.corruption == corruption) & (leads.level == level)]
            values += l2_values(key, rows, column)
    for corruption, levels in published.ACCURACY.items():
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
    if (rows.configuration == published.CONFIGURATIONS[1]).any():
        rows = rows[rows.configuration == published.CONFIGURATIONS[1]]
    lines = []
    for row in rows.itertuples():
        ends = f", 95 % interval {row.low:.3g} to {row.high:.3g}" if row.n > 1 else ""
        here = f"here {row.mean:.3g}{ends}, n = {row.n}" if row.n else "here in no seed defined"
        if row.n and row.not_defined:
            here += f"; in {row.not_defined} more not defined"
        was, verdict = "", f"direction: {row.direction}"
        if pd.notna(row.published):
            was = f"{published.SOURCE}: {row.published:g}; "
            verdict += f"; size: {row.size}"
            if row.size == "not judged":
                where = f"{published.DATASET} at {published.SCALE} scale"
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
        claim = published.value(quantity, published.EXPLAINED_VARIANCE[strength][frequency])
        rows.append({"quantity": quantity} | judge(claim, cell.explained_variance))
    return pd.DataFrame(rows).drop(columns=["no_effect", "direction"])


def level_table(accuracy: pd.DataFrame, corruption: str) -> pd.DataFrame:
    """Text: accuracy in percent, a row per set of images and level, a column per model."""
    rows = accuracy[accuracy.corruption == corruption]
    rows = pd.concat([part for _, part in rows.groupby("images", sort=False)])
    rows = rows.assign(level=rows.level.map("{:g}".format))
    key = ["images", "level"] if rows.images.nunique() > 1 else ["level"]
    cells, n = rows.groupby([*key, "configuration"], sort=False).accuracy, accuracy.seed.nunique()
    table = cells.agg(lambda values: interval_text(values, ".2f", n)).unstack(sort=False)
    return table.rename(columns=configurations.label)


def leads(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Lead over the baseline of the same seed, in percentage points.

    Args:
        accuracy: rows of (configuration, seed, images, corruption, level, accuracy), one of
            them per configuration and seed with corruption "none".

    Returns rows of (configuration, seed, images, corruption, level, lead, excess), where
    excess is the lead beyond that on clean images. Runs without their baseline are left out.
    """
    key, at = ["configuration", "seed", "images"], ["corruption", "level"]
    lead = minus_baseline(accuracy, "accuracy", ("seed", "images", *at))
    rows = accuracy[[*key, *at]].assign(lead=lead).dropna(subset="lead").reset_index(drop=True)
    clean = rows[rows.corruption == "none"].set_index(key).lead
    return rows.assign(excess=rows.lead - rows[key].join(clean, on=key).lead)


def sensitivity_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Text: share above the cutoff, mean radius and total of the input sensitivity, by model."""
    n = summary.seed.nunique()
    names = summary.configuration.map(configurations.label).where(summary.epoch > 0, "initially")
    cells = summary.assign(total=10 * np.log10(summary.total)).groupby(names, sort=False)
    columns = {"high_share": "share", "mean_radius": "mean radius", "total": "total (dB)"}
    text = cells[list(columns)].agg(lambda values: interval_text(values, ".3f", n))
    return text.rename(columns=columns).rename_axis(None).T


def matched_epochs(kept: pd.DataFrame, other: str) -> dict[int, dict[str, int]]:
    """Epochs at which baseline and another configuration are about equally accurate, by seed.

    The one with the lower final accuracy is taken at its end; of the other the epoch whose
    accuracy is nearest to that, the latest of several. Nothing else decides.

    Args:
        kept: rows of (configuration, seed, epoch, test_accuracy) to choose from.
    """
    chosen = {}
    for seed, table in kept.groupby("seed"):
        accuracy = table.pivot(index="epoch", columns="configuration", values="test_accuracy")
        if not {"baseline", other} <= set(accuracy):
            continue
        parts = [accuracy[name].dropna() for name in ("baseline", other)]
        weaker, better = sorted(parts, key=lambda part: part.iloc[-1])
        distance = (better - weaker.iloc[-1]).abs()[::-1]
        chosen[seed] = {weaker.name: int(weaker.index[-1]), better.name: int(distance.idxmin())}
    return chosen
