"""Under what conditions results arose: labels of tables and figures, settings files."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from utils.runtime import devices, files

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
    return {
        "processor": devices.describe_processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "numpy": np.__version__,
        "commit": git_commit(),
    }


def write_conditions(path: Path, settings: SimpleNamespace, labels: dict) -> None:
    """How results arose, as JSON: labels, constants, command, versions, commit."""
    conditions = labels | {"format": FORMAT, "settings": vars(settings)}
    conditions["command"] = " ".join(["python", *sys.argv])
    text = json.dumps(conditions | versions(), indent=2).replace(str(ROOT), ".")
    if Path(settings.results_dir).is_absolute():  # nobody else's business once it is published
        text = text.replace(settings.results_dir, "results")
    with files.atomic_write(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def git_commit() -> str | None:
    """Commit of this folder, marked where files differ from it; None without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return None
