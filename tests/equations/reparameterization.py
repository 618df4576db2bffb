"""Checks of the numbered equations of "Reparameterization"."""

from __future__ import annotations

import math

import torch
from scipy import stats
from tiny import gauss_hermite
from torch import Tensor
from torch.distributions import Gamma, Normal

from equations.registry import Formula, assert_mean, checks, line

close = torch.testing.assert_close
derive = torch.autograd.functional


def f(z: Tensor) -> Tensor:
    """A smooth function of two coordinates with no symmetry."""
    return torch.sin(z[..., 0] * 1.3) * z[..., 1] + 0.2 * z[..., 0] * z[..., 1] ** 2


def slope(z: Tensor) -> Tensor:
    """Its gradient, by autograd."""
    z = z.detach().requires_grad_()
    return torch.autograd.grad(f(z).sum(), z)[0]


def curvature(z: Tensor) -> Tensor:
    """Its second derivatives at each point, by autograd twice."""
    z = z.detach().requires_grad_()
    (first,) = torch.autograd.grad(f(z).sum(), z, create_graph=True)
    return torch.stack([torch.autograd.grad(first[:, k].sum(), z, retain_graph=True)[0] for k in (0, 1)], 1)


def noise() -> tuple[Tensor, Tensor]:
    """Points in the plane and weights for expectations under N(0, I)."""
    nodes, weights = gauss_hermite(30)
    return torch.cartesian_prod(nodes, nodes), torch.outer(weights, weights).flatten()


MU = torch.tensor([0.4, -0.7], dtype=torch.float64)
S = torch.tensor([[0.9, 0.2], [-0.4, 0.6]], dtype=torch.float64)


def expectation(mu: Tensor, S: Tensor) -> Tensor:
    """Of f under N(mu, SS'), by the density and a grid: no draw or noise is moved."""
    points, step = line(8, 401)
    z = torch.cartesian_prod(points, points)
    log_q = torch.distributions.MultivariateNormal(mu, S @ S.mT).log_prob(z)
    return (log_q.exp() * f(z)).sum() * step**2


@checks(
    "eq-rep-dominated",
    "finite sum",
    r"""
    \begin{aligned}
    & \bigl|f(t(\varepsilon, \phi')) - f(t(\varepsilon, \phi))\bigr| \\
    & \quad \leq G(\varepsilon)\, |\phi' - \phi|.
    \end{aligned}
    """,
    right=lambda G, distance: G * distance,
    wrong={
        "distance squared": lambda G, distance: G * distance**2,
        "no G": lambda G, distance: distance,
        "divided": lambda G, distance: distance / G,
    },
)
def dominated(formula: Formula) -> None:
    """For f = exp and t = mu + phi eps, with the largest slope in between as G; tight for small steps."""
    eps, mu = torch.linspace(-5, 5, 201), 0.3
    for gap in (0.5, 0.1, 1e-4, -0.5, -1e-4):
        left = ((mu + (1 + gap) * eps).exp() - (mu + eps).exp()).abs()
        G = eps.abs() * torch.maximum((mu + (1 + gap) * eps).exp(), (mu + eps).exp())
        bound = formula(G, abs(gap))
        assert (left <= bound + 1e-12).all()
        if abs(gap) < 1e-3:
            close(left, bound, rtol=1e-3, atol=1e-12)


