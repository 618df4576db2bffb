"""Checks of the numbered equations of "The marginal likelihood, and overfitting"."""

from __future__ import annotations

import torch
from tiny import make_tiny_images, make_tiny_vae
from torch import Tensor
from torch.distributions import Normal

from equations.registry import Formula, assert_mean, checks, line

close = torch.testing.assert_close


def log_joint(z: Tensor) -> Tensor:
    """Of one image with two codes, with a posterior that bends: log p(x, z), of shape (...)."""
    height = z[..., 1] - 0.5 * z[..., 0] ** 2
    return Normal(0.0, 1.0).log_prob(z).sum(-1) + Normal(0.0, 0.5).log_prob(height)


def slope(z: Tensor) -> Tensor:
    z = z.detach().requires_grad_()
    return torch.autograd.grad(log_joint(z).sum(), z)[0]


@checks(
    "eq-fig3-energy",
    "autograd",
    r"H(z, r) = -\log p_\theta(x, z) + \tfrac12 \|r\|^2,",
    right=lambda log_p, r: -log_p + 0.5 * (r**2).sum(),
    wrong={
        "sign": lambda log_p, r: log_p + 0.5 * (r**2).sum(),
        "no half": lambda log_p, r: -log_p + (r**2).sum(),
        "not squared": lambda log_p, r: -log_p + 0.5 * r.norm(),
    },
)
def energy(formula: Formula) -> None:
    """Its derivatives give the chapter's equations of motion, dz/dt = r and dr/dt = grad log p, by autograd."""
    z, r = torch.tensor([0.4, -0.9], requires_grad=True), torch.tensor([1.1, 0.3], requires_grad=True)
    dz, dr = torch.autograd.grad(formula(log_joint(z), r), (z, r))
    close(dr, r.detach())
    close(-dz, slope(z))


