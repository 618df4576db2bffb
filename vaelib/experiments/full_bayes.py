r"""Full variational Bayes on few images: the decoder's weights as a point, as a posterior mode, and as a distribution.

The same networks are trained on the first N images of a binary training set by maximum likelihood (the ELBO alone), by
MAP (with the prior $\mathcal{N}(0, I)$ over the decoder's weights as a penalty) and by full variational Bayes (Kingma
and Welling 2014, appendix F, https://arxiv.org/abs/1312.6114), for the same number of gradient steps. The encoder has
no prior in any of them, so on test images a bad bound may be its fault: log p(x) is estimated as well, with posteriors
that are searched for each image. Chapter: "Full variational Bayes".
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from vaelib.bounds import log_mean_exp, sgvb_b
from vaelib.checks import check_positive_integer
from vaelib.diagnostics import active_units, kl_per_unit
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.experiments.without_encoder import load
from vaelib.inference.full_bayes import BayesianVAE, full_bayes
from vaelib.inference.local import fit_local
from vaelib.marginal import importance_sampling
from vaelib.models import VAE
from vaelib.runs import Objective, seeded
from vaelib.training import fit

SEEDS = range(3)
METHODS = ("ml", "map", "full")
HIDDEN = {"mnist": 100, "digits": 50}
LATENT_DIM = {"mnist": 10, "digits": 5}
IMAGES = {"mnist": (1000,), "digits": (100, 1000)}
"""N, the numbers of training images."""

START = -6.0
OTHER_STARTS: dict[str, tuple[float, ...]] = {"mnist": (), "digits": (-3.0, 0.0)}
"""Log-variances at which q(theta) starts; the others with the most images only."""

EPOCHS = 12
PRESENTED = 25_000
"""Training images an epoch, with repetition: the same number of steps whatever N is."""

BATCH_SIZE = 100
LEARNING_RATE = 1e-2
TEST_IMAGES = 1000
MEASURED = 200
"""Test images whose log p(x) is estimated."""

STEPS = 150
NUM_SAMPLES = 100
DRAWS = 20
"""Of the decoder's weights, for predictions."""

NO_INFORMATION = 0.01
"""A weight with a divergence below this, in nats, counts as one whose q is the prior."""


class MAP(NamedTuple):
    """`map_objective`'s value, shape (B,), in nats: `bound` is `reconstruction` - `kl` - `penalty`."""

    bound: Tensor
    reconstruction: Tensor
    kl: Tensor
    penalty: Tensor


def map_objective(dataset_size: int) -> Objective:
    r"""The ELBO of an image and its share of the log-prior, $\mathcal{L}(\theta, \phi; x_i) - \|\theta\|^2 / (2N)$.

    The sum over N images is the ELBO of all plus $\log p(\theta)$ under $\mathcal{N}(0, I)$, up to a constant. Unlike
    the `weight_decay` of `vaelib.training.fit` it leaves the encoder alone, which has no prior.

    Args:
        dataset_size: N.
    """
    check_positive_integer("dataset_size", dataset_size)

    def objective(model: VAE, x: Tensor) -> MAP:
        elbo, reconstruction, kl = sgvb_b(model, x)
        squares = torch.stack([parameter.square().sum() for parameter in model.decoder.parameters()])
        penalty = (squares.sum() / (2 * dataset_size)).expand_as(elbo)
        return MAP(elbo - penalty, reconstruction, kl, penalty)

    return objective


