"""The models that experiment B has trained: found, verified, loaded, or trained first."""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from torch import nn

from data import datasets, image_spectrum
from data.cifar10 import torchvision
from data.images import MEAN, STD, ImageSet
from models.resnet import ResNet18
from utils import configurations
from utils.runtime import devices, provenance, results
from utils.runtime.settings import fill_from_scale, refuse
from utils.spectra import external_models
from utils.spectra.external_models import Source, WeightsError
from utils.spectra.modules import one_line
from utils.training import checkpoints, recording
from utils.training.checkpoints import CheckpointError
from utils.training.evaluation import for_inference
from utils.training.loop import read_rows
from utils.training.runs import Run, describe, parse_run

EXPERIMENT_B = provenance.ROOT / "experiments" / "exp_b_spectrum_evolution.py"
NOT_JSON = (ValueError, KeyError, TypeError)  # what reading of a damaged file raises

Key = tuple[str, int, int]  # configuration, seed, epoch


@dataclass
class TrainedModels:
    """What experiments C and D work on."""

    folder: Path  # of the job of experiment B
    job: SimpleNamespace  # its settings
    device: torch.device
    sets: dict[str, ImageSet]  # "test", and on planted data the cues apart
    labels: dict[str, str]  # of tables and figures
    models: dict[Key, nn.Module] = field(default_factory=dict)  # after the last epoch
    problems: list[str] = field(default_factory=list)  # a sentence for each that is left out

    def load(self, keys: list[Key]) -> dict[Key, nn.Module]:
        """Models in evaluation mode; those that cannot be used become problems."""
        models = {}
        for key in keys:
            name, path = Run(*key[:2]).name, self.file(*key)
            try:
                state = checkpoints.load(path, f"{self.folder.name}/{name}")
                if state["epoch"] != key[2]:
                    raise CheckpointError(f"checkpoint {path} is of epoch {state['epoch']}")
            except CheckpointError as error:
                self.problems.append(f"{name}, epoch {key[2]}, is left out: {error}")
                continue
            model = ResNet18(self.job.width)
            model.load_state_dict(state["model"])
            model = model.to(self.device, memory_format=devices.memory_format(self.device))
            models[key] = for_inference(model)
        return models

    def file(self, configuration: str, seed: int, epoch: int) -> Path:
        return self.folder / Run(configuration, seed).name / f"epoch-{epoch:03d}.pt"

    def kept_accuracies(self) -> pd.DataFrame:
        """Clean test accuracy of the models' runs, after the epochs whose weights are kept.

        Raises:
            CheckpointError: a run has no undamaged last.pt or previous.pt.
        """
        states = []
        for run in dict.fromkeys(Run(*key[:2]) for key in self.models):
            states.append(read_rows(run, self.folder))
            if not states[-1]["history"]:
                text = f"no undamaged last.pt or previous.pt in {self.folder / run.name}"
                raise CheckpointError(f"{text}: start experiment B again")
        history = recording.table(states, "history")
        history = history[["configuration", "seed", "epoch", "test_accuracy"]]
        return history[[self.file(*row[:3]).exists() for row in history.itertuples(index=False)]]


def load(settings: SimpleNamespace, scales: dict | None = None) -> TrainedModels:
    """Models and test images that the settings name; experiment B is run where there are none.

    Says which they are, and completes the settings by those of experiment B, and by what further
    ones of None mean, by name and scale.

    Raises:
        CheckpointError: no such job, damaged, of another format, training failed, or not one
            model can be used.
    """
    results.remove_old_temporary_files(settings)
    device = devices.choose_device(settings.device)
    folder, job, scale, runs = _find_job(settings)
    runs = _wanted(runs, settings, job)
    fill_from_scale(settings, {"test_images": job.test_images})
    fill_from_scale(settings, scales or {}, job.scale)
    # The scale of another spectrum is that of the job's training images.
    dataset = "planted" if folder.name.startswith("planted") else "cifar10"
    training = 2 if job.image_spectrum == "natural" else job.train_images
    sets, _ = datasets.load(dataset, settings.data_root, training, settings.test_images)
    sets = image_spectrum.with_spectrum(sets, job.image_spectrum)
    sets = {name: images.to(device) for name, images in sets.items() if name != "train"}
    labels = {"dataset": sets["test"].name, "scale": provenance.scale_label(settings, scale)}
    labels["device"] = devices.describe_device(device, "float32")
    found = TrainedModels(folder, job, device, sets, labels)
    found.models = found.load([(run.configuration, run.seed, job.epochs) for run in runs])
    if not found.models:
        raise CheckpointError("; ".join(found.problems))
    models = describe([Run(*key[:2]) for key in found.models])
    plan = {
        "Models": f"{models}, after epoch {job.epochs}",
        "from": str(folder),
        "Scale": labels["scale"],
        "Data": f"{labels['dataset']}: {len(sets['test'])} images, {', '.join(sets)}",
        "Device": labels["device"],
    }
    results.print_plan(plan)
    results.report(found.problems)
    return found


