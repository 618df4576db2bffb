"""MyST Markdown, as the chapters are written, turned into plain Markdown, as Jupyter and Colab show it.

The text is parsed with MyST's own parser, so what the site takes for a directive is taken for one here. Directives and
roles are rewritten (see `directives` for the former), every other line is copied. What has no plain form is refused
with a warning, and under `-W` a warning is a failed build: this keeps the chapters to the forms that are listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar, Protocol

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.directives import parse_directive_text
from myst_parser.parsers.mdit import create_md_parser

from .boxes import folded, on_one_line

# One pass over a text finds code spans and roles, formulas, links and images; what it passes over is plain already.
INLINE = re.compile(
    r"(?P<role>\{[a-zA-Z][\w:.+-]*\})?(?<!`)(?P<ticks>`+)(?!`)(?P<code>(?:(?!\n\s*\n).)+?)(?<!`)(?P=ticks)(?!`)"
    r"|(?P<display>(?<!\\)\$\$(?:[^$]*\$\$)?)"
    r"|(?P<formula>(?<!\\)\$(?:\\.|(?!\n\s*\n)[^$\\])+\$)"
    r"|(?P<mark>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)",
    re.S,
)
# What the parser marks as a block that is not running text; of lists, quotes and tables it gives the parts.
BLOCKS = {"fence", "colon_fence", "code_block", "html_block", "math_block", "math_block_label", "amsmath"}
BLOCKS |= {"myst_target", "myst_line_comment", "heading_open", "footnote_reference_open"}
# Environments that number themselves, each viewer in its own way.
SELF_NUMBERED = re.compile(r"\\begin\{((?:align|alignat|equation|eqnarray|gather|multline)\*?)\}")


class Site(Protocol):
    """What is asked of the site; `References` answers it from Sphinx."""

    sections: list[tuple[int, ...] | None]

    def role(self, name: str, content: str) -> str | None:
        """A reference or citation as Markdown."""

    def number(self, kind: str, label: str) -> str | None:
        """The number of what a label names, such as 15.2."""

    def image(self, path: str) -> str | None:
        """The address of an image."""

    def page(self, path: str) -> str | None:
        """The address of a page."""


@dataclass
class Directive:
    """A directive as it is written: `name argument`, then `:option: value` lines, then the text."""

    name: str
    argument: str
    options: dict[str, Any]
    body: str
    line: int  # of the page, where its fence opens
    body_line: int  # of the page, where its text begins

    @property
    def label(self) -> str:
        """The label that references use."""
        return str(self.options.get("label") or self.options.get("name") or "")

    @property
    def closed(self) -> bool:
        """Whether the page shows it closed, to be opened by a click."""
        return "dropdown" in str(self.options.get("class") or "")


class AnyDirective:
    """Tells MyST's parser of directives to read an argument, options and a text, whatever they are."""

    required_arguments = 0
    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar = {"any": str}


def myst_parser(extensions: Iterable[str]) -> MarkdownIt:
    """MyST's parser, with some of its optional syntax."""
    return create_md_parser(MdParserConfig(enable_extensions=set(extensions)), RendererHTML)


def read(token: Token, line: int) -> Directive:
    """The directive of a fence that opens at `line` of the page."""
    name, _, argument = token.info.strip().removeprefix("{").partition("}")
    parsed = parse_directive_text(AnyDirective, argument.strip(), token.content, validate_options=False)
    body = "\n".join(parsed.body)
    return Directive(name, " ".join(parsed.arguments), parsed.options, body, line, line + 1 + parsed.body_offset)