def train(
    method: str, x: Tensor, test: Tensor, *, hidden: int, latent_dim: int, start: float, epochs: int, seed: int
) -> tuple[VAE | BayesianVAE, pd.DataFrame]:
    """Train one model on a few images, for `epochs` times `PRESENTED` presentations of an image.

    Args:
        method: One of `METHODS`.
        x: Training images, shape (N, D), binary.
        test: Test images, shape (N', D), binary.
        hidden: Units of the one hidden layer on each side.
        latent_dim: K.
        start: Where the log-variances of the weights start, for "full".
        epochs: Of `PRESENTED` images each.
        seed: Of the first weights, the minibatches and the draws.

    Returns:
        The model, a `BayesianVAE` for "full", and a row for each epoch: `epoch`, `train_elbo`, the mean of the ELBO
        while the weights moved (for "full", of drawn weights), `train_kl`, its divergence, `cost`, what is charged
        for the weights, `test_elbo` and `test_kl`, in nats per image.

    Raises:
        ValueError: If `method` is none of them.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, but is {method!r}")
    with seeded(seed, torch.device("cpu")):
        vae = VAE.mlp(x.shape[1], (hidden,), latent_dim).to(x)
    model: VAE | BayesianVAE = vae
    objective: Objective = sgvb_b
    if method == "map":
        objective = map_objective(len(x))
    elif method == "full":
        model, objective = BayesianVAE(vae, len(x), start_log_var=start), full_bayes
    presented = x[torch.arange(PRESENTED, device=x.device) % len(x)]
    history = fit(
        model, presented, test, epochs=epochs, objective=objective, batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE, seed=seed, device=x.device, progress=False,
    )  # fmt: skip
    cost = {"ml": None, "map": "train_penalty", "full": "train_kl_theta"}[method]
    table = history[["epoch", "train_kl", "test_kl"]].copy()
    table["train_elbo"] = history["train_reconstruction"] - history["train_kl"]
    table["test_elbo"] = history["test_reconstruction"] - history["test_kl"]
    table["cost"] = 0.0 if cost is None else history[cost]
    return model, table


def measure(model: VAE | BayesianVAE, test: Tensor) -> dict[str, float]:
    """What a trained model says of test images, as means over them, in nats.

    Args:
        model: The model.
        test: Images, shape (B, D), binary.

    Returns:
        By name,

        - `test_log_p`: log p(x), by importance sampling from the diagonal Gaussian that `fit_local` finds; for a
          `BayesianVAE` under its mean weights;
        - `test_averaged` and `test_drawn`: for `DRAWS` draws of the weights, the logarithm of the mean of p(x), and
          the mean of the logarithms; without a distribution over weights they are `test_log_p`;
        - `active`: how many latents are active on these images;
        - `at_prior` and `pruned`: the share of weights, and of hidden units by their outgoing weights, whose q is the
          prior (a unit is pruned if 95 % of them are); NaN without a distribution.
    """
    vae = model.model if isinstance(model, BayesianVAE) else model
    with seeded(0, test.device), torch.no_grad():
        q = fit_local(vae, test, steps=STEPS, num_samples=2, progress=False)
        log_p = importance_sampling(vae, test, NUM_SAMPLES, q=q).log_marginal.mean().item()
        results = {
            "test_log_p": log_p, "test_averaged": log_p, "test_drawn": log_p, "at_prior": math.nan, "pruned": math.nan,
            "active": float(active_units(vae, test).number_active),
        }  # fmt: skip
        if isinstance(model, BayesianVAE):
            each = torch.stack(
                [importance_sampling(model.draw(), test, NUM_SAMPLES, q=q).log_marginal for _ in range(DRAWS)]
            )
            no_information = kl_per_unit(model.weights) < NO_INFORMATION
            named = dict(vae.decoder.named_parameters())
            parts = no_information.split([parameter.numel() for parameter in named.values()])
            outgoing = dict(zip(named, parts, strict=True))["head.weight"].view_as(named["head.weight"])
            results |= {
                "test_averaged": log_mean_exp(each).mean().item(),
                "test_drawn": each.mean().item(),
                "at_prior": no_information.float().mean().item(),
                "pruned": (outgoing.float().mean(0) > 0.95).float().mean().item(),
            }
    return results


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train with each method, number of images and seed, and measure what was learned on test images.

    Args:
        out: The folder of the record, which is called full-bayes-DATASET.json.
        dataset: As `vaelib.data.load` names it: mnist or digits.
        epochs: Of each run, `EPOCHS` by default.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns. Its table has a row for each epoch of each job, with the
        columns of `train`, and in the row of a job's last epoch those of `measure` and the processor `seconds` of the
        training, NaN in the others.

    Raises:
        ValueError: If there is no plan for the data set, or `epochs` is not positive.
    """
    epochs = EPOCHS if epochs is None else epochs
    check_positive_integer("epochs", epochs)
    images = load(dataset)
    if images.name not in IMAGES:
        raise ValueError(f"dataset must be one of {', '.join(IMAGES)}, but is {images.name!r}")
    counts, hidden, latent_dim = IMAGES[images.name], HIDDEN[images.name], LATENT_DIM[images.name]

    def work(job: Job, _: Path) -> pd.DataFrame:
        began = time.process_time()
        model, table = train(
            str(job["method"]), images.train[: int(job["images"])], images.test[:TEST_IMAGES], hidden=hidden,
            latent_dim=latent_dim, start=float(job["start"]), epochs=epochs, seed=int(job["seed"]),
        )  # fmt: skip
        seconds = time.process_time() - began
        measures = measure(model, images.test[:MEASURED]) | {"seconds": seconds}
        return table.join(pd.DataFrame([measures], index=table.index[-1:]))

    settings = {
        "dataset": images.name, "epochs": epochs, "presented": PRESENTED, "hidden": hidden, "latent_dim": latent_dim,
        "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "schedule": "one-cycle", "measured": MEASURED,
        "test_images": TEST_IMAGES, "steps": STEPS, "num_samples": NUM_SAMPLES, "draws": DRAWS,
        "no_information": NO_INFORMATION,
    }  # fmt: skip
    plans = [(method, count, START) for count in counts for method in METHODS]
    plans += [("full", max(counts), start) for start in OTHER_STARTS[images.name]]
    jobs: list[Job] = [
        {"method": method, "images": count, "start": start, "seed": seed}
        for seed in SEEDS
        for method, count, start in plans
    ]
    return run_grid(f"full-bayes-{images.name}", jobs, work, settings=settings, out=out)
