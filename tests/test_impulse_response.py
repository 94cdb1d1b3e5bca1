"""Kernels of layers that are no plain nn.Conv2d, against formulas written out here."""

import copy

import numpy as np
import pytest
import torch
from test_frequency import brute_force
from torch import nn
from torch.ao.nn import quantized
from torch.nn import functional as F
from torch.nn.utils import prune

from utils.spectra.kernels import analyze_model


class Standardised(nn.Conv2d):
    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, w / w.std((1, 2, 3), keepdim=True), self.bias)


class Difference(nn.Conv2d):
    """A convolution minus one with the sums of its kernels, so that constant images give zero."""

    def forward(self, x):
        sums = self.weight.sum((2, 3), keepdim=True)
        image = F.pad(x, [p for p in self.padding for _ in "12"])
        inner = image[..., 1:-1, 1:-1]
        return super().forward(x) - F.conv2d(inner, sums, None, self.stride, 0, 1, self.groups)


class Smoothed(nn.Conv2d):
    """Means of 2 x 2 pixels before 2 x 2 kernels."""

    def forward(self, x):
        return F.conv2d(F.avg_pool2d(x, 2, 1), self.weight[..., :2, :2], self.bias, self.stride)


class Masked(nn.Conv2d):
    """The mask is applied to the parameter itself, as in PixelCNN."""

    def forward(self, x):
        self.weight.data[..., 1:, :] = 0
        return super().forward(x)


class ScaledConv(nn.Module):
    """Not a class of torch's; its output is scaled, and activated."""

    def __init__(self, *_, **__):
        super().__init__()
        self.weight, self.stride = nn.Parameter(torch.randn(4, 3, 3, 3)), 2

    def forward(self, x):
        return F.silu(5 * F.conv2d(x, self.weight, None, self.stride, 1), inplace=True)


class Same(nn.Conv2d):
    """Pads as TensorFlow does; its attribute says 0."""

    def forward(self, x):
        pads = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in x.shape[:1:-1]]
        return super().forward(F.pad(x, [q for p in pads for q in (p // 2, p - p // 2)]))


def plain(conv):
    return conv.weight.detach().clone()


def difference(conv):
    w = plain(conv)
    w[..., 1, 1] -= w.sum((2, 3))
    return w


def smoothed(conv):
    w = plain(conv)[..., :2, :2]
    return sum(F.pad(w, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)) / 4


def masked(conv):
    w = plain(conv)
    w[..., 1:, :] = 0
    return w


def standardised(conv):
    w = plain(conv)
    w -= w.mean((1, 2, 3), keepdim=True)
    return w / w.std((1, 2, 3), keepdim=True)


def stale(conv):
    """The weights are loaded; the attribute is of those before until the next forward pass."""
    model = nn.utils.weight_norm(conv)
    model.load_state_dict({n: 2 * v + 1 for n, v in model.state_dict().items()})
    return model


def loaded(conv):
    v = conv.weight_v.detach()
    return v * (conv.weight_g / v.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).detach()


def scripted(conv):
    return dict(torch.jit.script(nn.Sequential(conv)).named_modules())["0"]


def hooked(conv):
    conv.register_forward_hook(lambda conv, inputs, output: -3 * output)
    return conv


def quantise(conv):
    layer = quantized.Conv2d(3, 4, 3)
    weight = torch.quantize_per_tensor(conv.weight.detach(), 0.01, 0, torch.qint8)
    layer.set_weight_bias(weight, None)
    return layer


KINDS = {  # a layer from a plain one, and the kernels with which it convolves
    "standardised": (lambda c: Standardised(3, 4, 3, 2, 1), standardised),
    "masked": (lambda c: Masked(3, 4, 3, 2, 1), masked),
    "two convolutions": (lambda c: Difference(3, 4, 3, 2, 1), difference),
    "smoothed": (lambda c: Smoothed(3, 4, 3, 2), smoothed),
    "of no class of torch's": (ScaledConv, lambda c: 5 * plain(c)),
    "other padding": (lambda c: Same(3, 4, 3, 2), plain),
    "weight norm": (nn.utils.parametrizations.weight_norm, plain),
    "stale attribute": (stale, loaded),
    "spectral norm": (nn.utils.parametrizations.spectral_norm, plain),
    "pruned": (lambda c: prune.random_unstructured(c, "weight", 0.5), plain),
    "scripted": (lambda c: scripted(nn.Conv2d(3, 4, 3, 2, 1, dilation=2)), plain),
    "hooked": (hooked, lambda c: -3 * plain(c)),
    "quantised": (quantise, lambda c: c.weight().dequantize()),
}


@pytest.mark.filterwarnings("ignore")
def test_kernels_are_what_the_layer_does():
    for name, (change, expected) in KINDS.items():
        layer = change(nn.Conv2d(3, 4, 3, 2, 1))
        model = nn.Sequential(layer, nn.BatchNorm2d(4)).train()
        before = copy.deepcopy(dict(model.state_dict()))
        table = analyze_model(model, folded=True)
        for key, values in model.state_dict().items():
            assert not isinstance(values, torch.Tensor) or torch.equal(values, before[key]), name
        assert table.layer.tolist() == ["0"] and table.attrs["skipped"] == {}, name
        parts = brute_force(expected(layer.eval()).double().numpy())[1]
        assert table.corner_share[0] == pytest.approx(parts[-1] / parts.sum(), rel=1e-5), name
        if table.batchnorm[0]:
            parts /= 1 + 1e-5
        assert table.energy[0] == pytest.approx(parts.sum(), rel=1e-5), name


class Xnor(nn.Conv2d):
    def forward(self, x):
        return super().forward(x.sign())


def test_what_is_not_linear_is_said():
    table = analyze_model(nn.Sequential(Xnor(3, 4, 3)))
    assert len(table) == 0 and table.attrs["skipped"] == {"0": "Xnor is not linear in its input"}


PARTS = {
    "pruned": lambda c: prune.random_unstructured(c, "weight", 0.5),
    "weight norm": nn.utils.weight_norm,
    "weight norm of all": lambda c: nn.utils.weight_norm(c, dim=None),
    "new weight norm": nn.utils.parametrizations.weight_norm,
    "spectral norm": nn.utils.spectral_norm,
    "new spectral norm": nn.utils.parametrizations.spectral_norm,
}


@pytest.mark.filterwarnings("ignore")
def test_state_dicts_with_weights_in_parts():
    for name, change in PARTS.items():
        model = nn.Sequential(change(nn.Conv2d(3, 4, 3)), nn.Conv2d(4, 4, 3)).eval()
        model(torch.rand(1, 3, 8, 8))
        table = analyze_model({"state_dict": model.state_dict()})
        np.testing.assert_allclose(table.energy, analyze_model(model).energy, 1e-6, err_msg=name)
        assert table.layer.tolist() == ["0", "1"] and table.attrs["skipped"] == {}
    model = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Conv2d(3, 4, 3)))
    skipped = analyze_model(model.state_dict()).attrs["skipped"]
    assert "analyse the model" in skipped["0.parametrizations.weight.original"]
