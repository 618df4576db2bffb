"""Checks of the numbered equations of "Tighter bounds"."""

from __future__ import annotations

from itertools import combinations

import torch
from tiny import gauss_hermite
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from equations.registry import Formula, assert_mean, checks, four_codes, line

close = torch.testing.assert_close


def a_world() -> tuple[Tensor, Tensor, Tensor]:
    """Four codes: q, the joint p(x, z), and all 64 triples of codes."""
    prior, likelihood, q = four_codes()
    return q, prior * likelihood, torch.cartesian_prod(*[torch.arange(4)] * 3)


@checks(
    "eq-iw-bound",
    "Monte Carlo",
    r"\mathcal{L}_k(q; x) = \mathbb{E}\Bigl[\log \frac1k \sum_{l=1}^{k} w_l\Bigr].",
    right=lambda w: w.mean(1).log(),
    wrong={
        "logarithm inside": lambda w: w.log().mean(1),
        "sum": lambda w: w.sum(1).log(),
        "no logarithm": lambda w: w.mean(1),
    },
)
def bound(formula: Formula) -> None:
    """400,000 triples of draws against the sum over all 64 triples, taken as an ELBO of the triple's own law."""
    q, joint, triples = a_world()
    weight = q[triples].prod(1)
    # The gap as a divergence: Q picks one of the three by its weight, P puts a posterior code there and q elsewhere.
    w = (joint / q)[triples]
    chosen = w / w.sum(1, keepdim=True)
    Q = weight[:, None] * chosen
    P = torch.stack([weight / q[triples[:, j]] * (joint / joint.sum())[triples[:, j]] / 3 for j in range(3)], 1)
    exact = joint.sum().log() - (Q * (Q / P).log()).sum()
    drawn = torch.multinomial(q, 1_200_000, replacement=True).view(-1, 3)
    assert_mean(formula((joint / q)[drawn]), exact)


@checks(
    "eq-iw-monotone",
    "finite sum",
    r"\mathcal{L}_m(q; x) \leq \mathcal{L}_k(q; x) \leq \log p_\theta(x).",
    right=lambda one, three, evidence: (one, three, evidence),
    wrong={
        "fewer is tighter": lambda one, three, evidence: (three, one, evidence),
        "above log p": lambda one, three, evidence: (one, evidence, three),
    },
)
def monotone(formula: Formula) -> None:
    """One and three draws of four codes, all outcomes; strict for a random q, equal for the posterior."""
    q, joint, triples = a_world()
    for law, strict in ((q, True), (joint / joint.sum(), False)):
        w = joint / law
        one, three = law @ w.log(), (law[triples].prod(1) * w[triples].mean(1).log()).sum()
        terms = formula(one, three, joint.sum().log())
        for lower, upper in ((terms[0], terms[1]), (terms[1], terms[2])):
            assert upper - lower > 1e-4 if strict else abs(upper - lower) < 1e-12


@checks(
    "eq-iw-subsets",
    "finite sum",
    r"\log \bar w_k = \log \mathbb{E}_I[\bar w_I] \geq \mathbb{E}_I[\log \bar w_I].",
    right=lambda means: (means.mean().log(), means.log().mean()),
    wrong={
        "exchanged": lambda means: (means.log().mean(), means.mean().log()),
        "sum over the subsets": lambda means: (means.sum().log(), means.log().sum()),
    },
)
def subsets(formula: Formula) -> None:
    """All ten pairs of five weights; equal weights for equality."""
    for w in (torch.rand(5), torch.full((5,), 0.7)):
        means = torch.stack([w[list(pair)].mean() for pair in combinations(range(5), 2)])
        whole, less = formula(means)
        close(whole, w.mean().log())
        assert whole >= less - 1e-15


