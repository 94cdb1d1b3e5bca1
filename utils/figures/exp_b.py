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
from utils.figures.exp_b_ssr import STAGE, block_ticks, layer_axis
from utils.figures.frequency_maps import frequency_figure
from utils.frequency import db_against_white, response_from_autocorrelation

RUN = ["configuration", "seed"]
RADIUS_LABELS = ["0", "1/3", r"$\sqrt{2}/3$"]  # of a 3x3 kernel, cycles/pixel
COLORS = ["#56B4E9", "#D55E00", "#000000", "#CC79A7"]  # of `corner_over_steps`
STEPS = "training step (logarithmic; 0: initialisation)"
QUANTITIES = {  # of `training`
    "test_accuracy": "test accuracy (%)",
    "train_accuracy": "training accuracy (%)",
    "test_loss": "test loss (nats)",
    "train_loss": "training loss (nats)",
    "low_cue_accuracy": "accuracy, low cue only (%)",
    "high_cue_accuracy": "accuracy, high cue only (%)",
}


@vis.styled
def spectrum_evolution(spectra: pd.DataFrame, history: pd.DataFrame) -> Figure:
    """The darker the top row and the lower its curve below, the more low-pass are the kernels."""
    levels = _levels(spectra, hidden=True)
    accuracy = history.groupby(RUN).test_accuracy.last().groupby("configuration").mean().dropna()
    percent = {configurations.label(name): f", {x:.1f} %" for name, x in accuracy.items()}
    rows = vis.heat_map_rows(spectra.configuration.nunique())
    figure, (top, bottom) = vis.subfigures(2 * rows, 2.7)
    cutoff = spectra.cutoff.iloc[0]
    place = (levels.radius.unique() <= cutoff).sum() - 0.5
    for ax in _epoch_maps(top, levels, "against white (dB)", percent):
        ax.axhline(place, color="black", linestyle=":", linewidth=1)
        style = {"va": "bottom", "fontsize": 8}
        ax.annotate(f"cutoff {cutoff:g}", (0.02, place), xycoords=vis.ACROSS, **style)
    highest = levels[levels.radius == levels.radius.max()]
    paired = vis.differences(highest, "db", ["step"])
    axes = vis.panels(bottom, 1 + (len(paired) > 0))
    labels = (r"at $\sqrt{2}/3$, against white (dB)", "minus baseline (dB)")
    for ax, rows, text in zip(axes, (highest, paired), labels):
        vis.model_curves(ax, rows, "step", "db", xlabel=STEPS, ylabel=text)
        ax.axhline(0, **vis.ZERO)
        vis.step_axis(ax, rows.step)
    title = "Spectrum of the kernels (raw weights, mean over hidden layers; %: test accuracy)"
    return vis.add_title_and_caption(figure, title, spectra)


@vis.styled
def first_layer(spectra: pd.DataFrame) -> Figure:
    """The first convolution alone, as arXiv:2512.22192 shows it: its SSR is the relative decrease of
    the lower curves from epoch 1 to the end."""
    levels = _levels(spectra[spectra.layer == spectra.layer.iloc[0]])
    levels["db"] -= levels.groupby([*RUN, "step"]).db.transform("first")  # of radius 0
    levels = levels[levels.radius > 0]
    rows = vis.heat_map_rows(spectra.configuration.nunique())
    figure, (top, bottom) = vis.subfigures(1.7 * rows, 2.5)
    _epoch_maps(top, levels, "against zero (dB)", one_sided=True)
    high = levels[levels.epoch % 1 == 0]
    high = high.assign(h=10 ** (high.db / 10)).groupby([*RUN, "epoch"], sort=False).h.sum()
    ax = bottom.subplots()
    label = "both rows added\n(ratio to zero frequency)"
    vis.model_curves(ax, high.reset_index(), "epoch", "h", xlabel="epoch", ylabel=label)
    ax.axvline(1, color="0.4", linestyle=":", linewidth=1)
    ax.text(1, 0.93, " published SSR: from here on", transform=ax.get_xaxis_transform())
    vis.log_axis(ax.yaxis)
    ax.locator_params(**vis.EPOCHS)
    title = "The first convolution relative to zero frequency, raw weights"
    return vis.add_title_and_caption(figure, title, spectra)


