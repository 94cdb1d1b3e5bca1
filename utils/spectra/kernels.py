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
from . import modules
from .impulse_response import kernels_of, why_not

COLUMNS = ["layer", "kernel_size", "kernels", "energy", "ssr", "high_share", "corner_share"]
LINEAR = "(linear layers)"


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

    Returns a row per convolution: layer, kernel_size, kernels (their number), energy, ssr (against
    white kernels), high_share, corner_share, with `folded` batchnorm (what is folded in) and note
    (why nothing is), and for each radius r, in kernel taps, db_r, the density against white in dB.
    r has four decimals, or as many as tell all apart. `.attrs["skipped"]`: layer -> why it has none.

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
        skipped[modules.WHOLE] = "no layer that is known as a convolution"
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
    names, rows, correlations = [*COLUMNS, "batchnorm", "note"], [], {}
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
            skipped[name] = modules.one_line(error)
            continue
        correlations[name] = correlation
        ssr = frequency.spectral_suppression_ratio(against, spectrum, cutoff)
        shares = spectrum.high_share(cutoff), spectrum.corner_share
        size, kernels = "{}x{}".format(*weight.shape[2:]), weight.shape[:2].numel()
        with np.errstate(invalid="ignore"):  # no energy at some radius in both
            levels = zip(spectrum.radius.round(12), spectrum.white_db - against.white_db)
        row = [name, size, kernels, spectrum.total, ssr, *shares, *fate]
        rows.append(dict(zip(names, row)) | dict(levels))
    names = names if folded else COLUMNS
    radii = sorted({key for row in rows for key in row if not isinstance(key, str)})
    table = pd.DataFrame(rows, columns=[*names, *radii])
    columns = ([f"db_{radius:.{n}f}" for radius in radii] for n in range(4, 13))
    unique = next(found for found in columns if len({*found}) == len(found))
    table.columns = [*names, *unique]
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


def _layers(model) -> tuple[dict[str, Tensor], dict, dict[str, str], dict[str, str]]:
    """By layer, in the model's order: weights, BatchNorms, why it is left out, and notes."""
    if isinstance(model, Mapping):
        return _layers_of_state_dict(next(iter(modules.networks_in(model).values()), {}))
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module or a state dict, found {type(model)}")
    layers, weights, skipped, linear = modules.named_layers(model), {}, {}, 0
    with modules.evaluation_mode(model):  # in training, asking changes spectral norms
        for name, layer in layers.items():
            kind, alone = modules.class_name(layer), not [*layer.children()]
            try:
                if _is_convolution(layer, kind, alone):
                    weights[name] = kernels_of(layer)
                    continue
            except Exception as error:  # noqa: BLE001 (other people's layers)
                skipped[name] = modules.one_line(error)
                continue
            if "Linear" in kind and alone:
                linear += 1
                skipped[LINEAR] = f"{linear}, without spatial frequencies"
            elif not isinstance(layer, ParametrizationList):  # it belongs to a layer listed itself
                for part, values in layer.named_parameters(recurse=False):
                    if not is_lazy(values) and values.ndim == 4:
                        skipped[f"{name}.{part}"] = f"of {kind}, not of a convolution of torch.nn"
    known = {name: layer for name, layer in layers.items() if norms.is_batchnorm(layer)}
    return weights, known, skipped, {}


def _is_convolution(layer: nn.Module, kind: str, alone: bool) -> bool:
    """Say whether a layer is a convolution; raise a ValueError where its kernels cannot be had."""
    script = isinstance(layer, torch.jit.ScriptModule)
    if script and "Conv" in kind and alone and not hasattr(layer, "stride"):
        raise ValueError("traced TorchScript; analyse the model it was made from")
    quantised = "Conv" in kind and callable(getattr(layer, "weight", None))
    return quantised or isinstance(layer, nn.modules.conv._ConvNd) or norms.is_convolution(layer)


def _layers_of_state_dict(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict, dict, dict]:
    weights, known, skipped, linear = {}, {}, {}, 0
    for name, values in state.items():
        layer, _, part = name.rpartition(".")
        if part == "running_var":
            known[layer] = SimpleNamespace(running_var=values, weight=state.get(f"{layer}.weight"))
        elif part == "weight" and values.ndim > 2:
            reason = why_not(values)
            (skipped if reason else weights)[layer or modules.WHOLE] = reason or values
        elif modules.is_kernel(name, values):
            skipped[name] = "part of a weight that a state dict does not make; analyse the model"
        elif values.ndim == 4:
            skipped[name] = "four-dimensional, but not called weight"
        elif part == "weight" and values.ndim == 2:
            linear += 1
            skipped[LINEAR] = f"{linear}, without spatial frequencies"
    notes = dict.fromkeys(weights, "a state dict does not say what follows a convolution")
    return weights, known, skipped, notes
