"""Tables of accuracy under corruptions and of input sensitivity, and differences to the baseline."""

import numpy as np
import pandas as pd

from utils import configurations
from utils.evidence.intervals import interval_text, minus_baseline


def difference_to_baseline(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Accuracy minus that of the baseline of the same seed, in percentage points.

    Args:
        accuracy: rows of (configuration, seed, images, corruption, level, accuracy), one of
            them per configuration and seed with corruption "none".

    Returns rows of (configuration, seed, images, corruption, level, lead, excess): the difference,
    and the difference minus that on clean images. Runs without their baseline are left out.
    """
    key, at = ["configuration", "seed", "images"], ["corruption", "level"]
    lead = minus_baseline(accuracy, "accuracy", ("seed", "images", *at))
    rows = accuracy[[*key, *at]].assign(lead=lead).dropna(subset="lead").reset_index(drop=True)
    clean = rows[rows.corruption == "none"].set_index(key).lead
    return rows.assign(excess=rows.lead - rows[key].join(clean, on=key).lead)


def level_table(accuracy: pd.DataFrame, corruption: str) -> pd.DataFrame:
    """Text: accuracy in percent, a row per set of images and level, a column per model."""
    rows = accuracy[accuracy.corruption == corruption]
    rows = pd.concat([part for _, part in rows.groupby("images", sort=False)])
    rows = rows.assign(level=rows.level.map("{:g}".format))
    key = ["images", "level"] if rows.images.nunique() > 1 else ["level"]
    cells, n = rows.groupby([*key, "configuration"], sort=False).accuracy, accuracy.seed.nunique()
    table = cells.agg(lambda values: interval_text(values, ".2f", n)).unstack(sort=False)
    return table.rename(columns=configurations.label)


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
