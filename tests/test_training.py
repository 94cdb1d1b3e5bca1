"""Training against an independent plain loop, and what a run records."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from data import planted
from data.images import ImageSet, crop_windows
from models.resnet import ResNet18
from utils.runtime import progress
from utils.training import loop as training
from utils.training import runs

SETTINGS = SimpleNamespace(
    width=8,
    epochs=2,
    train_images=40,
    test_images=10,
    batch_size=16,
    learning_rate=0.02,  # small: rounding grows with it from step to step
    momentum=0.9,
    checkpoint_every=1,
    precision="float32",
)
START = {"device": "cpu", "processor": "", "torch": "", "threads": 1}


@pytest.fixture(scope="module")
def images():
    """Train and test images with a mean, deviation and border of their own."""
    sets = planted.load(40, 10)
    other = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.1), "border": 90}
    return {name: ImageSet(s.images, s.labels, s.name, **other) for name, s in sets.items()}


def train(configuration, images, folder, settings=SETTINGS, state=None):
    run = runs.Run(configuration, 3)
    state = state or training.load_state(run, folder)
    windows = crop_windows(images["train"].images, images["train"].border)
    sets = {"test": images["test"]}
    arguments = (run, state, settings, images["train"], windows, sets, folder / run.name, START)
    yield from training.train(*arguments, progress.Progress(0, silent=True))


def kept(folder, configuration, epoch) -> dict:
    """Weights after an epoch, by name."""
    path = folder / f"{configuration}-seed3" / f"epoch-{epoch:03d}.pt"
    return torch.load(path, weights_only=True)["model"]


def plain_loop(images, l2=0.0, of_kernels=0.0, dropout=0.0, norm=None):
    """Two epochs of three steps, without anything of training or batches: every step of the
    recipe written out, with the random numbers that the two document."""
    torch.manual_seed(3)
    model = ResNet18(8, dropout).train().to(memory_format=torch.channels_last)
    parameters = dict(model.named_parameters())
    velocity = {name: torch.zeros_like(p) for name, p in parameters.items()}
    initial = {name: p.detach().clone() for name, p in parameters.items()}
    mean, std = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.3, 0.1]]).view(2, 3, 1, 1)
    for step in range(6):
        if step % 3 == 0:
            seed = 3 * 1_000_003 + 1 + step // 3
            draw = torch.Generator().manual_seed(seed)
            order = torch.randperm(40, generator=draw)
            mirror = torch.randint(2, (40,), generator=draw)
            top, left = torch.randint(9, (2, 40), generator=draw)
            torch.manual_seed(seed + 500_000)  # for dropout
        part, crops = list(range(40))[16 * (step % 3) :][:16], []
        for i in part:
            image = F.pad(images["train"].images[order[i]], (4, 4, 4, 4), value=90)
            if mirror[i]:
                image = image.flip(-1)
            crops.append(image[:, top[i] : top[i] + 32, left[i] : left[i] + 32])
        pixels = (torch.stack(crops) / 255 - mean) / std
        logits = model(pixels.to(memory_format=torch.channels_last))
        labels = images["train"].labels[order[part]]
        loss = -torch.log_softmax(logits, 1)[torch.arange(len(labels)), labels].mean()
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        rate = 0.01 * (1 + math.cos(math.pi * step / 6))
        with torch.no_grad():
            for (name, p), gradient in zip(parameters.items(), gradients):
                decay = l2 + of_kernels * (p.ndim > 1)
                velocity[name] = 0.9 * velocity[name] + gradient + decay * p
                p -= rate * velocity[name]
                if norm and p.ndim == 4:  # every convolution here has a BatchNorm behind it
                    before, now = (w.square().sum((1, 2, 3)) for w in (initial[name], p))
                    p *= norm * (before / now).sqrt().view(-1, 1, 1, 1)
    return model.state_dict()


@pytest.mark.parametrize(
    "configuration, recipe",
    [
        ("baseline", {}),
        ("l2=0.02+conv-l2=0.03", {"l2": 0.02, "of_kernels": 0.03}),
        ("dropout=0.3+fixed-norm=2", {"dropout": 0.3, "norm": 2}),
    ],
)
def test_two_epochs_of_a_plain_loop(tmp_path, images, configuration, recipe, monkeypatch):
    """Interrupted between them. With tanh for ReLU: an activation next to 0, rounded otherwise by
    another processor or number of threads, would change gradients visibly."""
    monkeypatch.setattr(torch, "relu_", torch.tanh_)
    loop = train(configuration, images, tmp_path)
    assert [next(loop), next(loop)] == [0, 1]
    loop.close()
    assert list(train(configuration, images, tmp_path)) == [2]
    found = kept(tmp_path, configuration, 2)
    expected = plain_loop(images, **recipe)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_and_fixed_norms(tmp_path, images, precision):
    """Convolutions and the linear layer are trained in it; evaluation and weights stay float32, and
    the norms of all filters, by numpy, what they were told after each of two starts."""
    torch.manual_seed(3)
    initial = {name: p.detach() for name, p in ResNet18(8).named_parameters() if p.ndim == 4}
    assert len(initial) == 20
    seen = set()

    def look(module, _, output):
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            seen.add((module.training, output.dtype))

    handle = torch.nn.modules.module.register_module_forward_hook(look)
    for epochs in (1, 2):
        settings = SimpleNamespace(**vars(SETTINGS) | {"precision": precision, "epochs": epochs})
        list(train("fixed-norm=0.5", images, tmp_path, settings))
        weights = kept(tmp_path, "fixed-norm=0.5", epochs)
        assert {w.dtype for w in weights.values()} == {torch.float32, torch.int64}
        for name, at_start in initial.items():
            found, before = (
                np.sqrt((w.double().numpy() ** 2).sum((1, 2, 3))) for w in (weights[name], at_start)
            )
            np.testing.assert_allclose(found, 0.5 * before, rtol=1e-6)
    handle.remove()
    assert seen == {(True, getattr(torch, precision)), (False, torch.float32)}


def test_records(tmp_path, images):
    """Spectra at steps 0, 1, 2 of the 3 of epoch 1 and after every epoch, by numpy's FFT; at kept
    epochs the autocorrelation, by products of shifted kernels, folded with BatchNorm by hand."""
    list(train("l2=0.05", images, tmp_path))
    state = training.load_state(runs.Run("l2=0.05", 3), tmp_path)
    times = dict.fromkeys((row["epoch"], row["step"]) for row in state["spectra"])
    assert list(times) == [(0, 0), (1 / 3, 1), (2 / 3, 2), (1, 3), (2, 6)]
    assert {row["epoch"] for row in state["autocorrelation"]} == {0, 1, 2}
    for epoch, kind in itertools.product((0, 1, 2), ("raw", "folded")):
        weights, layer = kept(tmp_path, "l2=0.05", epoch), "blocks.3.conv2"
        kernels = weights[f"{layer}.weight"].double()
        if kind == "folded":
            bn = layer.replace("conv", "bn")
            scale = weights[f"{bn}.weight"] / (weights[f"{bn}.running_var"] + 1e-5).sqrt()
            kernels = kernels * scale.double().view(-1, 1, 1, 1)
        key = (epoch, layer, kind)
        spectrum, offsets = (
            [row for row in state[name] if (row["epoch"], row["layer"], row["weights"]) == key]
            for name in ("spectra", "autocorrelation")
        )
        power = (np.abs(np.fft.fft2(kernels)) ** 2).sum((0, 1)) / 9
        expected = [power[0, 0], power[0, 1:].sum() + power[1:, 0].sum(), power[1:, 1:].sum()]
        np.testing.assert_allclose([row["energy"] for row in spectrum], expected, rtol=1e-6)
        assert len({(row["dy"], row["dx"]) for row in offsets}) == 13
        padded = F.pad(kernels, (2, 2, 2, 2))
        for row in offsets:
            shifted = torch.roll(padded, (row["dy"], row["dx"]), (-2, -1))
            assert row["value"] == pytest.approx(float((padded * shifted).sum()), rel=1e-5)


def test_a_run_that_diverges_keeps_the_weights_of_its_last_good_epoch(tmp_path, images):
    wild = SimpleNamespace(**vars(SETTINGS) | {"learning_rate": 1e20})
    loop = train("baseline", images, tmp_path, wild)
    assert next(loop) == 0
    with pytest.raises(training.DivergedError, match=r"a weight after step \d in epoch 1"):
        next(loop)
    state = training.load_state(runs.Run("baseline", 3), tmp_path)
    assert state["epoch"] == 0 and "diverged" in state["diverged"]
    torch.manual_seed(3)
    for name, value in ResNet18(8).state_dict().items():
        assert torch.equal(state["model"][name], value), name
    assert state["history"][-1]["diverged"] and {r["epoch"] for r in state["spectra"]} == {0}
    with pytest.raises(training.DivergedError):
        next(train("baseline", images, tmp_path, wild))


def test_other_conditions_inside_a_run_are_told(tmp_path, images, capsys, monkeypatch):
    loop = train("baseline", images, tmp_path)
    next(loop)
    loop.close()
    assert "other conditions" not in capsys.readouterr().err
    monkeypatch.setitem(START, "device", "cpu, 2 threads")
    list(train("baseline", images, tmp_path))
    assert "device cpu -> cpu, 2 threads" in capsys.readouterr().err
    state = training.load_state(runs.Run("baseline", 3), tmp_path)
    assert [start["from_epoch"] for start in state["starts"]] == [0, 1]


def test_a_step_does_not_wait_for_the_device(tmp_path, images, monkeypatch):
    """Numbers are read from tensors after every 20th step and the last one only."""
    settings = SimpleNamespace(**vars(SETTINGS) | {"batch_size": 1})
    loop = train("l2=0.05", images, tmp_path, settings)
    next(loop), next(loop)
    happened = []
    for name in ("item", "tolist", "__bool__", "__int__", "__float__", "__index__"):
        original = getattr(torch.Tensor, name)
        noted = lambda self, f=original: happened.append("read") or f(self)
        monkeypatch.setattr(torch.Tensor, name, noted)
    monkeypatch.setattr(progress.Progress, "step", lambda *_, **__: happened.append("step"))
    next(loop)
    read = [happened[:i].count("step") + 1 for i, what in enumerate(happened) if what == "read"]
    assert happened.count("step") == 40 and set(read) == {20, 40, 41}
