"""Where to compute, and what works there."""

import os
import platform

import torch


def choose_device(name: str) -> torch.device:
    """ "auto" is the GPU where CUDA finds one, else the CPU; "cuda:1" the second GPU.

    With "cuda", each process of torchrun gets a GPU of its own, as far as there are enough.

    Raises:
        OSError: this machine, or this build of torch, has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cpu" and torch.backends.mps.is_available():
            print("An Apple GPU is there; --device mps takes it (nobody has tested that yet).")
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": gpus}
    kind, _, number = name.partition(":")
    if int(number or 0) >= there[kind]:
        raise OSError(f"DEVICE is {name}; this machine, or this build of torch, has none")
    if kind == "cuda":
        return torch.device(kind, int(number or int(os.environ.get("LOCAL_RANK", "0")) % gpus))
    return torch.device(kind)


def has_bfloat16_units(device: torch.device) -> bool:
    """Has it matrix units for bfloat16: a GPU from capability 8.0 on, or a CPU with AMX?"""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
    return device.type == "cpu" and bool(capabilities.get("amx_bf16"))


def choose_precision(name: str, device: torch.device) -> str:
    """The arithmetic of training: "auto" is bfloat16 where the device has units for it, else
    float32."""
    if name != "auto":
        return name
    return "bfloat16" if has_bfloat16_units(device) else "float32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Convolutions and matrix products in "bfloat16" or "float32"; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def describe_device(device: torch.device, precision: str) -> str:
    """What tables and figures say of the device: "cpu, 2 threads, float32, torch 2.14.1"."""
    threads = torch.get_num_threads()
    name = f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return f"{name}, {precision}, torch {torch.__version__.split('+')[0]}"


def describe_processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(x.split(":")[1].strip() for x in file if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last is faster; on Apple GPUs BatchNorm has known faults with it."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def slow_precision(precision: str, device: torch.device) -> str:
    """A sentence where bfloat16 was asked of a device without matrix units for it, else ""."""
    if precision == "float32" or has_bfloat16_units(device):
        return ""
    return (
        f"this {device.type.upper()} has no matrix units for bfloat16: usually slower than float32"
    )


def usable_cores() -> int:
    """Processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads_beside_others(device: torch.device) -> int | None:
    """How many threads are fastest on a CPU where other processes keep cores busy; None where none
    are, or the threads are no more than the free cores.

    The load average of the last minute tells, on systems that have one. The threads of a step wait
    for each other, so one without a core of its own slows all of them.
    """
    try:
        busy = round(os.getloadavg()[0])
    except (AttributeError, OSError):  # Windows has none
        return None
    free = max(1, usable_cores() - busy)
    crowded = device.type == "cpu" and busy > 0 and torch.get_num_threads() > free
    return free if crowded else None
