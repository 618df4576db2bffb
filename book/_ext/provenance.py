"""A Sphinx extension: `{figure-sources}` and `{record-sources}` say where the book's figures and records are from.

Both are read off: a figure's cell, and the records that its numbers come from, from the code of its chapter; who made a
record from the record itself. Nothing is imported from the chapters and nothing is run.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.statemachine import StringList
from plain_notebooks.book import Book, Chapter
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDERS = ("book/records", "benchmarks/records")
MODEL = "book/_static/interactive/model/model.json"
INTERACTIVE = re.compile(r"^:::+\{interactive\} (\w+)$", re.M)
META = ("settings", "seeds", "provenance")
DATASETS = ("mnist", "digits")


class Figure(NamedTuple):
    """A figure, the line of the chapter where its cell begins, and the records that its numbers come from."""

    name: str
    line: int
    records: tuple[str, ...]


class Trace:
    """Which records the variables of a chapter have their numbers from, statement by statement.

    An assignment replaces what its target had; an item's assignment, a method's call or a change in place adds to it.
    """

    def __init__(self) -> None:
        self.records: dict[str, frozenset[str]] = {}
        self.imported: set[str] = set()  # what comes with a library has nothing from a record, and keeps nothing

    def run(self, cell: str) -> frozenset[str]:
        """Follow a cell, and tell which records it has read, or used numbers from."""
        return self._all(ast.parse(re.sub(r"^%.*$", "", cell, flags=re.M)).body)

    def _all(self, statements: Iterable[ast.stmt]) -> frozenset[str]:
        return frozenset().union(*[self._statement(statement) for statement in statements])

    def _statement(self, statement: ast.stmt) -> frozenset[str]:
        match statement:
            case ast.Import(names) | ast.ImportFrom(_, names):
                self.imported |= {alias.asname or alias.name.partition(".")[0] for alias in names}
                return frozenset()
            case ast.FunctionDef(name):
                self.records[name] = used = self._of(statement)
                return used
            case ast.For(target, values, body):
                self._assign(target, used := self._of(values))
                return used | self._all(body) | self._all(body)  # the second time with what the first has changed
            case ast.With(items, body):
                return frozenset().union(*(self._of(item) for item in items)) | self._all(body)
            case ast.If(_, body, others):
                before = dict(self.records)
                used = self._all(body)
                after, self.records = self.records, before
                used |= self._all(others)
                for name, records in after.items():
                    self._add(name, records)
                return used
        used = self._of(statement)
        for node in ast.walk(statement):
            match node:
                case ast.Assign(targets):
                    for target in targets:
                        self._assign(target, used)
                case ast.AugAssign(target) | ast.Expr(ast.Call(ast.Attribute(target))):
                    for name in _names(target):
                        self._add(name, used)
        return used

    def _of(self, node: ast.AST) -> frozenset[str]:
        """The records in an expression or a statement."""
        return _published(node).union(*(self.records.get(name, ()) for name in _free(node)))

    def _assign(self, target: ast.expr, records: frozenset[str]) -> None:
        if isinstance(target, ast.Tuple | ast.List | ast.Starred):
            for part in ast.iter_child_nodes(target):
                if isinstance(part, ast.expr):
                    self._assign(part, records)
        elif isinstance(target, ast.Name):
            self.records[target.id] = records
        else:  # table["column"] = ...
            for name in _names(target):
                self._add(name, records)

    def _add(self, name: str, records: frozenset[str]) -> None:
        if name not in self.imported:
            self.records[name] = self.records.get(name, frozenset()) | records


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _free(node: ast.AST) -> set[str]:
    """The names that are read, but for those of arguments, of a function's own and a comprehension's variables.

    Nor those of which only the settings are read: a live run with a record's settings has none of its numbers.
    """
    inner = list(ast.walk(node))
    own = {argument.arg for argument in inner if isinstance(argument, ast.arg)}
    for part in inner:
        if isinstance(part, ast.comprehension):
            own |= _names(part.target)
    if isinstance(node, ast.FunctionDef):
        own |= {name.id for name in inner if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
    settings = {id(part.value) for part in inner if isinstance(part, ast.Attribute) and part.attr in META}
    read = [name for name in inner if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Load)]
    return {name.id for name in read if id(name) not in settings} - own


def _published(tree: ast.AST) -> frozenset[str]:
    """The records that are read, `published(f"iwae-{images.name}")` on either data set."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name("published"), [ast.Constant(str(name))]):
                names.add(name)
            case ast.Call(ast.Name("published"), [ast.JoinedStr([ast.Constant(str(start)), ast.FormattedValue()])]):
                names |= {start + dataset for dataset in DATASETS}
    return frozenset(names)


def figures(chapter: Chapter) -> list[Figure]:
    """The figures of a chapter, in the order of its text."""
    notebook, text, trace = chapter.read(), chapter.source.read_text("utf8"), Trace()
    moving = INTERACTIVE.finditer(text)
    found = [Figure(f"interactive-{place[1]}", text[: place.start()].count("\n") + 1, ()) for place in moving]
    for cell, line in zip(notebook.cells, notebook.metadata["source_map"], strict=True):
        if cell.cell_type == "code":
            used = trace.run(cell.source)
            if figure := cell.metadata.get("mystnb", {}).get("figure"):
                found.append(Figure(figure["name"], line, tuple(sorted(used))))
    return sorted(found, key=lambda figure: figure.line)