def _leapfrog(z: Tensor, r: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    r = r + eps / 2 * slope(z)
    z = z + eps * r
    return z, r + eps / 2 * slope(z)


def _euler(z: Tensor, r: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    return z + eps * r, r + eps * slope(z)


@checks(
    "eq-fig3-leapfrog",
    "autograd",
    r"""
    \begin{aligned}
    r &\leftarrow r + \tfrac\epsilon2 \nabla_z \log p_\theta(x, z), \\
    z &\leftarrow z + \epsilon\, r, \\
    r &\leftarrow r + \tfrac\epsilon2 \nabla_z \log p_\theta(x, z).
    \end{aligned}
    """,
    right=_leapfrog,
    wrong={
        "whole kicks at both ends": lambda z, r, eps: (
            (moved := _leapfrog(z, r + eps / 2 * slope(z), eps))[0],
            moved[1] + eps / 2 * slope(moved[0]),
        ),
        "both kicks before the move": lambda z, r, eps: (z + eps * (r + eps * slope(z)), r + eps * slope(z)),
        "Euler": _euler,
    },
)
def leapfrog(formula: Formula) -> None:
    """It preserves volume, is undone by turning the momentum, and follows the energy with an error of second order."""
    z, r = torch.tensor([0.4, -0.9]), torch.tensor([1.1, 0.3])

    def energy(z: Tensor, r: Tensor) -> Tensor:
        return -log_joint(z) + 0.5 * r @ r

    errors = []
    for eps in (0.02, 0.01):
        state = (z, r)
        for _ in range(round(1 / eps)):
            state = formula(*state, eps)
        errors.append((energy(*state) - energy(z, r)).abs().item())
        back = (state[0], -state[1])
        for _ in range(round(1 / eps)):
            back = formula(*back, eps)
        close(back[0], z)
        close(-back[1], r)
    assert errors[0] < 0.01
    assert 3 < errors[0] / errors[1] < 5
    h = 1e-5
    columns = []
    for k in range(4):
        shift = h * torch.eye(4)[k]
        ends = [torch.cat(formula(z + s * shift[:2], r + s * shift[2:], 0.3)) for s in (1, -1)]
        columns.append((ends[0] - ends[1]) / (2 * h))
    assert abs(torch.linalg.det(torch.stack(columns)).abs() - 1) < 1e-6


@checks(
    "eq-fig3-balance",
    "finite sum",
    r"""
    \begin{aligned}
    &\int \pi(s)\,a(s)\,f(s)\,h(\Psi s)\,ds \\
    &\quad = \tfrac1c \int \min\bigl(e^{-H(s)}, e^{-H(\Psi s)}\bigr) f(s)\,h(\Psi s)\,ds \\
    &\quad = \tfrac1c \int \min\bigl(e^{-H(\Psi s')}, e^{-H(s')}\bigr) f(\Psi s')\,h(s')\,ds' \\
    &\quad = \int \pi(s')\,a(s')\,h(s')\,f(\Psi s')\,ds'.
    \end{aligned}
    """,
    right=lambda H, moved, f, h, f_moved, h_moved: (
        (torch.minimum((-H).exp(), (-moved).exp()) * f * h_moved).sum() / (-H).exp().sum(),
        (torch.minimum((-moved).exp(), (-H).exp()) * f_moved * h).sum() / (-H).exp().sum(),
    ),
    wrong={
        "maximum": lambda H, moved, f, h, f_moved, h_moved: (
            (torch.maximum((-H).exp(), (-moved).exp()) * f * h_moved).sum() / (-H).exp().sum(),
            (torch.maximum((-moved).exp(), (-H).exp()) * f_moved * h).sum() / (-H).exp().sum(),
        ),
        "sign of H": lambda H, moved, f, h, f_moved, h_moved: (
            (torch.minimum(H.exp(), moved.exp()) * f * h_moved).sum() / H.exp().sum(),
            (torch.minimum(moved.exp(), H.exp()) * f_moved * h).sum() / H.exp().sum(),
        ),
        "f and h not moved": lambda H, moved, f, h, f_moved, h_moved: (
            ((torch.minimum((-H).exp(), (-moved).exp()) * f * h).sum() / (-H).exp().sum(),) * 2
        ),
    },
)
def balance(formula: Formula) -> None:
    """Eight states and a map that is its own inverse: first and last line by summing over them, any f and h."""
    H, f, h = 2 * torch.rand(8), torch.randn(8), torch.randn(8)
    psi = torch.tensor([3, 1, 6, 0, 5, 4, 2, 7])
    pi, accept = (-H).softmax(0), (H - H[psi]).exp().clamp(max=1)
    ends = (pi * accept * f * h[psi]).sum(), (pi * accept * h * f[psi]).sum()
    close(*ends)
    for middle in formula(H, H[psi], f, h, f[psi], h[psi]):
        close(middle, ends[0])


def posterior_of_a_network() -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """A grid of one code; log p(x, z) and the posterior of a small network's image on it; log p(x); the grid's step."""
    model, x = make_tiny_vae(), make_tiny_images()[:1]
    z, step = line(9, 1441)
    with torch.no_grad():
        log_joint = model.decode(z[:, None, None]).log_prob(x)[:, 0] + Normal(0.0, 1.0).log_prob(z)
    log_evidence = log_joint.logsumexp(0) + torch.tensor(step).log()
    return z, log_joint, (log_joint - log_evidence).exp(), log_evidence, step


@checks(
    "eq-fig3-reciprocal",
    "quadrature",
    r"""
    \begin{aligned}
    \frac{1}{p_\theta(x)} &= \frac{\int q(z)\,dz}{p_\theta(x)}
    = \int \frac{q(z)}{p_\theta(x, z)} \cdot \frac{p_\theta(x, z)}{p_\theta(x)}\,dz \\
    &= \mathbb{E}_{p_\theta(z \mid x)}\!\left[\frac{q(z)}{p_\theta(x, z)}\right].
    \end{aligned}
    """,
    right=lambda q, joint: q / joint,
    wrong={
        "upside down": lambda q, joint: joint / q,
        "prior forgotten": lambda q, joint: 1 / joint,
        "squared": lambda q, joint: q**2 / joint,
    },
)
def reciprocal(formula: Formula) -> None:
    """The mean over the posterior of a small network's image, on a grid of its one code, for two q."""
    z, log_joint, posterior, log_evidence, step = posterior_of_a_network()
    for q in (Normal(0.0, 0.8), Normal(0.4, 0.5)):
        mean = (posterior * formula(q.log_prob(z).exp(), log_joint.exp())).sum() * step
        close(mean, (-log_evidence).exp(), rtol=1e-6, atol=0)


@checks(
    "eq-fig3-estimator",
    "Monte Carlo",
    r"R_L = \frac1L \sum_{l=1}^L \frac{q(z_l)}{p_\theta(x, z_l)} .",
    right=lambda q, joint: (q / joint).mean(1),
    wrong={
        "ratio of means": lambda q, joint: q.mean(1) / joint.mean(1),
        "sum": lambda q, joint: (q / joint).sum(1),
        "upside down": lambda q, joint: (joint / q).mean(1),
    },
)
def estimator(formula: Formula) -> None:
    """40,000 estimates from five draws each of the posterior of a small network's image, drawn on a grid."""
    z, log_joint, posterior, log_evidence, _ = posterior_of_a_network()
    drawn = torch.multinomial(posterior, 200_000, replacement=True).view(-1, 5)
    mean = (posterior * z).sum() / posterior.sum()
    std = ((posterior * (z - mean) ** 2).sum() / posterior.sum()).sqrt()
    q = Normal(mean, 0.9 * std).log_prob(z).exp()
    assert_mean(formula(q[drawn], log_joint.exp()[drawn]), (-log_evidence).exp())


@checks(
    "eq-fig3-blame",
    "finite sum",
    r"""
    \begin{aligned}
    &\overline{\mathcal{L}}_{\text{train}} - \overline{\mathcal{L}}_{\text{test}} \\
    &\quad = \underbrace{\overline{\log p}_{\text{train}} - \overline{\log p}_{\text{test}}}_{\text{the decoder's}} \\
    &\qquad + \underbrace{\bigl(\overline{\log p} - \overline{\mathcal{L}}\bigr)_{\text{test}}
    - \bigl(\overline{\log p} - \overline{\mathcal{L}}\bigr)_{\text{train}}}_{\text{the encoder's}} .
    \end{aligned}
    """,
    right=lambda p, gaps: (p["train"] - p["test"]) + (gaps["test"] - gaps["train"]),
    wrong={
        "gaps exchanged": lambda p, gaps: (p["train"] - p["test"]) + (gaps["train"] - gaps["test"]),
        "decoder alone": lambda p, gaps: p["train"] - p["test"],
        "sign": lambda p, gaps: (p["test"] - p["train"]) + (gaps["test"] - gaps["train"]),
    },
)
def blame(formula: Formula) -> None:
    """Three images of either kind with four codes: divergences from the posteriors as the gaps."""
    p, gaps, bounds = {}, {}, {}
    for split in ("train", "test"):
        joints, q = torch.rand(3, 4), torch.rand(3, 4).softmax(1)
        posterior = joints / joints.sum(1, keepdim=True)
        p[split] = joints.sum(1).log().mean()
        gaps[split] = torch.nn.functional.kl_div(posterior.log(), q, reduction="sum") / 3
        bounds[split] = (q * (joints / q).log()).sum(1).mean()
    close(formula(p, gaps), bounds["train"] - bounds["test"])
