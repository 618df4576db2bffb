"""Every checked exercise stands in one chapter: a stub that is not attempted, hints, and a solution that passes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from vaelib.exercises import EXERCISES

BOOK = Path(__file__).parents[2] / "book"
STUB = re.compile(r'^check\("([\w-]+)", (\w+)\)$', re.MULTILINE)
SOLUTION = re.compile(r'^assert check\("([\w-]+)", (\w+)\)\.passed$', re.MULTILINE)
CELL = re.compile(r"^```\{code-cell\} ipython3\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHAPTERS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("part-*/*.md"))}


def chapter_of(exercise: str) -> str:
    """The name of the only chapter that has the exercise."""
    found = [chapter for chapter, text in CHAPTERS.items() if exercise in [name for name, _ in STUB.findall(text)]]
    assert len(found) == 1, f"{exercise} has its stub in {found}"
    return found[0]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_statement_hints_stub_and_solution(exercise: str) -> None:
    text = CHAPTERS[chapter_of(exercise)]
    stub = next(match for match in STUB.finditer(text) if match[1] == exercise)
    solution = next(match for match in SOLUTION.finditer(text) if match[1] == exercise)
    assert stub[2] == solution[2], "stub and solution are one function"
    label = re.findall(r"^:label: (ex-[\w-]+)$", text[: stub.start()], re.MULTILINE)[-1]
    start = text.index(f":label: {label}\n")
    hints = re.findall(r"^:::\{admonition\} Hint \d", text[start : solution.start()], re.MULTILINE)
    assert 2 <= len(hints) <= 3
    opened = text.rindex(f"solution-start}} {label}\n", 0, solution.start())
    closed = text.index("{solution-end}", opened)
    assert stub.start() < opened < solution.start() < closed


@pytest.mark.parametrize("exercise", EXERCISES)
def test_notebook_shows_the_stub_as_not_attempted(exercise: str) -> None:
    notebook = json.loads((BOOK / "notebooks" / f"{chapter_of(exercise)}.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"]]
    number = next(
        number for number, source in enumerate(cells) if exercise in [name for name, _ in STUB.findall(source)]
    )
    assert cells[number].count("return") == 0, "a stub gives no answer away"
    outputs = notebook["cells"][number]["outputs"]
    assert "".join(outputs[0]["data"]["text/plain"]).startswith(f"{exercise}: not attempted.")
