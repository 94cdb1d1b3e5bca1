"""Experiments C and D through their command lines, on tiny models of experiment B."""

import functools
import json
import re
import shutil
import subprocess
import sys

import job
import matplotlib.image
import pandas as pd
import pytest
import torch

from experiments import reference_page
from utils.evidence import robustness

C, D = "exp_c_robustness.py", "exp_d_resolution_robustness.py"
LINE_C = f"{C} --device cpu --configurations baseline l2 --sigmas 0 0.1 --centres 0.05 0.45 "
LINE_C += "--heatmap-images 1 --sensitivity-images 8"
LINE_D = f"{D} --device cpu --configurations baseline l2 --resolutions 32 8 --blur-sizes 0 5 "
LINE_D += "--low-pass-cutoffs 0.75 0.2 --high-pass-cutoffs 0.2"
L2, LAST = "l2=0.05", "epoch-003.pt"


@pytest.fixture(scope="module")
def finished(finished_b, tmp_path_factory):
    """C, then D, in a copy of B's results; and what they printed."""
    results = tmp_path_factory.mktemp("robustness") / "results"
    shutil.copytree(finished_b[0] / "checkpoints", results / "checkpoints")
    logs = [results.parent / "c", results.parent / "d"]
    for line, log in zip((LINE_C, LINE_D), logs):
        assert job.finish(results, line=line, log=log, pictures=True) == 0, log.read_text()
    return results, *(log.read_text() for log in logs)


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "results")


def read(results, name):
    return pd.read_csv(results / "data" / f"exp_{name}.csv")


def change_latest(results, **changes):
    path = results / "checkpoints" / "latest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_pictures_in_python():
    """What this process starts with Python draws nothing: most of the time of a tiny job."""
    run, python = subprocess.run, sys.executable
    start = lambda words, **options: run([python, job.__file__, *words[1:]], **options)
    subprocess.run = lambda words, **o: (start if words[0] == python else run)(words, **o)


def test_trains_first_and_says_so(finished, tmp_path):
    """Only where there are no models."""
    results, log = tmp_path / "results", tmp_path / "log"
    flags = f"--training-flags={job.TINY.split(' ', 1)[1]} --epochs 1"
    line = LINE_D.replace("baseline l2", "baseline")
    before = without_pictures_in_python
    assert job.finish(results, flags, line=line, log=log, before=before) == 0, log.read_text()
    printed = log.read_text()
    assert "No models of experiment B" in printed and "trains them first" in printed
    assert "trains them first" not in finished[1] + finished[2]
    assert len(read(results, "d_resolution_robustness").query("epoch == 1")) == 3 * 10


def test_what_is_said_and_drawn(finished):
    results, c, d = finished
    (models,) = (results / "checkpoints").glob("planted-*")
    for printed in (c, d):
        assert f"from     {models}" in printed and "x seeds 0, 1, after epoch 3" in printed
        assert "One seed" not in printed
    names = [f"exp_c_{name}" for name in ("robustness", "band_noise", "fourier_heatmap")]
    names += ["exp_c_sensitivity", "exp_d_resolution_robustness", "exp_d_blur_robustness"]
    for path in (results / "figures" / f"{name}.png" for name in [*names, "exp_d_examples"]):
        assert str(path) in c + d and matplotlib.image.imread(path)[..., :3].std() > 0.05
    for seed in (0, 1):
        assert re.search(f"seed {seed}: .*baseline after epoch [0-3]", d)
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
    results, runs, sets = finished[0], 4, 3
    c, d = read(results, "c_robustness"), read(results, "d_resolution_robustness")
    assert len(c) == runs * sets * (1 + 2 + 2)
    assert set(c.images) == {"test", "low cue", "high cue"}
    last = d[d.epoch == 3]
    assert len(last) == runs * sets * (1 + 2 + 2 + 2 + 2 + 1)
    heatmap = read(results, "c_fourier_heatmap")
    assert len(heatmap) == runs * 514 and set(heatmap.n_images) == {1}  # seen by both seeds
    assert set(heatmap.error) | set(heatmap.clean_error) <= {0, 100}
    for table in (c, d, heatmap):
        assert table.dataset.str.contains("not CIFAR-10").all()

    # Levels that change nothing agree with clean images, and C with D.
    key = ["configuration", "seed", "images"]
    clean = c[c.corruption == "none"].set_index(key).accuracy
    same = "corruption == 'none' or level == 32 or corruption == 'Gaussian blur' and level == 0"
    for rows in (c.query("corruption == 'Gaussian noise' and level == 0"), last.query(same)):
        found = rows.set_index(key).accuracy
        assert len(found) in (12, 48) and (found == clean.reindex(found.index)).all()
    # And both with what experiment B saw after its last epoch.
    (path,) = (results / "checkpoints").glob("*/l2=0.05-seed1/last.pt")
    b = torch.load(path, weights_only=True)["history"][-1]
    assert clean[L2, 1, "test"] == pytest.approx(b["test_accuracy"])
    assert clean[L2, 1, "high cue"] == pytest.approx(b["high_cue_accuracy"])


def test_claims_of_c_and_d(finished):
    """From the tables, by hand; at quick scale sizes are not judged."""
    sensitivity = read(finished[0], "c_sensitivity_summary")
    passed = read(finished[0], "d_resolution_robustness")
    passed = passed.query("images == 'test' and corruption == 'ideal high-pass'")
    for letter, rows, column, words in (
        ("c", sensitivity, "high_share", "share of the input sensitivity"),
        ("d", passed, "accuracy", "accuracy, ideal high-pass 0.2"),
    ):
        claims = read(finished[0], f"{letter}_claims")
        values = rows[rows.epoch == 3].set_index(["configuration", "seed"])[column]
        assert set(claims["size"]) <= {"not judged", "nothing published"}
        row = claims[claims.quantity.str.startswith(words)]
        difference = values[L2] - values["baseline"]
        assert row["mean"].item() == pytest.approx(difference.mean(), abs=1e-6)
        assert row.configuration.item() == L2 and row.n.item() == 2


