"""Spectra of what networks see: closed forms, numpy's FFT and finite differences."""

from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import get_model
from torchvision.ops import Permute

from models.resnet import ResNet18
from utils.frequency import spectrum_from_power
from utils.spectra.feature_maps import feature_spectra
from utils.spectra.input_sensitivity import input_sensitivity
from utils.training.evaluation import for_inference

RNG = np.random.default_rng(0)


def power(images):
    """|DFT|^2 of real images, orthonormal, zero frequency in the middle."""
    spectrum = np.fft.fft2(images, norm="ortho")
    return np.fft.fftshift(np.abs(spectrum) ** 2, axes=(-2, -1))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 7, 10)])
@pytest.mark.parametrize("batch", [1, 4, 64])
def test_a_linear_model_has_the_spectrum_of_its_weights(shape, batch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 5))
    weight = model[1].weight.detach().double().numpy().reshape(5, *shape)
    expected = power(weight - weight.mean(0)).sum((0, 1))
    found = input_sensitivity(model, torch.rand(9, *shape), batch=batch)
    assert found.dtype == np.float64 and found.shape == shape[1:]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_sensitivity_agrees_with_finite_differences():
    model = for_inference(ResNet18(4)).double()
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    steps = 1e-6 * torch.eye(192, dtype=torch.float64).view(192, 3, 8, 8)
    expected = 0
    for image in images:
        with torch.no_grad():
            slopes = (model(image + steps) - model(image - steps)) / 2e-6  # (192, 10)
        jacobian = slopes.T.reshape(10, 3, 8, 8).numpy()
        expected += power(jacobian - jacobian.mean(0)).sum((0, 1)) / len(images)
    np.testing.assert_allclose(input_sensitivity(model, images), expected, rtol=1e-5)


def test_signs_belong_to_images_not_to_batches():
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(48, 300)), torch.rand(7, 3, 4, 4)
    found = [input_sensitivity(model, images, batch=n, probes=3) for n in (1, 3, 7)]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5)
    one, two = (input_sensitivity(model, images[:1].repeat(n, 1, 1, 1), probes=1) for n in (1, 2))
    assert not np.allclose(one, two)  # each image has its own
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"probes must be .* found {wrong}"):
            input_sensitivity(model, images, probes=wrong)


@pytest.mark.parametrize("function", [feature_spectra, input_sensitivity])
def test_batchnorm_without_statistics_is_told(function):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.warns(UserWarning, match=r"\(1\).*depends on `batch`"):
        function(model, torch.rand(2, 3, 8, 8))


def test_random_signs_agree_in_expectation():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    images = torch.rand(4, 3, 8, 8)
    exact = spectrum_from_power(input_sensitivity(model, images))
    random = spectrum_from_power(input_sensitivity(model, images, probes=200))
    np.testing.assert_allclose(random.energy, exact.energy, rtol=0.2)
    assert random.total == pytest.approx(exact.total, rel=0.05)
    many = nn.Sequential(nn.Flatten(), nn.Linear(48, 300))
    weight = many[1].weight.detach().double().numpy()
    total = ((weight - weight.mean(0)) ** 2).sum()
    found = input_sensitivity(many, torch.rand(50, 3, 4, 4)).sum()
    assert found == pytest.approx(total, rel=0.1) and found != pytest.approx(total, rel=1e-6)


def test_one_output_is_not_its_own_mean():
    model = nn.Sequential(nn.Conv2d(1, 1, (4, 5)), nn.Flatten())
    expected = power(model[0].weight.detach().double().numpy()[0, 0])
    found = input_sensitivity(model, torch.rand(3, 1, 4, 5))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_model_that_changes_its_input_in_place():
    linear = nn.Linear(48, 5)
    images = torch.rand(3, 3, 4, 4)
    before = images.clone()
    found = input_sensitivity(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), linear), images)
    np.testing.assert_allclose(
        found, input_sensitivity(nn.Sequential(nn.Flatten(), linear), images)
    )
    assert torch.equal(images, before)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda m: m.compile() or m])
