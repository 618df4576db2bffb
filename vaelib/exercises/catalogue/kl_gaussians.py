"""Exercise `kl-gaussians`: the divergence of a Gaussian from another, in nats. Chapter: "Q3.2"."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vaelib.exercises.catalogue.kl_gaussians_terms import INGREDIENTS
from vaelib.exercises.draws import SCALE_KINDS, SIZES, normal, scales
from vaelib.exercises.exercise import Exercise, Mistake, Probe
from vaelib.exercises.hints import FACTORS, MISSING, shared
from vaelib.exercises.matrices import (
    diagonal,
    inverse_covariance,
    log_abs_det,
    quadratic,
    trace,
)
from vaelib.exercises.shapes import shapes_per_example


def _kl_gaussians(mean_q: Tensor, scale_q: Tensor, mean_p: Tensor, scale_p: Tensor) -> Tensor:
    trace = (torch.linalg.solve(scale_p, scale_q) ** 2).sum((-2, -1))
    return (
        0.5 * (trace + quadratic(inverse_covariance(scale_p), mean_q - mean_p) - mean_q.shape[-1])
        + log_abs_det(scale_p)
        - log_abs_det(scale_q)
    )


def _probes(generator: Generator) -> list[Probe]:
    def draw(batch: int, dim: int, kind_q: str, kind_p: str, size_q: float = 1.0, size_p: float = 1.0) -> Probe:
        inputs = (
            normal(generator, batch, dim),
            scales(generator, batch, dim, kind_q, size_q),
            normal(generator, batch, dim),
            scales(generator, batch, dim, kind_p, size_p),
        )
        either = "negative determinant" in (kind_q, kind_p)
        return Probe(inputs, "negative determinant" if either else kind_q, extreme=(size_q, size_p) != (1.0, 1.0))

    any_kind, negative, triangular, symmetric = SCALE_KINDS
    pairs = [
        (any_kind, any_kind), (negative, any_kind), (any_kind, negative), (negative, negative),
        (triangular, triangular), (symmetric, symmetric),
    ]  # fmt: skip
    plain = [draw(*size, *pair) for size in SIZES for pair in pairs]
    wide = [((3, 4), 0.05, 0.05), ((3, 4), 20.0, 20.0), ((2, 32), 0.03, 0.03), ((2, 32), 30.0, 30.0)]
    extreme = [draw(*shape, *pairs[3], *sizes) for shape, *sizes in wide]
    return plain + extreme


KL_GAUSSIANS = Exercise(
    name="kl-gaussians",
    arguments=("mean_q", "scale_q", "mean_p", "scale_p"),
    right=_kl_gaussians,
    probes=_probes,
    differentiable=("mean_q", "scale_q", "mean_p", "scale_p"),
    shapes=shapes_per_example,
    only_kinds={"negative determinant": "log-det-without-abs"},
    ingredients=INGREDIENTS,
    mistakes=(
        Mistake(
            "scale-as-covariance",
            "You take S for the covariance. What is the covariance of S epsilon?",
            (
                lambda mq, q, mp, p: kl_divergence(MultivariateNormal(mq, q), MultivariateNormal(mp, p)),
                lambda mq, q, mp, p: (
                    0.5
                    * (
                        trace(torch.linalg.solve(p, q))
                        + quadratic(torch.linalg.inv(p), mq - mp)
                        - mq.shape[-1]
                        + log_abs_det(p)
                        - log_abs_det(q)
                    )
                ),
                lambda mq, q, mp, p: (
                    0.5
                    * (
                        trace(torch.linalg.solve(p, q))
                        + quadratic(torch.linalg.inv(p), mq - mp)
                        - mq.shape[-1]
                        + torch.logdet(p)
                        - torch.logdet(q)
                    )
                ),
            ),
        ),
        Mistake(
            "assumes-triangular",
            "Your determinant is a product of diagonal entries, or your S a triangular factor. Is every S triangular?",
            (
                lambda mq, q, mp, p: kl_divergence(
                    MultivariateNormal(mq, scale_tril=q), MultivariateNormal(mp, scale_tril=p)
                ),
                lambda mq, q, mp, p: _kl_gaussians(mq, q.tril(), mp, p.tril()),
                lambda mq, q, mp, p: (
                    _kl_gaussians(mq, q, mp, p)
                    + log_abs_det(q)
                    - log_abs_det(p)
                    + diagonal(p).log().sum(-1)
                    - diagonal(q).log().sum(-1)
                ),
                lambda mq, q, mp, p: (
                    0.5
                    * (
                        (torch.linalg.solve_triangular(p, q, upper=False) ** 2).sum((-2, -1))
                        + (torch.linalg.solve_triangular(p, (mq - mp).unsqueeze(-1), upper=False) ** 2).sum((-2, -1))
                        - mq.shape[-1]
                    )
                    + log_abs_det(p)
                    - log_abs_det(q)
                ),
            ),
        ),
        Mistake(
            "diagonal-only",
            "The numbers beside the diagonals do nothing in your answer.",
            (
                lambda mq, q, mp, p: kl_divergence(Normal(mq, diagonal(q).abs()), Normal(mp, diagonal(p).abs())).sum(
                    -1
                ),
                lambda mq, q, mp, p: kl_divergence(Normal(mq, diagonal(q)), Normal(mp, diagonal(p))).sum(-1),
                lambda mq, q, mp, p: kl_divergence(
                    Normal(mq, diagonal(q @ q.mT).sqrt()), Normal(mp, diagonal(p @ p.mT).sqrt())
                ).sum(-1),
            ),
        ),
        Mistake(
            "log-det-without-abs",
            "A determinant can be negative, and its logarithm is then not a number. Which determinant is positive for "
            "every invertible S?",
            (
                lambda mq, q, mp, p: (
                    _kl_gaussians(mq, q, mp, p) + log_abs_det(q) - log_abs_det(p) + torch.logdet(p) - torch.logdet(q)
                ),
                lambda mq, q, mp, p: (
                    _kl_gaussians(mq, q, mp, p)
                    - log_abs_det(torch.linalg.solve(p, q))
                    + torch.logdet(torch.linalg.solve(p, q))
                ),
            ),
        ),
        Mistake(
            "kl-reversed",
            "That is the divergence of p from q. The two directions differ; under which of the two is the expectation?",
            (lambda mq, q, mp, p: _kl_gaussians(mp, p, mq, q),),
        ),
        Mistake(
            "transposed",
            "S^T S stands where the covariance should be. They have equal traces, and are not equal.",
            (lambda mq, q, mp, p: _kl_gaussians(mq, q.mT, mp, p.mT),),
        ),
        Mistake(
            "mean-for-sum",
            "You average over dimensions. Nothing in a divergence is an average over them.",
            (lambda mq, q, mp, p: _kl_gaussians(mq, q, mp, p) / mq.shape[1],),
        ),
        Mistake(
            "missing-prior-mean",
            "Shift both Gaussians by the same vector: the divergence must not change. Does yours?",
            (lambda mq, q, mp, p: _kl_gaussians(mq, q, torch.zeros_like(mp), p),),
        ),
        Mistake(
            "missing-prior-scale",
            "Your answer does not depend on the covariance of p.",
            (lambda mq, q, mp, p: _kl_gaussians(mq, q, mp, torch.eye(mq.shape[-1], dtype=mq.dtype).expand_as(p)),),
        ),
        Mistake(
            "reduced-over-batch",
            "Examples of the batch have been summed or averaged. Each keeps its own divergence.",
            (
                lambda mq, q, mp, p: _kl_gaussians(mq, q, mp, p).sum().expand(len(mq)),
                lambda mq, q, mp, p: _kl_gaussians(mq, q, mp, p).mean().expand(len(mq)),
            ),
        ),
        Mistake("trace-for-frobenius", "E|S_p^-1 S_q epsilon|^2 is not the trace of S_p^-1 S_q."),
        Mistake(
            "covariance-as-scale",
            "S S^T stands where S belongs: your covariances are of the fourth order in S.",
            (
                lambda mq, q, mp, p: _kl_gaussians(mq, q @ q.mT, mp, p @ p.mT),
                lambda mq, q, mp, p: _kl_gaussians(mq, (q @ q.mT).tril(), mp, (p @ p.mT).tril()),
            ),
        ),
        Mistake(
            "missing-prior",
            "Your answer does not depend on p.",
            (
                lambda mq, q, mp, p: _kl_gaussians(
                    mq, q, torch.zeros_like(mp), torch.eye(mq.shape[-1], dtype=mq.dtype).expand_as(p)
                ),
            ),
        ),
        Mistake(
            "means-added",
            "Shift both Gaussians by the same vector: the divergence must not change. Does yours?",
            (lambda mq, q, mp, p: _kl_gaussians(mq, q, -mp, p),),
        ),
        Mistake("norm-not-squared", "Scale both S by the same number: which powers cancel?"),
        Mistake("absolute-value", "A difference of log-determinants may be negative: why an absolute value?"),
        Mistake("elementwise-product", "The trace of a product is not the product of the diagonals."),
        Mistake("missing-precision", "Distances are counted in units of p's spread. Where does that enter?"),
        Mistake(
            "covariance-for-precision", "A wide p should make the divergence smaller in that direction, not larger."
        ),
        Mistake("log-det-factor", "log det S, or log det S S^T? They differ by a factor."),
        *MISSING,
        *FACTORS,
        *shared("not-reduced", "wrong-axis", "wrong-base"),
    ),
)
