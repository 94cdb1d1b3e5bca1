"""From recorded spectra to suppression: SSR and its relatives, in tables."""

import numpy as np
import pandas as pd

from utils import configurations
from utils.evidence.intervals import interval_text
from utils.evidence.layers import FIRST, HIDDEN, MEAN, POOLED, STAGES
from utils.evidence.quantities import CORNERS, RUN, Quantity, of_layer
from utils.frequency import relative_decrease

CLOSING = [  # of the closing table
    Quantity("test accuracy %", "training", "test_accuracy"),
    Quantity("low cue only %", "training", "low_cue_accuracy"),
    Quantity("high cue only %", "training", "high_cue_accuracy"),
    of_layer("corner share initially", HIDDEN, "corner_initial"),
    *CORNERS,
    of_layer("corner SSR", HIDDEN, "corner_ssr"),
    of_layer("SSR", MEAN, "ssr"),
    of_layer("share ratio", MEAN, "share_ratio"),
    of_layer("energy ratio", MEAN, "energy_ratio"),
    of_layer("published SSR", FIRST, "published_ssr"),
    of_layer("published ratio", FIRST, "published_ratio"),
]


def suppression_table(spectra: pd.DataFrame, cutoff: float) -> pd.DataFrame:
    """SSR and its relatives for every finished run, by layer and for the means of `layers.py`.

    Args:
        spectra: rows of (configuration, seed, epoch, layer, weights, radius, multiplicity, energy).
        cutoff: start of the high band, cycles/pixel.

    Returns rows of (configuration, seed, weights, layer) with eta_initial, eta_final
    (high-frequency share), corner_initial, corner_final (share of the largest radius), ssr and
    corner_ssr = (initial - final) / initial of the two, and against the baseline of the same seed
    share_ratio = eta_baseline / eta and energy_ratio = growth of high-frequency energy of the
    baseline over that of the run. First layer, raw: published_ssr = (h(1) - h(T)) / h(1) with h the
    sum over radii above 0 of density / density at 0, from epoch 1 on (arXiv:2512.22192), and
    published_ratio = that of the baseline over that of the run, where both are negative. Ratios
    are averaged over layers as logarithms.
    """
    run = [*RUN, "weights", "layer"]
    last = spectra.epoch.max()
    chosen = spectra[spectra.epoch.isin([0, 1, last])]
    pooled = chosen.groupby([*run[:3], "epoch", "radius"], sort=False).energy.sum().reset_index()
    chosen = pd.concat([chosen, pooled.assign(layer=POOLED)])
    order = pd.MultiIndex.from_frame(chosen[run].drop_duplicates())
    wide = chosen.pivot(index=run, columns=["epoch", "radius"], values="energy").reindex(order)
    wide = wide[wide[last].notna().all(axis=1)]  # finished runs

    table = pd.DataFrame(index=wide.index)
    is_high = wide[last].columns > cutoff
    for time, epoch in (("initial", 0), ("final", last)):
        share = wide[epoch].div(wide[epoch].sum(axis=1), axis=0)
        table[f"eta_{time}"] = share.loc[:, is_high].sum(axis=1, min_count=1)
        table[f"corner_{time}"] = share.iloc[:, -1]
    before, after = (wide[epoch].loc[:, is_high].sum(axis=1) for epoch in (0, last))
    table["high_energy_growth"] = after / before.replace(0, np.nan)
    table["ssr"] = relative_decrease(table.eta_initial, table.eta_final)
    table["corner_ssr"] = relative_decrease(table.corner_initial, table.corner_final)
    multiplicity = spectra.drop_duplicates("radius").set_index("radius").multiplicity
    density = [wide[epoch] / multiplicity for epoch in (1, last)]
    to_zero = [d.iloc[:, 1:].sum(axis=1) / d.iloc[:, 0].replace(0, np.nan) for d in density]
    of_publication = wide.index.isin([FIRST], "layer") & wide.index.isin(["raw"], "weights")
    table["published_ssr"] = relative_decrease(*to_zero).where(of_publication)

    is_baseline = table.index.isin(["baseline"], "configuration")
    baseline = table[is_baseline].droplevel(0).reindex(table.index.droplevel(0))
    baseline = baseline.set_axis(table.index)  # of the same seed
    for name, column, sign in (
        ("share_ratio", "eta_final", 1),
        ("energy_ratio", "high_energy_growth", 1),
        ("published_ratio", "published_ssr", -1),
    ):
        defined = (sign * table[column] > 0) & (sign * baseline[column] > 0) & ~is_baseline
        table[name] = (baseline[column] / table[column]).where(defined)
    return _with_means(table.reset_index(), run)


