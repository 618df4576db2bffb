"""Checks of the numbered equations of "Full variational Bayes"."""

from __future__ import annotations

import math

import torch
from tiny import gauss_hermite
from torch import Tensor
from torch.distributions import Gamma, MultivariateNormal, Normal, kl_divergence

from equations.registry import Formula, checks, kl

close = torch.testing.assert_close


def a_world() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Three weights, two images, four codes: p(theta), p(z), p(x_i|z, theta), q(theta) and q(z|x_i)."""
    p_theta, q_theta = torch.rand(2, 3).softmax(1)
    return p_theta, torch.rand(4).softmax(0), torch.rand(2, 3, 4), q_theta, torch.rand(2, 4).softmax(1)


def whole_joint(p_theta: Tensor, p_z: Tensor, likelihood: Tensor) -> Tensor:
    """p(X, Z, theta) over (theta, z_1, z_2), one product at a time."""
    joint = torch.zeros(3, 4, 4)
    for theta in range(3):
        for a in range(4):
            for b in range(4):
                first = p_z[a] * likelihood[0, theta, a]
                joint[theta, a, b] = p_theta[theta] * first * p_z[b] * likelihood[1, theta, b]
    return joint


@checks(
    "eq-fb-joint",
    "Monte Carlo",
    r"p(X, Z, \theta) = p(\theta) \prod_{i=1}^N p(z_i)\,p_\theta(x_i \mid z_i).",
    right=lambda p_theta, p_z, p_x: p_theta * (p_z * p_x).prod(-1),
    wrong={
        "weights for each image": lambda p_theta, p_z, p_x: (p_theta[:, None] * p_z * p_x).prod(-1),
        "sum": lambda p_theta, p_z, p_x: p_theta * (p_z * p_x).sum(-1),
        "no prior of the codes": lambda p_theta, p_z, p_x: p_theta * p_x.prod(-1),
    },
)
def joint(formula: Formula) -> None:
    """400,000 draws, weights first, then codes, then images: how often each outcome occurs, to 5 standard errors."""
    p_theta, p_z, bright = torch.tensor([0.3, 0.7]), torch.tensor([0.6, 0.4]), torch.tensor([[0.2, 0.9], [0.5, 0.1]])
    theta = torch.multinomial(p_theta, 400_000, replacement=True)
    z = torch.multinomial(p_z, 800_000, replacement=True).view(-1, 2)
    x = (torch.rand(400_000, 2) < bright[theta[:, None], z]).long()
    outcomes = torch.cartesian_prod(*[torch.arange(2)] * 5)  # theta, z_1, z_2, x_1, x_2
    p_x = bright[outcomes[:, :1], outcomes[:, 1:3]]
    p_x = torch.where(outcomes[:, 3:] == 1, p_x, 1 - p_x)
    expected = formula(p_theta[outcomes[:, 0]], p_z[outcomes[:, 1:3]], p_x)
    drawn = torch.cat([theta[:, None], z, x], 1) @ torch.tensor([16, 8, 4, 2, 1])
    frequency = drawn.bincount(minlength=32) / 400_000
    error = (expected * (1 - expected) / 400_000).clamp(min=0).sqrt()
    assert ((frequency - expected).abs() <= 5 * error).all()


def _bound(p_theta: Tensor, p_z: Tensor, likelihood: Tensor, q_theta: Tensor, q_z: Tensor) -> tuple[Tensor, Tensor]:
    elbos = (q_z[:, None] * (p_z * likelihood / q_z[:, None]).log()).sum(-1)
    return q_theta @ elbos.sum(0), kl(q_theta, p_theta)


@checks(
    "eq-fb-bound",
    "finite sum",
    r"""
    \begin{aligned}
    \mathcal{B} &= \mathbb{E}_{q(\theta)}\Bigl[\sum_{i=1}^N \mathcal{L}(\theta, \phi; x_i)\Bigr] \\
    &\quad - \mathrm{KL}\bigl(q(\theta)\,\|\,p(\theta)\bigr).
    \end{aligned}
    """,
    right=lambda elbos, divergence: elbos - divergence,
    wrong={
        "sign": lambda elbos, divergence: elbos + divergence,
        "a divergence for each image": lambda elbos, divergence: elbos - 2 * divergence,
        "no divergence": lambda elbos, divergence: elbos,
    },
)
def bound(formula: Formula) -> None:
    """The mean of log p(X, Z, theta) - log q over all 48 outcomes."""
    world = a_world()
    *model, q_theta, q_z = world
    q = q_theta[:, None, None] * q_z[0][:, None] * q_z[1]
    close(formula(*_bound(*world)), (q * (whole_joint(*model) / q).log()).sum())


@checks(
    "eq-fb-gap",
    "finite sum",
    r"""
    \begin{aligned}
    &\log p(X) - \mathcal{B} \\
    &= \mathrm{KL}\Bigl(q(\theta) \prod_i q_\phi(z_i \mid x_i)\,\Big\| \\
    &\qquad\quad p(\theta, Z \mid X)\Bigr) \\
    &= \mathrm{KL}\bigl(q(\theta)\,\|\,p(\theta \mid X)\bigr) \\
    &\quad + \sum_i \mathbb{E}_{q(\theta)}\bigl[\mathrm{KL}\bigl(q_\phi(z \mid x_i)\,\| \\
    &\qquad\quad p_\theta(z \mid x_i)\bigr)\bigr].
    \end{aligned}
    """,
    right=lambda whole, of_weights, of_codes, q_theta: (whole, of_weights + (of_codes @ q_theta).sum()),
    wrong={
        "no average over the weights": lambda whole, of_weights, of_codes, q_theta: (
            whole,
            of_weights + of_codes.sum(),
        ),
        "codes forgotten": lambda whole, of_weights, of_codes, q_theta: (whole, of_weights),
        "sign": lambda whole, of_weights, of_codes, q_theta: (whole, of_weights - (of_codes @ q_theta).sum()),
        "mean over images": lambda whole, of_weights, of_codes, q_theta: (
            whole,
            of_weights + (of_codes @ q_theta).mean(),
        ),
    },
)
def gap(formula: Formula) -> None:
    """All posteriors by summing the joint of 48 outcomes; log p(X) minus the bound on the left."""
    p_theta, p_z, likelihood, q_theta, q_z = a_world()
    joint = whole_joint(p_theta, p_z, likelihood)
    elbos, divergence = _bound(p_theta, p_z, likelihood, q_theta, q_z)
    q = q_theta[:, None, None] * q_z[0][:, None] * q_z[1]
    whole = kl(q.flatten(), (joint / joint.sum()).flatten())
    of_weights = kl(q_theta, joint.sum((1, 2)) / joint.sum())
    posterior = p_z * likelihood / (p_z * likelihood).sum(-1, keepdim=True)
    of_codes = kl(q_z[:, None].expand(2, 3, 4), posterior)
    for form in formula(whole, of_weights, of_codes, q_theta):
        close(form, joint.sum().log() - elbos + divergence)


@checks(
    "eq-fb-kl",
    "finite sum",
    r"\tfrac12 \sum_{j=1}^P \bigl(\mu_{\theta,j}^2 + \sigma_{\theta,j}^2 - 1 - \log \sigma_{\theta,j}^2\bigr).",
    right=lambda mu, sigma: 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum(),
    wrong={
        "logarithm of sigma": lambda mu, sigma: 0.5 * (mu**2 + sigma**2 - 1 - sigma.log()).sum(),
        "no half": lambda mu, sigma: (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum(),
        "sign": lambda mu, sigma: 0.5 * (mu**2 + sigma**2 + 1 - 2 * sigma.log()).sum(),
    },
)
def divergence(formula: Formula) -> None:
    """PyTorch's divergence between Gaussians in three dimensions."""
    mu, sigma = torch.tensor([0.4, -1.0, 0.2]), torch.tensor([0.3, 1.5, 0.8])
    q, p = MultivariateNormal(mu, (sigma**2).diag()), MultivariateNormal(torch.zeros(3), torch.eye(3))
    close(formula(mu, sigma), kl_divergence(q, p))


