"""Numbers of a run, and where they stand in the tables of experiments B, C and D."""

from dataclasses import dataclass, field

import pandas as pd

from utils.evidence.layers import FIRST, HIDDEN, POOLED, STAGES

RUN = ["configuration", "seed"]
PLACES = {  # in the network: means that can disagree are told together
    "hidden layers, each once": HIDDEN,
    "all layers, by energy": POOLED,
    "first convolution": FIRST,
} | {stage.removesuffix(" (mean)"): stage for stage in STAGES}


@dataclass(frozen=True)
class Quantity:
    """A number of every run after its last epoch."""

    text: str  # its name, with the unit
    table: str  # "training", "ssr", "accuracy" (of test images) or "sensitivity"
    column: str
    rows: dict = field(default_factory=dict)  # that hold it: value by column
    beyond_clean: bool = False  # minus the accuracy of the same run on clean images

    def by_run(self, tables: dict[str, pd.DataFrame]) -> pd.Series:
        """The values by (configuration, seed); without rows where `tables` do not hold them."""
        table = tables.get(self.table, pd.DataFrame())
        if self.column not in table:
            return pd.Series(dtype=float, index=pd.MultiIndex.from_arrays([[], []], names=RUN))
        if "epoch" in table:
            table = table[table.epoch == table.epoch.max()]
        values = _chosen(table, self.rows)[self.column]
        if self.beyond_clean:
            clean = {"images": "test", "corruption": "none"}
            values = values - _chosen(table, clean)[self.column]
        return values


def _chosen(table: pd.DataFrame, rows: dict) -> pd.DataFrame:
    for column, value in rows.items():
        table = table[table[column] == value]
    return table.drop_duplicates(RUN).set_index(RUN)


def accuracy(corruption: str, level: float, beyond_clean: bool = False) -> Quantity:
    """Accuracy on corrupted test images, or minus that on clean ones."""
    unit = ", minus that on clean images (points)" if beyond_clean else " (%)"
    rows = {"images": "test", "corruption": corruption, "level": level}
    text = f"accuracy, {corruption} {level:g}{unit}"
    return Quantity(text, "accuracy", "accuracy", rows, beyond_clean)


def of_layer(text: str, layer: str, column: str, weights: str = "raw") -> Quantity:
    """A column of the table of SSR for a layer, or for a mean over layers."""
    return Quantity(text, "ssr", column, {"layer": layer, "weights": weights})


CORNERS = [
    of_layer(f"corner share, {weights}, {place}", layer, "corner_final", weights)
    for weights in ("raw", "folded")
    for place, layer in PLACES.items()
]
