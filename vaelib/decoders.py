r"""Decoders: from a code $z$ to the likelihood $p_\theta(x \mid z)$, a distribution over the D pixels.

A decoder is a body (`vaelib.networks`) with a head that predicts the parameters of one distribution for each pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from vaelib.checks import check_floating, check_images, check_last_dim, check_positive_integer, check_unit_interval
from vaelib.gaussians import DiagonalGaussian
from vaelib.likelihoods import Bernoulli, ContinuousBernoulli
from vaelib.networks import ConvolutionalHead

MakeHead = Callable[[int, int], nn.Linear | ConvolutionalHead]
Noise = Literal["fixed", "shared", "predicted"]


class _Decoder(nn.Module):
    """A body, and a head that predicts `numbers` parameters for each pixel."""

    def __init__(self, body: nn.Module, features: int, data_dim: int, make_head: MakeHead, numbers: int = 1) -> None:
        super().__init__()
        check_positive_integer("features", features)
        check_positive_integer("data_dim", data_dim)
        self.body = body
        self.head = make_head(features, numbers * data_dim)

    def _predict(self, z: Tensor) -> Tensor:
        """The numbers of all pixels, shape (..., numbers * D), for codes of shape (..., K)."""
        outputs: Tensor = self.head(self.body(z))
        return outputs.to(z.dtype)  # autocast multiplies in fewer digits than densities need


class BernoulliDecoder(_Decoder):
    """Independent Bernoulli pixels whose logits a network predicts.

    Args:
        body: Maps codes (..., K) to features (..., F).
        features: F.
        data_dim: D.
        make_head: Makes the last layer from F and the number of its outputs: `torch.nn.Linear`, or for a convolutional
            body `functools.partial(ConvolutionalHead, image_shape=...)`.
        grey: Passed on to `vaelib.likelihoods.Bernoulli`: whether values strictly between 0 and 1 are scored, by
            their cross-entropy.

    Raises:
        ValueError: If `features` or `data_dim` is no positive integer.
    """

    def __init__(
        self, body: nn.Module, features: int, data_dim: int, *, make_head: MakeHead = nn.Linear, grey: bool = False
    ) -> None:
        super().__init__(body, features, data_dim, make_head)
        self.grey = grey

    def forward(self, z: Tensor) -> Bernoulli:
        """The likelihood given each code, batch_shape (...), event_shape (D,)."""
        return Bernoulli(self._predict(z), grey=self.grey)

    @torch.no_grad()
    def set_output_bias(self, images: Tensor) -> None:
        """Start at the mean image: set the head's bias to the logits of (sum of the images + 1) / (N + 2).

        Laplace's rule of succession keeps a pixel that is 0 in all N images, as MNIST's corners are, from a logit of
        minus infinity. The network then need not spend its first epochs learning which pixels are usually on (as in
        the experiments of Burda, Grosse and Salakhutdinov 2016, https://arxiv.org/abs/1509.00519).

        Args:
            images: The training images, shape (N, D), in [0, 1].

        Raises:
            TypeError: If `images` is no floating-point tensor.
            ValueError: If `images` has another shape, or leaves [0, 1].
        """
        check_floating("images", images)
        check_last_dim("images", images, len(self.head.bias))
        check_images("images", images)
        check_unit_interval("images", images)
        self.head.bias.copy_(torch.logit((images.sum(0) + 1) / (len(images) + 2)))


class ContinuousBernoulliDecoder(_Decoder):
    """Independent pixels in [0, 1] under `vaelib.likelihoods.ContinuousBernoulli`, whose logits a network predicts.

    Args:
        body: Maps codes (..., K) to features (..., F).
        features: F.
        data_dim: D.
        make_head: As in `BernoulliDecoder`.

    Raises:
        ValueError: If `features` or `data_dim` is no positive integer.
    """

    def __init__(self, body: nn.Module, features: int, data_dim: int, *, make_head: MakeHead = nn.Linear) -> None:
        super().__init__(body, features, data_dim, make_head)

    def forward(self, z: Tensor) -> ContinuousBernoulli:
        """The likelihood given each code, batch_shape (...), event_shape (D,)."""
        return ContinuousBernoulli(self._predict(z))


class GaussianDecoder(_Decoder):
    r"""Independent Gaussian pixels, $p_\theta(x \mid z) = \mathcal{N}(\mu(z), \mathrm{diag}\,\sigma^2)$.

    All constants are kept, so a log-density is comparable over sigmas. Maximising it with a fixed sigma is minimising
    the squared error divided by $2\sigma^2$, which is how a sigma hides in the weight of a squared error.

    Args:
        body: Maps codes (..., K) to features (..., F).
        features: F.
        data_dim: D.
        make_head: As in `BernoulliDecoder`.
        noise: What sigma is: "fixed"; "shared", one number that is learned for all pixels and images, as the parameter
            `log_var`; or "predicted" by the head for each pixel from z (Kingma and Welling 2014, appendix C.2).
        std: Sigma itself where it is fixed, and where it starts where it is learned (a predicted one nearly so).
        sigmoid_mean: Whether the means are squeezed into (0, 1), as Kingma and Welling do for the Frey Face.

    Attributes:
        log_var: log(sigma^2) as a scalar, a buffer if fixed and a parameter if shared; absent if predicted.

    Raises:
        ValueError: If `features` or `data_dim` is no positive integer, `std` is no positive number, or `noise` is
            none of the three.
    """

    log_var: Tensor

    def __init__(
        self,
        body: nn.Module,
        features: int,
        data_dim: int,
        *,
        make_head: MakeHead = nn.Linear,
        noise: Noise = "fixed",
        std: float = 1.0,
        sigmoid_mean: bool = False,
    ) -> None:
        if noise not in ("fixed", "shared", "predicted"):
            raise ValueError(f'noise must be "fixed", "shared" or "predicted", but is {noise!r}')
        if not 0 < std < math.inf:
            raise ValueError(f"std must be positive and finite, but is {std!r}")
        super().__init__(body, features, data_dim, make_head, numbers=2 if noise == "predicted" else 1)
        self.noise = noise
        self.sigmoid_mean = sigmoid_mean
        log_var = torch.tensor(2 * math.log(std))
        if noise == "fixed":
            self.register_buffer("log_var", log_var)
        elif noise == "shared":
            self.log_var = nn.Parameter(log_var)
        else:
            with torch.no_grad():
                self.head.bias[data_dim:] = log_var

    def forward(self, z: Tensor) -> DiagonalGaussian:
        """The likelihood given each code, batch_shape (...), event_shape (D,)."""
        outputs = self._predict(z)
        loc, log_var = outputs.chunk(2, dim=-1) if self.noise == "predicted" else (outputs, self.log_var.expand(1))
        return DiagonalGaussian(torch.sigmoid(loc) if self.sigmoid_mean else loc, log_var)
