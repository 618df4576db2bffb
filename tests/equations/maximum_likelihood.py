"""Checks of the numbered equations of "Maximum likelihood"."""

from __future__ import annotations

import math

import torch
from scipy import special, stats
from torch import Tensor
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from equations.registry import Formula, assert_mean, checks, line

close = torch.testing.assert_close
LOG_2PI = math.log(2 * math.pi)


@checks(
    "eq-mle-kl",
    "quadrature",
    r"\mathrm{KL}(q\,\|\,p) = \int_{\{q > 0\}} q(x) \log \frac{q(x)}{p(x)}\, dx ,",
    right=lambda q, p: q * (q / p).log(),
    wrong={
        "the other direction": lambda q, p: p * (p / q).log(),
        "ratio upside down": lambda q, p: q * (p / q).log(),
        "average under p": lambda q, p: p * (q / p).log(),
    },
)
def kl(formula: Formula) -> None:
    """PyTorch's closed form for two Gaussians; probabilities by scipy's relative entropy, one of them zero under q."""
    x, step = line(9, 721)
    q, p = Normal(0.4, 0.6), Normal(-0.3, 1.0)
    close(formula(q.log_prob(x).exp(), p.log_prob(x).exp()).sum() * step, kl_divergence(q, p))
    q, p = torch.tensor([0.5, 0.3, 0.2, 0.0]), torch.tensor([0.1, 0.2, 0.3, 0.4])
    held = q > 0
    assert abs(formula(q[held], p[held]).sum().item() - stats.entropy(q.numpy(), p.numpy())) < 1e-12


@checks(
    "eq-mle-gibbs",
    "finite sum",
    r"q \log \frac{q}{p} = q\, (t - 1 - \log t) + (q - p).",
    right=lambda q, p: (q * (p / q - 1 - (p / q).log()), q - p),
    wrong={
        "t upside down": lambda q, p: (q * (q / p - 1 - (q / p).log()), q - p),
        "p - q": lambda q, p: (q * (p / q - 1 - (p / q).log()), p - q),
        "sign of the logarithm": lambda q, p: (q * (p / q - 1 + (p / q).log()), q - p),
    },
)
def gibbs(formula: Formula) -> None:
    """Scipy's relative entropy, value by value; the first summand is nowhere negative, and zero where q = p."""
    q, p = torch.tensor([0.5, 0.3, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.3, 0.1])
    first, second = formula(q, p)
    close(first + second, torch.from_numpy(special.rel_entr(q.numpy(), p.numpy())))
    assert (first[:3] > 0).all()
    close(first[3], torch.tensor(0.0))


@checks(
    "eq-mle-average",
    "finite sum",
    r"""
    \hat\ell_N(\theta) = \mathbb{E}_{\hat p}[\log p_\theta(x)] = \frac1N \sum_{i=1}^{N} \log p_\theta(x_i) .
    """,
    right=lambda log_p: log_p.mean(),
    wrong={
        "sum": lambda log_p: log_p.sum(),
        "logarithm of the mean": lambda log_p: log_p.exp().mean().log(),
        "sign": lambda log_p: -log_p.mean(),
    },
)
def average(formula: Formula) -> None:
    """The sum over values, with their frequencies."""
    x, p = torch.tensor([0, 2, 2, 1, 2, 0, 3]), torch.rand(4).softmax(0)
    frequency = x.bincount() / len(x)
    close(formula(p[x].log()), frequency @ p.log())


@checks(
    "eq-mle-discrete",
    "finite sum",
    r"""
    \begin{aligned}
    \mathrm{KL}(\hat p\,\|\,p_\theta) &= -H(\hat p) - \hat\ell_N(\theta), \\
    H(\hat p) &= -\sum_x \hat p(x) \log \hat p(x),
    \end{aligned}
    """,
    right=lambda frequency, average: (frequency * frequency.log()).sum() - average,
    wrong={
        "sign of the entropy": lambda frequency, average: -(frequency * frequency.log()).sum() - average,
        "sign of the likelihood": lambda frequency, average: (frequency * frequency.log()).sum() + average,
        "no entropy": lambda frequency, average: -average,
    },
)
def discrete(formula: Formula) -> None:
    """Scipy's relative entropy of the frequencies of seven values."""
    x, p = torch.tensor([0, 2, 2, 1, 2, 0, 3]), torch.rand(4).softmax(0)
    frequency = (x.bincount() / len(x)).double()
    value = formula(frequency, p[x].log().mean()).item()
    assert abs(value - stats.entropy(frequency.numpy(), p.numpy())) < 1e-12


