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


def without_compiler(optimizer: type) -> type:
    """An optimiser class of torch, without the wrappers that import torch's compiler: 2 s less."""
    names = ("add_param_group", "load_state_dict", "state_dict", "step", "zero_grad")
    methods = {name: inspect.unwrap(getattr(optimizer, name)) for name in names}
    methods["step"] = torch.no_grad()(methods["step"])
    return type(optimizer.__name__, (optimizer,), methods)
