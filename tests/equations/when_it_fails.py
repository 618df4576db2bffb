"""Checks of the numbered equations of "When it fails"."""

from __future__ import annotations

import math

import torch
from tiny import gauss_hermite
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from equations.registry import Formula, checks, kl

close = torch.testing.assert_close
SIGMA2 = 0.5


def data() -> tuple[Tensor, Tensor, Tensor]:
    """Fifty points in four dimensions, with the eigenvalues (falling) and eigenvectors of their covariance."""
    x = torch.randn(50, 4) @ torch.tensor([2.0, 1.3, 0.5, 0.3]).diag() @ torch.linalg.qr(torch.randn(4, 4)).Q
    lam, axes = torch.linalg.eigh((x - x.mean(0)).mT @ (x - x.mean(0)) / 50)
    return x, lam.flip(0), axes.flip(1)


def _maximum(lam: Tensor, r: int) -> Tensor:
    kept, rest = lam[:r], lam[r:]
    inside = len(lam) * math.log(2 * math.pi) + (kept.log() + 1).sum() + (math.log(SIGMA2) + rest / SIGMA2).sum()
    return -0.5 * inside


@checks(
    "eq-fail-maximum",
    "autograd",
    r"""
    \begin{aligned}
    -\tfrac12 \Bigl[ & D \log 2\pi + \sum_{d \leq r} (\log \lambda_d + 1) \\
    & + \sum_{d > r} \Bigl(\log \sigma^2 + \frac{\lambda_d}{\sigma^2}\Bigr) \Bigr].
    \end{aligned}
    """,
    right=_maximum,
    wrong={
        "no 1": lambda lam, r: _maximum(lam, r) + r / 2,
        "all units kept": lambda lam, r: _maximum(lam, r + 1),
        "one too few": lambda lam, r: _maximum(lam, r - 1),
        "no half": lambda lam, r: 2 * _maximum(lam, r),
    },
)
def maximum(formula: Formula) -> None:
    """Three units for two eigenvalues above sigma^2: an optimiser on the mean log-likelihood, from three starts."""
    x, lam, _ = data()
    r = int((lam[:3] > SIGMA2).sum())
    assert r == 2
    for _ in range(3):
        W, b = torch.randn(4, 3, requires_grad=True), torch.zeros(4, requires_grad=True)
        optimiser = torch.optim.LBFGS([W, b], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

        def closure(W: Tensor = W, b: Tensor = b, optimiser: torch.optim.Optimizer = optimiser) -> Tensor:
            optimiser.zero_grad()
            loss = -MultivariateNormal(b, W @ W.mT + SIGMA2 * torch.eye(4)).log_prob(x).mean()
            loss.backward()
            return loss

        optimiser.step(closure)
        assert abs(-closure().item() - formula(lam, r).item()) < 1e-5


@checks(
    "eq-fail-unit",
    "linear algebra",
    r"""
    \begin{aligned}
    \frac1N \sum_i \mathrm{KL}\bigl(q_i(z_k)\,\|\,p(z_k)\bigr) &= \tfrac12 \log \frac{\lambda}{\sigma^2}, \\
    \operatorname{Var}_i\bigl(\mathbb{E}_{q_i}[z_k]\bigr) &= 1 - \frac{\sigma^2}{\lambda}.
    \end{aligned}
    """,
    right=lambda lam: (0.5 * (lam / SIGMA2).log(), 1 - SIGMA2 / lam),
    wrong={
        "no half": lambda lam: ((lam / SIGMA2).log(), 1 - SIGMA2 / lam),
        "upside down": lambda lam: (0.5 * (SIGMA2 / lam).log(), 1 - lam / SIGMA2),
        "the other variance": lambda lam: (0.5 * (lam / SIGMA2).log(), SIGMA2 / lam),
    },
)
def unit(formula: Formula) -> None:
    """Posteriors of fifty points from second derivatives of log p(x, z), by autograd, and their divergences."""
    x, lam, axes = data()
    W, mean = axes[:, :2] @ (lam[:2] - SIGMA2).sqrt().diag(), x.mean(0)

    def log_joint(z: Tensor, point: Tensor) -> Tensor:
        log_p = Normal(W @ z + mean, SIGMA2**0.5).log_prob(point).sum()
        return log_p + Normal(0.0, 1.0).log_prob(z).sum()

    zero = torch.zeros(2)
    covariance = torch.linalg.inv(-torch.autograd.functional.hessian(lambda z: log_joint(z, x[0]), zero))
    slopes = torch.stack([torch.autograd.functional.jacobian(lambda z, p=p: log_joint(z, p), zero) for p in x])
    means = slopes @ covariance
    q = Normal(means, covariance.diagonal().sqrt())
    nats, spread = formula(lam[:2])
    close(kl_divergence(q, Normal(0.0, 1.0)).mean(0), nats)
    close(means.var(0, correction=0), spread)


@checks(
    "eq-fail-trace",
    "linear algebra",
    r"""
    \begin{aligned}
    \operatorname{tr}(M^{-1} C) &= \frac{\operatorname{tr} C}{\sigma^2} - \sum_{k \leq K} (g_k - g_{k+1})\,T_k \\
    &\geq \frac{\operatorname{tr} C}{\sigma^2} - \sum_{k \leq K} (g_k - g_{k+1}) \sum_{j \leq k} \lambda_j
    = \sum_d \frac{\lambda_d}{m_d},
    \end{aligned}
    """,
    right=lambda trace, steps, T, partial, ratios: (
        trace / SIGMA2 - steps @ T, trace / SIGMA2 - steps @ partial, ratios,
    ),
    wrong={
        "sign": lambda trace, steps, T, partial, ratios: (
            trace / SIGMA2 + steps @ T, trace / SIGMA2 + steps @ partial, ratios,
        ),
        "T and the sums exchanged": lambda trace, steps, T, partial, ratios: (
            trace / SIGMA2 - steps @ partial, trace / SIGMA2 - steps @ T, ratios,
        ),
        "no sigma": lambda trace, steps, T, partial, ratios: (trace - steps @ T, trace - steps @ partial, ratios),
    },
)  # fmt: skip
def trace(formula: Formula) -> None:
    """Random decoders with three units in four dimensions: the trace as it stands, and the three expressions."""
    _, lam, axes = data()
    C = axes @ lam.diag() @ axes.mT
    for _ in range(20):
        W = torch.randn(4, 3)
        M = W @ W.mT + SIGMA2 * torch.eye(4)
        m, v = torch.linalg.eigh(M)
        m, v = m.flip(0), v.flip(1)
        g = torch.cat([(1 / SIGMA2 - 1 / m)[:3], torch.zeros(1)])
        T = (v[:, :3] * (C @ v[:, :3])).sum(0).cumsum(0)
        first, second, third = formula(lam.sum(), g[:-1] - g[1:], T, lam[:3].cumsum(0), (lam / m).sum())
        close(first, torch.trace(torch.linalg.solve(M, C)))
        assert first >= second - 1e-12
        close(second, third)


def _one_unit(lam: float, w: float, v: float, s2: float) -> float:
    fit = -(lam * (1 - w * v) ** 2 + w**2 * s2) / (2 * SIGMA2)
    return fit - (lam * v**2 + s2 - 1 - math.log(s2)) / 2


@checks(
    "eq-fail-one-unit",
    "quadrature",
    r"""
    \begin{aligned}
    & -\frac{\lambda (1 - wv)^2 + w^2 s^2}{2 \sigma^2} \\
    & \qquad - \frac{\lambda v^2 + s^2 - 1 - \log s^2}{2},
    \end{aligned}
    """,
    right=_one_unit,
    wrong={
        "plus": lambda lam, w, v, s2: _one_unit(lam, w, -v, s2),
        "no lambda in the divergence": lambda lam, w, v, s2: _one_unit(lam, w, v, s2) + (lam - 1) * v**2 / 2,
        "no noise through the decoder": lambda lam, w, v, s2: _one_unit(lam, w, v, s2) + w**2 * s2 / (2 * SIGMA2),
        "sign of the logarithm": lambda lam, w, v, s2: _one_unit(lam, w, v, s2) - math.log(s2),
    },
)
def one_unit(formula: Formula) -> None:
    """The mean bound over Gaussian data and noise by quadrature; differences from one setting to others."""
    nodes, weights = gauss_hermite(12)
    grid, weight = torch.cartesian_prod(nodes, nodes), torch.outer(weights, weights).flatten()
    lam = 1.7

    def bound(w: float, v: float, s2: float) -> float:
        x = lam**0.5 * grid[:, 0]
        q = Normal(v * x, s2**0.5)
        z = v * x + s2**0.5 * grid[:, 1]
        log_p = Normal(w * z, SIGMA2**0.5).log_prob(x)
        return (weight * (log_p - kl_divergence(q, Normal(0.0, 1.0)))).sum().item()

    constant = bound(0.0, 0.0, 1.0) - formula(lam, 0.0, 0.0, 1.0)
    for setting in ((0.5, 0.3, 0.8), (1.2, 0.6, 0.2), (-0.4, 0.7, 1.5)):
        assert abs(bound(*setting) - formula(lam, *setting) - constant) < 1e-10


def _saddle(lam: float) -> tuple[Tensor, float]:
    matrix = torch.tensor([[-1 / SIGMA2, lam / SIGMA2], [lam / SIGMA2, -lam]])
    return matrix, lam * (SIGMA2 - lam) / SIGMA2**2


@checks(
    "eq-fail-saddle",
    "autograd",
    r"""
    \begin{pmatrix} -1 / \sigma^2 & \lambda / \sigma^2 \\ \lambda / \sigma^2 & -\lambda \end{pmatrix},
    \qquad \det = \frac{\lambda (\sigma^2 - \lambda)}{\sigma^4} .
    """,
    right=_saddle,
    wrong={
        "signs": lambda lam: (-_saddle(lam)[0], _saddle(lam)[1]),
        "no sigma in the corner": lambda lam: (
            _saddle(lam)[0] * torch.tensor([[1, SIGMA2], [SIGMA2, 1]]),
            _saddle(lam)[1],
        ),
        "sign of the determinant": lambda lam: (_saddle(lam)[0], -_saddle(lam)[1]),
        "sigma squared": lambda lam: (_saddle(lam)[0], _saddle(lam)[1] * SIGMA2),
    },
)
def saddle(formula: Formula) -> None:
    """Second derivatives of the bound of one unit at the collapsed point, by autograd; s is curved by itself."""

    def bound(point: Tensor) -> Tensor:
        w, v, s = point
        fit = -(lam * (1 - w * v) ** 2 + w**2 * s**2) / (2 * SIGMA2)
        return fit - (lam * v**2 + s**2 - 1 - 2 * s.log()) / 2

    for lam in (0.2, 0.5, 1.7):
        matrix, determinant = formula(lam)
        curved = torch.autograd.functional.hessian(bound, torch.tensor([0.0, 0.0, 1.0]))
        close(matrix, curved[:2, :2])
        close(curved[2], torch.tensor([0.0, 0.0, -2.0]))
        assert abs(torch.linalg.det(curved[:2, :2]).item() - determinant) < 1e-12


@checks(
    "eq-fail-free",
    "finite sum",
    r"""
    \begin{aligned}
    \mathcal{L}_\tau &= \frac1M \sum_i \mathbb{E}_{q_i}\bigl[\log p_\theta(x_i \mid z)\bigr] \\
    & \quad - \sum_k \max(\tau, R_k), \\
    R_k &= \frac1M \sum_i \mathrm{KL}\bigl(q_i(z_k)\,\|\,p(z_k)\bigr).
    \end{aligned}
    """,
    right=lambda log_p, nats, tau: log_p.mean() - nats.mean(0).clamp(min=tau).sum(),
    wrong={
        "minimum": lambda log_p, nats, tau: log_p.mean() - nats.mean(0).clamp(max=tau).sum(),
        "each image by itself": lambda log_p, nats, tau: log_p.mean() - nats.clamp(min=tau).sum(1).mean(),
        "all units together": lambda log_p, nats, tau: log_p.mean() - nats.mean(0).sum().clamp(min=tau),
    },
)
def free_bits(formula: Formula) -> None:
    """The usual bound less what each unit, on average over the images, falls short of tau."""
    log_p, nats, tau = -torch.rand(3), torch.tensor([[0.0, 0.2, 2.0], [0.1, 0.9, 1.0], [0.2, 0.1, 3.0]]), 0.3
    usual = log_p.mean() - nats.sum(1).mean()
    short = [max(0.0, tau - nats[:, k].mean().item()) for k in range(3)]
    close(formula(log_p, nats, tau), usual - sum(short))


def laws() -> tuple[Tensor, Tensor, Tensor]:
    """Three densities on five points, a prior, and another one."""
    p, r = torch.rand(2, 5).softmax(1)
    return torch.rand(3, 5).softmax(1), p, r


@checks(
    "eq-fail-surgery",
    "finite sum",
    r"\frac1N \sum_i \mathrm{KL}(q_i\,\|\,p) = I + \mathrm{KL}(\bar q\,\|\,p).",
    right=lambda information, aggregate: information + aggregate,
    wrong={
        "sign": lambda information, aggregate: information - aggregate,
        "no information": lambda information, aggregate: aggregate,
    },
)
def surgery(formula: Formula) -> None:
    """The information as the divergence of the joint law of image and code from the product of its marginals."""
    q, p, _ = laws()
    joint = q / 3
    information = kl(joint.flatten(), (joint.sum(1, keepdim=True) * joint.sum(0)).flatten())
    close(formula(information, kl(q.mean(0), p)), kl(q, p).mean())


@checks(
    "eq-fail-gain",
    "finite sum",
    r"""
    \begin{aligned}
    \mathbb{E}_{\bar q}\Bigl[\log \frac{r(z)}{p(z)}\Bigr] &= \mathrm{KL}(\bar q\,\|\,p) - \mathrm{KL}(\bar q\,\|\,r) \\
    &\leq \mathrm{KL}(\bar q\,\|\,p).
    \end{aligned}
    """,
    right=lambda to_p, to_r: (to_p - to_r, to_p),
    wrong={
        "exchanged": lambda to_p, to_r: (to_r - to_p, to_p),
        "sum": lambda to_p, to_r: (to_p + to_r, to_p),
        "the other limit": lambda to_p, to_r: (to_p - to_r, -to_r),
    },
)
def gain(formula: Formula) -> None:
    """By how much the mean bound of three images rises when the prior is replaced, summed over the five codes."""
    q, p, r = laws()
    log_likelihood = torch.rand(3, 5).log()
    bounds = [(q * (log_likelihood + prior.log() - q.log())).sum(1).mean() for prior in (p, r)]
    value, most = formula(kl(q.mean(0), p), kl(q.mean(0), r))
    close(value, bounds[1] - bounds[0])
    assert value <= most
    close(formula(kl(q.mean(0), p), kl(q.mean(0), q.mean(0)))[0], most)


@checks(
    "eq-fail-average",
    "autograd",
    r"\omega_i(z) = \frac{q_i(z)}{\sum_j q_j(z)}, \qquad f^*(z) = \sum_i \omega_i(z)\,x_i .",
    right=lambda q, x: (q / q.sum(0)).mT @ x,
    wrong={
        "over codes": lambda q, x: (q / q.sum(1, keepdim=True)).mT @ x,
        "plain mean": lambda q, x: x.mean(0).expand(q.shape[1], -1),
        "nearest": lambda q, x: x[q.argmax(0)],
    },
)
def average(formula: Formula) -> None:
    """Three images, five codes: there the slope of the mean squared error in every decoded value vanishes."""
    (q, _, _), x = laws(), torch.rand(3, 2)
    f = formula(q, x).clone().requires_grad_()
    loss = (q[..., None] * (x[:, None] - f) ** 2).sum()
    (slope,) = torch.autograd.grad(loss, f)
    assert slope.abs().max() < 1e-12
