"""Other machines: disks without locks, Windows, notebooks, old Pythons, plain terminals."""

import ast
import importlib.util
import io
import os
import re
import runpy
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
from conftest import ROOT

from data import planted
from data.images import Normalize
from utils.runtime import devices, settings
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

    def main():
        print("94.46 ± 0.21 ±", "Ünï 数据", os.fsdecode(b"\xff"))
        raise OSError("数据 ± 0.21")

    with pytest.raises(SystemExit) as end:
        settings.run_script(main)
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
            settings.run_script(main)
        assert re.search("out of memory.*BATCH_SIZE.*WIDTH", end.value.code)

    for error in (RuntimeError("shapes do not match"), NotImplementedError("aten::x on MPS")):

        def broken(error=error):
            raise error

        with pytest.raises(type(error)):
            settings.run_script(broken)


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


def test_many_cores_are_told_of(monkeypatch, capsys):
    """With four runs and eight cores, a torchrun line with this job's own flags."""
    line = job.command(f"{job.TINY} --seeds 0 1 --configurations baseline l2", "results")
    spec = importlib.util.spec_from_file_location("exp_b", line[0])
    spec.loader.exec_module(script := importlib.util.module_from_spec(spec))
    monkeypatch.setattr(sys, "argv", line)
    s = SimpleNamespace(width=4, epochs=2, batch_size=16, train_images=64, test_images=30)
    labels, start = {"dataset": "", "scale": ""}, {"device": "cpu, 1 thread", "processor": ""}
    some = [runs.Run(name, seed) for name in ("baseline", "l2=0.001") for seed in (0, 1)]
    for cores, count, said in ((8, 4, True), (3, 4, False), (8, 1, False)):
        found = set(range(cores))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, c=found: c, raising=False)
        states = {run: {"epoch": 0} for run in some[:count]}
        script.say_plan(s, labels, "", some[:count], states, Path("folder"), start)
        text = capsys.readouterr().out
        expected = (
            "torchrun --nproc-per-node=4 .*--seeds 0 1 --configurations baseline l2.* 8 cores"
        )
        assert bool(re.search(expected, text)) == said == ("torchrun" in text), text


def test_a_device_without_float64(monkeypatch, tmp_path):
    """Training, evaluation and records never ask for float64 where a tensor may be on Apple's
    GPU; there neither for channels last nor for a fused optimiser."""

    def refuse(self):
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(torch.Tensor, "double", refuse)
    sets = planted.load(40, 10)
    assert list(test_training.train("l2=0.05", sets, tmp_path)) == [0, 1, 2]

    asked = []
    real = devices.without_compiler(torch.optim.SGD)
    monkeypatch.setattr(
        training, "without_compiler", lambda _: lambda *a, **o: asked.append(o) or real(*a, **o)
    )
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


def test_the_compiler_is_not_imported():
    """An optimiser's import of it takes 2 s; the steps are the same."""
    code = "import sys, torch; from utils.runtime.devices import without_compiler\n"
    code += "w = torch.ones(3, requires_grad=True); w.grad = torch.ones(3)\n"
    code += "o = without_compiler(torch.optim.SGD)([w], lr=0.5, momentum=0.9, fused=True)\n"
    code += "o.step(); o.step(); o.load_state_dict(o.state_dict()); o.zero_grad()\n"
    code += "print(*(round(x, 4) for x in w.tolist()), 'torch._dynamo' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    after = 1 - 0.5 - 0.5 * 1.9
    assert process.stdout == f"{after:.2f} {after:.2f} {after:.2f} False\n"


def test_streams_that_are_no_files(monkeypatch):
    """A notebook's, or what a test puts there."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, SimpleNamespace(write=len, flush=lambda: None))
    with pytest.raises(SystemExit) as end:
        settings.run_script(lambda: print("±") or 3)
    assert end.value.code == 3


@pytest.mark.parametrize("name", [None, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_how_threads_wait_is_the_users_choice(name):
    names = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
    environment = dict.fromkeys(os.environ.keys() - names | ({name} if name else set()), "9")
    with mock.patch.dict(os.environ, environment, clear=True):
        runpy.run_path(str(ROOT / "utils" / "__init__.py"))
        found = {key: os.environ.get(key) for key in names}
    ours = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1", "OMP_WAIT_POLICY": None}
    assert found == (ours if name is None else dict.fromkeys(names) | {name: "9"})
