"""Time of the three spectra: kernels (ResNet-18 and other people's models), sensitivity.

    python tests/benchmarks/bench_spectra.py

Kernels against one batched FFT per layer, and against a loop over the kernels, each transformed
and binned by radius, of which a sample is timed. Sensitivity against the way of its publication
(Godfrey et al., arXiv:2210.01257): one image and one Jacobian in its Fourier coefficients at a time.
"""

import resource
import statistics
import sys
import timeit
from pathlib import Path

import numpy as np
import torch
from torch.autograd.functional import jacobian
from torchvision.models import get_model

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from models.resnet import ResNet18
from utils.recorder import spectrum_rows
from utils.spectra.batchnorm import batchnorm_after_convolution
from utils.spectra.input_sensitivity import DEFAULT_PROBES, MAX_EXACT_OUTPUTS, input_sensitivity
from utils.spectra.kernels import analyze_model
from utils.training.evaluation import for_inference

SAMPLE = 20_000  # kernels that the loop goes through


def median_ms(function, repeats: int = 15) -> float:
    if repeats > 1:  # until clock and threads are as during training
        timeit.Timer(function).autorange()
    return 1000 * statistics.median(timeit.repeat(function, number=1, repeat=repeats))


def say(name: str, ms: float, ours: float) -> None:
    print(f"{name:42s}{ms:12,.1f} ms{ms / ours:12,.1f} x")


def kernels() -> None:
    model = ResNet18()
    batchnorms = batchnorm_after_convolution(model)
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    weights = [conv.weight.detach() for conv in layers if conv.kernel_size == (3, 3)]
    count = sum(w.shape[:2].numel() for w in weights)
    sample = torch.cat([w.flatten(0, 1) for w in weights])[:SAMPLE].numpy()

    def batched():
        return [torch.fft.fft2(w).abs().square().sum((0, 1)) for w in weights]

    def looped():
        for kernel in sample:
            power = np.abs(np.fft.fftshift(np.fft.fft2(kernel))) ** 2
            y, x = np.indices(power.shape) - 1
            radius = np.hypot(y, x).astype(int)
            np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel())

    record = median_ms(lambda: spectrum_rows(model, batchnorms))
    print(f"{count:,} kernels of ResNet-18")
    say("record, raw and BN-folded, float64", record, record)
    say("torch.fft.fft2 by layer, raw, float32", median_ms(batched), record)
    say("loop over kernels, raw", median_ms(looped, 1) * count / len(sample), record)


def other_models() -> None:
    print("analyze_model(..., folded=True), once, after loading; highest memory of the process")
    for name in ("resnet50", "convnext_tiny", "vit_b_16", "vit_b_32", "efficientnet_v2_s"):
        model, usage = get_model(name, weights=None), resource.RUSAGE_SELF
        before = resource.getrusage(usage).ru_maxrss
        ms = median_ms(lambda model=model: analyze_model(model, folded=True), 1)
        more = resource.getrusage(usage).ru_maxrss - before
        print(f"{name:42s}{ms:12,.0f} ms{more / 1024:12,.0f} MB more")


def sensitivity(model, classes: int, images: torch.Tensor, one: int) -> None:
    folded = for_inference(model.to(memory_format=torch.channels_last))

    def one_by_one():
        for spectrum in torch.fft.fft2(images[:one], norm="ortho"):
            jacobian(lambda s: model(torch.fft.ifft2(s[None], norm="ortho").real), spectrum)

    ours = median_ms(lambda: input_sensitivity(folded, images), 5) / len(images)
    way = "one class" if classes <= MAX_EXACT_OUTPUTS else f"{DEFAULT_PROBES} random signs"
    say(f"all images, {way} at a time", ours, ours)
    signs = median_ms(lambda: input_sensitivity(folded, images, probes=1), 5) / len(images)
    say("all images, one vector of signs each", signs, ours)
    say("one image and one Jacobian at a time", median_ms(one_by_one, 1) / one, ours)


def main() -> None:
    torch.manual_seed(0)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    kernels()
    other_models()
    for width in (16, 64):
        print(f"sensitivity of ResNet-18 of width {width}, 32 x 32 pixels, 10 classes, per image")
        sensitivity(ResNet18(width).eval(), 10, torch.rand(64, 3, 32, 32), 8)
    print("sensitivity of torchvision's resnet18, 64 x 64 pixels, 1000 classes, per image")
    sensitivity(get_model("resnet18", weights=None).eval(), 1000, torch.rand(32, 3, 64, 64), 1)


if __name__ == "__main__":
    main()
