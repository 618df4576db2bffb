"""Checks of the numbered equations of "Q3.2: full covariance"."""

from __future__ import annotations

import math

import torch
from torch import Tensor, logdet
from torch.distributions import MultivariateNormal

from equations.registry import Formula, assert_mean, checks, least_diagonal_kl, line

close = torch.testing.assert_close
LOG_2PI = math.log(2 * math.pi)
MU = torch.tensor([0.6, -0.3], dtype=torch.float64)
S = torch.tensor([[0.9, -0.5], [0.4, -0.7]], dtype=torch.float64)  # its determinant is negative


def integral(mu: Tensor, Sigma: Tensor) -> Tensor:
    """The divergence from N(0, I) in the plane, as it is defined, over a grid."""
    points, step = line(9, 361)
    z = torch.cartesian_prod(points, points)
    log_q = MultivariateNormal(mu, Sigma).log_prob(z)
    log_p = -LOG_2PI - 0.5 * z.square().sum(1)
    return (log_q.exp() * (log_q - log_p)).sum() * step**2


def _kl(mu: Tensor, S: Tensor) -> Tensor:
    return 0.5 * ((S**2).sum() + mu @ mu - len(mu)) - torch.linalg.slogdet(S).logabsdet


@checks(
    "eq-q32-kl",
    "quadrature",
    r"""
    \begin{aligned}
    & \mathrm{KL}\bigl(q\,\|\,\mathcal{N}(0, I_K)\bigr) \\
    & \quad = \tfrac12 \bigl(\|S\|_F^2 + \|\mu\|^2 - K\bigr) \\
    & \qquad - \log|\det S|.
    \end{aligned}
    """,
    right=_kl,
    wrong={
        "no modulus": lambda mu, S: 0.5 * ((S**2).sum() + mu @ mu - 2) - torch.linalg.det(S).log(),
        "half the logarithm": lambda mu, S: _kl(mu, S) + 0.5 * torch.linalg.slogdet(S).logabsdet,
        "sign of the logarithm": lambda mu, S: _kl(mu, S) + 2 * torch.linalg.slogdet(S).logabsdet,
        "trace for the norm": lambda mu, S: _kl(mu, S) + 0.5 * (torch.trace(S @ S) - (S**2).sum()),
        "no K": lambda mu, S: _kl(mu, S) + 1,
    },
)
def divergence(formula: Formula) -> None:
    """The integral of q log(q / p) over a grid in the plane, for an S with a negative determinant."""
    close(formula(MU, S), integral(MU, S @ S.mT))


def _change(mu: Tensor, S: Tensor, log_p_noise: Tensor, log_p_moved: Tensor) -> Tensor:
    return log_p_noise - torch.linalg.slogdet(S).logabsdet - log_p_moved


@checks(
    "eq-q32-change",
    "Monte Carlo",
    r"""
    \begin{aligned}
    & \mathrm{KL}(q\,\|\,p) \\
    & \quad = \mathbb{E}\bigl[\log p(\varepsilon)\bigr] - \log |\det S| \\
    & \qquad - \mathbb{E}\bigl[\log p(\mu + S\varepsilon)\bigr],
    \end{aligned}
    """,
    right=_change,
    wrong={
        "sign of the determinant": lambda mu, S, noise, moved: noise + torch.linalg.slogdet(S).logabsdet - moved,
        "exchanged": lambda mu, S, noise, moved: moved - torch.linalg.slogdet(S).logabsdet - noise,
        "no determinant": lambda mu, S, noise, moved: noise - moved,
    },
)
def change_of_variables(formula: Formula) -> None:
    """200,000 draws of the noise against the integral over a grid in the plane."""
    eps = torch.randn(200_000, 2)
    noise, moved = (-LOG_2PI - 0.5 * each.square().sum(1) for each in (eps, MU + eps @ S.mT))
    assert_mean(formula(MU, S, noise, moved), integral(MU, S @ S.mT))


@checks(
    "eq-q32-singular-values",
    "quadrature",
    r"""
    \begin{aligned}
    & \mathrm{KL}\bigl(q\,\|\,\mathcal{N}(0, I_K)\bigr) \\
    & \quad = \tfrac12 \|\mu\|^2 \\
    & \qquad + \sum_{k=1}^{K} \bigl(\tfrac12 (s_k^2 - 1) - \log s_k\bigr).
    \end{aligned}
    """,
    right=lambda mu, s: 0.5 * mu @ mu + (0.5 * (s**2 - 1) - s.log()).sum(),
    wrong={
        "eigenvalues of the covariance": lambda mu, s: 0.5 * mu @ mu + (0.5 * (s**4 - 1) - 2 * s.log()).sum(),
        "half the logarithm": lambda mu, s: 0.5 * mu @ mu + 0.5 * ((s**2 - 1) - s.log()).sum(),
        "no half at the mean": lambda mu, s: mu @ mu + (0.5 * (s**2 - 1) - s.log()).sum(),
    },
)
def singular_values(formula: Formula) -> None:
    """The integral of q log(q / p) over a grid in the plane."""
    close(formula(MU, torch.linalg.svdvals(S)), integral(MU, S @ S.mT))


