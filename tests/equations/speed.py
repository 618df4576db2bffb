"""Checks of the numbered equations of "Speed"."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence
from torch.utils.flop_counter import FlopCounterMode

from equations.registry import Formula, checks


@checks(
    "eq-step-arithmetic",
    "finite sum",
    r"6 \sum_{i=1}^{l} n_i - 2 \sum_{i=1}^{f} n_i \quad \text{operations}.",
    right=lambda sizes, first: 6 * sum(sizes) - 2 * sum(sizes[:first]),
    wrong={
        "4": lambda sizes, first: 4 * sum(sizes) - 2 * sum(sizes[:first]),
        "nothing spared": lambda sizes, first: 6 * sum(sizes),
        "the last spared": lambda sizes, first: 6 * sum(sizes) - 2 * sum(sizes[-first:]),
    },
)
def arithmetic(formula: Formula) -> None:
    """PyTorch's own counter, over both passes of a chain of three layers, and of a network with two first ones."""
    x = torch.randn(10, 7)
    layers = nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 4))
    two_first = nn.ModuleList([nn.Linear(7, 5), nn.Linear(7, 5), nn.Linear(5, 4)])
    with FlopCounterMode(display=False) as counter:
        layers(x).square().sum().backward()
    assert counter.get_total_flops() / 10 == formula([35, 15, 12], 1)
    with FlopCounterMode(display=False) as counter:
        two_first[2](two_first[0](x) * two_first[1](x)).square().sum().backward()
    assert counter.get_total_flops() / 10 == formula([35, 35, 20], 2)


@checks(
    "eq-kl-gradient",
    "autograd",
    r"\nabla_\mu = \mu, \qquad \nabla_S = S - S^{-\top}.",
    right=lambda mu, S: (mu, S - torch.linalg.inv(S).mT),
    wrong={
        "not transposed": lambda mu, S: (mu, S - torch.linalg.inv(S)),
        "sign": lambda mu, S: (mu, S + torch.linalg.inv(S).mT),
        "twice": lambda mu, S: (2 * mu, 2 * S - torch.linalg.inv(S).mT),
        "S transposed": lambda mu, S: (mu, S.mT - torch.linalg.inv(S)),
    },
)
def gradient(formula: Formula) -> None:
    """Autograd through PyTorch's divergence of N(mu, SS') from N(0, I)."""
    mu, S = torch.randn(3, requires_grad=True), torch.randn(3, 3, requires_grad=True)
    value = kl_divergence(MultivariateNormal(mu, S @ S.mT), MultivariateNormal(torch.zeros(3), torch.eye(3)))
    expected = torch.autograd.grad(value, (mu, S))
    for mine, exact in zip(formula(mu.detach(), S.detach()), expected, strict=True):
        torch.testing.assert_close(mine, exact)