def four_images() -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Four images, two weights, two codes: q(theta), q(z|x_i), log p(x_i|z, theta), and the divergences of both."""
    q_z = torch.rand(4, 2).softmax(1)
    return torch.tensor([0.3, 0.7]), q_z, torch.rand(4, 2, 2).log(), torch.rand(4), 0.9


@checks(
    "eq-fb-estimator",
    "finite sum",
    r"""
    \begin{aligned}
    \hat{\mathcal{B}} &= \frac NM \sum_{i \in B} \hat{\mathcal{L}}_i \\
    &\quad - \mathrm{KL}\bigl(q(\theta)\,\|\,p(\theta)\bigr), \\
    \hat{\mathcal{L}}_i &= \log p_\theta(x_i \mid z_i) \\
    &\quad - \mathrm{KL}\bigl(q_\phi(z \mid x_i)\,\|\,p(z)\bigr)
    \end{aligned}
    """,
    right=lambda log_p, of_codes, of_weights, N: N * (log_p - of_codes).mean(-1) - of_weights,
    wrong={
        "weights times N / M": lambda log_p, of_codes, of_weights, N: N * (log_p - of_codes - of_weights).mean(-1),
        "sum": lambda log_p, of_codes, of_weights, N: (log_p - of_codes).sum(-1) - of_weights,
        "sign": lambda log_p, of_codes, of_weights, N: N * (log_p + of_codes).mean(-1) - of_weights,
    },
)
def estimator(formula: Formula) -> None:
    """Every minibatch of two of four images and every draw, shared or not, with its probability."""
    q_theta, q_z, log_p, of_codes, of_weights = four_images()
    exact = (q_theta[:, None] * q_z[:, None] * log_p).sum() - of_codes.sum() - of_weights
    pairs = torch.combinations(torch.arange(4), 2)
    for shared in (True, False):
        total = torch.zeros(())
        for t, u, a, b in torch.cartesian_prod(*[torch.arange(2)] * 4):
            chance = q_theta[t] * ((t == u).double() if shared else q_theta[u])
            for i, j in pairs:
                values = torch.stack([log_p[i, t, a], log_p[j, u, b]])
                weight = chance * q_z[i, a] * q_z[j, b] / len(pairs)
                total += weight * formula(values, of_codes[torch.stack([i, j])], of_weights, 4)
        close(total, exact)


@checks(
    "eq-fb-share",
    "finite sum",
    r"\hat{\mathcal{B}}_i = \hat{\mathcal{L}}_i - \tfrac1N \mathrm{KL}\bigl(q(\theta)\,\|\,p(\theta)\bigr):",
    right=lambda value, of_weights, N, M: value - of_weights / N,
    wrong={
        "M": lambda value, of_weights, N, M: value - of_weights / M,
        "all of it": lambda value, of_weights, N, M: value - of_weights,
        "sign": lambda value, of_weights, N, M: value + of_weights / N,
    },
)
def share(formula: Formula) -> None:
    """The mean over any minibatch is the estimate of the whole bound divided by N."""
    values, of_weights, N = torch.randn(3), 0.9, 10
    whole = N / 3 * values.sum() - of_weights
    close(formula(values, of_weights, N, 3).mean(), whole / N)


@checks(
    "eq-fb-sharing",
    "finite sum",
    r"""
    \begin{aligned}
    V_{\text{own}} &= \frac{1}{M^2} \sum_{i \in B} \operatorname{Var}(f_i), \\
    V_{\text{shared}} &= V_{\text{own}} \\
    &+ \frac{1}{M^2} \sum_{i \neq j} \operatorname{Cov}(a_i, a_j)
    \end{aligned}
    """,
    right=lambda var, cov, M: (var.sum() / M**2, (var.sum() + cov.sum() - cov.trace()) / M**2),
    wrong={
        "variances counted twice": lambda var, cov, M: (var.sum() / M**2, (var.sum() + cov.sum()) / M**2),
        "M": lambda var, cov, M: (var.sum() / M, (var.sum() + cov.sum() - cov.trace()) / M),
        "sign": lambda var, cov, M: (var.sum() / M**2, (var.sum() - cov.sum() + cov.trace()) / M**2),
        "each pair once": lambda var, cov, M: (var.sum() / M**2, (var.sum() + cov.triu(1).sum()) / M**2),
    },
)
def sharing(formula: Formula) -> None:
    """Three images, three weights, two draws of a code: every outcome with its probability."""
    q, r = torch.rand(3).softmax(0), torch.rand(3, 2).softmax(1)
    f = torch.randn(3, 3, 2)  # image, weight, code
    mean = (q[:, None] * r[:, None] * f).sum((1, 2))
    var = (q[:, None] * r[:, None] * f**2).sum((1, 2)) - mean**2
    a = (r[:, None] * f).sum(2) - mean[:, None]
    codes = torch.cartesian_prod(*[torch.arange(2)] * 3)
    chance = r[torch.arange(3), codes].prod(1)

    def variance(weights: Tensor, probabilities: Tensor) -> Tensor:
        values = f[torch.arange(3), weights[:, None], codes[None]].mean(2)
        chances = probabilities[:, None] * chance
        return (chances * values**2).sum() - (chances * values).sum() ** 2

    same, free = torch.arange(3)[:, None].expand(3, 3), torch.cartesian_prod(*[torch.arange(3)] * 3)
    expected = variance(free, q[free].prod(1)), variance(same, q)
    for value, exact in zip(formula(var, (a * q) @ a.mT, 3), expected, strict=True):
        close(value, exact)


def _shrink(E: Tensor, log_prior: Tensor, P: int, s: float) -> Tensor:
    return E + log_prior + P * math.log(s) + P / 2 * math.log(2 * math.pi * math.e)


@checks(
    "eq-fb-shrink",
    "quadrature",
    r"""
    \begin{aligned}
    \mathcal{B}(\mu, s) &= E(\mu) + \log p(\mu) \\
    &\quad + P \log s \\
    &\quad + \tfrac P2 \log (2 \pi e) \\
    &\quad + o(1),
    \end{aligned}
    """,
    right=_shrink,
    wrong={
        "no prior": lambda E, log_prior, P, s: _shrink(E, 0 * log_prior, P, s),
        "sign of log s": lambda E, log_prior, P, s: _shrink(E, log_prior, P, 1 / s),
        "no e": lambda E, log_prior, P, s: _shrink(E, log_prior, P, s) - P / 2,
        "P once": lambda E, log_prior, P, s: _shrink(E, log_prior, P, s) - math.log(s),
    },
)
def shrink(formula: Formula) -> None:
    """Two weights and a polynomial E: quadrature of the bound, as s goes to zero."""
    nodes, weights = gauss_hermite(20)
    zeta, weight = torch.cartesian_prod(nodes, nodes), torch.outer(weights, weights).flatten()
    mu = torch.tensor([0.6, -0.4])

    def E(theta: Tensor) -> Tensor:
        return theta[..., 0] ** 3 - 2 * theta[..., 0] * theta[..., 1] ** 2

    prior = MultivariateNormal(torch.zeros(2), torch.eye(2))
    for s in (1e-2, 1e-3):
        q = MultivariateNormal(mu, s**2 * torch.eye(2))
        exact = (weight * E(mu + s * zeta)).sum() - kl_divergence(q, prior)
        assert abs(exact - formula(E(mu), prior.log_prob(mu), 2, s)) < 20 * s**2


@checks(
    "eq-fb-three-modes",
    "autograd",
    r"\hat\beta = \frac{a - 1}{b}, \qquad \frac ab, \qquad \frac{a + 1}{b},",
    right=lambda a, b: ((a - 1) / b, a / b, (a + 1) / b),
    wrong={
        "the mean first": lambda a, b: (a / b, a / b, (a + 1) / b),
        "exchanged": lambda a, b: ((a + 1) / b, a / b, (a - 1) / b),
        "times b": lambda a, b: ((a - 1) * b, a * b, (a + 1) * b),
    },
)
def three_modes(formula: Formula) -> None:
    """The slope of the log-density of each quantity, with PyTorch's Gamma law and its change of variables, vanishes."""
    a, b = torch.tensor(3.5), torch.tensor(2.0)
    maps = (lambda u: u, torch.exp, lambda u: 1 / u)  # precision, its logarithm, the variance
    inverses = (lambda beta: beta, torch.log, lambda beta: 1 / beta)
    for to_beta, from_beta, mode in zip(maps, inverses, formula(a, b), strict=True):
        u = from_beta(mode).requires_grad_()
        beta = to_beta(u)
        (stretch,) = torch.autograd.grad(beta, u, create_graph=True)
        log_density = Gamma(a, b).log_prob(beta) + stretch.abs().log()
        (slope,) = torch.autograd.grad(log_density, u) if log_density.requires_grad else (torch.zeros(()),)
        assert abs(slope) < 1e-9


