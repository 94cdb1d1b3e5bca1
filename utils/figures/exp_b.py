"""The figures of experiment B. The first sentence of a function says what to see.

"Highest" is the highest frequency of a 3x3 kernel: radius sqrt(2)/3 cycles/pixel, on its diagonals.
"""

import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from utils import configurations
from utils import visualizer as vis
from utils.evidence import paper
from utils.figures.exp_b_ssr import STAGE, WHITE, block_ticks, layer_axis
from utils.figures.frequency_maps import frequency_figure
from utils.frequency import db_against_white, response_from_autocorrelation

RADIUS_LABELS = {0: "0", 1: "1/3", 2: r"$\sqrt{2}/3$"}  # of a 3x3 kernel, cycles/pixel
SCALE_COLORS = ["#56B4E9", "#D55E00", "#000000", "#CC79A7"]
STEPS = "training step (logarithmic; 0: initialisation)"


@vis.styled
def spectrum_evolution(spectra: pd.DataFrame, history: pd.DataFrame) -> Figure:
    """The darker the top row and the lower its curve below, the more low-pass are the kernels.

    Density against white kernels, raw weights, mean over the hidden layers.
    """
    levels = _levels(spectra, hidden=True)
    done = history.groupby(["configuration", "seed"], sort=False).test_accuracy.last()
    done = done.groupby(level=0, sort=False).mean().dropna()
    percent = {configurations.label(n): f", {x:.1f} %" for n, x in done.items()}
    grids, change = _by_epoch(levels)
    grids = {title + percent.get(title, ""): grid for title, grid in grids.items()}
    figure, (top, bottom) = vis.subfigures(2 * vis.heat_map_rows(len(grids)), 2.7)
    cutoff = spectra.cutoff.iloc[0]
    place = (levels.drop_duplicates("radius").radius <= cutoff).sum() - 0.5
    for ax in _epoch_maps(top, grids, change, "against white (dB)", vis.two_sided(grids)):
        ax.axhline(place, color="black", linestyle=":", linewidth=1)
        text = {"transform": ax.get_yaxis_transform(), "va": "bottom", "fontsize": 8}
        ax.text(0.02, place, f"cutoff {cutoff:g}", **text)
    highest = _highest(levels)
    paired = vis.differences(highest, "db", ["step"])
    axes = vis.panels(bottom, 1 + (len(paired) > 0))
    labels = (r"at $\sqrt{2}/3$, against white (dB)", "minus baseline (dB)")
    for ax, rows, text in zip(axes, (highest, paired), labels):
        vis.model_curves(ax, rows, "step", "db")
        _finish_steps(ax, rows.step, text)
    title = "Spectrum of the kernels (raw weights, mean over hidden layers; %: test accuracy)"
    return vis.add_title_and_caption(figure, title, spectra)


@vis.styled
def first_layer(spectra: pd.DataFrame) -> Figure:
    """The first convolution alone, relative to zero frequency, as arXiv:2512.22192 shows it.

    Its SSR is the relative decrease of the lower curves from epoch 1 to the end.
    """
    levels = _levels(spectra[spectra.layer == spectra.layer.iloc[0]])
    run = ["configuration", "seed"]
    levels["db"] -= levels.groupby([*run, "step"]).db.transform("first")  # of radius 0
    levels = levels[levels.radius > 0]
    grids, change = _by_epoch(levels)
    figure, (top, bottom) = vis.subfigures(1.7 * vis.heat_map_rows(len(grids)), 2.5)
    _epoch_maps(top, grids, change, "against zero (dB)", vis.one_sided(grids))
    high = levels[levels.epoch % 1 == 0]
    high = high.assign(h=10 ** (high.db / 10)).groupby([*run, "epoch"], sort=False).h.sum()
    ax = bottom.subplots()
    vis.model_curves(ax, high.reset_index(), "epoch", "h")
    ax.axvline(1, color="0.4", linestyle=":", linewidth=1)
    ax.text(1, 0.93, " published SSR: from here on", transform=ax.get_xaxis_transform())
    ax.set(xlabel="epoch", ylabel="both rows added\n(ratio to zero frequency)")
    vis.log_axis(ax.yaxis)
    ax.locator_params(**vis.EPOCHS)
    title = "The first convolution relative to zero frequency, raw weights"
    return vis.add_title_and_caption(figure, title, spectra)


