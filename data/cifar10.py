"""CIFAR-10 (Krizhevsky 2009): found on disk or downloaded, verified before it is unpickled."""

import hashlib
import importlib
import os
import pickle
import shutil
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from tqdm import tqdm

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
    the archive `cifar-10-python.tar.gz`, which is read where it lies and not unpacked. Where none
    has the files, downloads the archive into `data_root` or this package's folder.

    Raises:
        DataError: a file is missing from the set, or is not the official one.
        DataNotAvailable: not found and not downloadable.
    """
    official = torchvision("datasets").CIFAR10
    roots = [data_root, os.environ.get("CIFAR10_ROOT"), HERE]
    roots = [Path(os.path.expanduser(os.path.expandvars(root))) for root in roots if root]
    places = next(filter(None, (_places(official, root) for root in roots)), [])
    if places:
        found, problem = _read(places, dict(official.train_list + official.test_list))
        if problem:
            raise DataError(f"CIFAR-10: {problem}; restore it, or delete it to download anew")
    else:
        found = _download(official, roots, roots[0] if data_root else HERE)
    sets = []
    for files in (official.train_list, official.test_list):
        batches = [found[name] for name, _ in files]
        pixels = torch.cat([torch.from_numpy(batch["data"]) for batch in batches])
        labels = torch.tensor([label for batch in batches for label in batch["labels"]])
        sets.append(ImageSet(pixels.view(-1, 3, 32, 32), labels, "CIFAR-10"))
    return tuple(sets)


def torchvision(module: str):
    """A module of torchvision, or one sentence where torchvision does not match torch."""
    try:
        return importlib.import_module(f"torchvision.{module}")
    except Exception as error:  # a mismatched build fails in its own ways
        raise DataError(
            f"torchvision does not work with the installed torch {torch.__version__} "
            f"({str(error).splitlines()[0]}): the two are of different builds; install both "
            "from one place: pip install --force-reinstall torch torchvision"
        ) from error


def _places(official, root: Path) -> list[Path]:
    """Folders and archives in or at root that hold official files, folders first."""
    names = [name for name, _ in official.train_list + official.test_list]
    folders = [root / official.base_folder, root]
    folders = [path for path in folders if any(os.path.isfile(path / name) for name in names)]
    # Some browsers unzip what they download.
    archives = [root / official.filename, root / official.filename.removesuffix(".gz"), root]
    return folders + [path for path in archives if os.path.isfile(path)]


def _read(places: list[Path], md5s: dict[str, str]) -> tuple[dict[str, dict], str]:
    """The official batches by name, each from the first place where it is undamaged.

    Args:
        md5s: name -> MD5 of the files to find.

    Returns them, and what is wrong, "" where they are complete.
    """
    batches, problem = {}, ""
    for path in places:
        try:
            for name, content in _files(path, md5s.keys() - batches.keys()):
                if hashlib.md5(content, usedforsecurity=False).hexdigest() == md5s[name]:
                    batches[name] = pickle.loads(content, encoding="latin1")
                else:
                    size = f"{len(content):,} bytes"
                    problem = f"{path / name} is damaged ({size}, MD5 is not {md5s[name]})"
        except Exception as error:  # noqa: BLE001 (damaged archives fail in many ways)
            problem = f"{path} cannot be read ({_reason(error)})"
    missing = sorted(md5s.keys() - batches.keys())
    return batches, (problem or f"{places[0] / missing[0]} is missing") if missing else ""


def _files(path: Path, names: set[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of those of the files that are in a folder or an archive."""
    if path.is_dir():
        for name in names:
            if (path / name).is_file():
                yield name, (path / name).read_bytes()
    elif names:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and Path(member.name).name in names:
                    yield Path(member.name).name, archive.extractfile(member).read()


def _download(official, searched: list[Path], root: Path) -> dict[str, dict]:
    """Download the archive into root, appearing there when complete; returns the batches in it."""
    md5s = dict(official.train_list + official.test_list)
    prefix = "cifar-10-download-"
    try:
        for left in root.glob(f"{prefix}*"):  # by a process that was killed
            with suppress(FileNotFoundError):  # another process was faster
                if time.time() - left.stat().st_mtime > 24 * 3600:
                    shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=prefix) as folder:
            archive = Path(folder) / official.filename
            with (
                urllib.request.urlopen(official.url, timeout=TIME_LIMIT) as answer,
                tqdm.wrapattr(answer, "read", answer.length, desc="CIFAR-10", disable=None) as body,
                open(archive, "wb") as file,
            ):
                shutil.copyfileobj(body, file)
            batches, problem = _read([archive], md5s)
            if problem:
                raise DataError("what came from there is not the official archive")
            archive.replace(root / archive.name)
            return batches
    except Exception as error:  # servers, and what is between, fail in many ways
        raise DataNotAvailable(
            f"CIFAR-10 is not in {', '.join(map(str, searched))} and could not be downloaded "
            f"from {official.url} ({_reason(error)}); put the official {official.filename}, or "
            f"the folder {official.base_folder}, into one of these, or name its parent by "
            "DATA_ROOT or CIFAR10_ROOT"
        ) from error


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
