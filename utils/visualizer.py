"""Every figure of the project, drawn from its tables alone."""

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils.statistics import HIDDEN, MEAN, POOLED, summarize

STYLES = {  # the same look for the same configuration in every figure, distinct in grey too
    "baseline": {"color": "#0072B2", "linestyle": "-", "marker": "o"},
    "l2": {"color": "#009E73", "linestyle": "--", "marker": "s"},
    "dropout": {"color": "#E69F00", "linestyle": "-.", "marker": "^"},
}
LABELS = {"baseline": "baseline", "l2": "L2", "dropout": "dropout"}
RADIUS_LABELS = ["0 (DC)", "1/3", r"$\sqrt{2}/3$"]  # of a 3x3 kernel, cycles/pixel

# arXiv:2512.22192, full scale, one seed.
PUBLISHED_SSR = {"baseline": -4.463, "l2": -1.397, "dropout": -1.598}

matplotlib.rcParams.update(
    {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
    }
)


def spectrum_evolution(spectra: pd.DataFrame) -> Figure:
    """Heat maps epochs x frequency: density against white kernels, in dB, raw weights.

    Shares are averaged over the 3x3 layers (each counts once) and the seeds.
    """
    raw = spectra[spectra.weights == "raw"]
    levels = raw.groupby(
        ["configuration", "radius", "multiplicity", "epoch"], sort=False
    ).share.mean()
    levels = levels.reset_index()
    white = levels.multiplicity / 9
    levels["db"] = 10 * np.log10(levels.share / white)
    limit = max(0.1, levels.db.abs().max())
    names = list(dict.fromkeys(levels.configuration))
    epochs = int(levels.epoch.max())

    figure = Figure(figsize=(3.6 * len(names) + 1.4, 3.9), layout="constrained")
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for ax, name in zip(axes, names):
        table = levels[levels.configuration == name]
        grid = table.pivot(index="radius", columns="epoch", values="db")
        grid = grid.sort_index().reindex(columns=range(epochs + 1))
        mesh = ax.imshow(
            grid,
            aspect="auto",
            origin="lower",
            interpolation="nearest",
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            extent=(-0.5, epochs + 0.5, -0.5, 2.5),
        )
        last = grid.dropna(axis=1).iloc[:, -1]
        for row, level in enumerate(last):
            ax.annotate(
                f"{level:+.1f} dB",
                (last.name + 0.5, row),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                bbox={
                    "boxstyle": "round,pad=0.2",
                    "fc": "white",
                    "ec": "none",
                    "alpha": 0.8,
                },
            )
        ax.set(title=_label(name), xlabel="epoch (0: initialisation)")
        ax.set_yticks(range(3), RADIUS_LABELS)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(False)
    axes[0].set_ylabel("radial frequency (cycles/pixel)")
    figure.colorbar(mesh, ax=axes, label="density against white kernels (dB)")
    _finish(
        figure, "Spectrum of the 3x3 kernels during training, mean over layers", spectra
    )
    return figure


