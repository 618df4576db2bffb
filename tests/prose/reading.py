"""What a chapter says in numbers, and the numbers that its code holds.

A chapter is read as blocks of words, each with the code that stands by it: that of its own section, or the whole
chapter's where a section looks back or ahead (the question, the summary, the exercises, the ledger). Theorems and
proofs are left out: their numbers are mathematics, and `tests/equations` has the equations.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from nbformat import NotebookNode
from plain_notebooks.book import Chapter

from vaelib.experiments.records import published

WORDS = {
    "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
    "fifteen": 15, "sixteen": 16, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "eighty": 80,
    "ninety": 90, "hundred": 100, "thousand": 1000, "million": 1e6, "half": 1 / 2, "twice": 2, "double": 2,
    "third": 1 / 3, "thirds": 1 / 3, "quarter": 1 / 4, "quarters": 1 / 4, "fifth": 1 / 5, "fifths": 1 / 5,
    "tenth": 1 / 10, "tenths": 1 / 10, "hundredth": 1 / 100, "thousandth": 1 / 1000,
}  # fmt: skip
COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3} | WORDS
MULTIPLES = ("hundred", "thousand", "million")
FRACTIONS = tuple(word for word, value in WORDS.items() if value < 1 / 2)

WORD = rf"(?:(?:\b(?P<count>{'|'.join(COUNTS)})[ -](?:a )?)?\b(?P<word>{'|'.join(WORDS)})\b)"
DIGITS = r"(?:(?<![\w.,^_-])(?P<digits>\d+(?:,\d{3})*(?:\.\d+)?)(?: (?P<multiple>hundred|thousand|million)\b)?)"
NUMBER = re.compile(rf"{DIGITS}(?P<percent> ?(?:\\?%|per cent))?|{WORD}", re.I)
NAMED = re.compile(r"\b(?:figures?|tables?|sections?|appendix|chapters?|parts?|steps?|hint|sources?|equation)\s$", re.I)

MASKED = (
    r"\{[\w:-]+\}`[^`]*`",  # roles
    r"(`+).*?\1",  # code
    r"\]\([^)]*\)",  # addresses
    r"^\s*\d+\.(?= )",  # the number of an item
    r"\b(?=\w*\d)(?=\w*[a-z])[0-9a-f]{7,40}\b",  # commits
    r"\b(?:19|20)\d\d\b(?!-)",  # years
    r"^\([\w-]+\)=$",  # labels
    r"^#+ .*$",  # titles
    r"\*Run time:\*[^.]*\.",  # another test's
)
MATHS = re.compile(r"(?<!\$)\$(?!\$)[^$]+\$", re.S)
IN_MATHS = re.compile(r"(?<![\w^_{}\\.,])\d+(?:(?:,| , )\d{3})*(?:\.\d+)?(?![\w}^])")
DATA = frozenset((28, 784, 255, 256, 60_000, 10_000, 70_000, 64, 1437, 360, 1797, 560, 1965, 1600))
"""MNIST, scikit-learn's digits and the Frey Face: pixels, grey levels and images. Any chapter may speak of them."""

WHOLE_CHAPTER = re.compile(r"question|summary|exercise|ledger|references|in this chapter", re.I)


class Number(NamedTuple):
    """A number in the text: how it is written, its value, the unit of its last digit, and where in the block it is."""

    text: str
    value: float
    unit: float
    start: int


@dataclass(frozen=True)
class Code:
    """Python by which a number is judged."""

    cells: Sequence[str]
    settings: frozenset[float]

    @cached_property
    def _nodes(self) -> list[ast.AST]:
        python = [re.sub(r"^%.*$", "", cell, flags=re.M) for cell in self.cells]
        return [node for cell in python for node in ast.walk(ast.parse(cell))]

    @cached_property
    def _constants(self) -> set[float]:
        return self.settings.union(*(_constants(node) for node in self._nodes if isinstance(node, ast.Constant)))

    @cached_property
    def _ranges(self) -> list[tuple[float, float]]:
        """What `assert low < value < high` and its like say."""
        chains = [node for node in self._nodes if isinstance(node, ast.Compare) and len(node.ops) == 2]
        ends = [sorted(_constants(node.left) + _constants(node.comparators[-1])) for node in chains]
        return [(low, high) for low, *rest in filter(None, ends) for high in rest]

    def holds(self, number: Number) -> bool:
        """Whether the code has the number: itself, as a share, or between two ends that are near it."""
        value = number.value
        if any(
            abs(value - c) <= 1e-9 * value or (0 < value < 1 and abs(value * c - 1) < 1e-9) for c in self._constants
        ):
            return True
        return any(low < value < high and high - low <= value / 2 for low, high in self._ranges)


