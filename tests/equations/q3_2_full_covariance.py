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


def _log_ratio(z: Tensor, mu: Tensor, S: Tensor) -> Tensor:
    square = ((z - mu) * torch.linalg.solve(S @ S.mT, (z - mu).mT).mT).sum(1)
    return -torch.linalg.slogdet(S).logabsdet - 0.5 * square + 0.5 * z.square().sum(1)


@checks(
    "eq-q32-log-ratio",
    "linear algebra",
    r"""
    \begin{aligned}
    \log \frac{q(z)}{p(z)} = {} & -\log |\det S| \\
    & - \tfrac12 (z - \mu)^\top \Sigma^{-1} (z - \mu) + \tfrac12 \|z\|^2 .
    \end{aligned}
    """,
    right=_log_ratio,
    wrong={
        "sign of the determinant": lambda z, mu, S: _log_ratio(z, mu, S) + 2 * torch.linalg.slogdet(S).logabsdet,
        "sign of the prior": lambda z, mu, S: _log_ratio(z, mu, S) - z.square().sum(1),
        "no half": lambda z, mu, S: _log_ratio(z, mu, S) + 0.5 * z.square().sum(1),
        "S'S": lambda z, mu, S: _log_ratio(z, mu, S.mT),
    },
)
def log_ratio(formula: Formula) -> None:
    """PyTorch's two log-densities at ten points, for an S with a negative determinant."""
    z = torch.randn(10, 2)
    q, p = MultivariateNormal(MU, S @ S.mT), MultivariateNormal(torch.zeros(2), torch.eye(2))
    close(formula(z, MU, S), q.log_prob(z) - p.log_prob(z))


@checks(
    "eq-q32-squares",
    "Monte Carlo",
    r"""
    \begin{aligned}
    \mathbb{E}\|S\varepsilon\|^2 &= \sum_{ijk} S_{ij} S_{ik}\, \mathbb{E}[\varepsilon_j \varepsilon_k] \\
    &= \sum_{ij} S_{ij}^2 .
    \end{aligned}
    """,
    right=lambda S, moments: (torch.einsum("ij,ik,jk->", S, S, moments), S.square().sum()),
    wrong={
        "transposed": lambda S, moments: (torch.einsum("ij,ki,jk->", S, S, moments), S.square().sum()),
        "sum before the square": lambda S, moments: (torch.einsum("ij,ik,jk->", S, S, moments), S.sum().square()),
        "trace": lambda S, moments: (torch.einsum("ij,ik,jk->", S, S, moments), torch.trace(S @ S)),
    },
)
def squares(formula: Formula) -> None:
    """200,000 draws, for an S that is not symmetric."""
    draws = (torch.randn(200_000, 2) @ S.mT).square().sum(1)
    for value in formula(S, torch.eye(2)):
        assert_mean(draws, value)


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
    & \det(S + tH) = \det S \\
    & \quad + t \det S \operatorname{tr}(S^{-1} H) \\
    & \quad + O(t^2).
    \end{aligned}
    """,
    right=lambda S, H: torch.linalg.det(S) * torch.trace(torch.linalg.inv(S) @ H),
    wrong={
        "no determinant": lambda S, H: torch.trace(torch.linalg.inv(S) @ H),
        "no inverse": lambda S, H: torch.linalg.det(S) * torch.trace(S @ H),
        "transposed": lambda S, H: torch.linalg.det(S) * torch.trace(torch.linalg.inv(S) @ H.mT),
    },
)
def jacobi(formula: Formula) -> None:
    """The derivative along H of the determinant as its defining sum over permutations, by autograd."""
    S, H = torch.randn(2, 3, 3)

    def det(A: Tensor) -> Tensor:
        even, odd = [(0, 1, 2), (1, 2, 0), (2, 0, 1)], [(0, 2, 1), (2, 1, 0), (1, 0, 2)]
        rows = torch.arange(3)
        return sum(A[rows, list(p)].prod() for p in even) - sum(A[rows, list(p)].prod() for p in odd)

    derivative = torch.autograd.functional.jacobian(lambda t: det(S + t * H), torch.zeros(()))
    close(formula(S, H), derivative)


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


def _common_cause(K: int, rho: float) -> float:
    tau = 1 + (K - 1) * rho
    return K * math.log(tau - rho) - (K - 1) * math.log(tau) - math.log(1 - rho)


@checks(
    "eq-q32-common-cause",
    "autograd",
    r"""
    \begin{aligned}
    2\Delta = {} & K \log(\tau - \rho) - (K - 1) \log \tau \\
    & - \log(1 - \rho) .
    \end{aligned}
    """,
    right=_common_cause,
    wrong={
        "K for K - 1": lambda K, rho: _common_cause(K, rho) - math.log(1 + (K - 1) * rho),
        "sign at the end": lambda K, rho: _common_cause(K, rho) + 2 * math.log(1 - rho),
        "K at the end": lambda K, rho: _common_cause(K, rho) - (K - 1) * math.log(1 - rho),
        "half": lambda K, rho: _common_cause(K, rho) / 2,
    },
)
def common_cause(formula: Formula) -> None:
    """Twice the smallest divergence that an optimiser over means and variances finds."""
    for K, rho in ((3, 0.6), (4, 0.3)):
        target = MultivariateNormal(torch.zeros(K), rho + (1 - rho) * torch.eye(K))
        close(torch.tensor(formula(K, rho)), 2 * least_diagonal_kl(target), atol=1e-7, rtol=0)


@checks(
    "eq-q32-chain",
    "autograd",
    r"2\Delta = (K - 2) \log(1 + \rho^2) - \log(1 - \rho^2),",
    right=lambda K, rho: (K - 2) * math.log(1 + rho**2) - math.log(1 - rho**2),
    wrong={
        "K - 1": lambda K, rho: (K - 1) * math.log(1 + rho**2) - math.log(1 - rho**2),
        "sign in the first": lambda K, rho: (K - 2) * math.log(1 - rho**2) - math.log(1 - rho**2),
        "sign in the second": lambda K, rho: (K - 2) * math.log(1 + rho**2) - math.log(1 + rho**2),
        "plus": lambda K, rho: (K - 2) * math.log(1 + rho**2) + math.log(1 - rho**2),
    },
)
def chain(formula: Formula) -> None:
    """Twice the smallest divergence that an optimiser over means and variances finds."""
    for K, rho in ((3, 0.6), (4, 0.3)):
        place = torch.arange(K)
        target = MultivariateNormal(torch.zeros(K), rho ** (place[:, None] - place).abs())
        close(torch.tensor(formula(K, rho)), 2 * least_diagonal_kl(target), atol=1e-7, rtol=0)
