"""One look for all figures, which are drawn from tables alone: styles, panels, curves, captions."""

import math
import re
import textwrap

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Formatter, LogLocator, MaxNLocator, NullLocator

from utils import configurations
from utils.evidence import paper
from utils.evidence.intervals import interval, minus_baseline

WIDTH = 9.6  # inches of every figure: 10 points are 13 pixels where it is shown 900 wide
# One look per family in every figure: colour, line and marker, distinct in grey too.
FAMILIES = {
    "baseline": ("#0072B2", "-", "o"),
    "l2": ("#009E73", "--", "s"),
    "dropout": ("#E69F00", "-.", "^"),
    "conv-l2": ("#CC79A7", ":", "D"),
    "fixed-norm": ("#7B4FA3", (0, (3, 1, 1, 1)), "X"),
    "l2+dropout": ("#D55E00", (0, (5, 1, 1, 1, 1, 1)), "v"),
    "conv-l2+dropout": ("#56B4E9", (0, (1, 1)), "P"),
}
USUAL = {"l2": 1e-3, "conv-l2": 1e-3, "dropout": 0.5, "fixed-norm": 1}  # in a family's own colour
# Colours of a tenth of the usual strength and of ten times it; others lie between.
WEAK = {"l2": "#c7d916", "conv-l2": "#f7d7e7", "dropout": "#f3e08c", "fixed-norm": "#cdb9e6"}
STRONG = {"l2": "#3b0764", "conv-l2": "#4a0d3f", "dropout": "#5e0f05", "fixed-norm": "#1b0b33"}
ACROSS = ("axes fraction", "data")  # coordinates of a text at a height, anywhere on a wide axis
FREQUENCIES = ("horizontal (cycles/pixel)", "vertical (cycles/pixel)")
EPOCHS = {"axis": "x", "integer": True, "nbins": 6, "min_n_ticks": 1}  # of `locator_params`
ZERO = {"color": "0.3", "linewidth": 1}  # a line at no effect
BAND = {"color": "0.55", "linewidth": 6, "alpha": 0.3, "zorder": 0}  # a line at what was claimed
INTERVALS = "thin: each, thick: mean; bar: 95 % interval"  # what a caption says of curves
# Below zero blue and dark, above it yellow and light: in grey, too, the sign can be seen.
COLORS = ["#041e42", "#1f5fa8", "#a9adb2", "#f2c45c", "#fffbd5"]
DIVERGING = LinearSegmentedColormap.from_list("diverging", COLORS)
FIRST_STEP = 8  # up to which an axis of steps is linear, and short: little happens
# The same figures everywhere, whatever the user's matplotlibrc says; no other setting is touched.
PROCESS = ("backend", "interactive", "toolbar", "webagg", "tk.")
STYLE = {name: x for name, x in matplotlib.rcParamsDefault.items() if not name.startswith(PROCESS)}
STYLE |= {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.hashsalt": "figure",
}
styled = matplotlib.rc_context(STYLE)  # decorates every function that draws a figure


def line_style(configuration: str) -> dict:
    """Colour, line and marker of a family; the colour of a strength between weak and strong."""
    family = configurations.family(configuration)
    color, line, marker = FAMILIES.get(family, ("#555555", ":", "X"))
    strengths = configurations.strengths(configuration).items()
    place = sum(np.log10(max(x, 1e-9) / USUAL[term]) for term, x in strengths)
    ends = WEAK.get(family, "#ffffff"), STRONG.get(family, "#000000")
    scale = LinearSegmentedColormap.from_list(family, [ends[0], color, ends[1]], N=2001)
    color = to_hex(scale(0.5 + np.clip(place, -1, 1) / 2))
    filling = "white" if place < 0 else color
    return {"color": color, "linestyle": line, "marker": marker, "markerfacecolor": filling}


def compared_configuration(names) -> str | None:
    """The configuration whose difference to the baseline is shown, None without a baseline: of L2,
    else of the first family, the published strength, else the strongest."""
    others = [name for name in dict.fromkeys(names) if name != "baseline"]
    if not others or "baseline" not in set(names):
        return None
    families = [configurations.family(name) for name in others]
    family = "l2" if "l2" in families else families[0]
    alike = [name for name, other in zip(others, families) if other == family]
    published = f"{family}={USUAL.get(family, 0):g}"
    return published if published in alike else max(alike, key=configurations.order)


def at_published_recipe(table: pd.DataFrame) -> bool:
    """Results on CIFAR-10 with the published schedule, whatever the width of the network."""
    scales = (paper.SCALE, f"{paper.SCALE}, changed: width")
    return table.dataset.iloc[0] == paper.DATASET and table.scale.iloc[0] in scales


