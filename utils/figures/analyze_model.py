"""Figures of somebody's network, drawn from the tables that analyze_model.py writes."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

from utils import visualizer as vis
from utils.frequency import response_from_autocorrelation

HIGHEST = 2**-0.5  # radius of (1/2, 1/2), cycles/pixel
TICKS = 36  # layers whose names an axis has room for
WHERE = "radial frequency (cycles/pixel)"
HEIGHTS = np.linspace(0, HIGHEST, 283)  # at which levels of kernels of all sizes are compared
CIRCLES = "circles: corner of 3x3 kernels"


def kernels(table: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Spectra of all layers, and the responses of the first, last, most and least low-pass.

    Args:
        table: of `analyze_model`.
        correlations: rows of (layer, dy, dx, value), also other where the reference is a model.
    """
    levels = table.filter(like="db_").set_axis(table.layer).T
    levels.index = levels.index.str.removeprefix("db_").astype(float)
    order = table.ssr.dropna().sort_values().index
    places = [(0, "first"), (len(table) - 1, "last")] if len(table) > 1 else [(0, "the only layer")]
    if len(order) > 1:
        places += [(order[-1], "most low-pass"), (order[0], "least low-pass")]
    for number in (len(table) // 3, 2 * len(table) // 3, *range(len(table))):  # four, if there are
        if len(dict(places)) < 4 and number not in dict(places):
            places.append((number, "between"))
    responses = {n: _response(correlations, table.layer[n]) for n in sorted(dict(places))}
    drawn = np.concatenate([np.ravel(image) for image in (levels, *responses.values())])
    limit = np.clip(np.abs(drawn[np.isfinite(drawn)]).max(initial=1), 1, 20)

    figure = Figure(figsize=(vis.WIDTH, 6.6), layout="constrained")
    mosaic = [["all"] * len(responses), [*responses]]
    axes = figure.subplot_mosaic(mosaic, height_ratios=(1.3, 1))
    columns = {name: column.dropna() for name, column in levels.items()}
    mesh = _by_layer(axes["all"], columns, vmin=-limit, vmax=limit, cmap=vis.DIVERGING)
    for number, response in responses.items():
        _map(axes[number], response, limit)
        text = ", ".join(text for place, text in places if place == number)
        axes[number].set_title(f"{_short(table.layer[number])}\n{text}", fontsize=9)
    axes[0].set_ylabel(vis.FREQUENCIES[1])
    label = _plain(f"power against {table.reference[0]} (dB)", 50)
    figure.colorbar(mesh, ax=[*axes.values()], label=label, extend="both", aspect=40)
    folded = table.batchnorm.notna().sum() if "batchnorm" in table else 0
    weights = f"BatchNorm folded into {folded}" if folded else "raw weights"
    title = f"Kernels of all layers, and responses of some ({weights}; {CIRCLES})"
    return _finish(figure, title, table)


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
    count = np.isfinite(layers).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = 10 * np.log10(np.nansum(layers, 0) / count)
    return pd.DataFrame(mean, HEIGHTS, wide.columns)


def _time_axis(ax, table: pd.DataFrame) -> None:
    """Steps, on a logarithmic axis where their distances grow; or the names of files."""
    steps = np.unique(table.step)
    gaps = np.diff(steps)
    if "file" in table and (steps == np.arange(len(steps))).all():
        names = table.groupby("step").file.first()
        shown = steps[:: -(-len(steps) // TICKS)]
        ax.set_xticks(shown, [_short(names[s]) for s in shown], rotation=90, fontsize=8)
        return
    if len(gaps) > 2 and gaps.max() > 8 * gaps.min() and steps[0] >= 0:
        vis.step_axis(ax, steps, every=2 if steps[-1] > 9999 else 1)
        ax.set_xlim(steps[0], steps[-1])
    ax.set_xlabel("step")


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
    diagonals = [*table.dropna(subset="relative_log_amplitude").groupby("layer", sort=False)]
    last = len(diagonals) - 1
    for number in dict.fromkeys(round(i * last / 7) for i in range(8) if diagonals):
        name, rows = diagonals[number]
        color = colormaps["plasma"](0.9 * number / max(1, last))
        style = {"color": color, "label": _short(name)}
        ax.plot(rows.radius / 2**0.5, rows.relative_log_amplitude, **style)
    ax.set(xlabel="frequency along each axis, on the diagonal (cycles/pixel)")
    ax.set(ylabel="relative log amplitude")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return _finish(figure, "What passes: feature maps from input to output", table)


def sensitivity(spectrum: pd.DataFrame, power: pd.DataFrame) -> Figure:
    """Input sensitivity in two dimensions, and by radius."""
    grid = power.pivot(index="fy", columns="fx", values="power")
    with np.errstate(divide="ignore"):
        db = 10 * np.log10(grid / grid.to_numpy().mean())
    limit = np.clip(np.percentile(np.abs(db.to_numpy()[np.isfinite(db)]), 99), 1, 40)
    figure = Figure(figsize=(vis.WIDTH, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    mesh = _map(left, db, limit)
    left.set(ylabel=vis.FREQUENCIES[1], title=CIRCLES)
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
        with np.errstate(divide="ignore"):
            response = response_from_autocorrelation(correlation, 64) / correlation.max()
            found.append(pd.DataFrame(10 * np.log10(response), axis, axis))
    return found[0] - sum(found[1:])


def _by_layer(ax, columns: dict[str, pd.Series], **style):
    """A column per layer, coloured at every height by the level of the nearest radius."""
    image = {name: _at_heights(levels) for name, levels in columns.items()}
    ax.set(facecolor="0.9", ylabel=WHERE)
    ax.grid(False)
    ticks = range(0, len(columns), -(-len(columns) // TICKS))
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
    """The end of a long name."""
    return _plain(name if len(name) <= 24 else f"...{name[-22:]}", 30)


def _plain(text: str, letters: int) -> str:
    """Text in lines of so many letters, in which a dollar sign is no formula."""
    return textwrap.fill(text, letters).replace("$", r"\$")


def _finish(figure: Figure, title: str, table: pd.DataFrame) -> Figure:
    """Title, and below the figure what it is of."""
    names = ("model", "images", "directions", "device")
    text = "  |  ".join(str(table[name].iloc[0]) for name in names if name in table)
    figure.suptitle(title, fontsize=13)
    figure.supxlabel(_plain(text, 150), fontsize=9, color="0.3")
    return figure
