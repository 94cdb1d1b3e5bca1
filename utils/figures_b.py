"""The figures of experiment B. The first line of a function says what to see in its figure."""

import math

import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from utils import configurations, published
from utils import visualizer as vis
from utils.statistics import is_published_setting, minus_baseline
from utils.suppression import HIDDEN, MEAN, MODEL, POOLED

RADIUS_LABELS = ["0", "1/3", r"$\sqrt{2}/3$"]  # of a 3x3 kernel, cycles/pixel
CORNER_LABEL = r"corner, $\sqrt{2}/3$, against white (dB)"
SCALE_COLORS = ["#0072B2", "#D55E00", "#000000", "#CC79A7", "#56B4E9", "#E69F00"]
DOTS = "a dot each; bar: 95 % interval"


def spectrum_evolution(spectra: pd.DataFrame, history: pd.DataFrame) -> Figure:
    """The darker the top row and the lower its curve below, the more low-pass are the kernels.

    Density against white kernels, raw weights, mean over the hidden layers.
    """
    levels = _levels(spectra, hidden=True)
    done = history.dropna(subset="test_accuracy").groupby(["configuration", "seed"], sort=False)
    done = done.test_accuracy.last().groupby(level=0, sort=False).mean()
    titles = {n: f"{configurations.label(n)}, {x:.1f}\N{NO-BREAK SPACE}%" for n, x in done.items()}
    grids = _by_epoch(levels, titles)
    figure, (top, bottom) = vis.sections(vis.map_height(grids, 1.8), 2.7)
    cutoff = spectra.cutoff.iloc[0]
    place = (levels.drop_duplicates("radius").radius <= cutoff).sum() - 0.5
    for ax in _epoch_maps(top, grids, "against white (dB)"):
        ax.axhline(place, color="black", linestyle=":", linewidth=1)
        text = {"transform": ax.get_yaxis_transform(), "va": "bottom", "fontsize": 8}
        ax.text(0.02, place, f"cutoff {cutoff:g}", **text)
    corner = levels[levels.radius == levels.radius.max()]
    axes = vis.panels(bottom, 1 + (len(grids) > len(titles)))
    _over_steps(axes[0], corner, CORNER_LABEL)
    for ax in axes[1:]:
        _over_steps(ax, vis.differences(corner, "db", ["step"]), "the same, minus baseline (dB)")
    vis.finish(figure, "Spectrum of the kernels (raw weights, mean over hidden layers)", spectra)
    return figure


def first_layer(spectra: pd.DataFrame) -> Figure:
    """The first convolution alone, relative to zero frequency, as arXiv:2512.22192 shows it.

    Its SSR is the fall of the lower curves from epoch 1 to the end, relative to epoch 1.
    """
    levels = _levels(spectra[spectra.layer == spectra.layer.iloc[0]])
    key = ["configuration", "seed", "step"]
    zero = levels[levels.radius == 0].set_index(key).db
    levels["db"] -= levels.join(zero.rename("zero"), on=key).zero
    grids = _by_epoch(levels)
    figure, (top, bottom) = vis.sections(vis.map_height(grids, 1.8), 2.5)
    _epoch_maps(top, grids, "against zero (dB)")
    high = levels[(levels.radius > 0) & (levels.epoch % 1 == 0)]
    high = high.assign(h=10 ** (high.db / 10)).groupby([*key[:2], "epoch"], sort=False).h.sum()
    ax = bottom.subplots()
    vis.model_curves(ax, high.reset_index(), "epoch", "h")
    ax.axvline(1, color="0.4", linestyle=":", linewidth=1)
    text = {"transform": ax.get_xaxis_transform(), "fontsize": 9}
    ax.text(1, 0.93, " published SSR: from here on", **text)
    ax.set(xlabel="epoch", ylabel="sum of both upper rows")
    vis.log_axis(ax.yaxis)
    vis.epoch_axis(ax)
    vis.finish(figure, "The first convolution relative to zero frequency, raw weights", spectra)
    return figure


