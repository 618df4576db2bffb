"""Answers to `kl-diagonal`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import math

import torch
from exercises.answers.pieces import LOG_2PI
from torch import distributions as td
from torch import nn


def independent(mean, log_var):
    q = td.Independent(td.Normal(mean, torch.exp(0.5 * log_var)), 1)
    p = td.Independent(td.Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    return td.kl_divergence(q, p)


def normal_summed(mean, log_var):
    prior = td.Normal(torch.tensor(0.0, dtype=mean.dtype), torch.tensor(1.0, dtype=mean.dtype))
    return td.kl_divergence(td.Normal(mean, (log_var / 2).exp()), prior).sum(1)


def multivariate(mean, log_var):
    q = td.MultivariateNormal(mean, scale_tril=torch.diag_embed(torch.exp(log_var / 2)))
    eye = torch.eye(mean.shape[-1], dtype=mean.dtype)
    return td.kl_divergence(q, td.MultivariateNormal(torch.zeros_like(mean), scale_tril=eye.expand_as(q.scale_tril)))


def loops(mean, log_var):
    out = []
    for b in range(mean.size(0)):
        total = torch.zeros((), dtype=mean.dtype)
        for k in range(mean.size(1)):
            total = total + 0.5 * (torch.exp(log_var[b, k]) + mean[b, k] ** 2 - 1.0 - log_var[b, k])
        out.append(total)
    return torch.stack(out)


def einsum(mean, log_var):
    std = torch.exp(log_var / 2)
    quadratic = torch.einsum("bk,bk->b", mean, mean) + torch.einsum("bk,bk->b", std, std)
    return 0.5 * (quadratic - mean.shape[-1]) - 0.5 * torch.einsum("bk->b", log_var)


def cross_entropy_minus_entropy(mean, log_var):
    entropy = 0.5 * (1 + LOG_2PI + log_var)
    cross = 0.5 * (LOG_2PI + mean**2 + torch.exp(log_var))
    return torch.sum(cross - entropy, -1)


def distribution_entropy(mean, log_var):
    q = td.Normal(mean, torch.exp(0.5 * log_var))
    cross = 0.5 * (LOG_2PI + q.mean**2 + q.variance)
    return (cross - q.entropy()).sum(-1)


def vmap(mean, log_var):
    def one(m, lv):
        return 0.5 * (m @ m + lv.exp().sum() - lv.sum() - lv.numel())

    return torch.func.vmap(one)(mean, log_var)


class Divergence(nn.Module):
    def forward(self, mean, log_var):
        std = torch.exp(0.5 * log_var)
        return (-torch.log(std) + (std**2 + mean**2) / 2 - 0.5).sum(1)


RIGHT = (
    lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum(-1),
    lambda mu, logvar: -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1),
    lambda mean, log_var: (torch.expm1(log_var) - log_var + mean.square()).sum(dim=-1) / 2,
    independent,
    normal_summed,
    multivariate,
    loops,
    einsum,
    cross_entropy_minus_entropy,
    distribution_entropy,
    vmap,
    Divergence(),
    lambda m, lv: (0.5 * (m * m + lv.exp() - lv) - 0.5).sum(-1),
    lambda m, lv: torch.stack([(-0.5 * (1 + b - a.pow(2) - b.exp())).sum() for a, b in zip(m, lv, strict=True)]),
)


def log_var_is_std(mean, log_var):
    std = log_var
    return 0.5 * (std**2 + mean**2 - 1 - torch.log(std**2)).sum(-1)


def reversed_distribution(mean, log_var):
    q = td.Independent(td.Normal(mean, torch.exp(0.5 * log_var)), 1)
    p = td.Independent(td.Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    return td.kl_divergence(p, q)


def distribution_mean(mean, log_var):
    q = td.Normal(mean, torch.exp(0.5 * log_var))
    return td.kl_divergence(q, td.Normal(torch.zeros_like(mean), torch.ones_like(mean))).mean(dim=1)


def multivariate_of_std(mean, log_var):
    q = td.MultivariateNormal(mean, covariance_matrix=torch.diag_embed(torch.exp(0.5 * log_var)))
    p = td.MultivariateNormal(torch.zeros_like(mean), torch.eye(mean.shape[1], dtype=mean.dtype))
    return td.kl_divergence(q, p)


def clamped(mean, log_var):
    log_var = log_var.clamp(-1, 1)
    return 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum(-1)


def zero_mean_distribution(mean, log_var):
    q = td.Normal(torch.zeros_like(mean), torch.exp(0.5 * log_var))
    return td.kl_divergence(q, td.Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(-1)


def exp_in_place(mean, log_var):
    old = log_var.clone()
    log_var.data.exp_()
    return 0.5 * (old.exp() + mean**2 - 1 - old).sum(-1)


def monte_carlo(mean, log_var):
    q = td.Normal(mean, torch.exp(0.5 * log_var))
    z = q.rsample((1000,))
    return (q.log_prob(z) - td.Normal(0.0, 1.0).log_prob(z)).sum(-1).mean(0)


def epsilon_in_the_logarithm(mean, log_var):
    var = torch.exp(log_var)
    return 0.5 * (var + mean**2 - 1 - torch.log(var + 1e-8)).sum(-1)


def item(mean, log_var):
    rows = zip(mean, log_var, strict=True)
    return torch.tensor([(0.5 * (v.exp() + m**2 - 1 - v)).sum().item() for m, v in rows], dtype=mean.dtype)


def detached_log_var(mean, log_var):
    frozen = log_var.detach()
    return 0.5 * (frozen.exp() + mean**2 - 1 - frozen).sum(-1)


def epsilon(mean, log_var):
    var = torch.exp(log_var) + 1e-2
    return 0.5 * (var + mean**2 - 1 - torch.log(var)).sum(-1)


def seeded_monte_carlo(mean, log_var):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(200, *mean.shape, generator=generator, dtype=mean.dtype)
    z = mean + torch.exp(0.5 * log_var) * noise
    return 0.5 * (z**2 - noise**2 - log_var).sum(-1).mean(0)


WRONG = {
    "log-var-as-std": (
        log_var_is_std,
        lambda mean, log_var: td.kl_divergence(td.Normal(mean, log_var), td.Normal(0.0, 1.0)).sum(-1),
    ),
    "log-var-as-variance": (
        lambda mean, log_var: 0.5 * (log_var + mean**2 - 1 - torch.log(log_var)).sum(-1),
        lambda mean, log_var: 0.5 * (log_var + mean**2 - 1 - torch.log(log_var.abs() + 1e-8)).sum(-1),
    ),
    "kl-reversed": (
        reversed_distribution,
        lambda mean, log_var: 0.5 * ((1 + mean**2) / log_var.exp() - 1 + log_var).sum(-1),
    ),
    "mean-for-sum": (
        lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - 1 - log_var).mean(-1),
        distribution_mean,
    ),
    "reduced-over-batch": (
        lambda mean, log_var: -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp()),
        lambda mean, log_var: td.kl_divergence(
            td.Normal(mean, torch.exp(0.5 * log_var)), td.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        ).mean(),
    ),
    "log-var-as-log-std": (
        lambda mean, log_var: 0.5 * (torch.exp(log_var) ** 2 + mean**2 - 1 - 2 * log_var).sum(-1),
        lambda mean, log_var: 0.5 * (torch.exp(log_var) ** 2 + mean**2 - 1 - log_var).sum(-1),
    ),
    "std-for-variance": (
        lambda mean, log_var: 0.5 * (torch.exp(0.5 * log_var) + mean**2 - 1 - log_var).sum(-1),
        multivariate_of_std,
    ),
    "swapped": (lambda mean, log_var: 0.5 * (mean.exp() + log_var**2 - 1 - mean).sum(-1),),
    "clipped": (
        clamped,
        lambda mean, log_var: (0.5 * (log_var.exp() + mean**2 - 1 - log_var)).clamp(min=0.5).sum(-1),
    ),
    "mean-not-squared": (
        lambda mean, log_var: 0.5 * (log_var.exp() + mean - 1 - log_var).sum(-1),
        lambda mean, log_var: 0.5 * (log_var.exp() + mean.abs() - 1 - log_var).sum(-1),
    ),
    "square-of-sum": (lambda mean, log_var: 0.5 * ((log_var.exp() - 1 - log_var).sum(-1) + mean.sum(-1).pow(2)),),
    "missing-dimension": (
        lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - log_var).sum(-1),
        lambda mean, log_var: -0.5 * torch.sum(log_var - mean.square() - log_var.exp(), -1),
    ),
    "dimension-counted-wrongly": (
        lambda mean, log_var: 0.5 * ((log_var.exp() + mean**2 - log_var).sum(-1) - 1),
        lambda mean, log_var: 0.5 * ((log_var.exp() + mean**2 - log_var).sum(-1) - mean.shape[0]),
    ),
    "missing-log-det": (
        lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - 1).sum(-1),
        lambda mean, log_var: 0.5 * (LOG_2PI + mean**2 + log_var.exp()).sum(-1),
    ),
    "missing-trace-term": (lambda mean, log_var: 0.5 * (mean**2 - 1 - log_var).sum(-1),),
    "missing-mean-term": (
        lambda mean, log_var: 0.5 * (log_var.exp() - 1 - log_var).sum(-1),
        zero_mean_distribution,
    ),
    "sign": (
        lambda mean, log_var: 0.5 * (1 + log_var - mean**2 - log_var.exp()).sum(-1),
        lambda mean, log_var: -0.5 * torch.sum(1 + log_var + mean.pow(2) - log_var.exp(), dim=1),
    ),
    "missing-half": (
        lambda mean, log_var: (log_var.exp() + mean**2 - 1 - log_var).sum(-1),
        lambda mu, logvar: -torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1),
    ),
    "extra-half": (
        lambda mean, log_var: 0.5 * (0.5 * (log_var.exp() + mean**2 - 1 - log_var)).sum(-1),
        lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - 1 - 0.5 * log_var).sum(-1),
    ),
    "not-reduced": (
        lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - 1 - log_var),
        lambda mean, log_var: td.kl_divergence(
            td.Normal(mean, torch.exp(0.5 * log_var)), td.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        ),
    ),
    "wrong-axis": (
        lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum(0),
        lambda mean, log_var: torch.einsum("bk->k", 0.5 * (log_var.exp() + mean**2 - 1 - log_var)),
    ),
    "wrong-base": (
        lambda mean, log_var: -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp(), dim=1) / math.log(2),
        lambda mean, log_var: 0.5 * (mean**2 + log_var.exp() - 1 - log_var.exp().log10()).sum(-1),
    ),
    "wrong-type": (
        lambda mean, log_var: [0.5 * (v.exp() + m**2 - 1 - v).sum() for m, v in zip(mean, log_var, strict=True)],
    ),
    "wrong-shape": (
        lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum(-1, keepdim=True),
        lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - 1 - log_var).sum(-1).squeeze(),
    ),
    "wrong-dtype": (
        lambda mean, log_var: 0.5 * (log_var.double().exp() + mean.double() ** 2 - 1 - log_var.double()).sum(-1),
    ),
    "modified-in-place": (exp_in_place,),
    "random": (monte_carlo,),
    "unstable": (
        epsilon_in_the_logarithm,
        lambda mean, log_var: 0.5 * (log_var.exp() + mean**2 - 1 - log_var.clamp(-10, 10)).sum(-1),
    ),
    "detached": (
        item,
        detached_log_var,
    ),
    None: (
        epsilon,
        seeded_monte_carlo,
    ),
}
