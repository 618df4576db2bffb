r"""Full variational Bayes: the decoder's weights are random too (Kingma and Welling 2014, appendix F).

With a prior $p(\theta) = \mathcal{N}(0, I)$ and $q(\theta) = \mathcal{N}(\mu_\theta, \mathrm{diag}\,e^{\ell_\theta})$
beside the encoder, the probability of all N images, $\log p(X) = \log\int p_\theta(X)\,p(\theta)\,d\theta$, is at least

$$\sum_{i=1}^N \mathbb{E}_{q(\theta)}[\mathcal{L}(\theta, \phi; x_i)] - \mathrm{KL}(q(\theta) \,\|\, p(\theta)),$$

where $\mathcal{L}$ is the ELBO of an image. Both draws are reparameterised, $\theta = \mu_\theta + \sigma_\theta\zeta$
as well as $z$, so that one gradient reaches $\mu_\theta$, $\ell_\theta$ and $\phi$. What is missing to $\log p(X)$ is
the divergence of $q(\theta)\prod_i q_\phi(z_i \mid x_i)$ from the joint posterior. As weights and codes are independent
under q, and are not under the posterior, $q(\theta)$ comes out too narrow in general.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence
from torch.func import functional_call
from torch.nn.utils import vector_to_parameters

from vaelib.bounds import ELBO, sgvb_b
from vaelib.checks import check_positive_integer
from vaelib.gaussians import DiagonalGaussian, StandardNormal
from vaelib.models import VAE


class FullBayes(NamedTuple):
    """What `full_bayes` returns, each of shape (B,), in nats: `bound` is `reconstruction` - `kl` - `kl_theta`.

    Attributes:
        bound: An image's share of the bound on log p(X). N times its mean over a random minibatch estimates the bound:
            `vaelib.bounds.minibatch_estimate`.
        reconstruction: log p(x|z) under the drawn weights.
        kl: KL(q(z|x) || p(z)).
        kl_theta: KL(q(theta) || p(theta)) / N, the same for all images.
    """

    bound: Tensor
    reconstruction: Tensor
    kl: Tensor
    kl_theta: Tensor


class BayesianVAE(nn.Module):
    r"""A VAE with a distribution over its decoder's weights.

    The means $\mu_\theta$ are the decoder's parameters themselves, so `model` remains a VAE, the one with the mean
    weights. A parameter of the decoder that does not require a gradient is no part of $\theta$ and stays as it is.

    Args:
        model: The VAE; it learns.
        dataset_size: N, the number of training images: it weighs the images against the prior over the weights.
        start_log_var: Where the log-variances of the weights start. They are small, since a decoder whose weights are
            mostly noise would first teach the encoder that codes are of no use.

    Attributes:
        model: As given.
        log_var: The log-variances of $q(\theta)$, a parameter of shape (P,), for P weights.

    Raises:
        TypeError: If the model has no encoder.
        ValueError: If `dataset_size` is no positive integer, or no parameter of the decoder requires a gradient.

    Example:
        >>> model = BayesianVAE(VAE.mlp(784, latent_dim=2), dataset_size=1000)
        >>> x = torch.rand(5, 784).round()
        >>> full_bayes(model, x).bound.shape, model.draw().generate(3).shape
        (torch.Size([5]), torch.Size([3, 784]))
    """

    def __init__(self, model: VAE, dataset_size: int, *, start_log_var: float = -6.0) -> None:
        super().__init__()
        check_positive_integer("dataset_size", dataset_size)
        if not isinstance(model, VAE):
            raise TypeError(f"model must be a VAE, but is a {type(model).__name__}: full_bayes needs an encoder for z")
        self.model = model
        self.dataset_size = dataset_size
        named = self.named_parameters()
        self._names = [name for name, value in named if name.startswith("model.decoder.") and value.requires_grad]
        means = self._means()
        if not means:
            raise ValueError("model has no decoder parameter that requires a gradient, so that nothing can be random")
        count = sum(mean.numel() for mean in means.values())
        self.log_var = nn.Parameter(next(iter(means.values())).new_full((count,), start_log_var))

    @property
    def weights(self) -> DiagonalGaussian:
        """q(theta), event_shape (P,), over the decoder's weights in one row."""
        return DiagonalGaussian(torch.cat([mean.flatten() for mean in self._means().values()]), self.log_var)

    @property
    def weights_prior(self) -> StandardNormal:
        """p(theta) = N(0, I), event_shape (P,)."""
        return StandardNormal(len(self.log_var), like=self.log_var)

    def forward(self, x: Tensor) -> ELBO:
        """`vaelib.bounds.sgvb_b` of images (B, D) under the present weights: the means, unless others are put in."""
        return sgvb_b(self.model, x)

    def with_weights(self, theta: Tensor, x: Tensor) -> ELBO:
        """The same with weights theta, shape (P,), in place of the means. Gradients flow into theta."""
        named, start = {}, 0
        for name, mean in self._means().items():
            named[name] = theta[start : start + mean.numel()].view_as(mean)
            start += mean.numel()
        bound: ELBO = functional_call(self, named, (x,))
        return bound

    @torch.no_grad()
    def draw(self) -> VAE:
        """A VAE of its own whose decoder's weights are one draw of q(theta)."""
        bayesian = copy.deepcopy(self)
        vector_to_parameters(self.weights.sample(), bayesian._means().values())
        return bayesian.model

    def _means(self) -> dict[str, nn.Parameter]:
        named = dict(self.named_parameters())
        return {name: named[name] for name in self._names}


def full_bayes(model: BayesianVAE, x: Tensor) -> FullBayes:
    r"""The estimator of appendix F with closed-form divergences (eq. 24), as an objective for `vaelib.training.fit`.

    $$\mathcal{B}_i = \log p_\theta(x_i \mid z_i) - \mathrm{KL}(q_\phi(z \mid x_i) \,\|\, p(z))
    - \tfrac1N\mathrm{KL}(q(\theta) \,\|\, p(\theta)).$$

    The weights' divergence is apportioned to the N images, so that N times the mean over a minibatch of M is
    $\frac NM\sum_{i=1}^M \mathcal{L}(\theta, \phi; x_i) - \mathrm{KL}(q(\theta) \,\|\, p(\theta))$, unbiased for the
    bound on $\log p(X)$. `fit`, which maximises that mean, so maximises the bound divided by N. The paper draws weights
    for each image; here those of a minibatch share one draw, which is as unbiased, noisier, and costs nothing. Hence
    the values of a minibatch are not independent of each other.

    Args:
        model: The model.
        x: Images, shape (B, D).

    Returns:
        The share of each image and its three parts, in nats.

    Raises:
        ValueError: If x has another D, or the likelihood cannot score it.
    """
    weights = model.weights
    _, reconstruction, kl = model.with_weights(weights.rsample(), x)
    kl_theta = kl_divergence(weights, model.weights_prior) / model.dataset_size
    return FullBayes(reconstruction - kl - kl_theta, reconstruction, kl, kl_theta.expand_as(kl))
