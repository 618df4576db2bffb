"""Answers to `mean-field-optimum`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import torch
from torch import distributions as td

MeanField = namedtuple("MeanField", ["mean", "variance"])


def coordinate_ascent(mean, precision):
    m = mean.clone()
    var = torch.ones_like(mean)
    for _ in range(2):
        for i in range(len(mean)):
            var[i] = 1 / precision[i, i]
            others = [j for j in range(len(mean)) if j != i]
            m[i] = mean[i] - var[i] * (precision[i, others] * (m[others] - mean[others])).sum()
    return m, var


def conditional_variance(mean, precision):
    cov = torch.linalg.inv(precision.double())
    out = []
    for i in range(len(mean)):
        rest = [j for j in range(len(mean)) if j != i]
        cross = cov[i, rest]
        out.append(cov[i, i] - cross @ torch.linalg.solve(cov[rest][:, rest], cross))
    return mean, torch.stack(out).to(mean.dtype)


def hessian(mean, precision):
    p = precision.detach()
    hessian = torch.func.hessian(lambda z: 0.5 * z @ p @ z)(torch.zeros_like(mean))
    return mean, 1 / hessian.diagonal()


class Optimum:
    def __call__(self, mean, precision):
        return MeanField(mean, torch.ones_like(mean) / torch.diagonal(precision))


RIGHT = (
    lambda mean, precision: (mean, 1 / torch.diag(precision)),
    lambda mean, precision: (mean.clone(), precision.diagonal().reciprocal()),
    lambda mean, precision: (mean, torch.stack([1.0 / precision[i, i] for i in range(mean.shape[0])])),
    lambda mean, precision: (mean, torch.einsum("ii->i", precision).pow(-1)),
    lambda mean, precision: (mean.detach().numpy().copy(), 1.0 / np.diag(precision.detach().numpy())),
    lambda mean, precision: (mean, torch.from_numpy(1 / np.diagonal(precision.detach().cpu().numpy()))),
    coordinate_ascent,
    lambda mean, precision: (mean, (precision * torch.eye(len(mean), dtype=precision.dtype)).sum(1) ** (-1)),
    lambda mean, precision: (mean, torch.linalg.inv(torch.diag(torch.diag(precision))).diagonal()),
    lambda mean, precision: (mean, torch.exp(-torch.log(torch.diagonal(precision)))),
    conditional_variance,
    hessian,
    lambda mean, precision: [mean, 1 / precision.diagonal()],
    Optimum(),
)


def sampled(mean, precision):
    z = td.MultivariateNormal(mean, precision_matrix=precision).sample((500,))
    return z.mean(0), z.var(0)


WRONG = {
    "marginal-variance": (
        lambda mean, precision: (mean, torch.diag(torch.linalg.inv(precision))),
        lambda mean, precision: (mean, td.MultivariateNormal(mean, precision_matrix=precision).variance),
        lambda mean, precision: (
            mean,
            torch.linalg.solve(precision, torch.eye(len(mean), dtype=mean.dtype)).diagonal(),
        ),
    ),
    "std-for-variance": (
        lambda mean, precision: (mean, precision.diagonal().rsqrt()),
        lambda mean, precision: (mean, torch.sqrt(1 / torch.diag(precision))),
    ),
    "precision-for-variance": (
        lambda mean, precision: (mean, torch.diag(precision)),
        lambda mean, precision: (mean, torch.einsum("ii->i", precision).clone()),
        lambda mean, precision: (mean, 1 / torch.linalg.inv(precision).diagonal()),
    ),
    "variance-squared": (lambda mean, precision: (mean, 1 / precision.diagonal() ** 2),),
    "log-for-variance": (lambda mean, precision: (mean, -torch.log(precision.diagonal())),),
    "swapped": (lambda mean, precision: (1 / torch.diag(precision), mean),),
    "mean-transformed": (
        lambda mean, precision: (precision @ mean, 1 / precision.diagonal()),
        lambda mean, precision: (torch.linalg.solve(precision, mean), 1 / precision.diagonal()),
        lambda mean, precision: (mean / precision.diagonal(), 1 / precision.diagonal()),
    ),
    "missing-mean": (lambda mean, precision: (torch.zeros_like(mean), 1 / torch.diag(precision)),),
    "not-factorised": (
        lambda mean, precision: (mean, torch.diag(1 / torch.diag(precision))),
        lambda mean, precision: (mean, 1 / precision),
        lambda mean, precision: (mean, torch.linalg.inv(precision)),
    ),
    "eigenvalues": (
        lambda mean, precision: (mean, 1 / torch.linalg.eigvalsh(precision)),
        lambda mean, precision: (mean, torch.linalg.svdvals(torch.linalg.inv(precision))),
    ),
    "sums-of-rows": (
        lambda mean, precision: (mean, 1 / precision.sum(1)),
        lambda mean, precision: (mean, 1 / precision.abs().sum(dim=-1)),
    ),
    "one-variance": (
        lambda mean, precision: (mean, (len(mean) / torch.trace(precision)).expand(len(mean))),
        lambda mean, precision: (mean, torch.full_like(mean, (1 / precision.diagonal()).mean().item())),
        lambda mean, precision: (mean, torch.ones_like(mean)),
    ),
    "sign": (
        lambda mean, precision: (-mean, 1 / torch.diag(precision)),
        lambda mean, precision: (mean, -1 / torch.diag(precision)),
    ),
    "cholesky-factor": (
        lambda mean, precision: (mean, 1 / torch.linalg.cholesky(precision).diagonal() ** 2),
        lambda mean, precision: (mean, 1 / torch.linalg.cholesky(precision).diagonal()),
    ),
    "missing-half": (lambda mean, precision: (mean, 2 / torch.diag(precision)),),
    "extra-half": (lambda mean, precision: (mean, 0.5 / torch.diag(precision)),),
    "exception": (
        lambda mean, precision: (mean, 1 / torch.diagonal(precision, dim1=1, dim2=2)),
        lambda mean, precision: (mean, 1 / torch.linalg.cholesky(-precision).diagonal()),
    ),
    "wrong-type": (
        lambda mean, precision: 1 / torch.diag(precision),
        lambda mean, precision: (mean, 1 / torch.diag(precision), precision),
    ),
    "wrong-shape": (
        lambda mean, precision: (mean[:, None], (1 / torch.diag(precision))[:, None]),
        lambda mean, precision: (mean, 1 / torch.diag(precision).mean()),
    ),
    "wrong-dtype": (lambda mean, precision: (mean.double(), 1 / torch.diag(precision.double())),),
    "modified-in-place": (lambda mean, precision: (mean, precision.diagonal().reciprocal_()),),
    "random": (sampled,),
    None: (
        lambda mean, precision: (mean, 1 / precision[0].abs().clamp(min=1e-3)),
        lambda mean, precision: (mean, (1 / torch.diag(precision)).clamp(max=0.2)),
    ),
}
