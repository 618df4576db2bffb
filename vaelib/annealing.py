r"""Annealed importance sampling: importance sampling whose draws are led from a simple base to the posterior.

From the base $q(z)$ to the joint density leads the geometric path $f_\beta(z) = q(z)^{1-\beta}\,p_\theta(x, z)^\beta$.
A code is drawn from q and carried from $\beta_0 = 0$ through $\beta_1, \dots$ to $\beta_T = 1$ by transitions
$\mathcal{T}_\beta$ that leave $f_\beta$ unchanged; on the way it collects the weight

$$\log w = \sum_{t=1}^T \log\frac{f_{\beta_t}(z_t)}{f_{\beta_{t-1}}(z_t)}
= \sum_{t=1}^T (\beta_t - \beta_{t-1})\,\log\frac{p_\theta(x, z_t)}{q(z_t)},
\qquad z_1 \sim q,\quad z_{t+1} \sim \mathcal{T}_{\beta_t}(\cdot \mid z_t),$$

and $\mathbb{E}[w] = p_\theta(x)$, however badly the transitions mix (Neal 2001, https://arxiv.org/abs/physics/9803008;
for decoders Wu, Burda, Salakhutdinov and Grosse 2017, https://arxiv.org/abs/1611.04273).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaelib.checks import check_positive_integer, without_validation
from vaelib.hmc import evaluate, hmc, transition
from vaelib.marginal import LogMarginal, average_weights, check_estimate, draw_codes
from vaelib.models import LatentVariableModel

Schedule = Literal["sigmoid", "linear"]

TARGET_ACCEPTANCE = 0.65
"""Where Hamiltonian Monte Carlo goes furthest for its cost in many dimensions (Neal 2011)."""


def inverse_temperatures(num_temperatures: int, schedule: Schedule = "sigmoid") -> Tensor:
    r"""$0 = \beta_0 < \beta_1 < \dots < \beta_T = 1$, float64, shape (T + 1,).

    Args:
        num_temperatures: T.
        schedule: "linear", $\beta_t = t/T$, or "sigmoid", the logistic function between -4 and 4 stretched to [0, 1]:
            short steps at both ends, where the path turns fastest (Wu et al. 2017).

    Example:
        >>> inverse_temperatures(4).numpy().round(3)
        array([0.   , 0.105, 0.5  , 0.895, 1.   ])
    """
    check_positive_integer("num_temperatures", num_temperatures)
    if schedule not in ("sigmoid", "linear"):
        raise ValueError(f'schedule must be "sigmoid" or "linear", but is {schedule!r}')
    linear = torch.linspace(0, 1, num_temperatures + 1, dtype=torch.float64)
    if schedule == "linear":
        return linear
    curve = torch.sigmoid(8 * linear - 4)
    return (curve - curve[0]) / (curve[-1] - curve[0])


def annealed_importance_sampling(
    model: LatentVariableModel,
    x: Tensor,
    num_samples: int = 16,
    *,
    num_temperatures: int = 1000,
    schedule: Schedule = "sigmoid",
    base: Distribution | None = None,
    num_leapfrog: int = 10,
    pairs_at_once: int = 1000,
) -> LogMarginal:
    r"""$\log\frac1L\sum_l w_l$ with the weights of L independent annealed chains for each image.

    The average is unbiased for $p_\theta(x)$, hence the estimate a lower bound in expectation, and in probability:
    it exceeds $\log p_\theta(x)$ by b nats with a probability of at most $e^{-b}$ (Markov's inequality).

    The transitions are iterations of Hamiltonian Monte Carlo. Their step sizes, one for each image and temperature, are
    found by chains that run ahead and are then forgotten, as many as later run at the same time: step sizes adapted to
    a chain's own past would bias its weight.

    Args:
        model: The model; an encoder is not used.
        x: Images, shape (B, D). At least one chain of each image runs at a time, with a gradient for each.
        num_samples: L, chains for each image.
        num_temperatures: T; with T = 1 this is importance sampling from the base.
        schedule: How the temperatures are spaced, see `inverse_temperatures`.
        base: The path's beginning, batch_shape (B,), event_shape (K,). By default the prior; with `model.encode(x)`
            the path is shorter.
        num_leapfrog: Leapfrog steps in a transition.
        pairs_at_once: Number of (chain, image) pairs that run at the same time, if it exceeds B.

    Returns:
        The estimate and the effective sample size of the L weights for each image, shape (B,).

    Raises:
        TypeError: If `x` is not of the model's dtype and device.
        ValueError: If the likelihood cannot score `x`, the base has another shape, or a count is not positive.
    """
    at_once = check_estimate(model, x, num_samples, pairs_at_once)
    check_positive_integer("num_leapfrog", num_leapfrog)
    betas = inverse_temperatures(num_temperatures, schedule).tolist()
    base = model.prior.expand((len(x),)) if base is None else base
    codes = draw_codes("base", base, model, x)

    tuned = hmc(base.log_prob, codes, 1, num_leapfrog=num_leapfrog, target_acceptance=TARGET_ACCEPTANCE, warmup=50)
    log_steps = tuned.step_size.log().repeat(num_temperatures, 1)
    with torch.no_grad(), without_validation():
        _anneal(model, x, base.sample((min(num_samples, at_once),)), base, betas, log_steps, num_leapfrog, tune=True)
        return average_weights(
            lambda count: _anneal(model, x, base.sample((count,)), base, betas, log_steps, num_leapfrog),
            num_samples,
            at_once,
        )


def _anneal(
    model: LatentVariableModel,
    x: Tensor,
    z: Tensor,
    base: Distribution,
    betas: list[float],
    log_steps: Tensor,
    num_leapfrog: int,
    *,
    tune: bool = False,
) -> Tensor:
    """Carry codes z (L, B, K) along the path and return their log-weights (L, B).

    `log_steps` (T, B) holds the logarithms of the step sizes; if `tune`, all but the first are set on the way.
    """
    log_weights = z.new_zeros(z.shape[:-1])
    for t in range(1, len(betas)):
        log_weights += (betas[t] - betas[t - 1]) * (model.log_joint(x, z) - base.log_prob(z))
        if t == len(betas) - 1:
            break  # a transition at beta = 1 would change no weight

        def tempered(z: Tensor, beta: float = betas[t]) -> Tensor:
            return (1 - beta) * base.log_prob(z) + beta * model.log_joint(x, z)

        step_size = log_steps[t - 1].exp().expand(z.shape[:-1])
        (z, _, _), acceptance = transition(tempered, evaluate(tempered, z), step_size, num_leapfrog)
        if tune:
            log_steps[t] = log_steps[t - 1] + (acceptance.mean(0) - TARGET_ACCEPTANCE)
    return log_weights
