"""Inputs for answers: short numbers where they are few, so that a counterexample can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

SIZES = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (4, 3), (3, 5))
"""(B, K): batches of one, single dimensions, both equal, and each the larger once."""

DRAW_SIZES = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (5, 3), (3, 5))
"""(L, B)."""

SCALE_KINDS = ("positive determinant", "negative determinant", "triangular", "symmetric")
"""Of matrices S: any with a determinant of that sign; lower, with a positive diagonal; positive definite."""


def short(values: Tensor) -> Tensor:
    """Values of any shape, rounded to two decimals, and never zero, where a function may have a kink."""
    rounded = (100 * values).round() / 100
    return torch.where(rounded == 0, torch.full_like(rounded, 0.01), rounded)


def normal(generator: Generator, *shape: int, std: float = 1.0) -> Tensor:
    """Standard normal draws times std, short, of the given shape."""
    return short(std * torch.randn(shape, generator=generator, dtype=torch.float64))


def between(generator: Generator, low: float, high: float, *shape: int) -> Tensor:
    """Uniform draws, short, of the given shape."""
    return short(low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64))


def scales(generator: Generator, batch: int, dim: int, kind: str, size: float = 1.0) -> Tensor:
    """Invertible matrices S of a kind, shape (B, K, K), with singular values between about 1/2 and 2 times `size`.

    Args:
        generator: Source of the draws.
        batch: B.
        dim: K.
        kind: One of `SCALE_KINDS`.
        size: Multiplies all of S.
    """
    gaussian = torch.randn((2, batch, dim, dim), generator=generator, dtype=torch.float64)
    left, right = torch.linalg.qr(gaussian).Q
    # Away from 1, where the determinant of a single dimension has the logarithm zero.
    away = 0.2 + 0.5 * torch.rand((batch, dim), generator=generator, dtype=torch.float64)
    signs = 2.0 * torch.randint(2, (batch, dim), generator=generator) - 1
    singular = torch.diag_embed((signs * away).exp())
    if kind == "symmetric":
        matrix = left @ singular @ left.mT
    else:
        matrix = left @ singular @ right.mT
        if kind == "triangular":
            matrix = torch.linalg.cholesky(matrix @ matrix.mT)
        else:
            wanted = -1.0 if kind == "negative determinant" else 1.0
            matrix[..., 0] *= wanted * torch.linalg.det(matrix).sign().unsqueeze(-1)
    rounded = (100 * matrix).round() / 100  # zeros above the diagonal stay zeros
    return size * (0.5 * (rounded + rounded.mT) if kind == "symmetric" else rounded)


def scale_draws(generator: Generator) -> list[tuple[str, Tensor]]:
    """Matrices S, of shape (B, K, K), of each size and each kind, with the name of the kind."""
    return [(kind, scales(generator, *size, kind)) for size in SIZES for kind in SCALE_KINDS]
