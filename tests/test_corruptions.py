"""Corruptions: energies on known gratings and white images, seeded noise, valid ranges."""

import numpy as np
import pytest
import torch

from data import corruptions


def grating(u, v, size=32, mean=0.5, amplitude=0.25):
    """A cosine of whole-numbered frequency (cycles per image): (1, 3, size, size) float64."""
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    wave = mean + amplitude * np.cos(2 * np.pi * (u * y + v * x) / size + 0.3)
    return torch.from_numpy(wave).expand(1, 3, size, size).clone()


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
    # Two-sided tails of a normal distribution beyond 0.5 / 0.3 standard deviations.
    assert abs(((free < 0) | (free > 1)).double().mean() - 0.09558) < 0.002


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


@pytest.mark.parametrize("size", [31, 32])
def test_fourier_basis_is_orthonormal_and_complete(size):
    modes = corruptions.half_plane(size)
    basis = torch.stack([corruptions.fourier_basis(u, v, size) for u, v in modes])
    gram = basis.flatten(1).double() @ basis.flatten(1).double().T
    np.testing.assert_allclose(gram, np.eye(len(modes)), atol=1e-6)
    assert len(modes) == (514 if size == 32 else 481)  # (size^2 + own mirrors) / 2
    for number in (1, 100, len(modes) - 1):
        spectrum = np.abs(np.fft.fft2(basis[number].double().numpy()))
        found = {tuple(index) for index in np.argwhere(spectrum > 1e-4)}
        u, v = modes[number]
        assert found == {(u % size, v % size), (-u % size, -v % size)}


@pytest.mark.parametrize("size, plain, antialiased", [(24, 0.22, 0.046), (12, 0.34, 0.007)])
def test_alias_energy_of_both_reductions(size, plain, antialiased):
    """Share of white images' content above the new Nyquist frequency that survives."""
    white = np.random.default_rng(0).standard_normal((300, 3, 32, 32))
    f = np.abs(np.fft.fftfreq(32))
    above = np.maximum(f[:, None], f) > 0.5 * size / 32
    high = np.fft.ifft2(np.fft.fft2(white) * above).real
    for antialias, expected in ((False, plain), (True, antialiased)):
        images = torch.from_numpy(0.5 + 0.01 * high)
        small = corruptions.downscale(images, size, antialias)
        assert small.shape == (300, 3, size, size)
        share = float(((small - 0.5) ** 2).mean()) / (0.01**2 * (high**2).mean())
        assert abs(share - expected) < (0.004 if antialias else 0.02)


def test_low_resolution_and_blur_of_known_images():
    flat = torch.full((2, 3, 32, 32), 0.3)
    for size in (32, 24, 1):
        for antialias in (False, True):
            out = corruptions.low_resolution(flat, size, antialias)
            np.testing.assert_allclose(out, flat, atol=1e-6)
    image = torch.rand(2, 3, 32, 32)
    np.testing.assert_allclose(corruptions.low_resolution(image, 32, True), image, atol=1e-6)
    # Half size without antialiasing is the mean of 2 x 2 pixels.
    small = corruptions.downscale(image, 16, antialias=False)
    blocks = image.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    np.testing.assert_allclose(small, blocks, atol=1e-6)
    # Two pixels, 0 and 1, are enlarged to a ramp between their centres.
    step = torch.arange(32).ge(16).float().expand(1, 3, 32, 32)
    ramp = ((torch.arange(32) + 0.5) / 16 - 0.5).clamp(0, 1)
    np.testing.assert_allclose(corruptions.low_resolution(step, 2, False)[0, 0, 5], ramp, atol=1e-6)

    assert torch.equal(corruptions.gaussian_blur(image, 0), image)
    for size in (3, 5, 11):  # a point becomes the normalised Gaussian kernel
        point = torch.zeros(1, 1, 32, 32)
        point[0, 0, 16, 16] = 1
        offsets = np.arange(size) - size // 2
        kernel = np.exp(-(offsets**2) / (2 * (0.3 * size + 0.8) ** 2))
        kernel = np.outer(kernel, kernel) / kernel.sum() ** 2
        half = size // 2
        found = corruptions.gaussian_blur(point, size)[0, 0]
        centre = found[16 - half : 17 + half, 16 - half : 17 + half]
        np.testing.assert_allclose(centre, kernel, atol=1e-6)
        assert abs(found.sum() - 1) < 1e-5


EVERY = {
    "add_noise": lambda x: corruptions.add_noise(x, torch.zeros(1)),
    "gaussian_noise": lambda x: corruptions.gaussian_noise(x, 0.1, torch.zeros(1)),
    "downscale": lambda x: corruptions.downscale(x, 4, True),
    "low_resolution": lambda x: corruptions.low_resolution(x, 8, False),
    "gaussian_blur": lambda x: corruptions.gaussian_blur(x, 3),
    "low_pass": lambda x: corruptions.low_pass(x, 0.2),
    "high_pass": lambda x: corruptions.high_pass(x, 0.2),
}


def test_images_of_any_kind_are_converted_or_refused():
    bytes_ = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    images = bytes_.float() / 255
    for name, corrupt in EVERY.items():
        before, expected = images.clone(), corrupt(images)
        assert torch.equal(images, before)
        assert torch.equal(corrupt(bytes_), expected) and expected.dtype == torch.float32, name
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
