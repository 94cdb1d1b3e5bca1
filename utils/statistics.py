"""From spectra to suppression, from seeds to means with intervals."""

import warnings

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # quantiles of Student's t

from utils.frequency import RadialSpectrum, published_ssr, spectral_suppression_ratio

POOLED = "all (energy-weighted)"  # the energies of all layers added up
MEAN = "all (mean)"  # every layer counts once
HIDDEN = "hidden (mean)"  # all but the first


def mean_interval(values) -> tuple[float, float]:
    """Mean and half-width of its 95 % Student-t interval; NaN width for fewer than two.

    For paired differences or ratios pass one value per pair (per seed).
    """
    values = np.asarray(values, dtype=float)
    mean = values.mean() if len(values) else np.nan
    if len(values) < 2:
        return mean, np.nan
    standard_error = values.std(ddof=1) / np.sqrt(len(values))
    return mean, stdtrit(len(values) - 1, 0.975) * standard_error


def interval_text(values, digits: str) -> str:
    """Mean and, from two values on, the 95 % interval: "94.46 ± 0.21"."""
    mean, half = mean_interval(values)
    if np.isnan(mean):
        return "-"
    return f"{mean:{digits}}" + (f" ± {half:{digits}}" if len(values) > 1 else "")


def summarize(table: pd.DataFrame, by: list[str], column: str) -> pd.DataFrame:
    """Columns `by`, then mean, half (of the 95 % interval) and n of a column over the rest."""
    rows = [
        (*key, *mean_interval(values), len(values))
        for key, values in table.groupby(by, sort=False)[column]
    ]
    return pd.DataFrame(rows, columns=[*by, "mean", "half", "n"])


def verdict(values, published: float, no_effect: float) -> str:
    """Does a published effect reproduce, judged by the 95 % interval over seeds?

    "reproduced" where the interval contains the published value but not `no_effect`, "not
    reproduced" where it does not contain the published value, else "inconclusive", as is
    everything from one seed.
    """
    mean, half = mean_interval(values)
    if abs(mean - published) > half:
        return "not reproduced"
    return "reproduced" if abs(mean - no_effect) > half else "inconclusive"


def closing_table(history: pd.DataFrame, ssr: pd.DataFrame) -> pd.DataFrame:
    """Text: a column per configuration, a row per number after the last epoch, raw weights."""
    last = history[history.epoch == history.epoch.max()]
    raw = ssr[ssr.weights == "raw"]
    model, hidden = raw[raw.layer == MEAN].copy(), raw[raw.layer == HIDDEN].copy()
    model["difference"] = _minus_baseline(model, "ssr")
    hidden["difference"] = _minus_baseline(hidden, "corner_final")
    first = raw[raw.layer == raw.layer.iloc[0]]
    rows = {
        "test accuracy %": (last, "test_accuracy", ".2f"),
        "low cue only %": (last, "low_cue_accuracy", ".2f"),
        "high cue only %": (last, "high_cue_accuracy", ".2f"),
        "SSR": (model, "ssr", ".3f"),
        "  minus baseline": (model, "difference", ".3f"),
        "corner share*": (hidden, "corner_final", ".3f"),
        "  minus baseline*": (hidden, "difference", ".3f"),
        "  initially*": (hidden, "corner_initial", ".3f"),
        "published SSR": (first, "published_ssr", ".3f"),
        "share ratio": (model, "share_ratio", ".3f"),
        "energy ratio": (model, "energy_ratio", ".3f"),
        "published ratio": (first, "published_ratio", ".3f"),
    }
    cells = {
        title: {
            name: interval_text(values[column], digits)
            for name, values in table.groupby("configuration", sort=False)
        }
        for title, (table, column, digits) in rows.items()
        if column in table
    }
    return pd.DataFrame(cells).T


def _minus_baseline(table: pd.DataFrame, column: str) -> pd.Series:
    """A number minus that of the baseline of the same seed; NaN for the baseline itself."""
    baseline = table[table.configuration == "baseline"].set_index("seed")[column]
    difference = table[column] - table.seed.map(baseline)
    return difference.where(table.configuration != "baseline")


def suppression_table(spectra: pd.DataFrame, cutoff: float) -> pd.DataFrame:
    """SSR and its relatives for every finished run, layer by layer and for the model.

    Args:
        spectra: rows of (configuration, seed, epoch, layer, weights, radius, multiplicity,
            energy); the first layer comes first.
        cutoff: start of the high band, cycles/pixel.

    Returns a row per (configuration, seed, weights, layer), where layer is also one of

        "all (mean)"            mean over the layers, each counts once
        "all (energy-weighted)" of the energies of all layers added up
        "hidden (mean)"         mean over all layers but the first

    with eta_initial, eta_final (high-frequency share), corner_initial, corner_final (share of
    the largest radius), ssr, and against the baseline of the same seed share_ratio =
    eta_baseline / eta and energy_ratio = growth of high-frequency energy of the baseline over
    that of the run. First layer, raw: published_ssr and published_ratio = that of the baseline
    over that of the run.
    """
    last = spectra["epoch"].max()
    first_layer = spectra["layer"].iloc[0]
    rows = []
    for (configuration, seed, weights), run in spectra.groupby(
        ["configuration", "seed", "weights"], sort=False
    ):
        if run["epoch"].max() < last:
            continue  # not finished
        pooled = run.groupby(["epoch", "radius", "multiplicity"], as_index=False).energy.sum()
        run = pd.concat([run, pooled.assign(layer=POOLED)])
        key = {"configuration": configuration, "seed": seed, "weights": weights}
        layers = [
            key | {"layer": layer} | _suppression(table, cutoff)
            for layer, table in run.groupby("layer", sort=False)
        ]
        for row in layers:
            if row["layer"] != first_layer or weights != "raw":
                row["published_ssr"] = np.nan
        rows += layers
    table = _compare_with_baseline(pd.DataFrame(rows))
    return _with_means(table, first_layer)


