r"""Figure 2 of "Auto-Encoding Variational Bayes": the lower bound against samples, AEVB and wake-sleep.

The setting is that of section 5 (Kingma and Welling 2014, https://arxiv.org/abs/1312.6114): one hidden layer of tanh
units, 500 for MNIST and 200 for the Frey Face, all parameters drawn from $\mathcal{N}(0, 0.01)$, Adagrad with one of
three step sizes, minibatches of 100, one draw of z, and the weight decay of a prior $\mathcal{N}(0, I)$ over the
parameters. Chapter: "The lower bound".
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from vaelib import data
from vaelib.bounds import sgvb_b
from vaelib.checks import check_positive_integer
from vaelib.decoders import GaussianDecoder
from vaelib.devices import default_device
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.inference.wake_sleep import wake_sleep
from vaelib.models import VAE
from vaelib.runs import NonFiniteLossError, Objective, seeded
from vaelib.training import evaluate, fit

SHUFFLED = "frey-shuffled"
"""The Frey Face with its frames divided at random, a control: see `load`."""

SEEDS = range(3)
METHODS: dict[str, Objective] = {"aevb": sgvb_b, "wake-sleep": wake_sleep}
HIDDEN = {"mnist": 500, "frey": 200, SHUFFLED: 200, "digits": 100}
LATENT_DIMS = {"mnist": (3, 5, 10, 20, 200), "frey": (2, 5, 10, 20), SHUFFLED: (2, 5, 10, 20), "digits": (3, 10)}
STEP_SIZES = (0.01, 0.02, 0.1)
BATCH_SIZE = 100
WEIGHT_STD = 0.1
SAMPLES = 10_000_000
"""Of training, counted with repetition, with the first seed; the other seeds take `SHARE` as many."""

SHARE = 0.1
"""At a tenth of the price, the band of the seeds covers all decades but the last."""

PILOT_SAMPLES = 60_000
"""After as many, the step size is chosen by the bound on the training images."""

POINTS_PER_DECADE = 20


def load(dataset: str | None = None) -> data.Dataset:
    """What `vaelib.data.load` gives, and one set more.

    Args:
        dataset: As there, or `SHUFFLED`: the frames of the film, as many for training and for testing as "frey" has of
            each, but drawn at random (once, from a fixed seed), so that most test frames have neighbours in time among
            the training frames.
    """
    if dataset != SHUFFLED:
        return data.load(dataset)
    film = data.load("frey")
    frames = torch.cat([film.train, film.test])
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))
    train, test = frames[order].split([len(film.train), len(film.test)])
    return replace(film, name=SHUFFLED, train=train, test=test)


def make_model(images: data.Dataset, latent_dim: int, seed: int, hidden: int | None = None) -> VAE:
    """The paper's network for a data set, its parameters drawn from N(0, 0.01), biases included.

    Args:
        images: MNIST or the digits have Bernoulli pixels, whose grey values are scored by their cross-entropy; those of
            the Frey Face are Gaussian, with means in (0, 1) and a variance of their own, both functions of z.
        latent_dim: K.
        seed: Of the draws.
        hidden: Units of each hidden layer; by default those of figure 2, `HIDDEN`.
    """
    gaussian = partial(GaussianDecoder, noise="predicted", sigmoid_mean=True)
    kind: dict[str, Any] = {"likelihood": gaussian} if images.name in ("frey", SHUFFLED) else {"grey": True}
    model = VAE.mlp(images.dim, (hidden or HIDDEN[images.name],), latent_dim, activation=nn.Tanh, **kind)
    with seeded(seed, torch.device("cpu")):
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=WEIGHT_STD)
    return model


def fit_options(method: str, step_size: float, train_images: int, seed: int) -> dict[str, Any]:
    """What section 5 of the paper fixes of the arguments of `vaelib.training.fit`: all but the images and the epochs.

    Args:
        method: "aevb" or "wake-sleep".
        step_size: Adagrad's.
        train_images: N, whose inverse is the weight decay.
        seed: Of the images' order and of all draws.
    """
    return {
        "objective": METHODS[method],
        "batch_size": BATCH_SIZE,
        "optimiser": "adagrad",
        "learning_rate": step_size,
        "schedule": "constant",
        "weight_decay": 1 / train_images,
        "seed": seed,
        "device": default_device(),
        "progress": False,
    }


def shown_epochs(epochs: int, images: int) -> list[int]:
    """The epochs whose numbers of samples are nearest to evenly spaced ones on a logarithmic axis, the last included.

    Args:
        epochs: How many there are.
        images: Samples an epoch.
    """
    wanted = 10 ** (torch.arange(0, 12 * POINTS_PER_DECADE) / POINTS_PER_DECADE) / images
    return sorted({round(float(epoch)) for epoch in wanted if 1 <= round(float(epoch)) <= epochs} | {epochs})


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train with each method, number of latents and seed, and record the bound along the way.

    Args:
        out: The folder of the record, which is called lower-bound-DATASET.json.
        dataset: As `load` names it.
        epochs: Of each run with the first seed; by default as many as `SAMPLES` make, rounded up. A run with another
            seed takes the part `SHARE` of them, rounded up.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns. For each job the columns are `step_size`, the one that was
        chosen, and in the epochs of `shown_epochs` the number of `samples` so far, `train_elbo`, the mean of SGVB
        estimates over the epoch's training images while the weights were moving, and `test_elbo` after it, in nats.
    """
    images = load(dataset).to(default_device())
    epochs = -(-SAMPLES // len(images.train)) if epochs is None else epochs
    check_positive_integer("epochs", epochs)
    short_epochs = math.ceil(SHARE * epochs)
    pilot_epochs = min(epochs, -(-PILOT_SAMPLES // len(images.train)))

    def model_of(job: Job) -> VAE:
        return make_model(images, int(job["latent_dim"]), int(job["seed"]))

    def options_of(job: Job, step_size: float) -> dict[str, Any]:
        return fit_options(str(job["method"]), step_size, len(images.train), int(job["seed"]))

    def pilot(job: Job, step_size: float) -> float:
        model = model_of(job)
        try:
            fit(model, images.train, epochs=pilot_epochs, **options_of(job, step_size))
        except NonFiniteLossError:  # too large a step: not the one to choose
            return -math.inf
        return evaluate(model, images.train, seed=int(job["seed"]))["elbo"]

    def work(job: Job, checkpoint: Path) -> pd.DataFrame:
        step_size = max(STEP_SIZES, key=lambda step: pilot(job, step))
        own_epochs = epochs if job["seed"] == SEEDS[0] else short_epochs
        options = options_of(job, step_size) | {"epochs": own_epochs, "checkpoint": checkpoint}
        history = fit(model_of(job), images.train, images.test, **options)
        history = history[history["epoch"].isin(shown_epochs(own_epochs, len(images.train)))]
        samples = history["epoch"] * len(images.train)
        return history[["train_elbo", "test_elbo"]].assign(samples=samples, step_size=step_size).reset_index(drop=True)

    settings = {
        "dataset": images.name, "epochs": epochs, "short_epochs": short_epochs, "images": len(images.train),
        "hidden": HIDDEN[images.name], "activation": "tanh", "weight_std": WEIGHT_STD, "optimiser": "adagrad",
        "step_sizes": STEP_SIZES, "pilot_epochs": pilot_epochs, "batch_size": BATCH_SIZE,
        "weight_decay": 1 / len(images.train), "num_samples": 1,
    }  # fmt: skip
    jobs: list[Job] = [
        {"method": method, "latent_dim": latent_dim, "seed": seed}
        for seed in SEEDS
        for latent_dim in sorted(LATENT_DIMS[images.name], reverse=True)
        for method in METHODS
    ]
    return run_grid(f"lower-bound-{images.name}", jobs, work, settings=settings, out=out)
