"""A script, started in a process that has imported everything and can be killed.

`multiprocessing`'s fork server imports the libraries once. Each start then takes no time, so
that nearly every moment at which a process is killed lies in its work.
"""

import functools
import hashlib
import inspect
import itertools
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
TINY = "exp_b_spectrum_evolution.py --dataset planted --scale quick --device cpu --seeds 0 "
TINY += "--width 4 --epochs 2 --train-images 64 --test-images 30 --batch-size 16"
PRELOADED = ["matplotlib.backends.backend_agg", "pandas", "job", "data.datasets"]
PRELOADED += ["utils.training.loop", "utils.figures.exp_a", "utils.figures.exp_b"]
PRELOADED += ["utils.figures.exp_b_ssr", "utils.figures.exp_c_d", "torch._dynamo"]


def command(line, results, *arguments) -> list[str]:
    """The script of a line and its arguments, as `sys.argv` has them."""
    script, *flags = line.split()
    line = [ROOT / "experiments" / script, *flags, "--results-dir", results, *arguments]
    return [str(word) for word in line]


def start(results, *arguments, line=TINY, before=None, log=os.devnull, pictures=False):
    """Begin a script, by default B; returns the process. `before` is called in it first.

    Drawing takes most of the time of a tiny job and is left out unless `pictures`.
    """
    return begin(_run, command(line, results, *arguments), before, str(log), pictures)


def begin(target, *arguments):
    """Call a function of a module in a process of its own, which is returned."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=target, args=arguments)
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT)])
    server = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    with mock.patch.dict(os.environ, server):  # the first start starts the server
        process.start()
    return process


def finish(results, *arguments, **options) -> int:
    """Run a script to its end; returns the exit code. Options as `start`."""
    process = start(results, *arguments, **options)
    process.join(200)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("hangs")
    return process.exitcode


def environments(ranks) -> list[dict]:
    """What torchrun tells each of its processes on one machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [shared | dict.fromkeys(["RANK", "LOCAL_RANK"], str(rank)) for rank in range(ranks)]


def set_environment(values: dict) -> None:
    os.environ.update(values)


def as_a_user(line, results, *arguments, **environment) -> subprocess.CompletedProcess:
    """Run a script as a user would, in the folder that gets results/."""
    return run([sys.executable, *command(line, results, *arguments)], results.parent, **environment)


def run(words, folder, **environment) -> subprocess.CompletedProcess:
    """A command in a folder, to its end, and what it printed."""
    options = {"env": os.environ | environment, "capture_output": True, "text": True}
    return subprocess.run(words, cwd=folder, check=False, timeout=300, **options)


def write_to(log) -> None:
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def without_pictures() -> None:
    """Every figure is empty, and its file a few bytes."""
    from matplotlib.figure import Figure

    from utils import visualizer
    from utils.figures import exp_a, exp_b, exp_b_ssr, exp_c_d

    for module in (exp_a, exp_b, exp_b_ssr, exp_c_d):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and name[0] != "_":
                empty = functools.wraps(function)(lambda *_, **__: Figure())
                setattr(module, name, empty)
    visualizer.save = lambda figure, path, *_: path.write_bytes(b"picture")


def _run(line, before, log, pictures):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs
    write_to(log)
    sys.argv = line
    if not pictures:
        without_pictures()
    if before:
        before()
    runpy.run_path(line[0], run_name="__main__")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DieAtRename:
    """Die when the n-th file is complete but still has its old or temporary name."""

    def __init__(self, n: int):
        self.left = n

    def __call__(self):
        original = Path.replace

        def replace(path, target):
            self.left -= 1
            if self.left == 0:
                die()
            return original(path, target)

        Path.replace = replace


def die_inside_a_checkpoint() -> None:
    """When the first last.pt, the second checkpoint, is written but for its SHA-256."""
    from utils.training import checkpoints

    calls = itertools.count(1)
    sha256 = lambda content: die() if next(calls) == 2 else hashlib.sha256(content)
    checkpoints.hashlib = SimpleNamespace(sha256=sha256)


def die_inside_a_figure() -> None:
    """When half of the fourth picture is written."""
    from utils import visualizer

    calls = itertools.count(1)

    def save(_, path, *options):
        path.write_bytes(b"half a picture")
        if next(calls) == 4:
            die()

    visualizer.save = save


def write_only_under_a_lock() -> None:
    """Results may be written only while no other start can lock their folder."""
    from utils.runtime import files, results

    original = results.write

    def write(settings, *arguments, **named):
        try:
            files.lock(Path(settings.results_dir) / "lock")
        except OSError:
            return original(settings, *arguments, **named)
        raise AssertionError("results are written without a lock")

    results.write = write


def small_files_only() -> None:
    """Writing more than 20 kB to a file fails, as on a full disk."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    without_pictures()
    runpy.run_path(sys.argv[0], run_name="__main__")
