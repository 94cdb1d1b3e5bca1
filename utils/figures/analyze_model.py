"""Figures of somebody's network, drawn from the tables that analyze_model.py writes.

With a second network in the tables, its maps stand beside, on the same scales.
"""

import os
import re
import textwrap

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from utils import visualizer as vis
from utils.evidence.white import is_white, last_letters
from utils.frequency import (
    db_against_white,
    response_from_autocorrelation,
    spectrum_from_autocorrelation,
)

HIGHEST = 2**-0.5  # radius of (1/2, 1/2), cycles/pixel
TICKS = 36  # layers whose names an axis has room for
WHERE = "radial frequency (cycles/pixel)"
HEIGHTS = np.linspace(0, HIGHEST, 283)  # at which levels of kernels of all sizes are compared
INPUT = "(input)"  # the layer that stands for the images in tables of feature maps
CIRCLES = "circles: corner of 3x3 kernels"


@vis.styled
def kernels(table: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Spectra of all layers, and the responses of the first, last, most and least low-pass; these
    are differences where the reference is a model: `correlations` have a column `other` then."""
    spectra, responses = {name: {} for name in ("value", "other") if name in correlations}, {}
    places, frequencies = _chosen_layers(table), np.fft.fftshift(np.fft.fftfreq(64))
    by_layer = dict([*correlations.groupby("layer")])
    for number, layer in enumerate(table.layer):
        found = []
        for name, columns in spectra.items():
            grid = by_layer[layer].pivot(index="dy", columns="dx", values=name).to_numpy()
            spectrum = spectrum_from_autocorrelation(grid)
            columns[layer] = pd.Series(spectrum.white_db, spectrum.radius)
            found.append(db_against_white(response_from_autocorrelation(grid, 64), grid.max()))
        if number in places:
            responses[number] = pd.DataFrame(found[0] - sum(found[1:]), frequencies, frequencies)
    levels = [column for columns in spectra.values() for column in columns.values()]
    scale = _scale([*levels, *responses.values()])

    figure = Figure(figsize=(vis.WIDTH, 6.6), layout="constrained")
    mosaic = [[n for n in spectra for _ in responses], [n for n in responses for _ in spectra]]
    axes = figure.subplot_mosaic(mosaic, height_ratios=(1.3, 1))
    for name, title in zip(spectra, _titles([table.model[0], table.reference[0]], 45)):
        mesh = _by_layer(axes[name], spectra[name], len(spectra), *scale)
        if len(spectra) > 1:
            axes[name].set_title(title, fontsize=9)
    for number, response in responses.items():
        _map(axes[number], f"{_short(table.layer[number])}\n{places[number]}", response, *scale)
    axes[0].set_ylabel(vis.FREQUENCIES[1])
    label = "power against white kernels (dB)"
    label += "; below: left against right" if len(spectra) > 1 else ""
    figure.colorbar(mesh, ax=[*axes.values()], label=label, extend="both", aspect=40)
    folded = table.batchnorm.notna().sum() if "batchnorm" in table else 0
    weights = f"BatchNorm folded into {folded}" if folded else "raw weights"
    title = f"Kernels of all layers, and responses of some ({weights}; {CIRCLES})"
    return _finish(figure, title, table)


def _chosen_layers(table: pd.DataFrame) -> dict[int, str]:
    """Up to four layers, and why they are shown; none that is white is called low-pass."""
    white, count = is_white(table) & (table.reference == "white kernels"), len(table)
    order = table.ssr[~white].dropna().sort_values().index
    places = [(0, "first"), (count - 1, "last")] if count > 1 else [(0, "the only layer")]
    if len(order) > 1:
        places += [(order[-1], "most low-pass"), (order[0], "least low-pass")]
    for number in (count // 3, 2 * count // 3, *range(count)):  # four, if there are
        if len(dict(places)) < 4 and number not in dict(places):
            places.append((number, "between"))
    places += [(number, "white") for number in dict(places) if white[number]]
    return {n: ", ".join(text for at, text in places if at == n) for n, _ in places}


@vis.styled
def evolution(table: pd.DataFrame, reference: str = "white") -> Figure:
    """Left, when and where the highest frequency of the kernels falls; right, all their radii (dB of
    the power's mean over the layers), against "white" kernels or the "first" record.

    Raw weights, of `recorder.SpectrumRecorder`, or with a name for every step in a column `file`.
    """
    if reference not in ("white", "first"):
        raise ValueError(f'reference is {reference!r}; allowed: "white", "first"')
    if not len(table):
        raise ValueError("nothing is recorded yet")
    raw = table[table.weights == "raw"]
    names = [*dict.fromkeys(raw.layer)][::-1]  # the first layer on top
    wide = raw.pivot(index=["layer", "radius"], columns="step", values="white_db")
    by_layer = wide.groupby("layer").tail(1).droplevel("radius").reindex(names)
    power = [_at_heights(10 ** (wide.loc[name] / 10)) for name in names]
    mean = db_against_white(np.nansum(power, 0), np.isfinite(power).sum(0))
    mean = pd.DataFrame(mean, HEIGHTS, wide.columns)
    if reference == "first":
        by_layer, mean = (grid.sub(grid.iloc[:, 0], axis=0) for grid in (by_layer, mean))
    height = np.clip(2 + 0.17 * len(names), 4.2, 9)
    figure = Figure(figsize=(vis.WIDTH, height), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, grid in zip(axes, (by_layer, mean)):
        mesh = vis.heat_map(ax, grid, *_scale([by_layer, mean]))
        ax.grid(False)
        _time_axis(ax, table)
    every = -(-len(names) // (2 * TICKS))
    axes[0].set_yticks(range(0, len(names), every), map(_short, names[::every]), fontsize=8)
    axes[0].set_title("Highest frequency of every layer's kernels")
    axes[1].set_yticks(range(0, len(mean), 40), [f"{height:.1f}" for height in HEIGHTS[::40]])
    axes[1].set(title="All frequencies, mean over layers", facecolor="0.9", ylabel=WHERE)
    text = "white kernels" if reference == "white" else f"step {by_layer.columns[0]:g}"
    figure.colorbar(mesh, ax=axes, label=f"power against {text} (dB)", extend="both", aspect=40)
    return _finish(figure, "Spectrum of the kernels during training", table)


def _time_axis(ax, table: pd.DataFrame) -> None:
    """Steps, on a logarithmic axis where their distances grow; or the names of files."""
    steps = np.unique(table.step)
    gaps = np.diff(steps)
    names = dict(table.groupby("step").file.first()) if "file" in table else {}
    if any(not re.search(rf"(?<!\d)0*{step:g}(?!\d)", name) for step, name in names.items()):
        shown = steps[:: -(-2 * len(steps) // TICKS)]
        ax.set_xticks(shown, [_short(names[step]) for step in shown], rotation=90, fontsize=8)
        return
    if len(gaps) > 2 and gaps.max() > 8 * gaps.min() and steps[0] >= 0:
        vis.step_axis(ax, steps, every=2 if steps[-1] > 9999 else 1)
        ax.set_xlim(steps[0], steps[-1])
    else:
        ax.locator_params(axis="x", integer=bool((steps % 1 == 0).all()), min_n_ticks=1)
    ax.set_xlabel("step")


@vis.styled
def features(table: pd.DataFrame) -> Figure:
    """Power of all feature maps by radius, and relative log amplitude of the input and some of them."""
    networks, levels = dict([*table.groupby("network", sort=False)]), []
    for of_one in networks.values():
        levels.append({})
        for name, rows in of_one.groupby("layer", sort=False):
            db = _rings(rows, rows.power, max(rows.height.iloc[0], rows.width.iloc[0]))
            levels[-1][name] = db - db.iloc[1]
    drawn = np.concatenate([db.iloc[1:] for columns in levels for db in columns.values()])
    low = np.percentile([-1, *drawn[np.isfinite(drawn)]], 1)
    count = len(networks)
    figure, parts = vis.subfigures(3.5, 2.6)
    above, below = (vis.panels(part, count, sharey=True) for part in parts)
    for upper, columns, title in zip(above, levels, _titles([*networks], 45)):
        mesh = _by_layer(upper, columns, count, low, 0, "viridis")
        upper.set_title(title if count > 1 else "", fontsize=9)
    for lower, of_one in zip(below, networks.values()):
        _diagonals(lower, of_one.dropna(subset="relative_log_amplitude"))
        place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        lower.legend(**place, fontsize=8 if count < 2 else 7)
    label = "against the lowest\nradius above 0 (dB)"
    parts[0].colorbar(mesh, ax=above, label=label, extend="both")
    parts[1].supxlabel("frequency along each axis, on the diagonal (cycles/pixel)", fontsize=10)
    below[0].set_ylabel("relative log amplitude")
    return _finish(figure, "What passes: feature maps from input to output", table)


def _diagonals(ax, table: pd.DataFrame) -> None:
    """Relative log amplitude of up to eight layers, and, dashed, of the input."""
    layers = dict([*table.groupby("layer", sort=False)])
    given, last = layers.pop(INPUT, None), len(layers) - 1
    for number in dict.fromkeys(round(i * last / 7) for i in range(8) if layers):
        name, rows = [*layers.items()][number]
        color = colormaps["plasma"](0.9 * number / max(1, last))
        ax.plot(rows.radius / 2**0.5, rows.relative_log_amplitude, color=color, label=_short(name))
    if given is not None:
        style = {"color": "black", "linestyle": "--", "linewidth": 1.2, "label": "the input"}
        ax.plot(given.radius / 2**0.5, given.relative_log_amplitude, **style)


@vis.styled
def sensitivity(spectrum: pd.DataFrame, power: pd.DataFrame) -> Figure:
    """Input sensitivity in two dimensions, and by radius."""
    grids = []
    for _, rows in power.groupby("network", sort=False):
        grid = rows.pivot(index="fy", columns="fx", values="power")
        grids.append(db_against_white(grid, grid.to_numpy().mean()))
    two = len(grids) > 1
    figure = Figure(figsize=(vis.WIDTH, 3.9 if two else 4.2), layout="constrained")
    widths = [1] * len(grids) + [1.4 if two else 1.2]
    *left, right = figure.subplots(1, len(widths), width_ratios=widths)
    names = _titles(list(dict.fromkeys(spectrum.network)), 30)
    for ax, name, grid in zip(left, names, grids):
        mesh = _map(ax, name if two else CIRCLES, grid, *_scale(grids, 40, 99))
    left[0].set_ylabel(vis.FREQUENCIES[1])
    figure.colorbar(mesh, ax=left, label="against white (dB)", extend="both", shrink=0.8)
    right.axhline(0, **vis.ZERO)
    cutoff, shares = spectrum.cutoff[0], []
    right.axvline(cutoff, color="0.3", linewidth=1, linestyle=":")
    networks = spectrum.groupby("network", sort=False)
    for color, name, grid, (_, rows) in zip(["#0072B2", "#D55E00"], names, grids, networks):
        sums = rows[["energy", "multiplicity"]]
        whole, high = sums.sum(), sums[rows.radius > cutoff].sum()
        rings = _rings(rows, rows.density / (whole.energy / whole.multiplicity), min(len(grid), 80))
        right.plot(rows.radius, rows.white_db, ".", color=color, alpha=0.15, markersize=2)
        right.plot(rings.index, rings, color=color, label=name)
        share, flat = 100 * high / whole
        shares.append(f"{share:.1f} %")
    right.set(xlabel=WHERE, ylabel="against white (dB)")
    text = f"above {cutoff:g} cycles/pixel:\n{', '.join(shares)} (white: {flat:.1f} %)"
    right.set_title(text, fontsize=9)
    if two:
        right.legend(fontsize=8)
    return _finish(figure, "What the output depends on: input sensitivity", spectrum)


@vis.styled
def fourier(table: pd.DataFrame) -> Figure:
    """Which frequencies a network cannot bear: error beyond that on clean images, with one Fourier
    mode added to them."""
    table = table.assign(beyond=table.error - table.clean_error)
    networks = dict([*table.groupby("network", sort=False)])
    figure = Figure(figsize=(vis.WIDTH, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax in axes[len(networks) :]:
        ax.remove()
    axes, scale = axes[: len(networks)], (min(0, table.beyond.min()), max(table.beyond.max(), 1))
    for ax, rows, title in zip(axes, networks.values(), _titles([*networks], 40)):
        title += f"\nwithout a mode {rows.clean_error.iloc[0]:.1f} %"
        grid = rows.pivot(index="fy", columns="fx", values="beyond")
        mesh = _map(ax, title, grid, *scale, "magma_r")
    axes[0].set_ylabel(vis.FREQUENCIES[1])
    figure.colorbar(mesh, ax=axes, label="error beyond clean (points)")
    error = f"standard error of a mode up to {table.standard_error.max():.1f} points"
    title = f"Error with one Fourier mode of norm {table.norm[0]:g} per image ({error})"
    return _finish(figure, title, table)


def _rings(rows: pd.DataFrame, power: pd.Series, size: int) -> pd.Series:
    """dB of the mean power in rings as wide as a step of the DFT, by their mean radius: single radii
    differ much, as maps have most of their power near the axes."""
    sums = rows.assign(power=power * rows.multiplicity).groupby((rows.radius * size).round())
    mean = db_against_white(sums.power.sum(), sums.multiplicity.sum())
    return mean.set_axis(sums.radius.mean())


def _scale(images: list, most: float = 20, percent: float = 100) -> tuple:
    """Ends of a colour scale around 0 dB, up to a percentile of the finite levels; its colours."""
    levels = np.abs(np.concatenate([np.ravel(image) for image in images]))
    levels = levels[np.isfinite(levels)]
    limit = np.clip(np.percentile(levels, percent) if len(levels) else 1, 1, most)
    return -limit, limit, vis.DIVERGING


def _map(ax, title: str, grid: pd.DataFrame, low: float, high: float, colors):
    """An image by frequency."""
    ax.set_title(title, fontsize=9)
    ax.set_xlabel(vis.FREQUENCIES[0])
    return vis.frequency_map(ax, grid, low, high, colors)


def _by_layer(ax, columns: dict[str, pd.Series], panels: int, low: float, high: float, colors):
    """A column per layer, coloured at every height by the level of the nearest radius."""
    image = pd.DataFrame({name: _at_heights(levels) for name, levels in columns.items()})
    ax.set(facecolor="0.9", ylabel=WHERE)
    ax.grid(False)
    ticks = range(0, len(columns), -(-len(columns) * panels // TICKS))
    ax.set_xticks(ticks, [_short([*columns][t]) for t in ticks], rotation=90, fontsize=8)
    style = {"aspect": "auto", "origin": "lower", "interpolation": "nearest"}
    edges = (-0.5, len(columns) - 0.5, 0, HIGHEST)
    return ax.imshow(image, vmin=low, vmax=high, cmap=colors, extent=edges, **style)


def _at_heights(levels):
    """Levels by radius, at each of HEIGHTS that of the nearest radius; NaN far above the highest."""
    *_, below, highest = 0, 0, *levels.index
    found = levels.reindex(HEIGHTS, method="nearest")
    if highest:
        found.loc[HEIGHTS > highest + (highest - below) / 2] = np.nan
    return found


def _titles(names: list[str], letters: int) -> list[str]:
    """Names of networks in lines of so many letters; where one is longer, without the words and
    folders with which both begin, then without its middle: what tells them apart stays."""
    if len(names) > 1 and max(map(len, names)) > letters:
        parts = [re.split(r"(?<=, )|(?<=[/\\])", name) for name in names]
        alike = min(len(os.path.commonprefix(parts)), *(len(part) - 1 for part in parts))
        names = ["".join(part[alike:]) for part in parts]
    half = letters - 2
    cut = [f"{n[:half]}...{n[-half:]}" if len(n) > 2 * letters else n for n in names]
    return [_plain(name, letters) for name in cut]


def _short(name: str) -> str:
    """The end of a long name of a layer."""
    return _plain(last_letters(name, 25), 30)


def _plain(text: str, letters: int) -> str:
    """Text in lines of so many letters, in which a dollar sign is no formula."""
    return textwrap.fill(text, letters).replace("$", r"\$")


def _finish(figure: Figure, title: str, table: pd.DataFrame) -> Figure:
    """Title, and below the figure what it is of."""
    names = [name for name in ("model", "images", "directions", "device") if name in table]
    text = "  |  ".join(last_letters(str(table[name].iloc[0]), 90) for name in names)
    figure.suptitle(title, fontsize=13)
    figure.supxlabel(_plain(text, 150), fontsize=9, color="0.3")
    return figure
