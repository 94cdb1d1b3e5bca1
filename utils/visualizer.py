"""One look for all figures, which are drawn from tables alone: styles, panels, curves, captions."""

import matplotlib
import matplotlib.colors
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils import configurations
from utils.statistics import summarize

# One look per family in every figure: colour, line and marker, distinct in grey too.
FAMILIES = {
    "baseline": ("#0072B2", "-", "o"),
    "l2": ("#009E73", "--", "s"),
    "dropout": ("#E69F00", "-.", "^"),
    "conv-l2": ("#CC79A7", ":", "D"),
    "l2+dropout": ("#D55E00", (0, (5, 1, 1, 1, 1, 1)), "v"),
    "conv-l2+dropout": ("#56B4E9", (0, (1, 1)), "P"),
}
USUAL = {"l2": 1e-3, "conv-l2": 1e-3, "dropout": 0.5}  # strengths in a family's own colour

matplotlib.rcdefaults()  # the same figures everywhere, whatever the user's matplotlibrc says
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


def panels(count: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A row of panels with one y axis; sizes in inches, wide enough for the caption."""
    size = (max(9, width * count + 2), height)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(1, count, sharey=True, squeeze=False)[0]


def heat_map(ax, grid: pd.DataFrame, colors: str, low: float, high: float):
    """Rows of the table upwards, its evenly spaced columns from left to right."""
    columns = grid.shape[1]
    half = np.ptp(grid.columns) / (columns - 1) / 2 if columns > 1 else 0.5
    left, right = grid.columns[0] - half, grid.columns[-1] + half
    ax.grid(False)
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


def look(configuration: str) -> dict:
    """The look of a family; weaker than usual is lighter, stronger is darker."""
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


def curve(ax, table: pd.DataFrame, x: str, y: str, band=True, **style) -> None:
    """Mean over seeds with its 95 % interval as a band, where there is more than one seed."""
    means = summarize(table, [x], y)
    (line,) = ax.plot(means[x], means["mean"], markersize=5, **style)
    if band and (means.n > 1).any():
        low, high = means["mean"] - means.half, means["mean"] + means.half
        ax.fill_between(means[x], low, high, color=line.get_color(), alpha=0.2, lw=0)


def finish(
    figure: Figure,
    title: str,
    table: pd.DataFrame,
    spread: str = "mean and 95 % t-interval over seeds",
    none_of_one: str = "no interval from one seed",
) -> None:
    """Title, and below the figure the conditions; red where the data are not CIFAR-10."""
    first = table.iloc[0]
    seeds = table.seed.nunique()
    spread = spread if seeds > 1 else none_of_one
    planted = "PLANTED" in first.dataset
    figure.suptitle(title, fontsize=13)
    under = f"scale {first.scale}" if "scale" in table else f"setting {first.setting}"
    figure.supxlabel(
        f"{first.dataset}   |   {under}   |   n = {seeds} "
        f"{'seeds' if seeds > 1 else 'seed'}, {spread}   |   {first.device}",
        fontsize=9,
        color="#C00000" if planted else "0.3",
        weight="bold" if planted else "normal",
    )