def layer_evolution(spectra: pd.DataFrame) -> Figure:
    """Where and when the corner falls: layers from input (top) to output, time to the right."""
    levels = _levels(spectra)
    corner = levels[levels.radius == levels.radius.max()]
    layers = list(dict.fromkeys(corner.layer))
    grids = vis.means(corner, "layer", "step", "db")
    grids = {title: grid.reindex(layers) for title, grid in grids.items()}
    figure, (part,) = vis.sections(vis.map_height(grids, 3.7))
    axes = ("step", "3x3 convolution (block.number)")
    for ax in vis.map_panels(part, grids, vis.time_map, "corner against white (dB)", *axes):
        vis.step_axis(ax, corner.step, every=2)
        for place in _stages(layers):
            ax.axhline(place, color="white", linewidth=2)
        ax.set_yticks(range(len(layers)), _short(layers), fontsize=8)
    vis.finish(figure, "The corner of every layer during training, raw weights", spectra, "mean")
    return figure


def response(correlation: pd.DataFrame) -> Figure:
    """What falls is the diagonal: dark at the circles, while the ends of the axes hardly change.

    Power response of the kernels against white ones, raw weights, mean over the hidden layers.
    """
    raw = correlation[correlation.weights == "raw"]
    figure = vis.frequency_figure(_responses(raw[raw.layer != raw.layer.iloc[0]]), "response")
    title = "Response of the kernels (raw weights, mean over hidden layers; circles: the corner)"
    vis.finish(figure, title, correlation)
    return figure


def evolution(spectra: pd.DataFrame, correlation: pd.DataFrame) -> FuncAnimation:
    """Training as a film: above, the response loses its corners; below, the spectrum fills in.

    The first seed, up to four configurations, after the epochs whose weights were kept.
    """
    db = _responses(correlation)
    names = list(dict.fromkeys(db.configuration))
    names = names[:: math.ceil(len(names) / 4)]
    db = db[db.configuration.isin(names)]
    levels = _levels(spectra[spectra.seed == db.seed.iloc[0]], hidden=True)
    grids = _by_epoch(levels[levels.configuration.isin(names)])
    labels = list(map(configurations.label, names))
    epochs = sorted(set(db.epoch))
    epochs = epochs[:: -math.ceil(len(epochs) / 20)][::-1]
    maps = db.set_index(["configuration", "epoch", "fy", "fx"]).db.unstack("fx")
    figure, (top, bottom) = vis.sections(2.4, 1.8)
    final = {label: maps.loc[name, epochs[-1]] for label, name in zip(labels, names)}
    draw = vis.frequency_map
    above = vis.map_panels(top, final, draw, "response (dB)", *vis.FREQUENCIES)
    for ax in above:
        ax.images[0].set_clim(-db.db.abs().max(), db.db.abs().max())
    below = _epoch_maps(bottom, {n: grids[n] for n in labels}, "against white (dB)")
    vis.finish(figure, "epoch", correlation)
    vis.keep_layout(figure)

    def show(epoch):
        figure.suptitle(f"Kernels after epoch {epoch}", fontsize=13)
        for name, label, up, down in zip(names, labels, above, below):
            if (name, epoch) in maps.index.droplevel("fy"):
                up.images[0].set_data(maps.loc[name, epoch])
            grid = grids[label]
            down.images[0].set_data(np.where(grid.columns <= epoch, grid, np.nan))
            for number in down.texts:
                number.set_visible(epoch == epochs[-1])

    return FuncAnimation(figure, show, epochs)


def _responses(raw: pd.DataFrame) -> pd.DataFrame:
    """Response against white kernels in dB, mean over the layers, at the modes of 32x32 pixels.

    Rows of (configuration, seed, epoch, fy, fx in cycles/pixel, db).
    """
    run = ["configuration", "seed", "epoch"]
    wide = raw.pivot(index=[*run, "layer"], columns=["dy", "dx"], values="value")
    offsets = np.array(wide.columns.to_list())  # (13, 2)
    count = np.where(offsets.any(axis=1), 2, 1)  # (dy, dx) and (-dy, -dx) have one value
    f = np.arange(-16, 16) / 32
    fy, fx = (grid.ravel() for grid in np.meshgrid(f, f, indexing="ij"))
    waves = np.cos(2 * np.pi * offsets @ np.stack([fy, fx]))  # (13, 1024)
    power = pd.DataFrame(
        wide.div(wide[0, 0], axis=0).to_numpy() @ (count[:, None] * waves), wide.index
    )
    power = power.groupby(level=run).mean()
    table = power.index.repeat(len(fy)).to_frame(index=False)
    table = table.assign(fy=np.tile(fy, len(power)), fx=np.tile(fx, len(power)))
    table["db"] = 10 * np.log10(power.to_numpy().ravel())
    names = list(dict.fromkeys(raw.configuration))  # in their order again
    return table.sort_values("configuration", key=lambda c: c.map(names.index))


