"""One look for all figures, which are drawn from tables alone: styles, panels, curves, captions."""

import io
import math
import re
import textwrap

import matplotlib
import matplotlib.colors
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, Formatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from utils import configurations
from utils.evidence import paper
from utils.evidence.intervals import minus_baseline

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
FREQUENCIES = ("horizontal (cycles/pixel)", "vertical (cycles/pixel)")
EPOCHS = {"axis": "x", "integer": True, "nbins": 6, "min_n_ticks": 1}  # of `locator_params`
MINUS = " minus baseline"  # how titles of differences end
USUAL = {
    "l2": 1e-3,
    "conv-l2": 1e-3,
    "dropout": 0.5,
    "fixed-norm": 1,
}  # strengths in a family's own colour
# Below zero blue and dark, above it yellow and light: in grey, too, the sign can be seen.
DIVERGING = matplotlib.colors.LinearSegmentedColormap.from_list(
    "diverging", ["#041e42", "#1f5fa8", "#a9adb2", "#f2c45c", "#fffbd5"]
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
    """Colour, line and marker of a family; weaker than usual is light and hollow, stronger dark."""
    family = configurations.family(configuration)
    color, line, marker = FAMILIES.get(family, ("#555555", ":", "X"))
    strengths = configurations.strengths(configuration).items()
    logs = sum(np.log10(max(strength, 1e-9) / USUAL[term]) for term, strength in strengths)
    shade = np.clip(0.55 * logs, -0.7, 0.7)  # from the colour towards white, below 0, or black
    rgb = np.array(matplotlib.colors.to_rgb(color)) * (1 - abs(shade)) + max(0, -shade)
    color = matplotlib.colors.to_hex(rgb.clip(0, 1))
    filling = "white" if shade < 0 else color
    return {"color": color, "linestyle": line, "marker": marker, "markerfacecolor": filling}


def contrast(names) -> str | None:
    """What is compared with the baseline where one is: L2 as published, else the first other."""
    others = [name for name in dict.fromkeys(names) if name != "baseline"]
    if not others or "baseline" not in set(names):
        return None
    claimed = paper.CONFIGURATIONS[1]
    return claimed if claimed in others else others[0]


def differences(table: pd.DataFrame, column: str, at: list[str]) -> pd.DataFrame:
    """The column minus that of the baseline of the same seed, in rows where there is one.

    Args:
        at: columns that, with the seed, say where the two belong together.
    """
    paired = table.assign(**{column: minus_baseline(table, column, ("seed", *at))})
    return paired.dropna(subset=column)


def means(table: pd.DataFrame, rows: str, columns: str, value: str) -> dict:
    """Grids of means over seeds: of every configuration, by label, and of L2 minus baseline."""
    parts = dict(list(table.groupby("configuration", sort=False)))
    other = contrast(parts)
    parts = {configurations.label(name): part for name, part in parts.items()}
    paired = differences(table, value, [rows, columns])
    if other in set(paired.configuration):
        parts[configurations.label(other) + MINUS] = paired[paired.configuration == other]
    times = sorted(set(table[columns]))
    return {
        title: part.pivot_table(index=rows, columns=columns, values=value).reindex(columns=times)
        for title, part in parts.items()
    }


def sections(*heights: float) -> tuple[Figure, list]:
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


def map_rows(grids: dict) -> int:
    """Rows of panels that `map_panels` needs."""
    return math.ceil(sum(MINUS not in title for title in grids) / 4)


def map_panels(part, grids: dict, draw, label: str, x: str, y: str, centred=True) -> list[Axes]:
    """Images by title on one colour scale, with the bar that explains it; returns their axes.

    A difference, the last of them, has a scale of its own and stands to the right of the others.

    Args:
        draw: takes axes, a grid, the ends of the scale and its colours; returns what has them.
        label: of the colours, x and y of the axes.
        centred: the scale goes as far below 0 as above it, as that of a difference always does.
    """
    usual = [title for title in grids if MINUS not in title]
    compared = [title for title in grids if MINUS in title]
    rows = map_rows(grids)
    wide = math.ceil(len(usual) / rows)
    columns = wide + len(compared)
    every = part.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = _keep(every, [*every[:, :wide].flat[: len(usual)], *every[0, wide:]])
    of = dict(zip([*usual, *compared], axes))
    for group in filter(None, (usual, compared)):
        values = np.concatenate([np.ravel(grids[title]) for title in group])
        values = values[np.isfinite(values)]
        low, high, colors = values.min(initial=0), values.max(initial=0.1), "magma_r"
        if centred or group is compared:
            low, high, colors = -max(-low, high), max(-low, high), DIVERGING
        for title in group:
            of[title].grid(False)
            of[title].patch.set(facecolor="0.93", hatch="///", edgecolor="0.75")  # nothing there
            mesh = draw(of[title], grids[title], low, high, colors)
            whole = re.sub(r"(?<!,) (?=[\d%]|baseline)", "\N{NO-BREAK SPACE}", title)
            of[title].set_title(textwrap.fill(whole, 84 // columns))
        text = f"difference {label[label.rindex('(') :]}" if group is compared else label
        height = rows if group is usual else 1
        bar = {"aspect": 15 * height, "ticks": MaxNLocator(4 * height)}  # whatever its length
        part.colorbar(mesh, ax=[of[title] for title in group], label=text, **bar)
    part.supxlabel(x, fontsize=10)
    part.supylabel(y, fontsize=10)
    return axes


def heat_map(ax, grid: pd.DataFrame, low: float, high: float, colors):
    """Rows upwards, columns at their times."""
    x = grid.columns.to_numpy(float)
    half = np.diff(x)[[0, -1]] / 2 if len(x) > 1 else [0.5, 0.5]
    edges = [x[0] - half[0], *(x[1:] + x[:-1]) / 2, x[-1] + half[1]]
    rows = np.arange(len(grid) + 1) - 0.5
    return ax.pcolormesh(edges, rows, grid, vmin=low, vmax=high, cmap=colors)


def numbers(ax, grid: pd.DataFrame, digits: str) -> None:
    """The latest values of the rows of a heat map in numbers, at its right edge."""
    style = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center", "fontsize": 9}
    style["bbox"] = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5}
    for row, value in enumerate(grid.ffill(axis=1).iloc[:, -1]):
        ax.text(0.98, row, Formatter.fix_minus(digits.format(value)), **style)


def frequency_map(ax, grid: pd.DataFrame, low: float, high: float, colors):
    """Square image by frequency, pixel centres in place; circles: the corner of 3x3 kernels."""
    third, half = np.array([-1, 1]) / 3, 0.5 / len(grid)
    for color, width in (("white", 2.5), ("black", 1)):  # one of them can be seen anywhere
        style = {"mfc": "none", "mec": color, "mew": width, "ms": 5}
        ax.plot(np.repeat(third, 2), np.tile(third, 2), "o", **style)
    ax.set(xticks=[-0.4, 0, 0.4], yticks=[-0.4, 0, 0.4])
    edges = (grid.index[0] - half, grid.index[-1] + half) * 2
    return ax.imshow(grid, vmin=low, vmax=high, cmap=colors, extent=edges, origin="lower")


def frequency_figure(table: pd.DataFrame, quantity: str) -> Figure:
    """Maps by frequency, initially and of every model, and curves along some directions.

    Args:
        table: rows of (configuration, seed, epoch, fy, fx in cycles/pixel, db).
    """
    first = table[table.epoch == 0].pivot_table(index="fy", columns="fx", values="db")
    last = table[table.epoch > 0]
    grids = ({"initially": first} if len(first) else {}) | means(last, "fy", "fx", "db")
    figure, (top, bottom) = sections(2 * map_rows(grids), 2.5)
    map_panels(top, grids, frequency_map, f"{quantity} (dB)", *FREQUENCIES)
    radius, absolute = np.hypot(last.fy, last.fx), last[["fy", "fx"]].abs()
    size = last.fy.nunique()
    rings = (radius * size).round() / size
    last = last.assign(power=10 ** (last.db / 10))
    axes = panels(bottom, 3, sharey=True)
    for ax, title, chosen, place in (
        (axes[0], "Along the axes", absolute.min(axis=1) == 0, radius),
        (axes[1], "Along the diagonals", absolute.fy == absolute.fx, radius),
        (axes[2], "All directions, in rings", radius >= 0, rings),
    ):
        rows = last.assign(radius=place)[chosen]
        rows = rows.groupby(["configuration", "seed", "radius"], sort=False).power.mean()
        model_curves(ax, (10 * np.log10(rows)).rename("db").reset_index(), "radius", "db")
        ax.axhline(0, color="0.3", linewidth=1)
        ax.set(title=title, xlabel="frequency (cycles/pixel)")
    axes[0].set_ylabel(f"{quantity} (dB)")
    return figure


def model_curves(ax, table: pd.DataFrame, x: str, y: str) -> None:
    """Curves of every configuration, each with its look."""
    for name, rows in table.groupby("configuration", sort=False):
        curves(ax, rows, x, y, configurations.label(name), **look(name))


def curves(ax, table: pd.DataFrame, x: str, y: str, label: str | None = None, **style) -> None:
    """A thin line per seed and, thick, their mean."""
    wide = table.pivot(index=x, columns="seed", values=y).sort_index()
    mean = wide.mean(axis=1).dropna()
    if wide.shape[1] > 1:
        ax.plot(wide.index, wide, color=style["color"], linewidth=0.7, alpha=0.55)
    style = {"linewidth": 2, "markersize": 4.5, "markevery": 0.1 if len(mean) > 12 else 1} | style
    ax.plot(mean.index, mean, label=label, **style)


def step_axis(ax, steps, every: int = 1) -> None:
    """Steps on a logarithmic axis from 0 on, every so many powers of 10 named."""
    first = min((step for step in steps if step > 0), default=1)
    ax.set_xscale("symlog", linthresh=first, linscale=0.3)  # as far as the first it is linear
    ax.autoscale(axis="x")  # room for markers, as wide as on a linear axis
    powers = 10.0 ** np.arange(1, 8)
    ax.xaxis.set_major_locator(FixedLocator([0, *powers[powers > 1.9 * first][::every]]))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_locator(NullLocator())


def log_axis(axis) -> None:
    """Plain numbers on a logarithmic axis, few enough, over a part of a decade or over many."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    decades = np.log10(np.divide(*axis.get_view_interval()[::-1]))
    named = LogLocator(subs=(1, 2, 5) if decades < 2.5 else (1,))
    axis.set_major_locator(named if decades > 0.7 else MaxNLocator(5))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def finish(
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
    names = ("dataset", "scale", "setting", "device")
    said = {name: "; ".join(table[name].unique()) for name in names if name in table}
    parts = [said["dataset"], *(f"{n} {said[n]}" for n in ("scale", "setting") if n in said)]
    if "n_images" in table:
        parts.append(f"{table.n_images.max():,} test images")
    if "seed" in table:
        by = table.configuration if "configuration" in table else lambda row: 0
        counts = sorted(set(table.groupby(by).seed.nunique()))
        n = f"n = {' or '.join(map(str, counts))}"
        parts.append(f"{n} seeds, {says}" if counts[-1] > 1 else "n = 1 seed")
    planted = "PLANTED" in said["dataset"]
    style = {"color": "#C00000", "weight": "bold"} if planted else {"color": "0.3"}
    text = textwrap.fill("  |  ".join([*parts, said["device"]]), 130 if planted else 150)
    figure.supxlabel(text, fontsize=9, **style)
    if any(ax.images for ax in figure.axes):
        figure.draw_without_rendering()  # finds how large images are; the next gives them room
    return figure


def film(figure: Figure, show, frames: list) -> FuncAnimation:
    """An animation that is laid out once, not every frame anew, and whose end stays for a while.

    Args:
        show: changes the figure to what it is at one of the frames.
    """
    for _ in range(2):  # the second time with the ticks that the first found room for
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return FuncAnimation(figure, show, [*frames, *[frames[-1]] * 5])


def save(figure: Figure | FuncAnimation, path) -> None:
    """As PNG of 256 colours, a third of the size of one with all of them; an animation as GIF."""
    if isinstance(figure, Figure):
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=120)
        few = {"method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}
        Image.open(drawn).convert("RGB").quantize(**few).save(path, "PNG", optimize=True)
    else:
        figure.save(path, writer=PillowWriter(fps=8), dpi=70)
