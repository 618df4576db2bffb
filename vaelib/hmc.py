r"""Hamiltonian Monte Carlo: draws from a density that is known up to a constant, many chains at once.

The code $z$ is the position of a particle with potential energy $-\log p(z)$, and a momentum
$r \sim \mathcal{N}(0, I)$ gives it the total energy $H(z, r) = -\log p(z) + \tfrac12\|r\|^2$. Following Hamilton's
equations $\dot z = r$, $\dot r = \nabla\log p(z)$ leads far away along a level of $H$; the small errors of doing so in
finite steps are made good by accepting the end point with probability $\min(1, e^{H_\text{old} - H_\text{new}})$.
See Neal (2011), "MCMC using Hamiltonian dynamics", https://arxiv.org/abs/1206.1901.

Log-densities are in nats. Draws come from torch's global generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.checks import check_finite, check_floating, check_positive_integer, without_validation

LogDensity = Callable[[Tensor], Tensor]

JITTER = 0.2
"""Each step size is multiplied by a draw from U(1 - JITTER, 1 + JITTER): a trajectory of fixed length can come back to
where it began, at every iteration anew (Neal 2011)."""


class Point(NamedTuple):
    """Positions `z` (..., K), the `log_density` (...) there and its `gradient` (..., K), all without a graph."""

    z: Tensor
    log_density: Tensor
    gradient: Tensor


class HMCResult(NamedTuple):
    """What `hmc` returns, for chains of shape (...).

    Attributes:
        samples: The states after each iteration, shape (num_samples, ..., K).
        log_density: The log-density at each of them, shape (num_samples, ...), in nats.
        acceptance: Acceptance probability of each chain, the mean over its iterations after warm-up, shape (...).
        step_size: Step size of each chain after warm-up, shape (...).
    """

    samples: Tensor
    log_density: Tensor
    acceptance: Tensor
    step_size: Tensor


def evaluate(log_density: LogDensity, z: Tensor) -> Point:
    r"""$\log p(z)$ and $\nabla\log p(z)$ at positions `z` of shape (..., K).

    Each log-density must depend on its own position alone: the gradient of their sum then holds those of all chains.
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = log_density(z)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return Point(z.detach(), value.detach(), gradient)


def leapfrog(
    log_density: LogDensity, point: Point, momentum: Tensor, step_size: Tensor, num_leapfrog: int
) -> tuple[Point, Tensor]:
    r"""Follow Hamilton's equations for `num_leapfrog` steps of size $\epsilon$.

    Each step is $r \leftarrow r + \tfrac\epsilon2\nabla\log p(z)$, $z \leftarrow z + \epsilon r$,
    $r \leftarrow r + \tfrac\epsilon2\nabla\log p(z)$: three shears, so that volume is kept; the same backwards, so that
    $-r$ leads back to the start. Over a given time the energy errs by $O(\epsilon^2)$.

    Args:
        log_density: The target, (..., K) to (...).
        point: Where to start.
        momentum: r, shape (..., K).
        step_size: The step size of each chain, shape (...).
        num_leapfrog: Number of steps.

    Returns:
        The point and the momentum at the end.
    """
    step = step_size.unsqueeze(-1)
    for _ in range(num_leapfrog):
        momentum = momentum + step / 2 * point.gradient
        point = evaluate(log_density, point.z + step * momentum)
        momentum = momentum + step / 2 * point.gradient
    return point, momentum


@torch.no_grad()
def transition(
    log_density: LogDensity, start: Point, step_size: Tensor, num_leapfrog: int = 10
) -> tuple[Point, Tensor]:
    """One iteration for every chain: a fresh momentum, a trajectory, and the Metropolis test. It leaves p unchanged.

    Args:
        log_density: The target, (..., K) to (...).
        start: Where the chains are.
        step_size: The step size of each chain, shape (...).
        num_leapfrog: Leapfrog steps of a trajectory.

    Returns:
        Where the chains are afterwards, and the probability of acceptance that each had, shape (...). It is 0 where
        the energy at the end of the trajectory is not finite.
    """
    jitter = 1 + JITTER * (2 * torch.rand_like(step_size) - 1)
    momentum = torch.randn_like(start.z)
    end, end_momentum = leapfrog(log_density, start, momentum, step_size * jitter, num_leapfrog)
    drop = (end.log_density - start.log_density) + (momentum.square() - end_momentum.square()).sum(-1) / 2
    acceptance = torch.where(torch.isfinite(drop), drop.clamp(max=0).exp(), 0)
    accepted = torch.rand_like(acceptance) < acceptance
    moved = accepted.unsqueeze(-1)
    return Point(
        torch.where(moved, end.z, start.z),
        torch.where(accepted, end.log_density, start.log_density),
        torch.where(moved, end.gradient, start.gradient),
    ), acceptance


