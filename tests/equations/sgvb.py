"""Checks of the numbered equations of "The SGVB estimators"."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from equations.registry import Formula, assert_mean, checks, kl, line

close = torch.testing.assert_close


@checks(
    "eq-sgvb-data-bound",
    "finite sum",
    r"""
    \begin{aligned}
    \mathcal{L}(\theta, \phi) &= \sum_{i=1}^{N} \mathcal{L}(\theta, \phi; x_i), \\
    \mathcal{L}(\theta, \phi; x) &= \mathbb{E}_{q_\phi(z \mid x)}\bigl[\log p_\theta(x, z) \\
    &\qquad - \log q_\phi(z \mid x)\bigr].
    \end{aligned}
    """,
    right=lambda joints, q: (q * (joints.log() - q.log())).sum(1).sum(),
    wrong={
        "mean": lambda joints, q: (q * (joints.log() - q.log())).sum(1).mean(),
        "sign": lambda joints, q: (q * (joints.log() + q.log())).sum(1).sum(),
    },
)
def data_bound(formula: Formula) -> None:
    """Three images with four codes each: log p of all minus the divergences from the posteriors."""
    joints, q = torch.rand(3, 4), torch.rand(3, 4).softmax(1)
    evidence = joints.sum(1, keepdim=True)
    close(formula(joints, q), evidence.log().sum() - kl(q, joints / evidence).sum())


X, WEIGHTS = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), torch.tensor([1.5, -0.8, 0.5], dtype=torch.float64)


def log_likelihood(z: Tensor) -> Tensor:
    return Bernoulli(logits=z[..., None] * WEIGHTS).log_prob(X).sum(-1)


def exact_bound(q: Normal) -> Tensor:
    """log p(x) minus the divergence from the posterior, on the line."""
    z, step = line(9, 721)
    log_joint = log_likelihood(z) + Normal(0.0, 1.0).log_prob(z)
    log_evidence = (log_joint.exp().sum() * step).log()
    log_q = q.log_prob(z)
    return log_evidence - (log_q.exp() * (log_q - log_joint + log_evidence)).sum() * step


@checks(
    "eq-sgvb-a",
    "Monte Carlo",
    r"""
    \begin{aligned}
    \widetilde{\mathcal{L}}^{A}(\theta, \phi; x) = \frac1L \sum_{l=1}^{L} &\log p_\theta\bigl(x, z_l\bigr) \\
    &- \log q_\phi\bigl(z_l \mid x\bigr).
    \end{aligned}
    """,
    right=lambda log_joint, log_q: (log_joint - log_q).mean(1),
    wrong={
        "sign": lambda log_joint, log_q: (log_joint + log_q).mean(1),
        "sum": lambda log_joint, log_q: (log_joint - log_q).sum(1),
        "logarithm outside": lambda log_joint, log_q: (log_joint - log_q).exp().mean(1).log(),
    },
)
def estimator_a(formula: Formula) -> None:
    """100,000 estimates from three draws each."""
    q = Normal(0.4, 0.6)
    z = q.sample((100_000, 3))
    assert_mean(formula(log_likelihood(z) + Normal(0.0, 1.0).log_prob(z), q.log_prob(z)), exact_bound(q))


@checks(
    "eq-sgvb-b",
    "Monte Carlo",
    r"""
    \begin{aligned}
    \widetilde{\mathcal{L}}^{B}(\theta, \phi; x) = &-\mathrm{KL}\bigl(q_\phi(z \mid x)\,\|\,p(z)\bigr) \\
    &+ \frac1L \sum_{l=1}^{L} \log p_\theta\bigl(x \mid z_l\bigr).
    \end{aligned}
    """,
    right=lambda to_prior, values: -to_prior + values.mean(1),
    wrong={
        "sign": lambda to_prior, values: to_prior + values.mean(1),
        "divergence for each draw": lambda to_prior, values: (values - to_prior).sum(1),
        "no divergence": lambda to_prior, values: values.mean(1),
    },
)
def estimator_b(formula: Formula) -> None:
    """100,000 estimates from three draws each, with PyTorch's divergence."""
    q = Normal(0.4, 0.6)
    values = log_likelihood(q.sample((100_000, 3)))
    assert_mean(formula(kl_divergence(q, Normal(0.0, 1.0)), values), exact_bound(q))


