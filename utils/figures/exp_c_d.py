"""The figures of experiments C and D. The first sentence of a function says what to see."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils import configurations
from utils import visualizer as vis
from utils.evidence import paper
from utils.figures.frequency_maps import frequency_figure
from utils.frequency import db_against_white

LEVELS = {  # what the level of a corruption means, whether a lower one is worse, and in short
    "Gaussian noise": ("sigma (pixel units)", False, "sigma {:g}"),
    "band noise": ("centre of the band (cycles/pixel)", False, "around {:g}"),
    "low resolution, bilinear": ("pixels along an edge", True, "{:g} pixels"),
    "low resolution, antialiased": ("pixels along an edge", True, "{:g} pixels"),
    "Gaussian blur": ("size of the kernel (pixels)", False, "{:g} pixels"),
    "ideal low-pass": ("cutoff (cycles/pixel)", True, "cutoff {:g}"),
    "ideal high-pass": ("cutoff (cycles/pixel)", False, "cutoff {:g}"),
}
CLAIMED = {"Gaussian noise": 0.05, "low resolution, bilinear": 24}  # arXiv:2512.22192
CHANCE = 10  # percent, of ten classes
TRAINED = 70  # percent on clean images; below, CIFAR-10 is hardly learned


@vis.styled
def robustness(
    accuracy: pd.DataFrame, leads: pd.DataFrame, corruptions: list[str], title: str
) -> Figure:
    """Left, how accuracy falls; right, the difference to the baseline of the same seed: robustness
    where it lies above its dotted line, that on clean images."""
    sets = list(dict.fromkeys(accuracy.images))
    published = paper.ACCURACY if vis.at_published_recipe(accuracy) else {}
    figure, parts = vis.subfigures(*[2.8] * len(corruptions))
    for part, corruption in zip(parts, corruptions):
        text, reverse, _ = LEVELS[corruption]
        if len(corruptions) > 1:
            part.suptitle(corruption, fontsize=11)
        part.supxlabel(f"{text}, falling" if reverse else text, fontsize=10)
        axes = vis.panels(part, len(sets) + (len(leads) > 0), sharex=True)
        for ax, images in zip(axes, sets):
            _accuracies(ax, accuracy[accuracy.images == images], corruption)
            ax.set_title("test images" if images == "test" else f"{images} only")
        axes[0].set_ylabel("accuracy (%)")
        if len(leads):
            _differences(axes[-1], leads[leads.images == "test"], corruption)
        levels = published.get(corruption, {})
        for name, values in zip(paper.CONFIGURATIONS, np.transpose([*levels.values()])):
            if name in set(accuracy.configuration):
                color, baseline = vis.line_style(name)["color"], next(zip(*levels.values()))
                vis.crosses(axes[0], list(levels), values, color)
                if name != "baseline" and len(leads):
                    vis.crosses(axes[-1], list(levels), np.subtract(values, baseline), color)
        for ax in axes if corruption in CLAIMED else ():
            ax.axvline(CLAIMED[corruption], **vis.BAND, label="claimed point")
        if reverse:
            axes[0].invert_xaxis()
    return vis.add_title_and_caption(figure, title, accuracy, vis.INTERVALS)


def _accuracies(ax, accuracy: pd.DataFrame, corruption: str) -> None:
    """Accuracy by level; dotted: on clean images."""
    vis.model_curves(ax, accuracy[accuracy.corruption == corruption], "level", "accuracy")
    clean = accuracy[accuracy.corruption == "none"].groupby("configuration").accuracy.mean()
    vis.clean_lines(ax, clean)
    ax.axhline(CHANCE, color="0.6", linewidth=1, label=f"chance, {CHANCE} %")
    ax.set_ylim(0, min(100, ax.get_ylim()[1]))
    if clean.max() < TRAINED and accuracy.images.iloc[0] == "test":
        text = f"at most {clean.max():.0f} % on clean images: too little training to tell"
        style = {"ha": "center", "fontsize": 9, "color": "#A00000"}
        ax.annotate(text, (0.5, 0.02), xycoords="axes fraction", **style)


def _differences(ax, leads: pd.DataFrame, corruption: str) -> None:
    """Difference to the baseline by level, with 95 % intervals; dotted: on clean images."""
    ax.axhline(0, **vis.ZERO)
    groups = leads.groupby(["configuration", "comparison"], sort=False)
    shown = leads[leads.corruption == corruption]
    for number, ((name, comparison), run) in enumerate(groups):
        style, label = vis.line_style(name), configurations.label(name)
        if comparison != "last epoch":
            style = {"color": "0.35", "linestyle": ":", "marker": "D"}
            label = f"{label}, {comparison}"
        rows = run[run.corruption == corruption]
        vis.curves(ax, rows, "level", "lead", label, **style)
        shift = 0.008 * np.ptp(shown.level) * (number - (len(groups) - 1) / 2)
        vis.interval_bars(ax, rows, "level", "lead", style["color"], shift)
        clean = run[run.corruption == "none"].lead.mean()
        ax.axhline(clean, color=style["color"], linestyle=":", linewidth=1)
    low, high = shown.lead.min(), shown.lead.max()
    room = max(high - low, 2) / 2
    vis.cut_bars(ax, min(low, 0) - room, max(high, 0) + room)
    ax.set(title="minus baseline", ylabel="difference (points)")


@vis.styled
def fourier_heatmap(heatmap: pd.DataFrame) -> Figure:
    """The frequencies that a model cannot bear: dark where one Fourier mode costs accuracy.

    In the titles the standard error of a mode over seeds, root mean square over the modes.
    """
    excess = _both_halves(heatmap.assign(excess=heatmap.error - heatmap.clean_error))
    maps = vis.mean_grids(excess, "fy", "fx", "excess")
    paired, errors = vis.differences(excess, "excess", ["fy", "fx"]), {}
    for table, ending in ((excess, ""), (paired, " minus baseline")):
        modes = table.groupby(["configuration", "fy", "fx"]).excess
        mean = (modes.sem() ** 2).groupby("configuration").mean() ** 0.5  # NaN of one seed
        errors |= {configurations.label(name) + ending: x for name, x in mean.dropna().items()}
    said = {title: f"{title}, ± {error:.1f}" for title, error in errors.items()}
    maps = [{said.get(title, title): grid for title, grid in grids.items()} for grids in maps]
    count = len(maps[0])
    figure, (part,) = vis.subfigures(3 if count < 3 else 2 * vis.heat_map_rows(count))
    labels = "error minus clean (points)", vis.frequency_map, *vis.FREQUENCIES
    vis.heat_map_grid(part, *maps, *labels, one_sided=True)
    counts = " or ".join(f"{n:,}" for n in sorted(set(heatmap.n_images)))
    says = f"mean, each on {counts} test images of its own"
    says += "; ±: standard error of a mode" if errors else ""
    title = f"Error under one Fourier mode of norm {heatmap.norm.iloc[0]:g} per image"
    return vis.add_title_and_caption(figure, title, heatmap.drop(columns="n_images"), says)


@vis.styled
def sensitivity(maps: pd.DataFrame) -> Figure:
    """On which frequencies the output depends: compare with the response of the kernels of B."""
    table = _both_halves(maps)
    mean = table.groupby(["configuration", "seed", "epoch"]).power.transform("mean")
    figure = frequency_figure(table.assign(db=db_against_white(table.power, mean)), "sensitivity")
    title = "Input sensitivity against white (circles: highest frequency of 3x3 kernels)"
    return vis.add_title_and_caption(figure, title, maps)


def _both_halves(modes: pd.DataFrame) -> pd.DataFrame:
    """Rows of (u, v), and of (-u, -v) with the same values; fy and fx in cycles/pixel."""
    size = 2 * modes.v.max()
    both = pd.concat([modes, modes.assign(u=-modes.u, v=-modes.v)], ignore_index=True)
    for f, k in (("fy", "u"), ("fx", "v")):
        both[f] = ((both[k] + size // 2) % size - size // 2) / size
    return both.drop_duplicates(["configuration", "seed", "epoch", "fy", "fx"])


@vis.styled
def examples(pixels: pd.DataFrame) -> Figure:
    """What the corruptions do to three test images: a row each, `pixels` uint8 (edge, edge, 3)."""
    columns = list(pixels.groupby(["corruption", "level"], sort=False))
    figure, (part,) = vis.subfigures(3.9)
    axes = part.subplots(pixels.image.nunique(), len(columns), squeeze=False)
    for column, ((corruption, level), rows) in zip(axes.T, columns):
        for ax, row in zip(column, rows.sort_values("image").itertuples()):
            ax.imshow(row.pixels, interpolation="nearest")
            ax.set_axis_off()
        text = "clean"
        if corruption in LEVELS:
            level = LEVELS[corruption][2].format(level)
            text = f"{textwrap.fill(corruption, 110 // len(columns))}\n{level}"
        column[0].set_title(text, fontsize=9)
    return vis.add_title_and_caption(figure, "Test images under the corruptions", pixels)