def _find_job(settings: SimpleNamespace) -> tuple[Path, SimpleNamespace, str, list[Run]]:
    """Folder, settings and label of the job that RUN names, and its runs; those of the latest start
    if that is meant."""
    parent = Path(settings.results_dir) / "checkpoints"
    folder, latest = parent / settings.run, {}
    if settings.run == "latest":
        latest = _read_latest(parent) or _train(settings, parent)
        folder = parent / latest["folder"]
    elif not folder.is_dir():
        there = sorted({path.parent.parent.name for path in parent.glob("*/*/settings.json")})
        raise CheckpointError(
            f"RUN is {settings.run!r}; allowed: latest, or a folder in {parent}: "
            f"{', '.join(there) or 'there is none'}"
        )
    found = {parse_run(file.parent.name): file for file in sorted(folder.glob("*/settings.json"))}
    found.pop(None, None)  # a stray folder
    if not found:
        raise CheckpointError(f"{folder} holds no run of experiment B")
    file = next(iter(found.values()))
    try:
        written = json.loads(file.read_text("utf-8"))
        job, form = SimpleNamespace(**written["settings"]), written["format"]
        scale = latest.get("scale", written["scale"])
    except NOT_JSON:
        raise CheckpointError(f"{file} is damaged") from None
    if form != provenance.FORMAT:
        raise CheckpointError(
            f"{folder} was written by another version of this project (format {form}, "
            f"not {provenance.FORMAT}); it is left alone"
        )
    return folder, job, scale, latest.get("runs") or sorted(found, key=Run.order)


def _read_latest(parent: Path) -> dict:
    """What experiment B's latest start noted, and its runs; {} where there is none."""
    file = parent / "latest.json"
    try:
        latest = json.loads(file.read_text("utf-8"))
        folder = parent / latest["folder"]
        runs = [Run(c, s) for s in latest["seeds"] for c in latest["configurations"]]
    except FileNotFoundError:
        return {}
    except NOT_JSON:
        raise CheckpointError(f"{file} is damaged; start B again") from None
    # Not every configuration needs to have every seed.
    latest["runs"] = [run for run in runs if (folder / run.name).is_dir()] or runs
    return latest if folder.is_dir() else {}


def _train(settings: SimpleNamespace, parent: Path) -> dict:
    """Start experiment B; what it noted."""
    print(
        f"No models of experiment B in {parent}: it trains them first. At quick scale this "
        "takes 4 to 7 minutes on two CPU cores; the time left is shown below.\n",
        flush=True,
    )
    flags = ["--results-dir", settings.results_dir, "--device", settings.device]
    if settings.data_root:
        flags += ["--data-root", settings.data_root]
    flags += shlex.split(settings.training_flags)
    if subprocess.run([sys.executable, EXPERIMENT_B, *flags], check=False).returncode:
        raise CheckpointError("experiment B did not finish; see above")
    print("\nExperiment B is finished.\n", flush=True)
    if latest := _read_latest(parent):
        return latest
    raise CheckpointError(f"experiment B has written no models in {parent}")


def _wanted(runs: list[Run], settings: SimpleNamespace, job: SimpleNamespace) -> list[Run]:
    """Those of the configurations and seeds in the settings, if any."""
    names = [configurations.canonical_name(name, job) for name in settings.configurations or ()]
    for what, wanted in (("configuration", names), ("seed", settings.seeds or ())):
        there = dict.fromkeys(getattr(run, what) for run in runs)
        if missing := [x for x in wanted if x not in there]:
            allowed = f"what experiment B has trained: {', '.join(map(str, there))}"
            refuse(f"{what}s".upper(), missing, allowed)
        runs = [run for run in runs if not wanted or getattr(run, what) in wanted]
    return runs


def as_source(folder: Path, file: str = "last.pt") -> Source:
    """A model of experiment B for analyze_model: after the last epoch, or of another file.

    Raises WeightsError where the folder is not one of a run.
    """
    try:
        settings = json.loads((folder / "settings.json").read_text("utf-8"))["settings"]
        model = ResNet18(settings["width"])
        model.load_state_dict(external_models.load_weights(folder / file))
    except WeightsError:
        raise
    except (OSError, RuntimeError, *NOT_JSON) as error:
        text = f"{folder} is no run's folder of experiment B ({one_line(error)})"
        raise WeightsError(text) from None
    names = external_models.file_names(folder)[1:]  # the job's name first
    about = f"{folder.resolve().parent.name}, {folder.name}"
    about += "" if file == "last.pt" else f", {Path(file).stem}"
    if settings.get("image_spectrum", "natural") != "natural":
        return Source(names, about, model)  # it takes pictures that are changed first
    normalize = torchvision("transforms").Normalize(MEAN, STD)
    return Source(names, about, model, external_models.pixels_of_size(32, 32), normalize)
