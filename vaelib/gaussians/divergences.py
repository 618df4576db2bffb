r"""The divergences, registered for `torch.distributions.kl_divergence`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import register_kl

from vaelib.checks import check_like
from vaelib.gaussians.distributions import AffineGaussian, DiagonalGaussian, Gaussian, StandardNormal

# A `StandardNormal` is a `DiagonalGaussian` as well. From a diagonal q it needs no formula of its own: multiplying by
# exp(0) is exact.


def _kl_diagonal(q: DiagonalGaussian, p: DiagonalGaussian) -> Tensor:
    _check_comparable(q, p)
    log_ratio = q.log_var - p.log_var
    distance = ((q.loc - p.loc) * torch.exp(-0.5 * p.log_var)).square()
    # expm1 keeps the digits that exp(log_ratio) - 1 would lose where the variances are nearly equal.
    return 0.5 * (distance + torch.expm1(log_ratio) - log_ratio).sum(-1)


def _kl_affine(q: Gaussian, p: Gaussian) -> Tensor:
    _check_comparable(q, p)
    # In p's white coordinates p is N(0, I), and q has S_p^-1 S_q and S_p^-1 (mu_q - mu_p) for S and mu:
    # KL = (|S|^2 + |mu|^2 - K) / 2 - log|det S|.
    log_det_ratio = q._log_abs_det() - p._log_abs_det()
    white_scale = p._solve(q.scale)
    white_loc = p._solve((q.loc - p.loc).unsqueeze(-1))
    squares = white_scale.square().sum((-2, -1)) + white_loc.square().sum((-2, -1))
    return 0.5 * (squares - q.event_shape[0]) - log_det_ratio


def _kl_to_standard_normal(q: AffineGaussian, p: StandardNormal) -> Tensor:
    batch = _check_comparable(q, p)
    return _KLToStandardNormal.apply(q.loc, q.scale, *q._log_det_and_gradient()).expand(batch)


class _KLToStandardNormal(torch.autograd.Function):
    r"""(|S|^2 + |mu|^2 - K) / 2 - log|det S| with its gradients written out: mu, and S - S^-T.

    Left to itself, differentiation would factorise S again, and pass over the K^2 numbers of each S many times.
    A triangular S comes with the diagonal of S^-T in place of S^-T: what else it holds belongs to the zeros of S.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(loc: Tensor, scale: Tensor, log_det: Tensor, log_det_gradient: Tensor) -> Tensor:
        squares = torch.linalg.vector_norm(scale, dim=(-2, -1)).square() + loc.square().sum(-1)
        return 0.5 * (squares - loc.shape[-1]) - log_det

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        loc, scale, _, log_det_gradient = inputs
        ctx.save_for_backward(loc, scale, log_det_gradient)
        ctx.triangular = log_det_gradient.dim() == loc.dim()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        loc, scale, log_det_gradient = ctx.saved_tensors
        gradient = gradients[0].unsqueeze(-1)
        if torch.is_grad_enabled():  # second derivatives are wanted: S^-T must not count as a constant
            diagonal = scale.diagonal(dim1=-2, dim2=-1)
            log_det_gradient = diagonal.reciprocal() if ctx.triangular else torch.linalg.inv(scale).mT
        if ctx.triangular:
            scale_gradient = gradient.unsqueeze(-1) * scale
            scale_gradient.diagonal(dim1=-2, dim2=-1).sub_(gradient * log_det_gradient)
        else:
            scale_gradient = gradient.unsqueeze(-1) * (scale - log_det_gradient)
        return gradient * loc, scale_gradient, None, None


# By calls and not by decorators, which would hide the functions from mutation testing.
register_kl(DiagonalGaussian, DiagonalGaussian)(_kl_diagonal)
register_kl(AffineGaussian, AffineGaussian)(_kl_affine)
register_kl(AffineGaussian, DiagonalGaussian)(_kl_affine)
register_kl(AffineGaussian, StandardNormal)(_kl_to_standard_normal)
register_kl(DiagonalGaussian, AffineGaussian)(_kl_affine)


def _check_comparable(q: Gaussian, p: Gaussian) -> tuple[int, ...]:
    """The batch shape of a divergence of q from p; raises `ValueError` where there is none."""
    if q.event_shape != p.event_shape:
        raise ValueError(f"q and p must have the same K, but q has {q.event_shape[0]} and p has {p.event_shape[0]}")
    check_like("p", p.loc, "q", q.loc)
    try:
        return np.broadcast_shapes(q.batch_shape, p.batch_shape)
    except ValueError as error:
        raise ValueError(
            f"the batch shapes of q {tuple(q.batch_shape)} and p {tuple(p.batch_shape)} must broadcast"
        ) from error
