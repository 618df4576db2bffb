"""A small book to try the book's tools on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TOC = """\
format: jb-book
root: book/index
parts:
  - caption: One part
    numbered: true
    chapters:
      - file: book/part/sample
  - caption: Appendices
    chapters:
      - file: book/references
"""
INDEX = """\
---
myst: {html_meta: {description: A small book.}}
---
# A small book
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small book with the real book's settings and tools, and one chapter that uses every form there is."""
    for name in ("_config.yml", "pyproject.toml", "requirements.txt", "book/references.md", "book/references.bib"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("book/_ext", "book/_static"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("book/part", "vaelib", "_build/katex/katex"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_build/katex/katex/katex.min.css").touch()
    (tmp_path / "_toc.yml").write_text(TOC)
    (tmp_path / "book/index.md").write_text(INDEX)
    (tmp_path / "book/part/small.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    shutil.copy(Path(__file__).parent / "sample.md", tmp_path / "book/part/sample.md")
    (tmp_path / "vaelib/__init__.py").touch()
    return tmp_path
