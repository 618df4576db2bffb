"""The Gaussians themselves: how each is drawn from, and its density."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from vaelib.checks import check_finite, check_floating, check_last_dim, check_like, check_positive_integer
from vaelib.gaussians.elimination import equilibrate, is_resolved, log_det_and_gradient

LOG_2PI = math.log(2 * math.pi)


class Gaussian(Distribution):
    """What the Gaussians share: each subclass supplies the four operations on its matrix S."""

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    support = constraints.real_vector
    has_rsample = True
    loc: Tensor

    def __init__(self, validate_args: bool | None) -> None:
        # torch would pass over the K^2 numbers of each S several times to check what one sum tells, and would let an
        # infinity through.
        super().__init__(self.loc.shape[:-1], self.loc.shape[-1:], validate_args=False)
        self._validate_args = type(self)._validate_args if validate_args is None else validate_args
        if self._validate_args:
            for name in self.arg_constraints:
                check_finite(name, getattr(self, name))

    def _apply_scale(self, noise: Tensor) -> Tensor:
        """S times each vector of `noise`, shape (..., K)."""
        raise NotImplementedError

    def _solve(self, columns: Tensor) -> Tensor:
        """S^-1 times each column of `columns`, shape (..., K, n); ask for `_log_abs_det` first, which refuses."""
        raise NotImplementedError

    def _log_abs_det(self) -> Tensor:
        """log |det S|, shape `batch_shape`; raises `ValueError` if S is singular."""
        raise NotImplementedError

    @property
    def scale(self) -> Tensor:
        """The matrix S with covariance S S^T, shape (..., K, K)."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """The mean, shape (..., K)."""
        return self.loc

    @property
    def covariance_matrix(self) -> Tensor:
        """S S^T, shape (..., K, K)."""
        return self.scale @ self.scale.mT

    @property
    def variance(self) -> Tensor:
        """The marginal variances, i.e. the diagonal of the covariance, shape (..., K)."""
        return self.scale.square().sum(-1)

    def detach(self) -> Self:
        """The same distribution with its parameters cut off from the gradient."""
        new = copy.copy(self)
        new.__dict__.update({name: value.detach() for name, value in vars(self).items() if isinstance(value, Tensor)})
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        r"""Reparameterised draws $\mu + S\varepsilon$, shape `sample_shape + batch_shape + (K,)`."""
        shape = self._extended_shape(sample_shape)
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + self._apply_scale(noise)

    def _validate_sample(self, value: Tensor) -> None:
        check_floating("value", value)
        check_last_dim("value", value, self.event_shape[0])
        check_like("value", value, "loc", self.loc)
        check_finite("value", value)
        super()._validate_sample(value)

    def log_prob(self, value: Tensor) -> Tensor:
        r"""Log-density $-\tfrac12 \|S^{-1}(z-\mu)\|^2 - \log|\det S| - \tfrac K2\log 2\pi$ in nats.

        Args:
            value: Points z, shape broadcastable with `batch_shape + (K,)`.

        Returns:
            One value for each point, shape (...) of the broadcast without K.

        Raises:
            TypeError: If `value` is no floating-point tensor, or not of the dtype and device of `loc`.
            ValueError: If `value` has another shape or is not finite, or if S is singular: there is no density then.
        """
        if self._validate_args:
            self._validate_sample(value)
        log_det = self._log_abs_det()
        white = self._solve((value - self.loc).unsqueeze(-1)).squeeze(-1)
        return -0.5 * (white.square().sum(-1) + self.event_shape[0] * LOG_2PI) - log_det

    def entropy(self) -> Tensor:
        r"""Differential entropy $\tfrac K2(1 + \log 2\pi) + \log|\det S|$ in nats, shape `batch_shape`.

        Raises:
            ValueError: If S is singular.
        """
        return 0.5 * self.event_shape[0] * (1 + LOG_2PI) + self._log_abs_det()


class DiagonalGaussian(Gaussian):
    r"""$\mathcal{N}(\mu, \mathrm{diag}(e^{\ell}))$, with $\ell$ the log-variances: the usual posterior of a VAE.

    Args:
        loc: Mean, shape (..., K).
        log_var: Log-variances, shape broadcastable with that of `loc`. Any real number is a valid log-variance, which
            is why networks predict it rather than the variance or the standard deviation. (Densities are finite as
            long as exp(-log_var / 2) is: down to -176 in float32, -1418 in float64.)
        validate_args: As in `torch.distributions`.

    Example:
        >>> q = DiagonalGaussian(torch.zeros(8, 2), torch.zeros(8, 2))
        >>> q.batch_shape, q.event_shape, q.rsample((3,)).shape
        (torch.Size([8]), torch.Size([2]), torch.Size([3, 8, 2]))
    """

    arg_constraints: ClassVar = {"loc": constraints.real_vector, "log_var": constraints.real_vector}

    def __init__(self, loc: Tensor, log_var: Tensor, validate_args: bool | None = None) -> None:
        _check_vector("loc", loc)
        _check_vector("log_var", log_var)
        check_like("log_var", log_var, "loc", loc)
        try:
            self.loc, self.log_var = torch.broadcast_tensors(loc, log_var)
        except RuntimeError as error:
            raise ValueError(
                f"loc and log_var must broadcast, but have shapes {tuple(loc.shape)} and {tuple(log_var.shape)}"
            ) from error
        super().__init__(validate_args)

    @property
    def stddev(self) -> Tensor:
        """Standard deviations exp(log_var / 2), shape (..., K)."""
        return torch.exp(0.5 * self.log_var)

    @property
    def variance(self) -> Tensor:
        """Variances exp(log_var), shape (..., K)."""
        return self.log_var.exp()

    @property
    def scale(self) -> Tensor:
        """The diagonal matrix of the standard deviations, shape (..., K, K)."""
        return torch.diag_embed(self.stddev)

    def _apply_scale(self, noise: Tensor) -> Tensor:
        return self.stddev * noise

    def _solve(self, columns: Tensor) -> Tensor:
        return columns * torch.exp(-0.5 * self.log_var).unsqueeze(-1)

    def _log_abs_det(self) -> Tensor:
        return 0.5 * self.log_var.sum(-1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same distribution with its batch dimensions broadcast to `batch_shape`."""
        shape = Size(batch_shape) + self.event_shape
        new = self._get_checked_instance(DiagonalGaussian, _instance)
        DiagonalGaussian.__init__(new, self.loc.expand(shape), self.log_var.expand(shape), validate_args=False)
        new._validate_args = self._validate_args
        return new


