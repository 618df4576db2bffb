"""The committed book passes its checks; and each error that is put into a small one is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from book_site import faults
from nbformat import NotebookNode, v4
from plain_notebooks.book import Book, Chapter
from plain_notebooks.cache import cached, open_cache, seed, stamp, stamp_now, stamp_of, store
from plain_notebooks.cells import SETUP, SETUP_TAG, TITLE, with_outputs
from plain_notebooks.checks import long_cells, problems

ROOT = Path(__file__).parents[2]


def test_the_committed_notebooks() -> None:
    assert list(problems(Book(ROOT))) == []


@pytest.fixture
def book(root: Path) -> Book:
    """The small book, with a plain notebook as an export of it would be, but for the text."""
    book = Book(root)
    (chapter,) = book.chapters
    source = chapter.read()
    cells = [v4.new_code_cell(SETUP, metadata={"tags": [SETUP_TAG]})]
    for cell in source.cells:
        if cell.cell_type == "code":
            title = f"{TITLE}Title\n" if "remove-cell" in cell.metadata.get("tags", []) else ""
            outputs = [v4.new_output("display_data", {"image/png": ""})] if "plt.show" in cell.source else []
            cells.append(v4.new_code_cell(title + cell.source, outputs=outputs))
    write(chapter, v4.new_notebook(cells=cells, metadata={"vaelib": stamp_now(root, source)}))
    return book


def write(chapter: Chapter, notebook: NotebookNode) -> None:
    chapter.notebook.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, chapter.notebook)


def in_notebook(change: Callable[[NotebookNode], object]) -> Callable[[Book], None]:
    def apply(book: Book) -> None:
        (chapter,) = book.chapters
        notebook = nbformat.read(chapter.notebook, as_version=4)
        change(notebook)
        write(chapter, notebook)

    return apply


def in_file(name: str, old: str, new: str) -> Callable[[Book], object]:
    def apply(book: Book) -> None:
        text = (book.root / name).read_text("utf8")
        assert old in text
        (book.root / name).write_text(text.replace(old, new), "utf8")

    return apply


def note(text: str) -> Callable[[Book], None]:
    return in_notebook(lambda notebook: notebook.cells.append(v4.new_markdown_cell(text)))


def output(kind: str, **content: object) -> Callable[[Book], None]:
    return in_notebook(lambda notebook: notebook.cells[-1].outputs.append(v4.new_output(kind, **content)))


CHAPTER = "book/part/sample.md"
ERRORS: dict[str, tuple[Callable[[Book], object], str]] = {
    "changed code": (in_file(CHAPTER, "print(1 + 1)", "print(1 + 2)"), "its code is not that of book/part/sample.md"),
    "missing": (lambda book: book.chapters[0].notebook.unlink(), "sample.ipynb: missing"),
    "orphan": (lambda book: (book.root / "book/notebooks/old.ipynb").touch(), "old.ipynb: no chapter"),
    "no stamp": (in_notebook(lambda nb: nb.metadata.pop("vaelib")), "older than vaelib"),
    "changed pin": (in_file("requirements.txt", "torch==", "torch==9."), "older than vaelib"),
    "other data": (in_notebook(lambda nb: nb.metadata.vaelib.update(dataset="digits")), "executed on digits"),
    "size": (note("x" * 1_000_000), "over 1000000"),
    "directive": (note("Text\n\n```{note}\nText\n```"), "fence '{note}' is MyST"),
    "directive with colons": (note("> :::{note}\n> :::"), "colon_fence '{note}' is MyST"),
    "role": (note("> *Text {eq}`x`*"), "myst_role 'x' is MyST"),
    "label": (note("(label)=\n# Title"), "myst_target 'label' is MyST"),
    "labelled formula": (note("$$\nx\n$$ (label)"), "math_block_label 'label' is MyST"),
    "error": (output("error", ename="ValueError", evalue="no"), "ValueError: no"),
    "stderr": (output("stream", name="stderr", text="careful\n"), "stderr: careful"),
    "figure without alt": (in_file(CHAPTER, "alt: A rising line.", "width: 9"), "an image without image alt"),
    "figure without a caption": (in_file(CHAPTER, "caption: |", "other: |"), "an image without caption"),
    "title of the exporter's": (
        in_file(CHAPTER, "print(1 + 1)", "# @title Mine\nprint(1 + 1)"),
        "begins with '# @title'",
    ),
}


def test_the_small_book_is_whole(book: Book) -> None:
    """And may speak of MyST in code."""
    note("Write `` {eq}`x` `` or\n\n```python\n{eq}`x`\n```")(book)
    assert list(problems(book)) == []


@pytest.mark.parametrize(("change", "message"), ERRORS.values(), ids=ERRORS)
def test_each_error_is_found(book: Book, change: Callable[[Book], object], message: str) -> None:
    change(book)
    assert re.search(message, "\n".join(problems(book)))


def test_two_chapters_of_one_name(book: Book) -> None:
    (book.root / "book/other").mkdir()
    (book.root / "book/other/sample.md").write_text((book.root / CHAPTER).read_text("utf8"), "utf8")
    in_file(
        "_toc.yml",
        "      - file: book/part/sample\n",
        "      - file: book/part/sample\n      - file: book/other/sample\n",
    )(book)
    assert [p for p in problems(Book(book.root)) if "2 chapters" in p]


def test_long_cells_are_remarked(book: Book) -> None:
    in_file(CHAPTER, "print(1 + 1)", "print(1 + 1)\n" * 15 + "print()")(book)
    assert list(long_cells(book)) == ["book/part/sample.md: code cell 4 has 16 lines; aim at 15"]


def old(book: Book) -> Callable[[], str | None]:
    """Commit outputs of other code, and tell which stamp the cache has for the chapter."""
    in_notebook(lambda notebook: notebook.metadata.vaelib.update(fingerprint="old"))(book)
    source = book.chapters[0].read()

    def fingerprint_in_cache() -> str | None:
        present = cached(open_cache(book.root), source)
        return None if present is None else (stamp_of(present) or {}).get("fingerprint")

    return fingerprint_in_cache


def test_readers_get_old_outputs_and_authors_new_ones(book: Book) -> None:
    fingerprint_in_cache = old(book)
    seed(book, only_current=False)
    assert fingerprint_in_cache() == "old"
    seed(book, only_current=True)
    assert fingerprint_in_cache() is None  # so that the build executes the chapter


def test_what_was_executed_and_not_yet_committed_is_kept(book: Book) -> None:
    """A build of all chapters that failed in one has executed others, whose committed notebooks are old."""
    fingerprint_in_cache = old(book)
    seed(book, only_current=False)
    (chapter,) = book.chapters
    source = chapter.read()
    now = stamp_now(book.root, source)
    fresh = with_outputs(source, nbformat.read(chapter.notebook, as_version=4))
    assert fresh is not None
    del fresh.metadata["vaelib"]
    cache = open_cache(book.root)
    store(cache, fresh, "executed")
    stamp(cache, chapter, now)
    for only_current in (False, True):
        seed(book, only_current=only_current)
        assert fingerprint_in_cache() == now["fingerprint"]


def test_outputs_without_a_stamp_are_not_trusted(book: Book) -> None:
    """They are there if a build broke down between a chapter's execution and its stamp."""
    in_notebook(lambda notebook: notebook.metadata.pop("vaelib"))(book)
    seed(book, only_current=False)
    assert cached(open_cache(book.root), book.chapters[0].read()) is None


PAGE = '<head><meta name="description" content="x"/></head>'


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        (
            PAGE
            + '<a href="https://x.org/">x</a><link rel="canonical" href="https://x.org/" /><img src="x.png" alt="x">',
            "",
        ),
        ("<p>", "no description"),
        (PAGE + '<img src="x.png" alt="_images/x.png">', "without an alt text"),
        (PAGE + '<img src="x.png">', "without an alt text"),
        (PAGE + '<script src="https://x.org/x.js"></script>', "another host"),
        (PAGE + '<link href="//x.org/x.css" rel="stylesheet" />', "another host"),
        (PAGE + '<span class="katex-error" title="ParseError: x">', "cannot set: ParseError: x"),
    ],
)
def test_faults_of_a_page(html: str, fault: str) -> None:
    found = list(faults(html))
    assert len(found) == bool(fault)
    assert fault in "".join(found)
