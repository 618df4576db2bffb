"""Checks of the numbered equations of "Do near images have near codes?"."""

from __future__ import annotations

import torch
from sklearn.manifold import trustworthiness
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from equations.registry import Formula, checks, line

close = torch.testing.assert_close


def _two_sided(apart: Tensor, e: Tensor, e_other: Tensor, codes_apart: Tensor, lip_f: float, lip_g: float):
    return (apart - e - e_other) / lip_f, codes_apart, lip_g * apart


@checks(
    "eq-prox-two-sided",
    "linear algebra",
    r"""
    \begin{aligned}
    \frac{\|x - x'\| - e(x) - e(x')}{\mathrm{Lip}(f)} &\leq \|g(x) - g(x')\| \\
    &\leq \mathrm{Lip}(g)\,\|x - x'\|.
    \end{aligned}
    """,
    right=_two_sided,
    wrong={
        "errors added": lambda apart, e, e_other, *rest: _two_sided(apart, -e, -e_other, *rest),
        "times Lip(f)": lambda apart, e, e_other, codes_apart, lip_f, lip_g: (
            (apart - e - e_other) * lip_f, codes_apart, lip_g * apart,
        ),
        "divided by Lip(g)": lambda apart, e, e_other, codes_apart, lip_f, lip_g: (
            (apart - e - e_other) / lip_f, codes_apart, apart / lip_g,
        ),
    },
)  # fmt: skip
def two_sided(formula: Formula) -> None:
    """Linear f and g, whose constants are singular values: all pairs of 60 images; and pairs that attain each bound."""
    left, right = torch.linalg.qr(torch.randn(4, 4)).Q, torch.linalg.qr(torch.randn(2, 2)).Q
    F = left[:, :2] @ torch.tensor([3.0, 0.5]).diag() @ right.mT
    G = right @ torch.tensor([2.0, 0.4]).diag() @ left[:, 2:].mT
    x = torch.randn(60, 4) * torch.tensor([1.0, 1.0, 4.0, 4.0])
    pairs = [(a, b) for a in x for b in x if not torch.equal(a, b)]
    for a, b in pairs:
        e = [torch.linalg.vector_norm(y - F @ G @ y) for y in (a, b)]
        apart, codes_apart = torch.linalg.vector_norm(a - b), torch.linalg.vector_norm(G @ (a - b))
        lower, value, upper = formula(apart, *e, codes_apart, 3.0, 2.0)
        assert lower <= value + 1e-12 <= upper + 2e-12
    # f and g inverse to each other on a plane: along the axis of the largest singular value of f the first is attained.
    G = right @ torch.tensor([1 / 3, 2.0]).diag() @ left[:, :2].mT
    for axis, side in ((0, 0), (1, 2)):
        step = left[:, axis]
        e = torch.linalg.vector_norm(step - F @ G @ step)
        sides = formula(torch.tensor(1.0), e, 0 * e, torch.linalg.vector_norm(G @ step), 3.0, 2.0)
        close(sides[side], sides[1])


def _trust(intruders: Tensor, k: int, N: int) -> Tensor:
    return 1 - 2 * (intruders - k).sum() / (k * (2 * N - 3 * k - 1))


@checks(
    "eq-prox-trustworthiness",
    "finite sum",
    r"T_i = 1 - \frac{2 \sum_{j \in U_i} \bigl(r(i, j) - k\bigr)}{k\,(2N - 3k - 1)}.",
    right=_trust,
    wrong={
        "no 2": lambda ranks, k, N: 1 - (ranks - k).sum() / (k * (2 * N - 3 * k - 1)),
        "no 1": lambda ranks, k, N: 1 - 2 * (ranks - k).sum() / (k * (2 * N - 3 * k)),
        "ranks alone": lambda ranks, k, N: 1 - 2 * ranks.sum() / (k * (2 * N - 3 * k - 1)),
    },
)
def trust(formula: Formula) -> None:
    """Scikit-learn's trustworthiness is the mean over the images."""
    x, z = torch.randn(30, 5), torch.randn(30, 2)
    k, N = 4, 30
    ranks = torch.cdist(x, x).argsort(1).argsort(1)  # an image itself has rank 0
    near = torch.cdist(z, z).argsort(1)[:, 1 : k + 1]
    values = [formula(r[r > k].double(), k, N) for r in ranks.gather(1, near)]
    assert abs(torch.stack(values).mean().item() - trustworthiness(x.numpy(), z.numpy(), n_neighbors=k)) < 1e-12


