"""From seeds to means with intervals, paired differences, and verdicts on claims."""

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # quantiles of Student's t

from utils import configurations, published


def mean_interval(values) -> tuple[float, float]:
    """Mean and half-width of its 95 % Student-t interval; NaN width for fewer than two.

    For paired differences or ratios pass one value per pair (per seed). NaN is left out.
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    mean = values.mean() if len(values) else np.nan
    if len(values) < 2:
        return mean, np.nan
    standard_error = values.std(ddof=1) / np.sqrt(len(values))
    return mean, stdtrit(len(values) - 1, 0.975) * standard_error


def interval(values, ratio: bool = False) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval; of ratios by their logarithms (geometric mean).

    NaN is left out. A ratio must be above 0.
    """
    values = np.asarray(values, dtype=float)
    mean, half = mean_interval(np.log(values) if ratio else values)
    ends = np.array([mean, mean - half, mean + half])
    return tuple(np.exp(ends) if ratio else ends)


def interval_text(values, digits: str, n: int | None = None, ratio: bool = False) -> str:
    """Mean and, from two values on, the 95 % interval: "94.46 ± 0.21", "3.2 [2.9, 3.5]".

    Args:
        n: how many values are expected; where there are others, their number is added.
        ratio: geometric mean, and both ends as its interval is not symmetric.
    """
    count = int(np.count_nonzero(~np.isnan(np.asarray(values, dtype=float))))
    if count == 0:
        return "-"
    mean, low, high = interval(values, ratio)
    text = f"{mean:{digits}}"
    if count > 1:
        half = f" [{low:{digits}}, {high:{digits}}]" if ratio else f" ± {high - mean:{digits}}"
        text += half
    return text if n in (None, count) else f"{text} (n = {count})"


