"""What is recorded of a model during training: rows of the tables."""

import itertools
from contextlib import suppress
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from models.resnet import ResNet18
from utils.frequency import kernel_autocorrelation, spectrum_from_autocorrelation
from utils.spectra.batchnorm import batchnorm_scale
from utils.spectra.kernels import measurable_convolutions
from utils.training import checkpoints
from utils.training.runs import Run


def spectra(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
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


def autocorrelations(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
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


def kept_autocorrelations(job: Path, run: Run, width: int) -> pd.DataFrame:
    """`autocorrelations` of raw kernels relative to their energy, mean over the hidden layers, after
    every epoch whose weights were kept and are not damaged."""
    tables, model = [pd.DataFrame()], ResNet18(width)
    for path in sorted((job / run.name).glob("epoch-*.pt")):
        with suppress(checkpoints.CheckpointError):
            state = checkpoints.load(path, f"{job.name}/{run.name}")
            model.load_state_dict(state["model"])
            raw = pd.DataFrame(autocorrelations(model, {})).query("weights == 'raw'")
            values = raw.pivot(index="layer", columns=["dy", "dx"], values="value")
            hidden = values.div(values[0, 0], axis=0).drop(index=raw.layer.iloc[0]).mean()
            key = {"configuration": run.configuration, "seed": run.seed, "epoch": state["epoch"]}
            key |= {"layer": "hidden (mean)", "weights": "raw"}
            tables.append(hidden.rename("value").reset_index().assign(**key))
    return pd.concat(tables, ignore_index=True)


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
