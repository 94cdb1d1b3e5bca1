"""The networks against torchvision's ResNet-18, float64 gradients and known counts."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import resnet18

from models.resnet import Dropout, ResNet18
from utils.spectra.kernels import analyze_model
from utils.training.evaluation import for_inference


@pytest.mark.parametrize("size", [32, 31])
def test_torchvision_with_another_stem(size):
    """The same function; as many parameters and kernels as He et al.'s, with ten classes."""
    model = ResNet18().eval()
    assert sum(p.numel() for p in model.parameters()) == 11_173_962
    convolutions = analyze_model(model)
    assert convolutions.kernel_size.tolist() == 17 * ["3x3"]
    assert convolutions.kernels.sum() == 1_220_800
    for name, values in model.state_dict().items():  # also what BatchNorm has seen
        if not name.endswith("num_batches_tracked"):
            values += 0.1 * torch.rand(values.shape)
    other = resnet18(num_classes=10).eval()
    other.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    other.maxpool = nn.Identity()
    weights = zip(other.state_dict(), model.state_dict().values(), strict=True)
    other.load_state_dict(dict(weights))  # both list their layers from input to output
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model(images), other(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [4, 6])
def test_gradients_agree_with_float64(width, monkeypatch):
    """Of narrow networks too, channels last in memory as in training.

    ReLU is replaced by a smooth function, as rounding decides on which side of its kink a
    few numbers lie.
    """
    monkeypatch.setattr(torch, "relu_", F.softplus)
    model = ResNet18(width)
    exact = copy.deepcopy(model).double()
    model = model.to(memory_format=torch.channels_last)
    images, labels = torch.randn(16, 3, 32, 32), torch.randint(10, (16,))
    pixels = images.contiguous(memory_format=torch.channels_last)
    F.cross_entropy(model(pixels), labels).backward()
    F.cross_entropy(exact(images.double()), labels).backward()
    for p, q in zip(model.parameters(), exact.parameters()):
        assert (p.grad - q.grad).norm() < 1e-3 * q.grad.norm()


def test_dropout_keeps_the_mean_and_sits_between_the_convolutions_of_every_block():
    layer, x = Dropout(0.25), torch.ones(100_000)
    dropped = layer(x)
    np.testing.assert_allclose(dropped.unique(), [0, 4 / 3], rtol=1e-6)
    assert abs((dropped == 0).double().mean() - 0.25) < 0.006  # 4 standard deviations
    assert torch.equal(layer.eval()(x), x)
    model, seen = ResNet18(4, dropout=0.5), []
    for name, module in model.named_modules():
        if name.endswith(("conv1", "dropout", "conv2")):
            module.register_forward_hook(lambda *_, name=name: seen.append(name.split(".")[-1]))
    model(torch.rand(2, 3, 32, 32))
    assert seen[1:] == ["conv1", "dropout", "conv2"] * 8  # the stem is the first


def test_folded_for_inference_it_is_the_same_function():
    model = ResNet18(4, dropout=0.5).double()
    for name, values in model.state_dict().items():
        if name.endswith("var"):
            values.uniform_(0.5, 2)
        elif values.ndim == 1:  # of BatchNorms
            values.normal_()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded = for_inference(model)
    assert not any("Norm" in type(layer).__name__ for layer in folded.modules())
    x = torch.randn(5, 3, 32, 32, dtype=torch.float64)
    assert model.training
    torch.testing.assert_close(folded(x), model.eval()(x), rtol=1e-9, atol=1e-9)
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())


def test_it_can_be_scripted():
    model, x = ResNet18(4, dropout=0.5).eval(), torch.randn(2, 3, 16, 16)
    scripted = torch.jit.script(model)
    torch.testing.assert_close(scripted(x), model(x))
    assert not torch.equal(scripted.train()(x), model(x))
