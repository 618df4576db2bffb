"""Checks of the numbered equations of "Choosing p(x|z)"."""

from __future__ import annotations

import math

import torch
from scipy.integrate import quad
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from equations.registry import Formula, checks, line

close = torch.testing.assert_close


@checks(
    "eq-cho-integral",
    "quadrature",
    r"""
    \begin{aligned}
    & \int_0^1 \pi^x (1 - \pi)^{1 - x}\,dx \\
    & \quad = \frac{\tanh(\eta / 2)}{\eta} < \frac12,
    \end{aligned}
    """,
    right=lambda eta: math.tanh(eta / 2) / eta,
    wrong={
        "tanh of eta": lambda eta: math.tanh(eta) / eta,
        "no eta below": lambda eta: math.tanh(eta / 2),
        "sign": lambda eta: -math.tanh(eta / 2) / eta,
        "twice": lambda eta: 2 * math.tanh(eta / 2) / eta,
    },
)
def integral(formula: Formula) -> None:
    """Scipy's adaptive quadrature, for several pi."""
    for pi in (0.01, 0.3, 0.49, 0.8, 0.999):
        eta = math.log(pi / (1 - pi))
        value, _ = quad(lambda x, pi=pi: pi**x * (1 - pi) ** (1 - x), 0, 1)
        assert abs(formula(eta) - value) < 1e-10
        assert formula(eta) < 0.5


@checks(
    "eq-cho-normaliser",
    "quadrature",
    r"""
    \begin{aligned}
    A(\eta) &= \log \int_0^1 e^{\eta x}\,dx \\
    &= \log \frac{e^\eta - 1}{\eta}
    \end{aligned}
    """,
    right=lambda eta: math.log((math.exp(eta) - 1) / eta),
    wrong={
        "no logarithm": lambda eta: (math.exp(eta) - 1) / eta,
        "no 1": lambda eta: math.log(math.exp(eta) / abs(eta)),
        "upside down": lambda eta: -math.log((math.exp(eta) - 1) / eta),
    },
)
def normaliser(formula: Formula) -> None:
    """With it the density integrates to one, by scipy's adaptive quadrature."""
    for eta in (-6.0, -0.3, 0.8, 5.0):
        total, _ = quad(lambda x, eta=eta: math.exp(eta * x - formula(eta)), 0, 1)
        assert abs(total - 1) < 1e-10


@checks(
    "eq-cho-gaussian",
    "finite sum",
    r"""
    \begin{aligned}
    -\log p_\theta(x \mid z) &= \frac{1}{2\sigma^2} \|x - f(z)\|^2 \\
    & \quad + \frac{D}{2} \log 2\pi\sigma^2 .
    \end{aligned}
    """,
    right=lambda square, D, sigma: square / (2 * sigma**2) + D / 2 * math.log(2 * math.pi * sigma**2),
    wrong={
        "no half": lambda square, D, sigma: square / sigma**2 + D / 2 * math.log(2 * math.pi * sigma**2),
        "one constant": lambda square, D, sigma: square / (2 * sigma**2) + 0.5 * math.log(2 * math.pi * sigma**2),
        "sigma": lambda square, D, sigma: square / (2 * sigma) + D / 2 * math.log(2 * math.pi * sigma**2),
        "sign": lambda square, D, sigma: square / (2 * sigma**2) - D / 2 * math.log(2 * math.pi * sigma**2),
    },
)
def gaussian(formula: Formula) -> None:
    """PyTorch's Gaussian, summed over pixels."""
    x, mean, sigma = torch.rand(5), torch.rand(5), 0.3
    close(formula((x - mean).square().sum(), 5, sigma), -Normal(mean, sigma).log_prob(x).sum())


def _one_code() -> tuple[Tensor, Tensor, Formula]:
    """S and R of an image of three pixels under one encoder's answer, and its bound for any sigma, by quadrature."""
    z, step = line(9, 721)
    x, q, prior = torch.tensor([0.2, 0.9, 0.4]), Normal(0.4, 0.6), Normal(0.0, 1.0)
    f = torch.sigmoid(z[:, None] * torch.tensor([1.5, -0.8, 0.5]))
    weight = q.log_prob(z).exp() * step

    def bound(sigma: Tensor | float) -> Tensor:
        log_joint = Normal(f, sigma).log_prob(x).sum(1) + prior.log_prob(z)
        return (weight * (log_joint - q.log_prob(z))).sum()

    return (weight * (x - f).square().sum(1)).sum(), kl_divergence(q, prior), bound


