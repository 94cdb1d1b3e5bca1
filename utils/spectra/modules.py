"""Layers and weights of any network by their plain names, and a network in evaluation mode."""

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

WRAPPERS = (nn.DataParallel, DistributedDataParallel, AveragedModel)
WHOLE = "(model)"  # the name of a model that has no parts
# Entries of a checkpoint that may hold the weights, in order of preference.
KEYS = ("state_dict", "model_state_dict", "model", "ema")
# In a state dict, the weight of a convolution, or the part of which torch.nn.utils makes it.
KERNEL = r"(^|\.)(weight(_orig|_v)?|parametrizations\.weight\.original[01]?)$"


def unwrap(model: nn.Module) -> nn.Module:
    """Take a model out of DataParallel, DistributedDataParallel, torch.compile and averages."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, found {type(model).__name__}")
    while isinstance(model, WRAPPERS) or "_orig_mod" in model._modules:
        model = model.module if isinstance(model, WRAPPERS) else model._orig_mod
    return model


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """List all modules by name, without the prefixes of wrappers and of torch.compile."""
    modules = unwrap(model).named_modules()
    return {re.sub(r"\b_orig_mod\.|\._orig_mod$", "", n) or WHOLE: m for n, m in modules}


def class_name(layer: nn.Module) -> str:
    """Name the class of a layer, of a scripted one that which it was made from."""
    return getattr(layer, "original_name", type(layer).__name__)


def noise(*shape: int) -> Tensor:
    """Normal numbers, the same at every call: no random state and no default device counts."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), device="cpu")


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode, uncompiled; afterwards restore all modules' attributes and buffers."""
    training = [m for m in model.modules() if getattr(m, "training", False)]
    kept = [(m, {**vars(m)}) for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    try:
        for module in training:  # not by eval(), where some models merge weights
            module.training = False
        for module, attributes in kept:
            buffers = attributes["_buffers"].items()
            copies = {n: b if b is None or is_lazy(b) else b.clone() for n, b in buffers}
            vars(module).update(_buffers=copies, _compiled_call_impl=None)
            if "_orig_mod" in module._modules:
                vars(module)["forward"] = module._orig_mod
        yield
    finally:
        for module, attributes in kept:
            vars(module).clear()
            vars(module).update(attributes)
        for module in training:
            module.training = True


def networks_in(content) -> dict[str, dict[str, Tensor]]:
    """State dicts with kernels of convolutions in a checkpoint, by place ("ema.module"; "" is the
    checkpoint itself), in order of preference; the first without kernels where there are none.

    Names are without `module.` and `_orig_mod.`, which wrappers and torch.compile add, and without
    control characters. Pruned, weight- and spectrally normalised layers have the weight that they
    convolve with in place of its parts.
    """
    found = {place: _joined_weights(_plain_names(state)) for place, state in _state_dicts(content)}
    holding = {p: state for p, state in found.items() if any(map(is_kernel, state, state.values()))}
    return holding or dict(itertools.islice(found.items(), 1))


def is_kernel(name: str, values: Tensor) -> bool:
    """Say whether an entry of a state dict can hold the weight of a two-dimensional convolution."""
    return values.ndim == 4 and bool(re.search(KERNEL, name))


def _state_dicts(
    content, place: str = "", depth: int = 4
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield place and tensors of every dictionary in nested ones, those under KEYS first."""
    if not isinstance(content, Mapping) or not depth:
        return
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    yield place, {name: value for name, value in named.items() if isinstance(value, Tensor)}
    for name in sorted(named, key=lambda n: KEYS.index(n) if n in KEYS else len(KEYS)):
        yield from _state_dicts(named[name], f"{place}.{name}".lstrip("."), depth - 1)


def _plain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    plain = {}
    for name, values in state.items():
        shown = "".join(c if c.isprintable() else "?" for c in name)
        shown = re.sub(r"^(module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.", "", shown)
        plain[name if shown in plain else shown] = values
    return plain


def _joined_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    new = "parametrizations.weight."
    ways = [
        (["weight_orig", "weight_mask"], torch.mul),
        (["weight_g", "weight_v"], _weight_normalised),
        ([f"{new}original0", f"{new}original1"], _weight_normalised),
        (["weight_orig", "weight_u", "weight_v"], _spectrally_normalised),
        ([f"{new}original", f"{new}0._u", f"{new}0._v"], _spectrally_normalised),
    ]
    weights, used = {}, set()
    for name, (parts, make) in itertools.product(state, ways):
        layer = name.removesuffix(parts[0])
        names = [layer + part for part in parts]
        with suppress(KeyError, IndexError, RuntimeError):  # absent, or parts of something else
            weights[name] = f"{layer}weight", make(*(state[part] for part in names))
            used.update(names)
    kept = (item for item in state.items() if item[0] in weights or item[0] not in used)
    return dict(weights.get(name, (name, values)) for name, values in kept)


def _weight_normalised(norm: Tensor, direction: Tensor) -> Tensor:
    axes = [axis for axis in range(norm.ndim) if norm.shape[axis] == 1]  # the norm is over them
    if norm.ndim and not axes:
        raise IndexError("no norm")
    return direction * (norm / torch.linalg.vector_norm(direction, dim=axes or None, keepdim=True))


def _spectrally_normalised(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    return weight / (u @ (weight.flatten(1) @ v))


def one_line(error: Exception) -> str:
    """Shorten the message of other people's code to one line."""
    text = " ".join(str(getattr(error, "reason", error)).split())
    return text[:200] or type(error).__name__
