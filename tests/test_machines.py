"""Other machines: Windows, notebooks, old Pythons, plain terminals, other devices."""

import ast
import functools
import io
import json
import os
import re
import shutil
import sys
import weakref
from types import SimpleNamespace
from unittest import mock

import job
import pytest
import test_training
import torch
from conftest import ROOT

from data import planted
from data.images import Normalize
from utils.runtime import devices, provenance, script
from utils.training import evaluation

HOSTILE = """text.usetex: True
font.size: 30
savefig.dpi: 32
savefig.bbox: tight
figure.facecolor: red
axes.prop_cycle: cycler(color=["k"])
image.cmap: gray
path.sketch: 1, 100, 2
backend: module://nowhere
interactive: True
nonsense.key: 3
lines.color: much too much: # H\xf6he
"""


def test_figures_are_the_same_everywhere(tmp_path):
    """Under a notebook's backend and a matplotlibrc of the current folder's, byte for byte."""
    line = "exp_a_synthetic.py --steps 6 --seeds 0 1 --width 8 --records 3"
    results, again = tmp_path / "results", tmp_path / "elsewhere" / "tables"
    assert job.finish(results, line=line, pictures=True) == 0
    shutil.copytree(results / "data", again)
    (again.parent / "matplotlibrc").write_text(HOSTILE, "utf-8")
    notebook = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    assert job.as_a_user(f"exp_a_synthetic.py --redraw {again}", again, **notebook).returncode == 0
    figures = list((results / "figures").iterdir())
    assert len(figures) == 4
    for figure in figures:
        assert (again / "figures" / figure.name).read_bytes() == figure.read_bytes()


def test_the_environment_of_a_script():
    """Other files of the user's for matplotlib are not read, they may not even be text; how threads
    wait is the user's choice."""
    names = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}
    rest = dict.fromkeys(os.environ.keys() - names, "9")
    for given, expected in (
        ({}, {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}),
        ({"OMP_WAIT_POLICY": "9"}, {"OMP_WAIT_POLICY": "9"}),
    ):
        with mock.patch.dict(os.environ, rest | given | {"MATPLOTLIBRC": "x"}, clear=True):
            script.set_environment()
            assert {key: os.environ[key] for key in names & set(os.environ)} == expected
            assert os.environ["MATPLOTLIBRC"] == os.devnull and os.environ["MPLBACKEND"] == "agg"


def test_older_pythons_get_a_sentence(tmp_path):
    """What Python 3.8 must read to say it, it can read; imports before that are its own. Nothing
    is a syntax error in 3.9."""
    for path in ROOT.glob("[demu]*/*.py"):
        ast.parse(path.read_text("utf-8"), feature_version=(3, 9))
    old = "import runpy, sys; sys.version_info = (3, 9, 18, 'final', 0); sys.argv[:1] = []; "
    old += "sys.modules |= dict.fromkeys(['torch', 'pandas', 'numpy']); runpy.run_path(sys.argv[0])"
    for path in (ROOT / "experiments").glob("*.py"):
        for early in (path, ROOT / "utils" / "__init__.py"):
            ast.parse(early.read_text("utf-8"), feature_version=(3, 8))
        done = job.run([sys.executable, "-c", old, path], tmp_path)
        assert done.returncode == 1
        assert re.fullmatch("error: .*Python.* 3.10 .*\n", done.stderr), done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_terminals(monkeypatch, encoding):
    """Everything is printed; where the terminal has no sign for ±, as +-."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding))
    script.mend_streams()

    def main():
        print("94.46 ± 0.21 ±", "Ünï 数据", os.fsdecode(b"\xff"))
        raise OSError("数据 ± 0.21")

    with pytest.raises(SystemExit) as end:
        script.run(main)
    print(end.value, file=sys.stderr, flush=True)  # as Python does at its end
    sys.stdout.flush()
    out, err = (x.buffer.getvalue().decode(encoding) for x in (sys.stdout, sys.stderr))
    sign = "+-" if encoding == "ascii" else "±"
    assert out.startswith(f"94.46 {sign} 0.21 {sign} ") and out.count("\n") == 1
    name = "数据" if encoding == "utf-8" else r"\u6570\u636e"
    assert f"{name} \\udcff\n" in out
    assert err == f"error: {name} {sign} 0.21\n"


def test_streams_that_are_no_files(monkeypatch):
    """A notebook's, or what a test puts there."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, SimpleNamespace(write=len, flush=lambda: None))
    script.mend_streams()
    with pytest.raises(SystemExit) as end:
        script.run(lambda: print("±") or 3)
    assert end.value.code == 3


