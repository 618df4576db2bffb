r"""Table 1 of "Importance Weighted Autoencoders": test likelihoods of models trained with k draws for each image.

The setting is that of Burda, Grosse and Salakhutdinov (2016, https://arxiv.org/abs/1509.00519) with one stochastic
layer: two hidden layers of 200 tanh units on either side of 50 latents, weights drawn as Glorot and Bengio have it, the
output's bias at the logits of the mean image, pixels binarised anew whenever an image is looked at, minibatches of 20,
and Adam in eight stages, the i-th of $3^{i-1}$ epochs at the learning rate $10^{-3 - (i-1)/7}$: 3280 epochs. "VAE" with
k draws is the average of k single-sample bounds, "IWAE" the k-sample bound; for k = 1 the two are one. Adam is the
usual one, $\beta_1 = 0.9$ and moments that start at zero. Chapter: "Tighter bounds".
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from vaelib import data
from vaelib.bounds import ELBO, IWAE, iwae, log_mean_exp, log_weights, sgvb_a
from vaelib.checks import check_positive_integer, without_validation
from vaelib.decoders import BernoulliDecoder
from vaelib.devices import default_device
from vaelib.diagnostics import active_units
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.lower_bound import shown_epochs
from vaelib.experiments.records import Record
from vaelib.marginal import importance_sampling
from vaelib.models import VAE
from vaelib.optimisers import make_optimiser
from vaelib.runs import Objective, Run, saving, seeded

SEEDS = {"mnist": range(1), "digits": range(3)}
MODELS = (("vae", 1), ("vae", 5), ("iwae", 5), ("vae", 50), ("iwae", 50))
STAGES = 8
PEAK = 1e-3
BATCH_SIZE = 20
BETAS = (0.9, 0.999)
EPSILON = 1e-4
HIDDEN = {"mnist": (200, 200), "digits": (50, 50)}
LATENT_DIM = {"mnist": 50, "digits": 10}
VALIDATION = {"mnist": 400, "digits": 0}
"""The last training images, which the paper's authors kept for validation and did not train on."""

DRAWS = 50
"""Behind the bounds of every test image."""
WEIGHTS = 5000
"""Importance samples behind log p(x)."""
IMAGES = 100
"""Test images, evenly spread, for which log p(x) is estimated."""
SHARE = 0.25
"""The part of the first seed's epochs that the other seeds take."""
SAVE_SECONDS = 30.0


