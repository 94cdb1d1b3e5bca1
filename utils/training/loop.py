"""One training run: the loop, the record of spectra, and going on after an interruption."""

import copy
import math
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from data.images import ImageSet, training_batches
from utils.recorder import spectrum_rows
from utils.runtime import files
from utils.runtime.progress import Progress
from utils.spectra.batchnorm import batchnorm_after_convolution
from utils.training import checkpoints, recording
from utils.training.evaluation import evaluate, for_inference
from utils.training.runs import Run
from utils.training.step import build

DROPOUT_SEEDS = 500_000  # an epoch's seed for dropout, beyond those of its batch order
ROWS = ["history", "spectra", "autocorrelation", "times", "starts"]  # of a state, by table
GENERATIONS = ["last.pt", "previous.pt"]
NOT_TRAINED = dict.fromkeys(["learning_rate", "train_loss", "train_accuracy"], math.nan)


class DivergedError(ArithmeticError):
    """The training loss is no longer a finite number."""


def load_state(run: Run, job: Path) -> dict:
    """State of a locked run after its last finished epoch; "epoch" is -1 where it was never begun.

    A damaged last.pt is named and set aside, and the state of the epoch before is used.

    Raises:
        CheckpointError: the run was begun, but no undamaged state is left.
    """
    folder, identity = job / run.name, f"{job.name}/{run.name}"
    files.remove_old_temporary_files(folder)
    for path in (folder / name for name in GENERATIONS):
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
    return {"identity": identity} | _no_epoch()


def read_rows(run: Run, job: Path) -> dict:
    """State, without weights, of a run that another process may hold; "epoch" is -1 without one."""
    for name in GENERATIONS * 2:  # while one is read, the other may get its name
        with suppress(OSError):
            state = checkpoints.load(job / run.name / name, f"{job.name}/{run.name}")
            return {name: state[name] for name in _no_epoch()}
    return _no_epoch()


def _no_epoch() -> dict:
    return {"epoch": -1, "diverged": ""} | {name: [] for name in ROWS}


def train(
    run: Run,
    state: dict,  # from `load_state`
    settings: SimpleNamespace,
    train_set: ImageSet,  # on the device to use
    windows: Tensor,  # `data.images.crop_windows` of its images
    test_sets: dict[str, ImageSet],  # "test" among them; never used for selection
    folder: Path,  # gets last.pt, which holds the run, previous.pt, and weights of chosen epochs
    conditions: dict,  # device, threads, versions: noted with the epochs of this start
    progress: Progress,  # of the whole job
) -> Iterator[int]:
    """Train one model, from its last finished epoch if it was begun before.

    Every configuration of a seed has the same initial weights and the same batches.

    Yields the number of each epoch when it is finished and on disk; 0 is the initialisation.

    Raises:
        DivergedError: the loss became NaN or infinite, now or when it was tried before.
    """
    if state["diverged"]:
        raise DivergedError(state["diverged"])
    if state["epoch"] == settings.epochs:
        return
    model, optimizer, step = build(run, settings, train_set, state)
    batchnorms = batchnorm_after_convolution(model)
    of_run = {"configuration": run.configuration, "seed": run.seed}
    _note_start(run, state, of_run, conditions)

    def record(epoch: float, number: int) -> list[dict]:
        """Rows of the spectra after a step."""
        key = of_run | {"epoch": epoch, "step": number}
        rows = spectrum_rows(model, batchnorms)
        return [key | {name: row[name] for name in row if name != "white_db"} for row in rows]

    for epoch in range(state["epoch"] + 1, settings.epochs + 1):
        start, title = time.perf_counter(), f"{run.name} epoch {epoch}/{settings.epochs}"
        progress.set_description(title)
        key, numbers, spectra = of_run | {"epoch": epoch}, NOT_TRAINED, []
        if epoch > 0:
            batches = training_batches(
                windows, train_set.labels, settings.batch_size, run.seed, epoch
            )
            torch.manual_seed(run.seed * 1_000_003 + epoch + DROPOUT_SEEDS)  # also after a resume
            try:
                numbers, spectra = _train_epoch(
                    epoch, model, optimizer, step, batches, record, settings, progress
                )
            except DivergedError as error:  # noted, so that it is not tried again
                state["diverged"] = (
                    f"{run.name} diverged: {error} in epoch {epoch} is not a finite number "
                    f"(LEARNING_RATE {settings.learning_rate:g}; a lower one may train)"
                )
                state["history"].append(key | NOT_TRAINED | {"diverged": state["diverged"]})
                _save(state, folder)  # with the weights of the epoch before
                raise DivergedError(state["diverged"]) from None
        state["history"].append(key | numbers | {"diverged": ""} | _test(model, test_sets))
        state["spectra"] += spectra + record(epoch, epoch * steps_per_epoch(settings))
        kept = epoch in (0, 1, settings.epochs) or epoch % settings.checkpoint_every == 0
        if kept:
            rows = recording.autocorrelation_rows(model, batchnorms)
            state["autocorrelation"] += [key | row for row in rows]
        state |= {"epoch": epoch, "model": copy.deepcopy(model.state_dict())}
        state["optimizer"] = copy.deepcopy(optimizer.state_dict())
        seconds = time.perf_counter() - start
        state["times"].append(key | {"seconds": seconds})
        _save(state, folder, kept)
        accuracy = state["history"][-1]["test_accuracy"]
        progress.epoch(f"{title}: test {accuracy:.1f} %, {seconds:.1f} s")
        yield epoch


