"""Nothing lost: kills, damaged checkpoints, full disks, Ctrl-C, odd places."""

import functools
import itertools
import os
import pickle
import random
import re
import shutil
import signal
import time

import job
import pandas as pd
import pytest
import torch
from conftest import tables

from utils import visualizer
from utils.training import checkpoints, runs
from utils.training.loop import load_state


def temporary_files(results):
    return list(results.rglob(".*"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Results of a job that nothing disturbed."""
    results = tmp_path_factory.mktemp("calm") / "results"
    assert job.finish(results) == 0
    return results


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of them, and the folder of run l2 in it."""
    results = shutil.copytree(finished, tmp_path / "results")
    (folder,) = results.glob("checkpoints/*/l2=0.001-seed0")
    return results, folder


def test_killed_at_random_moments(finished, tmp_path, kills):
    """Killed up to ten times, then left in peace; then the next job."""
    draw, survived = random.Random(0), 0
    for number in itertools.count():
        results = tmp_path / f"results {number}"
        for _ in range(10):
            process = job.start(results)
            process.join(draw.uniform(0, 1.5))
            process.kill()
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
            survived += process.exitcode != 0
        assert job.finish(results) == 0
        assert tables(results) == tables(finished)
        assert not temporary_files(results)
        if survived >= kills:
            break
    print(f"{survived} kills survived")


def test_killed_at_every_rename(tmp_path):
    """The n-th start is killed when it is about to rename its n-th file; of the tables and figures
    at the end every third. In bfloat16, as the random kills are not."""
    calm, results = tmp_path / "calm", tmp_path / "results"
    one = ("--configurations", "dropout", "--precision", "bfloat16")
    assert job.finish(calm, *one) == 0
    table = pd.read_csv(calm / "data" / "exp_b_training.csv")
    assert table.device.str.contains(", bfloat16, ").all()
    for n in itertools.chain(range(1, 15), itertools.count(15, 3)):
        code = job.finish(results, *one, before=job.DieAtRename(n), log=tmp_path / "log")
        if code == 0:
            break
        assert code == -signal.SIGKILL, (n, (tmp_path / "log").read_text())
    assert n > 14
    assert tables(results) == tables(calm) and not temporary_files(results)
    last = next(calm.glob("checkpoints/*/*/last.pt")).relative_to(calm)
    states = [torch.load(place / last, weights_only=True) for place in (results, calm)]
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name])


@pytest.mark.parametrize(
    "death, left", [(job.die_inside_a_checkpoint, ".last.pt"), (job.die_inside_a_figure, ".exp_b_")]
)
def test_killed_inside_a_write(finished, tmp_path, death, left):
    results = tmp_path / "results"
    assert job.finish(results, before=death) == -signal.SIGKILL
    (temporary,) = temporary_files(results)
    assert temporary.name.startswith(left)  # it did die inside
    assert job.finish(results) == 0
    assert tables(results) == tables(finished)
    assert not temporary_files(results)


class Malice:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["truncated", "a bit", "another's", "a pickle", "one signed"])
def test_a_damaged_checkpoint_is_set_aside(copy, capsys, damage):
    """Named and kept; the epoch before it is used."""
    folder, last = copy[1], copy[1] / "last.pt"
    malice = Malice(folder / "executed")
    if damage == "truncated":
        last.write_bytes(last.read_bytes()[:-1000])
    elif damage == "a bit":
        flip_a_bit(last)
    elif damage == "another's":
        shutil.copy(folder.parent / "baseline-seed0" / "last.pt", last)
    elif damage == "a pickle":
        last.write_bytes(pickle.dumps(malice))
    else:
        identity = f"{folder.parent.name}/{folder.name}"
        checkpoints.save({"identity": identity, "epoch": malice}, last)
    damaged = last.read_bytes()
    before = torch.load(folder / "previous.pt", weights_only=True)  # a plain file of torch
    assert load_state(runs.Run("l2=0.001", 0), folder.parent)["epoch"] == before["epoch"] == 1
    said = capsys.readouterr().err
    assert re.search(r"l2=0.001-seed0/last.pt .*It is kept as last.pt.damaged-1", said)
    assert (folder / "last.pt.damaged-1").read_bytes() == damaged
    assert not (folder / "executed").exists()


def test_after_a_damage_the_end_is_the_same(finished, copy, tmp_path):
    results, folder = copy
    flip_a_bit(folder / "last.pt")
    shutil.rmtree(results / "data")
    assert job.finish(results, log=tmp_path / "log") == 0
    assert tables(results) == tables(finished)
    log = (tmp_path / "log").read_text()  # only the last epoch of this run was trained again
    assert "2 of 3 here are finished" in log
    assert re.findall(r"(\S+) epoch (\d)/2:", log) == [("l2=0.001-seed0", "2")]
    for name in ("last.pt", "previous.pt"):
        flip_a_bit(folder / name)
    assert job.finish(results, log=tmp_path / "log") == 1
    log = (tmp_path / "log").read_text()
    assert "no undamaged last.pt or previous.pt" in log and "move the folder away" in log
    assert tables(results) == tables(finished)
    assert len(list(folder.glob("*.damaged-*"))) == 3


