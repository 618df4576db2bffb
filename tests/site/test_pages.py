"""Every page of the site, read as it stands in the files and opened in a browser as a reader opens it."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup, Tag
from plain_notebooks.book import Book
from playwright.sync_api import Page

BOOK = Book(Path(__file__).parents[2])
SITE = BOOK.root / "_build/html"
PAGES = [*BOOK.pages, "search"]
CHAPTERS = [chapter.docname for chapter in BOOK.chapters]
WEIGHT = 700_000  # bytes
STATEMENTS = re.compile(r"^(axiom|lemma|theorem|definition|proposition|corollary|algorithm|example|exercise|remark)$")
every_page = pytest.mark.parametrize("name", PAGES)


@cache
def read(name: str) -> BeautifulSoup:
    """The page without the insides of its formulas, which are nine tenths of it."""
    html = (SITE / f"{name}.html").read_text("utf8")
    return BeautifulSoup(re.sub(r"<math.*?</math>|</?span\b[^>]*>", "", html, flags=re.S), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    return frozenset(re.findall(r'\sid="([^"]+)"', path.read_text("utf8")))


def test_these_are_all_pages() -> None:
    """A page that this list does not know would go unmeasured; the one at the root only leads to the first."""
    built = {path.relative_to(SITE).with_suffix("").as_posix() for path in SITE.rglob("*.html")}
    assert {name for name in built if not name.startswith("_static/")} == {*PAGES, "index"}
    assert f'url={BOOK.pages[0]}.html"' in (SITE / "index.html").read_text("utf8")


@every_page
def test_every_link_within_the_book_leads_somewhere(name: str) -> None:
    broken = []
    for target in re.findall(r'\s(?:href|src)="([^"]*)"', (SITE / f"{name}.html").read_text("utf8")):
        if urlsplit(target).scheme in {"http", "https", "mailto", "data"}:
            continue
        address, anchor = urldefrag(urljoin(f"/{name}.html", target))
        path = SITE / unquote(urlsplit(address).path).lstrip("/")
        if not path.is_file() or (anchor and anchor != "top" and unquote(anchor) not in anchors(path)):
            broken.append(target)
    assert broken == []


@every_page
def test_an_anchor_is_one_place(name: str) -> None:
    ids = Counter(re.findall(r'\sid="([^"]+)"', (SITE / f"{name}.html").read_text("utf8")))
    assert [key for key, count in ids.items() if count > 1] == []


@every_page
def test_pictures_say_what_they_show_and_wait_for_the_reader(name: str) -> None:
    for image in read(name).select("article.bd-article img"):
        words = image.get("alt", "").split()
        assert len(words) >= 4, f"too short to say what is seen: {words}"
        assert image["loading"] == "lazy"
        if not image["src"].endswith(".svg"):
            assert int(image["width"]) > 0
            assert int(image["height"]) > 0


@every_page
def test_statements_and_formulas_link_to_themselves(name: str) -> None:
    labelled = [
        *(box for box in read(name).select("div.admonition[id]") if any(map(STATEMENTS.match, box["class"]))),
        *read(name).select("div.math[id]"),
        *read(name).select("main section > h2, main section > h3"),
    ]
    for place in labelled:
        anchor = place.get("id") or place.parent.get("id")
        assert place.select_one(f'a.headerlink[href="#{anchor}"]'), f"no link to #{anchor}"
    if name in CHAPTERS[:3]:
        assert len(labelled) > 10


@every_page
def test_one_style_sheet_alone_keeps_the_text_waiting(name: str) -> None:
    """And one more where the page has an interactive figure; scripts wait for the text."""
    head = read(name).head
    sheets = [link["href"] for link in head.select("link[rel=stylesheet]")]
    assert [sheet for sheet in sheets if "/interactive/" not in sheet and "_static/site.css" not in sheet] == []
    assert len(sheets) <= 2
    scripts = [script["src"] for script in head.select("script[src]") if not script.has_attr("defer")]
    scripts = [script for script in scripts if "/interactive/" not in script]  # a module: it waits of itself
    assert scripts == [] or name == "search"


@pytest.mark.parametrize("number", range(len(BOOK.pages)))
def test_one_page_leads_to_the_next_and_back(number: int) -> None:
    name = BOOK.pages[number]
    for step, kind in ((-1, "left-prev"), (1, "right-next")):
        link = read(name).select_one(f"a.{kind}")
        if not 0 <= number + step < len(BOOK.pages):
            assert link is None
        else:
            assert urljoin(f"/{name}.html", link["href"]) == f"/{BOOK.pages[number + step]}.html"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_says_how_long_it_runs(name: str) -> None:
    box: Tag | None = read(name).select_one("div.admonition")
    assert box is not None
    text = " ".join(box.get_text().split())
    assert re.search(r"Run time: [^.;]*\b(seconds?|minutes?)\b", text), text


@every_page
def test_read_to_the_end(page: Page, address: str, packages: Path, name: str) -> None:
    """Nothing fails or is fetched elsewhere, all of it is light, it fits, and it is accessible in both themes."""
    weight = transferred(page)
    page.emulate_media(color_scheme="light")
    page.goto(f"{address}/{name}.html")
    # What sticks out of a section would be cut off, and axe would see colours on their way from one theme to the other.
    page.add_style_tag(content="* { content-visibility: visible !important; transition: none !important; }")
    page.evaluate("() => document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    for width in (1280, 390):
        show_all(page, width)
        assert page.evaluate(WIDTH) <= width
        assert page.evaluate(FOOT) <= width
    page.add_script_tag(path=packages / "axe-core/axe.min.js")
    assert violations(page) == []
    show_all(page, 1280)
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    page.locator("html[data-theme=dark]").wait_for()
    assert violations(page, "color-contrast", "link-in-text-block") == []  # what the theme can change
    assert weight.total() <= WEIGHT, weight.most_common(9)


def test_what_is_spoilt_is_found(page: Page, address: str, packages: Path) -> None:
    """A control of the test above, which must not pass because it looks at nothing."""
    page.goto(f"{address}/{CHAPTERS[0]}.html")
    page.add_script_tag(path=packages / "axe-core/axe.min.js")
    assert violations(page) == []
    page.evaluate(SPOIL)
    found = {rule for rule, _ in violations(page)}
    assert found == {"button-name", "color-contrast", "empty-table-header", "image-alt"}


def test_a_page_is_dark_before_the_theme_has_come(page: Page, address: str) -> None:
    """In the dark by the system's word or the reader's, whichever is said last."""
    page.route("**/pydata-sphinx-theme.js*", lambda route: route.fulfill(body=""))
    for system, chosen, theme in (("dark", "", "dark"), ("light", "dark", "dark"), ("dark", "light", "light")):
        page.emulate_media(color_scheme=system)
        page.goto(f"{address}/book/index.html")
        page.evaluate("(mode) => localStorage.setItem('mode', mode)", chosen)
        page.reload()
        assert page.locator("html").get_attribute("data-theme") == theme


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_code_without_a_span_has_the_colour_that_the_span_had(theme: str) -> None:
    css = (SITE / "_static/site.css").read_text("utf8")
    found = re.findall(rf'data-theme="?{theme}"?\] \.highlight(?: \.(n|nn|p|w))? {{[^}}]*?\bcolor: (#\w+)', css)
    assert {kind for kind, _ in found} == {"", "n", "nn", "p", "w"}
    assert len({colour for _, colour in found}) == 1


def transferred(page: Page) -> Counter[str]:
    """The bytes that each address has cost so far, compressed as they came; interactive figures apart, which are opened
    by coming to them.
    """
    urls: dict[str, str] = {}
    sizes: Counter[str] = Counter()

    def add(event: dict) -> None:
        url = urls[event["requestId"]]
        if "/interactive/" not in url:
            sizes[url] += int(event["encodedDataLength"])

    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    client.on("Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]}))
    client.on("Network.loadingFinished", add)
    return sizes


def show_all(page: Page, width: int) -> None:
    """Give the page a width, open its interactive figures, and wait until all of it is laid out."""
    page.set_viewport_size({"width": width, "height": 900})
    for figure in page.locator("[data-interactive]").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_function(READ)


def violations(page: Page, *rules: str) -> list[tuple[str, list[str]]]:
    """What axe finds, with each formula's source in its place: formulas are coloured as the text around them, but five
    sixths of all elements.
    """
    page.evaluate(SOURCES)
    page.evaluate(NEXT_FRAME)  # in which what scrolls now, as a source may be wider than its formula, is made reachable
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("(options) => axe.run(options)", options)["violations"]
    return [(violation["id"], [node["html"] for node in violation["nodes"]][:3]) for violation in found]


SOURCES = """() => document.querySelectorAll(".katex")
  .forEach((formula) => formula.replaceWith(formula.querySelector("annotation").textContent))"""
NEXT_FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
SPOIL = """() => document.querySelector("article.bd-article").insertAdjacentHTML("beforeend", `
  <button></button> <img src="data:,"> <p style="color: #bbb; background: #fff">pale</p>
  <table><tr><th></th></tr><tr><td>1</td></tr></table>`)"""
WIDTH = "() => document.documentElement.scrollWidth"
HEADINGS = """(article) => ["h1", "h2", "h3"].map((tag) => getComputedStyle(article.querySelector(tag)))
  .map((style) => [parseFloat(style.fontSize), Number(style.fontWeight)])"""
FOOT = """() => Math.max(...[...document.querySelectorAll(".prev-next-footer *")]
  .map((element) => element.getBoundingClientRect().right))"""
READ = """() => [...document.images].every((image) => image.complete && image.naturalWidth > 0)
  && [...document.querySelectorAll("[data-interactive]")].every((figure) => "ready" in figure.dataset)
  && [...document.querySelectorAll(".katex-display, .bd-content pre")]
    .every((box) => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["book/part-2/em-vi-vae", "book/part-3/reparameterization"])
