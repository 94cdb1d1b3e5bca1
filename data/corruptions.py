"""What robustness is tested against: noise, low resolution, blur, ideal filters.

Images are a batch (N, 3, H, W), or grey (N, 1, H, W), on any device and not yet normalised: floats
in [0, 1], or uint8, which become that. Corrupted ones are new floats of the same shape. Anything
else is refused with a ValueError: a single image, 0..255 as floats, channels last. Noise is made
apart from the images, from a generator of its own, so that every model sees the same.

Frequencies are radial, in cycles/pixel: 0.5 is the Nyquist frequency along an axis, sqrt(0.5)
that of the diagonal.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from .cifar10 import torchvision
from .images import to_float


def white_noise(shape: tuple[int, ...], seed: int, device="cpu") -> Tensor:
    """Independent normal numbers of variance 1, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, device="cpu").to(device)


def add_noise(images: Tensor, noise: Tensor, clip: bool = True) -> Tensor:
    """Images plus noise, clipped to [0, 1] as by a camera unless `clip` is false.

    Clipping makes the noise depend on the image: less of it where pixels are black or white.
    """
    noisy = _checked(images) + noise.to(images.device)
    fits = noisy.shape == images.shape
    _require(fits, f"shape of the noise is {tuple(noise.shape)}; allowed: the images'")
    return noisy.clamp_(0, 1) if clip else noisy


def gaussian_noise(images: Tensor, sigma: float, white: Tensor, clip: bool = True) -> Tensor:
    """Add `white_noise` of the images' shape, times its standard deviation `sigma` in [0, 1]."""
    _require(sigma >= 0, f"sigma is {sigma}; allowed: at least 0")
    return add_noise(images, sigma * white, clip)


def band_noise(white: Tensor, centre: float, width: float, norm: float) -> Tensor:
    """Noise whose frequencies have a radius within width / 2 of `centre`: `white_noise` filtered.

    Zero frequency, the brightness of the whole image, is in no band. `norm` is the L2 norm of the
    noise of every image, all colours together, in pixel units [0, 1].
    """
    radius = radial_frequency(*white.shape[-2:])
    band = ((radius - centre).abs() <= width / 2) & (radius > 0)
    _require(band.any(), f"band is {centre} +- {width / 2}; allowed: one that holds modes")
    noise = filtered(white, band)
    return noise * (norm / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1))


def fourier_basis(u: int, v: int, size: int) -> Tensor:
    """Real image (size, size) of L2 norm 1 with u vertical and v horizontal cycles per image.

    (u, v) and (-u, -v) give the same image. Yin et al., NeurIPS 2019, "A Fourier Perspective on
    Model Robustness in Computer Vision".
    """
    axis = torch.arange(size, dtype=torch.float64, device="cpu")
    wave = torch.cos(2 * math.pi * (u * axis[:, None] + v * axis) / size)
    return (wave / wave.norm()).float()