SIGMA2 = 0.7


def _updates(m: Tensor, s2: Tensor, S: Tensor, N: int):
    """Given q(w): v and a; then, given these, s^2 and m."""
    v = 1 / (1 + (m @ m + 2 * s2) / SIGMA2)
    a = v / SIGMA2 * m
    square = v + a @ S @ a
    new_s2 = 1 / (1 + N / SIGMA2 * square)
    return v, a, new_s2, new_s2 * N / SIGMA2 * S @ a


@checks(
    "eq-fb-updates",
    "autograd",
    r"""
    \begin{aligned}
    v &= \Bigl(1 + \frac{\|m\|^2 + 2 s^2}{\sigma^2}\Bigr)^{-1}, \\
    a &= \frac{v}{\sigma^2} m, \qquad \overline{\mathbb{E} z^2} = v + a^\top S a, \\
    s^2 &= \Bigl(1 + \frac{N}{\sigma^2} \overline{\mathbb{E} z^2}\Bigr)^{-1}, \\
    m &= \frac{s^2 N}{\sigma^2} S a.
    \end{aligned}
    """,
    right=_updates,
    wrong={
        "one variance of the weights": lambda m, s2, S, N: (
            (v := 1 / (1 + (m @ m + s2) / SIGMA2)), v / SIGMA2 * m, *_updates(m, s2, S, N)[2:],
        ),
        "no N": lambda m, s2, S, N: (*_updates(m, s2, S, N)[:2], *_updates(m, s2, S, 1)[2:]),
        "no S": lambda m, s2, S, N: (*(r := _updates(m, s2, S, N))[:3], r[2] * N / SIGMA2 * r[1]),
        "no sigma in a": lambda m, s2, S, N: (
            (r := _updates(m, s2, S, N))[0], r[0] * m, *r[2:],
        ),
    },
)  # fmt: skip
def updates(formula: Formula) -> None:
    """The bound by quadrature over weights, code and noise: its slopes in each factor vanish, the other one held."""
    N, x = 6, torch.randn(6, 2)
    S = x.mT @ x / N
    nodes, weights = gauss_hermite(6)  # exact for these polynomials
    grid = torch.cartesian_prod(nodes, nodes, nodes)
    weight = torch.cartesian_prod(weights, weights, weights).prod(1)

    def bound(m: Tensor, s2: Tensor, a: Tensor, v: Tensor) -> Tensor:
        w = m + s2.sqrt() * grid[:, :2]
        z = x @ a + v.sqrt() * grid[:, 2:]
        log_p = Normal(w[:, None] * z[..., None], SIGMA2**0.5).log_prob(x).sum(-1)
        of_codes = kl_divergence(Normal(x @ a, v.sqrt()), Normal(0.0, 1.0)).sum()
        of_weights = kl_divergence(Normal(m, s2.sqrt()), Normal(0.0, 1.0)).sum()
        return (weight[:, None] * log_p).sum() - of_codes - of_weights

    m, s2 = torch.tensor([0.8, -0.3]), torch.tensor(0.2)
    v, a, new_s2, new_m = (value.clone().requires_grad_() for value in formula(m, s2, S, N))
    slopes = torch.autograd.grad(bound(m, s2, a, v), (a, v))
    slopes += torch.autograd.grad(bound(new_m, new_s2, a.detach(), v.detach()), (new_m, new_s2))
    assert max(slope.abs().max() for slope in slopes) < 1e-8