@checks(
    "eq-cho-beta",
    "quadrature",
    r"""
    \begin{aligned}
    a S + b R &= -b\,\mathcal{L}_\sigma \\
    & \quad - \tfrac{bD}{2} \log 2 \pi \sigma^2,
    \end{aligned}
    """,
    right=lambda b, bound, D, sigma2: -b * bound - b * D / 2 * math.log(2 * math.pi * sigma2),
    wrong={
        "sign of the bound": lambda b, bound, D, sigma2: b * bound - b * D / 2 * math.log(2 * math.pi * sigma2),
        "sign of the constant": lambda b, bound, D, sigma2: -b * bound + b * D / 2 * math.log(2 * math.pi * sigma2),
        "no b at the bound": lambda b, bound, D, sigma2: -bound - b * D / 2 * math.log(2 * math.pi * sigma2),
        "sigma for its square": lambda b, bound, D, sigma2: -b * bound - b * D / 4 * math.log(2 * math.pi * sigma2),
    },
)
def beta(formula: Formula) -> None:
    """The bound of one code and three Gaussian pixels by quadrature, at the sigma that a and b imply."""
    S, R, bound = _one_code()
    for a, b in ((1.0, 0.5), (2.0, 3.0), (0.3, 1.0)):
        sigma2 = b / (2 * a)
        close(formula(b, bound(sigma2**0.5), 3, sigma2), a * S + b * R)


@checks(
    "eq-cho-optimal",
    "quadrature",
    r"""
    \begin{aligned}
    \sigma^{*2} &= \bar S / D, \\
    \max_\sigma \bar{\mathcal{L}}_\sigma &= -\tfrac D2 \log\bigl(2 \pi e\,\sigma^{*2}\bigr) - \bar R .
    \end{aligned}
    """,
    right=lambda S, D, R: (S / D, -D / 2 * (2 * math.pi * math.e * S / D).log() - R),
    wrong={
        "half the error": lambda S, D, R: (S / (2 * D), -D / 2 * (2 * math.pi * math.e * S / (2 * D)).log() - R),
        "no e": lambda S, D, R: (S / D, -D / 2 * (2 * math.pi * S / D).log() - R),
        "sign of R": lambda S, D, R: (S / D, -D / 2 * (2 * math.pi * math.e * S / D).log() + R),
        "not divided by D": lambda S, D, R: (S, -D / 2 * (2 * math.pi * math.e * S).log() - R),
    },
)
def optimal(formula: Formula) -> None:
    """The bound by quadrature: its slope in sigma vanishes there, its value is that, and other sigmas have less."""
    S, R, bound = _one_code()
    sigma2, most = formula(S, 3, R)
    sigma = sigma2.sqrt().requires_grad_()
    value = bound(sigma)
    (slope,) = torch.autograd.grad(value, sigma)
    assert abs(slope) < 1e-9
    close(value.detach(), most)
    assert all(bound(sigma.item() * factor) < most for factor in (0.5, 0.9, 1.1, 2.0))


@checks(
    "eq-cho-loss",
    "quadrature",
    r"\max_\sigma \bar{\mathcal{L}}_\sigma - \bar{\mathcal{L}}_\sigma = \tfrac D2 (r - 1 - \log r) > 0 .",
    right=lambda r, D: D / 2 * (r - 1 - math.log(r)),
    wrong={
        "upside down": lambda r, D: D / 2 * (1 / r - 1 + math.log(r)),
        "sign of the logarithm": lambda r, D: D / 2 * (r - 1 + math.log(r)),
        "no half": lambda r, D: D * (r - 1 - math.log(r)),
        "no D": lambda r, D: (r - 1 - math.log(r)) / 2,
    },
)
def loss(formula: Formula) -> None:
    """What the bound by quadrature has at the root mean square error and lacks at other sigmas."""
    S, _, bound = _one_code()
    best = (S / 3).sqrt().item()
    for factor in (0.5, 0.9, 1.1, 2.0):
        lost = bound(best) - bound(factor * best)
        assert abs(formula(1 / factor**2, 3) - lost) < 1e-9 < lost


@checks(
    "eq-cho-dequantisation",
    "quadrature",
    r"""
    \begin{aligned}
    & \mathbb{E}_u\Bigl[\log p\Bigl(\frac{k + u}{m}\Bigr)\Bigr] - D \log m \\
    & \quad \leq \log P(k) \leq 0,
    \end{aligned}
    """,
    right=lambda mean, D, m: mean - D * math.log(m),
    wrong={
        "sign": lambda mean, D, m: mean + D * math.log(m),
        "no D": lambda mean, D, m: mean - math.log(m),
        "no constant": lambda mean, D, m: mean,
    },
)
def dequantisation(formula: Formula) -> None:
    """A Gaussian on eight times eight cells, masses from its distribution function; for a constant one, equality."""
    u = (torch.arange(400) + 0.5) / 400
    law = Normal(torch.tensor([0.4, 0.7]), torch.tensor([0.2, 0.1]))
    for k in ((2, 5), (3, 6), (0, 7)):
        edges = torch.tensor(k) / 8
        log_mass = (law.cdf(edges + 1 / 8) - law.cdf(edges)).log().sum()
        mean = law.log_prob((torch.tensor(k) + u[:, None]) / 8).mean(0).sum()
        assert formula(mean, 2, 8) < log_mass < 0
    assert abs(formula(torch.tensor(0.0), 2, 8) - math.log(1 / 64)) < 1e-12
