"""The processes that torchrun started; without it a single one, rank 0 of 1."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

RANK = WORLD = LOCAL_RANK = LOCAL_WORLD = 0  # set by `connect`


def connect() -> None:
    """Read who this process is, and find the others.

    Raises:
        OSError: the environment says that there are others, but not where.
    """
    global RANK, WORLD, LOCAL_RANK, LOCAL_WORLD
    RANK, WORLD, LOCAL_RANK = _number("RANK", 0), _number("WORLD_SIZE", 1), _number("LOCAL_RANK", 0)
    LOCAL_WORLD = _number("LOCAL_WORLD_SIZE", WORLD)
    if WORLD > 1:
        _require_torchrun()
        dist.init_process_group("gloo", timeout=timedelta(days=365))


def alone(script: str) -> None:
    """Refuse to do the same work in several processes.

    Raises:
        OSError: torchrun started more than one.
    """
    if _number("WORLD_SIZE", 1) > 1:
        _require_torchrun()
        raise OSError(f"{script} is the work of one process; start it with python, not torchrun")


def my_share(items: list) -> list:
    """Every WORLD-th of the items, from this process's own on."""
    return items[RANK::WORLD]


def one_after_another(work: Callable, choice):
    """Rank 0 does the work first and chooses; then the others, one by one on each machine.

    Args:
        work: of a choice; returns a pair of the choice that was made and a result.

    Returns the pair of this process. Who comes later works with the choice of rank 0.
    """
    if WORLD == 1:
        return work(choice)
    done = work(choice) if RANK == 0 else None
    message = [done and done[0]]
    dist.broadcast_object_list(message)
    for turn in range(LOCAL_WORLD):
        if done is None and LOCAL_RANK == turn:
            done = work(message[0])
        dist.barrier()
    return done


def outlive_others() -> None:
    """From here on, torchrun's request to stop because another process has died is ignored:
    the runs of this one do not depend on it."""
    if WORLD > 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def wait_for_others() -> str:
    """Until all have finished; "" or what went wrong."""
    try:
        if WORLD > 1:
            dist.barrier()
            dist.destroy_process_group()
    except RuntimeError:
        return "another process ended before its runs were finished"
    return ""


def _require_torchrun() -> None:
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "RANK") if name not in os.environ]
    if missing:
        raise OSError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']} in the environment, but {missing[0]} is not "
            "there, so torchrun did not start this process; unset WORLD_SIZE"
        )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise OSError(f"{name} is {text!r} in the environment; a whole number, or unset it")
    return int(text)
