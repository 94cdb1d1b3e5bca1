"""Pictures from a folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .cifar10 import DataError

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