@checks(
    "eq-iw-rate",
    "finite sum",
    r"\log p_\theta(x) - \mathcal{L}_k(q; x) = \frac{\chi^2}{2k} + o\bigl(\tfrac1k\bigr).",
    right=lambda chi2, k: chi2 / (2 * k),
    wrong={
        "no half": lambda chi2, k: chi2 / k,
        "k squared": lambda chi2, k: chi2 / (2 * k**2),
        "root": lambda chi2, k: chi2**0.5 / (2 * k),
        "one more": lambda chi2, k: (1 + chi2) / (2 * k),
    },
)
def rate(formula: Formula) -> None:
    """Two codes: the bound is a binomial sum; what is left over, times k, falls as k grows."""
    q, joint = torch.tensor([0.3, 0.7]), torch.tensor([0.5, 0.2])
    r = joint / joint.sum() / q
    chi2 = q @ r**2 - 1
    left = []
    for k in (100, 10_000):
        n = torch.arange(k + 1.0)
        chance = torch.distributions.Binomial(k, q[0]).log_prob(n).exp()
        gap = -(chance * ((n * r[0] + (k - n) * r[1]) / k).log()).sum()
        left.append((k * (gap - formula(chi2, k))).abs())
    assert left[1] < left[0] / 50
    assert left[1] < 1e-3


@checks(
    "eq-iw-chi",
    "quadrature",
    r"""
    1 + \chi^2 = \int \frac{p_\theta(z \mid x)^2}{q(z)}\,dz
    = \frac{\det \Lambda}{\sqrt{\det D\,\det(2 \Lambda - D)}}
    """,
    right=lambda P, D: torch.linalg.det(P) / (torch.linalg.det(D) * torch.linalg.det(2 * P - D)).sqrt(),
    wrong={
        "no root": lambda P, D: torch.linalg.det(P) / (torch.linalg.det(D) * torch.linalg.det(2 * P - D)),
        "no 2": lambda P, D: torch.linalg.det(P) / (torch.linalg.det(D) * torch.linalg.det(P + D)).sqrt(),
        "upside down": lambda P, D: (torch.linalg.det(D) * torch.linalg.det(2 * P - D)).sqrt() / torch.linalg.det(P),
    },
)
def chi(formula: Formula) -> None:
    """The integral over a grid in the plane."""
    P, D = torch.tensor([[1.6, 0.5], [0.5, 1.1]]), torch.tensor([1.3, 0.9]).diag()
    points, step = line(12, 481)
    z = torch.cartesian_prod(points, points)
    posterior, q = (MultivariateNormal(torch.zeros(2), precision_matrix=each).log_prob(z) for each in (P, D))
    close(formula(P, D), (2 * posterior - q).exp().sum() * step**2)


@checks(
    "eq-iw-sir",
    "finite sum",
    r"""
    q^{(k)}(z) = \mathbb{E}\left[\frac{p_\theta(x, z)}{\frac1k \bigl(w(z) + \sum_{l=2}^{k} w_l\bigr)}\right].
    """,
    right=lambda joint, w, others: joint / ((w + others.sum(-1)) / (1 + others.shape[-1])),
    wrong={
        "not divided by k": lambda joint, w, others: joint / (w + others.sum(-1)),
        "own weight left out": lambda joint, w, others: joint / others.mean(-1),
        "weight for the joint": lambda joint, w, others: w / ((w + others.sum(-1)) / (1 + others.shape[-1])),
    },
)
def resampling(formula: Formula) -> None:
    """The law of the chosen code by summing over all 64 triples and the choice."""
    q, joint, triples = a_world()
    w = joint / q
    chosen = w[triples] / w[triples].sum(1, keepdim=True)
    law = torch.zeros(4)
    for j in range(3):
        law.index_add_(0, triples[:, j], q[triples].prod(1) * chosen[:, j])
    pairs = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    chance = q[pairs].prod(1)
    for z in range(4):
        close((chance * formula(joint[z], w[z], w[pairs])).sum(), law[z])


