"""Seals: what has been read, section by section, and what has been measured, record by record.

The check of an equation, an assertion and a voucher each say why one thing is right. A seal says less, but of all the
text and code of the book, and of the docstrings that its last pages are made from: that somebody has read the section
as it stands, against them. Who changes a section breaks its seal; the tests then name it, and `make seals`, once it has
been read again, puts the new seal beside the change.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from pathlib import Path

from plain_notebooks.book import Book

ROOT = Path(__file__).parents[2]
PATH = Path(__file__).with_name("seals.json")
RECORDS = ("book/records", "benchmarks/records", "book/_static/interactive/model")
FENCE = re.compile(r"^( *```+.*?^ *```+)$", re.M | re.S)


def digest(content: bytes) -> str:
    """Sixteen hexadecimal digits of SHA-256: no slip goes unnoticed, and a line holds it."""
    return hashlib.sha256(content).hexdigest()[:16]


def sections(text: str) -> dict[str, str]:
    """The sections of a page by their titles, with code as it stands, and words whatever their line breaks."""
    titles, texts = ["head"], [""]
    for place, piece in enumerate(FENCE.split(text)):
        if place % 2:
            texts[-1] += f"\n\n{piece}"
            continue
        for block in re.split(r"\n\s*\n", piece):
            if title := re.match(r"(?:\(.*\)=\n)?##+ (.*)", block):
                titles.append(title[1] if title[1] not in titles else f"{title[1]} ({len(titles)})")
                texts.append("")
            texts[-1] += "\n\n" + " ".join(block.split())
    return dict(zip(titles, texts, strict=True))


def docstrings(source: str) -> str:
    """All docstrings of a module."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return "\n\n".join(ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, kinds))


def seals() -> dict[str, dict[str, str]]:
    """The digests of the sections of every page, of the docstrings of every module, and of every record."""
    result = {}
    for page in ["README", *Book(ROOT).pages]:
        text = (ROOT / f"{page}.md").read_text("utf8")
        result[page] = {title: digest(section.encode()) for title, section in sections(text).items()}
    modules = {path: docstrings(path.read_text("utf8")) for path in sorted(ROOT.glob("vaelib/**/*.py"))}
    result["docstrings"] = {str(path.relative_to(ROOT)): digest(text.encode()) for path, text in modules.items()}
    records = sorted(path for folder in RECORDS for path in (ROOT / folder).glob("*.*"))
    return result | {"records": {str(path.relative_to(ROOT)): digest(path.read_bytes()) for path in records}}


if __name__ == "__main__":
    PATH.write_text(json.dumps(seals(), indent=2, ensure_ascii=False) + "\n", "utf8")
