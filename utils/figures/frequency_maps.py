"""Maps by frequency of experiments B and C, with curves along some directions."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from utils import visualizer as vis


def frequency_figure(table: pd.DataFrame, quantity: str) -> Figure:
    """Maps by frequency, initially and of up to four models, and curves of all along directions.

    Args:
        table: rows of (configuration, seed, epoch, fy, fx in cycles/pixel, db).
    """
    last, names = table[table.epoch > 0], list(dict.fromkeys(table.configuration))
    if len(names) > 4:  # the weakest, the compared and the strongest, which curves lie between
        chosen = {names[0], names[1], vis.compared_configuration(names), names[-1]}
        names = [name for name in names if name in chosen]
    some = last[last.configuration.isin(names)]
    grids = {"initially": table[table.epoch == 0].pivot_table("db", "fy", "fx")}
    grids = {title: grid for title, grid in grids.items() if len(grid)}
    grids |= vis.mean_grids(some, "fy", "fx", "db")
    change = vis.difference_grid(some, "fy", "fx", "db")
    figure, (top, bottom) = vis.subfigures(2 * vis.heat_map_rows(len(grids)), 3)
    groups = [(grids, f"{quantity} (dB)", vis.two_sided(grids))]
    groups.append((change, "difference (dB)", vis.two_sided(change)))
    vis.heat_map_grid(top, groups, vis.frequency_map, *vis.FREQUENCIES)
    radius, absolute = np.hypot(last.fy, last.fx), last[["fy", "fx"]].abs()
    size = last.fy.nunique()
    rings = (radius * size).round() / size
    last = last.assign(power=10 ** (last.db / 10))
    axes = vis.panels(bottom, 3, sharey=True)
    for ax, title, chosen, place in (
        (axes[0], "Along the axes", absolute.min(axis=1) == 0, radius),
        (axes[1], "Along the diagonals", absolute.fy == absolute.fx, radius),
        (axes[2], "All directions, in rings", radius >= 0, rings),
    ):
        rows = last.assign(radius=place)[chosen]
        rows = rows.groupby(["configuration", "seed", "radius"], sort=False).power.mean()
        vis.model_curves(ax, (10 * np.log10(rows)).rename("db").reset_index(), "radius", "db")
        ax.axhline(0, color="0.3", linewidth=1)
        ax.set(title=title, xlabel="frequency (cycles/pixel)")
    axes[0].set_ylabel(f"{quantity} (dB)")
    return figure