def differences(table: pd.DataFrame, column: str, at: list[str]) -> pd.DataFrame:
    """The column minus that of the baseline of the same seed and `at`, in rows where there is one."""
    paired = table.assign(**{column: minus_baseline(table, column, ("seed", *at))})
    return paired.dropna(subset=column)


def mean_grids(table: pd.DataFrame, rows: str, columns: str, value: str) -> tuple[dict, dict]:
    """Means over seeds by title, rows x columns: of every configuration; and of the compared one
    minus the baseline, {} without a pair."""
    paired = differences(table, value, [rows, columns])
    paired = paired[paired.configuration == compared_configuration(table.configuration)]
    every = sorted(set(table[columns]))

    def grids(some, ending=""):
        parts = some.groupby("configuration", sort=False)
        found = {name: part.pivot_table(value, rows, columns) for name, part in parts}
        found = {name: grid.reindex(columns=every) for name, grid in found.items()}
        return {configurations.label(name) + ending: grid for name, grid in found.items()}

    return grids(table), grids(paired, " minus baseline")


def subfigures(*heights: float) -> tuple[Figure, list]:
    """A figure of parts below each other, each laid out by itself; heights in inches."""
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.9), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)
    return figure, list(parts[:, 0])


def panels(part, count: int, most: int = 4, **options) -> list[Axes]:
    """Panels in a part of a figure, at most `most` in a row; options of `subplots`."""
    rows = math.ceil(count / most)
    grid = part.subplots(rows, math.ceil(count / rows), squeeze=False, **options)
    return _keep(grid, list(grid.flat[:count]))


def _keep(grid, axes: list[Axes]) -> list[Axes]:
    """Remove the others of a grid of axes; returns the kept ones, the lowest with tick labels."""
    for column in grid.T:
        kept = [ax for ax in column if ax in axes]
        for ax in set(column) - set(kept):
            ax.remove()
        kept[-1].tick_params(labelbottom=True)
    return axes


def heat_map_rows(count: int) -> int:
    """Rows of panels that `heat_map_grid` makes of so many configurations."""
    return math.ceil(count / 4)


