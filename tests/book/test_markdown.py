"""Each form of MyST that a chapter may use, and what becomes of it; each other form, and that it is refused."""

from __future__ import annotations

import pytest
from plain_notebooks.directives import ADMONITIONS, DIRECTIVES, THEOREMS
from plain_notebooks.markdown import Converter, myst_parser

PARSER = myst_parser({"amsmath", "colon_fence", "dollarmath"})


class Site:
    """A site on which everything whose name begins with `a` exists."""

    def __init__(self) -> None:
        self.sections: list[tuple[int, ...] | None] = [(3,), (3, 1), None]

    def role(self, name: str, content: str) -> str | None:
        return f"[{name} {content}](there)" if content.startswith("a") else None

    def number(self, kind: str, label: str) -> str | None:
        return f"3.{len(kind)}" if label.startswith("a") else None

    def image(self, path: str) -> str | None:
        return f"site/{path}" if path.startswith("a") else None

    def page(self, path: str) -> str | None:
        return f"site/{path}" if path.startswith("a") else None


class Trial:
    """A converter, and the warnings that it gave."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, int]] = []
        self.converter = Converter(
            Site(), PARSER, DIRECTIVES, "page", lambda text, line: self.warnings.append((text, line))
        )

    def __call__(self, text: str) -> str:
        return self.converter.cell(text, 1)


@pytest.fixture
def trial() -> Trial:
    return Trial()


PLAIN = {
    "running text": ("Words, *words*, `code`.", "Words, *words*, `code`."),
    "role": ("See {eq}`a`, {ref}`a b`.", "See [eq a](there), [ref a b](there)."),
    "role over two lines": ("See {ref}`a\nb <ac>`.", "See [ref a\nb <ac>](there)."),
    "role in a code span": ("`` {eq}`a` `` and ```{eq}`b` ```", "`` {eq}`a` `` and ```{eq}`b` ```"),
    "role without a target": ("`{note}` and {note}", "`{note}` and {note}"),
    "role in a formula": (r"$\{eq\}`a` {x}$", r"$\{eq\}`a` {x}$"),
    "formula by role": (r"{math}`\pi`", r"$\pi$"),
    "escaped dollar": (r"\$5 and {eq}`a` for \$6", r"\$5 and [eq a](there) for \$6"),
    "backticks without a partner": ("a `` b {eq}`a`", "a `` b [eq a](there)"),
    "role in a table": ("| a |\n|---|\n| {eq}`a` |", "| a |\n|---|\n| [eq a](there) |"),
    "headings": ("# One\n\n## Two\n\n### Three", "# 3 One\n\n## 3.1 Two\n\n### Three"),
    "label and comment": ("(a-label)=\n% remark\nText.", "Text."),
    "formula": ("Now\n\n$$\nx\n$$\nthen", "Now\n\n$$\nx\n$$\n\nthen"),
    "labelled formula": ("$$\nx\n$$ (a)", "$$\nx\n\\tag{3.8}\n$$"),
    "formula by directive": ("```{math}\n:label: a\n\nx\n```", "$$\nx\n\\tag{3.8}\n$$"),
    "code": ("```python\n{eq}`b`\n\n\n:::{note}\n```", "```python\n{eq}`b`\n\n\n:::{note}\n```"),
    "code by directive": ("```{code-block} python\n{eq}`b`\n```", "```python\n{eq}`b`\n```"),
    "indented code": ("Text\n\n    {eq}`b`\n", "Text\n\n    {eq}`b`"),
    "theorem": (
        ":::{prf:theorem} Name {eq}`a`\n:label: a\n\nText.\n:::",
        "> **Theorem 3.7 (Name [eq a](there)).**\n>\n> Text.",
    ),
    "theorem without number": (":::{prf:remark}\n:nonumber:\nText.\n:::", "> **Remark.**\n>\n> Text."),
    "proof": (":::{prf:proof}\nText.\n:::", "> **Proof.**\n>\n> Text. $\\blacksquare$"),
    "proof that ends in a formula": (
        ":::{prf:proof}\n$$\nx\n$$\n:::",
        "> **Proof.**\n>\n> $$ x $$\n>\n> $\\blacksquare$",
    ),
    "folded proof": (
        ":::{prf:proof}\n:class: dropdown\nText.\n:::",
        "<details>\n<summary><b>Proof</b></summary>\n\nText. $\\blacksquare$\n\n</details>",
    ),
    "exercise": ("```{exercise}\n:label: a\nDo.\n```", "> **Exercise 3.8.**\n>\n> Do."),
    "exercise over cells": (
        "```{exercise-start} Name\n:label: a\n```\nDo.\n```{exercise-end}\n```",
        "> **Exercise 3.8 (Name).**\n\nDo.",
    ),
    "solution": (
        "```{solution} a\nDone.\n```",
        "<details>\n<summary><b>Solution to Exercise 3.8</b></summary>\n\nDone.\n\n</details>",
    ),
    "admonition": (":::{admonition} Title\nText.\n:::", "> **Title**\n>\n> Text."),
    "text beside a name": ("```{note} Text.\n```", "> **Note**\n>\n> Text."),
    "folded admonition": (
        ":::{admonition} Hint\n:class: tip dropdown\nText.\n:::",
        "<details>\n<summary><b>Hint</b></summary>\n\nText.\n\n</details>",
    ),
    "nested": (
        "````{note}\n\n:::{dropdown} More\n```{math}\nx\n```\n:::\n````",
        "> **Note**\n>\n> <details>\n> <summary><b>More</b></summary>\n>\n> $$ x $$\n>\n> </details>",
    ),
    "in a list": ("- item\n\n  ```{note}\n  Text.\n  ```\n- next", "- item\n\n  > **Note**\n  >\n  > Text.\n\n- next"),
    "first in a list": ("- ```{note}\n  Text.\n  ```", "- > **Note**\n  >\n  > Text."),
    "in a quote": ("> ```{note}\n> Text.\n> ```", "> > **Note**\n> >\n> > Text."),
    "formulas in a box": (
        "```{note}\nHere $a\nb$ and\n\n$$\nx \\\\\ny\n$$ (a)\n```",
        "> **Note**\n>\n> Here $a b$ and\n>\n> $$ x \\\\ y \\tag{3.8} $$",
    ),
    "code with dollars in a box": (
        "````{note}\nUse `$x`:\n\n```sh\necho $x\necho $y\n```\n````",
        "> **Note**\n>\n> Use `$x`:\n>\n> ```sh\n> echo $x\n> echo $y\n> ```",
    ),
    "dollars in two paragraphs": ("It costs $5.\n\nBy {eq}`a`, $6.", "It costs $5.\n\nBy [eq a](there), $6."),
    "formula in a quote": ("> Text\n>\n> $$\n> x\n> $$", "> Text\n>\n\n> $$ x $$"),
    "figure": (
        "```{figure} a.png\n:name: a\n:alt: A dot.\nText.\n```",
        "![A dot.](site/a.png)\n\n**Figure 3.6.** Text.",
    ),
    "image": ("```{image} a.png\n:alt: A dot.\n```", "![A dot.](site/a.png)"),
    "image by Markdown": ("![A dot.](a.png)", "![A dot.](site/a.png)"),
    "table": ("```{table} Text\n:name: a\n| b |\n|---|\n```", "**Table 3.5.** Text\n\n| b |\n|---|"),
    "links": ("[out](https://x.org/a) [in](a.md#b)", "[out](https://x.org/a) [in](site/a.md#b)"),
    "interactive figure": (
        ":::{interactive} gradients\n:alt: Two curves.\n\nTry *this*.\n:::",
        "[This figure moves: open it in the book.](page#interactive-gradients) Try *this*.",
    ),
}


@pytest.mark.parametrize(("text", "plain"), PLAIN.values(), ids=PLAIN)
def test_plain_form(trial: Trial, text: str, plain: str) -> None:
    assert trial(text) == plain
    assert trial.warnings == []


@pytest.mark.parametrize("name", [*ADMONITIONS, *(f"prf:{kind}" for kind in THEOREMS)])
def test_every_kind_of_box(trial: Trial, name: str) -> None:
    kind = name.removeprefix("prf:")
    number = " 3.7." if name.startswith("prf:") else ""
    assert trial(f":::{{{name}}}\n:label: a\n:::") == f"> **{kind.capitalize()}{number}**"
    assert trial.warnings == []


REFUSED = {
    "unknown directive": ("Text\n\n```{epigraph}\nWord.\n```", 3),
    "unknown directive in a directive": ("````{note}\n\n```{epigraph}\nWord.\n```\n````", 3),
    "unknown role": ("Text\n{abbr}`b`", 2),
    "role that leads nowhere": ("{eq}`b`", 1),
    "role that leads nowhere, in a directive": (":::{note}\nText\n{eq}`b`\n:::", 3),
    "formula that numbers itself": ("\\begin{align}\nx\n\\end{align}", 1),
    "formula that numbers itself, displayed": ("$$\n\\begin{align}\nx\n\\end{align}\n$$", 1),
    "formula inside a paragraph": ("Now\n$$\nx\n$$", 2),
    "comment in a formula": ("$$\nx % remark\n$$", 1),
    "label of no formula": ("$$\nx\n$$ (b)", 1),
    "theorem without a label": (":::{prf:lemma}\nText.\n:::", 1),
    "exercise without a label": ("```{exercise}\nText.\n```", 1),
    "solution of nothing": ("```{solution} b\nText.\n```", 1),
    "figure without an alt text": ("```{figure} a.png\n:name: a\n```", 1),
    "figure without a file": ("```{figure} b.png\n:name: a\n:alt: A dot.\n```", 1),
    "footnote": ("Text[^1]\n\n[^1]: Note.", 3),
    "link to no page": ("[text](b.md)", 1),
    "link by label": ("[text](#b)", 1),
    "link without a text": ("[](a.md)", 1),
}


@pytest.mark.parametrize(("text", "line"), REFUSED.values(), ids=REFUSED)
def test_refused(trial: Trial, text: str, line: int) -> None:
    trial(text)
    assert [at for _, at in trial.warnings] == [line]


def test_solution_over_cells(trial: Trial) -> None:
    """Its texts are folded each on its own, and the converter tells the notebook which code belongs to it."""
    assert trial("Before.\n\n```{solution-start} a\n:class: dropdown\n```\n\nFirst.") == (
        "Before.\n\n<details>\n<summary><b>Solution to Exercise 3.8</b></summary>\n\nFirst.\n\n</details>"
    )
    assert trial.converter.solution == "Solution to Exercise 3.8"
    assert trial("Then.\n\n```{solution-end}\n```\n\nAfter.") == (
        "<details>\n<summary><b>Solution to Exercise 3.8</b></summary>\n\nThen.\n\n</details>\n\nAfter."
    )
    assert trial.converter.solution is None
    assert trial("```{solution-start} a\n```") == "**Solution to Exercise 3.8** stands in the closed cell below."
    assert trial("```{solution-end}\n```\n\nAfter.") == "After."  # nothing more to announce
    assert trial.warnings == []
