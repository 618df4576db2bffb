r"""With and without an encoder: the same decoder, trained along with a network or with a table of all $\phi_i$.

The images are made binary once, by a draw for each pixel, so that $\log p_\theta(x)$ is a log-likelihood. A row of the
table gets one gradient an epoch where an encoder gets one at each step, so the two need different learning rates: the
decoder's is the same for both, and several are tried for what infers. Decoders are compared by $\log p_\theta(x)$ of
test images, estimated in the same way for both, with posteriors that `fit_local` finds from the prior.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from vaelib import data
from vaelib.bounds import ELBO, sgvb_b
from vaelib.checks import check_positive_integer, without_validation
from vaelib.devices import default_device
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.inference.local import fit_local
from vaelib.inference.without_encoder import VAEWithoutEncoder, without_encoder
from vaelib.marginal import importance_sampling
from vaelib.models import VAE, LatentVariableModel
from vaelib.optimisers import learning_rates
from vaelib.proximity import trustworthiness
from vaelib.runs import seeded, shuffled

SEEDS = range(3)
HIDDEN = (200,)
LATENT_DIM = 10
BATCH_SIZE = 100
LEARNING_RATE = 2e-3
"""The decoder's, at its peak."""

RATES = {"encoder": (2e-3, 6e-3, 2e-2), "table": (6e-2, 2e-1, 6e-1)}
"""Those of the encoder's weights and of the table's numbers."""

ONE_RATE = {"encoder": 6e-3, "table": 2e-1}
"""For what is not run at all of them."""

IMAGES_AND_EPOCHS = ((10_000, 40), (1000, 200))
"""Training images, and passes over them."""

FEW_EPOCHS = (10_000, 10)
"""At one rate only."""

FLAT_DIM = 2
FLAT_IMAGES_AND_EPOCHS = (1000, 100)
"""Of models with two latents, for pictures, at one rate only."""

IMAGES = 100
"""Test images, and as many training images, on which a trained model is measured."""

STEPS = 150
NUM_SAMPLES = 500
NEIGHBOURS = 1000
NUM_NEIGHBOURS = 10


