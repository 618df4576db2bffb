"""What a check has found, as text and, in a notebook, as HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

from torch import Tensor


@dataclass(frozen=True, repr=False)
class Counterexample:
    """Inputs for which an answer is wrong.

    Attributes:
        inputs: By the names of the arguments, of the shapes that the exercise gives.
        expected: What a right answer returns, or its gradient, in words or numbers.
        got: What the answer returned or raised.
    """

    inputs: dict[str, Tensor]
    expected: Any
    got: Any

    def lines(self) -> list[str]:
        """The counterexample as text."""
        dtype = str(next(iter(self.inputs.values())).dtype).removeprefix("torch.")
        inputs = [f"{name} = {show(value)}" for name, value in self.inputs.items()]
        return [f"for, in {dtype},", *inputs, f"expected {show(self.expected)}", f"got      {show(self.got)}"]


@dataclass(frozen=True, repr=False)
class Report:
    """What `check` has found. It prints itself.

    Attributes:
        exercise: The name of the exercise.
        passed: Whether the answer is right, as far as the check can tell.
        attempted: False if the answer returned None or raised NotImplementedError wherever it was tried.
        diagnosis: The id of the mistake; None if the answer passed, was not attempted, or is wrong in another way.
        message: One or two sentences: what was tried, or a hint.
        counterexample: The smallest inputs found for which the answer is wrong; None if there are none.
        seed: `check(..., seed=seed)` draws the same inputs.
    """

    exercise: str
    passed: bool
    attempted: bool
    diagnosis: str | None
    message: str
    seed: int
    counterexample: Counterexample | None = field(default=None)

    @property
    def verdict(self) -> str:
        """The outcome in two words."""
        return "passed" if self.passed else "not right yet" if self.attempted else "not attempted"

    def _details(self) -> list[str]:
        lines = [] if self.counterexample is None else self.counterexample.lines()
        return lines + ([f"(seed={self.seed} draws these inputs again)"] if self.attempted else [])

    def __repr__(self) -> str:
        diagnosis = f" [{self.diagnosis}]" if self.diagnosis else ""
        head = f"{self.exercise}: {self.verdict}{diagnosis}. {self.message}"
        return "\n    ".join([head, *self._details()])

    def _repr_html_(self) -> str:
        colour = "#1a9850" if self.passed else "#d73027" if self.attempted else "#888888"
        diagnosis = f" <code>{escape(self.diagnosis)}</code>" if self.diagnosis else ""
        details = "\n".join(escape(line) for line in self._details())
        block = f'<pre style="white-space: pre-wrap; margin: 0.5em 0 0">{details}</pre>' if details else ""
        return (
            f'<div role="status" style="border-left: 0.3em solid {colour}; padding: 0.3em 0.8em">'
            f"<strong>{escape(self.exercise)}: {self.verdict}</strong>{diagnosis} {escape(self.message)}{block}</div>"
        )


def show(value: Any) -> str:
    """Tensors as nested lists with four digits, large ones by their shape; all else as it prints itself, shortened."""
    if isinstance(value, tuple):
        return "(" + ", ".join(show(part) for part in value) + ")"
    if isinstance(value, Tensor):
        if value.numel() > 40:
            return f"numbers of shape {tuple(value.shape)}"
        return _nested(value.detach().cpu().tolist()) if value.numel() else f"nothing, of shape {tuple(value.shape)}"
    text = f"{type(value).__name__}: {value}" if isinstance(value, Exception) else str(value)
    return text if len(text) <= 300 else text[:300] + "..."


def _nested(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_nested(part) for part in value) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
