"""One training run: the loop, the record of spectra, and going on after an interruption."""

import copy
import io
import math
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from data.images import ImageSet, Normalize, training_batches
from models.resnet import ResNet18
from utils.runtime import files
from utils.runtime.devices import autocast, memory_format, without_compiler
from utils.runtime.progress import Progress
from utils.runtime.results import FLOAT
from utils.spectra.batchnorm import following_batchnorms
from utils.training import checkpoints, recording
from utils.training.evaluation import evaluate, for_inference
from utils.training.runs import Run

DROPOUT_SEEDS = 500_000  # an epoch's seed for dropout, beyond those of its batch order
TABLES = ["history", "spectra", "autocorrelation", "times", "starts"]


class DivergedError(ArithmeticError):
    """The training loss is no longer a finite number."""


def load_state(run: Run, job: Path) -> dict:
    """State of a run after its last finished epoch; "epoch" is -1 where it was never begun.

    A damaged last.pt is named and set aside, and the state of the epoch before is used.

    Raises:
        CheckpointError: the run was begun, but no undamaged state is left.
    """
    folder, identity = job / run.name, f"{job.name}/{run.name}"
    files.clean(folder)
    for path in (folder / "last.pt", folder / "previous.pt"):
        try:
            if path.exists():
                return checkpoints.load(path, identity)
        except checkpoints.CheckpointError as error:
            aside = checkpoints.set_aside(path)
            tqdm.write(f"{error}. It is kept as {aside.name}.", file=sys.stderr)
    # Killed between its first two files, a run has epoch-000.pt alone: nothing is lost.
    if {path.name for path in folder.glob("*.pt*")} - {"epoch-000.pt"}:
        raise checkpoints.CheckpointError(
            f"{folder} holds no undamaged last.pt or previous.pt to go on from; "
            "move the folder away to train this run from the start"
        )
    return {"identity": identity, "epoch": -1, "diverged": ""} | {name: [] for name in TABLES}


def write_tables(state: dict, folder: Path) -> None:
    """The tables of a run, all made from its state: they can always be made again."""
    for name in TABLES if state["epoch"] >= 0 else ():
        with files.replacing(folder / f"{name}.csv") as path:
            path.write_bytes(_csv([state], name).encode())


def table(states: Iterable[dict], name: str) -> pd.DataFrame:
    """A table of several runs, as their files are read: one open elsewhere may be an old one."""
    text = _csv(states, name)
    return pd.read_csv(io.StringIO(text)) if text.strip() else pd.DataFrame()


def _csv(states: Iterable[dict], name: str) -> str:
    rows = pd.DataFrame([row for state in states for row in state[name]])
    return rows.to_csv(index=False, float_format=FLOAT)


def train(
    run: Run,
    state: dict,
    settings: SimpleNamespace,
    train_set: ImageSet,
    windows: Tensor,
    test_sets: dict[str, ImageSet],
    folder: Path,
    conditions: dict,
    progress: Progress,
) -> Iterator[int]:
    """Train one model, from its last finished epoch if it was begun before.

    Every configuration of a seed has the same initial weights and the same batches.

    Args:
        state: from `load_state`.
        train_set: on the device to use; windows: `data.images.crop_windows` of its images.
        test_sets: evaluated after every epoch, never used for selection; "test" among them.
        folder: gets last.pt, previous.pt, the weights of chosen epochs and tables.
        conditions: device, threads, versions: noted with the epochs of this start.
        progress: of the whole job.

    Yields the number of each epoch when it is finished and on disk; 0 is the initialisation.

    Raises:
        DivergedError: the loss became NaN or infinite, now or when it was tried before.
    """
    if state["diverged"]:
        raise DivergedError(state["diverged"])
    model, optimizer = build(run, settings, train_set.labels.device)
    batchnorms = following_batchnorms(model)
    if state["epoch"] >= 0:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    if state["epoch"] < settings.epochs:
        _note_start(run, state, conditions)

    for epoch in range(state["epoch"] + 1, settings.epochs + 1):
        start = time.perf_counter()
        key = {"configuration": run.configuration, "seed": run.seed, "epoch": epoch}
        row = key | dict.fromkeys(["learning_rate", "train_loss", "train_accuracy"], math.nan)
        row["diverged"], spectra = "", []
        title = f"{run.name} epoch {epoch}/{settings.epochs}"
        if epoch > 0:
            progress.describe(title)
            try:
                numbers, spectra = _train_epoch(
                    model, optimizer, train_set, windows, batchnorms, key, settings, progress
                )
            except DivergedError as error:  # the state keeps the weights of the epoch before
                state["diverged"] = (
                    f"{run.name} diverged: {error} in epoch {epoch} is not a finite number "
                    f"(LEARNING_RATE {settings.learning_rate:g}; a lower one may train)"
                )
                state["history"].append(row | {"diverged": state["diverged"]})
                _save(state, folder)
                raise DivergedError(state["diverged"]) from None
            row |= numbers
        inference = for_inference(model)
        for name, images in test_sets.items():
            name, numbers = name.replace(" ", "_"), evaluate(inference, images)
            row |= zip((f"{name}_loss", f"{name}_accuracy"), numbers)
        state["history"].append(row)
        step = {"step": epoch * steps_per_epoch(settings)}
        state["spectra"] += spectra + [key | step | r for r in recording.spectra(model, batchnorms)]
        if epoch in (0, settings.epochs):
            rows = recording.autocorrelations(model, batchnorms)
            state["autocorrelation"] += [key | r for r in rows]
        state |= {"epoch": epoch, "model": copy.deepcopy(model.state_dict())}
        state["optimizer"] = copy.deepcopy(optimizer.state_dict())
        seconds = time.perf_counter() - start
        state["times"].append(key | {"seconds": seconds})
        if epoch in (0, 1, settings.epochs) or epoch % settings.checkpoint_every == 0:
            weights = {name: state[name] for name in ("identity", "epoch", "model")}
            checkpoints.save(weights, folder / f"epoch-{epoch:03d}.pt")
        _save(state, folder)
        progress.epoch(f"{title}: test {row['test_accuracy']:.1f} %", seconds)
        yield epoch


