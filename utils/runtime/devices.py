"""Where to compute, and what works there."""

import os

import torch


def choose_device(name: str) -> torch.device:
    """ "auto" is the GPU where CUDA finds one, else the CPU; "cuda:1" the second GPU.

    With "cuda", each process of torchrun gets a GPU of its own, as far as there are enough. An
    OSError says that this machine, or this build of torch, has no such device.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": gpus}
    if name == "auto":
        name = "cuda" if gpus else "cpu"
        if there["mps"] and not gpus:
            print("An Apple GPU is there; --device mps takes it (nobody has tested that yet).")
    kind, _, number = name.partition(":")
    if int(number or 0) >= there[kind]:
        raise OSError(f"DEVICE is {name}; this machine, or this build of torch, has none")
    if kind == "cuda":
        return torch.device(kind, int(number or int(os.environ.get("LOCAL_RANK", "0")) % gpus))
    return torch.device(kind)


def choose_precision(name: str, device: torch.device) -> str:
    """The arithmetic of training: "auto" is bfloat16 where there are matrix units for it, as in
    GPUs from capability 8.0 on and CPUs with AMX, else float32."""
    if name != "auto":
        return name
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
    units = device.type == "cpu" and capabilities.get("amx_bf16")
    if device.type == "cuda":
        units = torch.cuda.get_device_capability(device) >= (8, 0)
    return "bfloat16" if units else "float32"


def slow_precision(precision: str, device: torch.device) -> str:
    """A sentence where bfloat16 was asked of a device without matrix units for it, else ""."""
    if precision == choose_precision("auto", device) or precision == "float32":
        return ""
    name = device.type.upper()
    return f"this {name} has no matrix units for bfloat16: usually slower than float32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Convolutions and matrix products in "bfloat16" or "float32"; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last is faster; on Apple GPUs BatchNorm has known faults with it."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def describe_device(device: torch.device, precision: str) -> str:
    """What tables and figures say of the device: "cpu, 2 threads, float32, torch 2.14.1"."""
    threads = torch.get_num_threads()
    name = f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return f"{name}, {precision}, torch {torch.__version__.split('+')[0]}"


def usable_cores() -> int:
    """Processor cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def threads_beside_others(device: torch.device) -> int | None:
    """How many threads are fastest where other processes keep cores of a CPU busy; None where none
    do, nobody knows, or no thread has to share a core.

    As the threads of a step wait for each other, one without a core of its own slows all of them.
    """
    load = getattr(os, "getloadavg", lambda: (0,))  # Windows has none
    try:
        busy = round(load()[0])  # of the last minute
    except OSError:
        return None
    free = max(1, usable_cores() - busy)
    crowded = device.type == "cpu" and busy > 0 and torch.get_num_threads() > free
    return free if crowded else None
