"""Experiments C and D through their command lines, on tiny models of experiment B."""

import functools
import json
import re
import shutil

import job
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from test_exp_b import TINY
from tqdm import tqdm

from data import corruptions, planted
from data.images import Normalize
from experiments import reference_page
from utils.evidence import robustness
from utils.training import evaluation

C, D = "exp_c_robustness.py", "exp_d_resolution_robustness.py"
MODELS = f"--{TINY[2:]} --configurations baseline l2 --checkpoint-every 1 --epochs 1"
LINE_C = f"{C} --device cpu --sigmas 0 0.1 --centres 0.05 0.45 --heatmap-images 1 "
LINE_C += "--sensitivity-images 8"
L2 = "l2=0.05"
LINE_D = f"{D} --device cpu --resolutions 32 8 --blur-sizes 0 5 "
LINE_D += "--low-pass-cutoffs 0.75 0.2 --high-pass-cutoffs 0.2"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """C, which has to train first, then D, in one results folder; and what they printed."""
    results = tmp_path_factory.mktemp("robustness") / "results"
    logs = [results.parent / "c", results.parent / "d"]
    lines = [(f"--training-flags={MODELS}",), ()]
    for line, more, log in zip((LINE_C, LINE_D), lines, logs):
        assert job.finish(results, *more, line=line, log=log, pictures=True) == 0, log.read_text()
    return results, *(log.read_text() for log in logs)


def test_trains_first_and_says_so(finished):
    results, c, d = finished
    assert "No models of experiment B" in c and "trains them first" in c
    assert "trains them first" not in d
    (models,) = (results / "checkpoints").glob("planted-*")
    for printed in (c, d):
        assert f"from     {models}" in printed and "x seeds 0, 1, after epoch 1" in printed
    names = [f"exp_c_{name}" for name in ("robustness", "band_noise", "fourier_heatmap")]
    names += ["exp_c_sensitivity", "exp_d_resolution_robustness", "exp_d_blur_robustness"]
    assert all(str(results / "figures" / f"{name}.png") in c + d for name in names)
    for seed in (0, 1):
        assert re.search(f"seed {seed}: .*baseline after epoch [01]", d)
    for path in (results / "figures").glob("exp_[cd]*.png"):
        assert matplotlib.image.imread(path)[..., :3].std() > 0.05
    assert (results / "figures" / "exp_d_examples.png").exists()
    assert not list((results / "data").glob("*examples*"))  # the images are not ours
    copies = results / "reference" / "tiny"
    reference_page.copy_results(results, copies, "exp_d")
    assert (copies / "exp_d_blur_robustness.png").exists()
    assert not [path for path in copies.iterdir() if "examples" in path.name]


def test_redraw(finished, tmp_path):
    """All but the images, which are not in the tables."""
    redraw = ("--redraw", finished[0] / "data")
    assert job.finish(tmp_path, *redraw, line=D, pictures=True) == 0
    names = {"exp_d_resolution_robustness.png", "exp_d_blur_robustness.png"}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == names
    for name in names:
        before, after = (place / "figures" / name for place in (finished[0], tmp_path))
        assert before.read_bytes() == after.read_bytes()


def test_tables(finished):
    results = finished[0]
    c = pd.read_csv(results / "data" / "exp_c_robustness.csv")
    runs, sets = 4, 3
    assert len(c) == runs * sets * (1 + 2 + 2)
    assert set(c.images) == {"test", "low cue", "high cue"}
    d = pd.read_csv(results / "data" / "exp_d_resolution_robustness.csv")
    last = d[d.epoch == 1]
    assert len(last) == runs * sets * (1 + 2 + 2 + 2 + 2 + 1)
    heatmap = pd.read_csv(results / "data" / "exp_c_fourier_heatmap.csv")
    assert len(heatmap) == runs * 514 and set(heatmap.n_images) == {1}  # seen by both seeds
    assert set(heatmap.error) | set(heatmap.clean_error) <= {0, 100}
    for table in (c, d, heatmap):
        assert table.dataset.str.contains("not CIFAR-10").all()

    # Levels that change nothing agree with clean images, and C with D.
    key = ["configuration", "seed", "images"]
    clean = c[c.corruption == "none"].set_index(key).accuracy.sort_index()
    for table, corruption, level in (
        (c, "Gaussian noise", 0),
        (last, "none", 0),
        (last, "low resolution, bilinear", 32),
        (last, "low resolution, antialiased", 32),
        (last, "Gaussian blur", 0),
    ):
        same = table[(table.corruption == corruption) & (table.level == level)]
        same = same.set_index(key).accuracy.sort_index()
        pd.testing.assert_series_equal(same, clean)
    # And both with what experiment B saw after its last epoch.
    (last,) = (results / "checkpoints").glob("*/l2=0.05-seed1/last.pt")
    b = torch.load(last, weights_only=True)["history"][-1]
    assert clean[L2, 1, "test"] == pytest.approx(b["test_accuracy"])
    assert clean[L2, 1, "high cue"] == pytest.approx(b["high_cue_accuracy"])


