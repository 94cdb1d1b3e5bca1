"""A whole tiny job of B, C and D, recomputed from its weights and images by other means.

The network, its spectra and every corruption are written out here once more, in float64: discrete
Fourier transforms by numpy, resizing as matrices, blur as a sum of shifted images. Of the project
only the images and the file format of checkpoints are used.
"""

import itertools
import math

import job
import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from data import planted
from utils.training import checkpoints

B = "exp_b_spectrum_evolution.py --dataset planted --device cpu --width 4 --epochs 1 --seeds 0 1 "
B += "--train-images 40 --test-images 120 --batch-size 10 --cutoff 0.4 "
B += "--configurations baseline l2=0.05"
C = "exp_c_robustness.py --device cpu --sigmas 0 0.1 --centres 0.15 0.6 --band-norm 3 "
C += "--heatmap-images 16 --sensitivity-images 6 --cutoff 0.3"
D = "exp_d_resolution_robustness.py --device cpu --resolutions 32 24 12 --blur-sizes 0 3 7 "
D += "--low-pass-cutoffs 0.4 0.2 --high-pass-cutoffs 0.05 0.2"
TEST = planted.image_set(120, 1, 1, 1)
MEAN, STD = (torch.tensor(x).double().view(3, 1, 1) for x in (TEST.mean, TEST.std))