@vis.styled
def layer_evolution(spectra: pd.DataFrame) -> Figure:
    """Where and when L2 differs from the baseline: layers from input (top) to output.

    Above the difference, blue where L2 has less of the highest frequency; below the levels.
    """
    highest = _highest(_levels(spectra))
    layers = list(dict.fromkeys(highest.layer))[::-1]
    grids = vis.mean_grids(highest, "layer", "step", "db")
    change = vis.difference_grid(highest, "layer", "step", "db")
    grids = {title: grid.reindex(layers) for title, grid in grids.items()}
    change = {title: grid.reindex(layers) for title, grid in change.items()}
    rows = vis.heat_map_rows(len(grids))
    figure, parts = vis.subfigures(*[3.6] * bool(change), 3.2 * rows)
    labels = (STEPS, "3x3 convolution, from input to output")
    axes = {}
    for part, shown, text, scale in (
        (parts[0], change, "difference (dB)", vis.two_sided),
        (parts[-1], grids, "against white (dB)", vis.one_sided),
    ):
        if shown:
            groups = [(shown, text, scale(shown))]
            axes[text] = vis.heat_map_grid(part, groups, vis.heat_map, *labels)
    for text, group in axes.items():
        for ax in group:
            wide = len(group) == 1
            vis.step_axis(ax, highest.step, every=1 if wide else 2)
            for place in range(STAGE, len(layers), STAGE):  # from the last layer on
                ax.axhline(place - 0.5, color="white", linewidth=2)
                if wide:
                    style = {"transform": ax.get_yaxis_transform(), "va": "top"}
                    name = f" stage {(len(layers) - place) // STAGE + 1}"
                    ax.text(0, place - 0.6, name, fontsize=9, **style)
            ax.set_yticks(*block_ticks(layers), fontsize=8)
    title = "The highest frequency of every layer during training, raw weights"
    return vis.add_title_and_caption(figure, title, spectra, "mean")


@vis.styled
def response(correlation: pd.DataFrame) -> Figure:
    """Training changes the diagonals: see the circles, while the ends of the axes hardly change.

    Power response of the kernels against white ones, raw weights, mean over the hidden layers.
    """
    raw = correlation[(correlation.weights == "raw") & (correlation.epoch > 0)]
    hidden = raw[raw.layer != raw.layer.iloc[0]]
    figure = frequency_figure(_responses(hidden), "response")
    title = (
        "Response of the kernels (raw weights, mean over hidden layers; circles: highest frequency)"
    )
    return vis.add_title_and_caption(figure, title, correlation)


def _responses(raw: pd.DataFrame) -> pd.DataFrame:
    """Response against white kernels in dB, mean over the layers, at the modes of 32x32 pixels.

    Rows of (configuration, seed, epoch, fy, fx in cycles/pixel, db).
    """
    run, tables = ["configuration", "seed", "epoch"], []
    f = np.arange(-16, 16) / 32
    for key, rows in raw.groupby(run, sort=False):
        wide = rows.pivot(index="layer", columns=["dy", "dx"], values="value")
        mean = wide.div(wide[0, 0], axis=0).mean()
        correlation = np.zeros((5, 5))
        for (dy, dx), value in mean.items():  # (dy, dx) and (-dy, -dx) have one value
            correlation[2 + dy, 2 + dx] = correlation[2 - dy, 2 - dx] = value
        db = db_against_white(response_from_autocorrelation(correlation, 32), 1)
        table = pd.DataFrame(db, pd.Index(f, name="fy"), pd.Index(f, name="fx")).stack()
        tables.append(table.rename("db").reset_index().assign(**dict(zip(run, key))))
    return pd.concat(tables, ignore_index=True)


@vis.styled
def evolution(spectra: pd.DataFrame) -> FuncAnimation:
    """Training as an animation by logarithmic steps: how much of the highest frequency every
    layer keeps."""
    highest = _highest(_levels(spectra))
    layers = list(dict.fromkeys(highest.layer))
    highest = highest.assign(place=highest.layer.map(layers.index), percent=100 * highest.share)
    mean = highest.groupby(["configuration", "step", "place"], sort=False).percent.mean()
    steps = vis.logarithmic_steps(highest.step)
    figure, (part,) = vis.subfigures(3.6)
    ax, lines = part.subplots(), {}
    for name in dict.fromkeys(highest.configuration):
        style = vis.line_style(name) | {"label": configurations.label(name)}
        (lines[name],) = ax.plot(range(len(layers)), mean[name, steps[-1]], **style)
    ax.axhline(100 * WHITE, color="0.5", linewidth=1, linestyle=":", label="white kernels")
    ax.set(ylim=(0, 1.05 * mean.max()), ylabel="share of the\nhighest frequency (%)")
    layer_axis([ax], layers)
    vis.add_title_and_caption(figure, f"Step {steps[-1]:,}", spectra, "mean")

    def show(step):
        figure.legends[0].set_title(f"Step {step:,}")
        for name, line in lines.items():
            line.set_ydata(mean[name, step].reindex(range(len(layers))))

    return vis.animation(figure, show, steps)