def summarize(table: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """Columns `by`, then mean, half (of the 95 % interval) and n of a column over the rest."""
    rows = [
        (*key, *mean_interval(values), values.notna().sum())
        for key, values in table.groupby(by, sort=False)[column]
    ]
    return pd.DataFrame(rows, columns=[*by, "mean", "half", "n"])


def minus_baseline(table: pd.DataFrame, column: str) -> pd.Series:
    """A number minus that of the baseline of the same seed; NaN for the baseline itself."""
    baseline = table[table.configuration == "baseline"].set_index("seed")[column]
    difference = table[column] - table.seed.map(baseline)
    return difference.where(table.configuration != "baseline")


def direction(values, claim: published.Claim) -> str:
    """Does an effect go the claimed way, judged by the 95 % interval over seeds?

    "holds" where it lies wholly on the claimed side of no effect, "contradicted" where wholly on
    the other, else "undecided", as is everything from one seed.
    """
    _, low, high = interval(values, claim.ratio)
    if low > claim.no_effect:
        return "holds" if claim.side > 0 else "contradicted"
    if high < claim.no_effect:
        return "holds" if claim.side < 0 else "contradicted"
    return "undecided"


def size(values, claim: published.Claim) -> str:
    """Does a published size reproduce, judged by the 95 % interval over seeds?

    "reproduced" where the interval contains the published value and the direction holds, "not
    reproduced" where it does not contain it, else "inconclusive"; with a bound by the side of it
    on which the interval lies.
    """
    _, low, high = interval(values, claim.ratio)
    if claim.published is None:
        return "nothing published"
    if np.isnan(low):
        return "inconclusive"
    if claim.bound is not None:
        if low > claim.bound:
            return "reproduced"
        return "not reproduced" if high < claim.bound else "inconclusive"
    if not low <= claim.published <= high:
        return "not reproduced"
    return "reproduced" if direction(values, claim) == "holds" else "inconclusive"


def claim_rows(values: dict[tuple[str, str], pd.Series], labels: dict) -> list[dict]:
    """A row per claim and configuration: what was measured, and the two verdicts.

    Args:
        values: (key of `published.CLAIMS`, configuration) -> one value per seed, NaN where the
            quantity is not defined.
        labels: of the results: "dataset" and "scale" among them.
    """
    rows = []
    for (key, configuration), seeds in values.items():
        claim = published.CLAIMS[key]
        row = {"claim": claim.text, "configuration": configuration, "quantity": claim.quantity}
        row |= _numbers(seeds, claim.published, claim.ratio) | {"no_effect": claim.no_effect}
        row["direction"] = direction(seeds, claim)
        comparable = is_published_setting(labels, configuration)
        row["size"] = size(seeds, claim) if comparable else "not judged"
        rows.append(row)
    return rows


def cell_rows(cells: dict[tuple[str, str], tuple[pd.Series, float]], labels: dict) -> list[dict]:
    """Rows, as of `claim_rows`, for published numbers without a direction.

    Args:
        cells: (quantity, configuration) -> one value per seed, and the published value.
    """
    rows = []
    for (quantity, configuration), (seeds, value) in cells.items():
        row = {"claim": "published value", "configuration": configuration, "quantity": quantity}
        row |= _numbers(seeds, value, False)
        row |= {"no_effect": np.nan, "direction": "-", "size": "not judged"}
        if is_published_setting(labels, configuration):
            inside = row["low"] <= value <= row["high"]
            row["size"] = "reproduced" if inside else "not reproduced"
            if np.isnan(row["low"]):
                row["size"] = "inconclusive"
        rows.append(row)
    return rows


def published_cells(table: pd.DataFrame, column: str, quantity: str, values: tuple) -> dict:
    """Cells for `cell_rows`: what a table has of the published configurations."""
    return {
        (quantity, name): (table[table.configuration == name].set_index("seed")[column], value)
        for name, value in zip(published.CONFIGURATIONS, values)
        if name in set(table.configuration)
    }


def published_accuracies(accuracy: pd.DataFrame, corruptions: list[str]) -> dict:
    """Cells for `cell_rows`: accuracies on corrupted test images of the published tables."""
    cells = {}
    for corruption in corruptions:
        for level, values in published.ACCURACY[corruption].items():
            rows = accuracy[(accuracy.images == "test") & (accuracy.corruption == corruption)]
            quantity = f"accuracy, %: {corruption} {level:g}"
            cells |= published_cells(rows[rows.level == level], "accuracy", quantity, values)
    return cells


def per_l2(tables: dict[str, pd.DataFrame], column: str) -> dict[tuple[str, str], pd.Series]:
    """Values for `claim_rows`: a column by seed, for every strength of L2.

    Args:
        tables: key of `published.CLAIMS` -> rows of (configuration, seed, the column).
    """
    return {
        (key, name): rows.set_index("seed")[column]
        for key, table in tables.items()
        for name, rows in table.groupby("configuration", sort=False)
        if configurations.family(name) == "l2" and "baseline" in set(table.configuration)
    }


def _numbers(seeds: pd.Series, value: float | None, ratio: bool) -> dict:
    mean, low, high = interval(seeds, ratio)
    defined = int(seeds.notna().sum())
    return {
        "published": np.nan if value is None else value,
        "mean": mean,
        "low": low,
        "high": high,
        "n": defined,
        "not_defined": len(seeds) - defined,
    }


def is_published_setting(labels: dict, configuration: str) -> bool:
    """Are results about CIFAR-10 at the published scale and recipe, with nothing changed?"""
    same = (labels["dataset"], labels["scale"]) == (published.DATASET, published.SCALE)
    return same and configuration in published.CONFIGURATIONS


def claim_text(rows: pd.DataFrame) -> str:
    """The claims of a script in plain words, a paragraph each.

    Of L2 in several strengths only the published one is told, where it is there.
    """
    if rows.empty:
        return "No claim: none is about these configurations, or their baseline is missing."
    rows = rows[rows.direction != "-"]
    if (rows.configuration == published.CONFIGURATIONS[1]).any():
        rows = rows[rows.configuration == published.CONFIGURATIONS[1]]
    lines = []
    for row in rows.itertuples():
        was = f"{published.SOURCE}: {row.published:g}; " if row.published == row.published else ""
        ends = f", 95 % interval {row.low:.3g} to {row.high:.3g}" if row.n > 1 else ""
        here = f"here {row.mean:.3g}{ends}, n = {row.n}" if row.n else "here in no seed defined"
        if row.n and row.not_defined:
            here += f"; in {row.not_defined} more not defined"
        verdict = f"direction: {row.direction}"
        if was:
            verdict += f"; size: {row.size}"
        if was and row.size == "not judged":
            verdict += f" (claimed for {published.DATASET} at {published.SCALE} scale, unchanged)"
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
    for strength, values in published.EXPLAINED_VARIANCE.items():
        for frequency, value in values.items():
            chosen = learned[(learned.strength == strength) & (learned.frequency == frequency)]
            numbers = _numbers(chosen.explained_variance, value, ratio=False)
            inside = numbers["low"] <= value <= numbers["high"]
            quantity = f"explained variance, strength {strength:g}, k = {frequency}"
            size = "reproduced" if inside else "not reproduced"
            size = size if numbers["n"] > 1 else "inconclusive"
            rows.append({"quantity": quantity} | numbers | {"size": size})
    return pd.DataFrame(rows)


def level_table(accuracy: pd.DataFrame, corruption: str) -> pd.DataFrame:
    """Text: accuracy in percent, a row per set of images and level, a column per model."""
    rows = accuracy[accuracy.corruption == corruption]
    key = ["images", "level"] if accuracy.images.nunique() > 1 else ["level"]
    rows = rows.assign(level=rows.level.map("{:g}".format))
    sets = list(dict.fromkeys(rows.images))
    rows = rows.sort_values("images", key=lambda s: s.map(sets.index), kind="stable")
    cells = rows.groupby([*key, "configuration"], sort=False).accuracy
    n = accuracy.seed.nunique()
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
    key = ["seed", "images", "corruption", "level"]
    baseline = accuracy[accuracy.configuration == "baseline"].set_index(key).accuracy
    rows = accuracy[accuracy.configuration != "baseline"].copy()
    rows["lead"] = rows.accuracy - rows[key].join(baseline.rename("of"), on=key)["of"]
    key = ["configuration", "seed", "images"]
    clean = rows[rows.corruption == "none"].set_index(key).lead
    rows["excess"] = rows.lead - rows[key].join(clean.rename("of"), on=key)["of"]
    columns = [*key, "corruption", "level", "lead", "excess"]
    return rows[rows.lead.notna()][columns].reset_index(drop=True)


def lead_claims(
    leads: pd.DataFrame, points: dict[str, tuple[str, float, str]]
) -> dict[tuple[str, str], pd.Series]:
    """Values for `claim_rows` from leads on the test images, for every strength of L2.

    Args:
        points: key of `published.CLAIMS` -> corruption, level, and "lead" or "excess".
    """
    values = {}
    for key, (corruption, level, column) in points.items():
        rows = leads[(leads.images == "test") & (leads.corruption == corruption)]
        for name, seeds in rows[rows.level == level].groupby("configuration", sort=False):
            if configurations.family(name) == "l2":
                values[key, name] = seeds.set_index("seed")[column]
    return values


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
        names = ("baseline", other)
        parts = {name: table[table.configuration == name] for name in names}
        accuracies = {n: part.set_index("epoch").test_accuracy for n, part in parts.items()}
        if any(accuracy.empty for accuracy in accuracies.values()):
            continue
        weaker, better = sorted(names, key=lambda name: accuracies[name].iloc[-1])
        distance = (accuracies[better] - accuracies[weaker].iloc[-1]).abs()[::-1]
        last = int(accuracies[weaker].index[-1])
        chosen[seed] = {weaker: last, better: int(distance.idxmin())}
    return chosen
