"""Experiment B through its command line: from start to figures, interrupted, misused."""

import gzip
import json
import os
import re
import shutil

import job
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import tables

SCRIPT = "exp_b_spectrum_evolution.py"
TINY = "--dataset planted --scale quick --device cpu --width 4 --epochs 3 "
TINY += "--train-images 96 --test-images 40 --batch-size 16 --weight-decay 0.05 "
TINY += "--seeds 0 1 --checkpoint-every 2"
LINE = f"{SCRIPT} {TINY}"
TABLES = ["autocorrelation", "claims", "spectrum", "ssr", "training"]
TABLES = [f"exp_b_{name}" for name in TABLES]
L2 = "l2=0.05"
FIGURES = ["first_layer", "layer_evolution", "layers", "response", "spectrum_evolution"]
FIGURES = [f"exp_b_{name}" for name in (*FIGURES, "ssr_comparison", "training")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished tiny job with two seeds, and what it printed."""
    results = tmp_path_factory.mktemp("job") / "results"
    log = results.parent / "log"
    assert job.finish(results, line=LINE, log=log, pictures=True) == 0, log.read_text()
    return results, log.read_text()


def test_files(finished):
    results, printed = finished
    data = sorted(p.name for p in (results / "data").iterdir())
    assert data == sorted([*(f"{t}.csv" for t in TABLES), "exp_b_settings.json"])
    assert {p.stem for p in (results / "figures").iterdir()} == {*FIGURES, "exp_b_evolution"}
    assert (results / "figures" / "exp_b_evolution.gif").stat().st_size < 2_000_000
    for path in [*(results / "data").iterdir(), *(results / "figures").iterdir()]:
        assert str(path) in printed
    (job,) = (results / "checkpoints").glob("planted-*")
    latest = json.loads((results / "checkpoints" / "latest.json").read_text())
    assert latest["folder"] == job.name and latest["seeds"] == [0, 1]
    assert latest["configurations"] == ["baseline", L2, "dropout=0.5"]
    runs = [f"{c}-seed{s}" for c in ("baseline", "dropout=0.5", L2) for s in (0, 1)]
    assert sorted(p.name for p in job.iterdir()) == runs
    for run in job.iterdir():
        files = ["epoch-000.pt", "epoch-001.pt", "epoch-002.pt", "epoch-003.pt"]
        files += ["last.pt", "previous.pt", "lock", "settings.json"]
        assert sorted(p.name for p in run.iterdir()) == sorted(files)
    settings = json.loads((job / f"{L2}-seed1" / "settings.json").read_text())
    assert settings["settings"]["epochs"] == 3
    settings = json.loads((results / "data" / "exp_b_settings.json").read_text())
    assert len(settings["starts"]) == 6 and settings["device"].startswith("cpu, 1 thread, ")


def test_figures_are_drawn_again_from_the_tables_alone(finished, tmp_path):
    """In seconds, without weights, picture for picture: beside the tables, or where they shall."""
    (tmp_path / "tables").mkdir()
    for path in (finished[0] / "data").glob("*.csv"):  # large ones are kept compressed
        content = gzip.compress(path.read_bytes())
        (tmp_path / "tables" / f"{path.name}.gz").write_bytes(content)
    assert job.finish(tmp_path, "--redraw", tmp_path / "tables", line=SCRIPT, pictures=True) == 0
    for path in (finished[0] / "figures").iterdir():
        assert (tmp_path / "figures" / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"tables", "figures"}
    assert not list((tmp_path / "tables").glob("*.png"))


def test_spectrum_table(finished):
    table = pd.read_csv(finished[0] / "data" / "exp_b_spectrum.csv")
    # Runs, times, layers, raw or folded, radii. An epoch has 6 steps.
    assert len(table) == 6 * 7 * 17 * 2 * 3
    times = table[["epoch", "step"]].drop_duplicates().to_numpy().tolist()
    assert [step for _, step in times] == [0, 1, 2, 4, 6, 12, 18]
    np.testing.assert_allclose([epoch * 6 for epoch, _ in times], [t[1] for t in times], rtol=1e-6)
    assert table.dataset.str.contains("not CIFAR-10").all()
    assert (
        table.scale.str.startswith("quick, changed: weight_decay, epochs, width, ").all()
        and table.device.str.startswith("cpu").all()
    )
    shares = table.groupby(["configuration", "seed", "epoch", "layer", "weights"]).share.sum()
    np.testing.assert_allclose(shares, 1, rtol=1e-5)

    # Paired by seed: the same initial weights, then different ones; other seeds differ.
    energy = table.set_index(["configuration", "seed", "epoch", "layer", "weights", "radius"])
    energy = energy.energy.unstack("configuration")
    initial, final = energy.xs(0, level="epoch"), energy.xs(3, level="epoch")
    assert (initial.baseline == initial[L2]).all() and (initial[L2] == initial["dropout=0.5"]).all()
    norms = final.xs("raw", level="weights").groupby(["seed", "layer"]).sum()
    assert (norms[L2] < norms.baseline).all()  # weight decay shrinks
    seeds = energy.baseline.unstack("seed")
    assert (seeds[0] != seeds[1]).all()


def test_training_table_and_closing_words(finished):
    results, printed = finished
    table = pd.read_csv(results / "data" / "exp_b_training.csv")
    assert len(table) == 6 * 4
    assert table.train_loss.isna().sum() == 6  # epoch 0
    for column in ("test_accuracy", "low_cue_accuracy", "high_cue_accuracy"):
        assert table[column].between(0, 100).all()
        assert np.allclose(table[column] * 40 / 100 % 1, 0)  # a count out of 40 images
    rate = table[table.epoch == 3].learning_rate
    steps = 18  # the last of them, on the cosine from 0.1 to 0
    np.testing.assert_allclose(rate, 0.05 * (1 + np.cos(np.pi * (steps - 1) / steps)), rtol=1e-5)
    last = table[(table.epoch == 3) & (table.configuration == L2)]
    assert f"{last.test_accuracy.mean():.2f} ± " in printed
    assert "PLANTED" in printed and "for the training steps left" in printed
    figure = results / "figures" / "exp_b_spectrum_evolution.png"
    end = rf"\nFinished in 0:\d\d\. Look first at {re.escape(str(figure))}\n\n.*low-pass: .*\nWritten:"
    assert re.search(end, printed, re.DOTALL) and "--seeds 0 1 2" not in printed


def on_a_larger_machine():
    torch.set_num_threads(2)
    os.sched_getaffinity, os.getloadavg = lambda _: range(8), lambda: (7.0, 0, 0)


def test_the_same_command_again_does_nothing_twice(finished, tmp_path):
    """Elsewhere too: tables name the device of the epochs. What would be faster is told."""
    results = shutil.copytree(finished[0], tmp_path / "results")
    kept = {p: p.stat().st_mtime_ns for p in results.rglob("*.pt")}
    log, before = tmp_path / "log", on_a_larger_machine
    assert job.finish(results, line=LINE, before=before, log=log) == 0
    printed = log.read_text()
    assert "6 of 6 here are finished" in printed and "Device   cpu, 2 threads" in printed
    flags = re.escape(TINY.removeprefix("--dataset "))
    assert re.search(f"torchrun --nproc-per-node=6 .*{flags}.* 8 cores", printed)
    assert re.search(f"Busy .*: OMP_NUM_THREADS=1 python .*{flags}", printed)
    assert tables(results) == tables(finished[0])
    assert {p: p.stat().st_mtime_ns for p in results.rglob("*.pt")} == kept
    table = pd.read_csv(results / "data" / "exp_b_ssr.csv")
    assert table.device.str.startswith("cpu, 1 thread, ").all()


def test_what_cannot_be_drawn_again_is_told_in_a_sentence(finished, tmp_path):
    """A table that is missing, empty, no text, without rows, without a column."""
    shutil.copy(finished[0] / "data" / "exp_b_training.csv", tmp_path)
    table, log = pd.read_csv(finished[0] / "data" / "exp_b_spectrum.csv", nrows=100), tmp_path / "x"
    for content, said in (
        (None, "lack 'spectrum'"),
        (b"", "exp_b_spectrum.csv is no table .No columns"),
        (b"\xff\xfe\x00", "exp_b_spectrum.csv is no table"),
        (table.head(0).to_csv(index=False).encode(), "cannot be drawn"),
        (table.drop(columns="epoch").to_csv(index=False).encode(), "lack 'epoch'"),
    ):
        if content is not None:
            (tmp_path / "exp_b_spectrum.csv").write_bytes(content)
        redraw = ("--redraw", tmp_path)
        assert job.finish(tmp_path / "no", *redraw, line=SCRIPT, log=log, pictures=True) == 1
        assert re.fullmatch(f"error: REDRAW: .*{said}.*\n", log.read_text())
    assert not list(tmp_path.glob("**/*.png"))


def test_a_sweep_finds_its_baseline(finished, tmp_path):
    """Three strengths after the default job: only the new ones are trained, the rest stays."""
    results = shutil.copytree(finished[0], tmp_path / "results")
    kept = {p: p.stat().st_mtime_ns for p in results.rglob("*.pt")}
    sweep = ["--configurations", "baseline", "l2=1e-2", "l2=0.05", "l2=0.1"]
    assert job.finish(results, *sweep, line=LINE, log=tmp_path / "log") == 0
    log = (tmp_path / "log").read_text()
    assert "4 of 8 here are finished" in log
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    dose = pd.read_csv(results / "data" / "exp_b_dose_response.csv")
    assert dose.strength.unique().tolist() == [0, 0.01, 0.05, 0.1]
    assert (results / "figures" / "exp_b_dose_response.png").exists()
    ssr = pd.read_csv(results / "data" / "exp_b_ssr.csv").set_index(["configuration", "seed"])
    before = pd.read_csv(finished[0] / "data" / "exp_b_ssr.csv").set_index(
        ["configuration", "seed"]
    )
    pd.testing.assert_frame_equal(ssr.loc[[L2]], before.loc[[L2]])


def test_another_image_spectrum(finished, tmp_path):
    """Is another job, named in every table, and found by C and D with its own images."""
    results, few = tmp_path / "results", "--seeds 0 --epochs 1 --configurations baseline"
    spectrum = ["--image-spectrum", "whitened"]
    assert job.finish(results, *few.split(), *spectrum, line=LINE, log=tmp_path / "log") == 0
    end = re.search(r"One seed: no verdict.*\n(.*)", (tmp_path / "log").read_text())[1]
    assert " --seeds 0 --" not in end and end.endswith(" --seeds 0 1 2")
    table = pd.read_csv(results / "data" / "exp_b_training.csv")
    assert table.dataset.str.endswith(", whitened").all()
    assert table.scale.str.contains("image_spectrum").all()
    line = "exp_d_resolution_robustness.py --device cpu --resolutions 32 --blur-sizes 0 "
    line += "--low-pass-cutoffs 0.75 --high-pass-cutoffs 0.1"
    assert job.finish(results, line=line, log=tmp_path / "log") == 0
    accuracy = pd.read_csv(results / "data" / "exp_d_resolution_robustness.csv")
    assert accuracy.dataset.str.endswith(", whitened").all()
    clean = accuracy[(accuracy.corruption == "none") & (accuracy.images == "test")]
    assert clean.accuracy.item() == table.test_accuracy.iloc[-1]
