r"""What the likelihood $p_\theta(x \mid z)$ decides: the same VAE with Gaussian, Bernoulli and other pixels.

The network and its training stay the same, on grey pixels $k / (m - 1)$ with $m$ levels, or on *dequantised* ones,
$(k + u) / m$ with $u$ uniform on [0, 1] and drawn anew each time. The bound on the density of the latter, minus
$D \log m$, bounds $\log P(k)$ from below, and so can be compared between likelihoods. Chapter: "Choosing p(x|z)".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor

from vaelib import data
from vaelib.bounds import ELBO, sgvb_b
from vaelib.checks import check_positive_integer, without_validation
from vaelib.decoders import BernoulliDecoder, ContinuousBernoulliDecoder, GaussianDecoder, Noise
from vaelib.devices import default_device
from vaelib.diagnostics import active_units
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.models import VAE
from vaelib.runs import NonFiniteLossError, seeded
from vaelib.training import fit

SEEDS = range(3)
STDS = (0.05, 0.1, 0.2, math.sqrt(0.5), 1.5, 3.0)
"""Fixed sigmas. The fourth is that of a summed squared error plus KL."""

START_STD = 0.3
"""Where a learned sigma starts."""

GREY = ("fixed", "shared", "predicted", "bernoulli", "continuous-bernoulli")
DEQUANTISED = ("shared", "predicted", "continuous-bernoulli")
LEVELS = {"mnist": 256, "frey": 256, "digits": 17}
HIDDEN = 200
LATENT_DIM = 20
TRAIN = 20_000
"""The first so many training images, where there are more."""

LEARNING_RATE = 1e-2
EPOCHS = {"mnist": 5, "frey": 60, "digits": 60}


def dequantised(x: Tensor, levels: int) -> Tensor:
    r"""Pixels $x = k / (m - 1)$ moved to a uniform place in their cell: $(k + u) / m$, in [0, 1].

    Args:
        x: Pixels in [0, 1], any shape, of m grey levels.
        levels: m.

    Returns:
        The same shape; the draws come from torch's global generator.
    """
    return (torch.round(x * (levels - 1)) + torch.rand_like(x)) / levels


def make_model(dim: int, likelihood: str, std: float, seed: int) -> VAE:
    """The network of this experiment.

    Args:
        dim: D.
        likelihood: One of `GREY`; "fixed", "shared" and "predicted" are the noise of Gaussian pixels.
        std: Their sigma, or where it starts; not used by the others.
        seed: Of the initial weights.

    Raises:
        ValueError: If there is no such likelihood.
    """
    if likelihood not in GREY:
        raise ValueError(f"likelihood must be one of {GREY}, but is {likelihood!r}")
    decoders: dict[str, Any] = {
        "bernoulli": partial(BernoulliDecoder, grey=True),
        "continuous-bernoulli": ContinuousBernoulliDecoder,
    }
    decoder = decoders.get(likelihood) or partial(GaussianDecoder, noise=cast(Noise, likelihood), std=std)
    with seeded(seed, torch.device("cpu")):
        return VAE.mlp(dim, (HIDDEN,), LATENT_DIM, likelihood=decoder)


@torch.no_grad()
def root_mean_square(model: VAE, x: Tensor, decode: Callable[[Any], Tensor] = attrgetter("mean")) -> float:
    r"""The root of the mean of $(x_d - \mathbb{E}[x_d \mid z])^2$ over pixels and images, with one draw of z for each.

    Args:
        model: The model.
        x: Images, shape (N, D).
        decode: What is taken from $p_\theta(x \mid z)$ in the place of its mean.
    """
    errors = [(rows - decode(model.decode(model.encode(rows).sample()))).square().mean(1) for rows in x.split(1000)]
    return math.sqrt(torch.cat(errors).mean().item())


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train the VAE with each likelihood and seed, and record what it made of the images.

    Args:
        out: The folder of the record, which is called likelihoods-DATASET.json.
        dataset: As `vaelib.data.load` names it.
        epochs: Of each training; by default `EPOCHS`.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns: one row a network, with the terms of the bound after training
        (`test_elbo` and its parts, of pixels like those it was trained on, in nats), the root mean square errors
        `train_error` and `test_error` of decoded draws, of such pixels too, the number of `active` units on the test
        images, the `std` of the decoder (the smallest over the first thousand test images, where it is predicted; NaN
        where there is none), and for the continuous Bernoulli `sigmoid_error`, which is `test_error` with the sigmoid
        of the logits in the place of the mean (NaN for the others). A run that met a number that is not finite has
        NaN throughout.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    epochs = EPOCHS[images.name] if epochs is None else epochs
    check_positive_integer("epochs", epochs)
    levels, train, test = LEVELS[images.name], images.train[:TRAIN], images.test

    def dequantised_bound(model: VAE, x: Tensor) -> ELBO:
        return sgvb_b(model, dequantised(x, levels))

    def work(job: Job, checkpoint: Path) -> pd.DataFrame:
        likelihood, seed = str(job["likelihood"]), int(job["seed"])
        model = make_model(images.dim, likelihood, float(job["start"]), seed)
        try:
            history = fit(
                model,
                train,
                test,
                epochs=epochs,
                objective=dequantised_bound if job["dequantised"] else sgvb_b,
                learning_rate=LEARNING_RATE,
                seed=seed,
                device=device,
                progress=False,
                checkpoint=checkpoint,
            )
        except NonFiniteLossError:  # what an unbounded likelihood can end in
            return pd.DataFrame({"test_elbo": [math.nan]})
        with seeded(seed, device), without_validation():
            seen, new = (dequantised(x, levels) if job["dequantised"] else x for x in (train, test))
            measured = {
                "train_error": root_mean_square(model, seen),
                "test_error": root_mean_square(model, new),
                "active": active_units(model, new).number_active,
                "std": smallest_std(model, new[:1000]),
                "sigmoid_error": math.nan,
            }
            if likelihood == "continuous-bernoulli":
                measured["sigmoid_error"] = root_mean_square(model, new, lambda p: torch.sigmoid(p.logits))
        columns = [f"{part}_{name}" for part in ("train", "test") for name in ELBO._fields]
        return history[columns].tail(1).reset_index(drop=True).assign(**measured)

    settings = {
        "dataset": images.name, "epochs": epochs, "images": len(train), "levels": levels, "hidden": HIDDEN,
        "latent_dim": LATENT_DIM, "learning_rate": LEARNING_RATE, "batch_size": 128,
    }  # fmt: skip
    jobs: list[Job] = [
        {"likelihood": likelihood, "dequantised": dequantise, "start": std, "seed": seed}
        for seed in SEEDS
        for dequantise, likelihoods in ((False, GREY), (True, DEQUANTISED))
        for likelihood in likelihoods
        for std in (STDS if likelihood == "fixed" else (START_STD,))
    ]
    return run_grid(f"likelihoods-{images.name}", jobs, work, settings=settings, out=out)


@torch.no_grad()
def smallest_std(model: VAE, x: Tensor) -> float:
    """The smallest sigma that a Gaussian decoder answers with for images x (N, D), NaN for another decoder."""
    if not isinstance(model.decoder, GaussianDecoder):
        return math.nan
    return model.decode(model.encode(x).sample()).stddev.min().item()
