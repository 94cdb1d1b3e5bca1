"""Experiment B through its command line: from start to figures, interrupted, misused."""

import json
import lzma
import os
import re
import shutil

import job
import numpy as np
import pandas as pd
import torch
from conftest import tables

SCRIPT = "exp_b_spectrum_evolution.py"
TINY = "--dataset planted --scale quick --device cpu --width 4 --epochs 3 "
TINY += "--train-images 96 --test-images 40 --batch-size 16 --weight-decay 0.05 "
TINY += "--seeds 0 1 --checkpoint-every 2"
LINE = f"{SCRIPT} {TINY}"
TABLES = ["autocorrelation", "claims", "spectrum", "ssr", "training"]
L2 = "l2=0.05"
FIGURES = ["first_layer", "layer_evolution", "layers", "response", "spectrum_evolution"]
FIGURES += ["ssr_comparison", "training", "evolution"]


def copy(finished_b, tmp_path):
    """A copy of the finished job, and when its checkpoints were written."""
    results = shutil.copytree(finished_b[0], tmp_path / "results")
    return results, {path: path.stat().st_mtime_ns for path in results.rglob("*.pt")}


def test_files(finished_b):
    results, printed = finished_b
    data, drawn = ([*(results / folder).iterdir()] for folder in ("data", "figures"))
    expected = {"exp_b_settings.json", *(f"exp_b_{name}.csv" for name in TABLES)}
    assert {path.name for path in data} == expected
    assert {path.stem for path in drawn} == {f"exp_b_{name}" for name in FIGURES}
    assert (results / "figures" / "exp_b_evolution.gif").stat().st_size < 2_000_000
    assert all(str(path) in printed for path in [*data, *drawn])
    (folder,) = (results / "checkpoints").glob("planted-*")
    latest = json.loads((results / "checkpoints" / "latest.json").read_text())
    assert latest["folder"] == folder.name and latest["seeds"] == [0, 1]
    assert latest["configurations"] == ["baseline", L2, "dropout=0.5"]
    runs = {f"{c}-seed{s}" for c in ("baseline", "dropout=0.5", L2) for s in (0, 1)}
    assert {path.name for path in folder.iterdir()} == runs
    files = {f"epoch-00{epoch}.pt" for epoch in range(4)}
    files |= {"last.pt", "previous.pt", "lock", "settings.json"}
    for run in folder.iterdir():
        assert {path.name for path in run.iterdir()} == files
    settings = json.loads((folder / f"{L2}-seed1" / "settings.json").read_text())
    assert settings["settings"]["epochs"] == 3
    settings = json.loads((results / "data" / "exp_b_settings.json").read_text())
    assert len(settings["starts"]) == 6 and settings["device"].startswith("cpu, 1 thread, ")


def test_figures_are_drawn_again_from_the_tables_alone(finished_b, tmp_path):
    """In seconds, without weights, picture for picture: beside the tables, or where they shall."""
    (tmp_path / "tables").mkdir()
    for path in (finished_b[0] / "data").glob("*.csv"):  # large ones are kept compressed
        content = lzma.compress(path.read_bytes())
        (tmp_path / "tables" / f"{path.name}.xz").write_bytes(content)
    assert job.finish(tmp_path, "--redraw", tmp_path / "tables", line=SCRIPT, pictures=True) == 0
    for path in (finished_b[0] / "figures").iterdir():
        assert (tmp_path / "figures" / path.name).read_bytes() == path.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"tables", "figures"}
    assert not list((tmp_path / "tables").glob("*.png"))


def test_spectrum_table(finished_b):
    table = pd.read_csv(finished_b[0] / "data" / "exp_b_spectrum.csv")
    # Runs, times, layers, raw or folded, radii. An epoch has 6 steps.
    assert len(table) == 6 * 7 * 17 * 2 * 3
    times = table[["epoch", "step"]].drop_duplicates()
    assert times.step.tolist() == [0, 1, 2, 4, 6, 12, 18]
    np.testing.assert_allclose(times.epoch * 6, times.step, rtol=1e-6)
    kept = pd.read_csv(finished_b[0] / "data" / "exp_b_autocorrelation.csv")
    assert kept.epoch.unique().tolist() == [0, 3]  # of it the first and the last
    assert table.dataset.str.contains("not CIFAR-10").all()
    assert table.scale.str.startswith("quick, changed: weight_decay, epochs, width, ").all()
    assert table.device.str.startswith("cpu").all()
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


