"""One answer, one set of inputs: what came out, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vaelib.exercises.exercise import Answer, Exercise, Inputs, Probe, as_tuple

Fault = Literal["", "modified", "raised", "type", "shape", "dtype", "values"]

TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-4}
"""Times one plus the right value: room for constants in float32, and for the rounding of any sensible route."""


@dataclass(frozen=True)
class Trial:
    """What an answer returned for the inputs of a probe, in one dtype."""

    exercise: Exercise
    probe: Probe
    inputs: Inputs
    raw: Any
    error: Exception | None
    modified: bool
    expected: Inputs
    """The right result, worked out in float64."""

    @classmethod
    def of(cls, exercise: Exercise, answer: Answer, probe: Probe, dtype: torch.dtype) -> Trial:
        """Call the answer; whatever it raises is part of the outcome."""
        right = as_tuple(exercise.right(*(tensor.to(dtype).double() for tensor in probe.inputs)))
        return cls._of(exercise, answer, probe, dtype, tuple(part.to(dtype) for part in right))

    def by(self, other: Answer) -> Trial:
        """What another answer returns for the same inputs."""
        return self._of(self.exercise, other, self.probe, self.dtype, self.expected)

    @classmethod
    def _of(cls, exercise: Exercise, answer: Answer, probe: Probe, dtype: torch.dtype, expected: Inputs) -> Trial:
        inputs = tuple(tensor.to(dtype) for tensor in probe.inputs)
        given = tuple(tensor.clone() for tensor in inputs)
        raw, error = None, None
        try:
            raw = answer(*given)
        except Exception as raised:  # the reader's own code may raise anything
            error = raised
        modified = not all(torch.equal(before, after) for before, after in zip(inputs, given, strict=True))
        return cls(exercise, probe, inputs, raw, error, modified, expected)

    @property
    def dtype(self) -> torch.dtype:
        """Of the inputs."""
        return self.inputs[0].dtype

    @property
    def plain(self) -> bool:
        """Whether these inputs ask for the formula, and not for care with rounding."""
        return not self.probe.extreme and self.dtype == torch.float64

    @cached_property
    def parts(self) -> tuple[Tensor, ...] | None:
        """What came, as tensors; None if it is not as many of them as were asked for."""
        parts = as_tuple(self.raw)
        if isinstance(self.raw, Tensor) and len(self.expected) > 1 and self.raw.shape[:1] == (len(self.expected),):
            parts = self.raw.unbind()
        if not self.exercise.differentiable:  # then numbers and arrays will do
            parts = tuple(
                torch.as_tensor(part, dtype=self.dtype) if isinstance(part, float | np.ndarray | np.number) else part
                for part in parts
            )
        if len(parts) != len(self.expected) or not all(isinstance(part, Tensor) for part in parts):
            return None
        return tuple(part.detach() for part in parts)

    @cached_property
    def fault(self) -> Fault:
        """What is wrong with the outcome; "" if nothing is."""
        if self.modified:
            return "modified"
        if self.error is not None:
            return "raised"
        if self.parts is None:
            return "type"
        pairs = list(zip(self.parts, self.expected, strict=True))
        if any(part.shape != right.shape for part, right in pairs):
            return "shape"
        if not all(part.is_floating_point() for part in self.parts):
            return "dtype"
        if not same(self.parts, self.expected, TOLERANCE[self.dtype]):
            return "values"
        return "dtype" if any(part.dtype != self.dtype for part in self.parts) else ""

    @property
    def finite(self) -> bool:
        """Whether tensors of numbers came out, right or wrong."""
        return self.error is None and self.parts is not None and all(bool(part.isfinite().all()) for part in self.parts)

    def agrees(self, other: Trial) -> bool:
        """Whether two outcomes for the same inputs are the same numbers."""
        assert self.parts is not None
        assert other.parts is not None
        return same(self.parts, other.parts, TOLERANCE[self.dtype])


def same(parts: tuple[Tensor, ...], others: tuple[Tensor, ...], tolerance: float) -> bool:
    """Whether the parts have the same shapes and, up to the tolerance, the same values."""
    return all(
        part.shape == other.shape and torch.allclose(part.double(), other.double(), rtol=tolerance, atol=tolerance)
        for part, other in zip(parts, others, strict=True)
    )
