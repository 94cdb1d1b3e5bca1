"""The script on other people's models, and five situations of an own model with what is printed."""

import argparse
import importlib.util
import os
import pickle
import re
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

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

from data import image_folder
from models.resnet import ResNet18
from utils.figures import analyze_model as draw
from utils.frequency import spectrum_from_power
from utils.runtime import settings
from utils.spectra.external_models import WeightsError, find_model, load_weights
from utils.spectra.feature_maps import feature_spectra
from utils.spectra.input_sensitivity import input_sensitivity
from utils.spectra.kernels import analyze_model
from utils.training import checkpoints

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


# ---------------------------------------------------------------- an own model: what is printed

OWN = """
import torch
from torch import nn
from utils.spectra.kernels import analyze_model
delta, mean = torch.zeros(3, 3), torch.full((3, 3), 1 / 9)
delta[1, 1] = 1
"""

SITUATIONS = {
    "A convolution before a BatchNorm, a blur after it": (
        """
model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 1, 3))
model[0].weight.data[0, 0], model[3].weight.data[0, 0] = delta, mean
model[1].weight.data[0], model[1].running_var[0], model[1].eps = 3, 1, 0
table = analyze_model(model, folded=True)
table["batchnorm"] = table.batchnorm.fillna("-")
print(table[["layer", "energy", "high_share", "batchnorm"]].round(3).to_string())
""",
        """
  layer  energy  high_share batchnorm
0     0   9.000       0.889         1
1     3   0.111       0.000         -
""",
    ),
    "Weights that were saved by a model in DataParallel": (
        """
saved = {"epoch": 3, "state_dict": {"module.stem.weight": delta.expand(4, 3, 3, 3),
                                    "module.stem_norm.running_var": torch.ones(4)}}
table = analyze_model(saved, folded=True)
print(table[["layer", "kernel_size", "kernels", "energy"]].to_string(), table.note[0], sep="; ")
""",
        """
  layer kernel_size  kernels  energy
0  stem         3x3       12    12.0; a state dict does not say what follows a convolution
""",
    ),
    "What follows is known to the user": (
        """
class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)
    def forward(self, sound):
        for step in range(int(sound.max())): sound = self.norm(self.conv(sound))
        return sound
table = analyze_model(Mine(), folded=True)
print(table.batchnorm[0], table.note[0][:38])
table = analyze_model(Mine(), folded=True, batchnorms={"conv": "norm"})
print(table.batchnorm[0], table.note[0])
try: analyze_model(Mine(), folded=True, batchnorms={"conv": "bn"})
except ValueError as error: print(error)
""",
        """
None it is used 0 times
norm 
batchnorms names 'bn'; allowed: norm
""",
    ),
    "A model that takes a dictionary, so that nothing can be guessed": (
        """
class Takes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1)
    def forward(self, pixel_values=None, *, mask):
        if pixel_values.mean() > 2: raise ValueError("not normalised")
        return {"logits": self.norm(self.conv(pixel_values)).mean((2, 3)) * mask}
table = analyze_model(Takes(), folded=True)
print(table.batchnorm[0], table.note[0][-40:], sep=" | ")
inputs = {"pixel_values": torch.rand(2, 1, 9, 9), "mask": torch.ones(2, 1)}
print(analyze_model(Takes(), folded=True, example=inputs).batchnorm[0])
""",
        """
None | give an example that fits, or batchnorms
norm
""",
    ),
    "Nothing to measure": (
        """
model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Conv2d(4, 8, 1), nn.ConvTranspose2d(8, 4, 3),
                      nn.Flatten(), nn.LazyLinear(2))
table = analyze_model(model)
print(len(table), *table.attrs["skipped"].items(), sep="; ")
""",
        """
0; ('0', 'not initialised yet'); ('1', '1x1'); ('2', 'transposed'); \
('(linear layers)', '1, without spatial frequencies')
""",
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_an_own_model(name, capsys):
    code, printed = SITUATIONS[name]
    exec(OWN + code, {"__name__": "own"})  # noqa: S102 (the text above)
    assert capsys.readouterr().out == printed[1:]


README = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", README)
def test_the_lines_of_the_readme(code):
    exec(code, {"__name__": "own"})  # noqa: S102 (the text of the page)


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
    for sentence in (
        r"The kernels' share of energy above 0.25 cycles/pixel is \d.\d % (lower|higher) than in white",
        r"Most low-pass, by SSR: \S+ \(-?0.\d{3}\), ",
        r"Least low-pass: \S+ \(-?0.\d{3}\), ",
    ):
        assert re.search(sentence, text), text
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
    tables = run(
        monkeypatch,
        tmp_path,
        "--model",
        tmp_path / "a checkpoint.pt.tar",
        "--compare-with",
        weights,
    )
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
    assert (table.reference == "mine.pth").all()
    assert "than in mine.pth" in capsys.readouterr().out


def test_the_figure_says_what_was_folded(monkeypatch, tmp_path, weights):
    """A state dict does not say which BatchNorm follows. Four responses where there are four layers."""
    for model, text in ((weights, "(raw weights;"), ("resnet18", "folded into 17;")):
        results = tmp_path / text[1:4]
        tables = run(monkeypatch, results, "--model", model, "--weights", "random")
        shown = {name.removeprefix("analyze_"): table for name, table in tables.items()}
        (figure,) = script.figures(shown).values()
        assert text in figure.get_suptitle()
        titles = [ax.get_title() for ax in figure.axes]
        assert sum("conv" in title for title in titles) == 4


def test_each_layer_has_one_curve():
    labels = {"model": "x", "device": "cpu"}
    for count in (1, 3, 12):
        layers = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(count))
        maps = feature_spectra(nn.Sequential(*layers), torch.rand(2, 3, 16, 16))
        figure = draw.features(maps.assign(**labels))
        (legend,) = (ax.get_legend() for ax in figure.axes if ax.get_legend())
        names = [text.get_text() for text in legend.get_texts()]
        assert len(names) == len(set(names)) == min(count, 8)


def test_against_a_model_whose_radii_have_more_digits(monkeypatch, tmp_path):
    kernels = torch.randn(4, 3, 3, 3)
    torch.save({"a.weight": kernels}, tmp_path / "mine.pt")
    other = {"a.weight": 2 * kernels.flip(3), "b.weight": torch.ones(1, 1, 51, 5)}
    torch.save(other | {"c.weight": torch.ones(1, 1, 31, 31)}, tmp_path / "other.pt")
    line = ("--model", tmp_path / "mine.pt", "--compare-with", tmp_path / "other.pt")
    table = run(monkeypatch, tmp_path, *line)["analyze_mine"]
    np.testing.assert_allclose(table.filter(like="db_"), [[0, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("others", [[], [(1, 5), (5, 1)]])
def test_kernels_without_a_high_band(monkeypatch, tmp_path, capsys, others):
    """1x3 kernels have no radius above 0.4: no SSR, so neither the most nor the least low-pass."""
    sizes = dict(zip("abcd", [(1, 3), (3, 1), *others]))
    torch.save({f"{n}.weight": torch.randn(4, 3, *s) for n, s in sizes.items()}, tmp_path / "x.pt")
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
    tables = run(
        monkeypatch,
        tmp_path,
        "--model",
        folder,
        "--images",
        tmp_path / "pictures",
        "--cutoff",
        "0.3",
    )
    name = "analyze_cifar10-quick-0123-l2_0_001-seed0"
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in script_constants())
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
    assert features.layer.iloc[0] == "conv1" and "blocks.7" in set(features.layer)
    assert (features.images == "6 images of pictures").all()
    for figure in (name, f"{name}_features", f"{name}_sensitivity"):
        assert imread(tmp_path / "figures" / f"{figure}.png").std() > 0.05
    text = capsys.readouterr().out
    assert f"{spectrum.high_share(0.3):.3f} of the sensitivity lies above 0.3" in text
    assert "6 images of 32 x 32 pixels; sensitivity from all 10 classes" in text


def script_constants():
    from data.images import MEAN, STD

    return MEAN, STD


def test_images_of_another_size_and_many_classes(monkeypatch, tmp_path, cifar10_root):
    tables = run(
        monkeypatch,
        tmp_path,
        *("--model", "squeezenet1_0", "--weights", "random", "--images", "cifar10"),
        *("--image-count", "1", "--data-root", cifar10_root),
    )
    found = tables["analyze_squeezenet1_0_sensitivity"]
    assert found.multiplicity.sum() == 224**2
    assert (found.directions == "32 random signs per image").all()


def test_an_output_that_does_not_depend_on_the_images(monkeypatch, tmp_path, cifar10_root, capsys):
    tables = run(
        monkeypatch,
        tmp_path,
        *("--model", "vit_b_32", "--weights", "random", "--images", "cifar10"),
        *("--image-count", "1", "--data-root", cifar10_root),
    )
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
    for name, part in (
        ("half", content[: len(content) // 2]),
        ("empty", b""),
        ("text", b"hi\n" * 99),
    ):
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
        "text.pt": "damaged",
        "zip.pth.tar": "damaged",
        "linear.pt": "no weights of convolutions",
        "list.pt": "holds a list, no state dict",
        "around.pt": "no weights of convolutions",
        "missing.pt": "cannot be read .No such file",
        "missing.safetensors": "cannot be read .No such file",
        "folder.pt": "no run's folder of experiment B",
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
    names = [
        "a\x1b[2Jb.weight",
        "$\\frac{$.weight",
        "x" * 3000 + ".weight",
        "0.10.weight",
        "0.1.weight",
    ]
    path = tmp_path / f"{'n' * 50}$\\frac{{$.pt"
    torch.save({name: weight for name in names}, path)
    line = ("--model", path, "--compare-with", path)
    (table,) = (t for n, t in run(monkeypatch, tmp_path, *line).items() if n.endswith("frac_"))
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
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(WeightsError, match="needs the package safetensors"):
        load_weights(path)
    found = SimpleNamespace(load_file=lambda path: {"c.weight": torch.ones(1, 1, 3, 3)})
    monkeypatch.setitem(sys.modules, "safetensors", SimpleNamespace(torch=found))
    monkeypatch.setitem(sys.modules, "safetensors.torch", found)
    assert list(load_weights(path)) == ["c.weight"]


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--model", "resnet5"], "'resnet5' is no file.*torchvision .*resnet50"),
        (["--model", "resnet18", "--weights", "MINE"], "does not fit resnet18"),
        (["--model", "MINE", "--images", "PICTURES"], "does not say how pictures become its input"),
        (["--model", "resnet18", "--weights", "random", "--images", "PICTURES"], "no pictures"),
        (
            ["--model", "MINE", "--compare-with", "vgg11"],
            "measured and is in vgg11, random weights too",
        ),
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


def test_a_damaged_picture(monkeypatch, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"a.png cannot be read as a picture"):
        run(
            monkeypatch,
            tmp_path / "results",
            *("--model", "resnet18", "--weights", "random", "--images", tmp_path),
        )


@pytest.mark.parametrize(
    "line, text",
    [
        ("--model ", "expected one argument"),
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
    """Where torchvision has them already."""
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(get_model("squeezenet1_1").state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    tables = run(monkeypatch, tmp_path / "results", "--model", "squeezenet1_1")
    assert (tables["analyze_squeezenet1_1"].model == "squeezenet1_1, IMAGENET1K_V1 weights").all()