def _constants(node: ast.expr) -> list[float]:
    """The number that an expression is, without its sign, if it is one."""
    if isinstance(node, ast.UnaryOp):
        return _constants(node.operand)
    return [node.value] if isinstance(node, ast.Constant) and type(node.value) in (int, float) else []


@dataclass(frozen=True)
class Block:
    """A paragraph, an item or a caption, on one line, and the code that must hold its numbers."""

    text: str
    code: Code

    @cached_property
    def numbers(self) -> list[Number]:
        """The numbers of the text that are said of something: not names such as "figure 3", nor those of formulas."""
        text = self.text
        for pattern in MASKED:
            text = re.sub(pattern, lambda match: " " * len(match[0]), text, flags=re.M)
        text = MATHS.sub(_plain_maths, text)
        found = []
        for match in NUMBER.finditer(text):
            if NAMED.search(text[: match.start()]):
                continue
            number = _number(match)
            if number is not None:
                found.append(number)
        return found


def _plain_maths(match: re.Match[str]) -> str:
    """A formula with nothing left but its decimal numbers and its whole ones from ten, each in its place."""
    formula = match[0].replace("{,}", " , ")  # as long as before
    kept = list(" " * len(formula))
    for number in IN_MATHS.finditer(formula):
        text = number[0].replace(" , ", ",")
        if "." in text or float(text.replace(",", "")) >= 10:
            kept[number.start() : number.end()] = text.ljust(len(number[0]))
    return "".join(kept)


def _number(match: re.Match[str]) -> Number | None:
    if match["digits"]:
        digits = match["digits"].replace(",", "")
        factor = WORDS[match["multiple"].lower()] if match["multiple"] else 1
        factor /= 100 if match["percent"] else 1
        value, unit = float(digits) * factor, 10.0 ** -len(digits.partition(".")[2]) * factor
        return None if float(digits) in (0, 1) else Number(match[0], value, unit, match.start())
    word, count = match["word"].lower(), (match["count"] or "").lower()
    if word in FRACTIONS and not count:
        return None  # an ordinal: the third figure
    value = WORDS[word]
    if count.endswith("ty") and value < 10:
        value += COUNTS[count]  # twenty-five
    elif count:
        value *= COUNTS[count]
    return Number(match[0], value, 0.0, match.start())


def blocks(chapter: Chapter) -> Iterator[Block]:
    """The blocks of a chapter, in the order of its text."""
    sections = list(_sections(chapter.read()))
    everything = [cell for section in sections for cell in section.code]
    settings = DATA.union(_settings(everything))
    whole = Code(everything, settings)
    for section in sections:
        own = whole if WHOLE_CHAPTER.search(section.title) else Code(section.code, settings)
        for text, in_exercise in section.texts:
            yield Block(" ".join(text.split()), whole if in_exercise else own)


class Section(NamedTuple):
    """A section's title, its blocks of words (and whether they belong to an exercise), and its code."""

    title: str
    texts: list[tuple[str, bool]]
    code: list[str]


def _sections(notebook: NotebookNode) -> Iterator[Section]:
    section = Section("in this chapter", [], [])
    for cell in notebook.cells:
        if cell.cell_type == "code":
            figure = cell.metadata.get("mystnb", {}).get("figure")
            if figure is None:
                section.code.append(cell.source)
            else:
                section.texts.append((figure["caption"], False))
            continue
        for part in re.split(r"^(?=## )", cell.source, flags=re.M):
            if part.startswith("## "):
                yield section
                section = Section(part.partition("\n")[0], [], [])
            section.texts.extend(_words(part))
    yield section


def _words(markdown: str) -> Iterator[tuple[str, bool]]:
    """Paragraphs, items and rows but for formulas, theorems and proofs; and whether an exercise has them."""
    markdown = re.sub(r"^(:::+)\{prf:.*?^\1$", "", markdown, flags=re.M | re.S)
    markdown = re.sub(r"^ *(```+).*?^ *\1$", "", markdown, flags=re.M | re.S)
    markdown = re.sub(r"^ *\$\$.*?\$\$.*?$", "", markdown, flags=re.M | re.S)
    pieces = re.split(r"^((:::+)\{(?:exercise|solution)\}.*?^\2$)", markdown, flags=re.M | re.S)
    for place in range(0, len(pieces), 3):  # text, exercise, its fence, text, ...
        for piece, in_exercise in ((pieces[place], False), (pieces[place + 1 : place + 2], True)):
            for text in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) )", "".join(piece)):
                if text.strip():
                    yield text, in_exercise


def _settings(cells: Sequence[str]) -> Iterator[float]:
    """The numbers in the settings of the records that are read, and how many seeds they have."""
    for name in {name for cell in cells for name in re.findall(r'published\(\s*f?"([\w-]+)"', cell)}:
        record = published(name)
        yield len(record.seeds)
        yield from _leaves(record.settings)


def _leaves(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _leaves(entry)
    elif type(value) in (int, float):
        yield abs(value)
