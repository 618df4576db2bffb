"""The symbols of the page are in the chapters, and what it retires is not."""

from __future__ import annotations

import re
from functools import cache

import pytest

from notation.code import CHAPTERS
from notation.page import PAGE, ROWS, tables

LAYOUT = re.compile(r"&|\\(?:[,;!:\\]|q?quad|[bB]igg?[lrm]?|left|right)")


def bare(tex: str) -> str:
    """LaTeX without what only moves things apart, aligns them or makes them larger."""
    tokens = [
        token
        for token in re.findall(r"\\[A-Za-z]+|\\.|\S", tex.replace(r"\Vert", r"\|"))
        if not LAYOUT.fullmatch(token)
    ]
    text = "".join(f"{token} " if token[0] == "\\" and token[-1].isalpha() else token for token in tokens)
    return re.sub(r" (?![A-Za-z])", "", text)


@cache
def maths(page: str) -> tuple[tuple[int, str], ...]:
    """The formulas of a chapter's text, each with its line."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", lambda m: re.sub(r"[^\n]", " ", m[0]), CHAPTERS[page], flags=re.S | re.M)
    found = re.finditer(r"\$\$(.*?)\$\$|\$([^$]+)\$", text, re.S)
    return tuple((text[: m.start()].count("\n") + 1, m[1] or m[2]) for m in found)


@cache
def all_maths() -> str:
    return "\n".join(bare(tex) for page in CHAPTERS for _, tex in maths(page))


@pytest.mark.parametrize(
    "symbol", sorted({symbol for row in ROWS for symbol in re.findall(r"\$([^$]+)\$", row.symbol)})
)
def test_every_symbol_is_in_a_chapter(symbol: str) -> None:
    """As it stands, and not as the beginning or the end of a longer name."""
    tex = re.escape(bare(symbol))
    tex = rf"(?<![A-Za-z\\]){tex}" if symbol[0].isalpha() else tex
    tex = rf"{tex}(?![A-Za-z])" if symbol[-1].isalpha() else tex
    assert re.search(tex, all_maths())


RETIRED = {
    r"$\ln$": r"\\ln(?![A-Za-z])",
    r"$D_{KL}$, $\mathcal{D}$, $KL$, $\mathbf{KL}$": r"D_\{?(?:KL|\\mathrm\{KL)|\\mathcal\{D\}|(?<!\\mathrm\{)KL",
    r"$E$, $\mathbf{E}$": r"(?<![A-Za-z{}\\_^])E_\{?(?:q|p|z|x|\\phi)|\\mathbf\{E\}|(?<![A-Za-z{\\])E\[",
    r"$\mathbf{x}$, $\mathbf{z}$": r"\\mathbf\{[A-Za-z]|\\boldsymbol",
    r"$x^{(i)}$, $z^{(l)}$, $\varepsilon^{(l)}$": r"(?:[xz]|\\varepsilon)\}?\^\{\(",
    r"$p_\theta(z)$, $p(z; \theta)$": r"p_\\theta\(z\)|p\([zZ];",
    r"$\otimes$, $\oplus$": r"\\otimes|\\oplus",
    r"$\mu + \sigma \epsilon$": r"\\epsilon(?:_[a-z])?\\sim|(?:\\sigma|\\odot|\+S|\+L)(?:\([^)]*\))?\\epsilon",
    r"$\sum_j^J$": r"\^\{?J",
}
"""What the page retires, and how to recognise it."""

OURS = {r"$\mathrm{H}(q)$": r"\\mathrm\{H\}"}
"""No source's: of two forms for one thing the book keeps the other."""

QUOTED = {
    ("book/part-3/reparameterization", r"$\ln$"): "source 4's draw",
    ("book/part-3/score-function", r"$\mathbf{x}$, $\mathbf{z}$"): "the formula on the slide",
    ("book/part-3/score-function", r"$x^{(i)}$, $z^{(l)}$, $\varepsilon^{(l)}$"): "the formula on the slide",
    ("book/part-4/q3-1-affine-noise", r"$p_\theta(z)$, $p(z; \theta)$"): "the sheet's prior",
    ("book/part-4/q3-2-full-covariance", r"$p_\theta(z)$, $p(z; \theta)$"): "the sheet's prior",
}
"""Where a chapter prints what a source writes, to say that it does not."""


def test_the_page_retires_what_is_tested() -> None:
    *_, last = tables(PAGE)
    assert [row[0] for row in last] == list(RETIRED)


def test_no_chapter_writes_what_is_retired() -> None:
    found = {
        (page, form): line
        for page in CHAPTERS
        for form, pattern in (RETIRED | OURS).items()
        for line, tex in maths(page)
        if re.search(pattern, bare(tex))
    }
    new = [f"{page}, line {line}: {form}" for (page, form), line in found.items() if (page, form) not in QUOTED]
    assert not new, "\n".join(["see the appendix on notation for what to write instead:", *new])
    assert set(QUOTED) <= set(found), f"take them off the list: {set(QUOTED) - set(found)}"