def test_wrapped_models_are_measured_and_not_compiled(wrap, monkeypatch):
    model, images = ResNet18(2).eval(), torch.rand(2, 3, 16, 16)
    expected, table = input_sensitivity(model, images), feature_spectra(model, images)
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", None)
    model = wrap(model)
    np.testing.assert_allclose(input_sensitivity(model, images), expected)
    assert feature_spectra(model, images).equals(table)


def test_the_model_stays_as_it_was():
    model = ResNet18(2, dropout=0.5).train()
    model.bn1.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.randint(256, (3, 3, 8, 8), dtype=torch.uint8)
    with torch.inference_mode():
        found = input_sensitivity(model, images)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    again = input_sensitivity(model.eval(), images.double() / 255)
    np.testing.assert_allclose(found, again, rtol=1e-4)


@pytest.mark.parametrize(
    "images, found",
    [
        (torch.rand(3, 8, 8), r"float32 \(3, 8, 8\)"),
        (torch.rand(0, 3, 8, 8), r"\(0, 3, 8, 8\)"),
        (torch.ones(2, 3, 8, 8, dtype=torch.int64), "int64"),
        (torch.ones(2, 3, 8, 8, dtype=torch.bool), "bool"),
        (torch.ones(2, 3, 8, 8, dtype=torch.cfloat), "complex64"),
        ([[0.5]], "list"),
        (None, "NoneType"),
    ],
)
def test_other_images_are_refused(images, found):
    for function in (input_sensitivity, feature_spectra):
        with pytest.raises(ValueError, match=f"images must be .*found.*{found}"):
            function(ResNet18(2), images)


class Returns(nn.Module):
    """Logits among other things."""

    def __init__(self, pack):
        super().__init__()
        self.linear, self.pack = nn.Linear(48, 5), pack

    def forward(self, x):
        return self.pack(self.linear(x.flatten(1)))


Pair = namedtuple("Pair", "loss logits")
PACKS = {
    "tuple": lambda z: (z, None),
    "loss first": lambda z: {"loss": z.sum(), "logits": z},
    "named": lambda z: Pair(None, z),
    "nested": lambda z: [None, (z,)],
    "object": lambda z: SimpleNamespace(loss=z.sum(), logits=z),
    "segmentation": lambda z: OrderedDict(out=z[:, :, None, None]),
}


