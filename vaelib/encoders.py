r"""Encoders: from an image to a posterior $q_\phi(z \mid x)$.

An encoder is a body (`vaelib.networks`) with a linear head that predicts the parameters of one of the Gaussians of
`vaelib.gaussians`. The encoder of a variational autoencoder shares its weights $\phi$ over all images: it amortises
inference.
"""

from __future__ import annotations

from torch import Tensor, nn

from vaelib.checks import check_positive_integer
from vaelib.gaussians import DiagonalGaussian


class DiagonalEncoder(nn.Module):
    r"""$q_\phi(z \mid x) = \mathcal{N}(\mu(x), \mathrm{diag}\,e^{\ell(x)})$ (Kingma and Welling 2014, equation 9).

    Args:
        body: Maps images (B, D) to features (B, F).
        features: F.
        latent_dim: K.
    """

    def __init__(self, body: nn.Module, features: int, latent_dim: int) -> None:
        super().__init__()
        check_positive_integer("features", features)
        check_positive_integer("latent_dim", latent_dim)
        self.body = body
        self.head = nn.Linear(features, 2 * latent_dim)  # the mean and the log-variance in one product

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """The posterior of each image, batch_shape (B,), event_shape (K,)."""
        loc, log_var = self.head(self.body(x)).chunk(2, dim=-1)
        return DiagonalGaussian(loc, log_var)