@checks(
    "eq-q32-jacobi",
    "autograd",
    r"""
    \begin{aligned}
    & \det(S + tV) = \det S \\
    & \quad + t \det S \operatorname{tr}(S^{-1} V) \\
    & \quad + O(t^2).
    \end{aligned}
    """,
    right=lambda S, V: torch.linalg.det(S) * torch.trace(torch.linalg.inv(S) @ V),
    wrong={
        "no determinant": lambda S, V: torch.trace(torch.linalg.inv(S) @ V),
        "no inverse": lambda S, V: torch.linalg.det(S) * torch.trace(S @ V),
        "transposed": lambda S, V: torch.linalg.det(S) * torch.trace(torch.linalg.inv(S) @ V.mT),
    },
)
def jacobi(formula: Formula) -> None:
    """The derivative along V of the determinant as its defining sum over permutations, by autograd."""
    S, V = torch.randn(2, 3, 3)

    def det(A: Tensor) -> Tensor:
        even, odd = [(0, 1, 2), (1, 2, 0), (2, 0, 1)], [(0, 2, 1), (2, 1, 0), (1, 0, 2)]
        rows = torch.arange(3)
        return sum(A[rows, list(p)].prod() for p in even) - sum(A[rows, list(p)].prod() for p in odd)

    derivative = torch.autograd.functional.jacobian(lambda t: det(S + t * V), torch.zeros(()))
    close(formula(S, V), derivative)


def _triangular(mu: Tensor, a: Tensor, below: Tensor) -> Tensor:
    return 0.5 * mu @ mu + 0.5 * (below**2).sum() + 0.5 * ((2 * a).exp() - 1 - 2 * a).sum()


@checks(
    "eq-q32-triangular",
    "quadrature",
    r"""
    \begin{aligned}
    F = {} & \tfrac12 \|\mu\|^2 + \tfrac12 \sum_{j > k} L_{jk}^2 \\
    & + \tfrac12 \sum_{k=1}^{K} \bigl(e^{2 a_k} - 1 - 2 a_k\bigr)
    \end{aligned}
    """,
    right=_triangular,
    wrong={
        "e to the a": lambda mu, a, below: _triangular(mu, a, below) + 0.5 * (a.exp() - (2 * a).exp()).sum(),
        "a once": lambda mu, a, below: _triangular(mu, a, below) + 0.5 * a.sum(),
        "not below the diagonal": lambda mu, a, below: _triangular(mu, a, 0 * below),
    },
)
def triangular(formula: Formula) -> None:
    """The integral of q log(q / p) over a grid in the plane."""
    a, below = torch.tensor([-0.4, 0.2]), torch.tensor(0.7)
    L = torch.tensor([[math.exp(-0.4), 0.0], [0.7, math.exp(0.2)]])
    close(formula(MU, a, below), integral(MU, L @ L.mT))


@checks(
    "eq-q32-gap",
    "autograd",
    r"""
    \begin{aligned}
    \Delta &= \tfrac12 \Bigl(\sum_{k=1}^{K} \log \Lambda_{kk} - \log \det \Lambda\Bigr) \\
    &= -\tfrac12 \log \det C,
    \end{aligned}
    """,
    right=lambda P, C: (0.5 * (P.diagonal().log().sum() - logdet(P)), -0.5 * logdet(C)),
    wrong={
        "sign": lambda P, C: (0.5 * (logdet(P) - P.diagonal().log().sum()), 0.5 * logdet(C)),
        "no half": lambda P, C: (P.diagonal().log().sum() - logdet(P), -logdet(C)),
        "second without its half": lambda P, C: (0.5 * (P.diagonal().log().sum() - logdet(P)), -logdet(C)),
    },
)
def gap(formula: Formula) -> None:
    """The smallest divergence that an optimiser over means and variances finds, with PyTorch's divergence."""
    W, log_var = torch.tensor([[1.2, 0.3], [-0.4, 0.9], [0.5, 0.5]]), torch.tensor([0.2, -0.5, 0.1])
    P = torch.eye(2) + W.mT @ (-log_var).exp().diag() @ W
    C = P / torch.outer(P.diagonal(), P.diagonal()).sqrt()
    posterior = MultivariateNormal(torch.tensor([0.3, -0.8]), precision_matrix=P)
    for value in formula(P, C):
        close(value, least_diagonal_kl(posterior), atol=1e-8, rtol=0)
