"""Training: `fit` moves the data to the device once, takes the gradient steps and keeps the history.

What it maximises is an *objective*: a function of (model, x) that returns a named tuple of per-image tensors. The mean
of its first field over the minibatch is maximised; the mean of every field is recorded under its name.
`vaelib.bounds.sgvb_b` is such a function.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from vaelib.bounds import sgvb_b
from vaelib.checks import check_positive_integer, without_validation
from vaelib.devices import default_device
from vaelib.optimisers import OptimiserName, ScheduleName, in_parts, learning_rates, make_optimiser
from vaelib.progress import progress_bar
from vaelib.runs import (
    NonFiniteLossError,
    Objective,
    Run,
    TrainingInterrupted,
    images_for,
    means_of,
    saving,
    seeded,
)

__all__ = ["NonFiniteLossError", "Objective", "TrainingInterrupted", "evaluate", "fit"]


def fit(
    model: nn.Module,
    train: Tensor,
    test: Tensor | None = None,
    *,
    epochs: int,
    objective: Objective = sgvb_b,
    batch_size: int = 128,
    optimiser: OptimiserName = "adam",
    learning_rate: float | dict[str, float] = 1e-3,
    schedule: ScheduleName = "one-cycle",
    weight_decay: float = 0.0,
    max_grad_norm: float | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 30.0,
    graph_steps: int = 1,
) -> pd.DataFrame:
    """Maximise an objective over the training images; the model is changed in place.

    Args:
        model: A `vaelib.models.VAE`, or any module that `objective` understands.
        train: Training images, shape (N, D), in floating point or as bytes, the grey levels 0 to 255.
        test: Test images, shape (N', D), likewise, on which the objective is evaluated after each epoch.
        epochs: Passes over the training images.
        objective: What is maximised (see the module's docstring).
        batch_size: M. The last minibatch of an epoch holds what remains.
        optimiser: "adam", or "adagrad" as in the original paper.
        learning_rate: The step size; with a schedule that is not constant, its peak. Either one for all parameters, or
            one for each part that learns by its name, as in {"encoder": 1e-3, "decoder": 5e-3}.
        schedule: "one-cycle" warms up to the peak and anneals to nearly zero over the whole run, as "linear" does
            along straight lines; "constant" stays: see `vaelib.optimisers.learning_rates`.
        weight_decay: This times the weights is added to the gradient. 1 / N makes the result a posterior mode under
            the prior N(0, I) over the weights.
        max_grad_norm: Scale the whole gradient down to this norm where it is longer; None leaves it as it is.
        seed: Of the minibatches and of the draws of z. The caller's random state is left as it was.
        device: Where to train; by default the accelerator where there is one, else the CPU. The model stays there.
        progress: Whether to show a progress bar.
        checkpoint: A folder for `last.pt`, the whole state of the run, and `best.pt`, the weights of the epoch whose
            objective was best (on the test images where there are any). If it holds an unfinished run with the same
            settings, that run is continued: on the same machine, bit for bit as if it had never stopped. Ctrl-C
            then saves before it stops.
        checkpoint_seconds: `last.pt` is written after each epoch, and within one when this long has passed.
        graph_steps: On a GPU with CUDA, how many gradient steps to record together as a graph (`vaelib.graphs`), which
            saves most of a small model's time. The objective must not look at the values of tensors from Python then,
            as the densities of a full covariance do. 1 records none.

    Returns:
        One row an epoch: `epoch`, then for each field f of the objective `train_f`, the mean over the epoch's
        training images while the weights were moving, and with `test` also `test_f`, after the epoch.

    Raises:
        NonFiniteLossError: If a term stops being finite; the message names the step and the term.
        CheckpointError: If the folder holds the state of another run, or a damaged one.
        TrainingInterrupted: After Ctrl-C, with `checkpoint`: the same call goes on from there.
        RuntimeError: Inside `torch.autocast`: mixed precision is an objective's (`vaelib.precision`).
        ValueError: If the images are not what the model's likelihood can score, or an argument is out of range.
    """
    check_positive_integer("epochs", epochs)
    check_positive_integer("batch_size", batch_size)
    check_positive_integer("graph_steps", graph_steps)
    device = torch.device(device) if device is not None else default_device()
    model.to(device).train()
    train = images_for(model, "train", train, device)
    test = None if test is None else images_for(model, "test", test, device)
    steps = -(-len(train) // batch_size)
    peak, parts = in_parts(model.named_parameters(), learning_rate)
    stepper = make_optimiser(optimiser, parts, weight_decay)
    rates = learning_rates(schedule, peak, epochs * steps)
    run = Run(model, objective, stepper, rates, train, max_grad_norm, graph_steps)

    last = None if checkpoint is None else Path(checkpoint) / "last.pt"
    settings = {
        "epochs": epochs, "batch_size": batch_size, "optimiser": optimiser, "learning_rate": learning_rate,
        "schedule": schedule, "weight_decay": weight_decay, "max_grad_norm": max_grad_norm, "seed": seed,
        "images": len(train), "device": device.type, "objective": getattr(objective, "__qualname__", repr(objective)),
    }  # fmt: skip
    with (
        seeded(seed, device),
        without_validation(),
        saving(last, partial(run.save, settings=settings), checkpoint_seconds) as save,
    ):
        if last is not None and last.exists():
            run.restore(last, settings)
        with progress_bar(epochs, unit="epoch", initial=run.epoch, show=progress) as bar:
            while run.epoch < epochs:
                run.take_epoch(batch_size, seed, save)
                row = run.finish_epoch(len(train), test)
                if last is not None:
                    run.save_if_best(last.with_name("best.pt"))
                save(now=True)
                bar.update()
                bar.set_postfix({run.fields[0]: f"{run.score(row):.2f}"})
    return pd.DataFrame(run.rows)


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
    x = images_for(model, "x", x, device)
    with seeded(seed, device), without_validation():
        return means_of(model, x, objective, batch_size)