def ssr_comparison(ssr: pd.DataFrame) -> Figure:
    """The higher the dots, the more of its high frequencies a model lost: the corner first.

    Then all frequencies but zero, the published protocol, and the ratios to the baseline.
    """
    raw, folded = ssr[ssr.weights == "raw"], ssr[ssr.weights == "folded"]
    mean, first = raw[raw.layer == MEAN], raw[raw.published_ssr.notna()]
    hidden = {"raw": raw, "BatchNorm folded in": folded}
    hidden = {title: table[table.layer == HIDDEN] for title, table in hidden.items()}
    names = list(dict.fromkeys(ssr.configuration))
    others = [name for name in names if name != "baseline"] if vis.contrast(names) else []
    figure, (upper, lower) = vis.sections(2.7, 2.7)
    top, below = vis.panels(upper, 1 + bool(others)), vis.panels(lower, 2 + bool(others))
    _groups(top[0], {title: (t, "corner_ssr") for title, t in hidden.items()}, names)
    top[0].set(title="Corner, hidden layers alike", ylabel="corner SSR")
    counted = {"all layers alike": mean, "by energy": raw[raw.layer == POOLED]}
    _groups(below[0], {title: (t, "ssr") for title, t in counted.items()}, names)
    below[0].set(title="All but zero frequency", ylabel="SSR")
    _groups(below[1], {"first convolution,\nfrom epoch 1 on": (first, "published_ssr")}, names)
    below[1].set(title="Published protocol", ylabel="published SSR")
    if is_published_setting(ssr.iloc[0], published.CONFIGURATIONS[1]):
        of = {n: v for n, v in zip(published.CONFIGURATIONS, published.SSR) if n in names}
        places = [_place(name, names) for name in of]
        below[1].plot(places, list(of.values()), "kx", markersize=8, label=published.SOURCE)
    if others:
        paired = {n: (t.assign(x=minus_baseline(t, "corner_ssr")), "x") for n, t in hidden.items()}
        _groups(top[1], paired, others, bar=True)
        top[1].set(title="Corner, minus baseline", ylabel="corner SSR, same seed")
        ratios = {"share": (mean, "share_ratio"), "energy\ngrowth": (mean, "energy_ratio")}
        ratios["published\nSSR"] = (first, "published_ratio")
        _groups(below[2], ratios, others, ratio=True)
        below[2].set(title="Suppression against the baseline", ylabel="ratio")
        vis.log_axis(below[2].yaxis)
    for ax in (*top, *below):
        ratio = ax.get_ylabel() == "ratio"
        room = 0.08 if len(names) < 5 else 0.25  # above, for the numbers
        ax.axhline(1 if ratio else 0, color="0.3", linewidth=1, zorder=1)
        low, high = ax.get_ylim()
        ax.set_ylim(low, high * (high / low) ** room if ratio else high + room * (high - low))
    for name in names:
        label = configurations.label(name)
        top[0].plot([], [], label=label, **vis.look(name) | {"linestyle": ""})
    vis.finish(figure, "Suppression of high frequencies, from the initialisation on", ssr, DOTS)
    return figure


def _groups(ax, groups: dict[str, tuple], names: list[str], **options) -> None:
    """Dots of every configuration in groups of (table, column), joined by seed."""
    width = 0.84 / len(names)
    for position, (table, column) in enumerate(groups.values()):
        wide = table.pivot(index="configuration", columns="seed", values=column).reindex(names)
        places = [
            vis.dots(ax, position + _place(n, names), wide.loc[n], vis.look(n), width, **options)
            for n in names
        ]
        ax.plot(places, wide, color="0.75", linewidth=0.6, zorder=1)
    if options.get("ratio"):
        ax.set_yscale("log")
    ax.set_xticks(range(len(groups)), groups)
    ax.set_xlim(-0.5, len(groups) - 0.5)
    ax.grid(axis="x", visible=False)


def _place(name: str, names: list[str]) -> float:
    return 0.84 * ((names.index(name) + 0.5) / len(names) - 0.5)