@checks(
    "eq-sgvb-a-variance",
    "Monte Carlo",
    r"\operatorname{Var} \widetilde{\mathcal{L}}^{A} = \frac{K}{2}\,\bigl(1 - s^2\bigr)^2 .",
    right=lambda K, s: K / 2 * (1 - s**2) ** 2,
    wrong={
        "no half": lambda K, s: K * (1 - s**2) ** 2,
        "s": lambda K, s: K / 2 * (1 - s) ** 2,
        "no square": lambda K, s: K / 2 * abs(1 - s**2),
        "plus": lambda K, s: K / 2 * (1 + s**2) ** 2,
    },
)
def near_the_posterior(formula: Formula) -> None:
    """400,000 draws from a Gaussian with a posterior's shape and another width; zero at the posterior itself."""
    S = torch.tensor([[0.9, 0.0, 0.0], [0.4, 0.7, 0.0], [-0.3, 0.2, 1.1]])
    posterior = MultivariateNormal(torch.zeros(3), scale_tril=S)
    for s in (0.7, 1.0, 1.3):
        q = MultivariateNormal(torch.zeros(3), scale_tril=s * S)
        z = q.sample((400_000,))
        values = posterior.log_prob(z) - q.log_prob(z)  # log p(x, z) - log q(z), but for log p(x)
        assert_mean((values - values.mean()).square() + 1e-14 * torch.randn(len(z)), formula(3, s))


