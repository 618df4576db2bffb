"""How plain Markdown sets a text apart: quoted under a title, or folded behind it."""

from __future__ import annotations

import re

FORMULA_OR_CODE = re.compile(
    r"^(?P<fence>[ >]*`{3,}).*?^(?P=fence)`*[ \t]*$|`[^`\n]+`"
    r"|(?P<formula>(?<!\\)\$\$.*?\$\$|(?<!\\)\$(?:\\.|(?!\n\s*\n)[^$\\])+\$)",
    re.S | re.M,
)


def on_one_line(text: str) -> str:
    """Text for a block quote: Jupyter takes formulas out before it reads Markdown, with any `>` that stands in them."""
    return FORMULA_OR_CODE.sub(lambda match: match[0].replace("\n", " ") if match["formula"] else match[0], text)


def quoted(title: str, text: str) -> str:
    """A block quote under a bold title."""
    rows = on_one_line(f"**{title}**\n\n{text}").rstrip("\n").split("\n")
    return "\n".join(f"> {row}".rstrip() for row in rows)


def folded(title: str, text: str) -> str:
    """A text behind its title, to be opened by a click; the blank lines let Markdown work inside."""
    return f"<details>\n<summary><b>{title}</b></summary>\n\n{text}\n\n</details>"
