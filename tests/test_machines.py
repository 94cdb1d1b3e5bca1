"""Other machines: disks without locks, Windows, notebooks, old Pythons, plain terminals."""

import ast
import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import job
import pytest
import test_training
import torch
from conftest import ROOT, tables

from data import planted
from data.images import Normalize
from utils.runtime import devices, provenance, script
from utils.training import evaluation, runs
from utils.training import loop as training

A = "exp_a_synthetic.py --steps 6 --seeds 0 1 --width 8 --records 3"
SCRIPTS = sorted((ROOT / "experiments").glob("*.py"))


HOSTILE = """text.usetex: True
font.family: serif
font.size: 30
figure.dpi: 31
savefig.dpi: 32
savefig.bbox: tight
savefig.transparent: True
figure.facecolor: red
axes.prop_cycle: cycler(color=["k"])
image.cmap: gray
path.sketch: 1, 100, 2
lines.linewidth: 9
backend: module://nowhere
interactive: True
toolbar: None
nonsense.key: 3
lines.color: much too much: # H\xf6he
"""


def test_figures_are_the_same_everywhere(tmp_path):
    """Under a notebook's backend and a matplotlibrc of the user's, byte for byte."""
    results = tmp_path / "results"
    assert job.finish(results, line=A, pictures=True) == 0
    (tmp_path / "matplotlibrc").write_text(HOSTILE, "latin-1")
    (results / "matplotlibrc").write_text(HOSTILE, "utf-8")
    named = dict.fromkeys(["MATPLOTLIBRC", "MPLCONFIGDIR"], str(tmp_path))
    for place, environment in ((tmp_path / "elsewhere", named), (results, {})):
        again = place / "tables"  # matplotlib looks into the current folder first: `place`
        shutil.copytree(results / "data", again)
        environment["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
        process = job.as_a_user(f"exp_a_synthetic.py --redraw {again}", again, **environment)
        assert process.returncode == 0, process.stderr
        assert place == results or process.stderr == ""
        figures = list((results / "figures").iterdir())
        assert len(figures) == 4
        for figure in figures:
            assert (again / "figures" / figure.name).read_bytes() == figure.read_bytes()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_older_pythons_get_a_sentence(script, tmp_path):
    """What Python 3.8 must read to say it, it can read; imports before that are its own. Nothing
    is a syntax error in 3.9."""
    for path in (script, ROOT / "utils" / "__init__.py"):
        ast.parse(path.read_text("utf-8"), feature_version=(3, 8))
    for path in ROOT.glob("[demu]*/*.py"):
        ast.parse(path.read_text("utf-8"), feature_version=(3, 9))
    old = "import runpy, sys; sys.version_info = (3, 9, 18, 'final', 0); sys.argv[:1] = []; "
    old += "sys.modules |= dict.fromkeys(['torch', 'pandas', 'numpy']); runpy.run_path(sys.argv[0])"
    process = subprocess.run(
        [sys.executable, "-c", old, str(script)],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert re.fullmatch("error: .*Python.* 3.10 .*\n", process.stderr), process.stderr


@pytest.mark.parametrize("encoding", ["ascii", "koi8-r", "cp1252", "utf-8"])
def test_terminals(monkeypatch, encoding):
    """Everything is printed; where the terminal has no sign for ±, as +-."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in "ab"]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    script.mend_streams()

    def main():
        print("94.46 ± 0.21 ±", "Ünï 数据", os.fsdecode(b"\xff"))
        raise OSError("数据 ± 0.21")

    with pytest.raises(SystemExit) as end:
        script.run(main)
    print(end.value, file=sys.stderr)  # as Python does at its end
    monkeypatch.undo()
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)
    sign = "±" if encoding in ("cp1252", "utf-8") else "+-"
    assert out.startswith(f"94.46 {sign} 0.21 {sign} ") and out.count("\n") == 1
    name = "数据" if encoding == "utf-8" else r"\u6570\u636e"
    assert f"{name} \\udcff\n" in out
    assert err == f"error: {name} {sign} 0.21\n"


def test_out_of_memory_is_one_line(capsys):
    """The CPU's allocator and a GPU's raise RuntimeErrors; others are faults, with a trace."""
    torches = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")
    cublas = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate")
    gpus = torch.cuda.OutOfMemoryError("CUDA out of memory.")
    for error in (torches, cublas, gpus, MemoryError()):

        def main(error=error):
            raise error

        with pytest.raises(SystemExit) as end:
            script.run(main)
        assert re.search("out of memory.*BATCH_SIZE.*WIDTH", end.value.code)

    for error in (RuntimeError("shapes do not match"), NotImplementedError("aten::x on MPS")):

        def broken(error=error):
            raise error

        with pytest.raises(type(error)):
            script.run(broken)


def test_evaluation_takes_smaller_batches_where_memory_is_short():
    """A model that takes 5 images at most: the same result as in one batch."""
    images = planted.image_set(23, 0, 1, 1)
    sizes, failed = [], []

    class Small(torch.nn.Module):
        def forward(self, x):
            assert not any(batch() is not None for batch in failed)  # its memory is free again
            sizes.append(len(x))
            if len(x) > 5:
                failed.append(weakref.ref(x))
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return x.flatten(1)[:, :10]

    loss, accuracy = evaluation.evaluate(Small(), images)
    assert max(sizes[-6:]) <= 5
    logits = Normalize(images)(images.images / 255).flatten(1)[:, :10]
    expected = -torch.log_softmax(logits.double(), 1)[torch.arange(23), images.labels].mean()
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert accuracy == pytest.approx(
        100 * float((logits.argmax(1) == images.labels).double().mean())
    )


@pytest.fixture
def plan(monkeypatch, capsys):
    """Function of device and precision -> what experiment B says before a job of some runs."""
    line = job.command(f"{job.TINY} --seeds 0 1 --configurations baseline l2", "a folder")
    spec = importlib.util.spec_from_file_location("exp_b", line[0])
    spec.loader.exec_module(exp_b := importlib.util.module_from_spec(spec))
    monkeypatch.setattr(sys, "argv", line)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    some = [runs.Run(name, seed) for name in ("baseline", "l2=0.001") for seed in (0, 1)]

    def say(count=1, device="cpu", precision="float32", cores=2, load=0.0):
        found = set(range(cores))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: found, raising=False)
        average = mock.Mock(return_value=(load, 0, 0))
        monkeypatch.setattr(os, "getloadavg", average, raising=False)
        if load is None:
            monkeypatch.delattr(os, "getloadavg")
        sizes = {"width": 4, "epochs": 2, "batch_size": 16, "train_images": 64, "test_images": 30}
        s = SimpleNamespace(**sizes, precision=precision)
        labels, start = {"dataset": "", "scale": ""}, {"device": device, "processor": ""}
        states = {run: {"epoch": 0} for run in some[:count]}
        where = torch.device(device)
        exp_b.say_plan(s, labels, "", some[:count], states, Path("x"), start, where)
        return capsys.readouterr().out

    return say


@pytest.mark.parametrize("cores, count, said", [(8, 4, True), (3, 4, False), (8, 1, False)])
def test_many_cores_are_told_of(plan, cores, count, said):
    """With four runs and eight cores, a torchrun line with this job's own flags."""
    text = plan(count, cores=cores)
    expected = "torchrun --nproc-per-node=4 .*--seeds 0 1 --configurations baseline l2 .* 8 cores"
    assert bool(re.search(expected, text)) == said == ("torchrun" in text), text


@pytest.mark.parametrize(
    "cores, load, device, threads",
    [(2, 1.1, "cpu", 1), (2, 9.0, "cpu", 1), (4, 2.8, "cpu", 1), (4, 1.0, "cpu", None)]
    + [(2, 0.3, "cpu", None), (2, 1.1, "meta", None), (2, None, "cpu", None)],
)
def test_busy_cores_are_told_of(plan, cores, load, device, threads):
    """Two threads beside others: a line with as many threads as cores are free, at least one."""
    text = plan(device=device, cores=cores, load=load)
    line = rf"Busy .*: OMP_NUM_THREADS={threads} python .*--configurations baseline l2 .*'a folder'"
    assert bool(re.search(line, text)) == (threads is not None) == ("Busy" in text), text


def test_bfloat16_without_matrix_units_is_told_of(plan, monkeypatch):
    for told, precision, said in ((0, "bfloat16", 1), (0, "float32", 0), (1, "bfloat16", 0)):
        capabilities = {"amx_bf16": bool(told)}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert ("usually slower than float32" in plan(precision=precision)) == bool(said)


def test_a_device_without_float64(monkeypatch, tmp_path):
    """Training, evaluation and records never ask for float64 where a tensor may be on Apple's
    GPU; there neither for channels last nor for a fused optimiser."""

    def refuse(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(torch.Tensor, "double", refuse)
    sets = planted.load(40, 10)
    assert list(test_training.train("l2=0.05", sets, tmp_path)) == [0, 1, 2]

    asked = []
    real = torch.optim.SGD
    monkeypatch.setattr(torch.optim, "SGD", lambda *a, **o: asked.append(o) or real(*a, **o))
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *a, **o: asked.append(o) or self)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    device = devices.choose_device("mps")
    training.build(runs.Run("baseline", 0), test_training.SETTINGS, device)
    assert asked[0] == {"memory_format": torch.contiguous_format} and asked[1]["fused"] is False
    assert devices.memory_format(torch.device("cpu")) is torch.channels_last


def test_auto_takes_no_apple_gpu_but_names_it(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.choose_device("auto") == torch.device("cpu")
    printed = capsys.readouterr().out
    assert "--device mps" in printed and printed.count("\n") == 1
    with pytest.raises(OSError, match="DEVICE is cuda:1"):
        devices.choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(OSError, match="DEVICE is cuda:2"):
        devices.choose_device("cuda:2")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert devices.choose_device("auto") == torch.device("cuda:1")


@pytest.mark.parametrize("capability, fast", [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bfloat16_only_where_the_gpu_computes_in_it(monkeypatch, capability, fast):
    asked = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch, "autocast", lambda *a, enabled: asked.append(enabled))
    gpu = torch.device("cuda:0")
    devices.autocast(gpu, devices.choose_precision("auto", gpu))
    assert asked == [fast]


@pytest.mark.parametrize("told, there", [({"amx_bf16": True}, True), ({"amx_bf16": False}, False)])
def test_bfloat16_only_on_processors_with_matrix_units(monkeypatch, told, there):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert devices.choose_precision("auto", cpu) == ("bfloat16" if there else "float32")
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # older versions of torch
    assert devices.choose_precision("auto", cpu) == "float32"
    assert devices.choose_precision("bfloat16", cpu) == "bfloat16"


def test_streams_that_are_no_files(monkeypatch):
    """A notebook's, or what a test puts there."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, SimpleNamespace(write=len, flush=lambda: None))
    script.mend_streams()
    with pytest.raises(SystemExit) as end:
        script.run(lambda: print("±") or 3)
    assert end.value.code == 3


PRINTS = """import sys; from utils.runtime import script; script.mend_streams(); import tqdm, pathlib
for i in tqdm.tqdm(range(20_000), mininterval=0): print(i)
print("to stderr", file=sys.stderr); pathlib.Path(sys.argv[1]).write_text("whole")"""


@pytest.mark.skipif(os.name == "nt", reason="a shell's redirections")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "to", ["2>&-", ">&-", "<&- >&- 2>&-", "| head -1", "2>&1 | head -1", ">/dev/full 2>&1"]
)
def test_results_are_written_whoever_reads(tmp_path, to, unbuffered):
    """Streams that are closed, a pager that ends, a full disk."""
    line = f'"{sys.executable}" -c "$CODE" file {to}; echo "${{PIPESTATUS[0]}}" >status'
    where = {"CODE": PRINTS, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    done = job.run(["bash", "-c", line], tmp_path, **where)
    assert (tmp_path / "file").read_text() == "whole"
    assert (tmp_path / "status").read_text() == "0\n" and "Traceback" not in done.stderr
    assert done.stdout == ("0\n" if to == "| head -1" else done.stdout)


@pytest.mark.skipif(os.name == "nt", reason="a shell's redirections")
def test_a_script_without_stderr_into_a_pager(tmp_path):
    words = job.command(A, tmp_path / "results")
    line = shlex.join([sys.executable, *words]) + " 2>&- | head -1"
    assert job.run(["bash", "-c", line], tmp_path).stdout.startswith("Signal")
    assert len(tables(tmp_path / "results")) > 2


def test_importing_changes_nothing_for_others():
    """Every module, in a notebook with figures of its own."""
    code = """import os, pathlib, signal, sys, importlib, torch, matplotlib
def state():
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    streams = sys.stdin, sys.stdout, sys.stderr
    return dict(os.environ), matplotlib.get_backend(), torch.get_num_threads(), signals, streams
before = state()
for path in sorted(pathlib.Path().glob("[dmu]*/**/*.py")):
    if path.parts[0] in ("data", "models", "utils"):
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
assert state() == before
assert "utils.training.loop" in sys.modules and "data.datasets" in sys.modules"""
    environment = {"MPLBACKEND": "svg", "OMP_NUM_THREADS": "2"}
    done = job.run([sys.executable, "-c", code], ROOT, **environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [None, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_how_threads_wait_is_the_users_choice(name):
    names = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
    environment = dict.fromkeys(os.environ.keys() - names | ({name} if name else set()), "9")
    with mock.patch.dict(os.environ, environment, clear=True):
        script.set_environment()
        found = {key: os.environ.get(key) for key in names}
    ours = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1", "OMP_WAIT_POLICY": None}
    assert found == (ours if name is None else dict.fromkeys(names) | {name: "9"})


def git(folder, *words):
    who = ["-c", "user.name=x", "-c", "user.email=x", "-c", "init.defaultBranch=main"]
    done = job.run(["git", *who, *words], folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_commit_is_of_this_project(tmp_path, monkeypatch):
    """Not of a repository that it was unpacked in, nor of one that the environment names."""
    project = tmp_path / "else" / "project"
    project.mkdir(parents=True)
    monkeypatch.setattr(provenance, "ROOT", project)
    commit = ("commit", "--allow-empty", "-qm", "x")
    git(project.parent, "init", "-q"), git(project.parent, *commit)
    assert provenance.git_commit() is None
    (project / ".git").mkdir()  # emptied by a backup
    assert provenance.git_commit() is None
    (project / "utils" / "runtime").mkdir(parents=True)
    (project / "utils" / "runtime" / "provenance.py").touch()
    git(project, "init", "-q"), git(project, *commit, "--author=a <b>")
    assert provenance.git_commit() is None  # the files are not in it
    git(project, "add", "utils"), git(project, *commit)
    monkeypatch.setenv("GIT_DIR", str(project.parent / ".git"))
    with mock.patch.dict(os.environ):
        del os.environ["GIT_DIR"]
        own = git(project, "rev-parse", "HEAD")
    assert provenance.git_commit() == own


def test_published_conditions_name_no_private_folder(tmp_path, monkeypatch):
    folder = tmp_path / '新しい　"フォルダ"'
    monkeypatch.setattr(sys, "argv", ["x.py", "--results-dir", str(folder)])
    settings = SimpleNamespace(results_dir=str(folder), root=f"{ROOT}/x", loss=print)
    provenance.write_conditions(folder / "settings.json", settings, {"scale": "quick"})
    found = json.loads((folder / "settings.json").read_text("utf-8"))
    assert found["command"] == "python x.py --results-dir results"
    assert found["settings"]["results_dir"] == "results" and found["settings"]["root"] == "./x"
