"""Planted cues: synthetic images whose class shows at low and, separately, at high frequency.

Every class is planted twice: as a smooth shape (a fixed random pattern of at most 4 cycles per
image, shifted by up to 2 pixels) and as a texture (a grating of at least 10 cycles per image
with random phase), over a background with an amplitude spectrum of 1/f like that of natural
images (Field 1987). Each cue agrees with the label with a set probability, so a model may learn
either. Test sets with one cue only measure which one it learned.

All cues are sums of whole-numbered frequencies on the 32 x 32 grid, so the two bands do not mix.
"""

import math

import torch
from torch import Tensor

from .images import ImageSet

NAME = "PLANTED CUES (synthetic, not CIFAR-10)"
SIZE = 32  # pixels
CLASSES = 10
AGREEMENT = 0.9  # probability that a cue of a training image shows the class of the label
SHIFT = 2  # pixels, largest shift of the shape

BACKGROUND_RMS = 0.12  # root mean squares in pixel units [0, 1]
SHAPE_RMS = 0.05
TEXTURE_RMS = 0.02

# Vertical and horizontal cycles per image.
SHAPE_MODES = [
    (u, v) for u in range(-4, 5) for v in range(5) if (v > 0 or u > 0) and math.hypot(u, v) <= 4
]
TEXTURE_MODES = [(10, 0), (0, 10), (8, 8), (13, 0), (0, 13)]
TEXTURE_MODES += [(12, 6), (6, 12), (13, 13), (15, 5), (5, 15)]  # one for each class


def load(train_images: int, test_images: int) -> dict[str, ImageSet]:
    """Image sets "train" and "test" (both cues), "low cue" and "high cue" (one cue only).

    In the test sets the cues that are there always agree with the label.
    """
    return {
        "train": image_set(train_images, 0, AGREEMENT, AGREEMENT),
        "test": image_set(test_images, 1, 1, 1),
        "low cue": image_set(test_images, 1, 1, None),
        "high cue": image_set(test_images, 1, None, 1),
    }


def image_set(count: int, seed: int, low: float | None, high: float | None) -> ImageSet:
    """Images whose labels and backgrounds depend on count and seed alone.

    `low` is the probability that the shape shows the label's class, not another one, and `high`
    the same of the texture; None leaves the cue out.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("cpu"):  # whatever the default device
        labels = torch.randint(CLASSES, (count,), generator=generator)
        images = BACKGROUND_RMS * pink_noise(count, generator) + 0.5
        for cue, rms, agreement in ((shapes, SHAPE_RMS, low), (textures, TEXTURE_RMS, high)):
            shown = disagree(labels, 1 if agreement is None else agreement, generator)
            pattern = cue(shown, generator)  # also where it is left out, as it draws numbers
            if agreement is not None:
                images += rms * pattern[:, None]  # the same in all three colours
        return ImageSet(images.clamp_(0, 1).mul_(255).round_().to(torch.uint8), labels, NAME)


def disagree(labels: Tensor, agreement: float, generator: torch.Generator) -> Tensor:
    """Labels, each replaced by one of the other classes with probability 1 - agreement."""
    wrong = torch.rand(labels.shape, generator=generator) >= agreement
    offset = torch.randint(1, CLASSES, labels.shape, generator=generator)
    return torch.where(wrong, (labels + offset) % CLASSES, labels)


def shapes(classes: Tensor, generator: torch.Generator) -> Tensor:
    """Low-frequency cue of each class (N,): (N, 32, 32), zero mean, mean square 1."""
    modes = torch.tensor(SHAPE_MODES, dtype=torch.float32)  # (M, 2)
    fixed = torch.Generator().manual_seed(0)  # what the classes look like never changes
    patterns = torch.randn(CLASSES, len(modes), dtype=torch.cfloat, generator=fixed)
    patterns *= math.sqrt(2) / patterns.abs().square().sum(1, keepdim=True).sqrt()
    shift = torch.randint(-SHIFT, SHIFT + 1, (len(classes), 2), generator=generator)
    phase = torch.exp(-2j * math.pi / SIZE * (shift.float() @ modes.T))  # (N, M)
    waves = torch.exp(2j * math.pi / SIZE * _planes(*modes.T).flatten(1))  # (M, 32 * 32)
    return ((patterns[classes] * phase) @ waves).real.view(-1, SIZE, SIZE)


def textures(classes: Tensor, generator: torch.Generator) -> Tensor:
    """High-frequency cue of each class (N,): (N, 32, 32), zero mean, mean square 1."""
    u, v = torch.tensor(TEXTURE_MODES, dtype=torch.float32)[classes].T
    v = v * (torch.randint(2, v.shape, generator=generator) * 2 - 1)  # or its mirror image
    phase = 2 * math.pi * torch.rand(len(classes), 1, 1, generator=generator)
    return math.sqrt(2) * torch.cos(2 * math.pi * (_planes(u, v) / SIZE) + phase)


def _planes(u: Tensor, v: Tensor) -> Tensor:
    """u y + v x at all pixels: (N,), (N,) -> (N, 32, 32)."""
    axis = torch.arange(SIZE, dtype=torch.float32)
    return u.view(-1, 1, 1) * axis[:, None] + v.view(-1, 1, 1) * axis


def pink_noise(count: int, generator: torch.Generator) -> Tensor:
    """Colour images (N, 3, 32, 32) with amplitude 1/f and expected mean square 1."""
    frequency = torch.hypot(torch.fft.fftfreq(SIZE)[:, None], torch.fft.rfftfreq(SIZE)[None])
    amplitude = torch.where(frequency > 0, 1 / frequency, 0)
    # By Parseval the noise has the mean square of the amplitudes of all SIZE^2 coefficients;
    # an rfft holds only half of the columns in between.
    columns = torch.full((SIZE // 2 + 1,), 2.0)
    columns[[0, -1]] = 1
    amplitude /= ((amplitude.square() * columns).sum() / SIZE**2).sqrt()
    noise = torch.empty(count, 3, SIZE, SIZE)
    for part in noise.split(1000):  # in parts that fit into the cache
        white = torch.randn(part.shape, generator=generator)
        white += 2 * white.mean(1, keepdim=True)  # as natural colours are correlated
        white /= math.sqrt(33 / 9)  # the sum has the weights 5/3, 2/3, 2/3
        part.copy_(torch.fft.irfft2(torch.fft.rfft2(white) * amplitude))
    return noise
