"""The figures of experiment A."""

import math

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from utils import published
from utils.statistics import summarize
from utils.visualizer import curve, finish, heat_map, panels

DASHES = ["-", "--", "-.", ":"]


def frequency_curves(frequency: pd.DataFrame) -> Figure:
    """Explained variance of every frequency by step, a panel per strength of the penalty.

    Crosses: published values, in the published setting.
    """
    claimed = published.EXPLAINED_VARIANCE if frequency.setting.iloc[0] == "demo" else {}
    strengths = list(dict.fromkeys(frequency.strength))
    figure, axes = panels(len(strengths), 4.3, 4.2)
    colors = _frequency_colors(frequency)
    for ax, strength in zip(axes, strengths):
        table = frequency[frequency.strength == strength]
        for number, (k, rows) in enumerate(table.groupby("frequency", sort=False)):
            style = {"color": colors[k], "linestyle": DASHES[number % len(DASHES)]}
            few = len(colors) <= 4  # intervals of more would hide each other
            curve(ax, rows, "step", "explained_variance", few, **style, label=f"k = {k}")
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
    finish(figure, "What is learned of each frequency", frequency, **spread)
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
    finish(figure, f"Components of the fit after {step} steps", learned, "each drawn")
    return figure


def spectral_bias(frequency: pd.DataFrame) -> Figure:
    """Heat map frequency x step of the amplitude ratio, a panel per strength."""
    strengths = list(dict.fromkeys(frequency.strength))
    figure, axes = panels(len(strengths), 4.3, 4.2)
    for ax, strength in zip(axes, strengths):
        table = frequency[frequency.strength == strength]
        # A mean with a diverged network is NaN, blank in the map, and its step stays.
        means = summarize(table, ["frequency", "step"], "amplitude_ratio")
        grid = means.pivot(index="frequency", columns="step", values="mean")
        mesh = heat_map(ax, grid, "viridis", 0, 1)
        ax.locator_params(axis="x", nbins=5)
        ax.set_yticks(range(len(grid)), grid.index)
        ax.set(title=f"penalty {strength:g}", xlabel="step")
    axes[0].set_ylabel("frequency k (cycles per interval)")
    label = "amplitude of the fit / of the signal"
    figure.colorbar(mesh, ax=axes, label=label, extend="max")
    finish(figure, "Spectral bias: low frequencies first", frequency, "mean over seeds")
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
    finish(figure, "step 0", fit, none_of_one="one seed shown")

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
