"""Exercise `kl-full`: the divergence of a Gaussian from N(0, I), in nats. Chapter: "Q3.2"."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vaelib.exercises.draws import SCALE_KINDS, SIZES, normal, scales
from vaelib.exercises.exercise import Exercise, Ingredient, Mistake, Probe
from vaelib.exercises.hints import FACTORS, MISSING, shared
from vaelib.exercises.matrices import diagonal, inverse_covariance, log_abs_det, log_abs_diagonal, quadratic, trace
from vaelib.exercises.shapes import count, shapes_per_example


def _standard(mean: Tensor) -> MultivariateNormal:
    return MultivariateNormal(torch.zeros_like(mean), torch.eye(mean.shape[-1], dtype=mean.dtype))


def _kl_full(mean: Tensor, scale: Tensor) -> Tensor:
    return 0.5 * ((scale**2).sum((-2, -1)) + (mean**2).sum(-1) - mean.shape[-1]) - log_abs_det(scale)


def _probes(generator: Generator) -> list[Probe]:
    plain = [
        Probe((normal(generator, *size), scales(generator, *size, kind)), kind)
        for size in SIZES
        for kind in SCALE_KINDS
    ]
    wide = [((3, 4), 0.01), ((3, 4), 30.0), ((2, 32), 0.03), ((2, 32), 30.0)]
    extreme = [
        Probe((normal(generator, *shape), scales(generator, *shape, kind, size)), kind, extreme=True)
        for shape, size in wide
        for kind in SCALE_KINDS[:2]
    ]
    return plain + extreme


KL_FULL = Exercise(
    name="kl-full",
    arguments=("mean", "scale"),
    right=_kl_full,
    probes=_probes,
    differentiable=("mean", "scale"),
    shapes=shapes_per_example,
    only_kinds={"negative determinant": "log-det-without-abs"},
    ingredients=(
        Ingredient("sum_k S_kk^2", lambda mean, scale: (diagonal(scale) ** 2).sum(-1), "diagonal-only"),
        Ingredient("trace S", lambda mean, scale: trace(scale), "trace-for-frobenius"),
        Ingredient("(trace S)^2", lambda mean, scale: trace(scale) ** 2, "trace-for-frobenius"),
        Ingredient("trace S S", lambda mean, scale: trace(scale @ scale), "missing-transpose"),
        Ingredient("sum of S", lambda mean, scale: scale.sum((-2, -1)), "norm-not-squared"),
        Ingredient("||S||", lambda mean, scale: torch.linalg.matrix_norm(scale), "norm-not-squared"),
        Ingredient("largest s^2", lambda mean, scale: torch.linalg.matrix_norm(scale, 2) ** 2, "wrong-norm"),
        Ingredient("||S S^T||", lambda mean, scale: torch.linalg.matrix_norm(scale @ scale.mT), "covariance-as-scale"),
        Ingredient("||S S^T||^2", lambda mean, scale: ((scale @ scale.mT) ** 2).sum((-2, -1)), "covariance-as-scale"),
        Ingredient("sum log|S_kk|", lambda mean, scale: log_abs_diagonal(scale), "assumes-triangular"),
        Ingredient("|det S|", lambda mean, scale: torch.linalg.det(scale).abs(), "determinant-without-log"),
        Ingredient("det S^2", lambda mean, scale: torch.linalg.det(scale) ** 2, "determinant-without-log"),
        Ingredient(
            "sign(det S) log|det S|",
            lambda mean, scale: torch.linalg.slogdet(scale).sign * log_abs_det(scale),
            "log-det-without-abs",
        ),
        Ingredient("trace (S S^T)^-1", lambda mean, scale: trace(inverse_covariance(scale)), "kl-reversed"),
        Ingredient(
            "mean^T (S S^T)^-1 mean", lambda mean, scale: quadratic(inverse_covariance(scale), mean), "kl-reversed"
        ),
        Ingredient("sum mean", lambda mean, scale: mean.sum(-1), "mean-not-squared"),
        Ingredient("|mean|", lambda mean, scale: mean.norm(dim=-1), "mean-not-squared"),
        Ingredient("1", lambda mean, scale: torch.ones(len(mean), dtype=mean.dtype), "dimension-counted-wrongly"),
        Ingredient("B", lambda mean, scale: torch.full_like(mean[:, 0], len(mean)), "dimension-counted-wrongly"),
        Ingredient("K^2", lambda mean, scale: count(mean) ** 2, "dimension-counted-wrongly"),
        Ingredient("(sum mean)^2", lambda mean, scale: mean.sum(-1) ** 2, "square-of-sum"),
        Ingredient("|log|det S||", lambda mean, scale: log_abs_det(scale).abs(), "absolute-value"),
        Ingredient("||S||^2", lambda mean, scale: (scale**2).sum((-2, -1)), "missing-trace-term", 0.5),
        Ingredient("|mean|^2", lambda mean, scale: (mean**2).sum(-1), "missing-mean-term", 0.5),
        Ingredient("K", lambda mean, scale: count(mean), "missing-dimension", -0.5),
        Ingredient(
            "log|det S|",
            lambda mean, scale: log_abs_det(scale),
            "missing-log-det",
            -1.0,
            {0.5: "log-det-factor", 2.0: "log-det-factor"},
        ),
    ),
    mistakes=(
        Mistake(
            "scale-as-covariance",
            "You take S for the covariance. What is the covariance of S epsilon?",
            (
                lambda mean, scale: kl_divergence(MultivariateNormal(mean, scale), _standard(mean)),
                lambda mean, scale: 0.5 * (trace(scale) + (mean**2).sum(-1) - mean.shape[-1] - log_abs_det(scale)),
                lambda mean, scale: 0.5 * (trace(scale) + (mean**2).sum(-1) - mean.shape[-1] - torch.logdet(scale)),
                lambda mean, scale: _kl_full(mean, torch.linalg.cholesky(scale)),
            ),
        ),
        Mistake(
            "assumes-triangular",
            "Your determinant is a product of diagonal entries, or your S a triangular factor. Is every S triangular?",
            (
                lambda mean, scale: kl_divergence(MultivariateNormal(mean, scale_tril=scale), _standard(mean)),
                lambda mean, scale: kl_divergence(MultivariateNormal(mean, scale_tril=scale.tril()), _standard(mean)),
                lambda mean, scale: _kl_full(mean, scale.tril()),
                lambda mean, scale: _kl_full(mean, scale) + log_abs_det(scale) - diagonal(scale).log().sum(-1),
            ),
        ),
        Mistake(
            "diagonal-only",
            "The numbers beside the diagonal of S do nothing in your answer.",
            (
                lambda mean, scale: _kl_full(mean, torch.diag_embed(diagonal(scale))),
                lambda mean, scale: kl_divergence(Normal(mean, diagonal(scale)), Normal(0.0, 1.0)).sum(-1),
                lambda mean, scale: kl_divergence(Normal(mean, diagonal(scale).abs()), Normal(0.0, 1.0)).sum(-1),
                lambda mean, scale: kl_divergence(
                    Normal(mean, diagonal(scale @ scale.mT).sqrt()), Normal(0.0, 1.0)
                ).sum(-1),
                lambda mean, scale: kl_divergence(
                    Normal(mean, diagonal(scale.mT @ scale).sqrt()), Normal(0.0, 1.0)
                ).sum(-1),
            ),
        ),
        Mistake(
            "log-det-without-abs",
            "A determinant can be negative, and its logarithm is then not a number. Which determinant is positive for "
            "every invertible S?",
            (
                lambda mean, scale: _kl_full(mean, scale) + log_abs_det(scale) - torch.logdet(scale),
                lambda mean, scale: _kl_full(mean, scale) + 0.5 * log_abs_det(scale) - 0.5 * torch.logdet(scale),
                lambda mean, scale: _kl_full(mean, scale) - log_abs_det(scale) * torch.linalg.det(scale).sign(),
            ),
        ),
        Mistake(
            "kl-reversed",
            "That is the divergence of the prior from q. The two directions differ; under which of the two is the "
            "expectation?",
            (lambda mean, scale: kl_divergence(_standard(mean), MultivariateNormal(mean, scale @ scale.mT)),),
        ),
        Mistake(
            "mean-for-sum",
            "You average over dimensions or entries. Nothing in a divergence is an average over them.",
            (
                lambda mean, scale: _kl_full(mean, scale) / mean.shape[1],
                lambda mean, scale: _kl_full(mean, scale) + 0.5 * ((mean**2).mean(-1) - (mean**2).sum(-1)),
                lambda mean, scale: (
                    _kl_full(mean, scale) + 0.5 * ((scale**2).mean((-2, -1)) - (scale**2).sum((-2, -1)))
                ),
                lambda mean, scale: (
                    _kl_full(mean, scale)
                    + 0.5 * ((scale**2).mean((-2, -1)) - (scale**2).sum((-2, -1)))
                    + 0.5 * ((mean**2).mean(-1) - (mean**2).sum(-1))
                ),
            ),
        ),
        Mistake(
            "reduced-over-batch",
            "Examples of the batch have been summed or averaged. Each keeps its own divergence.",
            (
                lambda mean, scale: _kl_full(mean, scale).sum().expand(len(mean)),
                lambda mean, scale: _kl_full(mean, scale).mean().expand(len(mean)),
                lambda mean, scale: _kl_full(mean, scale) / len(mean),
                lambda mean, scale: _kl_full(mean, scale) + 0.5 * ((scale**2).sum() - (scale**2).sum((-2, -1))),
                lambda mean, scale: _kl_full(mean, scale) + 0.5 * ((mean**2).sum() - (mean**2).sum(-1)),
                lambda mean, scale: 0.5 * ((scale**2).sum() + (mean**2).sum() - mean.shape[-1]) - log_abs_det(scale),
            ),
        ),
        Mistake("trace-for-frobenius", "E|S epsilon|^2 is not the trace of S. Write it out for K = 2."),
        Mistake("missing-transpose", "Write out E[eps^T S^T S eps]: one factor is transposed."),
        Mistake("norm-not-squared", "Which power of S has the unit of a variance? Double S, and see what doubles."),
        Mistake("wrong-norm", "That is another norm of S. Which one sums over all entries?"),
        Mistake("covariance-as-scale", "The squared norm of S S^T has the fourth power of S in it."),
        Mistake("determinant-without-log", "Where is the logarithm of the determinant?"),
        Mistake("log-det-factor", "log det S, or log det S S^T? They differ by a factor."),
        Mistake("mean-not-squared", "The mean enters by its squared distance from the origin."),
        Mistake("square-of-sum", "The square of a sum is not the sum of squares."),
        Mistake("absolute-value", "The logarithm of a determinant may be negative: why a second absolute value?"),
        *MISSING,
        *FACTORS,
        *shared("not-reduced", "wrong-axis", "wrong-base"),
    ),
)
