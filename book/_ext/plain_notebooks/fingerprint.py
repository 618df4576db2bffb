"""Which code a chapter's outputs came from: a hash that changes when they may have.

jupyter-cache looks at a chapter's own cells only. This hash covers what stands behind them: the modules of vaelib
that the chapter imports, directly or through others, without their comments and docstrings; and the pinned version of
each package that vaelib depends on. It is the same under every version of Python, so it is taken from the text and
not from `ast.dump`.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LIBRARY = "vaelib"
BREAKS = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENCODING}


def fingerprint(root: Path, notebook: NotebookNode) -> str:
    """The SHA-256, in hexadecimal, of the library code and the pins behind a notebook's outputs."""
    magics = TransformerManager()
    cells = [magics.transform_cell(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    digest = hashlib.sha256()
    for name, path in sorted(modules_behind(root, "\n".join(cells)).items()):
        digest.update(f"module {name}\n{bare(path.read_text('utf8'))}\n".encode())
    for pin in pins(root):
        digest.update(f"{pin}\n".encode())
    return digest.hexdigest()


def modules_behind(root: Path, code: str) -> dict[str, Path]:
    """The library's modules that `code` imports, and those that they import in turn: name to file."""
    found: dict[str, Path] = {}
    waiting = list(imported(code, package=""))
    while waiting:
        parts = waiting.pop().split(".")
        for end in range(1, len(parts) + 1):  # importing a.b.c runs a, then a.b, then a.b.c
            name = ".".join(parts[:end])
            folder = root.joinpath(*parts[:end])
            path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            if parts[0] == LIBRARY and name not in found and path.is_file():
                found[name] = path
                package = name if folder.is_dir() else name.rpartition(".")[0]
                waiting += imported(path.read_text("utf8"), package)
    return found


def imported(code: str, package: str) -> Iterator[str]:
    """Dotted names that `code` may import; of `from a import b` both a and a.b, since b may be a module."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def bare(source: str) -> str:
    """Python source without comments, docstrings, blank lines and trailing space."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    lines = source.splitlines()
    drop = [token for token in tokens if token.type == tokenize.COMMENT]
    for before, token, after in zip([tokens[-1], *tokens], tokens, tokens[1:], strict=False):
        starts = before.type in BREAKS or before.type == tokenize.ENDMARKER
        if token.type == tokenize.STRING and starts and after.type == tokenize.NEWLINE:
            drop.append(token)
    for token in sorted(drop, key=lambda token: token.start, reverse=True):
        (row, column), (end_row, end_column) = token.start, token.end
        lines[row - 1 : end_row] = [lines[row - 1][:column] + lines[end_row - 1][end_column:]]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def pins(root: Path) -> list[str]:
    """The lines of requirements.txt that pin a package which pyproject.toml says the library needs."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf8"))["project"]
    needed = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    lines = (line.partition("#")[0].strip() for line in (root / "requirements.txt").read_text("utf8").splitlines())
    required = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return sorted(str(requirement) for requirement in required if canonicalize_name(requirement.name) in needed)
