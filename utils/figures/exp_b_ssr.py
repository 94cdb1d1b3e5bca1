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
from utils.evidence.intervals import interval, minus_baseline
from utils.evidence.layers import HIDDEN, MEAN, POOLED

STAGE = 4  # convolutions of a stage of ResNet-18, after the first of all
WHITE = 4 / 9  # share of the highest frequency in white 3x3 kernels
BLOCKS = "3x3 convolution: the first of all, then two in each block"
DOTS = "a dot each; bar: 95 % interval"


@vis.styled
def ssr_comparison(ssr: pd.DataFrame) -> Figure:
    """A row per measure: to the right, high frequencies have decreased more during training.

    Means and 95 % intervals; left of every model, right against the baseline of the same seed.
    """
    raw, folded = ssr[ssr.weights == "raw"], ssr[ssr.weights == "folded"]
    first = raw[raw.published_ssr.notna()].copy()
    decreases = {
        "highest frequency,\nhidden layers, raw": (raw[raw.layer == HIDDEN], "corner_ssr"),
        "the same,\nBatchNorm folded": (folded[folded.layer == HIDDEN], "corner_ssr"),
        "above the cutoff,\nmean of all layers": (raw[raw.layer == MEAN], "ssr"),
        "the same,\nlayers by energy": (raw[raw.layer == POOLED], "ssr"),
    }
    models = len(set(ssr.configuration))
    height = 0.35 + 0.12 * models
    compared = vis.compared_configuration(ssr.configuration) is not None
    figure, parts = vis.subfigures(4 * height + 0.4, (3 if compared else 1) * height + 0.7)
    judged = vis.at_published_recipe(ssr)
    published = dict(zip(paper.CONFIGURATIONS, paper.SSR)) if judged else {}
    upper, lower = (vis.panels(part, 1 + compared, sharey=part is parts[0]) for part in parts)
    _forest(upper[0], _estimates(decreases))
    upper[0].set_xlabel("relative decrease of the share (SSR)")
    protocol = {"published SSR,\nfirst convolution": (first, "published_ssr")}
    _forest(lower[0], _estimates(protocol), published)
    lower[0].set_xlabel("relative decrease from epoch 1 on")
    if compared:
        paired = {
            name: (table.assign(change=minus_baseline(table, column)), "change")
            for name, (table, column) in decreases.items()
        }
        _forest(upper[1], _estimates(paired))
        upper[1].set_xlabel("the same, minus baseline")
        mean = raw[raw.layer == MEAN]
        ratios = {"share ratio,\nall layers": (mean, "share_ratio")}
        ratios["energy ratio,\nall layers"] = (mean, "energy_ratio")
        ratios["published ratio,\nfirst convolution"] = (first, "published_ratio")
        claimed = {name: paper.SSR[0] / value for name, value in published.items()}
        last = {name: value for name, value in claimed.items() if name != "baseline"}
        lower[1].set_xscale("log")
        _forest(lower[1], _estimates(ratios, ratio=True), last, no_effect=1)
        lower[1].set_xlabel("ratio against the baseline")
        low, high = lower[1].get_xlim()
        lower[1].set_xlim(min(low, 0.4), max(high, 2.5))
        vis.log_axis(lower[1].xaxis)
    title = "How much of their high frequencies the kernels lose"
    return vis.add_title_and_caption(figure, title, ssr, DOTS)


