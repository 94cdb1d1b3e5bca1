"""A small multilayer perceptron with ReLU, from one number to one number."""

import torch
from torch import nn


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
