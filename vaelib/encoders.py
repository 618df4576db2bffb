r"""Encoders: from an image to a posterior $q_\phi(z \mid x)$.

An encoder is a body (`vaelib.networks`) with a linear head that predicts the parameters of one of the Gaussians of
`vaelib.gaussians`. The encoder of a variational autoencoder shares its weights $\phi$ over all images: it amortises
inference. The three here differ in the matrix $S$ of $z = \mu + S\varepsilon$, and so in the correlations they can
express: none (`DiagonalEncoder`), or all, by a free matrix (`FullEncoder`) or a triangular one (`CholeskyEncoder`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaelib.checks import check_positive_integer
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian


class _Encoder(nn.Module):
    """A body, and a head that predicts the mean and, in the same product, `scale_size` numbers that make up S."""

    def __init__(self, body: nn.Module, features: int, latent_dim: int, scale_size: int) -> None:
        super().__init__()
        check_positive_integer("features", features)
        check_positive_integer("latent_dim", latent_dim)
        self.body = body
        self.head = nn.Linear(features, latent_dim + scale_size)
        self.latent_dim = latent_dim

    def _predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, shape (..., K), and the numbers of S, shape (..., scale_size)."""
        outputs = self.head(self.body(x)).to(x.dtype)  # autocast multiplies in fewer digits than densities need
        return outputs[..., : self.latent_dim], outputs[..., self.latent_dim :]

    @torch.no_grad()
    def _start_scale_at(self, numbers: Tensor) -> None:
        """Let the head predict these numbers of S for every image, whatever the body's weights are.

        The zero weights cost no symmetry: each row of the head gets its own gradient from the first step on.
        """
        self.head.weight[self.latent_dim :] = 0
        self.head.bias[self.latent_dim :] = numbers


class DiagonalEncoder(_Encoder):
    r"""$q_\phi(z \mid x) = \mathcal{N}(\mu(x), \mathrm{diag}\,e^{\ell(x)})$ (Kingma and Welling 2014, equation 9).

    Args:
        body: Maps images (B, D) to features (B, F).
        features: F.
        latent_dim: K.

    Raises:
        ValueError: If `features` or `latent_dim` is no positive integer.
    """

    def __init__(self, body: nn.Module, features: int, latent_dim: int) -> None:
        super().__init__(body, features, latent_dim, latent_dim)

    def forward(self, x: Tensor) -> DiagonalGaussian:
        """The posterior of each image, batch_shape (B,), event_shape (K,)."""
        loc, log_var = self._predict(x)
        return DiagonalGaussian(loc, log_var)


class FullEncoder(_Encoder):
    r"""$q_\phi(z \mid x)$ is the law of $\mu(x) + S(x)\varepsilon$, with $S(x)$ any K x K matrix (exercise Q3.1).

    The head predicts the K^2 entries of S as they are. It starts with zero weights and the bias I there, so that S = I
    for every image. With the usual weights S would start as a random matrix around 0, where the law has no density and
    the gradient of its divergence from the prior, $S - S^{-\top}$, is unbounded; around I, K of some dozens would still
    make a singular S likely. At I the divergence has its minimum in S, and only the likelihood moves S away from it.

    Args:
        body: Maps images (B, D) to features (B, F).
        features: F.
        latent_dim: K.

    Raises:
        ValueError: If `features` or `latent_dim` is no positive integer.

    Example:
        >>> FullEncoder(nn.Identity(), 4, latent_dim=2)(torch.rand(3, 4)).scale[0]
        tensor([[1., 0.],
                [0., 1.]], grad_fn=<SelectBackward0>)
    """

    def __init__(self, body: nn.Module, features: int, latent_dim: int) -> None:
        super().__init__(body, features, latent_dim, latent_dim**2)
        self._start_scale_at(torch.eye(latent_dim).flatten())

    def forward(self, x: Tensor) -> AffineGaussian:
        """The posterior of each image, batch_shape (B,), event_shape (K,)."""
        loc, entries = self._predict(x)
        return AffineGaussian(loc, entries.unflatten(-1, (self.latent_dim, self.latent_dim)))


class CholeskyEncoder(_Encoder):
    r"""$q_\phi(z \mid x)$ is the law of $\mu(x) + L(x)\varepsilon$, $L(x)$ lower triangular with positive diagonal.

    Every Gaussian with a density has exactly one such L, so that nothing is lost against `FullEncoder`, and no L is
    singular. The head predicts the logarithms of the diagonal, whose sum is log|det L|, then the entries below it, row
    by row. All of them start at zero for every image, with zero weights, so that L = I.

    Args:
        body: Maps images (B, D) to features (B, F).
        features: F.
        latent_dim: K.

    Raises:
        ValueError: If `features` or `latent_dim` is no positive integer.
    """

    def __init__(self, body: nn.Module, features: int, latent_dim: int) -> None:
        super().__init__(body, features, latent_dim, latent_dim * (latent_dim + 1) // 2)
        self._start_scale_at(torch.zeros(()))

    def forward(self, x: Tensor) -> CholeskyGaussian:
        """The posterior of each image, batch_shape (B,), event_shape (K,)."""
        loc, numbers = self._predict(x)
        log_diagonal, below = numbers[..., : self.latent_dim], numbers[..., self.latent_dim :]
        scale_tril = torch.diag_embed(log_diagonal.exp())
        rows, columns = torch.tril_indices(self.latent_dim, self.latent_dim, offset=-1, device=numbers.device)
        scale_tril[..., rows, columns] = below
        return CholeskyGaussian(loc, scale_tril)
