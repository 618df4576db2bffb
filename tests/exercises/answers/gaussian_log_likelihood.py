"""Answers to `gaussian-log-likelihood`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercises.answers.pieces import LOG_2PI
from torch import distributions as td
from torch import nn


def standardised(mean, log_var, x):
    u = (x - mean) * torch.exp(-0.5 * log_var)
    return -0.5 * (u * u).sum(1) - 0.5 * log_var.sum(1) - 0.5 * x.shape[1] * np.log(2 * np.pi)


def change_of_variables(mean, log_var, x):
    base = td.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    std = torch.exp(0.5 * log_var)
    return td.TransformedDistribution(base, [td.AffineTransform(mean, std)]).log_prob(x).sum(-1)


def loops(mean, log_var, x):
    out = []
    for b in range(x.shape[0]):
        total = 0.0
        for d in range(x.shape[1]):
            total = total - 0.5 * (LOG_2PI + log_var[b, d] + (x[b, d] - mean[b, d]) ** 2 / torch.exp(log_var[b, d]))
        out.append(total)
    return torch.stack(out)


def einsum(mean, log_var, x):
    r = x - mean
    mahalanobis = torch.einsum("bd,bd,bd->b", r, torch.exp(-log_var), r)
    return -0.5 * mahalanobis - 0.5 * torch.einsum("bd->b", log_var) - 0.5 * LOG_2PI * x.size(1)


def vmap(mean, log_var, x):
    def one(m, lv, v):
        return td.Normal(m, torch.exp(lv / 2), validate_args=False).log_prob(v).sum()

    return torch.func.vmap(one)(mean, log_var, x)


def log_of_exp(mean, log_var, x):
    var = torch.exp(log_var)
    return -0.5 * (torch.log(2 * math.pi * var) + (x - mean) ** 2 / var).sum(-1)


class LogLikelihood(nn.Module):
    def __init__(self):
        super().__init__()
        self.loss = nn.GaussianNLLLoss(full=True, reduction="none", eps=1e-30)

    def forward(self, mean, log_var, x):
        return torch.stack([-self.loss(m, v, s).sum() for m, v, s in zip(mean, x, log_var.exp(), strict=True)])


RIGHT = (
    lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1),
    lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var)).log_prob(x).sum(-1),
    lambda mean, log_var, x: td.Independent(td.Normal(mean, (log_var / 2).exp()), 1).log_prob(x),
    lambda mean, log_var, x: (
        -F.gaussian_nll_loss(mean, x, log_var.exp(), full=True, eps=1e-30, reduction="none").sum(-1)
    ),
    lambda mean, log_var, x: td.MultivariateNormal(mean, scale_tril=torch.diag_embed((0.5 * log_var).exp())).log_prob(
        x
    ),
    standardised,
    change_of_variables,
    loops,
    einsum,
    vmap,
    lambda mean, log_var, x: -F.gaussian_nll_loss(mean, x, log_var.exp(), full=True, reduction="none").sum(-1),
    log_of_exp,
    LogLikelihood(),
    lambda m, lv, x: -0.5 * ((x - m) ** 2 / lv.exp() + lv + math.log(math.tau)).sum(1),
)


def log_std(mean, log_var, x):
    std = torch.exp(log_var)
    return (-0.5 * LOG_2PI - torch.log(std) - 0.5 * ((x - mean) / std) ** 2).sum(-1)


def sum_of_densities(mean, log_var, x):
    var = log_var.exp()
    return (torch.exp(-0.5 * (x - mean) ** 2 / var) / torch.sqrt(2 * math.pi * var)).sum(1)


def clamped(mean, log_var, x):
    log_var = log_var.clamp(-1, 1)
    return -0.5 * (LOG_2PI + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1)


def exp_in_place(mean, log_var, x):
    old = log_var.clone()
    log_var.data.exp_()
    return -0.5 * (LOG_2PI + old + (x - mean) ** 2 / old.exp()).sum(-1)


def own_sample(mean, log_var, x):
    q = td.Normal(mean, torch.exp(0.5 * log_var))
    return q.log_prob(q.rsample()).sum(-1)


def log_of_density(mean, log_var, x):
    var = log_var.exp()
    return torch.log(torch.exp(-0.5 * (x - mean) ** 2 / var) / torch.sqrt(2 * math.pi * var)).sum(-1)


def log_of_log_var(mean, log_var, x):
    var = log_var.abs() + 1e-6
    return -0.5 * (torch.log(2 * math.pi * var) + (x - mean) ** 2 / var).sum(-1)


def epsilon(mean, log_var, x):
    var = log_var.exp() + 1e-2
    return -0.5 * (torch.log(2 * math.pi * var) + (x - mean) ** 2 / var).sum(-1)


WRONG = {
    "log-var-as-std": (
        lambda mean, log_var, x: td.Normal(mean, log_var, validate_args=False).log_prob(x).sum(-1),
        lambda mean, log_var, x: td.Normal(mean, log_var).log_prob(x).sum(-1),
    ),
    "log-var-as-variance": (
        lambda mean, log_var, x: -0.5 * (LOG_2PI + torch.log(log_var) + (x - mean) ** 2 / log_var).sum(-1),
        lambda mean, log_var, x: -F.gaussian_nll_loss(mean, x, log_var, full=True, reduction="none").sum(-1),
    ),
    "log-var-as-log-std": (
        log_std,
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + ((x - mean) / log_var.exp()) ** 2).sum(-1),
    ),
    "mean-for-sum": (
        lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var)).log_prob(x).mean(-1),
        lambda mean, log_var, x: torch.stack(
            [
                -F.gaussian_nll_loss(m, v, s, full=True, eps=1e-30)
                for m, v, s in zip(mean, x, log_var.exp(), strict=True)
            ]
        ),
    ),
    "reduced-over-batch": (
        lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var)).log_prob(x).sum(),
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1).mean(),
    ),
    "not-log": (
        lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var)).log_prob(x).exp().prod(-1),
        sum_of_densities,
    ),
    "std-for-variance": (
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + (x - mean) ** 2 / torch.exp(0.5 * log_var)).sum(-1),
        lambda mean, log_var, x: (
            -F.gaussian_nll_loss(mean, x, torch.exp(0.5 * log_var), full=True, reduction="none").sum(-1)
        ),
    ),
    "swapped": (lambda mean, log_var, x: td.Normal(log_var, torch.exp(0.5 * mean)).log_prob(x).sum(-1),),
    "sign": (
        lambda mean, log_var, x: 0.5 * (LOG_2PI + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1),
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + (x + mean) ** 2 / log_var.exp()).sum(-1),
    ),
    "clipped": (clamped,),
    "multiplied-by-variance": (
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + (x - mean) ** 2 * log_var.exp()).sum(-1),
        lambda mean, log_var, x: td.Normal(mean, torch.exp(-0.5 * log_var)).log_prob(x).sum(-1),
    ),
    "not-squared": (
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + (x - mean) / log_var.exp()).sum(-1),
        lambda mean, log_var, x: td.Laplace(mean, torch.exp(0.5 * log_var)).log_prob(x).sum(-1),
    ),
    "missing-variance": (
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + (x - mean) ** 2).sum(-1),
        lambda mean, log_var, x: -F.mse_loss(mean, x, reduction="none").sum(-1),
    ),
    "variance-without-log": (
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var.exp() + (x - mean) ** 2 / log_var.exp()).sum(-1),
        lambda mean, log_var, x: (-0.5 * LOG_2PI - (log_var / 2).exp() - 0.5 * (x - mean) ** 2 / log_var.exp()).sum(-1),
    ),
    "missing-constant": (
        lambda mean, log_var, x: -0.5 * (log_var + (x - mean) ** 2 / log_var.exp()).sum(-1),
        lambda mean, log_var, x: -F.gaussian_nll_loss(mean, x, log_var.exp(), eps=1e-30, reduction="none").sum(-1),
    ),
    "wrong-constant": (
        lambda mean, log_var, x: -0.5 * (2 * math.pi + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1),
        lambda mean, log_var, x: -0.5 * (math.log(math.pi) + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1),
    ),
    "constant-counted-wrongly": (
        lambda mean, log_var, x: -0.5 * (log_var + (x - mean) ** 2 / log_var.exp()).sum(-1) - 0.5 * LOG_2PI,
        lambda mean, log_var, x: -0.5 * (len(x) * LOG_2PI + (log_var + (x - mean) ** 2 / log_var.exp()).sum(-1)),
    ),
    "missing-log-det": (
        lambda mean, log_var, x: -0.5 * (LOG_2PI + (x - mean) ** 2 / log_var.exp()).sum(-1),
        lambda mean, log_var, x: td.Normal(0.0, 1.0).log_prob((x - mean) / torch.exp(0.5 * log_var)).sum(-1),
    ),
    "missing-distance": (
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var).sum(-1),
        lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var)).log_prob(mean).sum(-1),
    ),
    "missing-half": (
        lambda mean, log_var, x: -(LOG_2PI + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1),
        lambda mean, log_var, x: -0.5 * (log_var + (x - mean) ** 2 / log_var.exp()).sum(-1) - x.shape[1] * LOG_2PI,
    ),
    "extra-half": (lambda mean, log_var, x: -0.25 * (LOG_2PI + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1),),
    "not-reduced": (lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var)).log_prob(x),),
    "wrong-axis": (
        lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var)).log_prob(x).sum(0),
        lambda mean, log_var, x: -0.5 * torch.einsum("bd->d", LOG_2PI + log_var + (x - mean) ** 2 / log_var.exp()),
    ),
    "wrong-base": (
        lambda mean, log_var, x: -0.5 * (math.log10(2 * math.pi) + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1),
    ),
    "wrong-shape": (
        lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var)).log_prob(x).sum(1, keepdim=True),
        lambda mean, log_var, x: td.Independent(td.Normal(mean, torch.exp(0.5 * log_var)), 1).log_prob(x[:, None]),
    ),
    "wrong-dtype": (
        lambda mean, log_var, x: (
            td.Normal(mean.double(), torch.exp(0.5 * log_var.double())).log_prob(x.double()).sum(-1)
        ),
    ),
    "modified-in-place": (exp_in_place,),
    "random": (own_sample,),
    "unstable": (
        log_of_density,
        lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var)).log_prob(x).exp().prod(-1).log(),
    ),
    "detached": (
        lambda mean, log_var, x: td.Normal(mean, torch.exp(0.5 * log_var).detach()).log_prob(x).sum(-1),
        lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + ((x - mean) ** 2).data / log_var.exp()).sum(-1),
    ),
    None: (
        log_of_log_var,
        epsilon,
    ),
}