def _ratios(rho: float, sigma: float) -> tuple[float, float, float, float]:
    total = rho**2 + sigma**2
    return (
        2 * rho**2 / total**2,
        rho**2 / (total * sigma**2),
        total / (2**0.5 * rho * sigma),
        total**0.5 / rho,
    )


@checks(
    "eq-fb-ratios",
    "autograd",
    r"""
    \begin{aligned}
    I_{\text{along}} &= \frac{2 \rho^2}{(\rho^2 + \sigma^2)^2}, \\
    I_{\text{across}} &= \frac{\rho^2}{(\rho^2 + \sigma^2)\,\sigma^2}, \\
    r_{\text{along}} &= \frac{\rho^2 + \sigma^2}{\sqrt2\,\rho\,\sigma}, \\
    r_{\text{across}} &= \frac{\sqrt{\rho^2 + \sigma^2}}{\rho}.
    \end{aligned}
    """,
    right=_ratios,
    wrong={
        "no 2": lambda rho, sigma: (_ratios(rho, sigma)[0] / 2, *_ratios(rho, sigma)[1:]),
        "along for across": lambda rho, sigma: (*[_ratios(rho, sigma)[0]] * 2, *_ratios(rho, sigma)[2:]),
        "ratio upside down": lambda rho, sigma: (*_ratios(rho, sigma)[:2], 1 / _ratios(rho, sigma)[2], 1.0),
        "no root of 2": lambda rho, sigma: (
            *(r := _ratios(rho, sigma))[:2], 2**0.5 * r[2], r[3],
        ),
    },
)  # fmt: skip
def ratios(formula: Formula) -> None:
    """Second derivatives of the mean log-likelihood at the truth, and the widths 1 / sqrt: by autograd."""
    rho, sigma = 2.0, 0.8
    w = torch.tensor([rho, 0.0])
    truth = torch.outer(w, w) + sigma**2 * torch.eye(2)

    def mean_log_p(w: Tensor) -> Tensor:
        C = torch.outer(w, w) + sigma**2 * torch.eye(2)
        return -0.5 * (torch.logdet(C) + torch.trace(torch.linalg.solve(C, truth)))

    information = -torch.autograd.functional.hessian(mean_log_p, w)
    along, across, r_along, r_across = formula(rho, sigma)
    close(information, torch.tensor([along, across]).diag())
    reported = sigma  # the width times sqrt(N): the precision of q(w) is N / sigma^2
    close(torch.tensor([r_along, r_across]), information.diagonal().rsqrt() / reported)


