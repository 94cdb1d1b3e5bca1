"""Files that are never half written, and checkpoints that prove they are undamaged."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

DIGEST = hashlib.sha256().digest_size  # bytes, at the end of a checkpoint


class CheckpointError(OSError):
    """A checkpoint is damaged; the message is one sentence for the user."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; it becomes `path` once complete and on the disk.

    A reader of `path` sees the old file or the new one, also after a crash. The temporary
    file is always of the same name, so one left by a crash goes with the next write.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save(state: dict, path: Path) -> None:
    """Save tensors, numbers, text and containers of them, followed by their SHA-256.

    `torch.load(path)` reads such a file too: it ignores what follows the archive.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(buffer.getbuffer())
        file.write(hashlib.sha256(buffer.getbuffer()).digest())


def load(path: Path) -> dict:
    """Load what `save` wrote, to the CPU, executing nothing that the file may contain.

    Raises:
        CheckpointError: the content does not have the SHA-256 it was written with.
    """
    content = Path(path).read_bytes()
    archive, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(archive).digest() != digest:
        raise CheckpointError(
            f"checkpoint {path} is damaged (its SHA-256 does not match); "
            f"delete its folder to train this run again"
        )
    return torch.load(io.BytesIO(archive), map_location="cpu", weights_only=True)
