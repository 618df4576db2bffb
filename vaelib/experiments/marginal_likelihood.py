r"""Figure 3 of "Auto-Encoding Variational Bayes": log p(x) itself against samples, and what few images do to it.

The setting is that of section 5 (Kingma and Welling 2014, https://arxiv.org/abs/1312.6114): networks of 100 tanh units
and three latents, 1000 or 50,000 images to learn from, AEVB, wake-sleep and, on the small set, Monte Carlo EM. At each
point the marginal likelihood is estimated by importance sampling and by the paper's appendix D, in the end also by
annealed importance sampling. Chapter: "The marginal likelihood, and overfitting".
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.func import jvp

from vaelib import checkpoints, data
from vaelib.annealing import annealed_importance_sampling
from vaelib.bounds import sgvb_b
from vaelib.checks import check_positive_integer, without_validation
from vaelib.devices import default_device
from vaelib.experiments import lower_bound
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.gaussians import CholeskyGaussian
from vaelib.hmc import hmc
from vaelib.inference.local import fit_local
from vaelib.inference.mcem import MonteCarloEM
from vaelib.likelihoods import Bernoulli
from vaelib.marginal import fit_gaussian, importance_sampling
from vaelib.models import VAE, LatentVariableModel
from vaelib.optimisers import learning_rates, make_optimiser
from vaelib.runs import NonFiniteLossError, Run, seeded
from vaelib.training import evaluate, fit

SEEDS = range(2)
"""As many as an hour of one shared core allows; with more, finished jobs of an unfinished record are kept."""

SIZES = {"mnist": (1000, 50_000), "digits": (200, 1000)}
HIDDEN = 100
LATENT_DIM = 3
SAMPLES = {"aevb": 500_000, "wake-sleep": 500_000, "mcem": 100_000}
"""Of training, counted with repetition. Monte Carlo EM, whose samples cost some five times as much, takes fewer."""

LARGE_SAMPLES = 200_000
"""At most so many on the larger set."""

POINTS = (20_000, 50_000, 100_000, 200_000, 500_000)
PILOT_SAMPLES = {"aevb": 20_000, "wake-sleep": 20_000, "mcem": 10_000}
"""After as many, from no more different images than that, the step size is chosen on the training images."""

IMAGES = 300
"""The first so many training and test images are evaluated by importance sampling, ..."""

RECIPROCAL_IMAGES = 50
"""... the first so many by the paper's estimator, ..."""

ANNEALED_IMAGES = 10
"""... and so few by annealed importance sampling, after the last sample, with the first seed."""

PRIOR_DRAWS = 5000
"""The best of so many codes is where the search for an image's posterior begins."""

NEWTON_STEPS = 10
WEIGHTS = 200
WIDENING = 1.3
"""Multiplies the standard deviations of the importance sampler's Gaussian, whose tails should not be too light."""

RECIPROCAL_SAMPLES = 50
RECIPROCAL_LEAPFROG = 4
WARMUP = 50
CHAINS = 4
TEMPERATURES = 300
LOCAL_STEPS = 200


def best_codes(model: LatentVariableModel, x: Tensor, draws: int) -> Tensor:
    """For each image (B, D), shape (B, K): the code of the highest p(x, z) among draws of the prior, the same for all.

    The model's pixels are Bernoulli. Their log-likelihood is linear in x, so one matrix product scores all pairs.
    """
    z = model.prior.sample((draws,))
    logits = _logits(model, z)
    scores = torch.nn.functional.logsigmoid(logits).sum(1) + model.prior.log_prob(z) - (1 - x) @ logits.T
    return z[scores.argmax(1)]


def _logits(model: LatentVariableModel, z: Tensor) -> Tensor:
    likelihood = model.decode(z)
    if not isinstance(likelihood, Bernoulli):
        raise TypeError(f"model must have Bernoulli pixels, but has a {type(likelihood).__name__} likelihood")
    return likelihood.logits


