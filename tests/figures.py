"""Opening pages and their interactive figures, moving their sliders, and waiting for what they show."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page

PATIENCE = 120_000  # milliseconds, for a machine that is slow and busy
HOST = "127.0.0.1"  # not "localhost": a browser asks its IPv6 address first, where no server listens

FIGURES = {
    "reparameterization": "book/part-4/q3-2-full-covariance",
    "gradients": "book/part-3/reparameterization",
    "explorer": "book/part-6/manifolds",
    "draw": "book/part-6/manifolds",
}
"""The page of each."""


def new_page(browser: Browser | BrowserContext, **options: Any) -> Page:
    """A window in which nothing fails for being slow."""
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE)
    return page


def open_figure(page: Page, address: str, name: str) -> Locator:
    """An interactive figure, opened by scrolling to it."""
    page.goto(f"{address}/{FIGURES[name]}.html")
    figure = page.locator(f"#interactive-{name}")
    assert figure.get_attribute("data-ready") is None  # it is far down the page: nothing is loaded yet
    come_near(figure)
    page.locator(f"#interactive-{name}[data-ready]").wait_for()
    return figure


def come_near(place: Locator) -> None:
    """Scroll to a place of the page, and again while what is laid out on the way moves it out of view."""
    for _ in range(5):
        place.evaluate("(element) => element.scrollIntoView({ block: 'center', behavior: 'instant' })")
        place.page.wait_for_timeout(200)


def state(figure: Locator) -> dict:
    """The numbers of the figure, read after its next frame: a figure draws once a frame, not once an event."""
    figure.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return json.loads(figure.locator(".stage").get_attribute("data-state"))


def until(figure: Locator, condition: str) -> dict:
    """The numbers of the figure as soon as a condition on them holds: JavaScript, which calls them `s`."""
    stage = figure.locator(".stage").element_handle()
    test = f"(stage) => {{ const s = JSON.parse(stage.dataset.state); return ({condition}) && s; }}"
    return figure.page.wait_for_function(test, arg=stage).json_value()


def slider(figure: Locator, label: str) -> Locator:
    """The slider whose label begins so; its value follows in the label."""
    return figure.get_by_label(label, exact=False).first


def slide(figure: Locator, label: str, key: str, times: int) -> None:
    """Press a key on a slider, some times."""
    slider(figure, label).focus()
    for _ in range(times):
        slider(figure, label).press(key)
