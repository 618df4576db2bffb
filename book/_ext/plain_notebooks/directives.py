"""The directives that a chapter may use, and the plain Markdown that each becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .boxes import folded, quoted
from .markdown import Converter, Directive

ADMONITIONS = ["note", "tip", "warning", "important", "hint", "caution", "seealso", "danger", "attention", "error"]
THEOREMS = ["axiom", "theorem", "lemma", "definition", "remark", "conjecture", "corollary", "criterion", "example"]
THEOREMS += ["property", "observation", "proposition", "assumption", "notation", "algorithm"]


def text_of(converter: Converter, directive: Directive) -> str:
    """The directive's text, with what stands beside its name where that is no title."""
    return converter.convert(directive.body, directive.body_line)


def admonition(converter: Converter, directive: Directive) -> str:
    """A remark set off from the text, with its own title or the directive's name."""
    own_title = directive.name in {"admonition", "dropdown"}
    title = converter.inline(directive.argument, directive.line) if own_title else directive.name.capitalize()
    beside = "" if own_title else converter.inline(directive.argument, directive.line)
    text = "\n\n".join(part for part in (beside, text_of(converter, directive)) if part)
    return folded(title, text) if directive.closed or directive.name == "dropdown" else quoted(title, text)


def theorem(converter: Converter, directive: Directive) -> str:
    """A theorem, a definition, ... with its number, name and text."""
    kind = directive.name.removeprefix("prf:")
    title = kind.capitalize()
    if "nonumber" not in directive.options:
        title += f" {converter.numbered('theorem', directive.label, directive.line)}"
    return quoted(named(converter, title, directive), text_of(converter, directive))


def proof(converter: Converter, directive: Directive) -> str:
    """A proof: folded where the page folds it."""
    text = text_of(converter, directive)
    text += ("\n\n" if text.endswith("$$") else " ") + "$\\blacksquare$"
    return folded("Proof", text) if directive.closed else quoted("Proof.", text)


def exercise(converter: Converter, directive: Directive) -> str:
    """An exercise's statement; of one that goes on over code cells, the beginning."""
    title = "Exercise"
    if "nonumber" not in directive.options:
        title += f" {converter.numbered('exercise', directive.label, directive.line)}"
    return quoted(named(converter, title, directive), text_of(converter, directive))


def solution_title(converter: Converter, directive: Directive) -> str:
    """The title of a solution; its argument is the label of the exercise."""
    return f"Solution to Exercise {converter.numbered('exercise', directive.argument, directive.line)}"


def solution(converter: Converter, directive: Directive) -> str:
    """A solution in words, always folded."""
    return folded(solution_title(converter, directive), text_of(converter, directive))


def solution_start(converter: Converter, directive: Directive) -> str:
    """From here to solution-end, cells belong to the solution: the converter folds its texts, the notebook its code."""
    converter.solution = solution_title(converter, directive)
    return text_of(converter, directive)


def solution_end(converter: Converter, directive: Directive) -> str:
    """The end of what solution-start began."""
    converter.solution = None
    return ""


def formula(converter: Converter, directive: Directive) -> str:
    """A displayed formula."""
    text = "\n".join(part for part in (directive.argument, directive.body) if part)
    return converter.display(text, directive.label, directive.line)


def figure(converter: Converter, directive: Directive) -> str:
    """An image that lies with the book, by its address on the site."""
    address = converter.site.image(directive.argument)
    if address is None or "alt" not in directive.options:
        converter.warn(f"the image {directive.argument} needs a file and an alt text", directive.line)
    image = f"![{directive.options.get('alt', '')}]({address})"
    if directive.name == "image":
        return image
    return f"{image}\n\n{converter.caption('figure', directive.label, directive.body, directive.body_line)}"


def table(converter: Converter, directive: Directive) -> str:
    """A Markdown table with a caption."""
    caption = converter.caption("table", directive.label, directive.argument, directive.line)
    return f"{caption}\n\n{text_of(converter, directive)}"


def code(converter: Converter, directive: Directive) -> str:
    """Code that is shown and not run."""
    return f"```{directive.argument}\n{directive.body}\n```"


def interactive(converter: Converter, directive: Directive) -> str:
    """What a script draws in the page alone: its caption, with a link to it there."""
    address = f"{converter.page}#interactive-{directive.argument}"
    return f"[This figure moves: open it in the book.]({address}) {text_of(converter, directive)}"


def nothing(converter: Converter, directive: Directive) -> str:
    """What a notebook has no use for."""
    return ""


def named(converter: Converter, title: str, directive: Directive) -> str:
    """A title, with the directive's own name for it in parentheses."""
    name = converter.inline(directive.argument, directive.line)
    return f"{title} ({name})." if name else f"{title}."


DIRECTIVES: Mapping[str, Callable[[Converter, Directive], str]] = {
    **dict.fromkeys([*ADMONITIONS, "admonition", "dropdown"], admonition),
    **{f"prf:{kind}": theorem for kind in THEOREMS},
    "prf:proof": proof,
    "exercise": exercise,
    "exercise-start": exercise,
    "exercise-end": nothing,
    "solution": solution,
    "solution-start": solution_start,
    "solution-end": solution_end,
    "math": formula,
    "figure": figure,
    "image": figure,
    "table": table,
    "code-block": code,
    "interactive": interactive,
}