@torch.no_grad()
def laplace(
    model: LatentVariableModel, x: Tensor, start: Tensor, steps: int, widening: float = 1.0
) -> CholeskyGaussian:
    r"""A Gaussian about a mode of each posterior, for Bernoulli pixels, found by Fisher scoring.

    With $J$ the Jacobian of the logits and $\pi$ their probabilities, the gradient of $\log p_\theta(x, z)$ is
    $J^\top(x - \pi) - z$ and the expected curvature $J^\top\mathrm{diag}(\pi(1 - \pi))J + I$, whose inverse is the
    covariance. A multiple of the identity is added to it that grows after a failed step and shrinks after a good one
    (Levenberg and Marquardt).

    Args:
        model: The model.
        x: Images, shape (B, D).
        start: Where to begin, shape (B, K).
        steps: Tries.
        widening: Multiplies the standard deviations of the result.

    Returns:
        The Gaussians, batch_shape (B,), event_shape (K,).
    """
    identity = torch.eye(model.latent_dim).to(x)

    def derivatives(z: Tensor) -> tuple[Tensor, Tensor]:
        columns: list[Any] = [jvp(lambda z: _logits(model, z), (z,), (row.expand_as(z),)) for row in identity]
        pi = torch.sigmoid(columns[0][0])
        jacobian = torch.stack([column for _, column in columns], 1)
        gradient = (jacobian @ (x - pi).unsqueeze(-1)).squeeze(-1) - z
        return gradient, (jacobian * (pi * (1 - pi)).unsqueeze(1)) @ jacobian.mT + identity

    with without_validation():
        z, height = start, model.log_joint(x, start)
        damping = torch.ones_like(height)
        for _ in range(steps):
            gradient, curvature = derivatives(z)
            step = torch.linalg.solve(curvature + damping[:, None, None] * identity, gradient)
            reached = model.log_joint(x, z + step)
            better = reached > height
            z = torch.where(better.unsqueeze(-1), z + step, z)
            height = torch.where(better, reached, height)
            damping = torch.where(better, damping / 10, damping * 10)
        _, curvature = derivatives(z)
    return CholeskyGaussian(z, widening * torch.linalg.cholesky(torch.linalg.inv(curvature)))


