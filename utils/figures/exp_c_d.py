"""The figures of experiments C and D. The first sentence of a function says what to see."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils import configurations
from utils import visualizer as vis
from utils.evidence import paper
from utils.figures.frequency_maps import frequency_figure

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
    where it lies above its dotted line, that on clean images.

    A row per corruption.
    """
    sets = list(dict.fromkeys(accuracy.images))
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
            ax.set_ylim(0, min(100, ax.get_ylim()[1]))
        axes[0].set_ylabel("accuracy (%)")
        if len(leads):
            _differences(axes[-1], leads[leads.images == "test"], corruption)
            axes[-1].set(title="minus baseline", ylabel="difference (points)")
        if vis.at_published_recipe(accuracy):
            names = set(accuracy.configuration)
            _published(axes[0], axes[-1] if len(leads) else None, corruption, names)
        for ax in axes:
            if corruption in CLAIMED:
                style = {"color": "0.55", "linewidth": 6, "alpha": 0.3, "zorder": 0}
                ax.axvline(CLAIMED[corruption], **style, label="claimed point")
        if reverse:
            axes[0].invert_xaxis()
        if len(leads):
            vis.mark_cut_bars(axes[-1])
    return vis.add_title_and_caption(figure, title, accuracy, vis.INTERVALS)


def _accuracies(ax, accuracy: pd.DataFrame, corruption: str) -> None:
    """Accuracy by level; dotted: on clean images."""
    vis.model_curves(ax, accuracy[accuracy.corruption == corruption], "level", "accuracy")
    clean = accuracy[accuracy.corruption == "none"].groupby("configuration").accuracy.mean()
    for name, level in clean.items():
        ax.axhline(level, color=vis.line_style(name)["color"], linestyle=":", linewidth=1)
    ax.plot([], [], color="0.3", linestyle=":", linewidth=1, label="clean images")
    ax.axhline(CHANCE, color="0.6", linewidth=1, label=f"chance, {CHANCE} %")
    if clean.max() < TRAINED and accuracy.images.iloc[0] == "test":
        text = f"at most {clean.max():.0f} % on clean images: too little training to tell"
        style = {"transform": ax.transAxes, "ha": "center", "fontsize": 9, "color": "#A00000"}
        ax.text(0.5, 0.02, text, **style)


def _differences(ax, leads: pd.DataFrame, corruption: str) -> None:
    """Difference to the baseline by level, with 95 % intervals; dotted: on clean images."""
    ax.axhline(0, color="0.3", linewidth=1)
    groups = list(leads.groupby(["configuration", "comparison"], sort=False))
    rows = leads[leads.corruption == corruption]
    for number, ((name, comparison), run) in enumerate(groups):
        style, label = vis.line_style(name), configurations.label(name)
        if comparison != "last epoch":
            style = {"color": "0.35", "linestyle": ":", "marker": "D"}
            label = f"{label}, {comparison}"
        chosen = run[run.corruption == corruption]
        vis.curves(ax, chosen, "level", "lead", label, **style)
        shift = 0.008 * np.ptp(rows.level) * (number - (len(groups) - 1) / 2)
        vis.interval_bars(ax, chosen, "level", "lead", style["color"], shift)
        clean = run[run.corruption == "none"].lead.mean()
        ax.axhline(clean, color=style["color"], linestyle=":", linewidth=1)
    low, high = rows.lead.min(), rows.lead.max()  # of two or three seeds intervals go far beyond
    room = max(high - low, 2) / 2
    ax.set_ylim(min(low, 0) - room, max(high, 0) + room)


def _published(accuracies, differences, corruption: str, names) -> None:
    """Crosses at published accuracies and, where there is a panel for them, differences."""
    levels = paper.ACCURACY.get(corruption, {})
    for name, values in zip(paper.CONFIGURATIONS, zip(*levels.values())):
        color = vis.line_style(name)["color"]
        if name in names:
            vis.crosses(accuracies, list(levels), values, color)
        if name in names and name != "baseline" and differences is not None:
            baseline = next(zip(*levels.values()))
            vis.crosses(differences, list(levels), np.subtract(values, baseline), color)


@vis.styled
def fourier_heatmap(heatmap: pd.DataFrame) -> Figure:
    """The frequencies that a model cannot bear: dark where one Fourier mode costs accuracy.

    Error minus that on the same images without it, and L2 minus baseline; in the titles the
    standard error of a mode over seeds, root mean square over the modes.
    """
    excess = _both_halves(heatmap.assign(excess=heatmap.error - heatmap.clean_error))
    asked = (excess, "fy", "fx", "excess")
    grids, change = vis.mean_grids(*asked), vis.difference_grid(*asked)
    errors = _standard_errors(excess) | {
        f"{name} minus baseline": error
        for name, error in _standard_errors(vis.differences(excess, "excess", ["fy", "fx"])).items()
    }
    titled = [
        {
            f"{title}, ± {errors[title]:.1f}" if title in errors else title: x
            for title, x in g.items()
        }
        for g in (grids, change)
    ]
    groups = [(titled[0], "error minus clean (points)", vis.one_sided(grids))]
    groups.append((titled[1], "difference (points)", vis.two_sided(change)))
    height = 3 if len(grids) < 3 else 2 * vis.heat_map_rows(len(grids))
    figure, (part,) = vis.subfigures(height)
    vis.heat_map_grid(part, groups, vis.frequency_map, *vis.FREQUENCIES)
    counts = " or ".join(f"{n:,}" for n in sorted(set(heatmap.n_images)))
    says = f"mean, each on {counts} test images of its own"
    says += "; ±: standard error of a mode" if errors else ""
    title = f"Error under one Fourier mode of norm {heatmap.norm.iloc[0]:g} per image"
    return vis.add_title_and_caption(figure, title, heatmap.drop(columns="n_images"), says)


def _standard_errors(excess: pd.DataFrame) -> dict[str, float]:
    """Standard error over seeds in points, by label; without those of one seed."""
    modes = excess.groupby(["configuration", "fy", "fx"], sort=False).excess
    errors = (modes.sem() ** 2).groupby("configuration").mean() ** 0.5
    return {configurations.label(name): x for name, x in errors.dropna().items()}


@vis.styled
def sensitivity(maps: pd.DataFrame) -> Figure:
    """On which frequencies the output depends: compare with the response of the kernels of B.

    Power of the gradient of the logits in the image, against white.
    """
    table = _both_halves(maps)
    mean = table.groupby(["configuration", "seed", "epoch"]).power.transform("mean")
    figure = frequency_figure(table.assign(db=10 * np.log10(table.power / mean)), "sensitivity")
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
    """What the corruptions do to three test images.

    Args:
        pixels: rows of labels, image, corruption, level and pixels: uint8 (edge, edge, 3).
    """
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
