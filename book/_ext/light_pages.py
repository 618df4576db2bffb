"""A Sphinx extension: what a page asks of a slow line and a slow phone, cut down once the site is built.

The theme sends every page its whole icon fonts, a dozen style sheets, the search index and scripts that hold up the
first picture. Here the style sheets become one, the fonts keep the icons that are used, scripts wait for the text, and
pictures come when the reader comes near them, in a format of half the size and the same pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

import tinycss2
from fontTools import subset, ttLib
from PIL import Image
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SHEET = re.compile(r'\s*<link [^>]*\bhref="([^"?]*\.css)[^"]*"[^>]*>')
BUNDLE = "_static/site.css"
IMAGE = re.compile(r"<img\b[^>]*>")
PLAIN_CODE = re.compile(r'<span class="(?:n|nn|p|w)">([^<]*)</span>')  # names and brackets, coloured as the text is
SECTION = re.compile(r"<section\b[^>]*>|</section>")
UNSEEN = re.compile(r'<span class="katex-mathml">.*?</math></span>|<[^>]+>', re.S)
LONG = 5000  # elements, about, from which a page is long
HEIGHT = 1.27  # pixels for a character: of 86 sections none takes more on a phone, and half of them two thirds or less
FONTS = "_static/vendor/fontawesome/webfonts"
MADE_BY_SCRIPTS = ("bs-",)  # Bootstrap puts the rest of such a name together
SEARCH = re.compile(r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>')
ICON_SCRIPT = re.compile(r"<script\b[^>]*fontawesome\.js[^>]*></script>")  # 1.4 MB; the fonts draw the icons as well


def lighten(app: Sphinx, exception: Exception | None) -> None:
    """Rewrite the pages of the finished site."""
    if exception is not None or app.builder.format != "html":
        return
    site = Path(app.outdir)
    paths = [path for path in site.rglob("*.html") if not path.is_relative_to(site / "_static")]
    pages = {path: settle_theme(say_heights(path.read_text("utf8"))) for path in paths}
    scripts = [path.read_text("utf8") for path in site.glob("_static/**/*.js")]
    sheets = shared_sheets(site, pages)
    named = [*(name for html in pages.values() for name in re.findall(r'\bclass="([^"]*)"', html)), *scripts]
    css = used_rules(bundled(site, sheets), {name for text in named for name in re.findall(r"[\w-]+", text)})
    (site / BUNDLE).write_text(shrink_fonts(site, css), "utf8")
    version = sha256((site / BUNDLE).read_bytes()).hexdigest()[:8]
    convert_images(site)
    calm_theme(site / "_static/scripts")
    for path, html in pages.items():
        folder = relpath(site, path.parent)
        html = link_bundle(html, folder, sheets, f"{normpath(join(folder, BUNDLE))}?v={version}")
        html = wait_for_text(html, keep_search=path.name == "search.html")
        path.write_text(IMAGE.sub(partial(come_near, path.parent), PLAIN_CODE.sub(r"\1", html)), "utf8")


def say_heights(html: str) -> str:
    """A long page whose sections say what height is enough for them: by the style sheet each is laid out when a reader
    comes near, and until then takes that place. With less, what is in it would lie over what comes after it.
    """
    if html.count("</") < LONG:
        return html
    heights, opened = {}, []
    for tag in SECTION.finditer(html):
        if tag[0] != "</section>":
            opened.append(tag)
        elif (start := opened.pop()) and len(opened) == 1:
            text = UNSEEN.sub("", html[start.end() : tag.start()])
            heights[start.start()] = round(HEIGHT * len(text))

    def say(tag: re.Match[str]) -> str:
        height = heights.get(tag.start())
        return tag[0].replace("<section", f'<section style="--height: {height}px"') if height else tag[0]

    return SECTION.sub(say, html)


def settle_theme(html: str) -> str:
    """A page that is light or dark from its first picture on, and not when the theme's script has come: a reader in the
    dark would see a flash, and everybody wait for the page to be coloured twice.
    """
    dark = 'matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"'
    theme = f'{{ light: "light", dark: "dark" }}[localStorage.getItem("mode")] || ({dark})'
    return html.replace('localStorage.getItem("theme") || "auto"', theme, 1)


def shared_sheets(site: Path, pages: dict[Path, str]) -> list[str]:
    """The style sheets that every page loads, as paths in the site, in the order in which they are loaded."""
    lists = [
        [normpath(join(path.parent.relative_to(site).as_posix(), href)) for href in SHEET.findall(html)]
        for path, html in pages.items()
    ]
    lists = [sheets for sheets in lists if sheets]  # a page that only leads to another has none
    return [sheet for sheet in lists[0] if all(sheet in others for others in lists)]


def bundled(site: Path, sheets: Iterable[str]) -> str:
    """The text of the style sheets, with what they import, and with addresses as seen from the bundle's folder."""

    def read(sheet: str) -> str:
        folder = dirname(sheet)

        def rebase(match: re.Match[str]) -> str:
            return f"url({relpath(join(folder, match[1]), dirname(BUNDLE))})"

        css = re.sub(r"/\*.*?\*/", "", (site / sheet).read_text("utf8"), flags=re.S)
        css = re.sub(r'url\("?(?!data:)([^")]+)"?\)', rebase, css.replace('@charset "UTF-8";', ""))
        return re.sub(r'@import "([^"]*)";', lambda match: read(normpath(join(folder, match[1]))), css)

    return "\n".join(map(read, sheets))


