"""One training run: the loop, the record of spectra, and going on after an interruption."""

import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from data.batches import ImageSet, normalize, training_batches
from models.resnet import ResNet18
from utils import checkpoints
from utils.batchnorm import following_batchnorms
from utils.evaluation import autocast, evaluate, for_inference
from utils.model_spectra import layer_spectra, measurable_convolutions
from utils.runs import FLOAT, Run

WARM_UP, TIMED = 10, 40  # steps before those that are timed for the estimate, and those


class DivergedError(ArithmeticError):
    """The training loss is no longer a finite number."""


def choose_device(name: str) -> torch.device:
    """The GPU where there is one, then MPS, then the CPU, if the name is "auto".

    Each process of torchrun gets a GPU of its own, as far as there are enough.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available[name]:
        raise OSError(f"DEVICE is {name}; this machine, or this build of torch, has none")
    if name == "cuda":
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device(name, local_rank % torch.cuda.device_count())
    return torch.device(name)


def resume(run: Run, job: Path) -> dict:
    """State of a run after its last finished epoch; "epoch" is -1 where it was never begun.

    A damaged last.pt is named and set aside, and the state of the epoch before is used. The
    tables in the run's folder are made anew from the state.

    Raises:
        CheckpointError: the run was begun, but no undamaged state is left.
    """
    folder = job / run.name
    identity = f"{job.name}/{run.name}"
    checkpoints.clean(folder)
    for name in ("last.pt", "previous.pt"):
        path = folder / name
        if not path.exists():
            continue
        try:
            state = checkpoints.load(path, identity)
        except checkpoints.CheckpointError as error:
            aside = checkpoints.set_aside(path)
            tqdm.write(f"{error}. It is kept as {aside.name}.", file=sys.stderr)
            continue
        _write_tables(state, folder)
        return state
    # Killed between its first two files, a run has epoch-000.pt alone: nothing is lost.
    if {path.name for path in folder.glob("*.pt*")} - {"epoch-000.pt"}:
        raise checkpoints.CheckpointError(
            f"{folder} holds no undamaged last.pt or previous.pt to go on from; "
            "move the folder away to train this run from the start"
        )
    state = {"identity": identity, "epoch": -1, "diverged": ""}
    return state | {"history": [], "spectra": [], "times": []}


def train(
    run: Run,
    settings: SimpleNamespace,
    windows: Tensor,
    train_labels: Tensor,
    test_sets: dict[str, ImageSet],
    job: Path,
    bar: tqdm,
) -> Iterator[int]:
    """Train one model, from its last finished epoch if it was begun before.

    Every configuration of a seed has the same initial weights and the same batches.

    Args:
        windows, train_labels: as for `data.batches.training_batches`, on the device to use.
        test_sets: evaluated after every epoch, never used for selection. "test" must be
            among them.
        job: folder of all runs; its subfolder <run.name> gets last.pt, previous.pt, the
            weights of chosen epochs, history.csv, spectra.csv and times.csv.
        bar: counts the steps of the whole job.

    Yields the number of each epoch when it is finished and on disk; 0 is the initialisation.

    Raises:
        DivergedError: the loss became NaN or infinite, now or when it was tried before.
        CheckpointError: begun, but no undamaged state to go on from.
    """
    device = windows.device
    folder = job / run.name
    torch.manual_seed(run.seed)
    model = ResNet18(settings.width, run.dropout)
    batchnorms = following_batchnorms(model)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),  # all of them: weight decay acts on BatchNorm and biases too
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=run.weight_decay,  # adds weight_decay * theta to the gradient
        fused=device.type != "mps",
    )
    state = resume(run, job)
    if state["diverged"]:
        raise DivergedError(state["diverged"])
    if state["epoch"] >= 0:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])

    for epoch in range(state["epoch"] + 1, settings.epochs + 1):
        start = time.perf_counter()
        key = {"configuration": run.configuration, "seed": run.seed, "epoch": epoch}
        row = key | {"learning_rate": math.nan, "train_loss": math.nan}
        row |= {"train_accuracy": math.nan, "diverged": ""}
        if epoch > 0:
            bar.set_description(f"{run.name} epoch {epoch}/{settings.epochs}")
            batches = training_batches(windows, train_labels, settings.batch_size, run.seed, epoch)
            try:
                row |= _train_epoch(model, optimizer, batches, run, epoch, settings, bar)
            except DivergedError as error:
                state["diverged"] = str(error)
                state["history"].append(row | {"diverged": str(error)})
                _save(state, folder)
                raise
        inference = for_inference(model)
        for name, images in test_sets.items():
            loss, accuracy = evaluate(inference, images)
            name = name.replace(" ", "_")
            row |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
        state["epoch"] = epoch
        state["model"] = model.state_dict()
        state["optimizer"] = optimizer.state_dict()
        state["history"].append(row)
        state["spectra"] += [key | r for r in record_spectra(model, batchnorms)]
        state["times"].append(key | {"seconds": time.perf_counter() - start})
        if epoch in (0, 1, settings.epochs) or epoch % settings.checkpoint_every == 0:
            weights = {name: state[name] for name in ("identity", "epoch", "model")}
            checkpoints.save(weights, folder / f"epoch-{epoch:03d}.pt")
        _save(state, folder)
        yield epoch


def record_spectra(model: nn.Module, batchnorms: dict[str, str]) -> list[dict]:
    """Radial spectra of all 3x3 convolutions: a row per layer, raw or folded, and radius.

    Args:
        batchnorms: from `following_batchnorms(model)`.
    """
    rows = []
    for name, conv in measurable_convolutions(model)[0].items():
        if conv.kernel_size != (3, 3):
            continue
        bn = model.get_submodule(batchnorms[name]) if name in batchnorms else None
        for weights, spectrum in layer_spectra(conv, bn).items():
            rows += [
                {
                    "layer": name,
                    "weights": weights,
                    "radius": float(radius),
                    "multiplicity": int(multiplicity),
                    "energy": float(energy),
                    "share": float(share),
                }
                for radius, multiplicity, energy, share in zip(
                    spectrum.radius, spectrum.multiplicity, spectrum.energy, spectrum.share
                )
            ]
    return rows


def _train_epoch(model, optimizer, batches, run, epoch, settings, bar) -> dict:
    """One pass over the training images; returns loss, accuracy and last learning rate."""
    torch.manual_seed(run.seed * 1_000_003 + epoch)  # for dropout, also after a resume
    steps = math.ceil(settings.train_images / settings.batch_size)
    step = (epoch - 1) * steps
    model.train()
    losses, correct, count = [], 0, 0
    for images, labels in batches:
        for group in optimizer.param_groups:  # cosine from the full rate to 0
            progress = step / (steps * settings.epochs)
            group["lr"] = settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2
        with autocast(images.device):
            logits = model(normalize(images))
            loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        step += 1
        count += len(labels)
        losses.append(loss.detach() * len(labels))
        correct += (logits.argmax(1) == labels).sum()
        bar.update()
        _announce(bar)
        # Now and then, as reading waits for the device.
        if step % 20 == 0 or count == settings.train_images:
            _check(losses, run, epoch, settings)
            bar.set_postfix(
                loss=f"{float(losses[-1]) / len(labels):.3f}",
                accuracy=f"{100 * int(correct) / count:.1f} %",
            )
    if not all(w.isfinite().all() for w in model.state_dict().values()):
        raise _diverged(f"a weight after step {len(losses)}", run, epoch, settings)
    return {
        "learning_rate": optimizer.param_groups[0]["lr"],
        "train_loss": float(torch.stack(losses).double().sum()) / count,
        "train_accuracy": 100 * int(correct) / count,
    }


def _check(losses: list[Tensor], run: Run, epoch: int, settings) -> None:
    """Raise DivergedError at the first loss of the epoch that is not finite."""
    finite = torch.stack(losses).isfinite()
    if not finite.all():
        step = int(finite.int().argmin()) + 1
        raise _diverged(f"the loss of step {step}", run, epoch, settings)


def _diverged(what: str, run: Run, epoch: int, settings) -> DivergedError:
    return DivergedError(
        f"{run.name} diverged: {what} in epoch {epoch} is not a finite number "
        f"(LEARNING_RATE {settings.learning_rate:g}; a lower one may train)"
    )


def _announce(bar: tqdm) -> None:
    """Once the first steps are timed, say how long those of the whole job will take."""
    if bar.disable:
        return
    done = bar.n - bar.initial
    if done == WARM_UP:
        bar.timed_from = time.perf_counter()
    if done == WARM_UP + TIMED:
        per_step = (time.perf_counter() - bar.timed_from) / TIMED
        left = tqdm.format_interval(per_step * (bar.total - bar.n))
        bar.write(
            f"Time     {left} for the training steps left ({1000 * per_step:.0f} ms each), "
            "plus the evaluation after each epoch"
        )


def _save(state: dict, folder: Path) -> None:
    """The checkpoint first: it holds all rows, so the tables can always be made from it."""
    last = folder / "last.pt"
    if last.exists():
        last.replace(folder / "previous.pt")
    checkpoints.save(state, last)
    _write_tables(state, folder)


def _write_tables(state: dict, folder: Path) -> None:
    for name in ("history", "spectra", "times"):
        with checkpoints.replacing(folder / f"{name}.csv") as path:
            pd.DataFrame(state[name]).to_csv(path, index=False, float_format=FLOAT)
