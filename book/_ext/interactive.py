"""A Sphinx extension: `{interactive} NAME` puts the figure that `_static/interactive/NAME.js` draws into a page.

Its body is the caption. The scripts load on the pages that have such a figure, and each figure's own when the reader
comes near it. Without scripts the page shows a picture of it, `NAME.webp` beside the script, which the option `alt`
describes. Plain notebooks link to the page instead (see `plain_notebooks`).
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri

SCRIPTS = "book/_static/interactive"
WITHOUT_SCRIPTS = "This figure moves, and needs JavaScript for it; this is a picture of it."


class interactive(nodes.General, nodes.Element):
    """The figure; its children are the caption."""


class Interactive(SphinxDirective):
    """`{interactive} NAME`, with a caption as its body, and `alt`, what its picture shows."""

    required_arguments = 1
    option_spec: ClassVar = {"alt": directives.unchanged_required}
    has_content = True

    def run(self) -> list[nodes.Node]:
        """The node, if there are a script and a picture of that name."""
        name = self.arguments[0]
        for file in (f"{name}.js", f"{name}.webp"):
            if not Path(self.env.srcdir, SCRIPTS, file).is_file():
                raise self.error(f"there is no {SCRIPTS}/{file}")
        if not self.content:
            raise self.error("an interactive figure needs a caption, which says what to try and what to see")
        if "alt" not in self.options:
            raise self.error("an interactive figure needs an alt text, for its picture where scripts are off")
        node = interactive(name=name, alt=self.options["alt"], ids=[f"interactive-{name}"])
        self.state.nested_parse(self.content, self.content_offset, node)
        return [node]


def visit_html(translator: Any, node: interactive) -> None:
    """Begin the figure: the stage on which the script draws, then the caption."""
    name = escape(node["name"])
    page = translator.builder.get_target_uri(translator.builder.current_docname)
    picture = relative_uri(page, f"_static/interactive/{name}.webp")
    translator.body.append(
        f'<figure class="interactive" id="{node["ids"][0]}" data-interactive="{name}"><div class="stage"><noscript>'
        f'<p>{WITHOUT_SCRIPTS}</p><img src="{picture}" alt="{escape(node["alt"])}"></noscript></div><figcaption>'
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
