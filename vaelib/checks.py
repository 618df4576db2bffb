"""Error messages that name the argument, what was expected, what came, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.distributions import Distribution


def check_floating(name: str, value: Tensor) -> None:
    """Raise `TypeError` unless `value` is a floating-point tensor, of any shape."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, but is a {type(value).__name__}: wrap it in torch.as_tensor")
    if not value.is_floating_point():
        raise TypeError(f"{name} must be floating point, but has dtype {value.dtype}: convert it with .float()")


def check_last_dim(name: str, value: Tensor, size: int) -> None:
    """Raise `ValueError` unless `value` has shape (..., size)."""
    if value.dim() == 0 or value.shape[-1] != size:
        raise ValueError(f"{name} must have shape (..., {size}), but has shape {tuple(value.shape)}")


def check_like(name: str, value: Tensor, like_name: str, like: Tensor) -> None:
    """Raise `TypeError` unless `value`, of any shape, has the dtype and device of `like`, called `like_name`."""
    if (value.dtype, value.device) != (like.dtype, like.device):
        raise TypeError(
            f"{name} must have the dtype and device of {like_name}, {like.dtype} on {like.device}, but has "
            f"{value.dtype} on {value.device}: convert one of them with .to()"
        )


def check_finite(name: str, value: Tensor) -> None:
    """Raise `ValueError` where `value`, of any shape, is NaN or infinite, saying how often and where first."""
    if torch.isfinite(value.sum()):  # one pass; a sum can only fail to be finite without cause by overflow
        return
    bad = ~torch.isfinite(value)
    if bad.any():
        where = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{name} must be finite, but {int(bad.sum())} of {value.numel()} values are not "
            f"(the first, at {where}, is {value[where].item()}): look for an overflow or a division by zero before it"
        )


def check_images(name: str, value: Tensor) -> None:
    """Raise `ValueError` unless `value` holds finite images in rows, shape (N, D), one at least."""
    if value.dim() != 2 or len(value) == 0:
        raise ValueError(f"{name} must hold images in rows, shape (N, D), but has shape {tuple(value.shape)}")
    check_finite(name, value)


def check_unit_interval(name: str, value: Tensor) -> None:
    """Raise `ValueError` where `value`, of any shape, leaves [0, 1], saying where first."""
    bad = ~((value >= 0) & (value <= 1))  # a NaN fails both comparisons, so it is caught as well
    if bad.any():
        where = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"{name} must lie in [0, 1], but is {value[where].item():g} at {where}: "
            "divide grey levels by their largest possible value (255 for bytes)"
        )


def check_no_autocast(device: torch.device) -> None:
    """Raise `RuntimeError` inside `torch.autocast`, whose copies of the weights a training loop would never renew."""
    if torch.is_autocast_enabled(device.type):
        raise RuntimeError(
            "training must not run inside torch.autocast, which keeps its copies of the weights from the first step on:"
            " take it away, and give the objective as vaelib.precision.in_bfloat16(objective)"
        )


def check_positive_integer(name: str, value: int) -> None:
    """Raise `ValueError` unless `value` is an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1, but is {value!r}")


def check_widths(name: str, value: Sequence[int]) -> None:
    """Raise `ValueError` unless `value` names at least one width, all positive."""
    if not value or any(width < 1 for width in value):
        raise ValueError(f"{name} must hold at least one positive width, but is {tuple(value)}")


@contextmanager
def without_validation() -> Iterator[None]:
    """Switch off the distributions' own argument checks, which cost a device synchronisation at every call.

    A training loop checks its data once, before it starts, and looks at its losses afterwards.
    """
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
