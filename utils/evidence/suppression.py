"""From recorded spectra to suppression: SSR and its relatives, in tables."""

import numpy as np
import pandas as pd

from utils import configurations
from utils.evidence.intervals import interval_text, minus_baseline
from utils.evidence.layers import FIRST, HIDDEN, MEAN, POOLED, STAGES
from utils.frequency import relative_decrease

RUN = ["configuration", "seed"]
PLACES = {  # of the closing table: means that can disagree are told together
    "hidden layers, each once": HIDDEN,
    "all layers, by energy": POOLED,
    "first convolution": FIRST,
    "blocks 0 to 3": "blocks 0 to 3 (mean)",
    "blocks 4 and 5": "blocks 4 and 5 (mean)",
    "blocks 6 and 7": "blocks 6 and 7 (mean)",
}
NUMBERS = {  # of the closing table
    "test accuracy %": "test_accuracy",
    "low cue only %": "low_cue_accuracy",
    "high cue only %": "high_cue_accuracy",
    "corner SSR": "corner_ssr",
    "SSR": "ssr",
    "share ratio": "share_ratio",
    "energy ratio": "energy_ratio",
    "published SSR": "published_ssr",
    "published ratio": "published_ratio",
}


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
        "blocks 0 to 3 (mean)"  and so on: mean over the layers of some blocks

    with eta_initial, eta_final (high-frequency share), corner_initial, corner_final (share of
    the largest radius), ssr and corner_ssr = (initial - final) / initial of the two, and against
    the baseline of the same seed share_ratio = eta_baseline / eta and energy_ratio = growth of
    high-frequency energy of the baseline over that of the run. First layer, raw: published_ssr =
    (h(1) - h(T)) / h(1) with h the sum over radii above 0 of density / density at 0, from epoch 1
    on (arXiv:2512.22192), and published_ratio = that of the baseline over that of the run, where
    both are negative. Ratios are averaged over layers as logarithms.
    """
    run = [*RUN, "weights", "layer"]
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
        *(energy.loc[:, high].sum(axis=1) for energy in (final, initial))
    )
    table["ssr"] = relative_decrease(table.eta_initial, table.eta_final)
    table["corner_ssr"] = relative_decrease(table.corner_initial, table.corner_final)
    multiplicity = spectra.drop_duplicates("radius").set_index("radius").multiplicity
    densities = (energy / multiplicity for energy in (first, final))  # relative to zero frequency:
    before, after = (_ratio(d.iloc[:, 1:].sum(axis=1), d.iloc[:, 0]) for d in densities)
    of_publication = wide.index.isin([first_layer], "layer") & wide.index.isin(["raw"], "weights")
    table["published_ssr"] = relative_decrease(before, after).where(of_publication)

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
    return _with_means(table.reset_index())


def _ratio(above: pd.Series, below: pd.Series) -> pd.Series:
    """Above / below; NaN where there is nothing to compare with."""
    return above / below.where(below > 0)


def _with_means(table: pd.DataFrame) -> pd.DataFrame:
    """Add the means over layers; ratios are averaged as logarithms."""
    ratios = ["share_ratio", "energy_ratio"]
    single = table[table.layer != POOLED]
    logs = single.assign(**np.log(single[ratios]))
    block = single.layer.str.extract(r"blocks\.(\d+)\.", expand=False)
    members = {MEAN: single.layer.notna(), HIDDEN: single.layer != single.layer.iloc[0]}
    members |= {name: block.isin(list(blocks)) for name, blocks in STAGES.items()}
    means = []
    for name in [name for name in members if members[name].any()]:
        groups = logs[members[name]].groupby([*RUN, "weights"], sort=False)
        mean = groups.mean(numeric_only=True).reset_index().assign(layer=name)
        mean[ratios] = np.exp(mean[ratios])
        mean[["published_ssr", "published_ratio"]] = np.nan  # these are of the first layer alone
        means.append(mean)
    return pd.concat([table, *means], ignore_index=True)[table.columns]


def final_table(history: pd.DataFrame, ssr: pd.DataFrame) -> pd.DataFrame:
    """The numbers of every run after the last epoch, raw weights; NaN for a run that was lost.

    Returns rows of (configuration, seed, ssr and ratios of the model, corners of the hidden
    layers, published_ssr and published_ratio of the first layer, accuracies in percent).
    """
    raw = ssr[ssr.weights == "raw"].set_index(RUN)
    first = raw[raw.layer == raw.layer.iloc[0]][["published_ssr", "published_ratio"]]
    hidden = raw[raw.layer == HIDDEN][["corner_initial", "corner_final", "corner_ssr"]]
    model = raw[raw.layer == MEAN][["ssr", "share_ratio", "energy_ratio"]]
    last = history[history.epoch == history.epoch.max()].set_index(RUN)
    runs = history[RUN].drop_duplicates()
    tables = [model, hidden, first, last.filter(like="_accuracy")]
    return runs.join(pd.concat(tables, axis=1), on=RUN).reset_index(drop=True)


def closing_table(history: pd.DataFrame, ssr: pd.DataFrame) -> pd.DataFrame:
    """Text: a column per configuration, a row per number after the last epoch.

    In brackets the difference to the baseline of the same seed. Corner shares of all places in the
    network, raw and with BatchNorm folded in; the other numbers are of raw weights.
    """
    final, n = final_table(history, ssr), history.seed.nunique()
    names = list(final.configuration.unique())
    rows = {title: final[[*RUN, column]] for title, column in NUMBERS.items() if column in final}
    corners = {"corner share initially": final[[*RUN, "corner_initial"]]}
    for weights in ("raw", "folded"):
        for title, layer in PLACES.items():
            chosen = ssr[(ssr.weights == weights) & (ssr.layer == layer)]
            corners[f"corner share, {weights}, {title}"] = chosen[[*RUN, "corner_final"]]
    order = [name for name in rows if "%" in name]
    rows = {name: rows[name] for name in order} | corners | rows
    rows = {title: table for title, table in rows.items() if len(table)}
    cells = {title: _cells(title, table, names, n) for title, table in rows.items()}
    return pd.DataFrame(cells, index=map(configurations.label, names)).T


def _cells(title: str, table: pd.DataFrame, names: list[str], n: int) -> list[str]:
    """Mean and interval for every configuration, and of the difference to the baseline."""
    digits, ratio = ".2f" if "%" in title else ".3f", "ratio" in title
    table = table.set_axis([*RUN, "value"], axis=1)
    table["difference"] = minus_baseline(table, "value")
    cells = []
    for name in names:
        rows = table[table.configuration == name]
        text = interval_text(rows.value, digits, n, ratio)
        if rows.difference.notna().any() and not ratio and "initially" not in title:
            text += f" ({interval_text(rows.difference, f'+{digits}', n).replace('± +', '± ')})"
        cells.append(text)
    return cells


def dose_table(history: pd.DataFrame, ssr: pd.DataFrame) -> pd.DataFrame:
    """What the strength of a regularisation does, for every family with three strengths or more.

    Returns rows of (family, strength, configuration, seed, corner_ssr and corner_final of the
    hidden layers, ssr of the model, test_accuracy), the baseline as strength 0 of each family.
    """
    columns = ["family", "strength", *RUN, "corner_ssr", "corner_final", "ssr", "test_accuracy"]
    table = final_table(history, ssr).dropna(subset="ssr")
    family = table.configuration.map(configurations.family)
    table["strength"] = [sum(configurations.strengths(c).values()) for c in table.configuration]
    tables = [
        table[family.isin([name, "baseline"])].assign(family=name)
        for name in family.unique()
        if table[family == name].configuration.nunique() >= 3 and "+" not in name
    ]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    return table[columns].sort_values(["family", "strength", "seed"], ignore_index=True)
