"""Images with another amplitude spectrum: does what is measured follow the images?

Natural images have amplitudes of about 1/f (Field 1987, "Relations between the statistics of
natural images and the response properties of cortical cells"). Multiplied by the radial frequency
r their spectrum becomes about flat ("whitened"); multiplied by r^2 high frequencies dominate as
low ones do in natural images ("inverted").
"""

import torch

from .corruptions import filtered, radial_frequency
from .images import ImageSet, to_float

EXPONENTS = {"whitened": 1, "inverted": 2}
MEAN, STD = 0.5, 0.15  # of the training set before clipping, pixel units [0, 1]


def with_spectrum(sets: dict[str, ImageSet], kind: str) -> dict[str, ImageSet]:
    """Image sets, "train" among them, with their spectrum multiplied by r ("whitened") or r^2
    ("inverted"), all on one scale, as 8-bit images again; "natural" ones stay as they are."""
    if kind == "natural":
        return sets
    train = sets["train"].images
    gain = radial_frequency(*train.shape[-2:]).float() ** EXPONENTS[kind]
    parts = (filtered(to_float(part), gain) for part in train.split(1000))
    square = sum(part.double().square().sum() for part in parts)
    gain = gain * STD / (square / train.numel()).sqrt().float()
    normal = {"mean": (MEAN,) * 3, "std": (STD,) * 3, "border": round(255 * MEAN)}
    changed = {}
    for name, images in sets.items():
        parts = (filtered(to_float(part), gain).add_(MEAN) for part in images.images.split(1000))
        pixels = torch.cat([p.clamp_(0, 1).mul_(255).round_().to(torch.uint8) for p in parts])
        changed[name] = ImageSet(pixels, images.labels, f"{images.name}, {kind}", **normal)
    return changed
