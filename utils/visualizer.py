"""Every figure of the project, drawn from its tables alone."""

import math

import matplotlib
import matplotlib.colors
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from utils import configurations, published
from utils.statistics import is_published_setting, summarize
from utils.suppression import HIDDEN, MEAN, POOLED

# One look per family in every figure: colour, line and marker, distinct in grey too.
FAMILIES = {
    "baseline": ("#0072B2", "-", "o"),
    "l2": ("#009E73", "--", "s"),
    "dropout": ("#E69F00", "-.", "^"),
    "conv-l2": ("#CC79A7", ":", "D"),
    "l2+dropout": ("#D55E00", (0, (5, 1, 1, 1, 1, 1)), "v"),
    "conv-l2+dropout": ("#56B4E9", (0, (1, 1)), "P"),
}
USUAL = {"l2": 1e-3, "conv-l2": 1e-3, "dropout": 0.5}  # strengths in a family's own colour
DASHES = ["-", "--", "-.", ":"]
RADIUS_LABELS = ["0 (DC)", "1/3", r"$\sqrt{2}/3$"]  # of a 3x3 kernel, cycles/pixel

LEVELS = {  # what the level of a corruption means, and whether a lower one is worse
    "Gaussian noise": ("sigma (pixel units)", False),
    "band noise": ("centre of the band (cycles/pixel)", False),
    "low resolution, bilinear": ("pixels along an edge", True),
    "low resolution, antialiased": ("pixels along an edge", True),
    "Gaussian blur": ("size of the kernel (pixels)", False),
    "ideal low-pass": ("cutoff (cycles/pixel)", True),
    "ideal high-pass": ("cutoff (cycles/pixel)", False),
}

matplotlib.rcdefaults()  # the same figures everywhere, whatever the user's matplotlibrc says
matplotlib.rcParams.update(
    {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
    }
)


def spectrum_evolution(spectra: pd.DataFrame) -> Figure:
    """Heat maps epochs x frequency: density against white kernels, in dB, raw weights.

    Shares are averaged over the 3x3 layers (each counts once) and the seeds.
    """
    raw = spectra[(spectra.weights == "raw") & (spectra.epoch % 1 == 0)]
    levels = raw.groupby(
        ["configuration", "radius", "multiplicity", "epoch"], sort=False
    ).share.mean()
    levels = levels.reset_index()
    white = levels.multiplicity / 9
    levels["db"] = 10 * np.log10(levels.share / white)
    limit = max(0.1, levels.db.abs().max())
    names = list(dict.fromkeys(levels.configuration))
    epochs = int(levels.epoch.max())

    figure, axes = _panels(len(names), 3.6, 3.9)
    for ax, name in zip(axes, names):
        table = levels[levels.configuration == name]
        grid = table.pivot(index="radius", columns="epoch", values="db")
        grid = grid.sort_index().reindex(columns=range(epochs + 1))
        mesh = _heat_map(ax, grid, "RdBu_r", -limit, limit)
        last = grid.dropna(axis=1).iloc[:, -1]
        for row, level in enumerate(last):
            ax.annotate(
                f"{level:+.1f} dB",
                (last.name + 0.5, row),
                xytext=(-4, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 2},
            )
        ax.set(title=_label(name), xlabel="epoch (0: initialisation)")
        ax.set_yticks(range(3), RADIUS_LABELS)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel("radial frequency (cycles/pixel)")
    figure.colorbar(mesh, ax=axes, label="density against white kernels (dB)")
    title = "Spectrum of the 3x3 kernels during training, mean over layers"
    _finish(figure, title, spectra, "mean over seeds")
    return figure


