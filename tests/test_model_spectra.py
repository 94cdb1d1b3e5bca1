"""Spectra of whole networks: against torch's own folding, and nothing lost without a word."""

import numpy as np
import pytest
from test_frequency import brute_force
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import get_model

from utils.batchnorm import is_batchnorm
from utils.model_spectra import analyze_model


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