def features(weights: dict, pixels: torch.Tensor) -> torch.Tensor:
    """ResNet-18 at inference up to its linear layer, of images (N, 3, 32, 32) in [0, 1]."""
    w = {name: value.double() for name, value in weights.items()}

    def block(x, conv, bn, stride=1):
        kernel = w[f"{conv}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, var, gamma, beta = (
            w[f"{bn}.{name}"].view(-1, 1, 1)
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * gamma + beta

    x = block((pixels.double() - MEAN) / STD, "conv1", "bn1").relu()
    for i in range(8):
        name, stride = f"blocks.{i}", 2 if i in (2, 4, 6) else 1
        out = block(x, f"{name}.conv1", f"{name}.bn1", stride).relu()
        out = block(out, f"{name}.conv2", f"{name}.bn2")
        if f"{name}.shortcut.0.weight" in w:
            x = block(x, f"{name}.shortcut.0", f"{name}.shortcut.1", stride)
        x = (out + x).relu()
    return x.mean((2, 3))


def logits(weights: dict, pixels: torch.Tensor) -> torch.Tensor:
    return features(weights, pixels) @ weights["fc.weight"].double().T + weights["fc.bias"].double()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Results of the job, and its weights by (configuration, seed), their linear layers fitted to
    the test images, so that accuracies are far from chance and every corruption shows."""
    results = tmp_path_factory.mktemp("whole") / "results"
    locked = {"before": job.write_only_under_a_lock}
    assert job.finish(results, line=B, **locked) == 0
    (folder,) = (results / "checkpoints").glob("planted-*")
    models, clean = {}, TEST.images.double() / 255
    for name, seed in itertools.product(("baseline", "l2=0.05"), (0, 1)):
        path = folder / f"{name}-seed{seed}" / "epoch-001.pt"
        state = checkpoints.load(path, f"{folder.name}/{path.parent.name}")
        inputs = F.pad(features(state["model"], clean), (0, 1), value=1.0)
        targets = F.one_hot(TEST.labels, 10).double()
        found = torch.linalg.lstsq(inputs, targets).solution.T.float()
        state["model"] |= {"fc.weight": found[:, :-1].clone(), "fc.bias": found[:, -1].clone()}
        checkpoints.save(state, path)
        models[name, seed] = state["model"]
    for line in (C, D):
        assert job.finish(results, line=line, **locked) == 0
    return results / "data", folder, models


def accuracies(models: dict, pixels) -> dict:
    """Percent, by (configuration, seed)."""
    pixels = torch.as_tensor(pixels)
    right = {key: logits(w, pixels).argmax(1) == TEST.labels for key, w in models.items()}
    return {key: 100 * float(found.double().mean()) for key, found in right.items()}


def resizing(size: int, new: int, antialias: bool) -> np.ndarray:
    """Matrix (new, size) of bilinear resizing: triangles around the new pixels' centres, as wide
    as an old pixel, or with antialiasing as the wider of the two."""
    scale = size / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    if not antialias:
        centres = centres.clip(0, size - 1)  # the border pixels go on
    width = max(scale, 1) if antialias else 1
    weights = (1 - abs(centres[:, None] - np.arange(size)) / width).clip(0)
    return weights / weights.sum(1, keepdims=True)


def low_resolution(images, size, antialias):
    there, back = resizing(32, size, antialias), resizing(size, 32, False)
    return (back @ there) @ images @ (back @ there).T


def blurred(images, size):
    if size == 0:
        return images
    offsets = np.arange(size) - size // 2
    kernel = np.exp(-(offsets**2) / (2 * (0.3 * size + 0.8) ** 2))
    kernel /= kernel.sum()
    half = size // 2
    padded = np.pad(images, [(0, 0), (0, 0), (half, half), (half, half)], mode="reflect")
    return sum(
        kernel[i] * kernel[j] * padded[:, :, i : i + 32, j : j + 32]
        for i in range(size)
        for j in range(size)
    )


AXIS = np.fft.fftfreq(32)
RADIUS = np.hypot(AXIS[:, None], AXIS)


def masked(images, keep):
    return np.fft.ifft2(np.fft.fft2(images) * keep).real


def corrupted(corruption: str, level: float):
    """The test images as the table's row says."""
    images = TEST.images.double().numpy() / 255
    white = torch.randn(120, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double().numpy()
    if corruption == "Gaussian noise":
        return (images + level * white).clip(0, 1)
    if corruption == "band noise":
        noise = masked(white, (abs(RADIUS - level) <= 0.05 + 1e-12) & (RADIUS > 0))
        noise *= 3 / np.sqrt((noise**2).sum((1, 2, 3), keepdims=True))
        return (images + noise).clip(0, 1)
    return {
        "none": lambda: images,
        "low resolution, bilinear": lambda: low_resolution(images, int(level), False),
        "low resolution, antialiased": lambda: low_resolution(images, int(level), True),
        "Gaussian blur": lambda: blurred(images, int(level)),
        "ideal low-pass": lambda: masked(images, RADIUS <= level + 1e-12),
        "ideal high-pass": lambda: masked(images, (RADIUS > level + 1e-12) | (RADIUS == 0)),
    }[corruption]()


@pytest.mark.parametrize(
    "table, rows", [("exp_c_robustness", 5), ("exp_d_resolution_robustness", 14)]
)
def test_accuracies_under_every_corruption(finished, table, rows):
    data, _, models = finished
    found = pd.read_csv(data / f"{table}.csv")
    found = found[(found.images == "test") & (found.epoch == 1)]
    levels = found[["corruption", "level"]].drop_duplicates()
    assert len(levels) == rows
    spread = set()
    for corruption, level in levels.itertuples(index=False):
        here = found[(found.corruption == corruption) & (found.level == level)]
        here = here.set_index(["configuration", "seed"]).accuracy.to_dict()
        expected = accuracies(models, corrupted(corruption, level))
        assert here == pytest.approx(expected), (corruption, level)
        spread |= set(expected.values())
    assert max(spread) > 60 and len(spread) > 12  # a wrong corruption would be seen


def test_errors_under_fourier_modes(finished):
    """Of some modes, with the signs that the script draws one mode after the other."""
    data, _, models = finished
    table = pd.read_csv(data / "exp_c_fourier_heatmap.csv")
    for seed, first in ((0, 0), (1, 8)):  # the images are shared out among the seeds
        draw = torch.Generator().manual_seed(0)
        images, labels = (
            TEST.images[first : first + 8].double() / 255,
            TEST.labels[first : first + 8],
        )
        modes = table[table.seed == seed].drop_duplicates(["u", "v"])[["u", "v"]]
        for number, (u, v) in enumerate(modes.itertuples(index=False)):
            signs = torch.randint(2, (8, 3, 1, 1), generator=draw).double() * 2 - 1
            if number % 40:
                continue
            y, x = np.mgrid[:32, :32]
            wave = torch.from_numpy(np.cos(2 * math.pi * (u * y + v * x) / 32))
            noisy = (images + 4 / 3**0.5 * signs * wave / wave.norm()).clamp(0, 1)
            rows = table[(table.seed == seed) & (table.u == u) & (table.v == v)]
            for row in rows.itertuples():
                wrong = logits(models[row.configuration, seed], noisy).argmax(1) != labels
                assert row.error == pytest.approx(100 * float(wrong.double().mean())), (u, v)


def test_input_sensitivity(finished):
    """Share above --cutoff, by one Jacobian after the other."""
    data, _, models = finished
    table, maps = (
        pd.read_csv(data / f"exp_c_sensitivity_{name}.csv") for name in ("summary", "map")
    )
    pixels = TEST.images[:6].double() / 255
    for (name, seed), weights in models.items():
        outputs = lambda image, w=weights: logits(w, image[None])[0]
        power = np.zeros((32, 32))
        for image in pixels:
            jacobian = torch.autograd.functional.jacobian(outputs, image)  # (10, 3, 32, 32)
            jacobian = (jacobian - jacobian.mean(0)).numpy()
            power += (abs(np.fft.fft2(jacobian, norm="ortho")) ** 2).sum((0, 1)) / 6
        row = table[(table.configuration == name) & (table.seed == seed) & (table.epoch == 1)]
        assert row.high_share.item() == pytest.approx(power[RADIUS > 0.3].sum() / power.sum(), 1e-3)
        assert row.total.item() == pytest.approx(power.sum(), rel=1e-3)
        mean = (power * RADIUS).sum() / power.sum()
        assert row.mean_radius.item() == pytest.approx(mean, rel=1e-3)
        modes = maps[(maps.configuration == name) & (maps.seed == seed) & (maps.epoch == 1)]
        np.testing.assert_allclose(modes.power, power[modes.u, modes.v], rtol=2e-3)


def test_suppression(finished):
    """SSR above --cutoff and corner SSR of every layer, which here are the same."""
    data, folder, _ = finished
    table = pd.read_csv(data / "exp_b_ssr.csv")
    table = table[table.weights == "raw"].set_index(["configuration", "seed", "layer"])
    for name, seed in itertools.product(("baseline", "l2=0.05"), (0, 1)):
        corners = {}
        for epoch in (0, 1):
            path = folder / f"{name}-seed{seed}" / f"epoch-{epoch:03d}.pt"
            state = torch.load(path, weights_only=True)["model"]
            for layer, kernels in state.items():
                if kernels.shape[2:] == (3, 3):
                    power = (abs(np.fft.fft2(kernels.double().numpy())) ** 2).sum((0, 1))
                    layer = layer.removesuffix(".weight")
                    corners[layer, epoch] = power[1:, 1:].sum() / power.sum()
        layers = [layer for layer, epoch in corners if epoch]
        assert len(layers) == 17
        for layer in layers:
            row = table.loc[(name, seed, layer)]
            expected = 1 - corners[layer, 1] / corners[layer, 0]
            assert row[["ssr", "corner_ssr"]].tolist() == pytest.approx([expected] * 2, abs=1e-6)
        mean = np.mean([corners[layer, 1] for layer in layers[1:]])
        assert table.loc[(name, seed, "hidden (mean)")].corner_final == pytest.approx(
            mean, abs=1e-6
        )
