"""A chapter's cells as a plain notebook, and the way back to the cells that were executed.

Plain means: Jupyter and Colab show it as it is meant without any extension. The code stays equal to the letter, but
for two additions that `with_outputs` looks past: the set-up cell at the head, and a title line in cells that Colab
shows as closed forms.
"""

from __future__ import annotations

from copy import deepcopy

from myst_nb.core.utils import coalesce_streams
from nbformat import NotebookNode, v4

from .book import Book, Chapter
from .markdown import Converter

SETUP_TAG = "colab-setup"
TITLE = "# @title "
HIDDEN_INPUT = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
HIDDEN_OUTPUT = {"hide-output", "hide-cell", "remove-output", "remove-cell"}

SETUP = """\
# Installs the library of the book where it is missing, on Colab say.
import importlib.util

if importlib.util.find_spec("vaelib") is None:
    %pip install --quiet git+{repository}"""

HEAD = """\
*[Open this page in the book]({page}): every link below leads there. Run the cells in order.*"""


def plain_notebook(book: Book, chapter: Chapter, executed: NotebookNode, converter: Converter) -> NotebookNode:
    """The plain notebook of a chapter.

    Args:
        book: the book, for its addresses.
        chapter: the chapter.
        executed: the notebook in the cache whose code cells are the chapter's; its outputs and its stamp are used.
        converter: turns the chapter's MyST Markdown into plain Markdown.
    """
    source = chapter.read()
    lines = chapter.source.read_text("utf8").split("\n")
    outputs = [cell for cell in executed.cells if cell.cell_type == "code"]
    cells = [
        v4.new_markdown_cell(HEAD.format(page=book.page_url(chapter.docname))),
        v4.new_code_cell(SETUP.format(repository=book.repository), metadata={"tags": [SETUP_TAG]}),
    ]
    for cell, start in zip(source.cells, source.metadata["source_map"], strict=True):
        line = next(n for n, text in enumerate(lines[start:], start + 1) if text.strip())
        if cell.cell_type == "code":
            cells += code_cells(cell, outputs.pop(0), converter, line)
        elif cell.cell_type == "markdown":
            if text := converter.cell(cell.source, line):
                cells.append(v4.new_markdown_cell(text))
        else:
            converter.warn(f"a {cell.cell_type} cell has no place in a plain notebook", line)
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number:03d}"
    metadata = {
        "kernelspec": source.metadata["kernelspec"],
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        "vaelib": executed.metadata["vaelib"],
    }
    return v4.new_notebook(cells=cells, metadata=metadata)


def code_cells(cell: NotebookNode, executed: NotebookNode, converter: Converter, line: int) -> list[NotebookNode]:
    """A code cell with its outputs, and the Markdown cell below it that carries the figure's number and caption."""
    tags = set(cell.metadata.get("tags", []))
    solution = converter.solution
    source, metadata = cell.source, {"tags": sorted(tags)} if tags else {}
    hidden = {}
    if solution or tags & HIDDEN_INPUT:
        source = f"{TITLE}{solution or 'Code behind the page'} (closed: click to open)\n{source}"
        metadata["cellView"] = "form"  # Colab's word for it
        hidden["source_hidden"] = True
    if solution or tags & HIDDEN_OUTPUT:
        metadata["collapsed"] = True
        hidden["outputs_hidden"] = True
    if hidden:
        metadata["jupyter"] = hidden
    cells = [
        v4.new_code_cell(
            source,
            metadata=metadata,
            execution_count=executed.execution_count,
            outputs=coalesce_streams(executed.outputs),
        )
    ]
    figure = cell.metadata.get("mystnb", {}).get("figure")
    if figure:
        caption = converter.caption("figure", figure["name"], figure["caption"], line)
        cells.append(v4.new_markdown_cell(caption))
    return cells


def with_outputs(source: NotebookNode, plain: NotebookNode) -> NotebookNode | None:
    """A chapter's cells with the outputs and the stamp of its plain notebook; None if the code is not the same."""
    code = [cell for cell in source.cells if cell.cell_type == "code"]
    made = [cell for cell in plain.cells if cell.cell_type == "code" and SETUP_TAG not in cell.metadata.get("tags", [])]
    if [cell.source for cell in code] != [without_title(cell.source) for cell in made]:
        return None
    executed = deepcopy(source)
    executed.metadata["vaelib"] = plain.metadata.get("vaelib")
    for cell, with_output in zip((c for c in executed.cells if c.cell_type == "code"), made, strict=True):
        cell.execution_count = with_output.execution_count
        cell.outputs = with_output.outputs
    return executed


def without_title(code: str) -> str:
    """The code of a plain notebook's cell as it stands in the chapter."""
    return code.partition("\n")[2] if code.startswith(TITLE) else code