def ssr_comparison(ssr: pd.DataFrame) -> Figure:
    """SSR per configuration, by three definitions, and the three suppression ratios."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    model, published, ratios = figure.subplots(1, 3, width_ratios=(1.5, 0.8, 1.2))

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
    _bars(published, {"first convolution\nfrom epoch 1 on": (first, "published_ssr")})
    published.set(title="SSR by the published protocol", ylabel="published SSR")
    if _at_published_scale(ssr):
        names = [name for name in PUBLISHED_SSR if name in set(first.configuration)]
        offsets = (np.arange(len(names)) - (len(names) - 1) / 2) * 0.8 / len(names)
        values = [PUBLISHED_SSR[name] for name in names]
        published.plot(offsets, values, "kx", label="arXiv:2512.22192")
        published.legend()

    _bars(
        ratios,
        {
            "share": (groups["raw,\nlayer mean"], "share_ratio"),
            "energy": (groups["raw,\nlayer mean"], "energy_ratio"),
            "published": (first, "published_ratio"),
        },
    )
    ratios.axhline(1, color="0.3", linewidth=1, zorder=1)
    ratios.set(
        title="Suppression against the baseline", ylabel="ratio (1: no difference)"
    )
    _finish(figure, "Do L2 and dropout suppress high frequencies?", ssr)
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
        ax.axhline(
            white, color="0.5", linewidth=1, linestyle=":", label="white kernels"
        )
        initial = single[single.configuration == single.configuration.iloc[0]]
        _curve(
            ax, initial, "layer", f"{quantity}_initial", color="0.5", label="initial"
        )
        for name, table in single.groupby("configuration", sort=False):
            _curve(
                ax,
                table,
                "layer",
                f"{quantity}_final",
                **STYLES[name],
                label=_label(name),
            )
        ax.set_ylabel(text)
    axes[0].legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes[1].set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes[1].set_xlabel("3x3 convolution, from input to output")
    _finish(figure, "Initial and final spectrum of every layer, raw weights", ssr)
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
            style = STYLES[name] | {"marker": ""}
            _curve(
                ax, table, "epoch", thick, **style, label=f"{_label(name)}, {names[0]}"
            )
            style |= {"linewidth": 0.8, "alpha": 0.7}
            rows = table[table[thin].notna()]
            _curve(
                ax, rows, "epoch", thin, **style, label=f"{_label(name)}, {names[1]}"
            )
        ax.set(xlabel="epoch (0: initialisation)", ylabel=text)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if quantity != "loss":
            ax.legend(fontsize=8)
    _finish(figure, "Training (thin: augmented images, dropout active)", history)
    return figure


def _label(configuration: str) -> str:
    return LABELS.get(configuration, configuration)


def _curve(ax, table: pd.DataFrame, x: str, y: str, **style) -> None:
    """Mean over seeds with its 95 % interval as a band, where there is more than one seed."""
    means = summarize(table, [x], y)
    (line,) = ax.plot(means[x], means["mean"], markersize=5, **style)
    if (means.n > 1).any():
        low, high = means["mean"] - means.half, means["mean"] + means.half
        ax.fill_between(means[x], low, high, color=line.get_color(), alpha=0.2, lw=0)


def _bars(ax, groups: dict[str, tuple[pd.DataFrame, str]]) -> None:
    """Bars by group and configuration: mean, 95 % interval over seeds, the value above."""
    drawn = list(groups.values())
    names = [
        n
        for n in STYLES
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
                color=STYLES[name]["color"],
                yerr=means.half if means.n > 1 else None,
                capsize=3,
                label=_label(name) if position == 0 else None,
            )
            ax.annotate(
                f"{means['mean']:.2f}",
                (x, means["mean"]),
                xytext=(0, 3 if means["mean"] >= 0 else -3),
                textcoords="offset points",
                ha="center",
                va="bottom" if means["mean"] >= 0 else "top",
                fontsize=8,
                bbox={"fc": "white", "ec": "none", "pad": 0.5},
            )
    ax.axhline(0, color="0.3", linewidth=1)
    ax.set_xticks(range(len(groups)), groups)
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.12)


def _at_published_scale(table: pd.DataFrame) -> bool:
    return (table.dataset.iloc[0], table.scale.iloc[0]) == ("CIFAR-10", "full")


def _finish(figure: Figure, title: str, table: pd.DataFrame) -> None:
    """Title, and below the figure the conditions; red where the data are not CIFAR-10."""
    first = table.iloc[0]
    seeds = table.seed.nunique()
    interval = (
        "95 % t-interval over seeds" if seeds > 1 else "no interval from one seed"
    )
    planted = "PLANTED" in first.dataset
    figure.suptitle(title, fontsize=13)
    figure.supxlabel(
        f"{first.dataset}   |   {first.scale} scale   |   n = {seeds} "
        f"{'seeds' if seeds > 1 else 'seed'}, {interval}   |   {first.device}",
        fontsize=9,
        color="#C00000" if planted else "0.3",
        weight="bold" if planted else "normal",
    )
