"""The processes that torchrun started; without it a single one, rank 0 of 1."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

RANK, WORLD = 0, 1  # set by `connect`


def connect() -> None:
    """Read who this process is, and find the others.

    Raises:
        OSError: the environment says that there are others, but not where.
    """
    global RANK, WORLD
    RANK, WORLD = _number("RANK", 0), _count()
    if WORLD > 1:
        try:
            dist.init_process_group("gloo", timeout=timedelta(days=365))
        except RuntimeError as error:
            raise OSError(f"torchrun's other processes are not found ({error})") from error


def alone(script: str) -> None:
    """Refuse to do the same work in several processes.

    Raises:
        OSError: torchrun started more than one.
    """
    if _count() > 1:
        raise OSError(f"{script} is the work of one process; start it with python, not torchrun")


def one_after_another(work: Callable, choice):
    """Rank 0 does the work first and chooses; then the others, one by one on each machine.

    Args:
        work: of a choice; returns the choice that was made, first of a tuple.

    Returns what the work of this process has. Who comes later works with the choice of rank 0.
    Where it fails in one process, that one raises what went wrong; the others end without a word.
    """
    if WORLD == 1:
        return work(choice)
    done = problem = None
    mine = _number("LOCAL_RANK", RANK) if RANK else -1
    for turn in range(-1, WORLD):
        if turn == mine:
            try:
                done = work(choice)
            except Exception as error:  # noqa: BLE001 (raised below, after all know)
                problem = error
        told = [None] * WORLD
        dist.all_gather_object(told, (problem is not None, done and done[0]))
        if any(failed for failed, _ in told):
            raise problem or SystemExit(1)
        choice = told[0][1]
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


def _count() -> int:
    count = _number("WORLD_SIZE", 1)
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "RANK") if name not in os.environ]
    if count > 1 and missing:
        raise OSError(
            f"WORLD_SIZE is {count} in the environment, but {missing[0]} is not there, so torchrun "
            "did not start this process; unset WORLD_SIZE"
        )
    return count


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal():
        raise OSError(f"{name} is {text!r} in the environment; a whole number, or unset it")
    return int(text)