def estimate(model: VAE, x: Tensor, *, encoder: bool, last: bool = False, annealed: bool = False) -> dict[str, float]:
    """Means over images of the estimates of log p(x), and of the bound, with the draws of seed 0.

    Args:
        model: The model.
        x: Images, shape (B, D).
        encoder: Whether the model's encoder has learnt.
        last: Whether to add the bound of posteriors that were fitted to each image.
        annealed: Whether to add annealed importance sampling.

    Returns:
        In nats, `importance`, and `ess`, the effective number of its `WEIGHTS` samples; `reciprocal`, the estimate of
        appendix D on the first `RECIPROCAL_IMAGES`, and `reciprocal_reference`, importance sampling on the same images;
        with an encoder, `elbo` on all images. If `annealed`, `annealed` and `annealed_reference` in the same way on
        the first `ANNEALED_IMAGES`. If `last` and with an encoder, on the first `RECIPROCAL_IMAGES` the bound of the
        encoder's posteriors, `local_reference`, and that of each image's best Gaussian of the same family, `local`.
    """
    few, fewest = x[:RECIPROCAL_IMAGES], x[:ANNEALED_IMAGES]
    with seeded(0, x.device), torch.no_grad():
        modes = laplace(model, x, best_codes(model, x, PRIOR_DRAWS), NEWTON_STEPS, WIDENING)
        importance, ess = importance_sampling(model, x, WEIGHTS, q=modes)
        chain = hmc(
            lambda z: model.log_joint(few, z),
            modes.mean[: len(few)],
            3 * RECIPROCAL_SAMPLES,
            num_leapfrog=RECIPROCAL_LEAPFROG,
            warmup=WARMUP,
        )
        fitted = fit_gaussian(chain.samples[:RECIPROCAL_SAMPLES])
        fresh, heights = chain.samples[-RECIPROCAL_SAMPLES:], chain.log_density[-RECIPROCAL_SAMPLES:]
        reciprocal = math.log(RECIPROCAL_SAMPLES) - (fitted.log_prob(fresh) - heights).logsumexp(0)
        values = {
            "importance": importance, "ess": ess, "reciprocal": reciprocal,
            "reciprocal_reference": importance[: len(few)],
        }  # fmt: skip
        if encoder:
            values["elbo"] = sgvb_b(model, x, 10).elbo
        if annealed:
            values["annealed"] = annealed_importance_sampling(
                model, fewest, CHAINS, num_temperatures=TEMPERATURES, num_leapfrog=5
            ).log_marginal
            values["annealed_reference"] = importance[: len(fewest)]
        if last and encoder:
            start = model.encode(few)
            free = fit_local(model, few, start=start, steps=LOCAL_STEPS, num_samples=2, progress=False)
            values["local_reference"] = sgvb_b(model, few, 100, q=start).elbo
            values["local"] = sgvb_b(model, few, 100, q=free).elbo
    return {name: round(value.double().mean().item(), 4) for name, value in values.items()}


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train with each method, number of training images and seed, and estimate log p(x) along the way.

    Args:
        out: The folder of the record, which is called marginal-likelihood-DATASET.json.
        dataset: "mnist" or "digits"; by default as `vaelib.data.load` chooses.
        epochs: Ends each run after so many passes over the smaller set, if it would take more; a run on the larger one
            then sees as many images, rounded up to whole passes.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns. For each job there is a row for each of `POINTS` up to its
        end, rounded to whole epochs, with the number of `samples` so far, the `step_size` that was chosen, the
        processor `seconds` of training so far (less what a run that was stopped lost), and what `estimate` returns for
        training and for test images, the names with the prefixes `train_` and `test_`.

    Raises:
        ValueError: If the data set is another, or `epochs` is not positive.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    if images.name not in SIZES:
        raise ValueError(f"dataset must be one of {', '.join(SIZES)}, but is {images.name!r}")
    if epochs is not None:
        check_positive_integer("epochs", epochs)
    small, large = SIZES[images.name]

    def end(job: Job) -> int:
        """How many samples it takes, but for the last epoch's end."""
        most = SAMPLES[str(job["method"])] if job["train_images"] == small else LARGE_SAMPLES
        return most if epochs is None else min(most, epochs * small)

    def model_of(job: Job) -> VAE:
        return lower_bound.make_model(images, LATENT_DIM, int(job["seed"]), HIDDEN).to(device)

    def monte_carlo_em(job: Job, model: VAE, train: Tensor, step_size: float) -> MonteCarloEM:
        return MonteCarloEM(
            model,
            train,
            batch_size=lower_bound.BATCH_SIZE,
            learning_rate=step_size,
            weight_decay=1 / len(train),
            seed=int(job["seed"]),
        )

    def pilot(job: Job, train: Tensor, step_size: float) -> float:
        model, samples = model_of(job), min(PILOT_SAMPLES[str(job["method"])], end(job))
        train = train[:samples]
        pilot_epochs = math.ceil(samples / len(train))
        try:
            if job["method"] == "mcem":
                monte_carlo_em(job, model, train, step_size).run(pilot_epochs, progress=False)
                return estimate(model, train[:IMAGES], encoder=False)["importance"]
            fit(
                model,
                train,
                epochs=pilot_epochs,
                objective=lower_bound.METHODS[str(job["method"])],
                batch_size=lower_bound.BATCH_SIZE,
                optimiser="adagrad",
                learning_rate=step_size,
                schedule="constant",
                weight_decay=1 / int(job["train_images"]),
                seed=int(job["seed"]),
                device=device,
                progress=False,
            )
        except NonFiniteLossError:  # too large a step: not the one to choose
            return -math.inf
        return evaluate(model, train[:1000], seed=int(job["seed"]))["elbo"]

    def work(job: Job, checkpoint: Path) -> pd.DataFrame:
        method, train = str(job["method"]), images.train[: int(job["train_images"])]
        shown = sorted({max(1, round(point / len(train))) for point in POINTS if point <= end(job)})
        if not shown or shown[-1] * len(train) < end(job):
            shown.append(math.ceil(end(job) / len(train)))
        notes = checkpoint / "points.pt"
        state = checkpoints.load(notes) if notes.exists() else {"rows": []}
        if "step_size" not in state:
            state["step_size"] = max(lower_bound.STEP_SIZES, key=lambda step: pilot(job, train, step))
            checkpoints.save(notes, state)
        model = model_of(job)
        if method == "mcem":
            trainer = monte_carlo_em(job, model, train, state["step_size"])
        else:
            batches = math.ceil(len(train) / lower_bound.BATCH_SIZE)
            rates = learning_rates("constant", state["step_size"], shown[-1] * batches)
            optimiser = make_optimiser("adagrad", model.parameters(), 1 / len(train))
            ascent = Run(model, lower_bound.METHODS[method], optimiser, rates, train)
            settings = {"epochs": shown[-1], "learning_rate": state["step_size"]}
        with seeded(int(job["seed"]), device):
            if method != "mcem" and (checkpoint / "last.pt").exists():
                ascent.restore(checkpoint / "last.pt", settings)
            for epoch in shown[len(state["rows"]) :]:
                began = time.process_time()
                if method == "mcem":
                    trainer.run(epoch, progress=False, checkpoint=checkpoint)
                else:
                    with without_validation():
                        advance(ascent, epoch, int(job["seed"]))
                    ascent.save(checkpoint / "last.pt", settings)
                state["seconds"] = state.get("seconds", 0.0) + time.process_time() - began
                checkpoints.save(notes, state)
                row = {
                    "samples": epoch * len(train),
                    "step_size": state["step_size"],
                    "seconds": round(state["seconds"], 2),
                }
                for split, x in (("train", train[:IMAGES]), ("test", images.test[:IMAGES])):
                    values = estimate(
                        model,
                        x,
                        encoder=method != "mcem",
                        last=epoch == shown[-1],
                        annealed=epoch == shown[-1] and job["seed"] == SEEDS[0],
                    )
                    row |= {f"{split}_{name}": value for name, value in values.items()}
                state["rows"].append(row)
                checkpoints.save(notes, state)
        return pd.DataFrame(state["rows"])

    settings = {
        "dataset": images.name, "hidden": HIDDEN, "latent_dim": LATENT_DIM, "activation": "tanh",
        "weight_std": lower_bound.WEIGHT_STD, "optimiser": "adagrad", "step_sizes": lower_bound.STEP_SIZES,
        "batch_size": lower_bound.BATCH_SIZE, "weight_decay": "1 / train_images", "samples": SAMPLES,
        "large_samples": LARGE_SAMPLES, "epochs": epochs,
        "pilot_samples": PILOT_SAMPLES, "points": POINTS, "evaluated_images": IMAGES,
        "reciprocal_images": RECIPROCAL_IMAGES, "annealed_images": ANNEALED_IMAGES, "prior_draws": PRIOR_DRAWS,
        "newton_steps": NEWTON_STEPS, "weights": WEIGHTS, "widening": WIDENING,
        "reciprocal_samples": RECIPROCAL_SAMPLES, "reciprocal_leapfrog": RECIPROCAL_LEAPFROG, "warmup": WARMUP,
        "chains": CHAINS, "temperatures": TEMPERATURES, "local_steps": LOCAL_STEPS,
    }  # fmt: skip
    jobs: list[Job] = [
        {"method": method, "train_images": train_images, "seed": seed}
        for seed in SEEDS
        for train_images in (small, large)
        for method in SAMPLES
        if method != "mcem" or train_images == small
    ]
    return run_grid(f"marginal-likelihood-{images.name}", jobs, work, settings=settings, out=out)


def advance(ascent: Run, epoch: int, seed: int) -> None:
    """Go on until this many epochs are finished in all: what `vaelib.training.fit` does in between."""
    while ascent.epoch < epoch:
        ascent.take_epoch(lower_bound.BATCH_SIZE, seed)
        ascent.finish_epoch(len(ascent.train), None)
