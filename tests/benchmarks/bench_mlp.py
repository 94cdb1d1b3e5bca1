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

KEYS = [(strength, seed) for strength in (0.0, 1e-3, 1e-2) for seed in range(5)]


def stacked(x, y, steps=500) -> torch.Tensor:
    networks = [mlp(3, 128, seed).to(x) for _, seed in KEYS]
    targets, strengths = y.expand(len(KEYS), -1, -1), [strength for strength, _ in KEYS]
    ((_, fits),) = train_together(networks, x, targets, strengths, 1e-3, steps, x, [steps])
    return fits


def one_by_one(x, y, steps=500) -> torch.Tensor:
    fits = []
    for strength, seed in KEYS:
        network = mlp(3, 128, seed).to(x)
        matrices = [p for p in network.parameters() if p.ndim == 2]
        groups = [{"params": matrices, "weight_decay": 2 * strength}]
        groups.append({"params": [p for p in network.parameters() if p.ndim == 1]})
        optimizer = torch.optim.Adam(groups, lr=1e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            (network(x) - y).square().mean().backward()
            optimizer.step()
        fits.append(network(x).detach())
    return torch.stack(fits)


def main() -> None:
    torch.set_flush_denormal(True)
    some, seconds = signals.grid(1024)[signals.spread(1024, 400)], {"published": 21.6 / 3 * 15}
    x = 2 * math.pi * some[:, None]
    y = signals.sinusoids(some, (5, 20, 50), (1, 1, 1), (0, 0, 0))[:, None]
    difference = (stacked(x, y, 200) - one_by_one(x, y, 200)).abs().max()
    for name, way in (("stacked", stacked), ("one by one", one_by_one)):
        start = time.perf_counter()
        way(x.float(), y.float())
        seconds[name] = time.perf_counter() - start
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    for name, time_of_all in seconds.items():
        ratio = time_of_all / seconds["stacked"]
        print(f"{name:12}{1000 * time_of_all / len(KEYS):8.0f} ms per network{ratio:8.2f} x")
    print(f"largest difference after 200 steps, in float64: {difference:.1e}")


if __name__ == "__main__":
    main()
