"""Spectra of feature maps: transfer functions in closed form and numpy's FFT."""

import numpy as np
import pytest
import torch
from test_input_sensitivity import power
from torch import nn
from torch.nn import functional as F
from torchvision.models import get_model
from torchvision.ops import Permute

from utils.spectra.feature_maps import feature_spectra


def by_radius(values):
    """Mean of a centred map of values at each radius, grouped by the rounded radius."""
    axes = [np.fft.fftshift(np.fft.fftfreq(n)) for n in values.shape]
    radius = np.hypot(axes[0][:, None], axes[1]).round(9)
    return np.array([values[radius == r].mean() for r in np.unique(radius)])


class Filter(nn.Conv2d):
    """The same kernel for every colour, the image repeated beyond its border."""

    def __init__(self, kernel):
        kernel = torch.tensor(kernel, dtype=torch.float32)
        super().__init__(3, 3, kernel.shape, padding="same", padding_mode="circular", groups=3)
        self.weight.data[:] = kernel
        self.bias.data.zero_()


LAPLACIAN = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
BLUR = np.outer([1, 2, 1], [1, 2, 1]) / 16


def test_feature_maps_follow_known_transfer_functions():
    """Identity 1, binomial blur (cos(pi f) cos(pi g))^2, Laplacian 2 cos + 2 cos - 4."""
    model = nn.Sequential(nn.Identity(), Filter(BLUR), nn.Identity(), Filter(LAPLACIAN))
    images = torch.rand(7, 3, 16, 12, dtype=torch.float64)
    table = feature_spectra(model.double(), images, batch=3)
    fy, fx = np.fft.fftshift(np.fft.fftfreq(16))[:, None], np.fft.fftshift(np.fft.fftfreq(12))
    blur = (np.cos(np.pi * fy) * np.cos(np.pi * fx)) ** 2
    laplacian = 2 * np.cos(2 * np.pi * fy) + 2 * np.cos(2 * np.pi * fx) - 4
    image = power(images.numpy()).mean((0, 1))
    for layer, response in (("0", 1), ("1", blur), ("2", blur), ("3", blur * laplacian)):
        rows = table[table.layer == layer]
        expected = by_radius(image * response**2)
        np.testing.assert_allclose(rows.power, expected, rtol=1e-5, atol=1e-9)
        there = expected > 1e-9
        db = 10 * np.log10(expected[there] / expected[1])
        np.testing.assert_allclose(rows.db[there], db, atol=1e-4)
        assert rows.multiplicity.sum() == 16 * 12 and rows.relative_log_amplitude.isna().all()
    assert list(table.layer.unique()) == ["0", "1", "2", "3"]  # not the container again
    assert table.attrs["skipped"] == {}


def test_relative_log_amplitude():
    images = torch.rand(5, 3, 10, 10, dtype=torch.float64)
    table = feature_spectra(nn.Identity(), images, batch=2)
    spectrum = np.abs(np.fft.fft2(images.numpy()))
    log = np.log(spectrum + 1e-6).mean((0, 1)).diagonal()[:6]
    found = table[table.relative_log_amplitude.notna()]
    np.testing.assert_allclose(found.radius, np.arange(6) * 2**0.5 / 10)
    np.testing.assert_allclose(found.relative_log_amplitude, log - log[0], atol=1e-9)
    assert table.layer.unique() == ["(model)"]


class Tokens(nn.Module):
    """A map as tokens, with a class token, with the channels last, in windows, and small."""

    def __init__(self):
        super().__init__()
        for name in ("tokens", "class_token", "last", "windows", "small", "unused"):
            self.add_module(name, nn.Identity())
        self.linear, self.norm = nn.Linear(5, 8, bias=False), nn.BatchNorm1d(5)

    def forward(self, maps):  # (B, 5, 8, 8)
        tokens = self.tokens(maps.flatten(2).mT)
        self.class_token(torch.cat([100 * torch.ones(len(maps), 1, 5), tokens], 1))
        self.linear(self.last(maps.permute(0, 2, 3, 1)))
        self.norm(tokens.mT)
        self.windows(maps.unfold(2, 4, 4).flatten(0, 1))
        return self.small(F.avg_pool2d(maps, 3)).mean((2, 3))


def test_tokens_and_channels_last():
    model, images = Tokens(), torch.rand(3, 5, 8, 8)
    table = feature_spectra(model, images)
    expected = by_radius(power(images.double().numpy()).mean((0, 1)))
    for layer in ("tokens", "class_token", "last"):
        rows = table[table.layer == layer]
        np.testing.assert_allclose(rows.power, expected, rtol=1e-5)
        assert (rows.channels == 5).all() and (rows.height == 8).all()
    weight = model.linear.weight.detach()
    mixed = torch.einsum("oc,bchw->bohw", weight, images).double().numpy()
    rows = table[table.layer == "linear"]
    np.testing.assert_allclose(rows.power, by_radius(power(mixed).mean((0, 1))), rtol=1e-4)
    skipped = table.attrs["skipped"]
    assert set(skipped) == {"norm", "windows", "small", "unused", "(model)"}
    assert "smaller than 4 x 4: 2 x 2" in skipped["small"] and "not used" in skipped["unused"]


