"""One training run: the loop, the record of spectra, and going on after an interruption."""

import copy
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from data.images import ImageSet, Normalize, to_float, training_batches
from models.resnet import ResNet18
from utils.runtime import files
from utils.runtime.devices import autocast, memory_format
from utils.runtime.progress import Progress
from utils.spectra.batchnorm import batchnorm_after_convolution
from utils.training import checkpoints, recording
from utils.training.evaluation import evaluate, for_inference
from utils.training.runs import Run

DROPOUT_SEEDS = 500_000  # an epoch's seed for dropout, beyond those of its batch order
ROWS = ["history", "spectra", "autocorrelation", "times", "starts"]  # of a state, by table
GENERATIONS = ["last.pt", "previous.pt"]
NOT_TRAINED = dict.fromkeys(["learning_rate", "train_loss", "train_accuracy"], math.nan)

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class DivergedError(ArithmeticError):
    """The training loss is no longer a finite number."""


def load_state(run: Run, job: Path) -> dict:
    """State of a run after its last finished epoch; "epoch" is -1 where it was never begun.

    The run must be locked. A damaged last.pt is named and set aside, and the state of the epoch
    before is used.

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
    return {"identity": identity, "epoch": -1, "diverged": ""} | {name: [] for name in ROWS}


def read_rows(run: Run, job: Path) -> dict:
    """State of a run that another process may hold, without weights; "epoch" is -1 where there is
    none."""
    for name in (*GENERATIONS, *GENERATIONS):  # while one is read, the other may get its name
        with suppress(OSError):
            state = checkpoints.load(job / run.name / name, f"{job.name}/{run.name}")
            return {name: state[name] for name in ("epoch", "diverged", *ROWS)}
    return {"epoch": -1, "diverged": ""} | {name: [] for name in ROWS}


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
        folder: gets last.pt, which holds the run, previous.pt, and the weights of chosen epochs.
        conditions: device, threads, versions: noted with the epochs of this start.
        progress: of the whole job.

    Yields the number of each epoch when it is finished and on disk; 0 is the initialisation.

    Raises:
        DivergedError: the loss became NaN or infinite, now or when it was tried before.
    """
    if state["diverged"]:
        raise DivergedError(state["diverged"])
    model, optimizer = build(run, settings, train_set.labels.device)
    batchnorms = batchnorm_after_convolution(model)
    fixed = fixed_norms(model, batchnorms, run.strengths.get("fixed-norm"))
    if state["epoch"] >= 0:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    step = training_step(model, optimizer, train_set, settings.precision, fixed)
    if state["epoch"] < settings.epochs:
        _note_start(run, state, conditions)
        if train_set.labels.device.type == "cuda" and settings.batch_size <= len(train_set):
            step = as_cuda_graph(step, model, optimizer, train_set.first(settings.batch_size))

    for epoch in range(state["epoch"] + 1, settings.epochs + 1):
        start, title = time.perf_counter(), f"{run.name} epoch {epoch}/{settings.epochs}"
        progress.set_description(title)
        key = {"configuration": run.configuration, "seed": run.seed, "epoch": epoch}
        numbers, spectra = NOT_TRAINED, []
        if epoch > 0:
            batches = training_batches(
                windows, train_set.labels, settings.batch_size, run.seed, epoch
            )
            torch.manual_seed(run.seed * 1_000_003 + epoch + DROPOUT_SEEDS)  # also after a resume
            try:
                numbers, spectra = _train_epoch(
                    model, optimizer, step, batches, batchnorms, key, settings, progress
                )
            except DivergedError as error:  # the state keeps the weights of the epoch before
                raise _note_divergence(run, state, key, error, settings, folder) from None
        tested = _test(model, test_sets)
        state["history"].append(key | numbers | {"diverged": ""} | tested)
        state["spectra"] += spectra + _spectra(
            model, batchnorms, key, epoch * steps_per_epoch(settings)
        )
        kept = epoch in (0, 1, settings.epochs) or epoch % settings.checkpoint_every == 0
        if kept:
            rows = recording.autocorrelation_rows(model, batchnorms)
            state["autocorrelation"] += [key | row for row in rows]
        state |= {"epoch": epoch, "model": copy.deepcopy(model.state_dict())}
        state["optimizer"] = copy.deepcopy(optimizer.state_dict())
        seconds = time.perf_counter() - start
        state["times"].append(key | {"seconds": seconds})
        _save(state, folder, kept)
        progress.epoch(f"{title}: test {tested['test_accuracy']:.1f} %, {seconds:.1f} s")
        yield epoch


def _spectra(model: nn.Module, batchnorms: dict[str, str], key: dict, step: int) -> list[dict]:
    """Rows of the spectra after a step."""
    return [key | {"step": step} | row for row in recording.spectrum_rows(model, batchnorms)]


