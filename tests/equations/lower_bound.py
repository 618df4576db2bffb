"""Checks of the numbered equations of "The lower bound"."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from equations.registry import Formula, checks, four_codes, kl, least_diagonal_kl

close = torch.testing.assert_close


@checks(
    "eq-lb-wake",
    "autograd",
    r"""
    \mathbb{E}_{q_\phi(z \mid x)}\bigl[\nabla_\theta \log p_\theta(x, z)\bigr]
    = \nabla_\theta\,\mathcal{L}(\theta, \phi; x),
    """,
    right=lambda q, prior, scores: q @ scores,
    wrong={
        "codes from the prior": lambda q, prior, scores: prior @ scores,
        "a sum": lambda q, prior, scores: scores.sum(0),
        "the score of log q beside it": lambda q, prior, scores: q @ (scores - scores.mean(0)),
        "sign": lambda q, prior, scores: -q @ scores,
    },
)
def wake(formula: Formula) -> None:
    """The derivative of the bound, a sum over four codes, by autograd; the scores too, a code at a time."""
    prior, _, q = four_codes()
    theta = torch.randn(4, requires_grad=True)

    def log_joint(theta: Tensor) -> Tensor:
        return prior.log() + torch.nn.functional.logsigmoid(theta.cumsum(0))  # p(x = 1 | z), one theta in several codes

    scores = torch.stack([torch.autograd.grad(log_joint(theta)[code], theta)[0] for code in range(4)])
    elbo = (q * (log_joint(theta) - q.log())).sum()
    close(formula(q, prior, scores), torch.autograd.grad(elbo, theta)[0])


@checks(
    "eq-lb-sleep",
    "autograd",
    r"""
    \mathbb{E}_{p_\theta(x, z)}\bigl[\nabla_\phi \log q_\phi(z \mid x)\bigr]
    = -\nabla_\phi\,\mathbb{E}_{p_\theta(x)}\bigl[\mathrm{KL}\bigl(p_\theta(z \mid x)\,\|\,q_\phi(z \mid x)\bigr)\bigr].
    """,
    right=lambda p_x, posterior, q: -(p_x @ kl(posterior, q)),
    wrong={
        "KL the other way round": lambda p_x, posterior, q: -(p_x @ kl(q, posterior)),
        "over data": lambda p_x, posterior, q: -(torch.full_like(p_x, 1 / len(p_x)) @ kl(posterior, q)),
        "sign": lambda p_x, posterior, q: p_x @ kl(posterior, q),
    },
)
def sleep(formula: Formula) -> None:
    """The mean score of the encoder over all pairs of three images and four codes, each weighted by the joint law."""
    joint = torch.rand(12).softmax(0).view(3, 4)
    phi = torch.randn(3, 4, requires_grad=True)
    p_x = joint.sum(1)
    objective = formula(p_x, joint / p_x[:, None], phi.softmax(1))
    mean = torch.zeros(3, 4)
    for image in range(3):
        for code in range(4):
            score = torch.autograd.grad(phi.log_softmax(1)[image, code], phi)[0]
            mean += joint[image, code] * score
    close(torch.autograd.grad(objective, phi)[0], mean)


@checks(
    "eq-lb-gap",
    "autograd",
    r"\delta = \frac12 \sum_{k=1}^K \bigl(r_k - 1 - \log r_k\bigr),",
    right=lambda r: 0.5 * (r - 1 - r.log()).sum(),
    wrong={
        "no half": lambda r: (r - 1 - r.log()).sum(),
        "sign of the logarithm": lambda r: 0.5 * (r - 1 + r.log()).sum(),
        "no one": lambda r: 0.5 * (r - r.log()).sum(),
        "the reciprocal": lambda r: 0.5 * (1 / r - 1 + r.log()).sum(),
        "the mean": lambda r: 0.5 * (r - 1 - r.log()).mean(),
    },
)
def gap(formula: Formula) -> None:
    """Both encoders as an optimiser finds them, and PyTorch's divergences of the two."""
    factor = torch.randn(3, 3) + 2 * torch.eye(3)
    covariance = factor @ factor.T
    target = MultivariateNormal(torch.zeros(3), covariance)
    log_var = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_var], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = kl_divergence(target, MultivariateNormal(torch.zeros(3), log_var.exp().diag()))
        loss.backward()
        return loss

    optimiser.step(closure)
    asleep = MultivariateNormal(torch.zeros(3), log_var.detach().exp().diag())
    r = torch.linalg.inv(covariance).diagonal() * covariance.diagonal()
    close(formula(r), kl_divergence(asleep, target) - least_diagonal_kl(target), rtol=1e-4, atol=1e-6)


def _adagrad(root: Callable[[Tensor, Tensor], Tensor]) -> Formula:
    """A step from w along the last of the gradients so far, divided by what `root` makes of all and of the last."""
    return lambda w, gradients, eta: w - eta * gradients[-1] / root(gradients, gradients[-1])


@checks(
    "eq-lb-adagrad",
    "linear algebra",
    r"w_{t+1} = w_t - \eta\,\frac{g_t}{\sqrt{g_1^2 + \dots + g_t^2}}.",
    right=_adagrad(lambda all_, last: (all_**2).sum(0).sqrt()),
    wrong={
        "ascent": _adagrad(lambda all_, last: -(all_**2).sum(0).sqrt()),
        "no root": _adagrad(lambda all_, last: (all_**2).sum(0)),
        "a mean": _adagrad(lambda all_, last: (all_**2).mean(0).sqrt()),
        "without the last": _adagrad(lambda all_, last: ((all_**2).sum(0) - last**2 * (len(all_) > 1)).sqrt()),
        "over all coordinates": _adagrad(lambda all_, last: (all_**2).sum().sqrt()),
    },
)
def adagrad(formula: Formula) -> None:
    """Five steps of PyTorch's Adagrad on a function that bends."""

    def loss(w: Tensor) -> Tensor:
        return Normal(0.0, 1.0).log_prob(w).sum().exp().neg() + (w**4 * torch.tensor([1.0, 3.0])).sum()

    parameter = torch.tensor([1.5, -0.5], requires_grad=True)
    w, gradients = parameter.detach().clone(), []
    optimiser = torch.optim.Adagrad([parameter], lr=0.3, eps=0.0)
    for _ in range(5):
        at = w.clone().requires_grad_()
        gradients.append(torch.autograd.grad(loss(at), at)[0])
        w = formula(w, torch.stack(gradients), 0.3)
        optimiser.zero_grad()
        loss(parameter).backward()
        optimiser.step()
    close(w, parameter.detach())
