r"""The deterministic autoencoder: an encoder $g$ and a decoder $f$ with $\tilde x = f(g(x))$, and its objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from torch import Tensor, nn

from vaelib.checks import check_last_dim, check_positive_integer, check_widths
from vaelib.networks import mlp


class Autoencoder(nn.Module):
    r"""A deterministic encoder $g$ from images to codes and decoder $f$ back, $\tilde x = f(g(x))$.

    Args:
        encoder: g, maps images (B, D) to codes (B, K).
        decoder: f, maps codes (..., K) to images (..., D).
        data_dim: D.
        latent_dim: K.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, *, data_dim: int, latent_dim: int) -> None:
        super().__init__()
        check_positive_integer("data_dim", data_dim)
        check_positive_integer("latent_dim", latent_dim)
        self.encoder = encoder
        self.decoder = decoder
        self.data_dim = data_dim
        self.latent_dim = latent_dim

    @classmethod
    def linear(cls, data_dim: int, latent_dim: int) -> Self:
        """One affine map each way: at the least squared error, f(g(x)) projects x as PCA does (Bourlard and Kamp 1988).

        Args:
            data_dim: D.
            latent_dim: K.

        Example:
            >>> import torch
            >>> model = Autoencoder.linear(784, 2)
            >>> model.encode(torch.rand(5, 784)).shape, model(torch.rand(5, 784)).shape
            (torch.Size([5, 2]), torch.Size([5, 784]))
        """
        check_positive_integer("data_dim", data_dim)
        check_positive_integer("latent_dim", latent_dim)
        encoder, decoder = nn.Linear(data_dim, latent_dim), nn.Linear(latent_dim, data_dim)
        return cls(encoder, decoder, data_dim=data_dim, latent_dim=latent_dim)

    @classmethod
    def mlp(
        cls,
        data_dim: int,
        hidden: Sequence[int] = (400,),
        latent_dim: int = 20,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> Self:
        """Multilayer perceptrons on both sides; a sigmoid at the end keeps the decoded pixels in (0, 1).

        Args:
            data_dim: D.
            hidden: Widths of the encoder's hidden layers; the decoder has them in reverse.
            latent_dim: K.
            activation: Makes the non-linearity between layers.

        Raises:
            ValueError: If a size is not positive, or `hidden` is empty.
        """
        check_positive_integer("data_dim", data_dim)
        check_positive_integer("latent_dim", latent_dim)
        check_widths("hidden", hidden)
        encoder = nn.Sequential(mlp((data_dim, *hidden), activation), nn.Linear(hidden[-1], latent_dim))
        decoder_body = mlp((latent_dim, *reversed(hidden)), activation)
        decoder = nn.Sequential(decoder_body, nn.Linear(hidden[0], data_dim), nn.Sigmoid())
        return cls(encoder, decoder, data_dim=data_dim, latent_dim=latent_dim)

    def encode(self, x: Tensor) -> Tensor:
        """The codes g(x) of images x (B, D), shape (B, K)."""
        check_last_dim("x", x, self.data_dim)
        codes: Tensor = self.encoder(x)
        return codes

    def decode(self, z: Tensor) -> Tensor:
        """The images f(z) of codes z (..., K), shape (..., D)."""
        check_last_dim("z", z, self.latent_dim)
        images: Tensor = self.decoder(z)
        return images

    def forward(self, x: Tensor) -> Tensor:
        """The reconstructions f(g(x)) of images x (B, D), shape (B, D)."""
        return self.decode(self.encode(x))


class ReconstructionError(NamedTuple):
    """What `fit` maximises and what people read, each of shape (B,): one is minus the other."""

    negative_squared_error: Tensor
    squared_error: Tensor


def squared_error(model: Autoencoder, x: Tensor) -> ReconstructionError:
    r"""The objective of an autoencoder: $\|x - f(g(x))\|^2$ for each image, summed over its pixels.

    Args:
        model: The autoencoder.
        x: Images, shape (B, D).
    """
    error = (x - model(x)).square().sum(-1)
    return ReconstructionError(-error, error)
