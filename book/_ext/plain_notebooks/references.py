"""What the site's references say and where they lead, asked of Sphinx itself once it has read the whole book."""

from __future__ import annotations

import re
from urllib.parse import urljoin

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.builders import Builder
from sphinx.environment import BuildEnvironment
from sphinx.util import ws_re

ROLES = {
    "eq": ("math", "eq"),
    "ref": ("std", "ref"),
    "numref": ("std", "numref"),
    "doc": ("std", "doc"),
    "prf:ref": ("prf", "ref"),
    "cite:t": ("cite", "t"),
    "cite:p": ("cite", "p"),
}
EXPLICIT = re.compile(r"(?P<text>.+?)\s*<(?P<target>[^<>]+)>", re.S)


class References:
    """The numbers, titles and addresses that one page of the site uses.

    Args:
        env: Sphinx's environment, with the whole book read.
        builder: the builder of the site.
        docname: the page.
        site: the site's address.
    """

    def __init__(self, env: BuildEnvironment, builder: Builder, docname: str, site: str) -> None:
        self.env = env
        self.builder = builder
        self.docname = docname
        self.site = site
        self.sections = list(env.toc_secnumbers.get(docname, {}).values())

    def role(self, name: str, content: str) -> str | None:
        """A reference as Markdown, with the text that it has on the site; None where it leads nowhere."""
        if name not in ROLES:
            return None
        domain, kind = ROLES[name]
        explicit = EXPLICIT.fullmatch(content) if domain != "cite" else None
        text, target = explicit.group("text", "target") if explicit else (content, content)
        target = ws_re.sub(" ", target)
        if domain == "std" and kind in {"ref", "numref"}:
            target = target.lower()
            if not explicit and self._is_numbered_exercise(target):
                kind = "numref"  # as sphinx-exercise does it on the site
        content_node = nodes.inline(text, text)
        request = pending_xref(
            content,
            content_node,
            refdomain=domain,
            reftype=kind,
            reftarget=target,
            refdoc=self.docname,
            refexplicit=explicit is not None,
        )
        answer = self.env.get_domain(domain).resolve_xref(
            self.env, self.docname, self.builder, kind, target, request, content_node
        )
        if answer is None or not list(answer.findall(nodes.reference)):
            return None
        return self._markdown(answer)

    def number(self, kind: str, label: str) -> str | None:
        """The number on the site of the equation, theorem, exercise, figure or table that has this label."""
        if kind == "equation":
            kind, label = "displaymath", nodes.make_id(f"equation-{label}")
        elif kind == "theorem":  # of whatever kind: by the counter that numbers it
            kind = getattr(self.env, "proof_list", {}).get(label, {}).get("countertype", kind)
        elif kind in {"figure", "table"}:
            label = nodes.make_id(label)
        numbers = self.env.toc_fignumbers.get(self.docname, {}).get(kind, {}).get(label)
        return ".".join(map(str, numbers)) if numbers else None

    def image(self, path: str) -> str | None:
        """The address on the site of an image that the page shows."""
        relative, _ = self.env.relfn2path(path, self.docname)
        if relative not in self.env.images:
            return None
        return urljoin(self.site, f"{self.builder.imagedir}/{self.env.images[relative][1]}")

    def page(self, path: str) -> str | None:
        """The address on the site of a page, from a Markdown link to its source."""
        path, hash_sign, anchor = path.partition("#")
        docname = self.env.relfn2path(path, self.docname)[0].removesuffix(".md")
        if not path.endswith(".md") or docname not in self.env.all_docs:
            return None
        return urljoin(self.site, self.builder.get_target_uri(docname)) + hash_sign + anchor

    def _is_numbered_exercise(self, label: str) -> bool:
        return any(label in numbers.get("exercise", {}) for numbers in self.env.toc_fignumbers.values())

    def _markdown(self, node: nodes.Node) -> str:
        """An inline node of Sphinx's as Markdown."""
        if isinstance(node, nodes.Text):
            return str(node)
        inside = "".join(self._markdown(child) for child in node.children)
        if isinstance(node, nodes.reference):
            uri = node["refuri"] if "refuri" in node else f"#{node['refid']}"
            page = urljoin(self.site, self.builder.get_target_uri(self.docname))
            return f"[{inside}]({urljoin(page, uri)})"
        if isinstance(node, nodes.math):
            return f"${inside}$"
        return inside
