"""Networks in, spectra of their kernels out, with the BatchNorm that follows each folded in.

table = analyze_model(model, folded=True)  # any nn.Module; or a state dict, not folded
"""

import warnings
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from .. import frequency
from . import batchnorm as norms
from .impulse_response import is_quantised, kernels_of
from .modules import (
    WHOLE,
    class_name,
    evaluation_mode,
    made_into_weight,
    named_layers,
    networks_in,
    one_line,
    plain_names,
)

COLUMNS = ["layer", "kernel_size", "kernels", "energy", "ssr", "high_share", "corner_share"]


def analyze_model(
    model: nn.Module | Mapping,
    folded: bool = False,
    cutoff: float = frequency.CUTOFF,
    example=None,
    batchnorms: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Measure the spectra of all convolutions of a model, which is not changed.

    Args:
        model: any nn.Module, wrapped and compiled ones too; or a state dict, whose
            four-dimensional floating-point weights are taken for convolutions.
        folded: measure the effective kernels of convolutions followed by BatchNorm.
        cutoff: start of the high band, cycles/pixel.
        example: as for `batchnorm.batchnorm_after_convolution`.
        batchnorms: convolution -> BatchNorm to fold into it, for what is not found otherwise.

    Returns one row per convolution: layer, kernel_size, kernels (their number), energy, ssr
    (against white kernels), high_share, corner_share, with `folded` also batchnorm (the layer
    folded in, if any) and note (why none is), and for each radius r of the kernel size, in
    kernel taps, a column db_r, the density against white in dB. r has four decimals, or more
    where two columns would get one name. `.attrs["skipped"]` maps layers left out to the reason.

    Raises:
        ValueError: `batchnorms` names a layer that is not there.
    """
    return kernel_spectra(model, folded, cutoff, example, batchnorms)[0]


def kernel_spectra(
    model, folded: bool, cutoff: float, example=None, batchnorms=None, reference: dict | None = None
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return the table of `analyze_model`, and by layer the autocorrelation of its kernels.

    Args:
        reference: autocorrelations by layer of another model, to measure ssr and levels against
            instead of white kernels. Layers that it has not, or in another size, are left out.
    """
    weights, known, skipped, notes = _layers(model)
    if not weights and not skipped:
        skipped[WHOLE] = "no layer that is known as a convolution"
    for pair in (batchnorms or {}).items():
        for name, there in zip(pair, (weights, known)):
            if name not in there:
                there = ", ".join(there) or "there are none"
                raise ValueError(f"batchnorms names {name!r}; allowed: {there}")
    pairs = {}
    if folded and known and isinstance(model, nn.Module):
        try:
            pairs, notes = norms.pairs_and_notes(model, example)
        except ValueError as error:
            notes = dict.fromkeys(weights, str(error))
    pairs |= batchnorms or {} if folded else {}
    rows, levels, correlations = [], [], {}
    for name, weight in weights.items():
        try:
            gain, *fate = _fold(weight, known, pairs.get(name), notes.get(name, ""))
            correlation = frequency.kernel_autocorrelation(weight, gain[None])[0]
            spectrum = frequency.spectrum_from_autocorrelation(correlation)
            if spectrum.total == 0:
                raise ValueError("all its kernels are zero")
            against = replace(spectrum, energy=spectrum.multiplicity)  # white kernels
            if reference is not None:
                if np.shape(reference.get(name)) != correlation.shape:
                    raise ValueError("the other model has no such layer")
                against = frequency.spectrum_from_autocorrelation(reference[name])
        except Exception as error:  # noqa: BLE001 (tensors of other libraries can raise anything)
            skipped[name] = one_line(error)
            continue
        correlations[name] = correlation
        with np.errstate(invalid="ignore"):  # no energy at some radius in both
            db = spectrum.white_db - against.white_db
        levels.append(dict(zip(spectrum.radius.round(12), db)))
        shares = spectrum.high_share(cutoff), spectrum.corner_share
        ssr = frequency.spectral_suppression_ratio(against, spectrum, cutoff)
        size, kernels = "{}x{}".format(*weight.shape[2:]), weight.shape[:2].numel()
        rows.append([name, size, kernels, spectrum.total, ssr, *shares, *fate])
    names = [*COLUMNS, "batchnorm", "note"]
    table = pd.DataFrame(rows, columns=names)[names if folded else COLUMNS]
    decibels = pd.DataFrame(levels, table.index).sort_index(axis=1)
    columns = ([f"db_{radius:.{n}f}" for radius in decibels] for n in range(4, 13))
    unique = next(names for names in columns if len({*names}) == len(names))
    table = table.join(decibels.set_axis(unique, axis=1))
    table.attrs["skipped"] = skipped
    return table, correlations


def by_offset(correlations: dict[str, np.ndarray]) -> pd.Series:
    """Write autocorrelations by layer as one column with the index (layer, dy, dx)."""
    columns = {}
    for layer, values in correlations.items():
        dy, dx = (np.arange(n) - n // 2 for n in values.shape)
        columns[layer] = pd.DataFrame(values, dy, dx).stack()
    return pd.concat(columns, names=["layer", "dy", "dx"])


def raw_and_folded(model: nn.Module | Mapping, batchnorms: dict[str, str]) -> dict[str, np.ndarray]:
    """Autocorrelations of the kernels of every convolution, raw and folded, in one pass.

    Args:
        batchnorms: convolution -> BatchNorm to fold into it; where there is none both are raw.

    Returns by layer float64 (2, 2 kh - 1, 2 kw - 1). Layers whose weights are not numbers are
    left out with a warning, so that a training that diverges is not ended by its record.

    Raises:
        ValueError: the model has no convolution to measure; says why.
    """
    weights, known, skipped, _ = _layers(model)
    if not weights:
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
        raise ValueError(f"no convolution to measure ({reasons or 'there is none'})")
    found = {}
    for name, weight in weights.items():
        gain = _fold(weight, known, batchnorms.get(name), "")[0].to(torch.float64)
        try:
            gains = torch.stack([torch.ones_like(gain), gain])
            found[name] = frequency.kernel_autocorrelation(weight, gains)
        except ValueError as error:
            warnings.warn(f"{name} is left out: {error}", stacklevel=2)
    return found


def _fold(weight: Tensor, known: dict, bn: str | None, note: str) -> tuple[Tensor, str | None, str]:
    """Factor of the power of each filter, the BatchNorm folded in, and why none is."""
    if bn:
        try:
            scale = norms.batchnorm_scale(known[bn])
            if len(scale) == len(weight):
                return scale.square(), bn, ""
            note = f"without {bn}: it has {len(scale)} channels, not {len(weight)}"
        except ValueError as error:
            note = f"without {bn}: {error}"
    return torch.ones(len(weight), device="cpu"), None, note


def measurable_convolutions(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Name -> convolution with a spatial spectrum, and name -> reason for those without."""
    measured, skipped, linear = {}, {}, 0
    for name, layer in named_layers(model).items():
        kind = class_name(layer)
        alone = not [*layer.children()]
        script = isinstance(layer, torch.jit.ScriptModule)
        if isinstance(layer, nn.modules.conv._ConvTransposeNd):
            skipped[name] = "transposed"
        elif script and "Conv" in kind and alone and not hasattr(layer, "stride"):
            skipped[name] = "traced TorchScript; analyse the model it was made from"
        elif (
            isinstance(layer, nn.modules.conv._ConvNd)
            or ("Conv" in kind and is_quantised(layer))
            or norms.is_convolution(layer)
        ):
            weight = layer.weight() if is_quantised(layer) else layer.weight
            reason = _why_not(weight)
            (skipped if reason else measured)[name] = reason or layer
        elif "Linear" in kind and alone:
            linear += 1
            skipped["(linear layers)"] = f"{linear}, without spatial frequencies"
        elif not isinstance(layer, ParametrizationList):  # it belongs to a layer listed itself
            for part, weight in layer.named_parameters(recurse=False):
                if not is_lazy(weight) and weight.ndim == 4:
                    skipped[f"{name}.{part}"] = f"of {kind}, not of a convolution of torch.nn"
    return measured, skipped


def _layers(model) -> tuple[dict[str, Tensor], dict, dict[str, str], dict[str, str]]:
    """By layer, in the model's order: weights, BatchNorms, why it is left out, and notes."""
    weights = {}
    if isinstance(model, nn.Module):
        with evaluation_mode(model):  # in training, asking changes spectral norms
            layers, skipped = measurable_convolutions(model)
            for name, layer in layers.items():
                try:
                    weights[name] = kernels_of(layer)
                except Exception as error:  # noqa: BLE001 (other people's layers)
                    skipped[name] = one_line(error)
        known = {n: m for n, m in named_layers(model).items() if norms.is_batchnorm(m)}
        return weights, known, skipped, {}
    if not isinstance(model, Mapping):
        raise TypeError(f"model must be an nn.Module or a state dict, found {type(model)}")
    known, skipped, linear = {}, {}, 0
    state = plain_names(next(iter(networks_in(model).values()), {}))
    for name, values in state.items():
        layer, _, part = name.rpartition(".")
        if part == "running_var":
            scale = state.get(f"{layer}.weight")
            known[layer] = SimpleNamespace(running_var=values, weight=scale)
        elif part == "weight" and values.ndim > 2:
            reason = _why_not(values)
            (skipped if reason else weights)[layer or WHOLE] = reason or values
        elif values.ndim == 4 and made_into_weight(name):
            skipped[name] = "part of a weight that a state dict does not make; analyse the model"
        elif values.ndim == 4:
            skipped[name] = "four-dimensional, but not called weight"
        elif part == "weight" and values.ndim == 2:
            linear += 1
            skipped["(linear layers)"] = f"{linear}, without spatial frequencies"
    notes = dict.fromkeys(weights, "a state dict does not say what follows a convolution")
    return weights, known, skipped, notes


def _why_not(weight: Tensor) -> str:
    """Why a convolution's weight is not measured; "" where it is."""
    if is_lazy(weight):
        return "not initialised yet"
    if weight.ndim != 4:
        return "not two-dimensional"
    if weight.is_meta:
        return "on the meta device, without values"
    if not (weight.is_floating_point() or weight.is_quantized):
        return f"not real floating point: {weight.dtype}"
    if weight.layout != torch.strided:
        return f"not dense: {weight.layout}"
    return "1x1" if weight.shape[2:] == (1, 1) else ""
