r"""The proximity issue on images: autoencoder against VAE, for several sizes of code, lengths of training and seeds.

One objective trains all models, that of a VAE with two switches: `noise`, the draw of z around the mean code, and
`pull`, the divergence from the prior. Without both it is an autoencoder's. So models differ in nothing else: networks,
first weights, minibatches and reconstruction term are the same. The code of an image is its posterior's mean.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence
from torch.nn import functional as F

from vaelib import data
from vaelib.bounds import ELBO
from vaelib.checks import check_positive_integer
from vaelib.devices import default_device
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.linear_gaussian import LinearGaussian
from vaelib.models import VAE
from vaelib.networks import mlp
from vaelib.proximity import continuity, jacobian_spectral_norm, local_lipschitz, trustworthiness
from vaelib.runs import Objective, seeded, shuffled
from vaelib.training import fit

SEEDS = range(5)
LATENT_DIMS = (2, 10)
HIDDEN = (400,)
BATCH_SIZE = 128
LEARNING_RATE = 6e-3
MODELS = {"autoencoder": (False, False), "noise": (True, False), "pull": (False, True), "vae": (True, True)}
"""Noise and pull of each."""

IMAGES = 1000
"""Test images that are encoded."""
PLACES = 500
"""Images, midpoints and random codes that are decoded and judged, and places where stretch is measured."""
NUM_NEIGHBOURS = 10


def switched(noise: bool, pull: bool) -> Objective:
    r"""$\log p_\theta(x \mid z) - \mathrm{KL}(q_\phi(z \mid x)\,\|\,p(z))$ with its two parts on or off.

    Args:
        noise: Whether z is drawn from $q_\phi(z \mid x)$; otherwise it is its mean.
        pull: Whether the divergence is subtracted. With both, this is `vaelib.bounds.sgvb_b`; with neither, the
            objective of an autoencoder.

    Returns:
        A function of a VAE and images (B, D) that returns an `ELBO`, each field of shape (B,), in nats.
    """

    def objective(model: VAE, x: Tensor) -> ELBO:
        q = model.encode(x)
        z = q.rsample() if noise else q.mean
        reconstruction = model.decode(z).log_prob(x)
        kl = kl_divergence(q, model.prior)
        return ELBO(reconstruction - kl if pull else reconstruction, reconstruction, kl)

    return objective


class Verdict(NamedTuple):
    """What three referees say of images, for each of them.

    Attributes:
        probabilities: Of the classes, from a classifier, shape (B, C).
        nearest: Distance to the nearest of the first 20,000 training images, shape (B,).
        log_density: Under a mixture of one linear-Gaussian model for each class, shape (B,), in nats.
    """

    probabilities: Tensor
    nearest: Tensor
    log_density: Tensor


class Referees:
    """Judges of decoded images that know the training images and no autoencoder: see `Verdict`.

    Args:
        images: A set with classes, on the device where the work is to be done.
        steps: Gradient steps of the classifier, D-128-C.
        factors: Dimensions of each class's linear-Gaussian model, which has its maximum likelihood on the images of the
            class among the first 10,000.

    Raises:
        ValueError: If the set has no classes.
    """

    def __init__(self, images: data.Dataset, *, steps: int = 1000, factors: int = 30) -> None:
        if images.train_labels is None:
            raise ValueError(f"images must have classes, but the set {images.name} has none: use mnist or digits")
        x, labels = images.train, images.train_labels
        self.train = x[:20_000]
        with seeded(0, x.device):
            self.classifier = nn.Sequential(mlp((images.dim, 128)), nn.Linear(128, len(images.class_names)))
            self.classifier.to(x.device)
            optimiser = torch.optim.Adam(self.classifier.parameters(), 1e-3)
            rows = torch.cat([shuffled(len(x), 0, epoch, x.device) for epoch in range(-(-steps * 128 // len(x)))])
            for batch in rows.split(128)[:steps]:
                optimiser.zero_grad()
                F.cross_entropy(self.classifier(x[batch]), labels[batch]).backward()
                optimiser.step()
        self._parts = [x[:10_000][labels[:10_000] == label] for label in range(len(images.class_names))]
        self._factors = factors

    @cached_property
    def densities(self) -> list[LinearGaussian]:
        """A model for each class, made when it is first asked for: it takes longer than the classifier."""
        return [LinearGaussian.maximum_likelihood(part, self._factors) for part in self._parts]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Verdict:
        """Judge images x, shape (B, D)."""
        squares = self.train.square().sum(1)
        nearest = [(squares - 2 * rows @ self.train.mT).amin(1) + rows.square().sum(1) for rows in x.split(250)]
        log_densities = torch.stack([model.log_marginal(x) for model in self.densities])
        return Verdict(
            self.classifier(x).softmax(1),
            torch.cat(nearest).clamp(min=0).sqrt(),
            log_densities.logsumexp(0) - math.log(len(self.densities)),
        )


def pairs(labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Numbers of two examples of different classes, `count` times at random, but the same at every call.

    Args:
        labels: Classes, shape (N,).
        count: How many pairs.

    Returns:
        The first and the second of each pair, each of shape (count,).
    """
    i, j = torch.randint(len(labels), (2, 10 * count), generator=torch.Generator().manual_seed(0)).to(labels.device)
    differ = labels[i] != labels[j]
    return i[differ][:count], j[differ][:count]