def _train_epoch(
    epoch, model, optimizer, step, batches, record, settings, progress
) -> tuple[dict, list[dict]]:
    """One pass over the training images.

    Returns loss, accuracy and last learning rate, and spectra after steps 1, 2, 4, 8, ... of the
    first epoch.
    """
    steps = steps_per_epoch(settings)
    losses, correct, count, spectra = [], 0, 0, []
    model.train()
    for number, (images, labels) in enumerate(batches, 1):
        done = (epoch - 1 + (number - 1) / steps) / settings.epochs
        rate = settings.learning_rate * (1 + math.cos(math.pi * done)) / 2  # from all of it to 0
        optimizer.param_groups[0]["lr"].fill_(rate)  # all groups have the same
        loss, right = step(images, labels)
        count += len(labels)
        losses.append(loss)
        correct += right
        if epoch == 1 and number < steps and number & (number - 1) == 0:  # 1, 2, 4, 8, ...
            _check_weights(model, number)
            spectra += record(number / steps, number)
        shown = {}
        if number % 20 == 0 or number == steps:  # now and then, as reading waits for the device
            finite = torch.stack(losses).isfinite()
            if not finite.all():
                raise DivergedError(f"the loss of step {int(finite.int().argmin()) + 1}")
            shown["loss"] = f"{float(losses[-1]) / len(labels):.3f}"
            shown["accuracy"] = f"{100 * int(correct) / count:.1f} %"
        progress.step(**shown)
    _check_weights(model, steps)
    return {
        "learning_rate": rate,
        "train_loss": math.fsum(torch.stack(losses).tolist()) / count,
        "train_accuracy": 100 * int(correct) / count,
    }, spectra


def steps_per_epoch(settings: SimpleNamespace) -> int:
    return math.ceil(settings.train_images / settings.batch_size)


def _check_weights(model: nn.Module, step: int) -> None:
    if not all(w.isfinite().all() for w in model.state_dict().values()):
        raise DivergedError(f"a weight after step {step}")


def _test(model: nn.Module, test_sets: dict[str, ImageSet]) -> dict[str, float]:
    """Columns <set>_loss and <set>_accuracy (percent) of a table."""
    inference, numbers = for_inference(model), {}
    for name, images in test_sets.items():
        name, found = name.replace(" ", "_"), evaluate(inference, images)
        numbers |= zip((f"{name}_loss", f"{name}_accuracy"), found)
    return numbers


def _note_start(run: Run, state: dict, of_run: dict, conditions: dict) -> None:
    """Add a start to the state; warn where its numbers may differ from those before."""
    before = state["starts"][-1] if state["starts"] else conditions
    names = ("device", "processor", "torch")
    changed = [f"{n} {before[n]} -> {conditions[n]}" for n in names if before[n] != conditions[n]]
    if changed:
        text = f"{run.name} goes on under other conditions ({'; '.join(changed)}): it will not end "
        tqdm.write(text + "with the same numbers, byte for byte", file=sys.stderr)
    state["starts"].append(of_run | {"from_epoch": state["epoch"] + 1} | conditions)


def _save(state: dict, folder: Path, keep: bool = False) -> None:
    """Write last.pt, which holds the whole run; before it, to keep, the weights of its epoch."""
    if keep:
        weights = {name: state[name] for name in ("identity", "epoch", "model")}
        checkpoints.save(weights, folder / f"epoch-{state['epoch']:03d}.pt")
    last, previous = (folder / name for name in GENERATIONS)
    if last.exists():
        files.rename(last, previous, strict=False)
    checkpoints.save(state, last)
