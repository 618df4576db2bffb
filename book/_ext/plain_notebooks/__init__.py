"""A Sphinx extension: each page that runs gets a plain notebook, for Jupyter, Colab and the checks.

While pages are read, outputs that are made get their stamp (see `cache`). When the site is finished, the notebooks
are written beside the pages' sources, where the site offers them for download; nothing outside the build is written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from . import cache
from .book import Book, Chapter
from .cells import plain_notebook
from .directives import DIRECTIVES
from .markdown import Converter, myst_parser
from .references import References

log = logging.getLogger(__name__)


def take_stamps(app: Sphinx) -> None:
    """Before anything is executed: the stamp that outputs made in this build will get."""
    book = Book(Path(app.srcdir))
    app.env.stamps = {chapter.docname: cache.stamp_now(book.root, chapter.read()) for chapter in book.chapters}


def stamp_outputs(app: Sphinx, doctree: nodes.document) -> None:
    """As soon as a page is read, and with it executed: so that a build which fails later loses nothing."""
    docname = app.env.docname
    if docname in app.env.stamps:
        chapter = Chapter(Path(app.srcdir), docname)
        cache.stamp(cache.open_cache(chapter.root), chapter, app.env.stamps[docname])


def write_notebooks(app: Sphinx, exception: Exception | None) -> None:
    """When the site is finished: every page's plain notebook."""
    if exception is not None or app.builder.format != "html":
        return
    book = Book(Path(app.srcdir))
    executed = cache.open_cache(book.root)
    parser = myst_parser(book.config["parse"]["myst_enable_extensions"])
    for chapter in book.chapters:
        outputs = cache.cached(executed, chapter.read())
        if outputs is None:  # it could not be executed, and myst-nb has said so
            continue

        def warn(message: str, line: int, docname: str = chapter.docname) -> None:
            log.warning("plain notebook: %s", message, location=(docname, line))

        site = References(app.env, app.builder, chapter.docname, book.site)
        converter = Converter(site, parser, DIRECTIVES, book.page_url(chapter.docname), warn)
        notebook = plain_notebook(book, chapter, outputs, converter)
        nbformat.validate(notebook)
        target = Path(app.outdir) / "_sources" / f"{chapter.docname}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(nbformat.writes(notebook) + "\n", encoding="utf8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    os.environ["TQDM_DISABLE"] = "1"  # a progress bar has no place in a stored output
    app.connect("builder-inited", take_stamps)
    app.connect("doctree-read", stamp_outputs)
    app.connect("build-finished", write_notebooks)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
