"""Experiment A: which frequencies of a known signal does a network learn first?

Multilayer perceptrons learn a sum of sinusoids under several strengths of an L2 penalty,

    loss = mean squared error + strength * ||theta||^2,    theta: all weights, not the biases.

Low frequencies are learned first ("spectral bias", Rahaman et al., ICML 2019), and the penalty
holds the high ones back. Measured on the whole grid, per frequency: explained variance
1 - |f - y|^2 / |y|^2 and amplitude ratio |f| / |y|, with the Fourier coefficients f of the fit and
y of the signal.

    python experiments/exp_a_synthetic.py
    python experiments/exp_a_synthetic.py --steps 20000   # "slower" is not "suppressed"
    python experiments/exp_a_synthetic.py --setting rahaman   # few minutes

Figures appear in results/figures, exp_a_*.png and an animation, exp_a_comparison.gif; tables in
results/data. The setting rahaman writes exp_a_rahaman_*. All networks train in one batched
computation: the default job of 15 takes under 15 s on two CPU cores.
"""

import math
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from utils.runtime import script, settings

# None: what SETTINGS, below, says for the SETTING.
SETTING = "demo"  # demo, or rahaman: as in Rahaman et al., with fewer steps
FREQUENCIES = None  # whole cycles per interval
AMPLITUDES = None  # of the sinusoids, in the order of the frequencies
RANDOM_PHASES = None  # phases drawn by the seed, or all 0
INTERVAL = None  # length of the interval, as the network sees it
GRID_POINTS = None  # equidistant points to measure on
TRAIN_POINTS = None  # of them, evenly spread, to learn from
STRENGTHS = None  # of the L2 penalty; the first should be 0
SEEDS = None  # one network per strength and seed
STEPS = None  # full-batch steps of Adam
HIDDEN_LAYERS = None  # of the network
WIDTH = None  # units per hidden layer
LEARNING_RATE = None  # of Adam
RECORDS = 100  # times that the fit is measured
DEVICE = "cpu"  # cuda, cuda:1, mps, or auto: the GPU where CUDA finds one, else the CPU
RESULTS_DIR = str(ROOT / "results")  # where everything is written
FIGURE_FORMAT = "png"  # also pdf, svg: written beside the PNG
REDRAW = None  # a folder of tables: draw their figures again, train nothing; None: train

SETTINGS = {
    "frequencies": {"demo": (5, 20, 50), "rahaman": (5, 10, 15, 20, 25, 30, 35, 40, 45, 50)},
    "amplitudes": {"demo": (1.0,) * 3, "rahaman": (1.0,) * 10},
    "random_phases": {"demo": False, "rahaman": True},
    "interval": {"demo": 2 * math.pi, "rahaman": 1.0},
    "grid_points": {"demo": 1024, "rahaman": 200},
    "train_points": {"demo": 400, "rahaman": 200},
    "strengths": {"demo": (0.0, 1e-3, 1e-2), "rahaman": (0.0,)},
    "seeds": {"demo": (0, 1, 2, 3, 4), "rahaman": (0, 1, 2)},
    "steps": {"demo": 500, "rahaman": 20_000},  # published by Rahaman et al.: 60,000
    "hidden_layers": {"demo": 3, "rahaman": 6},
    "width": {"demo": 128, "rahaman": 256},
    "learning_rate": {"demo": 1e-3, "rahaman": 3e-4},
}

if __name__ == "__main__":
    script.prepare(globals())  # --help, and what is refused, end before long imports

import pandas as pd
import torch

from data import signals
from models.mlp import mlp
from utils import visualizer
from utils.evidence import intervals, verdicts
from utils.evidence.paper import EXPLAINED_VARIANCE, SOURCE
from utils.figures import exp_a as draw
from utils.runtime import devices, distributed, provenance, results
from utils.training.stacked_mlps import excerpt, measure, train_together


def main() -> int:
    s = settings.read_settings(globals())
    name = "exp_a" if s.setting == "demo" else f"exp_a_{s.setting}"
    if s.redraw:
        return results.redraw(s, name, figures, visualizer.save)
    check(s)
    distributed.alone("experiment A")
    results.remove_old_temporary_files(s)
    torch.set_flush_denormal(True)  # weights next to 0 make a CPU 10 times slower
    device = devices.choose_device(s.device)
    labels = {
        "dataset": f"sum of {len(s.frequencies)} sinusoids",
        "setting": provenance.scale_label(s),
        "device": devices.describe_device(device, "float32"),
    }
    say_plan(s, labels)
    keys = [(strength, seed) for strength in s.strengths for seed in s.seeds]
    positions = signals.grid(s.grid_points)
    truth = torch.stack([make_signal(s, positions, seed) for _, seed in keys])
    fits = train(s, keys, positions, truth, device)

    frequency = measure(fits, truth, s.frequencies, keys)
    learned = verdicts.learned_table(frequency)
    fit = excerpt(fits, truth, positions * s.interval, keys)
    tables = {"frequency": frequency, "learned": learned, "fit": fit}
    if labels["setting"] == "demo":
        tables["claims"] = verdicts.learned_claims(learned)
    say_results(learned, labels)
    lost = [key for key, last in zip(keys, fits[s.steps]) if not last.isfinite().all()]
    text = "strength {:g}, seed {} diverged; a lower LEARNING_RATE may train it"
    problems = [text.format(*key) for key in lost]
    answer = first_learned(learned) + results.one_seed(s.seeds)
    with results.one_at_a_time(s):
        return results.write(s, name, labels, tables, figures, visualizer.save, problems, answer)


