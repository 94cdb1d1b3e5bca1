"""The processes that torchrun started; without it a single one, rank 0 of 1."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

RANK, WORLD = 0, 1  # set by `connect`


def connect() -> None:
    """Read who this process is, and find the others. From then on, torchrun's request to stop
    because one of them has died is ignored: the runs of this one do not depend on it.

    Raises:
        OSError: the environment says that there are others, but not where, or contradicts itself.
    """
    global RANK, WORLD
    RANK, WORLD = _read_environment()
    if WORLD > 1:
        try:
            dist.init_process_group("gloo", timeout=timedelta(days=365))
        except (RuntimeError, ValueError) as error:
            raise OSError(f"torchrun's other processes are not found ({error})") from error
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def alone(script: str) -> None:
    """Refuse, by an OSError, to do the same work in several processes of torchrun."""
    if _read_environment()[1] > 1:
        raise OSError(f"{script} is the work of one process; start it with python, not torchrun")


def rank_zero_first(work: Callable, choice):
    """Rank 0 does the work and chooses; then one process of each machine, then all others.

    Args:
        work: function of a choice; returns the choice that was made, first of a tuple.

    Returns what the work of this process has. Who comes later works with the choice of rank 0.
    Where it fails in one process, that one raises what went wrong; the others end without a word.
    """
    if WORLD == 1:
        return work(choice)
    done = problem = None
    mine = 0 if RANK == 0 else 1 if os.environ.get("LOCAL_RANK") == "0" else 2
    for turn in range(3):
        try:
            done = work(choice) if turn == mine else done
        except Exception as error:  # noqa: BLE001 (raised below, after all know)
            problem = error
        told = [None] * WORLD
        dist.all_gather_object(told, (problem is not None, done and done[0]))
        if any(failed for failed, _ in told):
            raise problem or SystemExit(1)
        choice = told[0][1]
    return done


def wait_for_others() -> str:
    """Until all have finished; "" or what went wrong."""
    try:
        if WORLD > 1:
            dist.barrier()
            dist.destroy_process_group()
    except RuntimeError:
        return "another process ended before its runs were finished"
    return ""


def _read_environment() -> tuple[int, int]:
    """Rank and number of processes; without a WORLD_SIZE above 1 there is one, whatever its RANK."""
    world, rank = (os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK"))
    if world in ("", "0", "1"):
        return 0, 1
    said = f"WORLD_SIZE is {world!r} in the environment"
    if not world.isdecimal():
        raise OSError(f"{said}; a whole number, or unset it")
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK"):
        if name not in os.environ:
            text = "so torchrun did not start this process; unset WORLD_SIZE"
            raise OSError(f"{said}, but {name} is not there, {text}")
    if not rank.isdecimal() or int(rank) >= int(world):
        raise OSError(f"{said} and RANK is {rank!r}; a whole number below WORLD_SIZE")
    return int(rank), int(world)
