"""The repository's address stands in `_config.yml`, and everything else agrees with it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from plain_notebooks.book import Book

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"(?:github\.com/|colab\.research\.google\.com/github/)[\w.-]+/[\w.-]+|[\w-]+\.github\.io/[\w.-]+")


def addresses(book: Book) -> set[str]:
    """The addresses that are the book's own."""
    path = book.repository.removeprefix("https://github.com/")
    site = book.site.removeprefix("https://").rstrip("/")
    return {f"github.com/{path}", f"github.com/{path}.git", f"colab.research.google.com/github/{path}", site}


def test_derived_addresses() -> None:
    book = Book(ROOT)
    book.config["repository"] = {"url": "https://github.com/some-one/a.book/", "branch": "trunk"}
    assert book.site == "https://some-one.github.io/a.book/"
    assert book.page_url("book/x") == "https://some-one.github.io/a.book/book/x.html"
    chapter = book.chapters[0]
    assert book.colab_url(chapter) == (
        f"https://colab.research.google.com/github/some-one/a.book/blob/trunk/{chapter.notebook_name}"
    )


def test_readme_and_notebooks_have_the_address_of_the_settings() -> None:
    book = Book(ROOT)
    assert set(ADDRESS.findall((ROOT / "README.md").read_text("utf8"))) <= addresses(book)
    for chapter in book.chapters:
        notebook = nbformat.read(chapter.notebook, as_version=4)
        assert f"git+{book.repository}" in notebook.cells[1].source
        assert book.page_url(chapter.docname) in notebook.cells[0].source


def test_it_is_written_nowhere_else() -> None:
    """Not even where it would be right today."""
    book = Book(ROOT)
    owner_and_name = book.repository.removeprefix("https://github.com/")
    places = [ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "requirements.txt", ROOT / ".ci/run"]
    for folder, pattern in [("book", "*.md"), ("book/_ext", "*.py"), ("vaelib", "*.py"), (".github", "*.*")]:
        places += (ROOT / folder).rglob(pattern)
    assert [str(path) for path in places if owner_and_name in path.read_text("utf8")] == []
