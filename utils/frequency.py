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

Every one of these numbers is quadratic in the kernels, so it follows from their summed
autocorrelation, (2 kh - 1) x (2 kw - 1) numbers. The weights are read once: small kernels
through their second moments G = sum_n w_n w_n^T, as vectors of k = kh kw numbers, large ones
by FFT. Pixels are kernel taps: with dilation d, a radius r lies at r / d of the image's.

This file needs torch, numpy and pandas only and can be copied into another project as it is.
"""

import importlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

CUTOFF = 0.25  # cycles/pixel, half the Nyquist frequency: the high band lies above it
CHUNK = 2**17  # numbers made float64 at a time: few enough to stay in the cache
SMALL = 49  # numbers of a kernel up to which second moments are cheaper than an FFT

# What walks through a network is in files of its own, and found here too.
ELSEWHERE = {
    "analyze_model": "utils.model_spectra",
    "measurable_convolutions": "utils.model_spectra",
    "following_batchnorms": "utils.batchnorm",
    "batchnorm_scale": "utils.batchnorm",
}


def __getattr__(name: str):
    if name not in ELSEWHERE:
        raise AttributeError(f"module {__name__} has no attribute {name!r}")
    return getattr(importlib.import_module(ELSEWHERE[name]), name)


@lru_cache
def radial_orbits(kh: int, kw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group the DFT coefficients of a kh x kw kernel by equal radius, decided in integers.

    Returns:
        radii: float64, ascending, cycles/pixel.
        multiplicities: int64, number of coefficients at each radius.
        orbit: int64 (kh, kw), index into `radii` of each DFT coefficient.
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
    """The discrete radial profile of a set of kernels of one size.

    Attributes:
        radius: (R,) cycles/pixel, ascending.
        energy: (R,) energy at each radius, summed over the kernels; adds up to ||w||^2.
        multiplicity: (R,) number of DFT coefficients at each radius.
    """

    radius: np.ndarray
    energy: np.ndarray
    multiplicity: np.ndarray

    @property
    def total(self) -> float:
        """Energy of all kernels, ||w||^2."""
        return float(self.energy.sum())

    @property
    def density(self) -> np.ndarray:
        """(R,) energy per DFT coefficient: flat for white kernels."""
        return self.energy / self.multiplicity

    @property
    def share(self) -> np.ndarray:
        """(R,) fraction of the total energy; NaN and a warning where there is no energy."""
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
        """(R,) density relative to white kernels of the same energy, in dB (0 = no preference)."""
        white = self.multiplicity / self.multiplicity.sum()
        with np.errstate(divide="ignore"):  # no energy at a radius is -inf dB
            return 10 * np.log10(self.share / white)

    @property
    def mean_radius(self) -> float:
        """Mean of the radius, cycles/pixel, weighted by energy."""
        return float(self.share @ self.radius)

    def table(self) -> pd.DataFrame:
        """A row per radius: radius, multiplicity, energy, density, share, white_db."""
        columns = ["radius", "multiplicity", "energy", "density", "share", "white_db"]
        return pd.DataFrame({name: getattr(self, name) for name in columns})

    def high_energy(self, cutoff: float = CUTOFF) -> float:
        """Energy at radii above `cutoff` (cycles/pixel)."""
        return float(self.energy[self._high(cutoff)].sum())

    def high_share(self, cutoff: float = CUTOFF) -> float:
        """Share of the radii above `cutoff` (cycles/pixel)."""
        high = self.share[self._high(cutoff)]
        return float(high.sum()) if self.total > 0 else np.nan

    def _high(self, cutoff: float) -> np.ndarray:
        if not 0 <= cutoff < np.inf:
            raise ValueError(f"cutoff must be a radius >= 0, found {cutoff}")
        return self.radius > cutoff


def filter_moments(weight) -> Tensor:
    """Second moments of the kernels of each filter (output channel).

    Args:
        weight: real floating-point tensor or array (..., n, kh, kw) of any dtype and device.

    Returns:
        float64 (filters, k, k) with k = kh * kw: sum over a filter's n kernels of w w^T, on
        the weight's device (the CPU where the device has no float64).

    Raises:
        ValueError: fewer than two dimensions, empty, not floating point, NaN or infinity.
    """
    weight = _as_filters(weight)
    k = weight[0, 0].numel()
    moments = torch.zeros(len(weight), k, k, dtype=torch.float64, device=weight.device)
    for part, kernels in _parts(weight, k):
        moments[part] += kernels.mT @ kernels
    return _finite(moments, weight)


def kernel_moments(weight) -> Tensor:
    """Second-moment matrix G = sum_n w_n w_n^T of all kernels of a (..., kh, kw) tensor.

    Returns float64 (k, k), k = kh * kw. Arguments and errors as in `filter_moments`.
    """
    weight = _as_filters(weight)
    parts = _parts(weight, weight[0, 0].numel())
    return _finite(sum((kernels.mT @ kernels).sum(0) for _, kernels in parts), weight)


def autocorrelation(moments: Tensor, kh: int, kw: int) -> np.ndarray:
    """Autocorrelation of kernels of kh x kw pixels from their (k, k) second moments.

    Entry (dy, dx) is sum_n sum_y,x w_n(y, x) w_n(y + dy, x + dx), the second moments summed
    along equal offsets. It is symmetric: of 3x3 kernels 13 numbers are independent.

    Returns float64 (2 kh - 1, 2 kw - 1), offset zero in the middle.
    """
    y, x = np.divmod(np.arange(kh * kw), kw)
    index = (y[:, None] - y + kh - 1) * (2 * kw - 1) + x[:, None] - x + kw - 1
    return np.bincount(index.ravel(), moments.cpu().numpy().ravel()).reshape(2 * kh - 1, -1)


def kernel_autocorrelation(weight, gains=None) -> np.ndarray:
    """Autocorrelation of all kernels of a (..., n, kh, kw) tensor, from one pass over them.

    Args:
        weight: as in `filter_moments`.
        gains: (g, filters), factors of the power of each filter, for g results at once.

    Returns float64 (2 kh - 1, 2 kw - 1) as `autocorrelation`; with gains (g, 2 kh - 1, 2 kw - 1).
    """
    weight = _as_filters(weight)
    kh, kw = weight.shape[-2:]
    small = kh * kw <= SMALL
    factors = torch.ones(1, len(weight)) if gains is None else torch.as_tensor(gains)
    factors = factors.to(weight.device).to(torch.float64)
    total = 0.0
    for part, kernels in _parts(weight, kh * kw if small else 1):
        if small:
            power = kernels.mT @ kernels
        else:  # zeros around a kernel keep the ends of its correlation apart
            padded = (2 * kh, 2 * kw)
            power = torch.fft.rfft2(kernels.unflatten(2, (kh, kw)), padded).abs().square().sum(1)
        total = total + (factors[:, part] @ power.flatten(1)).unflatten(1, power.shape[1:])
    total = _finite(total, weight)
    if small:
        found = np.stack([autocorrelation(moments, kh, kw) for moments in total])
    else:
        found = torch.fft.irfft2(total, padded).cpu().numpy()
        found = np.fft.fftshift(found, axes=(1, 2))[:, 1:, 1:]
    return found[0] if gains is None else found


def spectrum_from_autocorrelation(correlation) -> RadialSpectrum:
    """Radial spectrum of kernels from their autocorrelation."""
    kh, kw = (n // 2 + 1 for n in np.shape(correlation))
    return spectrum_from_power(np.fft.fftshift(_power(correlation, kh, kw)) / (kh * kw))


def spectrum_from_power(power) -> RadialSpectrum:
    """Radial profile of a power spectrum, for instance of images.

    Args:
        power: (H, W), not negative, zero frequency at index (H // 2, W // 2) as after fftshift.

    Returns the spectrum whose energy is the sum of the power at each radius, and whose density
    is its mean.
    """
    power = np.asarray(power, dtype=np.float64)
    radii, multiplicities, orbit = radial_orbits(*power.shape)
    energy = np.bincount(orbit.ravel(), np.fft.ifftshift(power).ravel())
    return RadialSpectrum(radii, energy, multiplicities)


def response_from_autocorrelation(correlation, size: int) -> np.ndarray:
    """Power |H|^2 on a size x size grid of frequencies, as `frequency_response`.

    Args:
        correlation: from `autocorrelation`.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, found {size}")
    return np.fft.fftshift(_power(correlation, size, size))


def radial_spectrum(weight) -> RadialSpectrum:
    """Discrete radial profile of all kernels of a (..., kh, kw) tensor or array.

    The energies agree with a float64 FFT of every kernel to rounding, about 1e-15 of their
    sum, whatever the scale.
    Arguments and errors as in `filter_moments`.
    """
    return spectrum_from_autocorrelation(kernel_autocorrelation(weight))


def frequency_response(weight, size: int) -> np.ndarray:
    """Power |H|^2 of the filter bank on a size x size grid of frequencies.

    H(fu, fv) is the transform of a kernel at any frequency; |H|^2 is summed over the kernels.

    Returns float64 (size, size), frequencies fftshift(fftfreq(size)) cycles/pixel along both
    axes, zero frequency at index size // 2. At a size that is a multiple of the kernel's, the
    DFT coefficients of the kernel are among the samples.
    """
    return response_from_autocorrelation(kernel_autocorrelation(weight), size)


def radial_response(weight, radii) -> np.ndarray:
    """Mean of |H|^2 over all angles at each radius, summed over the kernels.

    With J0 the Bessel function and A the autocorrelation, the mean over the angle is exact:
    sum over offsets d of A(d) J0(2 pi r |d|).

    Args:
        weight: as in `filter_moments`.
        radii: (n,) cycles/pixel, not negative.

    Returns float64 (n,). For white kernels of variance s^2 it is N kh kw s^2 at every radius.
    """
    radii = np.atleast_1d(np.asarray(radii, dtype=np.float64))
    if radii.ndim != 1 or not np.all((radii >= 0) & (radii < np.inf)):
        raise ValueError(f"radii must be finite and not negative, found {radii}")
    correlation = kernel_autocorrelation(weight)
    dy, dx = (np.arange(n) - n // 2 for n in correlation.shape)
    squared, index = np.unique(dy[:, None] ** 2 + dx**2, return_inverse=True)
    rings = np.bincount(index.ravel(), correlation.ravel())  # per squared distance
    return np.maximum(_bessel_j0(2 * np.pi * np.outer(radii, np.sqrt(squared))) @ rings, 0)


def spectral_suppression_ratio(
    before: RadialSpectrum, after: RadialSpectrum, cutoff: float = CUTOFF
) -> float:
    """SSR = (eta(0) - eta(T)) / eta(0), eta the share of energy above `cutoff` cycles/pixel.

    Positive: the high-frequency share fell; negative: it grew. NaN and a warning where the
    share before is 0 or undefined.
    """
    if not np.array_equal(before.radius, after.radius):
        raise ValueError("before and after must have the same radii")
    return _relative_fall(before.high_share(cutoff), after.high_share(cutoff))


def published_ssr(after_first_epoch: RadialSpectrum, final: RadialSpectrum) -> float:
    """SSR by the protocol of arXiv:2512.22192, for comparison with its numbers.

    (h(1) - h(T)) / h(1), where h = sum over radii > 0 of density[r] / density[0] and the
    reference is the spectrum after the *first epoch*. The publication applies it to the raw
    weights of the first convolution.
    """

    def relative_to_dc(spectrum: RadialSpectrum) -> float:
        dc, *others = spectrum.density
        return float(sum(others) / dc) if dc > 0 else np.nan

    return _relative_fall(relative_to_dc(after_first_epoch), relative_to_dc(final))


def _as_filters(weight) -> Tensor:
    """Checked tensor (filters, n, kh, kw); numpy arrays of any layout and precision pass."""
    if not isinstance(weight, Tensor):
        weight = np.asarray(weight)
        if weight.dtype.kind == "f":
            weight = weight.astype(np.float64)
        elif weight.dtype.kind not in "biuc":
            raise ValueError(f"weight must hold numbers, found {weight.dtype}")
        weight = torch.from_numpy(np.ascontiguousarray(weight))
    if not weight.is_floating_point():
        raise ValueError(f"weight must be real floating point, found {weight.dtype}")
    if weight.ndim < 2:
        raise ValueError(
            f"weight must have at least 2 dimensions, found {weight.ndim} "
            f"(shape {tuple(weight.shape)})"
        )
    if weight.numel() == 0:
        raise ValueError(f"weight is empty, shape {tuple(weight.shape)}")
    weight = weight.detach()
    weight = weight.cpu() if weight.device.type == "mps" else weight  # no float64 there
    n = weight.shape[-3] if weight.ndim > 2 else 1
    return weight.reshape(-1, n, *weight.shape[-2:])


def _parts(weight: Tensor, room: int) -> Iterator[tuple[slice, Tensor]]:
    """A bounded number of filters at a time: which, and their kernels (filters, n, k), float64.

    The kernels lie in one buffer, as fresh memory would cost more time: use them at once.

    Args:
        room: how many times k numbers a filter needs at least.
    """
    filters, n, kh, kw = weight.shape
    most = max(1, CHUNK // (kh * kw))
    step = max(1, most // max(n, room))
    buffer = torch.empty(step * min(n, most) * kh * kw, dtype=torch.float64, device=weight.device)
    for start in range(0, filters, step):
        for part in weight[start : start + step].split(most, dim=1):
            kernels = buffer[: part.numel()].view(part.shape)
            yield slice(start, start + step), kernels.copy_(part).flatten(2)


def _finite(result: Tensor, weight: Tensor) -> Tensor:
    if torch.isfinite(result).all():
        return result
    if all(torch.isfinite(kernels).all() for _, kernels in _parts(weight, 1)):
        raise ValueError("weight is so large that its energy overflows float64")
    raise ValueError("weight must be finite, found NaN or infinity")


def _power(correlation, rows: int, columns: int) -> np.ndarray:
    """|H|^2 summed over kernels at fftfreq(rows) x fftfreq(columns) cycles/pixel.

    It is the DFT of the autocorrelation (Wiener-Khinchin), whose offsets are taken modulo the
    size of the grid.
    """
    y, x = (np.arange(n) - n // 2 for n in np.shape(correlation))
    wrapped = np.zeros((rows, columns))
    np.add.at(wrapped, (y[:, None] % rows, x % columns), correlation)
    # Rounding can leave -1e-17 where there is nothing.
    return np.maximum(np.fft.fft2(wrapped).real, 0)


def _bessel_j0(x: np.ndarray) -> np.ndarray:
    """J0(x) = mean of cos(x cos t) over a period; equidistant t make it exact to rounding."""
    count = 32 + 2 * int(np.ceil(x.max()))  # the error falls like the Bessel function J_count
    angles = 2 * np.pi * np.arange(count) / count
    return np.mean([np.cos(x * np.cos(angle)) for angle in angles], axis=0)


def _relative_fall(before: float, after: float) -> float:
    if not before > 0:
        warnings.warn(f"no high-frequency share to compare with ({before}): NaN")
        return np.nan
    return (before - after) / before
