"""Batches of small matrices S, (B, K, K), as the exercises' answers and mistakes need them."""

from __future__ import annotations

import torch
from torch import Tensor


def diagonal(matrix: Tensor) -> Tensor:
    """The diagonals, (B, K)."""
    return matrix.diagonal(dim1=-2, dim2=-1)


def trace(matrix: Tensor) -> Tensor:
    """The traces, (B,)."""
    return diagonal(matrix).sum(-1)


def log_abs_det(matrix: Tensor) -> Tensor:
    """log |det S|, (B,)."""
    return torch.linalg.slogdet(matrix).logabsdet


def log_abs_diagonal(matrix: Tensor) -> Tensor:
    """The logarithm of the product of the diagonal entries' absolute values, (B,): of a triangular S, log |det S|."""
    return diagonal(matrix).abs().log().sum(-1)


def inverse_covariance(scale: Tensor) -> Tensor:
    """(S S^T)^-1, (B, K, K)."""
    return torch.linalg.inv(scale @ scale.mT)


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """A v for each example, (B, K)."""
    return torch.einsum("bij,bj->bi", matrix, vector)


def quadratic(matrix: Tensor, vector: Tensor) -> Tensor:
    """v^T A v for each example, (B,)."""
    return torch.einsum("bi,bij,bj->b", vector, matrix, vector)


def symmetric_root(matrix: Tensor) -> Tensor:
    """The positive definite root of positive definite matrices, (B, K, K)."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
