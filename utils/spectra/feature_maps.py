"""What passes through a network, by spatial frequency.

    features = feature_spectra(model, images)

Images are (N, C, H, W) on any device: floats in the units that the model takes, or uint8, which
become [0, 1]. Anything else is refused with a ValueError. A model that takes normalised images can
be given as nn.Sequential(normalisation, model). It is measured in evaluation mode, on its own
device, and not changed.
"""

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

from ..frequency import radial_orbits, spectrum_from_power
from .modules import bare, evaluation_mode, named_layers

SMALLEST = 4  # pixels along an edge of a feature map with a spectrum
CHUNK = 2**20  # numbers transformed at a time

CHANNELS_FIRST = (conv._ConvNd, batchnorm._NormBase, pooling._MaxPoolNd, pooling._AvgPoolNd)
COLUMNS = ["layer", "module", "channels", "height", "width", "radius", "multiplicity", "power"]
COLUMNS += ["db", "relative_log_amplitude"]


@torch.inference_mode(False)
@torch.no_grad()
def feature_spectra(model: nn.Module, images, batch: int = 32) -> pd.DataFrame:
    """Power spectra of the feature maps of every layer (Park & Kim, ICLR 2022).

    Outputs (B, C, h, w) are maps, also with the channels last, and so are square grids of tokens
    (B, h w, C), a class token in front left out. Containers count where they add something to
    what their last part returns; a layer used again has a number behind its name.

    Args:
        images: (N, C, H, W).
        batch: images at a time. The result does not depend on it.

    Returns a row per layer, in the order of their use, and exact radius (cycles per pixel of the
    map): layer, module (its class), channels, height, width, radius, multiplicity, power (mean
    |DFT|^2 of an orthonormal DFT over images, channels and the radius), db (power relative to the
    lowest radius above zero) and, on the diagonal of square maps, relative_log_amplitude: mean
    over images and channels of log(|DFT| + 1e-6), minus that at zero frequency, as in
    arXiv:2202.06709. `.attrs["skipped"]` maps layers without a map to the reason.
    """
    inside, found, skipped = bare(model), {}, {}
    seen, last = Counter(), []

    def note(name: str, module: nn.Module, _, output) -> None:
        version = (id(output), getattr(output, "_version", 0))
        if isinstance(module, nn.Sequential) and last[:1] == [version]:
            return  # what its last part returned
        last[:] = [version, output]  # kept, so that no other has its id
        seen[name] += 1
        name = name if seen[name] == 1 else f"{name} #{seen[name]}"
        maps = _maps(output, module, shape)
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
        stack.enter_context(evaluation_mode(inside))
        for name, module in named_layers(model).items():
            stack.enter_context(module.register_forward_hook(partial(note, name)))
        for pixels in image_batches(inside, images, batch):
            shape = pixels.shape
            seen.clear()
            inside(pixels)
    for name, module in named_layers(model).items():
        if not seen[name] and not [*module.children()]:
            skipped[name] = "not used, or not by a call that can be watched"
    rows = [_feature_rows(name, len(images), *sums) for name, sums in found.items()]
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)
    table.attrs["skipped"] = skipped
    return table


def _feature_rows(name, images, power, log, module, channels) -> pd.DataFrame:
    """The rows of one layer from its sums over images and channels."""
    spectrum = spectrum_from_power(np.fft.fftshift(power) / (images * channels))
    with np.errstate(divide="ignore", invalid="ignore"):  # layers without any signal
        db = 10 * np.log10(spectrum.density / spectrum.density[1])
    relative = np.full(len(db), np.nan)
    if power.shape[0] == power.shape[1]:
        places = radial_orbits(*power.shape)[2].diagonal()[: len(power) // 2 + 1]
        relative[places] = (log[: len(places)] - log[0]) / (images * channels)
    values = [name, module, channels, *power.shape, spectrum.radius, spectrum.multiplicity]
    return pd.DataFrame(dict(zip(COLUMNS, [*values, spectrum.density, db, relative])))


def _maps(output, module: nn.Module, images: torch.Size) -> Tensor | str:
    """What a layer returned as maps (B, C, h, w), or why it is none."""
    output = first_tensor(output)
    if output is None or not output.is_floating_point():
        return "returns no real tensor"
    text = f"returns {tuple(output.shape)}, no map of the image"
    if output.ndim not in (3, 4) or len(output) != images[0]:
        return text
    if output.ndim == 3:
        tokens = output.shape[1]
        edge = int(tokens**0.5)
        if isinstance(module, CHANNELS_FIRST) or tokens - edge**2 not in (0, 1):
            return text
        output = output[:, tokens - edge**2 :].unflatten(1, (edge, edge)).permute(0, 3, 1, 2)
    elif not isinstance(module, CHANNELS_FIRST):
        a, b, c = output.shape[1:]
        image = np.log(images[2] / images[3])
        first, last = (abs(np.log(height / width) - image) for height, width in ((b, c), (a, b)))
        if min(first, last) > 0.25:  # more than rounding does to small maps
            return text
        norm = type(module) is nn.LayerNorm and len(module.normalized_shape) == 1
        if last < first or norm or isinstance(module, nn.Linear):
            output = output.permute(0, 3, 1, 2)
    if min(output.shape[2:]) < SMALLEST:
        return "smaller than {} x {}: {} x {}".format(SMALLEST, SMALLEST, *output.shape[2:])
    return output


def amplitudes(maps: Tensor) -> Iterator[Tensor]:
    """|DFT|, orthonormal and float64, of a few (B, C, h, w) at a time."""
    maps = maps.detach()
    maps = maps.cpu() if maps.device.type == "mps" else maps  # no float64 there
    for part in maps.split(max(1, CHUNK // maps[0].numel())):
        yield torch.fft.fft2(part.to(torch.float64), norm="ortho").abs()


def image_batches(model: nn.Module, images, size: int) -> Iterator[Tensor]:
    """Copies of the images as the model takes them, on its device."""
    images = torch.as_tensor(images) if isinstance(images, np.ndarray) else images
    found = f"{getattr(images, 'dtype', type(images).__name__)} {(*getattr(images, 'shape', ()),)}"
    right = isinstance(images, Tensor) and images.ndim == 4 and len(images)
    if not right or not (images.is_floating_point() or images.dtype == torch.uint8):
        raise ValueError(f"images must be (N, C, H, W), floats or uint8, found {found}")
    weights = (w for w in (*model.parameters(), *model.buffers()) if w.is_floating_point())
    like = next(weights, images if images.is_floating_point() else images[:0].float())
    for part in images.split(size):
        scale = 1 if part.is_floating_point() else 255
        yield part.to(like.device, like.dtype, copy=True).div_(scale)


def first_tensor(output) -> Tensor | None:
    """A model's tensor: its `logits`, or the first of several."""
    output = getattr(output, "logits", output)
    if isinstance(output, dict):
        output = output.get("logits", [*output.values()])
    tensors = (leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
    return next((tensor for tensor in tensors if tensor.ndim), None)
