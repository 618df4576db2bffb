"""Every number that a chapter says is in the code beside it, or somebody vouches for it."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path

import pytest
from plain_notebooks.book import Book

from prose.reading import Block, Number, blocks
from prose.registry import Cited, Computed, Voucher

ROOT = Path(__file__).parents[2]
CHAPTERS = {chapter.notebook.stem.replace("-", "_"): chapter for chapter in Book(ROOT).chapters}
MODULES = {path.stem for path in (Path(__file__).parent / "vouchers").glob("*.py")} - {"__init__"}


@cache
def read(name: str) -> list[Block]:
    return list(blocks(CHAPTERS[name]))


def vouchers(name: str) -> list[Voucher]:
    return list(importlib.import_module(f"prose.vouchers.{name}").VOUCHERS) if name in MODULES else []


def vouched(block: Block, voucher: Voucher) -> list[Number]:
    """The numbers of a block that the voucher speaks of."""
    spans = [match.span() for match in re.finditer(re.escape(voucher.says), block.text)]
    numbers = [number for number in block.numbers if any(start <= number.start < end for start, end in spans)]
    return [n for n in numbers if n.text in voucher.numbers] if isinstance(voucher, Computed) else numbers


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_number_is_in_the_code_beside_it_or_vouched_for(name: str) -> None:
    loose = []
    for block in read(name):
        covered = {number for voucher in vouchers(name) for number in vouched(block, voucher)}
        loose += [
            f"{number.text!r} in “…{block.text[max(0, number.start - 60) : number.start + 60]}…”"
            for number in block.numbers
            if number not in covered and not block.code.holds(number)
        ]
    assert not loose, "\n".join(["assert these in a cell of their section, or vouch for them:", *loose])


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_voucher_is_needed(name: str) -> None:
    """It quotes the chapter, and no code there holds all the numbers it speaks of."""
    for voucher in vouchers(name):
        numbers = [(block, number) for block in read(name) for number in vouched(block, voucher)]
        assert numbers, f"the chapter does not say “{voucher.says}” with such numbers"
        assert not all(block.code.holds(number) for block, number in numbers), f"no need for “{voucher.says}”"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_every_voucher_is_true(name: str) -> None:
    chapter = CHAPTERS[name]
    for voucher in vouchers(name):
        if isinstance(voucher, Computed):
            numbers = {number.text: number for block in read(name) for number in vouched(block, voucher)}
            for text, value in voucher.numbers.items():
                assert text in numbers, f"“{voucher.says}” has no number {text!r}"
                margin = max(numbers[text].unit / 2, 1e-9) * (1 + 1e-9)
                assert abs(abs(value) - numbers[text].value) <= margin, f"{text} in “{voucher.says}” is {value}"
        elif isinstance(voucher, Cited):
            assert re.search(rf"\b{re.escape(voucher.key)}\b", chapter.source.read_text("utf8")), voucher.key


def test_every_module_is_a_chapters() -> None:
    assert set(CHAPTERS) >= MODULES