def test_a_link_leads_to_its_place(page: Page, address: str, name: str, width: int) -> None:
    """To the last statement of a long page, however much is laid out on the way there."""
    last = read(name).select("div.proof[id]")[-1]["id"]
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}/{name}.html#{last}")
    page.wait_for_timeout(500)
    assert 0 <= page.evaluate("(id) => document.getElementById(id).getBoundingClientRect().top", last) < 150


@pytest.mark.parametrize("width", [1280, 390])
def test_a_heading_is_no_larger_or_heavier_than_the_one_above_it(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}/book/part-6/lower-bound.html")
    headings = page.locator("article.bd-article").evaluate(HEADINGS)
    for (size, weight), (smaller, lighter) in pairwise(headings):
        assert smaller < size
        assert lighter <= weight


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("EM never loses", "book/part-2/em-vi-vae.html#thm-em-monotone"),
        ("pathwise gradient", "book/part-3/reparameterization.html#thm-rep-pathwise"),
        ("the divergence between two gaussians", "book/part-2/gaussian-kl.html#thm-gkl-full"),
        ("mean field on a Gaussian target", "book/part-4/q3-3-mean-field.html#"),
    ],
)
def test_search_finds_a_theorem_by_its_name(page: Page, address: str, query: str, target: str) -> None:
    page.goto(f"{address}/search.html")
    page.locator("main input[name=q]").fill(query)
    page.keyboard.press("Enter")
    page.locator("#search-results.completed, #search-results .search-summary:not(:empty)").first.wait_for()
    page.locator("#search-results li a").first.wait_for()
    first = [link.get_attribute("href") for link in page.locator("#search-results li > a").all()[:3]]
    assert any(urlsplit(href)._replace(query="").geturl().startswith(target) for href in first), first


