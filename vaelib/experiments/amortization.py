r"""Encoder against mean field: the gaps between $\log p_\theta(x)$ and the bounds of several q(z|x), image by image.

A VAE is trained on binary images. Then $\theta$ is held, and for the same images the bound is estimated of the
encoder's answer, of a few steps of optimisation from there and from the prior, of the best diagonal and the best full
Gaussian for each image, and of encoders of several widths that were trained for this decoder alone.

Chapter: "Q3.3 Mean field or an encoder".
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Distribution

from vaelib import data
from vaelib.bounds import log_weights, posterior_of
from vaelib.checks import check_positive_integer, without_validation
from vaelib.devices import default_device
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.inference.local import Family, fit_local
from vaelib.marginal import importance_sampling
from vaelib.models import VAE, LatentVariableModel
from vaelib.runs import seeded
from vaelib.training import fit

SEEDS = range(3)
HIDDEN = (400,)
LATENT_DIM = 20
BATCH_SIZE = 128
LEARNING_RATE = 6e-3
WIDTHS = (25, 100, 400, 1600)
"""Of the encoders that are trained with the decoder held."""

IMAGES = 100
"""Test images, and as many training images, that are measured."""
CHECKED = 20
"""Of them, those whose optima are searched once more with twice as many steps."""
FEW_STEPS = (1, 4, 16, 64)
STEPS = 400
STEP_SIZE = 0.05
FULL_STEP_SIZE = 0.03
DRAWS = 1000
"""Codes behind the estimate of a bound."""
WEIGHTS = 5000
"""Codes behind the estimate of log p(x)."""


class Estimate(NamedTuple):
    """A bound and the standard error of its estimate, in nats, for each image, both (B,)."""

    bound: Tensor
    error: Tensor


def binarised(images: data.Dataset) -> data.Dataset:
    """The same set with each pixel replaced, once and for all, by a draw from the Bernoulli law whose mean it is."""
    with seeded(0, torch.device("cpu")):
        return replace(images, train=torch.bernoulli(images.train), test=torch.bernoulli(images.test))


def estimate_bound(
    model: LatentVariableModel, x: Tensor, q: Distribution | None = None, num_samples: int = DRAWS
) -> Estimate:
    """The bound of q, by SGVB estimator A without gradient; every call uses the same noise.

    Args:
        model: The model.
        x: Images, shape (B, D).
        q: batch_shape (B,), event_shape (K,); by default the encoder's answer.
        num_samples: Draws for each image.

    Raises:
        TypeError: If the model has no encoder and no `q` is given.
        ValueError: If `num_samples` is not a positive integer.
    """
    check_positive_integer("num_samples", num_samples)
    at_once = max(1, 1000 // len(x))
    with torch.no_grad(), without_validation(), seeded(0, x.device):
        q = posterior_of(model, x, q)
        counts = [min(at_once, num_samples - done) for done in range(0, num_samples, at_once)]
        draws = torch.cat([log_weights(model, x, count, q) for count in counts])
    return Estimate(draws.mean(0), draws.std(0) / num_samples**0.5)


def measure(model: VAE, x: Tensor, encoders: dict[int, VAE]) -> pd.DataFrame:
    """Every bound on the log-likelihood of images x under the model as it is, in nats, and what each of them costs.

    Args:
        model: The VAE.
        x: Images, shape (B, D), all of them decoded together.
        encoders: By name, models that differ from `model` in their encoder.

    Returns:
        A row for each image, with the bounds

        - `encoder`, and `width_W` for each W of `encoders`;
        - `refined_S` and `prior_S`: after S steps of `fit_local` in the diagonal family, from the encoder's answer and
          from the prior;
        - `diagonal` and `full`: after `STEPS` steps from the encoder's answer; `diagonal_prior`: from the prior;
          `diagonal_twice` and `full_twice`: after twice as many steps, for the first `CHECKED` images only;

        then `log_p`, by importance sampling from the full Gaussian, with the effective sample size `ess`; the standard
        errors `encoder_error`, `diagonal_error`, `full_error` of the estimates; and, the same in every row, processor
        seconds for one image: `encoder_seconds`, and of one step, `diagonal_step_seconds` and `full_step_seconds`.
    """
    with seeded(1, x.device), torch.no_grad():
        start, prior = model.encode(x), model.prior.expand((len(x),))
        began = time.process_time()
        for _ in range(100):
            model.encode(x)
        encoder_seconds = (time.process_time() - began) / (100 * len(x))
        few = {f"refined_{steps}": _local(model, x, start, steps) for steps in FEW_STEPS}
        few |= {f"prior_{steps}": _local(model, x, prior, steps) for steps in FEW_STEPS}
        began = time.process_time()
        diagonal = _local(model, x, start, STEPS)
        diagonal_seconds = (time.process_time() - began) / (STEPS * len(x))
        began = time.process_time()
        full = _local(model, x, start, STEPS, full=True)
        full_seconds = (time.process_time() - began) / (STEPS * len(x))
        few["diagonal_prior"] = _local(model, x, prior, STEPS)
        first, first_start = x[:CHECKED], model.encode(x[:CHECKED])
        twice = {
            "diagonal_twice": _local(model, first, first_start, 2 * STEPS),
            "full_twice": _local(model, first, first_start, 2 * STEPS, full=True),
        }
        log_p, ess = importance_sampling(model, x, WEIGHTS, q=full)
    main = {"encoder": estimate_bound(model, x)}
    main |= {"diagonal": estimate_bound(model, x, diagonal), "full": estimate_bound(model, x, full)}
    columns = {name: estimate.bound for name, estimate in main.items()}
    columns |= {f"width_{width}": estimate_bound(other, x).bound for width, other in encoders.items()}
    columns |= {name: estimate_bound(model, x, q).bound for name, q in few.items()}
    for name, q in twice.items():
        columns[name] = torch.full_like(log_p, torch.nan)
        columns[name][: len(first)] = estimate_bound(model, first, q).bound
    columns |= {"log_p": log_p, "ess": ess} | {f"{name}_error": estimate.error for name, estimate in main.items()}
    # Four digits after the point, far below the standard errors, make a third of the file.
    table = pd.DataFrame({name: values.double().cpu().numpy().round(4) for name, values in columns.items()})
    seconds = {"encoder": encoder_seconds, "diagonal_step": diagonal_seconds, "full_step": full_seconds}
    return table.assign(**{f"{name}_seconds": float(f"{value:.3g}") for name, value in seconds.items()})


def _local(model: VAE, x: Tensor, start: Distribution, steps: int, *, full: bool = False) -> Distribution:
    rate = FULL_STEP_SIZE if full else STEP_SIZE
    family: Family = "full" if full else "diagonal"
    return fit_local(model, x, family=family, start=start, steps=steps, learning_rate=rate, progress=False)


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train a VAE and, for its decoder, the other encoders; measure them on training and on test images.

    Args:
        out: The folder of the record, which is called amortization-DATASET.json.
        dataset: As `vaelib.data.load` names it.
        epochs: Of the VAE, and again of each encoder; by default 5 on MNIST, 150 on the smaller sets.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns; its table has a row for each seed, `split` ("train" or "test")
        and `image`, its number there, with the columns of `measure`.
    """
    device = default_device()
    images = binarised(data.load(dataset)).to(device)
    if epochs is None:
        epochs = 5 if images.name == "mnist" else 150
    check_positive_integer("epochs", epochs)

    def train(model: VAE, seed: int, checkpoint: Path) -> VAE:
        fit(
            model,
            images.train,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            schedule="one-cycle",
            seed=seed,
            device=device,
            progress=False,
            checkpoint=checkpoint,
        )
        return model

    def work(job: Job, checkpoint: Path) -> pd.DataFrame:
        seed = int(job["seed"])
        with seeded(seed, torch.device("cpu")):
            model = VAE.mlp(images.dim, HIDDEN, LATENT_DIM)
            others = {width: VAE.mlp(images.dim, (width,), LATENT_DIM) for width in WIDTHS}
        train(model, seed, checkpoint / "vae")
        model.requires_grad_(False)
        for width, other in others.items():
            other.decoder = model.decoder
            train(other, seed, checkpoint / f"width {width}")
        parts = {"train": images.train[:IMAGES], "test": images.test[:IMAGES]}
        tables = []
        for split, x in parts.items():
            table = measure(model, x, others)
            table.insert(0, "split", split)
            table.insert(1, "image", range(len(x)))
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    settings = {
        "dataset": images.name, "epochs": epochs, "hidden": HIDDEN, "latent_dim": LATENT_DIM,
        "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "schedule": "one-cycle", "widths": WIDTHS,
        "images": IMAGES, "checked": CHECKED, "few_steps": FEW_STEPS, "steps": STEPS, "step_size": STEP_SIZE,
        "full_step_size": FULL_STEP_SIZE, "draws": DRAWS, "weights": WEIGHTS,
    }  # fmt: skip
    return run_grid(f"amortization-{images.name}", [{"seed": seed} for seed in SEEDS], work, settings=settings, out=out)
