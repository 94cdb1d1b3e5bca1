"""Spectra recorded during a training that is not ours: alone, resumed, compiled, distributed."""

import io
import os

import job
import numpy as np
import pandas as pd
import pytest
import torch
from torch import distributed, nn
from torch._dynamo.testing import CompileCounter
from torch.nn.parallel import DistributedDataParallel
from torchvision.models import mobilenet_v3_small

from models.resnet import ResNet18
from utils.recorder import COLUMNS, SpectrumRecorder
from utils.spectra.kernels import analyze_model


def small() -> nn.Module:
    """Kernels of three sizes; names that a CSV file gives back as numbers."""
    torch.manual_seed(0)
    rest = nn.Sequential(nn.Conv2d(4, 2, (1, 5)), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 6, 11))
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), rest)


def recorded(model, steps, table=None, **options) -> SpectrumRecorder:
    """Of weights and BatchNorms that depend on the step alone."""
    recorder = SpectrumRecorder(model, table)
    for step in steps:
        generator = torch.Generator().manual_seed(int(2 * step))
        for values in [*model.parameters(), *model.buffers()]:
            if values.is_floating_point():
                values.data.copy_(torch.rand(values.shape, generator=generator) + 0.1)
        recorder.record(step, **options)
    return recorder


@pytest.mark.parametrize("make", [small, mobilenet_v3_small, lambda: ResNet18(4)])
def test_every_record_is_what_analyze_model_finds(make):
    model, table = make(), None
    for step in range(2):
        table = recorded(model, [step], table).table
        assert table.columns.tolist() == COLUMNS and table.step.unique().tolist() == [
            *range(step + 1)
        ]
        for weights in ("raw", "folded"):
            expected = analyze_model(model, folded=weights == "folded").set_index("layer")
            rows = table[(table.step == step) & (table.weights == weights)]
            assert rows.layer.unique().tolist() == expected.index.tolist()
            for layer, found in rows.groupby("layer"):
                assert found.energy.sum() == pytest.approx(expected.energy[layer], rel=1e-12)
                assert found.share.sum() == pytest.approx(1, rel=1e-12)
                levels = expected.filter(like="db_").loc[layer].dropna()
                np.testing.assert_allclose(found.white_db, levels, rtol=1e-12, atol=1e-12)
                corner = expected.corner_share[layer]
                assert found.share.iloc[-1] == pytest.approx(corner, rel=1e-12)
                size = [*map(int, expected.kernel_size[layer].split("x"))]
                assert found.multiplicity.sum() == np.prod(size)


@pytest.mark.parametrize("index", [True, False])
def test_a_training_that_goes_on_has_the_table_of_one_that_never_stopped(index):
    whole = recorded(small(), range(6)).table
    stopped = recorded(small(), range(4)).table  # it got further than its checkpoint of step 1
    file = io.StringIO(stopped.to_csv(index=index))
    table = recorded(small(), range(2, 6), pd.read_csv(file)).table
    pd.testing.assert_frame_equal(table, whole, rtol=1e-12, check_dtype=False)
    assert recorded(small(), [1], stopped).table.step.unique().tolist() == [0, 1]
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
    """Neither weights, buffers and modes nor random numbers, though the model's code draws some; a
    compiled model is not compiled again."""

    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3))
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x) + torch.rand(1)
            return self.norm(x) if x.sum() > 0 else x

    model = Noisy()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    state = torch.get_rng_state()
    SpectrumRecorder(model).record(0)
    assert (torch.get_rng_state() == state).all() and model.training
    assert all((before[name] == values).all() for name, values in model.state_dict().items())
    count = CompileCounter()
    model = torch.compile(small(), backend=count)
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


def one_of_two(environment, folder):
    """A process of a distributed training, in its usual lines."""
    os.environ.update(environment)
    distributed.init_process_group("gloo")
    model = small()[:2]
    recorder = SpectrumRecorder(DistributedDataParallel(model))
    for step in range(3):
        recorder.record(step)
    distributed.barrier()
    distributed.destroy_process_group()
    rank = environment["RANK"]
    recorder.table.to_csv(folder / f"{rank}.csv")
    recorder.draw(folder / f"{rank}.png")
    assert len(recorder.table) == (18 if rank == "0" else 0)
    os._exit(0)  # at a usual end gloo's threads abort now and then


def test_two_processes_have_one_table(tmp_path):
    """That of one alone; the second writes nothing."""
    started = [job.begin(one_of_two, rank, tmp_path) for rank in job.environments(2)]
    for process in started:
        process.join(100)
        assert process.exitcode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.csv", "0.png"]
    table = pd.read_csv(tmp_path / "0.csv", dtype={"layer": str})
    alone = SpectrumRecorder(small()[:2])
    for step in range(3):
        alone.record(step)
    pd.testing.assert_frame_equal(table[COLUMNS], alone.table, rtol=1e-12)
