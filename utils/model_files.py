"""Weights from other people's files: nothing in them is executed, and names are made plain."""

import argparse
import codecs
import re
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

KEYS = ("state_dict", "model_state_dict", "model", "ema")  # whose weights are taken, first first
# What checkpoints hold beside weights; the last two make saved arrays and numbers of numpy.
HARMLESS = [argparse.Namespace, codecs.encode, datetime, type(Path())]
HARMLESS += [np.dtype, np.ndarray, *{type(np.dtype(code)) for code in "?bhilqBfd"}]
HARMLESS += [np.zeros(0).__reduce__()[0], np.float64(0).__reduce__()[0]]


class WeightsError(OSError):
    """Weights cannot be used; the message is one sentence for the user."""


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
    if not any(_is_kernel(name, values) for name, values in weights.items()):
        raise WeightsError(f"{path} holds no weights of convolutions (four-dimensional)")
    return weights


def flat_state_dict(content) -> dict[str, Tensor]:
    """The tensors by name in a state dict, or in the first of those inside a checkpoint.

    Names lose `module.` and `_orig_mod.`, which wrappers and torch.compile add.
    """
    found = list(_state_dicts(content)) or [{}]
    state = next((s for s in found if any(_is_kernel(*item) for item in s.items())), found[0])
    plain = {}
    for name, values in state.items():
        shown = "".join(c if c.isprintable() else "?" for c in name)
        shown = re.sub(r"^(module\.|_orig_mod\.)+|(?<=\.)_orig_mod\.", "", shown)
        plain[name if shown in plain else shown] = values
    return plain


def _state_dicts(content, depth: int = 4) -> Iterator[dict[str, Tensor]]:
    """The tensors of every dictionary in nested ones, those under KEYS first."""
    if not isinstance(content, Mapping) or not depth:
        return
    named = {name: value for name, value in content.items() if isinstance(name, str)}
    yield {name: value for name, value in named.items() if isinstance(value, Tensor)}
    for name in sorted(named, key=lambda n: KEYS.index(n) if n in KEYS else len(KEYS)):
        yield from _state_dicts(named[name], depth - 1)


def _is_kernel(name: str, values: Tensor) -> bool:
    return values.ndim == 4 and name.rpartition(".")[2] == "weight"


def one_line(error: Exception) -> str:
    """What other people's code says went wrong, on one line of some length."""
    text = " ".join(str(getattr(error, "reason", error)).split())
    return text[:200] or type(error).__name__
