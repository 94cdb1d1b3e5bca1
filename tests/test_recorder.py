"""Spectra recorded during a training that is not ours: alone, resumed, compiled, in two processes."""

import io
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from torch import nn
from torch._dynamo.testing import CompileCounter
from torchvision.models import mobilenet_v3_small

from models.resnet import ResNet18
from utils.recorder import COLUMNS, SpectrumRecorder
from utils.spectra.kernels import analyze_model


def small() -> nn.Module:
    """Kernels of three sizes; names that a CSV file gives back as numbers."""
    torch.manual_seed(0)
    rest = nn.Sequential(nn.Conv2d(4, 2, (1, 5)), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 6, 11))
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), rest)


def train(model: nn.Module, step: int) -> None:
    """Weights and BatchNorm that depend on the step alone."""
    generator = torch.Generator().manual_seed(int(2 * step))
    with torch.no_grad():
        for values in [*model.parameters(), *model.buffers()]:
            if values.is_floating_point():
                values.copy_(torch.rand(values.shape, generator=generator) + 0.1)


def recorded(model, steps, table=None, **options) -> SpectrumRecorder:
    recorder = SpectrumRecorder(model, table)
    for step in steps:
        train(model, step)
        recorder.record(step, **options)
    return recorder


@pytest.mark.parametrize("make", [small, mobilenet_v3_small, lambda: ResNet18(4)])
def test_every_record_is_what_analyze_model_finds(make):
    model, expected = make(), {}
    recorder = SpectrumRecorder(model)
    for step in range(3):
        train(model, step)
        recorder.record(step)
        for weights in ("raw", "folded"):
            expected[step, weights] = analyze_model(model, folded=weights == "folded")
    assert recorder.table.columns.tolist() == COLUMNS
    for key, rows in recorder.table.groupby(["step", "weights"]):
        table = expected[key].set_index("layer")
        assert list(dict.fromkeys(rows.layer)) == table.index.tolist()
        for layer, found in rows.groupby("layer"):
            assert found.energy.sum() == pytest.approx(table.energy[layer], rel=1e-12)
            assert found.share.sum() == pytest.approx(1, rel=1e-12)
            levels = table.filter(like="db_").loc[layer].dropna()
            np.testing.assert_allclose(found.white_db, levels, rtol=1e-12, atol=1e-12)
            assert found.share.iloc[-1] == pytest.approx(table.corner_share[layer], rel=1e-12)
            assert found.multiplicity.sum() == np.prod(
                [*map(int, table.kernel_size[layer].split("x"))]
            )


@pytest.mark.parametrize("index", [True, False])
def test_a_training_that_goes_on_has_the_table_of_one_that_never_stopped(index):
    whole = recorded(small(), range(6)).table
    stopped = recorded(small(), range(4)).table  # it got further than its checkpoint of step 1
    file = io.StringIO(stopped.to_csv(index=index))
    table = recorded(small(), range(2, 6), pd.read_csv(file)).table
    pd.testing.assert_frame_equal(table, whole, rtol=1e-12, check_dtype=False)
    with pytest.raises(ValueError, match="another network"):
        SpectrumRecorder(ResNet18(4), table)
    with pytest.raises(ValueError, match="lacks the columns radius, share"):
        SpectrumRecorder(small(), table.drop(columns=["radius", "share"]))


def test_every_power_of_two():
    table = recorded(small(), range(10), every="log").table
    assert sorted(set(table.step)) == [0, 1, 2, 4, 8]
    with pytest.raises(ValueError, match="log"):
        SpectrumRecorder(small()).record(1, every=5)


def test_the_training_is_not_changed():
    """Neither weights, buffers and modes nor random numbers, though the code of the model draws some;
    a compiled model is not compiled again."""

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(
                [torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))]
            )
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x):
            for part in self.parts:
                x = part(x) + torch.rand(1)
            return self.norm(x) if x.sum() > 0 else x

    model = Noisy()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    state = torch.get_rng_state()
    recorder = SpectrumRecorder(model)
    recorder.record(0)
    assert (torch.get_rng_state() == state).all() and model.training
    assert all((before[name] == values).all() for name, values in model.state_dict().items())
    count = CompileCounter()
    plain = small()
    model = torch.compile(plain, backend=count)
    recorder = SpectrumRecorder(model)
    for step in range(3):
        model(torch.rand(2, 3, 20, 20))
        recorder.record(step)
    assert count.frame_count == 1
    assert set(recorder.table.layer) == {"0", "2.0", "2.2"}


def test_what_cannot_be_recorded():
    with pytest.raises(ValueError, match="no convolution to measure .*linear layers"):
        SpectrumRecorder(nn.Linear(3, 3)).record(0)
    with pytest.raises(TypeError, match="nn.Module"):
        SpectrumRecorder({"a.weight": torch.ones(1, 1, 3, 3)})
    with pytest.raises(ValueError, match="nothing is recorded"):
        SpectrumRecorder(small()).draw("never.png")
    model = small()
    model[0].weight.data.fill_(np.nan)  # a training that diverges goes on to its own end
    recorder = SpectrumRecorder(model)
    with pytest.warns(UserWarning, match="0 is left out: weight must be finite"):
        recorder.record(0)
    assert set(recorder.table.layer) == {"2.0", "2.2"}


@pytest.mark.parametrize(
    "steps, reference", [([0], "white"), ([0, 1, 2, 4, 900], "first"), ([0.5, 1, 1.5], "white")]
)
def test_the_figure(tmp_path, steps, reference):
    recorder = recorded(small(), steps)
    for name in ("spectrum.png", "spectrum.pdf"):
        recorder.draw(tmp_path / name, reference=reference)
        assert (tmp_path / name).stat().st_size > 5000
    with pytest.raises(ValueError, match="white"):
        recorder.draw(tmp_path / "x.png", reference="last")


TWO = """
import os, sys
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from utils.recorder import SpectrumRecorder

distributed.init_process_group("gloo")
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
recorder = SpectrumRecorder(DistributedDataParallel(model))
for step in range(3):
    recorder.record(step)
distributed.barrier()
distributed.destroy_process_group()
recorder.table.to_csv(sys.argv[1]); recorder.draw(sys.argv[2])
print(f"{len(recorder.table)} rows", flush=True)
os._exit(0)  # at a usual end gloo's threads abort now and then
"""


def test_two_processes_have_one_table(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    line = [*torchrun, "--master-port", "29547", "two.py", "a.csv", "a.png"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = {"capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(line, check=False, cwd=tmp_path, env=environment, **options)
    assert sorted(done.stdout.split()) == ["0", "18", "rows", "rows"], done.stderr
    table = pd.read_csv(tmp_path / "a.csv", dtype={"layer": str})
    torch.manual_seed(0)
    alone = recorded_without_training(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), 3)
    pd.testing.assert_frame_equal(table[COLUMNS], alone, rtol=1e-12)
    assert (tmp_path / "a.png").exists()


def recorded_without_training(model: nn.Module, steps: int) -> pd.DataFrame:
    recorder = SpectrumRecorder(model)
    for step in range(steps):
        recorder.record(step)
    return recorder.table
