"""The kernels of a convolution of any class: what it does to an image, not what it stores.

A subclass may standardise, mask, scale or round its weights in `forward`, a hook may compute them
before it, and an attribute may be stale. So a layer that is not exactly nn.Conv2d is run.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from .batchnorm import is_batchnorm

CHUNK = 2**22  # numbers of the inputs, or outputs, of a layer that is run
TOLERANCE = 1e-3  # of the largest response: the precision of a number in float16


@torch.inference_mode(False)
@torch.no_grad()
def kernels_of(layer: nn.Module) -> Tensor:
    """Find the kernels (out, in / groups, kh, kw) with which a layer convolves at inference.

    A plain nn.Conv2d is read; any other layer, in evaluation mode, is run on impulses, without its
    bias and without a BatchNorm inside it. An activation f inside it does no harm if
    f(x) - f(-x) = x, as of ReLU, GELU, SiLU.

    Raises:
        ValueError: the layer is not linear in its input, or no convolution of its kernel size.
    """
    if is_quantised(layer):
        return layer.weight().dequantize()
    changed = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    plain = type(layer) is nn.Conv2d and not changed
    if plain and type(layer._parameters.get("weight")) is nn.Parameter:
        return layer.weight
    with _without_bias(layer):
        sizes = _sizes(layer)
        return _impulse_response(_linear_part(layer, **sizes), **sizes)


def is_quantised(layer: nn.Module) -> bool:
    """Say whether a layer gives its weight by a method, as those of torch.ao.nn.quantized do."""
    return callable(getattr(layer, "weight", None))


@contextmanager
def _without_bias(layer: nn.Module) -> Iterator[None]:
    """Take off the bias, and the BatchNorm that some classes have inside.

    Afterwards weights that the layer itself has changed, as by a mask, are as before.
    """
    weights = [(weight, weight.clone()) for weight in layer.parameters()]
    bias = None if isinstance(layer, torch.jit.ScriptModule) else layer._parameters.get("bias")
    with ExitStack() as stack:
        for part in layer.modules():
            if is_batchnorm(part):
                skip = part.register_forward_hook(lambda bn, inputs, output: inputs[0])
                stack.enter_context(skip)
        try:
            if bias is not None:
                layer._parameters["bias"] = nn.Parameter(torch.zeros_like(bias))
            yield
        finally:
            if bias is not None:
                layer._parameters["bias"] = bias
            for weight, before in weights:
                weight.data.copy_(before)


def _sizes(layer: nn.Module) -> dict:
    """Sizes of a convolution along (rows, columns), its channels, and images that suit it."""
    weight, groups = layer.weight, getattr(layer, "groups", 1)
    kernel = _pair(getattr(layer, "kernel_size", weight.shape[2:]))
    stride, dilation = (_pair(getattr(layer, name, 1)) for name in ("stride", "dilation"))
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    mirrors = getattr(layer, "padding_mode", "zeros") != "zeros"
    margin = [e - 1 + e * mirrors for e in extent]  # of the images around an impulse
    empty = weight.new_empty(0, weight.shape[1] * groups, *(2 * m for m in margin))
    names = ("stride", "dilation", "extent", "margin", "groups", "empty")
    return dict(zip(names, (stride, dilation, extent, margin, groups, empty)))


def _linear_part(layer: nn.Module, stride, empty: Tensor, **_) -> Callable:
    """The layer as a function of images: f(x) - f(-x), which frees it from what bias is left and
    from activations inside; noise shows that it is linear, and has the stride that it says."""
    random = torch.Generator().manual_seed(0)
    edges = [n + 5 * s for n, s in zip(empty.shape[2:], stride)]
    x, y = torch.randn(2, 1, empty.shape[1], *edges, generator=random, device="cpu").to(empty)
    images = torch.cat([x, y, x - 3 * y])
    plus, minus = layer(images), layer(-images)
    if not plus.isfinite().all():
        raise ValueError("its response to images is NaN or infinity")
    close = TOLERANCE * plus.abs().max()
    even = (plus + minus) / 2 - layer(torch.zeros_like(x))
    half = 1 if even.abs().max() > close else 0.5  # 1: an activation inside
    found = half * (plus - minus)
    bent = (found[0] - 3 * found[1] - found[2]).abs().max() > 10 * close
    if bent or found.abs().max() < close:  # or f(x) = f(-x)
        raise ValueError(f"{type(layer).__name__} is not linear in its input")
    smaller = layer(x[..., : -stride[0], : -stride[1]])
    if any(n - m != 1 for n, m in zip(plus.shape[2:], smaller.shape[2:])):
        raise ValueError(f"{type(layer).__name__} has another stride than {stride}")
    return lambda x: half * (layer(x) - layer(-x))


def _impulse_response(respond: Callable, stride, dilation, extent, margin, groups, empty) -> Tensor:
    """Kernels from the response to an impulse in every channel, one at a time."""

    def by_distance(amplitudes: Tensor) -> Tensor:
        """Responses (B, out, H, W), by distance from an impulse of the amplitudes (B, in)."""
        edges = [2 * m + s for m, s in zip(margin, stride)]
        x = empty.new_zeros(*stride, *amplitudes.shape, *edges)
        for a, b in itertools.product(*map(range, stride)):  # a stride skips some distances
            x[a, b, :, :, margin[0] + a, margin[1] + b] = amplitudes
        y = respond(x.flatten(0, 2)).unflatten(0, (*stride, len(amplitudes)))
        return y.flip(0, 1).permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)

    channels, window = empty.shape[1], []
    random = torch.Generator().manual_seed(0)
    every = by_distance(torch.randn(1, channels, generator=random, device="cpu").to(empty))
    energy = every.double().square().sum((0, 1))
    for axis in (0, 1):  # where most of the response lies: classes pad in their own ways
        places = energy.sum(1 - axis).unfold(0, extent[axis], 1)[:, :: dilation[axis]].sum(1)
        first = int(places.argmax())
        window.append(slice(first, first + extent[axis], dilation[axis]))
    if energy.sum() - energy[tuple(window)].sum() > TOLERANCE**2 * energy.sum():
        raise ValueError("its response to an impulse is larger than its kernel size")
    one_each = (
        torch.eye(channels // groups, device="cpu").repeat(1, groups).to(empty)
    )  # a channel per group
    at_once = max(1, CHUNK // (channels + len(every[0])) // energy.numel())
    parts = [by_distance(part)[:, :, *window] for part in one_each.split(at_once)]
    return torch.cat(parts).transpose(0, 1).flip(2, 3)
