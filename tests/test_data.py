"""Data sets and batches: what is in them, and what happens when they are damaged."""

import pickle
import shutil

import job
import numpy as np
import pytest
import torch

from data import batches, cifar10, datasets, planted


def test_official_files(cifar10_root):
    train, test = cifar10.load(cifar10_root)
    assert train.images.shape == (50_000, 3, 32, 32) and train.images.dtype == torch.uint8
    assert test.images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(train.labels).tolist() == [5000] * 10
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    assert train.images.is_contiguous()

    # The normalisation constants are the moments of all pixels, to the digits given.
    pixels = train.images.transpose(0, 1).flatten(1).double() / 255
    np.testing.assert_allclose(pixels.mean(1), batches.MEAN, atol=5e-5)
    np.testing.assert_allclose(pixels.std(1), batches.STD, atol=1e-4)

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
    monkeypatch.delenv("CIFAR10_ROOT", raising=False)
    monkeypatch.setattr(cifar10, "HERE", tmp_path)
    dataset = cifar10.torchvision("datasets").CIFAR10
    monkeypatch.setattr(dataset, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    return tmp_path


def test_without_network(nowhere):
    with pytest.raises(cifar10.DataNotAvailable, match="could not be downloaded.*refused"):
        datasets.load("cifar10", None, 10, 10)
    sets, notice = datasets.load("auto", None, 20, 10)
    assert "could not be downloaded" in notice
    assert "not CIFAR-10" in sets["train"].name
    assert list(nowhere.iterdir()) == []


def test_a_server_that_never_answers(nowhere, monkeypatch):
    import socket

    monkeypatch.setattr(cifar10, "TIME_LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dataset = cifar10.torchvision("datasets").CIFAR10
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x.tar.gz"
        monkeypatch.setattr(dataset, "url", address)
        with pytest.raises(cifar10.DataNotAvailable, match="no answer|timed out"):
            cifar10.load()


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
    windows = batches.crop_windows(images)
    seen, tops, lefts, mirrors = [], set(), set(), set()
    for epoch in range(1, 6):
        order = []
        for crops, labels in batches.training_batches(windows, torch.arange(40), 16, 0, epoch):
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
    windows, labels = batches.crop_windows(images), torch.arange(40)

    def epoch(seed, number):
        torch.rand(seed + 1)  # draws elsewhere make no difference
        return torch.cat([x for x, _ in batches.training_batches(windows, labels, 7, seed, number)])

    assert torch.equal(epoch(3, 2), epoch(3, 2))
    assert not torch.equal(epoch(3, 2), epoch(3, 1))
    assert not torch.equal(epoch(3, 2), epoch(2, 2))


def test_normalize():
    images = torch.rand(5, 3, 4, 4)
    expected = (images.numpy() - np.reshape(batches.MEAN, (3, 1, 1))) / np.reshape(
        batches.STD, (3, 1, 1)
    )
    np.testing.assert_allclose(batches.normalize(images), expected, atol=1e-5)


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
