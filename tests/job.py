"""Experiment B started in a process that has imported everything already, and can be killed.

`multiprocessing`'s fork server imports this module once; each start then takes no time, so
every moment at which a process is killed lies in its work.
"""

import multiprocessing
import os
import runpy
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SCRIPT = ROOT / "experiments" / "exp_b_spectrum_evolution.py"
TINY = [
    "--dataset",
    "planted",
    "--scale",
    "quick",
    "--device",
    "cpu",
    "--width",
    "4",
    "--epochs",
    "2",
    "--seeds",
    "0",
    "--train-images",
    "64",
    "--test-images",
    "30",
    "--batch-size",
    "16",
    "--checkpoint-every",
    "1",
]

if multiprocessing.parent_process():  # in the fork server and what it starts
    from matplotlib.figure import Figure

    from utils import checkpoints, runs, settings, statistics, training, visualizer  # noqa: F401


def start(results, *arguments, before=None, log=os.devnull):
    """Begin experiment B; returns the process. `before` is called in it first."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["job"])
    line = [str(SCRIPT), *TINY, "--results-dir", str(results), *map(str, arguments)]
    process = context.Process(target=_run, args=(line, before, str(log)))
    process.start()
    return process


def finish(results, *arguments, before=None, log=os.devnull) -> int:
    """Run experiment B to its end; returns the exit code."""
    process = start(results, *arguments, before=before, log=log)
    process.join(100)
    assert process.exitcode is not None, "hangs"
    return process.exitcode


def _run(line, before, log):
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = line
    if before:
        before()
    runpy.run_path(line[0], run_name="__main__")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_inside_a_checkpoint() -> None:
    """After the content of the third checkpoint is written, before its digest."""
    original, calls = checkpoints.hashlib.sha256, []

    def sha256(*content):
        calls.append(1)
        if len(calls) == 3:
            die()
        return original(*content)

    checkpoints.hashlib.sha256 = sha256


def die_between_generations() -> None:
    """When last.pt is already previous.pt and its successor is not written."""
    original = checkpoints.save

    def save(state, path):
        if path.name == "last.pt" and state["epoch"] == 1:
            die()
        original(state, path)

    checkpoints.save = save


def die_before_a_rename() -> None:
    """When a file is complete, but still under its temporary name."""
    calls = []

    def fsync(_):
        calls.append(1)
        if len(calls) == 9:
            die()

    os.fsync = fsync


def die_inside_a_figure() -> None:
    """When half of the fourth picture is written."""
    calls = []
    original = Figure.savefig

    def savefig(self, path, **options):
        original(self, path, **options)
        calls.append(1)
        if len(calls) == 4:
            Path(path).write_bytes(Path(path).read_bytes()[:1000])
            die()

    Figure.savefig = savefig


def small_files_only() -> None:
    """Writing more than 20 kB to a file fails, as on a full disk."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
