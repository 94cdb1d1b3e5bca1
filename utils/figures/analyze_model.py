"""Figures of somebody's network, drawn from the tables that analyze_model.py writes."""

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
    """Spectra of all layers, and the responses of the first, last, most and least low-pass.

    Where the reference is a model, its spectra stand beside, on the same scale, and the responses
    are differences.

    Args:
        table: of `analyze_model`.
        correlations: rows of (layer, dy, dx, value), also other where the reference is a model.
    """
    compared = "other" in correlations
    places = _chosen_layers(table)
    responses = {n: _response(correlations, table.layer[n]) for n in sorted(places)}
    panels = {"value": {}, "other": {}} if compared else {"value": {}}
    for layer, rows in correlations[correlations.layer.isin(table.layer)].groupby(
        "layer", sort=False
    ):
        for name, columns in panels.items():
            grid = rows.pivot(index="dy", columns="dx", values=name)
            spectrum = spectrum_from_autocorrelation(grid.to_numpy())
            columns[layer] = pd.Series(spectrum.white_db, spectrum.radius)
    levels = [column for columns in panels.values() for column in columns.values()]
    drawn = np.concatenate([np.ravel(image) for image in (*levels, *responses.values())])
    limit = np.clip(np.abs(drawn[np.isfinite(drawn)]).max(initial=1), 1, 20)

    figure = Figure(figsize=(vis.WIDTH, 6.6), layout="constrained")
    wide, half = len(panels), len(responses)
    mosaic = [
        [name for name in panels for _ in range(half)],
        [n for n in responses for _ in panels],
    ]
    axes = figure.subplot_mosaic(mosaic, height_ratios=(1.3, 1))
    for (name, columns), title in zip(
        panels.items(), (table.get("model", [""])[0], table.reference[0])
    ):
        mesh = _by_layer(axes[name], columns, wide, vmin=-limit, vmax=limit, cmap=vis.DIVERGING)
        if compared:
            axes[name].set_title(_plain(last_letters(title, 90 // wide), 90 // wide), fontsize=9)
    for number, response in responses.items():
        _map(axes[number], response, limit)
        axes[number].set_title(f"{_short(table.layer[number])}\n{places[number]}", fontsize=9)
    axes[0].set_ylabel(vis.FREQUENCIES[1])
    label = "power against white kernels (dB)" + compared * "; below: left against right"
    figure.colorbar(mesh, ax=[*axes.values()], label=label, extend="both", aspect=40)
    folded = table.batchnorm.notna().sum() if "batchnorm" in table else 0
    weights = f"BatchNorm folded into {folded}" if folded else "raw weights"
    title = f"Kernels of all layers, and responses of some ({weights}; {CIRCLES})"
    return _finish(figure, title, table)


def _chosen_layers(table: pd.DataFrame) -> dict[int, str]:
    """Up to four layers, and why they are shown; none that is white is called low-pass."""
    white = is_white(table) & (table.reference == "white kernels")
    order = table.ssr[~white].dropna().sort_values().index
    places = [(0, "first"), (len(table) - 1, "last")] if len(table) > 1 else [(0, "the only layer")]
    if len(order) > 1:
        places += [(order[-1], "most low-pass"), (order[0], "least low-pass")]
    for number in (len(table) // 3, 2 * len(table) // 3, *range(len(table))):  # four, if there are
        if len(dict(places)) < 4 and number not in dict(places):
            places.append((number, "between"))
    places += [(number, "white") for number in dict(places) if white[number]]
    return {n: ", ".join(text for at, text in places if at == n) for n, _ in places}


@vis.styled
def evolution(table: pd.DataFrame, reference: str = "white") -> Figure:
    """Left, when and where the highest frequency of the kernels falls; right, all their radii.

    Raw weights; levels of the right one are those of the power's mean over the layers.

    Args:
        table: of `recorder.SpectrumRecorder`, or with a name for every step in a column `file`.
        reference: "white" kernels, or "first": the first record.
    """
    if reference not in ("white", "first"):
        raise ValueError(f'reference is {reference!r}; allowed: "white", "first"')
    if not len(table):
        raise ValueError("nothing is recorded yet")
    raw = table[table.weights == "raw"]
    names = [*dict.fromkeys(raw.layer)][::-1]  # the first layer on top
    highest = raw[raw.radius == raw.groupby("layer").radius.transform("max")]
    by_layer = highest.pivot(index="layer", columns="step", values="white_db").reindex(names)
    mean = _mean_over_layers(raw)
    if reference == "first":
        by_layer, mean = (grid.sub(grid.iloc[:, 0], axis=0) for grid in (by_layer, mean))
    drawn = np.concatenate([np.ravel(by_layer), np.ravel(mean)])
    limit = np.clip(np.abs(drawn[np.isfinite(drawn)]).max(initial=1), 1, 20)
    figure = Figure(figsize=(vis.WIDTH, np.clip(2 + 0.17 * len(names), 4.2, 9)))
    figure.set_layout_engine("constrained")
    axes = figure.subplots(1, 2)
    style = (-limit, limit, vis.DIVERGING)
    vis.heat_map(axes[0], by_layer, *style)
    every = -(-len(names) // (2 * TICKS))
    labels = [_short(name) for name in names[::every]]
    axes[0].set_yticks(range(0, len(names), every), labels, fontsize=8)
    axes[0].set_title("Highest frequency of every layer's kernels")
    mesh = vis.heat_map(axes[1], mean, *style)
    axes[1].set_yticks(range(0, len(mean), 40), [f"{height:.1f}" for height in HEIGHTS[::40]])
    axes[1].set(title="All frequencies, mean over layers", facecolor="0.9", ylabel=WHERE)
    for ax in axes:
        ax.grid(False)
        _time_axis(ax, table)
    text = "white kernels" if reference == "white" else f"step {by_layer.columns[0]:g}"
    figure.colorbar(mesh, ax=axes, label=f"power against {text} (dB)", extend="both", aspect=40)
    return _finish(figure, "Spectrum of the kernels during training", table)


def _mean_over_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """dB of the mean over layers of power against white kernels, at heights by step."""
    power = rows.assign(power=10 ** (rows.white_db / 10))
    layers = []
    for _, layer in power.groupby("layer", sort=False):
        wide = layer.pivot(index="radius", columns="step", values="power")
        layers.append(_at_heights(wide).to_numpy())
    mean = db_against_white(np.nansum(layers, 0), np.isfinite(layers).sum(0))
    return pd.DataFrame(mean, HEIGHTS, wide.columns)


def _time_axis(ax, table: pd.DataFrame) -> None:
    """Steps, on a logarithmic axis where their distances grow; or the names of files."""
    steps = np.unique(table.step)
    gaps = np.diff(steps)
    names = table.groupby("step").file.first() if "file" in table else {}
    if any(not re.search(rf"(?<!\d)0*{step:g}(?!\d)", name) for step, name in dict(names).items()):
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
    """Power of all feature maps by radius, and relative log amplitude of the input and some of them.

    Where the reference is a model, its maps stand beside, on the same scales.
    """
    networks = [*table.groupby("network", sort=False)]
    panels = []
    for _, of_one in networks:
        rings = {}
        for name, rows in of_one.groupby("layer", sort=False):
            db = _rings(rows, rows.power, max(rows.height.iloc[0], rows.width.iloc[0]))
            rings[name] = db - db.iloc[1]
        panels.append(rings)
    drawn = np.concatenate([db.iloc[1:] for rings in panels for db in rings.values()])
    low = np.percentile([-1, *drawn[np.isfinite(drawn)]], 1)
    figure, (top, bottom) = vis.subfigures(3.5, 2.6)
    above = top.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    below = bottom.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for upper, lower, rings, (name, of_one) in zip(above, below, panels, networks):
        mesh = _by_layer(upper, rings, len(panels), cmap="viridis", vmin=low, vmax=0)
        _diagonals(lower, of_one)
        lower.legend(
            loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8 if len(panels) < 2 else 7
        )
        if len(panels) > 1:
            upper.set_title(_plain(last_letters(name, 45), 45), fontsize=9)
    top.colorbar(mesh, ax=above, label="against the lowest\nradius above 0 (dB)", extend="both")
    bottom.supxlabel("frequency along each axis, on the diagonal (cycles/pixel)", fontsize=10)
    below[0].set_ylabel("relative log amplitude")
    return _finish(figure, "What passes: feature maps from input to output", table)


def _diagonals(ax, table: pd.DataFrame) -> None:
    """Relative log amplitude of the input, dashed, and of up to eight layers."""
    known = table.dropna(subset="relative_log_amplitude")
    shown = [*known[known.layer != INPUT].groupby("layer", sort=False)]
    last = len(shown) - 1
    for number in dict.fromkeys(round(i * last / 7) for i in range(8) if shown):
        name, rows = shown[number]
        color = colormaps["plasma"](0.9 * number / max(1, last))
        style = {"color": color, "label": _short(name)}
        ax.plot(rows.radius / 2**0.5, rows.relative_log_amplitude, **style)
    given = known[known.layer == INPUT]
    if len(given):
        style = {"color": "black", "linestyle": "--", "linewidth": 1.2, "label": "the input"}
        ax.plot(given.radius / 2**0.5, given.relative_log_amplitude, **style)


@vis.styled
def sensitivity(spectrum: pd.DataFrame, power: pd.DataFrame) -> Figure:
    """Input sensitivity in two dimensions, and by radius; on one scale where there are two networks."""
    grids = {}
    for name, rows in power.groupby("network", sort=False):
        grid = rows.pivot(index="fy", columns="fx", values="power")
        grids[name] = db_against_white(grid, grid.to_numpy().mean())
    drawn = np.abs(np.concatenate([np.ravel(db) for db in grids.values()]))
    limit = np.clip(np.percentile(drawn[np.isfinite(drawn)], 99), 1, 40)
    figure = Figure(figsize=(vis.WIDTH, 4.2 if len(grids) < 2 else 3.9), layout="constrained")
    widths = [1] * len(grids) + [1.2 if len(grids) < 2 else 1.4]
    *left, right = figure.subplots(1, len(widths), width_ratios=widths)
    for ax, (name, db) in zip(left, grids.items()):
        mesh = _map(ax, db, limit)
        ax.set_title(CIRCLES if len(grids) < 2 else _plain(last_letters(name, 44), 30), fontsize=9)
    left[0].set_ylabel(vis.FREQUENCIES[1])
    figure.colorbar(mesh, ax=left, label="against white (dB)", extend="both", shrink=0.8)
    right.axhline(0, color="0.3", linewidth=1)
    cutoff = spectrum.cutoff[0]
    right.axvline(cutoff, color="0.3", linewidth=1, linestyle=":")
    shares = []
    for color, (name, rows) in zip(["#0072B2", "#D55E00"], spectrum.groupby("network", sort=False)):
        white = rows.energy.sum() / rows.multiplicity.sum()
        rings = _rings(rows, rows.density / white, min(len(grids[name]), 80))
        right.plot(rows.radius, rows.white_db, ".", color=color, alpha=0.15, markersize=2)
        right.plot(rings.index, rings, color=color, label=last_letters(name, 30))
        high = rows[rows.radius > cutoff]
        shares.append(f"{100 * high.energy.sum() / rows.energy.sum():.1f} %")
        flat = f"{100 * high.multiplicity.sum() / rows.multiplicity.sum():.1f} %"
    right.set(xlabel=WHERE, ylabel="against white (dB)")
    text = f"above {cutoff:g} cycles/pixel:\n{', '.join(shares)} (white: {flat})"
    right.set_title(text, fontsize=9)
    if len(grids) > 1:
        right.legend(fontsize=8)
    return _finish(figure, "What the output depends on: input sensitivity", spectrum)


def fourier(table: pd.DataFrame) -> Figure:
    """Which frequencies a network cannot bear: error beyond that on clean images, with one Fourier
    mode added to them."""
    table = table.assign(beyond=table.error - table.clean_error)
    networks = [*table.groupby("network", sort=False)]
    figure = Figure(figsize=(vis.WIDTH, 4.4), layout="constrained")
    axes = figure.subplots(1, max(2, len(networks)), squeeze=False)[0]
    for ax in axes[len(networks) :]:
        ax.remove()
    ends = {"vmin": min(0, table.beyond.min()), "vmax": max(table.beyond.max(), 1)}
    for ax, (name, rows) in zip(axes, networks):
        grid = rows.pivot(index="fy", columns="fx", values="beyond")
        half = np.diff(grid.index).min() / 2
        edges = (grid.index[0] - half, grid.index[-1] + half) * 2
        mesh = ax.imshow(grid, extent=edges, origin="lower", cmap="magma_r", **ends)
        ax.set(xlabel=vis.FREQUENCIES[0], ylabel=vis.FREQUENCIES[1])
        ax.grid(False)
        ax.set_title(
            f"{_plain(last_letters(name, 60), 40)}\nwithout a mode {rows.clean_error.iloc[0]:.1f} %",
            fontsize=9,
        )
    figure.colorbar(mesh, ax=[*axes[: len(networks)]], label="error beyond clean (points)")
    error = f"standard error of a mode up to {table.standard_error.max():.1f} points"
    title = f"Error with one Fourier mode of norm {table.norm[0]:g} per image ({error})"
    return _finish(figure, title, table)


def _rings(rows: pd.DataFrame, power: pd.Series, size: int) -> pd.Series:
    """dB of the mean power in rings as wide as a step of the DFT, by their mean radius.

    Single radii differ much, as maps have most of their power near the axes.
    """
    sums = rows.assign(power=power * rows.multiplicity).groupby((rows.radius * size).round())
    mean = db_against_white(sums.power.sum(), sums.multiplicity.sum())
    return mean.set_axis(sums.radius.mean())


def _map(ax, db: pd.DataFrame, limit: float):
    """An image by frequency."""
    ax.set_xlabel(vis.FREQUENCIES[0])
    ax.grid(False)
    return vis.frequency_map(ax, db, -limit, limit, vis.DIVERGING)


def _response(correlations: pd.DataFrame, layer: str) -> pd.DataFrame:
    """Response (64, 64) in dB against white kernels of the same energy, or against the other's."""
    rows = correlations[correlations.layer == layer]
    found, axis = [], np.fft.fftshift(np.fft.fftfreq(64))
    for name in rows.columns.intersection(["value", "other"]):
        correlation = rows.pivot(index="dy", columns="dx", values=name).to_numpy()
        db = db_against_white(response_from_autocorrelation(correlation, 64), correlation.max())
        found.append(pd.DataFrame(db, axis, axis))
    return found[0] - sum(found[1:])


def _by_layer(ax, columns: dict[str, pd.Series], panels: int = 1, **style):
    """A column per layer, coloured at every height by the level of the nearest radius."""
    image = {name: _at_heights(levels) for name, levels in columns.items()}
    ax.set(facecolor="0.9", ylabel=WHERE)
    ax.grid(False)
    ticks = range(0, len(columns), -(-len(columns) * panels // TICKS))
    ax.set_xticks(ticks, [_short([*columns][t]) for t in ticks], rotation=90, fontsize=8)
    edges = (-0.5, len(columns) - 0.5, 0, HIGHEST)
    style |= {"aspect": "auto", "origin": "lower", "interpolation": "nearest", "extent": edges}
    return ax.imshow(pd.DataFrame(image), **style)


def _at_heights(levels):
    """Levels by radius, at each of HEIGHTS that of the nearest radius; NaN far above the highest."""
    *_, below, highest = 0, 0, *levels.index
    top = highest + (highest - below) / 2 if highest else HIGHEST
    found = levels.reindex(HEIGHTS, method="nearest")
    return (
        found.where(HEIGHTS <= top) if found.ndim == 1 else found[HEIGHTS <= top].reindex(HEIGHTS)
    )


def _short(name: str) -> str:
    """The end of a long name of a layer."""
    return _plain(last_letters(name, 25), 30)


def _plain(text: str, letters: int) -> str:
    """Text in lines of so many letters, in which a dollar sign is no formula."""
    return textwrap.fill(text, letters).replace("$", r"\$")


def _finish(figure: Figure, title: str, table: pd.DataFrame) -> Figure:
    """Title, and below the figure what it is of."""
    names = ("model", "images", "directions", "device")
    text = "  |  ".join(
        last_letters(str(table[name].iloc[0]), 90) for name in names if name in table
    )
    figure.suptitle(title, fontsize=13)
    figure.supxlabel(_plain(text, 150), fontsize=9, color="0.3")
    return figure
