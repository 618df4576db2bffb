"""Checks of the numbered equations of "Q3.1: affine noise"."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from equations.registry import Formula, assert_mean, checks, line

close = torch.testing.assert_close


def _roots(corner: float = 1.5, last: float = 0.6, sign: float = 1.0) -> tuple[Tensor, Tensor]:
    return torch.tensor([[corner, 0.0], [1.0, last]]), torch.tensor([[0.9, -1.2], [1.08, -0.44 * sign]])


@checks(
    "eq-q31-roots",
    "linear algebra",
    r"""
    S = \begin{pmatrix} 1.5 & 0 \\ 1 & 0.6 \end{pmatrix},
    \qquad
    S' = \begin{pmatrix} 0.9 & -1.2 \\ 1.08 & -0.44 \end{pmatrix}.
    """,
    right=_roots,
    wrong={
        "another corner": lambda: _roots(corner=1.4),
        "another diagonal": lambda: _roots(last=0.7),
        "sign": lambda: _roots(sign=-1.0),
        "one matrix": lambda: _roots()[:1] * 2,
    },
)
def roots(formula: Formula) -> None:
    """The first is the Cholesky factor of the other's covariance, and they differ."""
    S, S_prime = formula()
    close(torch.linalg.cholesky(S_prime @ S_prime.mT), S)
    assert (S - S_prime).abs().max() > 0.5


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


def _derivative(t: float) -> list[Tensor]:
    e, step = line(12, 2401)
    phi, wave = Normal(0.0, 1.0).log_prob(e).exp(), torch.exp(1j * t * e)
    terms = (1j * e * wave * phi, -1j * wave * (-e * phi), 1j * 1j * t * wave * phi, -t * wave * phi)
    return [term.sum() * step for term in terms]


@checks(
    "eq-q31-derivative",
    "autograd",
    r"""
    \begin{aligned}
    g'(t) &= \int i e\, e^{ite} \varphi(e)\, de = -i \int e^{ite} \varphi'(e)\, de \\
    &= i \int it\, e^{ite} \varphi(e)\, de = -t\, g(t);
    \end{aligned}
    """,
    right=_derivative,
    wrong={
        "sign of the first": lambda t: [-_derivative(t)[0], *_derivative(t)[1:]],
        "sign by parts": lambda t: [_derivative(t)[0], -_derivative(t)[1], *_derivative(t)[2:]],
        "i once": lambda t: [*_derivative(t)[:2], -1j * _derivative(t)[2], _derivative(t)[3]],
        "sign of the last": lambda t: [*_derivative(t)[:3], -_derivative(t)[3]],
    },
)
def derivative(formula: Formula) -> None:
    """The derivative of the mean cosine over a grid, by autograd; the mean sine is zero."""
    e, step = line(12, 2401)
    for at in (0.4, -1.3):
        t = torch.tensor(at, requires_grad=True)
        value = (torch.cos(t * e) * Normal(0.0, 1.0).log_prob(e).exp()).sum() * step
        (slope,) = torch.autograd.grad(value, t)
        for each in formula(at):
            close(each, torch.complex(slope, torch.zeros(())))


def _change(z: Tensor, mu: Tensor, S: Tensor) -> Tensor:
    e = torch.linalg.solve(S, (z - mu).mT).mT
    return torch.linalg.det(S).abs() ** -1 * (-0.5 * e.square().sum(1)).exp() / (2 * math.pi)


@checks(
    "eq-q31-change",
    "Monte Carlo",
    r"""
    \begin{aligned}
    P(z \in A) &= \int \mathbb{1}[\mu + Se \in A]\, p(e)\, de \\
    &= \int_A |\det S|^{-1} p\bigl(S^{-1}(z - \mu)\bigr)\, dz.
    \end{aligned}
    """,
    right=_change,
    wrong={
        "no determinant": lambda z, mu, S: _change(z, mu, S) * torch.linalg.det(S).abs(),
        "determinant above": lambda z, mu, S: _change(z, mu, S) * torch.linalg.det(S) ** 2,
        "transposed": lambda z, mu, S: _change(z, mu, S.mT),
        "mean with the other sign": lambda z, mu, S: _change(z, -mu, S),
    },
)
def change(formula: Formula) -> None:
    """Half a million draws of the noise against the integral over a square, for an S with a negative determinant."""
    mu, S = torch.tensor([0.4, -1.0]), torch.tensor([[0.9, 0.2], [1.1, -0.6]])
    points, step = line(1, 401)
    points = (points[1:] + points[:-1]) / 2 + 0.5
    z = torch.cartesian_prod(points, points)
    inside = ((mu - 0.5 + torch.randn(500_000, 2) @ S.mT).abs() < 1).all(1).double()
    assert_mean(inside, formula(z, mu, S).sum() * step**2)


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
