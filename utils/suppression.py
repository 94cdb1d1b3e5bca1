"""From recorded spectra to suppression: SSR and its relatives, in tables."""

import numpy as np
import pandas as pd

from utils import configurations
from utils.statistics import interval_text, minus_baseline

POOLED = "all (energy-weighted)"  # the energies of all layers added up
MEAN = "all (mean)"  # every layer counts once
HIDDEN = "hidden (mean)"  # all but the first
MODEL = [MEAN, POOLED, HIDDEN]  # what stands among the layers for several of them


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
    the largest radius), ssr and corner_ssr = (initial - final) / initial of the two, and against
    the baseline of the same seed share_ratio = eta_baseline / eta and energy_ratio = growth of
    high-frequency energy of the baseline over that of the run. First layer, raw: published_ssr
    (arXiv:2512.22192, see `frequency.published_ssr`) and published_ratio = that of the baseline
    over that of the run, where both are negative. Ratios are averaged over layers as logarithms.
    """
    run = ["configuration", "seed", "weights", "layer"]
    last, first_layer = spectra.epoch.max(), spectra.layer.iloc[0]
    chosen = spectra[spectra.epoch.isin([0, 1, last])]
    pooled = chosen.groupby([*run[:3], "epoch", "radius"], sort=False).energy.sum().reset_index()
    chosen = pd.concat([chosen, pooled.assign(layer=POOLED)])
    order = pd.MultiIndex.from_frame(chosen[run].drop_duplicates())
    wide = chosen.pivot(index=run, columns=["epoch", "radius"], values="energy").reindex(order)
    wide = wide[wide[last].notna().all(axis=1)]  # finished runs
    initial, first, final = wide[0], wide[1], wide[last]
    high = initial.columns > cutoff

    table = pd.DataFrame(index=wide.index)
    for time, energy in (("initial", initial), ("final", final)):
        share = energy.div(energy.sum(axis=1), axis=0)
        table[f"eta_{time}"] = share.loc[:, high].sum(axis=1, min_count=1)
        table[f"corner_{time}"] = share.iloc[:, -1]
    table["high_energy_growth"] = _ratio(
        final.loc[:, high].sum(axis=1), initial.loc[:, high].sum(axis=1)
    )
    table["ssr"] = 1 - _ratio(table.eta_final, table.eta_initial)
    table["corner_ssr"] = 1 - _ratio(table.corner_final, table.corner_initial)
    multiplicity = spectra.drop_duplicates("radius").set_index("radius").multiplicity
    before, after = _relative_to_dc(first, multiplicity), _relative_to_dc(final, multiplicity)
    table["published_ssr"] = 1 - _ratio(after, before)
    levels = {name: table.index.get_level_values(name) for name in run}
    of_publication = (levels["layer"] == first_layer) & (levels["weights"] == "raw")
    table["published_ssr"] = table.published_ssr.where(of_publication)
    return _with_means(_compare_with_baseline(table), first_layer)


def _ratio(above: pd.Series, below: pd.Series) -> pd.Series:
    """Above / below; NaN where there is nothing to compare with."""
    return above / below.where(below > 0)


def _relative_to_dc(energy: pd.DataFrame, multiplicity: pd.Series) -> pd.Series:
    """Sum over radii > 0 of the density relative to that of zero frequency."""
    density = energy / multiplicity.reindex(energy.columns)
    return _ratio(density.iloc[:, 1:].sum(axis=1), density.iloc[:, 0])


def _compare_with_baseline(table: pd.DataFrame) -> pd.DataFrame:
    """Add the three suppression ratios; NaN for the baseline itself and where it is missing."""
    table = table.reset_index()
    pair = ["seed", "weights", "layer"]
    columns = ["eta_final", "high_energy_growth", "published_ssr"]
    baseline = table[table.configuration == "baseline"].set_index(pair)[columns]
    paired = table[pair].join(baseline, on=pair)
    other = table.configuration != "baseline"
    for name, column in zip(("share_ratio", "energy_ratio", "published_ratio"), columns):
        defined = other & (table[column] < 0) & (paired[column] < 0)
        if name != "published_ratio":
            defined = other & (table[column] > 0) & (paired[column] > 0)
        table[name] = (paired[column] / table[column]).where(defined)
    return table


def _with_means(table: pd.DataFrame, first_layer: str) -> pd.DataFrame:
    """Add rows for the means over layers; ratios are averaged as logarithms."""
    layers = table[table.layer != POOLED]
    ratios = ["share_ratio", "energy_ratio"]
    logs = layers.assign(**{name: np.log(layers[name]) for name in ratios})
    means = []
    for name, part in ((MEAN, logs), (HIDDEN, logs[logs.layer != first_layer])):
        groups = part.groupby(["configuration", "seed", "weights"], sort=False)
        mean = groups.mean(numeric_only=True).reset_index().assign(layer=name)
        mean[ratios] = np.exp(mean[ratios])
        mean[["published_ssr", "published_ratio"]] = np.nan  # these are of the first layer alone
        means.append(mean)
    return pd.concat([table, *means], ignore_index=True)[table.columns]


def closing_table(history: pd.DataFrame, ssr: pd.DataFrame) -> pd.DataFrame:
    """Text: a column per configuration, a row per number after the last epoch, raw weights."""
    last = history[history.epoch == history.epoch.max()]
    n = history.seed.nunique()
    raw = ssr[ssr.weights == "raw"]
    model, hidden = raw[raw.layer == MEAN].copy(), raw[raw.layer == HIDDEN].copy()
    for table, column in ((model, "ssr"), (hidden, "corner_ssr"), (hidden, "corner_final")):
        table[f"{column}_difference"] = minus_baseline(table, column)
    first = raw[raw.layer == raw.layer.iloc[0]]
    rows = {
        "test accuracy %": (last, "test_accuracy", ".2f"),
        "low cue only %": (last, "low_cue_accuracy", ".2f"),
        "high cue only %": (last, "high_cue_accuracy", ".2f"),
        "corner SSR*": (hidden, "corner_ssr", ".3f"),
        "  minus baseline*": (hidden, "corner_ssr_difference", ".3f"),
        "corner share*": (hidden, "corner_final", ".3f"),
        "  minus baseline* ": (hidden, "corner_final_difference", ".3f"),
        "  initially*": (hidden, "corner_initial", ".3f"),
        "SSR": (model, "ssr", ".3f"),
        "  minus baseline": (model, "ssr_difference", ".3f"),
        "share ratio": (model, "share_ratio", ".3f"),
        "energy ratio": (model, "energy_ratio", ".3f"),
        "published SSR": (first, "published_ssr", ".3f"),
        "published ratio": (first, "published_ratio", ".3f"),
    }
    cells = {
        title: {
            configurations.label(name): interval_text(values[column], digits, n, "ratio" in title)
            for name, values in table.groupby("configuration", sort=False)
        }
        for title, (table, column, digits) in rows.items()
        if column in table
    }
    return pd.DataFrame(cells).T.fillna("-")


def dose_table(history: pd.DataFrame, ssr: pd.DataFrame) -> pd.DataFrame:
    """What the strength of a regularisation does, for every family with three strengths or more.

    Returns rows of (family, strength, configuration, seed, corner_ssr and corner_final of the
    hidden layers, ssr of the model, test_accuracy), the baseline as strength 0 of each family.
    """
    raw = ssr[ssr.weights == "raw"]
    run = ["configuration", "seed"]
    last = history[history.epoch == history.epoch.max()].set_index(run).test_accuracy
    hidden = raw[raw.layer == HIDDEN].set_index(run)[["corner_ssr", "corner_final"]]
    table = hidden.join(raw[raw.layer == MEAN].set_index(run).ssr).join(last).reset_index()
    family = table.configuration.map(configurations.family)
    tables = []
    for name in dict.fromkeys(family):
        rows = table[family == name]
        if rows.configuration.nunique() >= 3 and "+" not in name:
            rows = pd.concat([table[family == "baseline"], rows])
            strengths = rows.configuration.map(lambda c: sum(configurations.strengths(c).values()))
            tables.append(rows.assign(family=name, strength=strengths))
    first = ["family", "strength"]
    if not tables:
        return pd.DataFrame(columns=[*first, *table.columns])
    table = pd.concat(tables)[[*first, *table.columns]]
    return table.sort_values([*first, "seed"], ignore_index=True)
