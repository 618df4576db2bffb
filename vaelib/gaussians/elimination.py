"""Gaussian elimination, for batches of any square matrices S."""

from __future__ import annotations

import torch
from torch import Tensor


def equilibrate(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Each row divided by its largest entry, and those entries, shape (..., K, 1).

    Rows of S belong to latent variables, whose units are arbitrary; an elimination with partial pivoting is misled by
    them, and exact to a few roundings without.
    """
    with torch.no_grad():
        largest = matrices.abs().amax(-1, keepdim=True)
        largest = largest.clamp_min_(torch.finfo(largest.dtype).tiny)  # a row of zeros remains one
    return matrices / largest, largest


@torch.no_grad()
def log_det_and_gradient(rows: Tensor) -> tuple[Tensor, Tensor]:
    """log |det S| and its gradient S^-T, shapes (...) and (..., K, K), from one factorisation, outside the graph.

    It is S^T that is factorised, which LAPACK reads where S lies in memory, and whose inverse comes out by rows.

    Args:
        rows: S, shape (..., K, K), equilibrated.
    """
    factors, pivots, _ = torch.linalg.lu_factor_ex(rows.mT)
    identity = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device).expand_as(rows)
    gradient = torch.linalg.lu_solve(factors, pivots, identity, left=False)  # X S^T = I, which gives X by rows
    return factors.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1), gradient


@torch.no_grad()
def is_resolved(rows: Tensor, gradient: Tensor) -> Tensor:
    r"""Whether S is regular for all that its digits can tell, shape (...).

    Multiplying the entry S_ij by 1 + d multiplies det S by 1 + d G_ij, where G = S * S^-T elementwise is the relative
    gain array, which no scaling of rows or columns changes. Within one row the d G_ij add up: relative changes of size
    d there can make S singular if and only if d times the row's sum of |G_ij| reaches 1. The same holds for columns.
    For a condition number c no such sum exceeds (c + 1/c) / 2 (Nett and Manousiouthakis 1987).

    Args:
        rows: S, shape (..., K, K), equilibrated: in small units S^-T would overflow.
        gradient: S^-T, of the same shape.
    """
    gains = (rows * gradient).abs_()
    most = torch.maximum(gains.sum(-1).amax(-1), gains.sum(-2).amax(-1))
    # What would be singular in exact arithmetic comes out within a few roundings of it; 8 leave a margin.
    return most * (8 * torch.finfo(gains.dtype).eps) < 1  # false for the NaN that a zero pivot leaves
