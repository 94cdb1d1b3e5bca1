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

Every one of these numbers is quadratic in the kernels, so it follows from the second-moment
matrix G = sum_n w_n w_n^T of the kernels as vectors of k = kh kw numbers. The weights are
read once; all the rest is arithmetic on a k x k matrix.

This file needs torch, numpy and pandas only and can be copied into another project as it is.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor, fx, nn

CUTOFF = 0.25  # cycles/pixel, half the Nyquist frequency: the high band lies above it
CHUNK = 2**17  # numbers made float64 at a time: few enough to stay in the cache
COLUMNS = ["layer", "kernel_size", "kernels", "energy", "high_share", "corner_share"]


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
    weight = _as_real_tensor(weight)
    kh, kw = weight.shape[-2:]
    n = weight.shape[-3] if weight.ndim > 2 else 1
    kernels = weight.reshape(-1, n, kh * kw)
    step = max(1, CHUNK // (n * kh * kw))
    options = {"dtype": torch.float64, "device": weight.device}
    buffer = torch.empty(step, n, kh * kw, **options)  # fresh memory would cost more time
    moments = torch.empty(len(kernels), kh * kw, kh * kw, **options)
    for part, result in zip(kernels.split(step), moments.split(step)):
        chunk = buffer[: len(part)].copy_(part)
        torch.matmul(chunk.mT, chunk, out=result)
    if not torch.isfinite(moments).all():
        if torch.isfinite(weight).all():
            raise ValueError("weight is so large that its energy overflows float64")
        raise ValueError("weight must be finite, found NaN or infinity")
    return moments


def kernel_moments(weight) -> Tensor:
    """Second-moment matrix G = sum_n w_n w_n^T of all kernels of a (..., kh, kw) tensor.

    Returns float64 (k, k), k = kh * kw. Arguments and errors as in `filter_moments`.
    """
    return filter_moments(weight).sum(0)


def spectrum_from_moments(moments: Tensor, kh: int, kw: int) -> RadialSpectrum:
    """Radial spectrum of kernels of kh x kw pixels from their (k, k) second moments."""
    power = _power(autocorrelation(moments, kh, kw), kh, kw) / (kh * kw)
    return spectrum_from_power(np.fft.fftshift(power))


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


def autocorrelation(moments: Tensor, kh: int, kw: int) -> np.ndarray:
    """Autocorrelation of kernels of kh x kw pixels, summed over the kernels.

    Entry (dy, dx) is sum_n sum_y,x w_n(y, x) w_n(y + dy, x + dx), the second moments summed
    along equal offsets. It is symmetric: of 3x3 kernels 13 numbers are independent.

    Args:
        moments: (k, k) second moments, k = kh kw.

    Returns float64 (2 kh - 1, 2 kw - 1), offset zero in the middle.
    """
    dy, dx = _pixel_differences(kh, kw)
    index = (dy + kh - 1) * (2 * kw - 1) + dx + kw - 1
    return np.bincount(index.ravel(), moments.cpu().numpy().ravel()).reshape(2 * kh - 1, -1)


def response_from_autocorrelation(correlation, size: int) -> np.ndarray:
    """Power |H|^2 on a size x size grid of frequencies, as `frequency_response`.

    Args:
        correlation: from `autocorrelation`.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, found {size}")
    return np.fft.fftshift(_power(np.asarray(correlation, dtype=np.float64), size, size))


def radial_spectrum(weight) -> RadialSpectrum:
    """Discrete radial profile of all kernels of a (..., kh, kw) tensor or array.

    The energies agree with a float64 FFT of every kernel to rounding, about 1e-15 of their
    sum, whatever the scale.
    Arguments and errors as in `filter_moments`.
    """
    moments = kernel_moments(weight)
    return spectrum_from_moments(moments, *np.shape(weight)[-2:])


def frequency_response(weight, size: int) -> np.ndarray:
    """Power |H|^2 of the filter bank on a size x size grid of frequencies.

    H(fu, fv) is the transform of a kernel at any frequency; |H|^2 is summed over the kernels.

    Returns float64 (size, size), frequencies fftshift(fftfreq(size)) cycles/pixel along both
    axes, zero frequency at index size // 2. At a size that is a multiple of the kernel's, the
    DFT coefficients of the kernel are among the samples.
    """
    correlation = autocorrelation(kernel_moments(weight), *np.shape(weight)[-2:])
    return response_from_autocorrelation(correlation, size)


def radial_response(weight, radii) -> np.ndarray:
    """Mean of |H|^2 over all angles at each radius, summed over the kernels.

    With J0 the Bessel function and x_i the pixel positions, the mean over the angle is exact:
    sum_ij G_ij J0(2 pi r |x_i - x_j|).

    Args:
        weight: as in `filter_moments`.
        radii: (n,) cycles/pixel, not negative.

    Returns float64 (n,). For white kernels of variance s^2 it is N kh kw s^2 at every radius.
    """
    radii = np.atleast_1d(np.asarray(radii, dtype=np.float64))
    if radii.ndim != 1 or not np.all((radii >= 0) & (radii < np.inf)):
        raise ValueError(f"radii must be finite and not negative, found {radii}")
    moments = kernel_moments(weight).cpu().numpy()
    dy, dx = _pixel_differences(*np.shape(weight)[-2:])
    squared, index = np.unique(dy**2 + dx**2, return_inverse=True)
    correlation = np.bincount(index.ravel(), moments.ravel())  # per squared distance
    return np.maximum(_bessel_j0(2 * np.pi * np.outer(radii, np.sqrt(squared))) @ correlation, 0)


def batchnorm_scale(bn: nn.BatchNorm2d) -> Tensor:
    """Factor gamma / sqrt(running_var + eps) by which BatchNorm scales each channel."""
    if bn.running_var is None:
        raise ValueError("bn keeps no running variance (track_running_stats=False)")
    scale = (bn.running_var + bn.eps).rsqrt()
    return (scale if bn.weight is None else scale * bn.weight).detach()


def fold_batchnorm(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> Tensor:
    """Effective kernels of a convolution followed by BatchNorm at inference.

    Returns w * gamma / sqrt(running_var + eps), shape (out, in / groups, kh, kw). The scale
    of raw weights before BatchNorm has no effect on the network (van Laarhoven 2017).
    """
    if conv.transposed or conv.weight.ndim != 4:
        raise ValueError(f"conv must be an nn.Conv2d, found {conv}")
    if bn.num_features != conv.out_channels:
        raise ValueError(f"bn has {bn.num_features} channels, conv writes {conv.out_channels}")
    return conv.weight.detach() * batchnorm_scale(bn).view(-1, 1, 1, 1)


def layer_spectra(conv: nn.Conv2d, bn: nn.BatchNorm2d | None = None) -> dict[str, RadialSpectrum]:
    """Radial spectra of a convolution's "raw" and "folded" kernels from one pass over them.

    Folding multiplies the second moments of a filter by its squared BatchNorm scale. Without
    a BatchNorm the two are equal.
    """
    moments = filter_moments(conv.weight)
    spectra = {"raw": spectrum_from_moments(moments.sum(0), *conv.kernel_size)}
    if bn is None:
        return spectra | {"folded": spectra["raw"]}
    gain = batchnorm_scale(bn).to(moments).square()  # (out,)
    folded = (gain.view(-1, 1, 1) * moments).sum(0)
    return spectra | {"folded": spectrum_from_moments(folded, *conv.kernel_size)}


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


def measurable_convolutions(model: nn.Module) -> tuple[dict[str, nn.Conv2d], dict[str, str]]:
    """Name -> convolution with a spatial spectrum, and name -> reason for those without."""
    measured, skipped = {}, {}
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.modules.conv._ConvNd):
            continue
        if isinstance(layer, nn.modules.conv._ConvTransposeNd):
            skipped[name] = "transposed"
        elif not isinstance(layer, nn.Conv2d):
            skipped[name] = "not two-dimensional"
        elif isinstance(layer.weight, nn.UninitializedParameter):
            skipped[name] = "not initialised yet"
        elif layer.kernel_size == (1, 1):
            skipped[name] = "1x1"
        else:
            measured[name] = layer
    return measured, skipped


def following_batchnorms(model: nn.Module) -> dict[str, str]:
    """Name of each convolution whose output goes to one BatchNorm2d only -> name of that one.

    Follows the data flow with torch.fx, not the order in which layers were defined.

    Raises:
        ValueError: the forward function cannot be traced.
    """
    modules = dict(model.named_modules())
    tracer = _ConvolutionTracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:
        raise ValueError(
            f"model {type(model).__name__} cannot be traced by torch.fx, so it is not known "
            f"which BatchNorm follows which convolution ({error})"
        ) from error
    pairs = {}
    for node in graph.nodes:
        targets = [reader.target for reader in node.users]
        layers = [modules.get(target) for target in (node.target, *targets)]
        match layers:
            case [nn.Conv2d(), nn.BatchNorm2d()]:
                pairs[node.target] = targets[0]
    return pairs


def analyze_model(model: nn.Module, folded: bool = False, cutoff: float = CUTOFF) -> pd.DataFrame:
    """Spectra of all convolutions of a model.

    Args:
        model: any nn.Module. It is not changed.
        folded: measure the effective kernels of convolutions followed by BatchNorm.
        cutoff: start of the high band, cycles/pixel.

    Returns one row per convolution: layer, kernel_size, kernels (their number), energy,
    high_share, corner_share, with `folded` also batchnorm (the layer folded in, if any), and
    for each radius r of the kernel size a column db_r, the density against white in dB.
    `.attrs["skipped"]` maps layers left out to the reason.
    """
    measured, skipped = measurable_convolutions(model)
    batchnorms = following_batchnorms(model) if folded else {}
    rows = []
    for name, conv in measured.items():
        try:
            bn = model.get_submodule(batchnorms[name]) if name in batchnorms else None
            spectrum = layer_spectra(conv, bn)["folded" if folded else "raw"]
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}") from error
        row = {
            "layer": name,
            "kernel_size": "{}x{}".format(*conv.kernel_size),
            "kernels": conv.weight.shape[:2].numel(),
            "energy": spectrum.total,
            "high_share": spectrum.high_share(cutoff),
            "corner_share": spectrum.corner_share,
        }
        if folded:
            row["batchnorm"] = batchnorms.get(name)
        levels = zip(spectrum.radius, spectrum.white_db)
        rows.append(row | {f"db_{radius:.4f}": level for radius, level in levels})
    table = pd.DataFrame(rows, columns=None if rows else COLUMNS)
    table.attrs["skipped"] = skipped
    return table


class _ConvolutionTracer(fx.Tracer):
    """Looks inside a module only where there is a convolution to be found."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        inside = any(isinstance(part, nn.Conv2d) for part in module.modules())
        return isinstance(module, nn.Conv2d) or not inside


def _as_real_tensor(weight) -> Tensor:
    """Checked, detached tensor; numpy arrays of any layout, byte order and precision pass."""
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
    return weight.cpu() if weight.device.type == "mps" else weight  # no float64 there


def _pixel_differences(kh: int, kw: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertical and horizontal offsets (k, k) between every two pixels of a kernel."""
    y, x = np.divmod(np.arange(kh * kw), kw)
    return y[:, None] - y, x[:, None] - x


def _power(correlation: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """|H|^2 summed over kernels at fftfreq(rows) x fftfreq(columns) cycles/pixel.

    It is the DFT of the autocorrelation (Wiener-Khinchin), whose offsets are taken modulo the
    size of the grid.
    """
    y, x = (np.arange(n) - n // 2 for n in correlation.shape)
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