def used_rules(css: str, names: set[str]) -> str:
    """The style sheet without the rules for classes that neither a page nor a script names."""

    def selects(selector: str) -> bool:
        classes = re.findall(r"\.(-?[_a-zA-Z][\w-]*)", re.sub(r":not\([^)]*\)", "", selector))
        return all(name in names or name.startswith(MADE_BY_SCRIPTS) for name in classes)

    kept = []
    for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
        if rule.type == "at-rule" and rule.lower_at_keyword in {"media", "supports"}:
            rule.content = tinycss2.parse_component_value_list(used_rules(tinycss2.serialize(rule.content), names))
        elif rule.type == "qualified-rule":
            selectors = re.split(r",(?![^(]*\))", tinycss2.serialize(rule.prelude))
            rule.prelude = tinycss2.parse_component_value_list(",".join(filter(selects, selectors)))
        if rule.type != "qualified-rule" or rule.prelude:
            kept.append(rule.serialize())
    return "\n".join(kept)


def shrink_fonts(site: Path, css: str) -> str:
    """Cut the icon fonts down to the characters that the style sheet uses; returns the sheet that loads them."""
    escaped = [chr(int(code, 16)) for code in re.findall(r"\\([ef][0-9a-f]{3})\b", css)]
    icons = {ord(character) for character in [*escaped, *css] if "\ue000" <= character <= "\uf8ff"}
    for path in (site / FONTS).glob("*.ttf"):
        font = ttLib.TTFont(path)
        options = subset.Options(flavor="woff")
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=icons)
        cutter.subset(font)
        subset.save_font(font, str(path.with_suffix(".woff")), options)
    return re.sub(
        r'(url\([^)]*/fa-[\w-]+)\.woff2\) ?format\("woff2"\),url\([^)]*\) ?format\("truetype"\)',
        r'\1.woff) format("woff")',
        css,
    )


def calm_theme(scripts: Path) -> None:
    """Keep the theme from looking for what it need not look for: among 30 000 elements that holds a page up.

    It asks every box of code whether it scrolls, and the answer costs the layout of the whole page; `accessibility.js`
    asks as well, of what comes into view. And it looks for notes in the margin, which the book has none of.
    """
    searches = {
        "pydata-sphinx-theme.js": r'\["pre",[^\]]*"\.pst-scrollable-table-container"\]',
        "sphinx-book-theme.js": r'(?<=querySelectorAll\()\w+\.join\(", "\)(?=\))',
    }
    for name, search in searches.items():
        text, count = re.subn(search, '[":not(*)"]', (scripts / name).read_text("utf8"))
        if count != 1:
            raise ExtensionError(f"{name} is not the one that light_pages.py knows: look at calm_theme again")
        (scripts / name).write_text(text, "utf8")


def convert_images(site: Path) -> None:
    """Set a WebP of the same pixels beside each PNG."""

    def convert(path: Path) -> None:
        Image.open(path).save(path.with_suffix(".webp"), lossless=True, method=2)

    with ThreadPoolExecutor() as pool:
        list(pool.map(convert, (site / "_images").glob("*.png")))


def link_bundle(html: str, folder: str, sheets: list[str], bundle: str) -> str:
    """Put the bundle where the first of its style sheets was, and take these out."""
    names = {normpath(join(folder, sheet)) for sheet in sheets}
    done = False

    def swap(match: re.Match[str]) -> str:
        nonlocal done
        if normpath(match[1]) not in names:
            return match[0]
        first, done = not done, True
        return f'\n<link rel="stylesheet" href="{bundle}" />' if first else ""

    return SHEET.sub(swap, html)


def wait_for_text(html: str, *, keep_search: bool) -> str:
    """Let scripts run when the page is there, in their order, and leave out those that it never uses."""
    html = ICON_SCRIPT.sub("", html)
    if keep_search:
        return html
    html = re.sub(r'<link rel="preload" as="script"[^>]*>', "", SEARCH.sub("", html))
    html = re.sub(r"<script(?=[^>]*\ssrc=)(?![^>]*\s(?:defer|type=))", "<script defer", html)
    # These set what one of the scripts above has defined: a module waits like it, in its turn.
    return html.replace("<script>DOCUMENTATION_OPTIONS.", '<script type="module">DOCUMENTATION_OPTIONS.')


def come_near(folder: Path, match: re.Match[str]) -> str:
    """An image of a page in a folder, fetched when the reader comes near it, into a place of its own size."""
    tag = re.sub(r'\bstyle="width: (\d+)px; height: (\d+)px;"', r'width="\1" height="\2"', match[0])
    tag = re.sub(r'(src="[^"]*_images/[^"]*)\.png"', r'\1.webp"', tag)
    if "width=" not in tag and (source := re.search(r'src="([^":?]*\.(?:png|webp))"', tag)):
        with Image.open(folder / source[1]) as image:
            width, height = image.size
        tag = tag.replace("<img", f'<img width="{width}" height="{height}"', 1)
    return tag.replace("<img", '<img loading="lazy" decoding="async"', 1)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect to Sphinx."""
    app.connect("build-finished", lighten, priority=900)  # after the theme has written its last style sheet
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
