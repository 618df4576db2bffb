"""Checks of the numbered equations of "Q3.3: mean field"."""

from __future__ import annotations

import math

import torch
from torch import Tensor, logdet
from torch.distributions import MultivariateNormal, kl_divergence

from equations.registry import Formula, checks, kl, least_diagonal_kl, line

close = torch.testing.assert_close
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.7, 0.0], [-0.5, 0.4, 0.9]], dtype=torch.float64)
P, M = ROOT @ ROOT.mT, torch.tensor([0.5, -1.0, 0.3], dtype=torch.float64)


@checks(
    "eq-q33-gaps",
    "finite sum",
    r"""
    \begin{aligned}
    &\log p_\theta(x) - \mathcal{L}(\theta, \phi; x) \\
    &\quad = \underbrace{\log p_\theta(x) - \mathcal{L}^*(x)}_{\text{approximation gap}} \\
    &\qquad + \underbrace{\mathcal{L}^*(x) - \mathcal{L}(\theta, \phi; x)}_{\text{amortisation gap}}.
    \end{aligned}
    """,
    right=lambda evidence, best, reached: (evidence - best, best - reached),
    wrong={
        "a sign": lambda evidence, best, reached: (evidence - best, reached - best),
        "from the bound": lambda evidence, best, reached: (evidence - reached, best - reached),
        "plus": lambda evidence, best, reached: (evidence + best, best - reached),
    },
)
def gaps(formula: Formula) -> None:
    """A family of fifty laws on four codes: the whole is the divergence from the posterior; both parts are positive."""
    joint, family = torch.rand(4), torch.rand(50, 4).softmax(1)
    bounds = (family * (joint / family).log()).sum(1)
    approximation, amortisation = formula(joint.sum().log(), bounds.max(), bounds[7])
    close(approximation + amortisation, kl(family[7], joint / joint.sum()))
    close(approximation, kl(family, joint / joint.sum()).min())
    assert approximation > 0
    assert amortisation > 0


@checks(
    "eq-q33-extra-kl",
    "finite sum",
    r"""
    \begin{aligned}
    \frac1N \sum_{i=1}^N \Bigl[ &\mathrm{KL}\bigl(q_\phi(z \mid x_i)\,\|\,p_\theta(z \mid x_i)\bigr) \\
    &- \mathrm{KL}\bigl(q^*_i\,\|\,p_\theta(z \mid x_i)\bigr) \Bigr] \geq 0.
    \end{aligned}
    """,
    right=lambda reached, best: (reached - best).mean(),
    wrong={
        "sum": lambda reached, best: (reached - best).sum(),
        "exchanged": lambda reached, best: (best - reached).mean(),
        "no best": lambda reached, best: reached.mean(),
    },
)
def extra_divergence(formula: Formula) -> None:
    """Three images, each answered by some law of a family of fifty: the mean of best bound minus bound."""
    joints, family = torch.rand(3, 4), torch.rand(50, 4).softmax(1)
    bounds = (family[:, None] * (joints / family[:, None]).log()).sum(-1)
    posteriors = joints / joints.sum(1, keepdim=True)
    chosen, best = torch.tensor([3, 30, 12]), bounds.argmax(0)
    gap = (bounds.max(0).values - bounds[chosen, torch.arange(3)]).mean()
    value = formula(kl(family[chosen], posteriors), kl(family[best], posteriors))
    close(value, gap)
    assert value >= 0


@checks(
    "eq-q33-delta",
    "autograd",
    r"\Delta = \frac12 \Bigl(\sum_{k=1}^K \log \Lambda_{kk} - \log \det \Lambda\Bigr) \geq 0.",
    right=lambda P: 0.5 * (P.diagonal().log().sum() - logdet(P)),
    wrong={
        "no half": lambda P: P.diagonal().log().sum() - logdet(P),
        "sign": lambda P: 0.5 * (logdet(P) - P.diagonal().log().sum()),
        "covariance": lambda P: 0.5 * (torch.linalg.inv(P).diagonal().log().sum() - logdet(P)),
    },
)
def delta(formula: Formula) -> None:
    """The smallest divergence that an optimiser over means and variances finds, with PyTorch's divergence."""
    posterior = MultivariateNormal(M, precision_matrix=P)
    close(formula(P), least_diagonal_kl(posterior), atol=1e-8, rtol=0)


