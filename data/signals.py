"""One-dimensional signals of known frequencies, and what a fit has learned of each.

Positions are fractions of the interval, from 0 to below 1; frequencies are whole cycles per
interval, so that the sinusoids are orthogonal on an equidistant grid and the discrete Fourier
transform tells them apart exactly.
"""

import math

import torch
from torch import Tensor


def grid(points: int) -> Tensor:
    """Equidistant positions: (points,), float64, the first one 0."""
    return torch.arange(points, dtype=torch.float64, device="cpu") / points


def spread(points: int, count: int) -> Tensor:
    """Indices (count,) of `count` of the grid's points, as evenly spread as can be."""
    return torch.arange(count, device="cpu") * (points - 1) // max(1, count - 1)


def sinusoids(positions: Tensor, frequencies, amplitudes, phases) -> Tensor:
    """Sum of amplitude * sin(2 pi frequency position + phase) at positions (...), float64.

    Frequencies, amplitudes, and phases in radians: (K,) each.
    """
    like = {"dtype": torch.float64, "device": positions.device}
    f, a, p = (torch.as_tensor(x, **like) for x in (frequencies, amplitudes, phases))
    return (a * torch.sin(2 * math.pi * f * positions[..., None] + p)).sum(-1)


def components(values: Tensor, frequencies) -> Tensor:
    """Complex amplitudes (..., K) of the sinusoids in `values` (..., points) on the grid.

    a sin(2 pi k x + p) has the amplitude a exp(i p). Frequencies must lie above 0 and below
    the grid's Nyquist frequency, points / 2.
    """
    spectrum = torch.fft.rfft(values.double())[..., list(frequencies)]
    return 2j * spectrum / values.shape[-1]


def measures(fit: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """What a fit has learned of each component, from the complex amplitudes of both.

    Explained variance is the part of the component's variance that the fit explains: 1 is exact,
    0 as good as nothing, negative worse than nothing. The phase error is that of the fit minus
    that of the truth, in radians from -pi to pi.
    """
    return {
        "explained_variance": 1 - (fit - truth).abs().square() / truth.abs().square(),
        "amplitude_ratio": fit.abs() / truth.abs(),
        "phase_error": (fit * truth.conj()).angle(),
    }