def test_unusable_checkpoints_are_named_and_left_out(finished, copied, tmp_path):
    (models,) = (copied / "checkpoints").glob("planted-*")
    (models / "baseline-seed1" / LAST).unlink()
    path = models / f"{L2}-seed0" / LAST
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    shutil.copy(models / "baseline-seed0" / LAST, models / f"{L2}-seed1")
    assert job.finish(copied, line=LINE_D, log=tmp_path / "log") == 1
    log = (tmp_path / "log").read_text()
    for pattern in (
        f"error: baseline-seed1, epoch 3, is left out: .*{LAST} is missing",
        f"error: l2=0.05-seed0, .* is left out: .*{LAST} is damaged",
        "error: l2=0.05-seed1, .* is left out: .*belongs to .*baseline-seed0",
    ):
        assert re.search(pattern, log), log
    # The one model that is left has the same numbers as before, among other models.
    before, after = (read(place, "d_resolution_robustness") for place in (finished[0], copied))
    before = before.query("configuration == 'baseline' and seed == 0 and epoch == 3")
    pd.testing.assert_frame_equal(after, before.reset_index(drop=True))


@pytest.mark.parametrize("lost, code", [(["last.pt"], 0), (["last.pt", "previous.pt"], 1)])
def test_a_run_without_its_history(copied, tmp_path, lost, code):
    """One of the two is enough."""
    (run,) = copied.glob("checkpoints/*/baseline-seed0")
    for name in lost:
        (run / name).write_bytes(b"")
    assert job.finish(copied, line=LINE_D, log=tmp_path / "log") == code
    said = "error: no undamaged last.pt .*baseline-seed0: start experiment B again"
    assert bool(re.search(said, (tmp_path / "log").read_text())) == (code == 1)


def test_nothing_to_evaluate(copied, tmp_path):
    for path in copied.rglob(LAST):
        path.write_bytes(b"")
    before = {path: path.read_bytes() for path in (copied / "data").iterdir()}
    assert job.finish(copied, line=LINE_D, log=tmp_path / "log") == 1
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.count("is damaged") == 4
    assert {path: path.read_bytes() for path in (copied / "data").iterdir()} == before


@pytest.mark.parametrize(
    "latest, more, said",
    [
        ({}, ["--run", "cifar10-full-0"], "RUN is 'cifar10-full-0'.*planted-quick-"),
        ({"seeds": [9]}, [], "baseline-seed9, epoch 3, is left out: .* is missing; l2=0.05-seed9"),
        ({"seeds": None}, [], "latest.json is damaged"),
        ({"folder": "moved"}, ["--training-flags=--help"], "B has written no models in .*"),
    ],
)
def test_a_job_that_is_not_there(copied, tmp_path, latest, more, said):
    """Killed before its first epoch, say."""
    change_latest(copied, **latest)
    assert job.finish(copied, *more, line=LINE_D, log=tmp_path / "log") == 1
    assert re.match(f"error: .*{said}", (tmp_path / "log").read_text().splitlines()[-1])


def test_what_is_narrowed(copied, tmp_path):
    """Configurations, seeds and images of the latest start, fewer where wanted. Fewer images are
    named, as a change of the scale whose sizes would be judged."""
    change_latest(copied, scale="full")
    line, log = LINE_D.replace("baseline l2", "l2"), tmp_path / "log"
    for images, told in (("40", False), ("16", True)):
        few = ("--seeds", "1", "--test-images", images)
        assert job.finish(copied, *few, line=line, log=log) == 0
        table = read(copied, "d_resolution_robustness")
        assert set(table.configuration) == {L2} and set(table.seed) == {1}
        (scale,) = set(table.scale)
        assert scale.startswith("full, changed: ") and scale.endswith(", test_images") == told
    train, again = re.search("One seed: no verdict.*\n(.*)\n(.*)", log.read_text()).groups()
    assert "exp_b_spectrum" in train and f" --results-dir {copied} --seeds 0 1 2" in train
    assert "--seeds" not in again and again.endswith(" --test-images 16")
    assert job.finish(copied, line=line.replace("l2", "conv-l2"), log=log) == 2
    assert re.search("CONFIGURATIONS.*conv-l2=0.05.*trained: baseline, l2=0.05", log.read_text())


def test_one_process_only(tmp_path):
    for environment, said in (
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR None"),
        (job.environments(2)[0], "start it with python, not torchrun"),
    ):
        before = functools.partial(job.set_environment, environment)
        assert job.finish(tmp_path / "no", line=D, before=before, log=tmp_path / "log") == 1
        assert re.fullmatch(f"error: .*{said}.*\n", (tmp_path / "log").read_text())


def test_initial_weights_of_any_run_of_a_seed(finished, copied, tmp_path):
    """They are the same in all; a run that was moved may have lost its own."""
    for path in copied.glob("checkpoints/*/baseline-seed0/epoch-000.pt"):
        path.unlink()
    assert job.finish(copied, "--seeds", 0, line=LINE_C, log=tmp_path / "log") == 0
    before, after = (read(place, "c_sensitivity_summary") for place in (finished[0], copied))
    numbers = ["seed", "epoch", "high_share", "mean_radius", "total"]
    before = before[before.seed == 0].reset_index(drop=True)
    pd.testing.assert_frame_equal(after[numbers], before[numbers])
    assert "One seed: no verdict" in (tmp_path / "log").read_text()


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