def build(
    run: Run, settings: SimpleNamespace, device: torch.device
) -> tuple[nn.Module, torch.optim.SGD]:
    """Model with the initial weights of the run's seed, and its optimiser."""
    torch.manual_seed(run.seed)
    model = ResNet18(settings.width, run.strengths.get("dropout", 0))
    model = model.to(device, memory_format=memory_format(device))
    groups = []  # a group's weight_decay * theta is added to the gradient
    for kernels in (True, False):  # of convolutions and linear layers; the rest has one axis
        decay = run.strengths.get("l2", 0) + kernels * run.strengths.get("conv-l2", 0)
        some = [p for p in model.parameters() if (p.ndim > 1) == kernels]
        groups.append({"params": some, "weight_decay": decay})
    return model, without_compiler(torch.optim.SGD)(
        groups, lr=settings.learning_rate, momentum=settings.momentum, fused=device.type != "mps"
    )


def steps_per_epoch(settings: SimpleNamespace) -> int:
    return math.ceil(settings.train_images / settings.batch_size)


def _train_epoch(
    model, optimizer, train_set, windows, batchnorms, key, settings, progress
) -> tuple[dict, list[dict]]:
    """One pass over the training images.

    Returns loss, accuracy and last learning rate, and spectra after steps 1, 2, 4, 8, ... of the
    first epoch.
    """
    seed, epoch, steps = key["seed"], key["epoch"], steps_per_epoch(settings)
    labels, normalize = train_set.labels, Normalize(train_set)
    batches = training_batches(windows, labels, settings.batch_size, seed, epoch)
    torch.manual_seed(seed * 1_000_003 + epoch + DROPOUT_SEEDS)  # also after a resume
    model.train()
    losses, correct, count, spectra = [], 0, 0, []
    for step, (images, labels) in enumerate(batches, 1):
        done = (epoch - 1 + (step - 1) / steps) / settings.epochs
        for group in optimizer.param_groups:  # cosine from the full rate to 0
            group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
        with autocast(images.device):
            logits = model(normalize(images))
            loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        count += len(labels)
        losses.append(loss.detach() * len(labels))
        correct += (logits.detach().argmax(1) == labels).sum()
        if epoch == 1 and step < steps and step & (step - 1) == 0:  # 1, 2, 4, 8, ...
            _check_weights(model, step)
            now = {"epoch": step / steps, "step": step}
            spectra += [key | now | row for row in recording.spectra(model, batchnorms)]
        shown = {}
        if step % 20 == 0 or step == steps:  # now and then, as reading waits for the device
            finite = torch.stack(losses).isfinite()
            if not finite.all():
                raise DivergedError(f"the loss of step {int(finite.int().argmin()) + 1}")
            shown["loss"] = f"{float(losses[-1]) / len(labels):.3f}"
            shown["accuracy"] = f"{100 * int(correct) / count:.1f} %"
        progress.step(**shown)
    _check_weights(model, steps)
    return {
        "learning_rate": optimizer.param_groups[0]["lr"],
        "train_loss": math.fsum(torch.stack(losses).tolist()) / count,
        "train_accuracy": 100 * int(correct) / count,
    }, spectra


def _note_start(run: Run, state: dict, conditions: dict) -> None:
    """Add a start to the state; warn where its numbers may differ from those before."""
    before = state["starts"][-1] if state["starts"] else conditions
    names = ("device", "processor", "torch")
    changed = [f"{n} {before[n]} -> {conditions[n]}" for n in names if before[n] != conditions[n]]
    if changed:
        text = f"{run.name} goes on under other conditions ({'; '.join(changed)}): it will not end "
        tqdm.write(text + "with the same numbers, byte for byte", file=sys.stderr)
    key = {"configuration": run.configuration, "seed": run.seed}
    state["starts"].append(key | {"from_epoch": state["epoch"] + 1} | conditions)


def _check_weights(model: nn.Module, step: int) -> None:
    if not all(w.isfinite().all() for w in model.state_dict().values()):
        raise DivergedError(f"a weight after step {step}")


def _save(state: dict, folder: Path) -> None:
    """The checkpoint first: it holds all rows, so the tables can always be made from it."""
    last = folder / "last.pt"
    if last.exists():
        files.rename(last, folder / "previous.pt", strict=False)
    checkpoints.save(state, last)
    write_tables(state, folder)
