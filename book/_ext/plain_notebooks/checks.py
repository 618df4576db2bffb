"""What must hold of the chapters and of the committed notebooks, beyond what the build of the site refuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import nbformat
from nbformat import NotebookNode

from .book import NOTEBOOKS, Book, Chapter
from .cache import stamp_now, stamp_of
from .cells import TITLE, with_outputs
from .markdown import myst_parser

SHOWN_DATASET = "mnist"  # the site's figures are of MNIST; on other sets the notebooks must run, and that is all
LARGEST = 1_000_000  # bytes
LONGEST_CELL = 15  # lines

# What Jupyter, which knows no MyST, would show raw.
MYST = {"colon_fence", "myst_target", "myst_line_comment", "myst_role", "math_block_label", "amsmath"}


def problems(book: Book) -> Iterator[str]:
    """What is wrong, one line each: where, what, and what to do."""
    names = Counter(chapter.notebook_name for chapter in book.chapters)
    for name in (name for name, count in names.items() if count > 1):
        yield f"{name}: {names[name]} chapters would be written to it; give their files different names"
    for path in sorted((book.root / NOTEBOOKS).glob("*.ipynb")):
        if f"{NOTEBOOKS}/{path.name}" not in names:
            yield f"{NOTEBOOKS}/{path.name}: no chapter in _toc.yml; `make notebooks` takes it away"
    for chapter in book.chapters:
        yield from problems_of(chapter)


def problems_of(chapter: Chapter) -> Iterator[str]:
    """What is wrong with one chapter and its notebook."""
    name = chapter.notebook_name
    if not chapter.notebook.is_file():
        yield f"{name}: missing; run `make notebooks`"
        return
    source, plain = chapter.read(), nbformat.read(chapter.notebook, as_version=4)
    executed = with_outputs(source, plain)
    if executed is None:
        yield f"{name}: its code is not that of {chapter.docname}.md; run `make notebooks`"
    else:
        yield from (f"{chapter.docname}.md: {problem}" for problem in bare_figures(executed))
    now, then = stamp_now(chapter.root, source), stamp_of(plain) or {}
    if now["fingerprint"] != then.get("fingerprint"):
        yield f"{name}: its outputs are older than vaelib or the pins that it uses; run `make notebooks`"
    if then.get("dataset") != SHOWN_DATASET:
        yield f"{name}: executed on {then.get('dataset')}; run `VAELIB_DATASET={SHOWN_DATASET} make notebooks`"
    if (size := chapter.notebook.stat().st_size) > LARGEST:
        yield f"{name}: {size} bytes, over {LARGEST}; make its figures smaller or fewer"
    yield from (f"{name}: {problem}" for problem in unplain(plain))
    if any(line.startswith(TITLE) for line in code(source)):
        yield f"{chapter.docname}.md: a cell begins with {TITLE.strip()!r}, which marks what the exporter adds"


def code(notebook: NotebookNode) -> list[str]:
    """The code cells' text."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def unplain(notebook: NotebookNode) -> Iterator[str]:
    """What readers of the notebook should not meet."""
    parser = myst_parser({"amsmath", "colon_fence", "dollarmath"})
    for number, cell in enumerate(notebook.cells):
        for token in parser.parse(cell.source) if cell.cell_type == "markdown" else []:
            for part in [token, *(token.children or [])]:
                if part.type in MYST or (part.type == "fence" and part.info.startswith("{")):
                    yield f"cell {number}: {part.type} {(part.info or part.content)!r} is MyST, which Jupyter shows raw"
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {number}: the output is an error, {output.ename}: {output.evalue}"
            if output.get("name") == "stderr":
                yield f"cell {number}: the output has stderr: {output.text.strip().splitlines()[0]}"


def bare_figures(executed: NotebookNode) -> Iterator[str]:
    """Cells that show an image without a name, a caption or a text for those who cannot see it."""
    for number, cell in enumerate((cell for cell in executed.cells if cell.cell_type == "code"), 1):
        if not any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})):
            continue
        settings = cell.metadata.get("mystnb", {})
        figure, alt = settings.get("figure", {}), settings.get("image", {}).get("alt")
        missing = [key for key in ("name", "caption") if not figure.get(key)] + ([] if alt else ["image alt"])
        if missing:
            yield f"code cell {number} shows an image without {', '.join(missing)} under mystnb"


def long_cells(book: Book) -> Iterator[str]:
    """Cells that are longer than a reader wants; a remark, not an error."""
    for chapter in book.chapters:
        for number, source in enumerate(code(chapter.read()), 1):
            if (length := len(source.splitlines())) > LONGEST_CELL:
                yield f"{chapter.docname}.md: code cell {number} has {length} lines; aim at {LONGEST_CELL}"