def _noise(g: Tensor, p: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    data = (g - g.mean(0)).square().sum(1).mean()
    return data, (p * (values - g[:, None]).square().sum(2)).sum(1).mean()


@checks(
    "eq-sgvb-noise",
    "finite sum",
    r"""
    \begin{aligned}
    V_{\text{data}} &= \frac1N \sum_{i=1}^N \bigl\|g(x_i) - \bar g\bigr\|^2, \\
    V_{\text{draw}} &= \frac1N \sum_{i=1}^N \mathbb{E}_\varepsilon \bigl\|\hat g(x_i) - g(x_i)\bigr\|^2 ,
    \end{aligned}
    """,
    right=_noise,
    wrong={
        "exchanged": lambda g, p, values: _noise(g, p, values)[::-1],
        "sums": lambda g, p, values: tuple(len(g) * v for v in _noise(g, p, values)),
        "draws about the mean of all": lambda g, p, values: (
            _noise(g, p, values)[0],
            (p * (values - g.mean(0)).square().sum(2)).sum(1).mean(),
        ),
    },
)
def noise(formula: Formula) -> None:
    """Half the mean squared distance of two draws: of one image, and of two images that are drawn with replacement."""
    values, p = torch.randn(5, 3, 2), torch.rand(5, 3).softmax(1)  # three outcomes of a draw, a gradient in the plane
    distance = (values[:, None, :, None] - values[None, :, None, :]).square().sum(-1) / 2  # image, image, draw, draw
    mean = torch.einsum("ia,jb,ijab->ij", p, p, distance)
    of_one, of_two = mean.diagonal().mean(), mean.mean()
    data, draw = formula((p[..., None] * values).sum(1), p, values)
    close(draw, of_one)
    close(data, of_two - of_one)


@checks(
    "eq-sgvb-pair",
    "finite sum",
    r"""
    \mathbb{E}\,\langle a_I, a_J\rangle = \frac{\bigl\|\sum_i a_i\bigr\|^2 - \sum_i \|a_i\|^2}{N (N - 1)}
    = -\frac{V_{\text{data}}}{N - 1}.
    """,
    right=lambda a, data: (
        (a.sum(0).square().sum() - a.square().sum()) / (len(a) * (len(a) - 1)),
        -data / (len(a) - 1),
    ),
    wrong={
        "sign": lambda a, data: (-(a.square().sum()) / (len(a) * (len(a) - 1)), data / (len(a) - 1)),
        "N for N - 1": lambda a, data: (-a.square().sum() / len(a) ** 2, -data / len(a)),
        "not divided": lambda a, data: (-a.square().sum() / (len(a) * (len(a) - 1)), -data),
    },
)
def pair(formula: Formula) -> None:
    """Five vectors in the plane that add up to zero: the mean over all pairs of different ones."""
    a = torch.randn(5, 2)
    a -= a.mean(0)
    products = a @ a.mT
    mean = torch.stack([products[i, j] for i in range(5) for j in range(5) if i != j]).mean()
    for value in formula(a, a.square().sum(1).mean()):
        close(value, mean)


@checks(
    "eq-sgvb-variance",
    "finite sum",
    r"""
    \begin{aligned}
    \mathbb{E}\,\bigl\|\hat g_{L,M} - \bar g\bigr\|^2 = {}&\frac{V_{\text{data}}}{M} \cdot \frac{N - M}{N - 1} \\
    &+ \frac{V_{\text{draw}}}{M L} .
    \end{aligned}
    """,
    right=lambda data, draw, N, M, L: data / M * (N - M) / (N - 1) + draw / (M * L),
    wrong={
        "with replacement": lambda data, draw, N, M, L: data / M + draw / (M * L),
        "N below": lambda data, draw, N, M, L: data / M * (N - M) / N + draw / (M * L),
        "L alone": lambda data, draw, N, M, L: data / M * (N - M) / (N - 1) + draw / L,
        "M alone": lambda data, draw, N, M, L: data / M * (N - M) / (N - 1) + draw / M,
    },
)
def variance(formula: Formula) -> None:
    """Five images, minibatches of two without replacement, two draws each: every outcome with its probability."""
    N, M, L = 5, 2, 2
    values, p = torch.randn(N, 3, 2), torch.rand(N, 3).softmax(1)  # three outcomes of a draw, a gradient in the plane
    g = (p[..., None] * values).sum(1)
    mean = g.mean(0)
    data = (g - mean).square().sum(1).mean()
    draw = (p * (values - g[:, None]).square().sum(2)).sum(1).mean()
    total = torch.zeros(())
    pairs = torch.combinations(torch.arange(N), M)
    outcomes = torch.cartesian_prod(*[torch.arange(3)] * (M * L))
    for a, b in pairs:
        weight = p[a][outcomes[:, :2]].prod(1) * p[b][outcomes[:, 2:]].prod(1)
        estimate = (values[a][outcomes[:, :2]].mean(1) + values[b][outcomes[:, 2:]].mean(1)) / M
        total += (weight * (estimate - mean).square().sum(1)).sum() / len(pairs)
    close(formula(data, draw, N, M, L), total)


@checks(
    "eq-sgvb-cost",
    "finite sum",
    r"(c_e + L c_d) \Bigl(V_{\text{data}} + \frac{V_{\text{draw}}}{L}\Bigr) ,",
    right=lambda encode, decode, data, draw, L: (encode + L * decode) * (data + draw / L),
    wrong={
        "L at the encoder": lambda encode, decode, data, draw, L: (L * encode + decode) * (data + draw / L),
        "not divided": lambda encode, decode, data, draw, L: (encode + L * decode) * (data + draw),
        "sum": lambda encode, decode, data, draw, L: (encode + L * decode) + (data + draw / L),
    },
)
def cost(formula: Formula) -> None:
    """Simulated: steps until a budget is spent, and the variance of their mean gradient times the budget."""
    encode, decode, data, draw, M = 3.0, 1.0, 0.5, 2.0, 4
    budget = 1200.0
    for L in (1, 3, 6):
        steps = int(budget / (M * (encode + L * decode)))
        spread = data**0.5 * torch.randn(20_000, steps, M) + (draw / L) ** 0.5 * torch.randn(20_000, steps, M)
        assert_mean(spread.mean((1, 2)).square() * budget, formula(encode, decode, data, draw, L))
