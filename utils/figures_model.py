"""Figures of somebody's network, drawn from the tables that analyze_model.py writes."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.figure import Figure

import utils.visualizer  # noqa: F401 (the look of all figures)
from utils.frequency import response_from_autocorrelation

HIGHEST = 2**-0.5  # radius of (1/2, 1/2), cycles/pixel
TICKS = 40  # layers whose names an axis has room for


def kernels(table: pd.DataFrame, correlations: pd.DataFrame) -> Figure:
    """Spectra of all layers, and the responses of the first, last, most and least low-pass.

    Args:
        table: of `analyze_model`; correlations: of `autocorrelation_table`, and `other` where the
            reference is another model.
    """
    levels = table.filter(like="db_")
    radii = np.array([float(name.removeprefix("db_")) for name in levels])
    columns = []
    for row in levels.to_numpy():
        there = ~np.isnan(row)
        columns.append((radii[there], row[there]))
    order = table.ssr.argsort()
    chosen = {0: "first", len(table) - 1: "last"}
    for number, text in ((order.iloc[-1], "most low-pass"), (order.iloc[0], "least low-pass")):
        chosen[number] = f"{chosen[number]}, {text}" if number in chosen else text
    for number in (len(table) // 3, 2 * len(table) // 3, *range(len(table))):
        if len(chosen) < 4:
            chosen.setdefault(number, "between")
    responses = {number: _response(correlations, table.layer[number]) for number in chosen}
    drawn = np.concatenate([*(r.ravel() for r in responses.values()), *(c[1] for c in columns)])
    limit = np.clip(np.abs(drawn[np.isfinite(drawn)]).max(initial=1), 1, 20)
    style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}

    figure = Figure(figsize=(13, 5.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.5, 1))
    ax = left.subplots()
    _by_layer(ax, [str(name) for name in table.layer], columns, **style)
    ax.set(ylabel="radial frequency (cycles/pixel of the kernel)", title="all layers")
    panels = right.subplots(2, 2, sharex=True, sharey=True).ravel()
    for panel, number in zip(panels, sorted(responses)):
        mesh = panel.imshow(responses[number], extent=_extent(64), origin="lower", **style)
        panel.set_title(f"{_short(table.layer[number])}\n{chosen[number]}", fontsize=9)
        panel.grid(False)
    for panel in panels[len(responses) :]:
        panel.set_visible(False)
    for panel in panels[2:]:
        panel.set_xlabel("horizontal (cycles/pixel)")
    for panel in panels[::2]:
        panel.set_ylabel("vertical (cycles/pixel)")
    of = table.reference[0]
    right.colorbar(mesh, ax=panels, label=f"power against {of} (dB)", extend="both")
    weights = "with BatchNorm folded in" if table.folded[0] else "raw"
    _finish(figure, f"Kernels from input to output, {weights}", table)
    return figure


def features(table: pd.DataFrame) -> Figure:
    """Power of all feature maps by radius, and relative log amplitude of eight of them."""
    layers = {str(name): rows for name, rows in table.groupby("layer", sort=False)}
    columns = [_rings(rows) for rows in layers.values()]
    drawn = np.concatenate([level[1:] for _, level in columns])
    low = np.percentile(drawn[np.isfinite(drawn)], 1)

    figure = Figure(figsize=(13, 5.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    mesh = _by_layer(left, list(layers), columns, cmap="viridis", vmin=low, vmax=0)
    label = "power against the lowest radius above 0 (dB)"
    figure.colorbar(mesh, ax=left, label=label, extend="both", shrink=0.8)
    left.set(ylabel="radial frequency (cycles/pixel of the map)", title="all layers")
    diagonal = {name: r[r.relative_log_amplitude.notna()] for name, r in layers.items()}
    diagonal = {name: rows for name, rows in diagonal.items() if len(rows) > 1}
    picked = np.unique(np.linspace(0, len(diagonal) - 1, 8).astype(int)) if diagonal else []
    for number, place in zip(picked, np.linspace(0, 0.9, len(picked))):
        name, rows = list(diagonal.items())[number]
        color = colormaps["plasma"](place)
        x = rows.radius / 2**0.5
        right.plot(x, rows.relative_log_amplitude, color=color, label=_short(name))
    right.set(xlabel="frequency along each axis (cycles/pixel of the map)")
    right.set(ylabel="relative log amplitude", title="on the diagonal, from input (dark) to output")
    right.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13))
    _finish(figure, "What passes: feature maps from input to output", table)
    return figure


def sensitivity(spectrum: pd.DataFrame, modes: pd.DataFrame) -> Figure:
    """Input sensitivity in two dimensions, and by radius."""
    size = 2 * int(modes.v.max()) + (modes.u.min() == -modes.v.max())
    grid = np.zeros((size, size))
    for sign in (1, -1):
        u, v = (sign * modes[name].to_numpy() + size // 2 for name in ("u", "v"))
        grid[u % size, v % size] = modes.power
    with np.errstate(divide="ignore"):
        db = 10 * np.log10(grid / grid.mean())
    limit = np.clip(np.percentile(np.abs(db[np.isfinite(db)]), 99), 1, 40)

    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "origin": "lower"}
    mesh = left.imshow(db, extent=_extent(size), **style)
    figure.colorbar(mesh, ax=left, label="against white (dB)", extend="both", shrink=0.8)
    left.set(xlabel="horizontal (cycles/pixel)", ylabel="vertical (cycles/pixel)")
    left.grid(False)
    right.axhline(0, color="0.3", linewidth=1)
    right.axvline(spectrum.cutoff[0], color="0.3", linewidth=1, linestyle=":")
    bins = pd.cut(spectrum.radius, np.linspace(0, HIGHEST, min(size // 2, 60)), include_lowest=True)
    means = spectrum.groupby(bins, observed=True)[["radius", "energy", "multiplicity"]].sum()
    white = spectrum.energy.sum() / spectrum.multiplicity.sum()
    centre = [interval.mid for interval in means.index]
    right.plot(spectrum.radius, spectrum.white_db, ".", color="0.75", markersize=2)
    right.plot(centre, 10 * np.log10(means.energy / means.multiplicity / white), color="#0072B2")
    right.set(xlabel="radial frequency (cycles/pixel)", ylabel="against white (dB)")
    share = spectrum.energy[spectrum.radius > spectrum.cutoff].sum() / spectrum.energy.sum()
    right.set_title(f"{100 * share:.1f} % above {spectrum.cutoff[0]:g} cycles/pixel", fontsize=10)
    _finish(figure, "What the output depends on: input sensitivity", spectrum)
    return figure


def _rings(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Radii, and dB relative to the lowest above zero, of rings as wide as a step of the DFT.

    Single radii differ much, as maps have most of their power near the axes.
    """
    steps = (rows.radius * max(rows.height.iloc[0], rows.width.iloc[0])).round()
    sums = rows.assign(power=rows.power * rows.multiplicity).groupby(steps)
    power = sums.power.sum() / sums.multiplicity.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums.radius.mean().to_numpy(), 10 * np.log10(power / power.iloc[1]).to_numpy()


