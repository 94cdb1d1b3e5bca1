"""Where to compute, and what works there."""

import inspect
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


def describe_device(device: torch.device) -> str:
    """What tables and figures say of the device: "cpu, 2 threads, torch 2.14.1"."""
    threads = torch.get_num_threads()
    name = f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    return f"{name}, torch {torch.__version__.split('+')[0]}"


def describe_processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(x.split(":")[1].strip() for x in file if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 arithmetic on a GPU that has it (not one that emulates it), else float32."""
    fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.autocast("cuda" if fast else "cpu", torch.bfloat16, enabled=fast)


def memory_format(device: torch.device) -> torch.memory_format:
    """Channels last is faster; on Apple GPUs BatchNorm has known faults with it."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def without_compiler(optimizer: type) -> type:
    """An optimiser class of torch, without the wrappers that import torch's compiler: 2 s less."""
    names = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in names}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(optimizer.__name__, (optimizer,), methods)
