"""Checks of the numbered equations of "Manifolds and samples"."""

from __future__ import annotations

import torch
from torch import Tensor

from equations.registry import Formula, checks

close = torch.testing.assert_close


def _ticks(n: int, shift: float) -> Tensor:
    return torch.special.ndtri((torch.arange(n) + shift) / n)


@checks(
    "eq-man-midpoints",
    "quadrature",
    r"""
    \frac{1}{n^2} \sum_{i, j} h\Bigl(T\bigl(\tfrac{i + 1/2}{n}, \tfrac{j + 1/2}{n}\bigr)\Bigr)
    \xrightarrow{n \to \infty} \mathbb{E}_{p(z)}[h(z)].
    """,
    right=lambda n: torch.special.ndtri((torch.arange(n) + 0.5) / n),
    wrong={
        "the distribution function": lambda n: torch.special.ndtr((torch.arange(n) + 0.5) / n),
        "equal steps": lambda n: 4 * (torch.arange(n) + 0.5) / n - 2,
        "a quarter for the half": lambda n: torch.special.ndtri((torch.arange(n) + 0.25) / n) + 0.1,
    },
)
def midpoints(formula: Formula) -> None:
    """cos(a z_1 + b z_2), whose expectation is exp(-(a^2 + b^2) / 2): the error falls as the grid is refined."""
    for a, b in ((0.7, 0.0), (1.1, -0.6)):
        errors = []
        for n in (20, 200, 2000):
            ticks = formula(n)
            mean = torch.cos(a * ticks[:, None] + b * ticks).mean()
            errors.append((mean - torch.tensor(-(a**2 + b**2) / 2).exp()).abs())
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] < 2e-3


@checks(
    "eq-man-energy",
    "finite sum",
    r"\Bigl(\sum_{t=1}^{T} d_t\Bigr)^2 \leq T \sum_{t=1}^{T} d_t^2,",
    right=lambda d: (d.sum() ** 2, len(d) * (d**2).sum()),
    wrong={
        "no T": lambda d: (d.sum() ** 2, (d**2).sum()),
        "the other way round": lambda d: (len(d) * (d**2).sum(), d.sum() ** 2),
        "length not squared": lambda d: (d.sum(), len(d) * (d**2).sum()),
    },
)
def energy(formula: Formula) -> None:
    """The difference is the sum of the squared differences of all pairs (Lagrange); none for equal steps."""
    for d in (*torch.rand(20, 7), torch.full((7,), 0.3)):
        left, right = formula(d)
        close(right - left, ((d[:, None] - d) ** 2).sum() / 2, atol=1e-12, rtol=1e-9)