@checks(
    "eq-q33-coordinate",
    "autograd",
    r"\nu_k = m_k - \frac{1}{\Lambda_{kk}} \sum_{j \neq k} \Lambda_{kj}\,(\mu_j - m_j).",
    right=lambda P, m, mu, k: m[k] - (P[k] @ (mu - m) - P[k, k] * (mu[k] - m[k])) / P[k, k],
    wrong={
        "sign": lambda P, m, mu, k: m[k] + (P[k] @ (mu - m) - P[k, k] * (mu[k] - m[k])) / P[k, k],
        "not divided": lambda P, m, mu, k: m[k] - (P[k] @ (mu - m) - P[k, k] * (mu[k] - m[k])),
        "all j": lambda P, m, mu, k: m[k] - P[k] @ (mu - m) / P[k, k],
    },
)
def coordinate(formula: Formula) -> None:
    """There the derivative in that mean of PyTorch's divergence vanishes, with the other means held."""
    posterior, mu = MultivariateNormal(M, precision_matrix=P), torch.tensor([0.2, 0.9, -0.4])
    for k in range(3):
        moved = mu.clone()
        moved[k] = formula(P, M, mu, k)
        moved.requires_grad_()
        loss = kl_divergence(MultivariateNormal(moved, torch.eye(3)), posterior)
        (gradient,) = torch.autograd.grad(loss, moved)
        assert abs(gradient[k]) < 1e-12