def test_the_theme_follows_the_reader(page: Page, address: str) -> None:
    """By the machine's setting at first, then by the button; pictures stay as they were drawn."""
    page.emulate_media(color_scheme="dark")
    page.goto(f"{address}/{CHAPTERS[0]}.html")
    page.locator("html[data-theme=dark]").wait_for()
    style = "(image) => { const s = getComputedStyle(image); return [s.filter, s.backgroundColor]; }"
    assert page.locator("main .cell_output img").first.evaluate(style) == ["none", "rgb(255, 255, 255)"]
    page.locator(".theme-switch-button:visible").first.click()
    page.locator("html[data-theme=light]").wait_for()


def test_a_permalink_shows_when_pointed_at(page: Page, address: str) -> None:
    page.goto(f"{address}/book/part-2/em-vi-vae.html")
    box = page.locator("#thm-em-monotone")
    box.scroll_into_view_if_needed()
    link = box.locator("a.headerlink").first
    page.mouse.move(0, 0)
    assert link.evaluate("(link) => getComputedStyle(link).visibility + getComputedStyle(link).opacity") != "visible1"
    box.locator(".admonition-title").hover()
    page.wait_for_function(
        "(link) => getComputedStyle(link).visibility === 'visible' && getComputedStyle(link).opacity === '1'",
        arg=link.element_handle(),
    )
    link.click()
    page.wait_for_url("**/em-vi-vae.html#thm-em-monotone")
