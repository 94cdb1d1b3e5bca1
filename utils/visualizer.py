"""One look for all figures, which are drawn from tables alone: styles, panels, curves, captions."""

import math
import textwrap

import matplotlib
import matplotlib.colors
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from utils import configurations, published
from utils.statistics import interval

WIDTH = 9.6  # inches of every figure: 10 points are 13 pixels where it is shown 900 wide
# One look per family in every figure: colour, line and marker, distinct in grey too.
FAMILIES = {
    "baseline": ("#0072B2", "-", "o"),
    "l2": ("#009E73", "--", "s"),
    "dropout": ("#E69F00", "-.", "^"),
    "conv-l2": ("#CC79A7", ":", "D"),
    "l2+dropout": ("#D55E00", (0, (5, 1, 1, 1, 1, 1)), "v"),
    "conv-l2+dropout": ("#56B4E9", (0, (1, 1)), "P"),
}
START = 0.5  # where step 0 stands on a logarithmic axis
USUAL = {"l2": 1e-3, "conv-l2": 1e-3, "dropout": 0.5}  # strengths in a family's own colour
# Below zero blue and dark, above it yellow and light: in grey, too, the sign can be seen.
DIVERGING = matplotlib.colors.LinearSegmentedColormap.from_list(
    "diverging", ["#041e42", "#1f5fa8", "#c4c8cc", "#f5c04a", "#fffbd5"]
)

matplotlib.rcdefaults()  # the same figures everywhere, whatever the user's matplotlibrc says
matplotlib.rcParams.update(
    {
        "font.size": 10,
        "axes.titlesize": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
    }
)


def look(configuration: str) -> dict:
    """Colour, line and marker of a family; weaker than usual is lighter, stronger is darker."""
    family = configurations.family(configuration)
    color, line, marker = FAMILIES.get(family, ("#555555", ":", "X"))
    logs = [
        np.log10(max(s, 1e-9) / USUAL[t])
        for t, s in configurations.strengths(configuration).items()
    ]
    shade = float(np.clip(sum(logs) / 2, -0.7, 0.7))
    towards = np.array([1.0, 1.0, 1.0]) if shade < 0 else np.zeros(3)
    rgb = np.array(matplotlib.colors.to_rgb(color)) * (1 - abs(shade)) + towards * abs(shade)
    return {"color": matplotlib.colors.to_hex(rgb), "linestyle": line, "marker": marker}


def contrast(names: list[str]) -> str | None:
    """What is compared with the baseline where one is: L2 as published, else the first other."""
    others = [name for name in names if name != "baseline"]
    if len(others) in (0, len(names)):
        return None
    claimed = published.CONFIGURATIONS[1]
    return claimed if claimed in others else others[0]


def sections(*heights: float) -> tuple[Figure, list]:
    """A figure of parts below each other, each laid out by itself; heights in inches."""
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.9), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    return figure, list(parts[:, 0])


def rows_needed(count: int, most: int) -> int:
    return math.ceil(count / most)


def panels(part, count: int, most: int = 4, **options) -> list[Axes]:
    """Panels in a part of a figure, at most `most` in a row; options of `subplots`."""
    rows = rows_needed(count, most)
    axes = part.subplots(rows, math.ceil(count / rows), squeeze=False, **options)
    for ax in axes.flat[count:]:
        ax.remove()
    for ax in axes.flat[count - axes.shape[1] : count]:  # the lowest of their columns
        ax.tick_params(labelbottom=True)
    return list(axes.flat[:count])


def map_panels(
    part, grids: dict, draw, label: str, compared: bool, most: int = 4, **labels
) -> list:
    """Images by title on one colour scale around 0, and the bar that explains it; their axes.

    Args:
        grids: by title.
        draw: takes axes, a grid and the ends of the scale; returns what has the colours.
        compared: the last is a difference, on a scale of its own, to the right of the others.
        labels: x and y, of all axes.
    """
    titles, drawn = list(grids), []
    groups, parts = [titles], [part]
    if compared:
        groups = [titles[:-1], titles[-1:]]
        wide = math.ceil(len(groups[0]) / rows_needed(len(groups[0]), most))
        parts = part.subfigures(1, 2, width_ratios=(wide + 0.2, 1.25))
    for place, group in zip(parts, groups):
        axes = panels(place, len(group), most, sharex=True, sharey=True)
        limit = max(0.1, *(np.nanmax(np.abs(grids[title])) for title in group))
        for ax, title in zip(axes, group):
            mesh = draw(ax, grids[title], -limit, limit)
            ax.set_title(title)
        place.colorbar(mesh, ax=axes, label=label)
        place.supxlabel(labels["x"], fontsize=10)
        drawn += axes
        label = f"difference {label[label.rindex('(') :]}"
    parts[0].supylabel(labels["y"], fontsize=10)
    return drawn


def heat_map(ax, grid: pd.DataFrame, low: float, high: float, colors=DIVERGING):
    """Rows of the table upwards, its evenly spaced columns from left to right; NaN is hatched."""
    columns = grid.shape[1]
    half = np.ptp(grid.columns) / (columns - 1) / 2 if columns > 1 else 0.5
    left, right = grid.columns[0] - half, grid.columns[-1] + half
    hatch(ax)
    return ax.imshow(
        grid,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap=colors,
        vmin=low,
        vmax=high,
        extent=(left, right, -0.5, len(grid) - 0.5),
    )


def hatch(ax) -> None:
    """Where nothing is drawn the panel is hatched grey."""
    ax.grid(False)
    ax.patch.set(facecolor="0.93", hatch="///", edgecolor="0.75")


