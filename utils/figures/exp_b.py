"""The figures of experiment B. The first sentence of a function says what to see."""

import math

import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter

from utils import configurations
from utils import visualizer as vis
from utils.evidence import paper
from utils.evidence.intervals import interval, minus_baseline
from utils.evidence.suppression import HIDDEN, MEAN, MODEL, POOLED
from utils.evidence.verdicts import is_published_setting

RADIUS_LABELS = ["0", "1/3", r"$\sqrt{2}/3$"]  # of a 3x3 kernel, cycles/pixel
SCALE_COLORS = ["#56B4E9", "#D55E00", "#000000", "#CC79A7"]
STAGE = 4  # convolutions of a stage of ResNet-18, after the first of all
DOTS = "a dot each; bar: 95 % interval"


def spectrum_evolution(spectra: pd.DataFrame, history: pd.DataFrame) -> Figure:
    """The darker the top row and the lower its curve below, the more low-pass are the kernels.

    Density against white kernels, raw weights, mean over the hidden layers.
    """
    levels = _levels(spectra, hidden=True)
    done = history.groupby(["configuration", "seed"], sort=False).test_accuracy.last()
    done = done.groupby(level=0, sort=False).mean().dropna()
    percent = {configurations.label(n): f", {x:.1f} %" for n, x in done.items()}
    grids = {title + percent.get(title, ""): grid for title, grid in _by_epoch(levels).items()}
    figure, (top, bottom) = vis.sections(2 * vis.map_rows(grids), 2.7)
    cutoff = spectra.cutoff.iloc[0]
    place = (levels.drop_duplicates("radius").radius <= cutoff).sum() - 0.5
    for ax in _epoch_maps(top, grids, "against white (dB)"):
        ax.axhline(place, color="black", linestyle=":", linewidth=1)
        text = {"transform": ax.get_yaxis_transform(), "va": "bottom", "fontsize": 8}
        ax.text(0.02, place, f"cutoff {cutoff:g}", **text)
    corner, label = _corner(levels), r"corner, $\sqrt{2}/3$, against white (dB)"
    paired = vis.differences(corner, "db", ["step"])
    axes = vis.panels(bottom, 1 + (len(paired) > 0))
    for ax, rows, text in zip(axes, (corner, paired), (label, "the same, minus baseline (dB)")):
        vis.model_curves(ax, rows, "step", "db")
        _finish_steps(ax, rows.step, text)
    title = "Spectrum of the kernels (raw weights, mean over hidden layers; %: test accuracy)"
    return vis.finish(figure, title, spectra)


def first_layer(spectra: pd.DataFrame) -> Figure:
    """The first convolution alone, relative to zero frequency, as arXiv:2512.22192 shows it.

    Its SSR is the fall of the lower curves from epoch 1 to the end, relative to epoch 1.
    """
    levels = _levels(spectra[spectra.layer == spectra.layer.iloc[0]])
    run = ["configuration", "seed"]
    levels["db"] -= levels.groupby([*run, "step"]).db.transform("first")  # of radius 0
    grids = _by_epoch(levels)
    figure, (top, bottom) = vis.sections(2 * vis.map_rows(grids), 2.5)
    _epoch_maps(top, grids, "against zero (dB)")
    high = levels[(levels.radius > 0) & (levels.epoch % 1 == 0)]
    high = high.assign(h=10 ** (high.db / 10)).groupby([*run, "epoch"], sort=False).h.sum()
    ax = bottom.subplots()
    vis.model_curves(ax, high.reset_index(), "epoch", "h")
    ax.axvline(1, color="0.4", linestyle=":", linewidth=1)
    ax.text(1, 0.93, " published SSR: from here on", transform=ax.get_xaxis_transform())
    ax.set(xlabel="epoch", ylabel="both upper rows added\n(ratio to zero frequency)")
    vis.log_axis(ax.yaxis)
    ax.locator_params(**vis.EPOCHS)
    title = "The first convolution relative to zero frequency, raw weights"
    return vis.finish(figure, title, spectra)


def layer_evolution(spectra: pd.DataFrame) -> Figure:
    """Where and when the corner falls: layers from input (top) to output, time to the right."""
    corner = _corner(_levels(spectra))
    layers = list(dict.fromkeys(corner.layer))[::-1]
    grids = vis.means(corner, "layer", "step", "db")
    grids = {title: grid.reindex(layers) for title, grid in grids.items()}
    figure, (part,) = vis.sections(3.7 * vis.map_rows(grids))
    labels = ("corner against white (dB)", "training step", "3x3 convolution (block.number)")
    for ax in vis.map_panels(part, grids, vis.heat_map, *labels):
        vis.step_axis(ax, corner.step, every=2)
        for place in range(STAGE, len(layers), STAGE):  # from the last layer on
            ax.axhline(place - 0.5, color="white", linewidth=2)
        ax.set_yticks(range(len(layers)), _short(layers), fontsize=8)
    title = "The corner of every layer during training, raw weights"
    return vis.finish(figure, title, spectra, "mean")


