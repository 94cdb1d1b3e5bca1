"""Pictures from a folder."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .cifar10 import DataError

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")


def load(folder: str, count: int, prepare: Callable) -> Tensor:
    """The first `count` pictures in a folder and those inside it, in the order of their paths.

    `prepare` turns a picture of PIL, in colour, into (3, H, W) of one size for all. Links are
    followed; what is hidden, by a dot before its name, is no picture.

    Returns (N, 3, H, W), fewer than `count` where there are no more.

    Raises:
        DataError: there is none, one cannot be read, or it does not say which value is white.
    """
    pictures = []
    for path in _paths(Path(folder).expanduser())[:count]:
        try:
            with Image.open(path) as picture:
                pictures.append(prepare(_to_8_bits(picture).convert("RGB")))
        except Exception as error:  # a damaged or hostile picture can raise anything
            reason = ": " + " ".join(str(error).split()) if isinstance(error, ValueError) else ""
            raise DataError(f"{path} cannot be read as a picture{reason}") from error
    if not pictures:
        raise DataError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    return torch.stack(pictures)


def _paths(folder: Path) -> list[Path]:
    found, seen = [], set()
    for place, inside, names in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:  # links can lead in circles
            inside.clear()
            continue
        seen.add(os.path.realpath(place))
        inside[:] = sorted(name for name in inside if name[0] != ".")
        found += [Path(place, name) for name in names if name[0] != "."]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Grey pictures of 16 or 32 bits and of floats, which PIL's own conversion would clip at 255.

    White is 65535, in floats 1. 32 bits may hold 8, 16 or more: 16, as older versions of PIL read
    them, are told by the range.
    """
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture).astype(np.float64)
    low, high, white = values.min(), values.max(), 1 if picture.mode == "F" else 65535
    if not 0 <= low <= high <= white or (picture.mode == "I" and 0 < high <= 255):
        allowed = "0 to 1" if white == 1 else "0 to 65535, with some above 255"
        raise ValueError(f"its values are from {low:g} to {high:g}; allowed: {allowed}")
    eight = (values * 255).round() if white == 1 else values // 256
    return Image.fromarray(eight.astype(np.uint8))


def load_classes(folder: str, count: int, prepare: Callable) -> tuple | None:
    """`count` pictures, evenly from the subfolders of a folder, one for each class.

    Returns pictures as `load`, of each the number of its class, int64 (N,), and the sorted names of
    all subfolders; None where there are none, or pictures beside them.
    """
    inside = sorted(Path(folder).expanduser().glob("[!.]*"))
    classes = [path for path in inside if path.is_dir()]
    if not classes or any(path.suffix.lower() in SUFFIXES for path in inside):
        return None
    taken = min(count, len(classes))
    parts = {}
    for i in range(taken):
        number, some = i * len(classes) // taken, count // taken + (i < count % taken)
        parts[number] = load(str(classes[number]), some, prepare)
    numbers = torch.tensor([number for number, part in parts.items() for _ in part])
    return torch.cat([*parts.values()]), numbers, [path.name for path in classes]


def class_numbers(classes: list[str], names: Sequence[str], outputs: int) -> list[int] | None:
    """Which output of a network stands for each class; None: it cannot be said.

    By the names that the outputs have; by numbers as names; else in order, as torchvision's
    ImageFolder counts, where there are as many classes as outputs.
    """
    plain = [re.sub(r"[\W_]+", " ", name).strip().lower() for name in (*names, *classes)]
    known, wanted = plain[: len(names)], plain[len(names) :]
    if all(known.count(word) == 1 for word in wanted):
        return [known.index(word) for word in wanted]
    if len(classes) == outputs:
        return list(range(outputs))
    if all(name.isdecimal() and int(name) < outputs for name in classes):
        return [int(name) for name in classes]
    return None
