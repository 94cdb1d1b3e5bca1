"""Spectra of whole networks: against torch's own folding, and nothing lost without a word."""

import copy
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from conftest import ROOT
from scipy import signal
from test_frequency import brute_force
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.ao.nn import quantized
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.swa_utils import AveragedModel
from torchvision.models import get_model
from torchvision.ops import FrozenBatchNorm2d

from models.resnet import ResNet18
from utils.spectra.batchnorm import batchnorm_after_convolution, is_batchnorm
from utils.spectra.feature_maps import feature_spectra
from utils.spectra.input_sensitivity import input_sensitivity
from utils.spectra.kernels import analyze_model, kernel_spectra
from utils.training.evaluation import for_inference


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

    folded = analyze_model(model, folded=True).set_index("layer")
    assert folded.batchnorm.loc[["conv_a", "conv_b"]].tolist() == ["bn_a", "bn_b"]
    assert folded.batchnorm.isna()["twice"] and (folded.note == "").all()
    assert folded.energy["conv_a"] == pytest.approx(energy(model.conv_a, model.bn_a).sum())
    assert folded.energy["twice"] == table.energy["twice"]
    assert analyze_model(model, cutoff=0.4).set_index("layer").high_share["conv_b"] == (
        pytest.approx(row.corner_share)
    )


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "regnet_x_400mf"])
def test_folded_energies_are_those_of_torchs_own_folding(name):
    model = randomize(get_model(name, weights=None))
    folded = analyze_model(model, folded=True).set_index("layer")
    assert folded.batchnorm.notna().all()
    for layer, row in folded.iterrows():
        conv, bn = model.get_submodule(layer), model.get_submodule(row.batchnorm)
        parts = energy(conv, bn)
        assert row.energy == pytest.approx(parts.sum(), rel=1e-5)
        assert row.corner_share == pytest.approx(parts[-1] / parts.sum(), rel=1e-5)


class Twice(nn.Module):
    """One convolution or BatchNorm in two places; `way` is the way of the data."""

    def __init__(self, way):
        super().__init__()
        self.c, self.d = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.m, self.n, self.same = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Identity()
        self.way, self.dropout = way, nn.Dropout(0.5)

    def forward(self, x):
        return self.way(self, x)


def in_place(s, x):
    y = s.c(x)
    y += 1
    return s.n(y)


def branching(s, x):  # torch.fx cannot follow it
    return s.n(s.c(x)) if x.sum() > 0 else s.m(s.c(x))


WAYS = {
    "norm on one path only": (lambda s, x: s.n(s.c(x)) + s.c(x.flip(-1)), {}),
    "two norms in turn": (lambda s, x: s.n(s.c(s.m(s.c(x)))), {}),
    "one norm after two": (lambda s, x: s.n(s.c(x)) + s.n(s.d(x)), {}),
    "bare and normalised": (lambda s, x: (y := s.c(x)) + s.n(y), {}),
    "normalised twice": (lambda s, x: (y := s.c(x)) * 0 + s.m(y) + s.n(y), {}),
    "output and norm": (lambda s, x: ((y := s.c(x)), s.n(y)), {}),
    "through an identity": (lambda s, x: s.n(s.same(s.c(x))), {"c": "n"}),
    "changed in place": (in_place, {}),
    "kernels used elsewhere": (lambda s, x: s.n(s.c(x)) + F.conv2d(x, s.c.weight, None, 1, 1), {}),
    "norm's numbers used": (lambda s, x: s.n(s.c(x)) * s.n.weight.view(-1, 1, 1), {}),
    "through an activation": (lambda s, x: s.n(torch.relu(s.c(x))), {}),
    "its shape is asked for": (lambda s, x: s.n(y := s.c(x)).view(y.shape[0], -1), {"c": "n"}),
    "its size is asked for": (lambda s, x: s.n(y := s.c(x)).view(y.size(0), -1), {"c": "n"}),
    "through what does nothing": (
        lambda s, x: s.n(F.dropout(s.c(x), 0.5, s.training).contiguous().float()),
        {"c": "n"},
    ),
    "through dropout": (lambda s, x: s.n(s.dropout(s.c(x))), {"c": "n"}),
    "plain": (lambda s, x: s.n(s.d(torch.relu(s.m(s.c(x))))), {"c": "m", "d": "n"}),
}


ELSEWHERE = ("kernels used elsewhere", "norm's numbers used")