class Transformer(nn.Module):
    """Patches by a convolution, or by hand, tokens in front, and attention of some heads."""

    def __init__(self, patches, front, heads):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, 8) if patches == "convolution" else nn.Identity()
        self.linear, self.front, self.heads = nn.LazyLinear(6), front, heads
        self.weights, self.mixed = nn.Softmax(-1), nn.Identity()
        self.talking = nn.Conv2d(heads, heads, 1)  # what it makes of weights sums to anything

    def forward(self, x):
        by_hand = isinstance(self.patches, nn.Identity)
        x = F.unfold(x, 8, stride=8) if by_hand else self.patches(x).flatten(2)
        x = self.linear(torch.cat([9 * x[..., :1].repeat(1, 1, self.front), x], 2).mT)
        scores = (x @ x.mT)[:, None].repeat(1, self.heads, 1, 1)
        return self.mixed((self.talking(self.weights(scores)) @ x[:, None])[:, 0])


def outputs(model, images, names):
    """What layers return, by name."""
    found = {}
    for name in names:
        layer = model.get_submodule(name)
        layer.register_forward_hook(lambda *a, name=name: found.update({name: a[2].detach()}))
    model(images)
    return {name: values.double() for name, values in found.items()}


@pytest.mark.parametrize("size", [(64, 64), (32, 72)])
@pytest.mark.parametrize("front, heads, patches", [(0, 3, "convolution"), (5, 1, "by hand")])
def test_tokens_are_maps_of_the_grid_and_attention_is_none(size, front, heads, patches):
    model, images = Transformer(patches, front, heads), torch.rand(2, 3, *size)
    tokens = outputs(model, images, ["linear"])["linear"]
    table = feature_spectra(model, images)
    grid = (size[0] // 8, size[1] // 8)
    maps = tokens[:, front:].unflatten(1, grid).permute(0, 3, 1, 2)
    sizes = table.groupby("layer")[["height", "width"]].first().loc[["linear", "mixed"]]
    assert sizes.to_numpy().tolist() == [[*grid], [*grid]]
    rows = table[table.layer == "linear"]
    np.testing.assert_allclose(rows.power, by_radius(power(maps.numpy()).mean((0, 1))), rtol=1e-5)
    assert "attention" in table.attrs["skipped"]["weights"]
    assert "attention" in table.attrs["skipped"]["talking"]


class ChannelsLast(nn.Module):
    """As of Swin: after a convolution channels stand last, and C = H = W."""

    def __init__(self):
        super().__init__()
        self.conv, self.permute = nn.Conv2d(3, 8, 2, 2), Permute([0, 2, 3, 1])
        self.norm = nn.LayerNorm(8)
        self.block, self.merged = nn.Identity(), nn.Identity()

    def forward(self, x):
        x = self.norm(self.permute(self.conv(x)))
        return self.merged(self.block(x + 1)[:, ::2, ::2])


def test_channels_last_where_all_edges_are_equal():
    swin = get_model("swin_t", weights=None).eval()
    for model, names, size in (
        (ChannelsLast(), ["permute", "norm", "block", "merged"], 16),
        (swin, ["norm"], 128),
    ):
        images = torch.rand(2, 3, size, size)
        table = feature_spectra(model, images)
        for name, output in outputs(model, images, names).items():
            maps = output.permute(0, 3, 1, 2).numpy()
            found = table[table.layer == name].power
            np.testing.assert_allclose(found, by_radius(power(maps).mean((0, 1))), rtol=1e-5)


def test_every_use_of_a_layer_and_every_block_has_rows():
    images = torch.rand(2, 3, 64, 64)
    table = feature_spectra(get_model("resnet18", weights=None), images)
    found = list(table.layer.unique())
    assert found[:4] == ["conv1", "bn1", "relu", "maxpool"]
    assert {"layer1.0.relu", "layer1.0.relu #2", "layer1.0", "layer1.1"} <= set(found)
    assert "layer4.1" not in found and "2 x 2" in table.attrs["skipped"]["layer4.1"]
    rows = table[(table.layer == "layer1.0") & (table.radius == 0)].power.item()
    again = table[(table.layer == "layer1.0.relu #2") & (table.radius == 0)].power.item()
    assert rows == again  # the block returns what its last activation did
