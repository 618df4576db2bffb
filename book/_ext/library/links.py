"""Links from the names of vaelib on a page to their entries: in the text, and in the code of its cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

from . import names

NAME = re.compile(r"\w+(\.\w+)*")
PLACE = nodes.document | nodes.section | addnodes.desc
DOTTED = re.compile(r'<span class="n">\w+</span>(?:<span class="o">\.</span><span class="n">\w+</span>)*')
NOT_LINKED = nodes.title | nodes.reference | addnodes.desc_signature


def link_code(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: nodes.document) -> None:
    """Link the first mention of each name in the code of a chapter, which for most is where it is imported."""
    if pagename not in app.env.library:
        return
    known, entries = app.env.library[pagename].names, app.env.get_domain("py").data["objects"]
    linked = set()

    def link(match: re.Match[str]) -> str:
        name = names.full_name(re.sub(r"<[^>]*>", "", match[0]), known)
        name = name and names.entry(name)
        if name not in entries or name in linked:
            return match[0]
        linked.add(name)
        page = app.builder.get_relative_uri(pagename, entries[name].docname)
        return f'<a href="{page}#{entries[name].node_id}" title="{name}">{match[0]}</a>'

    context["body"] = DOTTED.sub(link, context["body"])


class LinkNames(SphinxPostTransform):
    """Makes links of the names of vaelib that a page mentions as code."""

    default_priority = 20  # after Sphinx has resolved the references that authors wrote
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Link the first mention of each name in each section, or in each entry of the library."""
        entries = self.env.get_domain("py").data["objects"]
        linked = set()
        for code in list(self.document.findall(nodes.literal)):
            around = list(ancestors(code))
            place = next(node for node in around if isinstance(node, PLACE))
            here = place[0] if isinstance(place, addnodes.desc) else place
            name = next((name for name in self.meant(code.astext(), here) if name in entries), None)
            if name is None or (id(place), name) in linked or any(isinstance(node, NOT_LINKED) for node in around):
                continue
            page, anchor = entries[name].docname, entries[name].node_id
            if anchor not in here["ids"]:
                linked.add((id(place), name))
                link = make_refnode(self.app.builder, self.env.docname, page, anchor, code.deepcopy(), name)
                code.replace_self(link)

    def meant(self, text: str, here: nodes.Element) -> Iterator[str]:
        """Full names that a text may mean in a section, or in the entry with this signature; the likeliest first."""
        text = text.removesuffix("()")
        if not NAME.fullmatch(text):
            return
        known = {}
        if here.get("module"):
            yield f"{here['module']}.{here['class'] or here['fullname']}.{text}"
        if module := here.get("module") or introduced(here):
            yield f"{module}.{text}"
            known = names.of_module(module)
        elif self.env.docname in self.env.library:
            known = self.env.library[self.env.docname].names
        if full := names.full_name(text, known):
            yield names.entry(full)


def introduced(section: nodes.Element) -> str:
    """The module whose docstring stands in a section, if there is one."""
    anchors = (anchor for anchor in section.get("ids", ()) if anchor.startswith("module-"))
    return next(anchors, "").removeprefix("module-")


def ancestors(node: nodes.Node) -> Iterator[nodes.Node]:
    """What the node stands in, from the inside out."""
    while node.parent is not None:
        node = node.parent
        yield node
