"""The figures of experiment A. The first sentence of a function says what to see."""

import math

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure

from utils import visualizer as vis
from utils.evidence import paper

LOOKS = [{"linestyle": x, "marker": m} for x, m in zip(["-", "--", "-.", ":"], "os^D")]
FIT = "#D55E00"
PUBLISHED_STEP = 500  # of the published explained variances


@vis.styled
def frequency_curves(frequency: pd.DataFrame) -> Figure:
    """Low frequencies (dark) rise first, and later the stronger the penalty: a curve that still
    rises at the end is slower, not suppressed."""
    published = frequency.setting.iloc[0] in ("demo", "demo, changed: steps")  # through the same
    parts = frequency.groupby("strength", sort=False)
    figure, (part,) = vis.subfigures(3 * math.ceil(len(parts) / 3))
    axes = vis.panels(part, len(parts), 3, sharey=True)
    frequencies = frequency.frequency.nunique()
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, frequencies))  # dark to light
    for ax, (strength, table) in zip(axes, parts):
        for number, (k, rows) in enumerate(table.groupby("frequency")):
            style = LOOKS[number % len(LOOKS)] | {"color": colors[number], "label": f"k = {k}"}
            if frequencies > 4:  # lines of every seed would hide each other
                rows = rows.groupby("step").mean(numeric_only=True).assign(seed=0).reset_index()
            vis.curves(ax, rows, "step", "explained_variance", **style)
            value = paper.EXPLAINED_VARIANCE.get(strength, {}).get(k)
            if published and value is not None and PUBLISHED_STEP <= table.step.max():
                vis.crosses(ax, PUBLISHED_STEP, value, "black")
        ax.axhline(0, **vis.ZERO)
        ax.set(title=f"penalty {strength:g}", xlabel="step (logarithmic)")
        vis.step_axis(ax, table.step)
    low, high = axes[0].get_ylim()
    axes[0].set(ylabel="explained variance", ylim=(max(low, -0.5), high))
    return vis.add_title_and_caption(figure, "What is learned of each frequency", frequency)


@vis.styled
def spectral_bias(frequency: pd.DataFrame) -> Figure:
    """The higher a frequency, the later it turns dark: spectral bias."""
    mean = frequency.groupby(["strength", "frequency", "step"]).amplitude_ratio.mean().unstack()
    strengths = dict.fromkeys(frequency.strength)
    grids = {f"penalty {strength:g}": mean.loc[strength] for strength in strengths}
    height = 0.9 + 0.3 * frequency.frequency.nunique()
    figure, (part,) = vis.subfigures(height * vis.heat_map_rows(len(grids)))
    labels = "amplitude, fit / signal", vis.heat_map, "step (logarithmic)", "frequency k"
    axes = vis.heat_map_grid(part, grids, {}, *labels, one_sided=True)
    for ax, grid in zip(axes, grids.values()):
        vis.step_axis(ax, grid.columns, every=1 + len(axes) // 4)
        vis.annotate_last_column(ax, grid, "{:.2f}")
        ax.set_yticks(range(len(grid)), grid.index)
    low_first = all(grid.iloc[:, -1].is_monotonic_decreasing for grid in grids.values())
    title = "Spectral bias: low frequencies first"
    title = title if low_first else "Amplitude of the fit by frequency"
    return vis.add_title_and_caption(figure, title, frequency, "mean")


@vis.styled
def frequency_decomp(learned: pd.DataFrame) -> Figure:
    """How much of the grey signal the fits follow, frequency by frequency, after the last step."""
    highest = sorted(set(learned.frequency), reverse=True)
    some = learned[learned.frequency.isin(highest[:: math.ceil(len(highest) / 4)])]
    some = some.sort_values(["frequency", "strength", "seed"], ascending=[False, True, True])
    parts = some.groupby(["frequency", "strength"], sort=False)
    figure, (part,) = vis.subfigures(1.6 * some.frequency.nunique())
    axes = vis.panels(part, len(parts), some.strength.nunique(), sharex=True, sharey=True)
    periods = np.linspace(0, 4, 200)
    turn = 2 * np.pi * periods
    for ax, ((k, strength), rows) in zip(axes, parts):
        truth = rows.amplitude.iloc[0] * np.sin(turn)  # phases are relative to the signal's
        ax.plot(periods, truth, color="0.7", linewidth=4, label="signal")
        for one in rows.itertuples():
            wave = one.amplitude * one.amplitude_ratio * np.sin(turn + one.phase_error)
            ax.plot(periods, wave, color=FIT, linewidth=1, label="fits")
        ax.set_title(f"k = {k}, penalty {strength:g}")
    part.supxlabel("periods of the component", fontsize=10)
    part.supylabel("value", fontsize=10)
    title = f"Components of the fit after {learned.step.max():,} steps"
    return vis.add_title_and_caption(figure, title, learned, "a line each")


@vis.styled
def comparison(fit: pd.DataFrame) -> FuncAnimation:
    """The fit takes up the slow waves of the signal first, the fast ones late or never."""
    fits = {key: rows for key, rows in fit.groupby(["strength", "step"], sort=False)}
    strengths = list(dict.fromkeys(fit.strength))
    figure, (part,) = vis.subfigures(2.4 * len(strengths))
    axes = vis.panels(part, len(strengths), 1, sharex=True, sharey=True)
    lines = {}
    for ax, strength in zip(axes, strengths):
        rows = fits[strength, fit.step.min()]
        ax.plot(rows.position, rows.signal, color="0.6", linewidth=2, label="signal")
        (lines[strength],) = ax.plot(rows.position, rows.fit, color=FIT, label="fit")
        ax.set(title=f"penalty {strength:g}", ylabel="value")
    axes[-1].set_xlabel("position (first quarter of the interval)")
    axes[0].set_ylim(1.3 * min(fit.signal.min(), 0), 1.3 * max(fit.signal.max(), 0))
    vis.add_title_and_caption(figure, "step 0", fit)

    def show(step):
        figure.legends[0].set_title(f"step {step:,}")
        for strength, line in lines.items():
            line.set_ydata(fits[strength, step].fit)

    return vis.animation(figure, show, vis.logarithmic_steps(fit.step))