def spread(points: Tensor) -> float:
    """Root mean square distance of points (N, K) from their mean: what stretch is measured against."""
    return (points - points.mean(0)).square().sum(1).mean().sqrt().item()


def judge(referees: Referees, images: dict[str, Tensor], end_labels: Tensor) -> dict[str, float]:
    """The referees' verdicts on several sheets of images, averaged over each.

    Args:
        referees: The referees.
        images: By name, images (B, D); a name that begins with "mid" is of images between two of the ends.
        end_labels: The classes of both ends, shape (2, B).

    Returns:
        For each name: `_confident`, the share to which the classifier gives a class more than 0.9, `_entropy` of its
        answer in nats, `_nearest` and `_log_density` as in `Verdict`; and for images between two ends, `_end`, the
        share that is classified as one of them.
    """
    results = {}
    for name, x in images.items():
        verdict = referees(x)
        results[f"{name}_confident"] = (verdict.probabilities.amax(1) > 0.9).float().mean().item()
        results[f"{name}_entropy"] = torch.special.entr(verdict.probabilities).sum(1).mean().item()
        results[f"{name}_nearest"] = verdict.nearest.mean().item()
        results[f"{name}_log_density"] = verdict.log_density.mean().item()
        if name.startswith("mid"):
            results[f"{name}_end"] = (verdict.probabilities.argmax(1) == end_labels).any(0).float().mean().item()
    return results


def measure_images(images: data.Dataset, referees: Referees) -> dict[str, float]:
    """What `judge` says without any model: of test images (`image`), and of the mean of two (`midimage`)."""
    ends, labels = _ends(images)
    return judge(referees, {"image": ends[0], "midimage": (ends[0] + ends[1]) / 2}, labels)


