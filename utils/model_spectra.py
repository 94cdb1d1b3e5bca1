"""Networks in, spectra of their kernels out, with the BatchNorm that follows each folded in.

table = analyze_model(model, folded=True)  # any nn.Module; or a state dict, not folded
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin
from torch.nn.utils.parametrize import ParametrizationList

from utils import frequency
from utils.batchnorm import (
    WHOLE,
    batchnorm_scale,
    evaluation_mode,
    follow,
    is_batchnorm,
    named_layers,
)
from utils.frequency import CUTOFF
from utils.model_files import flat_state_dict

COLUMNS = ["layer", "kernel_size", "kernels", "energy", "ssr", "high_share", "corner_share"]


@dataclass(frozen=True)
class Kernels:
    """A layer's kernels (out, in / groups, kh, kw), and what BatchNorm multiplies them by."""

    layer: str
    weight: Tensor
    scale: Tensor | None = None  # (out,)
    batchnorm: str | None = None  # name of the one folded in
    note: str = ""  # why none is, where that needs saying

    def autocorrelation(self) -> np.ndarray:
        """As `frequency.kernel_autocorrelation`, of the kernels times their scale."""
        scale = torch.ones(len(self.weight)) if self.scale is None else self.scale
        return frequency.kernel_autocorrelation(self.weight, scale.square()[None])[0]


