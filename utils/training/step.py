"""A network with the initial weights of a run, and the step of SGD that trains it."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.images import ImageSet, Normalize, to_float
from models.resnet import ResNet18
from utils.runtime.devices import autocast, memory_format
from utils.spectra.batchnorm import batchnorm_after_convolution
from utils.training.runs import Run

# (images, labels) -> sum of the images' losses, and how many were classified right, as tensors on
# the device
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def build(
    run: Run, settings: SimpleNamespace, train_set: ImageSet, state: dict
) -> tuple[nn.Module, torch.optim.SGD, Step]:
    """Model and optimiser as in a state or, where that is of no epoch, as at the start of every run
    of the seed; and their step, at a learning rate that is a tensor, the same in all groups."""
    device = train_set.labels.device
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
    fixed = []  # weights of each convolution before a BatchNorm, and the norms of its filters
    if factor := run.strengths.get("fixed-norm"):
        weights = [model.get_submodule(name).weight for name in batchnorm_after_convolution(model)]
        fixed = [(weight, factor * _filter_norms(weight)) for weight in weights]
    if state["epoch"] >= 0:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    rate = torch.zeros((), device=device)  # a tensor: a CUDA graph reads its value at every step
    for group in optimizer.param_groups:
        group["lr"] = rate
    step = training_step(model, optimizer, Normalize(train_set), settings.precision, fixed)
    if device.type == "cuda" and settings.batch_size <= len(train_set):
        step = as_cuda_graph(step, model, optimizer, train_set.first(settings.batch_size))
    return model, optimizer, step


@torch.no_grad()
def _filter_norms(weight: Tensor) -> Tensor:
    """(out, in, h, w) -> (out, 1, 1, 1)"""
    return torch.linalg.vector_norm(weight, dim=(1, 2, 3), keepdim=True)


def training_step(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    normalize: Normalize,
    precision: str,  # of convolutions and matrix products; the rest is float32
    fixed: list[tuple[Tensor, Tensor]],  # weights, and norms that their filters are scaled back to
) -> Step:
    def step(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(images.device, precision):
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

    `some` are as many images as a batch has, to record the graph with; nothing is learned of them.
    """
    buffers = [state["momentum_buffer"] for state in optimizer.state.values()]
    changed = [*model.state_dict().values(), *buffers]
    before = [tensor.clone() for tensor in changed]
    pixels = to_float(some.images).contiguous(memory_format=memory_format(some.labels.device))
    inputs = pixels, some.labels.clone()
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

    def launch(*batch: Tensor) -> tuple[Tensor, Tensor]:
        if batch[1].shape != inputs[1].shape:
            return step(*batch)
        for static, given in zip(inputs, batch):
            static.copy_(given)
        graph.replay()
        return tuple(result.clone() for result in results)

    return launch