def stage_ends() -> list[int]:
    """The number of epochs after each stage: 1, 4, 13, 40, 121, 364, 1093, 3280."""
    return [(3**stage - 1) // 2 for stage in range(1, STAGES + 1)]


def staged_rates(epochs: int, steps: int) -> Tensor:
    """The learning rate of each step of the first `epochs` epochs of `steps` steps each, float64, shape (E * steps,).

    Raises:
        ValueError: If there are more epochs than the eight stages have.
    """
    if epochs > stage_ends()[-1]:
        raise ValueError(f"epochs must be at most {stage_ends()[-1]}, those of all {STAGES} stages, but is {epochs}")
    stage = torch.bucketize(torch.arange(epochs) + 1, torch.tensor(stage_ends()))
    return (PEAK * 10 ** (-stage.double() / 7)).repeat_interleave(steps)


def make_model(images: data.Dataset, seed: int) -> VAE:
    """The paper's network at its start; what is predicted is the log-variance, not the paper's log-deviation.

    Args:
        images: The data set; its training images give the output's bias.
        seed: Of the weights.
    """
    latent_dim = LATENT_DIM[images.name]
    model = VAE.mlp(images.dim, HIDDEN[images.name], latent_dim, activation=nn.Tanh)
    with seeded(seed, torch.device("cpu")):
        for module in model.modules():
            if isinstance(module, nn.Linear):
                # The encoder's mean and log-variance are two layers, of K outputs each.
                outputs = latent_dim if module is model.encoder.head else module.out_features
                for part in module.weight.detach().split(outputs):
                    nn.init.xavier_uniform_(part)
                nn.init.zeros_(module.bias)
    assert isinstance(model.decoder, BernoulliDecoder)
    model.decoder.set_output_bias(images.train.cpu())
    return model


def objective_of(method: str, num_samples: int) -> Objective:
    """The bound "vae" or "iwae" of images x (B, D) that are binarised at every call."""
    bounds: dict[str, Callable[[VAE, Tensor, int], ELBO | IWAE]] = {"vae": sgvb_a, "iwae": iwae}
    bound = bounds[method]

    def objective(model: VAE, x: Tensor) -> ELBO | IWAE:
        return bound(model, torch.bernoulli(x), num_samples)

    return objective


@torch.no_grad()
def measure(model: VAE, x: Tensor) -> dict[str, float]:
    r"""What a trained model is worth on binary test images x (N, D), in nats per image.

    $\log p_\theta(x)$ is estimated for `IMAGES` of them only. Its mean over all is the mean of the bound with `DRAWS`
    draws over all, plus the mean of the difference between the two over those few. The difference varies from image to
    image much less than $\log p_\theta(x)$ does, and so the standard error is that of many more images.

    Returns:
        `bound_1`, `bound_5` and `bound_50`, the bounds with so many draws; `nll`, minus the estimate of the mean of
        log p(x), and `nll_error`, its standard error; `ess`, the mean effective sample size of the `WEIGHTS` weights;
        `active_units`.
    """
    with seeded(0, x.device), without_validation():
        # Rows of 20 images: as many codes at a time as suit a processor's cache.
        log_w = torch.cat([log_weights(model, rows, DRAWS) for rows in x.split(20)], dim=1)
        few = torch.arange(0, len(x), max(1, len(x) // IMAGES), device=x.device)[:IMAGES]
        log_p, ess = importance_sampling(model, x[few], WEIGHTS)
    bounds = {count: log_mean_exp(log_w.view(count, -1, len(x))).mean(0) for count in (1, 5, DRAWS)}
    rest = log_p - bounds[DRAWS][few]
    return {
        **{f"bound_{count}": bound.mean().item() for count, bound in bounds.items()},
        "nll": -(bounds[DRAWS].mean() + rest.mean()).item(),
        "nll_error": (rest.std() / len(few) ** 0.5).item(),
        "ess": ess.mean().item(),
        "active_units": float(active_units(model, x).number_active),
    }


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train each of `MODELS` with each seed, and record its bound along the way and its likelihood after each stage.

    Args:
        out: The folder of the record, which is called iwae-DATASET.json.
        dataset: "mnist" or "digits"; by default as `vaelib.data.load` chooses.
        epochs: Of each run with the first seed; by default all 3280. The run stops after so many, at the learning rates
            of the whole. A run with another seed takes the part `SHARE` of them, rounded up.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns. For each job the table has a row for some of the epochs, spaced
        evenly on a logarithmic axis, and for the last of each stage and of the run: `train_bound`, the mean of the
        job's own objective over the epoch's training images while the weights were moving; `test_bound`, the same on
        test images after it; `seconds`, the processor seconds of the epoch's gradient steps, by the process that
        finished it. At the ends of stages and of the run it has the columns of `measure`, which are NaN elsewhere.

    Raises:
        ValueError: If the data set is another, or there are more epochs than the stages have.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    if images.name not in HIDDEN:
        raise ValueError(f"dataset must be one of {', '.join(HIDDEN)}, whose pixels are binarised, not {images.name}")
    epochs = stage_ends()[-1] if epochs is None else epochs
    check_positive_integer("epochs", epochs)
    staged_rates(epochs, 1)  # raises
    seeds, short_epochs = SEEDS[images.name], math.ceil(SHARE * epochs)
    train = images.train[: len(images.train) - VALIDATION[images.name]]
    steps = -(-len(train) // BATCH_SIZE)
    with seeded(0, device):
        test = torch.bernoulli(images.test)

    def work(job: Job, checkpoint: Path) -> pd.DataFrame:
        seed = int(job["seed"])
        own_epochs = epochs if seed == seeds[0] else short_epochs
        measured = {*stage_ends(), own_epochs}
        shown = {*shown_epochs(own_epochs, len(train)), *measured}
        model = make_model(images, seed).to(device)
        objective = objective_of(str(job["method"]), int(job["k"]))
        optimiser = make_optimiser("adam", model.parameters(), 0.0)
        for group in optimiser.param_groups:
            group.update(betas=BETAS, eps=EPSILON)
        state = Run(model, objective, optimiser, staged_rates(own_epochs, steps), train)
        last, own_settings = checkpoint / "last.pt", {**job, "epochs": own_epochs}
        evaluate = partial(bound_on, model, test, objective, int(job["k"]))
        save_state = partial(state.save, settings=own_settings)
        with seeded(seed, device), without_validation(), saving(last, save_state, SAVE_SECONDS) as save:
            if last.exists():
                state.restore(last, own_settings)
            while state.epoch < own_epochs:
                began = time.process_time()
                state.take_epoch(BATCH_SIZE, seed, save)
                row = state.finish_epoch(len(train), None)
                row["seconds"] = round(time.process_time() - began, 3)
                if state.epoch in shown:
                    row["test_bound"] = evaluate()
                if state.epoch in measured:
                    row |= measure(model, test)
                save(now=True)
        history = pd.DataFrame(state.rows).rename(columns={"train_elbo": "train_bound", "train_iwae": "train_bound"})
        columns = ["epoch", "train_bound", "test_bound", "seconds", *measure_columns()]
        return history.loc[history["epoch"].isin(shown), columns].reset_index(drop=True)

    settings = {
        "dataset": images.name, "epochs": epochs, "short_epochs": short_epochs, "schedule_epochs": stage_ends()[-1],
        "images": len(train), "hidden": HIDDEN[images.name], "latent_dim": LATENT_DIM[images.name],
        "activation": "tanh", "batch_size": BATCH_SIZE, "optimiser": "adam", "betas": BETAS, "eps": EPSILON,
        "peak": PEAK, "stages": STAGES, "draws": DRAWS, "weights": WEIGHTS, "test_images": len(test),
        "nll_images": min(IMAGES, len(test)),
    }  # fmt: skip
    jobs: list[Job] = [{"method": method, "k": k, "seed": seed} for seed in seeds for method, k in reversed(MODELS)]
    return run_grid(f"iwae-{images.name}", jobs, work, settings=settings, out=out)


@torch.no_grad()
def bound_on(model: VAE, x: Tensor, objective: Objective, num_samples: int) -> float:
    """The mean of an objective's first field over binary images x (N, D), on draws that leave the generators alone."""
    with seeded(0, x.device):
        parts = [objective(model, rows)[0] for rows in x.split(max(20, 1000 // num_samples))]
    return torch.cat(parts).mean().item()


def measure_columns() -> list[str]:
    """The names of what `measure` returns."""
    return ["bound_1", "bound_5", f"bound_{DRAWS}", "nll", "nll_error", "ess", "active_units"]
