"""Corrupting 1,000 test images: one batch at a time, against image by image as is usual.

    python tests/benchmarks/bench_corruptions.py

Image by image stands for the usual packages: NumPy noise, Pillow's resize, SciPy's Gaussian
filter and a NumPy FFT per image. Also prints what part of a sweep at quick scale (three models
of width 16) is spent on corruption.
"""

import sys
import timeit
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data import corruptions, planted
from models.resnet import ResNet18
from utils.training.evaluation import evaluate

F = np.fft.fftfreq(32)
KEEP = (np.hypot(F[:, None], F) <= 0.2)[..., None]
DRAW = np.random.default_rng(0)


def fastest(function, repeats: int) -> float:
    """Seconds of the fastest of a few calls."""
    return min(timeit.repeat(function, number=1, repeat=repeats))


def pillow_resize(image: np.ndarray) -> np.ndarray:
    small = Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((32, 32), Image.Resampling.BILINEAR)) / 255


def numpy_low_pass(image: np.ndarray) -> np.ndarray:
    return np.fft.ifft2(np.fft.fft2(image / 255, axes=(0, 1)) * KEEP, axes=(0, 1)).real


WHITE = corruptions.white_noise((1000, 3, 32, 32), 0)
WAYS = {  # name -> of all images (N, 3, 32, 32) in [0, 1], of one uint8 image (32, 32, 3)
    "Gaussian noise": (
        lambda x: corruptions.gaussian_noise(x, 0.1, WHITE),
        lambda x: np.clip(x / 255 + 0.1 * DRAW.standard_normal(x.shape), 0, 1),
    ),
    "low resolution, antialiased": (
        lambda x: corruptions.low_resolution(x, 16, antialias=True),
        pillow_resize,
    ),
    "Gaussian blur": (
        lambda x: corruptions.gaussian_blur(x, 5),
        lambda x: gaussian_filter(x / 255, (2.3, 2.3, 0), radius=(2, 2, 0)),
    ),
    "ideal low-pass": (lambda x: corruptions.low_pass(x, 0.2), numpy_low_pass),
}


def main() -> None:
    images, total = planted.image_set(1000, 1, 1, 1), 0.0
    pixels = images.images / 255
    one_by_one = images.images.permute(0, 2, 3, 1).contiguous().numpy()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads, 1,000 images")
    for name, (batched, single) in WAYS.items():
        together = fastest(lambda batched=batched: batched(pixels), 5)
        apart = fastest(lambda single=single: [single(image) for image in one_by_one], 2)
        total += together / len(WAYS)
        print(
            f"{name:28} batched {1000 * together:7.1f} ms   image by image "
            f"{1000 * apart:7.1f} ms   ratio {apart / together:5.1f}"
        )
    model = ResNet18(16).to(memory_format=torch.channels_last)
    forward = 3 * fastest(lambda: evaluate(model, images), 3)
    part = 100 * total / (forward + total)
    print(f"corruption takes {part:.1f} % of a sweep with three models of width 16")


if __name__ == "__main__":
    main()