@vis.styled
def layer_evolution(spectra: pd.DataFrame) -> Figure:
    """Where and when L2 has less of the highest frequency than the baseline: blue, above."""
    highest = _highest(spectra)
    layers = list(dict.fromkeys(highest.layer))[::-1]
    highest["place"] = highest.layer.map(layers.index)
    grids, change = vis.mean_grids(highest, "place", "step", "db")
    shown = [({}, change)] * bool(change) + [(grids, {})]
    figure, parts = vis.subfigures(*[3.6] * bool(change), 3.2 * vis.heat_map_rows(len(grids)))
    labels = ("against white (dB)", vis.heat_map, STEPS, "3x3 convolution, from input to output")
    for part, maps in zip(parts, shown):
        axes = vis.heat_map_grid(part, *maps, *labels, one_sided=True)
        for ax in axes:
            vis.step_axis(ax, highest.step, every=1 if len(axes) == 1 else 2)
            for place in range(STAGE, len(layers), STAGE):  # from the last layer on
                ax.axhline(place - 0.5, color="white", linewidth=2)
                if len(axes) == 1:
                    text = f" stage {(len(layers) - place) // STAGE + 1}"
                    style = {"xycoords": vis.ACROSS, "va": "top", "fontsize": 9}
                    ax.annotate(text, (0, place - 0.6), **style)
            ax.set_yticks(*block_ticks(layers), fontsize=8)
    title = "The highest frequency of every layer during training, raw weights"
    return vis.add_title_and_caption(figure, title, spectra, "mean")


@vis.styled
def response(correlation: pd.DataFrame) -> Figure:
    """Training changes the diagonals: see the circles, while the ends of the axes hardly change."""
    raw = correlation[(correlation.weights == "raw") & (correlation.epoch > 0)]
    hidden = raw[raw.layer != raw.layer.iloc[0]]
    wide = hidden.pivot(index=[*RUN, "epoch", "layer"], columns=["dy", "dx"], values="value")
    relative = wide.div(wide[0, 0], axis=0).groupby([*RUN, "epoch"]).mean()
    relative = relative.reindex(pd.MultiIndex.from_frame(hidden[[*RUN, "epoch"]]).unique())
    offsets, f, tables = range(-2, 3), np.arange(-16, 16) / 32, []
    for key, mean in relative.iterrows():
        half = mean.unstack().reindex(offsets, columns=offsets).to_numpy()
        whole = np.where(np.isnan(half), half[::-1, ::-1], half)  # (dy, dx) is as (-dy, -dx)
        db = db_against_white(response_from_autocorrelation(whole, 32), 1)
        table = pd.DataFrame(db, pd.Index(f, name="fy"), pd.Index(f, name="fx")).stack()
        names = dict(zip(relative.index.names, key))
        tables.append(table.rename("db").reset_index().assign(**names))
    figure = frequency_figure(pd.concat(tables), "response")
    conditions = "raw weights, mean over hidden layers; circles: highest frequency"
    return vis.add_title_and_caption(figure, f"Response of the kernels ({conditions})", correlation)


@vis.styled
def evolution(spectra: pd.DataFrame) -> FuncAnimation:
    """How much of the highest frequency every layer keeps, from step to step."""
    highest = _highest(spectra)
    layers = list(dict.fromkeys(highest.layer))
    percent = 100 * highest.groupby(["configuration", "step", "layer"], sort=False).share.mean()
    steps = vis.logarithmic_steps(highest.step)
    figure, (part,) = vis.subfigures(3.6)
    ax, lines = part.subplots(), {}
    for name in dict.fromkeys(highest.configuration):
        style = vis.line_style(name) | {"label": configurations.label(name)}
        (lines[name],) = ax.plot(percent[name, steps[-1]].reindex(layers).to_numpy(), **style)
    layer_axis([ax], layers)
    ax.set_ylim(top=1.05 * percent.max())
    vis.add_title_and_caption(figure, f"Step {steps[-1]:,}", spectra, "mean")

    def show(step):
        figure.legends[0].set_title(f"Step {step:,}")
        for name, line in lines.items():
            line.set_ydata(percent[name, step].reindex(layers))

    return vis.animation(figure, show, steps)


