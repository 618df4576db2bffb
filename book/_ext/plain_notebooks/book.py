"""What the book consists of, and where it lives: read from `_toc.yml` and `_config.yml`, written nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import yaml
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from nbformat import NotebookNode
from sphinx_external_toc.parsing import parse_toc_yaml

NOTEBOOKS = "book/notebooks"


@dataclass(frozen=True)
class Chapter:
    """A page of the book that runs: a MyST text notebook."""

    root: Path
    docname: str

    @property
    def source(self) -> Path:
        """The text notebook, the only copy that is edited."""
        return self.root / f"{self.docname}.md"

    @property
    def notebook_name(self) -> str:
        """The plain notebook made from it, as a path in the repository."""
        return f"{NOTEBOOKS}/{PurePosixPath(self.docname).name}.ipynb"

    @property
    def notebook(self) -> Path:
        """The committed plain notebook."""
        return self.root / self.notebook_name

    @property
    def built_notebook(self) -> Path:
        """The plain notebook as the last build of the site wrote it; the page offers it for download."""
        return self.root / "_build/html/_sources" / f"{self.docname}.ipynb"

    def read(self) -> NotebookNode:
        """The chapter as a notebook, cut into cells by the reader that the site uses."""
        return read_myst_markdown_notebook(self.source.read_text("utf8"), add_source_map=True, path=self.source)


@dataclass(frozen=True)
class Book:
    """The book whose `_config.yml` and `_toc.yml` lie in `root`."""

    root: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of `_config.yml`."""
        return dict(yaml.safe_load((self.root / "_config.yml").read_text("utf8")))

    @cached_property
    def pages(self) -> list[str]:
        """Every page's docname, in the order of the contents."""
        return [str(name) for name in parse_toc_yaml(self.root / "_toc.yml")]

    @cached_property
    def chapters(self) -> list[Chapter]:
        """The pages that run, in the order of the contents."""
        chapters = [Chapter(self.root, page) for page in self.pages]
        return [c for c in chapters if is_myst_markdown_notebook(c.source.read_text("utf8"))]

    @property
    def repository(self) -> str:
        """The repository's address."""
        return str(self.config["repository"]["url"]).rstrip("/")

    @property
    def site(self) -> str:
        """The address GitHub Pages gives the repository's site, with a closing slash."""
        owner, name = urlsplit(self.repository).path.strip("/").split("/")
        return f"https://{owner}.github.io/{name}/"

    def page_url(self, docname: str) -> str:
        """The address of a page of the site."""
        return f"{self.site}{docname}.html"

    def colab_url(self, chapter: Chapter) -> str:
        """The address that opens a chapter's plain notebook in Colab."""
        path = urlsplit(self.repository).path.strip("/")
        branch = self.config["repository"]["branch"]
        colab = self.config["launch_buttons"]["colab_url"]
        return f"{colab}/github/{path}/blob/{branch}/{chapter.notebook_name}"