@checks(
    "eq-mle-truth",
    "quadrature",
    r"""
    \begin{aligned}
    \mathrm{KL}(p^*\,\|\,p_\theta) &= -H(p^*) - \ell(\theta), \\
    H(p^*) &= -\mathbb{E}_{p^*}[\log p^*(x)].
    \end{aligned}
    """,
    right=lambda log_truth, log_p: log_truth - log_p,
    wrong={
        "sign of the entropy": lambda log_truth, log_p: -log_truth - log_p,
        "sign of the likelihood": lambda log_truth, log_p: log_truth + log_p,
    },
)
def truth(formula: Formula) -> None:
    """Expectations by quadrature on the line, the divergence of two Gaussians in closed form."""
    x, step = line(9, 721)
    true, p = Normal(0.4, 0.6), Normal(-0.3, 1.0)
    terms = ((true.log_prob(x).exp() * law.log_prob(x)).sum() * step for law in (true, p))
    close(formula(*terms), kl_divergence(true, p))


@checks(
    "eq-mle-difference",
    "quadrature",
    r"""
    \begin{aligned}
    \mathrm{KL}(p^*\,\|\,p_\alpha) & - \mathrm{KL}(p^*\,\|\,p_\beta) \\
    &= \mathbb{E}_{p^*}\bigl[\log p_\beta(x) - \log p_\alpha(x)\bigr]
    \end{aligned}
    """,
    right=lambda log_alpha, log_beta: log_beta - log_alpha,
    wrong={
        "alpha and beta exchanged": lambda log_alpha, log_beta: log_alpha - log_beta,
        "sum": lambda log_alpha, log_beta: log_alpha + log_beta,
    },
)
def difference(formula: Formula) -> None:
    """The expectation by quadrature on the line, the divergences of Gaussians in closed form."""
    x, step = line(9, 721)
    true, alpha, beta = Normal(0.4, 0.6), Normal(-0.3, 1.0), Normal(0.2, 0.8)
    value = (true.log_prob(x).exp() * formula(alpha.log_prob(x), beta.log_prob(x))).sum() * step
    close(value, kl_divergence(true, alpha) - kl_divergence(true, beta))


@checks(
    "eq-mle-moments",
    "finite sum",
    r"""
    \begin{aligned}
    & \mathbb{E}_r[-\log \mathcal{N}(x;\ \mu, \Sigma)] = H\bigl(\mathcal{N}(m, C)\bigr) \\
    & \quad + \mathrm{KL}\bigl(\mathcal{N}(m, C)\,\|\,\mathcal{N}(\mu, \Sigma)\bigr).
    \end{aligned}
    """,
    right=lambda matched, law: matched.entropy() + kl_divergence(matched, law),
    wrong={
        "the other direction": lambda matched, law: matched.entropy() + kl_divergence(law, matched),
        "entropy of the other": lambda matched, law: law.entropy() + kl_divergence(matched, law),
        "sign": lambda matched, law: matched.entropy() - kl_divergence(matched, law),
    },
)
def moments(formula: Formula) -> None:
    """A law on six points in the plane, far from Gaussian."""
    x, r = torch.randn(6, 2).exp(), torch.rand(6).softmax(0)
    m = r @ x
    C = (r[:, None] * (x - m)).mT @ (x - m)
    law = MultivariateNormal(torch.tensor([1.0, 0.5]), torch.tensor([[1.5, 0.4], [0.4, 0.8]]))
    close(-(r @ law.log_prob(x)), formula(MultivariateNormal(m, C), law))


