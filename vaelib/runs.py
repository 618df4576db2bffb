"""The state of a training run: what a gradient step changes, and how it is saved and restored."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from vaelib import checkpoints
from vaelib.checks import check_floating, check_images, check_no_autocast
from vaelib.graphs import StepGraphs
from vaelib.models import LatentVariableModel
from vaelib.optimisers import set_learning_rate

Objective = Callable[[Any, Tensor], Any]


class NonFiniteLossError(RuntimeError):
    """Training met a term of the objective that is not a finite number."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C stopped a training run between two steps, after its state had been saved."""


class Run:
    """A model under training, with everything that its next step depends on.

    Args:
        model: What learns.
        objective: What it maximises.
        optimiser: Of its parameters.
        rates: The learning rate of every step of the run, shape (steps,).
        train: The training images, shape (N, D), on the model's device.
        max_grad_norm: The length to which longer gradients are shortened.
        graph_steps: How many steps are recorded together as a CUDA graph; 1 records none.

    Attributes:
        epoch: Epochs finished.
        rows: What `vaelib.training.fit` returns, a dict for each finished epoch.
        steps_done: Steps taken in the epoch under way.
        sums: Of those steps, the sum of each term over its images, shape (steps, terms) in parts, on the device:
            reading one would make the processor wait for it.

    Raises:
        RuntimeError: Inside `torch.autocast`.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimiser: Optimizer,
        rates: Tensor,
        train: Tensor,
        max_grad_norm: float | None = None,
        graph_steps: int = 1,
    ) -> None:
        check_no_autocast(train.device)
        self.model = model
        self.objective = objective
        self.optimiser = optimiser
        self.rates = rates.to(train.device)
        self.rates_in_python = rates.tolist()
        self.train = train
        self.max_grad_norm = max_grad_norm
        self.graphs = StepGraphs(self.step, graph_steps, train.device) if graph_steps > 1 else None
        self.steps_taken = 0
        self.epoch = 0
        self.rows: list[dict[str, float]] = []
        self.steps_done = 0
        self.sums: list[Tensor] = []
        self.fields: tuple[str, ...] = ()

    def step(self, numbers: Tensor, rate: float | Tensor) -> Tensor:
        """One gradient step on the images of these numbers, shape (M,); the sum of each term, shape (terms,)."""
        x = pixels(self.train[numbers], next(self.model.parameters()).dtype)
        terms = self.objective(self.model, x)
        self.fields = terms._fields
        self.optimiser.zero_grad(set_to_none=True)
        (-terms[0].mean()).backward()
        if self.max_grad_norm is not None:
            clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        set_learning_rate(self.optimiser, rate)
        self.optimiser.step()
        return torch.stack([term.detach().sum() for term in terms])

    def advance(self, batches: Sequence[Tensor]) -> int:
        """Take the next steps of the epoch, on the images of these numbers, each of shape (M,); return how many."""
        if self.graphs is None:
            sums = self.step(batches[0], self.rates_in_python[self.steps_taken]).unsqueeze(0)
        else:
            sums = self.graphs.advance(batches, self.rates[self.steps_taken :])
        self.sums.append(sums)
        self.steps_done += len(sums)
        self.steps_taken += len(sums)
        return len(sums)

    def take_epoch(self, batch_size: int, seed: int, between_steps: Callable[[], None] = lambda: None) -> None:
        """Take the steps of the epoch under way that are left, the images in an order of `seed`'s own."""
        batches = shuffled(len(self.train), seed, self.epoch, self.train.device).split(batch_size)
        while self.steps_done < len(batches):
            self.advance(batches[self.steps_done :])
            between_steps()

    def finish_epoch(self, images: int, test: Tensor | None) -> dict[str, float]:
        """Turn the sums into means over the epoch's images, add those over test images (N', D), and begin the next."""
        means = self._trace().sum(0) / images
        row: dict[str, float] = {"epoch": self.epoch + 1}
        row |= {f"train_{name}": mean for name, mean in zip(self.fields, means.tolist(), strict=True)}
        if test is not None:
            row |= {f"test_{name}": mean for name, mean in means_of(self.model, test, self.objective).items()}
        self.epoch += 1
        self.steps_done = 0
        self.sums = []
        self.rows.append(row)
        return row

    def score(self, row: dict[str, float]) -> float:
        """The objective of a finished epoch, on the test images where there are any."""
        return row.get(f"test_{self.fields[0]}", row[f"train_{self.fields[0]}"])

    def save(self, path: Path, settings: dict[str, Any]) -> None:
        """Write everything that the next step depends on; refuse to write a run that has met a NaN."""
        self._trace()
        device = next(self.model.parameters()).device
        state = {
            "settings": settings,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "device_random": None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device),
            "epoch": self.epoch,
            "rows": self.rows,
            "steps_taken": self.steps_taken,
            "steps_done": self.steps_done,
            "sums": self.sums,
            "fields": list(self.fields),
        }
        checkpoints.save(path, state)

    def save_if_best(self, path: Path) -> None:
        """Write the model's weights if the last epoch was the best so far."""
        scores = [self.score(row) for row in self.rows]
        if scores[-1] == max(scores):
            checkpoints.save(path, self.model.state_dict())

    def restore(self, path: Path, settings: dict[str, Any]) -> None:
        """Take up the run that `path` holds, which must have the same settings."""
        state = checkpoints.load(path)
        checkpoints.check_same_run(path, state.get("settings", {}), settings)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        device = next(self.model.parameters()).device
        for group in self.optimiser.param_groups:  # a learning rate that is a tensor comes back on the CPU
            if isinstance(group["lr"], Tensor):
                group["lr"] = group["lr"].to(device)
        torch.set_rng_state(state["random"])
        if state["device_random"] is not None:
            torch.get_device_module(device).set_rng_state(state["device_random"], device)
        self.epoch = state["epoch"]
        self.rows = state["rows"]
        self.steps_taken = state["steps_taken"]
        self.steps_done = state["steps_done"]
        self.sums = [tensor.to(device) for tensor in state["sums"]]
        self.fields = tuple(state["fields"])

    def _trace(self) -> Tensor:
        """The sums of the epoch under way on the CPU, shape (steps, terms); raise if one of them is not finite."""
        if not self.sums:
            return torch.zeros(0, len(self.fields))
        trace = torch.cat(self.sums).double().cpu()
        bad_steps = (~torch.isfinite(trace)).any(1).nonzero()
        if len(bad_steps):
            step = int(bad_steps[0])
            bad = [name for name, finite in zip(self.fields, torch.isfinite(trace[step]), strict=True) if not finite]
            # The objective is the first field; if one of its parts is listed too, that part is to blame.
            raise NonFiniteLossError(
                f"training stopped being finite at step {step + 1} of epoch {self.epoch + 1}: "
                f"{', '.join(bad[1:] or bad)} went first. Try a smaller learning_rate or a max_grad_norm; if it "
                "persists, look for a log-variance that overflows exp"
            )
        return trace


