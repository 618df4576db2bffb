r"""The docstrings' Markdown as the reStructuredText that autodoc reads.

Theirs is a small part of Markdown: `$...$` and `$$...$$` for formulas, backticks for code, emphasis, lists, and plain
addresses, which are the same in both; and the title of a chapter, as in `Chapter: "SGVB"`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

PIECES = re.compile(
    r"^(?P<indent> *)\$\$(?P<display>[^$]+)\$\$ *$"
    r"|\$(?P<formula>[^$]+)\$"
    r"|`(?P<code>[^`]+)`"
    r'|Chapter:\s+"(?P<chapter>[^"]+)"'
    r"|(?P<example>^ *>>>.*\n(?: *\S.*\n?)*)"
    r"|(?P<special>[\\|]|(?<=\w)_(?!\w)|(?<=: )\w(?=\.(?:\s|$)))",  # text in Markdown, and not in reStructuredText
    re.M,
)
RETURNS = re.compile(r"^(Returns:\n +)(?=\S)", re.M)


def to_rst(text: str, chapter: Callable[[str], str], *, of_value: bool = False) -> str:
    """A docstring in reStructuredText; its sections are left to napoleon.

    Args:
        text: The docstring.
        chapter: Makes a reference of a chapter's title.
        of_value: Whether it is the docstring of a constant or a property.
    """

    def translated(match: re.Match[str]) -> str:
        kind, content = match.lastgroup, match[match.lastgroup or 0]
        if kind == "display":
            indent = match["indent"]
            lines = "".join(f"\n{indent}   {line.strip()}" for line in content.strip().split("\n"))
            return f"{indent}.. math::\n{lines}\n"
        if kind == "formula":
            return apart(f":math:`{content}`", match)
        if kind == "code":
            return apart(f"``{content}``", match)
        if kind == "chapter":
            return f"Chapter: {chapter(' '.join(content.split()))}"
        return content if kind == "example" else f"\\{content}"

    # napoleon takes what stands before a colon for the type of a result or value; here the signature says it.
    return ": " * of_value + RETURNS.sub(r"\1: ", PIECES.sub(translated, text))


def apart(markup: str, match: re.Match[str]) -> str:
    """Markup kept apart from the letters that it touches, by an escaped space, which reStructuredText does not show."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    return "\\ " * bool(re.search(r"[^\s\"'(\[{</:-]$", before)) + markup + "\\ " * bool(re.match(r"\w", after))