@vis.styled
def training(history: pd.DataFrame) -> Figure:
    """How far each model got, on test images and on the augmented training images."""
    quantities = {name: text for name, text in QUANTITIES.items() if name in history}
    figure, (part,) = vis.subfigures(2.4 * len(quantities) / 2)
    for ax, (name, text) in zip(vis.panels(part, len(quantities), 2), quantities.items()):
        rows = history[history[name].notna()]
        vis.model_curves(ax, rows, "epoch", name, xlabel="epoch", ylabel=text)
        if name == "test_accuracy" and vis.at_published_recipe(history):
            for model, value in zip(paper.CONFIGURATIONS, paper.CLEAN_ACCURACY):
                if model in set(rows.configuration):
                    vis.crosses(ax, history.epoch.max(), value, vis.line_style(model)["color"])
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
    """Below zero, L2 has pushed the highest frequency further down than its baseline has, in up to
    four spectrum tables by name."""
    figure, (part,) = vis.subfigures(3.4)
    ax = part.subplots()
    for (name, table), *look in zip(spectra.items(), COLORS, ["-", "--", "-.", ":"], "osD^"):
        rows = vis.differences(_highest(table, hidden=True), "db", ["step"])
        rows = rows[rows.configuration == vis.compared_configuration(table.configuration)]
        text = f"{name}, n = {rows.seed.nunique()}, learning rate 0 at step {rows.step.max():,.0f}"
        style = dict(zip(("color", "linestyle", "marker"), look))
        vis.curves(ax, rows, "step", "db", text, **style)
    both = pd.concat(spectra.values()).drop(columns="seed")
    ax.axhline(0, **vis.ZERO)
    vis.step_axis(ax, both.step)
    ax.set(xlabel=STEPS, ylabel="L2 minus baseline (dB)")
    title = r"Highest frequency ($\sqrt{2}/3$), hidden layers, L2 minus baseline; thin: each seed"
    return vis.add_title_and_caption(figure, title, both)


def _levels(spectra: pd.DataFrame, hidden: bool = False) -> pd.DataFrame:
    """Density of raw kernels against white ones in dB, by layer, or of the mean over hidden ones."""
    raw = spectra[spectra.weights == "raw"]
    if hidden:
        key = [*RUN, "step", "epoch", "radius", "multiplicity"]
        raw = raw[raw.layer != raw.layer.iloc[0]]
        raw = raw.groupby(key, sort=False).share.mean().reset_index()
    white = raw.multiplicity / raw.drop_duplicates("radius").multiplicity.sum()
    return raw.assign(db=db_against_white(raw.share, white))


def _highest(spectra: pd.DataFrame, hidden: bool = False) -> pd.DataFrame:
    levels = _levels(spectra, hidden)
    return levels[levels.radius == levels.radius.max()].copy()


def _epoch_maps(
    part, levels: pd.DataFrame, label: str, endings: dict | None = None, one_sided: bool = False
) -> list:
    """Heat maps epochs x frequency, high frequencies at the top, by configuration with an ending."""
    whole = levels[levels.epoch % 1 == 0].astype({"epoch": int})
    grids, change = vis.mean_grids(whole, "radius", "epoch", "db")
    grids = {title + (endings or {}).get(title, ""): grid for title, grid in grids.items()}
    labels = label, vis.heat_map, "epoch", "frequency (cycles/pixel)"
    axes = vis.heat_map_grid(part, grids, change, *labels, one_sided)
    for ax, grid in zip(axes, [*grids.values(), *change.values()]):
        vis.annotate_last_column(ax, grid, "{:+.1f} dB")
        ax.set_yticks(range(len(grid)), RADIUS_LABELS[-len(grid) :])
        ax.locator_params(**vis.EPOCHS)
    return axes
