r"""Figures 4 and 5 of "Auto-Encoding Variational Bayes": what decoders make of the prior, and what of the codes in use.

The networks are those of the paper's section 5 (Kingma and Welling 2014, https://arxiv.org/abs/1312.6114) in their
sizes; they are trained with Adam and a one-cycle schedule, for a few epochs. Each model decodes as many codes from the
prior as from the posteriors of training images, and both sheets are held against images that it has not seen. Chapter:
"Manifolds and samples".
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from vaelib import data
from vaelib.checks import check_positive_integer
from vaelib.decoders import BernoulliDecoder
from vaelib.devices import default_device
from vaelib.diagnostics import active_units, aggregate_kl, prior_mmd
from vaelib.experiments import lower_bound
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.proximity import Referees
from vaelib.experiments.records import Record
from vaelib.models import VAE
from vaelib.runs import seeded
from vaelib.training import evaluate, fit

SEEDS = range(3)
LATENT_DIMS = (2, 5, 10, 20)
BATCH_SIZE = 100
LEARNING_RATE = {"mnist": 8e-3, "frey": 3e-3, "digits": 8e-3}
EPOCHS = {"mnist": 2, "frey": 100, "digits": 200}
"""Of the long runs, on all training images."""

LONG_SEEDS = {"mnist": range(0), "frey": SEEDS, "digits": SEEDS}
"""Of them: none on MNIST, where they would take the longest by far."""

SHORT_IMAGES = {"mnist": 30_000, "frey": 1600, "digits": 1437}
"""Training images of the short runs, the first ones of the set."""

SHORT_EPOCHS = {"mnist": 1, "frey": 25, "digits": 60}
"""Of the short runs, which the chapter repeats."""

FLAT_EPOCHS = {"mnist": 4, "frey": 25, "digits": 60}
"""Of one more short run with two latents, for pictures of the plane; where it is no longer, there is none."""

DECODED = 2000
"""Codes that are decoded from the prior, and as many from posteriors."""

CERTAIN = 0.9
"""The probability of a class above which the classifier counts as certain."""


def make_model(images: data.Dataset, latent_dim: int, seed: int) -> VAE:
    """The network of `lower_bound.make_model`, but with torch's own first weights and the mean image as its output.

    Weights from the paper's N(0, 0.01) make every pixel depend on every code from the start. Where posteriors come,
    training undoes that, within a few epochs; where only the prior goes, it does not, and pixels that are black in all
    images shine in samples.

    Args:
        images: The set. The decoder's output biases start at its training images: at the mean, and with Gaussian pixels
            also at the variance, of each pixel.
        latent_dim: K.
        seed: Of the weights.
    """
    model = lower_bound.make_model(images, latent_dim, seed)
    with seeded(seed, torch.device("cpu")), torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        if isinstance(model.decoder, BernoulliDecoder):
            model.decoder.set_output_bias(images.train.cpu())
        else:
            start = torch.cat([torch.logit(images.train.mean(0)), images.train.var(0).log()])
            model.get_parameter("decoder.head.bias").copy_(start)
    return model


class Critic:
    """Holds decoded images against a set's test images; where the set has classes, a classifier also has its say.

    Args:
        images: The set, on the device where the work is to be done.
    """

    def __init__(self, images: data.Dataset) -> None:
        self.test = images.test
        self.referees = None if images.train_labels is None else Referees(images)

    @torch.no_grad()
    def __call__(self, x: Tensor) -> dict[str, float]:
        r"""Judge a sheet of images x, shape (B, D), by three means.

        Returns:
            - `nearest`: over the sheet, of the distance to the nearest test image: low where all images look real, and
              where all are alike;
            - `reach`: over the test images, of the distance to the nearest image of the sheet: low where the sheet has
              everything that there is;
            - `certain`: the share of the sheet to which the classifier gives a class more than `CERTAIN`; NaN for a
              set without classes.
        """
        distances = torch.cat([torch.cdist(rows, self.test) for rows in x.split(500)])
        certain = float("nan")
        if self.referees is not None:
            probabilities = self.referees.classifier(x).softmax(1)
            certain = (probabilities.amax(1) > CERTAIN).float().mean().item()
        return {
            "nearest": distances.amin(1).mean().item(),
            "reach": distances.amin(0).mean().item(),
            "certain": certain,
        }


@torch.no_grad()
def measure(model: VAE, images: data.Dataset, critic: Critic) -> dict[str, float]:
    """All measures of one trained model. Every call uses the same noise.

    Args:
        model: The model.
        images: The set, on the model's device.
        critic: What judges decoded images.

    Returns:
        By name:

        - `elbo`, `reconstruction`, `kl` of the test images, in nats per image;
        - `squared_error` of the test images' reconstructions from one draw of their posterior, summed over pixels;
        - `active`, the number of active units (`vaelib.diagnostics.active_units`) on test images;
        - `aggregate_lower` and `aggregate_upper`, bounds on the divergence of the aggregate posterior from the prior,
          in nats (`vaelib.diagnostics.aggregate_kl`), from the first `DECODED` training images; `mmd`, the squared
          maximum mean discrepancy between the two (`vaelib.diagnostics.prior_mmd`), from draws for the same images;
        - what the critic says of images decoded from the prior, `prior_`, and from one draw of the posterior of each of
          these training images, `posterior_`.
    """
    x, test = images.train[:DECODED], images.test
    results = evaluate(model, test)
    with seeded(0, x.device):
        results["squared_error"] = (model.reconstruct(test) - test).square().sum(1).mean().item()
        results["active"] = float(active_units(model, test).number_active)
        q = model.encode(x)
        results["mmd"] = prior_mmd(q.sample()).item()
        aggregate = aggregate_kl(q)
        results["aggregate_lower"] = aggregate.lower.mean().item()
        results["aggregate_upper"] = aggregate.upper.mean().item()
        sheets = {"prior": model.generate(len(x)), "posterior": model.reconstruct(x)}
    for name, sheet in sheets.items():
        results |= {f"{name}_{judgement}": value for judgement, value in critic(sheet).items()}
    return results


def train(images: data.Dataset, job: Job, *, progress: bool = True, checkpoint: Path | None = None) -> VAE:
    """One model of the grid: `latent_dim`, `images` (how many, from the first), `epochs` and `seed` are in the job."""
    model = make_model(images, int(job["latent_dim"]), int(job["seed"]))
    fit(
        model,
        images.train[: int(job["images"])],
        epochs=int(job["epochs"]),
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE[images.name],
        schedule="one-cycle",
        seed=int(job["seed"]),
        device=images.train.device,
        progress=progress,
        checkpoint=checkpoint,
    )
    return model


def short_job(name: str, latent_dim: int, seed: int = 0, *, flat: bool = False) -> Job:
    """What the chapter trains itself.

    Args:
        name: Of the data set.
        latent_dim: K.
        seed: Of the weights, the minibatches and the noise.
        flat: Whether for `FLAT_EPOCHS`.
    """
    epochs = FLAT_EPOCHS[name] if flat else SHORT_EPOCHS[name]
    return {"latent_dim": latent_dim, "images": SHORT_IMAGES[name], "epochs": epochs, "seed": seed}


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train with each number of latents and each seed, at length and as the chapter does, and measure the models.

    Args:
        out: The folder of the record, which is called manifolds-DATASET.json.
        dataset: As `vaelib.data.load` names it.
        epochs: Of each run; by default `EPOCHS` for the long runs on all training images, and `SHORT_EPOCHS` or
            `FLAT_EPOCHS` for short ones on the first `SHORT_IMAGES`. If it is given, there are only the former.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns; its table has a row for each model, with the columns of
        `measure` and, the same in every row, what the critic says of the first `DECODED` training images, `image_`.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    if epochs is not None:
        check_positive_integer("epochs", epochs)
    critic = Critic(images)
    real = {f"image_{judgement}": value for judgement, value in critic(images.train[:DECODED]).items()}

    def work(job: Job, checkpoint: Path) -> pd.DataFrame:
        model = train(images, job, progress=False, checkpoint=checkpoint)
        return pd.DataFrame([measure(model, images, critic) | real])

    settings = {
        "dataset": images.name, "hidden": lower_bound.HIDDEN[images.name], "activation": "tanh",
        "batch_size": BATCH_SIZE, "optimiser": "adam", "learning_rate": LEARNING_RATE[images.name],
        "schedule": "one-cycle", "decoded": DECODED, "certain": CERTAIN,
    }  # fmt: skip
    name, jobs = images.name, list[Job]()
    if epochs is None:
        for seed in SEEDS:
            jobs += [short_job(name, latent_dim, seed) for latent_dim in LATENT_DIMS]
            if FLAT_EPOCHS[name] > SHORT_EPOCHS[name]:
                jobs.append(short_job(name, 2, seed, flat=True))
    length = EPOCHS[name] if epochs is None else epochs
    for seed in LONG_SEEDS[name]:
        for latent_dim in LATENT_DIMS:
            jobs.append({"latent_dim": latent_dim, "images": len(images.train), "epochs": length, "seed": seed})
    return run_grid(f"manifolds-{images.name}", jobs, work, settings=settings, out=out)
