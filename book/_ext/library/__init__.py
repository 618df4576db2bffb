"""A Sphinx extension: the pages on vaelib, made from its docstrings by autodoc, and linked with the chapters both ways.

A docstring is translated (see `markup`), and each entry says which chapters use it (see `entries`). On the way back, a
name of vaelib that a page mentions as code becomes a link to its entry (see `links`): an author writes nothing for it,
and plain notebooks, which are made from the pages' sources, know nothing of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plain_notebooks.book import Book
from sphinx.application import Sphinx

from . import entries, names
from .links import LinkNames, link_code


def read_chapters(app: Sphinx) -> None:
    """Before any page is read: what each chapter is called, and what it takes from the library."""
    app.env.library = {chapter.docname: names.Chapter(chapter.read()) for chapter in Book(Path(app.srcdir)).chapters}


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    for extension in ("autodoc", "napoleon", "linkcode"):
        app.setup_extension(f"sphinx.ext.{extension}")
    app.connect("config-inited", entries.locate_sources)
    app.connect("builder-inited", read_chapters)
    app.connect("autodoc-skip-member", entries.skip)
    app.connect("autodoc-process-signature", entries.show_defaults)
    app.connect("autodoc-process-docstring", entries.translate, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-docstring", entries.name_chapters, priority=600)
    app.connect("html-page-context", link_code)
    app.add_post_transform(LinkNames)
    return {"version": "1", "parallel_read_safe": False, "parallel_write_safe": True}
