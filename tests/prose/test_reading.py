"""What counts as a number of the text, and when code holds it."""

from __future__ import annotations

import pytest

from prose.reading import Block, Code

NOTHING = Code([], frozenset())


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("400,000 draws, 2.5 nats, half a million, five hundred, twenty-five", [400_000, 2.5, 500_000, 500, 25]),
        ("9 % and 0.5 per cent, two thirds, a tenth, twice", [0.09, 0.005, 2 / 3, 0.1, 2]),
        ("the third figure, a third of it", [1 / 3]),
        ("$K > 8.6$, $N = 60{,}000$, $\\frac{1}{784}$ and $x_{12}^{34}$", [8.6, 60_000]),
        ("figure 3 of chapter 14, in 2013, at commit 77f55b9, `x = 3`, {ref}`ex-4`, [12](a/13)", [12]),
        ("2. An item of 3", [3]),
        ("MNIST-60, 1, 0, one, two, three", []),
    ],
)
def test_the_numbers_of_a_text(text: str, values: list[float]) -> None:
    assert [number.value for number in Block(text, NOTHING).numbers] == pytest.approx(values)


@pytest.mark.parametrize(
    ("code", "text", "held"),
    [
        ("assert x > 3", "more than 3", True),
        ("assert x > 3", "more than 4", False),
        ("assert 3.5 < x < 4.5", "about 4", True),
        ("assert -4.5 < x < -3.5", "about $-4.0$", True),
        ("assert 2 < x < 9", "about 4", False),  # too wide to say so
        ("assert x < 0.09", "under 9 %", True),
        ("y = x / 3", "a third of x", True),
        ("# 7", "7 of them", False),
        ("print('7')", "7 of them", False),
    ],
)
def test_what_code_holds(code: str, text: str, held: bool) -> None:
    (number,) = Block(text, NOTHING).numbers
    assert Code([code], frozenset()).holds(number) is held


def test_settings_count() -> None:
    (number,) = Block("77 epochs", NOTHING).numbers
    assert Code([], frozenset({77})).holds(number)
