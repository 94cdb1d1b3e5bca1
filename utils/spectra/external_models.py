"""A network by what a user calls it: a name of torchvision's, a file of weights, a run's folder.

Nothing in other people's files is executed.
"""

import argparse
import codecs
import difflib
import inspect
import io
import json
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data.cifar10 import torchvision
from data.images import MEAN, STD
from models.resnet import ResNet18

from .modules import flat_state_dict, is_kernel, one_line

SUFFIXES = r"(\.(pt|pth|tar|ckpt|bin|safetensors))+$"  # of files of weights
AS_PIXELS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
# What checkpoints hold beside weights; the last two make saved arrays and numbers of numpy.
HARMLESS = [argparse.Namespace, codecs.encode, datetime, type(Path())]
HARMLESS += [np.dtype, np.ndarray, *{type(np.dtype(code)) for code in "?bhilqBfd"}]
HARMLESS += [np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]]


class WeightsError(OSError):
    """Weights cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Source:
    """A network, or weights alone, and how pictures become its input."""

    name: str  # for names of files
    about: str  # for captions
    model: nn.Module | dict[str, Tensor]
    prepare: Callable | None = None  # a picture, or uint8 images, -> pixels in [0, 1]
    normalize: nn.Module | None = None  # pixels -> input of the network


def find_model(source: str, weights: str) -> Source:
    """The network that a name or a path stands for.

    Args:
        source: a model of torchvision, a file of weights, or a run's folder of experiment B.
        weights: of a model of torchvision: "default", "random", or a file.

    Raises:
        WeightsError: it is none of these, or its weights cannot be had.
    """
    path = Path(source).expanduser()
    names = torchvision("models").list_models()
    if source in names:
        return _torchvision(source, weights)
    if path.is_dir():
        return _run(path.resolve())
    if path.exists() or re.search(SUFFIXES, path.name):
        name = re.sub(r"[^\w-]+", "_", re.sub(SUFFIXES, "", path.name))
        return Source(name, path.name, load_weights(path))
    near = difflib.get_close_matches(source, names) or ["resnet18", "vit_b_16"]
    raise WeightsError(
        f"{source!r} is no file of weights, no run's folder of experiment B and no model of "
        f"torchvision ({', '.join(near)}, ...)"
    )


def _torchvision(name: str, weights: str) -> Source:
    models, words = torchvision("models"), io.StringIO()  # torchvision's words about a download
    default = models.get_model_weights(name).DEFAULT
    options = {"weights": default if weights == "default" else None}
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options["weights_backbone"] = None
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings(), redirect_stdout(words), redirect_stderr(words):
            warnings.simplefilter("ignore")
            model = models.get_model(name, **options)
        if weights not in ("default", "random"):
            model.load_state_dict(load_weights(Path(weights).expanduser()))
    except WeightsError:
        raise
    except Exception as error:  # noqa: BLE001 (no network, a damaged file)
        missing = f"the weights of {name} are not here and cannot be downloaded; --weights random"
        text = f"{missing} needs none" if weights == "default" else f"{weights} does not fit {name}"
        raise WeightsError(f"{text} ({one_line(error)})") from None
    about = f"{name}, {default.name if weights == 'default' else weights} weights"
    try:
        pixels, preset = default.transforms(**AS_PIXELS), default.transforms()
    except TypeError:  # a model for another task than classification
        return Source(name, about, model)
    transforms = torchvision("transforms")  # models for segmentation do not crop themselves
    crop = transforms.CenterCrop(getattr(preset, "crop_size", preset.resize_size))
    normalize = transforms.Normalize(preset.mean, preset.std)
    return Source(name, about, model, transforms.Compose([pixels, crop]), normalize)


def _run(folder: Path) -> Source:
    """A model of experiment B after the last epoch that it has reached."""
    try:
        written = json.loads((folder / "settings.json").read_text("utf-8"))
        model = ResNet18(written["settings"]["width"])
        model.load_state_dict(load_weights(folder / "last.pt"))
    except WeightsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        text = f"{folder} is no run's folder of experiment B ({one_line(error)})"
        raise WeightsError(text) from None
    name = re.sub(r"[^\w-]+", "_", f"{folder.parent.name}-{folder.name}")
    about = f"{folder.parent.name}, {folder.name}"
    if written["settings"].get("image_spectrum", "natural") != "natural":
        return Source(name, about, model)  # it takes pictures that are changed first
    default = torchvision("models").get_model_weights("resnet18").DEFAULT
    pixels = default.transforms(crop_size=32, resize_size=32, **AS_PIXELS)
    normalize = torchvision("transforms").Normalize(MEAN, STD)
    return Source(name, about, model, pixels, normalize)


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a .pt, .pth, .pt.tar or .safetensors file: as `flat_state_dict`.

    Raises:
        WeightsError: missing, damaged, more than plain containers of tensors, or without weights
            of a convolution.
    """
    path = Path(path)
    try:
        path.stat()  # a missing file is told as such
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            torch.serialization.add_safe_globals(HARMLESS)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content = torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError:
        raise WeightsError(f"{path}: reading it needs the package safetensors") from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error})") from None
    except Exception as error:  # noqa: BLE001 (a hostile file can raise anything)
        found = re.search(r"GLOBAL ([\w.]+)|TorchScript", str(error))
        if not found:
            raise WeightsError(f"{path} is damaged, or not a file of weights") from None
        raise WeightsError(
            f"{path} holds {found[1] or 'a TorchScript program'}, which is not loaded as it could "
            "execute anything; torch.save(model.state_dict(), ...) makes a file that is"
        ) from None
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds a {type(content).__name__}, no state dict")
    weights = flat_state_dict(content)
    if not any(is_kernel(name, values) for name, values in weights.items()):
        raise WeightsError(f"{path} holds no weights of convolutions (four-dimensional)")
    return weights
