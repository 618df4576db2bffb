"""A Sphinx extension: `{equation-checks}` is a table of the book's numbered equations and of what checks each.

It is read from the source of `tests/equations`: the label and the kind from the arguments of `@checks`, the route from
the function's docstring. Nothing is imported and nothing is run; the tests see to it that the table is complete.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.statemachine import StringList
from plain_notebooks.book import Book
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

CHECKS = Path("tests/equations")


class Entry(NamedTuple):
    """A check, as the table shows it."""

    label: str
    kind: str
    route: str
    wrong: int
    line: int


def entries(source: str) -> Iterator[Entry]:
    """The checks of a module, in the order of its text."""
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for call in function.decorator_list:
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "checks":
                label, kind, _ = (ast.literal_eval(argument) for argument in call.args)
                wrong = next(keyword.value for keyword in call.keywords if keyword.arg == "wrong")
                route = " ".join((ast.get_docstring(function) or "").split())
                yield Entry(label, kind, route, len(wrong.keys), function.lineno)


class EquationChecks(SphinxDirective):
    """`{equation-checks}`, without arguments."""

    def run(self) -> list[nodes.Node]:
        """A table for each chapter that has numbered equations."""
        book = Book(Path(self.env.srcdir))
        code = f"{book.repository}/blob/{book.config['repository']['branch']}/{CHECKS}"
        lines: list[str] = []
        for page in book.pages:
            if page.startswith("book/library/"):  # some of these are called as a chapter is
                continue
            path = book.root / CHECKS / f"{page.rpartition('/')[2].replace('-', '_')}.py"
            if not path.is_file():
                continue
            self.env.note_dependency(str(path))
            lines += [
                "",
                f"**{{doc}}`/{page}`**",
                "",
                "| equation | the other side | by | refused |",
                "|---|---|---|---|",
            ]
            for entry in entries(path.read_text("utf8")):
                source = f"{code}/{path.name}#L{entry.line}"
                lines.append(f"| {{eq}}`{entry.label}` | {entry.route} | [{entry.kind}]({source}) | {entry.wrong} |")
        box = nodes.container(classes=["equation-checks"])
        self.state.nested_parse(StringList(lines, source=__file__), 0, box)
        return [box]


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_directive("equation-checks", EquationChecks)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
