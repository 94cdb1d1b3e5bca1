"""The figures of experiment B."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils import configurations, published, visualizer
from utils.statistics import is_published_setting, summarize
from utils.suppression import HIDDEN, MEAN, POOLED
from utils.visualizer import curve, finish, heat_map, look, panels

RADIUS_LABELS = ["0 (DC)", "1/3", r"$\sqrt{2}/3$"]  # of a 3x3 kernel, cycles/pixel


def spectrum_evolution(spectra: pd.DataFrame) -> Figure:
    """Heat maps epochs x frequency: density against white kernels, in dB, raw weights.

    Shares are averaged over the 3x3 layers (each counts once) and the seeds.
    """
    raw = spectra[(spectra.weights == "raw") & (spectra.epoch % 1 == 0)]
    levels = raw.groupby(
        ["configuration", "radius", "multiplicity", "epoch"], sort=False
    ).share.mean()
    levels = levels.reset_index()
    white = levels.multiplicity / 9
    levels["db"] = 10 * np.log10(levels.share / white)
    limit = max(0.1, levels.db.abs().max())
    names = list(dict.fromkeys(levels.configuration))
    epochs = int(levels.epoch.max())

    figure, axes = panels(len(names), 3.6, 3.9)
    for ax, name in zip(axes, names):
        table = levels[levels.configuration == name]
        grid = table.pivot(index="radius", columns="epoch", values="db")
        grid = grid.sort_index().reindex(columns=range(epochs + 1))
        mesh = heat_map(ax, grid, "RdBu_r", -limit, limit)
        last = grid.dropna(axis=1).iloc[:, -1]
        for row, level in enumerate(last):
            ax.annotate(
                f"{level:+.1f} dB",
                (last.name + 0.5, row),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 2},
            )
        ax.set(title=configurations.label(name), xlabel="epoch (0: initialisation)")
        ax.set_yticks(range(3), RADIUS_LABELS)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("radial frequency (cycles/pixel)")
    figure.colorbar(mesh, ax=axes, label="density against white kernels (dB)")
    title = "Spectrum of the 3x3 kernels during training, mean over layers"
    finish(figure, title, spectra, "mean over seeds")
    return figure


def ssr_comparison(ssr: pd.DataFrame) -> Figure:
    """SSR per configuration, by three definitions, and the three suppression ratios."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    model, protocol, ratios = figure.subplots(1, 3, width_ratios=(1.5, 0.8, 1.2))

    raw, folded = ssr[ssr.weights == "raw"], ssr[ssr.weights == "folded"]
    groups = {
        "raw,\nlayer mean": raw[raw.layer == MEAN],
        "raw,\nweighted": raw[raw.layer == POOLED],
        "BN-folded,\nlayer mean": folded[folded.layer == MEAN],
        "BN-folded,\nweighted": folded[folded.layer == POOLED],
    }
    _bars(model, {name: (table, "ssr") for name, table in groups.items()})
    model.set(title="SSR of the model", ylabel="SSR (positive: high frequencies fell)")
    model.legend(loc="best")

    first = raw[raw.published_ssr.notna()]
    _bars(protocol, {"first convolution\nfrom epoch 1 on": (first, "published_ssr")})
    protocol.set(title="SSR by the published protocol", ylabel="published SSR")
    if is_published_setting(ssr.iloc[0], published.CONFIGURATIONS[1]):
        of = dict(zip(published.CONFIGURATIONS, published.SSR))
        names = [name for name in of if name in set(first.configuration)]
        offsets = (np.arange(len(names)) - (len(names) - 1) / 2) * 0.8 / len(names)
        values = [of[name] for name in names]
        cross = protocol.plot(offsets, values, "kx", label="arXiv:2512.22192")
        protocol.legend(handles=cross)

    _bars(
        ratios,
        {
            "share": (groups["raw,\nlayer mean"], "share_ratio"),
            "energy": (groups["raw,\nlayer mean"], "energy_ratio"),
            "published": (first, "published_ratio"),
        },
    )
    ratios.axhline(1, color="0.3", linewidth=1, zorder=1)
    ratios.set(title="Suppression against the baseline", ylabel="ratio (1: no difference)")
    finish(figure, "Do L2 and dropout suppress high frequencies?", ssr)
    return figure