def _estimates(measures: dict, ratio: bool = False) -> pd.DataFrame:
    """Rows of (measure, configuration, values per seed, mean, low, high), NaN where not defined.

    Args:
        measures: name -> (table, column). Configurations without any value are left out where
            the measure compares them with themselves.
        ratio: averaged as logarithms.
    """
    rows = []
    for name, (table, column) in measures.items():
        for model, values in table.groupby("configuration", sort=False)[column]:
            if model == "baseline" and values.isna().all():
                continue
            mean, low, high = interval(values, ratio)
            rows.append((name, model, values.to_numpy(), mean, low, high))
    columns = ["measure", "configuration", "values", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _forest(ax, estimates: pd.DataFrame, published=(), no_effect: float = 0) -> None:
    """Estimates with intervals from top to bottom, the mean in numbers at the right edge.

    Args:
        published: values by configuration, of the last measure: crosses.
    """
    ax.axvline(no_effect, color="0.3", linewidth=1, zorder=1)
    measures = list(dict.fromkeys(estimates.measure))
    models = list(dict.fromkeys(estimates.configuration))
    step = 0.8 / len(models)
    for row in estimates.itertuples():
        y = -measures.index(row.measure) + 0.4 - step * (models.index(row.configuration) + 0.5)
        style = vis.line_style(row.configuration) | {"linestyle": ""}
        bar = {"color": style["color"], "linewidth": 1.5}
        ax.plot([row.low, row.high], [y, y], **bar)
        dots = style | {"markersize": 3, "alpha": 0.5}
        ax.plot(row.values, np.full(len(row.values), y), **dots)
        ax.plot(row.mean, y, **style, markersize=6, label=configurations.label(row.configuration))
        text = "not defined" if np.isnan(row.mean) else Formatter.fix_minus(f"{row.mean:.2f}")
        place = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8}
        ax.text(1.01, y, text, color="0.2", **place)
        if row.configuration in published and row.measure == measures[-1]:
            vis.crosses(ax, published[row.configuration], y, style["color"])
    ax.set_yticks(-np.arange(len(measures)), measures, fontsize=9)
    ax.set_ylim(0.5 - len(measures), 0.5)
    ax.margins(x=0.08)
    ax.grid(axis="y", visible=False)
    for place in range(1, len(measures)):
        ax.axhline(0.5 - place, color="0.85", linewidth=1)


@vis.styled
def layers(ssr: pd.DataFrame) -> Figure:
    """Above zero a layer keeps more of the highest frequency than that of its baseline."""
    single, names = single_layers(ssr)
    other = vis.compared_configuration(single.configuration)
    figure, (part,) = vis.subfigures(2.8 * (1 + bool(other)))
    axes = vis.panels(part, 1 + bool(other), most=1, sharex=True)
    initial = single.groupby("place").initial.mean()
    axes[-1].plot(initial, color="0.5", linewidth=2, label="initially")
    vis.model_curves(axes[-1], single, "place", "final")
    axes[-1].axhline(100 * WHITE, color="0.5", linewidth=1, linestyle=":", label="white kernels")
    axes[-1].set(ylabel="share of the\nhighest frequency (%)", ylim=(0, None))
    if other:
        paired = vis.differences(single, "final", ["layer"])
        models = list(paired.groupby("configuration", sort=False))
        for number, (name, rows) in enumerate(models):
            shift = 0.6 * ((number + 0.5) / len(models) - 0.5)
            style = vis.line_style(name) | {"linestyle": ""}
            mean = rows.groupby("place").final.mean()
            dots = style | {"markersize": 2.5, "alpha": 0.6}
            axes[0].plot(rows.place + shift, rows.final, **dots)
            axes[0].plot(mean.index + shift, mean, **style, markersize=5)
            vis.interval_bars(axes[0], rows, "place", "final", style["color"], shift)
        axes[0].axhline(0, color="0.3", linewidth=1)
        of = paired[paired.configuration == other].final
        text = f"{configurations.label(other)}: less than its baseline in {(of < 0).sum()}"
        axes[0].set_title(f"{text} of {len(of)} (layers x seeds)", pad=18)
        axes[0].set_ylabel("minus baseline\n(percentage points)")
        low, high = min(paired.final.min(), 0), max(paired.final.max(), 0)
        room = 0.3 * max(high - low, 1)  # of two or three seeds intervals go far beyond
        axes[0].set_ylim(low - room, high + room)
        vis.mark_cut_bars(axes[0])
    layer_axis(axes, names)
    title = "The highest frequency of every layer after training, raw weights"
    return vis.add_title_and_caption(figure, title, ssr, DOTS)


