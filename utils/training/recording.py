"""What is recorded of a model during training beside `utils.recorder`, and the tables of it all."""

import itertools
from collections.abc import Iterable

import pandas as pd
from torch import nn

from utils.spectra.kernels import raw_and_folded


def autocorrelation_rows(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
    """Autocorrelation of the kernels of all 3x3 convolutions, a row per offset (dy, dx) in pixels.

    Of the 25 offsets the 13 that differ: (dy, dx) and (-dy, -dx) have the same value. The response
    at any frequency (fy, fx) is the sum over all 25 of value * cos(2 pi (fy dy + fx dx)).
    """
    offsets = list(itertools.product(range(-2, 3), repeat=2))[12:]  # from (0, 0) on
    return [
        {"layer": layer, "weights": weights, "dy": dy, "dx": dx, "value": float(value)}
        for layer, correlations in raw_and_folded(model, batchnorms).items()
        for weights, correlation in zip(("raw", "folded"), correlations)
        for (dy, dx), value in zip(offsets, correlation.ravel()[12:])
    ]


def table(states: Iterable[dict], name: str) -> pd.DataFrame:
    """The rows `name` of several runs' states, below each other; no text is None."""
    rows = pd.DataFrame([row for state in states for row in state[name]])
    return rows.replace({"diverged": {"": None}}) if "diverged" in rows else rows