def response(correlation: pd.DataFrame) -> Figure:
    """What falls is the diagonal: dark at the circles, while the ends of the axes hardly change.

    Power response of the kernels against white ones, raw weights, mean over the hidden layers.
    """
    raw = correlation[correlation.weights == "raw"]
    figure = vis.frequency_figure(_responses(raw[raw.layer != raw.layer.iloc[0]]), "response")
    title = "Response of the kernels (raw weights, mean over hidden layers; circles: the corner)"
    return vis.finish(figure, title, correlation)


def evolution(spectra: pd.DataFrame, correlation: pd.DataFrame) -> FuncAnimation:
    """Training as a film: above, the response loses its corners; below, the spectrum fills in.

    The first seed, up to four configurations, after the epochs whose weights were kept.
    """
    names = list(dict.fromkeys(correlation.configuration))
    names = names[:: math.ceil(len(names) / 4)]
    labels = [configurations.label(name) for name in names]
    db = _responses(correlation[correlation.configuration.isin(names)])
    epochs = sorted(set(db.epoch))
    epochs = epochs[:: -math.ceil(len(epochs) / 20)][::-1]
    blank = pd.DataFrame(np.nan, *[sorted(set(db.fx))] * 2)  # where weights were not kept
    maps = {
        key: rows.pivot(index="fy", columns="fx", values="db")
        for key, rows in db.groupby(["configuration", "epoch"])
    }
    chosen = (spectra.seed == db.seed.iloc[0]) & spectra.configuration.isin(names)
    grids = _by_epoch(_levels(spectra[chosen], hidden=True))
    grids = {label: grids[label] for label in labels}
    figure, (top, bottom) = vis.sections(2.4, 1.8)
    final = {label: maps.get((name, epochs[-1]), blank) for label, name in zip(labels, names)}
    above = vis.map_panels(top, final, vis.frequency_map, "response (dB)", *vis.FREQUENCIES)
    for ax in above:
        ax.images[0].set_clim(-db.db.abs().max(), db.db.abs().max())
    below = _epoch_maps(bottom, grids, "against white (dB)")
    vis.finish(figure, f"Kernels after epoch {epochs[-1]}", correlation)

    def show(epoch):
        figure.texts[0].set_text(f"Kernels after epoch {epoch}")
        for name, label, up, down in zip(names, labels, above, below):
            up.images[0].set_data(maps.get((name, epoch), blank))
            seen = np.where(grids[label].columns <= epoch, grids[label], np.nan)
            down.collections[0].set_array(np.ma.masked_invalid(seen))
            for number in down.texts:
                number.set_visible(epoch == epochs[-1])

    return vis.film(figure, show, epochs)


def _responses(raw: pd.DataFrame) -> pd.DataFrame:
    """Response against white kernels in dB, mean over the layers, at the modes of 32x32 pixels.

    Rows of (configuration, seed, epoch, fy, fx in cycles/pixel, db).
    """
    run = ["configuration", "seed", "epoch"]
    wide = raw.pivot(index=[*run, "layer"], columns=["dy", "dx"], values="value")
    mean = wide.div(wide[0, 0], axis=0).groupby(level=run).mean()
    mean = mean.reindex(pd.MultiIndex.from_frame(raw[run].drop_duplicates()))
    offsets = np.array(mean.columns.to_list())  # (13, 2)
    count = np.where(offsets.any(axis=1), 2, 1)  # (dy, dx) and (-dy, -dx) have one value
    f = np.arange(-16, 16) / 32
    modes = pd.MultiIndex.from_product([f, f], names=["fy", "fx"])
    waves = np.cos(2 * np.pi * offsets @ modes.to_frame().to_numpy().T)  # (13, 1024)
    power = pd.DataFrame(mean.to_numpy() * count @ waves, mean.index, modes)
    db = 10 * np.log10(power.stack(["fy", "fx"], future_stack=True))
    return db.rename("db").reset_index()