def test_training_table_and_closing_words(finished_b):
    results, printed = finished_b
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
    figure = re.escape(str(results / "figures" / "exp_b_spectrum_evolution.png"))
    end = rf"\nFinished in 0:\d\d\. Look first at {figure}\n\n.*low-pass: .*\nWritten:"
    assert re.search(end, printed, re.DOTALL) and "--seeds 0 1 2" not in printed


def on_a_larger_machine():
    torch.set_num_threads(2)
    os.sched_getaffinity, os.getloadavg = lambda _: range(8), lambda: (7.0, 0, 0)


def test_the_same_command_again_does_nothing_twice(finished_b, tmp_path):
    """Elsewhere too: tables name the device of the epochs. What would be faster is told."""
    results, kept = copy(finished_b, tmp_path)
    log, before = tmp_path / "log", on_a_larger_machine
    assert job.finish(results, line=LINE, before=before, log=log) == 0
    printed, flags = log.read_text(), re.escape(TINY)
    assert "6 of 6 here are finished" in printed and "Device   cpu, 2 threads" in printed
    assert re.search(f"torchrun --nproc-per-node=6 .*{flags}.* 8 cores", printed)
    assert re.search(f"Busy .*: OMP_NUM_THREADS=1 python .*{flags}", printed)
    assert tables(results) == tables(finished_b[0])
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*.pt")} == kept


def test_what_cannot_be_drawn_again_is_told_in_a_sentence(finished_b, tmp_path):
    """A table that is missing, empty, no text, without rows, without a column."""
    shutil.copy(finished_b[0] / "data" / "exp_b_training.csv", tmp_path)
    table, log = (
        pd.read_csv(finished_b[0] / "data" / "exp_b_spectrum.csv", nrows=100),
        tmp_path / "x",
    )
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


def test_a_sweep_finds_its_baseline(finished_b, tmp_path):
    """Three strengths after the default job: only the new ones are trained, the rest stays."""
    results, kept = copy(finished_b, tmp_path)
    sweep = ["--configurations", "baseline", "l2=1e-2", "l2=0.05", "l2=0.1"]
    assert job.finish(results, *sweep, line=LINE, log=tmp_path / "log") == 0
    assert "4 of 8 here are finished" in (tmp_path / "log").read_text()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    dose = pd.read_csv(results / "data" / "exp_b_dose_response.csv")
    assert dose.strength.unique().tolist() == [0, 0.01, 0.05, 0.1]
    assert (results / "figures" / "exp_b_dose_response.png").exists()
    before, after = (
        pd.read_csv(place / "data" / "exp_b_ssr.csv").set_index(["configuration", "seed"]).loc[[L2]]
        for place in (finished_b[0], results)
    )
    pd.testing.assert_frame_equal(after, before)


def test_another_image_spectrum_and_one_seed(tmp_path):
    """Is another job, named in every table, and found by C and D with its own images. One seed
    decides nothing: B and D end with the commands of three."""
    results, log = tmp_path / "results", tmp_path / "log"
    few = "--seeds 0 --epochs 1 --configurations baseline --image-spectrum whitened"
    (folder := tmp_path / "my data").mkdir()
    few = [*few.split(), "--data-root", str(folder)]
    assert job.finish(results, *few, line=LINE, log=log) == 0
    one_seed = r"One seed: no verdict.*\n(.*)\n"
    end = re.search(one_seed, log.read_text())[1]
    assert " --seeds 0 --" not in end and end.endswith(" --seeds 0 1 2")
    table = pd.read_csv(results / "data" / "exp_b_training.csv")
    assert table.dataset.str.endswith(", whitened").all()
    assert table.scale.str.contains("image_spectrum").all()
    line = "exp_d_resolution_robustness.py --device cpu --resolutions 32 --blur-sizes 0 "
    line += "--low-pass-cutoffs 0.75 --high-pass-cutoffs 0.1"
    assert job.finish(results, line=line, log=log) == 0
    train, again = re.search(one_seed + "(.*)", log.read_text()).groups()
    assert sorted(train.split()) == sorted(end.split())
    assert again.split()[1:] == job.command(line, results)
    accuracy = pd.read_csv(results / "data" / "exp_d_resolution_robustness.csv")
    assert accuracy.dataset.str.endswith(", whitened").all()
    clean = accuracy[(accuracy.corruption == "none") & (accuracy.images == "test")]
    assert clean.accuracy.item() == table.test_accuracy.iloc[-1]
