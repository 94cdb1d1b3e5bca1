"""Experiment A's 15 networks: stacked in one batched computation, against one by one.

    python tests/benchmarks/bench_mlp.py

Both ways train the default job of experiment A, without measuring and drawing. That both give
the same predictions is shown in float64 and halfway: rounding errors grow exponentially in some
of the networks, from 1e-16 to 1e-11 in 200 steps and to 1e-1 in 500. For comparison: the
published script takes 21.6 s for 3 networks, figures included, on the two cores this project
was developed on.
"""

import math
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data import signals
from models.mlp import mlp
from utils.training.stacked_mlps import train_together

STEPS, STRENGTHS, SEEDS = 500, (0.0, 1e-3, 1e-2), range(5)


def stacked(keys, x, y, steps=STEPS) -> torch.Tensor:
    networks = [mlp(3, 128, seed).to(x) for _, seed in keys]
    strengths = [strength for strength, _ in keys]
    y = y.expand(len(keys), -1, -1)
    ((_, fits),) = train_together(networks, x, y, strengths, 1e-3, steps, x, [steps])
    return fits


def one_by_one(keys, x, y, steps=STEPS) -> torch.Tensor:
    fits = []
    for strength, seed in keys:
        network = mlp(3, 128, seed).to(x)
        groups = [
            {
                "params": [p for p in network.parameters() if p.ndim == 2],
                "weight_decay": 2 * strength,
            },
            {"params": [p for p in network.parameters() if p.ndim == 1]},
        ]
        optimizer = torch.optim.Adam(groups, lr=1e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            (network(x) - y).square().mean().backward()
            optimizer.step()
        fits.append(network(x).detach())
    return torch.stack(fits)


def main() -> None:
    torch.set_flush_denormal(True)
    keys = [(strength, seed) for strength in STRENGTHS for seed in SEEDS]
    some = signals.grid(1024)[signals.spread(1024, 400)]
    x = 2 * math.pi * some[:, None]
    y = signals.sinusoids(some, (5, 20, 50), (1, 1, 1), (0, 0, 0))[:, None]
    half = [way(keys, x, y, steps=200) for way in (stacked, one_by_one)]
    difference = (half[0] - half[1]).abs().max()

    x, y, n = x.float(), y.float(), len(keys)
    start = time.perf_counter()
    stacked(keys, x, y)
    together = time.perf_counter() - start
    start = time.perf_counter()
    one_by_one(keys, x, y)
    apart = time.perf_counter() - start
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    print(f"stacked      {together:6.2f} s, {1000 * together / n:6.0f} ms per network")
    print(f"one by one   {apart:6.2f} s, {1000 * apart / n:6.0f} ms per network")
    print(f"published    {21.6:6.2f} s, {1000 * 21.6 / 3:6.0f} ms per network (see above)")
    print(
        f"ratio        {apart / together:.2f} to one by one, "
        f"{21.6 / 3 / (together / n):.1f} to the published script"
    )
    print(f"largest difference after 200 steps, in float64: {difference:.1e}")


if __name__ == "__main__":
    main()
