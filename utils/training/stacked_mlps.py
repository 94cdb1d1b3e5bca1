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
    networks: list[nn.Module],  # N of `models.mlp.mlp`, of one shape, which are left as they are
    inputs: Tensor,  # (points, 1), the same for all
    targets: Tensor,  # (N, points, 1)
    strengths: list[float],  # N
    learning_rate: float,
    steps: int,
    grid: Tensor,  # (grid points, 1), where predictions are made
    records: Iterable[int],  # the steps, of 0 (before the first) to `steps`, that are yielded
) -> Iterator[tuple[int, Tensor]]:
    """Train by full-batch Adam on mean squared error + strength * ||theta||^2.

    theta is all weight matrices of a network, not its biases; the gradient 2 * strength * theta
    is that of weight_decay = 2 * strength in torch's Adam. The weights of all N networks are
    stacked, so each layer is one batched product. The losses are added up: each network gets the
    gradient of its own, and as Adam works number by number, the steps are those of N optimisers.

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
    """What is learned of every frequency, from predictions on the grid by step, (N, points) each,
    the N signals (N, points), and (strength, seed) of each network.

    Returns a row per network, step and frequency: strength, seed, step, frequency, those of
    `data.signals.measures`, and amplitude and phase (radians) of the signal's component.
    """
    y = signals.components(truth, frequencies)  # (N, K), complex
    tables = []
    for step, fit in fits.items():
        found = signals.measures(signals.components(fit, frequencies), y)
        found |= {"amplitude": y.abs(), "phase": y.angle()}
        columns = {name: values.flatten().numpy() for name, values in found.items()}
        index = [(*key, step, k) for key in keys for k in frequencies]
        tables.append(pd.DataFrame(index, columns=INDEX).assign(**columns))
    return pd.concat(tables).sort_values(INDEX, ignore_index=True)


def excerpt(
    fits: dict[int, Tensor], truth: Tensor, positions: Tensor, keys: list[tuple]
) -> pd.DataFrame:
    """Signal and fit at positions (points,) in the interval's first quarter, at about 25 steps.

    Of the first seed, at the weakest and the strongest penalty; other arguments as for `measure`.
    """
    quarter = max(2, len(positions) // 4)
    steps = list(fits)[:: -max(1, len(fits) // 25)][::-1]  # up to the last
    first = [key for key in keys if key[1] == keys[0][1]]
    tables = []
    for step in steps:
        for key in dict.fromkeys([min(first), max(first)]):
            n = keys.index(key)
            lines = {"position": positions, "signal": truth[n], "fit": fits[step][n]}
            columns = {name: line[:quarter].numpy() for name, line in lines.items()}
            tables.append(pd.DataFrame(dict(zip(INDEX, (*key, step))) | columns))
    return pd.concat(tables, ignore_index=True)
