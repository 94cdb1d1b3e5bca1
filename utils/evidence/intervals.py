"""From seeds to means with intervals, and differences between pairs of the same seed."""

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # quantiles of Student's t


def interval(values, ratio: bool = False, of_one_more: bool = False) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % Student-t interval, NaN for fewer than two values.

    For paired differences or ratios pass one value per pair (per seed). NaN is left out.

    Args:
        ratio: of the logarithms (geometric mean); the values must be above 0.
        of_one_more: the interval in which one further value is expected (prediction interval),
            mean +- t s sqrt(1 + 1/n), instead of that of the mean, mean +- t s / sqrt(n).
    """
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    values, n = np.log(values) if ratio else values, len(values)
    mean, half = values.mean() if n else np.nan, np.nan
    if n > 1:
        half = stdtrit(n - 1, 0.975) * values.std(ddof=1) * np.sqrt(1 / n + of_one_more)
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
