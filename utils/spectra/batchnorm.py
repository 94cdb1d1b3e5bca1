"""Which BatchNorm follows which convolution in a network, and by what it scales the kernels."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from .modules import bare, evaluation_mode, named_layers, one_line

SIZES = (64, 224, 32)  # pixels of the noise image that is tried where no example is given
SHAPES = ("shape", "size", "dim", "ndim", "dtype", "device")  # no use of a tensor's values


def following_batchnorms(model: nn.Module, example=None, traced: bool = False) -> dict[str, str]:
    """Name of each convolution whose output goes to one BatchNorm only -> name of that one.

    What is used more than once has no pair. The way of the data is taken from torch.fx where it
    can trace the model, else from one forward pass.

    Args:
        example: input for that pass: a tensor, a tuple of arguments, or a dictionary of keyword
            arguments; by default a noise image.
        traced: do without that pass, as another input may go another way.

    Raises:
        ValueError: neither was possible.
    """
    return follow(model, example, traced)[0]


def follow(model: nn.Module, example=None, traced: bool = False) -> tuple[dict, dict]:
    """Convolution -> its BatchNorm as above, and convolution -> why it has none after all."""
    layers, model = named_layers(model), bare(model)
    kinds = {m: n for n, m in layers.items() if isinstance(m, nn.Conv2d) or is_batchnorm(m)}
    if all(map(is_batchnorm, kinds)):
        return {}, {}
    with evaluation_mode(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            calls, readers = _trace(model, kinds)
        except Exception as error:  # of the model's code, so of any kind
            problem = f"torch.fx cannot trace {type(model).__name__} ({one_line(error)})"
            if traced:
                raise ValueError(problem) from error
            calls, readers = _run(model, kinds, example, problem)
    pairs, notes = {}, {}
    for conv in (name for layer, name in kinds.items() if not is_batchnorm(layer)):
        # detectron2, and torch for training with quantisation, put it inside the convolution
        inner = [kinds[m] for m in layers[conv].modules() if is_batchnorm(m)]
        found = inner or [n for n in readers[conv] if n in layers and is_batchnorm(layers[n])]
        if calls[conv] != 1:
            notes[conv] = f"it is used {calls[conv]} times"
        elif found and len(inner or readers[conv]) > 1:
            notes[conv] = f"its output goes to {found[0]} and elsewhere"
        elif found and calls[found[0]] > 1:
            notes[conv] = f"{found[0]} is used {calls[found[0]]} times"
        elif found:
            pairs[conv] = found[0]
    return pairs, notes


def batchnorm_scale(bn: nn.Module) -> Tensor:
    """Factor gamma / sqrt(running_var + eps) by which BatchNorm scales each channel: float64.

    A convolution followed by it computes with its kernels times this at inference. The scale
    of the raw kernels then has no effect on the network (van Laarhoven 2017).

    Raises:
        ValueError: it keeps no running variance, or not a finite one.
    """
    variance = bn.running_var
    if variance is None or is_lazy(variance) or variance.is_meta:
        raise ValueError("it keeps no running variance, or none with values yet")
    # not in one step: Apple's GPUs have no float64
    scale = (variance.cpu().to(torch.float64) + getattr(bn, "eps", 1e-5)).rsqrt()
    if bn.weight is not None:
        scale = scale * bn.weight.detach().cpu().to(torch.float64)
    if not scale.isfinite().all():
        raise ValueError("its scale is not finite")
    return scale


def is_batchnorm(layer: nn.Module) -> bool:
    """Also SyncBatchNorm, and the frozen ones of torchvision, detectron2 and transformers."""
    frozen = "BatchNorm" in type(layer).__name__ and hasattr(layer, "running_var")
    return frozen or isinstance(layer, nn.modules.batchnorm._BatchNorm)


def _trace(model: nn.Module, kinds: dict[nn.Module, str]) -> tuple[Counter, dict]:
    """How often each layer is used, and by layer what reads its output."""
    modules = dict(model.named_modules())
    calls, readers = Counter(), defaultdict(set)

    def name(node: fx.Node) -> str:
        return kinds.get(modules.get(node.target), f"{node.op} {node}")

    tracer = _Tracer()
    tracer.kinds = kinds
    for node in tracer.trace(model).nodes:
        if node.op == "call_module":
            calls[name(node)] += 1
            for user in node.users:
                if (user.args[1] if user.target is getattr else user.target) not in SHAPES:
                    readers[name(node)].add(name(user))
        elif node.op == "get_attr":  # a parameter, read from outside its layer
            calls[kinds.get(modules.get(node.target.rpartition(".")[0]))] += 1
    return calls, readers


class _Tracer(fx.Tracer):
    """Looks inside modules that contain layers of interest, and through wrappers."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        inside = any(part in self.kinds for part in module.modules())
        return module in self.kinds or not (inside or type(module) is nn.Identity)

    def call_module(self, module: nn.Module, forward: Callable, args: tuple, kwargs: dict):
        inner = bare(module)
        forward = forward if inner is module else inner.forward
        return super().call_module(inner, forward, args, kwargs)


def _run(model: nn.Module, kinds: dict, example, problem: str) -> tuple[Counter, dict]:
    """As `_trace`, from one forward pass."""
    if any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        raise ValueError(f"{problem}; some of its layers are not initialised yet")
    first = next(layer for layer in kinds if isinstance(layer, nn.Conv2d))
    noise = partial(torch.rand, generator=torch.Generator().manual_seed(0), device="cpu")
    noises = (noise(1, first.in_channels, size, size).to(first.weight) for size in SIZES)
    for given in noises if example is None else [example]:
        args, kwargs = ((), given) if isinstance(given, Mapping) else (given, {})
        watch = _Watch(kinds)
        before = register_module_forward_pre_hook(watch.begin)
        after = register_module_forward_hook(watch.end)
        try:
            with before, after, watch, torch.no_grad():
                output = model(*(args if isinstance(args, tuple) else (args,)), **kwargs)
                watch.note("output", output)
            return watch.calls, watch.readers
        except Exception as error:  # noqa: BLE001 (as above)
            failed = f"; it fails on an example ({one_line(error)})"
    raise ValueError(f"{problem}{failed}; give an example that fits, or batchnorms")


class _Watch(TorchFunctionMode):
    """Notes during a forward pass which layers are used and what reads their outputs."""

    def __init__(self, kinds: dict[nn.Module, str]):
        super().__init__()
        self.kinds, self.inside, self.written = kinds, [], {}
        self.calls, self.readers = Counter(), defaultdict(set)
        self.owners = {id(p): n for m, n in kinds.items() for p in m.parameters(recurse=False)}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):  # not x.shape
            self.note(self.inside[-1] if self.inside else function.__name__, (args, kwargs))
        return result

    def note(self, reader: str, values) -> None:
        for leaf in tree_leaves(values):
            if id(leaf) in self.written:
                self.readers[self.written[id(leaf)][0]].add(reader)
            owner = self.owners.get(id(leaf), reader)
            if owner != reader:  # a parameter, read from outside its layer
                self.calls[owner] += 1

    def begin(self, module, inputs) -> None:
        if module in self.kinds:
            self.calls[self.kinds[module]] += 1
            self.inside.append(self.kinds[module])

    def end(self, module, inputs, output) -> None:
        if module in self.kinds:
            name = self.inside.pop()
            self.written[id(output)] = (name, output)  # kept, so that no other has its id
