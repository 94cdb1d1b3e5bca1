"""The script on other people's models, and what only the owner of a model can say of it."""

import argparse
import io
import os
import pickle
import re
import runpy
import sys
import urllib.request
from dataclasses import replace
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
from torchvision.models import get_model, resnet18
from torchvision.transforms.functional import to_tensor

from data import image_folder
from data.corruptions import fourier_basis
from data.images import MEAN, STD
from models.resnet import ResNet18
from utils import visualizer
from utils.evidence.white import is_white, with_white
from utils.frequency import spectrum_from_power
from utils.recorder import COLUMNS, SpectrumRecorder
from utils.runtime import results, settings
from utils.spectra.external_models import WeightsError, find_model, load_weights
from utils.spectra.input_sensitivity import input_sensitivity
from utils.spectra.kernels import analyze_model
from utils.training import checkpoints, evaluation, pictures

SCRIPT = runpy.run_path(str(ROOT / "experiments" / "analyze_model.py"))


@pytest.fixture
def run(monkeypatch, tmp_path):
    """function(arguments of the script) -> its tables by name, and figures, which are readable.

    In this process. Drawing takes most of the time and is left out unless `look`.
    """

    def run(*arguments, results=tmp_path, look=False):
        line = ["analyze_model.py", "--results-dir", results, "--device", "cpu", *arguments]
        monkeypatch.setattr(sys, "argv", [str(word) for word in line])
        drawn, save = {}, visualizer.save

        def keep(figure, path, kind):
            drawn[path.name.split(".")[1].removeprefix("analyze_")] = figure
            save(figure, path, kind)
            assert_readable(figure, path.name)

        figures = SCRIPT["figures"] if look else lambda _: {}
        monkeypatch.setattr(visualizer, "save", keep)
        monkeypatch.setitem(SCRIPT["main"].__globals__, "figures", figures)
        assert SCRIPT["main"]() == 0
        monkeypatch.setattr(visualizer, "save", save)
        names = {p.stem.removeprefix("analyze_"): p for p in (results / "data").glob("*.csv")}
        tables = {n: pd.read_csv(path, dtype={"layer": str}) for n, path in names.items()}
        return (tables, drawn) if look else tables

    return run