@checks(
    "eq-fb-limit",
    "quadrature",
    r"""
    \begin{aligned}
    \log p(X) - \mathcal{B} &\approx \log 2 + \log r_{\text{along}} \\
    &\quad + \log r_{\text{across}},
    \end{aligned}
    """,
    right=lambda along, across: math.log(2) + math.log(along) + math.log(across),
    wrong={
        "no log 2": lambda along, across: math.log(along) + math.log(across),
        "squares": lambda along, across: math.log(2) + 2 * math.log(along) + 2 * math.log(across),
        "sign": lambda along, across: math.log(2) - math.log(along) - math.log(across),
    },
)
def limit(formula: Formula) -> None:
    """100,000 images with the model's own covariance: log p(X) on a grid about one of two modes, and the best bound."""
    rho, N = 2.0, 100_000
    S = torch.tensor([[rho**2 + 1, 0.0], [0.0, 1.0]])
    m, s2 = torch.tensor([rho, 0.0]), torch.tensor(1 / N)
    for _ in range(200):
        square = m @ m + 2 * s2
        v = 1 / (1 + square)
        a = v * m
        second = v + a @ S @ a
        s2 = 1 / (1 + N * second)
        m = N * s2 * S @ a
    square, second = m @ m + 2 * s2, v + a @ S @ a
    log_p = -math.log(2 * math.pi) - 0.5 * (S.trace() - 2 * m @ S @ a + square * second)
    of_codes = 0.5 * (second - 1 - v.log())
    bound = N * (log_p - of_codes) - 0.5 * (m @ m + 2 * s2 - 2 - 2 * s2.log())
    points = torch.linspace(-0.06, 0.06, 401)
    w = torch.cartesian_prod(points + rho, points)
    length = (w**2).sum(1)
    fit = S.trace() - ((w @ S) * w).sum(1) / (1 + length)
    log_joint = -0.5 * N * (2 * math.log(2 * math.pi) + torch.log1p(length) + fit)
    log_joint = log_joint - 0.5 * length - math.log(2 * math.pi)
    evidence = log_joint.logsumexp(0) + 2 * (points[1] - points[0]).log() + math.log(2)
    _, _, along, across = _ratios(rho, 1.0)
    assert abs(evidence - bound - formula(along, across)) < 0.01


