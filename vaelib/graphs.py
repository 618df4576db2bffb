"""Gradient steps as CUDA graphs: recorded once, replayed without Python.

A step of a small model is some fifty kernels of a few microseconds each, and launching them one by one from Python
takes longer than running them. A graph launches all kernels of several steps in one call. What changes from step to
step lies in tensors that it reads: the numbers of the images and the learning rates, copied in before each replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor], Tensor]

WARM_UP_STEPS = 3
"""Steps that are taken without a graph first: kernels and libraries set themselves up at their first calls."""


class Recorded(NamedTuple):
    """A graph: its inputs, `numbers` of shape (steps, M) and `rates` of shape (steps,), and what replays it."""

    numbers: Tensor
    rates: Tensor
    replay: Callable[[], Tensor]


class StepGraphs:
    """Takes steps in groups, each group a replay of a graph; a group of a new shape is recorded first.

    Args:
        step: Takes one step on the images of some numbers, shape (M,), at a learning rate, shape (), and returns the
            sums of its terms, shape (terms,). It must not look at the values of tensors from Python.
        steps: The most steps in a group.
        device: The GPU.

    Raises:
        ValueError: If the device is not a CUDA device.
    """

    def __init__(self, step: Step, steps: int, device: torch.device) -> None:
        if device.type != "cuda":
            raise ValueError(f"graph_steps must be 1 on a device without CUDA graphs, such as {device}, but is {steps}")
        self.step = step
        self.steps = steps
        self.device = device
        self.warm = 0
        self.recorded: dict[tuple[int, ...], Recorded] = {}

    def advance(self, batches: Sequence[Tensor], rates: Tensor) -> Tensor:
        """Take the next steps; the sums of their terms, shape (steps taken, terms)."""
        if self.warm < WARM_UP_STEPS:
            self.warm += 1
            with on_side_stream(self.device):
                return self.step(batches[0], rates[0]).unsqueeze(0)
        size = len(batches[0])
        group = [batch for batch in batches[: self.steps] if len(batch) == size]  # a smaller last one is left
        shape = (len(group), size)
        if shape not in self.recorded:
            self.recorded[shape] = self._record(*shape)
        numbers, some_rates, replay = self.recorded[shape]
        numbers.copy_(torch.stack(group))
        some_rates.copy_(rates[: len(group)])
        return replay().clone()  # the next replay writes into the same memory

    def _record(self, count: int, size: int) -> Recorded:
        numbers = torch.zeros(count, size, dtype=torch.int64, device=self.device)
        rates = torch.zeros(count, device=self.device)

        def steps() -> Tensor:
            return torch.stack([self.step(numbers[n], rates[n]) for n in range(count)])

        return Recorded(numbers, rates, record(steps))


@contextmanager
def on_side_stream(device: torch.device) -> Iterator[None]:
    """A stream that is not the default one, where CUDA wants the steps to be taken that precede a recording."""
    current, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    side.wait_stream(current)
    with torch.cuda.stream(side):
        yield
    current.wait_stream(side)


def record(function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Record what a function does on the GPU, without doing it; the result does it, and returns the same tensor."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = function()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay
