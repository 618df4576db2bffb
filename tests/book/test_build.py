"""Whole builds of a small book, as `make book` and `make notebooks` run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
from plain_notebooks.book import Book
from plain_notebooks.cache import seed, stamp_of
from plain_notebooks.checks import problems, unplain

BUILD = [str(Path(sys.executable).parent / "jupyter-book"), "build", ".", "--all", "-W", "-n", "--keep-going"]


def build(root: Path) -> tuple[int, str]:
    """The exit status of a strict build, and all that it printed."""
    run = subprocess.run(BUILD, cwd=root, capture_output=True, text=True, timeout=240)
    return run.returncode, run.stdout + run.stderr


def test_outputs_are_made_once_and_then_carried(root: Path) -> None:
    """A first build executes; a second one starts from the committed notebook, and gives it back to the byte."""
    book = Book(root)
    (chapter,) = book.chapters
    before = {path for path in root.rglob("*") if "_build" not in path.parts}

    status, log = build(root)
    assert status == 0, log
    assert "Executed notebook" in log
    assert before == {path for path in root.rglob("*") if "_build" not in path.parts}  # a build writes nothing else
    assert all((root / f"_build/html/{page}.html").is_file() for page in book.pages)

    notebook = nbformat.read(chapter.built_notebook, as_version=4)
    text = "\n\n".join(cell.source for cell in notebook.cells)
    page = f"{book.site}book/part/sample.html"
    for expected in [
        "# 1 A sample",
        "## 1.1 A bound",
        f"[Figure 1.2]({page}#fig-line), [Picture 1.1]({page}#fig-small) and [(1.1)]({page}#equation-bound).",
        f"After Kingma and Welling [[2014]({book.site}book/references.html#cite-kingma2014auto)]",
        f"[[Rezende et al., 2014]({book.site}book/references.html#cite-rezende2014stochastic)]",
        "\\ln p(x)\n\\tag{1.1}\n$$",
        "> $$ \\begin{aligned} a &= b \\\\ &= c. \\end{aligned} \\tag{1.2} $$",
        f"[Definition 1.1]({page}#def-gap), [Exercises]({page}#exercises), [References]({book.site}book/references.",
        f"[This figure moves: open it in the book.]({page}#interactive-gradients) Two estimates of $\\mathcal{{L}}$.",
        f"[the paper list]({book.site}book/references.html)",
        f"![A small square.]({book.site}_images/small.svg)\n\n**Figure 1.1.** Nothing to see.",
        f"**Table 1.1.** Two numbers\n\n| a | [(1.1)]({page}#equation-bound) |",
        f"**Figure 1.2.** A line, for [(1.2)]({page}#equation-split).",
        "> **Exercise 1.1 (With the pen).**",
        "<summary><b>Solution to Exercise 1.1</b></summary>",
        "# @title Solution to Exercise 1.2 (closed: click to open)\nprint(1 + 1)",
        f"[Exercise 1.1]({page}#ex-pen), [Exercise 1.2]({page}#ex-code), [the list]({book.site}book/references.html)",
        "Code such as `` {eq}`bound` `` or `{note}` stays:",
    ]:
        assert expected in text
    assert list(unplain(notebook)) == []
    scripts = {
        page: (root / f"_build/html/{page}.html").read_text().count("interactive/start.js") for page in book.pages
    }
    assert scripts == {"book/index": 0, "book/part/sample": 1, "book/references": 0}
    sample = (root / "_build/html/book/part/sample.html").read_text()
    still = re.search(r'<noscript><p>.*?</p><img [^>]*?src="(.*?)" alt="Two &quot;curves&quot;\."></noscript>', sample)
    assert still is not None
    assert (root / "_build/html/book/part" / still[1]).is_file()

    # Commit it, with an output that the code does not give, and with the stamp of other code: a reader's build
    # must show the one and keep the other, or it executed, or it renewed the stamp.
    chapter.notebook.parent.mkdir()
    committed = chapter.built_notebook.read_text("utf8")
    committed = committed.replace('"computed\\n"', '"remembered\\n"')
    committed = committed.replace(str((stamp_of(notebook) or {})["fingerprint"]), "0" * 64)
    chapter.notebook.write_text(committed, "utf8")
    subprocess.run(["rm", "-rf", root / "_build/html", root / "_build/.jupyter_cache"], check=True)
    seed(book, only_current=False)
    status, log = build(root)
    assert status == 0, log
    assert "Executing notebook" not in log
    assert "remembered" in (root / "_build/html/book/part/sample.html").read_text("utf8")
    assert chapter.built_notebook.read_bytes() == chapter.notebook.read_bytes()
    assert [problem for problem in problems(book) if "older than vaelib" in problem]


FAULTS = {
    "```{epigraph}\nA word before.\n```": "the directive {epigraph} has no plain form",
    "{abbr}`ELBO (evidence lower bound)`": "{abbr}`ELBO (evidence lower bound)` has no plain form",
    "See {ref}`nowhere`.": "undefined label: 'nowhere'",
    "See {eq}`never`.": "equation not found: never",
    "See {prf:ref}`nothing`.": "label 'nothing' not found",
    "{cite:t}`nobody1999`": 'could not find bibtex key "nobody1999"',
    "[a page](missing.md)": "'missing.md'",
    "$$\n\\undefined\n$$": "a formula that KaTeX cannot set",
    "\\begin{align}\na &= b\n\\end{align}": "a bare formula has no plain form",
    "```{prf:lemma}\nNo label.\n```": "a theorem without a number",
    "```{code-cell} python3\nfrom IPython.display import SVG\n\nSVG('<svg xmlns=\"x\"/>')\n```": (
        "an image without an alt text"
    ),
    "```{code-cell} python3\nimport sys\n\nprint('careful', file=sys.stderr)\n```": "stderr was found",
    "```{interactive} nothing\n:alt: A.\n\nA caption.\n```": "there is no book/_static/interactive/nothing.js",
    "```{interactive} gradients\n:alt: A.\n```": "an interactive figure needs a caption",
    "```{interactive} gradients\nA caption.\n```": "an interactive figure needs an alt text",
    '<script src=\'https://example.org/x.js\'></script>\n<img src="https://example.org/x.png" alt="A picture.">': (
        "the page loads from another host"
    ),
}


def test_each_fault_fails_the_build(root: Path) -> None:
    """Every fault that a build can see is told, and the build fails; they are tried together, for a build is slow."""
    chapter = root / "book/part/sample.md"
    chapter.write_text(chapter.read_text("utf8") + "\n\n" + "\n\n".join(FAULTS), "utf8")
    index = root / "book/index.md"
    index.write_text("# No description\n", "utf8")
    status, log = build(root)
    assert status != 0
    told = re.sub(r"\x1b\[[0-9;]*m", "", log)
    assert [message for message in [*FAULTS.values(), "no description"] if message not in told] == []
