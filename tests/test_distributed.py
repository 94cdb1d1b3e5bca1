"""Many processes at once: a lock, a job array, torchrun, and what becomes of those that die."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
from unittest import mock

import job
import pytest
import test_robustness
from conftest import tables
from test_robustness import STOPPED, one_error, temporary_files, wait_for
from torch.distributed.run import get_args_parser

from utils.runtime import distributed, script

finished = test_robustness.finished  # the fixture
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "DISPLAY"}
ENVIRONMENT |= {"OMP_NUM_THREADS": "1"}


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
    assert job.finish(results) == 0
    assert tables(results) == tables(finished)


def test_a_job_array(tmp_path):
    """Starts of one job at once, some of them twice: the tables and latest.json of the last are
    those of a single start of all."""
    few = ("--epochs", 1, "--width", 2, "--configurations")
    one, results = tmp_path / "one", tmp_path / "results"
    assert job.finish(one, *few, "baseline", "l2", "--seeds", 0, 1) == 0
    parts = [("l2", "baseline", "--seeds", 1), ("l2", "--seeds", 0), ("baseline", "--seeds", 0)]
    parts, logs = [*parts, parts[0]], [tmp_path / f"log {i}" for i in range(4)]
    started = [job.start(results, *few, *part, log=log) for part, log in zip(parts, logs)]
    for process, log in zip(started, logs):
        process.join(200)
        assert process.exitcode == 0 or "is in use by process" in one_error(log)
        assert "Traceback" not in log.read_text()
    assert tables(results) == tables(one)
    latest = [place / "checkpoints" / "latest.json" for place in (results, one)]
    assert latest[0].read_text() == latest[1].read_text()
    written = json.loads((results / "data" / "exp_b_settings.json").read_text())["settings"]
    assert written["seeds"] == [0, 1] and written["configurations"] == ["baseline", "l2=0.001"]


def test_the_latest_start_is_killed(tmp_path):
    """Right after it began: latest.json names what others have finished, too."""
    few = ("--epochs", 1, "--width", 2, "--configurations", "baseline", "--seeds")
    assert job.finish(tmp_path, *few, 0) == 0
    assert job.finish(tmp_path, *few, 1, before=job.DieAtRename(2)) == -signal.SIGKILL
    assert json.loads((tmp_path / "checkpoints" / "latest.json").read_text())["seeds"] == [0, 1]


@pytest.mark.parametrize(
    "environment, found",
    [
        ({"RANK": "1", "WORLD_SIZE": "1", "LOCAL_RANK": "1"}, (0, 1)),
        ({"RANK": "x", "WORLD_SIZE": ""}, (0, 1)),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE '2', .*MASTER_ADDR None.*unset WORLD_SIZE"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE 'two', "),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "WORLD_SIZE '2', RANK '2'"),
    ],
)
def test_variables_of_a_launcher(monkeypatch, environment, found):
    """Without a WORLD_SIZE above 1 there is one process."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if "RANK" in environment:
        monkeypatch.setenv("MASTER_ADDR", "localhost")
        monkeypatch.setenv("MASTER_PORT", "1")
    if isinstance(found, str):
        for work in (distributed.connect, lambda: distributed.alone("it")):
            with pytest.raises(OSError, match=found):
                work()
    else:
        distributed.alone("it")
        distributed.connect()
        assert (distributed.RANK, distributed.WORLD) == found


def test_nobody_is_there(tmp_path):
    """The address of the first process is another program's."""
    with job.socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        rank = job.environments(2)[0] | {"MASTER_PORT": str(other.getsockname()[1])}
        with mock.patch.dict(os.environ, rank), pytest.raises(OSError, match="are not found"):
            distributed.connect()
    distributed.RANK, distributed.WORLD = 0, 1


def meet(environment, folder, failing):
    """One of several processes that look for data, of which one may fail."""
    os.environ.update(environment)
    job.write_to(folder / f"log {environment['RANK']}")

    def work(choice):
        if distributed.RANK == failing:
            raise OSError("no data")
        return ("cifar10" if distributed.RANK == 0 else choice), distributed.RANK

    def main():
        distributed.connect()
        print(distributed.rank_zero_first(work, "auto"), distributed.wait_for_others())

    script.run(main)


@pytest.mark.parametrize("failing", [None, 2])
def test_one_rank_finds_the_data_for_all(tmp_path, failing):
    """Of three processes on two machines the others take no choice of their own; where one fails,
    it says so in one line and the others end."""
    machines = job.environments(3)
    machines[2]["LOCAL_RANK"] = "0"
    started = [job.begin(meet, environment, tmp_path, failing) for environment in machines]
    for process in started:
        process.join(100)
        assert process.exitcode == (0 if failing is None else 1)
    for rank in range(3):
        said = f"('cifar10', {rank}) \n" if failing is None else ""
        said = "error: no data\n" if rank == failing else said
        assert (tmp_path / f"log {rank}").read_text() == said


def torchrun(ranks, results):
    """Two or more processes as a user would start them, in the foreground, for Ctrl-C.

    From torch 2.12 on, torchrun can be told to wait after one of its processes has died.
    """
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


def test_two_processes_equal_one(finished, tmp_path):
    """Of torchrun: three runs."""
    process = torchrun(2, tmp_path / "results")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert "shared by 2 processes" in output
    assert output.count("Written:") == 1
    assert tables(tmp_path / "results") == tables(finished)
    assert not temporary_files(tmp_path / "results")


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


def test_the_first_of_more_processes_than_runs_dies(finished, tmp_path):
    """The one that the others meet at; these ignore torchrun's request to stop."""
    results, logs = tmp_path / "results", [tmp_path / f"log {rank}" for rank in range(4)]
    first, *others = (
        job.start(results, before=functools.partial(job.set_environment, environment), log=log)
        for environment, log in zip(job.environments(4), logs)
    )
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


def test_control_c_under_torchrun(tmp_path):
    results = tmp_path / "results"
    process = torchrun(2, results)
    wait_for(results, "checkpoints/*/baseline-seed0/epoch-001.pt", lambda: process.poll() is None)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output, _ = process.communicate(timeout=100)
    assert STOPPED in output
    assert process.returncode != 0 and "cannot write" not in output
