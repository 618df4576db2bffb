"""The Makefile's own commands on the chapters: formatting, and moving built notebooks into the tree."""

from __future__ import annotations

import shutil
from pathlib import Path

import chapters
import pytest
from plain_notebooks.book import Book

CELL_WITH_A_FENCE = '````{code-cell} python3\ntext = """\n```python\n```\n"""\n````'
ROOT = Path(__file__).parents[2]


@pytest.fixture
def book(root: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    """The small book, as the place where commands are given."""
    (root / "book/notebooks").mkdir()
    shutil.copy(ROOT / "book/notebooks/ruff.toml", root / "book/notebooks/ruff.toml")
    monkeypatch.chdir(root)
    return Book(root)


def test_format_changes_code_cells_alone(book: Book) -> None:
    (chapter,) = book.chapters
    neat = chapter.source.read_text("utf8")
    untidy = neat.replace("print(1 + 1)", "print( 1+1 )").replace("plt.plot([0, 1])", "plt.plot([0,1]  )")
    chapter.source.write_text(untidy.replace('role = "', "role  =  '"), "utf8")
    chapters.format_code(chapter)
    assert chapter.source.read_text("utf8") == neat.replace('role = "', "role  =  '")  # that is shown, not run
    chapters.format_code(chapter)
    assert chapter.source.read_text("utf8") == neat.replace('role = "', "role  =  '")


def test_format_takes_blank_lines_away(book: Book) -> None:
    (chapter,) = book.chapters
    neat = chapter.source.read_text("utf8")
    chapter.source.write_text(neat.replace("print(1 + 1)\n", "print(1 + 1)\n\n\n"), "utf8")
    chapters.format_code(chapter)
    assert chapter.source.read_text("utf8") == neat


def test_format_refuses_what_it_cannot_put_back(book: Book) -> None:
    """A fence in a cell's own text ends the cell for this simple search."""
    (chapter,) = book.chapters
    text = chapter.source.read_text("utf8").replace("```{code-cell} python3\nprint(1 + 1)\n```", CELL_WITH_A_FENCE)
    chapter.source.write_text(text, "utf8")
    with pytest.raises(SystemExit, match=r"book/part/sample\.md:\d+: expected a cell of code without a fence in it"):
        chapters.format_code(chapter)
    assert chapter.source.read_text("utf8") == text


def test_built_notebooks_replace_the_committed_ones(book: Book) -> None:
    (chapter,) = book.chapters
    chapter.built_notebook.parent.mkdir(parents=True)
    chapter.built_notebook.write_text("new")
    chapter.notebook.write_text("old")
    (book.root / "book/notebooks/gone.ipynb").touch()
    (book.root / "_build/html/book").mkdir(exist_ok=True)
    for page in book.pages:
        (book.root / f"_build/html/{page}.html").parent.mkdir(exist_ok=True)
        (book.root / f"_build/html/{page}.html").touch()
    assert [fault.split()[0] for fault in chapters.compare(book)] == [chapter.notebook_name]
    chapters.copy(book)
    assert chapter.notebook.read_text() == "new"
    assert [path.name for path in (book.root / "book/notebooks").glob("*.ipynb")] == ["sample.ipynb"]
    assert chapters.compare(book) == []


def test_missing_pages_and_notebooks_are_told(book: Book) -> None:
    told = "\n".join(chapters.compare(book))
    for missing in ["book/index.html", "book/part/sample.html", "book/references.html", "book/notebooks/sample.ipynb"]:
        assert missing in told