def heat_map_grid(
    part, grids: dict, change: dict, label: str, draw, x: str, y: str, one_sided: bool = False
) -> list[Axes]:
    """Heat maps by title, and beside them of a change in the same unit; returns their axes.

    Args:
        label: of the colours of `grids`, ending with the unit.
        draw: function(ax, grid, low, high, colours) -> artist for the colour bar.
        one_sided: the colours of `grids` end at 0, beyond which values hardly go.
    """
    unit = label.rpartition(" ")[2]
    groups = [(grids, label, one_sided), (change, f"difference {unit}", False)]
    groups = [group for group in groups if group[0]]
    rows = heat_map_rows(len(groups[0][0]))
    widths = [math.ceil(len(maps) / rows) for maps, *_ in groups]
    every = part.subplots(rows, sum(widths), squeeze=False, sharex=True, sharey=True)
    blocks, kept = np.split(every, np.cumsum(widths)[:-1], axis=1), []
    for block, (maps, text, at_end) in zip(blocks, groups):
        axes = list(block.flat[: len(maps)])
        values = np.concatenate([[0], *map(np.ravel, maps.values())])
        least, most = np.nanmin(values), np.nanmax(values)
        low, high, colors = 0, max(most, 0.1), "magma_r"
        if not at_end:
            low, high, colors = -max(-least, high), max(-least, high), DIVERGING
        elif -least > high:
            low, high, colors = least, 0, "magma"
        for ax, (title, grid) in zip(axes, maps.items()):
            ax.grid(False)
            ax.patch.set(facecolor="0.93", hatch="///", edgecolor="0.75")  # nothing there
            mesh = draw(ax, grid, low, high, colors)
            whole = re.sub(r"(?<!,) (?=[\d%]|baseline)", "\N{NO-BREAK SPACE}", title)
            ax.set_title(textwrap.fill(whole, 84 // sum(widths)))
        height = math.ceil(len(axes) / block.shape[1])
        bar = {"aspect": 15 * height, "ticks": MaxNLocator(4 * height)}  # whatever its length
        bar["extend"] = ["neither", "max", "min", "both"][2 * (least < low) + (most > high)]
        part.colorbar(mesh, ax=axes, label=text, **bar)
        kept += axes
    part.supxlabel(x, fontsize=10)
    part.supylabel(y, fontsize=10)
    return _keep(every, kept)


def heat_map(ax, grid: pd.DataFrame, low: float, high: float, colors):
    """Rows upwards, columns at their times."""
    x = grid.columns.to_numpy(float)
    half = np.diff(x)[[0, -1]] / 2 if len(x) > 1 else [0.5, 0.5]
    edges = [x[0] - half[0], *(x[1:] + x[:-1]) / 2, x[-1] + half[1]]
    rows = np.arange(len(grid) + 1) - 0.5
    return ax.pcolormesh(edges, rows, grid, vmin=low, vmax=high, cmap=colors)


def annotate_last_column(ax, grid: pd.DataFrame, digits: str) -> None:
    """The latest values of the rows of a heat map in numbers, at its right edge."""
    style = {"xycoords": ACROSS, "ha": "right", "va": "center", "fontsize": 9}
    style["bbox"] = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5}
    for row, value in enumerate(grid.ffill(axis=1).iloc[:, -1]):
        ax.annotate(Formatter.fix_minus(digits.format(value)), (0.98, row), **style)


def frequency_map(ax, grid: pd.DataFrame, low: float, high: float, colors):
    """Square image by frequency, pixel centres in place; circles: (1/3, 1/3) cycles/pixel."""
    third, half = np.array([-1, 1]) / 3, np.diff(grid.index).min() / 2
    for color, width in (("white", 2.5), ("black", 1)):  # one of them can be seen anywhere
        style = {"mfc": "none", "mec": color, "mew": width, "ms": 5}
        ax.plot(np.repeat(third, 2), np.tile(third, 2), "o", **style)
    ax.set(xticks=[-0.4, 0, 0.4], yticks=[-0.4, 0, 0.4])
    ax.grid(False)
    edges = (grid.index[0] - half, grid.index[-1] + half) * 2
    return ax.imshow(grid, vmin=low, vmax=high, cmap=colors, extent=edges, origin="lower")


def model_curves(ax, table: pd.DataFrame, x: str, y: str, **labels) -> None:
    """Curves of every configuration in its style, and labels of the axes."""
    for name, rows in table.groupby("configuration", sort=False):
        curves(ax, rows, x, y, configurations.label(name), **line_style(name))
    ax.set(**labels)


def clean_lines(ax, levels: pd.Series) -> None:
    """A dotted line at the level of every configuration on clean images."""
    for name, level in levels.items():
        ax.axhline(level, color=line_style(name)["color"], linestyle=":", linewidth=1)
    ax.plot([], [], color="0.3", linestyle=":", linewidth=1, label="clean images")


def curves(ax, table: pd.DataFrame, x: str, y: str, label: str | None = None, **style) -> None:
    """A thin line per seed and, thick, their mean."""
    wide = table.pivot(index=x, columns="seed", values=y)
    mean = wide.mean(axis=1).dropna()
    if wide.shape[1] > 1:
        ax.plot(wide.index, wide, color=style["color"], linewidth=0.7, alpha=0.55)
    style = {"linewidth": 2, "markersize": 4.5, "markevery": 0.1 if len(mean) > 12 else 1} | style
    ax.plot(mean.index, mean, label=label, **style)


def interval_bars(ax, table: pd.DataFrame, x: str, y: str, color, shift: float = 0) -> None:
    """A vertical bar at every x, moved by `shift`, over the 95 % interval of y over seeds."""
    for place, values in table.groupby(x)[y]:
        _, *ends = interval(values)
        ax.plot([place + shift] * 2, ends, color=color, linewidth=1, marker="_", markersize=4)


def cut_bars(ax, low: float, high: float) -> None:
    """Limits of y, as of few seeds intervals go far beyond them; arrows where a bar is cut."""
    ax.set_ylim(low, high)
    for bar in [line for line in ax.lines if line.get_marker() == "_"]:
        x, ends = bar.get_xdata()[0], bar.get_ydata()
        style = {"color": bar.get_color(), "linestyle": "", "markersize": 5, "clip_on": False}
        if min(ends) < low:
            ax.plot(x, low, marker="v", **style)
        if max(ends) > high:
            ax.plot(x, high, marker="^", **style)


def crosses(ax, x, y, color) -> None:
    """Published values."""
    style = {"marker": "x", "linestyle": "", "markersize": 8, "markeredgewidth": 2, "zorder": 6}
    ax.plot(x, y, color=color, **style)
    ax.plot([], [], color="black", label=paper.SOURCE, **style)


def step_axis(ax, steps, every: int = 1) -> None:
    """Steps from 0 on, logarithmic after the first few; every so many powers of 10 named."""
    steps = np.unique(steps)
    first = max(min(steps[steps > 0], default=1), min(FIRST_STEP, steps[-1] / 10))
    ax.set_xscale("symlog", linthresh=first, linscale=0.2)  # as far as the first it is linear
    ax.autoscale(axis="x")  # room for markers, as wide as on a linear axis
    named = np.outer(10.0 ** np.arange(1, 8), [1] if steps[-1] > 999 else [1, 5]).ravel()
    named = named[(named > 1.9 * first) & (named < 1.1 * steps[-1])]
    ax.xaxis.set_major_locator(FixedLocator([0, *named[::-every][::-1]]))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_locator(NullLocator())


def logarithmic_steps(steps) -> list[int]:
    """About 24 of the steps, as evenly as they allow on a logarithmic scale; 0 stays."""
    steps = np.unique(steps)
    later = steps[steps > 0]
    wanted = np.geomspace(later[0], later[-1], 24) if len(later) else []
    chosen = [later[np.abs(later - step).argmin()] for step in wanted]
    return sorted({int(step) for step in [*steps[steps == 0], *chosen]})


def log_axis(axis) -> None:
    """Plain numbers on a logarithmic axis, few enough, over a part of a decade or over many."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    decades = np.log10(np.divide(*axis.get_view_interval()[::-1]))
    named = LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,))
    axis.set_major_locator(named if decades > 0.7 else MaxNLocator(5))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def add_title_and_caption(
    figure: Figure, title: str, table: pd.DataFrame, says: str = "thin: each, thick: mean"
) -> Figure:
    """Title and legend above; below the conditions, red where the data are not CIFAR-10."""
    found = [pair for ax in figure.axes for pair in zip(*ax.get_legend_handles_labels())]
    handles = {label: handle for handle, label in found}
    if handles:
        widths = [len(label) + 8 for label in handles]  # in letters; there is room for 112
        parts = (np.array_split(widths, n) for n in range(len(widths), 0, -1))
        columns = next(len(part) for part in parts if sum(map(max, part)) < 112)
        columns = math.ceil(len(handles) / math.ceil(len(handles) / columns))
        style = {"loc": "outside upper center", "ncols": columns, "title_fontsize": 13}
        figure.legend(handles.values(), handles, title=title, **style)
    else:
        figure.suptitle(title, fontsize=13)
    planted = "PLANTED" in table.dataset.iloc[0]
    style = {"color": "#C00000", "weight": "bold"} if planted else {"color": "0.3"}
    text = textwrap.fill("  |  ".join(_conditions(table, says)), 130 if planted else 150)
    figure.supxlabel(text, fontsize=9, **style)
    if any(ax.images for ax in figure.axes):
        figure.draw_without_rendering()  # finds how large images are; the next gives them room
    return figure


def _conditions(table: pd.DataFrame, says: str) -> list[str]:
    names = [name for name in ("dataset", "scale", "setting", "device") if name in table]
    dataset, *scale, device = ("; ".join(table[name].unique()) for name in names)
    parts = [dataset, *(f"{name} {text}" for name, text in zip(names[1:], scale))]
    if "n_images" in table:
        parts.append(f"{table.n_images.max():,.0f} test images")
    if "seed" in table:
        by = table.configuration if "configuration" in table else lambda row: 0
        counts = sorted(set(table.groupby(by).seed.nunique()))
        n = f"n = {' or '.join(map(str, counts))}"
        parts.append(f"{n} seeds, {says}" if counts[-1] > 1 else "n = 1 seed")
    return [*parts, re.sub("(?<!;) ", "\N{NO-BREAK SPACE}", device)]


def animation(figure: Figure, show, frames: list) -> FuncAnimation:
    """An animation that is laid out once, not every frame anew, and whose end stays for a while;
    `show` changes the figure to what it is at one of the frames."""
    for _ in range(2):  # the second time with the ticks that the first found room for
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return FuncAnimation(figure, show, [*frames, *[frames[-1]] * 5])


@styled
def save(figure: Figure | FuncAnimation, path, format: str = "png") -> None:
    """Write a figure as png, pdf or svg, the same bytes each time; an animation as GIF."""
    if isinstance(figure, Figure):
        unsaid = {"png": "Software", "pdf": "CreationDate", "svg": "Date"}[format]
        small = {"pil_kwargs": {"optimize": True}} if format == "png" else {}
        figure.savefig(path, format=format, dpi=120, metadata={unsaid: None}, **small)
    else:
        figure.save(path, writer=PillowWriter(fps=4), dpi=70)