def half_plane(size: int) -> list[tuple[int, int]]:
    """The (u, v) of all different Fourier modes: u up to +-size / 2, v from 0 to size / 2."""
    us, vs = range(-((size - 1) // 2), size // 2 + 1), range(size // 2 + 1)
    # The columns 0 and size / 2 hold both (u, v) and (-u, v).
    return [(u, v) for u in us for v in vs if u >= 0 or v not in (0, size / 2)]


def fourier_modes(
    modes: list[tuple[int, int]], shape: tuple[int, ...], norm: float, seed: int, device, clip=True
) -> Iterator[tuple[dict, Callable]]:
    """No mode, then each Fourier mode, in every colour of every image with a random sign.

    `shape` is that of the images, (N, 3, size, size), `norm` the L2 norm of the noise of each.
    Yields {"u": u, "v": v} (first {}) and the function that adds it to images.
    """
    yield {}, lambda clean: clean
    generator = torch.Generator().manual_seed(seed)
    for u, v in modes:
        signs = torch.randint(2, (*shape[:2], 1, 1), generator=generator, device="cpu") * 2 - 1
        noise = norm / shape[1] ** 0.5 * signs * fourier_basis(u, v, shape[-1])
        yield {"u": u, "v": v}, partial(add_noise, noise=noise.to(device), clip=clip)


def low_resolution(images: Tensor, size: int, antialias: bool) -> Tensor:
    """To size x size pixels and back, bilinear; without antialiasing high frequencies fold down."""
    images = _checked(images)
    shape = images.shape[-2:]
    fits = 1 <= size <= min(shape)
    _require(fits, f"resolution is {size}; allowed: from 1 to {min(shape)}")
    small = F.interpolate(images, (size, size), mode="bilinear", antialias=antialias)
    return F.interpolate(small, shape, mode="bilinear")


def gaussian_blur(images: Tensor, size: int) -> Tensor:
    """Blur by a size x size Gaussian kernel of sigma = 0.3 size + 0.8 pixels; 0: none.

    The sizes and their sigmas are those of arXiv:2512.22192.
    """
    images = _checked(images)
    fits = size == 0 or (size % 2 == 1 and 1 <= size < 2 * min(images.shape[-2:]))
    _require(fits, f"blur size is {size}; allowed: 0, or odd and less than twice the image")
    if size == 0:
        return images.clone()
    blur = torchvision("transforms.v2.functional").gaussian_blur
    return blur(images, [size, size], [0.3 * size + 0.8])


def low_pass(images: Tensor, cutoff: float) -> Tensor:
    """Remove everything above a radial frequency in cycles/pixel; overshoots [0, 1]."""
    images, radius = _with_radius(images, cutoff)
    return filtered(images, radius <= cutoff)


def high_pass(images: Tensor, cutoff: float) -> Tensor:
    """Remove everything up to a radial frequency in cycles/pixel, except the mean colour."""
    images, radius = _with_radius(images, cutoff)
    return filtered(images, (radius > cutoff) | (radius == 0))


def radial_frequency(height: int, width: int) -> Tensor:
    """Radius in cycles/pixel of the coefficients of torch.fft.rfft2: (H, W // 2 + 1)."""
    options = {"dtype": torch.float64, "device": "cpu"}
    fy = torch.fft.fftfreq(height, **options)[:, None]
    return torch.hypot(fy, torch.fft.rfftfreq(width, **options))


def filtered(images: Tensor, gain: Tensor) -> Tensor:
    """Images (N, C, H, W) with their spectrum multiplied by `gain`, (H, W // 2 + 1)."""
    spectrum = torch.fft.rfft2(images) * gain.to(images.device)
    return torch.fft.irfft2(spectrum, images.shape[-2:])


def _with_radius(images: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    _require(cutoff >= 0, f"cutoff is {cutoff}; allowed: at least 0")
    images = _checked(images)
    return images, radial_frequency(*images.shape[-2:])


def _checked(images: Tensor) -> Tensor:
    """The images as floats in [0, 1]."""
    found = f"{type(images).__name__} {tuple(getattr(images, 'shape', ()))}"
    fits = isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] in (1, 3)
    _require(fits, f"images is {found}; allowed: a tensor (N, 3, H, W) or (N, 1, H, W)")
    if images.dtype == torch.uint8:
        return to_float(images)
    kind = images.dtype
    _require(kind.is_floating_point, f"type of the images is {kind}; allowed: uint8 or float")
    images = images.float() if kind.itemsize < 4 else images  # not every transform knows half
    low, high = (images.min(), images.max()) if len(images) else (0, 0)
    fits = -1e-4 <= low and high <= 1 + 1e-4  # rounding may lead a little beyond
    _require(fits, f"range of the images is {low:.4g} to {high:.4g}; allowed: 0 to 1, or uint8")
    return images


def _require(condition, text: str) -> None:
    if not condition:
        raise ValueError(text)