@checks(
    "eq-rep-pathwise",
    "quadrature",
    r"""
    \begin{aligned}
    & \nabla_\phi\, \mathbb{E}_{q_\phi}[f(z)] \\
    & \quad = \mathbb{E}_\varepsilon\bigl[J(\varepsilon)^\top\, \nabla f(t(\varepsilon, \phi))\bigr].
    \end{aligned}
    """,
    right=lambda J, gradient: (J.mT @ gradient[..., None]).squeeze(-1),
    wrong={
        "not transposed": lambda J, gradient: (J[..., :2] @ gradient[..., None]).squeeze(-1),
        "sign": lambda J, gradient: -(J.mT @ gradient[..., None]).squeeze(-1),
        "no Jacobian": lambda J, gradient: gradient,
    },
)
def pathwise(formula: Formula) -> None:
    """A map that bends; the left side by differentiating the integral over a grid under the density."""

    def mean_and_root(phi: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([phi[0] ** 2, phi[0] * phi[1]]), torch.stack(
            [torch.stack([phi[1].exp(), 0 * phi[0]]), torch.stack([phi[0], 1 + phi[1] ** 2])]
        )

    phi, (eps, weight) = torch.tensor([0.6, -0.4]), noise()

    def moved(phi: Tensor) -> Tensor:
        mu, root = mean_and_root(phi)
        return mu + eps @ root.mT

    J = derive.jacobian(moved, phi)
    estimate = weight @ formula(J, slope(moved(phi)))
    close(estimate, derive.jacobian(lambda phi: expectation(*mean_and_root(phi)), phi), rtol=1e-5, atol=1e-6)


@checks(
    "eq-rep-tame",
    "finite sum",
    r"|f(a) - f(b)| \leq C\, e^{c(|a| + |b|)}\, |a - b|",
    right=lambda C, c, a, b: C * math.exp(c * (abs(a) + abs(b))) * abs(a - b),
    wrong={
        "minus in the exponent": lambda C, c, a, b: C * math.exp(c * (abs(a) - abs(b))) * abs(a - b),
        "distance squared": lambda C, c, a, b: C * math.exp(c * (abs(a) + abs(b))) * abs(a - b) ** 2,
        "no growth": lambda C, c, a, b: C * abs(a - b),
    },
)
def tame(formula: Formula) -> None:
    """What it is for: exp is tame with C = c = 1, in every pair of many, and a cube with C = 3 and c = 1."""
    points = [-4.0, -1.3, -0.2, 0.0, 0.1, 0.7, 2.0, 5.0]
    for function, C in ((math.exp, 1.0), (lambda a: a**3, 3.0)):
        for a in points:
            for b in points:
                assert abs(function(a) - function(b)) <= formula(C, 1.0, a, b) + 1e-12


@checks(
    "eq-rep-location-scale",
    "quadrature",
    r"""
    \begin{aligned}
    \nabla_\mu\, \mathbb{E}[f(z)] &= \mathbb{E}[\nabla f(z)], \\
    \nabla_S\, \mathbb{E}[f(z)] &= \mathbb{E}[\nabla f(z)\, \varepsilon^\top],
    \end{aligned}
    """,
    right=lambda gradient, eps: (gradient, gradient[:, :, None] * eps[:, None]),
    wrong={
        "transposed": lambda gradient, eps: (gradient, eps[:, :, None] * gradient[:, None]),
        "sign": lambda gradient, eps: (gradient, -gradient[:, :, None] * eps[:, None]),
        "half": lambda gradient, eps: (gradient, 0.5 * gradient[:, :, None] * eps[:, None]),
    },
)
def location_scale(formula: Formula) -> None:
    """The gradient of the integral over a grid under the density N(mu, SS'), by autograd through it."""
    eps, weight = noise()
    mu, root = MU.clone().requires_grad_(), S.clone().requires_grad_()
    expected = torch.autograd.grad(expectation(mu, root), (mu, root))
    for terms, value in zip(formula(slope(MU + eps @ S.mT), eps), expected, strict=True):
        close((weight @ terms.flatten(1)).view_as(value), value)


@checks(
    "eq-rep-roots",
    "quadrature",
    r"""
    \begin{aligned}
    &2 + \frac{\rho^2}{1 - \rho^2} && \text{(Cholesky)}, \\
    &1 && \text{(symmetric)}.
    \end{aligned}
    """,
    right=lambda rho: (2 + rho**2 / (1 - rho**2), 1.0),
    wrong={
        "exchanged": lambda rho: (1.0, 2 + rho**2 / (1 - rho**2)),
        "1 for 2": lambda rho: (1 + rho**2 / (1 - rho**2), 1.0),
        "rho": lambda rho: (2 + rho / (1 - rho), 1.0),
    },
)
def roots(formula: Formula) -> None:
    """The variance of grad f times the derivative of z in rho, by autograd and quadrature, for both roots."""
    eps, weight = noise()

    def cholesky(rho: Tensor) -> Tensor:
        return torch.linalg.cholesky(torch.stack([torch.ones(2), torch.ones(2)]) * rho + torch.eye(2) * (1 - rho))

    def symmetric(rho: Tensor) -> Tensor:
        a, b = ((1 + rho).sqrt() + (1 - rho).sqrt()) / 2, ((1 + rho).sqrt() - (1 - rho).sqrt()) / 2
        return torch.stack([torch.stack([a, b]), torch.stack([b, a])])

    for rho in (0.0, 0.5, -0.8):
        for root, value in zip((cholesky, symmetric), formula(rho), strict=True):
            estimates = derive.jacobian(lambda r, root=root: (eps @ root(r).mT).prod(1), torch.tensor(rho))
            close(weight @ estimates, torch.tensor(1.0))
            close(weight @ estimates**2 - 1, torch.tensor(value))


@checks(
    "eq-rep-implicit",
    "autograd",
    r"\frac{\partial z}{\partial \phi} = v_\phi(z) := -\frac{\partial_\phi F(z; \phi)}{p_\phi(z)}.",
    right=lambda slope, density: -slope / density,
    wrong={
        "sign": lambda slope, density: slope / density,
        "upside down": lambda slope, density: -density / slope,
        "product": lambda slope, density: -slope * density,
    },
)
def implicit(formula: Formula) -> None:
    """Quantiles of Gamma laws by scipy, followed as the shape changes; and PyTorch's own derivative of its draws."""
    shape, h = 2.3, 1e-5
    for u in (0.05, 0.4, 0.9):
        z = stats.gamma.ppf(u, shape)
        moved = (stats.gamma.ppf(u, shape + h) - stats.gamma.ppf(u, shape - h)) / (2 * h)
        slope = (stats.gamma.cdf(z, shape + h) - stats.gamma.cdf(z, shape - h)) / (2 * h)
        assert abs(formula(slope, stats.gamma.pdf(z, shape)) - moved) < 1e-5
    phi = torch.tensor(shape, requires_grad=True)
    z = Gamma(phi, 1.0).rsample()
    (derivative,) = torch.autograd.grad(z, phi)
    slope = (stats.gamma.cdf(z.item(), shape + h) - stats.gamma.cdf(z.item(), shape - h)) / (2 * h)
    assert abs(formula(slope, stats.gamma.pdf(z.item(), shape)) - derivative.item()) < 1e-4


def on_the_line() -> tuple[Tensor, float, Tensor, Tensor, Tensor, Tensor]:
    """Points and step; density, its slope in sigma, the distribution function's, and the score, of N(0.3, 0.8^2)."""
    z, step = line(9, 1441)
    sigma = torch.tensor(0.8)
    law = Normal(0.3, sigma)
    score = ((z - 0.3) ** 2 / sigma**2 - 1) / sigma
    density = law.log_prob(z).exp()
    return z, step, density, density * score, -density * (z - 0.3) / sigma, score


@checks(
    "eq-rep-parts",
    "quadrature",
    r"""
    \begin{aligned}
    \int f\, \partial_\phi p_\phi\, dz = {} & \Bigl[f\, \partial_\phi F\Bigr] \\
    & - \int f'\, \partial_\phi F\, dz .
    \end{aligned}
    """,
    right=lambda bracket, integral: bracket - integral,
    wrong={
        "sign of the integral": lambda bracket, integral: bracket + integral,
        "no bracket": lambda bracket, integral: -integral,
        "sign of the bracket": lambda bracket, integral: -bracket - integral,
    },
)
def parts(formula: Formula) -> None:
    """The scale of a Gaussian, over a piece of the line on which the bracket does not vanish, by the trapezium rule."""
    z, _, _, density_slope, F_slope, _ = on_the_line()
    piece = (z > -0.5) & (z < 2.0)
    z, density_slope, F_slope = z[piece], density_slope[piece], F_slope[piece]
    ends = (z[[0, -1]] ** 3 + 1) * F_slope[[0, -1]]
    left = torch.trapezoid((z**3 + 1) * density_slope, z)
    close(formula(ends[1] - ends[0], torch.trapezoid(3 * z**2 * F_slope, z)), left, rtol=0, atol=1e-4)


@checks(
    "eq-rep-score-is-path",
    "quadrature",
    r"""
    \begin{aligned}
    & \mathbb{E}_{q_\phi}\bigl[f(z)\, \partial_\phi \log p_\phi(z)\bigr] \\
    & \quad = \mathbb{E}_{q_\phi}\bigl[f'(z)\, v_\phi(z)\bigr].
    \end{aligned}
    """,
    right=lambda f, slope, v: slope * v,
    wrong={
        "f for its slope": lambda f, slope, v: f * v,
        "sign": lambda f, slope, v: -slope * v,
    },
)
def score_is_path(formula: Formula) -> None:
    """The scale of a Gaussian: both expectations on the line, with the velocity (z - mu) / sigma of the draw."""
    z, step, density, _, _, score = on_the_line()
    value = torch.sin(z) + z**3
    left = (density * value * score).sum() * step
    close((density * formula(value, z.cos() + 3 * z**2, (z - 0.3) / 0.8)).sum() * step, left)


@checks(
    "eq-rep-bonnet",
    "quadrature",
    r"""
    \begin{aligned}
    \nabla_\mu\, \mathbb{E}[f(z)] &= \mathbb{E}\bigl[f(z)\, \Sigma^{-1}(z - \mu)\bigr] \\
    &= \mathbb{E}[\nabla f(z)].
    \end{aligned}
    """,
    right=lambda value, gradient, step, Sigma: (value[:, None] * torch.linalg.solve(Sigma, step.mT).mT, gradient),
    wrong={
        "no inverse": lambda value, gradient, step, Sigma: (value[:, None] * (step @ Sigma), gradient),
        "sign": lambda value, gradient, step, Sigma: (
            -value[:, None] * torch.linalg.solve(Sigma, step.mT).mT,
            gradient,
        ),
        "f for its gradient": lambda value, gradient, step, Sigma: (
            value[:, None] * torch.linalg.solve(Sigma, step.mT).mT,
            value[:, None].expand(-1, 2),
        ),
    },
)
def bonnet(formula: Formula) -> None:
    """The gradient of the integral over a grid under the density, by autograd through it."""
    eps, weight = noise()
    z, mu = MU + eps @ S.mT, MU.clone().requires_grad_()
    (expected,) = torch.autograd.grad(expectation(mu, S), mu)
    for terms in formula(f(z), slope(z), z - MU, S @ S.mT):
        close(weight @ terms, expected)


@checks(
    "eq-rep-price",
    "quadrature",
    r"""
    \begin{aligned}
    \frac{d}{ds}\, \mathbb{E}[f] &= \frac12 \operatorname{tr}\bigl(\mathbb{E}[\nabla^2 f]\, \Sigma'\bigr), \\
    \frac{\partial\, \mathbb{E}[f]}{\partial \sigma_k^2} &= \frac12 \mathbb{E}[\partial_k^2 f],
    \end{aligned}
    """,
    right=lambda H, along: (0.5 * torch.trace(H @ along), 0.5 * H.diagonal()),
    wrong={
        "no half": lambda H, along: (torch.trace(H @ along), H.diagonal()),
        "sign": lambda H, along: (-0.5 * torch.trace(H @ along), -0.5 * H.diagonal()),
        "no half in the second": lambda H, along: (0.5 * torch.trace(H @ along), H.diagonal()),
    },
)
def price(formula: Formula) -> None:
    """The derivative along a line of covariances of the integral over a grid under the density, by autograd."""
    eps, weight = noise()
    along, start = torch.tensor([[0.5, 0.2], [0.2, -0.3]]), S @ S.mT
    H = (weight[:, None, None] * curvature(MU + eps @ S.mT)).sum(0)
    s = torch.zeros((), requires_grad=True)
    (expected,) = torch.autograd.grad(expectation(MU, torch.linalg.cholesky(start + s * along)), s)
    close(formula(H, along)[0], expected)
    variances = torch.tensor([0.8, 0.5], requires_grad=True)
    (expected,) = torch.autograd.grad(expectation(MU, variances.sqrt().diag()), variances)
    H = (weight[:, None, None] * curvature(MU + eps * variances.detach().sqrt())).sum(0)
    close(formula(H, along)[1], expected)


@checks(
    "eq-rep-stein",
    "quadrature",
    r"\mathbb{E}[f(z)\, \varepsilon] = S^\top\, \mathbb{E}[\nabla f(z)].",
    right=lambda S, gradient: S.mT @ gradient,
    wrong={
        "not transposed": lambda S, gradient: S @ gradient,
        "inverse": lambda S, gradient: torch.linalg.solve(S, gradient),
        "sign": lambda S, gradient: -S.mT @ gradient,
    },
)
def stein(formula: Formula) -> None:
    """Both expectations by Gauss-Hermite quadrature."""
    eps, weight = noise()
    z = MU + eps @ S.mT
    close(formula(S, weight @ slope(z)), weight @ (f(z)[:, None] * eps))


def _quadratic(K: int, delta: Tensor, variance: float) -> tuple[Tensor, Tensor, Tensor]:
    square = delta.square().sum()
    V = 0.5 * variance * K + square
    return -0.5 * (variance * K + square), V, V + 2 * variance + delta**2


@checks(
    "eq-rep-quadratic",
    "quadrature",
    r"""
    \begin{aligned}
    m &= -\tfrac12 \bigl(\sigma^2 K + |\delta|^2\bigr), \\
    V &= \tfrac12 \sigma^2 K + |\delta|^2, \\
    A_k &= V + 2\sigma^2 + \delta_k^2,
    \end{aligned}
    """,
    right=_quadratic,
    wrong={
        "sign of m": lambda K, delta, variance: (
            -(terms := _quadratic(K, delta, variance))[0], *terms[1:],
        ),
        "no half in V": lambda K, delta, variance: (
            (terms := _quadratic(K, delta, variance))[0], terms[1] + 0.5 * K * variance, terms[2],
        ),
        "one sigma^2 in A": lambda K, delta, variance: (
            *(terms := _quadratic(K, delta, variance))[:2], terms[2] - variance,
        ),
        "no delta_k in A": lambda K, delta, variance: (
            *(terms := _quadratic(K, delta, variance))[:2], terms[2] - delta**2,
        ),
    },
)  # fmt: skip
def quadratic(formula: Formula) -> None:
    """The mean of f, its variance over sigma^2 and that of the centred score estimates, by Gauss-Hermite quadrature."""
    eps, weight = noise()
    delta, sigma = torch.tensor([0.8, -0.5]), 0.7
    values = -0.5 * (sigma * eps - delta).square().sum(1)
    mean = weight @ values
    centred = (values - mean)[:, None] * eps / sigma
    variances = weight @ centred**2 - (weight @ centred) ** 2
    expected = mean, weight @ (values - mean) ** 2 / sigma**2, variances
    for found, value in zip(formula(2, delta, sigma**2), expected, strict=True):
        close(found, value)


@checks(
    "eq-rep-lipschitz",
    "Monte Carlo",
    r"\operatorname{tr} \operatorname{Cov}(\nabla f(z)) \leq \Lambda^2 \operatorname{tr} \Sigma .",
    right=lambda constant, trace: constant**2 * trace,
    wrong={
        "no square": lambda constant, trace: constant * trace,
        "half": lambda constant, trace: 0.5 * constant**2 * trace,
        "inverse": lambda constant, trace: trace / constant**2,
    },
)
def lipschitz(formula: Formula) -> None:
    """Codes of a skew law: equal for a quadratic, and strict for sin(3 z), whose slope has the constant 9."""
    z = torch.distributions.Exponential(2.0).sample((200_000, 2))
    trace = z.var(0).sum()
    close(formula(3.0, trace), (3.0 * z).var(0).sum())
    spread = (3 * (3 * z).cos()).var(0).sum()
    assert spread < formula(9.0, trace)
    draws = (3.0 * (z - z.mean(0))).square().sum(1)
    assert_mean(draws, formula(3.0, trace))
