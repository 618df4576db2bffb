r"""Likelihoods $p_\theta(x \mid z)$ of an image given its decoder's output: log-densities per example, in nats.

Pixels are independent given $z$, so each distribution here has event_shape (D,) and its `log_prob` sums over the D
pixels, never over the batch. A Gaussian likelihood needs no class of its own: it is `vaelib.gaussians.DiagonalGaussian`
over pixels, with all its constants.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid, softplus

from vaelib.checks import check_finite, check_floating, check_last_dim, check_unit_interval


class _PixelDistribution(Distribution):
    """A product over D pixels of one-dimensional laws, each given by its logit."""

    arg_constraints: ClassVar = {"logits": constraints.real_vector}

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        check_floating("logits", logits)
        if logits.dim() == 0 or logits.shape[-1] == 0:
            raise ValueError(f"logits must have shape (..., D) with D of at least 1, but has {tuple(logits.shape)}")
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)
        if self._validate_args:  # torch's own constraints refuse a NaN, but let an infinity through
            check_finite("logits", logits)

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
        try:
            np.broadcast_shapes(value.shape, self.logits.shape)
        except ValueError as error:
            raise ValueError(
                f"value must broadcast with logits of shape {tuple(self.logits.shape)}, but has {tuple(value.shape)}"
            ) from error
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

    Example:
        >>> Bernoulli(torch.zeros(5, 3)).log_prob(torch.ones(3))  # 3 log(1/2) for each of 5
        tensor([-2.0794, -2.0794, -2.0794, -2.0794, -2.0794])
    """

    support = constraints.independent(constraints.boolean, 1)

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
        # log(1 - p) is log p - logit. torch's binary cross-entropy does the same, but not under `torch.func`.
        return (logsigmoid(self.logits) - (1 - value) * self.logits).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy in nats, shape (...)."""
        size = self.logits.abs()  # the entropy is even in the logits, and for -size both its terms are positive
        return (softplus(-size) + size * torch.sigmoid(-size)).sum(-1)


def _refuse_grey(value: Tensor) -> None:
    grey = (value > 0) & (value < 1)
    if grey.any():
        where = tuple(grey.nonzero()[0].tolist())
        share = int(grey.sum()) / grey.numel()
        raise ValueError(
            f"value must be 0 or 1 under a Bernoulli likelihood, but is {value[where].item():g} at {where}, and "
            f"{share:.1%} of its pixels are grey: binarise the images, use ContinuousBernoulli, "
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

    Example:
        >>> q = ContinuousBernoulli(torch.tensor([-2.0, 0.0, 2.0]))
        >>> q.mean  # the Bernoulli's would be 0.1192, 0.5000, 0.8808
        tensor([0.3435, 0.5000, 0.6565])
        >>> q.log_prob(torch.tensor([0.0, 0.5, 1.0]))  # positive: it is a density
        tensor(1.6771)
    """

    support = constraints.independent(constraints.unit_interval, 1)
    has_rsample = True

    @property
    def mean(self) -> Tensor:
        r"""$A'(\eta) = 1/(1 - e^{-\eta}) - 1/\eta$, shape (..., D)."""
        small, near, size = self._split(0.2)
        series = 0.5 + near / 12 - near**3 / 720 + near**5 / 30240 - near**7 / 1209600 + near**9 / 47900160
        low = 1 / size + torch.exp(-size) / torch.expm1(-size)  # the mean for logit -size
        return torch.where(small, series, torch.where(self.logits < 0, low, 1 - low))

    @property
    def variance(self) -> Tensor:
        r"""$A''(\eta) = 1/\eta^2 - e^{-\eta}/(1 - e^{-\eta})^2$, shape (..., D)."""
        small, near, size = self._split(0.2)
        series = 1 / 12 - near**2 / 240 + near**4 / 6048 - near**6 / 172800 + near**8 / 5322240
        return torch.where(small, series, size**-2 - torch.exp(-size) / torch.expm1(-size).square())

    def _split(self, bound: float) -> tuple[Tensor, Tensor, Tensor]:
        """Where |logit| is below `bound`, the logits there (0 elsewhere), and |logit| elsewhere (1 there).

        Formulas with a division by the logit subtract nearly equal numbers near zero, and a series serves better there.
        (Below 0.2 those of A and its derivatives are exact to a few float64 roundings.) The fillers keep what overflows
        in one branch out of the gradient of the other.
        """
        small = self.logits.abs() < bound
        near = torch.where(small, self.logits, torch.zeros_like(self.logits))
        size = torch.where(small, torch.ones_like(self.logits), self.logits.abs())
        return small, near, size

    def log_normaliser(self) -> Tensor:
        r"""$A(\eta) = \log\int_0^1 e^{\eta x}\,dx$ per pixel, in nats, shape (..., D)."""
        small, near, size = self._split(0.2)
        series = near / 2 + near**2 / 24 - near**4 / 2880 + near**6 / 181440 - near**8 / 9676800 + near**10 / 479001600
        # With h = |eta|, log((e^h - 1)/h) = h + log((1 - e^-h)/h): nothing overflows.
        far = torch.relu(self.logits) + torch.log(-torch.expm1(-size) / size)
        return torch.where(small, series, far)

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
        eps = torch.finfo(self.logits.dtype).eps
        shape = self._extended_shape(sample_shape)
        uniform = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        uniform = uniform.clamp_min(eps / 2)  # torch.rand can return 0, the one value with an infinite logarithm below
        # The closed form's gradient is exact to eps / |logit|, the second-order series' to logit^2: change where equal.
        small, near, size = self._split(eps ** (1 / 3))
        series = uniform + near * uniform * (1 - uniform) / 2 * (1 + near * (1 - 2 * uniform) / 3)
        # For a positive logit draw 1 - x, whose logit is negative: the exponential then never overflows.
        positive = self.logits > 0
        low = torch.log1p(torch.where(positive, 1 - uniform, uniform) * torch.expm1(-size)) / -size
        draw = torch.where(small, series, torch.where(positive, 1 - low, low))
        return draw.clamp(0, 1)  # only a last rounding can lie outside

    def entropy(self) -> Tensor:
        r"""$\sum_d A(\eta_d) - \eta_d A'(\eta_d)$ in nats, shape (...)."""
        return (self.log_normaliser() - self.logits * self.mean).sum(-1)
