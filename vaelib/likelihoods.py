r"""Likelihoods $p_\theta(x \mid z)$ of an image given its decoder's output: log-densities per example, in nats.

Pixels are independent given $z$, so each distribution here has event_shape (D,) and its `log_prob` sums over the D
pixels, never over the batch. A Gaussian likelihood needs no class of its own: it is `vaelib.gaussians.DiagonalGaussian`
over pixels, with all its constants.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from vaelib.checks import check_floating, check_last_dim, check_unit_interval


class _PixelDistribution(Distribution):
    """A product over D pixels of one-dimensional laws, each given by its logit."""

    arg_constraints: ClassVar = {"logits": constraints.real_vector}

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        check_floating("logits", logits)
        if logits.dim() == 0:
            raise ValueError("logits must have shape (..., D), but is a scalar")
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same distribution with its batch dimensions broadcast to `batch_shape`."""
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        _PixelDistribution.__init__(new, self.logits.expand(Size(batch_shape) + self.event_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _validate_sample(self, value: Tensor) -> None:
        check_floating("value", value)
        check_last_dim("value", value, self.event_shape[0])
        check_unit_interval("value", value)


class Bernoulli(_PixelDistribution):
    r"""Independent binary pixels, $P(x_d = 1) = \mathrm{sigmoid}(\text{logit}_d)$.

    A Bernoulli is a law on {0, 1}. For a pixel strictly between, $x\log p + (1-x)\log(1-p)$ is minus the cross-entropy,
    the *expected* log-probability of the pixel binarised at random with $P(1) = x$, and no log-density of $x$. It is
    refused unless `grey=True` says that this is what is meant.

    Args:
        logits: Log-odds, shape (..., D).
        grey: Whether `log_prob` accepts values strictly between 0 and 1 and returns minus their cross-entropy.
        validate_args: As in `torch.distributions`.
    """

    support = constraints.independent(constraints.boolean, 1)
    has_enumerate_support = False

    def __init__(self, logits: Tensor, *, grey: bool = False, validate_args: bool | None = None) -> None:
        self.grey = grey
        super().__init__(logits, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """P(x = 1), shape (..., D)."""
        return torch.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        """P(x = 1) P(x = 0), shape (..., D)."""
        return torch.sigmoid(self.logits) * torch.sigmoid(-self.logits)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Binary images, shape `sample_shape + batch_shape + (D,)`."""
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(self._extended_shape(sample_shape)))

    def _validate_sample(self, value: Tensor) -> None:
        super()._validate_sample(value)
        if not self.grey:
            _refuse_grey(value)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""$\sum_d x_d \log p_d + (1 - x_d)\log(1 - p_d)$ in nats, shape (...).

        Raises:
            ValueError: If `value` leaves [0, 1], or leaves {0, 1} without `grey=True`.
        """
        if self._validate_args:
            self._validate_sample(value)
        logits, value = torch.broadcast_tensors(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, shape (...)."""
        return (softplus(self.logits) - self.logits * self.mean).sum(-1)


def _refuse_grey(value: Tensor) -> None:
    grey = (value > 0) & (value < 1)
    if grey.any():
        where = tuple(grey.nonzero()[0].tolist())
        raise ValueError(
            f"value must be 0 or 1 under a Bernoulli likelihood, but is {value[where].item():g} at {where}, and "
            f"{grey.double().mean().item():.1%} of its pixels are grey: binarise the images, use ContinuousBernoulli, "
            "or ask for the cross-entropy by name with grey=True"
        )


class ContinuousBernoulli(_PixelDistribution):
    r"""Independent pixels in [0, 1] with density $e^{\eta x - A(\eta)}$, where $A(\eta) = \log\frac{e^\eta - 1}{\eta}$.

    This is the Bernoulli formula made a density on [0, 1] by its exact normalising constant (Loaiza-Ganem and
    Cunningham 2019, https://arxiv.org/abs/1907.06845). At $\eta = 0$ it is uniform; the constant is smooth there, and
    computed by its series near it.

    Args:
        logits: $\eta$, shape (..., D).
        validate_args: As in `torch.distributions`.
    """

    support = constraints.independent(constraints.unit_interval, 1)
    has_rsample = True

    @property
    def mean(self) -> Tensor:
        r"""$A'(\eta) = 1/(1 - e^{-\eta}) - 1/\eta$, shape (..., D)."""
        eta, safe, small = self._split()
        near = 0.5 + eta / 12 - eta**3 / 720 + eta**5 / 30240 - eta**7 / 1209600
        return torch.where(small, near, -1 / torch.expm1(-safe) - 1 / safe)

    @property
    def variance(self) -> Tensor:
        r"""$A''(\eta)$, shape (..., D)."""
        eta, safe, small = self._split()
        near = 1 / 12 - eta**2 / 240 + eta**4 / 6048 - eta**6 / 172800 + eta**8 / 5322240
        return torch.where(small, near, safe**-2 - 1 / (4 * torch.sinh(safe / 2).square()))

    def _split(self) -> tuple[Tensor, Tensor, Tensor]:
        """The logits, the logits with those near zero replaced by 1, and where that was done.

        Within 0.2 of zero the series below are exact to a few float64 roundings; the closed forms subtract nearly equal
        numbers there. The replacement keeps a NaN out of the gradient of the branch not taken.
        """
        small = self.logits.abs() < 0.2
        return self.logits, torch.where(small, torch.ones_like(self.logits), self.logits), small

    def log_normaliser(self) -> Tensor:
        r"""$A(\eta) = \log\int_0^1 e^{\eta x}\,dx$ per pixel, shape (..., D)."""
        eta, safe, small = self._split()
        near = eta / 2 + eta**2 / 24 - eta**4 / 2880 + eta**6 / 181440 - eta**8 / 9676800
        size = safe.abs()
        # log((e^h - 1)/h) = h + log((1 - e^-h)/h), written for |eta| so that nothing overflows.
        far = torch.relu(safe) + torch.log(-torch.expm1(-size) / size)
        return torch.where(small, near, far)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""$\sum_d \eta_d x_d - A(\eta_d)$ in nats, shape (...).

        Raises:
            ValueError: If `value` leaves [0, 1].
        """
        if self._validate_args:
            self._validate_sample(value)
        return (self.logits * value - self.log_normaliser()).sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws by inverting the distribution function, shape `sample_shape + batch_shape + (D,)`."""
        shape = self._extended_shape(sample_shape)
        uniform = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        tiny = self.logits.abs() < 1e-5  # here the second-order series is exact to a float64 rounding
        eta = torch.where(tiny, torch.ones_like(self.logits), self.logits)
        # For eta > 0 draw 1 - x, whose logit is -eta: the exponential then never overflows.
        low = torch.log1p(torch.where(eta > 0, 1 - uniform, uniform) * torch.expm1(-eta.abs())) / -eta.abs()
        series = uniform + self.logits * uniform * (1 - uniform) / 2 * (1 + self.logits * (1 - 2 * uniform) / 3)
        draw = torch.where(tiny, series, torch.where(eta > 0, 1 - low, low))
        return draw.clamp(0, 1)  # only a last rounding can lie outside

    def entropy(self) -> Tensor:
        r"""$\sum_d A(\eta_d) - \eta_d A'(\eta_d)$ in nats, shape (...)."""
        return (self.log_normaliser() - self.logits * self.mean).sum(-1)
