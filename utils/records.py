"""What is recorded of a model during training: rows of the tables."""

import numpy as np
import torch
from torch import nn

from utils.batchnorm import batchnorm_scale
from utils.frequency import kernel_autocorrelation, spectrum_from_autocorrelation
from utils.model_spectra import measurable_convolutions


def spectra(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
    """Radial spectra of all 3x3 convolutions: a row per layer, raw or folded, and radius.

    Args:
        batchnorms: from `following_batchnorms(model)`.
    """
    rows = []
    for key, correlation in _correlations(model, batchnorms):
        spectrum = spectrum_from_autocorrelation(correlation)
        columns = {
            "radius": spectrum.radius,
            "multiplicity": spectrum.multiplicity,
            "energy": spectrum.energy,
            "share": spectrum.share,
        }
        values = zip(*(column.tolist() for column in columns.values()))
        rows += [key | dict(zip(columns, row)) for row in values]
    return rows


def autocorrelations(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
    """Autocorrelation of the kernels of all 3x3 convolutions, a row per offset (dy, dx) in pixels.

    Of the 25 offsets the 13 that differ: (dy, dx) and (-dy, -dx) have the same value. The response
    at any frequency (fy, fx) is the sum over all 25 of value * cos(2 pi (fy dy + fx dx)).
    """
    rows = []
    for key, correlation in _correlations(model, batchnorms):
        for dy, dx in np.argwhere(np.ones((5, 5)))[12:] - 2:  # from (0, 0) on
            value = float(correlation[dy + 2, dx + 2])
            rows.append(key | {"dy": int(dy), "dx": int(dx), "value": value})
    return rows


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