PRINTS = """import sys; from utils.runtime import script; script.mend_streams(); import tqdm, pathlib
for i in tqdm.tqdm(range(2_000), mininterval=0): print(i, "." * 100)
print("to stderr", file=sys.stderr); pathlib.Path(sys.argv[1]).write_text("whole")"""


@pytest.mark.skipif(os.name == "nt", reason="a shell's redirections")
@pytest.mark.parametrize(
    "to", ["2>&-", ">&-", "<&- >&- 2>&-", "| head -1", "2>&1 | head -1", ">/dev/full 2>&1"]
)
def test_results_are_written_whoever_reads(tmp_path, to):
    """Streams that are closed, a pager that ends, a full disk; buffered or not."""
    line = f'"{sys.executable}" -c "$CODE" file {to}; echo "${{PIPESTATUS[0]}}" >status'
    for unbuffered in ("", "1"):
        where = {"CODE": PRINTS, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
        done = job.run(["bash", "-c", line], tmp_path, **where)
        assert (tmp_path / "file").read_text() == "whole"
        assert (tmp_path / "status").read_text() == "0\n" and "Traceback" not in done.stderr
        assert done.stdout[:2] == "0 " or to != "| head -1"
        (tmp_path / "file").unlink()


def test_importing_changes_nothing_for_others():
    """Every module, in a notebook with figures of its own."""
    code = """import os, pathlib, signal, sys, importlib, torch, matplotlib
def state():
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    streams = sys.stdin, sys.stdout, sys.stderr
    looks = dict(matplotlib.rcParams), matplotlib.get_backend()
    return dict(os.environ), looks, torch.get_num_threads(), signals, streams
before = state()
for path in sorted(pathlib.Path().glob("[dmu]*/**/*.py")):
    if path.parts[0] in ("data", "models", "utils"):
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
assert state() == before
assert "utils.training.loop" in sys.modules and "data.datasets" in sys.modules"""
    environment = {"MPLBACKEND": "svg", "OMP_NUM_THREADS": "2"}
    done = job.run([sys.executable, "-c", code], ROOT, **environment)
    assert done.returncode == 0, done.stderr


def test_out_of_memory_is_one_line():
    """The CPU's allocator and a GPU's raise RuntimeErrors; others are faults, with a trace."""
    for error in (
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
    ):
        with pytest.raises(SystemExit, match="out of memory.*BATCH_SIZE.*WIDTH"):
            script.run(mock.Mock(side_effect=error))
    with pytest.raises(RuntimeError, match="shapes"):
        script.run(mock.Mock(side_effect=RuntimeError("shapes do not match")))


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
    logits = Normalize(images)(images.images / 255).flatten(1)[:, :10].double()
    expected = torch.nn.functional.cross_entropy(logits, images.labels)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    right = (logits.argmax(1) == images.labels).double()
    assert accuracy == pytest.approx(100 * float(right.mean()))


def test_a_device_without_float64(monkeypatch, tmp_path):
    """Training, evaluation and records never ask for float64 where a tensor may be on Apple's
    GPU; there neither for channels last."""
    refuse = mock.Mock(side_effect=TypeError("Cannot convert a MPS Tensor to float64 dtype"))
    monkeypatch.setattr(torch.Tensor, "double", refuse)
    sets = planted.load(40, 10)
    assert list(test_training.train("l2=0.05", sets, tmp_path)) == [0, 1, 2]
    assert devices.memory_format(torch.device("mps")) is torch.contiguous_format
    assert devices.memory_format(torch.device("cpu")) is torch.channels_last


def test_which_device_is_chosen(monkeypatch, capsys):
    """auto takes no Apple GPU but names it; each process of torchrun has a GPU of its own."""
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
    assert capsys.readouterr().out == ""


def test_bfloat16_only_where_the_device_computes_in_it(monkeypatch):
    """GPUs from compute capability 8 on, processors with matrix units; elsewhere it is slow."""
    gpu, cpu = torch.device("cuda:0"), torch.device("cpu")
    for capability, expected in (((7, 5), "float32"), ((8, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert devices.choose_precision("auto", gpu) == expected
    for there, expected in ((True, "bfloat16"), (False, "float32")):
        told = lambda there=there: {"amx_bf16": there}
        monkeypatch.setattr(torch.cpu, "get_capabilities", told, raising=False)
        assert devices.choose_precision("auto", cpu) == expected
        assert bool(devices.slow_precision("bfloat16", cpu)) != there
        assert not devices.slow_precision("float32", cpu)
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # older versions of torch
    assert devices.choose_precision("auto", cpu) == "float32"
    assert devices.choose_precision("bfloat16", cpu) == "bfloat16"


def test_threads_beside_others(monkeypatch):
    """As many as cores are free, at least one; None where all are, or nobody knows."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for cores, load, device, threads in (
        (2, 1.1, "cpu", 1),
        (2, 9.0, "cpu", 1),
        (2, 0.4, "cpu", None),
        (4, 1.0, "cpu", None),
        (2, 1.1, "meta", None),
        (1, None, "cpu", None),
    ):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: range(n), raising=False)
        monkeypatch.setattr(os, "getloadavg", lambda x=load: (x, 0, 0), raising=False)
        if load is None:
            monkeypatch.delattr(os, "getloadavg")
        assert devices.threads_beside_others(torch.device(device)) == threads


def test_the_commit_is_of_this_project(tmp_path, monkeypatch):
    """Not of a repository that it was unpacked in, nor of one that the environment names."""

    def git(folder, *words):
        who = ["-c", "user.name=x", "-c", "user.email=x", "-c", "init.defaultBranch=main"]
        done = job.run(["git", *who, *words], folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    project = tmp_path / "else" / "project"
    file = project / "utils" / "runtime" / "provenance.py"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(provenance, "ROOT", project)
    commit = functools.partial(git, project, "commit", "--allow-empty", "-qm", "x")
    git(project.parent, "init", "-q")
    git(project.parent, "add", ".")
    git(project.parent, "commit", "-qm", "x")
    (project / ".git").mkdir()  # emptied by a backup
    assert provenance.git_commit() is None
    git(project, "init", "-q")
    commit("--author=a <b>")
    assert provenance.git_commit() is None  # the files are not in it
    git(project, "add", "utils")
    commit()
    own = git(project, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(project.parent / ".git"))
    assert provenance.git_commit() == own
    file.write_text("changed")
    assert provenance.git_commit() == f"{own}-dirty"


def test_published_conditions_name_no_private_folder(tmp_path, monkeypatch):
    folder = tmp_path / "新しい　\"フォルダ\" of 'mine'"
    monkeypatch.setattr(sys, "argv", ["x.py", "--results-dir", str(folder), "--data-root", "a b"])
    settings = SimpleNamespace(results_dir=str(folder), root=f"{ROOT}/x", loss=print)
    provenance.write_conditions(folder / "settings.json", settings, {"scale": "quick"})
    found = json.loads((folder / "settings.json").read_text("utf-8"))
    assert found["command"] == "python x.py --results-dir results --data-root 'a b'"
    assert found["settings"]["results_dir"] == "results" and found["settings"]["root"] == "./x"
