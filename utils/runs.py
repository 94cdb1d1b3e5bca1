"""Which runs a job consists of, where each keeps its files, and under what conditions it ran."""

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
import torch.distributed as dist
from matplotlib.figure import Figure

from utils import checkpoints

FORMAT = 2  # of the files in a run's folder
FLOAT = "%.7g"  # numbers in tables: as many digits as float32 holds
ROOT = Path(__file__).resolve().parent.parent

# Given by torchrun; a single process is rank 0 of 1.
RANK, WORLD = (int(os.environ.get(n, d)) for n, d in (("RANK", "0"), ("WORLD_SIZE", "1")))

# The settings that the weights depend on. A change of any means another folder.
DECISIVE = ["width", "epochs", "train_images", "test_images", "batch_size"]
DECISIVE += ["learning_rate", "momentum", "weight_decay", "dropout", "checkpoint_every"]


@dataclass(frozen=True)
class Run:
    """One training run: a configuration and a seed."""

    configuration: str
    seed: int
    weight_decay: float  # L2 coefficient
    dropout: float  # probability

    @property
    def name(self) -> str:
        return f"{self.configuration}-seed{self.seed}"


def list_runs(settings: SimpleNamespace) -> list[Run]:
    """All runs, seed by seed, so that configurations can be compared early."""
    regularisation = {
        "baseline": (0.0, 0.0),
        "l2": (settings.weight_decay, 0.0),
        "dropout": (0.0, settings.dropout),
    }
    return [
        Run(configuration, seed, *regularisation[configuration])
        for seed in settings.seeds
        for configuration in settings.configurations
    ]


def share(runs: list[Run]) -> list[Run]:
    """The runs of this process: every WORLD_SIZE-th where torchrun started several."""
    return runs[RANK::WORLD]


def meet() -> str:
    """Wait for the processes that torchrun started besides this one; "" or what went wrong."""
    try:
        if WORLD > 1:
            dist.barrier()
            dist.destroy_process_group()
    except RuntimeError:
        return "another process ended before its runs were finished"
    return ""


def join() -> None:
    """Begin to work together with the other processes of torchrun, until `meet`.

    From here on, torchrun's request to stop because another process has died is ignored:
    the runs of this one do not depend on it.
    """
    if WORLD > 1:
        dist.init_process_group("gloo", timeout=timedelta(days=365))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def job_folder(settings: SimpleNamespace, dataset: str, device: torch.device) -> Path:
    """results/checkpoints/<dataset>-<scale>-<hash of what decides over the weights>."""
    decisive = {name: getattr(settings, name) for name in DECISIVE}
    decisive |= {"format": FORMAT, "dataset": dataset, "device": device.type}
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    short = dataset.split()[0].lower().replace("-", "")
    folder = f"{short}-{settings.scale}-{digest[:8]}"
    return Path(settings.results_dir) / "checkpoints" / folder


def scale_name(settings: SimpleNamespace) -> str:
    """The scale (or setting), and what of it was changed; the seeds are named as n."""
    name = getattr(settings, "scale", None) or settings.setting
    changed = [changed for changed in settings.changed if changed != "seeds"]
    return f"{name}, changed: {', '.join(changed)}" if changed else name


def write_conditions(path: Path, settings: SimpleNamespace, labels: dict) -> None:
    """How results arose, as JSON: constants, versions, device, commit and command."""
    conditions = labels | {
        "format": FORMAT,
        "settings": vars(settings),
        "command": " ".join(["python", *sys.argv]),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "commit": _git_commit(),
    }
    text = json.dumps(conditions, indent=2).replace(str(ROOT), ".")
    with checkpoints.replacing(path) as temporary:
        temporary.write_text(text + "\n", "utf-8")


def clean(settings: SimpleNamespace) -> None:
    """Remove what killed processes left half written among the results."""
    results = Path(settings.results_dir)
    for place in ("checkpoints", "data", "figures", "reference/*"):
        for folder in results.glob(place):
            checkpoints.clean(folder)


def begin(settings: SimpleNamespace, folder: Path) -> None:
    """Clean up, and note which job was started last."""
    clean(settings)
    with checkpoints.replacing(folder.parent / "latest") as path:
        path.write_text(folder.name + "\n", "utf-8")


def other_formats(results_dir: str) -> list[Path]:
    """Folders of runs that another version of this project wrote; they are left alone."""
    found = []
    for file in sorted(Path(results_dir).glob("checkpoints/*/*/settings.json")):
        try:
            written = json.loads(file.read_text("utf-8")).get("format")
        except (ValueError, AttributeError):
            written = None
        if written != FORMAT:
            found.append(file.parent)
    return found


def device_name(device: torch.device) -> str:
    """What a figure says of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def read_tables(folder: Path, runs: list[Run], file: str, labels: dict) -> pd.DataFrame:
    """The CSVs `file` of all runs that have one, below each other, after constant columns."""
    paths = [folder / run.name / file for run in runs]
    tables = [pd.read_csv(path) for path in paths if path.exists()]
    return label(pd.concat(tables, ignore_index=True), labels)


def label(table: pd.DataFrame, labels: dict) -> pd.DataFrame:
    """The table after constant columns, one for each label."""
    return pd.concat([pd.DataFrame(labels, index=table.index), table], axis=1)


def write_table(settings: SimpleNamespace, name: str, table: pd.DataFrame) -> Path:
    path = Path(settings.results_dir) / "data" / f"{name}.csv"
    with checkpoints.replacing(path) as temporary:
        table.to_csv(temporary, index=False, float_format=FLOAT)
    return path


def write_figure(settings: SimpleNamespace, name: str, figure: Figure) -> Path:
    path = Path(settings.results_dir) / "figures" / f"{name}.png"
    with checkpoints.replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


def report(problems: list[str]) -> int:
    """Print what went wrong, a line each; the exit code."""
    for problem in filter(None, problems):
        print(f"error: {problem}", file=sys.stderr)
    return 1 if any(problems) else 0


def close(
    settings: SimpleNamespace,
    name: str,
    scale: str,
    labels: dict,
    written: list[Path],
    problems: list[str],
) -> int:
    """Write how the results of a script arose, say what was written; the exit code."""
    conditions = Path(settings.results_dir) / "data" / f"{name}_settings.json"
    write_conditions(conditions, settings, labels)
    written = [*written, conditions]
    if settings.save_reference:
        written += save_reference(settings.results_dir, scale, written)
    print("\nWritten:", *written, sep="\n  ")
    return report(problems)


def save_reference(results_dir: str, scale: str, files: list[Path]) -> list[Path]:
    """Copy result files to results/reference/<scale>."""
    folder = Path(results_dir) / "reference" / scale
    for file in files:
        with checkpoints.replacing(folder / file.name) as temporary:
            shutil.copyfile(file, temporary)
    return [folder / file.name for file in files]


def _git_commit() -> str | None:
    """Commit of this folder, marked where files differ from it; None without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return None
