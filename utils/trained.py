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

from data import datasets, image_spectrum
from data.batches import ImageSet
from models.resnet import ResNet18
from utils import checkpoints, configurations, devices, results
from utils.evaluation import for_inference
from utils.provenance import ROOT
from utils.runs import FORMAT, Run, parse_run
from utils.settings import refuse

EXPERIMENT_B = ROOT / "experiments" / "exp_b_spectrum_evolution.py"

Key = tuple[str, int, int]  # configuration, seed, epoch


@dataclass(frozen=True)
class Job:
    """Finished runs of experiment B."""

    folder: Path
    settings: SimpleNamespace  # of experiment B
    scale: str  # its label
    runs: list[Run]  # seed by seed


@dataclass(frozen=True)
class Trained:
    """What experiments C and D work on: models, images, and how to call them."""

    job: Job
    device: torch.device
    models: dict[Key, nn.Module]  # after the last epoch, in evaluation mode
    sets: dict[str, ImageSet]  # "test", and on planted data the cues apart
    problems: list[str]  # a sentence for each model that cannot be used


def load(settings: SimpleNamespace) -> Trained:
    """Models and test images that the settings name; experiment B is run where there are none.

    Raises:
        CheckpointError: no such job, damaged, of another format, training failed, or not one
            model can be used.
    """
    results.clean(settings)
    device = devices.choose_device(settings.device)
    job = _find_job(settings)
    sets = _load_test_sets(job, settings, device)
    models, problems = load_models(job, [_last(job, run) for run in job.runs], device)
    if not models:
        raise checkpoints.CheckpointError("; ".join(problems))
    return Trained(job, device, models, sets, problems)


def load_models(
    job: Job, keys: list[Key], device: torch.device
) -> tuple[dict[Key, nn.Module], list[str]]:
    """Models in evaluation mode, and a sentence for each that cannot be used."""
    models, problems = {}, []
    for key in keys:
        run, epoch = Run(*key[:2]), key[2]
        path = job.folder / run.name / f"epoch-{epoch:03d}.pt"
        try:
            state = checkpoints.load(path, f"{job.folder.name}/{run.name}")
            if state["epoch"] != epoch:
                text = f"checkpoint {path} is of epoch {state['epoch']}"
                raise checkpoints.CheckpointError(text)
        except checkpoints.CheckpointError as error:
            problems.append(f"{run.name}, epoch {epoch}, is left out: {error}")
            continue
        model = ResNet18(job.settings.width)
        model.load_state_dict(state["model"])
        model = model.to(device, memory_format=devices.memory_format(device))
        models[key] = for_inference(model)
    return models, problems


def kept_accuracies(job: Job, keys: list[Key]) -> pd.DataFrame:
    """Clean test accuracy after the epochs whose weights are kept, from the runs' histories."""
    tables = []
    for configuration, seed, _ in keys:
        folder = job.folder / Run(configuration, seed).name
        kept = [int(path.stem[-3:]) for path in folder.glob("epoch-*.pt")]
        history = pd.read_csv(folder / "history.csv")
        tables.append(history[history.epoch.isin(kept)])
    columns = ["configuration", "seed", "epoch", "test_accuracy"]
    return pd.concat(tables, ignore_index=True)[columns]


def say(trained: Trained, labels: dict) -> None:
    """Which models and images are used."""
    job, names = trained.job, dict.fromkeys(run.configuration for run in trained.job.runs)
    seeds = dict.fromkeys(run.seed for run in job.runs)
    print(
        f"Models   {', '.join(map(configurations.label, names))} x seeds "
        f"{', '.join(map(str, seeds))}, after epoch {job.settings.epochs}",
        f"from     {job.folder}",
        f"Scale    {labels['scale']}",
        f"Data     {labels['dataset']}: {len(trained.sets['test'])} images, "
        f"{', '.join(trained.sets)}",
        f"Device   {labels['device']}",
        *(f"error: {problem}" for problem in trained.problems),
        sep="\n",
        flush=True,
    )


def _find_job(settings: SimpleNamespace) -> Job:
    folder = Path(settings.results_dir) / "checkpoints"
    latest = {"folder": settings.run, "configurations": None, "seeds": None, "scale": None}
    file = folder / "latest.json"
    if settings.run == "latest" and file.exists():
        try:
            latest |= json.loads(file.read_text("utf-8"))
        except ValueError:
            raise checkpoints.CheckpointError(f"{file} is damaged; start B again") from None
    if (folder / latest["folder"]).is_dir():
        return _read_job(folder / latest["folder"], latest, settings)
    if settings.run != "latest":
        there = sorted(path.parts[-3] for path in folder.glob("*/*/settings.json"))
        raise checkpoints.CheckpointError(
            f"RUN is {settings.run!r}; allowed: latest, or a folder in {folder}: "
            f"{', '.join(dict.fromkeys(there)) or 'there is none'}"
        )
    _train(settings, folder)
    return _find_job(settings)


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


def _read_job(folder: Path, latest: dict, settings: SimpleNamespace) -> Job:
    """The runs of a folder, or those of the latest start, as far as the settings want them."""
    found = {parse_run(file.parent.name): file for file in sorted(folder.glob("*/settings.json"))}
    found.pop(None, None)  # a stray folder
    if not found:
        raise checkpoints.CheckpointError(f"{folder} holds no run of experiment B")
    file = next(iter(found.values()))
    try:
        conditions = json.loads(file.read_text("utf-8"))
        of_b, form = SimpleNamespace(**conditions["settings"]), conditions["format"]
        scale = latest["scale"] or conditions["scale"]
    except (ValueError, KeyError, TypeError):
        raise checkpoints.CheckpointError(f"{file} is damaged") from None
    if form != FORMAT:
        raise checkpoints.CheckpointError(
            f"{folder} was written by another version of this project (format {form}, "
            f"not {FORMAT}); it is left alone"
        )
    runs = sorted(found, key=lambda run: (run.seed, configurations.order(run.configuration)))
    names, seeds = latest["configurations"], latest["seeds"]
    if names:
        runs = [Run(name, seed) for seed in seeds for name in names if Run(name, seed) in found]
    if settings.configurations:
        wanted = [configurations.complete(name, of_b) for name in settings.configurations]
        runs = _narrow(runs, "CONFIGURATIONS", wanted, lambda run: run.configuration)
    if settings.seeds:
        runs = _narrow(runs, "SEEDS", settings.seeds, lambda run: run.seed)
    return Job(folder, of_b, scale, runs)


def _narrow(runs: list[Run], name: str, wanted: list, value) -> list[Run]:
    there = dict.fromkeys(map(value, runs))
    if set(wanted) - set(there):
        refuse(name, wanted, f"what experiment B has trained: {', '.join(map(str, there))}")
    return [run for run in runs if value(run) in wanted]


def _last(job: Job, run: Run) -> Key:
    return run.configuration, run.seed, job.settings.epochs


def _load_test_sets(
    job: Job, settings: SimpleNamespace, device: torch.device
) -> dict[str, ImageSet]:
    """Those of the job's data. The scale of another spectrum is that of its training images."""
    name = "planted" if job.folder.name.startswith("planted") else "cifar10"
    count = settings.test_images or job.settings.test_images
    kind = job.settings.image_spectrum
    training = 2 if kind == "natural" else job.settings.train_images
    sets, _ = datasets.load(name, settings.data_root, training, count)
    sets = image_spectrum.with_spectrum(sets, kind)
    return {n: images.to(device) for n, images in sets.items() if n != "train"}