def single_layers(ssr: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
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
            mark = {"color": "0.55", "linewidth": 6, "alpha": 0.3, "zorder": 0}
            ax.axvline(vis.USUAL[family], **mark, label="published strength")
            ax.set_ylabel(text)
    title = "Dose and response: what the strength does"
    return vis.add_title_and_caption(figure, title, dose, vis.INTERVALS)


@vis.styled
def overview(ssr: pd.DataFrame, accuracy: pd.DataFrame) -> Figure:
    """Left, L2 keeps more of the highest frequency in early layers; right, its noise costs L2 most.

    Args:
        ssr: of experiment B.
        accuracy: of experiment C, under noise of one norm in bands of frequency.
    """
    shown = ["baseline", "l2=0.001", "fixed-norm=1"]
    single, names = single_layers(ssr[ssr.configuration.isin(shown)])
    clean = accuracy[(accuracy.images == "test") & accuracy.configuration.isin(shown)]
    noisy = clean[clean.corruption == "band noise"]
    figure, (part,) = vis.subfigures(3.6)
    left, right = vis.panels(part, 2)
    vis.model_curves(left, single, "place", "final")
    left.axhline(100 * WHITE, color="0.5", linewidth=1, linestyle=":")
    style = {"transform": left.get_yaxis_transform(), "ha": "right", "color": "0.4", "fontsize": 9}
    left.text(0.99, 101 * WHITE, "before training", **style)
    left.set(ylim=(0, 1.15 * max(100 * WHITE, single.final.max())))
    left.set_ylabel("share of the highest frequency (%)")
    left.set_title("Kernels after training", pad=18)
    layer_axis([left], names)
    places, labels = block_ticks(names)
    left.set_xticks(places, [label.removeprefix("block ") for label in labels])
    left.set_xlabel("first convolution, then blocks of two")
    vis.model_curves(right, noisy, "level", "accuracy")
    for name, rows in clean[clean.corruption == "none"].groupby("configuration"):
        style = {"color": vis.line_style(name)["color"], "linestyle": ":", "linewidth": 1}
        right.axhline(rows.accuracy.mean(), **style)
    right.plot([], [], color="0.3", linestyle=":", label="clean images")
    highest = noisy[noisy.level == noisy.level.max()]
    for name, values in highest.groupby("configuration").accuracy:
        style = {"color": vis.line_style(name)["color"], "va": "center", "weight": "bold"}
        right.text(highest.level.max() + 0.015, values.mean(), f"{values.mean():.0f} %", **style)
    right.margins(x=0.12)
    right.set(ylim=(0, 100), ylabel="accuracy (%)", xlabel="frequency of the noise (cycles/pixel)")
    right.set_title("Images with noise of one frequency band")
    change = vis.differences(highest, "accuracy", [])
    mean, _, high = interval(change[change.configuration == shown[1]].accuracy)
    title = "What L2 does to kernels, and to accuracy under noise"
    if high < 0:  # NaN for one seed
        title = "Under noise of the highest frequencies L2 is "
        title += f"{-mean:.0f} points less accurate than the baseline"
    return vis.add_title_and_caption(figure, title, noisy)


def layer_axis(axes: list, layers: list[str]) -> None:
    """Blocks and stages on the axis of panels below each other, layers from left to right."""
    axes[-1].set_xticks(*block_ticks(layers))
    axes[-1].set_xlabel(BLOCKS)
    for ax in axes:
        for place in range(1, len(layers), STAGE):
            ax.axvline(place - 0.5, color="0.6", linewidth=1)
        ax.grid(axis="x", visible=False)
    axes[0].set_xlim(-0.6, len(layers) - 0.4)
    for stage, place in enumerate(range(1, len(layers), STAGE), 1):
        middle = min(place + STAGE, len(layers)) / 2 + place / 2 - 0.5
        style = {"transform": axes[0].get_xaxis_transform(), "ha": "center", "fontsize": 9}
        axes[0].text(middle, 1.01, f"stage {stage}", **style)


def block_ticks(layers: list[str]) -> tuple[list[float], list[str]]:
    """Places and names of the first convolution and of the blocks, the mean of their layers."""
    names = [name.split(".conv")[0].replace("blocks.", "block ") for name in layers]
    places = {name: np.flatnonzero(np.equal(names, name)).mean() for name in names}
    return list(places.values()), [name.replace("conv1", "first") for name in places]
