"""What is cut from a page is what it does not use; and what the theme leaves out of a page is put in."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import light_pages
import pydata_sphinx_theme
import pytest
from book_site import mended
from fontTools import ttLib
from PIL import Image
from sphinx.errors import ExtensionError

THEME = """\
@charset "UTF-8";/*! a licence */@font-face{font-family:F;src:url(../vendor/f.woff2) format("woff2")}
.used,.gone{color:red}.gone{color:blue}.used .gone>p{margin:0}html{color:black}.used:not(.gone){color:green}
@media (min-width:9px){.gone{top:0}.bs-made{top:1px}}.used{background:url("data:image/svg+xml,a")}"""


def test_a_bundle_has_all_that_is_used(tmp_path: Path) -> None:
    (tmp_path / "_static/styles").mkdir(parents=True)
    (tmp_path / "_static/styles/theme.css").write_text('@import "../basic.css";')
    (tmp_path / "_static/basic.css").write_text(".used{top:url(file.png)}")
    (tmp_path / "_static/styles/more.css").write_text(THEME)
    css = light_pages.bundled(tmp_path, ["_static/styles/theme.css", "_static/styles/more.css"])
    kept = light_pages.used_rules(css, {"used"})
    assert kept.split("\n") == [
        ".used{top:url(file.png)}",
        '@font-face{font-family:F;src:url(vendor/f.woff2) format("woff2")}',
        ".used{color:red}",
        "html{color:black}",
        ".used:not(.gone){color:green}",
        "@media (min-width:9px){.bs-made{top:1px}}",
        '.used{background:url("data:image/svg+xml,a")}',
    ]


def test_a_page_loads_the_bundle_in_place_of_its_sheets() -> None:
    link = '<link rel="stylesheet" href="../_static/{}.css?v=1" />'
    html = link.format("a") + link.format("own") + link.format("b") + '<link rel="next" href="b.html" />'
    linked = light_pages.link_bundle(html, "..", ["_static/a.css", "_static/b.css"], "../_static/site.css")
    assert re.findall('href="([^"]*)"', linked) == ["../_static/site.css", "../_static/own.css?v=1", "b.html"]


def test_scripts_wait_and_keep_their_order() -> None:
    html = (
        '<link rel="preload" as="script" href="a.js"><script src="_static/a.js"></script><script>let a = 1;</script>'
        '<script src="x/searchtools.js"></script><script>DOCUMENTATION_OPTIONS.b = 1;</script>'
        '<script type="module" src="m.js"></script><script defer src="d.js"></script>'
    )
    waiting = light_pages.wait_for_text(html, keep_search=False)
    assert waiting == (
        '<script defer src="_static/a.js"></script><script>let a = 1;</script>'
        '<script type="module">DOCUMENTATION_OPTIONS.b = 1;</script>'
        '<script type="module" src="m.js"></script><script defer src="d.js"></script>'
    )
    assert light_pages.wait_for_text(html, keep_search=True) == html


def test_a_picture_keeps_its_place_and_its_pixels(tmp_path: Path) -> None:
    (tmp_path / "_images").mkdir()
    picture = Image.effect_noise((40, 30), 80).convert("RGBA")
    picture.save(tmp_path / "_images/a.png")
    light_pages.convert_images(tmp_path)
    assert Image.open(tmp_path / "_images/a.webp").convert("RGBA").tobytes() == picture.tobytes()
    tag = '<img alt="Noise." src="../_images/a.png" style="width: 40px; height: 30px;" />'
    near = partial(light_pages.come_near, tmp_path / "_images")
    assert light_pages.IMAGE.sub(near, tag) == (
        '<img loading="lazy" decoding="async" alt="Noise." src="../_images/a.webp" width="40" height="30" />'
    )
    assert light_pages.IMAGE.sub(near, '<img src="a.webp">') == (
        '<img loading="lazy" decoding="async" width="40" height="30" src="a.webp">'
    )


def test_the_icon_fonts_keep_what_the_sheet_uses(tmp_path: Path) -> None:
    (source,) = Path(pydata_sphinx_theme.__file__).parent.rglob("fa-solid-900.ttf")
    fonts = tmp_path / light_pages.FONTS
    fonts.mkdir(parents=True)
    shutil.copy(source, fonts)
    css = 'src:url(vendor/fa-solid-900.woff2) format("woff2"),url(vendor/fa-solid-900.ttf) format("truetype")'
    loads = light_pages.shrink_fonts(tmp_path, css + '.fa-rocket:before{content:"\\f135"}--icon:"\uf0f3"')
    assert loads.startswith('src:url(vendor/fa-solid-900.woff) format("woff").fa-rocket')
    assert set(ttLib.TTFont(fonts / "fa-solid-900.woff").getBestCmap()) == {0xF135, 0xF0F3}


def test_the_sections_of_a_long_page_say_how_high_they_are() -> None:
    short = f'<section id="page"><section id="a"><p>{"0123456789" * 100}</p><section>in</section></section></section>'
    long = short + light_pages.LONG * "<b></b>"
    assert light_pages.say_heights(short) == short
    assert light_pages.say_heights(long) == long.replace('<section id="a"', '<section style="--height: 1273px" id="a"')


def test_another_theme_is_refused(tmp_path: Path) -> None:
    boxes, notes = tmp_path / "pydata-sphinx-theme.js", tmp_path / "sphinx-book-theme.js"
    boxes.write_text('["pre",".a",".pst-scrollable-table-container"].join()')
    notes.write_text('querySelectorAll(n.join(", ")),querySelectorAll(e.join(","))')
    light_pages.calm_theme(tmp_path)
    assert boxes.read_text() == '[":not(*)"].join()'
    assert notes.read_text() == 'querySelectorAll([":not(*)"]),querySelectorAll(e.join(","))'
    with pytest.raises(ExtensionError, match="look at calm_theme again"):
        light_pages.calm_theme(tmp_path)


def test_a_statement_links_to_itself() -> None:
    title = '<p class="admonition-title"><span class="caption-number">Theorem 1 </span> (EM)'
    html = (
        f'<div class="proof theorem admonition" id="thm-em">\n{title}</p><section id="proof-content"></section></div>'
    )
    assert mended(html) == (
        f'<div class="proof theorem admonition" id="thm-em">\n{title}'
        '<a class="headerlink" href="#thm-em" title="Link to this theorem">#</a></p><section></section></div>'
    )
    assert mended('<th class="head"><p></p></th><th>a</th>') == '<td class="head"></td><th>a</th>'
