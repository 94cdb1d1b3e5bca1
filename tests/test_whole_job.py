"""A whole tiny job of B, C and D, recomputed from its weights and images by other means.

The network, its spectra and every corruption are written out here once more, in float64: discrete
Fourier transforms by numpy, resizing and blur as matrices. Of the project only the images
and the file format of checkpoints are used.
"""

import itertools
import math

import job
import numpy as np
import pandas as pd
import pytest
import torch
from test_corruptions import blurring, resizing
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
PIXELS = TEST.images.double() / 255
MEAN, STD = (torch.tensor(x).double().view(3, 1, 1) for x in (TEST.mean, TEST.std))


def features(weights: dict, pixels: torch.Tensor) -> torch.Tensor:
    """ResNet-18 at inference up to its linear layer, of images (N, 3, 32, 32) in [0, 1]."""
    w = {name: value.double() for name, value in weights.items()}

    def layer(x, conv, bn, stride=1):
        kernel = w[f"{conv}.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, gamma, beta = (w[f"{bn}.{name}"].view(-1, 1, 1) for name in names)
        return (x - mean) / (var + 1e-5).sqrt() * gamma + beta

    x = layer((pixels.double() - MEAN) / STD, "conv1", "bn1").relu()
    for i in range(8):
        name, stride = f"blocks.{i}", 2 if i in (2, 4, 6) else 1
        out = layer(x, f"{name}.conv1", f"{name}.bn1", stride).relu()
        out = layer(out, f"{name}.conv2", f"{name}.bn2")
        if f"{name}.shortcut.0.weight" in w:
            x = layer(x, f"{name}.shortcut.0", f"{name}.shortcut.1", stride)
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
    models = {}
    for name, seed in itertools.product(("baseline", "l2=0.05"), (0, 1)):
        path = folder / f"{name}-seed{seed}" / "epoch-001.pt"
        state = checkpoints.load(path, f"{folder.name}/{path.parent.name}")
        inputs = F.pad(features(state["model"], PIXELS), (0, 1), value=1.0)
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


def low_resolution(images, size, antialias):
    there, back = resizing(32, size, antialias), resizing(size, 32, False)
    return (back @ there) @ images @ (back @ there).T


def blurred(images, size):
    return blurring(size) @ images @ blurring(size).T if size else images


AXIS = np.fft.fftfreq(32)
RADIUS = np.hypot(AXIS[:, None], AXIS)


def masked(images, keep):
    return np.fft.ifft2(np.fft.fft2(images) * keep).real


def corrupted(corruption: str, level: float):
    """The test images as the table's row says."""
    images = PIXELS.numpy()
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
        images, labels = (some[first : first + 8] for some in (PIXELS, TEST.labels))
        modes = table[table.seed == seed].groupby(["u", "v"], sort=False)
        for number, ((u, v), rows) in enumerate(modes):
            signs = torch.randint(2, (8, 3, 1, 1), generator=draw).double() * 2 - 1
            if number % 40:
                continue
            y, x = np.mgrid[:32, :32]
            wave = torch.from_numpy(np.cos(2 * math.pi * (u * y + v * x) / 32))
            noisy = (images + 4 / 3**0.5 * signs * wave / wave.norm()).clamp(0, 1)
            for row in rows.itertuples():
                wrong = logits(models[row.configuration, seed], noisy).argmax(1) != labels
                assert row.error == pytest.approx(100 * float(wrong.double().mean())), (u, v)


def test_input_sensitivity(finished):
    """Share above --cutoff, by one Jacobian after the other."""
    data, _, models = finished
    tables = (pd.read_csv(data / f"exp_c_sensitivity_{x}.csv") for x in ("summary", "map"))
    key = ["epoch", "configuration", "seed"]
    table, maps = (table.set_index(key).sort_index() for table in tables)
    for (name, seed), weights in models.items():
        outputs = lambda image, w=weights: logits(w, image[None])[0]
        power = np.zeros((32, 32))
        for image in PIXELS[:6]:
            jacobian = torch.autograd.functional.jacobian(outputs, image)  # (10, 3, 32, 32)
            jacobian = (jacobian - jacobian.mean(0)).numpy()
            power += (abs(np.fft.fft2(jacobian, norm="ortho")) ** 2).sum((0, 1)) / 6
        row, modes, total = table.loc[1, name, seed], maps.loc[(1, name, seed)], power.sum()
        expected = [power[RADIUS > 0.3].sum() / total, total, (power * RADIUS).sum() / total]
        found = row[["high_share", "total", "mean_radius"]].tolist()
        assert found == pytest.approx(expected, rel=1e-3)
        np.testing.assert_allclose(modes.power, power[modes.u, modes.v], rtol=2e-3)


def test_suppression(finished):
    """SSR above --cutoff and corner SSR of every layer, which here are the same."""
    data, folder, models = finished
    table = pd.read_csv(data / "exp_b_ssr.csv").query("weights == 'raw'")
    table = table.set_index(["configuration", "seed", "layer"]).sort_index()
    for name, seed in models:
        corners = []  # by layer, before and after
        for epoch in (0, 1):
            path = folder / f"{name}-seed{seed}" / f"epoch-{epoch:03d}.pt"
            state = torch.load(path, weights_only=True)["model"]
            kernels = {layer: w.double().numpy() for layer, w in state.items() if w.ndim == 4}
            power = {
                layer.removesuffix(".weight"): (abs(np.fft.fft2(w)) ** 2).sum((0, 1))
                for layer, w in kernels.items()
                if w.shape[2:] == (3, 3)
            }
            corners.append({layer: p[1:, 1:].sum() / p.sum() for layer, p in power.items()})
        before, after = pd.DataFrame(corners).to_numpy()
        rows = table.loc[name, seed].loc[list(corners[0])]
        assert len(rows) == 17
        for column in (rows.ssr, rows.corner_ssr):
            np.testing.assert_allclose(column, 1 - after / before, atol=1e-6)
        hidden = table.loc[(name, seed, "hidden (mean)")].corner_final
        assert hidden == pytest.approx(after[1:].mean(), abs=1e-6)
