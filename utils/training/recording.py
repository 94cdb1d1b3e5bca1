"""What is recorded of a model during training: rows of the tables, and the tables themselves."""

import itertools
from collections.abc import Iterable

import pandas as pd
import torch
from torch import nn

from utils.frequency import kernel_autocorrelation, spectrum_from_autocorrelation
from utils.spectra.batchnorm import batchnorm_scale
from utils.spectra.kernels import measurable_convolutions


def spectrum_rows(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
    """Radial spectra of all 3x3 convolutions: a row per layer, raw or folded, and radius.

    Args:
        batchnorms: from `batchnorm_after_convolution(model)`.
    """
    rows = []
    for key, correlation in _correlations(model, batchnorms):
        spectrum = spectrum_from_autocorrelation(correlation)
        columns = ("radius", "multiplicity", "energy", "share")
        values = zip(*(getattr(spectrum, name).tolist() for name in columns))
        rows += [key | dict(zip(columns, row)) for row in values]
    return rows


def autocorrelation_rows(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
    """Autocorrelation of the kernels of all 3x3 convolutions, a row per offset (dy, dx) in pixels.

    Of the 25 offsets the 13 that differ: (dy, dx) and (-dy, -dx) have the same value. The response
    at any frequency (fy, fx) is the sum over all 25 of value * cos(2 pi (fy dy + fx dx)).
    """
    offsets = list(itertools.product(range(-2, 3), repeat=2))[12:]  # from (0, 0) on
    return [
        key | {"dy": dy, "dx": dx, "value": float(correlation[dy + 2, dx + 2])}
        for key, correlation in _correlations(model, batchnorms)
        for dy, dx in offsets
    ]


def table(states: Iterable[dict], name: str) -> pd.DataFrame:
    """The rows `name` of several runs' states, below each other; no text is None."""
    rows = pd.DataFrame([row for state in states for row in state[name]])
    return rows.replace({"diverged": {"": None}}) if "diverged" in rows else rows


def response_table(autocorrelation: pd.DataFrame) -> pd.DataFrame:
    """Autocorrelation of raw kernels relative to their energy, unweighted mean over the hidden
    layers (all but the first), of every run and epoch."""
    raw = autocorrelation[autocorrelation.weights == "raw"]
    index, tables = ["configuration", "seed", "epoch"], []
    for key, rows in raw.groupby(index, sort=False):
        values = rows.pivot(index="layer", columns=["dy", "dx"], values="value")
        hidden = values.div(values[0, 0], axis=0).drop(index=rows.layer.iloc[0]).mean()
        tables.append(hidden.rename("value").reset_index().assign(**dict(zip(index, key))))
    return pd.concat(tables, ignore_index=True).assign(layer="hidden (mean)", weights="raw")


def _correlations(model: nn.Module, batchnorms: dict[str, str]):
    """Autocorrelation (5, 5) of every 3x3 convolution's kernels, raw and folded."""
    for name, conv in measurable_convolutions(model)[0].items():
        if conv.kernel_size != (3, 3):
            continue
        scale = torch.ones(conv.out_channels, dtype=torch.float64)
        if name in batchnorms:
            scale = batchnorm_scale(model.get_submodule(batchnorms[name]))
        gains = torch.stack([torch.ones_like(scale), scale.square()])
        for weights, found in zip(("raw", "folded"), kernel_autocorrelation(conv.weight, gains)):
            yield {"layer": name, "weights": weights}, found
