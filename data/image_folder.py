"""Pictures from a folder."""

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

    Args:
        prepare: a picture of PIL, in colour, -> (3, H, W), the same size for all.

    Returns (N, 3, H, W), fewer than `count` where there are no more.

    Raises:
        DataError: there is none, or one cannot be read.
    """
    files, pictures = sorted(Path(folder).expanduser().rglob("[!.]*")), []
    for path in [path for path in files if path.suffix.lower() in SUFFIXES][:count]:
        try:
            with Image.open(path) as picture:
                if picture.mode.startswith("I"):  # 16 bits, which `convert` would clip at 255
                    picture = Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
                pictures.append(prepare(picture.convert("RGB")))
        except Exception as error:  # a damaged or hostile picture can raise anything
            raise DataError(f"{path} cannot be read as a picture") from error
    if not pictures:
        raise DataError(f"{folder} holds no pictures ({', '.join(SUFFIXES)})")
    return torch.stack(pictures)


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
