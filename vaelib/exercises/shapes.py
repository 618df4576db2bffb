"""Shapes of results for each example of a batch, and the wrong ones that betray a mistake."""

from __future__ import annotations

import torch
from torch import Tensor


def shapes_per_example(first: Tensor, *_: Tensor) -> dict[str, tuple[int, ...]]:
    """The wrong shapes of a result of shape (B,), for arguments of shape (B, K)."""
    batch, dim = first.shape[:2]
    return {"reduced-over-batch": (), "not-reduced": (batch, dim), "wrong-axis": (dim,)}


def shapes_over_draws(first: Tensor, *_: Tensor) -> dict[str, tuple[int, ...]]:
    """The wrong shapes of a result of shape (B,), for arguments of shape (L, B)."""
    draws, batch = first.shape
    return {"reduced-over-batch": (), "not-reduced": (draws, batch), "wrong-axis": (draws,)}


def count(values: Tensor) -> Tensor:
    """K for each example of (B, K), shape (B,)."""
    return torch.full(values.shape[:1], float(values.shape[1]), dtype=values.dtype)
