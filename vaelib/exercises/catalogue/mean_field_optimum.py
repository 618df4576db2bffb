"""Exercise `mean-field-optimum`: the best factorised Gaussian. Chapter: "Q3.3"."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from vaelib.exercises.draws import between, normal
from vaelib.exercises.exercise import Exercise, Mistake, Probe


def _probes(generator: Generator) -> list[Probe]:
    probes = []
    for dim in (1, 1, 2, 2, 3, 3, 4, 5):
        basis = torch.linalg.qr(torch.randn((dim, dim), generator=generator, dtype=torch.float64)).Q
        values = between(generator, 0.4, 0.9, dim) + 2.0 * torch.arange(dim) / dim
        matrix = basis @ torch.diag(values) @ basis.mT
        precision = (100 * (matrix + matrix.mT) / 2).round() / 100
        probes.append(Probe((normal(generator, dim), precision)))
    return probes


def _variance(precision: Tensor) -> Tensor:
    return 1 / precision.diagonal()


MEAN_FIELD = Exercise(
    name="mean-field-optimum",
    arguments=("mean", "precision"),
    right=lambda mean, precision: (mean, _variance(precision)),
    probes=_probes,
    mistakes=(
        Mistake(
            "marginal-variance",
            "Those are the variances of the marginals, which minimise KL(p to q). Under KL(q to p), is q allowed mass "
            "where p has hardly any?",
            (lambda m, p: (m, torch.linalg.inv(p).diagonal()),),
        ),
        Mistake(
            "std-for-variance",
            "A standard deviation is returned where the variance is asked for.",
            (
                lambda m, p: (m, _variance(p).sqrt()),
                lambda m, p: (m, torch.linalg.inv(p).diagonal().sqrt()),
            ),
        ),
        Mistake(
            "precision-for-variance",
            "A precision is the inverse of a variance.",
            (lambda m, p: (m, p.diagonal()), lambda m, p: (m, 1 / torch.linalg.inv(p).diagonal())),
        ),
        Mistake(
            "variance-squared",
            "A square too many: the diagonal of the precision has the unit of 1 / variance already.",
            (lambda m, p: (m, _variance(p) ** 2),),
        ),
        Mistake(
            "log-for-variance",
            "A logarithm is returned where the variance is asked for.",
            (lambda m, p: (m, _variance(p).log()), lambda m, p: (m, p.diagonal().log())),
        ),
        Mistake("swapped", "First the mean, then the variance.", (lambda m, p: (_variance(p), m),)),
        Mistake(
            "mean-transformed",
            "The mean of the target is given, and no coordinate of the best factorised q is pulled away from it.",
            (
                lambda m, p: (p @ m, _variance(p)),
                lambda m, p: (torch.linalg.solve(p, m), _variance(p)),
                lambda m, p: (m * p.diagonal(), _variance(p)),
                lambda m, p: (m / p.diagonal(), _variance(p)),
                lambda m, p: (p @ m / p.diagonal(), _variance(p)),
            ),
        ),
        Mistake("missing-mean", "Where is the best q centred?", (lambda m, p: (torch.zeros_like(m), _variance(p)),)),
        Mistake(
            "not-factorised",
            "A factorised Gaussian has a variance for each coordinate, no matrix.",
            (
                lambda m, p: (m, torch.linalg.inv(p)),
                lambda m, p: (m, torch.diag(_variance(p))),
                lambda m, p: (m, 1 / p),
                lambda m, p: (m, p),
            ),
        ),
        Mistake(
            "eigenvalues",
            "Those are the variances along the principal axes of p. The factors of q are along the coordinates.",
            (
                lambda m, p: (m, 1 / torch.linalg.eigvalsh(p)),
                lambda m, p: (m, torch.linalg.eigvalsh(torch.linalg.inv(p))),
                lambda m, p: (m, 1 / torch.linalg.eigvalsh(p).flip(0)),
            ),
        ),
        Mistake(
            "sums-of-rows",
            "Sums over rows of the precision: which of its entries multiplies z_k squared?",
            (
                lambda m, p: (m, 1 / p.sum(-1)),
                lambda m, p: (m, 1 / p.abs().sum(-1)),
                lambda m, p: (m, torch.linalg.inv(p).sum(-1)),
                lambda m, p: (m, 1 / p[0]),
            ),
        ),
        Mistake(
            "one-variance",
            "All coordinates have been given one variance. Each has its own.",
            (
                lambda m, p: (m, (len(p) / p.diagonal().sum()).expand_as(m)),
                lambda m, p: (m, _variance(p).mean().expand_as(m)),
                lambda m, p: (m, torch.ones_like(m)),
            ),
        ),
        Mistake("sign", "A variance is positive.", (lambda m, p: (m, -_variance(p)), lambda m, p: (-m, _variance(p)))),
        Mistake(
            "cholesky-factor",
            "The diagonal of a Cholesky factor has conditional precisions in it too, but each given some of the "
            "coordinates alone. Given which ones is z_k here?",
            (
                lambda m, p: (m, 1 / torch.linalg.cholesky(p).diagonal() ** 2),
                lambda m, p: (m, 1 / torch.linalg.cholesky(p).diagonal()),
                lambda m, p: (m, torch.linalg.cholesky(torch.linalg.inv(p)).diagonal() ** 2),
                lambda m, p: (m, torch.linalg.cholesky(torch.linalg.inv(p)).diagonal()),
            ),
        ),
        Mistake(
            "missing-half",
            "The variance is twice as large as it should be. Compare the exponents of the two densities.",
            (lambda m, p: (m, 2 * _variance(p)),),
        ),
        Mistake(
            "extra-half",
            "The variance is half as large as it should be. Compare the exponents of the two densities.",
            (lambda m, p: (m, 0.5 * _variance(p)),),
        ),
    ),
)
