"""A check for each numbered equation of the book, registered under the equation's label.

There is one module here for each chapter, with its name. A check holds the equation's own LaTeX beside the same formula
as a function, and is itself a function that takes such a formula and finds the other side by a route that does not use
it: a sum over a finite space, quadrature, linear algebra, automatic differentiation, or draws. `test_equations.py`
gives every check the formula, which it must accept, then the wrong ones, which it must refuse; and compares the LaTeX
with the chapter's, so that nobody changes an equation without changing, or at least reading, its check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

Formula = Callable[..., Any]
Kind = Literal["finite sum", "quadrature", "autograd", "linear algebra", "Monte Carlo"]


@dataclass(frozen=True)
class Check:
    """A check: `holds(formula)` raises an AssertionError unless the formula is right."""

    label: str
    module: str
    tex: str
    right: Formula
    wrong: Mapping[str, Formula]
    holds: Callable[[Formula], None]


CHECKS: dict[str, Check] = {}


def checks(
    label: str, kind: Kind, tex: str, *, right: Formula, wrong: Mapping[str, Formula]
) -> Callable[[Callable[[Formula], None]], Callable[[Formula], None]]:
    """Register the decorated function as the check of an equation.

    Args:
        label: The equation's.
        kind: By which sort of route the other side is found; the appendix on equations shows it, read from the source.
        tex: The equation, letter for letter as in the chapter, but for white space.
        right: The formula.
        wrong: Formulas that are like it and wrong, by what is wrong with them.
    """
    if label in CHECKS:
        raise ValueError(f"{label} has two checks")
    if not wrong:
        raise ValueError(f"the check of {label} needs a wrong formula to refuse")

    def register(holds: Callable[[Formula], None]) -> Callable[[Formula], None]:
        CHECKS[label] = Check(label, holds.__module__.rpartition(".")[2], tex, right, wrong, holds)
        return holds

    return register


def assert_mean(draws: Tensor, expected: Tensor | float, errors: float = 5.0) -> None:
    """The mean over the first dimension is the expected one, to so many standard errors."""
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - expected).abs() <= errors * error).all()


def line(reach: float, steps: int) -> tuple[Tensor, float]:
    """Points from -reach to reach, and their distance: a sum over them is exact to rounding, for a smooth function."""
    points = torch.linspace(-reach, reach, steps)
    return points, (points[1] - points[0]).item()


def four_codes() -> tuple[Tensor, Tensor, Tensor]:
    """A model that has all its integrals as sums: a prior on four codes, p(x|z) for each of them, and some q."""
    prior, q = torch.rand(2, 4).softmax(1)
    return prior, torch.rand(4), q


def kl(q: Tensor, p: Tensor) -> Tensor:
    """The divergence between probabilities along the last dimension, as PyTorch sums it."""
    return torch.nn.functional.kl_div(p.log(), q, reduction="none").sum(-1)


def least_diagonal_kl(target: MultivariateNormal) -> Tensor:
    """The smallest divergence of a diagonal Gaussian from another one, as an optimiser finds it."""
    parameters = torch.zeros(2, target.event_shape[0], requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        mean, log_var = parameters
        loss = kl_divergence(MultivariateNormal(mean, log_var.exp().diag()), target)
        loss.backward()
        return loss

    optimiser.step(closure)
    return closure().detach()