def random_weights(path, model=None):
    """A file of weights of a small network, and its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save((model or ResNet18(4)).state_dict(), path)
    return path


# ---------------------------------------------------------------- one network


def test_a_model_of_torchvision(run, monkeypatch, tmp_path, capsys):
    tables, _ = run("--model", "resnet18", "--weights", "random", look=True)
    torch.manual_seed(0)
    expected, table = analyze_model(resnet18(), folded=True), tables["resnet18"]
    assert table.layer.tolist() == expected.layer.tolist()
    for column in ("energy", "ssr", "high_share", "corner_share", "db_0.4714"):
        np.testing.assert_allclose(table[column], expected[column], rtol=1e-5, atol=1e-6)
    assert table.batchnorm.tolist() == expected.batchnorm.tolist()
    assert (table.model == "resnet18, random weights").all() and table.folded.all()
    text = capsys.readouterr().out
    assert "layer4.1.conv2" in text and "Skipped: layer2.0.downsample.0" in text
    assert "is that of white kernels, but for chance" in text and "low-pass" not in text
    drawn, again = (tmp_path / folder / "analyze_resnet18.png" for folder in ("figures", "data"))
    assert imread(drawn).shape[1] > 1000 and imread(drawn).std() > 0.1
    monkeypatch.setattr(sys, "argv", ["x", "--redraw", str(tmp_path / "data")])
    assert SCRIPT["main"]() == 0 and again.read_bytes() == drawn.read_bytes()


def test_a_file_against_another(run, tmp_path, capsys):
    """A checkpoint as people save them, against a file of weights."""
    weights, other = random_weights(tmp_path / "mine.pth"), ResNet18(4)
    with torch.no_grad():
        other.conv1.weight.copy_(other.conv1.weight.mean((2, 3), keepdim=True))
    checkpoint = {"model": {f"_orig_mod.module.{n}": v for n, v in other.state_dict().items()}}
    checkpoint |= {"args": argparse.Namespace(lr=0.1), "best": np.float64(3), "epoch": 7}
    checkpoint |= {"path": Path("a"), "when": datetime(2020, 1, 2), "curve": np.arange(3) / 2}
    torch.save(checkpoint, tmp_path / "a checkpoint.pt.tar")
    tables = run("--model", tmp_path / "a checkpoint.pt.tar", "--compare-with", weights)
    mine = analyze_model(torch.load(weights)).set_index("layer")
    found = analyze_model(other).set_index("layer")
    table = tables["a_checkpoint"].set_index("layer")
    assert table.index.tolist() == mine.index.tolist()
    assert table.ssr["conv1"] == pytest.approx(1)  # constant kernels
    np.testing.assert_allclose(table.ssr, 1 - found.high_share / mine.high_share, atol=1e-6)
    difference = found["db_0.3333"] - mine["db_0.3333"]
    np.testing.assert_allclose(table["db_0.3333"][1:], difference[1:], atol=1e-5)
    assert (table.reference == str(weights)).all()
    assert f"than in {weights}" in capsys.readouterr().out


def test_against_a_model_whose_radii_have_more_digits(run, tmp_path):
    kernels = torch.randn(4, 3, 3, 3)
    torch.save({"a.weight": kernels}, tmp_path / "mine.pt")
    other = {"a.weight": 2 * kernels.flip(3), "b.weight": torch.ones(1, 1, 51, 5)}
    torch.save(other | {"c.weight": torch.ones(1, 1, 31, 31)}, tmp_path / "other.pt")
    tables = run("--model", tmp_path / "mine.pt", "--compare-with", tmp_path / "other.pt")
    np.testing.assert_allclose(tables["mine"].filter(like="db_"), [[0, 0, 0]], atol=1e-6)


@pytest.mark.filterwarnings("ignore:SSR is NaN")
@pytest.mark.parametrize("others", [[], [(1, 5), (5, 1)]])
def test_kernels_without_a_high_band(run, tmp_path, capsys, others):
    """1x3 kernels have no radius above 0.4: no SSR, so neither the most nor the least low-pass."""
    sizes = dict(zip("abcd", [(1, 3), (3, 1), *others]))
    signs = torch.tensor([1.0, -1, 1, -1, 1]).view(5, 1)  # the last is no low-pass
    kernels = {n: torch.ones(4, 3, *s) * (signs if n == "d" else 1) for n, s in sizes.items()}
    torch.save({f"{n}.weight": values for n, values in kernels.items()}, tmp_path / "x.pt")
    tables, figures = run("--model", tmp_path / "x.pt", "--cutoff", "0.39", look=True)
    assert tables["x"].ssr.isna().sum() == 2
    printed = capsys.readouterr().out
    assert ("mean SSR over 2 layers" in printed) == bool(others)
    assert ("no SSR" in printed) != bool(others) and "nan" not in printed
    titles = [ax.get_title() for ax in figures["x"].axes]
    assert [title[0] for title in titles if "low-pass" in title] == [*"cd"][: len(others)]


def run_of_b(folder, width, **models):
    """A folder as experiment B leaves of a run: file -> network."""
    folder.mkdir(parents=True)
    for name, model in models.items():
        content = {"identity": "x", "epoch": 2, "model": model.state_dict()}
        checkpoints.save(content, folder / f"{name.replace('_', '-')}.pt")
    (folder / "settings.json").write_text(f'{{"settings": {{"width": {width}}}}}')
    return folder


def test_a_run_beside_its_start_with_pictures(run, tmp_path, capsys):
    """Both on one scale in every figure; class subfolders give the map of errors."""
    torch.manual_seed(1)
    models = {name: ResNet18(2).eval() for name in ("last", "epoch_000")}
    folder = run_of_b(tmp_path / "cifar10-x" / "l2=0.001-seed0", 2, **models)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        (tmp_path / "val" / str(number)).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / "val" / str(number) / "a.png")
    line = ("--model", folder, "--compare-with", "untrained", "--images", tmp_path / "val")
    tables, figures = run(*line, "--modes", "3", "--cutoff", "0.3", look=True)
    name, kinds = "cifar10-x_l2_0_001-seed0", ("features", "sensitivity", "fourier")
    assert set(figures) == {name, *(f"{name}_{kind}" for kind in kinds)}
    for figure in figures.values():
        scales = [image.get_clim() for ax in figure.axes for image in ax.images]
        assert len(scales) >= 2 and len(set(scales)) == 1
    both = ["cifar10-x, l2=0.001-seed0", "cifar10-x, l2=0.001-seed0, epoch-000"]
    features, sensitivity, errors = (tables[f"{name}_{kind}"] for kind in kinds)
    for table in (features, sensitivity, errors, tables[f"{name}_sensitivity_map"]):
        assert table.network.unique().tolist() == both
    assert features.layer.iloc[0] == "(input)" and "blocks.7" in set(features.layer)
    assert (features.images == "10 images of val, 32 x 32 pixels").all()
    assert len(errors) == 2 * 9 and errors.n_images.unique().tolist() == [10]

    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).double() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    exact = models["last"].double()
    exact.register_forward_pre_hook(lambda _, given: (given[0] - mean) / std)
    power = input_sensitivity(exact, images)
    spectrum = spectrum_from_power(power)
    first = sensitivity[sensitivity.network == both[0]]
    np.testing.assert_allclose(first.energy, spectrum.energy, rtol=1e-3)
    found = tables[f"{name}_sensitivity_map"].query(f"network == {both[0]!r}")
    found = found.pivot(index="fy", columns="fx", values="power")
    np.testing.assert_allclose(found, power, rtol=1e-2)
    assert found.index[19] == 3 / 32 and found.columns[21] == 5 / 32
    text = capsys.readouterr().out
    assert f"{spectrum.high_share(0.3):.3f} of the sensitivity lies above 0.3" in text
    assert "10 images of val, 32 x 32 pixels\n" in text and "from all 10 classes" in text


def test_an_output_that_does_not_depend_on_the_images(run, tmp_path, capsys):
    """As of torchvision's transformers, whose last layer starts at zero; no classes either."""
    model = ResNet18(2)
    nn.init.zeros_(model.fc.weight)
    Image.effect_noise((32, 32), 50).save(tmp_path / "a.png")
    line = ("--model", run_of_b(tmp_path / "x" / "baseline-seed0", 2, last=model))
    tables, figures = run(*line, "--images", tmp_path, look=True)
    assert "No sensitivity: the output does not depend" in capsys.readouterr().out
    assert set(tables) == {f"x_baseline-seed0{x}" for x in ("", "_autocorrelation", "_features")}
    assert set(figures) == {"x_baseline-seed0", "x_baseline-seed0_features"}


