"""Spectra of whole networks: against torch's own folding, and nothing lost without a word."""

import numpy as np
import pytest
import torch
from scipy import signal
from test_frequency import brute_force
from test_input_sensitivity import Largest
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import get_model

from models.resnet import ResNet18
from utils.frequency import CHUNK
from utils.spectra.batchnorm import is_batchnorm
from utils.spectra.feature_maps import feature_spectra
from utils.spectra.input_sensitivity import input_sensitivity
from utils.spectra.kernels import analyze_model, kernel_spectra


def randomize(model):
    """Random statistics for every BatchNorm, so that folding changes something."""
    for layer in model.modules():
        if is_batchnorm(layer) and layer.running_var is not None:
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 4)
            for values in (layer.weight, layer.bias):
                if values is not None:
                    values.data.normal_()
    return model.eval()


def energy(conv, bn=None):
    """Energies of a layer's kernels, folded by torch, by numpy's FFT of every kernel."""
    conv = conv if bn is None else fuse_conv_bn_eval(conv, bn)
    return brute_force(conv.weight.detach().double().numpy())[1]


class Crossed(nn.Module):
    """Layers defined in another order than they are used, one convolution read twice."""

    def __init__(self):
        super().__init__()
        self.bn_a, self.bn_b = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
        self.conv_b, self.conv_a = nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, (5, 3))
        self.twice = nn.Conv2d(4, 4, 2)
        self.point, self.up = nn.Conv2d(4, 4, 1), nn.ConvTranspose2d(4, 4, 3)

    def forward(self, x):
        x = self.bn_b(self.conv_b(self.bn_a(self.conv_a(x))))
        x = self.twice(x)
        return self.up(self.point(x)) + x.mean()


def test_table():
    model = randomize(Crossed())
    table = analyze_model(model).set_index("layer")
    assert table.index.tolist() == ["conv_b", "conv_a", "twice"]
    assert table.kernel_size.tolist() == ["3x3", "5x3", "2x2"]
    assert table.kernels.tolist() == [16, 12, 16]
    assert table.attrs["skipped"] == {"point": "1x1", "up": "transposed"}
    parts = energy(model.conv_b)
    row = table.loc["conv_b"]
    assert row.energy == pytest.approx(parts.sum())
    assert row.high_share == pytest.approx(parts[1:].sum() / parts.sum())
    assert row.corner_share == pytest.approx(parts[2] / parts.sum())
    assert row.ssr == pytest.approx(1 - row.high_share * 9 / 8)
    white = 10 * np.log10(parts[2] / parts.sum() * 9 / 4)
    assert row["db_0.4714"] == pytest.approx(white)
    assert np.isnan(row["db_0.5000"]) and not np.isnan(table["db_0.5000"]["twice"])

    folded, correlations = kernel_spectra(model, True, 0.25)
    folded = folded.set_index("layer")
    kernels = fuse_conv_bn_eval(model.conv_a, model.bn_a).weight.detach().double().numpy()
    expected = sum(signal.correlate2d(k, k) for k in kernels.reshape(-1, 5, 3))
    np.testing.assert_allclose(correlations["conv_a"], expected, rtol=1e-5, atol=1e-6)
    assert folded.batchnorm.loc[["conv_a", "conv_b"]].tolist() == ["bn_a", "bn_b"]
    assert folded.batchnorm.isna()["twice"] and (folded.note == "").all()
    assert folded.energy["conv_a"] == pytest.approx(energy(model.conv_a, model.bn_a).sum())
    assert folded.energy["twice"] == table.energy["twice"]
    assert analyze_model(model, cutoff=0.4).set_index("layer").high_share["conv_b"] == (
        pytest.approx(row.corner_share)
    )


@pytest.mark.parametrize("name", ["mobilenet_v2", "regnet_x_400mf"])
def test_folded_energies_are_those_of_torchs_own_folding(name):
    model = randomize(get_model(name, weights=None))
    folded = analyze_model(model, folded=True).set_index("layer")
    assert folded.batchnorm.notna().all()
    for layer, row in folded.iterrows():
        conv, bn = model.get_submodule(layer), model.get_submodule(row.batchnorm)
        parts = energy(conv, bn)
        assert row.energy == pytest.approx(parts.sum(), rel=1e-5)
        assert row.corner_share == pytest.approx(parts[-1] / parts.sum(), rel=1e-5)


def lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.LazyLinear(3))


def traced():
    return torch.jit.trace(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), torch.rand(1, 3, 16, 16))


def frozen():
    return torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3)).eval()))


class Functional(nn.Module):
    """Kernels that belong to no layer."""

    def __init__(self):
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.kernels)


SKIPPED = {  # model -> what stands under "skipped"
    "TorchScript": (traced, {"0": "TorchScript"}),
    "frozen TorchScript": (frozen, {"(model)": "no layer"}),
    "lazy": (lazy, {"0": "not initialised yet", "(linear layers)": "1,"}),
    "fake": (lambda: nn.Sequential(fake()), {"0": ""}),
    "meta": (lambda: nn.Conv2d(3, 4, 3, device="meta"), {"(model)": "meta device"}),
    "complex": (lambda: nn.Conv2d(3, 4, 3, dtype=torch.cfloat), {"(model)": "complex64"}),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3), {"(model)": "transposed"}),
    "one-dimensional": (lambda: nn.Conv1d(3, 4, 3), {"(model)": "not two-dimensional"}),
    "three-dimensional": (lambda: nn.Conv3d(3, 4, 3), {"(model)": "not two-dimensional"}),
    "one-dimensional, not traced": (lambda: Sound(), {"conv": "not two-dimensional"}),
    "1x1": (lambda: nn.Conv2d(3, 4, 1), {"(model)": "1x1"}),
    "of no layer": (Functional, {"(model).kernels": "of Functional, not of a convolution"}),
    "not a number": (lambda: filled(torch.nan), {"0": "NaN"}),
    "zero": (lambda: filled(0), {"0": "all its kernels are zero"}),
    "linear": (lambda: nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), {"(linear layers)": "2,"}),
    "nothing": (nn.ReLU, {"(model)": "no layer"}),
    "an empty dictionary": (dict, {"(model)": "no layer"}),
    "state dict": (
        lambda: {
            "a.weight": torch.ones(4, 3, 1, 1),
            "b.weight": torch.ones(4, 3, 3, dtype=torch.half),
            "c.weight": torch.ones(4, 3, 3, 3, dtype=torch.int8),
            "d.weight": torch.ones(4, 3),
            "table": torch.ones(1, 3, 3, 2),
        },
        {
            "a": "1x1",
            "b": "not two-dimensional",
            "c": "int8",
            "table": "not called weight",
            "(linear layers)": "1,",
        },
    ),
}