@checks(
    "eq-iw-extended",
    "finite sum",
    r"""
    \begin{aligned}
    Q(z_{1:k}, j) &= \tilde w_j \prod_{l=1}^{k} q(z_l), \\
    P(z_{1:k}, j) &= \tfrac1k\,p_\theta(z_j \mid x) \prod_{l \neq j} q(z_l).
    \end{aligned}
    """,
    right=lambda q, posterior, w: (
        w / w.sum(1, keepdim=True) * q.prod(1, keepdim=True),
        posterior * q.prod(1, keepdim=True) / q / 3,
    ),
    wrong={
        "any draw picked": lambda q, posterior, w: (
            q.prod(1, keepdim=True).expand_as(w) / 3,
            posterior * q.prod(1, keepdim=True) / q / 3,
        ),
        "not divided by k": lambda q, posterior, w: (
            w / w.sum(1, keepdim=True) * q.prod(1, keepdim=True),
            posterior * q.prod(1, keepdim=True) / q,
        ),
        "q at the picked draw, too": lambda q, posterior, w: (
            w / w.sum(1, keepdim=True) * q.prod(1, keepdim=True),
            posterior * q.prod(1, keepdim=True) / 3,
        ),
        "q not at the picked draw": lambda q, posterior, w: (
            w / w.sum(1, keepdim=True) * q.prod(1, keepdim=True) / q,
            posterior * q.prod(1, keepdim=True) / q / 3,
        ),
    },
)
def extended(formula: Formula) -> None:
    """Both sum to one over all 64 triples and the choice, and their divergence is the gap, also a sum over triples."""
    q, joint, triples = a_world()
    w = (joint / q)[triples]
    Q, P = formula(q[triples], (joint / joint.sum())[triples], w)
    for law in (Q, P):
        close(law.sum(), torch.ones(()))
    gap = joint.sum().log() - (q[triples].prod(1) * w.mean(1).log()).sum()
    close((Q * (Q / P).log()).sum(), gap)


def log_weight(z: Tensor, phi: Tensor) -> Tensor:
    """log w of a code on the line, with q = N(phi_0, exp(phi_1)^2) and a joint density that is not Gaussian."""
    log_joint = Normal(0.0, 1.0).log_prob(z) + torch.nn.functional.logsigmoid(2 * z + 0.5) - 0.3 * torch.sin(z) ** 2
    return log_joint - Normal(phi[0], phi[1].exp()).log_prob(z)


PHI = torch.tensor([0.7, -0.6], dtype=torch.float64)


def two_draws() -> tuple[Tensor, Tensor]:
    """Pairs of noises, shape (n, 2), and their weights under N(0, I)."""
    nodes, weights = gauss_hermite(24)
    return torch.cartesian_prod(nodes, nodes), torch.outer(weights, weights).flatten()


def exact_gradient() -> Tensor:
    """Of the bound with two draws, differentiated as a whole, with the draws moving."""
    eps, weight = two_draws()

    def bound(phi: Tensor) -> Tensor:
        w = log_weight(phi[0] + phi[1].exp() * eps, phi).exp()
        return (weight * w.mean(1).log()).sum()

    return torch.autograd.functional.jacobian(bound, PHI)


@checks(
    "eq-iw-gradient",
    "quadrature",
    r"""
    \frac{\partial \mathcal{L}_k}{\partial \eta} = \mathbb{E}\Bigl[\sum_{l=1}^{k} \tilde w_l\,g_l\Bigr], \qquad
    \tilde w_l = \frac{w_l}{\sum_j w_j}.
    """,
    right=lambda w, g: (w / w.sum(1, keepdim=True) * g).sum(1),
    wrong={
        "equal votes": lambda w, g: g.mean(1),
        "not normalised": lambda w, g: (w * g).sum(1),
        "squared": lambda w, g: ((w / w.sum(1, keepdim=True)) ** 2 * g).sum(1),
    },
)
def gradient(formula: Formula) -> None:
    """Two draws by quadrature, both parameters of q; the left side differentiated as a whole, by autograd."""
    eps, weight = two_draws()
    g = torch.autograd.functional.jacobian(lambda phi: log_weight(phi[0] + phi[1].exp() * eps, phi), PHI)
    w = log_weight(PHI[0] + PHI[1].exp() * eps, PHI).exp()
    for k in (0, 1):
        close((weight * formula(w, g[..., k])).sum(), exact_gradient()[k], rtol=1e-4, atol=1e-5)


