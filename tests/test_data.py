"""Data sets and batches: what is in them, and what happens when they are damaged."""

import contextlib
import hashlib
import os
import pickle
import shutil
import socketserver
import tarfile
import threading
import time

import job
import numpy as np
import pytest
import torch

from data import cifar10, datasets, planted
from data.images import MEAN, STD, ImageSet, Normalize, crop_windows, training_batches


def test_official_files(cifar10_root):
    train, test = cifar10.load(cifar10_root)
    assert train.images.shape == (50_000, 3, 32, 32) and train.images.dtype == torch.uint8
    assert test.images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(train.labels).tolist() == [5000] * 10
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    assert train.images.is_contiguous()

    # The normalisation constants are the moments of all pixels, to the digits given.
    pixels = train.images.transpose(0, 1).flatten(1).double() / 255
    np.testing.assert_allclose(pixels.mean(1), MEAN, atol=5e-5)
    np.testing.assert_allclose(pixels.std(1), STD, atol=1e-4)

    # Pixels in the order of the documentation: red, green, blue planes, row by row.
    with open(cifar10_root / "cifar-10-batches-py" / "test_batch", "rb") as file:
        raw = pickle.load(file, encoding="bytes")
    assert (test.images[3].flatten().numpy() == raw[b"data"][3]).all()
    assert test.labels[:50].tolist() == raw[b"labels"][:50]


def copy_of(root, folder):
    return shutil.copytree(root / "cifar-10-batches-py", folder / "cifar-10-batches-py")


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_damaged_files_are_named_and_never_unpickled(cifar10_root, tmp_path, damage):
    file = copy_of(cifar10_root, tmp_path) / "data_batch_4"
    content = bytearray(file.read_bytes())
    file.unlink()
    if damage == "truncated":
        file.write_bytes(content[:-1])
    if damage == "altered":
        content[12_345] ^= 1
        file.write_bytes(content)
    for dataset in ("auto", "cifar10"):
        with pytest.raises(cifar10.DataError, match="data_batch_4 is (damaged|missing)"):
            datasets.load(dataset, tmp_path, 10, 10)


def test_search_order(cifar10_root, tmp_path, monkeypatch):
    """DATA_ROOT is looked into before CIFAR10_ROOT: the damaged copy there is found first."""
    copy_of(cifar10_root, tmp_path).joinpath("test_batch").write_bytes(b"")
    monkeypatch.setenv("CIFAR10_ROOT", str(cifar10_root))
    with pytest.raises(cifar10.DataError, match="test_batch is damaged"):
        cifar10.load(tmp_path)
    (tmp_path / "empty").mkdir()
    assert len(cifar10.load(tmp_path / "empty")[0]) == 50_000


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
    numbers = [list(range(10)), [10, 11]]
    for images, expected in zip(sets, numbers):
        assert images.labels.tolist() == expected
        assert images.images.shape == (len(expected), 3, 32, 32)
        assert images.images.flatten(1).double().mean(1).tolist() == expected


def pack(few, archive, mode="w:gz", top="cifar-10-batches-py"):
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, mode) as tar:
        tar.add(few / "cifar-10-batches-py", top)
    return archive


ARCHIVES = [  # name, compression, folder inside
    ("cifar-10-python.tar.gz", "w:gz", "cifar-10-batches-py"),
    ("cifar-10-python.tar", "w", "cifar-10-batches-py"),  # a browser has unzipped it
    ("cifar-10-python.tar.gz", "w", "./cifar-10-batches-py"),
    ("cifar-10-python.tar.gz", "w:xz", "."),
]


@pytest.mark.parametrize("name, mode, top", ARCHIVES)
def test_an_archive_at_hand_is_read_where_it_lies(few, nowhere, tmp_path, name, mode, top):
    """Also one that somebody has packed again; nothing is written beside it."""
    archive = pack(few, tmp_path / "at hand" / name, mode, top)
    check_few(cifar10.load(archive.parent))
    assert [path.name for path in archive.parent.iterdir()] == [name]
    archive.rename(nowhere / name)
    check_few(cifar10.load())