def one_error(log):
    errors = [line for line in log.read_text().splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and "Traceback" not in log.read_text(), log.read_text()
    return errors[0]


def test_full_disk(copy, tmp_path):
    """A job that goes further than before finds no space; what was there stays."""
    results, _ = copy
    before = {p: p.read_bytes() for p in results.rglob("*") if p.is_file()}
    arguments = ("--seeds", 0, 1)
    code = job.finish(results, *arguments, before=job.small_files_only, log=tmp_path / "log")
    assert code == 1
    assert "cannot write" in (error := one_error(tmp_path / "log"))
    assert "File too large" in error and "earlier results stay" in error
    for path, content in before.items():
        assert path.name in ("latest.json", "lock") or path.read_bytes() == content
    assert not temporary_files(results)
    assert job.finish(results, *arguments) == 0  # there is space again


def test_where_nothing_can_be_written(tmp_path):
    """A closed folder, and a file where a folder should be; what was there stays."""
    closed, file = tmp_path / "closed", tmp_path / "results"
    closed.mkdir()
    closed.chmod(0o500)
    if os.access(closed, os.W_OK):  # root may write anywhere, except in here
        closed = "/proc/results"
    file.mkdir()
    (file / "data").write_text("precious")
    for results, named in ((closed, "(closed|/proc)"), (file, "results/data/")):
        one = (results, "--configurations", "baseline")
        assert job.finish(*one, log=tmp_path / "log") == 1
        assert re.search(f"cannot write .*{named}", one_error(tmp_path / "log"))
    assert (file / "data").read_text() == "precious" and not temporary_files(file)


def test_diverged_run(tmp_path):
    """The one run stops and is marked; the other is finished; the next start repeats it."""
    results, written = tmp_path / "results", []
    wild = ("--configurations", "l2", "baseline", "--weight-decay", 1e5)
    for _ in range(2):
        assert job.finish(results, *wild, log=tmp_path / "log") == 1
        error = one_error(tmp_path / "log")  # not that the same command would go on with it
        found = re.search(
            "l2=100000-seed0 diverged: .* step (.+) in epoch (.+) is not a fin", error
        )
        assert "finite number (LEARNING_RATE 0.1" in error
        written.append({p: p.stat().st_mtime_ns for p in results.rglob("*.pt")})
        table = pd.read_csv(results / "data" / "exp_b_training.csv")
        (marked,) = table[table.diverged.notna()].itertuples()
        assert (marked.configuration, marked.epoch) == ("l2=100000", int(found[2]))
        assert f"step {found[1]} in epoch" in marked.diverged
        assert table[table.configuration == "baseline"].epoch.tolist() == [0, 1, 2]
        ssr = pd.read_csv(results / "data" / "exp_b_ssr.csv")
        assert set(ssr.configuration) == {"baseline"}
    assert written[0] == written[1]  # nothing is trained again


def wait_for(results, pattern, alive):
    deadline = time.time() + 100
    while not list(results.glob(pattern)):
        assert time.time() < deadline and alive()
        time.sleep(0.01)


STOPPED = "Stopped. The same command goes on from the last finished epoch."


def test_control_c(tmp_path):
    """Ends soon, with one line that says how to go on."""
    results = tmp_path / "results"
    process = job.start(results, "--epochs", "100", log=tmp_path / "log")
    wait_for(results, "checkpoints/*/baseline-seed0/epoch-001.pt", process.is_alive)
    start = time.perf_counter()
    while process.is_alive():  # a library can lose the first: once in 400 trials
        os.kill(process.pid, signal.SIGINT)
        process.join(2)
    assert time.perf_counter() - start < 5  # 1 s, and some for a busy machine
    log = (tmp_path / "log").read_text()
    assert log.rstrip().endswith(STOPPED)
    assert process.exitcode == 1 and "cannot write" not in log and "Traceback" not in log


def test_odd_places(finished, tmp_path):
    """Spaces and other alphabets, a symbolic link, a move, a clock set back; strays."""
    far, place = tmp_path / "far away", tmp_path / "Ünï cödé 数据"
    far.mkdir()
    place.mkdir()
    (place / "results").symlink_to(far)
    assert job.finish("results", before=functools.partial(os.chdir, place)) == 0
    assert tables(far) == tables(finished)
    moved = shutil.move(far, tmp_path / "moved")
    for path in moved.rglob("*.pt"):
        os.utime(path, (2e9, 2e9))  # written in 2033
    shutil.rmtree(moved / "data")
    (folder,) = moved.glob("checkpoints/*/l2=0.001-seed0")
    old = moved / "checkpoints" / "planted-quick-01234567" / "l2-seed0"
    for other in (old, folder.parent / "x"):
        shutil.copytree(folder, other)
    assert job.finish(moved) == 0
    assert tables(moved) == tables(finished)
    assert {path.stat().st_mtime for path in moved.rglob("*.pt")} == {2e9}
    line = f"exp_d_resolution_robustness.py --device cpu --run {old.parent.name}"
    assert job.finish(moved, line=line, log=tmp_path / "log") == 1
    assert "holds no run of experiment B" in one_error(tmp_path / "log")


def clock_that_jumps():
    """20 s whenever it is read; and a line per figure that is drawn."""
    clock, original = itertools.count(step=20), visualizer.save
    time.monotonic = lambda: next(clock)
    visualizer.save = lambda figure, path, kind: (
        print("drawn", path.name) or original(figure, path, kind)
    )


def test_drawing_takes_little_of_the_time(tmp_path):
    """Of nine epochs in three minutes, a drawing of which takes long, one is drawn; and the end."""
    assert job.finish(tmp_path / "results", before=clock_that_jumps, log=tmp_path / "log") == 0
    assert (tmp_path / "log").read_text().count("drawn .exp_b_spectrum_evolution.png") == 2
