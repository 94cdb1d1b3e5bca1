"""A network by what a user calls it: a name of torchvision's or timm's, a function, a file.

Nothing in files of weights is executed.
"""

import argparse
import codecs
import difflib
import importlib
import inspect
import io
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .modules import is_kernel, networks_in, one_line

ROOT = Path(__file__).resolve().parent.parent.parent  # of the project
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

    names: tuple[str, ...]  # for names of files: the first that no other network's results have
    about: str  # for captions: differs where the weights are others
    model: nn.Module | dict[str, Tensor]
    prepare: Callable | None = None  # a picture, or uint8 images, -> pixels in [0, 1]
    normalize: nn.Module | None = None  # pixels -> input of the network
    classes: tuple[str, ...] = ()  # their names, where they are known
    note: str = ""  # what a user should know of the file


def find_model(source: str, weights: str, part: str | None = None) -> Source:
    """The network that a name or a path stands for.

    Args:
        source: a model of torchvision; timm/NAME; module:function, which is called; a file.
        weights: of a named model: "default", "random", or a file.
        part: which of several networks in a file.

    Raises:
        WeightsError: it is none of these, or its weights cannot be had.
    """
    path = Path(source).expanduser()
    if path.exists() or re.search(SUFFIXES, path.name):
        networks, chosen = load_networks(path, part)
        about, note = f"{shown(path)}{f', {part}' if part else ''}", ""
        if len(networks) > 1:
            listed = ", ".join(n + " (measured)" * (n == chosen) for n in networks)
            note = f"{path.name} holds {len(networks)} networks: {listed}; --part chooses"
        return Source(file_names(path, end=part), about, networks[chosen], note=note)
    if source.startswith("timm/"):
        return _timm(source, weights)
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", source):
        build = partial(_call, *source.split(":"))
        return _built(build, source, "its own" if weights in ("default", "random") else weights)
    names = _torchvision_part("models").list_models()
    if source in names:
        return _torchvision(source, weights)
    near = difflib.get_close_matches(source, names) or ["resnet18", "vit_b_16"]
    raise WeightsError(
        f"{source!r} is no file of weights, no run's folder of experiment B, no module:function "
        f"and no model of torchvision ({', '.join(near)}, ...) or timm (timm/resnet50.a1_in1k, ...)"
    )


def file_names(path: Path, start: str = "", end: str | None = None) -> tuple[str, ...]:
    """Names for results on a file or folder: its own, then with more and more of its path."""
    *folders, name = path.resolve().parts[1:]
    parts = [*folders, re.sub(SUFFIXES, "", name)]
    tails = ("_".join([start, *parts[-n:], end or ""]) for n in range(1, len(parts) + 1))
    return tuple(re.sub(r"[^\w-]+", "_", tail).strip("_") for tail in tails)


def shown(path: Path) -> str:
    """The path from the project's root on, or from that of the disk."""
    path = path.resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()


def _torchvision(name: str, weights: str) -> Source:
    models = _torchvision_part("models")
    default = models.get_model_weights(name).DEFAULT
    options = {"weights": default if weights == "default" else None}
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options["weights_backbone"] = None
    source = _built(partial(models.get_model, name, **options), name, weights, default.name)
    try:
        pixels, preset = default.transforms(**AS_PIXELS), default.transforms()
    except TypeError:  # a model for another task than classification
        return source
    transforms = _torchvision_part("transforms")  # models for segmentation do not crop themselves
    crop = transforms.CenterCrop(getattr(preset, "crop_size", preset.resize_size))
    prepare = transforms.Compose([pixels, crop])
    normalize = transforms.Normalize(preset.mean, preset.std)
    classes = tuple(default.meta.get("categories", ()))
    return replace(source, prepare=prepare, normalize=normalize, classes=classes)


def _timm(name: str, weights: str) -> Source:
    try:
        import timm
    except ImportError:
        raise WeightsError(f"{name} needs the package timm") from None
    options = {"pretrained": weights == "default"}
    build = partial(timm.create_model, name.removeprefix("timm/"), **options)
    source = _built(build, name, weights, "default")
    config = timm.data.resolve_model_data_config(source.model)
    size = config["input_size"][-1]
    prepare = pixels_of_size(size, round(size / config["crop_pct"]))
    normalize = _torchvision_part("transforms").Normalize(config["mean"], config["std"])
    return replace(source, prepare=prepare, normalize=normalize)


def _call(module: str, function: str) -> nn.Module:
    if os.getcwd() not in sys.path:  # as `python -m` looks there first
        sys.path.insert(0, os.getcwd())
    model = getattr(importlib.import_module(module), function)()
    if not isinstance(model, nn.Module):
        raise TypeError(f"it returns a {type(model).__name__}, no nn.Module")
    return model