def analyze_model(
    model: nn.Module | Mapping,
    folded: bool = False,
    cutoff: float = CUTOFF,
    example=None,
    batchnorms: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Spectra of all convolutions of a model, which is not changed.

    Args:
        model: any nn.Module, wrapped and compiled ones too; or a state dict, whose
            four-dimensional floating-point weights are taken for convolutions.
        folded: measure the effective kernels of convolutions followed by BatchNorm.
        cutoff: start of the high band, cycles/pixel.
        example: as for `batchnorm.following_batchnorms`.
        batchnorms: convolution -> BatchNorm to fold into it, for what is not found otherwise.

    Returns one row per convolution: layer, kernel_size, kernels (their number), energy, ssr
    (against white kernels), high_share, corner_share, with `folded` also batchnorm (the layer
    folded in, if any) and note (why none is), and for each radius r of the kernel size, in
    kernel taps, a column db_r, the density against white in dB. r has four decimals, or more
    where two columns would get one name. `.attrs["skipped"]` maps layers left out to the reason.

    Raises:
        ValueError: `batchnorms` names what is not there.
    """
    layers, skipped = find_kernels(model, folded, example, batchnorms)
    rows, levels = [], []
    for kernels in layers:
        try:
            correlation = kernels.autocorrelation()
        except ValueError as error:
            skipped[kernels.layer] = str(error)
            continue
        spectrum = frequency.spectrum_from_autocorrelation(correlation)
        white = spectrum.multiplicity[spectrum.radius > cutoff].sum() / spectrum.multiplicity.sum()
        row = {
            "layer": kernels.layer,
            "kernel_size": "{}x{}".format(*kernels.weight.shape[2:]),
            "kernels": kernels.weight.shape[:2].numel(),
            "energy": spectrum.total,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kernels without energy have no shares: NaN says it
            high = row["high_share"] = spectrum.high_share(cutoff)
            row["corner_share"] = spectrum.corner_share
            levels.append(dict(zip(spectrum.radius.round(12), spectrum.white_db)))
        row["ssr"] = (white - high) / white if white else np.nan
        if folded:
            row |= {"batchnorm": kernels.batchnorm, "note": kernels.note}
        rows.append(row)
    table = pd.DataFrame(rows, columns=None if rows else COLUMNS)
    decibels = pd.DataFrame(levels, index=table.index).sort_index(axis=1)
    for digits in range(4, 13):
        names = [f"db_{radius:.{digits}f}" for radius in decibels]
        if len(set(names)) == len(names):
            break
    table = pd.concat([table, decibels.set_axis(names, axis=1)], axis=1)
    table.attrs["skipped"] = skipped
    return table


def autocorrelation_table(
    model: nn.Module | Mapping, folded: bool = False, example=None, batchnorms: dict | None = None
) -> pd.DataFrame:
    """What every response follows from: rows of (layer, dy, dx, value). Arguments as above.

    Of the offsets those that differ: (dy, dx) and (-dy, -dx) have the same value.
    """
    tables = []
    for kernels in find_kernels(model, folded, example, batchnorms)[0]:
        try:
            values = kernels.autocorrelation()
        except ValueError:  # `analyze_model` says why
            continue
        height, width = values.shape
        dy, dx = np.divmod(np.arange(values.size // 2, values.size), width)
        columns = {"layer": kernels.layer, "dy": dy - height // 2, "dx": dx - width // 2}
        tables.append(pd.DataFrame(columns | {"value": values.ravel()[values.size // 2 :]}))
    return pd.concat(tables, ignore_index=True)


def measurable_convolutions(model: nn.Module) -> tuple[dict[str, nn.Conv2d], dict[str, str]]:
    """Name -> convolution with a spatial spectrum, and name -> reason for those without."""
    measured, skipped, linear = {}, {}, 0
    for name, layer in named_layers(model).items():
        kind = getattr(layer, "original_name", type(layer).__name__)  # of TorchScript too
        alone = not any(True for _ in layer.children())
        if isinstance(layer, nn.modules.conv._ConvNd):
            transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
            reason = "transposed" if transposed else _why_not(layer.weight)
            if reason:
                skipped[name] = reason
            else:
                measured[name] = layer
        elif "Conv" in kind and isinstance(layer, torch.jit.ScriptModule) and alone:
            skipped[name] = "TorchScript; analyse the model it was made from, or its state dict"
        elif "Conv" in kind and "quantized" in type(layer).__module__:
            skipped[name] = "quantised"
        elif "Linear" in kind and alone:
            linear += 1
        elif not isinstance(layer, ParametrizationList):  # it belongs to a layer listed itself
            for part, weight in layer.named_parameters(recurse=False):
                if not isinstance(weight, UninitializedTensorMixin) and weight.ndim == 4:
                    skipped[f"{name}.{part}"] = f"of {kind}, not of a convolution of torch.nn"
    return measured, _with_linear(skipped, linear, measured)


def find_kernels(
    model: nn.Module | Mapping, folded: bool, example=None, batchnorms: dict | None = None
) -> tuple[list[Kernels], dict[str, str]]:
    """What `analyze_model` measures, in the model's order, and name -> reason for the rest."""
    pairs, notes = {}, {}
    if isinstance(model, Mapping):
        weights, layers, skipped = _read_state_dict(model)
        notes = dict.fromkeys(weights, "a state dict does not say what follows a convolution")
    elif isinstance(model, nn.Module):
        with evaluation_mode(model):  # in training, asking changes a spectral normalisation
            convolutions, skipped = measurable_convolutions(model)
            weights = {name: layer.weight for name, layer in convolutions.items()}
        layers = {name: m for name, m in named_layers(model).items() if is_batchnorm(m)}
        try:
            pairs, notes = follow(model, example) if folded and layers else ({}, {})
        except ValueError as error:
            notes = dict.fromkeys(weights, str(error))
    else:
        kind = type(model).__name__
        raise TypeError(f"model must be an nn.Module or a state dict, found {kind}")
    for pair in (batchnorms or {}).items():
        for name, known in zip(pair, (weights, layers)):
            if name not in known:
                there = ", ".join(known) or "there are none"
                raise ValueError(f"batchnorms names {name!r}; allowed: {there}")
    pairs = pairs | (batchnorms or {}) if folded else {}
    found = []
    for name, weight in weights.items():
        kernels = Kernels(name, weight.detach(), note=notes.get(name, ""))
        if name in pairs:
            try:
                scale = batchnorm_scale(layers[pairs[name]])
                if len(scale) != len(weight):
                    raise ValueError(f"it has {len(scale)} channels, not {len(weight)}")
                kernels = Kernels(name, weight.detach(), scale, pairs[name])
            except ValueError as error:
                kernels = Kernels(name, weight.detach(), note=f"without {pairs[name]}: {error}")
        found.append(kernels)
    return found, skipped


def _why_not(weight: Tensor) -> str:
    """Why a convolution's weight is not measured; "" where it is."""
    if isinstance(weight, UninitializedTensorMixin):
        return "not initialised yet"
    if weight.ndim != 4:
        return "not two-dimensional"
    if weight.is_meta:
        return "on the meta device, without values"
    if not weight.is_floating_point():
        return f"not real floating point: {weight.dtype}"
    return "1x1" if weight.shape[2:] == (1, 1) else ""


def _read_state_dict(content: Mapping) -> tuple[dict, dict, dict[str, str]]:
    """Weights by layer, what is known of BatchNorms by layer, and layers left out: the reason."""
    weights, batchnorms, skipped, linear = {}, {}, {}, 0
    state = flat_state_dict(content)
    for name, values in state.items():
        layer, _, part = name.rpartition(".")
        if part == "running_var":
            batchnorms[layer] = SimpleNamespace(
                running_var=values, weight=state.get(f"{layer}.weight")
            )
        elif part == "weight" and values.ndim > 2:
            reason = _why_not(values)
            (skipped if reason else weights)[layer or WHOLE] = reason or values
        elif values.ndim == 4:
            skipped[name] = "four-dimensional, but not called weight"
        linear += part == "weight" and values.ndim == 2
    return weights, batchnorms, _with_linear(skipped, linear, weights)


def _with_linear(skipped: dict, linear: int, measured: dict) -> dict[str, str]:
    """Linear layers in one line, and a line where there is nothing at all."""
    if linear:
        skipped["(linear layers)"] = f"{linear}, without spatial frequencies"
    if not measured and not skipped:
        skipped[WHOLE] = "no layer that is known as a convolution"
    return skipped