class StandardNormal(DiagonalGaussian):
    r"""$\mathcal{N}(0, I_K)$, the prior over the latent variables.

    Args:
        latent_dim: K.
        like: A tensor whose dtype and device the prior takes; by default torch's default dtype on the CPU.
        batch_shape: Shape of the batch, () by default.
        validate_args: As in `torch.distributions`.
    """

    def __init__(
        self, latent_dim: int, *, like: Tensor | None = None, batch_shape: Any = (), validate_args: bool | None = None
    ) -> None:
        check_positive_integer("latent_dim", latent_dim)
        like = torch.empty(()) if like is None else like
        check_floating("like", like)
        zeros = torch.zeros((), dtype=like.dtype, device=like.device).expand(*batch_shape, latent_dim)
        super().__init__(zeros, zeros, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same distribution with batch shape `batch_shape`."""
        new = self._get_checked_instance(StandardNormal, _instance)
        StandardNormal.__init__(new, self.event_shape[0], like=self.loc, batch_shape=batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


class AffineGaussian(Gaussian):
    r"""The law of $z = \mu + S\varepsilon$ for any square matrix $S$ (exercise Q3.1 of the sources).

    A singular $S$ can be sampled: its draws stay in the plane $\mu + \mathrm{range}(S)$. It has no density, so
    `log_prob`, `entropy` and every divergence raise. They also raise where S is singular for all its digits can tell,
    that is, where a relative change of 8 roundings in the entries of one row or one column could make it so. No S is
    refused whose rows and columns can be scaled to a condition number below 1e6 in float32, or 5e14 in float64. The
    units of its rows may be any; those of its columns must lie within 1e30 of each other in float32.

    Args:
        loc: Mean, shape (..., K).
        scale: S, shape (..., K, K); the batch dimensions of both broadcast.
        validate_args: As in `torch.distributions`.

    Example:
        >>> q = AffineGaussian(torch.zeros(2), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> q.covariance_matrix
        tensor([[ 5., 11.],
                [11., 25.]])
        >>> torch.distributions.kl_divergence(q, StandardNormal(2))  # (|S|^2 - K) / 2 - log|det S|
        tensor(13.3069)
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.real, 2),
    }

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        _check_vector("loc", loc)
        self.loc, self._scale = _broadcast_matrix(loc, "scale", scale)
        super().__init__(validate_args)

    @property
    def scale(self) -> Tensor:
        """S, shape (..., K, K)."""
        return self._scale

    def _apply_scale(self, noise: Tensor) -> Tensor:
        return (self._scale @ noise.unsqueeze(-1)).squeeze(-1)

    @torch.no_grad()
    def _log_det_and_gradient(self) -> tuple[Tensor, Tensor]:
        """log |det S| and its gradient S^-T, outside the graph; a singular S is refused."""
        rows, largest = equilibrate(self._scale)
        log_det, gradient = log_det_and_gradient(rows)
        if self._validate_args:
            _refuse_singular("scale", ~is_resolved(rows, gradient))
        return log_det + largest.log().sum((-2, -1)), gradient.div_(largest)

    def _solve(self, columns: Tensor) -> Tensor:
        rows, largest = equilibrate(self._scale)
        # The division also gives the columns the batch dimensions of S; without them, `solve` could take a matrix for a
        # batch of vectors.
        return torch.linalg.solve(rows, columns / largest)

    def _log_abs_det(self) -> Tensor:
        if self._validate_args:
            self._log_det_and_gradient()  # refuses a singular S
        rows, largest = equilibrate(self._scale)
        return torch.linalg.slogdet(rows).logabsdet + largest.log().sum((-2, -1))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """The same distribution with its batch dimensions broadcast to `batch_shape`."""
        shape = Size(batch_shape) + self.event_shape
        new = self._get_checked_instance(type(self), _instance)
        AffineGaussian.__init__(
            new, self.loc.expand(shape), self._scale.expand(shape + self.event_shape), validate_args=False
        )
        new._validate_args = self._validate_args
        return new


