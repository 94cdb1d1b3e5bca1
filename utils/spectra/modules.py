"""The parts of somebody's network by their plain names, and a moment in evaluation mode."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

WRAPPERS = (nn.DataParallel, DistributedDataParallel, AveragedModel)
WHOLE = "(model)"  # the name of a model that has no parts
KEYS = ("state_dict", "model_state_dict", "model", "ema")  # whose weights are taken, first first


def bare(model: nn.Module) -> nn.Module:
    """The model inside DataParallel, DistributedDataParallel, torch.compile and averages."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, found {type(model).__name__}")
    while isinstance(model, WRAPPERS) or "_orig_mod" in model._modules:
        model = model.module if isinstance(model, WRAPPERS) else model._orig_mod
    return model


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """All modules by name, without what wrappers and torch.compile add to names."""
    modules = bare(model).named_modules()
    return {re.sub(r"\b_orig_mod\.|\._orig_mod$", "", n) or WHOLE: m for n, m in modules}


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, uncompiled; afterwards modules have the attributes and buffers they had."""
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


def flat_state_dict(content) -> dict[str, Tensor]:
    """The tensors by name in a state dict, or in the first of those inside a checkpoint.

    Names lose `module.` and `_orig_mod.`, which wrappers and torch.compile add.
    """
    networks = networks_in(content)
    return plain_names(next(iter(networks.values()), {}))


def networks_in(content) -> dict[str, dict[str, Tensor]]:
    """State dicts with kernels of convolutions in a checkpoint, by place ("ema.module"; "" is the
    checkpoint itself), in order of preference; the first without kernels where there are none."""
    found = dict(_state_dicts(content))
    holding = {
        place: s for place, s in found.items() if any(is_kernel(*pair) for pair in s.items())
    }
    return holding or dict([*found.items()][:1])


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names without `module.` and `_orig_mod.`, and without control characters."""
    plain = {}
    for name, values in state.items():
        shown = "".join(c if c.isprintable() else "?" for c in name)
        shown = re.sub(r"^(module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.", "", shown)
        plain[name if shown in plain else shown] = values
    return plain


def _state_dicts(
    content, place: str = "", depth: int = 4
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Place and tensors of every dictionary in nested ones, those under KEYS first."""
    if not isinstance(content, Mapping) or not depth:
        return
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    yield place, {name: value for name, value in named.items() if isinstance(value, Tensor)}
    for name in sorted(named, key=lambda n: KEYS.index(n) if n in KEYS else len(KEYS)):
        yield from _state_dicts(named[name], f"{place}.{name}".lstrip("."), depth - 1)


def is_kernel(name: str, values: Tensor) -> bool:
    return values.ndim == 4 and name.rpartition(".")[2] == "weight"


def one_line(error: Exception) -> str:
    """What other people's code says went wrong, on one line of some length."""
    text = " ".join(str(getattr(error, "reason", error)).split())
    return text[:200] or type(error).__name__