def test_variables_that_name_the_files_themselves(few, tmp_path, monkeypatch):
    check_few(cifar10.load(few / "cifar-10-batches-py"))
    monkeypatch.setenv("CIFAR10_ROOT", str(few / "cifar-10-batches-py"))
    check_few(cifar10.load())
    monkeypatch.setenv("CIFAR10_ROOT", str(pack(few, tmp_path / "x.tgz")))
    check_few(cifar10.load())
    monkeypatch.setenv("CIFAR10_ROOT", "~no-such-user/x")
    with pytest.raises(cifar10.DataNotAvailable):
        cifar10.load()


def test_half_unpacked_beside_the_archive(few):
    pack(few, few / "cifar-10-python.tar.gz")
    inner = few / "cifar-10-batches-py"
    (inner / "test_batch").unlink()
    (inner / "data_batch_3").write_bytes((inner / "data_batch_3").read_bytes()[:1000])
    check_few(cifar10.load(few))


@pytest.mark.parametrize("damage", ["half", "a web page", "empty", "without a file", "altered"])
def test_damaged_archives_are_named(few, tmp_path, damage):
    archive = tmp_path / "cifar-10-python.tar.gz"
    if damage == "without a file":
        (few / "cifar-10-batches-py" / "data_batch_2").unlink()
    if damage == "altered":
        (few / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(exit))
    content = pack(few, archive).read_bytes()
    short = {"half": content[: len(content) // 2], "a web page": b"<html>Log in", "empty": b""}
    archive.write_bytes(short.get(damage, content))
    for dataset in ("auto", "cifar10"):
        with pytest.raises(cifar10.DataError, match="cifar-10-python.tar.gz") as error:
            datasets.load(dataset, tmp_path, 2, 2)
        assert not isinstance(error.value, cifar10.DataNotAvailable)
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
        if damage in ("without a file", "altered"):
            assert "data_batch_2 is" in str(error.value)


def test_without_network(nowhere):
    with pytest.raises(cifar10.DataNotAvailable, match="could not be downloaded.*refused"):
        datasets.load("cifar10", None, 10, 10)
    sets, notice = datasets.load("auto", None, 20, 10)
    assert "could not be downloaded" in notice
    assert "not CIFAR-10" in sets["train"].name
    assert list(nowhere.iterdir()) == []


def answer(status, body=b"", headers=(), length=None, chunked=False):
    """What a server says to GET; it refuses HEAD."""
    length = len(body) if length is None else length
    headers = [
        *headers,
        ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", length),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} said\r\n{head}\r\n".encode() + body


ANSWERS = {
    "not HTTP": b"220 mail ready\r\n",
    "nothing": b"",
    "not found": answer(404),
    "refuses GET": answer(405),
    "a page to log in": answer(200, b"<html>Please log in" + 2000 * b" " + b"</html>"),
    "redirected there": answer(302, headers=[("Location", "/again")]),
    "redirected nowhere": answer(302, headers=[("Location", "gopher://x:y/")]),
    "no body": answer(200),
    "short": answer(200, b"\x1f\x8b" + 100 * b"x", length=170_498_071),
    "broken off": answer(200, b"10000\r\n" + 100 * b"x", chunked=True),
    "chunks of nonsense": answer(200, b"size\r\n" + 100 * b"x", chunked=True),
    "hangs": None,
    "hangs in the middle": answer(200, 100 * b"x", length=170_498_071) + b"...",
}


@contextlib.contextmanager
def server(text):
    """Says the same to everyone; with text None nothing, and "..." means that it then hangs."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            request = self.request.recv(10_000)
            if request.startswith(b"HEAD"):
                self.request.sendall(answer(501))
            elif text is not None:
                self.request.sendall(text.removesuffix(b"..."))
            if text is None or text.endswith(b"..."):
                done.wait(20)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    done = threading.Event()
    with Server(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}/cifar-10-python.tar.gz"
        done.set()
        listening.shutdown()


@pytest.mark.parametrize("name", ANSWERS)
def test_servers_that_do_not_serve(few, nowhere, monkeypatch, capfd, name):
    """One line, and the next choice; nothing is left, no thread has a last word."""
    monkeypatch.setattr(cifar10, "TIME_LIMIT", 0.5)
    with server(ANSWERS[name]) as url:
        monkeypatch.setattr(cifar10.torchvision("datasets").CIFAR10, "url", url)
        with pytest.raises(cifar10.DataNotAvailable, match="could not be downloaded") as error:
            datasets.load("cifar10", None, 2, 2)
        sets, notice = datasets.load("auto", None, 2, 2)
    assert "not CIFAR-10" in sets["train"].name
    for text in (str(error.value), notice):
        assert text.isprintable() and len(text) < 600
        assert ("timed out" in text) == name.startswith("hangs")
    assert capfd.readouterr() == ("", "")
    assert list(nowhere.iterdir()) == []


def test_download(few, nowhere, monkeypatch, tmp_path):
    """From a server that refuses HEAD, by two at once; what a killed one left goes in a day."""
    archive = pack(few, tmp_path / "served.tar.gz")
    for age in (2, 0):
        left = nowhere / f"cifar-10-download-{age}"
        left.mkdir()
        os.utime(left, (time.time() - age * 90_000,) * 2)
    found = []
    with server(answer(200, archive.read_bytes())) as url:
        monkeypatch.setattr(cifar10.torchvision("datasets").CIFAR10, "url", url)
        threads = [threading.Thread(target=lambda: found.append(cifar10.load())) for _ in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 2
    check_few(found[0]), check_few(found[1])
    names = sorted(path.name for path in nowhere.iterdir())
    assert names == ["cifar-10-download-0", "cifar-10-python.tar.gz"]
    check_few(cifar10.load())  # with the server gone


def test_more_images_than_there_are(cifar10_root):
    with pytest.raises(cifar10.DataError, match="TRAIN_IMAGES is 50001.*50000"):
        datasets.load("cifar10", cifar10_root, 50_001, 10)
    sets, notice = datasets.load("auto", cifar10_root, 30, 20)
    assert notice == "" and len(sets["train"]) == 30 and len(sets["test"]) == 20


def test_planted_sets_are_reproducible():
    first, again = planted.load(50, 40), planted.load(50, 40)
    assert list(first) == ["train", "test", "low cue", "high cue"]
    for name, images in first.items():
        assert images.images.shape == ((50 if name == "train" else 40), 3, 32, 32)
        assert images.images.dtype == torch.uint8
        assert torch.equal(images.images, again[name].images)
    assert torch.equal(first["test"].labels, first["low cue"].labels)
    assert len(set(first["train"].labels.tolist())) == 10


def power_by_radius(pattern):
    """Share of the power of (N, 32, 32) patterns by integer cycles per image."""
    power = np.abs(np.fft.fft2(pattern.double().numpy())) ** 2
    cycles = np.fft.fftfreq(32, 1 / 32)
    return np.hypot(cycles[:, None], cycles), power.mean(0) / power.mean(0).sum()


@pytest.mark.parametrize("cue, low, high", [(planted.shapes, 0.5, 4), (planted.textures, 10, 23)])
def test_cues_keep_to_their_band(cue, low, high):
    classes = torch.arange(10).repeat(20)
    pattern = cue(classes, torch.Generator().manual_seed(0))
    assert pattern.square().mean() == pytest.approx(1, rel=1e-4)
    radius, power = power_by_radius(pattern)
    outside = (radius < low) | (radius > high)
    assert power[outside].sum() < 1e-9


@pytest.mark.parametrize("cue", [planted.shapes, planted.textures])
def test_cues_tell_the_classes_apart(cue):
    """Power spectra of a cue match the right class's mean best, also when mirrored."""
    classes = torch.arange(10).repeat(30)

    def features(seed):
        pattern = cue(classes, torch.Generator().manual_seed(seed))
        return (np.abs(np.fft.fft2(pattern.numpy())) ** 2).reshape(len(classes), -1)

    known, new = features(1), features(2)
    means = np.stack([known[classes == c].mean(0) for c in range(10)])
    distance = ((new[:, None] - means) ** 2).sum(2)
    assert (distance.argmin(1) == classes.numpy()).mean() > 0.9


def test_cues_agree_with_the_label_as_often_as_said():
    labels = torch.arange(10).repeat(2000)
    generator = torch.Generator().manual_seed(0)
    shown = planted._disagree(labels, 0.7, generator)
    agree = (shown == labels).double().mean().item()
    assert agree == pytest.approx(0.7, abs=4 * (0.21 / 20_000) ** 0.5)
    wrong = torch.bincount(shown[(shown != labels) & (labels == 3)], minlength=10)
    assert wrong[3] == 0 and (wrong[[0, 1, 2, 4, 5, 6, 7, 8, 9]] > 30).all()
    assert torch.equal(planted._disagree(labels, 1, generator), labels)


def test_background_falls_with_one_over_f():
    noise = planted.pink_noise(400, torch.Generator().manual_seed(0))
    assert noise.square().mean() == pytest.approx(1, abs=0.05)
    radius, power = power_by_radius(noise.flatten(0, 1))
    ratio = power[np.isclose(radius, 2)].mean() / power[np.isclose(radius, 10)].mean()
    assert ratio == pytest.approx(25, rel=0.15)  # power falls with 1/f^2
    assert power[0, 0] < 1e-9


def test_cue_variants_differ_by_the_cue_only():
    sets = planted.load(10, 64)
    both, low, high = (sets[n].images.double() for n in ("test", "low cue", "high cue"))
    radius, power = power_by_radius((both - low).mean(1))  # the texture, rounded
    assert power[radius >= 10].sum() > 0.95
    radius, power = power_by_radius((both - high).mean(1))  # the shape, rounded
    assert power[radius <= 4].sum() > 0.95


def position_images(count=40):
    """Images whose pixels tell where they come from: row, column and image number."""
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    images[:, 0] = torch.arange(1, 33).view(1, 32, 1)
    images[:, 1] = torch.arange(1, 33).view(1, 1, 32)
    images[:, 2] = torch.arange(1, count + 1).view(count, 1, 1)
    return images


def test_batches_are_crops_of_padded_and_mirrored_images():
    images = position_images()
    windows = crop_windows(images)
    seen, tops, lefts, mirrors = [], set(), set(), set()
    for epoch in range(1, 6):
        order = []
        for crops, labels in training_batches(windows, torch.arange(40), 16, 0, epoch):
            assert crops.shape[1:] == (3, 32, 32) and len(crops) == len(labels) in (16, 8)
            assert crops.is_contiguous(memory_format=torch.channels_last)
            for crop, label in zip((crops * 255).round().to(torch.uint8), labels):
                centre = crop[:, 16, 16].tolist()
                rising = crop[1, 16, 17] > crop[1, 16, 16]
                top = centre[0] - 1 - 16 + 4
                left = (centre[1] - 1 if rising else 32 - centre[1]) - 16 + 4
                source = images[label] if rising else images[label].flip(-1)
                padded = torch.nn.functional.pad(source, (4, 4, 4, 4))
                assert torch.equal(crop, padded[:, top : top + 32, left : left + 32])
                order.append(int(label))
                tops.add(top), lefts.add(left), mirrors.add(bool(rising))
        assert sorted(order) == list(range(40))
        seen.append(tuple(order))
    assert len(set(seen)) == 5
    assert tops == lefts == set(range(9)) and mirrors == {True, False}


def test_batches_depend_on_seed_and_epoch_alone():
    images = position_images()
    windows, labels = crop_windows(images), torch.arange(40)

    def epoch(seed, number):
        torch.rand(seed + 1)  # draws elsewhere make no difference
        return torch.cat([x for x, _ in training_batches(windows, labels, 7, seed, number)])

    assert torch.equal(epoch(3, 2), epoch(3, 2))
    assert not torch.equal(epoch(3, 2), epoch(3, 1))
    assert not torch.equal(epoch(3, 2), epoch(2, 2))


def test_normalize():
    pixels = torch.rand(5, 3, 4, 4)
    images = ImageSet(pixels, torch.zeros(5), "", (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (images.mean, images.std))
    found = Normalize(images)(pixels)
    np.testing.assert_allclose(found, (pixels.numpy() - mean) / std, atol=1e-5)


def test_a_torchvision_of_another_build(tmp_path):
    """It fails to import; the user gets one sentence with the remedy, and no fallback."""
    fake = tmp_path / "fake" / "torchvision"
    fake.mkdir(parents=True)
    problem = "operator torchvision::nms does not exist"
    (fake / "__init__.py").write_text(f"raise RuntimeError('{problem}')\n")
    line, path = "exp_b_spectrum_evolution.py", str(fake.parent)
    process = job.as_a_user(line, tmp_path / "results", PYTHONPATH=path)
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: torchvision does not work with the installed torch")
    assert problem in line and "pip install --force-reinstall torch torchvision" in line
