"""Many small networks trained in one batched computation, and what they learned when."""

from collections.abc import Iterable, Iterator

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import stack_module_state
from tqdm import tqdm

from data import signals
from models.mlp import predict_stacked

INDEX = ["strength", "seed", "step", "frequency"]


def train_together(
    networks: list[nn.Module],
    inputs: Tensor,
    targets: Tensor,
    strengths: list[float],
    learning_rate: float,
    steps: int,
    grid: Tensor,
    records: Iterable[int],
) -> Iterator[tuple[int, Tensor]]:
    """Train by full-batch Adam on mean squared error + strength * ||theta||^2.

    theta is all weight matrices of a network, not its biases; the gradient 2 * strength * theta
    is that of weight_decay = 2 * strength in torch's Adam. The weights of all N networks are
    stacked, so each layer is one batched product. The losses are added up: each network gets the
    gradient of its own, and as Adam works number by number, the steps are those of N optimisers.

    Args:
        networks: N of `models.mlp.mlp`, of one shape; they are left as they are.
        inputs: (points, 1), the same for all. targets: (N, points, 1).
        strengths: N of them.
        grid: (grid points, 1), where predictions are made.
        records: the steps, of 0 (before the first) to `steps`, whose predictions are yielded.

    Yields the step and the predictions (N, grid points, 1).
    """
    weights, _ = stack_module_state(networks)  # per layer (N, out, in) and (N, out)
    factors = inputs.new_tensor(strengths)
    fused, records = inputs.device.type != "mps", set(records)
    optimizer = torch.optim.Adam(weights.values(), lr=learning_rate, fused=fused)
    for step in tqdm(range(steps + 1), total=steps, unit="step", disable=None):
        if step in records:
            with torch.no_grad():
                yield step, predict_stacked(weights, grid)
        if step == steps:
            return
        error = (predict_stacked(weights, inputs) - targets).square().mean((1, 2))
        squares = sum(w.square().sum((1, 2)) for w in weights.values() if w.ndim == 3)
        optimizer.zero_grad()
        (error + factors * squares).sum().backward()
        optimizer.step()


def measure(
    fits: dict[int, Tensor], truth: Tensor, frequencies: list[int], keys: list[tuple]
) -> pd.DataFrame:
    """What is learned of every frequency: a row per network, step and frequency.

    Args:
        fits: predictions of the N networks on the grid by step, (N, points) each.
        truth: their signals, (N, points).
        keys: (strength, seed) of each network.

    Columns: strength, seed, step, frequency, the measures of `data.signals`, and amplitude and
    phase (radians) of the signal's component.
    """
    y = signals.components(truth, frequencies)  # (N, K), complex
    tables = []
    for step, fit in fits.items():
        f = signals.components(fit, frequencies)
        columns = {
            "explained_variance": signals.explained_variance(f, y),
            "amplitude_ratio": signals.amplitude_ratio(f, y),
            "phase_error": signals.phase_error(f, y),
            "amplitude": y.abs(),
            "phase": y.angle(),
        }
        columns = {name: values.flatten().numpy() for name, values in columns.items()}
        index = [(*key, step, k) for key in keys for k in frequencies]
        tables.append(pd.DataFrame(index, columns=INDEX).assign(**columns))
    return pd.concat(tables).sort_values(INDEX, ignore_index=True)


def excerpt(
    fits: dict[int, Tensor], truth: Tensor, positions: Tensor, keys: list[tuple]
) -> pd.DataFrame:
    """Signal and fit in the first quarter of the interval at about 25 steps.

    Of the first seed, at the weakest and the strongest penalty. Arguments as for `measure`;
    positions: (points,).
    """
    quarter = max(2, len(positions) // 4)
    steps = list(fits)[:: -max(1, len(fits) // 25)][::-1]  # up to the last
    first = [key for key in keys if key[1] == keys[0][1]]
    tables = []
    for step in steps:
        for key in dict.fromkeys([min(first), max(first)]):
            table = dict(zip(INDEX, (*key, step)))
            lines = (positions, truth[keys.index(key)], fits[step][keys.index(key)])
            for name, line in zip(("position", "signal", "fit"), lines):
                table[name] = line[:quarter].numpy()
            tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)
