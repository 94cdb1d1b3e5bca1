"""Figures of somebody's network, drawn from the tables that analyze_model.py writes."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from utils import visualizer as vis
from utils.frequency import response_from_autocorrelation

HIGHEST = 2**-0.5  # radius of (1/2, 1/2), cycles/pixel
TICKS = 36  # layers whose names an axis has room for
WHERE = "radial frequency (cycles/pixel)"


def kernels(table: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Spectra of all layers, and the responses of the first, last, most and least low-pass.

    Args:
        table: of `analyze_model`; correlations: beside it from `measure`, and `other` where the
            reference is another model.
    """
    levels = table.filter(like="db_").set_axis(table.layer).T
    levels.index = [float(name.removeprefix("db_")) for name in levels.index]
    order = table.ssr.argsort()
    chosen = {0: "first", len(table) - 1: "last"} if len(table) > 1 else {0: "the only layer"}
    for number, text in ((order.iloc[-1], "most low-pass"), (order.iloc[0], "least low-pass")):
        if len(table) > 1:
            chosen[number] = f"{chosen[number]}, {text}" if number in chosen else text
    for number in (len(table) // 3, 2 * len(table) // 3, *range(len(table))):
        if len(chosen) < 4:
            chosen.setdefault(number, "between")
    responses = {number: _response(correlations, table.layer[number]) for number in chosen}
    drawn = np.concatenate([np.ravel(image) for image in (levels, *responses.values())])
    limit = np.clip(np.abs(drawn[np.isfinite(drawn)]).max(initial=1), 1, 20)
    style = {"cmap": vis.DIVERGING, "vmin": -limit, "vmax": limit}

    figure = Figure(figsize=(vis.WIDTH, 6.6), layout="constrained")
    names = [number if number < len(responses) else "." for number in range(4)]
    axes = figure.subplot_mosaic([["all"] * 4, names], height_ratios=(1.3, 1))
    _by_layer(axes["all"], {n: levels[n].dropna() for n in levels}, **style)
    for ax, number in zip(map(axes.get, names), sorted(responses)):
        mesh = _map(ax, responses[number], **style)
        ax.set_title(f"{_short(table.layer[number])}\n{chosen[number]}", fontsize=9)
    axes[0].set_ylabel(vis.FREQUENCIES[1])
    label = f"power against {table.reference[0]} (dB)"
    figure.colorbar(mesh, ax=[*axes.values()], label=label, extend="both", aspect=40)
    weights = "BatchNorm folded in" if table.folded[0] else "raw weights"
    return _finish(figure, f"Kernels of all layers, and responses of some ({weights})", table)


def features(table: pd.DataFrame) -> Figure:
    """Power of all feature maps by radius, and relative log amplitude of eight of them."""
    rings = {}
    for name, rows in table.groupby("layer", sort=False):
        db = _rings(rows, rows.power, max(rows.height.iloc[0], rows.width.iloc[0]))
        rings[name] = db - db.iloc[1]
    drawn = np.concatenate([db.iloc[1:] for db in rings.values()])
    low = np.percentile([-1, *drawn[np.isfinite(drawn)]], 1)
    figure, (top, bottom) = vis.sections(3.5, 2.6)
    ax = top.subplots()
    mesh = _by_layer(ax, rings, cmap="viridis", vmin=low, vmax=0)
    top.colorbar(mesh, ax=ax, label="against the lowest\nradius above 0 (dB)", extend="both")
    ax = bottom.subplots()
    diagonal = table[table.relative_log_amplitude.notna()]
    names = [name for name, rows in diagonal.groupby("layer", sort=False) if len(rows) > 1]
    picked = np.unique(np.linspace(0, len(names) - 1, 8).astype(int)) if names else []
    for number, place in zip(picked, np.linspace(0, 0.9, len(picked))):
        rows = diagonal[diagonal.layer == names[number]]
        style = {"color": colormaps["plasma"](place), "label": _short(names[number])}
        ax.plot(rows.radius / 2**0.5, rows.relative_log_amplitude, **style)
    ax.set(xlabel="frequency along each axis, on the diagonal (cycles/pixel)")
    ax.set(ylabel="relative log amplitude")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return _finish(figure, "What passes: feature maps from input to output", table)


def sensitivity(spectrum: pd.DataFrame, power: pd.DataFrame) -> Figure:
    """Input sensitivity in two dimensions, and by radius."""
    grid = power.pivot(index="fy", columns="fx", values="power").to_numpy()
    with np.errstate(divide="ignore"):
        db = 10 * np.log10(grid / grid.mean())
    limit = np.clip(np.percentile(np.abs(db[np.isfinite(db)]), 99), 1, 40)
    figure = Figure(figsize=(vis.WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    mesh = _map(left, db, cmap=vis.DIVERGING, vmin=-limit, vmax=limit)
    left.set_ylabel(vis.FREQUENCIES[1])
    figure.colorbar(mesh, ax=left, label="against white (dB)", extend="both", shrink=0.8)
    right.axhline(0, color="0.3", linewidth=1)
    right.axvline(spectrum.cutoff[0], color="0.3", linewidth=1, linestyle=":")
    white = spectrum.energy.sum() / spectrum.multiplicity.sum()
    rings = _rings(spectrum, spectrum.density / white, min(len(grid), 80))
    right.plot(spectrum.radius, spectrum.white_db, ".", color="0.75", markersize=2)
    right.plot(rings.index, rings, color="#0072B2")
    share = spectrum.energy[spectrum.radius > spectrum.cutoff].sum() / spectrum.energy.sum()
    right.set(xlabel=WHERE, ylabel="against white (dB)")
    right.set_title(f"{100 * share:.1f} % above {spectrum.cutoff[0]:g} cycles/pixel")
    return _finish(figure, "What the output depends on: input sensitivity", spectrum)


def _rings(rows: pd.DataFrame, power: pd.Series, size: int) -> pd.Series:
    """dB of the mean power in rings as wide as a step of the DFT, by their mean radius.

    Single radii differ much, as maps have most of their power near the axes.
    """
    sums = rows.assign(power=power * rows.multiplicity).groupby((rows.radius * size).round())
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = 10 * np.log10(sums.power.sum() / sums.multiplicity.sum())
    return mean.set_axis(sums.radius.mean())


def _map(ax, db: np.ndarray, **style):
    """An image by frequency, zero in the middle as after fftshift."""
    (low, high), (left, right) = (
        (-(n // 2 + 0.5) / n, (-(n // 2) - 0.5) / n + 1) for n in db.shape
    )
    ax.set(xticks=[-0.4, 0, 0.4], yticks=[-0.4, 0, 0.4], xlabel=vis.FREQUENCIES[0])
    ax.grid(False)
    return ax.imshow(db, extent=(left, right, low, high), origin="lower", **style)


def _response(correlations: pd.DataFrame, layer: str) -> np.ndarray:
    """Response (64, 64) in dB against white kernels of the same energy, or against the other's."""
    rows = correlations[correlations.layer == layer]
    found = []
    for name in rows.columns.intersection(["value", "other"]):
        correlation = rows.pivot(index="dy", columns="dx", values=name).to_numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            response = response_from_autocorrelation(correlation, 64) / correlation.max()
            found.append(10 * np.log10(response))
    return found[0] - sum(found[1:])


def _by_layer(ax, columns: dict[str, pd.Series], **style):
    """A column per layer, coloured at every height by the level of the nearest radius."""
    heights = np.linspace(0, HIGHEST, 283)
    image = np.full((len(heights), len(columns)), np.nan)
    for number, levels in enumerate(columns.values()):
        radius = levels.index.to_numpy()
        nearest = np.abs(heights[:, None] - radius).argmin(1)
        top = radius[-1] + (np.diff(radius)[-1] / 2 if len(radius) > 1 else HIGHEST)
        image[:, number] = np.where(heights <= top, levels.to_numpy()[nearest], np.nan)
    ax.set(facecolor="0.9", ylabel=WHERE)
    ax.grid(False)
    ticks = range(0, len(columns), -(-len(columns) // TICKS))
    ax.set_xticks(ticks, [_short([*columns][t]) for t in ticks], rotation=90, fontsize=8)
    edges = (-0.5, len(columns) - 0.5, 0, HIGHEST)
    style |= {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "extent": edges}
    return ax.imshow(image, **style)


def _short(name) -> str:
    """The end of a long name; a dollar sign is no formula."""
    name = str(name).replace("$", r"\$")
    return name if len(name) <= 24 else f"...{name[-22:]}"


def _finish(figure: Figure, title: str, table: pd.DataFrame) -> Figure:
    """Title, and below the figure what it is of."""
    first = table.iloc[0]
    figure.suptitle(title, fontsize=13)
    parts = [first.model, *(first[n] for n in ("images", "directions") if n in table), first.device]
    figure.supxlabel("  |  ".join(map(str, parts)), fontsize=9, color="0.3")
    return figure
