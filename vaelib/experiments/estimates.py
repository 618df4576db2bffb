r"""Estimates of log p(x) for figure 3: importance sampling, the paper's appendix D, annealed importance sampling.

Each begins where the posterior of an image is high: at the best of many codes drawn from the prior, improved by a few
steps of Fisher scoring. So a model needs no encoder to be judged, and methods with and without one are judged alike.
Chapter: "The marginal likelihood, and overfitting".
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import jvp

from vaelib.annealing import annealed_importance_sampling
from vaelib.bounds import sgvb_b
from vaelib.checks import without_validation
from vaelib.gaussians import CholeskyGaussian
from vaelib.hmc import hmc
from vaelib.inference.local import fit_local
from vaelib.likelihoods import Bernoulli
from vaelib.marginal import fit_gaussian, importance_sampling
from vaelib.models import VAE, LatentVariableModel
from vaelib.runs import seeded

RECIPROCAL_IMAGES = 50
"""The first so many of the images are evaluated by the paper's estimator, ..."""

ANNEALED_IMAGES = 10
"""... and so few by annealed importance sampling."""

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