def check(s) -> None:
    """What no constant shows by itself."""
    highest = s.grid_points / 2
    if max(s.frequencies) >= highest:
        settings.refuse("FREQUENCIES", s.frequencies, f"below GRID_POINTS / 2 = {highest:g}")
    if len(s.amplitudes) != len(s.frequencies):
        settings.refuse("AMPLITUDES", s.amplitudes, f"{len(s.frequencies)} of them")
    if s.train_points > s.grid_points:
        settings.refuse("TRAIN_POINTS", s.train_points, f"at most {s.grid_points}")


def say_plan(s, labels: dict) -> None:
    terms = " + ".join(f"{a:g} sin {k}" for a, k in zip(s.amplitudes, s.frequencies))
    phases = ", random phases" if s.random_phases else ""
    counts = f"{len(s.strengths)} strengths x {len(s.seeds)} seeds"
    network = f"{s.hidden_layers} x {s.width} ReLU, {s.steps} steps of Adam"
    plan = {"Signal": f"{terms} (cycles per interval){phases}"}
    plan["Setting"] = f"{labels['setting']}: {s.train_points} of {s.grid_points} points"
    results.print_plan(plan | {"Networks": f"{counts}, {network}", "Device": labels["device"]})


def make_signal(s, positions: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    phases = 2 * math.pi * torch.rand(len(s.frequencies), generator=generator)
    return signals.sinusoids(positions, s.frequencies, s.amplitudes, s.random_phases * phases)


def train(s, keys: list, positions: torch.Tensor, truth: torch.Tensor, device) -> dict:
    """What the networks predict on the grid, float64 (N, points), by step."""
    inputs = (s.interval * positions[:, None]).float().to(device)
    some = signals.spread(s.grid_points, s.train_points)
    targets = truth[:, some, None].float().to(device)
    networks = [mlp(s.hidden_layers, s.width, seed).to(device) for _, seed in keys]
    strengths = [strength for strength, _ in keys]
    records = [round(s.steps * i / s.records) for i in range(s.records + 1)]
    how = (s.learning_rate, s.steps, inputs, records)
    fits = train_together(networks, inputs[some], targets, strengths, *how)
    return {step: fit.squeeze(-1).cpu().double() for step, fit in fits}


def figures(tables: dict[str, pd.DataFrame]) -> dict:
    """Every figure of this script by name, from its tables."""
    return {
        "spectral_bias": draw.spectral_bias(tables["frequency"]),
        "frequency_curves": draw.frequency_curves(tables["frequency"]),
        "frequency_decomp": draw.frequency_decomp(tables["learned"]),
        "comparison": draw.comparison(tables["fit"]),
    }


def say_results(learned: pd.DataFrame, labels: dict) -> None:
    """A row per strength and frequency, with 95 % intervals over seeds."""
    cells, n = learned.groupby(["strength", "frequency"], sort=False), learned.seed.nunique()
    explained = cells.explained_variance.agg(lambda v: intervals.interval_text(v, ".3f", n))
    table = pd.DataFrame({"explained variance": explained})
    if labels["setting"] == "demo":
        table[f"{SOURCE}, one seed"] = [EXPLAINED_VARIANCE[a][k] for a, k in table.index]
    table["learned to 50 % by"] = cells.step_half.agg(lambda v: f"{v.count()} of {len(v)}")
    table["at step"] = cells.step_half.agg(lambda v: intervals.interval_text(v, ".0f"))
    print(f"\nAfter the last step, n = {n} seeds\n{table.to_string()}")


def first_learned(learned: pd.DataFrame) -> str:
    """Is the lowest frequency learned to 50 % first, at the weakest and the strongest penalty?

    How many steps before any other decides, a number per seed.
    """
    k, last, lines = learned.frequency.min(), learned.step.max(), []
    if learned.frequency.nunique() == 1:
        return ""
    for strength in dict.fromkeys([learned.strength.min(), learned.strength.max()]):
        rows = learned[learned.strength == strength]
        steps = rows.pivot(index="seed", columns="frequency", values="step_half").fillna(last)
        before = steps.drop(columns=k).min(axis=1) - steps[k]
        _, low, high = intervals.interval(before)
        said = "holds" if low > 0 else "contradicted" if high < 0 else "undecided"
        penalty = f"With the penalty {strength:g}" if strength else "Without a penalty"
        lines.append(
            f"{penalty} k = {k} is learned first: {verdicts.SAID[said]}.\n"
            f"  To 50 % {intervals.interval_text(before, '.0f')} steps before any other, n = "
            f"{len(steps)}; what is not learned counts as learned at the last step, {last}."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    script.run(main)