def fitted(N: int, D: int, repeats: int) -> tuple[Tensor, Tensor, float]:
    """In many repeats, the fitted average log-likelihood and that of the fit on new data; and that of the truth."""
    x = torch.randn(repeats, N, D)
    mean = x.mean(1)
    covariance = (x - mean[:, None]).mT @ (x - mean[:, None]) / N
    log_det = torch.logdet(covariance)
    inside = -0.5 * (D * LOG_2PI + log_det + D)
    precision = torch.linalg.inv(covariance)
    squares = precision.diagonal(dim1=1, dim2=2).sum(1) + (mean[:, None] @ precision @ mean[:, :, None]).flatten()
    return inside, -0.5 * (D * LOG_2PI + log_det + squares), -0.5 * D * (LOG_2PI + 1)


@checks(
    "eq-mle-one-fit",
    "linear algebra",
    r"""
    \begin{aligned}
    & \hat\ell_N(\hat\theta) - \ell(\hat\theta) \\
    & \quad = \tfrac12 \bigl( \operatorname{tr}(\hat\Sigma^{-1}) + \hat\mu^\top \hat\Sigma^{-1} \hat\mu - D \bigr).
    \end{aligned}
    """,
    right=lambda mean, precision: 0.5 * (torch.trace(precision) + mean @ precision @ mean - len(mean)),
    wrong={
        "no half": lambda mean, precision: torch.trace(precision) + mean @ precision @ mean - len(mean),
        "no mean": lambda mean, precision: 0.5 * (torch.trace(precision) - len(mean)),
        "covariance for its inverse": lambda mean, precision: (
            0.5 * (torch.trace(precision.inverse()) + mean @ precision.inverse() @ mean - len(mean))
        ),
        "D added": lambda mean, precision: 0.5 * (torch.trace(precision) + mean @ precision @ mean + len(mean)),
    },
)
def one_fit(formula: Formula) -> None:
    """One fit to twelve points: PyTorch's log-densities there, its entropy and divergence for new points."""
    x = torch.randn(12, 3)
    mean, covariance = x.mean(0), torch.cov(x.mT, correction=0)
    fit, standard = MultivariateNormal(mean, covariance), MultivariateNormal(torch.zeros(3), torch.eye(3))
    worth = -standard.entropy() - kl_divergence(standard, fit)
    close(fit.log_prob(x).mean() - worth, formula(mean, covariance.inverse()))


@checks(
    "eq-mle-optimism",
    "Monte Carlo",
    r"\mathbb{E}\bigl[\hat\ell_N(\hat\theta) - \ell(\hat\theta)\bigr] = \frac{d}{N - D - 2} .",
    right=lambda d, N, D: d / (N - D - 2),
    wrong={
        "N alone": lambda d, N, D: d / N,
        "no 2": lambda d, N, D: d / (N - D),
        "half": lambda d, N, D: 0.5 * d / (N - D - 2),
    },
)
def optimism(formula: Formula) -> None:
    """100,000 fits of a Gaussian in the plane to twelve points, what each is worth in closed form."""
    inside, outside, _ = fitted(12, 2, 100_000)
    assert_mean(inside - outside, formula(5, 12, 2))


@checks(
    "eq-mle-excess",
    "Monte Carlo",
    r"""
    \begin{aligned}
    & \mathbb{E}[\hat\ell_N(\hat\theta)] - \ell(\theta^*) \\
    & \quad = -\frac12 \sum_{j=1}^{D} \Bigl( \psi\Bigl(\frac{N - j}{2}\Bigr) + \log \frac2N \Bigr).
    \end{aligned}
    """,
    right=lambda N, D: -0.5 * sum(torch.digamma(torch.tensor((N - j) / 2)) + math.log(2 / N) for j in range(1, D + 1)),
    wrong={
        "sign": lambda N, D: 0.5 * sum(torch.digamma(torch.tensor((N - j) / 2)) + math.log(2 / N) for j in (1, 2)),
        "j from 0": lambda N, D: -0.5 * sum(torch.digamma(torch.tensor((N - j) / 2)) + math.log(2 / N) for j in (0, 1)),
        "N / 2": lambda N, D: -0.5 * sum(torch.digamma(torch.tensor((N - j) / 2)) + math.log(N / 2) for j in (1, 2)),
        "no half": lambda N, D: -sum(torch.digamma(torch.tensor((N - j) / 2)) + math.log(2 / N) for j in (1, 2)),
    },
)
def excess(formula: Formula) -> None:
    """100,000 fits of a Gaussian in the plane to twelve points."""
    inside, _, best = fitted(12, 2, 100_000)
    assert_mean(inside - best, formula(12, 2))