def ssr_comparison(ssr: pd.DataFrame) -> Figure:
    """SSR per configuration, by three definitions, and the three suppression ratios."""
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    model, protocol, ratios = figure.subplots(1, 3, width_ratios=(1.5, 0.8, 1.2))

    raw, folded = ssr[ssr.weights == "raw"], ssr[ssr.weights == "folded"]
    groups = {
        "raw,\nlayer mean": raw[raw.layer == MEAN],
        "raw,\nweighted": raw[raw.layer == POOLED],
        "BN-folded,\nlayer mean": folded[folded.layer == MEAN],
        "BN-folded,\nweighted": folded[folded.layer == POOLED],
    }
    _bars(model, {name: (table, "ssr") for name, table in groups.items()})
    model.set(title="SSR of the model", ylabel="SSR (positive: high frequencies fell)")
    model.legend(loc="best")

    first = raw[raw.published_ssr.notna()]
    _bars(protocol, {"first convolution\nfrom epoch 1 on": (first, "published_ssr")})
    protocol.set(title="SSR by the published protocol", ylabel="published SSR")
    if is_published_setting(ssr.iloc[0], published.CONFIGURATIONS[1]):
        of = dict(zip(published.CONFIGURATIONS, published.SSR))
        names = [name for name in of if name in set(first.configuration)]
        offsets = (np.arange(len(names)) - (len(names) - 1) / 2) * 0.8 / len(names)
        values = [of[name] for name in names]
        cross = protocol.plot(offsets, values, "kx", label="arXiv:2512.22192")
        protocol.legend(handles=cross)

    _bars(
        ratios,
        {
            "share": (groups["raw,\nlayer mean"], "share_ratio"),
            "energy": (groups["raw,\nlayer mean"], "energy_ratio"),
            "published": (first, "published_ratio"),
        },
    )
    ratios.axhline(1, color="0.3", linewidth=1, zorder=1)
    ratios.set(title="Suppression against the baseline", ylabel="ratio (1: no difference)")
    _finish(figure, "Do L2 and dropout suppress high frequencies?", ssr)
    return figure


def layers(ssr: pd.DataFrame) -> Figure:
    """High-frequency and corner share of every layer at initialisation and at the end."""
    single = ssr[(ssr.weights == "raw") & ~ssr.layer.isin([MEAN, POOLED, HIDDEN])]
    names = list(dict.fromkeys(single.layer))
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for ax, quantity, white, text in (
        (axes[0], "eta", 8 / 9, "share of the high band"),
        (axes[1], "corner", 4 / 9, r"share of the corner, $\sqrt{2}/3$"),
    ):
        ax.axhline(white, color="0.5", linewidth=1, linestyle=":", label="white kernels")
        initial = single[single.configuration == single.configuration.iloc[0]]
        _curve(ax, initial, "layer", f"{quantity}_initial", color="0.5", label="initial")
        for name, table in single.groupby("configuration", sort=False):
            _curve(ax, table, "layer", f"{quantity}_final", **_style(name), label=_label(name))
        ax.set_ylabel(text)
    axes[0].legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes[1].set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes[1].set_xlabel("3x3 convolution, from input to output")
    _finish(figure, "Initial and final spectrum of every layer, raw weights", ssr)
    return figure


def training(history: pd.DataFrame) -> Figure:
    """Accuracy and loss on training and test images; on planted data also by cue."""
    panels = [("accuracy", "accuracy (%)"), ("loss", "cross-entropy (nats)")]
    if "low_cue_accuracy" in history:
        panels.append(("cue", "accuracy with one cue only (%)"))
    figure = Figure(figsize=(1 + 5.5 * len(panels), 4.4), layout="constrained")
    for ax, (quantity, text) in zip(figure.subplots(1, len(panels)), panels):
        thick, thin = f"test_{quantity}", f"train_{quantity}"
        names = ("test", "training")
        if quantity == "cue":
            thick, thin = "low_cue_accuracy", "high_cue_accuracy"
            names = ("low cue", "high cue")
        for name, table in history.groupby("configuration", sort=False):
            style = _style(name) | {"marker": ""}
            _curve(ax, table, "epoch", thick, **style, label=f"{_label(name)}, {names[0]}")
            style |= {"linewidth": 0.8, "alpha": 0.7}
            rows = table[table[thin].notna()]
            _curve(ax, rows, "epoch", thin, False, **style, label=f"{_label(name)}, {names[1]}")
        ax.set(xlabel="epoch (0: initialisation)", ylabel=text)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if quantity != "loss":
            ax.legend(fontsize=8)
    _finish(figure, "Training (thin: augmented images, dropout active)", history)
    return figure


