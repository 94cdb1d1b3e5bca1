"""CIFAR-10 (Krizhevsky 2009): found on disk or downloaded, verified before it is unpickled."""

import hashlib
import importlib
import os
import pickle
import shutil
import socket
import tarfile
import tempfile
import time
from pathlib import Path

import torch

from .images import ImageSet

TIME_LIMIT = 20  # seconds to wait for a server that says nothing
HERE = Path(__file__).parent


class DataError(OSError):
    """The data set is damaged or cannot be read; the message is one sentence for the user."""


class DataNotAvailable(DataError):
    """The data set was neither found nor could it be downloaded."""


def load(data_root: str | None = None) -> tuple[ImageSet, ImageSet]:
    """Training set (50,000 images) and test set (10,000) as uint8 tensors.

    Looks for the official files in `data_root`, in the environment variable CIFAR10_ROOT, then in
    this package's folder. Each may hold the folder `cifar-10-batches-py`, be that folder, or hold
    (or be) the archive `cifar-10-python.tar.gz`, which is read where it lies. Where none has the
    files, torchvision downloads the archive into `data_root` or this package's folder.

    Raises:
        DataError: a file is missing from the set, or is not the official one.
        DataNotAvailable: not found and not downloadable.
    """
    official = torchvision("datasets").CIFAR10
    given = [root for root in (data_root, os.environ.get("CIFAR10_ROOT"), HERE) if root]
    roots = [Path(os.path.expanduser(os.path.expandvars(root))) for root in given]
    places = next(filter(None, (_places(official, root) for root in roots)), None)
    return _read(official, places or [_download(official, roots, roots[0] if data_root else HERE)])


def torchvision(module: str):
    """A module of torchvision, or one sentence where torchvision does not match torch."""
    try:
        return importlib.import_module(f"torchvision.{module}")
    except Exception as error:  # a mismatched build fails in its own ways
        raise DataError(
            f"torchvision does not work with the installed torch {torch.__version__} "
            f"({_reason(error)}): the two are of different builds; install both "
            "from one place: pip install --force-reinstall torch torchvision"
        ) from error


def _places(official, root: Path) -> list[Path]:
    """Folders and archives in or at root that hold official files, folders first."""
    names = [name for name, _ in official.train_list + official.test_list]
    folders = [root / official.base_folder, root]
    # Some browsers unzip what they download.
    archives = [root / official.filename, root / official.filename.removesuffix(".gz"), root]
    folders = [path for path in folders if any(os.path.isfile(path / name) for name in names)]
    return folders + [path for path in archives if os.path.isfile(path)]


def _read(official, places: list[Path]) -> tuple[ImageSet, ImageSet]:
    """Both sets, from the first place where they are complete and undamaged."""
    sets, problems = (official.train_list, official.test_list), []
    md5s = dict(sets[0] + sets[1])
    for place in places:
        try:
            files = _contents(place, md5s)
        except Exception as error:  # noqa: BLE001 (damaged archives fail in many ways)
            problems.append(f"{place} cannot be read ({_reason(error)})")
            continue
        found = {n: hashlib.md5(c, usedforsecurity=False).hexdigest() for n, c in files.items()}
        wrong = [name for name, md5 in md5s.items() if found.get(name) != md5]
        if not wrong:
            return tuple(_image_set([files[name] for name, _ in names]) for names in sets)
        what = "damaged" if wrong[0] in files else "missing"
        problems.append(f"{place / wrong[0]} is {what}")
    raise DataError(f"CIFAR-10: {problems[0]}; restore it, or delete it to download anew")


def _contents(place: Path, names) -> dict[str, bytes]:
    """Those of the files that are in a folder or an archive."""
    if place.is_dir():
        return {n: (place / n).read_bytes() for n in names if (place / n).is_file()}
    with tarfile.open(place) as archive:
        found = ((Path(m.name).name, m) for m in archive if m.isfile())
        return {name: archive.extractfile(m).read() for name, m in found if name in names}


def _image_set(files: list[bytes]) -> ImageSet:
    batches = [pickle.loads(content, encoding="latin1") for content in files]
    pixels = torch.cat([torch.from_numpy(batch["data"]) for batch in batches])
    labels = torch.tensor([label for batch in batches for label in batch["labels"]], device="cpu")
    return ImageSet(pixels.view(-1, 3, 32, 32), labels, "CIFAR-10")


def _download(official, searched: list[Path], root: Path) -> Path:
    """The archive, which appears in root once it is complete and verified."""
    prefix, limit = "cifar-10-download-", socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIME_LIMIT)
    try:
        for left in root.glob(f"{prefix}*"):  # by a process that was killed
            if time.time() - left.stat().st_mtime > 24 * 3600:
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=prefix) as folder:
            download = torchvision("datasets.utils").download_url
            download(official.url, folder, official.filename, official.tgz_md5)
            return Path(folder, official.filename).replace(root / official.filename)
    except Exception as error:  # servers, and what is between, fail in many ways
        raise DataNotAvailable(
            f"CIFAR-10 is not in {', '.join(map(str, searched))} and could not be downloaded "
            f"from {official.url} ({_reason(error)}); put the official {official.filename}, or "
            f"the folder {official.base_folder}, into one of these, or name its parent by "
            "DATA_ROOT or CIFAR10_ROOT"
        ) from error
    finally:
        socket.setdefaulttimeout(limit)


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