def measure(model: VAE, images: data.Dataset, referees: Referees) -> dict[str, float]:
    """All measures of one trained model, on test images.

    Args:
        model: The model.
        images: The set, on the model's device.
        referees: What judges decoded images.

    Returns:
        By name, means over images or pairs:

        - `squared_error`, `cross_entropy`: of reconstructions from the mean code, summed over pixels;
        - `trustworthiness`, `continuity`: of the codes, with `NUM_NEIGHBOURS` neighbours;
        - `code_spread`, `posterior_std`: root mean square distance of the codes from their mean, mean of sigma (which
          no training has touched where there is neither noise nor pull);
        - `encoder_`, `decoder_` with `jacobian`, `jacobian_95` (the 0.95 quantile) and `lipschitz` (steps of a tenth of
          the spread): stretch at images and codes, times the spread of what goes in, over that of what comes out;
        - what `judge` says of `reconstruction`, of `midpoint` (decoded midpoints between codes of two classes) and of
          `random` (decoded draws from a Gaussian with the codes' mean and covariance).
    """
    x = images.test[:IMAGES]

    def encode(x: Tensor) -> Tensor:
        return model.encode(x).mean

    def decode(z: Tensor) -> Tensor:
        return model.decode(z).mean

    with torch.no_grad():
        q = model.encode(x)
        z = q.mean
        results = {
            "squared_error": (decode(z) - x).square().sum(1).mean().item(),
            "cross_entropy": -model.decode(z).log_prob(x).mean().item(),
            "trustworthiness": trustworthiness(x, z, NUM_NEIGHBOURS).mean().item(),
            "continuity": continuity(x, z, NUM_NEIGHBOURS).mean().item(),
            "code_spread": spread(z),
            "posterior_std": q.stddev.mean().item(),
        }
    with seeded(0, x.device):
        for name, f, points, image in (("encoder", encode, x, z), ("decoder", decode, z, x)):
            unit = spread(points) / spread(image)
            stretch = unit * jacobian_spectral_norm(f, points[:PLACES])
            steps = unit * local_lipschitz(f, points[:PLACES], 0.1 * spread(points), 10)
            results[f"{name}_jacobian"] = stretch.mean().item()
            results[f"{name}_jacobian_95"] = stretch.quantile(0.95).item()
            results[f"{name}_lipschitz"] = steps.mean().item()
        random = MultivariateNormal(z.mean(0), z.mT.cov()).sample((PLACES,))
    ends, labels = _ends(images)
    with torch.no_grad():
        first, second = encode(ends[0]), encode(ends[1])
        codes = {"reconstruction": first, "midpoint": (first + second) / 2, "random": random}
        return results | judge(referees, {name: decode(z) for name, z in codes.items()}, labels)


def _ends(images: data.Dataset) -> tuple[Tensor, Tensor]:
    """Pairs of test images of different classes, shape (2, PLACES, D), and their classes, shape (2, PLACES)."""
    assert images.test_labels is not None  # Referees has asked
    numbers = torch.stack(pairs(images.test_labels[:IMAGES], PLACES))
    return images.test[numbers], images.test_labels[numbers]


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train and measure each model; the two that have half of what a VAE has only with the fewest latents, longest.

    Args:
        out: The folder of the record, which is called proximity-DATASET.json.
        dataset: As `vaelib.data.load` names it; it must have classes.
        epochs: Of each model; by default 5 and, once more from the start, 1 on MNIST, 150 and 30 on the digits.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns; its table has a row for each model, with the columns of
        `measure` and, the same in every row, `measure_images`.

    Raises:
        ValueError: If the set has no classes, or `epochs` is not positive.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    lengths: tuple[int, ...] = (5, 1) if images.name == "mnist" else (150, 30)
    if epochs is not None:
        check_positive_integer("epochs", epochs)
        lengths = (epochs,)
    referees = Referees(images)
    without_model = measure_images(images, referees)

    def train(job: Job, checkpoint: Path) -> pd.DataFrame:
        seed = int(job["seed"])
        with seeded(seed, torch.device("cpu")):
            model = VAE.mlp(images.dim, HIDDEN, int(job["latent_dim"]), grey=True)
        fit(
            model,
            images.train,
            epochs=int(job["epochs"]),
            objective=switched(*MODELS[str(job["model"])]),
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            schedule="one-cycle",
            seed=seed,
            device=device,
            progress=False,
            checkpoint=checkpoint,
        )
        return pd.DataFrame([measure(model, images, referees) | without_model])

    settings = {
        "dataset": images.name, "hidden": HIDDEN, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE,
        "schedule": "one-cycle", "images": IMAGES, "places": PLACES, "num_neighbours": NUM_NEIGHBOURS,
    }  # fmt: skip
    jobs: list[Job] = [
        {"model": model, "latent_dim": latent_dim, "epochs": length, "seed": seed}
        for length in lengths
        for latent_dim in LATENT_DIMS
        for model in MODELS
        if model in ("autoencoder", "vae") or (latent_dim, length) == (min(LATENT_DIMS), max(lengths))
        for seed in SEEDS
    ]
    return run_grid(f"proximity-{images.name}", jobs, train, settings=settings, out=out)
