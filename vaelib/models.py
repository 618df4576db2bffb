r"""Latent variable models.

`LatentVariableModel` is a prior $p(z)$ and a decoder $p_\theta(x \mid z)$; `VAE` adds an encoder $q_\phi(z \mid x)$.
The objectives of a VAE are in `vaelib.bounds`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.checks import check_last_dim, check_positive_integer, check_widths
from vaelib.decoders import BernoulliDecoder
from vaelib.encoders import CholeskyEncoder, DiagonalEncoder, FullEncoder
from vaelib.gaussians import StandardNormal
from vaelib.networks import ConvolutionalDecoderBody, ConvolutionalEncoderBody, ConvolutionalHead, mlp

Posterior = Literal["diagonal", "full", "cholesky"]
MakeDecoder = Callable[..., nn.Module]  # from (body, features, data_dim), and make_head= for convolutions


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
        posterior: Posterior = "diagonal",
        likelihood: MakeDecoder = BernoulliDecoder,
        grey: bool = False,
    ) -> Self:
        """Multilayer perceptrons on both sides.

        Args:
            data_dim: D.
            hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
            latent_dim: K.
            activation: Makes the non-linearity between layers.
            posterior: What the covariance of q(z|x) is: "diagonal", or any, given by a "full" matrix S or by its
                "cholesky" factor (see `vaelib.encoders`).
            likelihood: Makes the decoder: a class of `vaelib.decoders`, with `functools.partial` where it has options.
            grey: Whether the Bernoulli likelihood scores grey pixels, by their cross-entropy.

        Raises:
            ValueError: If a size is not positive, `hidden` is empty, `posterior` is none of the three, or `grey` comes
                with another likelihood than the Bernoulli.

        Example:
            >>> VAE.mlp(784).encode(torch.rand(5, 784)).event_shape
            torch.Size([20])
            >>> from vaelib.decoders import GaussianDecoder
            >>> model = VAE.mlp(560, (200,), 2, likelihood=partial(GaussianDecoder, noise="predicted"))
            >>> type(model.decode(torch.zeros(2))).__name__
            'DiagonalGaussian'
        """
        check_positive_integer("data_dim", data_dim)
        check_widths("hidden", hidden)
        encoder = _encoder(posterior)(mlp((data_dim, *hidden), activation), hidden[-1], latent_dim)
        body = mlp((latent_dim, *reversed(hidden)), activation)
        decoder = _likelihood(likelihood, grey)(body, hidden[0], data_dim)
        return cls(encoder, decoder, data_dim=data_dim, latent_dim=latent_dim)

    @classmethod
    def convolutional(
        cls,
        image_shape: tuple[int, int],
        channels: Sequence[int] = (32, 64),
        latent_dim: int = 20,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
        posterior: Posterior = "diagonal",
        likelihood: MakeDecoder = BernoulliDecoder,
        grey: bool = False,
    ) -> Self:
        """Convolutions on both sides; images stay flat, (B, D), outside.

        Args:
            image_shape: (rows, columns), both divisible by `2 ** len(channels)`; D is their product.
            channels: Channels after each halving of the image; the decoder has them in reverse.
            latent_dim: K.
            activation: Makes the non-linearity between layers.
            posterior: As in `mlp`.
            likelihood: As in `mlp`.
            grey: As in `mlp`.

        Raises:
            ValueError: As in `mlp`, or if a side cannot be halved that often.

        Example:
            >>> VAE.convolutional((28, 28)).reconstruct(torch.rand(5, 784)).shape
            torch.Size([5, 784])
        """
        encoder_body = ConvolutionalEncoderBody(image_shape, channels, activation)
        encoder = _encoder(posterior)(encoder_body, encoder_body.features, latent_dim)
        body = ConvolutionalDecoderBody(latent_dim, image_shape, channels, activation)
        make_head = partial(ConvolutionalHead, image_shape=image_shape)
        data_dim = math.prod(image_shape)
        decoder = _likelihood(likelihood, grey)(body, body.features, data_dim, make_head=make_head)
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


def _encoder(posterior: Posterior) -> Callable[[nn.Module, int, int], nn.Module]:
    encoders = {"diagonal": DiagonalEncoder, "full": FullEncoder, "cholesky": CholeskyEncoder}
    if posterior not in encoders:
        raise ValueError(f'posterior must be "diagonal", "full" or "cholesky", but is {posterior!r}')
    return encoders[posterior]


def _likelihood(likelihood: MakeDecoder, grey: bool) -> MakeDecoder:
    if not grey:
        return likelihood
    if likelihood is not BernoulliDecoder:
        raise ValueError("grey is about the Bernoulli likelihood alone: leave it out with any other likelihood")
    return partial(BernoulliDecoder, grey=True)
