"""One training run: the loop, the record of spectra, and going on after an interruption."""

import math
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
from utils.evaluation import autocast, evaluate
from utils.frequency import following_batchnorms, layer_spectra, measurable_convolutions
from utils.runs import FLOAT, Run

WARM_UP, TIMED = 10, 40  # steps before those that are timed for the estimate, and those


class DivergedError(ArithmeticError):
    """The training loss is no longer a finite number."""


def choose_device(name: str) -> torch.device:
    """ "auto" is CUDA where there is a GPU, then MPS, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(name)


def train(
    run: Run,
    settings: SimpleNamespace,
    windows: Tensor,
    train_labels: Tensor,
    test_sets: dict[str, ImageSet],
    folder: Path,
    bar: tqdm,
) -> Iterator[int]:
    """Train one model, from its last finished epoch if it was begun before.

    Every configuration of a seed has the same initial weights and the same batches.

    Args:
        windows, train_labels: as for `data.batches.training_batches`, on the device to use.
        test_sets: evaluated after every epoch, never used for selection. "test" must be
            among them.
        folder: the run's own; gets last.pt, the weights of chosen epochs, history.csv and
            spectra.csv.
        bar: counts the steps of the whole job.

    Yields the number of each epoch when it is finished and on disk; 0 is the initialisation.

    Raises:
        DivergedError: the loss became NaN or infinite.
        CheckpointError: last.pt is damaged.
    """
    device = windows.device
    torch.manual_seed(run.seed)
    model = ResNet18(settings.width, run.dropout)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),  # all of them: weight decay acts on BatchNorm and biases too
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=run.weight_decay,  # adds weight_decay * theta to the gradient
        fused=device.type != "mps",
    )
    batchnorms = following_batchnorms(model)
    state = {"epoch": -1, "history": [], "spectra": []}
    if (folder / "last.pt").exists():
        state = checkpoints.load(folder / "last.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        _write_tables(state, folder)  # in case it was stopped just before doing so

    labels = {"configuration": run.configuration, "seed": run.seed}
    for epoch in range(state["epoch"] + 1, settings.epochs + 1):
        row = labels | {"epoch": epoch, "learning_rate": math.nan}
        row |= {"train_loss": math.nan, "train_accuracy": math.nan}
        if epoch > 0:
            bar.set_description(f"{run.name} epoch {epoch}/{settings.epochs}")
            batches = training_batches(
                windows, train_labels, settings.batch_size, run.seed, epoch
            )
            row |= _train_epoch(model, optimizer, batches, run, epoch, settings, bar)
        for name, images in test_sets.items():
            loss, accuracy = evaluate(model, images)
            key = name.replace(" ", "_")
            row |= {f"{key}_loss": loss, f"{key}_accuracy": accuracy}
        state["epoch"] = epoch
        state["history"].append(row)
        state["spectra"] += [
            labels | {"epoch": epoch} | r for r in record_spectra(model, batchnorms)
        ]
        _save(state, model, optimizer, settings, folder)
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
                    spectrum.radius,
                    spectrum.multiplicity,
                    spectrum.energy,
                    spectrum.share,
                )
            ]
    return rows


def _train_epoch(model, optimizer, batches, run, epoch, settings, bar) -> dict:
    """One pass over the training images; returns loss, accuracy and last learning rate."""
    torch.manual_seed(run.seed * 1_000_003 + epoch)  # for dropout, also after a resume
    steps = math.ceil(settings.train_images / settings.batch_size)
    step = (epoch - 1) * steps
    model.train()
    loss_sum, correct, count = 0.0, 0, 0
    for images, labels in batches:
        for group in optimizer.param_groups:  # cosine from the full rate to 0
            progress = step / (steps * settings.epochs)
            group["lr"] = (
                settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2
            )
        with autocast(images.device):
            logits = model(normalize(images))
            loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        step += 1
        count += len(labels)
        loss = loss.detach()
        loss_sum += loss * len(labels)
        correct += (logits.argmax(1) == labels).sum()
        if step % 20 == 0:  # reading a number waits for the device
            bar.set_postfix(
                loss=f"{float(loss):.3f}",
                accuracy=f"{100 * int(correct) / count:.1f} %",
            )
        bar.update()
        _announce(bar)
    if not math.isfinite(float(loss_sum)):
        raise DivergedError(
            f"{run.name}: the loss is {float(loss_sum)} in epoch {epoch} (steps "
            f"{step - steps + 1} to {step}) at LEARNING_RATE {settings.learning_rate}; "
            "a lower one may train"
        )
    return {
        "learning_rate": optimizer.param_groups[0]["lr"],
        "train_loss": float(loss_sum) / count,
        "train_accuracy": 100 * int(correct) / count,
    }


def _announce(bar: tqdm) -> None:
    """Once the first steps are timed, say how long those of the whole job will take."""
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


def _save(state, model, optimizer, settings, folder: Path) -> None:
    """The checkpoint first: it holds all rows, so the tables can always be made from it."""
    epoch = state["epoch"]
    weights = {"epoch": epoch, "model": model.state_dict()}
    if epoch in (0, 1, settings.epochs) or epoch % settings.checkpoint_every == 0:
        checkpoints.save(weights, folder / f"epoch-{epoch:03d}.pt")
    state |= weights | {"optimizer": optimizer.state_dict()}
    checkpoints.save(state, folder / "last.pt")
    _write_tables(state, folder)


def _write_tables(state: dict, folder: Path) -> None:
    for rows, name in ((state["history"], "history"), (state["spectra"], "spectra")):
        with checkpoints.replacing(folder / f"{name}.csv") as path:
            pd.DataFrame(rows).to_csv(path, index=False, float_format=FLOAT)
