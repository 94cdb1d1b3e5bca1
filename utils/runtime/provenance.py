"""Under what conditions results arose: labels of tables and figures, settings files."""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from utils.runtime import files

ROOT = Path(__file__).resolve().parents[2]
FORMAT = 3  # of the files in a run's folder


def scale_label(settings: SimpleNamespace, scale: str | None = None) -> str:
    """The scale (or setting), and every constant that differs from its default.

    Args:
        scale: label of the models' own training, to which changes of `settings` are added.
    """
    label = scale or getattr(settings, "scale", None) or settings.setting
    scale, _, before = label.partition(", changed: ")
    changed = dict.fromkeys([*filter(None, before.split(", ")), *settings.changed])
    return f"{scale}, changed: {', '.join(changed)}" if changed else scale


def versions() -> dict:
    """What the numbers of a start depend on besides the settings."""
    system = Path("/proc/cpuinfo")  # where there is one, it has the processor's own name
    told = system.read_text("utf-8") if os.access(system, os.R_OK) else ""
    found = re.search(r"model name\s*:(.*)", told)
    return {
        "processor": found[1].strip() if found else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "numpy": np.__version__,
        "commit": git_commit(),
    }


def git_commit() -> str | None:
    """Commit of this project's own repository, marked where files differ from it; None without."""
    # Neither a repository that the project was unpacked in nor one that the environment names.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    environment["GIT_CEILING_DIRECTORIES"] = str(ROOT.parent)
    tracked = "git ls-files --error-unmatch utils/runtime/provenance.py"
    describe = "git describe --always --dirty --abbrev=40"
    options = {"cwd": ROOT, "env": environment, "stderr": subprocess.DEVNULL, "text": True}
    try:
        subprocess.check_output(tracked.split(), **options)
        return subprocess.check_output(describe.split(), **options).strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_conditions(path: Path, settings: SimpleNamespace, labels: dict) -> None:
    """How results arose, as JSON: labels, constants, command, versions, commit."""
    conditions = labels | {"format": FORMAT, "settings": vars(settings)}
    places = (str(ROOT), "."), (settings.results_dir, "results")
    private = [(place, name) for place, name in places if Path(place).is_absolute()]
    command = sys.argv
    for place, name in private:  # before a quote in it is quoted
        command = [word.replace(place, name) for word in command]
    conditions |= {"command": shlex.join(["python", *command])} | versions()
    text = json.dumps(conditions, indent=2, default=str)
    for place, name in private:  # nobody else's business once it is published
        text = text.replace(json.dumps(place)[1:-1], name)
    with files.atomic_write(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")
