"""Nothing lost: kills, damaged files, full disks, two processes, many processes."""

import functools
import itertools
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import job
import pandas as pd
import pytest
import torch
from conftest import tables
from matplotlib.figure import Figure
from torch.distributed.run import get_args_parser

from utils.runtime import files, results
from utils.training import checkpoints

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1"}


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
    draw = random.Random(0)
    survived = jobs = 0
    while survived < kills:
        jobs += 1
        results = tmp_path / f"results {jobs}"
        for _ in range(10):
            process = job.start(results)
            process.join(draw.uniform(0, 1))
            process.kill()
            process.join()
            assert process.exitcode in (0, -signal.SIGKILL)
            survived += process.exitcode != 0
        assert job.finish(results) == 0
        assert tables(results) == tables(finished)
        assert not temporary_files(results)
    print(f"{survived} kills survived in {jobs} jobs")


def test_killed_at_every_rename(tmp_path):
    """The n-th start is killed when it is about to rename its n-th file."""
    calm, results, one = tmp_path / "calm", tmp_path / "results", ("--configurations", "baseline")
    assert job.finish(calm, *one) == 0
    for n in itertools.count(1):
        code = job.finish(results, *one, before=job.DieAtRename(n), log=tmp_path / "log")
        if code == 0:
            break
        assert code == -signal.SIGKILL, (n, (tmp_path / "log").read_text())
    assert n > 15
    assert tables(results) == tables(calm)
    assert not temporary_files(results)


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


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def of_another_run(path):
    shutil.copy(path.parent.parent / "baseline-seed0" / "last.pt", path)


def of_another_setting(path):
    state = torch.load(path, weights_only=True)
    state["identity"] = f"planted-quick-01234567/{path.parent.name}"
    checkpoints.save(state, path)


def plain_pickle(path):
    path.write_bytes(pickle.dumps(Malice(path.parent / "executed")))


def signed_pickle(path):
    state = {"identity": f"{path.parent.parent.name}/l2=0.001-seed0"}
    checkpoints.save(state | {"epoch": Malice(path.parent / "executed")}, path)


