"""What is recorded of a model during training: rows of the tables."""

import itertools
from contextlib import suppress
from pathlib import Path

import pandas as pd
from torch import nn

from models.resnet import ResNet18
from utils.recorder import spectrum_rows
from utils.spectra.kernels import raw_and_folded
from utils.training import checkpoints
from utils.training.runs import Run


def spectra(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
    """Radial spectra of all 3x3 convolutions: a row per layer, raw or folded, and radius.

    Args:
        batchnorms: from `following_batchnorms(model)`.
    """
    rows = spectrum_rows(model, batchnorms)
    return [{name: row[name] for name in row if name != "white_db"} for row in rows]


def autocorrelations(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
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