@checks(
    "eq-iw-moments",
    "finite sum",
    r"""
    \begin{aligned}
    \mathbb{E}[\hat G_k] &= a - \tfrac1k\,\mathbb{E}\bigl[r^2 (g - a)\bigr] + O(k^{-3/2}), \\
    \operatorname{Var}(\hat G_k) &= \tfrac1k\,\mathbb{E}\bigl[r^2 (g - a)^2\bigr] + O(k^{-3/2}).
    \end{aligned}
    """,
    right=lambda q, r, g, a, k: (a - q @ (r**2 * (g - a)) / k, q @ (r**2 * (g - a) ** 2) / k),
    wrong={
        "sign": lambda q, r, g, a, k: (a + q @ (r**2 * (g - a)) / k, q @ (r**2 * (g - a) ** 2) / k),
        "r not squared": lambda q, r, g, a, k: (a - q @ (r * (g - a)) / k, q @ (r * (g - a) ** 2) / k),
        "g not centred": lambda q, r, g, a, k: (a - q @ (r**2 * g) / k, q @ (r**2 * g**2) / k),
        "k squared": lambda q, r, g, a, k: (a - q @ (r**2 * (g - a)) / k**2, q @ (r**2 * (g - a) ** 2) / k**2),
    },
)
def moments(formula: Formula) -> None:
    """Two outcomes: mean and variance are binomial sums; what is left over, times k, falls as k grows."""
    q, joint, g = torch.tensor([0.3, 0.7]), torch.tensor([0.5, 0.2]), torch.tensor([1.0, -0.4])
    r = joint / joint.sum() / q
    a = q @ (r * g)
    left = []
    for k in (100, 10_000):
        n = torch.arange(k + 1.0)
        chance = torch.distributions.Binomial(k, q[0]).log_prob(n).exp()
        G = (n * r[0] * g[0] + (k - n) * r[1] * g[1]) / (n * r[0] + (k - n) * r[1])
        mean = (chance * G).sum()
        exact = torch.stack([mean, (chance * (G - mean) ** 2).sum()])
        left.append(k * (exact - torch.stack(formula(q, r, g, a, k))).abs())
    assert (left[1] < left[0] / 50).all()
    assert (left[1] < 1e-3).all()


@checks(
    "eq-iw-dreg",
    "quadrature",
    r"""
    \begin{aligned}
    \nabla_\phi \mathcal{L}_k &= \mathbb{E}\Bigl[\sum_{l=1}^{k} \tilde w_l^2\,J_l^\top\,\nabla_z \log w(z_l)\Bigr], \\
    J_l &= \partial t(\varepsilon_l, \phi) / \partial \phi.
    \end{aligned}
    """,
    right=lambda share, J, slope: (share**2 * J * slope).sum(1),
    wrong={
        "not squared": lambda share, J, slope: (share * J * slope).sum(1),
        "sign": lambda share, J, slope: -(share**2 * J * slope).sum(1),
        "no Jacobian": lambda share, J, slope: (share**2 * slope).sum(1) * 0.5,
    },
)
def doubly(formula: Formula) -> None:
    """Two draws by quadrature, both parameters of q; the left side differentiated as a whole, by autograd."""
    eps, weight = two_draws()
    z = (PHI[0] + PHI[1].exp() * eps).requires_grad_()
    log_w = log_weight(z, PHI)
    (slope,) = torch.autograd.grad(log_w.sum(), z)
    J = torch.stack([torch.ones_like(eps), PHI[1].exp() * eps])
    for k in (0, 1):
        close(
            (weight * formula(log_w.detach().softmax(1), J[k], slope)).sum(), exact_gradient()[k], rtol=1e-4, atol=1e-5
        )
