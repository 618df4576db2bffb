r"""What an encoder does with its codes: which it uses, and whether together they fill the prior.

Averaged over N images, what the codes cost splits in two (Hoffman and Johnson 2016, "ELBO surgery"):

$$\frac1N\sum_i \mathrm{KL}\bigl(q(z \mid x_i)\,\|\,p(z)\bigr) = I_q(i; z) + \mathrm{KL}\bigl(q(z)\,\|\,p(z)\bigr),
\qquad q(z) = \frac1N\sum_i q(z \mid x_i).$$

The mutual information is what a code tells about its image, and 0 after a posterior collapse. The last term is the
distance of the aggregate posterior from the prior: where it is large, the prior generates from codes that no image has.
Nothing here has a gradient. Draws come from torch's global generator. Chapter: "When it fails".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from vaelib.bounds import posterior_of
from vaelib.checks import check_finite, check_floating, check_positive_integer, without_validation
from vaelib.gaussians import DiagonalGaussian, StandardNormal
from vaelib.models import LatentVariableModel

ROWS = 1000
"""How many images or codes are treated at the same time, a matter of memory only."""


class ActiveUnits(NamedTuple):
    """The `variance` of each unit's posterior mean over the images, shape (K,), and how many units are active."""

    variance: Tensor
    number_active: int


@torch.no_grad()
def active_units(model: LatentVariableModel, x: Tensor, threshold: float = 0.01) -> ActiveUnits:
    r"""The latent variables whose posterior mean moves with the image: $\mathrm{Var}_x(\mathbb{E}_q[z_k]) > 0.01$.

    The mean of a unit that is not active tells the decoder next to nothing about the image. (Burda, Grosse and
    Salakhutdinov 2016, https://arxiv.org/abs/1509.00519, whose threshold is the default.) The variance over the images
    is the unbiased one, divided by N - 1.

    Args:
        model: A model with an encoder.
        x: Images, shape (N, D), N at least 2.
        threshold: The variance above which a unit is active.

    Returns:
        The variance of each unit's posterior mean over the images, shape (K,), in units of the prior's variance, and
        the number of those above the threshold.

    Raises:
        TypeError: If the model has no encoder.
        ValueError: If `x` is not such a matrix, or the threshold is negative.
    """
    if x.dim() != 2 or len(x) < 2:
        raise ValueError(f"x must hold two images or more, shape (N, D), but has shape {tuple(x.shape)}")
    if not threshold >= 0:
        raise ValueError(f"threshold must be a variance, 0 or more, but is {threshold!r}")
    means = torch.cat([posterior_of(model, rows, None).mean for rows in x.split(ROWS)])
    variance = means.var(0)
    return ActiveUnits(variance, int((variance > threshold).sum()))


@torch.no_grad()
def kl_per_unit(q: DiagonalGaussian) -> Tensor:
    r"""$\mathrm{KL}(q(z_k \mid x)\,\|\,\mathcal{N}(0, 1)) = \tfrac12(\mu_k^2 + e^{\ell_k} - \ell_k - 1)$ of each unit.

    With a diagonal covariance the divergence from the prior is the sum over the units. A unit whose term is 0 for all
    images has collapsed onto the prior.

    Args:
        q: Posteriors, batch_shape (B,), event_shape (K,).

    Returns:
        The divergences, shape (B, K), in nats.

    Raises:
        TypeError: If q is not a `DiagonalGaussian`: the divergence of correlated units is no sum over them.
    """
    if not isinstance(q, DiagonalGaussian):
        raise TypeError(f"q must be a DiagonalGaussian, whose KL is a sum over units, but is a {type(q).__name__}")
    units = DiagonalGaussian(q.loc.unsqueeze(-1), q.log_var.unsqueeze(-1))
    return kl_divergence(units, StandardNormal(1, like=q.loc))


class AggregateKL(NamedTuple):
    """What `aggregate_kl` returns, each of shape (N,), in nats: take the means.

    Attributes:
        lower: Terms of KL(q(z) || p(z)), with the draw's own image left out of q(z).
        upper: The same with the draw's own image left in.
        information_lower: Terms of the mutual information, with the draw's own image left in.
        information_upper: The same with the draw's own image left out.
    """

    lower: Tensor
    upper: Tensor
    information_lower: Tensor
    information_upper: Tensor


