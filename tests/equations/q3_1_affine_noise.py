"""Checks of the numbered equations of "Q3.1: affine noise"."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from equations.registry import Formula, assert_mean, checks

close = torch.testing.assert_close


@checks(
    "eq-q31-diagonal",
    "Monte Carlo",
    r"z = \mu(x) + \sigma(x) \odot \varepsilon, \qquad \varepsilon \sim \mathcal{N}(0, I_K).",
    right=lambda mu, sigma, eps: mu + sigma * eps,
    wrong={
        "variance for standard deviation": lambda mu, sigma, eps: mu + sigma**2 * eps,
        "one noise for all coordinates": lambda mu, sigma, eps: mu + sigma * eps[:, :1],
        "mean inside": lambda mu, sigma, eps: sigma * (mu + eps),
    },
)
def diagonal(formula: Formula) -> None:
    """Mean and covariance of 200,000 draws are those of the Gaussian that the encoder means."""
    mu, sigma = torch.tensor([0.4, -1.0, 2.0]), torch.tensor([0.3, 1.5, 0.8])
    z = formula(mu, sigma, torch.randn(200_000, 3))
    assert_mean(z, mu)
    assert_mean(((z - mu)[:, :, None] * (z - mu)[:, None]).flatten(1), (sigma**2).diag().flatten())


def _density(z: Tensor, mu: Tensor, S: Tensor) -> Tensor:
    Sigma = S @ S.mT
    square = ((z - mu) * torch.linalg.solve(Sigma, (z - mu).mT).mT).sum(1)
    return (2 * math.pi) ** (-len(mu) / 2) * torch.linalg.det(Sigma) ** -0.5 * (-0.5 * square).exp()


@checks(
    "eq-q31-density",
    "Monte Carlo",
    r"""
    \begin{aligned}
    q(z) = {} & (2\pi)^{-K/2} \det(SS^\top)^{-1/2} \\
    & \cdot e^{-\frac12 (z - \mu)^\top (SS^\top)^{-1} (z - \mu)}.
    \end{aligned}
    """,
    right=_density,
    wrong={
        "S'S": lambda z, mu, S: _density(z, mu, S[:, :2].mT),
        "determinant without its power": lambda z, mu, S: _density(z, mu, S) * torch.linalg.det(S @ S.mT) ** 0.25,
        "no half": lambda z, mu, S: _density(z, mu, S) ** 2 * 2 * math.pi * torch.linalg.det(S @ S.mT) ** 0.5,
        "mean with the other sign": lambda z, mu, S: _density(z, -mu, S),
    },
)
def density(formula: Formula) -> None:
    """S with three columns in the plane: over draws of mu + S eps, ratios of a density to theirs have the mean one."""
    mu, S = torch.tensor([0.4, -1.0]), torch.tensor([[0.9, 0.2, 0.5], [-0.4, 0.6, 0.3]])
    z = mu + torch.randn(200_000, 3) @ S.mT
    for shift, width in ((0.3, 0.8), (-0.2, 0.5)):
        other = MultivariateNormal(mu + shift, width * (S @ S.mT))
        assert_mean(other.log_prob(z).exp() / formula(z, mu, S), 1.0)


def _by_values(mu: Tensor, s: Tensor, U: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    S = U @ s.diag() @ V.mT
    value = 0.5 * mu @ mu + (0.5 * (s**2 - 1) - s.log()).sum()
    return value, S - torch.linalg.inv(S).mT, U @ (s - 1 / s).diag() @ V.mT


@checks(
    "eq-q31-singular-values",
    "autograd",
    r"""
    \begin{aligned}
    \mathrm{KL} = {} & \tfrac12 |\mu|^2 \\
    & + \sum_k \bigl(\tfrac12 (s_k^2 - 1) - \log s_k\bigr), \\
    \nabla_S \mathrm{KL} = {} & S - S^{-\top} \\
    = {} & U \operatorname{diag}(s_k - 1/s_k)\, V^\top,
    \end{aligned}
    """,
    right=_by_values,
    wrong={
        "half the logarithm": lambda mu, s, U, V: (
            0.5 * mu @ mu + (0.5 * (s**2 - 1) - 0.5 * s.log()).sum(), *_by_values(mu, s, U, V)[1:],
        ),
        "inverse not transposed": lambda mu, s, U, V: (
            (r := _by_values(mu, s, U, V))[0], (S := U @ s.diag() @ V.mT) - torch.linalg.inv(S), r[2],
        ),
        "sign of the inverse": lambda mu, s, U, V: (
            (r := _by_values(mu, s, U, V))[0], r[1], U @ (s + 1 / s).diag() @ V.mT,
        ),
        "U and V exchanged": lambda mu, s, U, V: (
            (r := _by_values(mu, s, U, V))[0], r[1], V @ (s - 1 / s).diag() @ U.mT,
        ),
    },
)  # fmt: skip
def singular_values(formula: Formula) -> None:
    """PyTorch's divergence of N(mu, SS') from N(0, I), and its gradient by autograd."""
    mu, S = torch.tensor([0.4, -1.0, 0.2]), torch.randn(3, 3, requires_grad=True)
    prior = MultivariateNormal(torch.zeros(3), torch.eye(3))
    value = kl_divergence(MultivariateNormal(mu, S @ S.mT), prior)
    (gradient,) = torch.autograd.grad(value, S)
    U, s, Vh = torch.linalg.svd(S.detach())
    for mine, expected in zip(formula(mu, s, U, Vh.mT), (value.detach(), gradient, gradient), strict=True):
        close(mine, expected)
