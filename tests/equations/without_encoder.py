"""Checks of the numbered equations of "A VAE without an encoder"."""

from __future__ import annotations

import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from equations.registry import Formula, assert_mean, checks, line

close = torch.testing.assert_close


@checks(
    "eq-wo-row",
    "Monte Carlo",
    r"""
    \begin{aligned}
    q_i(z) &= \mathcal{N}\bigl(z;\ \mu_i, \operatorname{diag} \sigma_i^2\bigr), \\
    \sigma_i^2 &= e^{\ell_i} .
    \end{aligned}
    """,
    right=lambda mu, ell, eps: mu + (ell / 2).exp() * eps,
    wrong={
        "variance for standard deviation": lambda mu, ell, eps: mu + ell.exp() * eps,
        "the logarithm itself": lambda mu, ell, eps: mu + ell * eps,
        "sign": lambda mu, ell, eps: mu + (-ell / 2).exp() * eps,
    },
)
def row(formula: Formula) -> None:
    """Variances of 200,000 draws have the logarithms that stand in the row; its means are theirs."""
    mu, ell = torch.tensor([0.4, -1.0]), torch.tensor([-1.2, 0.7])
    z = formula(mu, ell, torch.randn(200_000, 2))
    assert_mean(z, mu)
    assert_mean((z - mu).square(), ell.exp())


@checks(
    "eq-wo-bound",
    "quadrature",
    r"""
    \begin{aligned}
    \mathcal{L}(\theta, \phi) &= \sum_{i=1}^N \mathcal{L}(\theta, \phi_i; x_i), \\
    \mathcal{L}(\theta, \phi_i; x_i) &= \mathbb{E}_{q_i}\bigl[\log p_\theta(x_i \mid z)\bigr] \\
    &\quad - \mathrm{KL}\bigl(q_i\,\|\,p(z)\bigr) .
    \end{aligned}
    """,
    right=lambda reconstructions, divergences: (reconstructions - divergences).sum(),
    wrong={
        "mean": lambda reconstructions, divergences: (reconstructions - divergences).mean(),
        "sign": lambda reconstructions, divergences: (reconstructions + divergences).sum(),
        "one divergence": lambda reconstructions, divergences: reconstructions.sum() - divergences[0],
    },
)
def bound(formula: Formula) -> None:
    """Two images, one code each, on the line: log p(x_i) minus the divergence of each row from its posterior."""
    z, step = line(9, 721)
    x, weights = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]), torch.tensor([1.5, -0.8, 0.5])
    rows = [Normal(0.4, 0.6), Normal(-0.7, 0.9)]
    prior = Normal(0.0, 1.0)
    expected, reconstructions = [], []
    for image, q in zip(x, rows, strict=True):
        log_likelihood = Bernoulli(logits=z[:, None] * weights).log_prob(image).sum(1)
        log_joint, log_q = log_likelihood + prior.log_prob(z), q.log_prob(z)
        log_evidence = (log_joint.exp().sum() * step).log()
        expected.append(log_evidence - (log_q.exp() * (log_q - log_joint + log_evidence)).sum() * step)
        reconstructions.append((log_q.exp() * log_likelihood).sum() * step)
    divergences = torch.stack([kl_divergence(q, prior) for q in rows])
    close(formula(torch.stack(reconstructions), divergences), torch.stack(expected).sum())


def _adam(eta: float, g: float, beta1: float, beta2: float, n: int) -> float:
    rho = beta1 / beta2**0.5
    middle = (1 - rho**n) / (1 - rho)
    sign = 1 if g > 0 else -1
    return eta * sign * (1 - beta1) / (1 - beta1**n) * middle * ((1 - beta2**n) / (1 - beta2)) ** 0.5


@checks(
    "eq-wo-adam",
    "finite sum",
    r"""
    \begin{aligned}
    \Delta_n &= \eta\,\operatorname{sign}(g)\,
    \frac{1 - \beta_1}{1 - \beta_1^n} \cdot \frac{1 - \rho^n}{1 - \rho} \cdot
    \sqrt{\frac{1 - \beta_2^n}{1 - \beta_2}}, \\
    \rho &= \frac{\beta_1}{\sqrt{\beta_2}} ,
    \end{aligned}
    """,
    right=_adam,
    wrong={
        "no root": lambda eta, g, b1, b2, n: _adam(eta, g, b1, b2, n) * ((1 - b2**n) / (1 - b2)) ** 0.5,
        "sign": lambda eta, g, b1, b2, n: -_adam(eta, g, b1, b2, n),
        "root upside down": lambda eta, g, b1, b2, n: _adam(eta, g, b1, b2, n) * (1 - b2) / (1 - b2**n),
        "no middle factor": lambda eta, g, b1, b2, n: (
            _adam(eta, g, b1, b2, n) * (1 - b1 / b2**0.5) / (1 - (b1 / b2**0.5) ** n)
        ),
        "size of g": lambda eta, g, b1, b2, n: _adam(eta, g, b1, b2, n) * abs(g),
    },
)
def adam(formula: Formula) -> None:
    """PyTorch's Adam, ascending for 3000 periods, on gradients of which one in n is not zero; the last period's way."""
    for n, g, betas in ((1, 0.3, (0.9, 0.99)), (4, -2.0, (0.9, 0.99)), (7, 0.5, (0.5, 0.9))):
        w = torch.zeros((), requires_grad=True)
        optimiser = torch.optim.Adam([w], lr=1e-3, betas=betas, eps=0.0, maximize=True)
        periods = 500
        for t in range(n * periods):
            if t == n * (periods - 1):
                before = w.item()
            w.grad = torch.tensor(g if t % n == 0 else 0.0)
            optimiser.step()
        assert abs((w.item() - before) / formula(1e-3, g, *betas, n) - 1) < 1e-6
