"""Training: `fit` moves the data to the device once, takes the gradient steps and keeps the history.

What it maximises is an *objective*: a function of (model, x) that returns a named tuple of per-image tensors. The mean
of its first field over the minibatch is maximised; the mean of every field is recorded under its name.
`vaelib.bounds.sgvb_b` is such a function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from tqdm.auto import tqdm

from vaelib.bounds import sgvb_b
from vaelib.checks import check_finite, check_floating, check_positive_integer, without_validation
from vaelib.devices import default_device
from vaelib.models import LatentVariableModel

Objective = Callable[[Any, Tensor], Any]
Schedule = Literal["one-cycle", "constant"]


class NonFiniteLossError(RuntimeError):
    """Training met a term of the objective that is not a finite number."""


def fit(
    model: nn.Module,
    train: Tensor,
    test: Tensor | None = None,
    *,
    epochs: int,
    objective: Objective = sgvb_b,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    schedule: Schedule = "one-cycle",
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Maximise an objective over the training images with Adam; the model is changed in place.

    Args:
        model: A `vaelib.models.VAE`, or any module that `objective` understands.
        train: Training images, shape (N, D).
        test: Test images, shape (N', D), on which the objective is evaluated after each epoch.
        epochs: Passes over the training images.
        objective: What is maximised (see the module's docstring).
        batch_size: M. The last minibatch of an epoch holds what remains.
        learning_rate: The step size; with the one-cycle schedule, its peak.
        schedule: "one-cycle" warms up to the peak and anneals to nearly zero over the whole run (Smith and Topin
            2018, https://arxiv.org/abs/1708.07120); "constant" stays.
        seed: Of the minibatches and of the draws of z. The caller's random state is left as it was.
        device: Where to train; by default the accelerator where there is one, else the CPU. The model stays there.
        progress: Whether to show a progress bar.

    Returns:
        One row an epoch: `epoch`, then for each field f of the objective `train_f`, the mean over the epoch's
        training images while the weights were moving, and with `test` also `test_f`, after the epoch.

    Raises:
        NonFiniteLossError: If a term stops being finite; the message names the step and the term.
        ValueError: If the images are not what the model's likelihood can score, or an argument is out of range.
    """
    check_positive_integer("epochs", epochs)
    check_positive_integer("batch_size", batch_size)
    device = torch.device(device) if device is not None else default_device()
    model.to(device).train()
    train = _to_device("train", train, model, device)
    test = None if test is None else _to_device("test", test, model, device)
    optimiser = Adam(model.parameters(), lr=learning_rate, fused=True)
    scheduler = _make_scheduler(schedule, optimiser, learning_rate, epochs * -(-len(train) // batch_size))

    rows = []
    with _seeded(seed, device), without_validation():
        # Without an explicit False, tqdm's own TQDM_DISABLE keeps the bar out of stored notebooks.
        bar = tqdm(range(1, epochs + 1), unit="epoch", **({} if progress else {"disable": True}))
        for epoch in bar:
            means = _train_epoch(model, train, objective, batch_size, optimiser, scheduler, epoch)
            row = {"epoch": epoch} | {f"train_{name}": mean for name, mean in means.items()}
            if test is not None:
                means = _means(model, test, objective)
                row |= {f"test_{name}": mean for name, mean in means.items()}
            rows.append(row)
            first = next(iter(means))
            bar.set_postfix({first: f"{means[first]:.2f}"})
    return pd.DataFrame(rows)


def evaluate(
    model: nn.Module, x: Tensor, *, objective: Objective = sgvb_b, batch_size: int = 1000, seed: int = 0
) -> dict[str, float]:
    """The mean of each field of an objective over images x of shape (N, D), without changing the model.

    Args:
        model: The model, on whose device the images are evaluated.
        x: Images, shape (N, D).
        objective: As in `fit`.
        batch_size: Images at a time: a matter of memory only, up to the draws of z.
        seed: Of the draws of z. The caller's random state is left as it was.

    Returns:
        The mean of each field, in nats per image where the field is, by name.
    """
    check_positive_integer("batch_size", batch_size)
    device = next(model.parameters()).device
    x = _to_device("x", x, model, device)
    with _seeded(seed, device), without_validation():
        return _means(model, x, objective, batch_size)


def _train_epoch(
    model: nn.Module,
    train: Tensor,
    objective: Objective,
    batch_size: int,
    optimiser: Optimizer,
    scheduler: LRScheduler,
    epoch: int,
) -> dict[str, float]:
    sums = []  # of each term over each minibatch, on the device: reading one would wait for it
    for rows in torch.randperm(len(train), device=train.device).split(batch_size):
        terms = objective(model, train[rows])
        loss = -terms[0].mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        scheduler.step()
        sums.append(torch.stack([term.detach().sum() for term in terms]))
    trace = torch.stack(sums).double().cpu()
    _refuse_non_finite(trace, terms._fields, epoch)
    return dict(zip(terms._fields, (trace.sum(0) / len(train)).tolist(), strict=True))


@torch.no_grad()
def _means(model: nn.Module, x: Tensor, objective: Objective, batch_size: int = 1000) -> dict[str, float]:
    model.eval()
    sums = []
    for batch in x.split(batch_size):
        terms = objective(model, batch)
        sums.append(torch.stack([term.sum() for term in terms]))
    model.train()
    totals = torch.stack(sums).double().sum(0) / len(x)
    return dict(zip(terms._fields, totals.tolist(), strict=True))


def _refuse_non_finite(trace: Tensor, fields: tuple[str, ...], epoch: int) -> None:
    """Raise if any entry of `trace`, shape (steps, terms), is not finite."""
    bad_steps = (~torch.isfinite(trace)).any(1).nonzero()
    if len(bad_steps):
        step = int(bad_steps[0])
        # The objective itself is the first field: it is not finite because a part of it is not.
        parts = [name for name, finite in zip(fields, torch.isfinite(trace[step]), strict=True) if not finite]
        raise NonFiniteLossError(
            f"training stopped being finite at step {step + 1} of epoch {epoch}: {', '.join(parts[1:] or parts)} went "
            "first. Try a smaller learning_rate; if it persists, look for a log-variance that overflows exp"
        )


def _make_scheduler(schedule: Schedule, optimiser: Optimizer, learning_rate: float, steps: int) -> LRScheduler:
    if schedule == "one-cycle":
        return OneCycleLR(optimiser, max_lr=learning_rate, total_steps=steps)
    if schedule == "constant":
        return LambdaLR(optimiser, lambda step: 1.0)
    raise ValueError(f'schedule must be "one-cycle" or "constant", but is {schedule!r}')


def _to_device(name: str, x: Tensor, model: nn.Module, device: torch.device) -> Tensor:
    """The images on the device and in the model's dtype, checked once instead of at every step."""
    check_floating(name, x)
    if x.dim() != 2 or len(x) == 0:
        raise ValueError(f"{name} must hold images in rows, shape (N, D), but has shape {tuple(x.shape)}")
    check_finite(name, x)
    if isinstance(model, LatentVariableModel):
        model.check_data(x)
    return x.to(device=device, dtype=next(model.parameters()).dtype)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random draws from `seed`; the caller's generators are put back afterwards."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(seed)
        yield
