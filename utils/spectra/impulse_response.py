"""The kernels of a convolution of any class: what it does to an image, not what it stores.

A subclass may standardise, mask, scale or round its weights in `forward`, a hook may compute them
before it, and an attribute may be stale. So a layer that is not exactly nn.Conv2d is run.
"""

import itertools
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair
from torch.nn.parameter import is_lazy

from .batchnorm import is_batchnorm
from .modules import noise

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
        ValueError: its weight has no spectrum, it is not linear in its input, or no convolution of
            its kernel size.
    """
    quantised = callable(layer.weight)  # as of torch.ao.nn.quantized
    weight = layer.weight() if quantised else layer.weight
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    if reason := "transposed" if transposed else why_not(weight):
        raise ValueError(reason)
    if quantised:
        return weight.dequantize()
    changed = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    plain = type(layer) is nn.Conv2d and not changed
    if plain and type(layer._parameters.get("weight")) is nn.Parameter:
        return weight
    with ExitStack() as stack:
        for part in layer.modules():
            if is_batchnorm(part):
                skip = part.register_forward_hook(lambda bn, inputs, output: inputs[0])
                stack.enter_context(skip)
        for values in layer.parameters():  # that the layer itself may change, as by a mask
            stack.callback(lambda v, before: v.data.copy_(before), values, values.clone())
        script = isinstance(layer, torch.jit.ScriptModule)
        if not script and (bias := layer._parameters.get("bias")) is not None:
            stack.callback(layer._parameters.update, bias=bias)
            layer._parameters["bias"] = nn.Parameter(torch.zeros_like(bias))
        return _impulse_response(layer)


def why_not(weight: Tensor) -> str:
    """Why a convolution's weight has no spectrum; "" where it has."""
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


def _impulse_response(layer: nn.Module) -> Tensor:
    """Kernels from the response to an impulse in every channel of a group, one at a time."""
    weight, groups = layer.weight, getattr(layer, "groups", 1)
    channels = weight.shape[1] * groups
    kernel = _pair(getattr(layer, "kernel_size", weight.shape[2:]))
    stride, dilation = (_pair(getattr(layer, name, 1)) for name in ("stride", "dilation"))
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation)]
    mirrors = getattr(layer, "padding_mode", "zeros") != "zeros"
    margin = [e - 1 + e * mirrors for e in extent]  # of an image around an impulse
    edges = [2 * m + s for m, s in zip(margin, stride)]
    images = noise(2, channels, *(n + 4 * s for n, s in zip(edges, stride)))
    respond = _linear_part(layer, images.to(weight), stride)

    def by_distance(amplitudes: Tensor) -> Tensor:
        """Responses (B, out, H, W), by distance from an impulse of the amplitudes (B, in)."""
        x = weight.new_zeros(*stride, *amplitudes.shape, *edges)
        for a, b in itertools.product(*map(range, stride)):  # a stride skips some distances
            x[a, b, :, :, margin[0] + a, margin[1] + b] = amplitudes
        y = respond(x.flatten(0, 2)).unflatten(0, (*stride, len(amplitudes)))
        return y.flip(0, 1).permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)

    every = by_distance(noise(1, channels).to(weight))
    energy, window = every.double().square().sum((0, 1)), []
    for axis in (0, 1):  # where most of the response lies: classes pad in their own ways
        places = energy.sum(1 - axis).unfold(0, extent[axis], 1)[:, :: dilation[axis]].sum(1)
        first = int(places.argmax())
        window.append(slice(first, first + extent[axis], dilation[axis]))
    if energy.sum() - energy[tuple(window)].sum() > TOLERANCE**2 * energy.sum():
        raise ValueError("its response to an impulse is larger than its kernel size")
    one_each = torch.eye(channels // groups, device="cpu").repeat(1, groups)  # channel per group
    at_once = max(1, CHUNK // (channels + len(every[0])) // energy.numel())
    parts = one_each.to(weight).split(at_once)
    kernels = torch.cat([by_distance(part)[:, :, *window] for part in parts])
    return kernels.transpose(0, 1).flip(2, 3)


def _linear_part(layer: nn.Module, images: Tensor, stride: tuple[int, int]) -> Callable:
    """The layer as a function of images: f(x) - f(-x), which frees it from what bias is left and
    from activations inside; noise shows that it is linear, and has the stride that it says."""
    x, y = images.split(1)
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