class CholeskyGaussian(AffineGaussian):
    r"""The law of $z = \mu + L\varepsilon$ with $L$ lower triangular, where solving and determinants cost K^2 and K.

    Args:
        loc: Mean, shape (..., K).
        scale_tril: L, shape (..., K, K), lower triangular. Its diagonal may have either sign; a zero in it makes the
            law singular.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints: ClassVar = {"loc": constraints.real_vector, "scale_tril": constraints.lower_triangular}

    def __init__(self, loc: Tensor, scale_tril: Tensor, validate_args: bool | None = None) -> None:
        _check_vector("loc", loc)
        loc, scale_tril = _broadcast_matrix(loc, "scale_tril", scale_tril)
        super().__init__(loc, scale_tril, validate_args=validate_args)
        if self._validate_args and _holds_more_than_its_triangle(scale_tril):
            raise ValueError(
                "scale_tril must be lower triangular, but holds other numbers than 0 above the diagonal: take .tril() "
                "of it, or give any square matrix to AffineGaussian"
            )

    @property
    def scale_tril(self) -> Tensor:
        """L, shape (..., K, K)."""
        return self._scale

    @torch.no_grad()
    def _log_det_and_gradient(self) -> tuple[Tensor, Tensor]:
        """log |det L|, and of L^-T the diagonal alone, shape (..., K): what else it holds meets the zeros of L."""
        diagonal = self._scale.diagonal(dim1=-2, dim2=-1)
        if self._validate_args:
            _refuse_singular("scale_tril", (diagonal == 0).any(-1))
        return diagonal.abs().log().sum(-1), diagonal.reciprocal()

    def _solve(self, columns: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self._scale, columns, upper=False)

    def _log_abs_det(self) -> Tensor:
        if self._validate_args:
            self._log_det_and_gradient()  # refuses a singular L
        return self._scale.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)


def _check_vector(name: str, value: Tensor) -> None:
    check_floating(name, value)
    if value.dim() == 0 or value.shape[-1] == 0:
        raise ValueError(f"{name} must have shape (..., K) with K of at least 1, but has shape {tuple(value.shape)}")


def _broadcast_matrix(loc: Tensor, name: str, matrix: Tensor) -> tuple[Tensor, Tensor]:
    check_floating(name, matrix)
    check_like(name, matrix, "loc", loc)
    dim = loc.shape[-1]
    if matrix.shape[-2:] != (dim, dim):
        raise ValueError(
            f"{name} must have shape (..., {dim}, {dim}) to go with loc of shape {tuple(loc.shape)}, "
            f"but has shape {tuple(matrix.shape)}"
        )
    try:
        batch = np.broadcast_shapes(loc.shape[:-1], matrix.shape[:-2])  # torch's own takes thirty times as long
    except ValueError as error:
        raise ValueError(
            f"the batch dimensions of loc {tuple(loc.shape)} and {name} {tuple(matrix.shape)} must broadcast"
        ) from error
    return loc.expand(*batch, dim), matrix.expand(*batch, dim, dim)


@torch.no_grad()
def _holds_more_than_its_triangle(matrix: Tensor) -> bool:
    """Whether anything stands above the diagonals; over the batch first, as a copy of it would take far longer."""
    if matrix.numel() == 0:
        return False
    matrices = matrix.reshape(-1, *matrix.shape[-2:])
    largest = torch.maximum(matrices.amax(0), -matrices.amin(0))
    return bool(largest.triu(1).any())


def _refuse_singular(name: str, singular: Tensor) -> None:
    if singular.any():
        raise ValueError(
            f"{name} is singular in {int(singular.sum())} of {singular.numel()} cases, so the distribution has no "
            "density and its divergence from any Gaussian with one is infinite: it can be sampled, nothing else. "
            "Start encoders near the identity, never at zero"
        )