class Sound(nn.Module):
    """Without a two-dimensional convolution, and not to be traced."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.conv(x)) if x.shape[1] == 3 else None


def fake():
    with FakeTensorMode():
        return nn.Conv2d(3, 4, 3)


def filled(value):
    return nn.Sequential(nn.Conv2d(3, 4, 3)).apply(
        lambda layer: isinstance(layer, nn.Conv2d) and nn.init.constant_(layer.weight, value)
    )


@pytest.mark.filterwarnings("ignore")
def test_nothing_vanishes():
    for name, (make, expected) in SKIPPED.items():
        analyze_model(make())
        table = analyze_model(make(), folded=True)
        assert len(table) == 0 and list(table)[:3] == ["layer", "kernel_size", "kernels"], name
        skipped = table.attrs["skipped"]
        assert set(expected) <= set(skipped), (name, skipped)
        for layer, text in expected.items():
            assert text in skipped[layer], name
    for wrong in (None, "resnet18", torch.ones(4, 3, 3, 3), [nn.Conv2d(3, 4, 3)]):
        with pytest.raises(TypeError, match="must be an nn.Module or a state dict"):
            analyze_model(wrong)


def test_the_rest_of_the_table_stays():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4),
    )
    model[5].running_var[0] = torch.nan
    table = analyze_model(model, folded=True).set_index("layer")
    assert table.batchnorm.isna().tolist() == [True, False, True]
    assert "1: it keeps no running variance" in table.note["0"]
    assert "5: its scale is not finite" in table.note["4"]
    model.append(nn.Conv2d(4, 4, 3, dtype=torch.cfloat))  # torch.fx traces it, nothing runs it
    assert len(analyze_model(model, folded=True)) == 3


def test_the_model_is_not_changed():
    model = ResNet18(2, dropout=0.5).train()
    model.bn1.eval()
    modes = [module.training for module in model.modules()]
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    images = torch.randint(256, (3, 3, 16, 16), dtype=torch.uint8)
    state = torch.random.get_rng_state()
    with torch.inference_mode():
        found = input_sensitivity(model, images)
        feature_spectra(model, images)
        analyze_model(model, folded=True)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(v, before[n]) for n, v in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    assert [p.grad is not None for p in model.parameters()].count(True) == 1
    again = input_sensitivity(model.eval(), images.double() / 255)
    np.testing.assert_allclose(found, again, rtol=1e-4)
    model.strange = lazy()
    analyze_model(model, folded=True)
    assert isinstance(model.strange[0].weight, nn.parameter.UninitializedParameter)


class Remembers(nn.Module):
    """Keeps its last activations and counts its calls."""

    def __init__(self, traceable):
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), None
        self.register_buffer("calls", torch.zeros(()))
        self.traceable = traceable

    def forward(self, x):
        if not self.traceable and x.shape[1] != 3:
            raise ValueError("channels")
        self.calls += 1
        self.last = self.conv(x)
        return self.norm(self.last)


@pytest.mark.parametrize("traceable", [True, False])
def test_nothing_is_left_in_the_model(traceable):
    model, images = Remembers(traceable), torch.rand(2, 3, 8, 8)
    assert analyze_model(model, folded=True).batchnorm.tolist() == ["norm"]
    feature_spectra(model, images)
    input_sensitivity(model, images)
    assert model.last is None and model.calls == 0 and model.training
    model(images)
    assert model.calls == 1 and model.last is not None


def test_large_kernels_and_their_columns():
    for size in ((16, 16), (31, 31), (51, 5)):
        conv = nn.Conv2d(4, 6, size, groups=2)
        table = analyze_model(nn.Sequential(conv, nn.Conv2d(6, 6, 3)))
        radii, expected = brute_force(conv.weight.detach().double().numpy())
        columns = [name for name in table if name.startswith("db_")]
        assert len(set(columns)) == len(columns)
        levels = table[columns].iloc[0].dropna()
        np.testing.assert_allclose([float(n[3:]) for n in levels.index], radii, atol=1e-4)
        every = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, size), indexing="ij"))
        counts = np.array([np.isclose(every, r, atol=1e-9).sum() for r in radii])
        white = 10 * np.log10(expected / counts / expected.sum() * counts.sum())
        np.testing.assert_allclose(levels, white, atol=1e-9)


def test_memory_of_large_kernels_is_bounded():
    """No whole layer becomes float64, nor a transform of one."""
    model = nn.Sequential(
        nn.Conv2d(3, 768, 32), nn.Conv2d(768, 384, (31, 31), groups=384), nn.Conv2d(384, 9, 7)
    )
    with Largest(torch.float64, torch.complex128) as largest:
        table = analyze_model(model, folded=True)
    assert len(table) == 3 and 0 < largest.numbers < 10 * CHUNK


FAMILIES = {  # of torchvision: convolutions larger than 1x1, and those without a BatchNorm
    "densenet121": (59, 58),  # most norms stand before
    "inception_v3": (55, 1),  # auxiliary
    "mobilenet_v3_small": (12, 0),
    "shufflenet_v2_x0_5": (20, 0),
    "convnext_tiny": (22, 22),
    "maxvit_t": (13, 1),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (19, 3),  # not to be traced
}


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvisions_families(name):
    options = {"init_weights": False} if name == "inception_v3" else {}
    options |= {"weights_backbone": None} if "rcnn" in name else {}
    table = analyze_model(get_model(name, weights=None, **options), folded=True)
    levels = table.filter(like="db_").to_numpy()
    assert np.isfinite(levels).any(1).all() and not np.isinf(levels).any()
    assert (len(table), table.batchnorm.isna().sum()) == FAMILIES[name]


def test_the_default_device_of_a_notebook_changes_nothing():
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    model = nn.Sequential(layer, nn.Dropout(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    images = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)

    def measured():
        maps = feature_spectra(model, images).power
        return [*analyze_model(model, folded=True).energy, *maps, *input_sensitivity(model, images)]

    usual = measured()
    with torch.device("meta"):
        np.testing.assert_array_equal(np.stack(measured()[-8:]), np.stack(usual[-8:]))
        assert measured()[:-8] == usual[:-8]