def _built(build: Callable, name: str, weights: str, default: str = "") -> Source:
    """A model by its function, with a file's weights where `weights` is one. Default weights are
    downloaded, and called `default` in captions."""
    words, plain = io.StringIO(), re.sub(r"[^\w-]+", "_", name)
    torch.manual_seed(0)
    try:
        with warnings.catch_warnings(), redirect_stdout(words), redirect_stderr(words):
            warnings.simplefilter("ignore")
            model = build()
    except Exception as error:  # noqa: BLE001 (no network, an unknown name, the user's own code)
        text = f"{name} cannot be built"
        if weights == "default":
            text = f"the weights of {name} are not here and cannot be downloaded; "
            text += "--weights random needs none"
        raise WeightsError(f"{text} ({one_line(error)})") from None
    if weights in ("default", "random", "its own"):
        about = f"{name}, {default if weights == 'default' else weights} weights"
        return Source((plain, f"{plain}_{weights}"), about, model)
    path = Path(weights).expanduser()
    try:
        model.load_state_dict(load_weights(path))
    except RuntimeError as error:
        raise WeightsError(f"{weights} does not fit {name} ({one_line(error)})") from None
    return Source((plain, *file_names(path, plain)), f"{name}, weights {shown(path)}", model)


def pixels_of_size(size: int, larger: int) -> Callable:
    """A function of a picture, or of uint8 images, that scales its shorter edge to `larger` pixels
    and cuts (..., 3, size, size) from the middle, in [0, 1]."""
    default = _torchvision_part("models").get_model_weights("resnet18").DEFAULT
    return default.transforms(crop_size=size, resize_size=larger, **AS_PIXELS)


def _torchvision_part(name: str):
    try:
        return importlib.import_module(f"torchvision.{name}")
    except (ImportError, RuntimeError) as error:
        raise WeightsError(f"torchvision cannot be used ({one_line(error)})") from None


def load_weights(path: Path, part: str | None = None) -> dict[str, Tensor]:
    """The weights of one network, as `load_networks`."""
    networks, chosen = load_networks(path, part)
    return networks[chosen]


def load_networks(path: Path, part: str | None) -> tuple[dict[str, dict[str, Tensor]], str]:
    """The networks in a .pt, .pth, .pt.tar or .safetensors file as `modules.networks_in`, and which
    is meant: the first, or that of a place, or the first inside it.

    Raises:
        WeightsError: missing, damaged, more than plain containers of tensors, or without weights
            of a convolution, or without that part.
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
    networks = networks_in(content)
    if not any(is_kernel(*pair) for state in networks.values() for pair in state.items()):
        raise WeightsError(f"{path} holds no weights of convolutions (four-dimensional)")
    meant = [p for p in networks if part is None or p == part or p.startswith(f"{part}.")]
    if not meant:
        listed = ", ".join(place or "(the file itself)" for place in networks)
        raise WeightsError(f"{path.name} has no part {part!r}; it has: {listed}")
    return networks, meant[0]


def checkpoint_files(names: list[str]) -> list[Path]:
    """Files of weights, or those in a folder (if it has none, in the folders inside it), in natural
    order: epoch2 before epoch10.

    Raises:
        WeightsError: there is none.
    """
    files = []
    for path in (Path(name).expanduser() for name in names):
        inside = [path.glob("[!.]*"), path.rglob("[!.]*")] if path.is_dir() else [[path]]
        found = ([f for f in some if re.search(SUFFIXES, f.name) or f == path] for some in inside)
        files += next(filter(None, found), [])
    if not files:
        text = "holds no file of weights (.pt, .pth, .safetensors, ...)"
        raise WeightsError(f"{' '.join(names)} {text}")

    def words_and_numbers(path: Path) -> list[tuple[str, int]]:
        pairs = re.findall(r"(\D*)(\d*)", path.as_posix())
        return [(word, int(number or 0)) for word, number in pairs]

    return sorted(dict.fromkeys(files), key=words_and_numbers)


def numbered(files: list[Path]) -> tuple[dict[Path, int], dict[Path, str]]:
    """The number of each file: the first that differs between their names, else its place; and why
    a file is left out: most others are numbered, and it is not."""
    forms = {path: re.sub(r"\d+", "#", path.as_posix()) for path in files}
    form, count = Counter(forms.values()).most_common(1)[0]
    if count > 1 and 2 * count > len(files):
        text = f"it is not called {Path(form).name}, as the others are"
        out = {path: text for path in files if forms[path] != form}
        left = [path for path in files if path not in out]
        for numbers in zip(*(map(int, re.findall(r"\d+", path.as_posix())) for path in left)):
            if len(set(numbers)) == len(left):
                return dict(zip(left, numbers)), out
    return dict(zip(files, range(len(files)))), {}
