"""Checkpoints that prove they are undamaged."""

import hashlib
import io
import itertools
import pickle
from pathlib import Path

import torch

from utils.runtime import files

DIGEST = hashlib.sha256().digest_size  # bytes, at the end of a checkpoint


class CheckpointError(OSError):
    """A checkpoint cannot be used; the message is one sentence for the user."""


def save(state: dict, path: Path) -> None:
    """Save tensors, numbers, text and containers of them, followed by their SHA-256.

    `torch.load(path)` reads such a file too: it ignores what follows the archive.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with files.atomic_write(path, strict=True) as temporary, open(temporary, "wb") as file:
        file.write(buffer.getbuffer())
        file.write(hashlib.sha256(buffer.getbuffer()).digest())


def load(path: Path, identity: str) -> dict:
    """Load what `save` wrote, to the CPU, executing nothing that the file may contain.

    Raises:
        CheckpointError: missing, altered since it was written, or its entry "identity" is another.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} is missing") from None
    archive = content[:-DIGEST]
    if hashlib.sha256(archive).digest() != content[-DIGEST:]:
        raise CheckpointError(f"checkpoint {path} is damaged: its SHA-256 does not match")
    try:
        state = torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {path} is not a plain set of tensors") from error
    found = state.get("identity") if isinstance(state, dict) else None
    if found != identity:
        raise CheckpointError(f"checkpoint {path} belongs to {found}, not to {identity}")
    return state


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that it is out of the way; nothing is deleted."""
    asides = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
    aside = next(aside for aside in asides if not aside.exists())
    files.rename(path, aside)
    return aside
