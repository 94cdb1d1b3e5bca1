"""The script on other people's models, and what only the owner of a model can say of it."""

import argparse
import importlib.util
import os
import pickle
import re
import sys
import zipfile
from datetime import datetime
from pathlib import Path

import job
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from matplotlib.image import imread
from PIL import Image
from test_figures import assert_readable
from torch import nn
from torchvision import transforms
from torchvision.models import get_model, resnet18
from torchvision.transforms.functional import to_tensor

from data import image_folder
from data.corruptions import fourier_basis
from data.images import MEAN, STD
from models.resnet import ResNet18
from utils.evidence.white import is_white, with_white
from utils.frequency import spectrum_from_power
from utils.recorder import COLUMNS, SpectrumRecorder
from utils.runtime import results, settings
from utils.spectra.external_models import WeightsError, find_model, load_weights
from utils.spectra.input_sensitivity import input_sensitivity
from utils.spectra.kernels import analyze_model
from utils.training import checkpoints, evaluation, pictures

spec = importlib.util.spec_from_file_location("script", ROOT / "experiments" / "analyze_model.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def run(monkeypatch, results, *arguments):
    """The script's `main` in this process; returns its tables by name."""
    line = ["analyze_model.py", "--results-dir", results, "--device", "cpu", *arguments]
    monkeypatch.setattr(sys, "argv", [str(word) for word in line])
    assert script.main() == 0
    paths = (results / "data").glob("*.csv")
    tables = {path.stem: pd.read_csv(path, dtype={"layer": str}) for path in paths}
    shown = {name.removeprefix("analyze_"): table for name, table in tables.items()}
    for name, figure in script.figures(shown).items():
        assert_readable(figure, name)
    return tables


@pytest.fixture
def weights(tmp_path):
    """A file of random weights of a small network."""
    path = tmp_path / "mine.pth"
    torch.save(ResNet18(4).state_dict(), path)
    return path


class Repeated(nn.Module):
    """A sequence as often as the input says, which no tracing can tell."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)

    def forward(self, sound):
        for _ in range(int(sound.max())):
            sound = self.norm(self.conv(sound))
        return sound


class Keywords(Repeated):
    def forward(self, pixel_values=None, *, mask):
        if pixel_values.mean() > 2:
            raise ValueError("not normalised")
        return {"logits": self.norm(self.conv(pixel_values)).mean((2, 3)) * mask}


def test_what_follows_a_convolution_is_told_by_the_user():
    table = analyze_model(Repeated(), folded=True)
    assert table.batchnorm[0] is None and table.note[0].startswith("it is used 0 times")
    table = analyze_model(Repeated(), folded=True, batchnorms={"conv": "norm"})
    assert (table.batchnorm[0], table.note[0]) == ("norm", "")
    with pytest.raises(ValueError, match="batchnorms names 'bn'; allowed: norm"):
        analyze_model(Repeated(), folded=True, batchnorms={"conv": "bn"})
    table = analyze_model(Keywords(), folded=True)
    assert table.note[0].endswith("give an example that fits, or batchnorms")
    example = {"pixel_values": torch.rand(2, 1, 9, 9), "mask": torch.ones(2, 1)}
    assert analyze_model(Keywords(), folded=True, example=example).batchnorm[0] == "norm"


README = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", dict.fromkeys(README))
def test_the_lines_of_the_readme(code, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec(code, {"model": ResNet18(2), "epoch": 0})  # noqa: S102 (the text of the page)


# ---------------------------------------------------------------- the script


def test_a_model_of_torchvision(monkeypatch, tmp_path, capsys):
    tables = run(monkeypatch, tmp_path, "--model", "resnet18", "--weights", "random")
    torch.manual_seed(0)
    expected = analyze_model(resnet18(), folded=True)
    table = tables["analyze_resnet18"]
    assert table.layer.tolist() == expected.layer.tolist()
    for column in ("energy", "ssr", "high_share", "corner_share", "db_0.4714"):
        np.testing.assert_allclose(table[column], expected[column], rtol=1e-5, atol=1e-6)
    assert table.batchnorm.tolist() == expected.batchnorm.tolist()
    assert (table.model == "resnet18, random weights").all() and table.folded.all()
    picture = imread(tmp_path / "figures" / "analyze_resnet18.png")
    assert picture.shape[1] > 1000 and picture.std() > 0.1
    text = capsys.readouterr().out
    assert "layer4.1.conv2" in text and "Skipped: layer2.0.downsample.0" in text
    assert "is that of white kernels, but for chance" in text and "low-pass" not in text
    drawn = tmp_path / "figures" / "analyze_resnet18.png"
    before = drawn.stat().st_size
    monkeypatch.setattr(sys, "argv", ["x", "--redraw", str(tmp_path / "data")])
    assert script.main() == 0
    assert (tmp_path / "data" / "analyze_resnet18.png").stat().st_size == before


def test_a_file_against_another(monkeypatch, tmp_path, weights, capsys):
    torch.manual_seed(5)
    other = ResNet18(4)
    with torch.no_grad():
        other.conv1.weight.copy_(other.conv1.weight.mean((2, 3), keepdim=True))
    checkpoint = {"model": {f"_orig_mod.module.{n}": v for n, v in other.state_dict().items()}}
    checkpoint |= {"args": argparse.Namespace(lr=0.1), "best": np.float64(3), "epoch": 7}
    checkpoint |= {"path": Path("a"), "when": datetime(2020, 1, 2), "curve": np.arange(3) / 2}
    torch.save(checkpoint, tmp_path / "a checkpoint.pt.tar")
    line = ("--model", tmp_path / "a checkpoint.pt.tar", "--compare-with", weights)
    tables = run(monkeypatch, tmp_path, *line)
    mine = analyze_model(torch.load(weights)).set_index("layer")
    table = tables["analyze_a_checkpoint"].set_index("layer")
    found = analyze_model(other).set_index("layer")
    assert table.index.tolist() == mine.index.tolist()
    assert table.ssr["conv1"] == pytest.approx(1)  # constant kernels
    ratio = 1 - found.high_share / mine.high_share
    np.testing.assert_allclose(table.ssr, ratio, atol=1e-6)
    layer = "blocks.3.conv2"
    difference = found.loc[layer, "db_0.3333"] - mine.loc[layer, "db_0.3333"]
    assert table.loc[layer, "db_0.3333"] == pytest.approx(difference, abs=1e-5)
    assert (table.reference == str(weights)).all()
    assert f"than in {weights}" in capsys.readouterr().out


def test_against_a_model_whose_radii_have_more_digits(monkeypatch, tmp_path):
    kernels = torch.randn(4, 3, 3, 3)
    torch.save({"a.weight": kernels}, tmp_path / "mine.pt")
    other = {"a.weight": 2 * kernels.flip(3), "b.weight": torch.ones(1, 1, 51, 5)}
    torch.save(other | {"c.weight": torch.ones(1, 1, 31, 31)}, tmp_path / "other.pt")
    line = ("--model", tmp_path / "mine.pt", "--compare-with", tmp_path / "other.pt")
    table = run(monkeypatch, tmp_path, *line)["analyze_mine"]
    np.testing.assert_allclose(table.filter(like="db_"), [[0, 0, 0]], atol=1e-6)


@pytest.mark.filterwarnings("ignore:SSR is NaN")
@pytest.mark.parametrize("others", [[], [(1, 5), (5, 1)]])
def test_kernels_without_a_high_band(monkeypatch, tmp_path, capsys, others):
    """1x3 kernels have no radius above 0.4: no SSR, so neither the most nor the least low-pass."""
    sizes = dict(zip("abcd", [(1, 3), (3, 1), *others]))
    signs = torch.tensor([1.0, -1, 1, -1, 1]).view(5, 1)  # the last is no low-pass
    kernels = {n: torch.ones(4, 3, *s) * (signs if n == "d" else 1) for n, s in sizes.items()}
    torch.save({f"{n}.weight": values for n, values in kernels.items()}, tmp_path / "x.pt")
    tables = run(monkeypatch, tmp_path, "--model", tmp_path / "x.pt", "--cutoff", "0.39")
    assert tables["analyze_x"].ssr.isna().sum() == 2
    printed = capsys.readouterr().out
    assert ("mean SSR over 2 layers" in printed) == bool(others)
    assert ("no SSR" in printed) != bool(others) and "nan" not in printed
    figure = script.figures({name.removeprefix("analyze_"): t for name, t in tables.items()})["x"]
    named = [ax.get_title()[0] for ax in figure.axes if "low-pass" in ax.get_title()]
    assert named == [*"cd"][: len(others)]


def test_a_run_with_images(monkeypatch, tmp_path, capsys):
    torch.manual_seed(1)
    model = ResNet18(4).eval()
    folder = tmp_path / "cifar10-quick-0123" / "l2=0.001-seed0"
    folder.mkdir(parents=True)
    checkpoints.save({"identity": "x", "epoch": 2, "model": model.state_dict()}, folder / "last.pt")
    (folder / "settings.json").write_text('{"settings": {"width": 4}}')
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    for number, image in enumerate(pixels):
        place = "pictures/more" if number % 2 else "pictures"
        Image.fromarray(image).save(tmp_path / place / f"{number}.png")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    line = ("--model", folder, "--images", tmp_path / "pictures", "--cutoff", "0.3")
    tables = run(monkeypatch, tmp_path, *line)
    name = "analyze_cifar10-quick-0123_l2_0_001-seed0"
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255

    class Normalized(ResNet18):
        def forward(self, x):
            return super().forward((x - mean) / std)

    exact = Normalized(4).double()
    exact.load_state_dict(model.state_dict())
    power = input_sensitivity(exact, images)
    spectrum = spectrum_from_power(power)
    found = tables[f"{name}_sensitivity"]
    np.testing.assert_allclose(found.energy, spectrum.energy, rtol=1e-3)
    found = tables[f"{name}_sensitivity_map"].pivot(index="fy", columns="fx", values="power")
    np.testing.assert_allclose(found, power, rtol=1e-2)
    assert found.index[19] == 3 / 32 and found.columns[21] == 5 / 32
    features = tables[f"{name}_features"]
    assert features.layer.iloc[0] == "(input)" and "blocks.7" in set(features.layer)
    assert (features.images == "6 images of pictures, 32 x 32 pixels").all()
    for figure in (name, f"{name}_features", f"{name}_sensitivity"):
        assert imread(tmp_path / "figures" / f"{figure}.png").std() > 0.05
    text = capsys.readouterr().out
    assert f"{spectrum.high_share(0.3):.3f} of the sensitivity lies above 0.3" in text
    assert "6 images of pictures, 32 x 32 pixels\n" in text and "from all 10 classes" in text


def test_images_of_another_size_and_many_classes(monkeypatch, tmp_path, cifar10_root):
    line = ("--model", "squeezenet1_0", "--weights", "random", "--images", "cifar10")
    tables = run(monkeypatch, tmp_path, *line, "--image-count", "1", "--data-root", cifar10_root)
    found = tables["analyze_squeezenet1_0_sensitivity"]
    assert found.multiplicity.sum() == 224**2
    assert (found.directions == "32 random signs per image").all()


def test_an_output_that_does_not_depend_on_the_images(monkeypatch, tmp_path, cifar10_root, capsys):
    line = ("--model", "vit_b_32", "--weights", "random", "--images", "cifar10")
    tables = run(monkeypatch, tmp_path, *line, "--image-count", "1", "--data-root", cifar10_root)
    assert "No sensitivity: the output does not depend" in capsys.readouterr().out
    assert "analyze_vit_b_32_features" in tables and len(tables) == 3
    assert imread(tmp_path / "figures" / "analyze_vit_b_32_features.png").std() > 0.05


def test_weights_of_an_own_file_for_a_model_of_torchvision(monkeypatch, tmp_path):
    model = resnet18()
    model.bn1.running_var.fill_(4)
    torch.save(model.state_dict(), tmp_path / "trained.pt")
    tables = run(monkeypatch, tmp_path, "--model", "resnet18", "--weights", tmp_path / "trained.pt")
    table = tables["analyze_resnet18"].set_index("layer")
    assert table.batchnorm["conv1"] == "bn1"
    raw = float(model.conv1.weight.detach().double().square().sum())
    assert table.energy["conv1"] == pytest.approx(raw / (4 + 1e-5), rel=1e-5)


class Evil:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def hostile(folder):
    """Files that cannot be used: name -> what is said."""
    evil = Evil(folder / "executed")
    good = {"c.weight": torch.randn(64, 64, 3, 3)}
    torch.save(good, folder / "whole.pt")
    content = (folder / "whole.pt").read_bytes()
    torch.save({"state_dict": good, "more": evil}, folder / "evil.pt")
    (folder / "pickle.pth").write_bytes(pickle.dumps(evil))
    torch.save(nn.Conv2d(3, 4, 3), folder / "module.pt")
    torch.jit.save(torch.jit.script(nn.Conv2d(3, 4, 3)), folder / "script.pt")
    for name, part in (("half", content[: len(content) // 2]), ("empty", b"")):
        (folder / f"{name}.pt").write_bytes(part)
    with zipfile.ZipFile(folder / "zip.pth.tar", "w") as archive:
        archive.writestr("a/data.pkl", "no pickle")
    torch.save({"fc.weight": torch.ones(3, 3)}, folder / "linear.pt")
    torch.save([good], folder / "list.pt")
    around = {"a": {}}
    around["a"]["a"] = around
    torch.save(around, folder / "around.pt")
    (folder / "folder.pt").mkdir()
    return {
        "evil.pt": r"holds \w+.mkdir, which is not loaded",
        "pickle.pth": "damaged, or not a file of weights",
        "module.pt": "holds torch.nn.modules.conv.Conv2d.*state_dict",
        "script.pt": "TorchScript program|ScriptModule",
        "half.pt": "damaged",
        "empty.pt": "damaged",
        "zip.pth.tar": "damaged",
        "linear.pt": "no weights of convolutions",
        "list.pt": "holds a list, no state dict",
        "around.pt": "no weights of convolutions",
        "missing.pt": "cannot be read .No such file",
        "missing.safetensors": "cannot be read .No such file",
        "folder.pt": "holds no file of weights",
    }


@pytest.mark.filterwarnings("ignore")
def test_hostile_files_are_one_line_and_nothing_is_executed(monkeypatch, tmp_path):
    for name, text in hostile(tmp_path).items():
        with pytest.raises(WeightsError, match=text) as error:
            run(monkeypatch, tmp_path / "results", "--model", tmp_path / name)
        assert "\n" not in str(error.value) and len(str(error.value)) < 500
        assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "results").exists()


def test_names_of_a_hostile_file(monkeypatch, tmp_path, capsys):
    weight = torch.randn(4, 3, 3, 3)
    layers = ("a\x1b[2Jb", "$\\frac{$", "x" * 3000, "0.10", "0.1")
    path = tmp_path / f"{'n' * 50}$\\frac{{$.pt"
    torch.save({f"{layer}.weight": weight for layer in layers}, path)
    line = ("--model", path, "--compare-with", path)
    (table,) = (t for n, t in run(monkeypatch, tmp_path, *line).items() if n.endswith("frac"))
    assert "\x1b" not in capsys.readouterr().out
    assert table.layer.tolist()[3:] == ["0.10", "0.1"]


def test_containers_that_are_found():
    good = {"c.weight": torch.ones(2, 2, 3, 3)}
    other = {"c.weight": torch.full((2, 2, 3, 3), 2.0)}
    momentum = {"state": {0: {"exp_avg": torch.ones(2, 2, 3, 3)}}}
    for content, energy in (
        (good, 36),
        ({"state_dict": good}, 36),
        ({"optimizer": momentum, "ema": other, "model": good}, 36),
        ({"optimizer": momentum, "ema": {"module": other}}, 144),
        ({"net": {"encoder": other}, "epoch": 3, 7: good}, 144),
        ({f"module._orig_mod.{name}": value for name, value in good.items()}, 36),
    ):
        table = analyze_model(content)
        assert table.layer.tolist() == ["c"] and table.energy[0] == energy
    both = {"a.weight": good["c.weight"], "module.a.weight": other["c.weight"]}
    assert len(analyze_model(both)) == 2  # not one in the other's place


def test_safetensors_only_where_the_package_is(monkeypatch, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(WeightsError, match="needs the package safetensors"):
        load_weights(tmp_path / "mine.safetensors")


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--model", "resnet5"], "'resnet5' is no file.*torchvision .*resnet50"),
        (["--model", "resnet18", "--weights", "MINE"], "does not fit resnet18"),
        (["--model", "MINE", "--images", "PICTURES"], "does not say how pictures become its input"),
        (["--model", "resnet18", "--weights", "random", "--images", "PICTURES"], "no pictures"),
        (["--model", "MINE", "--compare-with", "vgg11"], "is in vgg11, random weights too"),
        (["--model", "fasterrcnn_resnet50_fpn", "--images", "PICTURES"], "does not say"),
        (["--model", "raft_small", "--weights", "random", "--images", "PICTURES"], "does not say"),
    ],
)
def test_what_cannot_be_done_is_one_line(monkeypatch, tmp_path, weights, arguments, text):
    (tmp_path / "pictures").mkdir()
    names = {"MINE": weights, "PICTURES": tmp_path / "pictures"}
    arguments = [names.get(word, word) for word in arguments]
    if "--weights" not in arguments:
        arguments += ["--weights", "random"]
    with pytest.raises(OSError, match=text) as error:
        run(monkeypatch, tmp_path / "results", *arguments)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results").exists()


# ---------------------------------------------------------------- several files, parts, names


def test_two_files_of_one_name(monkeypatch, tmp_path):
    """The second start carries as much of its path as tells it apart; the first one's is kept. What
    a start has not measured is not left from the one before."""
    found = {}
    for place in ("run1", "run2", "more/run2", "run1"):
        path = tmp_path / place / "best.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(len(place))
        torch.save({"a.weight": torch.randn(4, 3, 3, 3)}, path)
        found = run(monkeypatch, tmp_path, "--model", path)
    names = {name: table.model[0] for name, table in found.items() if "auto" not in name}
    assert names == {
        "analyze_best": str(tmp_path / "run1" / "best.pth"),
        "analyze_run2_best": str(tmp_path / "run2" / "best.pth"),
        "analyze_more_run2_best": str(tmp_path / "more" / "run2" / "best.pth"),
    }
    (tmp_path / "data" / "analyze_best_features.csv").write_text("layer\n")
    (tmp_path / "figures" / "analyze_best_features.png").write_text("of an earlier start")
    run(monkeypatch, tmp_path, "--model", tmp_path / "run1" / "best.pth")
    assert not [*tmp_path.rglob("*features*")]


def test_weights_of_one_model_have_names_too(tmp_path):
    path = tmp_path / "run1" / "best.pth"
    path.parent.mkdir()
    torch.save(get_model("squeezenet1_1").state_dict(), path)
    expected = ("squeezenet1_1", "squeezenet1_1_best", "squeezenet1_1_run1_best")
    assert find_model("squeezenet1_1", str(path)).names[:3] == expected
    assert find_model("squeezenet1_1", "random").names[0] == "squeezenet1_1"


def test_several_networks_in_a_file(monkeypatch, tmp_path, capsys):
    one, other = torch.randn(4, 3, 3, 3), torch.randn(2, 3, 5, 5)
    ema = {"module": {"a.weight": other, "a.bias": torch.ones(2)}}
    file = {"epoch": 3, "state_dict_ema": ema, "state_dict": {"a.weight": one}}
    torch.save(file | {"optimizer": {"state": {0: {"exp_avg": one}}}}, tmp_path / "x.pth")
    torch.save(
        {"generator": {"a.weight": one}, "discriminator": {"b.weight": other}}, tmp_path / "gan.pt"
    )
    for name, part, size, said in (
        ("x.pth", None, "3x3", "state_dict (measured), state_dict_ema.module"),
        ("x.pth", "state_dict_ema", "5x5", "state_dict, state_dict_ema.module (measured)"),
        ("gan.pt", None, "3x3", "2 networks: generator (measured), discriminator; --part chooses"),
        ("gan.pt", "discriminator", "5x5", "2 networks: generator, discriminator (measured)"),
    ):
        line = ["--model", tmp_path / name, *(["--part", part] if part else [])]
        results = tmp_path / f"{name}{part}"
        (table,) = (t for n, t in run(monkeypatch, results, *line).items() if "auto" not in n)
        assert table.kernel_size.tolist() == [size] and said in capsys.readouterr().out
    with pytest.raises(WeightsError, match="no part 'b'; it has: generator, discriminator"):
        load_weights(tmp_path / "gan.pt", "b")


def test_checkpoints_are_followed_in_natural_order(monkeypatch, tmp_path, capsys):
    """As the recorder would have followed them, by the numbers in their names."""
    folder, model = tmp_path / "checkpoints", ResNet18(2)
    folder.mkdir()
    recorder = SpectrumRecorder(model)
    for epoch in (1, 2, 10, 90):
        model.conv1.weight.data.add_(0.1)
        recorder.record(epoch)
        torch.save({"model": model.state_dict(), "epoch": epoch}, folder / f"epoch{epoch}.pth")
    torch.save(ResNet18(3).state_dict(), folder / "epoch5.pth")
    (folder / "epoch6.pth").write_text("damaged")
    (folder / "best.pth").write_text("not one of the series")
    (folder / "notes.txt").write_text("no weights")
    table = run(monkeypatch, tmp_path, "--model", folder)["analyze_checkpoints_evolution"]
    expected = recorder.table.query("weights == 'raw'").reset_index(drop=True)
    pd.testing.assert_frame_equal(table[COLUMNS], expected, rtol=1e-6)
    assert list(dict.fromkeys(table.file)) == [f"epoch{n}.pth" for n in (1, 2, 10, 90)]
    text = capsys.readouterr().out
    for name, why in (("epoch5", "another network"), ("epoch6", "damaged"), ("best", "not called")):
        assert re.search(rf"Left out .*{name}.pth: .*{why}", text)
    files = [folder / f"epoch{n}.pth" for n in (90, 2)]
    table = run(monkeypatch, tmp_path / "two", "--model", *files)["analyze_checkpoints_evolution"]
    assert table.step.unique().tolist() == [2, 90]
    for name, epoch in (("first", 1), ("second", 2)):  # without numbers: the names stand for them
        (folder / f"epoch{epoch}.pth").rename(tmp_path / f"{name}.pth")
    files = [tmp_path / "second.pth", tmp_path / "first.pth"]
    (table,) = run(monkeypatch, tmp_path / "three", "--model", *files).values()
    assert table.groupby("file").step.first().to_dict() == {"first.pth": 0, "second.pth": 1}


def test_a_function_that_builds_a_network(monkeypatch, tmp_path):
    code = "few = lambda: nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4))"
    code = f"from torch import nn\n{code}\nnone = lambda: 3\ndef fails(): raise KeyError('x')\n"
    (tmp_path / "own_nets.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    line = ("--model", "own_nets:few", "--compare-with", "untrained")
    table = run(monkeypatch, tmp_path, *line)["analyze_own_nets_few"]
    assert table.batchnorm.tolist() == [1] and table.ssr[0] == 0
    torch.save({"0.weight": torch.ones(4, 3, 5, 5)}, tmp_path / "w.pt")
    for name, text in (
        ("own_nets:none", "returns a int, no nn.Module"),
        ("own_nets:fails", "cannot be built .'x'"),
        ("own_nets:missing", "no attribute 'missing'"),
        ("nothing_here:few", "No module named 'nothing_here'"),
        ("timm/none_such", "needs the package timm|cannot be built"),
    ):
        with pytest.raises(WeightsError, match=text) as error:
            find_model(name, "random")
        assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match="does not fit own_nets:few"):
        find_model("own_nets:few", str(tmp_path / "w.pt"))


def test_a_name_of_timm(monkeypatch, tmp_path, cifar10_root):
    pytest.importorskip("timm")
    line = ("--model", "timm/resnet10t", "--weights", "random", "--images", "cifar10")
    tables = run(monkeypatch, tmp_path, *line, "--image-count", "1", "--data-root", cifar10_root)
    assert "analyze_timm_resnet10t_sensitivity" in tables


# ---------------------------------------------------------------- white kernels, classes, errors


def test_the_sampling_error_of_white_kernels():
    torch.manual_seed(0)
    layers = {f"{n}.weight": torch.randn(4, 5, 5, 5) for n in range(400)}
    table = with_white(analyze_model(layers), 0.25)
    spread = (table.ssr**2).mean() ** 0.5
    assert spread == pytest.approx(table.white_error[0], rel=0.1)
    assert is_white(table).mean() > 0.98
    assert table.white_high_share[0] == pytest.approx(table.high_share.mean(), rel=0.01)
    low = with_white(analyze_model({"a.weight": torch.randn(64, 5, 5, 5) + 0.3}), 0.25)
    assert not is_white(low).any()


@pytest.mark.parametrize(
    "classes, names, outputs, expected",
    [
        (["dog", "red_fox"], ["Red fox", "cat", "dog"], 3, [2, 0]),
        (["b", "c"], ["x", "y"], 2, [0, 1]),
        (["1", "10", "2"], [], 11, [1, 10, 2]),
        (["a", "b"], ["a", "c", "d"], 3, None),
    ],
)
def test_which_output_is_a_class(classes, names, outputs, expected):
    assert image_folder.class_numbers(classes, names, outputs) == expected


def test_pictures_by_class(tmp_path):
    for name, count in (("ant", 5), ("bee", 1), ("cat", 5)):
        (tmp_path / name).mkdir()
        for number in range(count):
            Image.new("L", (8, 8), 9 * ord(name[0]) % 256).save(tmp_path / name / f"{number}.png")
    pixels, numbers, names = image_folder.load_classes(str(tmp_path), 6, to_tensor)
    assert names == ["ant", "bee", "cat"] and numbers.tolist() == [0, 0, 1, 2, 2]
    assert [*map(int, 255 * pixels[:, 0, 0, 0])] == [9 * ord(names[n][0]) % 256 for n in numbers]
    assert image_folder.load_classes(str(tmp_path), 2, to_tensor)[1].tolist() == [0, 1]
    Image.new("L", (8, 8)).save(tmp_path / "beside.png")
    assert image_folder.load_classes(str(tmp_path), 6, to_tensor) is None


class Blind(nn.Module):
    """Right (class 0) unless a given Fourier mode is there."""

    def __init__(self, u, v, size):
        super().__init__()
        self.wave = nn.Parameter(fourier_basis(u, v, size))

    def forward(self, x):
        seen = ((x - x.mean((2, 3), keepdim=True)) * self.wave).sum((2, 3)).abs().amax(1)
        return torch.stack([torch.ones_like(seen), seen], 1)


@pytest.mark.parametrize("size, modes, step", [(16, 99, 1), (32, 15, 3), (30, 4, 8)])
def test_errors_by_fourier_mode(size, modes, step):
    model = Blind(step, -step, size)
    images, labels = torch.full((5, 3, size, size), 0.5), torch.zeros(5, dtype=torch.long)
    labels[4] = 1
    found = evaluation.fourier_errors(model, images, labels, modes, 4, 0)
    grid = found.pivot(index="fy", columns="fx", values="error")
    assert (grid.shape[0] <= modes) and np.allclose(np.diff(grid.index), step / size)
    expected = np.full(grid.shape, 20.0)  # the fifth image is never right but where the mode is
    middle = len(grid) // 2
    expected[middle + 1, middle - 1] = expected[middle - 1, middle + 1] = 80
    np.testing.assert_allclose(grid, expected)
    assert (found.clean_error == 20).all() and (found.n_images == 5).all()
    assert found.standard_error[0] == pytest.approx((20 * 80 / 5) ** 0.5)
    assert found.norm[0] == pytest.approx(4 * size / 32)


def test_a_network_beside_an_untrained_one(monkeypatch, tmp_path):
    """Both on one scale in every figure; class subfolders give the map of errors."""
    torch.manual_seed(1)
    folder = tmp_path / "cifar10-x" / "baseline-seed0"
    folder.mkdir(parents=True)
    for name in ("last", "epoch-000"):
        model = ResNet18(2).eval()
        content = {"identity": "x", "epoch": 2, "model": model.state_dict()}
        checkpoints.save(content, folder / f"{name}.pt")
    (folder / "settings.json").write_text('{"settings": {"width": 2}}')
    for number in range(10):
        (tmp_path / "val" / str(number)).mkdir(parents=True)
        Image.effect_noise((32, 32), 50).save(tmp_path / "val" / str(number) / "a.png")
    line = ("--model", folder, "--compare-with", "untrained", "--images", tmp_path / "val")
    tables = run(monkeypatch, tmp_path, *line, "--image-count", "10", "--modes", "3")
    name = "analyze_cifar10-x_baseline-seed0"
    both = ["cifar10-x, baseline-seed0", "cifar10-x, baseline-seed0, epoch-000"]
    for kind in ("features", "sensitivity", "sensitivity_map", "fourier"):
        assert tables[f"{name}_{kind}"].network.unique().tolist() == both
    errors = tables[f"{name}_fourier"]
    assert len(errors) == 2 * 9 and errors.n_images.unique().tolist() == [10]
    shown = {name.removeprefix("analyze_"): table for name, table in tables.items()}
    for figure in script.figures(shown).values():
        scales = [image.get_clim() for ax in figure.axes for image in ax.images]
        assert len(scales) >= 2 and len(set(scales)) == 1


def test_pictures_of_sixteen_bits_and_hidden_files(tmp_path):
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    (tmp_path / "._deep.png").write_bytes(b"what macOS leaves beside a picture")
    found = image_folder.load(str(tmp_path), 3, transforms.functional.pil_to_tensor)
    assert found.shape == (1, 3, 64, 64)
    assert (found == torch.from_numpy(ramp.astype(np.int32)) // 256).all()


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "squeezenet1_0"])
def test_pictures_of_any_shape_become_one_size(tmp_path, name):
    for number, size in enumerate([(40, 30), (30, 40), (32, 32)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    found = image_folder.load(str(tmp_path), 3, find_model(name, "random").prepare)
    assert found.shape[:2] == (3, 3) and found.shape[2] == found.shape[3]


def test_a_damaged_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"a.png cannot be read as a picture"):
        pictures.load(find_model("resnet18", "random"), str(tmp_path), 1, None)


@pytest.mark.parametrize(
    "line, text",
    [
        ("--model ", "expected at least one argument"),
        ("--images nowhere", "IMAGES.*nowhere.*cifar10, or an existing folder"),
        ("--image-count 0", "IMAGE_COUNT.*from 1"),
        ("--folded maybe", "unrecognized.*maybe"),
        ("--cutoff 0.5", "CUTOFF.*0.5"),
    ],
)
def test_bad_settings_are_one_line(capsys, line, text):
    with pytest.raises(SystemExit) as end:
        settings.read_settings(vars(script), line.split())
    printed = capsys.readouterr().err
    assert end.value.code == 2 and printed.count("\n") == 1 and re.search(text, printed), printed


def test_without_a_network(tmp_path):
    """As a user: one line, nothing written."""
    results = tmp_path / "results"
    line = "analyze_model.py --model resnet18"
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = job.as_a_user(line, results, TORCH_HOME=str(tmp_path), **nowhere)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "cannot be downloaded" in done.stderr and "--weights random" in done.stderr
    assert not results.exists()


def test_downloaded_weights(monkeypatch, tmp_path):
    """Where torchvision has them already; the results are written under their lock."""
    monkeypatch.setattr(results, "write", results.write)  # as it is again afterwards
    job.write_only_under_a_lock()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(get_model("squeezenet1_1").state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    tables = run(monkeypatch, tmp_path / "results", "--model", "squeezenet1_1")
    assert (tables["analyze_squeezenet1_1"].model == "squeezenet1_1, IMAGENET1K_V1 weights").all()
