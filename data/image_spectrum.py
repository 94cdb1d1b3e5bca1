"""Images with another amplitude spectrum: does what is measured follow the images?

Natural images have amplitudes of about 1/f (Field 1987, "Relations between the statistics of
natural images and the response properties of cortical cells"). Multiplied by the radial frequency
r their spectrum becomes about flat ("whitened"); multiplied by r^2 high frequencies dominate as
low ones do in natural images ("inverted").
"""

import torch
from torch import Tensor

from .batches import ImageSet
from .corruptions import radial_frequency

EXPONENTS = {"natural": 0, "whitened": 1, "inverted": 2}
MEAN, STD = 0.5, 0.15  # pixel units [0, 1]


def with_spectrum(sets: dict[str, ImageSet], kind: str) -> dict[str, ImageSet]:
    """Image sets with their spectrum multiplied by r or r^2, as 8-bit images again.

    One scale for all sets gives the training set a standard deviation of 0.15 around 0.5, before
    clipping to [0, 1].

    Args:
        sets: "train" among them.
        kind: "natural" (returned as they are), "whitened" or "inverted".
    """
    if kind == "natural":
        return sets
    train = sets["train"].images
    gain = radial_frequency(*train.shape[-2:]).float() ** EXPONENTS[kind]
    square = sum(_filter(part, gain).double().square().sum() for part in train.split(1000))
    gain = gain * STD / (square / train.numel()).sqrt().float()
    normal = {"mean": (MEAN,) * 3, "std": (STD,) * 3, "border": round(255 * MEAN)}
    changed = {}
    for name, images in sets.items():
        pixels = torch.cat([_to_bytes(_filter(p, gain)) for p in images.images.split(1000)])
        changed[name] = ImageSet(pixels, images.labels, f"{images.name}, {kind}", **normal)
    return changed


def _filter(images: Tensor, gain: Tensor) -> Tensor:
    spectrum = torch.fft.rfft2(images.float().div_(255)) * gain
    return torch.fft.irfft2(spectrum, images.shape[-2:])


def _to_bytes(images: Tensor) -> Tensor:
    return images.add_(MEAN).clamp_(0, 1).mul_(255).round_().to(torch.uint8)
