"""Exercise `kl-diagonal`: the divergence of a factorised Gaussian from N(0, I), in nats. Chapter: "Q3.2"."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vaelib.exercises.draws import SIZES, between, normal
from vaelib.exercises.exercise import Exercise, Ingredient, Mistake, Probe
from vaelib.exercises.hints import FACTORS, MISSING, shared
from vaelib.exercises.shapes import count, shapes_per_example


def _kl_diagonal(mean: Tensor, log_var: Tensor) -> Tensor:
    return 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)


def _probes(generator: Generator) -> list[Probe]:
    bounds = [(0.2, 1.5, False), (-1.5, -0.2, False), (-2.0, 2.0, False), (-40.0, -20.0, True), (5.0, 10.0, True)]
    return [
        Probe((normal(generator, *size), between(generator, low, high, *size)), extreme=extreme)
        for low, high, extreme in bounds
        for size in SIZES
    ]


KL_DIAGONAL = Exercise(
    name="kl-diagonal",
    arguments=("mean", "log_var"),
    right=_kl_diagonal,
    probes=_probes,
    differentiable=("mean", "log_var"),
    shapes=shapes_per_example,
    ingredients=(
        Ingredient("sum exp(2 log_var)", lambda mean, log_var: (2 * log_var).exp().sum(-1), "log-var-as-log-std"),
        Ingredient("sum exp(log_var/2)", lambda mean, log_var: (log_var / 2).exp().sum(-1), "std-for-variance"),
        Ingredient("sum log_var^2", lambda mean, log_var: (log_var**2).sum(-1), "log-var-as-std"),
        Ingredient("sum log|log_var|", lambda mean, log_var: log_var.abs().log().sum(-1), "log-var-as-variance"),
        Ingredient("sum exp(-log_var)", lambda mean, log_var: (-log_var).exp().sum(-1), "kl-reversed"),
        Ingredient("sum mean", lambda mean, log_var: mean.sum(-1), "mean-not-squared"),
        Ingredient("sum |mean|", lambda mean, log_var: mean.abs().sum(-1), "mean-not-squared"),
        Ingredient("|mean|", lambda mean, log_var: mean.norm(dim=-1), "mean-not-squared"),
        Ingredient("1", lambda mean, log_var: torch.ones(len(mean), dtype=mean.dtype), "dimension-counted-wrongly"),
        Ingredient("B", lambda mean, log_var: torch.full_like(mean[:, 0], len(mean)), "dimension-counted-wrongly"),
        Ingredient("(sum mean)^2", lambda mean, log_var: mean.sum(-1) ** 2, "square-of-sum"),
        Ingredient("sum mean^2", lambda mean, log_var: (mean**2).sum(-1), "missing-mean-term", 0.5),
        Ingredient("sum exp(log_var)", lambda mean, log_var: log_var.exp().sum(-1), "missing-trace-term", 0.5),
        Ingredient("K", lambda mean, log_var: count(mean), "missing-dimension", -0.5),
        Ingredient("sum log_var", lambda mean, log_var: log_var.sum(-1), "missing-log-det", -0.5),
    ),
    mistakes=(
        Mistake(
            "log-var-as-std",
            "You take the log-variance for a standard deviation. A log-variance may be negative.",
            (
                lambda mean, log_var: kl_divergence(Normal(mean, log_var), Normal(0.0, 1.0)).sum(-1),
                lambda mean, log_var: 0.5 * (mean**2 + log_var**2 - 1 - 2 * log_var.log()).sum(-1),
                lambda mean, log_var: 0.5 * (mean**2 + log_var**2 - 1).sum(-1) - log_var.log().sum(-1),
                lambda mean, log_var: kl_divergence(
                    MultivariateNormal(mean, scale_tril=torch.diag_embed(log_var)),
                    MultivariateNormal(torch.zeros_like(mean), torch.eye(mean.shape[-1], dtype=mean.dtype)),
                ),
            ),
        ),
        Mistake(
            "log-var-as-variance",
            "You take the log-variance for the variance. A log-variance may be negative.",
            (
                lambda mean, log_var: 0.5 * (mean**2 + log_var - 1 - log_var.log()).sum(-1),
                lambda mean, log_var: kl_divergence(Normal(mean, log_var.sqrt()), Normal(0.0, 1.0)).sum(-1),
            ),
        ),
        Mistake(
            "kl-reversed",
            "That is the divergence of the prior from q. The two directions differ; under which of the two is the "
            "expectation?",
            (
                lambda mean, log_var: 0.5 * (mean**2 / log_var.exp() + (-log_var).exp() - 1 + log_var).sum(-1),
                lambda mean, log_var: 0.5 * (mean**2 / log_var.exp() - 1 + log_var).sum(-1),
            ),
        ),
        Mistake(
            "mean-for-sum",
            "You average over the K latent variables. The divergence of a product of densities is the sum of theirs.",
            (
                lambda mean, log_var: _kl_diagonal(mean, log_var) / mean.shape[1],
                lambda mean, log_var: 0.5 * (mean**2 + log_var.exp() - log_var).mean(-1),
            ),
        ),
        Mistake(
            "reduced-over-batch",
            "Examples of the batch have been summed or averaged. Each keeps its own divergence.",
            (
                lambda mean, log_var: _kl_diagonal(mean, log_var).sum().expand(len(mean)),
                lambda mean, log_var: _kl_diagonal(mean, log_var).mean().expand(len(mean)),
                lambda mean, log_var: _kl_diagonal(mean, log_var) / len(mean),
            ),
        ),
        Mistake(
            "log-var-as-log-std",
            "You take the log-variance for the logarithm of a standard deviation: a factor 2 in each logarithm.",
            (
                lambda mean, log_var: kl_divergence(Normal(mean, log_var.exp()), Normal(0.0, 1.0)).sum(-1),
                lambda mean, log_var: 0.5 * (mean**2 + log_var.exp() ** 2 - 1 - log_var).sum(-1),
            ),
        ),
        Mistake("std-for-variance", "Somewhere a standard deviation stands where the variance belongs."),
        Mistake(
            "swapped", "First the mean, then the log-variance.", (lambda mean, log_var: _kl_diagonal(log_var, mean),)
        ),
        Mistake(
            "clipped",
            "Something is clipped. A divergence, and a log-variance, may take any value that the formula gives.",
            (
                lambda mean, log_var: _kl_diagonal(mean, log_var.clamp(-1, 1)),
                lambda mean, log_var: _kl_diagonal(mean, log_var.clamp_max(0)),
                lambda mean, log_var: _kl_diagonal(mean, log_var.clamp_min(0)),
                lambda mean, log_var: _kl_diagonal(mean, log_var).clamp_min(1),
                lambda mean, log_var: (0.5 * (mean**2 + log_var.exp() - 1 - log_var)).clamp_min(0.5).sum(-1),
            ),
        ),
        Mistake("mean-not-squared", "The mean enters by its squared distance from the origin."),
        Mistake("square-of-sum", "The square of a sum is not the sum of squares."),
        *MISSING,
        *FACTORS,
        *shared("not-reduced", "wrong-axis", "wrong-base"),
    ),
)
