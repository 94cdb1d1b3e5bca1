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

    An OSError says that they are not found, or that the environment contradicts itself.
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


def _read_environment() -> tuple[int, int]:
    """Rank and number of processes; without a WORLD_SIZE above 1 there is one, whatever its RANK."""
    names = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")
    world, rank, *address = (os.environ.get(name, "") for name in names)
    if world in ("", "0", "1"):
        return 0, 1
    if world.isdecimal() and rank.isdecimal() and int(rank) < int(world) and all(address):
        return int(rank), int(world)
    said = ", ".join(f"{name} {os.environ.get(name)!r}" for name in names)
    raise OSError(f"the environment has {said}, not as torchrun sets them; unset WORLD_SIZE")


def rank_zero_first(work: Callable, choice):
    """Do a work in rank 0, then in one process of each machine, then in all others.

    `work` is a function(choice) -> tuple, whose first entry is the choice that the others get.
    Returns what the work of this process has. Where it fails in one process, that one raises what
    went wrong; the others end without a word.
    """
    if WORLD == 1:
        return work(choice)
    done = problem = None
    for my_turn in (RANK == 0, os.environ.get("LOCAL_RANK") == "0", True):
        try:
            done = work(choice) if my_turn and not done else done
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
