"""What an exercise is made of: a right answer, inputs that tell mistakes apart, and the known mistakes.

A mistake is recognised in one of two ways. Either it is written out, as the function that a reader with this mistake
would have written: an answer that agrees with it everywhere has made it. Or the answer is a sum of *ingredients*, such
as 1/2 sum mu^2, and the multiples of them that it is made of say which is missing, negated, doubled or foreign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

Answer = Callable[..., Any]
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Probe:
    """One set of inputs for an answer.

    Attributes:
        inputs: The arguments, in float64.
        kind: What is particular about them, such as "negative determinant"; "" if nothing is.
        extreme: Whether they only try how well an answer keeps to the formula in floating point.
    """

    inputs: Inputs
    kind: str = ""
    extreme: bool = False

    @property
    def size(self) -> int:
        """How many numbers the inputs hold: the smaller, the better a counterexample."""
        return sum(tensor.numel() for tensor in self.inputs)


@dataclass(frozen=True)
class Mistake:
    """A known mistake.

    Attributes:
        id: Its name, as reports give it.
        hint: What would help a reader to find it, without the answer.
        answers: Functions that make it, if it is recognised by them.
    """

    id: str
    hint: str
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Ingredient:
    """A term of the right answer, or one that known mistakes put in its place.

    Attributes:
        formula: What a report calls it.
        values: Its values for the exercise's arguments, of the shape of the result.
        mistake: The mistake of an answer that leaves it out, or, if its weight is zero, of one that has it.
        weight: Its multiple in the right answer.
        multiples: The mistake of an answer with so many times the weight, where it is not one of `MULTIPLES`.
        otherwise: The mistake of an answer with any other weight, if it is known.
    """

    formula: str
    values: Answer
    mistake: str
    weight: float = 0.0
    multiples: Mapping[float, str] = field(default_factory=dict)
    otherwise: str | None = None

    def mistake_of(self, weight: float) -> str | None:
        """The mistake that an answer with this multiple of the ingredient has made, if it is known."""
        if self.weight == 0:
            return self.mistake
        known = {0.0: self.mistake, **MULTIPLES, **self.multiples}
        ratio = weight / self.weight
        return next((known[value] for value in known if math.isclose(ratio, value, abs_tol=1e-5)), self.otherwise)


MULTIPLES = {
    -1.0: "sign",
    2.0: "missing-half",
    0.5: "extra-half",
    1 / math.log(2): "wrong-base",
    1 / math.log(10): "wrong-base",
}
"""The mistake of an answer that is so many times the right one, or has so many times the weight of an ingredient."""


def no_known_shapes(*_: Tensor) -> dict[str, tuple[int, ...]]:
    """For an exercise without wrong shapes, as a function of its arguments' shapes, that betray a mistake."""
    return {}


@dataclass(frozen=True)
class Exercise:
    """An exercise.

    Attributes:
        name: As `check` takes it.
        arguments: The names of the answer's arguments.
        right: A right answer, for inputs in float64. It returns a tensor, or a tuple of them.
        probes: Draws inputs from a generator; among them must be some of which no two sizes are equal.
        mistakes: The catalogue; where two would explain an answer, the first is reported.
        ingredients: Of the right answer and of mistakes, if the exercise has any.
        differentiable: The arguments in which the answer must be differentiable.
        only_kinds: The mistake of an answer that is wrong for nothing but probes of this kind.
        shapes: The wrong shapes, for given arguments, that betray a known mistake.
    """

    name: str
    arguments: tuple[str, ...]
    right: Answer
    probes: Callable[[torch.Generator], list[Probe]]
    mistakes: tuple[Mistake, ...]
    ingredients: tuple[Ingredient, ...] = ()
    differentiable: tuple[str, ...] = ()
    only_kinds: Mapping[str, str] = field(default_factory=dict)
    shapes: Callable[..., Mapping[str, tuple[int, ...]]] = no_known_shapes

    @cached_property
    def hints(self) -> dict[str, str]:
        """The hint to each known mistake."""
        return {mistake.id: mistake.hint for mistake in self.mistakes}


def as_tuple(result: Any) -> tuple[Any, ...]:
    """A result as the tuple of its parts."""
    return tuple(result) if isinstance(result, tuple | list) else (result,)
