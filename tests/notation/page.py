"""The tables of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE = (Path(__file__).parents[2] / "book/appendices/notation.md").read_text("utf8")


class Row(NamedTuple):
    """A row of a table of six columns; a cell that has nothing in it holds a dash."""

    symbol: str
    code: str
    shape: str
    meaning: str
    sources: str
    paper: str

    @property
    def names(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.code)


def tables(page: str) -> Iterator[list[list[str]]]:
    """The rows of each table, without the head."""
    for block in re.findall(r"(?:^\|.*\n)+", page, re.M):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        assert len({len(row) for row in rows}) == 1, f"a row has too many or too few cells: {rows[0]}"
        yield rows[2:]


ROWS = [Row(*row) for table in tables(PAGE) if len(table[0]) == 6 for row in table]
SHAPED = [row for row in ROWS if "(" in row.shape]
NAMES = {name for row in ROWS for cell in (row.code, row.meaning) for name in re.findall(r"`([\w.]+)`", cell)}


def shapes_in(cell: str) -> list[tuple[str, ...]]:
    """`(B, K)` and the like, each as the letters in it."""
    return [tuple(re.findall(r"\w", shape)) for shape in re.findall(r"`(\([^`]*\))`", cell)]
