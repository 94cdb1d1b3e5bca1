"""Corruptions: energies on known gratings and white images, seeded noise, valid ranges."""

import functools

import numpy as np
import pytest
import torch

from data import corruptions


def grating(u, v):
    """A cosine of whole-numbered frequency (cycles per image): (1, 3, 32, 32) float64."""
    y, x = np.mgrid[:32, :32]
    wave = 0.5 + 0.25 * np.cos(2 * np.pi * (u * y + v * x) / 32 + 0.3)
    return torch.from_numpy(wave).expand(1, 3, 32, 32).clone()


def test_ideal_filters_keep_or_remove_gratings():
    for u, v in [(1, 0), (0, 5), (3, 4), (-6, 8), (0, 16)]:
        image, radius = grating(u, v), np.hypot(u, v) / 32
        for cutoff in (0.02, 0.15625, 0.3, 0.3125, 0.5, 0.6):
            low = corruptions.low_pass(image, cutoff)
            high = corruptions.high_pass(image, cutoff)
            kept, removed = (low, high) if radius <= cutoff else (high, low)
            assert (kept - image).abs().max() < 1e-6
            assert (removed - image.mean()).abs().max() < 1e-6  # the mean colour stays


def test_gaussian_noise_has_its_standard_deviation():
    """The same for everyone who asks with its seed."""
    white = corruptions.white_noise((200, 3, 32, 32), seed=1)
    torch.manual_seed(99)
    assert torch.equal(white, corruptions.white_noise((200, 3, 32, 32), seed=1))
    assert not torch.equal(white[:9], corruptions.white_noise((9, 3, 32, 32), seed=4))
    images = torch.full_like(white, 0.5)
    for sigma in (0.0, 0.05, 0.3):
        free = corruptions.gaussian_noise(images, sigma, white, clip=False)
        assert abs((free - images).double().std() - sigma) < 0.003 * max(sigma, 1e-4)
        assert abs((free - images).double().mean()) < 0.005 * sigma + 1e-9
    clipped = corruptions.gaussian_noise(images, 0.3, white)
    np.testing.assert_array_equal(clipped, free.clamp(0, 1))


@pytest.mark.parametrize("centre", [0.05, 0.45])
def test_band_noise_lies_in_its_band_with_its_norm(centre):
    white = corruptions.white_noise((20, 3, 32, 32), seed=0)
    noise = corruptions.band_noise(white, centre, width=0.1, norm=5.5).double().numpy()
    np.testing.assert_allclose((noise**2).sum((1, 2, 3)), 5.5**2, rtol=1e-5)
    f = np.fft.fftfreq(32)
    radius = np.hypot(f[:, None], f)
    energy = (np.abs(np.fft.fft2(noise)) ** 2).mean((0, 1))
    inside = (radius >= centre - 0.05 - 1e-9) & (radius <= centre + 0.05 + 1e-9)
    inside[0, 0] = False  # zero frequency is in no band
    assert energy[~inside].max() < 1e-9 * energy[inside].min()
    # White inside its band: every mode has the same expectation.
    level = energy[inside] / energy[inside].mean()
    assert 0.4 < level.min() and level.max() < 2


@pytest.mark.parametrize("size, count", [(31, 481), (32, 514)])  # (size^2 + own mirrors) / 2
def test_fourier_basis_is_orthonormal_and_complete(size, count):
    modes = corruptions.half_plane(size)
    basis = torch.stack([corruptions.fourier_basis(u, v, size) for u, v in modes]).double()
    gram = basis.flatten(1) @ basis.flatten(1).T
    np.testing.assert_allclose(gram, np.eye(count), atol=1e-6)
    for number in (1, 100, count - 1):
        found = np.argwhere(np.abs(np.fft.fft2(basis[number].numpy())) > 1e-4)
        u, v = modes[number]
        expected = {(u % size, v % size), (-u % size, -v % size)}
        assert set(map(tuple, found.tolist())) == expected


def resizing(size, new, antialias):
    """Matrix (new, size) of bilinear resizing: triangles around the new pixels' centres, as wide
    as an old pixel, or with antialiasing as the wider of the two."""
    scale = size / new
    centres = (np.arange(new) + 0.5) * scale - 0.5
    if not antialias:
        centres = centres.clip(0, size - 1)  # the border pixels go on
    width = max(scale, 1) if antialias else 1
    weights = (1 - abs(centres[:, None] - np.arange(size)) / width).clip(0)
    return weights / weights.sum(1, keepdims=True)