@torch.no_grad()
def means_of(model: nn.Module, x: Tensor, objective: Objective, batch_size: int = 1000) -> dict[str, float]:
    """The mean of each field of an objective over images x of shape (N, D), the model in evaluation mode."""
    was_training = model.training
    model.eval()
    sums = []
    for batch in x.split(batch_size):
        terms = objective(model, pixels(batch, next(model.parameters()).dtype))
        sums.append(torch.stack([term.sum() for term in terms]))
    model.train(was_training)
    totals = torch.stack(sums).double().sum(0) / len(x)
    return dict(zip(terms._fields, totals.tolist(), strict=True))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random draws from `seed`; the caller's generators are put back afterwards."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(seed)
        yield


def images_for(model: nn.Module, name: str, x: Tensor, device: torch.device) -> Tensor:
    """Images x, shape (N, D), on the device and in the model's dtype or as bytes, checked once and not at every step.

    Raises:
        TypeError: If x, which the message calls by its `name`, is neither floating point nor uint8.
        ValueError: If x has another shape, is not finite, or cannot be scored by the model's likelihood.
    """
    in_bytes = x.dtype == torch.uint8
    if not in_bytes:
        check_floating(name, x)
    check_images(name, x)
    dtype = next(model.parameters()).dtype
    if isinstance(model, LatentVariableModel):
        model.check_data(pixels(x, dtype))
    return x.to(device) if in_bytes else x.to(device=device, dtype=dtype)


def pixels(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Images (N, D) in floating point: bytes are grey levels, 255 of them to 1; all else is left as it is."""
    return x.to(dtype) / 255 if x.dtype == torch.uint8 else x


def shuffled(count: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """The numbers of the images in an epoch's order, shape (count,).

    They are a function of the seed and the epoch alone, so that a checkpoint need not hold them.
    """
    generator = torch.Generator(device).manual_seed(1_000_003 * seed + epoch)
    return torch.randperm(count, generator=generator, device=device)


@contextmanager
def saving(path: Path | None, save: Callable[[Path], None], seconds: float) -> Iterator[Callable[..., None]]:
    """Save a run now and then: the function that this yields is to be called between two steps.

    It saves when `seconds` have passed since the last time, or when it is called with now=True. Ctrl-C waits for its
    next call, which saves and then raises `TrainingInterrupted`.

    Args:
        path: Where to; None saves nothing and leaves Ctrl-C alone.
        save: Writes everything that the next step depends on.
        seconds: Between two times.
    """
    saved = time.monotonic()

    def between_steps(now: bool = False) -> None:
        nonlocal saved
        if path is not None and (now or interrupted() or time.monotonic() - saved > seconds):
            save(path)
            saved = time.monotonic()
            if interrupted():
                raise TrainingInterrupted(f"stopped: {path} holds the run, and the same call goes on with it")

    with _held_interrupt(path is not None) as interrupted:
        yield between_steps


@contextmanager
def _held_interrupt(hold: bool) -> Iterator[Callable[[], bool]]:
    """Make Ctrl-C wait: the function that this yields says whether it has been pressed.

    Without `hold`, or in a thread that receives no signals, Ctrl-C does what it always does.
    """
    pressed = threading.Event()
    if not hold or threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def remember(number: int, frame: FrameType | None) -> None:
        pressed.set()

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
