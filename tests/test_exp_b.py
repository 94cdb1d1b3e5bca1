"""Experiment B through its command line: from start to figures, interrupted, misused."""

import json

import job
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from conftest import tables

from utils import visualizer

SCRIPT = "exp_b_spectrum_evolution.py"
TINY = "--dataset planted --scale quick --device cpu --width 4 --epochs 3 "
TINY += "--train-images 96 --test-images 40 --batch-size 16 --weight-decay 0.05 "
TINY += "--seeds 0 1 --checkpoint-every 2"
LINE = f"{SCRIPT} {TINY}"
TABLES = ["exp_b_spectrum", "exp_b_ssr", "exp_b_training"]
FIGURES = ["exp_b_layers", "exp_b_spectrum_evolution", "exp_b_ssr_comparison", "exp_b_training"]
THREADS = {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny job with two seeds, and what it printed."""
    results = tmp_path_factory.mktemp("job") / "results"
    process = job.as_a_user(LINE, results, "--save-reference", **THREADS)
    assert process.returncode == 0, process.stderr
    return results, process


def test_files(finished):
    results, process = finished
    assert sorted(p.stem for p in (results / "data").iterdir()) == TABLES
    assert sorted(p.stem for p in (results / "figures").iterdir()) == FIGURES
    for path in [*(results / "data").iterdir(), *(results / "figures").iterdir()]:
        assert str(path) in process.stdout
    (job,) = (results / "checkpoints").glob("*/")
    assert (results / "checkpoints" / "latest").read_text() == job.name + "\n"
    runs = [f"{c}-seed{s}" for c in ("baseline", "dropout", "l2") for s in (0, 1)]
    assert sorted(p.name for p in job.iterdir()) == runs
    for run in job.iterdir():
        kept = ["epoch-000.pt", "epoch-001.pt", "epoch-002.pt", "epoch-003.pt"]
        files = [*kept, "history.csv", "last.pt", "lock", "previous.pt", "settings.json"]
        files += ["spectra.csv", "times.csv"]
        assert sorted(p.name for p in run.iterdir()) == files
    settings = json.loads((job / "l2-seed1" / "settings.json").read_text())
    assert settings["settings"]["epochs"] == 3
    assert "--save-reference" in settings["command"]
    reference = sorted(p.name for p in (results / "reference" / "quick").iterdir())
    assert len(reference) == len(TABLES + FIGURES) + 1 and "settings.json" in reference


def test_spectrum_table(finished):
    table = pd.read_csv(finished[0] / "data" / "exp_b_spectrum.csv")
    assert len(table) == 6 * 4 * 17 * 2 * 3  # runs, epochs, layers, raw or folded, radii
    assert set(table.epoch) == {0, 1, 2, 3}
    assert table.dataset.str.contains("not CIFAR-10").all()
    assert (
        table.scale.str.startswith("quick, changed: epochs, width, ").all()
        and table.device.str.startswith("cpu").all()
    )
    shares = table.groupby(["configuration", "seed", "epoch", "layer", "weights"]).share.sum()
    np.testing.assert_allclose(shares, 1, rtol=1e-5)

    # Paired by seed: the same initial weights, then different ones; other seeds differ.
    energy = table.set_index(["configuration", "seed", "epoch", "layer", "weights", "radius"])
    energy = energy.energy.unstack("configuration")
    initial, final = energy.xs(0, level="epoch"), energy.xs(3, level="epoch")
    assert (initial.baseline == initial.l2).all() and (initial.l2 == initial.dropout).all()
    norms = final.xs("raw", level="weights").groupby(["seed", "layer"]).sum()
    assert (norms.l2 < norms.baseline).all()  # weight decay shrinks
    seeds = energy.baseline.unstack("seed")
    assert (seeds[0] != seeds[1]).all()


def test_ssr_table_follows_from_the_spectrum_table(finished):
    """Everything computed again from the spectrum table, by the formulas, in plain pandas."""
    spectra = pd.read_csv(finished[0] / "data" / "exp_b_spectrum.csv")
    ssr = pd.read_csv(finished[0] / "data" / "exp_b_ssr.csv")
    index = ["configuration", "seed", "weights", "layer"]
    assert not ssr.duplicated(index).any()
    ssr = ssr.set_index(index)
    wide = spectra.pivot(index=[*index, "epoch"], columns="radius", values="energy")
    dc, middle, corner = (wide[r] for r in wide)
    eta = ((middle + corner) / (dc + middle + corner)).unstack("epoch")
    expected = (eta[0] - eta[3]) / eta[0]
    np.testing.assert_allclose(ssr.ssr.reindex(expected.index), expected, atol=1e-5)

    mean = expected.groupby(index[:3]).mean()
    found = ssr.ssr.xs("all (mean)", level="layer").reindex(mean.index)
    np.testing.assert_allclose(found, mean, atol=1e-5)
    pooled = wide.groupby([*index[:3], "epoch"]).sum()
    pooled = (1 - pooled[0.0] / pooled.sum(axis=1)).unstack("epoch")
    found = ssr.ssr.xs("all (energy-weighted)", level="layer").reindex(pooled.index)
    np.testing.assert_allclose(found, (pooled[0] - pooled[3]) / pooled[0], atol=1e-5)

    ratio = eta[3].xs("baseline").div(eta[3].xs("l2"))
    found = ssr.share_ratio.xs("l2").reindex(ratio.index)
    np.testing.assert_allclose(found, ratio, rtol=1e-4)
    high = (middle + corner).unstack("epoch")
    growth = high[3] / high[0]
    ratio = growth.xs("baseline").div(growth.xs("dropout"))
    found = ssr.energy_ratio.xs("dropout").reindex(ratio.index)
    np.testing.assert_allclose(found, ratio, rtol=1e-4)

    h = ((middle / 4 + corner / 4) / dc).unstack("epoch").xs("conv1", level="layer")
    h = h.xs("raw", level="weights")
    published = (h[1] - h[3]) / h[1]
    found = ssr.published_ssr.xs("conv1", level="layer").xs("raw", level="weights")
    np.testing.assert_allclose(found.reindex(published.index), published, rtol=1e-3, atol=1e-5)
    assert ssr.published_ssr.notna().sum() == 6
    ratio = published.xs("baseline") / published.xs("l2")
    found = ssr.published_ratio.xs(("l2", "raw", "conv1"), level=(0, 2, 3))
    np.testing.assert_allclose(found.reindex(ratio.index), ratio, rtol=1e-2)


def test_training_table_and_closing_words(finished):
    results, process = finished
    table = pd.read_csv(results / "data" / "exp_b_training.csv")
    assert len(table) == 6 * 4
    assert table.train_loss.isna().sum() == 6  # epoch 0
    for column in ("test_accuracy", "low_cue_accuracy", "high_cue_accuracy"):
        assert table[column].between(0, 100).all()
        assert np.allclose(table[column] * 40 / 100 % 1, 0)  # a count out of 40 images
    rate = table[table.epoch == 3].learning_rate
    steps = 18  # the last of them, on the cosine from 0.1 to 0
    np.testing.assert_allclose(rate, 0.05 * (1 + np.cos(np.pi * (steps - 1) / steps)), rtol=1e-5)
    last = table[(table.epoch == 3) & (table.configuration == "l2")]
    assert f"{last.test_accuracy.mean():.2f} ± " in process.stdout
    assert "PLANTED" in process.stdout and "for the training steps left" in process.stdout


def test_the_same_command_again_does_nothing_twice(finished, tmp_path):
    results, _ = finished
    before = tables(results)
    checkpoints = {p: p.stat().st_mtime_ns for p in results.rglob("*.pt")}
    assert job.finish(results, line=LINE, log=tmp_path / "log") == 0
    assert "6 of 6 here are finished" in (tmp_path / "log").read_text()
    assert tables(results) == before
    assert {p: p.stat().st_mtime_ns for p in results.rglob("*.pt")} == checkpoints


def test_figures_are_drawn_from_the_tables_alone(finished, tmp_path):
    data, written = finished[0] / "data", finished[0] / "figures"
    spectra, ssr, training = (pd.read_csv(data / f"{name}.csv") for name in TABLES)
    figures = {
        "exp_b_spectrum_evolution": (visualizer.spectrum_evolution(spectra), 3),
        "exp_b_ssr_comparison": (visualizer.ssr_comparison(ssr), 3),
        "exp_b_layers": (visualizer.layers(ssr), 2),
        "exp_b_training": (visualizer.training(training), 3),
    }
    for name, (figure, panels) in figures.items():
        axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
        assert len(axes) == panels
        assert "PLANTED" in figure.get_supxlabel() and "n = 2 seeds" in figure.get_supxlabel()
        figure.savefig(tmp_path / f"{name}.png", dpi=50)
        again = matplotlib.image.imread(tmp_path / f"{name}.png")[..., :3]
        saved = matplotlib.image.imread(written / f"{name}.png")
        assert saved.shape[1] > 800
        for ax in axes:  # every panel has ink
            box = ax.get_window_extent().extents * 50 / figure.dpi
            left, bottom, right, top = (int(x) for x in box)
            panel = again[len(again) - top : len(again) - bottom, left:right]
            assert panel.std() > 0.02, f"{name}: {ax.get_title()} is empty"

    # The heat map shows the numbers of the table, high frequencies on top, on one scale.
    images = [ax.images[0] for ax in figures["exp_b_spectrum_evolution"][0].axes if ax.images]
    raw = spectra[(spectra.weights == "raw") & (spectra.configuration == "l2")]
    share = raw.groupby(["radius", "epoch"]).share.mean().unstack("epoch")
    expected = 10 * np.log10(share.div([1 / 9, 4 / 9, 4 / 9], axis=0))
    np.testing.assert_allclose(images[1].get_array(), expected, atol=1e-6)
    assert images[1].origin == "lower" and len({i.get_clim() for i in images[:3]}) == 1
    low, high = images[0].get_clim()
    assert low == -high
