"""Maps by frequency of experiments B and C, with curves along some directions."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils import visualizer as vis


def frequency_figure(table: pd.DataFrame, quantity: str) -> Figure:
    """Maps by frequency, initially and of up to four models, and curves of all along directions, from
    rows of (configuration, seed, epoch, fy, fx in cycles/pixel, db)."""
    last, names = table[table.epoch > 0], list(dict.fromkeys(table.configuration))
    if len(names) > 4:  # the weakest, the compared and the strongest, which curves lie between
        names = [names[0], names[1], vis.compared_configuration(names), names[-1]]
    grids, change = vis.mean_grids(last[last.configuration.isin(names)], "fy", "fx", "db")
    initial = table[table.epoch == 0]
    if len(initial):
        grids = {"initially": initial.pivot_table("db", "fy", "fx")} | grids
    figure, (top, bottom) = vis.subfigures(2 * vis.heat_map_rows(len(grids)), 3)
    label = f"{quantity} (dB)"
    vis.heat_map_grid(top, grids, change, label, vis.frequency_map, *vis.FREQUENCIES)
    radius, absolute = np.hypot(last.fy, last.fx), last[["fy", "fx"]].abs()
    size = last.fy.nunique()
    axes = vis.panels(bottom, 3, sharey=True)
    for ax, title, chosen, place in (
        (axes[0], "Along the axes", absolute.min(axis=1) == 0, radius),
        (axes[1], "Along the diagonals", absolute.fy == absolute.fx, radius),
        (axes[2], "All directions, in rings", radius >= 0, (radius * size).round() / size),
    ):
        rows = last.assign(radius=place, power=10 ** (last.db / 10))[chosen]
        rows = rows.groupby(["configuration", "seed", "radius"], sort=False).power.mean()
        vis.model_curves(ax, (10 * np.log10(rows)).rename("db").reset_index(), "radius", "db")
        ax.axhline(0, **vis.ZERO)
        ax.set(title=title, xlabel="frequency (cycles/pixel)")
    axes[0].set_ylabel(label)
    return figure
