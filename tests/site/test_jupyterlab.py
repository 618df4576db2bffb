"""Every notebook as a reader meets it: opened in JupyterLab as it comes, in a real browser.

What it makes of the cells is compared with what is in the file, and is awaited before it is read: cells and formulas
appear in their own time. JupyterLab is loaded once, and the notebooks are opened from its list of files, each in a tab.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
import yaml
from figures import HOST, PATIENCE, new_page
from nbformat import NotebookNode
from playwright.sync_api import Browser, Page, TimeoutError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.xdist_group("jupyterlab")  # one server serves them all
NOTEBOOKS = sorted((ROOT / "book/notebooks").glob("*.ipynb"))
OWNER, NAME = yaml.safe_load((ROOT / "_config.yml").read_text("utf8"))["repository"]["url"].split("/")[-2:]
SITE = f"https://{OWNER}.github.io/{NAME}"
TITLE = "# @title Solution"
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # show all cells, not only those in view
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},  # ask no other host
}

NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook"  # in the tab that is shown

# It is ready when every cell and image of the file stands there, what is to be closed is closed, and the Markdown is
# set, with no formula left in dollars outside of code.
READY = """([notebook, cells, images, closed]) => {
    const all = (selector) => [...document.querySelectorAll(`${notebook} :is(${selector})`)]
    const set = (cell) => {
        const copy = cell.cloneNode(true)
        copy.querySelectorAll(".jp-InputArea-editor, code, mjx-container").forEach((part) => part.remove())
        return copy.textContent.trim() && !copy.textContent.includes("$")
    }
    return all(".jp-Cell").length === cells
        && all(".jp-OutputArea img").filter((image) => image.complete).length === images
        && all(".jp-InputPlaceholder").length === closed
        && all(".jp-MarkdownCell").every((cell) => cell.matches(".jp-mod-rendered") && set(cell))
}"""

SEEN = """(notebook) => {
    const all = (selector) => [...document.querySelectorAll(`${notebook} :is(${selector})`)]
    const texts = all(".jp-RenderedMarkdown").map((cell) => {
        const copy = cell.cloneNode(true)
        copy.querySelectorAll("code, mjx-container").forEach((part) => part.replaceWith("`"))
        return copy.textContent
    })
    return {
        dialogs: [...document.querySelectorAll(".jp-Dialog, .Toastify__toast--error")].map((box) => box.textContent),
        directives: all(".jp-RenderedMarkdown code[class*='{']").map((code) => code.className),
        myst: texts.flatMap((text) => text.match(/\\{[a-zA-Z:]+\\}`|:::|^\\([\\w-]+\\)=|^:[a-z]+: .*$/gm) ?? []),
        unset: texts.filter((text) => text.includes("$")),
        formulas: all("mjx-container").length,
        wrong: all("mjx-merror, [data-mjx-error], mjx-mtext[style*='red']").map((formula) => formula.outerHTML),
        images: all(".jp-OutputArea img").map((image) => image.naturalWidth * image.naturalHeight),
        folded: all("details").length,
        open: all("details[open] > summary").map((summary) => summary.textContent),
        code: all(".jp-CodeCell").map((cell) => ({
            input: cell.querySelector(".jp-InputArea-editor")?.checkVisibility() ?? false,
            output: [...cell.querySelectorAll(".jp-OutputArea-output")].some((output) => output.checkVisibility()),
        })),
        links: all(".jp-RenderedMarkdown a[href]:not(.jp-InternalAnchorLink)").map((link) => link.getAttribute("href")),
    }
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab that knows no user's settings, started on copies of the notebooks."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    folder.mkdir()
    for path in NOTEBOOKS:
        shutil.copy(path, folder)
    for name, settings in SETTINGS.items():
        path = home / "JUPYTERLAB_SETTINGS/@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    places = ("JUPYTER_CONFIG", "JUPYTER_DATA", "JUPYTER_RUNTIME", "JUPYTERLAB_SETTINGS", "JUPYTERLAB_WORKSPACES")
    environment = os.environ | {f"{name}_DIR": str(home / name) for name in places}
    options = ["--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token="]
    options += [f"--ServerApp.ip={HOST}"]
    with (home / "log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)
    try:
        yield url_of(server, home)
    finally:
        server.terminate()  # and with it the kernels
        server.wait(PATIENCE / 1000)


def url_of(server: subprocess.Popen[bytes], home: Path) -> str:
    """Where the server listens: it takes a port that is free, and says which when it is there."""
    told = home / "JUPYTER_RUNTIME" / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return str(json.loads(told.read_text())["url"])
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.1)
    raise AssertionError((home / "log").read_text())


@pytest.fixture(scope="module")
def window(browser: Browser, lab: str) -> Iterator[Page]:
    """JupyterLab in the browser, where it may ask no other host, and may not fail."""
    page = new_page(browser, viewport={"width": 1280, "height": 900})
    own, faults = (lab, "data:", "blob:"), list[str]()
    page.on("request", lambda request: None if request.url.startswith(own) else faults.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(f"{lab}lab")
    page.locator("#jupyterlab-splash").wait_for(state="detached")
    yield page
    page.close()
    assert faults == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(window: Page, path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    window.locator(f".jp-DirListing-item[title^='Name: {path.name}']").dblclick()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    expected = [len(notebook.cells), images(notebook), sum(hidden(cell, "source") for cell in code)]
    with suppress(TimeoutError):  # what is missing is told below
        window.wait_for_function(READY, arg=[NOTEBOOK, *expected], polling=500)
    seen = window.evaluate(SEEN, NOTEBOOK)

    for fault in ("dialogs", "directives", "myst", "unset", "wrong", "open"):
        assert not seen[fault], f"{fault}: {seen[fault]}"
    assert seen["formulas"] > 0
    assert len(seen["images"]) == images(notebook)
    assert 0 not in seen["images"]
    assert seen["folded"] == sum(cell.source.count("<details") for cell in notebook.cells)
    for cell, shown in zip(code, seen["code"], strict=True):
        assert shown["input"] != hidden(cell, "source"), cell.source
        assert not (shown["output"] and hidden(cell, "outputs")), cell.source
        assert hidden(cell, "source") or not cell.source.startswith(TITLE), cell.source
    assert re.fullmatch(rf"{SITE}/book/[\w-]+/{path.stem}\.html", seen["links"][0])  # "open in the book"
    assert [link for link in seen["links"] if not link.startswith("https://")] == []


def hidden(cell: NotebookNode, part: str) -> bool:
    """Whether a code cell asks for its `source` or its `outputs` to be closed."""
    return bool(cell.metadata.get("jupyter", {}).get(f"{part}_hidden"))


def images(notebook: NotebookNode) -> int:
    """How many images the notebook's open outputs have."""
    outputs = [output for cell in notebook.cells if not hidden(cell, "outputs") for output in cell.get("outputs", [])]
    return sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in outputs)
