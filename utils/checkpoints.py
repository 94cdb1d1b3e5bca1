"""Files that are never half written, checkpoints that prove they are undamaged, and locks."""

import hashlib
import io
import os
import pickle
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

import torch

try:
    import fcntl
except ImportError:  # Windows: no locks there
    fcntl = None

DIGEST = hashlib.sha256().digest_size  # bytes, at the end of a checkpoint


class CheckpointError(OSError):
    """A checkpoint cannot be used; the message is one sentence for the user."""


class BusyError(OSError):
    """Another living process works on the same files."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; it becomes `path` once complete and on the disk.

    A reader of `path` sees the old file or the new one, also after a crash, and writers do not
    disturb each other. `clean` removes what a killed process left.

    Raises:
        OSError: one sentence that names `path`.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _temporary(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    temporary = Path(file.name)
    with file:
        try:
            yield temporary
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames closed files only
            temporary.replace(path)
        except OSError as error:
            raise _cannot_write(path, error) from error
        finally:
            temporary.unlink(missing_ok=True)


def clean(folder: Path) -> None:
    """Remove temporary files that no living process writes to."""
    for path in Path(folder).glob(".*.tmp-*"):
        try:
            file = open(path, "rb+")  # noqa: SIM115 (network disks lock such files only)
        except (FileNotFoundError, PermissionError):
            continue  # just finished, or another user's
        with file:
            if _lock(file):
                path.unlink(missing_ok=True)


def hold(path: Path) -> IO:
    """Lock a file until it is closed or the process ends, in whatever way.

    Raises:
        BusyError: a living process holds it; says which, and since when.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (stays open)
        ours = _lock(file)
    except OSError as error:
        raise _cannot_write(path, error) from error
    if not ours:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise BusyError(f"{path.parent} is in use by {holder}")
    file.truncate(0)
    now = datetime.now().astimezone()
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {now:%Y-%m-%d %H:%M:%S}\n")
    file.flush()
    return file


def save(state: dict, path: Path) -> None:
    """Save tensors, numbers, text and containers of them, followed by their SHA-256.

    `torch.load(path)` reads such a file too: it ignores what follows the archive.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(buffer.getbuffer())
        file.write(hashlib.sha256(buffer.getbuffer()).digest())


def load(path: Path, identity: str) -> dict:
    """Load what `save` wrote, to the CPU, executing nothing that the file may contain.

    Args:
        identity: what the entry "identity" of the saved state must be.

    Raises:
        CheckpointError: missing, altered since it was written, or of another run.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {path} is missing") from None
    archive, digest = content[:-DIGEST], content[-DIGEST:]
    if hashlib.sha256(archive).digest() != digest:
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
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return path.rename(aside)


def _temporary(path: Path) -> IO:
    """A new file beside `path`, locked to show that its writer lives."""
    while True:
        name = f".{path.name}.tmp-{secrets.token_hex(4)}{path.suffix}"
        file = open(path.with_name(name), "xb")  # noqa: SIM115 (the caller closes it)
        if _lock(file) and os.path.exists(file.name):
            return file
        file.close()  # `clean` of another process was faster than the lock
        Path(file.name).unlink(missing_ok=True)


def _lock(file: IO) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _cannot_write(path: Path, error: OSError) -> OSError:
    if isinstance(error, (CheckpointError, BusyError)):
        return error
    return OSError(f"cannot write {path} ({error.strerror or error}); earlier results stay")
