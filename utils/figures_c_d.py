"""The figures of experiments C and D."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils import configurations, published
from utils.statistics import is_published_setting
from utils.visualizer import curve, finish, look, panels

LEVELS = {  # what the level of a corruption means, and whether a lower one is worse
    "Gaussian noise": ("sigma (pixel units)", False),
    "band noise": ("centre of the band (cycles/pixel)", False),
    "low resolution, bilinear": ("pixels along an edge", True),
    "low resolution, antialiased": ("pixels along an edge", True),
    "Gaussian blur": ("size of the kernel (pixels)", False),
    "ideal low-pass": ("cutoff (cycles/pixel)", True),
    "ideal high-pass": ("cutoff (cycles/pixel)", False),
}


def robustness(
    accuracy: pd.DataFrame, leads: pd.DataFrame, corruptions: list[str], title: str
) -> Figure:
    """A row per corruption: accuracy by level on each set of images, and leads on "test"."""
    sets = list(dict.fromkeys(accuracy.images))
    size = (5.2 * (len(sets) + 1), 0.9 + 3.2 * len(corruptions))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(
        len(corruptions), len(sets) + 1, squeeze=False, sharex="row", sharey="col"
    )
    for row, corruption in zip(axes, corruptions):
        for ax, images in zip(row, sets):
            _accuracies(ax, accuracy[accuracy.images == images], corruption)
            if images == "test" and is_published_setting(
                accuracy.iloc[0], published.CONFIGURATIONS[1]
            ):
                _published_curves(ax, corruption)
            of = f" with {images} only" if images != "test" else ""
            ax.set_ylabel(f"accuracy (%){of}")
            ax.set_title(corruption)
        _leads(row[-1], leads[leads.images == "test"], corruption)
        row[-1].set(title=corruption, ylabel="lead over the baseline (points)")
        text, reverse = LEVELS[corruption]
        for ax in row:
            ax.set_xlabel(text)
        if reverse:
            row[0].invert_xaxis()
    for ax in axes[0, :-1]:  # intervals may reach beyond what an accuracy can be
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, 0), min(high, 100))
    axes[0, 0].legend(fontsize=8)
    axes[0, -1].legend(fontsize=8)
    finish(figure, f"{title} (dotted: clean images)", accuracy)
    return figure


def _accuracies(ax, accuracy: pd.DataFrame, corruption: str) -> None:
    for name, run in accuracy.groupby("configuration", sort=False):
        clean = run[run.corruption == "none"].accuracy.mean()
        ax.axhline(clean, color=look(name)["color"], linestyle=":", linewidth=1)
        rows = run[run.corruption == corruption]
        curve(ax, rows, "level", "accuracy", **look(name), label=configurations.label(name))


def _leads(ax, leads: pd.DataFrame, corruption: str) -> None:
    """Lead over the baseline by level; dotted: on clean images."""
    ax.axhline(0, color="0.3", linewidth=1)
    for (name, comparison), run in leads.groupby(["configuration", "comparison"], sort=False):
        style, label = look(name), configurations.label(name)
        if comparison != "last epoch":
            style = style | {"color": "0.35", "marker": "D"}
            label = f"{label}, {comparison}"
        clean = run[run.corruption == "none"].lead.mean()
        ax.axhline(clean, color=style["color"], linestyle=":", linewidth=1)
        rows = run[run.corruption == corruption]
        curve(ax, rows, "level", "lead", **style, label=label)


def _published_curves(ax, corruption: str) -> None:
    levels = published.ACCURACY.get(corruption, {})
    for name, values in zip(published.CONFIGURATIONS, zip(*levels.values())):
        style = look(name) | {"marker": "x", "linewidth": 0.7, "markersize": 4}
        label = f"{configurations.label(name)}, arXiv:2512.22192"
        ax.plot(list(levels), values, **style, alpha=0.6, zorder=1, label=label)


def fourier_heatmap(heatmap: pd.DataFrame) -> Figure:
    """Error by Fourier mode, a panel per configuration, and of L2 against the baseline."""
    means = heatmap.groupby(["configuration", "u", "v"], sort=False).error.mean()
    grids = {name: _both_halves(means[name]) for name in dict.fromkeys(heatmap.configuration)}
    low = min(grid.min() for grid in grids.values())
    high = max(grid.max() for grid in grids.values())
    other = published.CONFIGURATIONS[1]
    compare = {"baseline", other} <= set(grids)
    figure, axes = panels(len(grids) + compare, 3.5, 4.3)
    size = len(next(iter(grids.values())))
    low_edge, high_edge = -0.5 - 0.5 / size, 0.5 - 0.5 / size  # pixel centres at the frequencies
    edge = {"extent": (low_edge, high_edge, low_edge, high_edge), "origin": "lower"}
    for ax, (name, grid) in zip(axes, grids.items()):
        mesh = ax.imshow(grid, vmin=low, vmax=high, cmap="viridis", **edge)
        ax.set_title(configurations.label(name))
    figure.colorbar(mesh, ax=axes[: len(grids)], label="error (%)", shrink=0.8)
    if compare:
        lead = grids[other] - grids["baseline"]
        limit = max(0.1, np.abs(lead).max())
        mesh = axes[-1].imshow(lead, vmin=-limit, vmax=limit, cmap="RdBu_r", **edge)
        axes[-1].set_title(f"{configurations.label(other)} minus baseline")
        figure.colorbar(mesh, ax=axes[-1], label="error (points)", shrink=0.8)
    for ax in axes:
        ax.set_xlabel("horizontal (cycles/pixel)")
        ax.grid(False)
    axes[0].set_ylabel("vertical (cycles/pixel)")
    title = f"Error under one Fourier mode of norm {heatmap.norm.iloc[0]:g} per image"
    finish(figure, title, heatmap, "mean over seeds")
    return figure


def sensitivity(spectra: pd.DataFrame, maps: pd.DataFrame) -> Figure:
    """Input sensitivity against white by radius, a line per seed, and in two dimensions."""
    last = maps[maps.epoch > 0]
    grids = {
        name: _both_halves(rows.groupby(["u", "v"]).power.mean())
        for name, rows in last.groupby("configuration", sort=False)
    }
    figure, axes = panels(1 + len(grids), 4, 4.3)
    curves, *others = axes
    curves.axhline(0, color="0.3", linewidth=1)
    for (name, seed, epoch), rows in spectra.groupby(["configuration", "seed", "epoch"]):
        style = look(name) | {"marker": ""} if epoch else {"color": "0.6"}
        label = configurations.label(name) if epoch else "initially"
        label = label if seed == spectra.seed.iloc[0] else None
        curves.plot(rows.radius, rows.white_db, linewidth=1, label=label, **style)
    curves.set(xlabel="radial frequency (cycles/pixel)", ylabel="against white (dB)")
    curves.legend()
    for ax, (name, grid) in zip(others, grids.items()):
        ax.sharey = None
        db = 10 * np.log10(grid / grid.mean())
        mesh = ax.imshow(db, cmap="RdBu_r", vmin=-10, vmax=10, extent=(-0.5, 0.5, -0.5, 0.5))
        ax.set_title(configurations.label(name))
    figure.colorbar(mesh, ax=others, label="dB against white")
    finish(figure, "What the output depends on, by frequency", spectra, "a line per seed")
    return figure


def _both_halves(modes: pd.Series) -> np.ndarray:
    """Square image of values by (u, v), zero frequency in the middle, and their mirror."""
    u, v = (modes.index.get_level_values(n).to_numpy() for n in ("u", "v"))
    size = 2 * int(v.max())
    image = np.full((size, size), np.nan)
    for sign in (1, -1):
        image[(sign * u + size // 2) % size, (sign * v + size // 2) % size] = modes
    return image