def test_unusable_checkpoints_are_named_and_left_out(finished, tmp_path):
    results = shutil.copytree(finished[0], tmp_path / "results")
    (models,) = (results / "checkpoints").glob("planted-*")
    (models / "baseline-seed1" / "epoch-001.pt").unlink()
    path = models / f"{L2}-seed0" / "epoch-001.pt"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    shutil.copy(models / "baseline-seed0" / "epoch-001.pt", models / f"{L2}-seed1")
    assert job.finish(results, line=LINE_D, log=tmp_path / "log") == 1
    log = (tmp_path / "log").read_text()
    for pattern in (
        "error: baseline-seed1, epoch 1, is left out: .*epoch-001.pt is missing",
        "error: l2=0.05-seed0, .* is left out: .*epoch-001.pt is damaged",
        "error: l2=0.05-seed1, .* is left out: .*belongs to .*baseline-seed0",
    ):
        assert re.search(pattern, log), log
    # The one model that is left has the same numbers as before, among other models.
    name = "exp_d_resolution_robustness.csv"
    before, after = (pd.read_csv(folder / "data" / name) for folder in (finished[0], results))
    before = before[(before.configuration == "baseline") & (before.seed == 0)]
    before = before[before.epoch == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(after, before)


def test_a_run_without_its_history(finished, tmp_path):
    """Its last.pt and the one before are damaged; one of them is enough."""
    results = shutil.copytree(finished[0], tmp_path / "results")
    (run,) = results.glob("checkpoints/*/baseline-seed0")
    for name, code in (("last.pt", 0), ("previous.pt", 1)):
        (run / name).write_bytes(b"")
        assert job.finish(results, line=LINE_D, log=tmp_path / "log") == code
    line = (tmp_path / "log").read_text().splitlines()[-1]
    assert re.match("error: no undamaged last.pt .*baseline-seed0: start experiment B again", line)


def test_nothing_to_evaluate(finished, tmp_path):
    results = shutil.copytree(finished[0], tmp_path / "results")
    for path in results.rglob("epoch-001.pt"):
        path.write_bytes(b"")
    before = {p: p.read_bytes() for p in (results / "data").iterdir()}
    assert job.finish(results, line=LINE_D, log=tmp_path / "log") == 1
    log = (tmp_path / "log").read_text().splitlines()
    assert len(log) == 1 and log[0].count("is damaged") == 4
    assert {p: p.read_bytes() for p in (results / "data").iterdir()} == before


def test_a_run_that_is_not_there(finished, tmp_path):
    arguments = (finished[0], "--run", "cifar10-full-0")
    assert job.finish(*arguments, line=C, log=tmp_path / "log") == 1
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert re.search("RUN is 'cifar10-full-0'.*planted-quick-", line)


@pytest.mark.parametrize(
    "latest, arguments, said",
    [
        ({"seeds": [9]}, [], "baseline-seed9, epoch 1, is left out: .* is missing; l2=0.05-seed9"),
        ({"seeds": None}, [], "latest.json is damaged"),
        ({"folder": "moved"}, ["--training-flags=--help"], "B has written no models in .*"),
    ],
)
def test_a_latest_start_that_has_trained_nothing(finished, tmp_path, latest, arguments, said):
    """Killed before its first epoch, say."""
    results = shutil.copytree(finished[0], tmp_path / "results")
    path = results / "checkpoints" / "latest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | latest))
    assert job.finish(results, *arguments, line=LINE_D, log=tmp_path / "log") == 1
    assert re.match(f"error: .*{said}", (tmp_path / "log").read_text().splitlines()[-1])


def test_batches_of_any_size_see_the_same_images(monkeypatch):
    """Image by image with its own noise, clipped, then normalised."""
    seen = []

    class Witness(torch.nn.Module):
        def forward(self, x):
            seen[-1].append(x.clone())
            return x.flatten(1)[:, :10]

    images = planted.image_set(50, 0, 1, 1)
    white = corruptions.white_noise(images.images.shape, 0)
    noisy = ({"level": 1}, lambda x: corruptions.gaussian_noise(x, 0.2, white))
    expected = Normalize(images)((images.images / 255 + 0.2 * white).clip(0, 1))
    for size in (7, 50):
        monkeypatch.setitem(evaluation.BATCH, "cpu", size)
        seen.append([])
        evaluation.sweep({("a", 0, 0): Witness()}, {"test": images}, [noisy], tqdm(disable=True))
        np.testing.assert_allclose(torch.cat(seen[-1]), expected, atol=1e-6)
    assert len(seen[0]) == 8 and len(seen[1]) == 1


def test_matched_epochs():
    kept = pd.DataFrame(
        [("baseline", 0, e, a) for e, a in ((0, 10), (5, 40), (10, 50))]
        + [("l2", 0, e, a) for e, a in ((0, 10), (4, 48.5), (5, 51), (6, 49), (10, 60))]
        + [("baseline", 1, 10, 70), ("baseline", 1, 9, 59), ("l2", 1, 10, 60)]
        + [("l2", 2, 10, 60)],
        columns=["configuration", "seed", "epoch", "test_accuracy"],
    ).sort_values(["seed", "configuration", "epoch"])
    assert robustness.matched_epochs(kept, "l2") == {
        0: {"baseline": 10, "l2": 6},  # of two as near, the later
        1: {"l2": 10, "baseline": 9},
    }


def test_what_is_narrowed_and_who_starts_it(finished, tmp_path):
    """Configurations and seeds of the latest start, fewer where wanted; one process only."""
    results = shutil.copytree(finished[0], tmp_path / "results")
    few = ["--configurations", "l2", "--seeds", "1"]
    assert job.finish(results, *few, line=LINE_D, log=tmp_path / "log") == 0
    table = pd.read_csv(results / "data" / "exp_d_resolution_robustness.csv")
    assert set(table.configuration) == {L2} and set(table.seed) == {1}
    few = ["--configurations", "dropout"]
    assert job.finish(results, *few, line=LINE_D, log=tmp_path / "log") == 2
    line = (tmp_path / "log").read_text()
    assert re.search("CONFIGURATIONS.*dropout=0.5.*trained: baseline, l2=0.05", line)
    for environment, said in (
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR None"),
        (job.environments(2)[0], "start it with python, not torchrun"),
    ):
        before = functools.partial(job.set_environment, environment)
        assert job.finish(tmp_path / "no", line=D, before=before, log=tmp_path / "log") == 1
        assert re.fullmatch(f"error: .*{said}.*\n", (tmp_path / "log").read_text())


def test_fewer_test_images_are_named(finished, tmp_path):
    """As a change of the scale whose sizes would be judged."""
    results = shutil.copytree(finished[0], tmp_path / "results")
    latest = results / "checkpoints" / "latest.json"
    latest.write_text(json.dumps(json.loads(latest.read_text()) | {"scale": "full"}))
    for images, told in (("40", False), ("16", True)):
        few = ["--test-images", images, "--seeds", "0"]
        assert job.finish(results, *few, line=LINE_D) == 0
        table = pd.read_csv(results / "data" / "exp_d_resolution_robustness.csv")
        (scale,) = set(table.scale)
        assert scale.startswith("full, changed: ") and scale.endswith(", test_images") == told


def test_initial_weights_of_any_run_of_a_seed(finished, tmp_path):
    """They are the same in all; a run that was moved may have lost its own."""
    results = shutil.copytree(finished[0], tmp_path / "results")
    for path in results.glob("checkpoints/*/baseline-seed0/epoch-000.pt"):
        path.unlink()
    assert job.finish(results, line=LINE_C) == 0
    name = "exp_c_sensitivity_summary.csv"
    before, after = (pd.read_csv(folder / "data" / name) for folder in (finished[0], results))
    numbers = ["seed", "epoch", "high_share", "mean_radius", "total"]
    pd.testing.assert_frame_equal(after[numbers], before[numbers])


def test_claims_of_c_and_d(finished):
    """From the tables, by hand; at quick scale sizes are not judged."""
    claims = [pd.read_csv(finished[0] / "data" / f"exp_{letter}_claims.csv") for letter in "cd"]
    tables = [
        pd.read_csv(finished[0] / "data" / name)
        for name in ("exp_c_sensitivity_summary.csv", "exp_d_resolution_robustness.csv")
    ]
    passed = tables[1].query("images == 'test' and corruption == 'ideal high-pass'")
    for claim, rows, column, words in (
        (claims[0], tables[0], "high_share", "share of the input sensitivity"),
        (claims[1], passed, "accuracy", "accuracy, ideal high-pass 0.2"),
    ):
        values = rows[rows.epoch == 1].set_index(["configuration", "seed"])[column]
        assert set(claim["size"]) <= {"not judged", "nothing published"}
        row = claim[claim.quantity.str.startswith(words)]
        difference = values[L2] - values["baseline"]
        assert row["mean"].item() == pytest.approx(difference.mean(), abs=1e-6)
        assert row.configuration.item() == L2 and row.n.item() == 2