def ssr_comparison(ssr: pd.DataFrame) -> Figure:
    """The higher the dots, the more of its high frequencies a model lost: the corner first.

    Then all frequencies but zero, the published protocol, and the ratios to the baseline.
    """
    raw, folded = ssr[ssr.weights == "raw"], ssr[ssr.weights == "folded"]
    mean, first = raw[raw.layer == MEAN], raw[raw.published_ssr.notna()]
    hidden = {"raw weights": raw, "BatchNorm folded in": folded}
    hidden = {title: table[table.layer == HIDDEN] for title, table in hidden.items()}
    names = list(dict.fromkeys(ssr.configuration))
    others = [name for name in names if name != "baseline"] if vis.contrast(names) else []
    figure, (upper, lower) = vis.sections(2.7, 2.7)
    top, below = vis.panels(upper, 1 + bool(others)), vis.panels(lower, 2 + bool(others))
    _groups(top[0], {title: (t, "corner_ssr") for title, t in hidden.items()}, names)
    top[0].set(title="Corner, hidden layers alike", ylabel="fall of the share (corner SSR)")
    counted = {"all layers alike": (mean, "ssr"), "by energy": (raw[raw.layer == POOLED], "ssr")}
    _groups(below[0], counted, names)
    below[0].set(title="All but zero frequency", ylabel="fall of the share (SSR)")
    judged = is_published_setting(ssr.iloc[0], paper.CONFIGURATIONS[1])
    claimed = dict(zip(paper.CONFIGURATIONS, paper.SSR)) if judged else {}
    protocol = {"first convolution,\nfrom epoch 1 on": (first, "published_ssr")}
    _groups(below[1], protocol, names, claimed=claimed)
    below[1].set(title="Published protocol", ylabel="published SSR")
    if others:
        paired = {n: (t.assign(x=minus_baseline(t, "corner_ssr")), "x") for n, t in hidden.items()}
        _groups(top[1], paired, others, bar=True)
        top[1].set(title="Corner, minus baseline", ylabel="corner SSR, by seed")
        ratios = {"share": (mean, "share_ratio"), "energy\ngrowth": (mean, "energy_ratio")}
        ratios["published\nSSR"] = (first, "published_ratio")
        _groups(below[2], ratios, others, ratio=True)
        below[2].set(title="Suppression against the baseline")
        below[2].set_ylabel("ratio (above 1: more suppressed)")
        vis.log_axis(below[2].yaxis)
    title = "Suppression of high frequencies, from the initialisation on"
    return vis.finish(figure, title, ssr, DOTS)


def _groups(ax, groups: dict, names: list[str], ratio=False, bar=False, claimed=()) -> None:
    """A dot per seed and a line at their mean (of ratios, that of the logarithms), with `bar` its
    95 % interval, for every configuration in groups of (table, column); crosses: claimed values.

    Where there is room, means are told in numbers and the dots of a seed joined.
    """
    width, few = 0.84 / len(names), len(groups) < 4
    small = {"fontsize": 8, "ha": "center"}
    for position, (table, column) in enumerate(groups.values()):
        wide = table.pivot(index="configuration", columns="seed", values=column).reindex(names)
        middles = position - 0.42 + width * (np.arange(len(names)) + 0.5)
        places = middles[:, None] + width * np.linspace(-0.35, 0.35, wide.shape[1] + 2)[1:-1]
        if few:
            ax.plot(places, wide, color="0.75", linewidth=0.6, zorder=1)
        for name, x, dots in zip(names, middles, places):
            style, values = vis.look(name), wide.loc[name]
            style |= {"linestyle": "", "markersize": 4 if width > 0.1 else 3, "alpha": 0.8}
            mean, *ends = interval(values, ratio)
            if np.isnan(mean):
                place = {"transform": ax.get_xaxis_transform(), "rotation": 90}
                ax.text(x, 0.05, "not defined", **small, **place)
                continue
            ax.plot(dots, values, label=configurations.label(name), **style)
            ends_of_line = [x - 0.42 * width, x + 0.42 * width]
            ax.plot(ends_of_line, [mean, mean], color=style["color"], linewidth=2)
            if name in claimed:
                ax.plot(x, claimed[name], "kx", markersize=8, label=paper.SOURCE)
            if bar:
                ax.plot([x, x], ends, color="0.2", linewidth=1, marker="_", markersize=6)
            if few and len(names) < 5 and len(names) * len(groups) < 9:
                top = np.nanmax([*values, *(ends if bar else [])])
                text = Formatter.fix_minus(f"{mean:.2f}")
                ax.annotate(text, (x, top), (0, 3), textcoords="offset points", **small)
    ax.axhline(1 if ratio else 0, color="0.3", linewidth=1, zorder=1)
    ax.set_xticks(range(len(groups)), groups)
    ax.set(xlim=(-0.5, len(groups) - 0.5), yscale="log" if ratio else "linear")
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.12)  # room for the numbers


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
        groups = {n: (t, "corner_final") for n, t in paired.groupby("layer", sort=False)}
        _groups(axes[0], groups, others, bar=len(others) < 4)
        of = paired[paired.configuration == other].corner_final
        text = f"less corner than its baseline in {(of < 0).sum()} of {len(of)} (layers x seeds)"
        axes[0].set_title(f"{configurations.label(other)}: {text}")
        axes[0].set_ylabel("corner share,\nminus baseline")
    for ax in axes:
        ax.set_xticks(range(len(names)), _short(names), rotation=45, ha="right", fontsize=9)
        for place in range(1, len(names), STAGE):
            ax.axvline(place - 0.5, color="0.6", linewidth=1)
        ax.grid(axis="x", visible=False)
    return vis.finish(figure, "The corner of every layer after training, raw weights", ssr, DOTS)


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
        ax.locator_params(**vis.EPOCHS)
        if "loss" in name:  # one far above that at the start would make the others unreadable
            ax.set_yscale("log")
            top = 1.5 * rows[rows.epoch <= 1][name].median()
            if rows[name].max() > top:
                ax.set_ylim(top=top)
                ax.set_title(f"clipped: up to {rows[name].max():.3g}", fontsize=9)
            vis.log_axis(ax.yaxis)
    title = "Training (training images augmented, dropout active; epoch 0: initialisation)"
    return vis.finish(figure, title, history)


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
        name = configurations.label(usual).split()[0]
        part.supxlabel(f"strength of {name} (0: baseline)", fontsize=10)
        for ax, (column, text) in zip(vis.panels(part, 3), columns.items()):
            vis.curves(ax, table, "strength", column, **vis.look(usual))
            ax.set_ylabel(text)
            if family != "dropout":
                ax.set_xscale("symlog", linthresh=table.strength[table.strength > 0].min())
    return vis.finish(figure, "Dose and response: what the strength does", dose)