def layers(ssr: pd.DataFrame) -> Figure:
    """High-frequency and corner share of every layer at initialisation and at the end."""
    single = ssr[(ssr.weights == "raw") & ~ssr.layer.isin([MEAN, POOLED, HIDDEN])]
    names = list(dict.fromkeys(single.layer))
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for ax, quantity, white, text in (
        (axes[0], "eta", 8 / 9, "share of the high band"),
        (axes[1], "corner", 4 / 9, r"share of the corner, $\sqrt{2}/3$"),
    ):
        ax.axhline(white, color="0.5", linewidth=1, linestyle=":", label="white kernels")
        initial = single[single.configuration == single.configuration.iloc[0]]
        curve(ax, initial, "layer", f"{quantity}_initial", color="0.5", label="initial")
        for name, table in single.groupby("configuration", sort=False):
            curve(
                ax,
                table,
                "layer",
                f"{quantity}_final",
                **look(name),
                label=configurations.label(name),
            )
        ax.set_ylabel(text)
    axes[0].legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes[1].set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes[1].set_xlabel("3x3 convolution, from input to output")
    finish(figure, "Initial and final spectrum of every layer, raw weights", ssr)
    return figure


def training(history: pd.DataFrame) -> Figure:
    """Accuracy and loss on training and test images; on planted data also by cue."""
    panels = [("accuracy", "accuracy (%)"), ("loss", "cross-entropy (nats)")]
    if "low_cue_accuracy" in history:
        panels.append(("cue", "accuracy with one cue only (%)"))
    figure = Figure(figsize=(1 + 5.5 * len(panels), 4.4), layout="constrained")
    for ax, (quantity, text) in zip(figure.subplots(1, len(panels)), panels):
        thick, thin = f"test_{quantity}", f"train_{quantity}"
        names = ("test", "training")
        if quantity == "cue":
            thick, thin = "low_cue_accuracy", "high_cue_accuracy"
            names = ("low cue", "high cue")
        for name, table in history.groupby("configuration", sort=False):
            style = look(name) | {"marker": ""}
            curve(
                ax,
                table,
                "epoch",
                thick,
                **style,
                label=f"{configurations.label(name)}, {names[0]}",
            )
            style |= {"linewidth": 0.8, "alpha": 0.7}
            rows = table[table[thin].notna()]
            curve(
                ax,
                rows,
                "epoch",
                thin,
                False,
                **style,
                label=f"{configurations.label(name)}, {names[1]}",
            )
        ax.set(xlabel="epoch (0: initialisation)", ylabel=text)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if quantity != "loss":
            ax.legend(fontsize=8)
    finish(figure, "Training (thin: augmented images, dropout active)", history)
    return figure


def dose_response(dose: pd.DataFrame) -> Figure:
    """Corner share, SSR and accuracy by strength, a row per family, a dot per seed."""
    families = list(dict.fromkeys(dose.family))
    columns = {
        "corner_final": "corner share, hidden layers",
        "ssr": "SSR, mean over layers",
        "test_accuracy": "test accuracy (%)",
    }
    figure = Figure(figsize=(13, 1 + 3.4 * len(families)), layout="constrained")
    axes = figure.subplots(len(families), len(columns), squeeze=False)
    for row, family in zip(axes, families):
        table = dose[dose.family == family]
        weakest = table.strength[table.strength > 0].min()
        for ax, (column, text) in zip(row, columns.items()):
            means = table.groupby("strength")[column].mean()
            style = look(f"{family}={visualizer.USUAL[family]:g}")
            ax.plot(means.index, means, **style | {"marker": ""})
            ax.plot(table.strength, table[column], ".", color=style["color"], alpha=0.7)
            ax.set_xscale("symlog", linthresh=weakest)
            ax.set(xlabel=f"strength of {family} (0: baseline)", ylabel=text)
    finish(figure, "Dose and response", dose, "a dot per seed, line: mean")
    return figure


def _bars(ax, groups: dict[str, tuple[pd.DataFrame, str]]) -> None:
    """Bars by group and configuration: mean, 95 % interval over seeds, the value above."""
    drawn = list(groups.values())
    names = [
        n
        for n in dict.fromkeys(n for t, _ in drawn for n in t.configuration)
        if any(t[t.configuration == n][c].notna().any() for t, c in drawn)
    ]
    width = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        for position, (table, column) in enumerate(drawn):
            rows = table[table.configuration == name]
            means = summarize(rows, ["configuration"], column).iloc[0]
            x = position + (number - (len(names) - 1) / 2) * width
            ax.bar(
                x,
                means["mean"],
                0.92 * width,
                color=look(name)["color"],
                yerr=means.half if means.n > 1 else None,
                capsize=3,
                label=configurations.label(name) if position == 0 else None,
            )
            sign = 1 if means["mean"] >= 0 else -1
            ax.annotate(
                f"{means['mean']:.2f}",
                (x, means["mean"] + sign * (means.half if means.n > 1 else 0)),
                xytext=(0, 3 * sign),
                textcoords="offset points",
                ha="center",
                va="bottom" if sign > 0 else "top",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
    ax.axhline(0, color="0.3", linewidth=1)
    ax.set_xticks(range(len(groups)), groups)
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.12)