@checks(
    "eq-fb-predictive",
    "finite sum",
    r"""
    \begin{aligned}
    p(x \mid X) &= \int p_\theta(x)\,p(\theta \mid X)\,d\theta \\
    &\approx \frac1L \sum_{l=1}^L p_{\theta_l}(x),
    \end{aligned}
    """,
    right=lambda p_x, posterior: p_x @ posterior,
    wrong={
        "mean of logarithms": lambda p_x, posterior: (p_x.log() @ posterior).exp(),
        "best single weight": lambda p_x, posterior: p_x[posterior.argmax()],
        "not weighted": lambda p_x, posterior: p_x.mean(),
    },
)
def predictive(formula: Formula) -> None:
    """Three weights: p(x, X) / p(X), both by summing the joint."""
    prior, p_data, p_x = torch.rand(3).softmax(0), torch.rand(3), torch.rand(3)
    posterior = prior * p_data / (prior @ p_data)
    close(formula(p_x, posterior), (prior * p_data) @ p_x / (prior @ p_data))


@checks(
    "eq-fb-predictive-best",
    "finite sum",
    r"""
    \begin{aligned}
    &\mathbb{E}\bigl[\log p(x \mid X) - \log r(x \mid X)\bigr] \\
    &= \mathbb{E}_X\bigl[\mathrm{KL}\bigl(p(\cdot \mid X)\,\| \\
    &\qquad\quad r(\cdot \mid X)\bigr)\bigr] \geq 0.
    \end{aligned}
    """,
    right=lambda p_data, of_data: p_data @ of_data,
    wrong={
        "no average": lambda p_data, of_data: of_data.sum(),
        "sign": lambda p_data, of_data: -(p_data @ of_data),
    },
)
def predictive_best(formula: Formula) -> None:
    """Three weights, four data sets, five new images, a random rule: the left side over all sixty outcomes."""
    prior, p_data, p_x = torch.rand(3).softmax(0), torch.rand(3, 4).softmax(1), torch.rand(3, 5).softmax(1)
    outcomes = prior[:, None, None] * p_data[:, :, None] * p_x[:, None]
    of_data = outcomes.sum((0, 2))
    predictive, rule = outcomes.sum(0) / of_data[:, None], torch.rand(4, 5).softmax(1)
    left = (outcomes * (predictive.log() - rule.log())).sum()
    value = formula(of_data, kl(predictive, rule))
    close(value, left)
    assert value >= 0
