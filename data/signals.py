"""One-dimensional signals of known frequencies."""

import math

import torch
from torch import Tensor


def grid(points: int) -> Tensor:
    """Equidistant positions (points,), float64, in fractions of the interval: 0 to below 1."""
    return torch.arange(points, dtype=torch.float64) / points


def sinusoids(positions: Tensor, frequencies, amplitudes, phases) -> Tensor:
    """Sum of amplitude * sin(2 pi frequency position + phase), float64.

    Args:
        positions: (...), in fractions of the interval.
        frequencies: whole cycles per interval; amplitudes; phases (radians): (K,) each.
    """
    f, a, p = (
        torch.as_tensor(x, dtype=torch.float64)
        for x in (frequencies, amplitudes, phases)
    )
    return (a * torch.sin(2 * math.pi * f * positions[..., None] + p)).sum(-1)


def random_points(points: int, count: int, seed: int) -> Tensor:
    """`count` of the grid's points, drawn without replacement: int64 indices (count,), sorted."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(points, generator=generator)[:count].sort().values