def layers(ssr: pd.DataFrame) -> Figure:
    """Where the dots lie below zero, a layer has less corner than that of its baseline."""
    single = ssr[(ssr.weights == "raw") & ~ssr.layer.isin(MODEL)]
    names = list(dict.fromkeys(single.layer))
    single = single.assign(place=single.layer.map(names.index))
    other = vis.contrast(single.configuration)
    figure, (part,) = vis.sections(2.7 * (1 + bool(other)))
    axes = vis.panels(part, 1 + bool(other), most=1, sharex=True)
    initial = single.groupby("place").corner_initial.mean()
    axes[-1].plot(initial, color="0.5", linewidth=2, label="initially")
    vis.model_curves(axes[-1], single, "place", "corner_final")
    axes[-1].axhline(4 / 9, color="0.5", linewidth=1, linestyle=":", label="white kernels")
    axes[-1].set(ylabel="corner share at the end", ylim=(0, None))
    axes[-1].set_xlabel("3x3 convolution (block.number), from input to output")
    if other:
        paired = vis.differences(single, "corner_final", ["layer"])
        others = list(dict.fromkeys(paired.configuration))
        style = {"width": 0.84 / len(others), "bar": len(others) < 4, "text": False}
        for (name, place), rows in paired.groupby(["configuration", "place"], sort=False):
            x = place + _place(name, others)
            vis.dots(axes[0], x, rows.corner_final, vis.look(name), **style)
        axes[0].axhline(0, color="0.3", linewidth=1)
        of = paired[paired.configuration == other].corner_final.dropna()
        text = (
            f"has less corner than its baseline in {(of < 0).sum()} of {len(of)} (layers x seeds)"
        )
        axes[0].set_title(f"{configurations.label(other)} {text}")
        axes[0].set_ylabel("corner share,\nminus baseline")
    for ax in axes:
        ax.set_xticks(range(len(names)), _short(names), rotation=45, ha="right", fontsize=9)
        ax.set_xlim(-0.6, len(names) - 0.4)
        for place in _stages(names):
            ax.axvline(place, color="0.6", linewidth=1)
        ax.grid(axis="x", visible=False)
    vis.finish(figure, "The corner of every layer after training, raw weights", ssr, DOTS)
    return figure


def training(history: pd.DataFrame) -> Figure:
    """How far each model got, on test images and on the augmented training images."""
    quantities = {
        "test_accuracy": "test accuracy (%)",
        "train_accuracy": "training accuracy (%)",
        "test_loss": "test loss (nats)",
        "train_loss": "training loss (nats)",
        "low_cue_accuracy": "accuracy, low cue only (%)",
        "high_cue_accuracy": "accuracy, high cue only (%)",
    }
    quantities = {name: text for name, text in quantities.items() if name in history}
    figure, (part,) = vis.sections(2.4 * len(quantities) / 2)
    for ax, (name, text) in zip(vis.panels(part, len(quantities), 2), quantities.items()):
        rows = history[history[name].notna()]
        vis.model_curves(ax, rows, "epoch", name)
        ax.set(ylabel=text, xlabel="epoch")
        vis.epoch_axis(ax)
        if "loss" in name:  # one far above that at the start would make the others unreadable
            ax.set_yscale("log")
            top = 1.5 * rows[rows.epoch <= 1][name].median()
            if rows[name].max() > top:
                ax.set_ylim(top=top)
                ax.set_title(f"clipped: up to {rows[name].max():.3g}", fontsize=9)
            vis.log_axis(ax.yaxis)
    title = "Training (training images augmented, dropout active; epoch 0: initialisation)"
    vis.finish(figure, title, history)
    return figure


def dose_response(dose: pd.DataFrame) -> Figure:
    """What more of a regularisation does to the corner, to SSR and to accuracy."""
    families = list(dict.fromkeys(dose.family))
    columns = {
        "corner_ssr": "corner SSR, hidden layers",
        "ssr": "SSR, all layers alike",
        "test_accuracy": "test accuracy (%)",
    }
    figure, parts = vis.sections(*[2.7] * len(families))
    for part, family in zip(parts, families):
        table = dose[dose.family == family]
        usual = f"{family}={vis.USUAL[family]:g}"
        for ax, (column, text) in zip(vis.panels(part, 3), columns.items()):
            vis.curves(ax, table, "strength", column, **vis.look(usual))
            name = configurations.label(usual).split()[0]
            ax.set(xlabel=f"strength of {name} (0: baseline)", ylabel=text)
            if family != "dropout":
                ax.set_xscale("symlog", linthresh=table.strength[table.strength > 0].min())
    vis.finish(figure, "Dose and response", dose)
    return figure