@checks(
    "eq-prox-elbo",
    "quadrature",
    r"""
    \begin{aligned}
    &\mathbb{E}_{q(z \mid x)}\bigl[\log p_\theta(x \mid z)\bigr] \\
    &\qquad - \mathrm{KL}\bigl(q(z \mid x)\,\|\,\mathcal{N}(0, I)\bigr).
    \end{aligned}
    """,
    right=lambda reconstruction, to_prior: reconstruction - to_prior,
    wrong={
        "sign": lambda reconstruction, to_prior: reconstruction + to_prior,
        "no pull": lambda reconstruction, to_prior: reconstruction,
    },
)
def elbo(formula: Formula) -> None:
    """Quadrature over one code: log p(x) minus the divergence from the posterior."""
    z, step = line(9, 721)
    x = torch.tensor([1.0, 0.0, 1.0])
    log_likelihood = Bernoulli(logits=z[:, None] * torch.tensor([1.5, -0.8, 0.5])).log_prob(x).sum(1)
    log_prior = Normal(0.0, 1.0).log_prob(z)
    log_q = Normal(0.4, 0.6).log_prob(z)
    log_evidence = ((log_likelihood + log_prior).exp().sum() * step).log()
    log_posterior = log_likelihood + log_prior - log_evidence
    expected = log_evidence - (log_q.exp() * (log_q - log_posterior)).sum() * step
    reconstruction = (log_q.exp() * log_likelihood).sum() * step
    close(formula(reconstruction, (log_q.exp() * (log_q - log_prior)).sum() * step), expected)


@checks(
    "eq-prox-overlap",
    "quadrature",
    r"""
    \begin{aligned}
    &\mathbb{E}_{q} \|x - f(z)\|^2 \\
    &\quad + \mathbb{E}_{q'} \|x' - f(z)\|^2 \\
    &\geq \tfrac12 \|x - x'\|^2 \int \min(q, q')\,dz.
    \end{aligned}
    """,
    right=lambda x, other, overlap: 0.5 * (x - other).square().sum() * overlap,
    wrong={
        "no half": lambda x, other, overlap: (x - other).square().sum() * overlap,
        "no square": lambda x, other, overlap: 0.5 * (x - other).norm() * overlap,
        "the larger density": lambda x, other, overlap: 0.5 * (x - other).square().sum() * (2 - overlap),
    },
)
def overlap(formula: Formula) -> None:
    """Many decoders, among them the best one, by quadrature over one code; equal laws and the middle for equality."""
    z, step = line(9, 721)
    x, other = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 0.5, 1.0])
    for mean in (0.0, 0.5, 2.0):
        q, q_other = (Normal(m, 0.7).log_prob(z).exp()[:, None] for m in (0.0, mean))
        best = (q * x + q_other * other) / (q + q_other)
        shared = (torch.minimum(q, q_other).sum() * step).item()
        for f in (best, best + 0.1, torch.tanh(z[:, None] * torch.randn(3)) + (x + other) / 2):
            cost = ((q * (x - f) ** 2).sum() + (q_other * (other - f) ** 2).sum()) * step
            assert cost >= formula(x, other, shared) - 1e-9
        if mean == 0:
            cost = ((q * (x - best) ** 2).sum() + (q_other * (other - best) ** 2).sum()) * step
            close(cost, formula(x, other, shared))


@checks(
    "eq-prox-mass",
    "quadrature",
    r"v \geq 2\,\Phi\Bigl(\frac{\delta}{2 \Lambda}\Bigr) - 1 .",
    right=lambda delta, lip: 2 * Normal(0.0, 1.0).cdf(delta / (2 * lip)) - 1,
    wrong={
        "no half": lambda delta, lip: 2 * Normal(0.0, 1.0).cdf(delta / lip) - 1,
        "times the constant": lambda delta, lip: 2 * Normal(0.0, 1.0).cdf(delta * lip / 2) - 1,
        "no 1": lambda delta, lip: 2 * Normal(0.0, 1.0).cdf(delta / (2 * lip)),
    },
)
def mass(formula: Formula) -> None:
    """By quadrature over one code: a linear decoder and two half-lines, for equality; a curved one stays above."""
    z, step = line(9, 72_001)
    prior = Normal(0.0, 1.0).log_prob(z).exp() * step
    lip = 3.0
    for delta in (0.5, 2.0, 6.0):
        for f, tight in ((lip * z, True), (lip * torch.sin(z), False)):
            share = (prior * (f.abs() < delta / 2)).sum()  # A and B: f at most -delta / 2, at least delta / 2
            bound = formula(torch.tensor(delta), lip)
            assert share >= bound - 1e-3
            assert not tight or abs(share - bound) < 1e-3
