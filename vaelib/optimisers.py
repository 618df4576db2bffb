"""The optimisers and learning-rate schedules of a training run, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import Tensor
from torch.optim import Adagrad, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

OptimiserName = Literal["adam", "adagrad"]
ScheduleName = Literal["one-cycle", "constant"]


def make_optimiser(
    name: OptimiserName, parameters: Iterable[Tensor], learning_rate: float, weight_decay: float
) -> Optimizer:
    """The optimiser of this name for parameters of any shape; `weight_decay` times them is added to the gradient.

    Raises:
        ValueError: If there is none of this name.
    """
    if name == "adam":
        return Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    if name == "adagrad":
        return Adagrad(parameters, lr=learning_rate, weight_decay=weight_decay)
    raise ValueError(f'optimiser must be "adam" or "adagrad", but is {name!r}')


def make_scheduler(name: ScheduleName, optimiser: Optimizer, learning_rate: float, steps: int) -> LRScheduler:
    """The schedule of this name over so many steps.

    Raises:
        ValueError: If there is none of this name.
    """
    if name == "one-cycle":
        cycles_momentum = isinstance(optimiser, Adam)
        return OneCycleLR(optimiser, max_lr=learning_rate, total_steps=steps, cycle_momentum=cycles_momentum)
    if name == "constant":
        return LambdaLR(optimiser, lambda step: 1.0)
    raise ValueError(f'schedule must be "one-cycle" or "constant", but is {name!r}')