def a_product() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two laws that are not Gaussian, a logistic and a mixture: log-densities, grid step, means, variances."""
    z, step = line(14, 1121)
    logistic = -(z - 0.4) - 2 * torch.log1p(torch.exp(-(z - 0.4)))
    parts = torch.distributions.Normal(torch.tensor([-1.0, 1.2]), torch.tensor([0.5, 0.4])).log_prob(z[:, None])
    log_q = torch.stack([logistic * 1.0, (parts + math.log(0.5)).logsumexp(1)])
    log_q = log_q - (log_q.exp().sum(1, keepdim=True) * step).log()
    mean = (log_q.exp() * z).sum(1) * step
    return log_q, torch.tensor(step), mean, (log_q.exp() * z**2).sum(1) * step - mean**2


def integral(precision: Tensor, m: Tensor) -> Tensor:
    """The divergence of the product of the two laws from a Gaussian in the plane, over a grid."""
    log_q, step, *_ = a_product()
    z, _ = line(14, 1121)
    log_product = log_q[0][:, None] + log_q[1]
    grid = torch.stack(torch.meshgrid(z, z, indexing="ij"), -1) - m
    square = (grid @ precision * grid).sum(-1)
    log_p = 0.5 * logdet(precision) - math.log(2 * math.pi) - 0.5 * square
    return (log_product.exp() * (log_product - log_p)).sum() * step**2


def _product_kl(negentropy: Tensor, s: Tensor, shift: Tensor, P: Tensor) -> Tensor:
    constants = 0.5 * len(s) * math.log(2 * math.pi) - 0.5 * logdet(P)
    return (negentropy + 0.5 * P.diagonal() * s).sum() + 0.5 * shift @ P @ shift + constants


@checks(
    "eq-q33-product-kl",
    "quadrature",
    r"""
    \begin{aligned}
    \mathrm{KL}(q\,\|\,p) = {}&\sum_k \Bigl(\mathbb{E}_{q_k}[\log q_k] + \tfrac12 \Lambda_{kk} s_k\Bigr) \\
    &+ \tfrac12 (\mu - m)^\top \Lambda\,(\mu - m) \\
    &+ \tfrac K2 \log 2\pi - \tfrac12 \log \det \Lambda .
    \end{aligned}
    """,
    right=_product_kl,
    wrong={
        "sign of the entropy": lambda negentropy, s, shift, P: _product_kl(-negentropy, s, shift, P),
        "sign of the determinant": lambda negentropy, s, shift, P: _product_kl(negentropy, s, shift, P) + logdet(P),
        "no means": lambda negentropy, s, shift, P: _product_kl(negentropy, s, 0 * shift, P),
        "no constant": lambda negentropy, s, shift, P: _product_kl(negentropy, s, shift, P) - math.log(2 * math.pi),
    },
)
def product_kl(formula: Formula) -> None:
    """The integral over a grid in the plane, for a product of a logistic law and a mixture."""
    precision, m = torch.tensor([[1.3, 0.6], [0.6, 0.9]]), torch.tensor([0.3, -0.5])
    log_q, step, mean, variance = a_product()
    negentropy = (log_q.exp() * log_q).sum(1) * step
    close(formula(negentropy, variance, mean - m, precision), integral(precision, m))


@checks(
    "eq-q33-identity",
    "quadrature",
    r"""
    \begin{aligned}
    \mathrm{KL}(q\,\|\,p) = {}&\Delta + \sum_k \mathrm{KL}(q_k\,\|\,\tilde q_k) \\
    &+ \tfrac12 (\mu - m)^\top \Lambda\,(\mu - m).
    \end{aligned}
    """,
    right=lambda delta, divergences, shift, P: delta + divergences.sum() + 0.5 * shift @ P @ shift,
    wrong={
        "no half": lambda delta, divergences, shift, P: delta + divergences.sum() + shift @ P @ shift,
        "no Delta": lambda delta, divergences, shift, P: divergences.sum() + 0.5 * shift @ P @ shift,
        "inverse": lambda delta, divergences, shift, P: (
            delta + divergences.sum() + 0.5 * shift @ torch.linalg.solve(P, shift)
        ),
    },
)
def identity(formula: Formula) -> None:
    """The integral over a grid in the plane, for a product of a logistic law and a mixture; the parts on the line."""
    precision, m = torch.tensor([[1.3, 0.6], [0.6, 0.9]]), torch.tensor([0.3, -0.5])
    log_q, step, mean, _ = a_product()
    z, _ = line(14, 1121)
    matched = torch.distributions.Normal(mean, precision.diagonal().rsqrt()).log_prob(z[:, None]).T
    divergences = (log_q.exp() * (log_q - matched)).sum(1) * step
    delta = 0.5 * (precision.diagonal().log().sum() - logdet(precision))
    close(formula(delta, divergences, mean - m, precision), integral(precision, m))


@checks(
    "eq-q33-joint",
    "finite sum",
    r"""
    \sup_{\theta, q_1, \dots, q_N} \sum_{i=1}^N \mathcal{L}(q_i, \theta; x_i) \;\geq\;
    \sup_{\theta, \phi} \sum_{i=1}^N \mathcal{L}(\theta, \phi; x_i).
    """,
    right=lambda free, amortised: (free, amortised),
    wrong={
        "the other way round": lambda free, amortised: (amortised, free),
        "negative bounds": lambda free, amortised: (-free, -amortised),
    },
)
def joint(formula: Formula) -> None:
    """Ten decoders, three images, fifty laws, encoders that give all images the same one; equal for one image."""
    joints, family = torch.rand(10, 3, 4), torch.rand(50, 4).softmax(1)
    bounds = (family[:, None, None] * (joints / family[:, None, None]).log()).sum(-1)  # laws, decoders, images
    greater, less = formula(bounds.amax(0).sum(1).max(), bounds.sum(2).max())
    assert greater > less
    greater, less = formula(bounds[..., :1].amax(0).sum(1).max(), bounds[..., :1].sum(2).max())
    assert greater == less