def robustness(
    accuracy: pd.DataFrame, leads: pd.DataFrame, corruptions: list[str], title: str
) -> Figure:
    """A row per corruption: accuracy by level on each set of images, and leads on "test"."""
    sets = list(dict.fromkeys(accuracy.images))
    size = (5.2 * (len(sets) + 1), 0.9 + 3.2 * len(corruptions))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(
        len(corruptions), len(sets) + 1, squeeze=False, sharex="row", sharey="col"
    )
    for row, corruption in zip(axes, corruptions):
        for ax, images in zip(row, sets):
            _accuracies(ax, accuracy[accuracy.images == images], corruption)
            if images == "test" and is_published_setting(
                accuracy.iloc[0], published.CONFIGURATIONS[1]
            ):
                _published_curves(ax, corruption)
            of = f" with {images} only" if images != "test" else ""
            ax.set_ylabel(f"accuracy (%){of}")
            ax.set_title(corruption)
        _leads(row[-1], leads[leads.images == "test"], corruption)
        row[-1].set(title=corruption, ylabel="lead over the baseline (points)")
        text, reverse = LEVELS[corruption]
        for ax in row:
            ax.set_xlabel(text)
        if reverse:
            row[0].invert_xaxis()
    for ax in axes[0, :-1]:  # intervals may reach beyond what an accuracy can be
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, 0), min(high, 100))
    axes[0, 0].legend(fontsize=8)
    axes[0, -1].legend(fontsize=8)
    _finish(figure, f"{title} (dotted: clean images)", accuracy)
    return figure


def _accuracies(ax, accuracy: pd.DataFrame, corruption: str) -> None:
    for name, run in accuracy.groupby("configuration", sort=False):
        clean = run[run.corruption == "none"].accuracy.mean()
        ax.axhline(clean, color=_style(name)["color"], linestyle=":", linewidth=1)
        rows = run[run.corruption == corruption]
        _curve(ax, rows, "level", "accuracy", **_style(name), label=_label(name))


def _leads(ax, leads: pd.DataFrame, corruption: str) -> None:
    """Lead over the baseline by level; dotted: on clean images."""
    ax.axhline(0, color="0.3", linewidth=1)
    for (name, comparison), run in leads.groupby(["configuration", "comparison"], sort=False):
        style, label = _style(name), _label(name)
        if comparison != "last epoch":
            style = style | {"color": "0.35", "marker": "D"}
            label = f"{label}, {comparison}"
        clean = run[run.corruption == "none"].lead.mean()
        ax.axhline(clean, color=style["color"], linestyle=":", linewidth=1)
        rows = run[run.corruption == corruption]
        _curve(ax, rows, "level", "lead", **style, label=label)


def _published_curves(ax, corruption: str) -> None:
    levels = published.ACCURACY.get(corruption, {})
    for name, values in zip(published.CONFIGURATIONS, zip(*levels.values())):
        style = _style(name) | {"marker": "x", "linewidth": 0.7, "markersize": 4}
        label = f"{_label(name)}, arXiv:2512.22192"
        ax.plot(list(levels), values, **style, alpha=0.6, zorder=1, label=label)