@vis.styled
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
    figure, (part,) = vis.subfigures(2.4 * len(quantities) / 2)
    for ax, (name, text) in zip(vis.panels(part, len(quantities), 2), quantities.items()):
        rows = history[history[name].notna()]
        vis.model_curves(ax, rows, "epoch", name)
        if name == "test_accuracy" and vis.at_published_recipe(history):
            for model, value in zip(paper.CONFIGURATIONS, paper.CLEAN_ACCURACY):
                if model in set(rows.configuration):
                    color = vis.line_style(model)["color"]
                    vis.crosses(ax, history.epoch.max(), value, color)
        ax.set(ylabel=text, xlabel="epoch")
        ax.locator_params(**vis.EPOCHS)
        if "loss" in name:  # one far above that at the start would make the others unreadable
            ax.set_yscale("log")
            top = 1.5 * rows[rows.epoch <= 1][name].median()
            if rows[name].max() > top:
                ax.set_ylim(top=top)
                ax.set_title(f"clipped: up to {rows[name].max():.3g}", fontsize=9)
            vis.log_axis(ax.yaxis)
    active = ", dropout active" if history.configuration.str.contains("dropout").any() else ""
    title = f"Training (training images augmented{active}; epoch 0: initialisation)"
    return vis.add_title_and_caption(figure, title, history)


@vis.styled
def corner_over_steps(spectra: dict[str, pd.DataFrame]) -> Figure:
    """Below zero, L2 has pushed the highest frequency further down than its baseline has.

    Args:
        spectra: spectrum tables, up to four by name, with a baseline and another.
    """
    figure, (part,) = vis.subfigures(3.4)
    ax, steps = part.subplots(), set()
    looks = zip(spectra.items(), SCALE_COLORS, ["-", "--", "-.", ":"], "osD^")
    for (name, table), *look in looks:
        style = dict(zip(("color", "linestyle", "marker"), look))
        highest = _highest(_levels(table, hidden=True))
        rows = vis.differences(highest, "db", ["step"])
        rows = rows[rows.configuration == vis.compared_configuration(highest.configuration)]
        text = f"{name}, n = {rows.seed.nunique()}, learning rate 0 at step {rows.step.max():,.0f}"
        vis.curves(ax, rows, "step", "db", text, **style)
        steps |= set(rows.step)
    _finish_steps(ax, steps, "L2 minus baseline (dB)")
    both = pd.concat(spectra.values()).drop(columns="seed")
    title = r"Highest frequency ($\sqrt{2}/3$), hidden layers, L2 minus baseline; thin: each seed"
    return vis.add_title_and_caption(figure, title, both)


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
    return raw.assign(db=db_against_white(raw.share, white))


def _highest(levels: pd.DataFrame) -> pd.DataFrame:
    return levels[levels.radius == levels.radius.max()]


def _by_epoch(levels: pd.DataFrame) -> tuple[dict, dict]:
    """Grids radius x epoch of every configuration, and of the difference to the baseline."""
    whole = levels[levels.epoch % 1 == 0].astype({"epoch": int})
    asked = (whole, "radius", "epoch", "db")
    return vis.mean_grids(*asked), vis.difference_grid(*asked)


def _epoch_maps(part, grids: dict, change: dict, label: str, scale: tuple) -> list:
    """Heat maps epochs x frequency, high frequencies at the top."""
    groups = [(grids, label, scale)]
    groups.append((change, "difference (dB)", vis.two_sided(change)))
    axes = vis.heat_map_grid(part, groups, vis.heat_map, "epoch", "frequency (cycles/pixel)")
    for ax, grid in zip(axes, [*grids.values(), *change.values()]):
        vis.annotate_last_column(ax, grid, "{:+.1f} dB")
        ax.set_yticks(range(len(grid)), [*RADIUS_LABELS.values()][-len(grid) :])
        ax.locator_params(**vis.EPOCHS)
    return axes


def _finish_steps(ax, steps, label: str) -> None:
    ax.axhline(0, color="0.3", linewidth=1)
    vis.step_axis(ax, steps)
    ax.set(xlabel=STEPS, ylabel=label)
