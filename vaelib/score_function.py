r"""The score-function gradient of an expectation.

$\nabla_\phi \mathbb{E}_{q_\phi}[f(z)] = \mathbb{E}_{q_\phi}[f(z)\,\nabla_\phi \log q_\phi(z)]$. Also
called REINFORCE (Williams 1992) or the likelihood-ratio estimator. It asks nothing of $f$ but its values, and so is
the only one for discrete $z$; its variance is the price. Since $\mathbb{E}[\nabla_\phi \log q_\phi] = 0$, a
*baseline* may be taken off $f$ as long as it does not depend on the draw that it is taken off. Chapter: "The
score-function gradient".
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from vaelib.bounds import ELBO, posterior_of
from vaelib.checks import check_positive_integer
from vaelib.models import LatentVariableModel

Baseline = Literal["none", "mean", "leave-one-out"]


def baseline_of(values: Tensor, baseline: Baseline) -> Tensor:
    r"""What is taken off each of L values: a baseline of shape (L, ...), made from the values themselves.

    - "none": 0.
    - "mean": the mean of all L. It contains the draw that it is taken off, and so shrinks the expected gradient by the
      factor $(L-1)/L$: simple, common, and biased.
    - "leave-one-out": the mean of the other $L - 1$, which is independent of the draw: unbiased (Kool, van Hoof and
      Welling 2019).

    Args:
        values: f(z_l), shape (L, ...).
        baseline: Which.

    Raises:
        ValueError: If there is no such baseline, or "leave-one-out" is asked of a single draw.
    """
    count = len(values)
    if baseline == "none":
        return torch.zeros_like(values)
    if baseline == "mean":
        return values.mean(0).expand_as(values)
    if baseline == "leave-one-out":
        if count < 2:
            raise ValueError('baseline "leave-one-out" needs at least 2 draws: raise num_samples, or use "none"')
        return (values.sum(0) - values) / (count - 1)
    raise ValueError(f'baseline must be "none", "mean" or "leave-one-out", but is {baseline!r}')


def score_function_gradient(values: Tensor, scores: Tensor, baseline: Baseline = "leave-one-out") -> Tensor:
    r"""$\frac1L\sum_l (f(z_l) - b_l)\, s_l$ with the scores $s_l = \nabla_\phi \log q_\phi(z_l)$.

    Args:
        values: f(z_l), shape (L,).
        scores: s_l, shape (L, P).
        baseline: See `baseline_of`.

    Returns:
        The estimate of the gradient, shape (P,).
    """
    _check_pair(values, scores)
    return ((values - baseline_of(values, baseline)).unsqueeze(-1) * scores).mean(0)


def control_variate_gradient(values: Tensor, scores: Tensor) -> Tensor:
    r"""The estimate with the score itself as control variate, one coefficient for each parameter.

    $f s - c\,s$ has the same expectation for every constant $c$, and the least variance for
    $c^* = \mathbb{E}[f s^2] / \mathbb{E}[s^2]$. Estimated from the other $L - 1$ draws, the coefficient is independent
    of the draw that it corrects, and the estimate stays unbiased.

    Args:
        values: f(z_l), shape (L,), L of at least 2.
        scores: s_l, shape (L, P).

    Returns:
        The estimate of the gradient, shape (P,).

    Raises:
        ValueError: If L is 1, or a score is zero in all draws but one, which leaves its coefficient undefined.
    """
    _check_pair(values, scores)
    if len(values) < 2:
        raise ValueError("values must hold at least 2 draws for a control variate, but holds 1")
    squares = scores.square()
    weighted = values.unsqueeze(-1) * squares
    others = squares.sum(0) - squares
    if (others == 0).any():
        raise ValueError("scores must not vanish in all draws but one: draw more samples, or use a baseline instead")
    coefficient = (weighted.sum(0) - weighted) / others
    return ((values.unsqueeze(-1) - coefficient) * scores).mean(0)


def score_function_elbo(
    model: LatentVariableModel, x: Tensor, num_samples: int = 2, baseline: Baseline = "leave-one-out"
) -> ELBO:
    r"""Estimator A of the bound, with the score-function gradient for the encoder in place of the pathwise one.

    For $f_l = \log p_\theta(x, z_l) - \log q_\phi(z_l \mid x)$ the gradient in $\phi$ is that of
    $\frac1L\sum_l (f_l - b_l)\log q_\phi(z_l \mid x)$ with $f_l - b_l$ and $z_l$ held fixed; the one in $\theta$ is
    the usual.

    Args:
        model: The model.
        x: Images, shape (B, D).
        num_samples: L, draws per image.
        baseline: See `baseline_of`; each image has its own.

    Returns:
        The bound and its two parts for each image, each of shape (B,), in nats; `kl` is estimated from the draws.
    """
    check_positive_integer("num_samples", num_samples)
    q = posterior_of(model, x, None)
    z = q.sample((num_samples,))
    log_likelihood = model.decode(z).log_prob(x)
    log_q = q.log_prob(z)
    log_ratio = log_q - model.prior.log_prob(z)
    values = (log_likelihood - log_ratio).detach()
    surrogate = ((values - baseline_of(values, baseline)) * log_q).mean(0) + log_likelihood.mean(0)
    reconstruction, kl = log_likelihood.detach().mean(0), log_ratio.detach().mean(0)
    return ELBO(values.mean(0) + surrogate - surrogate.detach(), reconstruction, kl)


def _check_pair(values: Tensor, scores: Tensor) -> None:
    if values.dim() != 1 or len(values) == 0:
        raise ValueError(f"values must have shape (L,) with L of at least 1, but has {tuple(values.shape)}")
    if scores.dim() != 2 or len(scores) != len(values):
        raise ValueError(f"scores must have shape ({len(values)}, P), but has {tuple(scores.shape)}")
