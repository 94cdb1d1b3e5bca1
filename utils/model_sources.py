"""A network by what a user calls it: a name of torchvision's, a file of weights, a run's folder."""

import difflib
import inspect
import io
import json
import re
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from data import batches
from data.cifar10 import torchvision
from models.resnet import ResNet18
from utils.model_files import WeightsError, load_weights, one_line

SUFFIXES = r"(\.(pt|pth|tar|ckpt|bin|safetensors))+$"  # of files of weights
AS_PIXELS = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


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
    normalize = torchvision("transforms").Normalize(batches.MEAN, batches.STD)
    return Source(name, about, model, pixels, normalize)