@pytest.mark.parametrize("name", PACKS)
def test_logits_are_found(name):
    model, images = Returns(PACKS[name]), torch.rand(4, 3, 4, 4)
    weight = model.linear.weight.detach().double().numpy().reshape(5, 3, 4, 4)
    with torch.inference_mode():
        found = input_sensitivity(model, images)
        assert (
            feature_spectra(model, images).attrs["skipped"]["linear"].startswith("returns (4, 5)")
        )
    expected = power(weight - weight.mean(0)).sum((0, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("pack", [lambda z: None, lambda z: z.argmax(1), lambda z: z.sum()])
def test_without_logits_is_said(pack):
    with pytest.raises(ValueError, match="no tensor that depends on each image smoothly"):
        input_sensitivity(Returns(pack), torch.rand(4, 3, 4, 4))


def test_one_number_per_image():
    model = Returns(lambda z: z[:, 0])
    weight = model.linear.weight.detach().double().numpy()[0].reshape(3, 4, 4)
    found = input_sensitivity(model, torch.rand(4, 3, 4, 4))
    np.testing.assert_allclose(found, power(weight).sum(0), rtol=1e-5, atol=1e-7)


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor holds."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numbers = max(self.numbers, result.numel())
        return result


def test_memory_for_an_output_per_pixel_is_bounded():
    """As of segmentation: the signs of all passes at once would take gigabytes."""
    with Largest() as largest:
        input_sensitivity(nn.Conv2d(3, 21, 1), torch.rand(2, 3, 16, 16))
    assert largest.numbers == 2 * 21 * 16 * 16


def test_radial_profile_of_a_power_map():
    image = RNG.normal(size=(5, 32, 24))
    spectrum = spectrum_from_power(power(image).sum(0))
    assert spectrum.total == pytest.approx((image**2).sum())
    fy, fx = np.fft.fftshift(np.fft.fftfreq(32)), np.fft.fftshift(np.fft.fftfreq(24))
    radius = np.hypot(fy[:, None], fx)
    high = power(image).sum(0)[radius > 0.3].sum() / (image**2).sum()
    assert spectrum.high_share(0.3) == pytest.approx(high)
    mean = (radius * power(image).sum(0)).sum() / (image**2).sum()
    assert spectrum.mean_radius == pytest.approx(mean)
    row = spectrum.table().set_index("radius").loc[0.5]
    level = power(image).sum(0)[np.isclose(radius, 0.5)].mean()
    assert row.density == pytest.approx(level)
    assert row.white_db == pytest.approx(10 * np.log10(level / power(image).sum(0).mean()))


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

    def forward(self, x):
        by_hand = isinstance(self.patches, nn.Identity)
        x = F.unfold(x, 8, stride=8) if by_hand else self.patches(x).flatten(2)
        x = self.linear(torch.cat([9 * x[..., :1].repeat(1, 1, self.front), x], 2).mT)
        scores = (x @ x.mT)[:, None].repeat(1, self.heads, 1, 1)
        return self.mixed((self.weights(scores) @ x[:, None])[:, 0])


@pytest.mark.parametrize("size", [(64, 64), (32, 72)])
@pytest.mark.parametrize("patches", ["convolution", "by hand"])
@pytest.mark.parametrize("front, heads", [(0, 3), (5, 1)])
def test_tokens_are_maps_of_the_grid_and_attention_is_none(size, patches, front, heads):
    model, images = Transformer(patches, front, heads), torch.rand(2, 3, *size)
    model(images)
    kept = []
    model.linear.register_forward_hook(lambda *a: kept.append(a[2].detach()))
    table = feature_spectra(model, images)
    grid = (size[0] // 8, size[1] // 8)
    maps = kept[0][:, front:].double().unflatten(1, grid).permute(0, 3, 1, 2)
    sizes = table.groupby("layer")[["height", "width"]].first()
    assert {"linear", "mixed"} <= {*sizes.index} and (sizes.loc["linear":"mixed"] == grid).all(None)
    rows = table[table.layer == "linear"]
    np.testing.assert_allclose(rows.power, by_radius(power(maps.numpy()).mean((0, 1))), rtol=1e-5)
    assert "attention" in table.attrs["skipped"]["weights"]


class ChannelsLast(nn.Module):
    """As of Swin: after a convolution channels stand last, and C = H = W."""

    def __init__(self):
        super().__init__()
        self.conv, self.permute, self.norm = (
            nn.Conv2d(3, 8, 2, 2),
            Permute([0, 2, 3, 1]),
            nn.LayerNorm(8),
        )
        self.block, self.merged = nn.Identity(), nn.Identity()

    def forward(self, x):
        x = self.norm(self.permute(self.conv(x)))
        return self.merged(self.block(x + 1)[:, ::2, ::2])


def test_channels_last_where_all_edges_are_equal():
    model, images = ChannelsLast(), torch.rand(2, 3, 16, 16)
    kept = {}
    for name in ("permute", "norm", "block", "merged"):
        layer = model.get_submodule(name)
        layer.register_forward_hook(lambda *a, name=name: kept.update({name: a[2].detach()}))
    table = feature_spectra(model, images)
    for name, output in kept.items():
        maps = output.double().permute(0, 3, 1, 2).numpy()
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


@pytest.mark.parametrize(
    "name, layer, size", [("vit_b_32", "encoder.ln", 224), ("swin_t", "norm", 128)]
)
def test_transformers(name, layer, size):
    model, images = get_model(name, weights=None).eval(), torch.rand(1, 3, size, size)
    kept = []
    model.get_submodule(layer).register_forward_hook(lambda *a: kept.append(a[2].detach()))
    rows = feature_spectra(model, images)
    rows = rows[rows.layer == layer]
    output = kept[0].double()
    output = output[:, 1:].reshape(1, 7, 7, -1) if output.ndim == 3 else output
    expected = by_radius(power(output.permute(0, 3, 1, 2).numpy()).mean((0, 1)))
    np.testing.assert_allclose(rows.power, expected, rtol=1e-6)
    nn.init.normal_(next(m for m in [*model.modules()][::-1] if isinstance(m, nn.Linear)).weight)
    sensitivity = input_sensitivity(model, images, probes=1)
    assert sensitivity.shape == (size, size) and (sensitivity > 0).all()
