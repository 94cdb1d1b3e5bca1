"""Fourier spectra of convolution kernels: exact, discrete, one pass over the weights.

Convention. A kernel w of kh x kw pixels has the DFT

    W(u, v) = sum_{m,n} w(m, n) exp(-2 pi i (u m / kh + v n / kw)).

Index u stands for the frequency fu = u / kh wrapped to [-1/2, 1/2) cycles/pixel, v likewise;
the radius of a coefficient is r = hypot(fu, fv). 0.5 cycles/pixel is the Nyquist frequency
along an axis. Coefficients of *equal* radius form an orbit, and per orbit

    energy[r]  = 1 / (kh kw) * sum of |W|^2    so that  sum_r energy[r] = ||w||^2  (Parseval)
    density[r] = energy[r] / multiplicity[r]   flat for white (i.i.d.) kernels
    share[r]   = energy[r] / ||w||^2

with energies summed over all kernels of a layer. A 3x3 kernel has the radii 0, 1/3 and
sqrt(2)/3 with multiplicities 1, 4 and 4. Nothing is binned or interpolated: rounding the
radii to integers would merge the last two.

All this follows from the summed autocorrelation of the kernels, (2 kh - 1) x (2 kw - 1) numbers.
The weights are read once: small kernels through their second moments G = sum_n w_n w_n^T, as
vectors of kh kw numbers, large ones by FFT. Pixels are kernel taps: with dilation d, a radius r
lies at r / d of the image's.

This file needs torch, numpy and pandas only and can be copied into another project as it is.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

CUTOFF = 0.25  # cycles/pixel, half the Nyquist frequency: the high band lies above it
CHUNK = 2**17  # numbers made float64 at a time: few enough to stay in the cache
SMALL = 49  # numbers of a kernel up to which second moments are cheaper than an FFT


@lru_cache
def radial_orbits(kh: int, kw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group the DFT coefficients of a kh x kw kernel by exactly equal radius.

    Returns radii (float64, ascending, cycles/pixel), multiplicities (int64, coefficients at each
    radius) and orbit (int64 (kh, kw), the index into both of each DFT coefficient).
    """
    if kh < 1 or kw < 1:
        raise ValueError(f"kh and kw must be at least 1, found {kh} x {kw}")
    su = np.rint(np.fft.fftfreq(kh) * kh).astype(np.int64)  # signed integer frequencies
    sv = np.rint(np.fft.fftfreq(kw) * kw).astype(np.int64)
    squared = su[:, None] ** 2 * kw**2 + sv**2 * kh**2  # (radius * kh * kw)^2, an integer
    keys, orbit, multiplicities = np.unique(squared, return_inverse=True, return_counts=True)
    radii, orbit = np.sqrt(keys) / (kh * kw), orbit.reshape(kh, kw)
    for array in (radii, multiplicities, orbit):
        array.flags.writeable = False  # the cache hands the same arrays to every caller
    return radii, multiplicities, orbit


@dataclass(frozen=True)
class RadialSpectrum:
    """The discrete radial profile of kernels of one size, by radius in ascending order."""

    radius: np.ndarray  # cycles/pixel
    energy: np.ndarray  # summed over the kernels
    multiplicity: np.ndarray  # number of DFT coefficients

    @property
    def total(self) -> float:
        """Energy of all kernels, ||w||^2."""
        return float(self.energy.sum())

    @property
    def density(self) -> np.ndarray:
        """Energy per DFT coefficient: flat for white kernels."""
        return self.energy / self.multiplicity

    @property
    def share(self) -> np.ndarray:
        """Fraction of the total energy; NaN and a warning where there is no energy."""
        if self.total == 0:
            warnings.warn("kernels without energy have no shares: NaN", stacklevel=2)
            return np.full(len(self.energy), np.nan)
        return self.energy / self.total

    @property
    def corner_share(self) -> float:
        """Share of the largest radius alone."""
        return float(self.share[-1])

    @property
    def white_db(self) -> np.ndarray:
        """Density relative to white kernels of the same energy, in dB (0 = no preference)."""
        return db_against_white(self.share, self.multiplicity / self.multiplicity.sum())

    @property
    def mean_radius(self) -> float:
        """Mean of the radius, cycles/pixel, weighted by energy."""
        return float(self.share @ self.radius)

    def table(self) -> pd.DataFrame:
        """A row per radius: radius, multiplicity, energy, density, share, white_db."""
        columns = ["radius", "multiplicity", "energy", "density", "share", "white_db"]
        return pd.DataFrame({name: getattr(self, name) for name in columns})

    def high_share(self, cutoff: float = CUTOFF) -> float:
        """Share of the radii above `cutoff` (cycles/pixel)."""
        if not 0 <= cutoff < np.inf:
            raise ValueError(f"cutoff must be a radius >= 0, found {cutoff}")
        return float(self.share @ (self.radius > cutoff))