def _with_means(table: pd.DataFrame, run: list[str]) -> pd.DataFrame:
    ratios = ["share_ratio", "energy_ratio"]
    single = table[table.layer != POOLED]
    logs = single.assign(**np.log(single[ratios]))
    block = single.layer.str.extract(r"blocks\.(\d+)\.", expand=False)
    members = {MEAN: single.layer.notna(), HIDDEN: single.layer != FIRST}
    members |= {name: block.isin(list(blocks)) for name, blocks in STAGES.items()}
    of_means = pd.concat([logs[chosen].assign(layer=name) for name, chosen in members.items()])
    means = of_means.groupby(run, sort=False).mean(numeric_only=True).reset_index()
    means[ratios] = np.exp(means[ratios])
    means[["published_ssr", "published_ratio"]] = np.nan  # these are of the first layer alone
    return pd.concat([table, means], ignore_index=True)


def closing_table(history: pd.DataFrame, ssr: pd.DataFrame) -> pd.DataFrame:
    """Text: a column per configuration, a row per number after the last epoch.

    In brackets the difference to the baseline of the same seed. Corner shares of all places in the
    network, raw and with BatchNorm folded in; the other numbers are of raw weights.
    """
    rows, names, n = {}, history.configuration.unique(), history.seed.nunique()
    for quantity in CLOSING:
        values = quantity.by_run({"training": history, "ssr": ssr})
        if len(values):
            table = values.unstack("configuration").reindex(columns=names)
            rows[quantity.text] = [_cell(quantity.text, table, name, n) for name in names]
    return pd.DataFrame(rows, index=map(configurations.label, names)).T


def _cell(title: str, table: pd.DataFrame, name: str, n: int) -> str:
    """Mean and interval of a configuration, and of its difference to the baseline."""
    digits, is_ratio = ".2f" if "%" in title else ".3f", "ratio" in title
    text = interval_text(table[name], digits, n, is_ratio)
    if is_ratio or name == "baseline" or "initially" in title or "baseline" not in table:
        return text
    difference = (table[name] - table.baseline).dropna()
    if len(difference):
        text += f" ({interval_text(difference, f'+{digits}', n).replace('± +', '± ')})"
    return text


def dose_table(history: pd.DataFrame, ssr: pd.DataFrame) -> pd.DataFrame:
    """What the strength of a regularisation does, for every family with three strengths or more.

    Returns rows of (family, strength, configuration, seed, corner_ssr and corner_final of the
    hidden layers, ssr of the model, test_accuracy), the baseline as strength 0 of each family.
    """
    columns = ["family", "strength", *RUN, "corner_ssr", "corner_final", "ssr", "test_accuracy"]
    raw = ssr[ssr.weights == "raw"].set_index(RUN)
    last = history[history.epoch == history.epoch.max()].set_index(RUN)
    table = raw[raw.layer == HIDDEN].assign(ssr=raw[raw.layer == MEAN].ssr)
    table = table.assign(test_accuracy=last.test_accuracy).dropna(subset="ssr").reset_index()
    family = table.configuration.map(configurations.family)
    table["strength"] = [
        sum(configurations.strengths(name).values()) for name in table.configuration
    ]
    counts = table.groupby(family).configuration.nunique()
    parts = [
        table[family.isin([name, "baseline"])].assign(family=name)
        for name in counts.index[counts >= 3]
        if "+" not in name
    ]
    table = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    return table[columns].sort_values(["family", "strength", "seed"], ignore_index=True)
