"""What passes through a network, by spatial frequency.

    features = feature_spectra(model, images)

Images are (N, C, H, W) on any device: floats in the units that the model takes, or uint8, which
become [0, 1]. Anything else is refused with a ValueError. A model that takes normalised images can
be given as nn.Sequential(normalisation, model). It is measured in evaluation mode, on its own
device, and not changed.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, conv, pooling
from torch.utils._pytree import tree_leaves

from ..frequency import db_against_white, radial_orbits, spectrum_from_power
from .batchnorm import is_batchnorm
from .modules import evaluation_mode, named_layers, unwrap

MIN_MAP_SIZE = 4  # pixels along an edge of a feature map with a spectrum
MAX_PREFIX = 16  # class tokens, registers and the like in front of the tokens of a grid
CHUNK = 2**20  # numbers transformed at a time

CHANNELS_FIRST = (conv._ConvNd, batchnorm._NormBase, pooling._MaxPoolNd, pooling._AvgPoolNd)
CHANNELS_FIRST += (pooling._AdaptiveAvgPoolNd, pooling._AdaptiveMaxPoolNd, nn.Upsample)
CHANNELS_FIRST += (nn.PixelShuffle, nn.GroupNorm)
COLUMNS = ["layer", "module", "channels", "height", "width", "radius", "multiplicity", "power"]
COLUMNS += ["db", "relative_log_amplitude"]


@torch.inference_mode(False)
@torch.no_grad()
def feature_spectra(model: nn.Module, images, batch: int = 32) -> pd.DataFrame:
    """Measure the power spectra of the feature maps of every layer (Park & Kim, ICLR 2022).

    A map has a grid h x w that a convolution or pooling returned before, or the half of a known
    one (patch merging); before the first of them, the image's or a fraction of it. It is an output
    (B, C, h, w) or (B, h, w, C), or tokens (B, h w, C), those in front of the grid (class token,
    registers) left out. Containers count where they add something to what their last part
    returns; a layer used again has a number behind its name.

    Args:
        images: (N, C, H, W).
        batch: images at a time. The result does not depend on it; a warning tells where it does.

    Returns a row per layer, in the order of their use, and exact radius (cycles per pixel of the
    map), with power, the mean of |DFT|^2 (orthonormal) over images, channels and the radius; db,
    relative to the lowest radius above zero; and, on the diagonal of square maps,
    relative_log_amplitude: mean of log(|DFT| + 1e-6) over images and channels, minus that at zero
    frequency, as in arXiv:2202.06709. `.attrs["skipped"]`: layer -> why it has no map.
    """
    warn_of_batches(model)
    layers, found, skipped = named_layers(model), {}, {}
    seen, last = Counter(), []

    def note(name: str, module: nn.Module, args, kwargs, output) -> None:
        version = (id(output), getattr(output, "_version", 0))
        if isinstance(module, nn.Sequential) and last[:1] == [version]:
            return  # what its last part returned
        last[:] = [version, output]  # kept, so that no other has its id
        seen[name] += 1
        name = name if seen[name] == 1 else f"{name} #{seen[name]}"
        maps = grids.maps(module, first_tensor((args, kwargs)), first_tensor(output))
        if isinstance(maps, str) or name in skipped:  # in the first batch already
            skipped.setdefault(name, maps)
            return
        power, log = found.get(name, (0.0, 0.0))[:2]
        for amplitude in amplitudes(maps):
            power = power + amplitude.square().sum((0, 1)).cpu().numpy()
            diagonal = amplitude.diagonal(dim1=2, dim2=3) * maps[0, 0].numel() ** 0.5
            log = log + (diagonal + 1e-6).log().sum((0, 1)).cpu().numpy()
        found[name] = (power, log, type(module).__name__, maps.shape[1])

    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(unwrap(model)))
        for name, module in layers.items():
            hook = module.register_forward_hook(partial(note, name), with_kwargs=True)
            stack.enter_context(hook)
        for pixels in image_batches(unwrap(model), images, batch):
            grids = _Grids(pixels.shape)
            seen.clear()
            unwrap(model)(pixels)
    for name, module in layers.items():
        if not seen[name] and not [*module.children()]:
            skipped[name] = "not used, or not by a call that can be watched"
    rows = [_feature_rows(name, len(images), *sums) for name, sums in found.items()]
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)
    table.attrs["skipped"] = skipped
    return table


def _feature_rows(name, images, power, log, module, channels) -> pd.DataFrame:
    spectrum = spectrum_from_power(np.fft.fftshift(power) / (images * channels))
    db = db_against_white(spectrum.density, spectrum.density[1])
    relative = np.full(len(db), np.nan)
    if power.shape[0] == power.shape[1]:
        places = radial_orbits(*power.shape)[2].diagonal()[: len(power) // 2 + 1]
        relative[places] = (log[: len(places)] - log[0]) / (images * channels)
    values = [name, module, channels, *power.shape, spectrum.radius, spectrum.multiplicity]
    return pd.DataFrame(dict(zip(COLUMNS, [*values, spectrum.density, db, relative])))


class _Grids:
    """Sizes of maps that a forward pass has made so far, and where channels are in its tensors."""

    def __init__(self, images: torch.Size):
        self.batch, self.known, self.made = images[0], [tuple(images[2:])], False
        self.channels = 1  # axis of the latest map

    def maps(self, module: nn.Module, given: Tensor | None, output: Tensor | None) -> Tensor | str:
        """Shape what a layer returned to maps (B, C, h, w), or say why it is none."""
        if output is None or not output.is_floating_point():
            return "returns no real tensor"
        text = f"returns {tuple(output.shape)}, no map of the image"
        if output.ndim not in (3, 4) or len(output) != self.batch or given is None:
            return text
        if _is_attention(given) or _is_attention(output):
            return f"returns {tuple(output.shape)}, made of weights of attention"
        if isinstance(module, CHANNELS_FIRST):
            if output.ndim == 3:
                return text
            self.known = self.known if self.made else []
            self.made, axis, grid = True, 1, tuple(output.shape[2:])
        elif output.ndim == 3:
            axis, grid = 2, self.grid_of_tokens(output.shape[1])
        else:
            axis, grid = self.axis_and_grid(module, given, output)
        if grid is None:
            return text
        self.known = [g for g in self.known if g != grid] + [grid]  # the latest last
        if output.ndim == 3:
            tokens = grid[0] * grid[1]
            output = output[:, -tokens:].unflatten(1, grid)
        else:
            self.channels = output._channels = axis
        if min(grid) < MIN_MAP_SIZE:
            return "smaller than {0} x {0}: {1} x {2}".format(MIN_MAP_SIZE, *grid)
        return output if axis == 1 else output.permute(0, 3, 1, 2)

    def candidates(self) -> list[tuple[int, int]]:
        """List known grids, each before those that merging its pixels makes of it."""
        found = []
        for h, w in self.known:
            factors = [k for k in range(2, min(h, w) + 1) if h % k == w % k == 0]
            halves = [(-(-h // 2), -(-w // 2))]  # odd ones get a pixel more
            found += [(h, w), *(halves if self.made else [(h // k, w // k) for k in factors])]
        return found

    def grid_of_tokens(self, tokens: int) -> tuple[int, int] | None:
        """Find the grid of tokens, the latest of those that leave the fewest in front."""
        fits = {tokens - h * w: (h, w) for h, w in self.candidates() if h * w > 1}
        fronts = [n for n in fits if 0 <= n <= min(MAX_PREFIX, tokens // 2)]
        return fits[min(fronts)] if fronts else None

    def axis_and_grid(self, module: nn.Module, given: Tensor, output: Tensor) -> tuple:
        """Find the axis of the channels, 1 or 3, and the grid of an output with four axes."""
        grids = {1: tuple(output.shape[2:]), 3: tuple(output.shape[1:3])}
        fits = {axis: grid for axis, grid in grids.items() if grid in self.candidates()}
        norm = type(module) is nn.LayerNorm and len(module.normalized_shape) == 1
        if norm or isinstance(module, nn.Linear):
            return 3, fits.get(3)
        if len(fits) < 2:
            return next(iter(fits.items()), (1, None))
        axis = getattr(given, "_channels", self.channels)
        if given.data_ptr() == output.data_ptr() and given.ndim == 4:
            axis = output.stride().index(given.stride(axis))  # perhaps permuted
        return axis, fits.get(axis)


def _is_attention(values: Tensor) -> bool:
    """Say whether a tensor holds distributions over its last axis, as a softmax returns them."""
    if not values.numel() or values.shape[-1] < 2 or not values.is_floating_point():
        return False
    return bool((values.sum(-1) - 1).abs().max() < 1e-2 and values.min() >= 0)


def amplitudes(maps: Tensor) -> Iterator[Tensor]:
    """|DFT|, orthonormal and float64, of a few (B, C, h, w) at a time."""
    maps = maps.detach()
    maps = maps.cpu() if maps.device.type == "mps" else maps  # no float64 there
    for part in maps.split(max(1, CHUNK // maps[0].numel())):
        yield torch.fft.fft2(part.to(torch.float64), norm="ortho").abs()


def image_batches(model: nn.Module, images, size: int) -> Iterator[Tensor]:
    """Yield copies of the images as the model takes them, on its device."""
    images = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
    found = f"{getattr(images, 'dtype', type(images).__name__)} {(*getattr(images, 'shape', ()),)}"
    right = isinstance(images, Tensor) and images.ndim == 4 and len(images)
    if not right or not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ValueError(f"images must be (N, C, H, W), floats or uint8, found {found}")
    weights = (w for w in (*model.parameters(), *model.buffers()) if w.is_floating_point())
    like = next(weights, images if images.is_floating_point() else images[:0].float())
    for part in images.split(size):
        scale = 1 if part.is_floating_point() else 255
        yield part.to(like.device, like.dtype, copy=True).div_(scale)


def warn_of_batches(model: nn.Module) -> None:
    """Warn where BatchNorm keeps no running statistics, so that images of a batch mix."""
    layers = named_layers(model).items()
    mixing = [n for n, m in layers if is_batchnorm(m) and m.running_var is None]
    if mixing:
        text = f"BatchNorm without running statistics ({mixing[0]}) normalises by the batch: "
        warnings.warn(f"{text}the result depends on `batch`", stacklevel=5)


def first_tensor(output) -> Tensor | None:
    """Find the tensor that a model returns: its `logits`, or the first of several."""
    output = getattr(output, "logits", output)
    if isinstance(output, dict):
        output = output.get("logits", [*output.values()])
    tensors = (leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
    return next((tensor for tensor in tensors if tensor.ndim), None)