@torch.no_grad()
def aggregate_kl(q: Distribution, *, pairs_at_once: int = 100_000) -> AggregateKL:
    r"""The aggregate posterior's divergence from the prior N(0, I), and the mutual information of image and code.

    One code $z_i \sim q(z \mid x_i)$ is drawn for each image, and scored under the mixture of all N posteriors:

    - *left in*: $\hat q(z_i) = \frac1N\sum_j q(z_i \mid x_j)$;
    - *left out*: $\hat q(z_i) = \frac1{N-1}\sum_{j \ne i} q(z_i \mid x_j)$.

    The terms are $\log\hat q(z_i) - \log p(z_i)$ and $\log q(z_i \mid x_i) - \log\hat q(z_i)$. If these N images are
    all there are, q(z) is the mixture itself and the means of `upper` and `information_lower` are unbiased (the
    information then is at most log N). If they are a sample of a population, with $q(z) = \mathbb{E}_x[q(z \mid x)]$,
    both are biased, in known directions: left out, the mixture is independent of $z_i$, and by Jensen's inequality
    $\log\hat q(z_i)$ is too low on average; left in, it is too high on average (Poole et al. 2019,
    https://arxiv.org/abs/1905.06922, where the encoder is known). Hence, in expectation,

    $$\texttt{lower} \le \mathrm{KL}(q(z)\,\|\,p(z)) \le \texttt{upper}, \qquad
    \texttt{information\_lower} \le I_q(x; z) \le \texttt{information\_upper}.$$

    Where the two are far apart, N is too small for posteriors that narrow: the information of a code approaches log N,
    and no estimate from these images can tell q(z) from the N spikes they put into it.

    Args:
        q: The images' posteriors, batch_shape (N,), event_shape (K,), N at least 2.
        pairs_at_once: Number of (code, posterior) pairs that are scored at the same time. It bounds the memory: a few
            tensors of so many rows of K numbers, or of K^2 where covariances are full.

    Returns:
        The four terms for each image, shape (N,), in nats. Their spread over i gives the standard error of their means
        for these N images (a little too large, as each image has a draw of its own), and not that for the population.

    Raises:
        ValueError: If q has another shape or is singular, or `pairs_at_once` is not positive.
    """
    check_positive_integer("pairs_at_once", pairs_at_once)
    if len(q.batch_shape) != 1 or len(q.event_shape) != 1 or q.batch_shape[0] < 2:
        raise ValueError(
            "q must have batch_shape (N,) with N of at least 2, and event_shape (K,), but has "
            f"{tuple(q.batch_shape)} and {tuple(q.event_shape)}"
        )
    count = q.batch_shape[0]
    z = q.sample()
    log_own = q.log_prob(z)  # raises if q is singular, as long as the checks are on
    log_prior = StandardNormal(z.shape[1], like=z).log_prob(z)
    left_in, left_out = [], []
    with without_validation():
        for rows in torch.arange(count, device=z.device).split(max(1, pairs_at_once // count)):
            log_pairs = q.log_prob(z[rows].unsqueeze(1))
            left_in.append(log_pairs.logsumexp(1) - math.log(count))
            log_pairs.scatter_(1, rows.unsqueeze(1), -math.inf)
            left_out.append(log_pairs.logsumexp(1) - math.log(count - 1))
    high, low = torch.cat(left_in), torch.cat(left_out)
    return AggregateKL(low - log_prior, high - log_prior, log_own - high, log_own - low)


@torch.no_grad()
def prior_mmd(z: Tensor, bandwidth: float | None = None) -> Tensor:
    r"""Unbiased squared maximum mean discrepancy between the law of codes and the prior N(0, I).

    With the Gaussian kernel $k(z, z') = e^{-\|z - z'\|^2 / 2h^2}$,

    $$\mathrm{MMD}^2 = \mathbb{E}_{z, z' \sim q}[k(z, z')] - 2\,\mathbb{E}_{z \sim q, z' \sim p}[k(z, z')]
    + \mathbb{E}_{z, z' \sim p}[k(z, z')],$$

    which is 0 only if both laws are the same (Gretton et al. 2012, "A kernel two-sample test", lemma 6). The first mean
    is taken over the pairs of different codes. The other two need no draws from the prior: for
    $p = \mathcal{N}(0, I)$ they are the mean of $(\frac{h^2}{h^2 + 1})^{K/2}e^{-\|z\|^2 / 2(h^2 + 1)}$, and
    $(\frac{h^2}{h^2 + 2})^{K/2}$ (Rustamov 2019, https://arxiv.org/abs/1901.03227). An unbiased estimate of a small
    number can be negative.

    Args:
        z: Independent draws from the aggregate posterior, shape (N, K), N at least 2: `model.encode(x).sample()` for
            images x that were drawn at random.
        bandwidth: h, by default the square root of K: the prior's own scale, as two draws from it are on average at the
            squared distance 2K.

    Returns:
        The estimate, a scalar between about 0 and 2; a kernel has no units.

    Raises:
        TypeError: If `z` is no floating-point tensor.
        ValueError: If `z` is not such a matrix or not finite, or the bandwidth is not positive.
    """
    check_floating("z", z)
    if z.dim() != 2 or len(z) < 2 or z.shape[1] == 0:
        raise ValueError(f"z must hold two codes or more in rows, shape (N, K), but has shape {tuple(z.shape)}")
    check_finite("z", z)
    count, latent_dim = z.shape
    bandwidth = math.sqrt(latent_dim) if bandwidth is None else bandwidth
    if not 0 < bandwidth < math.inf:
        raise ValueError(f"bandwidth must be positive and finite, but is {bandwidth!r}")
    square = bandwidth**2
    # Each code's kernel with itself is 1. Distances by differences: squared norms would not cancel to 0 exactly.
    exact = "donot_use_mm_for_euclid_dist"
    sums = [
        torch.exp(-torch.cdist(rows, z, compute_mode=exact).square() / (2 * square)).sum(1) - 1
        for rows in z.split(ROWS)
    ]
    within = torch.cat(sums).mean() / (count - 1)
    between = torch.exp(-z.square().sum(1) / (2 * (square + 1))).mean() * (square / (square + 1)) ** (latent_dim / 2)
    return within - 2 * between + (square / (square + 2)) ** (latent_dim / 2)