def binarise(x: Tensor, seed: int) -> Tensor:
    """Draw each pixel: 1 with its grey level as the probability, else 0; the same on every device.

    Args:
        x: Grey images in [0, 1], shape (N, D).
        seed: Of the draws. The caller's random state is left as it was.

    Returns:
        Binary images, shape (N, D), on the device of x.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.bernoulli(x.cpu(), generator=generator).to(x)


def load(dataset: str | None = None) -> data.Dataset:
    """A set as `vaelib.data.load` gives it, but binary, on the default device."""
    images = data.load(dataset).to(default_device())
    train, test = binarise(images.train, 0), binarise(images.test, 1)
    return data.Dataset(
        images.name, train, test, images.train_labels, images.test_labels, images.image_shape, images.class_names
    )


class Learner(nn.Module):
    r"""A decoder, and what infers the codes of given training images: an encoder, or a table.

    Args:
        inference: "encoder" or "table".
        images: The training images, shape (N, D), binary.
        latent_dim: K.
        seed: Of the first weights. Both kinds draw the same decoder from it.

    Attributes:
        model: The generative model; with an encoder, a VAE.
        infers: The module whose parameters are $\phi$.
    """

    def __init__(self, inference: str, images: Tensor, latent_dim: int, seed: int) -> None:
        super().__init__()
        if inference not in RATES:
            raise ValueError(f'inference must be "encoder" or "table", but is {inference!r}')
        with seeded(seed, torch.device("cpu")):
            vae = VAE.mlp(images.shape[1], HIDDEN, latent_dim)
        vae.to(images)
        self.images = images
        self.model: LatentVariableModel = vae
        self.infers: nn.Module = vae.encoder
        self.table: VAEWithoutEncoder | None = None
        if inference == "table":
            self.table = VAEWithoutEncoder(vae, images)
            self.model = self.table.model
            self.infers = self.table.posteriors

    def bound(self, rows: Tensor) -> ELBO:
        """The bound of the training images of these numbers, shape (M,), with one draw each, in nats."""
        if self.table is None:
            return sgvb_b(self.model, self.images[rows])
        return without_encoder(self.table, self.table.numbers[rows])

    @torch.no_grad()
    def posterior(self, rows: Tensor) -> Distribution:
        """q(z|x) of the training images of these numbers, shape (M,), without a graph."""
        q: Distribution = self.infers(self.images[rows]) if self.table is None else self.table.posteriors(rows)
        return q


def train(learner: Learner, *, epochs: int, rate: float, seed: int) -> pd.DataFrame:
    """Ascend the bound in the decoder's weights and in phi at the same time, by one Adam with two learning rates.

    Args:
        learner: What is trained, in place.
        epochs: Passes over its images. Both learning rates follow a one-cycle schedule over all of them.
        rate: That of phi, at its peak; the decoder's is `LEARNING_RATE`.
        seed: Of the minibatches and the draws of z.

    Returns:
        One row an epoch: `epoch`, `train_elbo`, the mean of the bound while the weights moved, in nats, and
        `train_seconds` so far.
    """
    count, device = len(learner.images), learner.images.device
    groups = [
        {"params": list(learner.model.decoder.parameters()), "lr": LEARNING_RATE},
        {"params": list(learner.infers.parameters()), "lr": rate},
    ]
    optimiser = Adam(groups, fused=True)
    factors = learning_rates("one-cycle", 1.0, epochs * math.ceil(count / BATCH_SIZE)).tolist()
    schedule = LambdaLR(optimiser, lambda step: factors[min(step, len(factors) - 1)])
    table, began = [], time.perf_counter()
    with seeded(seed, device), without_validation():
        for epoch in range(epochs):
            total = torch.zeros((), device=device)
            for rows in shuffled(count, seed, epoch, device).split(BATCH_SIZE):
                optimiser.zero_grad()
                elbo = learner.bound(rows).elbo
                (-elbo.mean()).backward()
                optimiser.step()
                schedule.step()
                total += elbo.detach().sum()
            mean = total.item() / count
            table.append({"epoch": epoch + 1, "train_elbo": mean, "train_seconds": time.perf_counter() - began})
    return pd.DataFrame(table)


def neighbour_ratio(x: Tensor, z: Tensor) -> float:
    """How far the codes of an image and of its nearest neighbour are apart, over the distance of two codes at random.

    Args:
        x: Images, shape (N, D).
        z: Their codes, shape (N, K).

    Returns:
        The median of the first over the median of the second: near 1 if codes tell nothing of the neighbourhood.
    """
    nearest = torch.cdist(x, x).fill_diagonal_(math.inf).argmin(1)
    others = torch.cdist(z, z)
    rows, columns = torch.triu_indices(len(z), len(z), offset=1, device=z.device)
    return ((z - z[nearest]).norm(dim=1).median() / others[rows, columns].median()).item()


def measure(learner: Learner, test: Tensor) -> dict[str, float]:
    """What a trained model does on `IMAGES` test images (from the front) and training images, in nats.

    Args:
        learner: The model.
        test: Test images, shape (N', D), binary.

    Returns:
        By name, means over the images:

        - `train_bound`: the bound with the model's own q, and `train_local`, with the diagonal Gaussians that
          `fit_local` finds when it starts from them; `train_log_marginal`, by importance sampling from the latter;
        - `test_local` and `test_log_marginal`: likewise, but started from the prior, as a table would have to;
        - `test_bound`: with the encoder's q, NaN for a table, which has none for a new image;
        - `test_ess`: the effective sample size, of `NUM_SAMPLES` draws;
        - `trustworthiness`, `neighbour_ratio`: of the means of the model's own q on the first training images.
    """
    model, device = learner.model, test.device
    first = torch.arange(min(IMAGES, len(learner.images)), device=device)
    x, new = learner.images[first], test[:IMAGES]
    with seeded(0, device), torch.no_grad():
        own = learner.posterior(first)
        local = fit_local(model, x, start=own, steps=STEPS, learning_rate=0.02, num_samples=2, progress=False)
        searched = fit_local(model, new, steps=STEPS, num_samples=2, progress=False)
        marginal = importance_sampling(model, new, NUM_SAMPLES, q=searched)
        results = {
            "train_bound": sgvb_b(model, x, 100, q=own).elbo.mean().item(),
            "train_local": sgvb_b(model, x, 100, q=local).elbo.mean().item(),
            "train_log_marginal": importance_sampling(model, x, NUM_SAMPLES, q=local).log_marginal.mean().item(),
            "test_bound": math.nan,
            "test_local": sgvb_b(model, new, 100, q=searched).elbo.mean().item(),
            "test_log_marginal": marginal.log_marginal.mean().item(),
            "test_ess": marginal.effective_sample_size.mean().item(),
        }
        if isinstance(model, VAE):
            results["test_bound"] = sgvb_b(model, new, 100).elbo.mean().item()
        some = torch.arange(min(NEIGHBOURS, len(learner.images)), device=device)
        images, codes = learner.images[some], learner.posterior(some).mean
        results["trustworthiness"] = trustworthiness(images, codes, NUM_NEIGHBOURS).mean().item()
        results["neighbour_ratio"] = neighbour_ratio(images, codes)
    return results


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train with an encoder and with a table, on few and on many images, at several learning rates of phi.

    Args:
        out: The folder of the record, which is called without-encoder-DATASET.json.
        dataset: As `vaelib.data.load` names it; sets smaller than MNIST are taken whole, for 200 epochs and for 50.
        epochs: Of each run, instead; at least 4.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns. Its table has a row for each epoch of each job, with the
        columns of `train`, `phi_numbers` (how many parameters infer), and in the row of a job's last epoch those of
        `measure`, NaN in the others.

    Raises:
        ValueError: If `epochs` is below 4.
    """
    if epochs is not None:
        check_positive_integer("epochs", epochs)
        if epochs < 4:
            raise ValueError(f"epochs must be at least 4, as one plan takes a quarter of them, but is {epochs}")
    images = load(dataset)
    longest: tuple[tuple[int, int], ...] = IMAGES_AND_EPOCHS
    few, flat = FEW_EPOCHS, FLAT_IMAGES_AND_EPOCHS
    if images.name != "mnist":
        longest, few = ((len(images.train), 200),), (len(images.train), 50)
    if epochs is not None:
        longest, few = tuple((count, epochs) for count, _ in longest), (few[0], epochs // 4)
        flat = (flat[0], epochs)

    def work(job: Job, _: Path) -> pd.DataFrame:
        seed, x = int(job["seed"]), images.train[: int(job["images"])]
        learner = Learner(str(job["inference"]), x, int(job["latent_dim"]), seed)
        table = train(learner, epochs=int(job["epochs"]), rate=float(job["rate"]), seed=seed)
        table["phi_numbers"] = sum(parameter.numel() for parameter in learner.infers.parameters())
        measures = pd.DataFrame([measure(learner, images.test)], index=table.index[-1:])
        return table.join(measures)

    settings = {
        "dataset": images.name, "hidden": HIDDEN, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE,
        "schedule": "one-cycle", "measured_images": IMAGES, "steps": STEPS, "num_samples": NUM_SAMPLES,
        "neighbours": NEIGHBOURS, "num_neighbours": NUM_NEIGHBOURS,
    }  # fmt: skip
    plans = [(*size, LATENT_DIM, kind, rate) for size in longest for kind, rates in RATES.items() for rate in rates]
    plans += [(*few, LATENT_DIM, kind, rate) for kind, rate in ONE_RATE.items()]
    plans += [(*flat, FLAT_DIM, kind, rate) for kind, rate in ONE_RATE.items()]
    jobs: list[Job] = [
        {"inference": kind, "images": count, "epochs": length, "latent_dim": latent_dim, "rate": rate, "seed": seed}
        for count, length, latent_dim, kind, rate in plans
        for seed in SEEDS
    ]
    return run_grid(f"without-encoder-{images.name}", jobs, work, settings=settings, out=out)