def fourier_heatmap(heatmap: pd.DataFrame) -> Figure:
    """Error by Fourier mode, a panel per configuration, and of L2 against the baseline."""
    means = heatmap.groupby(["configuration", "u", "v"], sort=False).error.mean()
    grids = {name: _both_halves(means[name]) for name in dict.fromkeys(heatmap.configuration)}
    low = min(grid.min() for grid in grids.values())
    high = max(grid.max() for grid in grids.values())
    other = published.CONFIGURATIONS[1]
    compare = {"baseline", other} <= set(grids)
    figure, axes = _panels(len(grids) + compare, 3.5, 4.3)
    size = len(next(iter(grids.values())))
    low_edge, high_edge = -0.5 - 0.5 / size, 0.5 - 0.5 / size  # pixel centres at the frequencies
    edge = {"extent": (low_edge, high_edge, low_edge, high_edge), "origin": "lower"}
    for ax, (name, grid) in zip(axes, grids.items()):
        mesh = ax.imshow(grid, vmin=low, vmax=high, cmap="viridis", **edge)
        ax.set_title(_label(name))
    figure.colorbar(mesh, ax=axes[: len(grids)], label="error (%)", shrink=0.8)
    if compare:
        lead = grids[other] - grids["baseline"]
        limit = max(0.1, np.abs(lead).max())
        mesh = axes[-1].imshow(lead, vmin=-limit, vmax=limit, cmap="RdBu_r", **edge)
        axes[-1].set_title(f"{_label(other)} minus baseline")
        figure.colorbar(mesh, ax=axes[-1], label="error (points)", shrink=0.8)
    for ax in axes:
        ax.set_xlabel("horizontal (cycles/pixel)")
        ax.grid(False)
    axes[0].set_ylabel("vertical (cycles/pixel)")
    title = f"Error under one Fourier mode of norm {heatmap.norm.iloc[0]:g} per image"
    _finish(figure, title, heatmap, "mean over seeds")
    return figure


