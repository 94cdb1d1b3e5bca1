"""The figures of experiment A. The first sentence of a function says what to see."""

import math

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from utils import visualizer as vis
from utils.evidence import paper

LOOKS = [("-", "o"), ("--", "s"), ("-.", "^"), (":", "D")]
FIT = "#D55E00"
PUBLISHED_STEP = 500  # of the published explained variances


@vis.styled
def frequency_curves(frequency: pd.DataFrame) -> Figure:
    """Low frequencies (dark) rise first, and later the stronger the penalty: a curve that still
    rises at the end is slower, not suppressed.

    Crosses: published values, in the published setting (more steps go through the same).
    """
    claimed = paper.EXPLAINED_VARIANCE
    if frequency.setting.iloc[0] not in ("demo", "demo, changed: steps"):
        claimed = {}
    parts = list(frequency.groupby("strength", sort=False))
    figure, (part,) = vis.subfigures(3 * math.ceil(len(parts) / 3))
    axes = vis.panels(part, len(parts), 3, sharey=True)
    frequencies = sorted(set(frequency.frequency))  # from dark to light
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(frequencies)))
    for ax, (strength, table) in zip(axes, parts):
        for number, (k, color) in enumerate(zip(frequencies, colors)):
            line, marker = LOOKS[number % len(LOOKS)]
            style = {"color": color, "linestyle": line, "marker": marker}
            rows = table[table.frequency == k]
            if len(frequencies) > 4:  # lines of every seed would hide each other
                rows = rows.groupby("step").mean(numeric_only=True).assign(seed=0).reset_index()
            vis.curves(ax, rows, "step", "explained_variance", f"k = {k}", **style)
            if k in claimed.get(strength, {}) and PUBLISHED_STEP <= table.step.max():
                vis.crosses(ax, PUBLISHED_STEP, claimed[strength][k], "black")
        ax.axhline(0, color="0.3", linewidth=1)
        ax.set(title=f"penalty {strength:g}", xlabel="step (logarithmic)")
        vis.step_axis(ax, table.step)
    low, high = axes[0].get_ylim()
    axes[0].set(ylabel="explained variance", ylim=(max(low, -0.5), high))
    return vis.add_title_and_caption(figure, "What is learned of each frequency", frequency)


@vis.styled
def spectral_bias(frequency: pd.DataFrame) -> Figure:
    """The higher a frequency, the later it turns dark: spectral bias.

    Amplitude of the fit relative to the signal, mean over seeds; in numbers after the last step.
    """
    grids = {  # with the steps at which every fit is NaN
        f"penalty {strength:g}": table.groupby(["frequency", "step"])
        .amplitude_ratio.mean()
        .unstack()
        for strength, table in frequency.groupby("strength", sort=False)
    }
    height = 0.9 + 0.3 * frequency.frequency.nunique()
    figure, (part,) = vis.subfigures(height * vis.heat_map_rows(len(grids)))
    groups = [(grids, "amplitude, fit / signal", vis.one_sided(grids))]
    axes = vis.heat_map_grid(part, groups, vis.heat_map, "step (logarithmic)", "frequency k")
    for ax, grid in zip(axes, grids.values()):
        vis.step_axis(ax, grid.columns, every=1 + len(axes) // 4)
        vis.annotate_last_column(ax, grid, "{:.2f}")
        ax.set_yticks(range(len(grid)), grid.index)
    low_first = all(grid.diff().iloc[1:, -1].le(0).all() for grid in grids.values())
    title = (
        "Spectral bias: low frequencies first" if low_first else "Amplitude of the fit by frequency"
    )
    return vis.add_title_and_caption(figure, title, frequency, "mean")


@vis.styled
def frequency_decomp(learned: pd.DataFrame) -> Figure:
    """How much of the grey signal the fits follow, frequency by frequency, after the last step.

    Four periods of every component, drawn from amplitudes and phases; a line per seed.
    """
    highest = sorted(set(learned.frequency), reverse=True)
    some = learned[learned.frequency.isin(highest[:: math.ceil(len(highest) / 4)])]
    some = some.sort_values(["frequency", "strength", "seed"], ascending=[False, True, True])
    parts = list(some.groupby(["frequency", "strength"], sort=False))
    figure, (part,) = vis.subfigures(1.6 * some.frequency.nunique())
    axes = vis.panels(part, len(parts), some.strength.nunique(), sharex=True, sharey=True)
    periods = np.linspace(0, 4, 200)
    turn = 2 * np.pi * periods
    for ax, ((k, strength), chosen) in zip(axes, parts):
        truth = chosen.amplitude.iloc[0] * np.sin(turn)  # phases relative to the signal's
        ax.plot(periods, truth, color="0.7", linewidth=4, label="signal")
        for one in chosen.itertuples():
            wave = np.sin(turn + one.phase_error) * one.amplitude_ratio
            ax.plot(periods, one.amplitude * wave, color=FIT, linewidth=1, label="fits")
        ax.set_title(f"k = {k}, penalty {strength:g}")
    part.supxlabel("periods of the component", fontsize=10)
    part.supylabel("value", fontsize=10)
    title = f"Components of the fit after {learned.step.max():,} steps"
    return vis.add_title_and_caption(figure, title, learned, "a line each")


@vis.styled
def comparison(fit: pd.DataFrame) -> FuncAnimation:
    """The fit takes up the slow waves of the signal first, the fast ones late or never.

    Signal and fit over the steps, at the weakest and the strongest penalty.
    """
    strengths = list(dict.fromkeys(fit.strength))
    figure, (part,) = vis.subfigures(2.4 * len(strengths))
    axes = vis.panels(part, len(strengths), 1, sharex=True, sharey=True)
    lines = {}
    for ax, strength in zip(axes, strengths):
        rows = fit[(fit.strength == strength) & (fit.step == fit.step.min())]
        ax.plot(rows.position, rows.signal, color="0.6", linewidth=2, label="signal")
        (lines[strength],) = ax.plot(rows.position, rows.fit, color=FIT, label="fit")
        ax.set(title=f"penalty {strength:g}", ylabel="value")
    axes[-1].set_xlabel("position (first quarter of the interval)")
    low, high = fit.signal.min(), fit.signal.max()
    axes[0].set_ylim(1.3 * min(low, 0), 1.3 * max(high, 0))
    vis.add_title_and_caption(figure, "step 0", fit)

    def show(step):
        figure.legends[0].set_title(f"step {step:,}")
        rows = fit[fit.step == step]
        for strength, line in lines.items():
            line.set_ydata(rows[rows.strength == strength].fit)

    return vis.animation(figure, show, vis.logarithmic_steps(fit.step))