@checks(
    "eq-mle-memorise",
    "finite sum",
    r"""
    \begin{aligned}
    \frac1N \sum_{i=1}^{N} \log p_h(x_i) & \geq -\log (N h) - \tfrac12 \log 2\pi \\
    & \to \infty \quad \text{as } h \to 0 ,
    \end{aligned}
    """,
    right=lambda N, h: -math.log(N * h) - 0.5 * LOG_2PI,
    wrong={
        "sign": lambda N, h: math.log(N * h) - 0.5 * LOG_2PI,
        "no N": lambda N, h: -math.log(h) - 0.5 * LOG_2PI,
        "sign of the constant": lambda N, h: -math.log(N * h) + 0.5 * LOG_2PI,
        "half the constant": lambda N, h: -math.log(N * h) - 0.25 * LOG_2PI,
    },
)
def memorise(formula: Formula) -> None:
    """Five points: above it at every width, and equal at widths so small that each has its own Gaussian only."""
    x = torch.tensor([-2.0, -1.1, 0.3, 0.9, 2.4])
    values = []
    for h in (1.0, 0.1, 0.01, 1e-4):
        log_p = (Normal(x, h).log_prob(x[:, None]).logsumexp(1) - math.log(5)).mean().item()
        assert log_p >= formula(5, h) - 1e-9
        values.append(formula(5, h))
    assert abs(log_p - values[-1]) < 1e-9
    assert values == sorted(values)


@checks(
    "eq-mle-classes",
    "finite sum",
    r"p(x) = \sum_{c} p(c) \prod_{d} \pi_{c,d}^{x_d} (1 - \pi_{c,d})^{1 - x_d} .",
    right=lambda p, pi, x: (p * (pi**x * (1 - pi) ** (1 - x)).prod(1)).sum(),
    wrong={
        "pixels exchanged": lambda p, pi, x: (p * (pi ** (1 - x) * (1 - pi) ** x).prod(1)).sum(),
        "product of sums": lambda p, pi, x: (p[:, None] * pi**x * (1 - pi) ** (1 - x)).sum(0).prod(),
        "no class probabilities": lambda p, pi, x: (pi**x * (1 - pi) ** (1 - x)).prod(1).sum(),
    },
)
def classes(formula: Formula) -> None:
    """PyTorch's mixture of Bernoulli laws, at all sixteen images of four pixels; they add up to one."""
    p, pi = torch.rand(3).softmax(0), torch.rand(3, 4)
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
    law = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(p), torch.distributions.Independent(Bernoulli(pi), 1)
    )
    values = torch.stack([formula(p, pi, x) for x in images])
    close(values, law.log_prob(images).exp())
    close(values.sum(), torch.tensor(1.0))


@checks(
    "eq-mle-diagonal",
    "finite sum",
    r"-\frac12 \sum_{d=1}^{D} \Bigl(\log 2\pi + \ell_d + (x_d - \mu_d)^2 e^{-\ell_d}\Bigr).",
    right=lambda mean, log_var, x: -0.5 * (LOG_2PI + log_var + (x - mean) ** 2 * (-log_var).exp()).sum(),
    wrong={
        "no half": lambda mean, log_var, x: -(LOG_2PI + log_var + (x - mean) ** 2 * (-log_var).exp()).sum(),
        "one constant": lambda mean, log_var, x: (
            -0.5 * LOG_2PI - 0.5 * (log_var + (x - mean) ** 2 * (-log_var).exp()).sum()
        ),
        "sign in the exponent": lambda mean, log_var, x: (
            -0.5 * (LOG_2PI + log_var + (x - mean) ** 2 * log_var.exp()).sum()
        ),
        "log-variance as log-std": lambda mean, log_var, x: (
            -0.5 * (LOG_2PI + log_var + (x - mean) ** 2 * (-2 * log_var).exp()).sum()
        ),
    },
)
def diagonal(formula: Formula) -> None:
    """PyTorch's normal law in four dimensions."""
    mean, log_var, x = torch.randn(3, 4)
    close(formula(mean, log_var, x), Normal(mean, (0.5 * log_var).exp()).log_prob(x).sum())