def records(root: Path) -> dict[str, Path]:
    """The paths of all records by their names."""
    return {path.stem: path.relative_to(root) for folder in FOLDERS for path in sorted((root / folder).glob("*.json"))}


def users(book: Book) -> dict[str, list[str]]:
    """The chapters that read a record, for each."""
    found: dict[str, list[str]] = {name: [] for name in records(book.root)}
    for chapter in book.chapters:
        code = [cell.source for cell in chapter.read().cells if cell.cell_type == "code"]
        for name in Trace().run("\n".join(code)):
            found[name].append(chapter.docname)
    return found


class Sources(SphinxDirective):
    """What the two tables have in common."""

    def address(self, book: Book, path: object) -> str:
        """Where a file of the repository is shown."""
        return f"{book.repository}/blob/{book.config['repository']['branch']}/{path}"

    def table(self, name: str, lines: list[str]) -> list[nodes.Node]:
        """The parsed lines."""
        box = nodes.container(classes=[name])
        self.state.nested_parse(StringList(lines, source=__file__), 0, box)
        return [box]


class FigureSources(Sources):
    """`{figure-sources}`, without arguments."""

    def run(self) -> list[nodes.Node]:
        """A table for each chapter with figures."""
        book, lines = Book(Path(self.env.srcdir)), []
        paths = records(book.root)
        for chapter in book.chapters:
            self.env.note_dependency(str(chapter.source))
            if rows := figures(chapter):
                lines += ["", f"**{{doc}}`/{chapter.docname}`**", "", "| figure | drawn from | by |", "|---|---|---|"]
            for figure in rows:
                if figure.name.startswith("interactive-"):
                    name = figure.name.removeprefix("interactive-")
                    script = self.address(book, f"book/_static/interactive/{name}.js")
                    shown, drawn, link = f"*{name}* (it moves)", "what the reader does", f"[script]({script})"
                else:
                    links = [f"[{name}]({self.address(book, paths[name])})" for name in figure.records if name in paths]
                    shown, drawn = f"{{numref}}`{figure.name}`", ", ".join(links) or "the chapter's own run"
                    link = f"[cell]({self.address(book, f'{chapter.docname}.md')}#L{figure.line})"
                lines.append(f"| {shown} | {drawn} | {link} |")
        return self.table("figure-sources", lines)


class RecordSources(Sources):
    """`{record-sources}`, without arguments."""

    def run(self) -> list[nodes.Node]:
        """One table of all records."""
        book = Book(Path(self.env.srcdir))
        read_by = users(book)
        lines = ["| record | made by | at | read in |", "|---|---|---|---|"]
        for name, path in records(book.root).items():
            self.env.note_dependency(str(book.root / path))
            lines.append(self.row(book, name, path, read_by[name]))
        return self.table("record-sources", lines)

    def row(self, book: Book, name: str, path: Path, pages: list[str]) -> str:
        """A record's row."""
        made = provenance(book.root / path)
        commits = ", ".join(f"[{commit[:7]}]({book.repository}/tree/{commit})" for commit in made.commits)
        at = f"{commits}{made.remark}; {made.date}, {made.duration}, {made.machine}"
        readers = [f"{{doc}}`/{page}`" for page in pages]
        if not readers:  # a chapter quotes it in words, and a test compares
            readers = [f"[a test]({self.address(book, 'tests/test_records.py')})"]
        return f"| [{name}]({self.address(book, path)}) | `{made.command}` | {at} | {', '.join(readers)} |"


class Provenance(NamedTuple):
    """Who made a record, in words."""

    command: str
    commits: tuple[str, ...]
    remark: str
    date: str
    duration: str
    machine: str


def provenance(path: Path) -> Provenance:
    """What a record says of its making, that of its jobs included where these were run one at a time."""
    made = json.loads(path.read_text("utf8"))["provenance"]
    runs = [made, *made.get("jobs", {}).values()]
    states = [run["git"] for run in runs if "git" in run]
    seconds = max(made["seconds"], sum(run["seconds"] for run in runs[1:]))
    machine = made["machine"]
    launcher = f"torchrun --nproc-per-node={made.get('processes', 1)}"  # it starts its processes with -u
    return Provenance(
        command=re.sub(r" --out \S+", "", made["command"].replace("python -u", launcher)),
        commits=tuple(dict.fromkeys(state["commit"] for state in states)),
        remark=", with changes" if any(state["dirty"] for state in states) else "",
        date=f"{datetime.fromisoformat(made['date']):%d\u00a0%b\u00a0%Y}",
        duration=f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s",
        machine=f"{machine['gpu'] or machine['processor']}, {machine['threads']} of {machine['cores']} cores",
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_directive("figure-sources", FigureSources)
    app.add_directive("record-sources", RecordSources)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