def _note_divergence(run, state: dict, key: dict, error, settings, folder: Path) -> DivergedError:
    """Mark the run on the disk, so that it is not tried again; returns what to raise."""
    problem = (
        f"{run.name} diverged: {error} in epoch {key['epoch']} is not a finite number "
        f"(LEARNING_RATE {settings.learning_rate:g}; a lower one may train)"
    )
    state["history"].append(key | NOT_TRAINED | {"diverged": problem})
    state["diverged"] = problem
    _save(state, folder)
    return DivergedError(problem)


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
    optimizer = torch.optim.SGD(
        groups, lr=settings.learning_rate, momentum=settings.momentum, fused=device.type != "mps"
    )
    for p in model.parameters():  # as SGD starts, but there before the first step
        optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return model, optimizer


def fixed_norms(
    model: nn.Module, batchnorms: dict[str, str], factor: float | None
) -> list[tuple[Tensor, Tensor]]:
    """Weights (out, in, h, w) of each convolution before a BatchNorm, and the norms (out, 1, 1, 1)
    that its filters are held at: `factor` times those of now. None: no filter is held."""
    weights = [model.get_submodule(name).weight for name in batchnorms] if factor else []
    return [(w, factor * _filter_norms(w).detach()) for w in weights]


def _filter_norms(weight: Tensor) -> Tensor:
    return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)


def training_step(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    train_set: ImageSet,
    precision: str,
    fixed: list[tuple[Tensor, Tensor]],
) -> Step:
    """A step of SGD at the optimiser's learning rate: function(images, labels) -> the sum of the
    images' losses, and how many were classified right, both as tensors on the device.

    Args:
        precision: of convolutions and matrix products; loss, BatchNorm and update are float32.
        fixed: from `fixed_norms`; filters are scaled back to their norms after the update.
    """
    normalize, device = Normalize(train_set), train_set.labels.device
    rate = torch.zeros((), device=device)  # a tensor: a CUDA graph reads its value at every step
    for group in optimizer.param_groups:
        group["lr"] = rate

    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(device, precision):
            logits = model(normalize(images))
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for weight, norms in fixed:
                weight.mul_(norms / _filter_norms(weight))
            return loss * len(labels), (logits.argmax(1) == labels).sum()

    return step


def as_cuda_graph(step: Step, model: nn.Module, optimizer: torch.optim.SGD, some: ImageSet) -> Step:
    """The same step, its some 400 kernels launched at once: at width 16 launching them one by one
    takes several times as long as running them. Batches of another size are not.

    Args:
        some: as many images as a batch has, to record the graph with; nothing is learned of them.
    """
    buffers = [state["momentum_buffer"] for state in optimizer.state.values()]
    changed = [*model.state_dict().values(), *buffers]
    before = [tensor.clone() for tensor in changed]
    inputs = to_float(some.images).contiguous(memory_format=memory_format(some.labels.device))
    inputs = inputs, some.labels.clone()
    model.train()
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # libraries set themselves up in the first calls
        for _ in range(3):
            step(*inputs)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step(*inputs)
    for tensor, value in zip(changed, before):
        tensor.copy_(value)

    def launch(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if labels.shape != inputs[1].shape:
            return step(images, labels)
        inputs[0].copy_(images)
        inputs[1].copy_(labels)
        graph.replay()
        return tuple(result.clone() for result in results)

    return launch


def _test(model: nn.Module, test_sets: dict[str, ImageSet]) -> dict[str, float]:
    """Columns <set>_loss and <set>_accuracy (percent) of a table."""
    inference, numbers = for_inference(model), {}
    for name, images in test_sets.items():
        name, found = name.replace(" ", "_"), evaluate(inference, images)
        numbers |= zip((f"{name}_loss", f"{name}_accuracy"), found)
    return numbers


def steps_per_epoch(settings: SimpleNamespace) -> int:
    return math.ceil(settings.train_images / settings.batch_size)


def _train_epoch(
    model, optimizer, step, batches, batchnorms, key, settings, progress
) -> tuple[dict, list[dict]]:
    """One pass over the training images.

    Returns loss, accuracy and last learning rate, and spectra after steps 1, 2, 4, 8, ... of the
    first epoch.
    """
    epoch, steps = key["epoch"], steps_per_epoch(settings)
    model.train()
    losses, correct, count, spectra = [], 0, 0, []
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
            spectra += _spectra(model, batchnorms, key | {"epoch": number / steps}, number)
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


def _save(state: dict, folder: Path, keep: bool = False) -> None:
    """Write last.pt, which holds the whole run; before it, to keep, the weights of its epoch."""
    if keep:
        weights = {name: state[name] for name in ("identity", "epoch", "model")}
        checkpoints.save(weights, folder / f"epoch-{state['epoch']:03d}.pt")
    last, previous = (folder / name for name in GENERATIONS)
    if last.exists():
        files.rename(last, previous, strict=False)
    checkpoints.save(state, last)