def corner_over_steps(spectra: dict[str, pd.DataFrame]) -> Figure:
    """Below zero, L2 has pushed the corner further down than its baseline has.

    Args:
        spectra: spectrum tables by name; those with a baseline and another are drawn.
    """
    figure, (part,) = vis.sections(3.4)
    ax, steps = part.subplots(), []
    looks = zip(SCALE_COLORS * 2, ["-", "--", "-.", ":"] * 3, "osD^vPX" * 2)
    for (name, table), (color, line, marker) in zip(spectra.items(), looks):
        corner = _levels(table, hidden=True)
        corner = corner[corner.radius == corner.radius.max()]
        rows = vis.differences(corner, "db", ["step"])
        rows = rows[rows.configuration == vis.contrast(corner.configuration)]
        rows = rows.assign(x=vis.logarithmic(rows.step))
        style = {"color": color, "linestyle": line, "marker": marker}
        vis.curves(ax, rows, "x", "db", f"{name}, n = {rows.seed.nunique()}", **style)
        steps.extend(rows.step)
    ax.axhline(0, color="0.3", linewidth=1)
    vis.step_axis(ax, steps)
    ax.set(xlabel="training step (logarithmic; 0: initialisation)", ylabel="corner (dB)")
    both = pd.concat(spectra.values())[["dataset", "scale", "device"]].drop_duplicates()
    both = both.apply(lambda column: "; ".join(dict.fromkeys(column))).to_frame().T
    title = r"Corner ($\sqrt{2}/3$) of the hidden layers, L2 minus baseline; thin: each seed"
    vis.finish(figure, title, both)
    return figure


def _levels(spectra: pd.DataFrame, hidden: bool = False) -> pd.DataFrame:
    """Density of raw kernels against white ones in dB, by run, layer, step and radius.

    With `hidden`, of the mean over all layers but the first, each of which counts once.
    """
    raw = spectra[spectra.weights == "raw"]
    if hidden:
        key = ["configuration", "seed", "step", "epoch", "radius", "multiplicity"]
        raw = raw[raw.layer != raw.layer.iloc[0]].groupby(key, sort=False)
        raw = raw.share.mean().reset_index()
    white = raw.multiplicity / raw.drop_duplicates("radius").multiplicity.sum()
    return raw.assign(db=10 * np.log10(raw.share / white))


def _by_epoch(levels: pd.DataFrame, titles: dict | None = None) -> dict:
    whole = levels[levels.epoch % 1 == 0].astype({"epoch": int})
    return vis.means(whole, "radius", "epoch", "db", titles)


def _epoch_maps(part, grids: dict, label: str) -> list:
    """Heat maps epochs x frequency, high frequencies at the top."""
    axes = vis.map_panels(part, grids, vis.heat_map, label, "epoch", "frequency (cycles/pixel)")
    for ax, grid in zip(axes, grids.values()):
        last = grid.dropna(axis=1).iloc[:, -1]
        vis.numbers(ax, last.name + 0.5, last, "+.1f", " dB")
        ax.set_yticks(range(3), RADIUS_LABELS)
        vis.epoch_axis(ax)
    return axes


def _over_steps(ax, rows: pd.DataFrame, label: str) -> None:
    """dB of every configuration against steps on a logarithmic axis."""
    vis.model_curves(ax, rows.assign(x=vis.logarithmic(rows.step)), "x", "db")
    ax.axhline(0, color="0.3", linewidth=1)
    vis.step_axis(ax, rows.step)
    ax.set(xlabel="training step (logarithmic; 0: initialisation)", ylabel=label)


def _stages(layers: list[str]) -> list[float]:
    """Places between the stages of a ResNet-18: the first layer, then four convolutions each."""
    return [i - 0.5 for i in range(1, len(layers), 4)]


def _short(layers: list[str]) -> list[str]:
    return [name.replace("blocks.", "").replace(".conv", ".") for name in layers]
