"""The figures of experiment B after training: suppression, layers, doses, and the README's.

"Highest frequency" is that of a 3x3 kernel: the radius sqrt(2)/3 cycles/pixel, on its diagonals.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter

from utils import configurations
from utils import visualizer as vis
from utils.evidence import paper
from utils.evidence.intervals import interval
from utils.evidence.layers import FIRST, HIDDEN, MEAN, POOLED

STAGE = 4  # convolutions of a stage of ResNet-18, after the first of all
WHITE = 4 / 9  # share of the highest frequency in white 3x3 kernels
SHARE = "share of the\nhighest frequency (%)"
BLOCKS = "3x3 convolution: the first of all, then two in each block"
DOTS = "a dot each; bar: 95 % interval"


@vis.styled
def ssr_comparison(ssr: pd.DataFrame) -> Figure:
    """A row per measure: to the right, high frequencies have decreased more during training."""
    names = list(dict.fromkeys(ssr.configuration))

    def values(layer, column, weights="raw"):
        rows = ssr[(ssr.weights == weights) & (ssr.layer == layer)]
        return rows.pivot(index="configuration", columns="seed", values=column).reindex(names)

    decreases = {
        "highest frequency,\nhidden layers, raw": values(HIDDEN, "corner_ssr"),
        "the same,\nBatchNorm folded": values(HIDDEN, "corner_ssr", "folded"),
        "above the cutoff,\nmean of all layers": values(MEAN, "ssr"),
        "the same,\nlayers by energy": values(POOLED, "ssr"),
    }
    protocol = {"published SSR,\nfirst convolution": values(FIRST, "published_ssr")}
    published = dict(zip(paper.CONFIGURATIONS, paper.SSR)) if vis.at_published_recipe(ssr) else {}
    compared = vis.compared_configuration(names) is not None
    height = 0.35 + 0.12 * len(names)
    figure, parts = vis.subfigures(4 * height + 0.4, (3 if compared else 1) * height + 0.7)
    upper, lower = (vis.panels(part, 1 + compared, sharey=part is parts[0]) for part in parts)
    _forest(upper[0], "relative decrease of the share (SSR)", decreases)
    _forest(lower[0], "relative decrease from epoch 1 on", protocol, published)
    if compared:
        paired = {text: table - table.loc["baseline"] for text, table in decreases.items()}
        ratios = {
            "share ratio,\nall layers": values(MEAN, "share_ratio"),
            "energy ratio,\nall layers": values(MEAN, "energy_ratio"),
            "published ratio,\nfirst convolution": values(FIRST, "published_ratio"),
        }
        paired, ratios = ({n: t.drop("baseline") for n, t in m.items()} for m in (paired, ratios))
        claimed = {name: paper.SSR[0] / value for name, value in published.items()}
        _forest(upper[1], "the same, minus baseline", paired)
        lower[1].set_xscale("log")
        _forest(lower[1], "ratio against the baseline", ratios, claimed, ratio=True)
        low, high = lower[1].get_xlim()
        lower[1].set_xlim(min(low, 0.4), max(high, 2.5))
        vis.log_axis(lower[1].xaxis)
    title = "How much of their high frequencies the kernels lose"
    return vis.add_title_and_caption(figure, title, ssr, DOTS)


def _forest(ax, xlabel: str, measures: dict, published=(), ratio: bool = False) -> None:
    """Means with intervals of measures, configurations x seeds by name, from top to bottom; crosses:
    published values of the last one. For a ratio no effect is 1, and logarithms are averaged."""
    ax.axvline(ratio, color="0.3", linewidth=1, zorder=1)
    for row, (measure, table) in enumerate(measures.items()):
        if row:
            ax.axhline(0.5 - row, color="0.85", linewidth=1)
        for number, (name, values) in enumerate(table.iterrows()):
            y = 0.4 - row - 0.8 / len(table) * (number + 0.5)
            style = vis.line_style(name) | {"linestyle": ""}
            mean, *ends = interval(values, ratio)
            ax.plot(ends, [y, y], color=style["color"], linewidth=1.5)
            dots = style | {"markersize": 3, "alpha": 0.5}
            ax.plot(values, np.full(len(values), y), **dots)
            ax.plot(mean, y, **style, markersize=6, label=configurations.label(name))
            text = "not defined" if np.isnan(mean) else Formatter.fix_minus(f"{mean:.2f}")
            place = {"xycoords": vis.ACROSS, "va": "center", "fontsize": 8}
            ax.annotate(text, (1.01, y), color="0.2", **place)
            if name in published and row == len(measures) - 1:
                vis.crosses(ax, published[name], y, style["color"])
    ax.set_yticks(-np.arange(len(measures)), measures, fontsize=9)
    ax.set(xlabel=xlabel, ylim=(0.5 - len(measures), 0.5))
    ax.margins(x=0.08)
    ax.grid(axis="y", visible=False)


@vis.styled
def layers(ssr: pd.DataFrame) -> Figure:
    """Above zero a layer keeps more of the highest frequency than that of its baseline."""
    single, names = _single_layers(ssr)
    other = vis.compared_configuration(single.configuration)
    figure, (part,) = vis.subfigures(2.8 * (1 + bool(other)))
    axes = vis.panels(part, 1 + bool(other), most=1, sharex=True)
    initial = single.groupby("place").initial.mean()
    axes[-1].plot(initial, color="0.5", linewidth=2, label="initially")
    vis.model_curves(axes[-1], single, "place", "final")
    if other:
        paired = vis.differences(single, "final", ["layer"])
        models = paired.groupby("configuration", sort=False)
        for number, (name, rows) in enumerate(models):
            shift = 0.6 * ((number + 0.5) / len(models) - 0.5)
            style = vis.line_style(name) | {"linestyle": ""}
            mean = rows.groupby("place").final.mean()
            dots = style | {"markersize": 2.5, "alpha": 0.6}
            axes[0].plot(rows.place + shift, rows.final, **dots)
            axes[0].plot(mean.index + shift, mean, **style, markersize=5)
            vis.interval_bars(axes[0], rows, "place", "final", style["color"], shift)
        axes[0].axhline(0, **vis.ZERO)
        of = paired[paired.configuration == other].final
        text = f"{configurations.label(other)}: less than its baseline in {(of < 0).sum()}"
        axes[0].set_title(f"{text} of {len(of)} (layers x seeds)", pad=18)
        axes[0].set_ylabel("minus baseline\n(percentage points)")
        low, high = min(paired.final.min(), 0), max(paired.final.max(), 0)
        room = 0.3 * max(high - low, 1)
        vis.cut_bars(axes[0], low - room, high + room)
    layer_axis(axes, names)
    title = "The highest frequency of every layer after training, raw weights"
    return vis.add_title_and_caption(figure, title, ssr, DOTS)


def _single_layers(ssr: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Raw rows of layers, with their place and their shares of the highest frequency in percent;
    their names."""
    single = ssr[(ssr.weights == "raw") & ~ssr.layer.str.contains(" ")]  # others are of several
    names = list(dict.fromkeys(single.layer))
    shares = {"initial": 100 * single.corner_initial, "final": 100 * single.corner_final}
    return single.assign(place=single.layer.map(names.index), **shares), names