@pytest.mark.parametrize("traceable", [True, False])
@pytest.mark.parametrize("name", WAYS)
def test_what_is_used_twice_is_not_folded(name, traceable):
    way, expected = WAYS[name]
    checked = lambda s, x: way(s, x) if x.shape[1] == 4 else None
    model = randomize(Twice(way if traceable else checked))
    if not traceable and name in ("bare and normalised", "output and norm", *ELSEWHERE):
        expected = {"c": "n"}  # where hooks watch, what functions read is not seen
    assert batchnorm_after_convolution(model) == expected
    table = analyze_model(model, folded=True).set_index("layer")
    assert table.batchnorm.dropna().to_dict() == expected
    if not expected and "activation" not in name:
        assert table.note.str.contains("used|elsewhere|goes to").any(), table.note.tolist()
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(for_inference(model)(x), model(x), rtol=1e-4, atol=1e-4)


def test_dropout_that_stays_at_inference_is_no_way_through():
    assert batchnorm_after_convolution(Twice(lambda s, x: s.n(F.dropout(s.c(x))))) == {}


def test_what_one_pass_shows_is_not_enough_for_inference():
    model = randomize(Twice(branching))
    assert batchnorm_after_convolution(model) == {"c": "n"}  # noise in [0, 1]
    with pytest.raises(ValueError, match="torch.fx cannot trace Twice"):
        batchnorm_after_convolution(model, traced=True)
    for x in (torch.rand(2, 4, 8, 8), -torch.rand(2, 4, 8, 8)):
        torch.testing.assert_close(for_inference(model)(x), model(x))


class Halved(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, self.weight / 2, self.bias)


class Active(nn.BatchNorm2d):
    def forward(self, x):
        return torch.relu(super().forward(x))


def doubled(layer):
    layer.register_forward_hook(lambda layer, inputs, output: 2 * output)
    return layer