def _suppression(layer: pd.DataFrame, cutoff: float) -> dict:
    """Numbers of one layer of one run, from its spectra after epochs 0, 1 and the last."""
    after = {
        epoch: RadialSpectrum(*(rows[c].to_numpy() for c in ("radius", "energy", "multiplicity")))
        for epoch, rows in layer.groupby("epoch")
    }
    first, final = after[0], after[max(after)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NaN says it
        return {
            "eta_initial": first.high_share(cutoff),
            "eta_final": final.high_share(cutoff),
            "corner_initial": first.corner_share,
            "corner_final": final.corner_share,
            "growth": final.high_energy(cutoff) / (first.high_energy(cutoff) or np.nan),
            "ssr": spectral_suppression_ratio(first, final, cutoff),
            "published_ssr": published_ssr(after[1], final),
        }


def _compare_with_baseline(table: pd.DataFrame) -> pd.DataFrame:
    """Add the three suppression ratios; NaN for the baseline itself and where it is missing."""
    pair = ["seed", "weights", "layer"]
    baseline = table[table.configuration == "baseline"]
    baseline = baseline.set_index(pair)[["eta_final", "growth", "published_ssr"]]
    paired = table[pair].join(baseline, on=pair)
    regularised = table.configuration != "baseline"
    for name, column in (
        ("share_ratio", "eta_final"),
        ("energy_ratio", "growth"),
        ("published_ratio", "published_ssr"),
    ):
        table[name] = (paired[column] / table[column]).where(regularised)
    return table.rename(columns={"growth": "high_energy_growth"})


def _with_means(table: pd.DataFrame, first_layer: str) -> pd.DataFrame:
    layers = table[table.layer != POOLED]
    run = ["configuration", "seed", "weights"]
    means = [
        chosen.groupby(run, sort=False).mean(numeric_only=True).reset_index().assign(layer=name)
        for name, chosen in ((MEAN, layers), (HIDDEN, layers[layers.layer != first_layer]))
    ]
    published = ["published_ssr", "published_ratio"]
    means = pd.concat(means)
    means[published] = np.nan  # these are of the first layer alone
    return pd.concat([table, means], ignore_index=True)[table.columns]


def at_published_scale(labels) -> bool:
    """Are results about CIFAR-10 at full scale, as the published ones are?"""
    return (labels["dataset"], labels["scale"]) == ("CIFAR-10", "full")


def exceeds(values, bound: float) -> str:
    """Does a claim "more than `bound`" reproduce, judged by the 95 % interval over seeds?

    "reproduced" where the whole interval lies above, "not reproduced" where it lies below.
    """
    mean, half = mean_interval(values)
    if abs(mean - bound) > half:
        return "reproduced" if mean > bound else "not reproduced"
    return "inconclusive"


def claim(values, outcome: str, labels: dict, unit: str) -> str:
    """One line: what was measured, from how many seeds, and the outcome for the claim."""
    if not at_published_scale(labels):
        outcome = "not judged, the claim is about CIFAR-10 at full scale"
    text = interval_text(values, ".2f")
    return f"Here {text}{unit}, n = {len(values)}: {outcome}."


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


def level_table(accuracy: pd.DataFrame, corruption: str) -> pd.DataFrame:
    """Text: accuracy in percent, a row per set of images and level, a column per model."""
    rows = accuracy[accuracy.corruption == corruption]
    key = ["images", "level"] if accuracy.images.nunique() > 1 else ["level"]
    rows = rows.assign(level=rows.level.map("{:g}".format))
    sets = list(dict.fromkeys(rows.images))
    rows = rows.sort_values("images", key=lambda s: s.map(sets.index), kind="stable")
    cells = rows.groupby([*key, "configuration"], sort=False).accuracy
    return cells.agg(lambda values: interval_text(values, ".2f")).unstack(sort=False)


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


def matched_epochs(kept: pd.DataFrame) -> dict[int, dict[str, int]]:
    """Epochs at which baseline and L2 are about equally accurate on clean images, by seed.

    The one with the lower final accuracy is taken at its end; of the other the epoch whose
    accuracy is nearest to that, the latest of several. Nothing else decides.

    Args:
        kept: rows of (configuration, seed, epoch, test_accuracy) to choose from.
    """
    chosen = {}
    for seed, table in kept.groupby("seed"):
        runs = {
            name: table[table.configuration == name].set_index("epoch").test_accuracy
            for name in ("baseline", "l2")
        }
        if any(run.empty for run in runs.values()):
            continue
        weaker, better = sorted(runs, key=lambda name: runs[name].iloc[-1])
        distance = (runs[better] - runs[weaker].iloc[-1]).abs()[::-1]
        chosen[seed] = {weaker: int(runs[weaker].index[-1]), better: int(distance.idxmin())}
    return chosen
