"""Where figures and records are from: the trace on small programs, and the book's own."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from plain_notebooks.book import Book
from provenance import MODEL, Trace, figures, provenance, records, users

ROOT = Path(__file__).parents[2]
BOOK = Book(ROOT)


@pytest.mark.parametrize(
    ("code", "used"),
    [
        ("draw(table)", True),
        ("part = table[table.k == 2]\nfor k, ax in zip(part, axes):\n    rows.append(k)\ndraw(rows)", True),
        ("rows = {}\nrows['x'] = table\ndraw(rows)", True),
        ("def show(k):\n    return table[k]\ndraw(show(2))", True),
        ("with open_axes() as ax:\n    row = table.mean()\ndraw(row)", True),
        ("if live:\n    rows = run()\nelse:\n    rows = table\ndraw(rows)", True),
        ("if live:\n    rows = table\nelse:\n    rows = run()\ndraw(rows)", True),
        ("total = 0\ntotal += table.sum()\ndraw(total)", True),
        ("a, (b, *c) = table, (1, table)\na = b = 0\ndraw(c)", True),
        ("for step in range(2):\n    shown = later\n    later = table\ndraw(shown)", True),
        ("draw(model)", False),
        ("rows = table\nrows = run()\ndraw(rows)", False),
        ("import lib\nlib.show(table)\ndraw(lib.run())", False),
        ("k = 3\nrows = [k for k in table]\ndraw(k)", False),
        ("k = table\nrows = [k for k in range(3)]\ndraw(rows)", False),
        ("def show(table):\n    k = table\n    return k\ndraw(show(3))", False),
        ("model = fit(**table.settings)\ndraw(model)", False),  # its settings, none of its numbers
        ("if live:\n    rows = run()\nelse:\n    rows = 0\ndraw(rows)", False),
    ],
)
def test_trace(code: str, used: bool) -> None:
    trace = Trace()
    before, _, last = code.rpartition("\n")
    trace.run('table = published("iwae-digits").table\n' + before)
    assert trace.run(last) == (frozenset({"iwae-digits"}) if used else frozenset())


def test_a_name_with_the_data_set_in_it() -> None:
    assert Trace().run('x = published(f"iwae-{images.name}")') == {"iwae-digits", "iwae-mnist"}


def test_every_figure_is_told_and_where_its_cell_is() -> None:
    for chapter in BOOK.chapters:
        text = chapter.source.read_text("utf8")
        found = figures(chapter)
        named = re.findall(r"^    name: (fig-[\w-]+)$|^:::+\{(interactive)\} (\w+)$", text, flags=re.M)
        assert [figure.name for figure in found] == [name or f"{kind}-{of}" for name, kind, of in named]
        lines = text.split("\n")
        for figure in found:
            assert lines[figure.line - 1].startswith(("```{code-cell}", ":::{interactive}"))
            assert any(figure.name.removeprefix("interactive-") in line for line in lines[figure.line - 1 :][:6])


def test_every_record_has_a_reader() -> None:
    tested = (ROOT / "tests/test_records.py").read_text("utf8")
    for name, readers in users(BOOK).items():
        assert readers or f"{name}.json" in tested, name


@pytest.mark.parametrize("path", [*records(ROOT).values(), Path(MODEL)], ids=str)
def test_every_record_says_who_made_it(path: Path) -> None:
    record = json.loads((ROOT / path).read_text("utf8"))
    made = record["provenance"]
    assert {"python", "torch", "numpy", "pandas", "vaelib"} <= set(made["versions"])
    assert {"processor", "cores", "threads", "gpu"} <= set(made["machine"])
    told = provenance(ROOT / path)
    assert re.fullmatch(
        r"(python (-W error )?|torchrun --nproc-per-node=\d )-m vaelib\.experiments [\w-]+( --.*)?"
        r"|python \w+\.py( --.*)?",
        told.command,
    )
    assert re.fullmatch(r"\d\d\s\w{3}\s20\d\d", told.date)
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in told.commits)
    assert told.commits
    assert record["settings"]


def test_every_commit_is_in_the_history() -> None:
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)

    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("no whole history here: clone without --depth to see whether it has the records' commits")
    commits = {commit for path in [*records(ROOT).values(), Path(MODEL)] for commit in provenance(ROOT / path).commits}
    assert [commit for commit in sorted(commits) if git("merge-base", "--is-ancestor", commit, "HEAD").returncode] == []
