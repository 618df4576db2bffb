"""The entries, as autodoc makes them of docstrings: each object once, with its fields, its source and its chapters."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from plain_notebooks.book import Book
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

from . import names
from .markup import to_rst

log = logging.getLogger(__name__)


def locate_sources(app: Sphinx, config: Config) -> None:
    """Tell sphinx.ext.linkcode where the source of an entry is."""
    book = Book(Path(app.srcdir))
    branch = book.config["repository"]["branch"]

    def address(domain: str, info: dict[str, str]) -> str | None:
        place = source_of(info["module"], info["fullname"])
        return place and f"{book.repository}/blob/{branch}/{place}"

    config.linkcode_resolve = address


def source_of(module: str, name: str) -> str | None:
    """The file and the lines that define a class or function of the library; None for anything else."""
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        value = inspect.getattr_static(value, part, None)
    if isinstance(value, classmethod | staticmethod):
        value = value.__func__
    value = getattr(value, "fget", None) or getattr(value, "func", None) or value  # of a property, cached or not
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return None
    lines, first = inspect.getsourcelines(value)
    return f"{value.__module__.replace('.', '/')}.py#L{first}-L{first + len(lines) - 1}"


def skip(app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Show each object once, and fields in the signature of their class only; the rest is autodoc's to say."""
    if type(value).__name__ == "_tuplegetter":  # a field of a named tuple
        return True
    if what == "class" and inspect.isfunction(value) and value.__name__ != name:  # a field whose default is a function
        return True
    if what == "module" and (inspect.isclass(value) or inspect.isfunction(value)) and "._" not in value.__module__:
        return names.home(name, value.__module__) != app.env.temp_data["autodoc:module"] or None
    return None


def show_defaults(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Leave out the defaults of a data class that are no expressions: `<factory>`, or a function at some address."""
    return signature and re.sub(r"= <[^<>]*>", "= ...", signature), result


def translate(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring from Markdown to reStructuredText, before napoleon sees to its sections."""

    def link(title: str) -> str:
        meant = [docname for docname, chapter in app.env.library.items() if chapter.title.startswith(title)]
        if len(meant) != 1:
            log.warning('the docstring of %s names "%s", where %d chapters begin so', name, title, len(meant))
            return title
        return f":doc:`/{meant[0]}`"

    lines[:] = to_rst("\n".join(lines), link, of_value=what in {"attribute", "data", "property"}).split("\n")


def name_chapters(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Add to an entry which chapters use it."""
    users = [docname for docname, chapter in app.env.library.items() if name in chapter.used]
    if users and what in {"function", "class", "exception", "data"}:
        lines += ["", f":Used in: {'; '.join(f':doc:`/{docname}`' for docname in users)}", ""]
