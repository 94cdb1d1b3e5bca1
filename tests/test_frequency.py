"""Spectra against closed forms and against a brute-force float64 FFT."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy import signal

from utils import frequency as fq

RNG = np.random.default_rng(0)


def brute_force(weight):
    """Radii and energies by FFT of every kernel; radii grouped by their rounded value."""
    weight = np.asarray(weight, dtype=np.float64)
    kh, kw = weight.shape[-2:]
    power = np.abs(np.fft.fft2(weight)) ** 2
    power = power.reshape(-1, kh, kw).sum(0) / (kh * kw)
    radius = np.hypot(np.fft.fftfreq(kh)[:, None], np.fft.fftfreq(kw)).round(9)
    radii = np.unique(radius)
    return radii, np.array([power[radius == r].sum() for r in radii])


SIZES = [(1, 1), (2, 2), (3, 3), (5, 5), (8, 8), (1, 7), (9, 2)]
KINDS = [(torch.float16, 1), (torch.bfloat16, 1), (torch.float32, 1e-30), (torch.float32, 1e30)]


def test_energies_agree_with_brute_force():
    for size, (dtype, scale) in itertools.product(SIZES, [*KINDS, (torch.float64, 1)]):
        weight = torch.from_numpy(scale * RNG.normal(size=(5, 4, *size))).to(dtype)
        radii, energy = brute_force(weight.double())
        for given in (weight, weight.numpy()) if dtype != torch.bfloat16 else (weight,):
            spectrum = fq.radial_spectrum(given)
            np.testing.assert_allclose(spectrum.radius, radii, atol=1e-9)
            np.testing.assert_allclose(spectrum.energy, energy, rtol=1e-6)
            np.testing.assert_allclose(spectrum.share, energy / energy.sum(), rtol=1e-6)
            total = float(weight.double().square().sum())
            assert spectrum.total == pytest.approx(total, rel=1e-12)  # Parseval


def test_energies_are_exact_to_1e12_of_the_total():
    """Nearly constant kernels, a share of 1e-15 above zero frequency: relative to itself such an
    energy cannot be had from second moments, relative to the total it can."""
    weight = (1 + 3e-8 * RNG.normal(size=(64, 64, 3, 3))).astype(np.float32)
    _, energy = brute_force(weight)
    found = fq.radial_spectrum(weight).energy
    np.testing.assert_allclose(found, energy, rtol=0, atol=1e-12 * energy.sum())


def test_orbits():
    for size, radii, multiplicities in (
        ((1, 1), [0], [1]),
        ((3, 3), [0, 1 / 3, 2**0.5 / 3], [1, 4, 4]),
        ((5, 5), [0, 0.2, 0.2 * 2**0.5, 0.4, 0.2 * 5**0.5, 0.4 * 2**0.5], [1, 4, 4, 4, 8, 4]),
        ((2, 4), [0, 1 / 4, 1 / 2, 5**0.5 / 4, 2**0.5 / 2], [1, 2, 2, 2, 1]),
    ):
        found, counts, orbit = fq.radial_orbits(*size)
        np.testing.assert_allclose(found, radii, rtol=1e-15)
        assert counts.tolist() == multiplicities
        assert (found.dtype, counts.dtype, orbit.dtype) == (np.float64, np.int64, np.int64)
        assert orbit.shape == size and orbit[0, 0] == 0
        assert np.bincount(orbit.ravel()).tolist() == multiplicities
    with pytest.raises(ValueError, match="kh and kw"):
        fq.radial_orbits(0, 3)


# Energies of the radii 0, 1/3 and sqrt(2)/3 by hand. With c = cos(2 pi / 3) = -1/2 the transforms
# are, at (0, 0), (1, 0) and (1, 1):
#   4-neighbour Laplacian -4 + 2 cos u + 2 cos v        0, -3, -6
#   Sobel (1 2 1) x (-1 0 1): |2 + 2 cos u| * |2 sin v|  0; 0 or 4 sqrt 3; sqrt 3
#   binomial (1 2 1) x (1 2 1): (2 + 2 cos u)(2 + 2 cos v)   16, 4, 1
HAND = {
    "delta": ([[0, 0, 0], [0, 1, 0], [0, 0, 0]], [1 / 9, 4 / 9, 4 / 9]),
    "ones": ([[1, 1, 1], [1, 1, 1], [1, 1, 1]], [9, 0, 0]),
    "laplacian": ([[0, 1, 0], [1, -4, 1], [0, 1, 0]], [0, 4 * 9 / 9, 4 * 36 / 9]),
    "sobel": ([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [0, 2 * 48 / 9, 4 * 3 / 9]),
    "binomial": ([[1, 2, 1], [2, 4, 2], [1, 2, 1]], [256 / 9, 4 * 16 / 9, 4 / 9]),
}


def test_known_kernels():
    for name, (kernel, energy) in HAND.items():
        spectrum = fq.radial_spectrum(np.array(kernel, dtype=np.float32))
        np.testing.assert_allclose(spectrum.energy, energy, atol=1e-12, err_msg=name)
    white = fq.radial_spectrum(torch.eye(25)[7].view(5, 5))  # one pixel
    np.testing.assert_allclose(white.density, 1 / 25, rtol=1e-12)
    np.testing.assert_allclose(white.white_db, 0, atol=1e-9)


def test_views_and_memory_layouts():
    weight = torch.randn(8, 6, 3, 3)
    _, energy = brute_force(weight.numpy())
    for view in (
        weight.to(memory_format=torch.channels_last),
        weight.permute(1, 0, 2, 3),
        torch.randn(8, 12, 3, 3).copy_(weight.repeat_interleave(2, 1))[:, ::2],
        weight.clone().requires_grad_(),
        weight.numpy()[::-1],
        weight.numpy().astype(">f4"),
        np.asfortranarray(weight.numpy()),
    ):
        np.testing.assert_allclose(fq.radial_spectrum(view).energy, energy, rtol=1e-6)


def test_autocorrelations_and_gains_agree_with_brute_force():
    for size, filters, n in (  # on both sides of fq.SMALL; of (8, 6) and (31, 31) several parts
        ((1, 1), 4, 3),
        ((3, 2), 4, 3),
        ((8, 6), 70, 1),
        ((31, 31), 3, 150),
        ((51, 5), 2, 160),
    ):
        weight = RNG.normal(size=(filters, n, *size)).astype(np.float32)
        gains = RNG.uniform(0.1, 3, size=(2, filters))
        found = fq.kernel_autocorrelation(weight, gains)
        for correlation, gain in zip(found, gains):
            radii, energy = brute_force(weight * np.sqrt(gain)[:, None, None, None])
            spectrum = fq.spectrum_from_autocorrelation(correlation)
            np.testing.assert_allclose(spectrum.radius, radii, atol=1e-9)
            np.testing.assert_allclose(spectrum.energy, energy, rtol=1e-9)
        one = fq.kernel_autocorrelation(weight, torch.tensor(gains[:1]))
        np.testing.assert_allclose(one, found[:1])
        kernels = weight[:, :30].reshape(-1, *size).astype(np.float64)
        expected = sum(signal.correlate(k, k, method="fft") for k in kernels)
        plain = fq.kernel_autocorrelation(weight[:, :30])
        np.testing.assert_allclose(plain, expected, atol=1e-9 * expected.max())


def transform(kernel, fy, fx):
    """Fourier transform of a kernel at any frequencies, straight from the definition."""
    y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
    wave = np.exp(-2j * np.pi * (np.multiply.outer(fy, y) + np.multiply.outer(fx, x)))
    return (kernel * wave).sum((-2, -1))


def test_responses_follow_the_definition():
    for size, shape in itertools.product((1, 2, 3, 16, 21), ((3, 5), (4, 2))):
        kernels = RNG.normal(size=(6, *shape))
        axis = np.fft.fftshift(np.fft.fftfreq(size))
        grid = np.meshgrid(axis, axis, indexing="ij")
        expected = sum(np.abs(transform(k, *grid)) ** 2 for k in kernels)
        correlation = fq.kernel_autocorrelation(kernels)
        image = fq.response_from_autocorrelation(correlation, size)
        np.testing.assert_allclose(image, expected, rtol=1e-9, atol=1e-9)
        assert image[size // 2, size // 2] == pytest.approx((kernels.sum((-2, -1)) ** 2).sum())
    with pytest.raises(ValueError, match="size"):
        fq.response_from_autocorrelation(correlation, 0)


def spectrum(*energy):
    radii = np.array([0, 1 / 3, 2**0.5 / 3])
    return fq.RadialSpectrum(radii, np.array(energy, float), np.array([1, 4, 4]))


def test_shares_and_ssr():
    one = spectrum(1, 2, 5)
    assert one.high_share() == pytest.approx(7 / 8)
    assert one.high_share(0.4) == one.corner_share == pytest.approx(5 / 8)
    assert one.high_share(0.5) == 0
    assert one.density.tolist() == [1, 0.5, 1.25]
    for cutoff in (-0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="cutoff"):
            one.high_share(cutoff)
    before, after = spectrum(1, 4, 4), spectrum(3, 1, 1)  # high shares 8/9 and 2/5
    assert fq.spectral_suppression_ratio(before, after) == pytest.approx(0.55)
    assert fq.spectral_suppression_ratio(after, before) == pytest.approx(-11 / 9)
    # corner alone: 4/9 to 0
    assert fq.spectral_suppression_ratio(before, spectrum(0, 9, 0), 0.4) == 1
    with pytest.raises(ValueError, match="radii"):
        fq.spectral_suppression_ratio(before, fq.radial_spectrum(np.ones((5, 5))))


def test_no_energy_is_nan_and_a_warning():
    empty = fq.radial_spectrum(np.zeros((2, 3, 3)))
    assert empty.total == 0
    with pytest.warns(UserWarning, match="energy"):
        assert np.isnan([*empty.share, empty.high_share()]).all()
    with pytest.warns(UserWarning, match="NaN"):
        assert np.isnan(fq.spectral_suppression_ratio(spectrum(1, 0, 0), spectrum(1, 1, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fq.spectral_suppression_ratio(spectrum(1, 1, 1), spectrum(1, 1, 1)) == 0


def test_wrong_weights_are_named():
    for weight, found in (
        (np.zeros(3), "dimensions"),
        (torch.tensor(1.0), "dimensions"),
        (torch.zeros(2, 3, 0), "empty"),
        (torch.ones(3, 3, dtype=torch.cfloat), "complex"),
        (np.ones((3, 3), int), "int64"),
        (torch.ones(3, 3, dtype=torch.bool), "bool"),
        (torch.tensor([[1.0, np.inf]]), "NaN or infinity"),
        (np.full((3, 3), 1e200), "overflow"),
        (np.array([["a"]]), "numbers"),
    ):
        with pytest.raises(ValueError, match=f"weight.*{found}"):
            fq.radial_spectrum(weight)
