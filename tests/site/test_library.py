"""The pages on the library, as they were built: each public object once, and linked with the chapters both ways.

What is public is found here by walking the imported modules, and what chapters use by reading their import lines.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag

import vaelib

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build/html"
KINDS = {"function", "class", "exception", "method", "property", "attribute", "data"}


def modules() -> Iterator[ModuleType]:
    for info in pkgutil.walk_packages(vaelib.__path__, "vaelib."):
        if not any(part.startswith("_") for part in info.name.split(".")):
            yield importlib.import_module(info.name)


def public() -> dict[int, str]:
    """Each public class, function and method: its identity, and one of its names."""
    found: dict[int, str] = {}
    for module in modules():
        offered = getattr(module, "__all__", None)
        for name, value in vars(module).items():
            ours = getattr(value, "__module__", "").startswith("vaelib") and (
                name in offered if offered is not None else value.__module__ == module.__name__
            )
            if name.startswith("_") or not ours or not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            found[id(value)] = f"{module.__name__}.{name}"
            for member, function in vars(value).items() if inspect.isclass(value) else ():
                bare = getattr(function, "__func__", None) or getattr(function, "fget", None) or function
                bare = getattr(bare, "func", bare)
                if not member.startswith("_") and inspect.isfunction(bare) and bare.__name__ == member:
                    found[id(bare)] = f"{module.__name__}.{name}.{member}"
    return found


@pytest.fixture(scope="module")
def pages() -> dict[str, BeautifulSoup]:
    """The built pages on the library."""
    files = sorted((SITE / "book/library").glob("*.html"))
    assert files, "the site is not built: run `make site-test`, which builds it first"
    return {path.stem: BeautifulSoup(path.read_text("utf8"), "html.parser") for path in files}


@pytest.fixture(scope="module")
def entries(pages: dict[str, BeautifulSoup]) -> dict[str, list[tuple[str, Tag]]]:
    """Where each object of the library is shown: the page, and the list that is its entry."""
    found: dict[str, list[tuple[str, Tag]]] = {}
    for page, html in pages.items():
        for entry in html.select("dl.py"):
            assert KINDS & set(entry["class"])
            found.setdefault(entry.find("dt", class_="sig-object")["id"], []).append((page, entry))
    return found


def named(name: str) -> Any:
    """The object that an entry's name leads to, without what wraps a method."""
    module = max((m.__name__ for m in modules() if name.startswith(f"{m.__name__}.")), key=len)
    value: Any = importlib.import_module(module)
    for part in name.removeprefix(f"{module}.").split("."):
        value = inspect.getattr_static(value, part, None)
    value = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
    return getattr(value, "func", value)


def test_every_public_object_is_shown_exactly_once(entries: dict[str, list[tuple[str, Tag]]]) -> None:
    shown = [id(named(name)) for name, places in entries.items() for _ in places]
    expected = public()
    assert len(expected) > 250
    assert {name: shown.count(key) for key, name in expected.items() if shown.count(key) != 1} == {}
    assert [name for name in entries if any(part.startswith("_") for part in name.split("."))] == []


def test_every_public_module_is_introduced_exactly_once(pages: dict[str, BeautifulSoup]) -> None:
    ids = [tag["id"] for html in pages.values() for tag in html.find_all(id=re.compile("^module-"))]
    assert len(ids) == len(set(ids))
    left_out = {module.__name__ for module in modules()} - {name.removeprefix("module-") for name in ids}
    parts = ("vaelib.gaussians.", "vaelib.plots.", "vaelib.exercises.catalogue.")  # their packages speak for them
    assert [name for name in left_out if not name.startswith(parts)] == []


def imports(chapter: Path) -> Iterator[tuple[str, Any]]:
    """What a chapter imports from the library by name, and the object."""
    text = re.sub(r"\(\n([^)]*)\)", lambda match: " ".join(match[1].split()), chapter.read_text("utf8"))
    for module, names in re.findall(r"^from (vaelib\S*) import (.+)$", text, re.M):
        for name in names.strip(" ,").split(","):
            value = getattr(importlib.import_module(module), name.strip(), None)
            if inspect.isclass(value) or inspect.isfunction(value):
                yield name.strip(), value


def prose(chapter: Path) -> str:
    """A chapter without its code cells, headings and titles."""
    text = re.sub(r"^(`{3,}).*?^\1", "", chapter.read_text("utf8"), flags=re.M | re.S)
    return re.sub(r"^(?:#|:::).*$", "", text, flags=re.M)


def test_entries_and_chapters_lead_to_each_other(entries: dict[str, list[tuple[str, Tag]]]) -> None:
    known = {id(named(name)): (name, *places[0]) for name, places in entries.items()}
    links = 0
    for chapter in sorted((ROOT / "book").glob("part-*/*.md")):
        address = f"{chapter.parent.name}/{chapter.stem}.html"
        html, text = (SITE / "book" / address).read_text("utf8"), prose(chapter)
        for name, value in imports(chapter):
            full, page, entry = known[id(value)]
            assert entry.find("a", href=f"../{address}"), f"the entry of {full} does not name {address}"
            link = rf'href="../library/{page}\.html#{re.escape(full)}"[^>]*>'
            assert re.search(link + f"{name}</a>", html), f"{address} imports {name}, without a link"
            if f"`{name}`" in text:
                links += 1
                assert re.search(link + "<code", html), f"{address} mentions {name}, without a link"
    assert links >= 15


def test_no_heading_of_a_chapter_is_a_link_to_the_library() -> None:
    chapters = list((SITE / "book").glob("part-*/*.html"))
    assert chapters
    for path in chapters:
        headings = re.findall(r"<h[1-6]\b.*?</h[1-6]>", path.read_text("utf8"), re.S)
        assert headings
        assert [heading for heading in headings if "library/" in heading] == []
