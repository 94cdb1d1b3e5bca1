"""Experiment A: measures with known answers, stacked training, and the command line."""

import math
import re
import runpy

import job
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, tables
from PIL import Image
from scipy import stats

from data import signals
from models.mlp import mlp, predict_stacked
from utils.evidence import verdicts
from utils.figures import exp_a
from utils.training.stacked_mlps import measure, train_together

FEW = "exp_a_synthetic.py --steps 6 --seeds 0 1 --width 8 --records 3"
SCRIPT = runpy.run_path(str(ROOT / "experiments" / "exp_a_synthetic.py"))
POINTS, KS = 256, [5, 20, 50]
X = np.arange(POINTS) / POINTS


def wave(k, amplitude=1.0, phase=0.0):
    return torch.from_numpy(amplitude * np.sin(2 * np.pi * k * X + phase))


EXACT = wave(5) + wave(20, 2) + wave(50, 0.5, 1)
# A quarter of a turn late: |1 - i|^2 = 2, so the explained variance is -1; twice as large: 1 - 1.
LATE = wave(5, 1, -math.pi / 2) + wave(20, 2, math.pi) + wave(50, 1, 1)


@pytest.mark.parametrize(
    "fit, explained, ratio, phase",
    [
        (EXACT, [1, 1, 1], [1, 1, 1], [0, 0, 0]),
        (EXACT + 3 + wave(7, 4), [1, 1, 1], [1, 1, 1], [0, 0, 0]),  # what is not asked for
        (torch.zeros(POINTS), [0, 0, 0], [0, 0, 0], None),
        (wave(5) + wave(50, 0.5, 1), [1, 0, 1], [1, 0, 1], None),
        (LATE, [-1, -3, 0], [1, 1, 2], [-np.pi / 2, np.pi, 0]),
    ],
)
def test_measures_of_known_fits(fit, explained, ratio, phase):
    """Against three sinusoids."""
    f, y = (signals.components(values, KS) for values in (fit, EXACT))
    found = signals.measures(f, y)
    np.testing.assert_allclose(found["explained_variance"], explained, atol=1e-12)
    np.testing.assert_allclose(found["amplitude_ratio"], ratio, atol=1e-12)
    if phase:  # pi and -pi are the same
        turn = np.exp(1j * found["phase_error"].numpy())
        np.testing.assert_allclose(turn, np.exp(1j * np.array(phase)), atol=1e-12)


def test_signal_by_hand():
    found = signals.sinusoids(signals.grid(POINTS), [5, 20], [1, 2], [0.3, 0])
    np.testing.assert_allclose(found, wave(5, 1, 0.3) + wave(20, 2), atol=1e-12)
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
    assert half[0.0, 5] == 10 and half[0.1, 20] == 20  # 1 - 0.1^2, 1 - 0.7^2
    assert math.isnan(half[0.0, 20]) and math.isnan(half[0.1, 5])  # 1 - 0.8^2
    assert learned.amplitude.tolist() == pytest.approx([1, 1, 2, 1])


def test_stacked_training_equals_one_by_one():
    """Against the plainest loop: a network, an Adam, autograd, and weight_decay.

    In float64: rounding errors grow a thousandfold and more in 300 steps.
    """
    x = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None]
    strengths = [0.0, 1e-3, 1e-2]
    targets = torch.stack([torch.sin(9 * x), torch.cos(5 * x), x])
    networks = [mlp(2, 16, seed).double() for seed in (0, 1, 0)]
    grid = torch.linspace(0, 1, 33, dtype=torch.float64)[:, None]
    stacked = dict(train_together(networks, x, targets, strengths, 1e-2, 300, grid, [0, 300]))
    for n, (strength, y) in enumerate(zip(strengths, targets)):
        network = networks[n]
        np.testing.assert_allclose(stacked[0][n], network(grid).detach(), atol=1e-14)
        groups = [
            {"params": [p for p in network.parameters() if p.ndim == axes], "weight_decay": decay}
            for axes, decay in ((2, 2 * strength), (1, 0))
        ]
        optimizer = torch.optim.Adam(groups, lr=1e-2, fused=False, foreach=False)
        for _ in range(300):
            optimizer.zero_grad()
            (network(x) - y).square().mean().backward()
            optimizer.step()
        np.testing.assert_allclose(stacked[300][n], network(grid).detach(), atol=1e-9)
        assert (network(grid) - stacked[0][n]).abs().max() > 0.1  # it did learn


def test_networks():
    assert sum(p.numel() for p in mlp(3, 128, 0).parameters()) == 33_409
    networks, x = [mlp(3, 8, seed) for seed in (0, 1)], torch.rand(7, 1)
    found = predict_stacked(torch.func.stack_module_state(networks)[0], x)
    for n, network in enumerate(networks):
        np.testing.assert_allclose(found[n].detach(), network(x).detach(), atol=1e-6)
    state = torch.get_rng_state()
    mlp(1, 4, 5)
    assert torch.equal(state, torch.get_rng_state())


def test_end_to_end_and_the_same_again(tmp_path):
    results, log = [tmp_path / "first", tmp_path / "second"], tmp_path / "log"
    assert job.finish(results[0], line=FEW, log=log, pictures=True) == 0, log.read_text()
    assert job.finish(results[1], line=FEW, before=job.write_only_under_a_lock) == 0
    assert tables(results[0]) == tables(results[1])
    names = {"fit.csv", "frequency.csv", "learned.csv", "settings.json"}
    assert {p.name for p in (results[0] / "data").iterdir()} == {f"exp_a_{n}" for n in names}
    table = pd.read_csv(results[0] / "data" / "exp_a_frequency.csv")
    assert len(table) == 3 * 2 * 4 * 3  # strengths, seeds, steps, frequencies
    assert set(table.step) == {0, 2, 4, 6}
    assert (table.setting == "demo, changed: records, steps, width").all()
    for name in ("frequency_curves.png", "frequency_decomp.png", "spectral_bias.png"):
        assert f"exp_a_{name}" in log.read_text()
    with Image.open(results[0] / "figures" / "exp_a_comparison.gif") as animation:
        assert animation.n_frames == 4