@vis.styled
def dose_response(dose: pd.DataFrame) -> Figure:
    """What more of a regularisation does to the highest frequency, to SSR and to accuracy."""
    families = list(dict.fromkeys(dose.family))
    columns = {
        "corner_ssr": "relative decrease of\nthe highest frequency",
        "ssr": "SSR, mean of all layers",
        "test_accuracy": "test accuracy (%)",
    }
    figure, parts = vis.subfigures(*[2.7] * len(families))
    for part, family in zip(parts, families):
        table = dose[dose.family == family]
        usual = f"{family}={vis.USUAL[family]:g}"
        name = configurations.label(usual).rsplit(" ", 1)[0]
        part.supxlabel(f"strength of {name} (0: baseline)", fontsize=10)
        for ax, (column, text) in zip(vis.panels(part, 3), columns.items()):
            style = vis.line_style(usual)
            if family not in ("dropout", "fixed-norm"):
                ax.set_xscale("symlog", linthresh=table.strength[table.strength > 0].min())
            vis.curves(ax, table, "strength", column, **style)
            vis.interval_bars(ax, table, "strength", column, style["color"])
            ax.axvline(vis.USUAL[family], **vis.BAND, label="published strength")
            ax.set_ylabel(text)
    title = "Dose and response: what the strength does"
    return vis.add_title_and_caption(figure, title, dose, vis.INTERVALS)


