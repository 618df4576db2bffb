"""A Sphinx extension: `{interactive} NAME` puts the figure that `_static/interactive/NAME.js` draws into a page.

Its body is the caption. The scripts load on the pages that have such a figure, and each figure's own when the reader
comes near it; without scripts the page says so. Plain notebooks link to the page instead (see `plain_notebooks`).
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SCRIPTS = "book/_static/interactive"
WITHOUT_SCRIPTS = "This figure moves, and needs JavaScript for it. The text, and the figures around it, do not."


class interactive(nodes.General, nodes.Element):
    """The figure; its children are the caption."""


class Interactive(SphinxDirective):
    """`{interactive} NAME`, with a caption as its body."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The node, if there is a script of that name."""
        name = self.arguments[0]
        if not Path(self.env.srcdir, SCRIPTS, f"{name}.js").is_file():
            raise self.error(f"there is no {SCRIPTS}/{name}.js")
        if not self.content:
            raise self.error("an interactive figure needs a caption, which says what to try and what to see")
        node = interactive(name=name, ids=[f"interactive-{name}"])
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def visit_html(translator: Any, node: interactive) -> None:
    """Begin the figure: the stage on which the script draws, then the caption."""
    name = escape(node["name"])
    translator.body.append(
        f'<figure class="interactive" id="{node["ids"][0]}" data-interactive="{name}">'
        f'<div class="stage"><noscript>{WITHOUT_SCRIPTS}</noscript></div><figcaption>'
    )


def depart_html(translator: Any, node: interactive) -> None:
    """End the caption and the figure."""
    translator.body.append("</figcaption></figure>\n")


def add_scripts(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document) -> None:
    """Load the style and the small script that opens figures, on the pages that have any."""
    if doctree is not None and next(doctree.findall(interactive), None) is not None:
        app.add_css_file("interactive/interactive.css")
        app.add_js_file("interactive/start.js", type="module")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.add_node(interactive, html=(visit_html, depart_html))
    app.add_directive("interactive", Interactive)
    app.connect("html-page-context", add_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
