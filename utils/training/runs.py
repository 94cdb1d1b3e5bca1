"""Which runs a job consists of, where each keeps its files, and which job was started last."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch

from utils import configurations
from utils.runtime import files
from utils.runtime.provenance import FORMAT

# The settings that the files of every run depend on: a change of any means another folder. The
# strengths of a run's regularisation are in its own name.
HASHED_SETTINGS = ["width", "epochs", "train_images", "test_images", "batch_size", "learning_rate"]
HASHED_SETTINGS += ["momentum", "image_spectrum", "checkpoint_every", "precision"]


@dataclass(frozen=True)
class Run:
    """One training run: a configuration, by its complete name, and a seed."""

    configuration: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.configuration}-seed{self.seed}"

    @property
    def strengths(self) -> dict[str, float]:
        """Strength of the regularisation by term, as in `utils.configurations`."""
        return configurations.strengths(self.configuration)

    def order(self) -> tuple:
        """To sort by: seed, then from the baseline on."""
        return self.seed, configurations.order(self.configuration)


def list_runs(settings: SimpleNamespace) -> list[Run]:
    """All runs of a start, seed by seed, so that configurations can be compared early."""
    return [Run(name, seed) for seed in settings.seeds for name in settings.configurations]


def parse_run(name: str) -> Run | None:
    """The run of a folder's name; None where it is no run's."""
    configuration, _, seed = name.rpartition("-seed")
    with suppress(ValueError):
        if configurations.canonical_name(configuration) == configuration:
            return Run(configuration, int(seed))
    return None


def with_finished_ones(runs: list[Run], job: Path, epochs: int) -> list[Run]:
    """The runs of this start and, of the same job, those that other starts have finished."""
    last = f"epoch-{epochs:03d}.pt"
    found = {parse_run(path.parent.name) for path in job.glob(f"*/{last}")} - {None}
    return sorted({*runs, *found}, key=Run.order)


def describe(runs: list[Run]) -> str:
    """In words: "baseline, L2 1e-3 x seeds 0, 1"."""
    names = dict.fromkeys(configurations.label(run.configuration) for run in runs)
    seeds = dict.fromkeys(str(run.seed) for run in runs)
    return f"{', '.join(names)} x seeds {', '.join(seeds)}"


def job_folder(settings: SimpleNamespace, dataset: str, device: torch.device) -> Path:
    """results/checkpoints/<dataset>-<scale>-<hash of what all its runs share>."""
    shared = {name: getattr(settings, name) for name in HASHED_SETTINGS}
    shared |= {"format": FORMAT, "dataset": dataset, "device": device.type}
    digest = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()
    short = dataset.split()[0].strip(",").lower().replace("-", "")
    folder = f"{short}-{settings.scale}-{digest[:8]}"
    return Path(settings.results_dir) / "checkpoints" / folder


def note_latest(folder: Path, scale: str, runs: list[Run]) -> None:
    """Write which job was started last, and its runs, for experiments C and D."""
    latest = {"folder": folder.name, "scale": scale}
    latest["configurations"] = list(dict.fromkeys(run.configuration for run in runs))
    latest["seeds"] = list(dict.fromkeys(run.seed for run in runs))
    with files.atomic_write(folder.parent / "latest.json", strict=True) as path:
        path.write_text(json.dumps(latest, indent=2) + "\n", "utf-8")