def corner_over_steps(spectra: dict[str, pd.DataFrame]) -> Figure:
    """Below zero, L2 has pushed the corner further down than its baseline has.

    Args:
        spectra: spectrum tables, up to four by name, with a baseline and another.
    """
    figure, (part,) = vis.sections(3.4)
    ax, steps = part.subplots(), set()
    for (name, table), *look in zip(spectra.items(), SCALE_COLORS, ["-", "--", "-.", ":"], "osD^"):
        style = dict(zip(("color", "linestyle", "marker"), look))
        corner = _corner(_levels(table, hidden=True))
        rows = vis.differences(corner, "db", ["step"])
        rows = rows[rows.configuration == vis.contrast(corner.configuration)]
        vis.curves(ax, rows, "step", "db", f"{name}, n = {rows.seed.nunique()}", **style)
        steps |= set(rows.step)
    _finish_steps(ax, steps, "L2 minus baseline (dB)")
    both = pd.concat(spectra.values()).drop(columns="seed")
    title = r"Corner ($\sqrt{2}/3$) of the hidden layers, L2 minus baseline; thin: each seed"
    return vis.finish(figure, title, both)


def _levels(spectra: pd.DataFrame, hidden: bool = False) -> pd.DataFrame:
    """Density of raw kernels against white ones in dB, by run, layer, step and radius.

    With `hidden`, of the mean over all layers but the first, each of which counts once.
    """
    raw = spectra[spectra.weights == "raw"]
    if hidden:
        key = ["configuration", "seed", "step", "epoch", "radius", "multiplicity"]
        raw = raw[raw.layer != raw.layer.iloc[0]]
        raw = raw.groupby(key, sort=False).share.mean().reset_index()
    white = raw.multiplicity / raw.drop_duplicates("radius").multiplicity.sum()
    return raw.assign(db=10 * np.log10(raw.share / white))


def _corner(levels: pd.DataFrame) -> pd.DataFrame:
    return levels[levels.radius == levels.radius.max()]


def _by_epoch(levels: pd.DataFrame) -> dict:
    whole = levels[levels.epoch % 1 == 0].astype({"epoch": int})
    return vis.means(whole, "radius", "epoch", "db")


def _epoch_maps(part, grids: dict, label: str) -> list:
    """Heat maps epochs x frequency, high frequencies at the top."""
    axes = vis.map_panels(part, grids, vis.heat_map, label, "epoch", "frequency (cycles/pixel)")
    for ax, grid in zip(axes, grids.values()):
        vis.numbers(ax, grid, "{:+.1f} dB")
        ax.set_yticks(range(3), RADIUS_LABELS)
        ax.locator_params(**vis.EPOCHS)
    return axes


def _finish_steps(ax, steps, label: str) -> None:
    ax.axhline(0, color="0.3", linewidth=1)
    vis.step_axis(ax, steps)
    ax.set(xlabel="training step (logarithmic; 0: initialisation)", ylabel=label)


def _short(layers: list[str]) -> list[str]:
    return [name.replace("blocks.", "").replace(".conv", ".") for name in layers]
