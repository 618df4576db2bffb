"""Every section of the book and every record is what it was when it was last read."""

from __future__ import annotations

import json

import pytest

from prose.seals import PATH, docstrings, seals, sections

NOW, THEN = seals(), json.loads(PATH.read_text("utf8"))


@pytest.mark.parametrize("page", [page for page in NOW if page not in ("docstrings", "records")])
def test_the_page_is_as_it_was_read(page: str) -> None:
    now, then = NOW[page].items(), THEN.get(page, {}).items()
    changed = [title for title, _ in [*now, *then] if NOW[page].get(title) != THEN.get(page, {}).get(title)]
    assert list(now) == list(then), f"{page}.md: read again, then `make seals`: {', '.join(dict.fromkeys(changed))}"


def test_the_docstrings_are_as_they_were_read() -> None:
    changed = {path for path, _ in NOW["docstrings"].items() ^ THEN["docstrings"].items()}
    assert not changed, f"read again, then `make seals`: the docstrings of {', '.join(sorted(changed))}"


def test_the_records_are_as_they_were_measured() -> None:
    changed = {path for path, _ in NOW["records"].items() ^ THEN["records"].items()}
    assert not changed, f"records are not edited; if these were measured anew, `make seals`: {', '.join(changed)}"


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ('"""A."""\n\n\ndef f():\n    """B."""\n    return 2\n', True),  # tests hold the code
        ('"""A."""\n\n\ndef f():\n    """C."""\n    return 1\n', False),
        ('"""A, too."""\n\n\ndef f():\n    """B."""\n    return 1\n', False),
        ('"""A."""\n\n\ndef f():\n    return 1\n', False),
    ],
)
def test_what_breaks_the_seal_of_docstrings(source: str, same: bool) -> None:
    before = docstrings('"""A."""\n\n\ndef f():\n    """B."""\n    return 1\n')
    assert (docstrings(source) == before) is same


def test_every_seal_is_of_something() -> None:
    assert list(THEN) == list(NOW)


PAGE = (
    "Begin.\n\n## Title\n\nOne two.\n\n```{code-cell} ipython3\n## not a title\nx = 1\n\ny = 2\n```\n\n## Last\n\nEnd."
)


@pytest.mark.parametrize(
    ("old", "new", "differ"),
    [
        ("One two", "One\ntwo", []),
        ("One two", "One three", ["Title"]),
        ("One two", "One\n\ntwo", ["Title"]),
        ("x = 1\n\n", "x = 1\n", ["Title"]),
        ("x = 1", "x  = 1", ["Title"]),
        ("Begin", "Began", ["head"]),
        ("End.", "End. ", []),
        ("End.", "Ends.", ["Last"]),
    ],
)
def test_what_breaks_a_seal(old: str, new: str, differ: list[str]) -> None:
    before, after = sections(PAGE), sections(PAGE.replace(old, new))
    assert list(before) == list(after) == ["head", "Title", "Last"]
    assert [title for title in before if before[title] != after[title]] == differ
