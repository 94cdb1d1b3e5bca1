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

    Links are followed; what is hidden, by a dot before its name, is no picture.

    Args:
        prepare: a picture of PIL, in colour, -> (3, H, W), the same size for all.

    Returns (N, 3, H, W), fewer than `count` where there are no more.

    Raises:
        DataError: there is none, one cannot be read, or it does not say which value is white.
    """
    pictures = []
    for path in find_pictures(Path(folder).expanduser())[:count]:
        try:
            with Image.open(path) as picture:
                pictures.append(prepare(to_8_bits(picture).convert("RGB")))
        except Exception as error:  # a damaged or hostile picture can raise anything
            reason = ": " + " ".join(str(error).split()) if isinstance(error, ValueError) else ""
            raise DataError(f"{path} cannot be read as a picture{reason}") from error
    if not pictures:
        raise DataError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    return torch.stack(pictures)


def find_pictures(folder: Path) -> list[Path]:
    """Paths of all pictures in a folder and those inside it, sorted."""
    found, seen = [], set()
    for place, inside, names in os.walk(folder, followlinks=True):
        first = os.path.realpath(place) not in seen  # links can lead in circles
        seen.add(os.path.realpath(place))
        inside[:] = sorted(name for name in inside if first and name[0] != ".")
        found += [Path(place, name) for name in names if first and name[0] != "."]
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES)


def to_8_bits(picture: Image.Image) -> Image.Image:
    """Grey pictures of 16 or 32 bits and of floats as such of 8 bits; others as they are.

    White is 65535 in 16 bits and 1 in floats. PIL's own conversion would clip them at 255.

    Raises:
        ValueError: the values of a picture of 32 bits or floats have another range.
    """
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values = np.asarray(picture).astype(np.float64)
    white = 1 if picture.mode == "F" else 65535
    low, high = values.min(), values.max()
    # 32 bits may hold 8, 16 or more: 16, as older versions of PIL read them, are told by the range.
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
    chosen = [number * len(classes) // taken for number in range(taken)]
    each = [count // taken + (number < count % taken) for number in range(taken)]
    parts = [load(str(classes[n]), some, prepare) for n, some in zip(chosen, each)]
    numbers = torch.tensor([n for n, part in zip(chosen, parts) for _ in part])
    return torch.cat(parts), numbers, [path.name for path in classes]


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
