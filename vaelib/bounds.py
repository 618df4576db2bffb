r"""Lower bounds on $\log p_\theta(x)$, one value per image, in nats.

Each is a Monte Carlo estimate whose gradient flows through the draws $z = \mu + S\varepsilon$: the stochastic gradient
variational Bayes (SGVB) estimators of Kingma and Welling (2014, https://arxiv.org/abs/1312.6114).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.distributions import kl_divergence

from vaelib.checks import check_positive_integer
from vaelib.models import VAE


class ELBO(NamedTuple):
    """An evidence lower bound and its two parts, each of shape (B,): `elbo` is `reconstruction` minus `kl`."""

    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor


def sgvb_a(model: VAE, x: Tensor, num_samples: int = 1) -> Tensor:
    r"""SGVB estimator A: $\frac1L\sum_l \log p_\theta(x, z_l) - \log q_\phi(z_l \mid x)$ (eq. 6 of the paper).

    It needs no closed form for the divergence, and so serves any posterior that can be drawn from and scored.

    Args:
        model: The model.
        x: Images, shape (B, D).
        num_samples: L, draws per image.

    Returns:
        The estimate for each image, shape (B,), in nats; it is unbiased for the bound.
    """
    check_positive_integer("num_samples", num_samples)
    q = model.encode(x)
    z = q.rsample((num_samples,))
    return (model.log_joint(x, z) - q.log_prob(z)).mean(0)


def sgvb_b(model: VAE, x: Tensor, num_samples: int = 1) -> ELBO:
    r"""SGVB estimator B: $\frac1L\sum_l \log p_\theta(x \mid z_l) - \mathrm{KL}(q_\phi(z \mid x)\,\|\,p(z))$ (eq. 7).

    The divergence is exact; only the reconstruction term is estimated.

    Args:
        model: The model.
        x: Images, shape (B, D).
        num_samples: L, draws per image.

    Returns:
        The bound and its two parts for each image, each of shape (B,), in nats.
    """
    check_positive_integer("num_samples", num_samples)
    q = model.encode(x)
    z = q.rsample((num_samples,))
    reconstruction = model.decode(z).log_prob(x).mean(0)
    kl = kl_divergence(q, model.prior)
    return ELBO(reconstruction - kl, reconstruction, kl)