class Many(nn.Module):
    """200 outputs."""

    def forward(self, x):
        return x.flatten(1)[:, :200]


def test_images_of_another_size_and_many_classes(cifar10_root):
    source = find_model("squeezenet1_0", "random")
    pixels, classes, about = pictures.load(source, "cifar10", 1, cifar10_root)
    assert pixels.shape == (1, 3, 224, 224) and len(classes[1]) == 10
    assert about == "1 images of cifar10, 224 x 224 pixels, enlarged from 32 x 32"
    source = replace(source, model=nn.Sequential(nn.Conv2d(3, 1, 3), Many()))
    tables, missing = pictures.measure(source, pixels, classes, (3, 4, 0), torch.device("cpu"))
    assert (tables["sensitivity"].directions == "32 random signs per image").all()
    assert tables["sensitivity"].multiplicity.sum() == 224**2
    assert missing == ["No map of errors: it is not known which of 200 outputs is right."]


def test_weights_of_an_own_file_for_a_model_by_name(tmp_path):
    model = get_model("squeezenet1_1")
    path = random_weights(tmp_path / "run1" / "best.pth", model)
    s = settings.read_settings(SCRIPT, ["--model", "squeezenet1_1", "--weights", str(path)])
    source = SCRIPT["find"](s, "squeezenet1_1")
    for name, value in model.state_dict().items():
        assert torch.equal(value, source.model.state_dict()[name])
    expected = ("squeezenet1_1", "squeezenet1_1_best", "squeezenet1_1_run1_best")
    assert source.names[:3] == expected and source.about.endswith(f", weights {path}")
    untrained = SCRIPT["find"](s, "squeezenet1_1", untrained=True)
    assert untrained.names[0] == "squeezenet1_1" and "random" in untrained.about


