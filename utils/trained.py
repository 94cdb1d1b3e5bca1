"""The models that experiment B has trained: found, verified, loaded, or trained first."""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from torch import nn

from data import datasets
from data.batches import ImageSet
from models.resnet import ResNet18
from utils import checkpoints
from utils.evaluation import for_inference
from utils.runs import FORMAT, ROOT

EXPERIMENT_B = ROOT / "experiments" / "exp_b_spectrum_evolution.py"
ORDER = ["baseline", "l2", "dropout"]

Key = tuple[str, int, int]  # configuration, seed, epoch


@dataclass(frozen=True)
class Job:
    """What experiment B has trained with one group of settings."""

    folder: Path
    settings: SimpleNamespace  # of experiment B
    labels: dict  # dataset, scale
    last: list[Key]  # every run that was begun, at its last epoch, seed by seed


def find_job(settings: SimpleNamespace) -> Job:
    """The job that RUN names; where RUN is "latest" and there is none, it is trained.

    Raises:
        CheckpointError: no such job, damaged, of another format, or training failed.
    """
    folder = Path(settings.results_dir) / "checkpoints"
    name, latest = settings.run, folder / "latest"
    if name == "latest" and latest.exists():
        name = latest.read_text("utf-8").strip()
    if (folder / name).is_dir():
        return _read_job(folder / name)
    if settings.run != "latest":
        there = sorted(path.parent.name for path in folder.glob("*/*/"))
        raise checkpoints.CheckpointError(
            f"RUN is {name!r}; allowed: latest, or a folder in {folder}: "
            f"{', '.join(dict.fromkeys(there)) or 'there is none'}"
        )
    _train(settings, folder)
    return find_job(settings)


def _train(settings: SimpleNamespace, folder: Path) -> None:
    print(
        f"No models of experiment B in {folder}: it trains them first. At quick scale this "
        "takes 4 to 7 minutes on two CPU cores; the time left is shown below.\n",
        flush=True,
    )
    command = [sys.executable, EXPERIMENT_B, "--results-dir", settings.results_dir]
    command += ["--device", settings.device]
    if settings.data_root:
        command += ["--data-root", settings.data_root]
    command += shlex.split(settings.training_flags)
    if subprocess.run(command, check=False).returncode:
        raise checkpoints.CheckpointError("experiment B did not finish; see above")
    print("\nExperiment B is finished.\n", flush=True)


def _read_job(folder: Path) -> Job:
    files = sorted(folder.glob("*/settings.json"))
    if not files:
        raise checkpoints.CheckpointError(f"{folder} holds no run of experiment B")
    try:
        conditions = json.loads(files[0].read_text("utf-8"))
        found = conditions["format"]
    except (ValueError, KeyError, TypeError):
        raise checkpoints.CheckpointError(f"{files[0]} is damaged") from None
    if found != FORMAT:
        raise checkpoints.CheckpointError(
            f"{folder} was written by another version of this project (format {found}, "
            f"not {FORMAT}); it is left alone"
        )
    names = [file.parent.name.split("-seed") for file in files]
    epoch = conditions["settings"]["epochs"]
    last = [(configuration, int(seed), epoch) for configuration, seed in names]
    return Job(
        folder,
        SimpleNamespace(**conditions["settings"]),
        {name: conditions[name] for name in ("dataset", "scale")},
        sorted(last, key=lambda key: (key[1], ORDER.index(key[0]))),
    )


def load_models(
    job: Job, keys: list[Key], device: torch.device
) -> tuple[dict[Key, nn.Module], list[str]]:
    """Models in evaluation mode, and a sentence for each that cannot be used."""
    models, problems = {}, []
    for key in keys:
        configuration, seed, epoch = key
        run = f"{configuration}-seed{seed}"
        path = job.folder / run / f"epoch-{epoch:03d}.pt"
        try:
            state = checkpoints.load(path, f"{job.folder.name}/{run}")
            if state["epoch"] != epoch:
                text = f"checkpoint {path} is of epoch {state['epoch']}"
                raise checkpoints.CheckpointError(text)
        except checkpoints.CheckpointError as error:
            problems.append(f"{run}, epoch {epoch}, is left out: {error}")
            continue
        model = ResNet18(job.settings.width)
        model.load_state_dict(state["model"])
        model = model.to(device, memory_format=torch.channels_last)
        models[key] = for_inference(model)
    return models, problems


def load_final_models(job: Job, device: torch.device) -> tuple[dict[Key, nn.Module], list[str]]:
    """As `load_models`, of every run after the last epoch.

    Raises:
        CheckpointError: not one can be used.
    """
    models, problems = load_models(job, job.last, device)
    if not models:
        raise checkpoints.CheckpointError("; ".join(problems))
    return models, problems


def load_test_sets(
    job: Job, settings: SimpleNamespace, device: torch.device
) -> dict[str, ImageSet]:
    """The test sets of the job's data: "test", and on planted data the cues apart."""
    name = "cifar10" if job.labels["dataset"] == "CIFAR-10" else "planted"
    count = settings.test_images or job.settings.test_images
    sets, _ = datasets.load(name, settings.data_root, 2, count)
    return {n: images.to(device) for n, images in sets.items() if n != "train"}


def kept_accuracies(job: Job, keys: list[Key]) -> pd.DataFrame:
    """Clean test accuracy after the epochs whose weights are kept, from the runs' histories."""
    tables = []
    for configuration, seed, _ in keys:
        folder = job.folder / f"{configuration}-seed{seed}"
        kept = [int(path.stem[-3:]) for path in folder.glob("epoch-*.pt")]
        history = pd.read_csv(folder / "history.csv")
        tables.append(history[history.epoch.isin(kept)])
    columns = ["configuration", "seed", "epoch", "test_accuracy"]
    return pd.concat(tables, ignore_index=True)[columns]


def say_job(job: Job, sets: dict[str, ImageSet], problems: list[str]) -> None:
    """Which models and images are used."""
    configurations = dict.fromkeys(key[0] for key in job.last)
    seeds = dict.fromkeys(key[1] for key in job.last)
    print(
        f"Models   {', '.join(configurations)} x seeds {', '.join(map(str, seeds))}, "
        f"after epoch {job.settings.epochs}",
        f"from     {job.folder}",
        f"Scale    {job.labels['scale']}",
        f"Data     {job.labels['dataset']}: {len(sets['test'])} images, {', '.join(sets)}",
        *(f"error: {problem}" for problem in problems),
        sep="\n",
        flush=True,
    )
