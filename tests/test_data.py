"""Data sets and batches: what is in them, and what happens when they are damaged."""

import contextlib
import functools
import hashlib
import http.server
import os
import pickle
import shutil
import socket
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import job
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from data import cifar10, corruptions, datasets, image_folder, image_spectrum, planted, signals
from data.images import MEAN, STD, ImageSet, Normalize, crop_windows, training_batches


def test_official_files(cifar10_root):
    train, test = cifar10.load(cifar10_root)
    assert train.images.shape == (50_000, 3, 32, 32) and train.images.dtype == torch.uint8
    assert test.images.shape == (10_000, 3, 32, 32) and train.images.is_contiguous()
    assert torch.bincount(train.labels).tolist() == [5000] * 10
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    # The normalisation constants are the moments of all pixels, to the digits given.
    pixels = train.images.transpose(0, 1).flatten(1).double() / 255
    np.testing.assert_allclose(pixels.mean(1), MEAN, atol=5e-5)
    np.testing.assert_allclose(pixels.std(1), STD, atol=1e-4)
    # Pixels in the order of the documentation: red, green, blue planes, row by row.
    with open(cifar10_root / "cifar-10-batches-py" / "test_batch", "rb") as file:
        raw = pickle.load(file, encoding="bytes")
    assert (test.images[3].flatten().numpy() == raw[b"data"][3]).all()
    assert test.labels[:50].tolist() == raw[b"labels"][:50]
    with pytest.raises(cifar10.DataError, match="TRAIN_IMAGES is 50001.*50000"):
        datasets.load("cifar10", cifar10_root, 50_001, 10)
    sets, notice = datasets.load("auto", cifar10_root, 30, 20)
    assert notice == "" and len(sets["train"]) == 30 and len(sets["test"]) == 20


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """CIFAR-10 is nowhere and the network is dead: connecting is refused at once."""
    folder = tmp_path / "nowhere"
    folder.mkdir()
    monkeypatch.delenv("CIFAR10_ROOT", raising=False)
    monkeypatch.setattr(cifar10, "HERE", folder)
    dataset = cifar10.torchvision("datasets").CIFAR10
    monkeypatch.setattr(dataset, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    return folder


@pytest.fixture
def few(nowhere, monkeypatch, tmp_path):
    """A folder with "official" files of two images each; their MD5 sums take the place of the
    real ones. The image of number n, counted through, has the pixels n and the label n."""
    inner = tmp_path / "few" / "cifar-10-batches-py"
    inner.mkdir(parents=True)
    md5s = []
    for number, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        labels = [2 * number, 2 * number + 1]
        pixels = np.repeat(np.uint8([labels]).T, 3072, axis=1)
        (inner / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
        md5s.append([name, hashlib.md5((inner / name).read_bytes()).hexdigest()])
    dataset = cifar10.torchvision("datasets").CIFAR10
    monkeypatch.setattr(dataset, "train_list", md5s[:5])
    monkeypatch.setattr(dataset, "test_list", md5s[5:])
    return inner.parent


def check_few(sets):
    for images, expected in zip(sets, [list(range(10)), [10, 11]]):
        assert images.labels.tolist() == expected
        assert images.images.shape == (len(expected), 3, 32, 32)
        assert images.images.flatten(1).double().mean(1).tolist() == expected


def pack(few, archive, mode="w:gz", top="cifar-10-batches-py"):
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, mode) as tar:
        tar.add(few / "cifar-10-batches-py", top)
    return archive


@pytest.mark.parametrize(
    "damage", ["missing", "altered", "a link to nowhere", "altered, packed", "half", "a web page"]
)
def test_what_is_damaged_is_named_and_never_unpickled(few, damage):
    inner, said = few / "cifar-10-batches-py", "tar.gz cannot be read"
    if damage not in ("half", "a web page"):
        file, said = inner / "data_batch_4", "data_batch_4 is (damaged|missing)"
        file.unlink()
        if "altered" in damage:
            file.write_bytes(pickle.dumps(exit))
        if damage == "a link to nowhere":
            file.symlink_to("nowhere")
    if damage in ("altered, packed", "half", "a web page"):
        archive = pack(few, few / "cifar-10-python.tar.gz")
        shutil.rmtree(inner)
        content = archive.read_bytes()
        short = {"half": content[: len(content) // 2], "a web page": b"<html>Log in"}
        archive.write_bytes(short.get(damage, content))
    with pytest.raises(cifar10.DataError, match=said) as error:
        datasets.load("auto", few, 2, 2)
    assert not isinstance(error.value, cifar10.DataNotAvailable)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_search_order(few, tmp_path, monkeypatch):
    """DATA_ROOT is looked into before CIFAR10_ROOT: the damaged copy there is found first."""
    monkeypatch.setenv("CIFAR10_ROOT", str(few))
    shutil.copytree(few, tmp_path / "copy")
    (tmp_path / "copy" / "cifar-10-batches-py" / "test_batch").write_bytes(b"")
    with pytest.raises(cifar10.DataError, match="test_batch is damaged"):
        cifar10.load(tmp_path / "copy")
    (tmp_path / "empty").mkdir()
    check_few(cifar10.load(tmp_path / "empty"))
    pack(few, tmp_path / "copy" / "cifar-10-python.tar.gz")  # beside what is half unpacked
    check_few(cifar10.load(tmp_path / "copy"))


@pytest.mark.parametrize(
    "name, mode, top",
    [
        ("cifar-10-python.tar.gz", "w:gz", "cifar-10-batches-py"),
        ("cifar-10-python.tar", "w", "./cifar-10-batches-py"),  # a browser has unzipped it
    ],
)
def test_read_where_it_lies(few, nowhere, tmp_path, monkeypatch, name, mode, top):
    """As a folder or an archive, named itself or by its parent; nothing is written beside it."""
    archive = pack(few, tmp_path / "at hand" / name, mode, top)
    before = [(path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")]
    check_few(cifar10.load(archive.parent))
    check_few(cifar10.load(few / "cifar-10-batches-py"))
    monkeypatch.setenv("CIFAR10_ROOT", str(archive))
    check_few(cifar10.load("~no-such-user/x"))
    assert [(path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")] == before
    monkeypatch.delenv("CIFAR10_ROOT")
    archive.rename(nowhere / name)
    check_few(cifar10.load())


@contextlib.contextmanager
def server(folder):
    """Gives the archive in a folder; None: takes every call and says nothing."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port = listening.getsockname()[1]
        else:
            handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
            listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            stack.enter_context(listening)
            threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(listening.shutdown)
            port = listening.server_address[1]
        yield f"http://127.0.0.1:{port}/cifar-10-python.tar.gz"


@pytest.mark.parametrize("served", ["refused", "hangs", "no folder"])
def test_without_network(few, nowhere, monkeypatch, tmp_path, served):
    """One sentence with the remedy, or, with "auto", the planted set; nothing is left."""
    monkeypatch.setattr(cifar10, "TIME_LIMIT", 0.5)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"<html>Please log in")
    root = nowhere / "x" if served == "no folder" else None
    with server(None if served == "hangs" else tmp_path) as url:
        if served != "refused":
            monkeypatch.setattr(cifar10.torchvision("datasets").CIFAR10, "url", url)
        with pytest.raises(cifar10.DataNotAvailable, match="could not be downloaded") as error:
            datasets.load("cifar10", root, 2, 2)
        sets, notice = datasets.load("auto", root, 20, 10)
    assert "not CIFAR-10" in sets["train"].name
    for text in (str(error.value), notice):
        assert text.isprintable() and len(text) < 700 and "CIFAR10_ROOT" in text
        assert ("timed out" in text) == (served == "hangs")
        assert ("refused" in text) == (served == "refused")
    assert list(nowhere.iterdir()) == [] and socket.getdefaulttimeout() is None


def test_download(few, nowhere, monkeypatch, tmp_path):
    """By two at once; what a killed one left goes in a day."""
    archive = pack(few, tmp_path / "served" / "cifar-10-python.tar.gz")
    official = cifar10.torchvision("datasets").CIFAR10
    monkeypatch.setattr(official, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    for age in (2, 0):
        left = nowhere / f"cifar-10-download-{age}"
        left.mkdir()
        os.utime(left, (time.time() - age * 90_000,) * 2)
    with server(archive.parent) as url, ThreadPoolExecutor() as pool:
        monkeypatch.setattr(official, "url", url)
        found = [pool.submit(cifar10.load) for _ in "ab"]
    for sets in (found[0].result(), found[1].result(), cifar10.load()):  # the last without server
        check_few(sets)
    names = sorted(path.name for path in nowhere.iterdir())
    assert names == ["cifar-10-download-0", "cifar-10-python.tar.gz"]


def test_a_torchvision_of_another_build(tmp_path):
    """It fails to import, not before it is needed; one sentence with the remedy, no fallback."""
    problem = "operator torchvision::nms does not exist"
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise RuntimeError('{problem}')")
    path = f"import sys; assert 'torchvision' not in sys.modules; sys.path[:0] = ['{tmp_path}']"
    options = {"before": functools.partial(exec, path), "log": tmp_path / "log"}
    line = "exp_b_spectrum_evolution.py --device cpu"
    assert job.finish(tmp_path / "results", line=line, **options) == 1
    (said,) = (tmp_path / "log").read_text().splitlines()
    assert said.startswith("error: torchvision does not work with the installed torch")
    assert problem in said and "pip install --force-reinstall torch torchvision" in said


def power_by_radius(pattern):
    """Share of the power of (N, 32, 32) patterns by integer cycles per image."""
    power = np.abs(np.fft.fft2(pattern.double().numpy())) ** 2
    cycles = np.fft.fftfreq(32, 1 / 32)
    return np.hypot(cycles[:, None], cycles), power.mean(0) / power.mean(0).sum()


@pytest.mark.parametrize("cue, low, high", [(planted.shapes, 0.5, 4), (planted.textures, 10, 23)])
def test_cues_keep_to_their_band_and_tell_the_classes_apart(cue, low, high):
    """Their power spectra match the right class's mean best, also when shifted or mirrored."""
    classes = torch.arange(10).repeat(30)
    known, new = (cue(classes, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert known.square().mean() == pytest.approx(1, rel=1e-4)
    radius, power = power_by_radius(known)
    assert power[(radius < low) | (radius > high)].sum() < 1e-9
    known, new = (abs(np.fft.fft2(x.numpy())).reshape(300, -1) ** 2 for x in (known, new))
    means = np.stack([known[classes == c].mean(0) for c in range(10)])
    distance = ((new[:, None] - means) ** 2).sum(2)
    assert (distance.argmin(1) == classes.numpy()).all()


def test_cues_agree_with_the_label_as_often_as_said():
    labels = torch.arange(10).repeat(2000)
    generator = torch.Generator().manual_seed(0)
    shown = planted.disagree(labels, 0.7, generator)
    agree = (shown == labels).double().mean().item()
    assert agree == pytest.approx(0.7, abs=4 * (0.21 / 20_000) ** 0.5)
    wrong = torch.bincount(shown[(shown != labels) & (labels == 3)], minlength=10)
    assert wrong[3] == 0 and (wrong[[0, 1, 2, 4, 5, 6, 7, 8, 9]] > 30).all()
    assert torch.equal(planted.disagree(labels, 1, generator), labels)


def test_background_falls_with_one_over_f():
    noise = planted.pink_noise(400, torch.Generator().manual_seed(0))
    assert noise.square().mean() == pytest.approx(1, abs=0.05)
    radius, power = power_by_radius(noise.flatten(0, 1))
    ratio = power[np.isclose(radius, 2)].mean() / power[np.isclose(radius, 10)].mean()
    assert ratio == pytest.approx(25, rel=0.15)  # power falls with 1/f^2
    assert power[0, 0] < 1e-9


def test_planted_sets():
    """Reproducible; the test sets differ by the cue only."""
    sets, again = planted.load(50, 64), planted.load(50, 64)
    assert list(sets) == ["train", "test", "low cue", "high cue"]
    for name, images in sets.items():
        assert images.images.shape == ((50 if name == "train" else 64), 3, 32, 32)
        assert images.images.dtype == torch.uint8
        assert torch.equal(images.images, again[name].images)
    assert torch.equal(sets["test"].labels, sets["low cue"].labels)
    assert len(set(sets["train"].labels.tolist())) == 10
    both, low, high = (sets[n].images.double() for n in ("test", "low cue", "high cue"))
    radius, power = power_by_radius((both - low).mean(1))  # the texture, rounded
    assert power[radius >= 10].sum() > 0.95
    radius, power = power_by_radius((both - high).mean(1))  # the shape, rounded
    assert power[radius <= 4].sum() > 0.95


@pytest.mark.parametrize("kind, exponent", [("natural", 0), ("whitened", 1), ("inverted", 2)])
def test_images_of_another_spectrum(kind, exponent):
    """Spectrum times r^n, by numpy; one scale for all sets, by the training set's deviation."""
    noise = planted.pink_noise(300, torch.Generator().manual_seed(1))
    pixels = (255 * (0.5 + 0.1 * noise)).clamp(0, 255).round().to(torch.uint8)
    natural = ImageSet(pixels, torch.arange(300) % 10, "x")
    sets = image_spectrum.with_spectrum({"train": natural, "test": natural.first(20)}, kind)
    if kind == "natural":
        assert sets["train"] is natural
        return
    train, f = sets["train"], np.fft.fftfreq(32)
    plain = np.fft.ifft2(np.fft.fft2(pixels.numpy() / 255) * np.hypot(f[:, None], f) ** exponent)
    expected = np.clip(0.5 + 0.15 * plain.real / plain.real.std(), 0, 1)
    assert np.abs(train.images.numpy() / 255 - expected).max() <= 0.5 / 255 + 1e-6
    assert torch.equal(sets["test"].images, train.images[:20])  # not a scale of their own
    assert (train.mean, train.std, train.border) == ((0.5,) * 3, (0.15,) * 3, 128)
    assert train.name == f"x, {kind}" and torch.equal(train.labels, natural.labels)


def test_another_default_device():
    """As notebooks set it: the same numbers, on the CPU or where the images are."""
    pixels, positions = torch.rand(4, 3, 32, 32), torch.arange(8) / 8
    images = ImageSet((255 * pixels).to(torch.uint8), torch.arange(4), "x")

    def made():
        white = corruptions.white_noise(pixels.shape, 0)
        yield corruptions.gaussian_noise(pixels, 0.1, white)
        yield corruptions.band_noise(white, 0.25, 0.1, 5.5)
        *_, (_, add) = corruptions.fourier_modes([(1, 2)], pixels.shape, 4.0, 0, "cpu")
        yield add(pixels)
        yield corruptions.low_resolution(pixels, 8, True)
        yield corruptions.gaussian_blur(pixels, 3)
        yield corruptions.low_pass(pixels, 0.2)
        yield corruptions.high_pass(pixels, 0.2)
        yield planted.load(8, 4)["train"].images
        yield image_spectrum.with_spectrum({"train": images}, "whitened")["train"].images
        yield Normalize(images)(pixels)
        yield from next(training_batches(crop_windows(images.images), images.labels, 2, 0, 1))
        yield signals.grid(8)
        yield signals.spread(8, 3)
        yield signals.sinusoids(positions, [1], [1.0], [0.0])

    expected = list(made())
    with torch.device("meta"):  # which holds no numbers, and no CPU generator may draw for it
        found = list(made())
    assert all(map(torch.equal, found, expected))


WIDE = [  # dtype, values, the picture of 8 bits or what is refused
    ("float32", [[0, 0.5, 1]], [[0, 128, 255]]),
    ("float32", [[0, 100, 255]], "0 to 255; allowed: 0 to 1"),
    ("float32", [[0, 0.5, np.nan]], "nan"),
    ("int32", [[0, 256, 65535]], [[0, 1, 255]]),
    ("int32", [[0, 100, 200]], "0 to 200; allowed: 0 to 65535, with some above 255"),
    ("int32", [[-5, 0, 1000]], "-5 to 1000"),
    ("uint16", [[0, 255, 65535]], [[0, 0, 255]]),
]


def test_pictures_of_more_than_8_bits(tmp_path):
    for dtype, values, expected in WIDE:
        Image.fromarray(np.array(values, dtype)).save(tmp_path / "x.tif")
        if isinstance(expected, str):
            with pytest.raises(cifar10.DataError, match=f"x.tif cannot be read .*{expected}"):
                image_folder.load(str(tmp_path), 1, pil_to_tensor)
        else:
            found = image_folder.load(str(tmp_path), 1, pil_to_tensor)
            assert found.tolist() == [[expected] * 3]


def test_links_are_followed_and_hidden_folders_are_not(tmp_path):
    """Linked folders and pictures, in a circle too; the folder itself may be hidden."""
    folder, far = tmp_path / ".cache", tmp_path / "far"
    for number, place in enumerate([folder / "b", folder / ".thumbnails" / "a", far / "deep"]):
        place.mkdir(parents=True)
        Image.new("L", (4, 4), number).save(place / "x.png")
    (folder / "c").symlink_to(far)
    (far / "circle").symlink_to(folder)
    (folder / "a.PNG").symlink_to(far / "deep" / "x.png")
    found = image_folder.load(str(folder), 9, pil_to_tensor)
    assert found[:, 0, 0, 0].tolist() == [2, 0, 2]
