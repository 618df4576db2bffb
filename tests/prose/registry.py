"""Vouchers: what stands behind a number that no code beside it holds.

Each chapter that needs any has a module of its name in `vouchers`, with a list `VOUCHERS`. The tests
demand a voucher for every number of the text that the code of its section does not hold, and that each voucher is
needed, quotes the chapter, and is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Computed:
    """Numbers that are computed again.

    Attributes:
        says: The passage, but for its line breaks, from before its first such number to after its last.
        numbers: Each such number as the passage writes it, and what it must be, to the digits that are written.
    """

    says: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Cited:
    """Numbers that another work gives.

    Attributes:
        says: The passage.
        key: The work's in `book/references.bib`; the chapter cites it.
        place: Where in the work.
    """

    says: str
    key: str
    place: str


@dataclass(frozen=True)
class Argued:
    """Numbers that follow from what the text says around them, or that count what the reader sees, or claim nothing.

    Attributes:
        says: The passage.
        because: Why they are so.
    """

    says: str
    because: str


Voucher = Computed | Cited | Argued
