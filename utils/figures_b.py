"""The figures of experiment B. The first line of a function says what to see in its figure."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils import configurations, published
from utils.statistics import is_published_setting, minus_baseline
from utils.suppression import HIDDEN, MEAN, MODEL, POOLED
from utils.visualizer import (
    START,
    USUAL,
    contrast,
    curves,
    differences,
    dots,
    epoch_axis,
    finish,
    frequency_map,
    heat_map,
    log_axis,
    look,
    map_panels,
    panels,
    rows_needed,
    sections,
    step_axis,
    time_map,
)

RADIUS_LABELS = ["0", "1/3", r"$\sqrt{2}/3$"]  # of a 3x3 kernel, cycles/pixel
SCALE_LOOKS = [  # of several jobs in one panel
    {"color": "#56B4E9", "linestyle": ":", "marker": "o"},
    {"color": "#009E73", "linestyle": "--", "marker": "s"},
    {"color": "#00382a", "linestyle": "-", "marker": "D"},
    {"color": "#CC79A7", "linestyle": "-.", "marker": "^"},
]
CORNER_LABEL = r"corner, $\sqrt{2}/3$, against white (dB)"


def spectrum_evolution(spectra: pd.DataFrame, history: pd.DataFrame) -> Figure:
    """The darker the top row and the lower its curve below, the more low-pass are the kernels.

    Density against white kernels, raw weights, mean over the hidden layers.
    """
    levels = _levels(spectra, hidden=True)
    names = list(dict.fromkeys(levels.configuration))
    other = contrast(names)
    figure, (top, bottom) = sections(1.8 * rows_needed(len(names), 4), 2.7)
    done = history.dropna(subset="test_accuracy").groupby(["configuration", "seed"]).test_accuracy
    done = done.last().groupby(level=0).mean()
    titles = {n: f"{configurations.label(n)}, {done[n]:.1f} %" for n in names}
    axes = _by_epoch(top, levels, titles, "against white (dB)")
    cutoff = spectra.cutoff.iloc[0]
    for ax in axes:
        place = (levels.drop_duplicates("radius").radius <= cutoff).sum() - 0.5
        ax.axhline(place, color="black", linestyle=":", linewidth=1)
        text = {"transform": ax.get_yaxis_transform(), "va": "bottom", "fontsize": 8}
        ax.text(0.02, place, f"cutoff {cutoff:g}", **text)
    corner = levels[levels.radius == levels.radius.max()]
    axes = panels(bottom, 1 + bool(other))
    _over_steps(axes[0], corner, CORNER_LABEL)
    if other:
        _over_steps(axes[1], differences(corner, "db", ["step"]), "the same, minus baseline (dB)")
    finish(figure, "Spectrum of the 3x3 kernels (raw weights, mean over hidden layers)", spectra)
    return figure


def corner_over_steps(spectra: dict[str, pd.DataFrame]) -> Figure:
    """Below zero L2 has pushed the corner further down than its baseline, at every scale alike.

    Args:
        spectra: tables by name; those with the baseline and L2 are drawn.
    """
    figure, (part,) = sections(3.4)
    ax = part.subplots()
    drawn = []
    for number, (name, table) in enumerate(spectra.items()):
        levels = _levels(table, hidden=True)
        corner = levels[levels.radius == levels.radius.max()]
        other = contrast(list(dict.fromkeys(corner.configuration)))
        if other is None:
            continue
        rows = differences(corner, "db", ["step"])
        rows = rows[rows.configuration == other]
        drawn.append(table)
        _over_steps(
            ax,
            rows,
            f"{configurations.label(other)} minus baseline (dB)",
            {other: (name, SCALE_LOOKS[number % 4])},
        )
    finish(figure, r"Corner ($\sqrt{2}/3$ cycles/pixel) of the hidden layers", pd.concat(drawn))
    return figure


def first_layer(spectra: pd.DataFrame) -> Figure:
    """The first convolution alone, relative to zero frequency, as arXiv:2512.22192 shows it.

    Its SSR is the fall of the lower curves from epoch 1 to the end, relative to epoch 1.
    """
    levels = _levels(spectra[spectra.layer == spectra.layer.iloc[0]])
    key = ["configuration", "seed", "step"]
    zero = levels[levels.radius == 0].set_index(key).db
    levels["db"] -= levels.join(zero.rename("zero"), on=key).zero
    names = list(dict.fromkeys(levels.configuration))
    figure, (top, bottom) = sections(1.8 * rows_needed(len(names), 4), 2.5)
    titles = {name: configurations.label(name) for name in names}
    _by_epoch(top, levels, titles, "against zero (dB)")
    below = bottom.subplots()
    high = levels[(levels.radius > 0) & (levels.epoch % 1 == 0)]
    high = high.assign(h=10 ** (high.db / 10)).groupby([*key[:2], "epoch"], sort=False).h.sum()
    for name, rows in high.reset_index().groupby("configuration", sort=False):
        curves(below, rows, "epoch", "h", configurations.label(name), **look(name))
    below.axvline(1, color="0.4", linestyle=":", label="reference of the published SSR")
    below.set(xlabel="epoch", ylabel="1/3 and $\\sqrt{2}/3$ against zero,\nsum of both ratios")
    log_axis(below.yaxis)
    epoch_axis(below)
    finish(figure, "The first convolution relative to zero frequency, raw weights", spectra)
    return figure


def layer_evolution(spectra: pd.DataFrame) -> Figure:
    """Where and when the corner falls: layers from input (top) to output, time to the right."""
    levels = _levels(spectra)
    corner = levels[levels.radius == levels.radius.max()]
    layers = list(dict.fromkeys(corner.layer))
    names = list(dict.fromkeys(corner.configuration))
    other = contrast(names)
    figure, (part,) = sections(3.7 * rows_needed(len(names), 4))
    grids = _grids(corner, "layer", "step", {n: configurations.label(n) for n in names})
    grids = {title: grid.reindex(layers) for title, grid in grids.items()}
    of = {"x": "step", "y": "3x3 convolution (block.number)"}
    for ax in map_panels(part, grids, time_map, "corner against white (dB)", bool(other), **of):
        step_axis(ax, corner.step.max())
        for place in _stages(layers):
            ax.axhline(place, color="white", linewidth=2)
        ax.set_yticks(range(len(layers)), _short(layers), fontsize=8)
    finish(figure, "The corner of every layer during training, raw weights", spectra)
    return figure


def response(correlation: pd.DataFrame) -> Figure:
    """What falls is the diagonal: dark at the circles, while the ends of the axes stay as they were.

    Power response of the kernels against white ones, raw weights, mean over the hidden layers.
    """
    raw = correlation[correlation.weights == "raw"]
    raw = raw[raw.layer != raw.layer.iloc[0]]
    names = list(dict.fromkeys(raw.configuration))
    other, last = contrast(names), raw.epoch.max()
    means = response_maps(raw)
    grids = {"initially": means[names[0], 0]}
    grids |= {configurations.label(name): means[name, last] for name in names}
    if other:
        title = f"{configurations.label(other)} minus baseline"
        grids[title] = means[other, last] - means["baseline", last]
    figure, (top, bottom) = sections(2.2 * rows_needed(len(names) + 1, 3), 2.5)
    of = {"x": "horizontal (cycles/pixel)", "y": "vertical (cycles/pixel)"}
    for ax in map_panels(top, grids, frequency_map, "response (dB)", bool(other), 3, **of):
        third = np.array([-1, 1]) / 3
        ax.plot(np.repeat(third, 2), np.tile(third, 2), "o", mfc="none", mec="black", ms=5)
    lines = panels(bottom, 2, sharey=True)
    f = np.arange(0, 26) / 50
    for ax, points, title in (
        (lines[0], ([0 * f, f], [f, 0 * f]), "Along the axes"),
        (lines[1], ([f, f], [f, -f]), "Along the diagonals"),
    ):
        radius = np.hypot(f, points[0][0])
        powers = sum(_responses(raw, *point) for point in points) / 2
        table = (10 * np.log10(powers)).set_axis(radius, axis=1).rename_axis(columns="radius")
        table = table.stack().rename("db").reset_index()
        for name in names:
            rows = table[(table.configuration == name) & (table.epoch == last)]
            curves(ax, rows, "radius", "db", configurations.label(name), **look(name))
        ax.axhline(0, color="0.3", linewidth=1)
        ax.set(title=title, xlabel="radial frequency (cycles/pixel)")
    lines[0].set_ylabel("response (dB)")
    finish(figure, "Response of the kernels (raw weights, mean over hidden layers)", raw)
    return figure


def response_maps(raw: pd.DataFrame) -> dict[tuple, np.ndarray]:
    """Response in dB, mean over layers and seeds, by configuration and epoch."""
    f = np.arange(-16, 16) / 32  # cycles/pixel, those of a 32x32 image
    db = 10 * np.log10(_responses(raw, *np.meshgrid(f, f, indexing="ij")))
    means = db.groupby(level=["configuration", "epoch"]).mean()
    return {key: row.to_numpy().reshape(32, 32) for key, row in means.iterrows()}


def _responses(raw: pd.DataFrame, fy: np.ndarray, fx: np.ndarray) -> pd.DataFrame:
    """Power response against white kernels at frequencies in cycles/pixel, mean over the layers.

    A row per (configuration, seed, epoch), a column per frequency.
    """
    run = ["configuration", "seed", "epoch"]
    wide = raw.pivot(index=[*run, "layer"], columns=["dy", "dx"], values="value")
    offsets = np.array(wide.columns.to_list())  # (13, 2)
    count = np.where(offsets.any(axis=1), 2, 1)  # (dy, dx) and (-dy, -dx) have one value
    waves = np.cos(2 * np.pi * offsets @ np.stack([np.ravel(fy), np.ravel(fx)]))
    power = wide.div(wide[0, 0], axis=0) @ (count[:, None] * waves)
    return power.groupby(level=run, sort=False).mean()


def ssr_comparison(ssr: pd.DataFrame) -> Figure:
    """The higher the dots, the more of its high frequencies a model lost; differences by seed.

    The corner first, then all frequencies but zero, and the published protocol.
    """
    raw, folded = ssr[ssr.weights == "raw"], ssr[ssr.weights == "folded"]
    names = list(dict.fromkeys(ssr.configuration))
    others = [name for name in names if name != "baseline"] if contrast(names) else []
    figure, (upper, lower) = sections(2.7, 2.7)
    top, below = panels(upper, 2 if others else 1), panels(lower, 3 if others else 2)
    hidden = {
        "raw": raw[raw.layer == HIDDEN],
        "BatchNorm folded in": folded[folded.layer == HIDDEN],
    }
    _groups(top[0], {k: (t, "corner_ssr") for k, t in hidden.items()}, names)
    top[0].set(title="Corner, hidden layers alike", ylabel="corner SSR")
    mean, first = raw[raw.layer == MEAN], raw[raw.published_ssr.notna()]
    counted = {"all layers alike": mean, "by energy": raw[raw.layer == POOLED]}
    _groups(below[0], {k: (t, "ssr") for k, t in counted.items()}, names)
    below[0].set(title="All but zero frequency", ylabel="SSR")
    _groups(below[1], {"first convolution,\nfrom epoch 1 on": (first, "published_ssr")}, names)
    below[1].set(title="Published protocol", ylabel="published SSR")
    if is_published_setting(ssr.iloc[0], published.CONFIGURATIONS[1]):
        of = dict(zip(published.CONFIGURATIONS, published.SSR))
        places = [(_place(n, names), of[n]) for n in names if n in of]
        below[1].plot(*zip(*places), "kx", markersize=8, label=published.SOURCE)
    if others:
        paired = {k: (t.assign(x=minus_baseline(t, "corner_ssr")), "x") for k, t in hidden.items()}
        _groups(top[1], paired, others, bar=True)
        top[1].set(title="Corner, minus baseline", ylabel="corner SSR, same seed")
        ratios = {"share": (mean, "share_ratio"), "energy\ngrowth": (mean, "energy_ratio")}
        ratios["published\nSSR"] = (first, "published_ratio")
        _groups(below[2], ratios, others, ratio=True)
        below[2].set(title="Suppression against the baseline", ylabel="ratio")
        log_axis(below[2].yaxis)
    for ax in (*top, *below):
        ax.axhline(1 if "ratio" in ax.get_ylabel() else 0, color="0.3", linewidth=1, zorder=1)
    for name in names:
        top[0].plot([], [], label=configurations.label(name), **look(name) | {"linestyle": ""})
    title = "Suppression of high frequencies, from the initialisation on"
    finish(figure, title, ssr, "a dot each; bar: 95 % interval")
    return figure


def _place(name: str, names: list[str]) -> float:
    return 0.84 * ((names.index(name) + 0.5) / len(names) - 0.5)


def _groups(ax, groups: dict[str, tuple], names: list[str], **options) -> None:
    """Dots of every configuration in groups of (table, column), joined by seed."""
    for position, (table, column) in enumerate(groups.values()):
        wide = table.pivot(index="configuration", columns="seed", values=column).reindex(names)
        places = [
            dots(
                ax, position + _place(n, names), wide.loc[n], look(n), 0.84 / len(names), **options
            )
            for n in names
        ]
        ax.plot(places, wide, color="0.75", linewidth=0.6, zorder=1)
    ax.set_xticks(range(len(groups)), groups)
    ax.set_xlim(-0.5, len(groups) - 0.5)
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.15)


def layers(ssr: pd.DataFrame) -> Figure:
    """L2 has less corner than its baseline where the dots lie below zero, layer by layer."""
    single = ssr[(ssr.weights == "raw") & ~ssr.layer.isin(MODEL)]
    names, order = list(dict.fromkeys(single.layer)), list(dict.fromkeys(single.configuration))
    single = single.assign(place=single.layer.map(names.index))
    other = contrast(order)
    figure, (part,) = sections(2.7 * (1 + bool(other)))
    axes = panels(part, 1 + bool(other), most=1, sharex=True)
    last = axes[-1]
    initial = single.groupby("place").corner_initial.mean()
    last.plot(initial, color="0.5", linewidth=2, label="initially")
    for name, rows in single.groupby("configuration", sort=False):
        curves(last, rows, "place", "corner_final", configurations.label(name), **look(name))
    last.axhline(4 / 9, color="0.5", linewidth=1, linestyle=":", label="white kernels")
    last.set(ylabel="corner share at the end", ylim=(0, None))
    last.set_xlabel("3x3 convolution (block.number), from input to output")
    if other:
        paired = differences(single, "corner_final", ["layer"])
        others = list(dict.fromkeys(paired.configuration))
        ax = axes[0]
        for (name, place), rows in paired.groupby(["configuration", "place"], sort=False):
            x = place + _place(name, others)
            dots(ax, x, rows.corner_final, look(name), 0.84 / len(others), bar=True, text=False)
        ax.axhline(0, color="0.3", linewidth=1)
        of = paired[paired.configuration == other].corner_final.dropna()
        ax.set_title(
            f"{configurations.label(other)} has less corner than the baseline of its seed in "
            f"{(of < 0).sum()} of {len(of)} layers"
        )
        ax.set_ylabel("corner share,\nminus baseline")
    for ax in axes:
        ax.set_xticks(range(len(names)), _short(names), rotation=45, ha="right", fontsize=9)
        ax.set_xlim(-0.6, len(names) - 0.4)
        for place in _stages(names):
            ax.axvline(place, color="0.6", linewidth=1)
        ax.grid(axis="x", visible=False)
    finish(
        figure,
        "The corner of every layer after training, raw weights",
        ssr,
        "a dot each; bar: 95 % interval",
    )
    return figure


def training(history: pd.DataFrame) -> Figure:
    """How far each model got, on test and on augmented training images."""
    quantities = {
        "test_accuracy": "test accuracy (%)",
        "train_accuracy": "training accuracy (%)",
        "test_loss": "test loss (nats)",
        "train_loss": "training loss (nats)",
        "low_cue_accuracy": "accuracy, low cue only (%)",
        "high_cue_accuracy": "accuracy, high cue only (%)",
    }
    quantities = {name: text for name, text in quantities.items() if name in history}
    figure, (part,) = sections(2.4 * rows_needed(len(quantities), 2))
    axes = panels(part, len(quantities), most=2)
    for ax, (quantity, text) in zip(axes, quantities.items()):
        rows = history[history[quantity].notna()]
        for name, table in rows.groupby("configuration", sort=False):
            curves(ax, table, "epoch", quantity, configurations.label(name), **look(name))
        ax.set(ylabel=text, xlabel="epoch")
        epoch_axis(ax)
        if "loss" in quantity:
            _clip_spikes(ax, rows, quantity)
    title = "Training (training images augmented, dropout active; epoch 0: initialisation)"
    finish(figure, title, history)
    return figure


def _clip_spikes(ax, rows: pd.DataFrame, column: str) -> None:
    """No loss far above that at the start of training makes the others unreadable."""
    top = 1.5 * rows[rows.epoch <= 1][column].median()
    if rows[column].max() > top:
        ax.set_ylim(top=top)
        ax.set_title(f"clipped: up to {rows[column].max():.3g}", fontsize=9)
    log_axis(ax.yaxis)


def dose_response(dose: pd.DataFrame) -> Figure:
    """What more of a regularisation does to the corner, to SSR and to accuracy."""
    families = list(dict.fromkeys(dose.family))
    columns = {
        "corner_ssr": "corner SSR, hidden layers",
        "ssr": "SSR, all layers alike",
        "test_accuracy": "test accuracy (%)",
    }
    figure, parts = sections(*[2.7] * len(families))
    for part, family in zip(parts, families):
        table = dose[dose.family == family]
        style = look(f"{family}={USUAL[family]:g}")
        weakest = table.strength[table.strength > 0].min()
        for ax, (column, text) in zip(panels(part, 3), columns.items()):
            curves(ax, table, "strength", column, **style)
            ax.set(xlabel=f"strength of {family} (0: baseline)", ylabel=text)
            if family != "dropout":
                ax.set_xscale("symlog", linthresh=weakest)
    finish(figure, "Dose and response", dose)
    return figure


def _levels(spectra: pd.DataFrame, hidden: bool = False) -> pd.DataFrame:
    """Density of raw kernels against white ones in dB, by run, layer, step and radius.

    With `hidden` of the mean over all layers but the first, each of which counts once.
    """
    raw = spectra[spectra.weights == "raw"]
    key = ["configuration", "seed", "step", "epoch", "radius", "multiplicity"]
    if hidden:
        raw = raw[raw.layer != raw.layer.iloc[0]]
        raw = raw.groupby(key, sort=False).share.mean().reset_index()
    white = raw.multiplicity / raw.drop_duplicates("radius").multiplicity.sum()
    return raw.assign(db=10 * np.log10(raw.share / white))


def _grids(levels: pd.DataFrame, rows: str, columns: str, titles: dict) -> dict:
    """Mean dB over seeds by configuration, the last minus baseline where there is one."""
    tables = [(title, levels[levels.configuration == name]) for name, title in titles.items()]
    other = contrast(list(titles))
    if other:
        paired = differences(levels, "db", [rows, columns])
        title = f"{configurations.label(other)} minus baseline"
        tables.append((title, paired[paired.configuration == other]))
    times = sorted(set(levels[columns]))
    return {
        title: table.pivot_table(index=rows, columns=columns, values="db").reindex(columns=times)
        for title, table in tables
    }


def _by_epoch(part, levels: pd.DataFrame, titles: dict, label: str) -> list:
    """Heat maps epochs x frequency, high frequencies at the top."""
    whole = levels[levels.epoch % 1 == 0]
    grids = _grids(whole.astype({"epoch": int}), "radius", "epoch", titles)
    of = {"x": "epoch", "y": "frequency (cycles/pixel)"}
    axes = map_panels(part, grids, heat_map, label, len(grids) > len(titles), **of)
    for ax, grid in zip(axes, grids.values()):
        last = grid.dropna(axis=1).iloc[:, -1]
        for row, level in enumerate(last):
            box = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1.5}
            place = {
                "xytext": (-3, 0),
                "textcoords": "offset points",
                "ha": "right",
                "va": "center",
            }
            ax.annotate(f"{level:+.1f} dB", (last.name + 0.5, row), **place, bbox=box, fontsize=9)
        ax.set_yticks(range(3), RADIUS_LABELS)
        epoch_axis(ax)
    return axes


def _over_steps(ax, rows: pd.DataFrame, label: str, named: dict | None = None) -> None:
    """dB of every configuration against steps on a logarithmic axis."""
    for name, table in rows.groupby("configuration", sort=False):
        text, style = (named or {}).get(name, (configurations.label(name), look(name)))
        curves(ax, table.assign(x=table.step.clip(lower=START)), "x", "db", text, **style)
    ax.axhline(0, color="0.3", linewidth=1)
    step_axis(ax, rows.step.max())
    ax.set(xlabel="training step (logarithmic; 0: initialisation)", ylabel=label)


def _stages(layers: list[str]) -> list[float]:
    """Places between the stages of a ResNet-18, which have two blocks of two convolutions."""
    return [i - 0.5 for i in range(1, len(layers), 4)]


def _short(layers: list[str]) -> list[str]:
    return [name.replace("blocks.", "").replace(".conv", ".") for name in layers]
