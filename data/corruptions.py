"""What robustness is tested against: noise, low resolution, blur, ideal filters.

Every function takes a batch of images (N, 3, H, W), or grey ones (N, 1, H, W), on any device and
not yet normalised: floats in [0, 1], or uint8, which become that. It returns new floats of the
same shape, and refuses anything else with a ValueError: a single image, 0..255 as floats, channels
last. Noise is made apart from the images, from a generator of its own, so that every model sees
the same.

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
    if noisy.shape != images.shape:
        raise ValueError(f"shape of the noise is {tuple(noise.shape)}; allowed: the images'")
    return noisy.clamp_(0, 1) if clip else noisy


def gaussian_noise(images: Tensor, sigma: float, white: Tensor, clip: bool = True) -> Tensor:
    """Add noise of standard deviation `sigma` in pixel units, before clipping; `white` is from
    `white_noise`, of the images' shape."""
    if not sigma >= 0:
        raise ValueError(f"sigma is {sigma}; allowed: at least 0")
    return add_noise(images, sigma * white, clip)


def band_noise(white: Tensor, centre: float, width: float, norm: float) -> Tensor:
    """Noise whose frequencies have a radius within width / 2 of `centre`, cycles/pixel.

    Zero frequency, the brightness of the whole image, is in no band.

    Args:
        white: from `white_noise`; its spectrum outside the band is set to 0.
        norm: L2 norm of the noise of every image, all colours together, in pixel units.
    """
    radius = radial_frequency(*white.shape[-2:])
    band = ((radius - centre).abs() <= width / 2) & (radius > 0)
    if not band.any():
        raise ValueError(f"band is {centre} +- {width / 2}; allowed: one that holds modes")
    noise = filtered(white, band)
    return noise * (norm / noise.flatten(1).norm(dim=1).view(-1, 1, 1, 1))


def fourier_basis(u: int, v: int, size: int) -> Tensor:
    """Real image (size, size) of L2 norm 1 with vertical and horizontal frequency u, v.

    In whole cycles per image; Yin et al., NeurIPS 2019, "A Fourier Perspective on Model
    Robustness in Computer Vision". (u, v) and (-u, -v) give the same image.
    """
    axis = torch.arange(size, dtype=torch.float64, device="cpu")
    wave = torch.cos(2 * math.pi * (u * axis[:, None] + v * axis) / size)
    return (wave / wave.norm()).float()


def half_plane(size: int) -> list[tuple[int, int]]:
    """The (u, v) of all different Fourier modes of size x size images.

    u from -size / 2 + 1 to size / 2, v from 0 to size / 2.
    """
    us, vs = range(-((size - 1) // 2), size // 2 + 1), range(size // 2 + 1)
    # The columns 0 and size / 2 hold both (u, v) and (-u, v).
    return [(u, v) for u in us for v in vs if u >= 0 or v not in (0, size / 2)]


def fourier_modes(
    modes: list[tuple[int, int]], shape: tuple[int, ...], norm: float, seed: int, device, clip=True
) -> Iterator[tuple[dict, Callable]]:
    """No mode, then each Fourier mode, in every colour of every image with a random sign.

    Args:
        shape: of the images, (N, 3, size, size); norm: L2 norm of the noise of every image.

    Yields {"u": u, "v": v} (first {}) and the function that adds it to images in [0, 1].
    """
    yield {}, lambda clean: clean
    generator = torch.Generator().manual_seed(seed)
    for u, v in modes:
        signs = torch.randint(2, (*shape[:2], 1, 1), generator=generator, device="cpu") * 2 - 1
        noise = norm / shape[1] ** 0.5 * signs * fourier_basis(u, v, shape[-1])
        yield {"u": u, "v": v}, partial(add_noise, noise=noise.to(device), clip=clip)


def downscale(images: Tensor, size: int, antialias: bool) -> Tensor:
    """To size x size pixels, bilinear. Without antialiasing high frequencies fold down."""
    images = _checked(images)
    if not 1 <= size <= min(images.shape[-2:]):
        raise ValueError(f"resolution is {size}; allowed: from 1 to {min(images.shape[-2:])}")
    return F.interpolate(images, (size, size), mode="bilinear", antialias=antialias)


def low_resolution(images: Tensor, size: int, antialias: bool) -> Tensor:
    """To size x size pixels and back, bilinear both ways."""
    small = downscale(images, size, antialias)
    return F.interpolate(small, images.shape[-2:], mode="bilinear")


def gaussian_blur(images: Tensor, size: int) -> Tensor:
    """Blur by a size x size Gaussian kernel of sigma = 0.3 size + 0.8 pixels; 0: none.

    The sizes and their sigmas are those of arXiv:2512.22192.
    """
    images = _checked(images)
    if size != 0 and not (size % 2 == 1 and 1 <= size < 2 * min(images.shape[-2:])):
        raise ValueError(f"blur size is {size}; allowed: 0, or odd and less than twice the image")
    if size == 0:
        return images.clone()
    blur = torchvision("transforms.v2.functional").gaussian_blur
    return blur(images, [size, size], [0.3 * size + 0.8])


def low_pass(images: Tensor, cutoff: float) -> Tensor:
    """Remove everything above a radial frequency in cycles/pixel; overshoots [0, 1]."""
    images = _checked(images)
    if not cutoff >= 0:
        raise ValueError(f"cutoff is {cutoff}; allowed: at least 0")
    return filtered(images, radial_frequency(*images.shape[-2:]) <= cutoff)


def high_pass(images: Tensor, cutoff: float) -> Tensor:
    """Remove everything up to a radial frequency in cycles/pixel, except the mean colour."""
    images = _checked(images)
    if not cutoff >= 0:
        raise ValueError(f"cutoff is {cutoff}; allowed: at least 0")
    radius = radial_frequency(*images.shape[-2:])
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


def _checked(images: Tensor) -> Tensor:
    """The images as floats in [0, 1]."""
    found = f"{type(images).__name__} {tuple(getattr(images, 'shape', ()))}"
    if not (isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] in (1, 3)):
        raise ValueError(f"images is {found}; allowed: a tensor (N, 3, H, W) or (N, 1, H, W)")
    if images.dtype == torch.uint8:
        return to_float(images)
    if not images.is_floating_point():
        raise ValueError(f"type of the images is {images.dtype}; allowed: uint8 or float")
    if images.dtype.itemsize < 4:
        images = images.float()  # not every transform knows half precision
    low, high = (images.min(), images.max()) if len(images) else (0, 0)
    if not (-1e-4 <= low and high <= 1 + 1e-4):  # rounding may lead a little beyond
        raise ValueError(
            f"range of the images is {low:.4g} to {high:.4g}; allowed: 0 to 1, or uint8"
        )
    return images
