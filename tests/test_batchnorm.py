"""Which BatchNorm follows which convolution: what is folded is the same function, or is not."""

import copy

import numpy as np
import pytest
import torch
from test_model_spectra import energy, randomize
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel
from torchvision.ops import FrozenBatchNorm2d

from models.resnet import ResNet18
from utils.spectra.batchnorm import batchnorm_after_convolution, is_batchnorm
from utils.spectra.feature_maps import feature_spectra
from utils.spectra.input_sensitivity import input_sensitivity
from utils.spectra.kernels import analyze_model
from utils.training.evaluation import for_inference


class Noise(nn.Module):
    """A layer of somebody's that does nothing at inference."""

    def forward(self, x):
        return x + torch.randn_like(x) if self.training else x


class Twice(nn.Module):
    """One convolution or BatchNorm in two places; `way` is the way of the data."""

    def __init__(self, way):
        super().__init__()
        self.c, self.d = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.m, self.n, self.same = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.Identity()
        self.way, self.dropout, self.noise = way, nn.Dropout(0.5), Noise()

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
    "through a layer without effect": (lambda s, x: s.n(s.noise(s.c(x))), {"c": "n"}),
    "through a copy": (lambda s, x: s.n(s.c(x).clone()), {"c": "n"}),
    "through an activation in place": (lambda s, x: s.n(F.relu(s.c(x), inplace=True)), {}),
    "through what does nothing": (
        lambda s, x: s.n(F.dropout(s.c(x), 0.5, s.training).contiguous().float()),
        {"c": "n"},
    ),
    "its type is taken": (lambda s, x: s.n(x.type_as(s.c(x))), {}),
    "through dropout": (lambda s, x: s.n(s.dropout(s.c(x))), {"c": "n"}),
    "plain": (lambda s, x: s.n(s.d(torch.relu(s.m(s.c(x))))), {"c": "m", "d": "n"}),
}


ELSEWHERE = ("kernels used elsewhere", "norm's numbers used")


@pytest.mark.parametrize("traceable", [True, False])
def test_what_is_used_twice_is_not_folded(traceable):
    for name, (way, expected) in WAYS.items():
        checked = lambda s, x, way=way: way(s, x) if x.shape[1] == 4 else None
        model = randomize(Twice(way if traceable else checked))
        if not traceable and name in ("bare and normalised", "output and norm", *ELSEWHERE):
            expected = {"c": "n"}  # where hooks watch, what functions read is not seen
        assert batchnorm_after_convolution(model) == expected, name
        table = analyze_model(model, folded=True).set_index("layer")
        assert table.batchnorm.dropna().to_dict() == expected
        if not expected and "activation" not in name:
            assert table.note.str.contains("used|elsewhere|goes to").any(), (name, table.note)
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


class Aliases(nn.Module):
    """A convolution under two names, called by the second."""

    def __init__(self, conv, norm):
        super().__init__()
        self.first, self.norm = conv, norm
        self.second = self.first

    def forward(self, x):
        return self.norm(self.second(x))


CHANGES = {  # of a convolution and a BatchNorm a network, and whether they can become one layer
    "plain": (nn.Sequential, True),
    "two names": (Aliases, True),
    "convolution of another class": (lambda c, n: nn.Sequential(Halved(4, 4, 3), n), False),
    "BatchNorm of another class": (lambda c, n: nn.Sequential(c, Active(4)), False),
    "no statistics": (
        lambda c, n: nn.Sequential(c, nn.BatchNorm2d(4, track_running_stats=False)),
        False,
    ),
    "no weights": (lambda c, n: nn.Sequential(c, nn.BatchNorm2d(4, affine=False)), True),
    "synchronised": (lambda c, n: nn.Sequential(c, nn.SyncBatchNorm(4)), True),
    "frozen": (lambda c, n: nn.Sequential(c, FrozenBatchNorm2d(4)), False),
    "weight norm": (lambda c, n: nn.Sequential(nn.utils.parametrizations.weight_norm(c), n), False),
    "identity between": (lambda c, n: nn.Sequential(c, nn.Identity(), n), True),
    "hook of the convolution": (lambda c, n: nn.Sequential(doubled(c), n), False),
    "hook of the BatchNorm": (lambda c, n: nn.Sequential(c, doubled(n)), False),
    "wrapped": (lambda c, n: nn.DataParallel(nn.Sequential(c, n)), True),
}


def test_for_inference_never_changes_the_function():
    for name, (change, folded) in CHANGES.items():
        model = randomize(change(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
        x, found = torch.randn(3, 4, 8, 8), for_inference(model)
        torch.testing.assert_close(found(x), model(x), rtol=1e-4, atol=1e-4)
        assert any(map(is_batchnorm, found.modules())) != folded, name


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


def test_other_batchnorms_are_batchnorms():
    model = randomize(ResNet18(2))
    right = analyze_model(model, folded=True)
    for make in (nn.SyncBatchNorm, FrozenBatchNorm2d, DetrFrozenBatchNorm2d):
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


def test_wrapped_models_and_parts_are_looked_through_and_not_compiled(monkeypatch):
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", None)
    model, images = randomize(ResNet18(2)), torch.rand(2, 3, 16, 16)
    right, maps = analyze_model(model, folded=True), feature_spectra(model, images)
    power = input_sensitivity(model, images)
    for name, wrap in WRAPPED.items():
        wrapped = wrap(copy.deepcopy(model))
        assert analyze_model(wrapped, folded=True).equals(right), name
        assert feature_spectra(wrapped, images).equals(maps), name
        np.testing.assert_allclose(input_sensitivity(wrapped, images), power, err_msg=name)
    for wrap in (torch.compile, nn.DataParallel):
        whole = nn.Sequential(nn.Conv2d(3, 3, 3), wrap(model))
        assert len(batchnorm_after_convolution(whole, traced=True)) == 20
        plain = input_sensitivity(nn.Sequential(whole[0], model), images)
        np.testing.assert_allclose(input_sensitivity(whole, images), plain, rtol=1e-6)
        found = analyze_model(whole, folded=True)
        assert found.batchnorm.notna().sum() == 17, found.note.unique()
        assert not found.layer.str.contains("_orig_mod").any()