@pytest.mark.parametrize(
    "change",
    [
        lambda c, n: nn.Sequential(Halved(4, 4, 3), n),
        lambda c, n: nn.Sequential(c, Active(4)),
        lambda c, n: nn.Sequential(c, nn.BatchNorm2d(4, track_running_stats=False)),
        lambda c, n: nn.Sequential(c, nn.BatchNorm2d(4, affine=False)),
        lambda c, n: nn.Sequential(c, nn.SyncBatchNorm(4)),
        lambda c, n: nn.Sequential(c, FrozenBatchNorm2d(4)),
        lambda c, n: nn.Sequential(nn.utils.parametrizations.weight_norm(c), n),
        lambda c, n: nn.Sequential(c, nn.Identity(), n),
        lambda c, n: nn.Sequential(doubled(c), n),
        lambda c, n: nn.Sequential(c, doubled(n)),
        lambda c, n: nn.DataParallel(nn.Sequential(c, n)),
    ],
)
def test_for_inference_never_changes_the_function(change):
    model = randomize(change(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    x = torch.randn(3, 4, 8, 8)
    torch.testing.assert_close(for_inference(model)(x), model(x), rtol=1e-4, atol=1e-4)


class Aliases(nn.Module):
    """A convolution under two names, called by the second."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3)
        self.second, self.norm = self.first, nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.second(x))


def test_a_layer_of_two_names_is_folded_under_both():
    model, x = randomize(Aliases()), torch.randn(3, 4, 8, 8)
    folded = for_inference(model)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
    torch.testing.assert_close(folded(x), model(x), rtol=1e-4, atol=1e-4)


class Conv2d(nn.Conv2d):
    """As in detectron2: norm and activation inside the convolution."""

    def __init__(self, *args, norm=None):
        super().__init__(*args)
        self.norm = norm

    def forward(self, x):
        return torch.relu(self.norm(F.conv2d(x, self.weight, self.bias)))


def test_a_batchnorm_inside_its_convolution():
    inner, plain = Conv2d(3, 4, 3, norm=nn.BatchNorm2d(4)), nn.Conv2d(3, 4, 3)
    model = randomize(nn.Sequential(inner, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
    plain.load_state_dict(inner.state_dict(), strict=False)
    table = analyze_model(model, folded=True)
    assert table.batchnorm.tolist() == ["0.norm", "2"]
    assert table.energy[0] == pytest.approx(energy(plain.eval(), inner.norm).sum(), rel=1e-5)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(for_inference(model)(x), model(x), rtol=1e-4, atol=1e-4)


class DetrFrozenBatchNorm2d(nn.Module):
    """As in transformers: buffers alone, eps inside the forward function."""

    def __init__(self, n):
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0)):
            self.register_buffer(name, torch.full((n,), value))
        self.register_buffer("running_var", torch.ones(n))

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale.view(-1, 1, 1) + (self.bias - self.running_mean * scale).view(-1, 1, 1)


def replaced(model, make):
    """A copy whose BatchNorms are of another class with the same numbers."""
    model = copy.deepcopy(model)
    for parent in [*model.modules()]:
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                new = make(layer.num_features)
                new.load_state_dict(layer.state_dict(), strict=False)
                setattr(parent, name, new)
    return model


@pytest.mark.parametrize("make", [nn.SyncBatchNorm, FrozenBatchNorm2d, DetrFrozenBatchNorm2d])
def test_other_batchnorms_are_batchnorms(make):
    model = randomize(ResNet18(4))
    right = analyze_model(model, folded=True)
    for other in (replaced(model, make), nn.DataParallel(replaced(model, make))):
        found = analyze_model(other, folded=True)
        assert found.batchnorm.notna().all()
        np.testing.assert_allclose(found.energy, right.energy, rtol=1e-12)


WRAPPED = {
    "DataParallel": nn.DataParallel,
    "average": AveragedModel,
    "compiled": torch.compile,
    "compiled in place": lambda model: model.compile() or model,
    "compiled, parallel": lambda model: torch.compile(nn.DataParallel(model)),
    "parallel, compiled": lambda model: nn.DataParallel(torch.compile(model)),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_models_are_looked_through(name):
    model = randomize(ResNet18(4))
    right = analyze_model(model, folded=True)
    found = analyze_model(WRAPPED[name](copy.deepcopy(model)), folded=True)
    assert found.layer.tolist() == right.layer.tolist()
    assert found.batchnorm.tolist() == right.batchnorm.tolist()
    assert (found.energy == right.energy).all()


def test_wrapped_parts_are_looked_through():
    for wrap in (torch.compile, nn.DataParallel):
        model = nn.Sequential(nn.Conv2d(3, 3, 3), wrap(ResNet18(2)))
        assert len(batchnorm_after_convolution(model, traced=True)) == 20
        found = analyze_model(model, folded=True)
        assert found.batchnorm.notna().sum() == 17, found.note.unique()
        assert not found.layer.str.contains("_orig_mod").any()


def lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.LazyLinear(3))


def traced():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(ResNet18(2).eval(), torch.rand(1, 3, 16, 16))


def frozen():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.freeze(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3)).eval()))


class Functional(nn.Module):
    """Kernels that belong to no layer."""

    def __init__(self):
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.kernels)


SKIPPED = {  # model -> what stands under "skipped"
    "TorchScript": (traced, {"conv1": "TorchScript"}),
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
    "not a number": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3)).apply(lambda m: nan_weight(m)),
        {"0": "NaN"},
    ),
    "zero": (lambda: nn.Sequential(zero(nn.Conv2d(3, 4, 3))), {"0": "all its kernels are zero"}),
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


def nan_weight(module):
    if isinstance(module, nn.Conv2d):
        module.weight.data[0, 0, 0, 0] = torch.nan


def fake():
    with FakeTensorMode():
        return nn.Conv2d(3, 4, 3)


def zero(module):
    nn.init.zeros_(module.weight)
    return module


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("name", SKIPPED)
def test_nothing_vanishes(name, folded):
    make, expected = SKIPPED[name]
    table = analyze_model(make(), folded=folded)
    assert len(table) == 0 and list(table)[:3] == ["layer", "kernel_size", "kernels"]
    skipped = table.attrs["skipped"]
    assert set(expected) <= set(skipped), skipped
    for layer, text in expected.items():
        assert text in skipped[layer]


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


class Standardised(nn.Conv2d):
    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, w / w.std((1, 2, 3), keepdim=True), self.bias)


class Difference(nn.Conv2d):
    """A convolution minus one with the sums of its kernels, so that constant images give zero."""

    def forward(self, x):
        sums = self.weight.sum((2, 3), keepdim=True)
        image = F.pad(x, [p for p in self.padding for _ in "12"])
        inner = image[..., 1:-1, 1:-1]
        return super().forward(x) - F.conv2d(inner, sums, None, self.stride, 0, 1, self.groups)


class Scaled(nn.Module):
    """Not a class of torch's; its output is scaled, activated and has an offset of its own."""

    def __init__(self, *_, **__):
        super().__init__()
        self.weight, self.stride = nn.Parameter(torch.randn(4, 3, 3, 3)), 2

    def forward(self, x):
        return F.silu(5 * F.conv2d(x, self.weight, None, self.stride, 1), inplace=True)


class ScaledConv(Scaled):
    pass


class Same(nn.Conv2d):
    """Pads as TensorFlow does; its attribute says 0."""

    def forward(self, x):
        pads = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) for n in x.shape[:1:-1]]
        return super().forward(F.pad(x, [q for p in pads for q in (p // 2, p - p // 2)]))


def difference(conv):
    w = conv.weight.detach().clone()
    w[..., 1, 1] -= w.sum((2, 3))
    return w


def standardised(conv):
    w = conv.weight.detach()
    w = w - w.mean((1, 2, 3), keepdim=True)
    return w / w.std((1, 2, 3), keepdim=True)


def stale(conv):
    """The weights are loaded; the attribute is of those before until the next forward pass."""
    model = nn.utils.weight_norm(conv)
    model.load_state_dict({n: 2 * v + 1 for n, v in model.state_dict().items()})
    return model


def loaded(conv):
    v = conv.weight_v.detach()
    return v * (conv.weight_g / v.flatten(1).norm(dim=1).view(-1, 1, 1, 1)).detach()


def scripted(conv):
    return torch.jit.script(nn.Sequential(conv))[0]


def hooked(conv):
    conv.register_forward_hook(lambda conv, inputs, output: -3 * output)
    return conv


def plain(conv):
    return conv.weight.detach()


KINDS = {  # a layer from a plain one, and the kernels with which it convolves
    "standardised": (lambda c: Standardised(3, 4, 3, 2, 1), standardised),
    "two convolutions": (lambda c: Difference(3, 4, 3, 2, 1), difference),
    "of no class of torch's": (ScaledConv, lambda c: 5 * c.weight.detach()),
    "other padding": (lambda c: Same(3, 4, 3, 2), plain),
    "weight norm": (nn.utils.parametrizations.weight_norm, plain),
    "stale attribute": (stale, loaded),
    "spectral norm": (nn.utils.parametrizations.spectral_norm, plain),
    "pruned": (lambda c: prune.random_unstructured(c, "weight", 0.5), plain),
    "scripted": (scripted, plain),
    "hooked": (hooked, lambda c: -3 * c.weight.detach()),
    "quantised": (lambda c: quantized.Conv2d(3, 4, 3), lambda c: c.weight().dequantize()),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_kernels_are_what_the_layer_does(name):
    change, expected = KINDS[name]
    layer = change(nn.Conv2d(3, 4, 3, 2, 1))
    model = nn.Sequential(layer, nn.BatchNorm2d(4)).train()
    before = copy.deepcopy(dict(model.state_dict()))
    table = analyze_model(model, folded=True)
    assert all(
        v is None or torch.equal(v, before[n])
        for n, v in model.state_dict().items()
        if isinstance(v, torch.Tensor)
    )
    assert table.layer.tolist() == ["0"] and table.attrs["skipped"] == {}
    parts = brute_force(expected(layer.eval()).double().numpy())[1]
    assert table.corner_share[0] == pytest.approx(parts[-1] / parts.sum(), rel=1e-5)
    if table.batchnorm[0]:
        parts /= 1 + 1e-5
    assert table.energy[0] == pytest.approx(parts.sum(), rel=1e-5)


class Xnor(nn.Conv2d):
    def forward(self, x):
        return super().forward(x.sign())


def test_what_is_not_linear_is_said():
    table = analyze_model(nn.Sequential(Xnor(3, 4, 3)))
    assert len(table) == 0 and table.attrs["skipped"] == {"0": "Xnor is not linear in its input"}


PARTS = {
    "pruned": lambda c: prune.random_unstructured(c, "weight", 0.5),
    "weight norm": nn.utils.weight_norm,
    "weight norm of all": lambda c: nn.utils.weight_norm(c, dim=None),
    "new weight norm": nn.utils.parametrizations.weight_norm,
    "spectral norm": nn.utils.spectral_norm,
    "new spectral norm": nn.utils.parametrizations.spectral_norm,
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.filterwarnings("ignore")
def test_state_dicts_with_weights_in_parts(name):
    model = nn.Sequential(PARTS[name](nn.Conv2d(3, 4, 3)), nn.Conv2d(4, 4, 3)).eval()
    model(torch.rand(1, 3, 8, 8))
    table = analyze_model({"state_dict": model.state_dict()})
    np.testing.assert_allclose(table.energy, analyze_model(model).energy, rtol=1e-6)
    assert table.layer.tolist() == ["0", "1"] and table.attrs["skipped"] == {}


def test_a_weight_that_a_state_dict_does_not_make_is_named():
    model = nn.Sequential(nn.utils.parametrizations.orthogonal(nn.Conv2d(3, 4, 3)))
    skipped = analyze_model(model.state_dict()).attrs["skipped"]
    assert "analyse the model" in skipped["0.parametrizations.weight.original"]


def test_only_models_and_state_dicts():
    for wrong in (None, "resnet18", torch.ones(4, 3, 3, 3), [nn.Conv2d(3, 4, 3)]):
        with pytest.raises(TypeError, match="must be an nn.Module or a state dict"):
            analyze_model(wrong)


def test_the_model_is_not_changed():
    model = ResNet18(2).train()
    model.bn1.eval()
    model.strange = lazy()
    modes = [module.training for module in model.modules()]
    model.conv1.weight.grad = torch.ones_like(model.conv1.weight)
    state = torch.random.get_rng_state()
    before = {n: v.clone() for n, v in model.state_dict().items() if "strange" not in n}
    analyze_model(model, folded=True)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(v, model.state_dict()[n]) for n, v in before.items())
    assert isinstance(model.strange[0].weight, nn.parameter.UninitializedParameter)
    assert torch.equal(torch.random.get_rng_state(), state)


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


@pytest.mark.parametrize("size", [(16, 16), (32, 32), (31, 31), (51, 5), (5, 51), (13, 7)])
def test_large_kernels_and_their_columns(size):
    conv = nn.Conv2d(4, 6, size, groups=2)
    table = analyze_model(nn.Sequential(conv, nn.Conv2d(6, 6, 3)))
    radii, expected = brute_force(conv.weight.detach().double().numpy())
    columns = [name for name in table if name.startswith("db_")]
    assert len(set(columns)) == len(columns)
    levels = table[columns].iloc[0].dropna()
    assert len(levels) == len(radii)
    np.testing.assert_allclose([float(n[3:]) for n in levels.index], radii, atol=1e-4)
    counts = np.array([np.isclose(all_radii(size), r, atol=1e-9).sum() for r in radii])
    white = 10 * np.log10(expected / counts / expected.sum() * counts.sum())
    np.testing.assert_allclose(levels, white, atol=1e-9)


def all_radii(size):
    return np.hypot(*np.meshgrid(*map(np.fft.fftfreq, size), indexing="ij"))


def test_memory_of_large_kernels_is_bounded():
    code = """
import resource, torch
from torch import nn
from utils.spectra.kernels import analyze_model
model = nn.Sequential(nn.Conv2d(3, 768, 32), nn.BatchNorm2d(768), nn.Conv2d(768, 384, (31, 31),
    groups=384), nn.BatchNorm2d(384), nn.Conv2d(384, 384, (51, 5), groups=384))
analyze_model(nn.Sequential(nn.Conv2d(3, 4, 9), nn.BatchNorm2d(4)), folded=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = analyze_model(model, folded=True)
assert table.batchnorm.notna().sum() == 2
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 200 * 1024, done.stdout  # KiB


def test_autocorrelation_of_folded_kernels():
    model = randomize(nn.Sequential(nn.Conv2d(3, 4, (3, 2)), nn.BatchNorm2d(4)))
    found = kernel_spectra(model, True, 0.25)[1]["0"]
    kernels = fuse_conv_bn_eval(model[0], model[1]).weight.detach().double().numpy()
    expected = sum(signal.correlate2d(k, k) for k in kernels.reshape(12, 3, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


FAMILIES = [
    "alexnet",
    "vgg11_bn",
    "resnet50",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "densenet121",
    "googlenet",
    "inception_v3",
    "squeezenet1_0",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "regnet_y_400mf",
    "convnext_tiny",
    "vit_b_32",
    "swin_t",
    "swin_v2_t",
    "maxvit_t",
]
WITHOUT = {"alexnet", "squeezenet1_0", "convnext_tiny", "vit_b_32", "swin_t", "swin_v2_t"}
NOT_DIRECTLY = {"densenet121": 58, "inception_v3": 1, "maxvit_t": 1}  # norms before, aux, two ways


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvisions_families(name):
    quick = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    table = analyze_model(get_model(name, weights=None, **quick), folded=True)
    levels = table.filter(like="db_").to_numpy()
    assert len(table) and np.isfinite(levels).any(1).all() and not np.isinf(levels).any()
    raw = table.batchnorm.isna().sum()
    assert raw == (len(table) if name in WITHOUT else NOT_DIRECTLY.get(name, 0))
