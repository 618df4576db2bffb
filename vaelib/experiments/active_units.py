r"""How many latent variables a model uses of those it has, and what the others cost, against K.

Kingma and Welling (2014, https://arxiv.org/abs/1312.6114, section 5) find that superfluous latent variables do not
overfit. Here a D-400-K-400-D network is trained for several K, and it is counted how many of its units are active, what
the divergence of the others adds up to, and what is lost when they are cut off. The codes are compared with the prior
too: the mutual information, and how much a prior that is fitted to them raises the bound. Chapter: "When it fails".
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from vaelib import data
from vaelib.bounds import sgvb_b
from vaelib.checks import check_positive_integer
from vaelib.devices import default_device
from vaelib.diagnostics import active_units, aggregate_kl, kl_per_unit
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.gaussians import DiagonalGaussian, StandardNormal
from vaelib.inference.em import GaussianMixture, em
from vaelib.models import VAE
from vaelib.runs import seeded
from vaelib.training import evaluate, fit

SEEDS = range(3)
LATENT_DIMS = (2, 5, 10, 20, 50, 100, 200)
SMALL_LATENT_DIMS = (2, 5, 10, 20, 50)
"""For the sets that are smaller than MNIST."""

REPEATED = (5, 20, 50)
"""The sizes that are trained with every seed; the others with the first."""

HIDDEN = (400,)
BATCH_SIZE = 100
LEARNING_RATE = 5e-3
THRESHOLDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
USED = 0.1
"""The variance above which a unit is surely in use: the prior is fitted to the codes of those."""

IMAGES = 10_000
"""How many training images are evaluated, and how many of their codes a prior is fitted to."""

AGGREGATED = 2000
"""How many test images make up the aggregate posterior."""

COMPONENTS = 10
ITERATIONS = 30


def keep_units(q: DiagonalGaussian, kept: Tensor) -> DiagonalGaussian:
    """The same posteriors with all other units set to the prior, as if they did not exist.

    Args:
        q: Posteriors, batch_shape (B,), event_shape (K,).
        kept: Which units stay as they are, boolean, shape (K,).
    """
    return DiagonalGaussian(q.loc.where(kept, 0), q.log_var.where(kept, 0))


def fitted_prior_gain(train: Tensor, test: Tensor) -> Tensor:
    r"""What the bound of each test image gains when a mixture of Gaussians takes the prior's place.

    The mixture r(z) is fitted by EM to codes of training images. With $z \sim q(z \mid x)$ for test images x, the mean
    of $\log r(z) - \log p(z)$ is what the bound gains, and no more than $\mathrm{KL}(q(z)\,\|\,p(z))$ on average over
    test images, as $\mathrm{KL}(q(z)\,\|\,r(z)) \ge 0$.

    Args:
        train: One draw of each training image's posterior, shape (N, K).
        test: The same for test images, shape (N', K).

    Returns:
        $\log r(z) - \log p(z)$ of each test code, shape (N',), in nats: 0 if no unit is left to fit (K = 0).
    """
    if train.shape[1] == 0:
        return test.new_zeros(len(test))
    mixture = GaussianMixture.start(train, COMPONENTS)
    em(mixture, train, max_iterations=ITERATIONS)
    return mixture.log_marginal(test) - StandardNormal(test.shape[1], like=test).log_prob(test)


@torch.no_grad()
def measure(model: VAE, images: data.Dataset, seed: int) -> pd.DataFrame:
    """The columns of `run` after the job's own, a row for each threshold.

    Args:
        model: A trained model with diagonal posteriors.
        images: What it was trained on, and test images.
        seed: Of the draws.
    """
    train, test = images.train[:IMAGES], images.test
    bound = evaluate(model, test, seed=seed)
    with seeded(seed, images.train.device):
        q = model.encode(test)
        assert isinstance(q, DiagonalGaussian)
        units = kl_per_unit(q).mean(0)
        variance = active_units(model, test).variance
        used = variance > USED
        few = model.encode(test[:AGGREGATED])
        terms = aggregate_kl(few)
        codes = model.encode(train).sample()[:, used].double()
        gain = fitted_prior_gain(codes, q.sample()[:, used].double())
        common = {
            "train_elbo": evaluate(model, train, seed=seed)["elbo"],
            **{f"test_{name}": value for name, value in bound.items()},
            "information_lower": terms.information_lower.mean().item(),
            "information_upper": terms.information_upper.mean().item(),
            "few_kl": kl_divergence(few, model.prior).mean().item(),
            "fitted_gain": gain.mean().item(),
            "fitted_gain_error": gain.std().item() / math.sqrt(len(gain)),
        }
    rows = []
    for threshold in THRESHOLDS:
        kept = variance > threshold
        with seeded(seed, images.train.device):
            cut = sgvb_b(model, test, q=keep_units(q, kept)).elbo.mean().item()
        row = {"threshold": threshold, "active": int(kept.sum()), "rest_kl": units[~kept].sum().item(), "cut_elbo": cut}
        rows.append(row | common)
    return pd.DataFrame(rows)


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train a model for each K, for some with several seeds, and record which of its units it uses.

    Args:
        out: The folder of the record, which is called active-units-DATASET.json.
        dataset: As `vaelib.data.load` names it.
        epochs: Of each training; by default 4 on MNIST and 60 on the smaller sets. One K is also trained for a quarter
            of them, so that a short run can be compared, and the largest K with the first seed for three times as many.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns. For each job there is a row for each of the thresholds of the
        variance that makes a unit active:

        - `threshold`, `active`, the number of units above it, and `rest_kl`, the divergence of the other units;
        - `cut_elbo`: the bound of the test images with the other units' posteriors set to the prior;
        - `train_elbo` of the first training images, `test_elbo`, `test_reconstruction` and `test_kl`, in nats;
        - `information_lower`, `information_upper`: the mutual information of code and image by `aggregate_kl`, from the
          first test images, and `few_kl`, their mean divergence;
        - `fitted_gain` and its standard error `fitted_gain_error`: see `fitted_prior_gain`, of the codes of the units
          in use.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    if epochs is None:
        epochs = 4 if images.name == "mnist" else 60
    check_positive_integer("epochs", epochs)
    latent_dims = LATENT_DIMS if images.name == "mnist" else SMALL_LATENT_DIMS
    lengths = {"short": max(1, epochs // 4), "usual": epochs, "long": 3 * epochs}

    def work(job: Job, checkpoint: Path) -> pd.DataFrame:
        seed = int(job["seed"])
        with seeded(seed, torch.device("cpu")):
            model = VAE.mlp(images.dim, HIDDEN, int(job["latent_dim"]), activation=nn.Tanh, grey=True)
        fit(
            model,
            images.train,
            epochs=lengths[str(job["length"])],
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            seed=seed,
            device=device,
            progress=False,
            checkpoint=checkpoint,
        )
        return measure(model, images, seed)

    settings = {
        "dataset": images.name, "epochs": lengths, "images": len(images.train), "hidden": HIDDEN, "activation": "tanh",
        "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "schedule": "one-cycle",
        "evaluated_train": min(IMAGES, len(images.train)), "evaluated_test": len(images.test),
        "aggregated": min(AGGREGATED, len(images.test)), "used": USED, "components": COMPONENTS,
        "iterations": ITERATIONS,
    }  # fmt: skip
    repeated = [latent_dim for latent_dim in latent_dims if latent_dim in REPEATED]
    plans = [("usual", latent_dim, SEEDS[0]) for latent_dim in sorted(latent_dims, reverse=True)]
    plans += [("short", 20, seed) for seed in SEEDS]
    plans += [("usual", latent_dim, SEEDS[1]) for latent_dim in repeated]
    plans += [("long", max(latent_dims), SEEDS[0])]
    plans += [("usual", latent_dim, seed) for seed in SEEDS[2:] for latent_dim in repeated]
    jobs: list[Job] = [{"length": length, "latent_dim": k, "seed": seed} for length, k, seed in plans]
    return run_grid(f"active-units-{images.name}", jobs, work, settings=settings, out=out)
