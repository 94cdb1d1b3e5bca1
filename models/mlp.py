"""A small multilayer perceptron with ReLU, alone or many of one shape at once."""

import torch
from torch import Tensor, nn


def mlp(hidden_layers: int, width: int, seed: int) -> nn.Sequential:
    """(..., 1) -> (..., 1) through hidden layers of `width` units, PyTorch's default weights.

    3 layers of 128 units have 33,409 parameters. The weights depend on the seed alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers, inputs = [], 1
        for _ in range(hidden_layers):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        return nn.Sequential(*layers, nn.Linear(inputs, 1))


def predict_stacked(stacked: dict[str, Tensor], x: Tensor) -> Tensor:
    """What N networks of `mlp` give for x: (points, 1) -> (N, points, 1).

    `stacked`: weights (N, out, in), biases (N, out), by name as of `torch.func.stack_module_state`.
    """
    names = [name.removesuffix(".weight") for name in stacked if name.endswith("weight")]
    h = x.T.expand(len(stacked[f"{names[0]}.weight"]), -1, -1)  # (N, 1, points)
    for name in names:
        weight, bias = stacked[f"{name}.weight"], stacked[f"{name}.bias"]
        h = torch.bmm(weight, h).add_(bias[..., None])  # (N, out, points)
        if name != names[-1]:
            h = torch.relu_(h)
    return h.transpose(1, 2)
