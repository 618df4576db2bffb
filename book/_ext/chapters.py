"""The chapters and their notebooks, for the Makefile: `python book/_ext/chapters.py COMMAND` in the book's root."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from filecmp import cmp
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4
from plain_notebooks.book import NOTEBOOKS, Book, Chapter
from plain_notebooks.cache import seed
from plain_notebooks.checks import long_cells, problems


def copy(book: Book) -> None:
    """Make the committed notebooks those of the last build, no more and no fewer."""
    (book.root / NOTEBOOKS).mkdir(exist_ok=True)
    for path in (book.root / NOTEBOOKS).glob("*.ipynb"):
        if path not in [chapter.notebook for chapter in book.chapters]:
            path.unlink()
    for chapter in book.chapters:
        chapter.notebook.write_bytes(chapter.built_notebook.read_bytes())


def compare(book: Book) -> list[str]:
    """Pages that the last build did not make, and notebooks that it would change."""
    html = book.root / "_build/html"
    wrong = [f"{page}.html was not built" for page in book.pages if not (html / f"{page}.html").is_file()]
    for chapter in book.chapters:
        both = (chapter.built_notebook, chapter.notebook)
        if not all(path.is_file() for path in both) or not cmp(*both, shallow=False):
            wrong.append(f"{chapter.notebook_name} is not what was built from its chapter; run `make notebooks`")
    return wrong


def format_code(chapter: Chapter) -> None:
    """Format a chapter's code cells with ruff, by way of a notebook, which ruff can read."""
    source = chapter.read()
    lines = chapter.source.read_text("utf8").split("\n")
    cells = zip(source.cells, source.metadata["source_map"], strict=True)
    code = [(cell, line) for cell, line in cells if cell.cell_type == "code"]
    formatted = ruff_formatted([cell for cell, _ in code])
    for (cell, line), new in reversed(list(zip(code, formatted, strict=True))):
        end = next(n for n in range(line, len(lines)) if lines[n].startswith("```"))
        start = end - len(cell.source.split("\n"))
        if "\n".join(lines[start:end]) != cell.source:
            raise SystemExit(f"{chapter.docname}.md:{line}: expected a cell of code without a fence in it")
        lines[start:end] = new.split("\n")
    chapter.source.write_text("\n".join(lines), "utf8")


def ruff_formatted(cells: list[NotebookNode]) -> list[str]:
    """The cells' code as `ruff format` leaves it."""
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chapter.ipynb"
        path.write_text(nbformat.writes(v4.new_notebook(cells=cells, metadata=metadata)), "utf8")
        for command in (["check", "--fix", "--exit-zero"], ["format"]):
            ruff = [sys.executable, "-m", "ruff", *command, "--quiet", "--config", f"{NOTEBOOKS}/ruff.toml"]
            subprocess.run([*ruff, str(path)], check=True)
        return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def fail(wrong: list[str]) -> None:
    """Print what is wrong, and leave with an error if anything is."""
    if wrong:
        raise SystemExit("\n".join(wrong))


def main() -> None:
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_text in {
        "seed": "give the next build the committed outputs, whatever their age: it executes nothing that they cover",
        "seed-current": "give the next build the committed outputs that are up to date: it executes the other chapters",
        "copy": "put the notebooks of the last build into book/notebooks",
        "compare": "fail unless the last build made every page, and the notebooks that are committed",
        "check": "fail unless the committed notebooks are plain, whole and up to date",
        "format": "format the chapters' code with ruff",
    }.items():
        commands.add_parser(name, help=help_text)
    command = parser.parse_args().command
    book = Book(Path.cwd())
    if command in {"seed", "seed-current"}:
        seed(book, only_current=command == "seed-current")
    elif command == "copy":
        copy(book)
    elif command == "compare":
        fail(compare(book))
    elif command == "check":
        for remark in long_cells(book):
            print(remark)
        fail(list(problems(book)))
    elif command == "format":
        for chapter in book.chapters:
            format_code(chapter)


if __name__ == "__main__":
    main()
