"""Many processes at once: a lock, a job array, torchrun, and what becomes of those that die."""

import functools
import json
import os
import re
import signal
import sys
from unittest import mock

import job
import pytest
import test_robustness
from conftest import ROOT, tables
from test_robustness import STOPPED, one_error, temporary_files, wait_for

from utils.runtime import distributed, script

finished = test_robustness.finished  # the fixture


def test_two_processes_and_a_dead_lock(finished, tmp_path):
    results = tmp_path / "results"
    first = job.start(results)
    wait_for(results, "checkpoints/*/baseline-seed0/epoch-000.pt", first.is_alive)
    os.kill(first.pid, signal.SIGSTOP)  # alive, and not finished before we look
    code = job.finish(results, log=tmp_path / "log")
    first.kill()
    first.join()
    holder = rf"is in use by process {first.pid} on .* since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert code == 1 and re.search(holder, one_error(tmp_path / "log"))
    assert job.finish(results) == 0
    assert tables(results) == tables(finished)


def test_a_job_array(tmp_path):
    """Starts of one job at once, two of them alike: the tables and latest.json of the last are those
    of a single start of all. The next one is killed at once, and latest.json names all."""
    few = ("--epochs", 1, "--width", 2, "--configurations")
    one, results = tmp_path / "one", tmp_path / "results"
    assert job.finish(one, *few, "baseline", "l2", "--seeds", 0, 1) == 0
    parts = [("l2", "baseline", "--seeds", 1), ("l2", "baseline", "--seeds", 0)]
    parts, logs = [*parts, parts[0]], [tmp_path / f"log {i}" for i in range(3)]
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
    next_one = (*few, "baseline", "--seeds", 2)
    assert job.finish(results, *next_one, before=job.DieAtRename(2)) == -signal.SIGKILL
    assert json.loads(latest[0].read_text())["seeds"] == [0, 1, 2]


def test_variables_of_a_launcher():
    """Without a WORLD_SIZE above 1 there is one process; nobody may be at the address."""
    names = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
    rest = {name: value for name, value in os.environ.items() if name not in names}
    address = {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for environment in ({"RANK": "1", "WORLD_SIZE": "1"}, {"RANK": "x", "WORLD_SIZE": ""}):
        with mock.patch.dict(os.environ, rest | address | environment, clear=True):
            distributed.alone("it")
            distributed.connect()
            assert (distributed.RANK, distributed.WORLD) == (0, 1)
    for environment, said in (
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE '2', .*MASTER_ADDR None.*unset WORLD_SIZE"),
        (address | {"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE 'two', "),
        (address | {"WORLD_SIZE": "2", "RANK": "2"}, "WORLD_SIZE '2', RANK '2'"),
    ):
        for work in (distributed.connect, lambda: distributed.alone("it")):
            launched = mock.patch.dict(os.environ, rest | environment, clear=True)
            with launched, pytest.raises(OSError, match=said):
                work()
    with job.socket.socket() as other:  # another program's
        other.bind(("localhost", 0))
        other.listen()
        rank = job.environments(2)[0] | {"MASTER_PORT": str(other.getsockname()[1])}
        with mock.patch.dict(os.environ, rank):
            with pytest.raises(OSError, match="is the work of one process"):
                distributed.alone("it")
            with pytest.raises(OSError, match="are not found"):
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
    for rank, process in enumerate(started):
        process.join(100)
        assert process.exitcode == (0 if failing is None else 1)
        said = f"('cifar10', {rank}) \n" if failing is None else ""
        said = "error: no data\n" if rank == failing else said
        assert (tmp_path / f"log {rank}").read_text() == said


def start_ranks(count, results) -> dict:
    """Processes as torchrun starts them, without it, and their logs."""
    started = {}
    for rank, environment in enumerate(job.environments(count)):
        log = results.parent / f"log {rank}"
        before = functools.partial(job.set_environment, environment)
        started[job.start(results, before=before, log=log)] = log
    return started


def test_two_processes_equal_one(finished, tmp_path):
    """Three runs, begun by two processes and stopped by Ctrl-C in a terminal, where torchrun asks
    them to stop, too; finished by two of torchrun, with the tables of one."""
    results = tmp_path / "results"
    processes = start_ranks(2, results)
    wait_for(results, "checkpoints/*/baseline-seed0/epoch-001.pt", lambda: True)
    while any(process.is_alive() for process in processes):  # a library can lose the first
        for process in filter(lambda process: process.is_alive(), processes):
            os.kill(process.pid, signal.SIGINT)
            process.terminate()
        for process in processes:
            process.join(2)
    for process, log in processes.items():
        assert process.exitcode == 1
        assert log.read_text().rstrip().endswith(STOPPED) and "cannot write" not in log.read_text()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc-per-node=2", job.__file__, *job.command(job.TINY, results)]
    done = job.run(launcher, ROOT, OMP_NUM_THREADS="1", DISPLAY="")
    assert done.returncode == 0, done.stderr
    assert "shared by 2 processes" in done.stdout and done.stdout.count("Written:") == 1
    assert tables(results) == tables(finished) and not temporary_files(results)


@pytest.mark.parametrize("ranks, dead", [(4, "baseline"), (2, "l2=0.001")])
def test_a_process_dies(finished, tmp_path, ranks, dead):
    """The one that the others meet at, or another; more than there are runs. It is reported, and
    torchrun's request to stop ignored; the others finish, and the next start does only the rest."""
    results, names = tmp_path / "results", ["baseline", "l2=0.001", "dropout=0.5"]
    processes = start_ranks(ranks, results)
    by_run = dict(zip(names, [*processes, *processes]))
    for name in (dead, *names[:ranks]):
        wait_for(results, f"checkpoints/*/{name}-seed0/epoch-000.pt", by_run[name].is_alive)
        by_run[name].kill() if name == dead else by_run[name].terminate()
    by_run[dead].join()
    lost = f"not finished: {dead}-seed0; the same command goes on"
    for process, log in processes.items():
        process.join(200)
        if process != by_run[dead]:
            assert process.exitcode == 1 and "Traceback" not in log.read_text()
            assert "another process ended before its runs were finished" in log.read_text()
    assert ranks == 4 or lost in next(iter(processes.values())).read_text()
    kept = {
        path: path.stat().st_mtime_ns
        for path in results.glob("checkpoints/*/*/*.pt")
        if path.parent.name != f"{dead}-seed0"
    }
    assert len(kept) == 5 * 2  # of two runs, three epochs and two generations each
    assert job.finish(results) == 0
    assert tables(results) == tables(finished)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
