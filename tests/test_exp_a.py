"""Experiment A: measures with known answers, stacked training, and the command line."""

import importlib.util
import math
import re

import job
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image

from data import signals
from models.mlp import mlp, predict_stacked
from utils.evidence import verdicts
from utils.figures import exp_a
from utils.training.stacked_mlps import measure, train_together

SCRIPT = "exp_a_synthetic.py"
POINTS, KS = 256, [5, 20, 50]
X = np.arange(POINTS) / POINTS


def wave(k, amplitude=1.0, phase=0.0):
    return torch.from_numpy(amplitude * np.sin(2 * np.pi * k * X + phase))


def measures(fit):
    """Explained variance, amplitude ratio and phase error of a fit to three sinusoids."""
    truth = wave(5) + wave(20, 2) + wave(50, 0.5, 1)
    f, y = (signals.components(values, KS) for values in (fit, truth))
    return [m.numpy() for m in signals.measures(f, y).values()]


def test_measures_of_known_fits():
    exact = wave(5) + wave(20, 2) + wave(50, 0.5, 1)
    for found, expected in zip(measures(exact), (1, 1, 0)):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    explained, ratio, _ = measures(torch.zeros(POINTS))
    assert explained.tolist() == [0, 0, 0] and ratio.tolist() == [0, 0, 0]
    explained, ratio, _ = measures(wave(5) + wave(50, 0.5, 1))  # one is missing
    np.testing.assert_allclose(explained, [1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(ratio, [1, 0, 1], atol=1e-12)
    # A quarter of a turn late: |1 - i|^2 = 2, so the explained variance is -1.
    late = wave(5, 1, -math.pi / 2) + wave(20, 2, math.pi) + wave(50, 1, 1)
    explained, ratio, phase = measures(late)
    np.testing.assert_allclose(explained, [-1, -3, 0], atol=1e-12)  # twice: 1 - 1
    np.testing.assert_allclose(ratio, [1, 1, 2], atol=1e-12)
    np.testing.assert_allclose(np.abs(phase), [np.pi / 2, np.pi, 0], atol=1e-12)
    assert phase[0] < 0
    # What is not asked for does not matter: an offset, other frequencies.
    explained, *_ = measures(exact + 3 + wave(7, 4))
    np.testing.assert_allclose(explained, 1, atol=1e-12)


def test_signal_by_hand():
    found = signals.sinusoids(signals.grid(POINTS), [5, 20], [1, 2], [0.3, 0])
    expected = np.sin(2 * np.pi * 5 * X + 0.3) + 2 * np.sin(2 * np.pi * 20 * X)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert signals.spread(10, 10).tolist() == list(range(10))
    assert signals.spread(10, 4).tolist() == [0, 3, 6, 9]


def test_measured_table_and_step_of_half():
    """Two networks at three steps, each frequency learned at its own step."""
    truth = torch.stack([wave(5) + wave(20), wave(5, 2) + wave(20)])
    fits = {
        0: torch.zeros(2, POINTS),
        10: torch.stack([wave(5, 0.9), wave(5, 0.2)]),
        20: torch.stack([wave(5) + wave(20, 0.2), wave(5, 0.4) + wave(20, 0.3)]),
    }
    table = measure(fits, truth, [5, 20], [(0.0, 3), (0.1, 3)])
    assert len(table) == 2 * 3 * 2
    row = table[(table.strength == 0.1) & (table.step == 20) & (table.frequency == 20)]
    assert row.explained_variance.item() == pytest.approx(1 - 0.7**2)
    learned = verdicts.learned_table(table)
    half = learned.set_index(["strength", "frequency"]).step_half
    assert half[0.0, 5] == 10  # 1 - 0.1^2
    assert math.isnan(half[0.0, 20])  # 1 - 0.8^2
    assert math.isnan(half[0.1, 5])  # 1 - 0.8^2
    assert half[0.1, 20] == 20  # 1 - 0.7^2
    assert learned.amplitude.tolist() == pytest.approx([1, 1, 2, 1])


def test_stacked_training_equals_one_by_one():
    """Against the plainest loop: a network, an Adam, autograd, and weight_decay.

    In float64: rounding errors grow a thousandfold and more in 500 steps.
    """
    x = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None]
    strengths = [0.0, 1e-3, 1e-2]
    targets = torch.stack([torch.sin(9 * x), torch.cos(5 * x), x])
    networks = [mlp(2, 16, seed).double() for seed in (0, 1, 0)]
    grid = torch.linspace(0, 1, 33, dtype=torch.float64)[:, None]
    stacked = dict(train_together(networks, x, targets, strengths, 1e-2, 500, grid, [0, 500]))
    for n, (strength, y) in enumerate(zip(strengths, targets)):
        network = networks[n]
        np.testing.assert_allclose(stacked[0][n], network(grid).detach(), atol=1e-14)
        matrices = [p for p in network.parameters() if p.ndim == 2]
        biases = [p for p in network.parameters() if p.ndim == 1]
        groups = [{"params": matrices, "weight_decay": 2 * strength}]
        groups += [{"params": biases, "weight_decay": 0}]
        optimizer = torch.optim.Adam(groups, lr=1e-2, fused=False, foreach=False)
        for _ in range(500):
            optimizer.zero_grad()
            (network(x) - y).square().mean().backward()
            optimizer.step()
        np.testing.assert_allclose(stacked[500][n], network(grid).detach(), atol=1e-9)
        assert (network(grid) - stacked[0][n]).abs().max() > 0.1  # it did learn


def test_networks():
    assert sum(p.numel() for p in mlp(3, 128, 0).parameters()) == 33_409
    networks = [mlp(3, 8, seed) for seed in (0, 1)]
    weights, _ = torch.func.stack_module_state(networks)
    x = torch.rand(7, 1)
    found = predict_stacked(weights, x)
    for n, network in enumerate(networks):
        np.testing.assert_allclose(found[n].detach(), network(x).detach(), atol=1e-6)
    state = torch.get_rng_state()
    mlp(1, 4, 5)
    assert torch.equal(state, torch.get_rng_state())


FEW = f"{SCRIPT} --steps 6 --seeds 0 1 --width 8 --records 3"


def test_end_to_end_and_the_same_again(tmp_path):
    results = [tmp_path / "first", tmp_path / "second"]
    process = job.as_a_user(FEW, results[0], OMP_NUM_THREADS="1")
    assert process.returncode == 0, process.stderr
    assert job.finish(results[1], line=FEW, before=job.write_only_under_a_lock) == 0
    names = ["exp_a_fit.csv", "exp_a_frequency.csv", "exp_a_learned.csv"]
    found = sorted(p.name for p in (results[0] / "data").iterdir())
    assert found == [*names, "exp_a_settings.json"]
    for name in names:
        one, other = ((folder / "data" / name).read_bytes() for folder in results)
        assert one == other
    table = pd.read_csv(results[0] / "data" / "exp_a_frequency.csv")
    assert len(table) == 3 * 2 * 4 * 3  # strengths, seeds, steps, frequencies
    assert set(table.step) == {0, 2, 4, 6}
    assert (table.setting == "demo, changed: records, steps, width").all()
    for name in ("frequency_curves.png", "frequency_decomp.png", "spectral_bias.png"):
        assert f"exp_a_{name}" in process.stdout
    with Image.open(results[0] / "figures" / "exp_a_comparison.gif") as animation:
        assert animation.n_frames == 4


def test_rahaman_setting(tmp_path):
    assert job.finish(tmp_path, "--setting", "rahaman", line=FEW) == 0
    table = pd.read_csv(tmp_path / "data" / "exp_a_rahaman_learned.csv")
    assert sorted(set(table.frequency)) == list(range(5, 51, 5))
    assert (table.amplitude.sub(1).abs() < 1e-6).all()
    assert table[table.seed == 0].phase.nunique() == 10  # random phases
    assert len(list((tmp_path / "figures").glob("exp_a_rahaman_*"))) == 4


def test_divergence_is_reported(tmp_path):
    log = tmp_path / "log"
    assert job.finish(tmp_path, "--learning-rate", "9e5", line=FEW, log=log) == 1
    table = pd.read_csv(tmp_path / "data" / "exp_a_learned.csv")
    lost = table[table.explained_variance.isna()].groupby(["strength", "seed"])
    assert len(lost) > 0
    for strength, seed in lost.groups:
        line = f"error: strength {strength:g}, seed {seed} diverged"
        assert log.read_text().count(line) == 1
    assert log.read_text().count(" diverged") == len(lost)


def test_heat_map_keeps_the_steps_of_diverged_networks():
    """One of two seeds is NaN from step 10 on: the other remains; both from 20 on: blank there."""
    index = [(0.0, seed, step, 5) for seed in (0, 1) for step in (0, 10, 20)]
    table = pd.DataFrame(index, columns=["strength", "seed", "step", "frequency"])
    table["amplitude_ratio"] = [0.2, 0.4, np.nan, 0.4, np.nan, np.nan]
    table = table.assign(dataset="one", setting="demo", device="cpu")
    mesh = exp_a.spectral_bias(table).axes[0].collections[0]
    found = np.ma.filled(mesh.get_array().astype(float), np.nan)
    np.testing.assert_allclose(found, [[0.3, 0.4, np.nan]], atol=1e-12)
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [-5, 5, 15, 25])


