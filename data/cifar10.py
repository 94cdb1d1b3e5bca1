"""CIFAR-10 (Krizhevsky 2009): found on disk or downloaded, verified before it is unpickled."""

import importlib
import os
import shutil
import socket
import threading
import urllib.request
from pathlib import Path

import torch

from .batches import ImageSet

TIME_LIMIT = 20  # seconds to wait for a network that does not answer
HERE = Path(__file__).parent


class DataError(OSError):
    """The data set is damaged or cannot be read; the message is one sentence for the user."""


class DataNotAvailable(DataError):
    """The data set was neither found nor could it be downloaded."""


def load(data_root: str | None = None) -> tuple[ImageSet, ImageSet]:
    """Training set (50,000 images) and test set (10,000) as uint8 tensors.

    Looks for the official files (folder `cifar-10-batches-py`) in `data_root`, in the
    environment variable CIFAR10_ROOT, then in this package's folder; downloads them into
    `data_root` or this folder where all three have none.

    Raises:
        DataError: a file is missing from the set, or is not the official one.
        DataNotAvailable: not found and not downloadable.
    """
    dataset = torchvision("datasets").CIFAR10
    roots = [data_root, os.environ.get("CIFAR10_ROOT"), HERE]
    roots = [Path(root).expanduser() for root in roots if root]
    found = [root for root in roots if (root / dataset.base_folder).is_dir()]
    if not found:
        _download(dataset, roots[0] if data_root else HERE, roots)
    root = found[0] if found else (roots[0] if data_root else HERE)
    _verify(dataset, root / dataset.base_folder)
    return tuple(_image_set(dataset(root, train=train)) for train in (True, False))


def _image_set(official) -> ImageSet:
    images = torch.from_numpy(official.data).permute(0, 3, 1, 2).contiguous()
    return ImageSet(images, torch.tensor(official.targets), "CIFAR-10")


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


def _verify(dataset, folder: Path) -> None:
    """Compare every file with torchvision's list of MD5 sums."""
    check_md5 = torchvision("datasets.utils").check_md5
    meta = (dataset.meta["filename"], dataset.meta["md5"])
    for name, md5 in (*dataset.train_list, *dataset.test_list, meta):
        path = folder / name
        if not path.is_file():
            problem = "is missing"
        elif not check_md5(path, md5):
            problem = f"is damaged ({path.stat().st_size:,} bytes, MD5 is not {md5})"
        else:
            continue
        raise DataError(
            f"CIFAR-10: {path} {problem}; restore it, or delete the folder to download anew"
        )


def _download(dataset, root: Path, searched: list[Path]) -> None:
    """Download into root, appearing there only when complete."""
    partial = root / "cifar-10-download"
    timeout = socket.getdefaulttimeout()
    try:
        _check_reachable(dataset.url)
        socket.setdefaulttimeout(TIME_LIMIT)
        dataset(partial, download=True)
        (partial / dataset.base_folder).rename(root / dataset.base_folder)
        shutil.rmtree(partial)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise DataNotAvailable(
            f"CIFAR-10 is not in {', '.join(map(str, searched))} and could not be downloaded "
            f"from {dataset.url} ({reason}); put the official folder {dataset.base_folder} "
            "into one of these, or name its parent by DATA_ROOT or CIFAR10_ROOT"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)


def _check_reachable(url: str) -> None:
    """Raise OSError unless the server answers in time; name look-ups have no time limit."""
    outcome = [TimeoutError(f"no answer within {TIME_LIMIT} s")]

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=TIME_LIMIT).close()
            outcome[0] = None
        except OSError as error:
            outcome[0] = error

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIME_LIMIT)
    if outcome[0] is not None:
        raise outcome[0]
