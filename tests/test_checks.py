"""Every check accepts what it should, and says of the rest which argument it is, what came and what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch.distributions import Distribution, Normal

from vaelib import checks


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_check_floating_accepts(dtype: torch.dtype) -> None:
    checks.check_floating("x", torch.zeros(2, dtype=dtype))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.5, 1.0], "x must be a tensor, but is a list: wrap it in torch.as_tensor"),
        (None, "x must be a tensor, but is a NoneType: wrap it in torch.as_tensor"),
        (
            torch.zeros(2, dtype=torch.int64),
            "x must be floating point, but has dtype torch.int64: convert it with .float()",
        ),
        (
            torch.zeros(2, dtype=torch.bool),
            "x must be floating point, but has dtype torch.bool: convert it with .float()",
        ),
    ],
)
def test_check_floating_refuses(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        checks.check_floating("x", value)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (0, 3), (5, 1, 3)])
def test_check_last_dim_accepts(shape: tuple[int, ...]) -> None:
    checks.check_last_dim("x", torch.zeros(shape), 3)


@pytest.mark.parametrize("shape", [(), (2,), (3, 4), (3, 0)])
def test_check_last_dim_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'x must have shape (..., 3), but has shape {shape}')}$"):
        checks.check_last_dim("x", torch.zeros(shape), 3)


def test_check_finite_accepts() -> None:
    checks.check_finite("x", torch.tensor([0.0, -1e308, 5e-324]))
    checks.check_finite("x", torch.zeros(0, 3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_check_finite_refuses(bad: float) -> None:
    value = torch.zeros(2, 3)
    value[1, 0] = value[1, 2] = bad
    message = (
        f"x must be finite, but 2 of 6 values are not (the first, at (1, 0), is {bad}): "
        "look for an overflow or a division by zero before it"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        checks.check_finite("x", value)


def test_check_images_accepts() -> None:
    checks.check_images("x", torch.zeros(1, 3))


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 3, 4)])
def test_check_images_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must hold images in rows, shape \(N, D\), but has shape"):
        checks.check_images("x", torch.zeros(shape))
    with pytest.raises(ValueError, match="x must be finite"):
        checks.check_images("x", torch.full((1, 3), torch.nan))


def test_check_unit_interval_accepts() -> None:
    checks.check_unit_interval("x", torch.tensor([0.0, 0.5, 1.0]))
    checks.check_unit_interval("x", torch.zeros(0, 3))


@pytest.mark.parametrize("bad", [-0.25, 1.5, 255.0, float("nan"), float("inf"), -1e-12, 1 + 1e-12])
def test_check_unit_interval_refuses(bad: float) -> None:
    value = torch.full((2, 3), 0.5)
    value[1, 2] = bad
    message = (
        f"x must lie in [0, 1], but is {bad:g} at (1, 2): "
        "divide grey levels by their largest possible value (255 for bytes)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        checks.check_unit_interval("x", value)


@pytest.mark.parametrize("value", [1, 2, 10**9])
def test_check_positive_integer_accepts(value: int) -> None:
    checks.check_positive_integer("n", value)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", True, None])
def test_check_positive_integer_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match=f"^n must be an integer of at least 1, but is {value!r}$"):
        checks.check_positive_integer("n", value)


@pytest.mark.parametrize("before", [True, False])
def test_without_validation_restores_what_was(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Distribution, "_validate_args", before)
    with checks.without_validation():
        assert Distribution._validate_args is False
        Normal(0.0, -1.0)  # refused otherwise
    assert Distribution._validate_args is before


def test_without_validation_restores_after_an_error() -> None:
    with pytest.raises(KeyError), checks.without_validation():
        raise KeyError
    with pytest.raises(ValueError, match="scale"):
        Normal(0.0, -1.0)
