"""Spectra of what networks see: closed forms, numpy's FFT and finite differences."""

import numpy as np
import pytest
import torch
from torch import nn

from models.resnet import ResNet18
from utils.evaluation import for_inference
from utils.frequency import spectrum_from_power
from utils.network_spectra import input_sensitivity

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
    expected = 0
    for image in images:
        jacobian = np.zeros((10, 3, 8, 8))
        for place in np.ndindex(3, 8, 8):
            step = torch.zeros_like(image)
            step[place] = 1e-6
            with torch.no_grad():
                up, down = model(torch.stack([image + step, image - step])).numpy()
            jacobian[(slice(None), *place)] = (up - down) / 2e-6
        expected += power(jacobian - jacobian.mean(0)).sum((0, 1)) / len(images)
    np.testing.assert_allclose(input_sensitivity(model, images), expected, rtol=1e-5)


def test_random_signs_agree_in_expectation():
    model = ResNet18(4).eval()
    images = torch.rand(4, 3, 16, 16)
    exact = spectrum_from_power(input_sensitivity(model, images))
    random = spectrum_from_power(input_sensitivity(model, images, probes=400))
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
    with pytest.raises(ValueError, match=r"images.*\(3, 8, 8\)"):
        input_sensitivity(model, images[0])


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
    table = spectrum.table()
    assert table.multiplicity.sum() == 32 * 24
    nyquist = table[np.isclose(table.radius, 0.5)].iloc[0]
    at = np.isclose(radius, 0.5)
    assert nyquist.multiplicity == at.sum()
    assert nyquist.density == pytest.approx(power(image).sum(0)[at].mean())
    assert nyquist.white_db == pytest.approx(
        10 * np.log10(nyquist.density / (image**2).sum() * 32 * 24)
    )
