"""The images' amplitude spectrum, by numpy's FFT."""

import numpy as np
import pytest
import torch

from data import image_spectrum, planted
from data.images import ImageSet, Normalize


def slope(images):
    """Of the mean amplitude spectrum over the radius, both as logarithms."""
    amplitude = np.abs(np.fft.fft2(images.double().numpy())).mean((0, 1))
    f = np.fft.fftfreq(32)
    radius = np.hypot(f[:, None], f)
    inside = (radius > 0.05) & (radius < 0.5)
    return np.polyfit(np.log(radius[inside]), np.log(amplitude[inside]), 1)[0]


@pytest.fixture(scope="module")
def natural():
    """Images of amplitude 1/f, and a few others as test set."""
    noise = planted.pink_noise(300, torch.Generator().manual_seed(1))
    pixels = (255 * (0.5 + 0.1 * noise)).clamp(0, 255).round().to(torch.uint8)
    images = ImageSet(pixels, torch.arange(300) % 10, "x")
    return {"train": images, "test": images.first(20)}


@pytest.mark.parametrize("kind, expected", [("natural", -1), ("whitened", 0), ("inverted", 1)])
def test_amplitude_spectrum(natural, kind, expected):
    sets = image_spectrum.with_spectrum(natural, kind)
    assert slope(natural["train"].images) == pytest.approx(-1, abs=0.05)
    assert slope(sets["train"].images) == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("kind", ["whitened", "inverted"])
def test_one_scale_for_all_sets(natural, kind):
    sets = image_spectrum.with_spectrum(natural, kind)
    train = sets["train"]
    pixels = train.images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.5, abs=0.002)
    assert pixels.std().item() == pytest.approx(0.15, abs=0.004)  # but for clipping
    assert torch.equal(sets["test"].images, train.images[:20])  # not a scale of their own
    assert (train.mean, train.std, train.border) == ((0.5,) * 3, (0.15,) * 3, 128)
    assert train.name == f"x, {kind}" and torch.equal(train.labels, natural["train"].labels)
    # One image by hand: spectrum times r^n, divided by the deviation of all.
    f = np.fft.fftfreq(32)
    gain = np.hypot(f[:, None], f) ** {"whitened": 1, "inverted": 2}[kind]
    spectra = np.fft.fft2(natural["train"].images.numpy() / 255) * gain
    plain = np.fft.ifft2(spectra).real
    expected = np.clip(0.5 + 0.15 * plain[7] / plain.std(), 0, 1)
    assert np.abs(pixels[7].numpy() - expected).max() <= 0.5 / 255 + 1e-6


def test_normalised_by_their_own_numbers(natural):
    sets = image_spectrum.with_spectrum(natural, "whitened")
    numbers = Normalize(sets["train"])(torch.full((1, 3, 2, 2), 0.65))
    np.testing.assert_allclose(numbers, 1, rtol=1e-5)
