r"""Estimators of $\log p_\theta(x) = \log\int p_\theta(x \mid z)\,p(z)\,dz$, one value for each image, in nats.

The first two average weights $w_l$ with $\mathbb{E}[w_l] = p_\theta(x)$:

- `naive`: $z_l$ from the prior, $w_l = p_\theta(x \mid z_l)$;
- `importance_sampling`: $z_l$ from $q(z \mid x)$, $w_l = p_\theta(x, z_l) / q(z_l \mid x)$.

Annealed importance sampling, which does the same along a path of distributions, is in `vaelib.annealing`. The average
is unbiased for $p_\theta(x)$, and so, by Jensen's inequality, its logarithm is too low on average, by about half the
squared relative standard error of the average while that is small. The third estimator,
`reciprocal_importance_sampling`, averages weights with $\mathbb{E}[w_l] = 1/p_\theta(x)$, and is too high on average.

Nothing here has a gradient: the bound to train on is in `vaelib.bounds`. Draws come from torch's global generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaelib.checks import check_floating, check_last_dim, check_like, check_positive_integer, without_validation
from vaelib.gaussians import CholeskyGaussian
from vaelib.hmc import hmc
from vaelib.models import VAE, LatentVariableModel


class LogMarginal(NamedTuple):
    """Estimates of log p(x) in nats, and how many equal weights the weights behind each are worth; both (B,)."""

    log_marginal: Tensor
    effective_sample_size: Tensor


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r"""Kish's effective sample size $(\sum_l w_l)^2 / \sum_l w_l^2$: L for equal weights, 1 if one outweighs the rest.

    A small value proves an estimate bad; a large one does not prove it good, as the draws may all have missed the place
    where the weights are large.

    Args:
        log_weights: Logarithms of the weights, shape (L, ...).

    Returns:
        A number between 1 and L for each column, shape (...).

    Raises:
        ValueError: If the weights of a column do not have a positive, finite sum.

    Example:
        >>> effective_sample_size(torch.tensor([[0.0, 0.0], [0.0, -90.0]]))
        tensor([2., 1.])
    """
    return _summarise(_log_sums(log_weights), len(log_weights)).effective_sample_size


def average_weights(draw: Callable[[int], Tensor], num_samples: int, at_once: int) -> LogMarginal:
    r"""$\log\frac1L\sum_l w_l$ and the effective sample size, from weights that are drawn a few at a time.

    Only $\log\sum w$ and $\log\sum w^2$ are kept, so memory does not grow with L.

    Args:
        draw: Returns the logarithms of so many fresh weights for each image, shape (count, B).
        num_samples: L.
        at_once: The largest count that `draw` is asked for.
    """
    sums = _log_sums(draw(min(at_once, num_samples)))
    for done in range(at_once, num_samples, at_once):
        sums = torch.logaddexp(sums, _log_sums(draw(min(at_once, num_samples - done))))
    return _summarise(sums, num_samples)


def naive(model: LatentVariableModel, x: Tensor, num_samples: int, *, pairs_at_once: int = 1000) -> LogMarginal:
    r"""Monte Carlo from the prior: $\log\frac1L\sum_l p_\theta(x \mid z_l)$, $z_l \sim p(z)$.

    Hopeless where the posterior is much narrower than the prior; the effective sample size shows it.
    The same draws serve all images, as each must be decoded once only. Each image's estimate is what it would be alone,
    but their errors are not independent: the standard error of their mean cannot be had from their spread.

    Args:
        model: The model; an encoder is not used.
        x: Images, shape (B, D).
        num_samples: L, draws of the prior.
        pairs_at_once: As in `importance_sampling`.

    Raises:
        TypeError: If `x` is not of the model's dtype and device.
        ValueError: If the likelihood cannot score `x`, a count is not positive, or all weights of an image vanish.
    """
    at_once = check_estimate(model, x, num_samples, pairs_at_once)
    prior = model.prior

    def draw(count: int) -> Tensor:
        likelihood = model.decode(prior.sample((count, 1)))
        return torch.cat([likelihood.log_prob(images) for images in x.split(pairs_at_once)], dim=1)

    # x was checked, and what is wrong with the weights themselves shows in their sum.
    with torch.no_grad(), without_validation():
        return average_weights(draw, num_samples, at_once)


def importance_sampling(
    model: LatentVariableModel,
    x: Tensor,
    num_samples: int,
    *,
    q: Distribution | None = None,
    pairs_at_once: int = 1000,
) -> LogMarginal:
    r"""$\log\frac1L\sum_l p_\theta(x, z_l) / q(z_l \mid x)$ with $z_l \sim q(z \mid x)$: the IWAE bound's value.

    It is exact for any L if q is the posterior. If q's tails are lighter than the posterior's, its variance can be
    infinite. (Burda, Grosse and Salakhutdinov 2016, https://arxiv.org/abs/1509.00519.)

    Args:
        model: The model.
        x: Images, shape (B, D).
        num_samples: L, draws for each image.
        q: Where to draw from, batch_shape (B,), event_shape (K,). By default `model.encode(x)`.
        pairs_at_once: Number of (draw, image) pairs that are decoded at the same time. It bounds the memory: a few
            tensors of so many rows, each as wide as the D pixels or a layer of the decoder. The default suits the
            cache of a processor; a GPU wants some hundred times as many. What is kept beside them
            grows with B but not with L. The same seed draws the same z only as long as this number is the same.

    Returns:
        The estimate and the effective sample size for each image, shape (B,).

    Raises:
        TypeError: If `x` is not of the model's dtype and device, or if there is neither a `q` nor an encoder.
        ValueError: If the likelihood cannot score `x`, q has another shape, a count is not positive, or all weights of
            an image vanish.
    """
    at_once = check_estimate(model, x, num_samples, pairs_at_once)
    if q is None:
        if not isinstance(model, VAE):
            raise TypeError(f"q must be given for a {type(model).__name__}, which has no encoder to draw codes from")
        with torch.no_grad():
            q = model.encode(x)
    q.log_prob(draw_codes("q", q, model, x))  # raises if q is singular, as long as the checks are on

    def draw(count: int) -> Tensor:
        z = q.sample((count,))
        parts = zip(x.split(pairs_at_once), z.split(pairs_at_once, dim=1), strict=True)
        return torch.cat([model.log_joint(images, codes) for images, codes in parts], dim=1) - q.log_prob(z)

    with torch.no_grad(), without_validation():
        return average_weights(draw, num_samples, at_once)


def reciprocal_importance_sampling(
    model: LatentVariableModel,
    x: Tensor,
    num_samples: int = 50,
    *,
    start: Distribution | None = None,
    num_leapfrog: int = 4,
    warmup: int = 200,
) -> LogMarginal:
    r"""The estimator of Kingma and Welling (2014, appendix D), for codes of a few dimensions (below 5, they say).

    A chain of Hamiltonian Monte Carlo draws L codes from the posterior $p_\theta(z \mid x)$, a density $q(z)$ is fitted
    to them, the chain goes on, L more iterations later it draws L fresh codes $z_l$, and from these

    $$p_\theta(x) \approx \Bigl(\frac1L\sum_l \frac{q(z_l)}{p(z_l)\,p_\theta(x \mid z_l)}\Bigr)^{-1},
    \qquad\text{since}\quad
    \int p_\theta(z \mid x)\frac{q(z)}{p_\theta(x, z)}\,dz = \frac{1}{p_\theta(x)}\int q(z)\,dz.$$

    The density here is a Gaussian with full covariance. Given q, fitted to other draws, the average is unbiased for
    $1/p_\theta(x)$, so that by Jensen's inequality the estimate of $\log p_\theta(x)$ is too *high* on average,
    where importance sampling is too low. The tails change roles as well: if q's are *heavier* than the posterior's, the
    variance can be infinite (Gelfand and Dey 1994). All this is for a chain that has reached the posterior; one that
    knows a single mode of several, of share s, gives an estimate too low by $-\log s$.

    Args:
        model: The model.
        x: Images, shape (B, D); all are decoded together, a chain for each.
        num_samples: L, the paper's 50 by default; more than K.
        start: Where chains start, batch_shape (B,), event_shape (K,). By default the prior.
        num_leapfrog: Leapfrog steps in an iteration, the paper's 4 by default.
        warmup: Iterations before the first draw, in which the step sizes are adapted to 90 % acceptance.

    Returns:
        The estimate, and the effective sample size of the L ratios (as if their codes were independent), shape (B,).

    Raises:
        TypeError: If `x` is not of the model's dtype and device.
        ValueError: If the likelihood cannot score `x`, `start` has another shape, a count is out of range, or a chain
            moved so seldom that its codes do not span K dimensions.
    """
    check_estimate(model, x, num_samples)
    if num_samples <= model.latent_dim:
        raise ValueError(f"num_samples must exceed latent_dim = {model.latent_dim} to fit q, but is {num_samples}")
    start = model.prior.expand((len(x),)) if start is None else start
    codes = draw_codes("start", start, model, x)
    # One chain, as two could end in different modes; its middle third keeps the fresh codes apart from those q knows.
    length = 3 * num_samples
    chain = hmc(lambda z: model.log_joint(x, z), codes, length, num_leapfrog=num_leapfrog, warmup=warmup)
    fitted = fit_gaussian(chain.samples[:num_samples])
    log_ratios = fitted.log_prob(chain.samples[-num_samples:]) - chain.log_density[-num_samples:]
    reciprocal = _summarise(_log_sums(log_ratios), num_samples)
    return LogMarginal(-reciprocal.log_marginal, reciprocal.effective_sample_size)


def check_estimate(model: LatentVariableModel, x: Tensor, num_samples: int, pairs_at_once: int = 1) -> int:
    """Raise unless images x of shape (B, D) can be scored; return how many draws for each make so many pairs."""
    check_positive_integer("num_samples", num_samples)
    check_positive_integer("pairs_at_once", pairs_at_once)
    check_floating("x", x)
    if x.dim() != 2 or len(x) == 0:
        raise ValueError(f"x must hold images in rows, shape (B, {model.data_dim}), but has shape {tuple(x.shape)}")
    check_last_dim("x", x, model.data_dim)
    check_like("x", x, "the model", model.prior.loc)
    model.check_data(x)
    return max(1, pairs_at_once // len(x))


def draw_codes(name: str, q: Distribution, model: LatentVariableModel, x: Tensor) -> Tensor:
    """One code for each image, shape (B, K), drawn from q, or an error if q is no distribution over codes for each."""
    if (q.batch_shape, q.event_shape) != ((len(x),), (model.latent_dim,)):
        raise ValueError(
            f"{name} must have batch_shape ({len(x)},) and event_shape ({model.latent_dim},), one distribution over "
            f"codes for each image, but has {tuple(q.batch_shape)} and {tuple(q.event_shape)}: see its expand()"
        )
    codes = q.sample()
    check_like(f"the draws of {name}", codes, "x", x)
    return codes


def _log_sums(log_weights: Tensor) -> Tensor:
    """The logarithms of the sums of the weights and of their squares, shape (2, ...)."""
    return torch.stack([log_weights.logsumexp(0), (2 * log_weights).logsumexp(0)])


def _summarise(log_sums: Tensor, num_samples: int) -> LogMarginal:
    total, squares = log_sums
    bad = ~torch.isfinite(total)
    if bad.any():
        where = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"the log-weights must have a finite sum for each image, but {int(bad.sum())} of {total.numel()} do not "
            f"(the first, at {where}, is {total[where].item()}): for nan or inf, look for one in the model's "
            "parameters; for -inf, no draw can have produced the image"
        )
    return LogMarginal(total - math.log(num_samples), torch.exp(2 * total - squares))


def fit_gaussian(samples: Tensor) -> CholeskyGaussian:
    """The Gaussian with the mean and the covariance of a chain's states, one for each of B chains.

    Args:
        samples: The states, shape (L, B, K).

    Raises:
        ValueError: If a chain moved less often than K times, so that its states do not span K dimensions.
    """
    num_samples, count, latent_dim = samples.shape
    moves = (samples[1:] != samples[:-1]).any(-1).sum(0)
    if (moves < latent_dim).any():
        raise ValueError(
            f"the chains of {int((moves < latent_dim).sum())} of {count} images moved less than {latent_dim} times in "
            f"{num_samples} iterations, so no Gaussian can be fitted to them: give a larger warmup or num_samples"
        )
    mean = samples.mean(0)
    # With Q R the rows' deviations, the covariance is R^T R / (L - 1): R^T is its Cholesky factor, up to signs.
    _, upper = torch.linalg.qr((samples - mean).movedim(0, 1), mode="r")
    return CholeskyGaussian(mean, upper.mT / math.sqrt(num_samples - 1))