def kernel_autocorrelation(weight, gains=None) -> np.ndarray:
    """Sum the autocorrelations sum_y,x w(y, x) w(y + dy, x + dx) of all kernels w, in one pass.

    Args:
        weight: real floating-point tensor or array (..., n, kh, kw) of any dtype and device.
        gains: (g, filters), factors of the power of each filter, for g results at once.

    Returns float64 (2 kh - 1, 2 kw - 1), offset (dy, dx) = (0, 0) in the middle; with gains
    (g, 2 kh - 1, 2 kw - 1). It is symmetric: of 3x3 kernels 13 numbers are independent.

    Raises:
        ValueError: fewer than two dimensions, empty, not floating point, NaN or infinity.
    """
    weight = _as_filters(weight)
    filters, n, kh, kw = weight.shape
    numbers, padded = kh * kw, (2 * kh, 2 * kw)  # zeros keep the ends of a correlation apart
    small, like = numbers <= SMALL, {"dtype": torch.float64, "device": weight.device}
    factors = torch.as_tensor(np.ones((1, filters)) if gains is None else gains, **like)
    most = max(1, CHUNK // numbers)  # kernels at a time, of `step` filters
    step = max(1, most // max(n, numbers if small else 1))
    buffer = torch.empty(step * min(n, most) * numbers, **like)  # fresh memory costs time
    total = 0.0
    for start in range(0, filters, step):
        for part in weight[start : start + step].split(most, dim=1):
            kernels = buffer[: part.numel()].view(part.shape).copy_(part)
            if small:  # second moments of each filter
                power = kernels.flatten(2).mT @ kernels.flatten(2)
            else:
                power = torch.fft.rfft2(kernels, padded).abs().square().sum(1)
            total = total + factors[:, start : start + step] @ power.flatten(1)
    if not torch.isfinite(total).all():
        if torch.isfinite(weight.to(torch.float64)).all():
            raise ValueError("weight is so large that its energy overflows float64")
        raise ValueError("weight must be finite, found NaN or infinity")
    if small:  # the moments summed along equal offsets
        y, x = np.divmod(np.arange(numbers), kw)
        offset = (y[:, None] - y + kh - 1) * (2 * kw - 1) + x[:, None] - x + kw - 1
        sums = [np.bincount(offset.ravel(), moments) for moments in total.cpu().numpy()]
        found = np.reshape(sums, (-1, 2 * kh - 1, 2 * kw - 1))
    else:
        found = torch.fft.irfft2(total.unflatten(1, power.shape[1:]), padded).cpu().numpy()
        found = np.fft.fftshift(found, axes=(1, 2))[:, 1:, 1:]
    return found[0] if gains is None else found


def spectrum_from_autocorrelation(correlation) -> RadialSpectrum:
    """Compute the radial spectrum of kernels from their autocorrelation (2 kh - 1, 2 kw - 1)."""
    kh, kw = (n // 2 + 1 for n in np.shape(correlation))
    return spectrum_from_power(response_from_autocorrelation(correlation, kh, kw) / (kh * kw))


def spectrum_from_power(power) -> RadialSpectrum:
    """Compute the radial profile of a power spectrum, for instance of images: sums as its energy,
    means as its density.

    Args:
        power: (H, W), not negative, zero frequency at index (H // 2, W // 2) as after fftshift.
    """
    power = np.asarray(power, dtype=np.float64)
    radii, multiplicities, orbit = radial_orbits(*power.shape)
    energy = np.bincount(orbit.ravel(), np.fft.ifftshift(power).ravel())
    return RadialSpectrum(radii, energy, multiplicities)


def response_from_autocorrelation(correlation, height: int, width: int | None = None) -> np.ndarray:
    """Compute the response |H|^2, summed over the kernels, at height x width frequencies.

    H(fu, fv) is the transform of a kernel at any frequency. |H|^2 is the DFT of the
    autocorrelation (Wiener-Khinchin), whose offsets count modulo the size of the grid. Of a
    multiple of the kernel's size, the kernel's own DFT coefficients are among the samples.

    Returns float64 (height, width or else height), frequencies fftshift(fftfreq(n)) cycles/pixel
    along both axes, zero frequency at index n // 2.
    """
    width = height if width is None else width
    if min(height, width) < 1:
        raise ValueError(f"size must be at least 1, found {height} x {width}")
    y, x = (np.arange(n) - n // 2 for n in np.shape(correlation))
    wrapped = np.zeros((height, width))
    np.add.at(wrapped, (y[:, None] % height, x % width), correlation)
    power = np.maximum(np.fft.fft2(wrapped).real, 0)  # rounding can leave -1e-17 for nothing
    return np.fft.fftshift(power)


def db_against_white(power, white):
    """10 log10(power / white) in dB of numbers, arrays or tables; -inf without power, NaN without both.

    `white` is the power of white kernels or images of the same energy: the mean over a grid of
    frequencies, ||w||^2 for a response |H|^2, multiplicity / (kh kw) for a share.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(power / white)


def radial_spectrum(weight) -> RadialSpectrum:
    """Compute the discrete radial profile of all kernels of a (..., kh, kw) tensor or array.

    The energies agree with a float64 FFT of every kernel to rounding, about 1e-15 of their
    sum. Arguments and errors as of `kernel_autocorrelation`.
    """
    return spectrum_from_autocorrelation(kernel_autocorrelation(weight))


def spectral_suppression_ratio(
    before: RadialSpectrum, after: RadialSpectrum, cutoff: float = CUTOFF
) -> float:
    """Compute SSR = (eta(0) - eta(T)) / eta(0), eta the energy share above `cutoff` cycles/pixel.

    Positive where the share fell. NaN and a warning where that before is 0 or undefined.
    """
    if not np.array_equal(before.radius, after.radius):
        raise ValueError("before and after must have the same radii")
    eta = before.high_share(cutoff)
    if not eta > 0:
        warnings.warn(f"SSR is NaN: the high-frequency share before is {eta:g}", stacklevel=2)
    return float(relative_decrease(eta, after.high_share(cutoff)))


def relative_decrease(before, after):
    """(before - after) / before of numbers or arrays; NaN where `before` is not above 0."""
    return (before - after) / np.where(before > 0, before, np.nan)


def _as_filters(weight) -> Tensor:
    """Check weights, and shape them to (filters, n, kh, kw)."""
    if not isinstance(weight, Tensor):
        weight = np.asarray(weight)
        if weight.dtype.kind == "f":  # of any memory layout and byte order
            weight = torch.from_numpy(np.array(weight, dtype=np.float64, order="C"))
    if not (isinstance(weight, Tensor) and weight.is_floating_point()):
        raise ValueError(f"weight must be real floating-point numbers, found {weight.dtype}")
    if weight.ndim < 2 or weight.numel() == 0:
        shape = tuple(weight.shape)
        raise ValueError(f"weight must have 2 dimensions or more, and not be empty, found {shape}")
    weight = weight.detach().cpu() if weight.device.type == "mps" else weight.detach()  # no float64
    n = weight.shape[-3] if weight.ndim > 2 else 1
    return weight.reshape(-1, n, *weight.shape[-2:])