class Converter:
    """Turns the Markdown cells of one page, given in their order, into plain Markdown.

    Args:
        site: answers what is not in the text: numbers, titles, addresses.
        parser: MyST's parser, set up as for the site.
        directives: for the name of each directive that is allowed, what makes it plain.
        page: the page's address, for what only the site can show.
        warn: called with a message and a line of the page for what has no plain form.
    """

    def __init__(
        self,
        site: Site,
        parser: MarkdownIt,
        directives: Mapping[str, Callable[[Converter, Directive], str]],
        page: str,
        warn: Callable[[str, int], None],
    ) -> None:
        self.site = site
        self.parser = parser
        self.directives = directives
        self.page = page
        self.warn = warn
        self.sections = iter(site.sections)
        self.solution: str | None = None  # the title of the solution that is open at this point of the page

    def cell(self, source: str, line: int) -> str:
        """Plain Markdown for a whole cell, which starts at `line` of the page; what belongs to a solution is folded."""
        parts = []
        open_before = self.solution  # then its code stands above, and an empty rest is its end
        for solution, pieces in groupby(self._pieces(source, line), key=lambda piece: piece[0]):
            text = _joined(text for _, text in pieces)
            if solution and text:
                text = folded(solution, text)
            elif solution and solution != open_before:
                text = f"**{solution}** stands in the closed cell below."
            parts.append(text)
        return _joined(parts)

    def convert(self, source: str, line: int) -> str:
        """Plain Markdown for a part of a cell."""
        return _joined(text for _, text in self._pieces(source, line))

    def inline(self, text: str, line: int) -> str:
        """Running text with its roles and its links to other pages rewritten."""

        def rewrite(match: re.Match[str]) -> str:
            at = line + text.count("\n", 0, match.start())
            if match["role"]:
                return self._role(match["role"][1:-1], match["code"].strip(), at)
            if match["target"] is not None:
                return self._link(match, at)
            if match["display"]:
                self.warn("$$ inside a paragraph is no displayed formula: leave a blank line before it", at)
            return match[0]

        return INLINE.sub(rewrite, text)

    def numbered(self, kind: str, label: str, line: int) -> str:
        """The number that `label` has on the site."""
        number = self.site.number(kind, label) if label else None
        if number is None:
            self.warn(f"a {kind} without a number: give it a label", line)
        return number or "?"

    def display(self, formula: str, label: str, line: int) -> str:
        """A displayed formula, with the number that it has on the site."""
        formula = formula.strip("\n")
        if match := SELF_NUMBERED.search(formula):
            self.warn(f"{match[1]} numbers itself: write aligned, and label the block for one number", line)
        if re.search(r"(?<!\\)%", formula):
            self.warn("a comment in a formula hides what comes after it: take it out", line)
        tag = f"\n\\tag{{{self.numbered('equation', label, line)}}}" if label else ""
        return f"$$\n{formula}{tag}\n$$"

    def caption(self, kind: str, label: str, text: str, line: int) -> str:
        """The line that goes with a figure or a table."""
        return f"**{kind.capitalize()} {self.numbered(kind, label, line)}.** {self.convert(text, line)}"

    def _pieces(self, source: str, line: int) -> Iterator[tuple[str | None, str]]:
        """Running text and blocks in turn, each with the solution to which it belongs."""
        lines = source.split("\n")
        done = 0
        for token in self.parser.parse(source):
            if token.type not in BLOCKS or token.map is None or token.map[0] < done:
                continue
            start, end = token.map
            yield self.solution, self.inline("\n".join(lines[done:start]), line + done)
            block = self._block(token, lines[start:end], line + start)
            yield self.solution, block
            done = end
        yield self.solution, self.inline("\n".join(lines[done:]), line + done)

    def _block(self, token: Token, lines: list[str], line: int) -> str:
        """A block as plain Markdown, at the depth of the list or quote in which it stands."""
        if token.type in {"fence", "colon_fence"} and token.info.strip().startswith("{"):
            indent, _, _ = lines[0].partition(token.markup)
            text = self._directive(read(token, line))
        elif token.type in {"math_block", "math_block_label"}:
            indent, _, _ = lines[0].partition("$$")
            text = self.display(token.content, token.info if token.type == "math_block_label" else "", line)
        elif token.type == "heading_open":
            number = next(self.sections, None)
            heading = self.inline("\n".join(lines), line)
            return re.sub(r"^(#* ?)", rf"\g<1>{'.'.join(map(str, number))} ", heading) if number else heading
        elif token.type in {"myst_target", "myst_line_comment"}:
            return ""
        elif token.type in {"amsmath", "footnote_reference_open"}:
            self.warn("a footnote or a bare formula has no plain form: write it into the text, or between $$", line)
            return ""
        else:
            return "\n".join(lines)
        if ">" in indent:
            text = on_one_line(text)
        inner = re.sub(r"[^\s>]", " ", indent)  # the bullet stands on the first line alone
        rows = (((inner if n else indent) + row).rstrip() for n, row in enumerate(text.split("\n")))
        return "\n".join(rows)

    def _directive(self, directive: Directive) -> str:
        if directive.name not in self.directives:
            self.warn(f"the directive {{{directive.name}}} has no plain form", directive.line)
            return self.convert(directive.body, directive.body_line)
        return self.directives[directive.name](self, directive)

    def _role(self, name: str, content: str, line: int) -> str:
        if name == "math":
            return f"${content}$"
        text = self.site.role(name, content)
        if text is None:
            self.warn(f"{{{name}}}`{content}` has no plain form, or leads nowhere", line)
            return f"`{content}`"
        return text

    def _link(self, match: re.Match[str], line: int) -> str:
        target = match["target"]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        address = self.site.image(target) if match["mark"] else self.site.page(target)
        if address is None or not match["text"]:
            self.warn(f"the link {match[0]} has no plain form: give a text and a page, or use a role", line)
        return f"{match['mark']}[{match['text']}]({address})"


def _joined(pieces: Iterable[str]) -> str:
    return "\n\n".join(piece.strip("\n") for piece in pieces if piece.strip())