def test_rahaman_setting_and_one_seed(tmp_path):
    line, log = f"{FEW} --setting rahaman --seeds 0", tmp_path / "log"
    assert job.finish(tmp_path, line=line, log=log) == 0
    table = pd.read_csv(tmp_path / "data" / "exp_a_rahaman_learned.csv")
    assert sorted(set(table.frequency)) == list(range(5, 51, 5))
    assert (table.amplitude.sub(1).abs() < 1e-6).all()
    assert table.phase.std() > 0.5  # random phases
    assert len(list((tmp_path / "figures").glob("exp_a_rahaman_*"))) == 4
    assert re.search(r"One seed: no verdict.*\n.*rahaman .* --seeds 0 1 2\n", log.read_text())


def test_divergence_is_reported(tmp_path):
    log = tmp_path / "log"
    assert job.finish(tmp_path, "--learning-rate", "9e5", line=FEW, log=log) == 1
    table = pd.read_csv(tmp_path / "data" / "exp_a_learned.csv")
    lost = table[table.explained_variance.isna()].groupby(["strength", "seed"])
    said = re.findall(r"error: strength (.*), seed (.*) diverged", log.read_text())
    assert said == [(f"{strength:g}", str(seed)) for strength, seed in lost.groups] != []


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


def test_published_figures_and_the_answer(tmp_path):
    """The default job, of fewer seeds: explained variance within 0.1 of the published."""
    line, log = "exp_a_synthetic.py --seeds 0 1", tmp_path / "log"
    assert job.finish(tmp_path, line=line, log=log) == 0
    table = pd.read_csv(tmp_path / "data" / "exp_a_learned.csv")
    mean = table.groupby(["strength", "frequency"]).explained_variance.mean()
    published = [0.81, 0.34, 0.074, 0.77, 0.19, 0.046, 0.57, 0.087, 0.028]
    np.testing.assert_allclose(mean, published, atol=0.1)
    claims = pd.read_csv(tmp_path / "data" / "exp_a_claims.csv")
    assert claims.published.tolist() == published and (claims.n == 2).all()
    np.testing.assert_allclose(claims["mean"], mean, rtol=1e-5)
    # Low frequencies first, and the penalty holds high ones back, in every network.
    wide = table.pivot(index=["strength", "seed"], columns="frequency", values="explained_variance")
    assert (wide[5] > wide[20]).all() and (wide[20] > wide[50]).all()
    assert (wide.loc[0.01] < wide.loc[0.0]).all().all()
    answer = re.search(r"Look first.*\n\n(.*\n.*\n.*\n.*)\n\nWritten", log.read_text())[1]
    for strength, name in ((0, "Without a penalty"), (0.01, "With the penalty 0.01")):
        steps = 500 - table.query("frequency == 5 and strength == @strength").step_half.fillna(500)
        half = stats.t.ppf(0.975, 1) * steps.sem()
        said = "this holds" if steps.mean() > half else "undecided"
        text = f"{name} k = 5 is learned first: {said}.*\n  To 50 % {steps.mean():.0f} ± {half:.0f}"
        assert re.search(text, answer), answer


@pytest.mark.parametrize(
    "steps, said",
    [
        ([(100, 300), (120, 340)], "this holds.\n  To 50 % 210 ± 127 steps .* other, n = 2"),
        ([(100, np.nan), (120, np.nan)], "this holds.\n  To 50 % 390 ± 127 steps before any other"),
        ([(300, 100), (340, 120)], "the opposite holds.\n  To 50 % -210 ± 127 steps"),
        ([(100, 300, 500), (120, 340, 200)], "undecided, .*.\n  To 50 % 140 ± 762 steps"),
        ([(100, 300), (300, 100)], "undecided"),
        ([(np.nan, np.nan)] * 2, "undecided"),
        ([(100, 300)], "undecided, as chance may be the reason.\n  To 50 % 200 steps"),
    ],
)
def test_what_is_learned_first(steps, said):
    """Given how many steps each frequency takes, seed by seed; the last step is 500."""
    rows = [(seed, k, n) for seed, row in enumerate(steps) for k, n in zip((5, 20, 50), row)]
    table = pd.DataFrame(rows, columns=["seed", "frequency", "step_half"])
    table = table[::-1].assign(step=500, strength=0.0)
    text = SCRIPT["first_learned"](table)
    assert re.match(f"Without a penalty k = 5 is learned first: {said}", text), text
    assert text.count("\n") == 1 and SCRIPT["first_learned"](table[table.frequency == 5]) == ""


@pytest.mark.parametrize(
    "line, named",
    [
        ("--frequencies 5 512", "FREQUENCIES.*5 512.*below GRID_POINTS / 2 = 512"),
        ("--amplitudes 1 1", "AMPLITUDES.*1 1.*3 of them"),
        ("--train-points 2000", "TRAIN_POINTS.*2000.*at most 1024"),
    ],
)
def test_settings_that_contradict_each_other(capsys, line, named):
    with pytest.raises(SystemExit) as end:
        SCRIPT["check"](SCRIPT["settings"].read_settings(SCRIPT, line.split()))
    printed = capsys.readouterr().err
    assert end.value.code == 2 and printed.count("\n") == 1
    assert re.search(named, printed), printed
