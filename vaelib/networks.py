"""Network bodies: what stands between an image or a code and the parameters of a distribution."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch import nn


def mlp(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """A multilayer perceptron whose every layer, the last included, ends in the activation.

    Args:
        sizes: Widths from the input to the last hidden layer, two at least: (784, 400) is one hidden layer of 400.
        activation: Makes the non-linearity, e.g. `torch.nn.ReLU` or `torch.nn.Tanh`.

    Returns:
        A module from (..., sizes[0]) to (..., sizes[-1]).

    Example:
        >>> mlp((784, 400))
        Sequential(
          (0): Linear(in_features=784, out_features=400, bias=True)
          (1): ReLU()
        )
    """
    if len(sizes) < 2 or any(size < 1 for size in sizes):
        raise ValueError(f"sizes must hold at least two positive widths, but is {tuple(sizes)}")
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers)