@vis.styled
def overview(ssr: pd.DataFrame, accuracy: pd.DataFrame) -> Figure:
    """Left, L2 keeps more of the highest frequency in early layers; right, its noise costs L2 most:
    from the tables ssr of experiment B and robustness of experiment C."""
    shown = ["baseline", "l2=0.001", "fixed-norm=1"]
    single, names = _single_layers(ssr[ssr.configuration.isin(shown)])
    clean = accuracy[(accuracy.images == "test") & accuracy.configuration.isin(shown)]
    noisy = clean[clean.corruption == "band noise"]
    highest = noisy[noisy.level == noisy.level.max()]
    figure, (part,) = vis.subfigures(3.6)
    left, right = vis.panels(part, 2)
    vis.model_curves(left, single, "place", "final")
    layer_axis([left], names, white=None)
    style = {"xycoords": vis.ACROSS, "ha": "right", "color": "0.4", "fontsize": 9}
    left.annotate("before training", (0.99, 101 * WHITE), **style)
    left.set_ylim(top=1.15 * max(100 * WHITE, single.final.max()))
    left.set_title("Kernels after training", pad=18)
    places, labels = block_ticks(names)
    left.set_xticks(places, [label.removeprefix("block ") for label in labels])
    left.set(xlabel="first convolution, then blocks of two", ylabel=SHARE.replace("\n", " "))
    labels = {"xlabel": "frequency of the noise (cycles/pixel)", "ylabel": "accuracy (%)"}
    vis.model_curves(right, noisy, "level", "accuracy", **labels)
    none = clean[clean.corruption == "none"]
    vis.clean_lines(right, none.groupby("configuration").accuracy.mean())
    for name, last in highest.groupby("configuration").accuracy.mean().items():
        style = {"color": vis.line_style(name)["color"], "va": "center", "weight": "bold"}
        right.text(highest.level.max() + 0.015, last, f"{last:.0f} %", **style)
    right.margins(x=0.12)
    right.set_ylim(0, 100)
    right.set_title("Images with noise of one frequency band")
    change = vis.differences(highest, "accuracy", [])
    mean, _, high = interval(change[change.configuration == shown[1]].accuracy)
    title = "What L2 does to kernels, and to accuracy under noise"
    if high < 0:  # NaN for one seed
        title = "Under noise of the highest frequencies L2 is "
        title += f"{-mean:.0f} points less accurate than the baseline"
    return vis.add_title_and_caption(figure, title, noisy)


def layer_axis(axes: list, layers: list[str], white: str | None = "white kernels") -> None:
    """Layers from left to right, by block and stage, on the axis of panels below each other; the
    lowest has shares of the highest frequency in percent, and those of white kernels as a line."""
    line = {"color": "0.5", "linewidth": 1, "linestyle": ":", "label": white}
    axes[-1].axhline(100 * WHITE, **line)
    axes[-1].set(ylabel=SHARE, ylim=(0, None), xlabel=BLOCKS)
    axes[-1].set_xticks(*block_ticks(layers))
    axes[0].set_xlim(-0.6, len(layers) - 0.4)
    for stage, place in enumerate(range(1, len(layers), STAGE), 1):
        for ax in axes:
            ax.axvline(place - 0.5, color="0.6", linewidth=1)
            ax.grid(axis="x", visible=False)
        middle = min(place + STAGE, len(layers)) / 2 + place / 2 - 0.5
        style = {"transform": axes[0].get_xaxis_transform(), "ha": "center", "fontsize": 9}
        axes[0].text(middle, 1.01, f"stage {stage}", **style)


def block_ticks(layers: list[str]) -> tuple[list[float], list[str]]:
    """Places and names of the first convolution and of the blocks, the mean of their layers."""
    names = [name.split(".conv")[0].replace("blocks.", "block ") for name in layers]
    places = {name: np.flatnonzero(np.equal(names, name)).mean() for name in names}
    return list(places.values()), [name.replace("conv1", "first") for name in places]
