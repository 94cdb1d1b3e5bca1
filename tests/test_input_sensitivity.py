"""Input sensitivity: closed forms, finite differences, and what images and models it takes."""

import itertools
from collections import OrderedDict, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

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


def test_a_linear_model_has_the_spectrum_of_its_weights():
    for shape, batch in itertools.product([(3, 8, 8), (1, 7, 10)], [1, 4, 64]):
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


def test_batchnorm_without_statistics_is_told():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    for function in (feature_spectra, input_sensitivity):
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


def test_a_model_that_changes_its_input_in_place():
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), torch.rand(3, 3, 4, 4)
    before, expected = images.clone(), input_sensitivity(model, images)
    found = input_sensitivity(nn.Sequential(nn.ReLU(inplace=True), model), images)
    np.testing.assert_allclose(found, expected)
    assert torch.equal(images, before)


def test_other_images_are_refused():
    for images, found in (
        (torch.rand(3, 8, 8), r"float32 \(3, 8, 8\)"),
        (torch.rand(0, 3, 8, 8), r"\(0, 3, 8, 8\)"),
        (torch.ones(2, 3, 8, 8, dtype=torch.int64), "int64"),
        (torch.ones(2, 3, 8, 8, dtype=torch.cfloat), "complex64"),
        ([[0.5]], "list"),
        (None, "NoneType"),
    ):
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


def test_logits_are_found():
    images = torch.rand(4, 3, 4, 4)
    for name, pack in PACKS.items():
        model = Returns(pack)
        weight = model.linear.weight.detach().double().numpy().reshape(5, 3, 4, 4)
        with torch.inference_mode():
            found = input_sensitivity(model, images)
            skipped = feature_spectra(model, images).attrs["skipped"]
        assert skipped["linear"].startswith("returns (4, 5)")
        expected = power(weight - weight.mean(0)).sum((0, 1))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7, err_msg=name)
    for pack in (lambda z: None, lambda z: z.argmax(1), lambda z: z.sum()):
        with pytest.raises(ValueError, match="no tensor that depends on each image smoothly"):
            input_sensitivity(Returns(pack), images)


def test_one_number_per_image_is_not_its_own_mean():
    for pack in (lambda z: z[:, 0], lambda z: z[:, :1]):
        model = Returns(pack)
        weight = model.linear.weight.detach().double().numpy()[0].reshape(3, 4, 4)
        found = input_sensitivity(model, torch.rand(4, 3, 4, 4))
        np.testing.assert_allclose(found, power(weight).sum(0), rtol=1e-5, atol=1e-7)


class Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor of some types holds."""

    def __init__(self, *types):
        super().__init__()
        self.types, self.numbers = types, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype in self.types:
            self.numbers = max(self.numbers, result.numel())
        return result


def test_memory_for_an_output_per_pixel_is_bounded():
    """As of segmentation: the signs of all passes at once would take gigabytes."""
    with Largest(torch.float32, torch.int64) as largest:
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