def test_published_figures(tmp_path):
    """The default job, of fewer seeds: explained variance within 0.1 of the published."""
    assert job.finish(tmp_path, "--seeds", 0, 1, line=SCRIPT) == 0
    table = pd.read_csv(tmp_path / "data" / "exp_a_learned.csv")
    mean = table.groupby(["strength", "frequency"]).explained_variance.mean()
    published = {0.0: (0.81, 0.34, 0.074), 1e-3: (0.77, 0.19, 0.046), 1e-2: (0.57, 0.087, 0.028)}
    for strength, values in published.items():
        for frequency, value in zip((5, 20, 50), values):
            assert abs(mean[strength, frequency] - value) < 0.1
    claims = pd.read_csv(tmp_path / "data" / "exp_a_claims.csv")
    expected = [value for values in published.values() for value in values]
    assert claims.published.tolist() == expected and (claims.n == 2).all()
    np.testing.assert_allclose(claims["mean"], mean, rtol=1e-5)
    # Low frequencies first, and the penalty holds high ones back, in every network.
    wide = table.pivot(index=["strength", "seed"], columns="frequency", values="explained_variance")
    assert (wide[5] > wide[20]).all() and (wide[20] > wide[50]).all()
    assert (wide.loc[0.01] < wide.loc[0.0]).all().all()


def test_settings_that_contradict_each_other(capsys):
    spec = importlib.util.spec_from_file_location("exp_a", ROOT / "experiments" / SCRIPT)
    spec.loader.exec_module(script := importlib.util.module_from_spec(spec))
    for line, named in (
        ("--frequencies 5 512", "FREQUENCIES.*5 512.*below GRID_POINTS / 2 = 512"),
        ("--amplitudes 1 1", "AMPLITUDES.*1 1.*3 of them"),
        ("--train-points 2000", "TRAIN_POINTS.*2000.*at most 1024"),
    ):
        with pytest.raises(SystemExit) as end:
            script.check(script.settings.read_settings(vars(script), line.split()))
        printed = capsys.readouterr().err
        assert end.value.code == 2 and printed.count("\n") == 1
        assert re.search(named, printed), printed