def test_downloaded_weights_or_none(run, monkeypatch, tmp_path):
    """Where torchvision has them already; the results are written under their lock. Where they
    cannot be had: one line, nothing written."""
    monkeypatch.setattr(urllib.request, "_opener", None)  # keeps the proxies of its first use
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(results, "write", results.write)  # as it is again afterwards
    job.write_only_under_a_lock()
    line = ("--model", "squeezenet1_1")
    with pytest.raises(WeightsError, match="cannot be downloaded; --weights random needs none"):
        run(*line, results=tmp_path / "results")
    assert not (tmp_path / "results").exists()
    path = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    random_weights(path, get_model("squeezenet1_1"))
    table = run(*line)["squeezenet1_1"]
    assert (table.model == "squeezenet1_1, IMAGENET1K_V1 weights").all()


# ---------------------------------------------------------------- what cannot be used


class Evil:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def written(write, content):
    write(content, buffer := io.BytesIO())
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
def test_hostile_files_are_one_line_and_nothing_is_executed(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    good, around = {"c.weight": torch.randn(64, 64, 3, 3)}, {"a": {}}
    around["a"]["a"] = around
    scripted = torch.jit.script(nn.Conv2d(3, 4, 3))
    for content, text in (
        (written(torch.save, good | {"more": Evil()}), r"holds \w+.mkdir, which is not loaded"),
        (pickle.dumps(Evil()), "damaged, or not a file of weights"),
        (written(torch.save, nn.Conv2d(3, 4, 3)), "holds torch.nn.modules.conv.*state_dict"),
        (written(torch.jit.save, scripted), "TorchScript program|ScriptModule"),
        (written(torch.save, good)[: 64 * 64 * 9 * 2], "damaged"),
        (b"", "damaged"),
        (written(torch.save, {"fc.weight": torch.ones(3, 3)}), "no weights of convolutions"),
        (written(torch.save, [good]), "holds a list, no state dict"),
        (written(torch.save, around), "no weights of convolutions"),
    ):
        Path("x.pt").write_bytes(content)
        check_refused(run, "x.pt", text)
    for name in ("missing.pt", "missing.safetensors"):
        check_refused(run, name, "cannot be read .No such file")
    check_refused(run, "results", "holds no file of weights")


def check_refused(run, name, text):
    """In one line, and nothing is written or executed."""
    results = Path("results")
    results.mkdir(exist_ok=True)
    with pytest.raises(WeightsError, match=text) as error:
        run("--model", name, results=results)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert not list(results.iterdir()) and not Path("executed").exists()


def test_names_of_a_hostile_file(run, tmp_path, capsys):
    weight = torch.randn(4, 3, 3, 3)
    layers = ("a\x1b[2Jb", "$\\frac{$", "x" * 3000, "0.10", "0.1")
    path = tmp_path / f"{'n' * 50}$\\frac{{$.pt"
    torch.save({f"{layer}.weight": weight for layer in layers}, path)
    tables, _ = run("--model", path, "--compare-with", path, look=True)
    assert "\x1b" not in capsys.readouterr().out
    assert tables[f"{'n' * 50}_frac"].layer.tolist()[3:] == ["0.10", "0.1"]


@pytest.mark.parametrize(
    "line, text",
    [
        ("resnet5", "'resnet5' is no file.*torchvision .*resnet50"),
        ("resnet18 --weights MINE", "does not fit resnet18"),
        ("MINE --images PICTURES", "does not say how pictures become its input"),
        ("MINE --compare-with untrained", "does not say what it was untrained"),
        ("resnet18 --images PICTURES", "no pictures"),
        ("MINE --compare-with vgg11", "is in vgg11, random weights too"),
        ("fasterrcnn_resnet50_fpn --images PICTURES", "does not say"),
        ("raft_small --images PICTURES", "does not say"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, tmp_path, line, text):
    (tmp_path / "pictures").mkdir()
    line += "" if "--weights" in line else " --weights random"
    names = {"MINE": tmp_path / "mine.pth", "PICTURES": tmp_path / "pictures"}
    random_weights(names["MINE"])
    with pytest.raises(OSError, match=text) as error:
        run("--model", *(names.get(word, word) for word in line.split()), results=tmp_path / "no")
    assert "\n" not in str(error.value) and not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "line, text",
    [
        ("--model ", "expected at least one argument"),
        ("--images nowhere", "IMAGES.*nowhere.*cifar10, or an existing folder"),
        ("--folded maybe", "unrecognized.*maybe"),
    ],
)
def test_bad_settings_are_one_line(capsys, line, text):
    with pytest.raises(SystemExit) as end:
        settings.read_settings(SCRIPT, line.split())
    printed = capsys.readouterr().err
    assert end.value.code == 2 and printed.count("\n") == 1 and re.search(text, printed), printed


# ---------------------------------------------------------------- several files, parts, names


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


def test_packages_that_are_not_required(monkeypatch, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(WeightsError, match="needs the package safetensors"):
        load_weights(tmp_path / "mine.safetensors")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(WeightsError, match="timm/resnet10t needs the package timm"):
        find_model("timm/resnet10t", "random")
    config = {"input_size": (3, 24, 24), "crop_pct": 0.75, "mean": (0.5,) * 3, "std": (0.2,) * 3}
    data = SimpleNamespace(resolve_model_data_config=lambda _: config)
    timm = SimpleNamespace(create_model=lambda name, pretrained: ResNet18(2), data=data)
    monkeypatch.setitem(sys.modules, "timm", timm)
    source = find_model("timm/resnet10t", "random")
    assert source.names[0] == "timm_resnet10t" and source.normalize.std == (0.2,) * 3
    assert source.prepare(Image.new("RGB", (40, 50))).shape == (3, 24, 24)


def test_two_files_of_one_name(run, tmp_path):
    """The second start carries as much of its path as tells it apart; the first one's is kept. What
    a start has not measured is not left from the one before."""
    for place in ("run1", "run2", "more/run2", "run1"):
        path = tmp_path / place / "best.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"a.weight": torch.randn(4, 3, 3, 3)}, path)
        found = run("--model", path)
    names = {name: table.model[0] for name, table in found.items() if "auto" not in name}
    assert names == {
        "best": str(tmp_path / "run1" / "best.pth"),
        "run2_best": str(tmp_path / "run2" / "best.pth"),
        "more_run2_best": str(tmp_path / "more" / "run2" / "best.pth"),
    }
    (tmp_path / "figures").mkdir()
    (tmp_path / "data" / "analyze_best_features.csv").write_text("layer\n")
    (tmp_path / "figures" / "analyze_best_features.png").write_text("of an earlier start")
    run("--model", tmp_path / "run1" / "best.pth")
    assert not [*tmp_path.rglob("*features*")]


def test_several_networks_in_a_file(run, tmp_path, capsys):
    one, other = torch.randn(4, 3, 3, 3), torch.randn(2, 3, 5, 5)
    ema = {"module": {"a.weight": other, "a.bias": torch.ones(2)}}
    file = {"epoch": 3, "state_dict_ema": ema, "state_dict": {"a.weight": one}}
    torch.save(file | {"optimizer": {"state": {0: {"exp_avg": one}}}}, tmp_path / "x.pth")
    two = {"generator": {"a.weight": one}, "discriminator": {"b.weight": other}}
    torch.save(two, tmp_path / "gan.pt")
    for name, part, size, said in (
        ("x.pth", None, "3x3", "state_dict (measured), state_dict_ema.module"),
        ("x.pth", "state_dict_ema", "5x5", "state_dict, state_dict_ema.module (measured)"),
        ("gan.pt", None, "3x3", "2 networks: generator (measured), discriminator; --part chooses"),
        ("gan.pt", "discriminator", "5x5", "2 networks: generator, discriminator (measured)"),
    ):
        line = ("--model", tmp_path / name, *(("--part", part) if part else ()))
        found = run(*line, results=tmp_path / f"{name}{part}")
        (table,) = (table for key, table in found.items() if "auto" not in key)
        assert table.kernel_size.tolist() == [size] and said in capsys.readouterr().out
    with pytest.raises(WeightsError, match="no part 'b'; it has: generator, discriminator"):
        load_weights(tmp_path / "gan.pt", "b")


def test_checkpoints_are_followed_in_natural_order(run, tmp_path, capsys):
    """As the recorder would have followed them, by the numbers in their names."""
    folder, model = tmp_path / "checkpoints", ResNet18(2)
    recorder = SpectrumRecorder(model)
    for epoch in (1, 2, 10, 90):
        model.conv1.weight.data.add_(0.1)
        recorder.record(epoch)
        random_weights(folder / f"epoch{epoch}.pth", model)
    random_weights(folder / "epoch5.pth", ResNet18(3))
    (folder / "epoch6.pth").write_text("damaged")
    (folder / "best.pth").write_text("not one of the series")
    (folder / "notes.txt").write_text("no weights")
    tables, figures = run("--model", folder, look=True)
    (table,), expected = tables.values(), recorder.table.query("weights == 'raw'")
    pd.testing.assert_frame_equal(table[COLUMNS], expected.reset_index(drop=True), rtol=1e-6)
    assert list(dict.fromkeys(table.file)) == [f"epoch{n}.pth" for n in (1, 2, 10, 90)]
    assert set(tables) == set(figures) == {"checkpoints_evolution"}
    text = capsys.readouterr().out
    for name, why in (("epoch5", "another network"), ("epoch6", "damaged"), ("best", "not called")):
        assert re.search(rf"Left out .*{name}.pth: .*{why}", text)
    files = [folder / f"epoch{n}.pth" for n in (90, 2)]
    (table,) = run("--model", *files, results=tmp_path / "two").values()
    assert table.step.unique().tolist() == [2, 90]
    for name, epoch in (("first", 1), ("second", 2)):  # without numbers: the names stand for them
        (folder / f"epoch{epoch}.pth").rename(tmp_path / f"{name}.pth")
    files = [tmp_path / "second.pth", tmp_path / "first.pth"]
    (table,) = run("--model", *files, results=tmp_path / "three").values()
    assert table.groupby("file").step.first().to_dict() == {"first.pth": 0, "second.pth": 1}


def test_a_function_that_builds_a_network(run, monkeypatch, tmp_path):
    code = "few = lambda: nn.Sequential(nn.Conv2d(3, 4, 5), nn.BatchNorm2d(4))"
    code = f"from torch import nn\n{code}\nnone = lambda: 3\ndef fails(): raise KeyError('x')\n"
    (tmp_path / "own_nets.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    table = run("--model", "own_nets:few", "--compare-with", "untrained")["own_nets_few"]
    assert table.batchnorm.tolist() == [1] and table.ssr[0] == 0
    torch.save({"0.weight": torch.ones(4, 3, 5, 5)}, tmp_path / "w.pt")
    for name, weights, text in (
        ("own_nets:none", "random", "returns a int, no nn.Module"),
        ("own_nets:fails", "random", "cannot be built .'x'"),
        ("own_nets:missing", "random", "no attribute 'missing'"),
        ("nothing_here:few", "random", "No module named 'nothing_here'"),
        ("own_nets:few", str(tmp_path / "w.pt"), "does not fit own_nets:few"),
    ):
        with pytest.raises(WeightsError, match=text) as error:
            find_model(name, weights)
        assert "\n" not in str(error.value)


# ---------------------------------------------------------------- what the owner says


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
    (tmp_path / "bee" / "._0.png").write_bytes(b"what macOS leaves beside a picture")
    pixels, numbers, names = image_folder.load_classes(str(tmp_path), 6, to_tensor)
    assert names == ["ant", "bee", "cat"] and numbers.tolist() == [0, 0, 1, 2, 2]
    assert [*map(int, 255 * pixels[:, 0, 0, 0])] == [9 * ord(names[n][0]) % 256 for n in numbers]
    assert image_folder.load_classes(str(tmp_path), 2, to_tensor)[1].tolist() == [0, 1]
    (tmp_path / "beside.png").write_bytes(b"no picture")
    assert image_folder.load_classes(str(tmp_path), 6, to_tensor) is None
    with pytest.raises(OSError, match="beside.png cannot be read as a picture"):
        image_folder.load(str(tmp_path), 99, to_tensor)


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


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "squeezenet1_0"])
def test_pictures_of_any_shape_become_one_size(tmp_path, name):
    for number, size in enumerate([(40, 30), (30, 40), (32, 32)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    found = image_folder.load(str(tmp_path), 3, find_model(name, "random").prepare)
    assert found.shape[:2] == (3, 3) and found.shape[2] == found.shape[3]
