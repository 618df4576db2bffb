"""Every numbered equation of the book holds, and its check refuses what is like it and wrong."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from plain_notebooks.book import Book

from equations.registry import CHECKS

ROOT = Path(__file__).parents[2]
PAGES = [page for page in Book(ROOT).pages if not page.startswith("book/library/")]  # these have no equations
CHAPTERS = {page.rpartition("/")[2].replace("-", "_"): ROOT / f"{page}.md" for page in PAGES}
MODULES = {path.stem for path in Path(__file__).parent.glob("*.py")} - {"__init__", "registry", "test_equations"}
for name in sorted(MODULES):
    importlib.import_module(f"equations.{name}")


def equations_of(path: Path) -> dict[str, str]:
    """The labelled equations of a chapter: label to LaTeX."""
    blocks = re.split(r"^ *\$\$", path.read_text("utf8"), flags=re.M)
    labels = [re.match(r" \((eq-[\w-]+)\)", block) for block in blocks]
    return {label[1]: blocks[place - 1] for place, label in enumerate(labels) if label}


BOOK = {label: tex for path in CHAPTERS.values() for label, tex in equations_of(path).items()}


def bare(tex: str) -> str:
    return re.sub(r"\s+", "", tex)


@pytest.mark.parametrize("label", CHECKS)
def test_it_holds(label: str) -> None:
    CHECKS[label].holds(CHECKS[label].right)


@pytest.mark.parametrize(("label", "name"), [(label, name) for label, check in CHECKS.items() for name in check.wrong])
def test_its_check_can_fail(label: str, name: str) -> None:
    with pytest.raises(AssertionError):
        CHECKS[label].holds(CHECKS[label].wrong[name])


@pytest.mark.parametrize("label", CHECKS)
def test_the_chapter_prints_what_was_checked(label: str) -> None:
    assert bare(CHECKS[label].tex) == bare(BOOK[label])
    assert label in equations_of(CHAPTERS[CHECKS[label].module])


def test_every_equation_has_a_check() -> None:
    assert set(BOOK) == set(CHECKS)