DAMAGES = [
    truncate,
    empty,
    flip_a_bit,
    of_another_run,
    of_another_setting,
    plain_pickle,
    signed_pickle,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint(finished, copy, tmp_path, damage):
    """Named and set aside; the epoch before it is used; the end is the same."""
    results, folder = copy
    damage(folder / "last.pt")
    damaged = (folder / "last.pt").read_bytes()
    shutil.rmtree(results / "data")
    assert job.finish(results, log=tmp_path / "log") == 0
    log = (tmp_path / "log").read_text()
    assert re.search(r"l2=0.001-seed0/last.pt .*It is kept as last.pt.damaged-1", log)
    assert (folder / "last.pt.damaged-1").read_bytes() == damaged
    assert not (folder / "executed").exists()
    assert tables(results) == tables(finished)
    # Only the last epoch of this run was trained again.
    assert "2 of 3 here are finished" in log
    assert re.findall(r"(\S+) epoch (\d)/2:", log) == [("l2=0.001-seed0", "2")]


def test_no_generation_left(copy, tmp_path):
    results, folder = copy
    for name in ("last.pt", "previous.pt"):
        flip_a_bit(folder / name)
    before = tables(results)
    assert job.finish(results, log=tmp_path / "log") == 1
    log = (tmp_path / "log").read_text()
    assert "no undamaged last.pt or previous.pt" in log and "move the folder away" in log
    assert tables(results) == before
    assert len(list(folder.glob("*.damaged-1"))) == 2


def test_damaged_histories_are_made_anew(finished, copy):
    results, folder = copy
    originals = {}
    for name in ("history.csv", "spectra.csv", "autocorrelation.csv", "times.csv", "starts.csv"):
        originals[name] = (folder / name).read_bytes()
        (folder / name).write_bytes(b"configuration,seed\nl2,\xff")
    assert job.finish(results) == 0
    assert tables(results) == tables(finished)
    assert {name: (folder / name).read_bytes() for name in originals} == originals


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


def test_no_permission(tmp_path):
    results = tmp_path / "closed"
    results.mkdir()
    results.chmod(0o500)
    if os.access(results, os.W_OK):  # root may write anywhere, except in here
        results = "/proc/results"
    assert job.finish(results, log=tmp_path / "log") == 1
    assert re.search("cannot write .*(closed|/proc)", one_error(tmp_path / "log"))


@pytest.mark.parametrize("name", ["checkpoints", "figures", "data"])
def test_a_file_where_a_folder_should_be(tmp_path, name):
    results = tmp_path / "results"
    results.mkdir()
    (results / name).write_text("precious")
    assert job.finish(results, log=tmp_path / "log") == 1
    assert re.search(f"cannot write .*results/{name}/", one_error(tmp_path / "log"))
    assert (results / name).read_text() == "precious"
    assert not temporary_files(results)


def test_diverged_run(tmp_path):
    """The one run stops and is marked; the other is finished; the next start repeats it."""
    results = tmp_path / "results"
    wild = ("--configurations", "l2", "baseline", "--weight-decay", 1e5)
    for attempt in range(2):
        assert job.finish(results, *wild, log=tmp_path / "log") == 1
        log = (tmp_path / "log").read_text()
        found = re.search(
            r"error: l2=100000-seed0 diverged: .* step (\d+) in epoch (\d+) is not a "
            r"finite number \(LEARNING_RATE 0.1",
            log,
        )
        assert found, log
        assert "not finished" not in log  # the same command would not go on with it
        written = {p: p.stat().st_mtime_ns for p in results.rglob("*.pt")}
        if attempt == 0:
            first = written
        assert written == first  # nothing is trained again
        table = pd.read_csv(results / "data" / "exp_b_training.csv")
        marked = table[table.diverged.notna()]
        assert set(marked.configuration) == {"l2=100000"}
        assert marked.epoch.tolist() == [int(found[2])]
        assert f"step {found[1]} in epoch" in marked.diverged.item()
        assert table[table.configuration == "baseline"].epoch.tolist() == [0, 1, 2]
        ssr = pd.read_csv(results / "data" / "exp_b_ssr.csv")
        assert set(ssr.configuration) == {"baseline"}


def test_two_processes_and_a_dead_lock(finished, tmp_path):
    results = tmp_path / "results"
    first = job.start(results)
    wait_for(results, "checkpoints/*/baseline-seed0/epoch-000.pt", first.is_alive)
    os.kill(first.pid, signal.SIGSTOP)  # alive, and not finished before we look
    code = job.finish(results, log=tmp_path / "log")
    first.kill()
    first.join()
    assert code == 1
    error = one_error(tmp_path / "log")
    assert f"is in use by process {first.pid} on " in error
    assert re.search(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", error)
    assert list(results.glob("checkpoints/*/*/lock"))
    assert job.finish(results) == 0
    assert tables(results) == tables(finished)


def torchrun(ranks, results):
    """Two or more processes as a user would start them, in the foreground, for Ctrl-C.

    From torch 2.12 on, torchrun can be told to wait after one of its processes has died.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background
    options = ["--standalone", f"--nproc-per-node={ranks}"]
    if "--shutdown-timeout" in get_args_parser().format_help():
        options.append("--shutdown-timeout=200")
    launcher = [sys.executable, "-m", "torch.distributed.run", *options, job.__file__]
    return subprocess.Popen(
        [*launcher, *job.command(job.TINY, results)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def start_ranks(ranks, results, logs):
    """The processes alone, without torchrun and its time to start."""
    environments = job.environments(ranks)
    return [
        job.start(results, before=functools.partial(job.set_environment, environment), log=log)
        for environment, log in zip(environments, logs)
    ]


def logs_of(ranks, tmp_path):
    return [tmp_path / f"log {rank}" for rank in range(ranks)]


def test_two_processes_equal_one(finished, tmp_path):
    """Of torchrun: three runs."""
    process = torchrun(2, tmp_path / "results")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "shared by 2 processes" in output
    assert output.count("Written:") == 1
    assert tables(tmp_path / "results") == tables(finished)
    assert not temporary_files(tmp_path / "results")


def test_more_processes_than_runs(finished, tmp_path):
    logs = logs_of(4, tmp_path)
    for process in start_ranks(4, tmp_path / "results", logs):
        process.join(200)
        assert process.exitcode == 0
    texts = [log.read_text() for log in logs]
    assert "shared by 4 processes" in texts[0] and texts[0].count("Written:") == 1
    assert not any(texts[1:])
    assert tables(tmp_path / "results") == tables(finished)


def die(results, dead, alive):
    """Kill the process that holds a run, after its first checkpoint."""
    wait_for(results, f"checkpoints/*/{dead}-seed0/epoch-000.pt", alive)
    (lock,) = results.glob(f"checkpoints/*/{dead}-seed0/lock")
    os.kill(int(re.match(r"process (\d+) ", lock.read_text())[1]), signal.SIGKILL)


def check_the_rest(results, finished, alive):
    """Runs of other processes are finished and not trained again; the next start does the rest."""
    kept = {}
    for path in results.glob(f"checkpoints/*/[{alive}]*/*.pt"):
        kept[path] = path.stat().st_mtime_ns
    assert len(kept) == 5 * len(alive)  # three epochs and two generations each
    assert job.finish(results) == 0
    assert tables(results) == tables(finished)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_a_dead_process_of_torchrun(finished, tmp_path):
    """It is reported, the other finishes its runs, the next start does what is missing."""
    results = tmp_path / "results"
    process = torchrun(2, results)
    die(results, "l2=0.001", lambda: process.poll() is None)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "another process ended before its runs were finished" in output
    assert "not finished: l2=0.001-seed0; the same command goes on" in output
    check_the_rest(results, finished, "bd")


def test_the_first_process_dies(finished, tmp_path):
    """The one that the others meet at; these ignore torchrun's request to stop."""
    results, logs = tmp_path / "results", logs_of(3, tmp_path)
    first, *others = start_ranks(3, results, logs)
    die(results, "baseline", first.is_alive)
    first.join()
    for process, name in zip(others, ("l2=0.001", "dropout=0.5")):
        wait_for(results, f"checkpoints/*/{name}-seed0/epoch-000.pt", process.is_alive)
        process.terminate()
    for process, log in zip(others, logs[1:]):
        process.join(200)
        assert process.exitcode == 1
        assert "another process ended before its runs were finished" in one_error(log)
    check_the_rest(results, finished, "ld")


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
    presses = 0
    while process.is_alive():  # a library can lose the first: once in 400 trials
        os.kill(process.pid, signal.SIGINT)
        presses += 1
        process.join(2)
    seconds = time.perf_counter() - start
    print(f"{seconds:.1f} s after Ctrl-C, pressed {presses} times")
    assert seconds < 5  # 1 s, and some for a busy machine
    log = (tmp_path / "log").read_text()
    assert log.rstrip().endswith(STOPPED)
    assert process.exitcode == 1 and "cannot write" not in log and "Traceback" not in log


def test_control_c_under_torchrun(finished, tmp_path):
    results = tmp_path / "results"
    process = torchrun(2, results)
    wait_for(results, "checkpoints/*/baseline-seed0/epoch-001.pt", lambda: process.poll() is None)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=100)
    assert STOPPED in output
    assert process.returncode != 0 and "cannot write" not in output
    assert job.finish(results) == 0
    assert tables(results) == tables(finished)


def test_odd_places(finished, tmp_path):
    """Spaces and other alphabets, a symbolic link, a move, a clock set back."""
    far = tmp_path / "far away"
    far.mkdir()
    place = tmp_path / "Ünï cödé 数据"
    place.mkdir()
    (place / "results").symlink_to(far)
    assert job.finish("results", before=functools.partial(os.chdir, place)) == 0
    assert tables(far) == tables(finished)
    assert (place / "results").is_symlink()

    moved = tmp_path / "moved"
    archive = shutil.make_archive(tmp_path / "far", "zip", far)
    shutil.unpack_archive(archive, moved)
    for path in moved.rglob("*.pt"):
        os.utime(path, (2e9, 2e9))  # written in 2033
    shutil.rmtree(moved / "data")
    assert job.finish(moved) == 0
    assert tables(moved) == tables(finished)
    assert {path.stat().st_mtime for path in moved.rglob("*.pt")} == {2e9}


def test_folders_of_another_version_and_strays_are_left_alone(copy, tmp_path):
    results, folder = copy
    old = results / "checkpoints" / "planted-quick-01234567" / "l2-seed0"
    stray = folder.parent / "notes"
    for place in (old, stray):
        shutil.copytree(folder, place)
    before = {path: path.read_bytes() for place in (old, stray) for path in place.iterdir()}
    assert job.finish(results, log=tmp_path / "log") == 0
    few = "exp_d_resolution_robustness.py --device cpu --resolutions 32 --blur-sizes 0 "
    few += "--low-pass-cutoffs 0.75 --high-pass-cutoffs 0.1 --run"
    for run, code in ((folder.parent.name, 0), (old.parent.name, 1)):
        assert job.finish(results, line=f"{few} {run}", log=tmp_path / "log") == code
    assert "holds no run of experiment B" in one_error(tmp_path / "log")
    assert {path: path.read_bytes() for path in before} == before


def test_two_figures_at_once_do_not_mix(tmp_path):
    path = tmp_path / "figures" / "x.png"
    figures = [Figure(figsize=(3, 3)) for _ in range(2)]
    figures[1].subplots().plot([0, 1])
    contents = []
    for figure in figures:
        contents.append(results.write_figure(path, figure).read_bytes())

    def draw(figure):
        for _ in range(10):
            results.write_figure(path, figure)

    threads = [threading.Thread(target=draw, args=(figure,)) for figure in figures]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in contents
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["x.png"]


def test_cleaning_spares_files_that_are_being_written(tmp_path):
    """Other threads write and clean without a pause; a dead writer's file goes."""
    (tmp_path / ".x.csv.tmp-1234.csv").write_text("left by a killed process")
    os.utime(tmp_path / ".x.csv.tmp-1234.csv", (0, 0))
    stop, errors = threading.Event(), []

    def repeat(action):
        try:
            while not stop.is_set():
                action()
        except OSError as error:
            errors.append(error)

    def write():
        with files.replacing(tmp_path / "x.csv") as temporary:
            temporary.write_text("whole")

    actions = [write, write, lambda: files.clean(tmp_path)]
    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    time.sleep(2)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "whole"


def test_checkpoints_are_plain_torch_files(tmp_path):
    """`torch.load` reads them without this project."""
    state = {"identity": "a/b", "model": {"weight": torch.arange(3.0)}}
    checkpoints.save(state, tmp_path / "x.pt")
    loaded = torch.load(tmp_path / "x.pt", weights_only=True)
    assert torch.equal(loaded["model"]["weight"], torch.arange(3.0))
    assert checkpoints.load(tmp_path / "x.pt", "a/b").keys() == state.keys()
    with pytest.raises(checkpoints.CheckpointError, match="belongs to a/b, not to a/c"):
        checkpoints.load(tmp_path / "x.pt", "a/c")
    with pytest.raises(checkpoints.CheckpointError, match="y.pt is missing"):
        checkpoints.load(tmp_path / "y.pt", "a/b")
