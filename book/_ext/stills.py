"""Pictures of the interactive figures, which pages show where scripts are off.

`python book/_ext/stills.py`, after `make book` with the figures' scripts as they are to be, renews them; they are
committed. It needs Chromium.
"""

from __future__ import annotations

import http.server
import io
import re
import shutil
import threading
from functools import partial
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build/html"
FOLDER = ROOT / "book/_static/interactive"
FIGURE = re.compile(r'data-interactive="([\w-]+)"')
READY = {"gradients": "JSON.parse(stage.dataset.state).count >= 20000"}
"""When a figure that goes on by itself has enough to show."""


def still(page: Page, name: str) -> bytes:
    """The stage of a figure of the opened page, as WebP."""
    stage = page.locator(f"#interactive-{name} .stage")
    stage.scroll_into_view_if_needed()
    page.locator(f"#interactive-{name}[data-ready]").wait_for()
    page.wait_for_function(f"(stage) => {READY.get(name, 'true')}", arg=stage.element_handle(), timeout=120_000)
    page.wait_for_timeout(2000)  # for the tiles of a map, which come a row a frame
    file = io.BytesIO()
    Image.open(io.BytesIO(stage.screenshot())).save(file, "webp", quality=70, method=6)
    return file.getvalue()


def main() -> None:
    """Take every picture."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(SITE))
    server = http.server.ThreadingHTTPServer(("localhost", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1200}, color_scheme="light", device_scale_factor=1.5)
        for html in sorted(SITE.rglob("*.html")):
            for name in FIGURE.findall(html.read_text("utf8")):
                page.goto(f"http://localhost:{server.server_port}/{html.relative_to(SITE)}")
                picture = still(page, name)
                (FOLDER / f"{name}.webp").write_bytes(picture)
                print(f"{name}.webp: {len(picture)} bytes")
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
