r"""The variational autoencoder: a prior $p(z)$, a decoder $p_\theta(x \mid z)$ and an encoder $q_\phi(z \mid x)$."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.checks import check_last_dim, check_positive_integer
from vaelib.decoders import BernoulliDecoder
from vaelib.encoders import DiagonalEncoder
from vaelib.gaussians import StandardNormal
from vaelib.networks import mlp


class LatentVariableModel(nn.Module):
    r"""$p_\theta(x, z) = p_\theta(x \mid z)\,p(z)$ with a standard normal prior.

    Args:
        decoder: Maps codes (..., K) to a distribution over images: batch_shape (...), event_shape (D,).
        data_dim: D.
        latent_dim: K.
    """

    def __init__(self, decoder: nn.Module, *, data_dim: int, latent_dim: int) -> None:
        super().__init__()
        check_positive_integer("data_dim", data_dim)
        check_positive_integer("latent_dim", latent_dim)
        self.decoder = decoder
        self.data_dim = data_dim
        self.latent_dim = latent_dim

    @property
    def prior(self) -> StandardNormal:
        """p(z) = N(0, I), event_shape (K,), on the model's device and in its dtype."""
        return StandardNormal(self.latent_dim, like=next(self.parameters()))

    def decode(self, z: Tensor) -> Distribution:
        """p(x|z) for codes z of shape (..., K)."""
        check_last_dim("z", z, self.latent_dim)
        likelihood: Distribution = self.decoder(z)
        return likelihood

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) + log p(z) in nats for images x (B, D) and codes z (..., B, K), shape (..., B)."""
        return self.decode(z).log_prob(x) + self.prior.log_prob(z)

    @torch.no_grad()
    def check_data(self, x: Tensor) -> None:
        """Raise `ValueError` unless the likelihood can score images x of shape (N, D)."""
        check_last_dim("x", x, self.data_dim)
        likelihood = self.decode(self.prior.mean)
        likelihood._validate_sample(x.to(likelihood.mean))

    @torch.no_grad()
    def generate(self, count: int) -> Tensor:
        """The mean images decoded from `count` draws of the prior, shape (count, D).

        These are the usual pictures of "samples"; a draw from the model adds the pixels' own noise:
        `model.decode(z).sample()`.
        """
        check_positive_integer("count", count)
        return self.decode(self.prior.sample((count,))).mean


class VAE(LatentVariableModel):
    """A latent variable model, and the encoder that approximates its posterior.

    Args:
        encoder: Maps images (B, D) to a distribution over codes: batch_shape (B,), event_shape (K,).
        decoder: Maps codes (..., K) to a distribution over images: batch_shape (...), event_shape (D,).
        data_dim: D.
        latent_dim: K.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, data_dim: int, latent_dim: int) -> None:
        super().__init__(decoder, data_dim=data_dim, latent_dim=latent_dim)
        self.encoder = encoder

    @classmethod
    def mlp(
        cls,
        data_dim: int,
        hidden: Sequence[int] = (400,),
        latent_dim: int = 20,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        grey: bool = False,
    ) -> Self:
        """Multilayer perceptrons on both sides, a diagonal Gaussian posterior and a Bernoulli likelihood.

        Args:
            data_dim: D.
            hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
            latent_dim: K.
            activation: Makes the non-linearity between layers.
            grey: Whether grey pixels are scored, by their cross-entropy (see `vaelib.likelihoods.Bernoulli`).

        Example:
            >>> VAE.mlp(784).encode(torch.rand(5, 784)).event_shape
            torch.Size([20])
        """
        if not hidden:
            raise ValueError("hidden must name at least one width, but is empty")
        encoder = DiagonalEncoder(mlp((data_dim, *hidden), activation), hidden[-1], latent_dim)
        decoder = BernoulliDecoder(mlp((latent_dim, *reversed(hidden)), activation), hidden[0], data_dim, grey=grey)
        return cls(encoder, decoder, data_dim=data_dim, latent_dim=latent_dim)

    def encode(self, x: Tensor) -> Distribution:
        """q(z|x) for images x of shape (B, D)."""
        check_last_dim("x", x, self.data_dim)
        posterior: Distribution = self.encoder(x)
        return posterior

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """The mean image decoded from one draw of each image's posterior, shape (B, D)."""
        return self.decode(self.encode(x).sample()).mean