@torch.no_grad()
def hmc(
    log_density: LogDensity,
    start: Tensor,
    num_samples: int,
    *,
    num_leapfrog: int = 10,
    step_size: float | Tensor = 0.1,
    target_acceptance: float = 0.9,
    warmup: int = 0,
) -> HMCResult:
    r"""Draw from a density with one Markov chain for each vector of `start`.

    During warm-up each chain's step size follows its acceptance probability $\alpha_n$ by Robbins and Monro's rule
    $\log\epsilon_{n+1} = \log\epsilon_n + (\alpha_n - \alpha^*) / \sqrt{n\,\alpha^*(1 - \alpha^*)}$; the average of the
    second half of these $\log\epsilon_n$ is kept from then on (Polyak and Ruppert). An adaptation that never stopped
    would bias the draws.

    Args:
        log_density: The target's log-density in nats, up to a constant: (..., K) to (...). The checks that
            distributions make of their arguments are off while chains run: a diverging trajectory is rejected instead.
        start: The chains' first states, shape (..., K).
        num_samples: Iterations after warm-up; the state after each is returned.
        num_leapfrog: Leapfrog steps in an iteration (10 in Kingma and Welling 2014, appendix E).
        step_size: Step size to begin with, for all chains or for each, shape (...).
        target_acceptance: The acceptance probability $\alpha^*$ that warm-up aims at (0.9 in the same place).
        warmup: Iterations that only adapt the step sizes and forget the start; 0 keeps `step_size` as it is.

    Raises:
        TypeError: If `start` is no floating-point tensor.
        ValueError: If the log-density or its gradient at `start` is not finite, or an argument is out of its range.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> normal = lambda z: -z.square().sum(-1) / 2
        >>> result = hmc(normal, torch.zeros(1000, 2), 1, warmup=50)  # 1000 chains, one draw of each
        >>> result.samples.shape
        torch.Size([1, 1000, 2])
        >>> bool(abs(result.samples.var() - 1) < 0.1)
        True
    """
    for name, count in (("num_samples", num_samples), ("num_leapfrog", num_leapfrog)):
        check_positive_integer(name, count)
    if not isinstance(warmup, int) or warmup < 0:
        raise ValueError(f"warmup must be an integer of at least 0, but is {warmup!r}")
    if not 0 < target_acceptance < 1:
        raise ValueError(f"target_acceptance must lie between 0 and 1, but is {target_acceptance!r}")
    point = _first_point(log_density, start)
    log_step = _step_sizes(step_size, point).log()

    variance = target_acceptance * (1 - target_acceptance)  # of one test that succeeds with the target probability
    samples, log_densities, total, late = [], [], torch.zeros_like(log_step), torch.zeros_like(log_step)
    with without_validation():
        for n in range(1, warmup + 1):
            point, acceptance = transition(log_density, point, log_step.exp(), num_leapfrog)
            log_step = log_step + (acceptance - target_acceptance) / math.sqrt(n * variance)
            if n > warmup // 2:
                late += log_step / (warmup - warmup // 2)
        chosen = (late if warmup else log_step).exp()
        for _ in range(num_samples):
            point, acceptance = transition(log_density, point, chosen, num_leapfrog)
            samples.append(point.z)
            log_densities.append(point.log_density)
            total += acceptance
    return HMCResult(torch.stack(samples), torch.stack(log_densities), total / num_samples, chosen)


def _first_point(log_density: LogDensity, start: Tensor) -> Point:
    check_floating("start", start)
    if start.dim() == 0 or start.shape[-1] == 0:
        raise ValueError(f"start must have shape (..., K) with K of at least 1, but has shape {tuple(start.shape)}")
    check_finite("start", start)
    shape = log_density(start).shape  # before the gradient, whose own errors would not name the cause
    if shape != start.shape[:-1]:
        raise ValueError(
            f"log_density must return one value for each chain, shape {tuple(start.shape[:-1])} for start of shape "
            f"{tuple(start.shape)}, but returned shape {tuple(shape)}: sum over the last dimension only"
        )
    point = evaluate(log_density, start)
    check_finite("log_density(start)", point.log_density)
    check_finite("the gradient of log_density at start", point.gradient)
    return point


def _step_sizes(step_size: float | Tensor, point: Point) -> Tensor:
    steps = torch.as_tensor(step_size).to(point.log_density)
    if not ((steps > 0) & torch.isfinite(steps)).all():
        raise ValueError(f"step_size must be positive and finite, but is {step_size}")
    try:
        return steps.expand(point.log_density.shape)
    except RuntimeError as error:
        raise ValueError(
            f"step_size must be a number or have the chains' shape {tuple(point.log_density.shape)}, "
            f"but has shape {tuple(steps.shape)}"
        ) from error
