"""Corrupting 1,000 test images: one batch at a time, against image by image as is usual.

    python tests/benchmarks/bench_corruptions.py

Image by image stands for the usual packages: NumPy noise, Pillow's resize, SciPy's Gaussian
filter and a NumPy FFT per image. Also prints what part of a sweep at quick scale (three models
of width 16) is spent on corruption.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data import corruptions, planted
from models.resnet import ResNet18
from utils.training.evaluation import evaluate

REPEATS = 5


def fastest(function, repeats=REPEATS) -> float:
    """Seconds of the fastest of a few calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def pillow_resize(image: np.ndarray, size: int) -> np.ndarray:
    small = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((32, 32), Image.Resampling.BILINEAR)) / 255


def numpy_low_pass(image: np.ndarray, cutoff: float) -> np.ndarray:
    f = np.fft.fftfreq(32)
    keep = (np.hypot(f[:, None], f) <= cutoff)[..., None]
    return np.fft.ifft2(np.fft.fft2(image / 255, axes=(0, 1)) * keep, axes=(0, 1)).real


def main() -> None:
    images = planted.image_set(1000, 1, 1, 1)
    pixels = images.images / 255
    white = corruptions.white_noise(pixels.shape, 0)
    generator = np.random.default_rng(0)
    one_by_one = images.images.permute(0, 2, 3, 1).contiguous().numpy()
    ways = {
        "Gaussian noise": (
            lambda: corruptions.gaussian_noise(pixels, 0.1, white),
            lambda x: np.clip(x / 255 + 0.1 * generator.standard_normal(x.shape), 0, 1),
        ),
        "low resolution, antialiased": (
            lambda: corruptions.low_resolution(pixels, 16, antialias=True),
            lambda x: pillow_resize(x, 16),
        ),
        "Gaussian blur": (
            lambda: corruptions.gaussian_blur(pixels, 5),
            lambda x: gaussian_filter(x / 255, (2.3, 2.3, 0), radius=(2, 2, 0)),
        ),
        "ideal low-pass": (
            lambda: corruptions.low_pass(pixels, 0.2),
            lambda x: numpy_low_pass(x, 0.2),
        ),
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads, 1,000 images")
    total = 0.0
    for name, (batched, single) in ways.items():
        together = fastest(batched)
        apart = fastest(lambda single=single: [single(image) for image in one_by_one], 2)
        total += together
        print(
            f"{name:28} batched {1000 * together:7.1f} ms   image by image "
            f"{1000 * apart:7.1f} ms   ratio {apart / together:5.1f}"
        )
    model = ResNet18(16).to(memory_format=torch.channels_last)
    forward = 3 * fastest(lambda: evaluate(model, images), 3)
    part = total / len(ways) / (forward + total / len(ways))
    print(f"corruption takes {100 * part:.1f} % of a sweep with three models of width 16")


if __name__ == "__main__":
    main()
