r"""Lower bounds on $\log p_\theta(x)$, one value per image, in nats.

Each is a Monte Carlo estimate whose gradient flows through the draws $z = \mu + S\varepsilon$: the stochastic gradient
variational Bayes (SGVB) estimators of Kingma and Welling (2014, https://arxiv.org/abs/1312.6114), and the
importance weighted bound of Burda, Grosse and Salakhutdinov (2016, https://arxiv.org/abs/1509.00519). Each takes the
approximate posterior from `model.encode(x)` unless it is given another. Chapter: "SGVB".
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from vaelib.checks import check_positive_integer
from vaelib.gaussians import AffineGaussian, DiagonalGaussian
from vaelib.models import VAE, LatentVariableModel


class ELBO(NamedTuple):
    """An evidence lower bound and its two parts, each of shape (B,): `elbo` is `reconstruction` minus `kl`."""

    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor


class IWAE(NamedTuple):
    """An importance weighted bound, shape (B,)."""

    iwae: Tensor


def sgvb_a(model: LatentVariableModel, x: Tensor, num_samples: int = 1, q: Distribution | None = None) -> ELBO:
    r"""SGVB estimator A: $\frac1L\sum_l \log p_\theta(x, z_l) - \log q_\phi(z_l \mid x)$ (eq. 6 of the paper).

    It needs no closed form for the divergence, and so serves any posterior that can be drawn from and scored.

    Args:
        model: The model.
        x: Images, shape (B, D).
        num_samples: L, draws per image.
        q: The approximate posterior, batch_shape (B,), event_shape (K,); by default `model.encode(x)`.

    Returns:
        The bound and its two parts for each image, each of shape (B,), in nats; here `kl` is an estimate too, and may
        be negative.

    Raises:
        TypeError: If the model has no encoder and no `q` is given.
        ValueError: If `num_samples` is not a positive integer.
    """
    check_positive_integer("num_samples", num_samples)
    q = posterior_of(model, x, q)
    z = q.rsample((num_samples,))
    reconstruction = model.decode(z).log_prob(x).mean(0)
    kl = (q.log_prob(z) - model.prior.log_prob(z)).mean(0)
    return ELBO(reconstruction - kl, reconstruction, kl)


def sgvb_b(model: LatentVariableModel, x: Tensor, num_samples: int = 1, q: Distribution | None = None) -> ELBO:
    r"""SGVB estimator B: $\frac1L\sum_l \log p_\theta(x \mid z_l) - \mathrm{KL}(q_\phi(z \mid x)\,\|\,p(z))$ (eq. 7).

    The divergence is exact; only the reconstruction term is estimated.

    Args:
        model: The model.
        x: Images, shape (B, D).
        num_samples: L, draws per image.
        q: The approximate posterior, batch_shape (B,), event_shape (K,); by default `model.encode(x)`.

    Returns:
        The bound and its two parts for each image, each of shape (B,), in nats.

    Raises:
        TypeError: If the model has no encoder and no `q` is given.
        ValueError: If `num_samples` is not a positive integer.
    """
    check_positive_integer("num_samples", num_samples)
    q = posterior_of(model, x, q)
    z = q.rsample((num_samples,))
    reconstruction = model.decode(z).log_prob(x).mean(0)
    kl = kl_divergence(q, model.prior)
    return ELBO(reconstruction - kl, reconstruction, kl)


def iwae(model: LatentVariableModel, x: Tensor, num_samples: int, q: Distribution | None = None) -> IWAE:
    r"""The importance weighted bound $\log \frac1L\sum_l w_l$, $w_l = p_\theta(x, z_l) / q_\phi(z_l \mid x)$.

    In expectation it lies between the ELBO, which it is for L = 1, and $\log p_\theta(x)$, to which it rises with L
    (Burda et al. 2016, theorem 1). Its gradient is the reparameterised one; for many samples `iwae_dreg` has a
    better one for the encoder.

    Args:
        model: The model.
        x: Images, shape (B, D).
        num_samples: L, draws per image.
        q: The approximate posterior, batch_shape (B,), event_shape (K,); by default `model.encode(x)`.

    Returns:
        The bound for each image, shape (B,), in nats.

    Raises:
        TypeError: If the model has no encoder and no `q` is given.
        ValueError: If `num_samples` is not a positive integer.
    """
    return IWAE(log_mean_exp(log_weights(model, x, num_samples, q)))


def iwae_dreg(model: LatentVariableModel, x: Tensor, num_samples: int, q: Distribution | None = None) -> IWAE:
    r"""The value of `iwae` with the doubly reparameterised gradient for the encoder.

    The gradient of the bound in $\phi$ contains the score $\nabla_\phi \log q_\phi(z_l \mid x)$ at fixed $z_l$, whose
    signal vanishes against its noise as L grows. Reparameterising that term as well leaves
    $\sum_l \tilde w_l^2 \, \nabla_z \log w_l \, \nabla_\phi z_l$ with $\tilde w_l = w_l / \sum_k w_k$ (Tucker et al.
    2019, https://arxiv.org/abs/1810.04152, eq. 8): unbiased for the same gradient. The one in $\theta$ is as in `iwae`.

    Args:
        model: The model.
        x: Images, shape (B, D).
        num_samples: L, draws per image.
        q: The approximate posterior, one of `vaelib.gaussians`; by default `model.encode(x)`.

    Returns:
        The bound for each image, shape (B,), in nats.

    Raises:
        TypeError: If the model has no encoder and no `q` is given.
        ValueError: If `num_samples` is not a positive integer.
    """
    check_positive_integer("num_samples", num_samples)
    q = posterior_of(model, x, q)
    z = q.rsample((num_samples,))
    if not isinstance(q, DiagonalGaussian | AffineGaussian):
        raise TypeError(f"q must be one of vaelib.gaussians, but is of type {type(q).__name__}: use iwae")
    weights = model.log_joint(x, z) - q.detach().log_prob(z)  # phi enters through z alone
    share = torch.softmax(weights.detach(), dim=0)
    if z.requires_grad:
        z.register_hook(lambda gradient: share.unsqueeze(-1) * gradient)  # the second factor of w~_l, for phi only
    surrogate = (share * weights).sum(0)
    bound = log_mean_exp(weights.detach())
    return IWAE(bound + surrogate - surrogate.detach())


def log_weights(model: LatentVariableModel, x: Tensor, num_samples: int, q: Distribution | None = None) -> Tensor:
    r"""$\log w_l = \log p_\theta(x, z_l) - \log q(z_l \mid x)$ for L reparameterised draws, shape (L, B), in nats."""
    check_positive_integer("num_samples", num_samples)
    q = posterior_of(model, x, q)
    z = q.rsample((num_samples,))
    return model.log_joint(x, z) - q.log_prob(z)


def log_mean_exp(values: Tensor) -> Tensor:
    r"""$\log\frac1L\sum_l e^{v_l}$ of values of shape (L, ...), shape (...), without overflow."""
    return values.logsumexp(0) - math.log(len(values))


def minibatch_estimate(per_image: Tensor, dataset_size: int) -> Tensor:
    r"""The bound of the whole data set from a minibatch: $\frac NM \sum_{i=1}^M \mathcal{L}(x_i)$ (eq. 8 of the paper).

    Args:
        per_image: A bound for each image of a minibatch drawn at random, shape (M,).
        dataset_size: N.

    Returns:
        An unbiased estimate of the sum over the data set, a scalar, in nats.
    """
    check_positive_integer("dataset_size", dataset_size)
    if per_image.dim() != 1 or len(per_image) == 0:
        raise ValueError(f"per_image must have shape (M,) with M of at least 1, but has {tuple(per_image.shape)}")
    return dataset_size * per_image.mean()


def posterior_of(model: LatentVariableModel, x: Tensor, q: Distribution | None) -> Distribution:
    """`q` where it is given, else the encoder's answer to images x of shape (B, D)."""
    if q is not None:
        if q.batch_shape != x.shape[:-1] or q.event_shape != (model.latent_dim,):
            raise ValueError(
                f"q must have batch_shape {tuple(x.shape[:-1])} and event_shape ({model.latent_dim},), "
                f"but has {tuple(q.batch_shape)} and {tuple(q.event_shape)}"
            )
        return q
    if not isinstance(model, VAE):
        raise TypeError(f"a {type(model).__name__} has no encoder: give the approximate posterior as q")
    return model.encode(x)