def _both_halves(modes: pd.Series) -> np.ndarray:
    """Square image of values by (u, v), zero frequency in the middle, and their mirror."""
    u, v = (modes.index.get_level_values(n).to_numpy() for n in ("u", "v"))
    size = 2 * int(v.max())
    image = np.full((size, size), np.nan)
    for sign in (1, -1):
        image[(sign * u + size // 2) % size, (sign * v + size // 2) % size] = modes
    return image


def frequency_curves(frequency: pd.DataFrame) -> Figure:
    """Explained variance of every frequency by step, a panel per strength of the penalty.

    Crosses: published values, in the published setting.
    """
    claimed = published.EXPLAINED_VARIANCE if frequency.setting.iloc[0] == "demo" else {}
    strengths = list(dict.fromkeys(frequency.strength))
    figure, axes = _panels(len(strengths), 4.3, 4.2)
    colors = _frequency_colors(frequency)
    for ax, strength in zip(axes, strengths):
        table = frequency[frequency.strength == strength]
        for number, (k, rows) in enumerate(table.groupby("frequency", sort=False)):
            style = {"color": colors[k], "linestyle": DASHES[number % len(DASHES)]}
            few = len(colors) <= 4  # intervals of more would hide each other
            _curve(ax, rows, "step", "explained_variance", few, **style, label=f"k = {k}")
            if k in claimed.get(strength, {}):
                value = claimed[strength][k]
                ax.plot(table.step.max(), value, "x", color=colors[k], clip_on=False)
        ax.axhline(0, color="0.3", linewidth=1)
        ax.set(title=f"penalty {strength:g}", xlabel="step")
        ax.locator_params(axis="x", nbins=5)
    axes[0].set_ylabel("explained variance")
    if claimed:
        axes[0].plot([], [], "kx", label="arXiv:2512.22192")
    lines = dict(zip(*axes[0].get_legend_handles_labels()[::-1]))
    figure.legend(lines.values(), lines.keys(), loc="outside right upper", fontsize=9)
    spread = {} if few else {"spread": "mean over seeds"}
    _finish(figure, "What is learned of each frequency", frequency, **spread)
    return figure


def decomposition(learned: pd.DataFrame) -> Figure:
    """Four periods of the signal's components and of the fits', after the last step."""
    strengths = list(dict.fromkeys(learned.strength))
    frequencies = sorted(set(learned.frequency), reverse=True)
    frequencies = frequencies[:: math.ceil(len(frequencies) / 4)]
    size = (max(9, 4.4 * len(strengths) + 1), 2.1 * len(frequencies) + 1)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(
        len(frequencies), len(strengths), sharex=True, sharey=True, squeeze=False
    )
    periods = np.linspace(0, 4, 200)
    turn = 2 * np.pi * periods
    colors = _frequency_colors(learned)
    for row, k in zip(axes, frequencies):
        row[0].set_ylabel(f"k = {k}")
        for ax, strength in zip(row, strengths):
            chosen = learned[(learned.frequency == k) & (learned.strength == strength)]
            # By hand from amplitude and phase; phases relative to those of the signal.
            truth = chosen.amplitude.iloc[0] * np.sin(turn)
            ax.plot(periods, truth, color="0.6", linewidth=3, label="signal")
            for number, one in enumerate(chosen.itertuples()):
                wave = np.sin(turn + one.phase_error) * one.amplitude_ratio
                label = "fits, one per seed" if number == 0 else None
                ax.plot(periods, one.amplitude * wave, color=colors[k], lw=1, label=label)
    for ax, strength in zip(axes[0], strengths):
        ax.set_title(f"penalty {strength:g}")
    for ax in axes[-1]:
        ax.set_xlabel("periods of the component")
    axes[0, 0].legend(fontsize=8, loc="upper right", frameon=True, framealpha=0.9)
    step = learned.step.max()
    _finish(figure, f"Components of the fit after {step} steps", learned, "each drawn")
    return figure


def spectral_bias(frequency: pd.DataFrame) -> Figure:
    """Heat map frequency x step of the amplitude ratio, a panel per strength."""
    strengths = list(dict.fromkeys(frequency.strength))
    figure, axes = _panels(len(strengths), 4.3, 4.2)
    for ax, strength in zip(axes, strengths):
        table = frequency[frequency.strength == strength]
        # A mean with a diverged network is NaN, blank in the map, and its step stays.
        means = summarize(table, ["frequency", "step"], "amplitude_ratio")
        grid = means.pivot(index="frequency", columns="step", values="mean")
        mesh = _heat_map(ax, grid, "viridis", 0, 1)
        ax.locator_params(axis="x", nbins=5)
        ax.set_yticks(range(len(grid)), grid.index)
        ax.set(title=f"penalty {strength:g}", xlabel="step")
    axes[0].set_ylabel("frequency k (cycles per interval)")
    label = "amplitude of the fit / of the signal"
    figure.colorbar(mesh, ax=axes, label=label, extend="max")
    _finish(figure, "Spectral bias: low frequencies first", frequency, "mean over seeds")
    return figure


def fit_animation(fit: pd.DataFrame) -> FuncAnimation:
    """Of signal and fit over the steps, a panel per strength of the penalty."""
    strengths = list(dict.fromkeys(fit.strength))
    height = 2.6 * len(strengths) + 0.8
    figure = Figure(figsize=(8, height))
    # By hand, in inches: a layout engine would draw every frame twice.
    figure.subplots_adjust(0.8 / 8, 0.9 / height, 1 - 0.15 / 8, 1 - 0.7 / height)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(strengths), 1, sharex=True, sharey=True, squeeze=False)
    lines = {}
    first = fit[fit.step == fit.step.min()]
    for ax, (strength, rows) in zip(axes[:, 0], first.groupby("strength", sort=False)):
        ax.plot(rows.position, rows.signal, color="0.6", linewidth=2, label="signal")
        (line,) = ax.plot(rows.position, rows.fit, color="#D55E00", label="fit")
        lines[strength] = line
        ax.set(title=f"penalty {strength:g}", ylabel="value")
    axes[-1, 0].set_xlabel("position (first quarter of the interval)")
    axes[0, 0].legend(fontsize=8, loc="upper right")
    low, high = fit.signal.min(), fit.signal.max()
    axes[0, 0].set_ylim(1.3 * min(low, 0), 1.3 * max(high, 0))
    _finish(figure, "step 0", fit, none_of_one="one seed shown")

    def show(step):
        figure.suptitle(f"step {step}", fontsize=13)
        rows = fit[fit.step == step]
        for strength, line in lines.items():
            line.set_ydata(rows[rows.strength == strength].fit)

    return FuncAnimation(figure, show, fit.step.unique())


def _frequency_colors(table: pd.DataFrame) -> dict:
    """From dark for the lowest frequency to light for the highest."""
    frequencies = sorted(set(table.frequency))
    places = np.linspace(0, 0.85, len(frequencies))
    return dict(zip(frequencies, matplotlib.colormaps["viridis"](places)))


def _panels(count: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A row of panels with one y axis; sizes in inches, wide enough for the caption."""
    size = (max(9, width * count + 2), height)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(1, count, sharey=True, squeeze=False)[0]


def _heat_map(ax, grid: pd.DataFrame, colors: str, low: float, high: float):
    """Rows of the table upwards, its evenly spaced columns from left to right."""
    columns = grid.shape[1]
    half = np.ptp(grid.columns) / (columns - 1) / 2 if columns > 1 else 0.5
    left, right = grid.columns[0] - half, grid.columns[-1] + half
    ax.grid(False)
    return ax.imshow(
        grid,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap=colors,
        vmin=low,
        vmax=high,
        extent=(left, right, -0.5, len(grid) - 0.5),
    )


def _label(configuration: str) -> str:
    return configurations.label(configuration)


def _style(configuration: str) -> dict:
    """The look of a family; weaker than usual is lighter, stronger is darker."""
    family = configurations.family(configuration)
    color, line, marker = FAMILIES.get(family, ("#555555", ":", "X"))
    logs = [
        np.log10(max(s, 1e-9) / USUAL[t])
        for t, s in configurations.strengths(configuration).items()
    ]
    shade = float(np.clip(sum(logs) / 2, -0.7, 0.7))
    towards = np.array([1.0, 1.0, 1.0]) if shade < 0 else np.zeros(3)
    rgb = np.array(matplotlib.colors.to_rgb(color)) * (1 - abs(shade)) + towards * abs(shade)
    return {"color": matplotlib.colors.to_hex(rgb), "linestyle": line, "marker": marker}


def _curve(ax, table: pd.DataFrame, x: str, y: str, band=True, **style) -> None:
    """Mean over seeds with its 95 % interval as a band, where there is more than one seed."""
    means = summarize(table, [x], y)
    (line,) = ax.plot(means[x], means["mean"], markersize=5, **style)
    if band and (means.n > 1).any():
        low, high = means["mean"] - means.half, means["mean"] + means.half
        ax.fill_between(means[x], low, high, color=line.get_color(), alpha=0.2, lw=0)


def _bars(ax, groups: dict[str, tuple[pd.DataFrame, str]]) -> None:
    """Bars by group and configuration: mean, 95 % interval over seeds, the value above."""
    drawn = list(groups.values())
    names = [
        n
        for n in dict.fromkeys(n for t, _ in drawn for n in t.configuration)
        if any(t[t.configuration == n][c].notna().any() for t, c in drawn)
    ]
    width = 0.8 / max(1, len(names))
    for number, name in enumerate(names):
        for position, (table, column) in enumerate(drawn):
            rows = table[table.configuration == name]
            means = summarize(rows, ["configuration"], column).iloc[0]
            x = position + (number - (len(names) - 1) / 2) * width
            ax.bar(
                x,
                means["mean"],
                0.92 * width,
                color=_style(name)["color"],
                yerr=means.half if means.n > 1 else None,
                capsize=3,
                label=_label(name) if position == 0 else None,
            )
            sign = 1 if means["mean"] >= 0 else -1
            ax.annotate(
                f"{means['mean']:.2f}",
                (x, means["mean"] + sign * (means.half if means.n > 1 else 0)),
                xytext=(0, 3 * sign),
                textcoords="offset points",
                ha="center",
                va="bottom" if sign > 0 else "top",
                fontsize=8,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
    ax.axhline(0, color="0.3", linewidth=1)
    ax.set_xticks(range(len(groups)), groups)
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.12)


def _finish(
    figure: Figure,
    title: str,
    table: pd.DataFrame,
    spread: str = "mean and 95 % t-interval over seeds",
    none_of_one: str = "no interval from one seed",
) -> None:
    """Title, and below the figure the conditions; red where the data are not CIFAR-10."""
    first = table.iloc[0]
    seeds = table.seed.nunique()
    spread = spread if seeds > 1 else none_of_one
    planted = "PLANTED" in first.dataset
    figure.suptitle(title, fontsize=13)
    under = f"scale {first.scale}" if "scale" in table else f"setting {first.setting}"
    figure.supxlabel(
        f"{first.dataset}   |   {under}   |   n = {seeds} "
        f"{'seeds' if seeds > 1 else 'seed'}, {spread}   |   {first.device}",
        fontsize=9,
        color="#C00000" if planted else "0.3",
        weight="bold" if planted else "normal",
    )


def dose_response(dose: pd.DataFrame) -> Figure:
    """Corner share, SSR and accuracy by strength, a row per family, a dot per seed."""
    families = list(dict.fromkeys(dose.family))
    columns = {
        "corner_final": "corner share, hidden layers",
        "ssr": "SSR, mean over layers",
        "test_accuracy": "test accuracy (%)",
    }
    figure = Figure(figsize=(13, 1 + 3.4 * len(families)), layout="constrained")
    axes = figure.subplots(len(families), len(columns), squeeze=False)
    for row, family in zip(axes, families):
        table = dose[dose.family == family]
        weakest = table.strength[table.strength > 0].min()
        for ax, (column, text) in zip(row, columns.items()):
            means = table.groupby("strength")[column].mean()
            style = _style(f"{family}={USUAL[family]:g}")
            ax.plot(means.index, means, **style | {"marker": ""})
            ax.plot(table.strength, table[column], ".", color=style["color"], alpha=0.7)
            ax.set_xscale("symlog", linthresh=weakest)
            ax.set(xlabel=f"strength of {family} (0: baseline)", ylabel=text)
    _finish(figure, "Dose and response", dose, "a dot per seed, line: mean")
    return figure


def sensitivity(spectra: pd.DataFrame, maps: pd.DataFrame) -> Figure:
    """Input sensitivity against white by radius, a line per seed, and in two dimensions."""
    last = maps[maps.epoch > 0]
    grids = {
        name: _both_halves(rows.groupby(["u", "v"]).power.mean())
        for name, rows in last.groupby("configuration", sort=False)
    }
    figure, axes = _panels(1 + len(grids), 4, 4.3)
    curves, *panels = axes
    curves.axhline(0, color="0.3", linewidth=1)
    for (name, seed, epoch), rows in spectra.groupby(["configuration", "seed", "epoch"]):
        style = _style(name) | {"marker": ""} if epoch else {"color": "0.6"}
        label = _label(name) if epoch else "initially"
        label = label if seed == spectra.seed.iloc[0] else None
        curves.plot(rows.radius, rows.white_db, linewidth=1, label=label, **style)
    curves.set(xlabel="radial frequency (cycles/pixel)", ylabel="against white (dB)")
    curves.legend()
    for ax, (name, grid) in zip(panels, grids.items()):
        ax.sharey = None
        db = 10 * np.log10(grid / grid.mean())
        mesh = ax.imshow(db, cmap="RdBu_r", vmin=-10, vmax=10, extent=(-0.5, 0.5, -0.5, 0.5))
        ax.set_title(_label(name))
    figure.colorbar(mesh, ax=panels, label="dB against white")
    _finish(figure, "What the output depends on, by frequency", spectra, "a line per seed")
    return figure
