"""Loss and accuracy of models on sets of images, clean or corrupted."""

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from tqdm import tqdm

from data.corruptions import fourier_modes
from data.images import ImageSet, Normalize, to_float
from utils.runtime.devices import memory_format
from utils.spectra.batchnorm import batchnorm_after_convolution
from utils.spectra.modules import named_layers, unwrap

# Images at a time: on a CPU few enough for its cache. The result does not depend on it.
BATCH = {"cpu": 64, "mps": 256, "cuda": 1000}
KEY = ("configuration", "seed", "epoch")  # of a model, in tables

# What describes each in a table, and the function of float images (N, 3, H, W) in [0, 1].
Corruptions = Iterable[tuple[dict, Callable[[Tensor], Tensor]]]


def for_inference(model: nn.Module) -> nn.Module:
    """A copy with every BatchNorm folded into its convolution: a third faster on a CPU.

    At inference it is the same function, up to rounding. What cannot be folded with certainty
    stays as it is: layers used twice, of other classes, with hooks, or not to be traced.
    """
    model, fused = unwrap(copy.deepcopy(model).eval()), {}
    layers = named_layers(model)
    with suppress(ValueError):  # not to be traced
        for pair in batchnorm_after_convolution(model, traced=True).items():
            conv, bn = (layers[name] for name in pair)
            known = type(conv) is nn.Conv2d and type(bn) in (nn.BatchNorm2d, nn.SyncBatchNorm)
            hooks = any(layer._forward_hooks or layer._forward_pre_hooks for layer in (conv, bn))
            if known and not hooks and bn.running_var is not None:
                fused |= {conv: fuse_conv_bn_eval(conv, bn), bn: nn.Identity()}
    for parent in [*model.modules()]:
        for name, layer in parent._modules.items():
            parent._modules[name] = fused.get(layer, layer)
    return model


@torch.no_grad()
def evaluate(model: nn.Module, images: ImageSet) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in percent of a model, set to inference, in float32.

    The images, uint8 or already float in [0, 1], must be on its device. Batches become smaller
    where a GPU's memory is too small for them.
    """
    device, normalize = images.labels.device, Normalize(images)
    size, done, losses, correct = BATCH[device.type], 0, [], 0
    model.eval()
    while done < len(images):
        some = images.part(slice(done, done + size))
        pixels = normalize(to_float(some.images))
        try:
            logits = model(pixels.contiguous(memory_format=memory_format(device)))
        except torch.cuda.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            continue
        losses.append(F.cross_entropy(logits, some.labels, reduction="sum"))
        correct += (logits.argmax(1) == some.labels).sum()
        done += size
    loss = math.fsum(torch.stack(losses).tolist())  # in float64, which not every device has
    return loss / len(images), 100 * int(correct) / len(images)


def sweep(
    models: dict[tuple, nn.Module], sets: dict[str, ImageSet], corruptions: Corruptions, bar: tqdm
) -> list[dict]:
    """Accuracy of models, by (configuration, seed, epoch), on every set under every corruption.

    A set is corrupted once, as a whole, so all models see the same images. What leaves the
    images as they were is not evaluated again. `bar` counts the images evaluated.

    Returns rows of (configuration, seed, epoch, images, n_images, the description, accuracy in %).
    """
    rows, of_clean = [], {}
    for description, corrupt in corruptions:
        for name, images in sets.items():
            clean = to_float(images.images)
            corrupted = replace(images, images=corrupt(clean))
            known = of_clean if torch.equal(corrupted.images, clean) else {}
            for key, model in models.items():
                if (name, key) not in known:
                    known[name, key] = evaluate(model, corrupted)[1]
                row = dict(zip(KEY, key)) | {"images": name, "n_images": len(images)}
                rows.append(row | description | {"accuracy": known[name, key]})
                bar.update(len(images))
    return rows


def examples(images: ImageSet, corruptions: Corruptions, levels: int) -> list[dict]:
    """Images under corruptions, to look at: of every corruption some levels, evenly chosen.

    Returns rows of (image, the description, pixels: uint8 (edge, edge, 3)).
    """
    rows = []
    for _, group in itertools.groupby(corruptions, lambda pair: pair[0]["corruption"]):
        found = list(group)
        for i in sorted({len(found) * (2 * i + 1) // (2 * levels) for i in range(levels)}):
            description, corrupt = found[i]
            shown = corrupt(to_float(images.images)).clamp(0, 1).mul(255).round().byte()
            for number, pixels in enumerate(shown.permute(0, 2, 3, 1).cpu().numpy()):
                rows.append({"image": number} | description | {"pixels": pixels})
    return rows


def fourier_errors(
    model: nn.Module, images: Tensor, labels: Tensor, modes: int, norm: float, seed: int
) -> pd.DataFrame:
    """Errors of any classifier under single Fourier modes (Yin et al., NeurIPS 2019), as in C.

    Args:
        model: takes images (N, 3, size, size) in [0, 1].
        labels: (N,), the right output of each.
        modes: at most so many along each axis, evenly.
        norm: L2 norm of a mode in an image of 32 x 32 pixels; per pixel as strong at other sizes.

    Returns a row per mode, both halves of the plane: fy, fx (cycles/pixel), error, standard_error
    (of that many images) and clean_error in %, norm and n_images.
    """
    size = images.shape[-1]
    step = -(-size // modes)
    axis = range(-((size - 1) // 2 // step) * step, size // 2, step)
    half = [(u, v) for u in axis for v in axis if v > 0 or (v == 0 and u >= 0)]
    device = next(model.parameters()).device
    some = ImageSet(images, labels, "", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).to(device)
    noises = fourier_modes(half, images.shape, norm * size / 32, seed, device)
    total = len(images) * (1 + len(half))
    with tqdm(total=total, unit="image", desc="Fourier modes", disable=None) as bar:
        found = pd.DataFrame(sweep({("", 0, 0): model}, {"": some}, noises, bar))
    found["error"] = 100 - found.accuracy
    found = found.assign(clean_error=found.error[0], norm=norm * size / 32).iloc[1:]
    both = pd.concat([found, found.assign(u=-found.u, v=-found.v)]).drop_duplicates(["u", "v"])
    variance = both.error * (100 - both.error) / both.n_images
    both = both.assign(fy=both.u / size, fx=both.v / size, standard_error=variance**0.5)
    names = ["fy", "fx", "error", "standard_error", "clean_error", "norm", "n_images"]
    return both[names].sort_values(["fy", "fx"], ignore_index=True)