def time_map(ax, grid: pd.DataFrame, low: float, high: float, colors=DIVERGING):
    """Rows of the table downwards, its columns at their steps on a logarithmic axis."""
    hatch(ax)
    x = np.maximum(np.asarray(grid.columns, dtype=float), START)
    x = np.array([x[0] ** 2 / x[1], *x, x[-1] ** 2 / x[-2]]) if len(x) > 1 else x * [0.5, 1, 2]
    rows = np.arange(len(grid) + 1) - 0.5
    values = np.ma.masked_invalid(grid)
    mesh = ax.pcolormesh(np.sqrt(x[1:] * x[:-1]), rows, values, cmap=colors, vmin=low, vmax=high)
    ax.set_ylim(len(grid) - 0.5, -0.5)
    return mesh


def step_axis(ax, last: int) -> None:
    """Steps on a logarithmic axis; before the first is step 0."""
    ax.set_xscale("log")
    powers = 10.0 ** np.arange(last >= 100, np.log10(max(10, last)) + 1e-9)
    ax.xaxis.set_major_locator(FixedLocator([START, *powers]))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")  # START is shown as 0
    ax.xaxis.set_minor_locator(NullLocator())


def log_axis(axis) -> None:
    """Plain numbers on a logarithmic axis, few enough, over a part of a decade or over many."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = axis.get_view_interval()
    decades = np.log10(high / low)
    axis.set_major_locator(
        MaxNLocator(5) if decades < 0.7 else LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,))
    )
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def epoch_axis(ax) -> None:
    """Whole numbers, also where there are one or two."""
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))


def frequency_map(ax, grid: np.ndarray, low: float, high: float, colors=DIVERGING):
    """Square image of values by frequency, zero in the middle, pixel centres at the frequencies."""
    size = len(grid)
    edges = (-0.5 - 0.5 / size, 0.5 - 0.5 / size)
    ax.grid(False)
    ax.set(xticks=[-0.4, 0, 0.4], yticks=[-0.4, 0, 0.4])
    return ax.imshow(grid, vmin=low, vmax=high, cmap=colors, extent=edges * 2, origin="lower")


def curves(ax, table: pd.DataFrame, x: str, y: str, label: str | None = None, **style) -> None:
    """A thin line per seed and, thick, their mean."""
    wide = table.pivot(index=x, columns="seed", values=y).sort_index()
    style = {"markersize": 4.5, "markevery": 0.1} | style
    if wide.shape[1] > 1:
        thin = {"color": style["color"], "linewidth": 0.7, "alpha": 0.55}
        ax.plot(wide.index, wide, **thin)
    mean = wide.mean(axis=1).dropna()
    ax.plot(mean.index, mean, linewidth=2, label=label, **style)


def dots(
    ax, x: float, values: pd.Series, style: dict, width: float, ratio=False, bar=False, text=True
) -> np.ndarray:
    """A dot per seed, a line at their mean, which is told above them; where the dots are.

    Args:
        ratio: the mean is that of the logarithms.
        bar: with the 95 % interval of the mean.
    """
    places = x + np.linspace(-0.25, 0.25, len(values)) * width if len(values) > 1 else np.array([x])
    if values.isna().all():
        low = ax.get_xaxis_transform()
        ax.text(x, 0.05, "not defined", transform=low, rotation=90, ha="center", fontsize=8)
        return places
    color, marker = style["color"], style["marker"]
    mean, *ends = interval(values, ratio)
    ax.plot(places, values, linestyle="", marker=marker, markersize=4, alpha=0.75, color=color)
    ax.plot([x - 0.42 * width, x + 0.42 * width], [mean, mean], color=color, linewidth=2)
    if bar:
        ax.plot([x, x], ends, color="0.2", linewidth=1, marker="_", markersize=6)
    if text:
        place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        top = np.nanmax([*values, *(ends if bar else [])])
        number = f"{mean:.2f}".replace("-", "\N{MINUS SIGN}")
        ax.annotate(number, (x, top), rotation=0 if width > 0.2 else 90, **place)
    return places


def differences(table: pd.DataFrame, column: str, at: list[str]) -> pd.DataFrame:
    """Rows of all but the baseline, the column minus that of the baseline of the same seed.

    Args:
        at: columns that, with the seed, say where the two belong together.
    """
    key = ["seed", *at]
    baseline = table[table.configuration == "baseline"].set_index(key)[column]
    others = table[table.configuration != "baseline"]
    paired = others[key].join(baseline.rename("of"), on=key).of
    return others.assign(**{column: others[column] - paired})


def finish(
    figure: Figure, title: str, table: pd.DataFrame, says: str = "thin: each, thick: mean"
) -> None:
    """Title and legend above; below the conditions, red where the data are not CIFAR-10."""
    first, seeds = table.iloc[0], table.seed.nunique()
    labels = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels()):
            labels.setdefault(label, handle)
    if labels:
        columns = min(len(labels), max(2, 100 // (6 + max(map(len, labels)))))
        figure.legend(
            labels.values(),
            labels,
            loc="outside upper center",
            ncols=columns,
            title=title,
            title_fontsize=13,
        )
    else:
        figure.suptitle(title, fontsize=13)
    scale = f"scale {first.scale}" if "scale" in table else f"setting {first.setting}"
    count = f"n = {seeds} seeds, {says}" if seeds > 1 else "n = 1 seed"
    planted = "PLANTED" in first.dataset
    text = f"{first.dataset}  |  {scale}  |  {count}  |  {first.device}"
    figure.supxlabel(
        textwrap.fill(text, 120 if planted else 135, break_long_words=False),
        fontsize=9,
        color="#C00000" if planted else "0.3",
        weight="bold" if planted else "normal",
    )
