"""The code that keeps to the page: vaelib's modules and the chapters' cells."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from plain_notebooks.book import Book

ROOT = Path(__file__).parents[2]
CHAPTERS = {page: (ROOT / f"{page}.md").read_text("utf8") for page in Book(ROOT).pages if "/part-" in page}
MODULES = {str(path.relative_to(ROOT)): path.read_text("utf8") for path in sorted((ROOT / "vaelib").rglob("*.py"))}


def is_public(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return not node.name.startswith("_") or node.name in ("__init__", "__call__")


def arguments(function: ast.FunctionDef) -> list[ast.arg]:
    spec = function.args
    return [arg for arg in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs] if arg.arg not in ("self", "cls")]


def public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The public functions of a module, and the methods of its public classes, each with the name of its class."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and is_public(node):
            yield "", node
        if isinstance(node, ast.ClassDef) and is_public(node):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and is_public(inner):
                    yield node.name, inner


class Use(NamedTuple):
    """A line of code."""

    where: str
    line: int
    tree: ast.AST


def cells(page: str, text: str) -> Iterator[tuple[int, str]]:
    """The code cells of a chapter, each with the number of the line before it."""
    for match in re.finditer(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", text, re.S | re.M):
        head = re.match(r"(?:---\n.*?\n---\n|(?::[^\n]*\n)+)?", match[1], re.S)
        assert head is not None
        yield text[: match.start(1)].count("\n") + head[0].count("\n"), re.sub(r"(?m)^%.*$", "", match[1][head.end() :])


@cache
def all_code() -> tuple[Use, ...]:
    chapters = [Use(page, line, ast.parse(cell)) for page, text in CHAPTERS.items() for line, cell in cells(page, text)]
    return (*(Use(module, 0, ast.parse(source)) for module, source in MODULES.items()), *chapters)
