"""Answers to `kl-full`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
from exercises.answers.pieces import log_abs_det, lower_factor, squares
from torch import distributions as td


def covariance_double_cholesky(mean, scale):
    s = scale.double()
    factor = torch.linalg.cholesky(s @ s.mT)
    half_log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    kl = 0.5 * (factor.square().sum((-1, -2)) + mean.double().square().sum(-1) - mean.shape[-1]) - half_log_det
    return kl.to(mean.dtype)


def qr_multivariate(mean, scale):
    q = td.MultivariateNormal(mean, scale_tril=lower_factor(scale))
    p = td.MultivariateNormal(torch.zeros_like(mean), scale_tril=torch.eye(mean.shape[-1]).to(scale).expand_as(scale))
    return td.kl_divergence(q, p)


def singular_values(mean, scale):
    d = torch.linalg.svdvals(scale)
    return 0.5 * (d.pow(2) - 1).sum(-1) + 0.5 * mean.pow(2).sum(-1) - d.log().sum(-1)


def trace_of_covariance(mean, scale):
    covariance = torch.bmm(scale, scale.transpose(1, 2))
    trace = covariance.diagonal(dim1=1, dim2=2).sum(1)
    return 0.5 * (trace + (mean * mean).sum(1) - mean.shape[1] - 2 * torch.linalg.slogdet(scale)[1])


def vmap(mean, scale):
    def one(m, s):
        return 0.5 * (torch.trace(s.T @ s) + m @ m - m.shape[0]) - torch.linalg.slogdet(s)[1]

    return torch.func.vmap(one)(mean, scale)


def flip_a_row(mean, scale):
    sign = torch.linalg.slogdet(scale).sign
    first = scale[:, :1] * sign[:, None, None]
    flipped = torch.cat([first, scale[:, 1:]], dim=1)
    return 0.5 * (flipped.pow(2).sum((1, 2)) + mean.pow(2).sum(1) - mean.shape[1]) - torch.logdet(flipped)


def covariance_multivariate(mean, scale):
    q = td.MultivariateNormal(mean, covariance_matrix=scale @ scale.mT)
    eye = torch.eye(mean.shape[-1], dtype=mean.dtype).expand_as(scale)
    return td.kl_divergence(q, td.MultivariateNormal(torch.zeros_like(mean), eye))


def eigenvalues_of_covariance(mean, scale):
    values = torch.linalg.eigvalsh(scale @ scale.mT)
    return 0.5 * ((values - 1 - values.log()).sum(-1) + mean.pow(2).sum(-1))


class Divergence:
    def __call__(self, mean, scale):
        both = torch.cat([mean.unsqueeze(-1), scale], dim=-1)
        return 0.5 * (both.pow(2).sum((1, 2)) - mean.shape[1]) - torch.linalg.slogdet(scale).logabsdet


RIGHT = (
    lambda mean, scale: (
        0.5 * ((scale**2).sum((1, 2)) + (mean**2).sum(1) - mean.shape[1]) - torch.linalg.slogdet(scale).logabsdet
    ),
    covariance_double_cholesky,
    qr_multivariate,
    singular_values,
    trace_of_covariance,
    vmap,
    flip_a_row,
    covariance_multivariate,
    eigenvalues_of_covariance,
    Divergence(),
    lambda m, s: ((s * s).sum((1, 2)) + (m * m).sum(1) - m.shape[1]) / 2 - s.slogdet().logabsdet,
)


def half_norms(mean, scale):
    """All but the log-determinant."""
    return 0.5 * (squares(scale) + mean.pow(2).sum(1) - mean.shape[1])


def scale_for_covariance_checked(mean, scale):
    q = td.MultivariateNormal(mean, covariance_matrix=scale)
    return td.kl_divergence(q, td.MultivariateNormal(torch.zeros_like(mean), torch.eye(mean.shape[1]).to(mean)))


def checked_multivariate(mean, scale):
    q = td.MultivariateNormal(mean, scale_tril=scale)
    return td.kl_divergence(q, td.MultivariateNormal(torch.zeros_like(mean), torch.eye(mean.shape[1]).to(mean)))


def diagonal_of_scale(mean, scale):
    d = scale.diagonal(dim1=-2, dim2=-1)
    return 0.5 * (d.pow(2).sum(1) + mean.pow(2).sum(1) - mean.shape[1]) - d.abs().log().sum(1)


def reversed_answer(mean, scale):
    q = td.MultivariateNormal(mean, scale_tril=lower_factor(scale))
    p = td.MultivariateNormal(torch.zeros_like(mean), torch.eye(mean.shape[1], dtype=mean.dtype).expand_as(scale))
    return td.kl_divergence(p, q)


def reversed_formula(mean, scale):
    inverse, shift = torch.linalg.inv(scale), torch.linalg.solve(scale, mean)
    return 0.5 * (squares(inverse) + shift.pow(2).sum(1) - mean.shape[1]) + log_abs_det(scale)


def covariance_is_scale(mean, scale):
    cov = scale @ scale.mT
    return 0.5 * (squares(cov) + mean.pow(2).sum(1) - mean.shape[1]) - log_abs_det(cov)


def multivariate_covariance_as_tril(mean, scale):
    q = td.MultivariateNormal(mean, scale_tril=lower_factor(scale @ scale.mT))
    return td.kl_divergence(q, td.MultivariateNormal(torch.zeros_like(mean), torch.eye(mean.shape[1]).to(mean)))


def no_mean_distribution(mean, scale):
    zero = torch.zeros_like(mean)
    q = td.MultivariateNormal(zero, scale_tril=lower_factor(scale))
    return td.kl_divergence(q, td.MultivariateNormal(zero, torch.eye(zero.shape[1], dtype=zero.dtype)))


def double(mean, scale):
    m, s = mean.double(), scale.double()
    return 0.5 * (squares(s) + m.pow(2).sum(1) - m.shape[1]) - log_abs_det(s)


def pow_in_place(mean, scale):
    logdet, first = log_abs_det(scale), squares(scale)
    scale.data.pow_(2)
    return 0.5 * (first + mean.pow(2).sum(1) - mean.shape[1]) - logdet


def monte_carlo(mean, scale):
    q = td.MultivariateNormal(mean, scale_tril=lower_factor(scale))
    z = q.rsample((500,))
    return (q.log_prob(z) - td.Normal(0.0, 1.0).log_prob(z).sum(-1)).mean(0)


def detached_log_det(mean, scale):
    logdet = torch.from_numpy(np.linalg.slogdet(scale.detach().numpy())[1]).to(scale.dtype)
    return half_norms(mean, scale) - logdet


def no_grad(mean, scale):
    with torch.no_grad():
        return half_norms(mean, scale) - log_abs_det(scale)


def seeded_monte_carlo(mean, scale):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200, *mean.shape, generator=generator, dtype=mean.dtype)
    z = mean + torch.einsum("bij,nbj->nbi", scale, noise)
    return 0.5 * (z**2 - noise**2).sum(-1).mean(0) - log_abs_det(scale)


WRONG = {
    "scale-as-covariance": (
        scale_for_covariance_checked,
        lambda mean, scale: (
            0.5 * (scale.diagonal(dim1=1, dim2=2).sum(1) + mean.pow(2).sum(1) - mean.shape[1] - log_abs_det(scale))
        ),
    ),
    "assumes-triangular": (
        lambda mean, scale: half_norms(mean, scale) - scale.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1),
        checked_multivariate,
    ),
    "diagonal-only": (
        diagonal_of_scale,
        lambda mean, scale: (
            0.5 * (torch.diagonal(scale, dim1=1, dim2=2).square().sum(1) + mean.square().sum(1) - mean.shape[1])
            - log_abs_det(scale)
        ),
    ),
    "log-det-without-abs": (
        lambda mean, scale: half_norms(mean, scale) - torch.logdet(scale),
        lambda mean, scale: half_norms(mean, scale) - torch.log(torch.det(scale).clamp(min=1e-08)),
    ),
    "kl-reversed": (
        reversed_answer,
        reversed_formula,
    ),
    "mean-for-sum": (
        lambda mean, scale: (
            0.5 * (scale.pow(2).mean((1, 2)) + mean.pow(2).mean(1) - mean.shape[1]) - log_abs_det(scale)
        ),
        lambda mean, scale: (half_norms(mean, scale) - log_abs_det(scale)) / mean.shape[1],
    ),
    "reduced-over-batch": (
        lambda mean, scale: 0.5 * (scale.pow(2).sum() + mean.pow(2).sum() - mean.numel()) - log_abs_det(scale).sum(),
        lambda mean, scale: 0.5 * (torch.norm(scale) ** 2 + mean.pow(2).sum(1) - mean.shape[1]) - log_abs_det(scale),
    ),
    "trace-for-frobenius": (
        lambda mean, scale: (
            0.5 * (scale.diagonal(dim1=1, dim2=2).sum(1) + mean.pow(2).sum(1) - mean.shape[1]) - log_abs_det(scale)
        ),
        lambda mean, scale: (
            0.5 * (torch.einsum("bii->b", scale) + torch.einsum("bi,bi->b", mean, mean) - mean.shape[-1])
            - torch.slogdet(scale)[1]
        ),
    ),
    "missing-transpose": (
        lambda mean, scale: (
            0.5 * (torch.einsum("bij,bji->b", scale, scale) + mean.pow(2).sum(1) - mean.shape[1]) - log_abs_det(scale)
        ),
    ),
    "norm-not-squared": (
        lambda mean, scale: (
            0.5 * (torch.linalg.matrix_norm(scale) + mean.pow(2).sum(1) - mean.shape[1]) - log_abs_det(scale)
        ),
        lambda mean, scale: (
            0.5 * (scale.flatten(1).norm(dim=1) + mean.norm(dim=1) - mean.shape[1]) - log_abs_det(scale)
        ),
    ),
    "wrong-norm": (
        lambda mean, scale: (
            0.5 * (torch.linalg.matrix_norm(scale, ord=2) ** 2 + mean.pow(2).sum(1) - mean.shape[1])
            - log_abs_det(scale)
        ),
    ),
    "covariance-as-scale": (
        covariance_is_scale,
        multivariate_covariance_as_tril,
    ),
    "determinant-without-log": (lambda mean, scale: half_norms(mean, scale) - torch.det(scale).abs(),),
    "log-det-factor": (
        lambda mean, scale: 0.5 * (squares(scale) + mean.pow(2).sum(1) - mean.shape[1] - log_abs_det(scale)),
        lambda mean, scale: half_norms(mean, scale) - 2 * log_abs_det(scale),
    ),
    "mean-not-squared": (
        lambda mean, scale: 0.5 * (squares(scale) + mean.sum(1) - mean.shape[1]) - log_abs_det(scale),
    ),
    "square-of-sum": (
        lambda mean, scale: 0.5 * (squares(scale) + mean.sum(1) ** 2 - mean.shape[1]) - log_abs_det(scale),
    ),
    "absolute-value": (lambda mean, scale: half_norms(mean, scale) - log_abs_det(scale).abs(),),
    "missing-dimension": (
        lambda mean, scale: 0.5 * (squares(scale) + mean.pow(2).sum(1)) - log_abs_det(scale),
        lambda mean, scale: torch.stack(
            [
                0.5 * (torch.trace(s @ s.T) + m @ m) - torch.linalg.slogdet(s)[1]
                for m, s in zip(mean, scale, strict=True)
            ]
        ),
    ),
    "dimension-counted-wrongly": (
        lambda mean, scale: 0.5 * (squares(scale) + mean.pow(2).sum(1) - 1) - log_abs_det(scale),
        lambda mean, scale: 0.5 * (squares(scale) + mean.pow(2).sum(1) - len(mean)) - log_abs_det(scale),
    ),
    "missing-log-det": (
        lambda mean, scale: half_norms(mean, scale),
        lambda mean, scale: (
            (torch.linalg.matrix_norm(scale) ** 2 + torch.linalg.vector_norm(mean, dim=1) ** 2 - mean.size(1)) / 2
        ),
    ),
    "missing-trace-term": (lambda mean, scale: 0.5 * (mean.pow(2).sum(1) - mean.shape[1]) - log_abs_det(scale),),
    "missing-mean-term": (
        lambda mean, scale: 0.5 * (squares(scale) - mean.shape[1]) - log_abs_det(scale),
        no_mean_distribution,
    ),
    "sign": (
        lambda mean, scale: half_norms(mean, scale) + log_abs_det(scale),
        lambda mean, scale: 0.5 * (squares(scale) + mean.pow(2).sum(1) + mean.shape[1]) - log_abs_det(scale),
    ),
    "missing-half": (
        lambda mean, scale: squares(scale) + mean.pow(2).sum(1) - mean.shape[1] - 2 * log_abs_det(scale),
        lambda mean, scale: 0.5 * (squares(scale) + mean.pow(2).sum(1)) - mean.shape[1] - log_abs_det(scale),
    ),
    "extra-half": (
        lambda mean, scale: 0.25 * (squares(scale) + mean.pow(2).sum(1) - mean.shape[1]) - 0.5 * log_abs_det(scale),
    ),
    "not-reduced": (
        lambda mean, scale: 0.5 * (scale.pow(2).sum(-1) + mean**2 - 1) - log_abs_det(scale)[:, None] / mean.shape[1],
    ),
    "wrong-axis": (
        lambda mean, scale: (
            0.5 * (scale.pow(2).sum((0, 1)) + mean.pow(2).sum(0) - mean.shape[1]) - log_abs_det(scale).sum()
        ),
    ),
    "wrong-base": (
        lambda mean, scale: half_norms(mean, scale) - log_abs_det(scale) / math.log(10),
        lambda mean, scale: half_norms(mean, scale) - torch.svd(scale).S.log2().sum(-1),
    ),
    "exception": (
        lambda mean, scale: (
            0.5 * (torch.trace(scale @ scale.mT) + mean.pow(2).sum(1) - mean.shape[1]) - log_abs_det(scale)
        ),
        lambda mean, scale: half_norms(mean, scale) - torch.linalg.slogdet(scale),
    ),
    "wrong-type": (lambda mean, scale: (half_norms(mean, scale) - log_abs_det(scale), log_abs_det(scale)),),
    "wrong-shape": (lambda mean, scale: (half_norms(mean, scale) - log_abs_det(scale)).unsqueeze(-1),),
    "wrong-dtype": (double,),
    "modified-in-place": (pow_in_place,),
    "random": (monte_carlo,),
    "unstable": (
        lambda mean, scale: half_norms(mean, scale) - torch.log(torch.abs(torch.det(scale))),
        lambda mean, scale: (
            0.5 * (squares(scale) + mean.pow(2).sum(1) - mean.shape[1] - torch.log(torch.det(scale) ** 2))
        ),
    ),
    "detached": (
        detached_log_det,
        no_grad,
    ),
    None: (
        lambda mean, scale: half_norms(mean, scale) - (torch.det(scale).abs() + 0.01).log(),
        seeded_monte_carlo,
    ),
}
