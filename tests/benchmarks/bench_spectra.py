"""Time to record the spectra of all 3x3 convolutions of ResNet-18 at full width.

    python tests/benchmarks/bench_spectra.py

Against one batched FFT per layer, and against a loop over the kernels, each transformed and
binned by radius, of which a sample is timed.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from models.resnet import ResNet18
from utils.batchnorm import following_batchnorms
from utils.model_spectra import measurable_convolutions
from utils.records import spectra

SAMPLE = 20_000  # kernels that the loop goes through


def median_ms(function, repeats: int = 15) -> float:
    times = []
    start = time.perf_counter()
    while repeats > 1 and time.perf_counter() - start < 2:
        function()  # until clock and threads are as during training
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main() -> None:
    torch.manual_seed(0)
    model = ResNet18()
    batchnorms = following_batchnorms(model)
    layers = measurable_convolutions(model)[0].values()
    weights = [conv.weight.detach() for conv in layers if conv.kernel_size == (3, 3)]
    kernels = sum(w.shape[:2].numel() for w in weights)
    sample = torch.cat([w.flatten(0, 1) for w in weights])[:SAMPLE].numpy()

    def batched():
        return [torch.fft.fft2(w).abs().square().sum((0, 1)) for w in weights]

    def looped():
        for kernel in sample:
            power = np.abs(np.fft.fftshift(np.fft.fft2(kernel))) ** 2
            y, x = np.indices(power.shape) - 1
            radius = np.hypot(y, x).astype(int)
            np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel())

    record = median_ms(lambda: spectra(model, batchnorms))
    rows = [
        ("record, raw and BN-folded, float64", record),
        ("torch.fft.fft2 by layer, raw, float32", median_ms(batched)),
        ("loop over kernels, raw", median_ms(looped, 1) * kernels / len(sample)),
    ]
    print(f"{kernels:,} kernels, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, ms in rows:
        print(f"{name:40s}{ms:12,.1f} ms{ms / record:12,.1f} x")


if __name__ == "__main__":
    main()