def blurring(size):
    """Matrix (32, 32) of a normalised Gaussian kernel, images reflected at their borders."""
    offsets = np.arange(size) - size // 2
    kernel = np.exp(-(offsets**2) / (2 * (0.3 * size + 0.8) ** 2))
    padded = np.pad(np.eye(32), [(size // 2, size // 2), (0, 0)], mode="reflect")
    return sum(k * padded[i : i + 32] for i, k in enumerate(kernel / kernel.sum()))


def test_low_resolution_and_blur_are_matrices():
    image = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    for size, antialias in [(n, a) for n in (32, 24, 12, 1) for a in (False, True)]:
        matrix = resizing(size, 32, False) @ resizing(32, size, antialias)
        found = corruptions.low_resolution(image, size, antialias)
        np.testing.assert_allclose(found, matrix @ image.numpy() @ matrix.T, atol=1e-6)
    assert torch.equal(corruptions.gaussian_blur(image, 0), image)
    for size in (3, 5, 11):
        found = corruptions.gaussian_blur(image, size)
        expected = blurring(size) @ image.numpy() @ blurring(size).T
        np.testing.assert_allclose(found, expected, atol=1e-6)


EVERY = {
    "add_noise": {"noise": torch.zeros(1)},
    "gaussian_noise": {"sigma": 0.1, "white": torch.zeros(1)},
    "low_resolution": {"size": 8, "antialias": False},
    "gaussian_blur": {"size": 3},
    "low_pass": {"cutoff": 0.2},
    "high_pass": {"cutoff": 0.2},
}


@pytest.mark.parametrize("name", EVERY)
def test_images_of_any_kind_are_converted_or_refused(name):
    bytes_ = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    images, corrupt = (
        bytes_.float() / 255,
        functools.partial(getattr(corruptions, name), **EVERY[name]),
    )
    before, expected = images.clone(), corrupt(images)
    assert torch.equal(images, before)
    assert torch.equal(corrupt(bytes_), expected) and expected.dtype == torch.float32
    torch.testing.assert_close(corrupt(images[:, :1]), expected[:, :1])
    torch.testing.assert_close(corrupt(images.half()).float(), expected, atol=2e-3, rtol=0)
    corrupt(images * 1.00001)  # rounding is no reason to refuse
    for wrong, text in (
        (bytes_.float(), "range of the images is 0 to 255.*0 to 1, or uint8"),
        (images * torch.nan, "range of the images is nan"),
        (bytes_.int(), "type of the images is torch.int32.*uint8 or float"),
        (images[0], r"images is Tensor \(3, 8, 8\).*N, 3, H, W"),
        (images.permute(0, 2, 3, 1), r"images is Tensor \(2, 8, 8, 3\)"),
        (images.numpy(), "images is ndarray"),
    ):
        with pytest.raises(ValueError, match=text):
            corrupt(wrong)


def test_levels_outside_the_valid_range():
    x = torch.rand(1, 3, 32, 32)
    for corrupt, text in (
        (lambda: corruptions.gaussian_noise(x, -0.1, x), "sigma is -0.1"),
        (lambda: corruptions.gaussian_noise(x[:, :1], 0.1, x), r"noise is \(1, 3, 32, 32\)"),
        (lambda: corruptions.low_resolution(x, 0, True), "resolution is 0.*1 to 32"),
        (lambda: corruptions.low_resolution(x, 33, False), "resolution is 33"),
        (lambda: corruptions.gaussian_blur(x, 4), "blur size is 4.*odd"),
        (lambda: corruptions.gaussian_blur(x, -1), "blur size is -1"),
        (lambda: corruptions.low_pass(x, -0.1), "cutoff is -0.1"),
        (lambda: corruptions.high_pass(x, float("nan")), "cutoff is nan"),
        (lambda: corruptions.band_noise(x, 0.9, 0.1, 1), "band is 0.9"),
    ):
        with pytest.raises(ValueError, match=text):
            corrupt()
