"""Which BatchNorm follows which convolution in a network, and by what it scales the kernels."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, fx, nn
from torch.nn.parameter import is_lazy

from .modules import class_name, evaluation_mode, named_layers, noise, one_line, unwrap

SIZES = (64, 224, 32)  # pixels of the noise image that is tried where no example is given
SHAPES = "shape size dim ndim dtype device"  # no use of a tensor's values
# Functions and methods after which the values of a tensor are still the same.
SAME = "clone contiguous detach cpu cuda to type type_as float double half bfloat16"


def batchnorm_after_convolution(model: nn.Module, example=None, traced: bool = False) -> dict:
    """Name of each convolution whose output goes to one BatchNorm only -> name of that BatchNorm.

    Layers that do nothing at inference may stand between them. A layer that is used more than
    once has no pair. torch.fx follows the data where it can trace the model; else, in a forward
    pass, a pair is a BatchNorm whose input is the tensor that a convolution returned, or a copy.

    Args:
        example: input for that pass: a tensor, a tuple of arguments, or a dictionary of keyword
            arguments; by default a noise image.
        traced: do without that pass, as another input may go another way.

    Raises:
        ValueError: torch.fx cannot trace the model and it has no forward pass on the example.
    """
    return pairs_and_notes(model, example, traced)[0]


@torch.inference_mode(False)
@torch.no_grad()
def pairs_and_notes(model: nn.Module, example=None, traced: bool = False) -> tuple[dict, dict]:
    """Find the pairs as above, and convolution -> why it has no pair although a BatchNorm follows."""
    layers, model = named_layers(model), unwrap(model)
    kinds = {m: n for n, m in layers.items() if is_convolution(m) or is_batchnorm(m)}
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
    """Factor gamma / sqrt(running_var + eps) by which BatchNorm scales each channel: float64 (C,).

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
    frozen = "BatchNorm" in class_name(layer) and hasattr(layer, "running_var")
    return frozen or isinstance(layer, nn.modules.batchnorm._BatchNorm)


def is_convolution(layer: nn.Module) -> bool:
    """Also classes other than torch's that call themselves so and have a weight of four axes."""
    if isinstance(layer, nn.Conv2d) or "ConvTranspose" in class_name(layer):
        return isinstance(layer, nn.Conv2d)
    weight = getattr(layer, "weight", None) if "Conv" in class_name(layer) else None
    return isinstance(weight, Tensor) and not is_lazy(weight) and weight.ndim == 4


def _trace(model: nn.Module, kinds: dict[nn.Module, str]) -> tuple[Counter, dict]:
    """Count how often each layer is used, and list by layer what reads its output."""
    modules = dict(model.named_modules())
    calls, readers = Counter(), defaultdict(set)

    def name(node: fx.Node) -> str:
        return kinds.get(modules.get(node.target), f"{node.op} {node}")

    def read_by(node: fx.Node) -> set[str]:
        found = set()
        for user in node.users:
            if (user.args[1] if user.target is getattr else user.target) in SHAPES.split():
                continue
            layer = modules.get(user.target)
            through = user.args[:1] == (node,) and layer not in kinds and _does_nothing(user, layer)
            found |= read_by(user) if through else {name(user)}
        return found

    tracer = _Tracer()
    tracer.kinds = kinds
    for node in tracer.trace(model).nodes:
        if node.op == "call_module":
            calls[name(node)] += 1
            readers[name(node)] |= read_by(node)
        elif node.op == "get_attr":  # a parameter, read from outside its layer
            calls[kinds.get(modules.get(node.target.rpartition(".")[0]))] += 1
    return calls, readers


def _does_nothing(node: fx.Node, layer: nn.Module | None) -> bool:
    """Say whether a step of the graph returns its input at inference, a layer noise of all scales."""
    if node.op == "call_module":
        values = noise(1, 16, 8, 8) * torch.logspace(-9, 9, 8, device="cpu")
        try:
            return torch.equal(layer(values.clone()), values)
        except Exception:  # noqa: BLE001 (other people's layers, of other sizes)
            return False
    name = getattr(node.target, "__name__", node.target)
    if node.op == "call_function" and "dropout" in name:
        return not node.kwargs.get("training", [*node.args, True, True][2])
    return node.op in ("call_function", "call_method") and name in SAME.split()


class _Tracer(fx.Tracer):
    """Looks inside modules that contain layers of interest, and through wrappers."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        inside = any(part in self.kinds for part in module.modules())
        return module in self.kinds or not inside

    def call_module(self, module: nn.Module, forward: Callable, args: tuple, kwargs: dict):
        inner = unwrap(module)
        forward = forward if inner is module else inner.forward
        return super().call_module(inner, forward, args, kwargs)


def _run(model: nn.Module, kinds: dict, example, problem: str) -> tuple[Counter, dict]:
    """As `_trace`, from one forward pass, of an example or of the first noise image that fits."""
    if any(map(is_lazy, [*model.parameters(), *model.buffers()])):
        raise ValueError(f"{problem}; some of its layers are not initialised yet")
    first = next(layer for layer in kinds if not is_batchnorm(layer))
    channels = getattr(first, "in_channels", 3)
    like = next(first.parameters(), torch.empty(0, device="cpu"))
    images = (noise(1, channels, n, n).sigmoid().to(like) for n in SIZES)
    for given in images if example is None else [example]:
        args, kwargs = ((), given) if isinstance(given, Mapping) else (given, {})
        try:
            return _watch(model, kinds, args if isinstance(args, tuple) else (args,), kwargs)
        except Exception as error:  # noqa: BLE001 (as above)
            failed = f"; it fails on an example ({one_line(error)})"
    raise ValueError(f"{problem}{failed}; give an example that fits, or batchnorms")


def _watch(model: nn.Module, kinds: dict, args: tuple, kwargs: dict) -> tuple[Counter, dict]:
    """As `_trace`, but of the readers only BatchNorms are seen."""
    calls, readers, written = Counter(), defaultdict(set), []

    def note(layer, inputs, output):
        calls[kinds[layer]] += 1
        if not is_batchnorm(layer):
            written.append((kinds[layer], output, output._version))
            return
        for conv, tensor, version in reversed(written):
            same = tensor.shape == inputs[0].shape and torch.equal(tensor, inputs[0].to(tensor))
            if same and tensor._version == version:  # not changed in place since
                readers[conv].add(kinds[layer])
                break

    with ExitStack() as stack:
        for layer in kinds:
            stack.enter_context(layer.register_forward_hook(note))
        model(*args, **kwargs)
    return calls, readers