def _extent(size: int) -> tuple[float, float, float, float]:
    """Edges of an image of `size` frequencies from fftshift(fftfreq(size)), cycles/pixel."""
    low = -(size // 2 + 0.5) / size
    return (low, low + 1) * 2


def _response(correlations: pd.DataFrame, layer: str) -> np.ndarray:
    """Response (64, 64) in dB against white kernels of the same energy, or against the other's."""
    rows = correlations[correlations.layer == layer]
    shape = (2 * int(rows.dy.max()) + 1, 2 * int(rows.dx.max()) + 1)

    def decibels(values: pd.Series) -> np.ndarray:
        full = np.zeros(shape)
        for sign in (1, -1):
            full[sign * rows.dy + shape[0] // 2, sign * rows.dx + shape[1] // 2] = values
        energy = full[shape[0] // 2, shape[1] // 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            return 10 * np.log10(response_from_autocorrelation(full, 64) / energy)

    return decibels(rows.value) - (decibels(rows.other) if "other" in rows else 0)


def _by_layer(ax, names: list[str], columns: list[tuple], **style):
    """A column per layer, coloured at every height by the level of the nearest radius."""
    heights = np.linspace(0, HIGHEST, 283)
    image = np.full((len(heights), len(columns)), np.nan)
    for column, (radius, level) in enumerate(columns):
        nearest = np.abs(heights[:, None] - radius).argmin(1)
        gap = (radius[-1] - radius[-2]) / 2 if len(radius) > 1 else HIGHEST
        image[:, column] = np.where(heights <= radius[-1] + gap, level[nearest], np.nan)
    extent = (-0.5, len(columns) - 0.5, 0, HIGHEST)
    ax.set_facecolor("0.9")
    ax.grid(False)
    step = -(-len(names) // TICKS)
    ticks = range(0, len(names), step)
    ax.set_xticks(ticks, [_short(names[t]) for t in ticks], rotation=90, fontsize=7)
    return ax.imshow(
        image, aspect="auto", origin="lower", interpolation="nearest", extent=extent, **style
    )


def _short(name) -> str:
    """The end of a long name; a dollar sign is no formula."""
    name = str(name).replace("$", r"\\$")
    return name if len(name) <= 28 else f"...{name[-26:]}"


def _finish(figure: Figure, title: str, table: pd.DataFrame) -> None:
    """Title, and below the figure what it is of."""
    first = table.iloc[0]
    figure.suptitle(title, fontsize=13)
    parts = [first.model, *(first[n] for n in ("images", "directions") if n in table), first.device]
    figure.supxlabel("   |   ".join(map(str, parts)), fontsize=9, color="0.3")
