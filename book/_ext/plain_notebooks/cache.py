"""The outputs a build starts from: the committed notebooks, put where myst-nb looks for executed chapters.

Each executed notebook carries a stamp, written when it was executed: the fingerprint of the code behind it and the
data set. The stamp travels with the outputs, from the cache to the committed notebook and back, and is never renewed
without execution; so outputs that are out of date can be told from the others.
"""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from nbformat import NotebookNode

from .book import Book, Chapter
from .cells import with_outputs
from .fingerprint import LIBRARY, fingerprint

Stamp = dict[str, str]


def open_cache(root: Path) -> JupyterCacheAbstract:
    """The cache of executed chapters that Jupyter Book keeps for the book in `root`."""
    return get_cache(str(root / "_build/.jupyter_cache"))


def stamp_now(root: Path, notebook: NotebookNode) -> Stamp:
    """The stamp that outputs get which are made now, in this environment."""
    return {"fingerprint": fingerprint(root, notebook), "dataset": os.environ.get("VAELIB_DATASET") or "mnist"}


def stamp_of(notebook: NotebookNode) -> Stamp | None:
    """The stamp that a notebook's outputs carry."""
    stamp = notebook.metadata.get(LIBRARY)
    return dict(stamp) if stamp else None


def cached(cache: JupyterCacheAbstract, notebook: NotebookNode) -> NotebookNode | None:
    """The executed notebook with the same code cells and kernel, if the cache has it."""
    try:
        return cache.get_cache_bundle(cache.match_cache_notebook(notebook).pk).nb
    except KeyError:
        return None


def store(cache: JupyterCacheAbstract, notebook: NotebookNode, name: str) -> None:
    """Put an executed notebook into the cache, in place of one with the same code cells."""
    cache.cache_notebook_bundle(CacheBundleIn(notebook, name), check_validity=False, overwrite=True)


def stamp(cache: JupyterCacheAbstract, chapter: Chapter, value: Stamp) -> None:
    """Stamp the chapter's outputs in the cache, where they carry none: they were made in this build."""
    executed = cached(cache, chapter.read())
    if executed is not None and stamp_of(executed) is None:
        executed.metadata[LIBRARY] = value
        store(cache, executed, chapter.docname)


def seed(book: Book, *, only_current: bool) -> None:
    """Fill the cache from the committed notebooks.

    Args:
        book: the book.
        only_current: leave out outputs whose stamp is not the one they would get now, so that a build executes
            those chapters. A reader's build takes them all, and executes nothing.
    """
    cache = open_cache(book.root)
    for chapter in book.chapters:
        source = chapter.read()
        now = stamp_now(book.root, source)
        present = cached(cache, source)
        if chapter.notebook.is_file():
            committed = with_outputs(source, nbformat.read(chapter.notebook, as_version=4))
            # What is in the cache may be newer than what is committed: a build executed it, and failed elsewhere.
            newer = present is not None and stamp_of(present) == now
            if committed is not None and (stamp_of(committed) == now or not newer):
                store(cache, committed, chapter.docname)
                present = committed
        if present is not None and (stamp_of(present) is None or (only_current and stamp_of(present) != now)):
            cache.remove_cache(cache.match_cache_notebook(source).pk)
