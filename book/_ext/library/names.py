"""Which object of the library a name stands for, in a chapter's code or in a module, and under which name it is shown.

An object is shown once: in the package that offers it in `__all__`, as readers import it, or else where it is defined.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

LIBRARY = "vaelib"


@dataclass(frozen=True)
class Chapter:
    """What a chapter's code takes from the library."""

    source: NotebookNode

    @cached_property
    def code(self) -> str:
        """All code cells as one module."""
        magics = TransformerManager()
        return "\n".join(magics.transform_cell(cell.source) for cell in self.source.cells if cell.cell_type == "code")

    @cached_property
    def title(self) -> str:
        """The title of the page, as Markdown."""
        lines = (line for cell in self.source.cells if cell.cell_type == "markdown" for line in cell.source.split("\n"))
        return next(line.removeprefix("# ") for line in lines if line.startswith("# "))

    @cached_property
    def names(self) -> dict[str, str]:
        """What the chapter calls the things that it imports."""
        return imported(self.code)

    @cached_property
    def used(self) -> set[str]:
        """The entries of all that the chapter uses."""
        return {entry(name) for name in used(self.code)}


def imported(code: str) -> dict[str, str]:
    """What code calls the things that it imports from the library: {"plots": "vaelib.plots"}."""
    found = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == LIBRARY:
            found.update({name.asname or name.name: f"{node.module}.{name.name}" for name in node.names})
        elif isinstance(node, ast.Import):
            modules = [name for name in node.names if name.name.split(".")[0] == LIBRARY]
            found.update({name.asname or LIBRARY: name.name if name.asname else LIBRARY for name in modules})
    return found


def full_name(name: str, known: dict[str, str]) -> str:
    """A name in full, where it is one of the library's; else nothing."""
    head, dot, rest = name.partition(".")
    head = known.get(head, head)
    return head + dot + rest if head.split(".")[0] == LIBRARY else ""


def used(code: str) -> set[str]:
    """The full names of what code uses of the library, and of all that they are part of."""
    known = imported(code)
    nodes = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute | ast.Name))
    return {part for node in nodes for part in prefixes(full_name(ast.unparse(node), known))}


def prefixes(name: str) -> Iterator[str]:
    """Of `a.b.c`: `a`, `a.b`, `a.b.c`."""
    parts = name.split(".")
    yield from (".".join(parts[: end + 1]) for end in range(len(parts)) if name)


@cache
def of_module(module: str) -> dict[str, str]:
    """What a module of the library calls the things that it takes from the others."""
    return imported(inspect.getsource(importlib.import_module(module)))


def home(name: str, module: str) -> str:
    """The module as part of which a class or function is shown that `module` defines."""
    packages = (above for above in prefixes(module) if name in getattr(importlib.import_module(above), "__all__", ()))
    return next(packages, module)


@cache
def entry(name: str) -> str:
    """The name under which the pages show what `name`, any full name of an object or module, stands for."""
    module = ""
    for longer in prefixes(name):
        if module and not (hasattr(importlib.import_module(module), "__path__") and find_spec(longer)):
            break
        module = longer
    if module == name:
        return name
    first, dot, rest = name.removeprefix(f"{module}.").partition(".")
    while "._" not in (source := of_module(module).get(first, "._")):  # what is private is shown where it is offered
        module, _, first = source.rpartition(".")
    value = getattr(importlib.import_module(module), first, None)
    if inspect.isclass(value) or inspect.isfunction(value):
        module = home(first, module)
    return f"{module}.{first}{dot}{rest}"
