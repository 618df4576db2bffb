"""The figures with the model of MNIST, used as a reader would, and their numbers against those of torch.

The model is read from the files that the page fetches, by vaelib, and computes in double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from figures import FIGURES, new_page, open_figure, slide, slider, state, until
from playwright.sync_api import Browser, Locator, Page, Route
from torch import Tensor
from torch.distributions import kl_divergence

from vaelib.experiments.explorer import read_model
from vaelib.experiments.records import Record, read_record
from vaelib.models import VAE

SITE = Path(__file__).parents[2] / "_build/html"
MODEL = SITE / "_static/interactive/model"

Stroke = Sequence[tuple[float, float]]
SEVEN: list[Stroke] = [[(0.2, 0.1), (0.8, 0.1), (0.45, 0.9)]]
STAR: list[Stroke] = [[(0.5, 0.1), (0.7, 0.9), (0.1, 0.4), (0.9, 0.4), (0.3, 0.9), (0.5, 0.1)]]


@pytest.fixture
def model() -> VAE:
    return read_model(MODEL).requires_grad_(False)


@pytest.fixture(scope="module")
def record() -> Record:
    return read_record(MODEL / "model.json")


@pytest.fixture
def explorer(page: Page, address: str) -> Locator:
    return open_figure(page, address, "explorer")


@pytest.fixture
def paper(page: Page, address: str) -> Locator:
    return open_figure(page, address, "draw")


def image_of(figure: Locator) -> Tensor:
    """The image that the figure shows, or works on, shape (784,)."""
    return torch.tensor(figure.locator(".stage").evaluate("(stage) => Array.from(stage.image)"))


# The explorer


def test_the_decoded_image_is_torchs(explorer: Locator, model: VAE) -> None:
    for z in [(0.0, 0.0), (1.2, -0.5), (-2.5, 2.0), (4.0, -4.0)]:
        for name, value in zip(("z\u2081", "z\u2082"), z, strict=True):
            slider(explorer, name).fill(str(value))
        until(explorer, f"s.z[0] === {z[0]} && s.z[1] === {z[1]}")
        torch.testing.assert_close(image_of(explorer), model.decode(torch.tensor(z)).mean, rtol=0, atol=1e-4)


def test_the_code_follows_the_pointer(explorer: Locator, model: VAE) -> None:
    plane = explorer.locator("svg.plane").bounding_box()
    explorer.page.mouse.move(plane["x"] + 0.75 * plane["width"], plane["y"] + 0.375 * plane["height"], steps=3)
    z = [float(value) for value in until(explorer, "Math.hypot(s.z[0] - 2, s.z[1] - 1) < 0.05")["z"]]
    torch.testing.assert_close(image_of(explorer), model.decode(torch.tensor(z)).mean, rtol=0, atol=1e-4)
    assert float(slider(explorer, "z\u2081").input_value()) == pytest.approx(z[0], abs=0.011)


def test_the_explorer_by_keyboard_alone(explorer: Locator) -> None:
    slide(explorer, "z\u2081", "ArrowRight", 50)
    until(explorer, "Math.abs(s.z[0] - 1) < 1e-9 && s.z[1] === 0")
    explorer.get_by_text("Of all codes drawn from the prior, 61% lie farther out than this one.").wait_for()
    assert not explorer.locator("g.codes").is_visible()
    explorer.page.keyboard.press("Tab")
    explorer.page.keyboard.press("Tab")
    explorer.page.keyboard.press("Space")
    explorer.locator("g.codes").wait_for()


def test_the_map_is_tiled_with_decoded_images(explorer: Locator, model: VAE) -> None:
    """The tile in column 12 and row 6 of 16 stands for its middle."""
    explorer.page.wait_for_function(
        "(canvas) => canvas.getContext('2d').getImageData(440, 440, 1, 1).data[3] === 255",
        arg=explorer.locator(".map canvas").element_handle(),
    )
    bytes_of_tile = explorer.locator(".map canvas").evaluate(
        "(canvas) => Array.from(canvas.getContext('2d').getImageData(12 * 28, 6 * 28, 28, 28).data)"
    )
    tile = torch.tensor(bytes_of_tile).view(784, 4)[:, 0] / 255
    torch.testing.assert_close(tile, model.decode(torch.tensor([2.25, 0.75])).mean, rtol=0, atol=0.005)


def test_the_explorer_under_a_finger(browser: Browser, address: str) -> None:
    page = new_page(browser, viewport={"width": 390, "height": 844}, has_touch=True)
    explorer = open_figure(page, address, "explorer")
    explorer.locator("svg.plane").scroll_into_view_if_needed()  # the figure is taller than the screen
    plane = explorer.locator("svg.plane").bounding_box()
    page.touchscreen.tap(plane["x"] + 0.25 * plane["width"], plane["y"] + 0.25 * plane["height"])
    until(explorer, "Math.abs(s.z[0] + 2) < 0.05 && Math.abs(s.z[1] - 2) < 0.05")
    page.close()


# What is fetched


def test_nothing_is_fetched_before_it_is_needed(page: Page, address: str) -> None:
    fetched: set[str] = set()
    page.on("request", lambda request: fetched.add(urlsplit(request.url).path))
    page.goto(f"{address}/{FIGURES['explorer']}.html")
    page.wait_for_load_state("networkidle")
    assert {path for path in fetched if "interactive/" in path} == {
        "/_static/interactive/interactive.css",
        "/_static/interactive/start.js",
    }
    page.locator("#interactive-explorer").scroll_into_view_if_needed()
    page.locator("#interactive-explorer[data-ready]").wait_for()
    own = {path for path in fetched if "interactive/" in path}
    assert {path for path in own if "model/" in path} == {
        "/_static/interactive/model/decoder.bin",
        "/_static/interactive/model/model.json",
    }
    assert sum((SITE / path.removeprefix("/")).stat().st_size for path in own) <= 700_000
    page.locator("#interactive-draw").scroll_into_view_if_needed()
    page.locator("#interactive-draw[data-ready]").wait_for()
    assert "/_static/interactive/model/encoder.bin" in fetched


FAILURES: list[tuple[Callable[[Route], None], str]] = [
    (lambda route: route.fulfill(status=404), "decoder.bin could not be fetched: 404"),
    (lambda route: route.abort(), "decoder.bin could not be fetched: "),
    (lambda route: route.fulfill(body=b"\x00\x00"), "decoder.bin holds 1 numbers, not 315584"),
]


@pytest.mark.parametrize(("fails", "said"), FAILURES)
def test_a_figure_without_its_weights_says_so(
    browser: Browser, address: str, fails: Callable[[Route], None], said: str
) -> None:
    page = new_page(browser)
    page.route("**/decoder.bin", fails)
    page.goto(f"{address}/{FIGURES['explorer']}.html")
    page.locator("#interactive-explorer").scroll_into_view_if_needed()
    page.locator("#interactive-explorer .stage").get_by_text(said).wait_for()
    page.close()


# Draw a digit


def draw(figure: Locator, strokes: Sequence[Stroke], corner: tuple[float, float] = (0, 0), size: float = 1) -> dict:
    """Draw on clean paper with the mouse; the state once it is drawn."""
    figure.get_by_role("button", name="Clean paper").click()
    until(figure, "!('mean' in s)")
    sheet, mouse = figure.locator("canvas.paper").bounding_box(), figure.page.mouse
    for stroke in strokes:
        places = [[corner[k] + size * point[k] for k in (0, 1)] for point in stroke]
        points = [(sheet["x"] + x * sheet["width"], sheet["y"] + y * sheet["height"]) for x, y in places]
        mouse.move(*points[0])
        mouse.down()
        for point in points[1:]:
            mouse.move(*point, steps=4)
        mouse.up()
    until(figure, "'mean' in s")
    return state(figure)


def assert_as_vaelib(figure: Locator, numbers: dict, model: VAE, record: Record) -> Tensor:
    """The answer to the image and its bound, on the page and in the words below it; returns the image."""
    x = image_of(figure).unsqueeze(0)
    q = model.encode(x)
    torch.testing.assert_close(torch.tensor(numbers["mean"]), q.mean[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(torch.tensor(numbers["std"]), q.stddev[0], rtol=0, atol=1e-4)
    z = torch.tensor(numbers["z"])
    torch.testing.assert_close(torch.tensor(numbers["logs"]), model.decode(z).log_prob(x), rtol=0, atol=0.01)
    kl = kl_divergence(q, model.prior).item()
    elbo = sum(numbers["logs"]) / len(z) - kl
    assert numbers["kl"] == pytest.approx(kl, abs=1e-3)
    assert numbers["elbo"] == pytest.approx(elbo, abs=1e-3)
    row = figure.locator("tr.elbo").inner_text().replace("\u2212", "-").split()
    assert row[1:] == [f"{numbers['elbo']:.1f}", f"{record.provenance['elbo']:.1f}"]
    lower = (record.table.elbo < numbers["elbo"]).sum()
    figure.get_by_text(f"Of 1000 test images, {lower} have a lower bound than this one.").wait_for()
    return x[0]


def test_test_images_by_keyboard(paper: Locator, model: VAE, record: Record) -> None:
    examples = np.fromfile(MODEL / "examples.bin", np.uint8).reshape(10, 784) / 255
    last = until(paper, "'mean' in s")["mean"]
    for digit in (0, 7, 4):
        paper.get_by_role("button", name=f"Test image of a {digit}").focus()
        paper.page.keyboard.press("Enter")
        numbers = until(paper, f"Math.abs(s.mean[0] - ({last[0]})) > 1e-6")
        last = numbers["mean"]
        x = assert_as_vaelib(paper, numbers, model, record)
        torch.testing.assert_close(x, torch.tensor(examples[digit]), rtol=0, atol=1e-6)


def test_the_draws_are_those_of_the_answer(paper: Locator) -> None:
    """The lens shows the draws z as noise under the map that makes z of it, and the ellipses under the same map."""
    numbers = until(paper, "'mean' in s")
    z, mean, std = (np.array(numbers[name]) for name in ("z", "mean", "std"))
    lens = paper.locator("g.answer svg g")
    noise = [part.split("h")[0].split() for part in lens.locator("path").get_attribute("d").split("M")[1:]]
    eps = np.array(noise, dtype=float)
    np.testing.assert_allclose(mean + std * eps, z, atol=1e-6)
    assert abs(eps.mean()) < 1
    assert 0.5 < eps.std() < 1.5
    assert matrix(lens) == pytest.approx([std[0] / (3 * std.max()), 0, 0, -std[1] / (3 * std.max()), 0, 0])
    assert matrix(paper.locator("g.answer > g")) == pytest.approx([std[0], 0, 0, -std[1], mean[0], -mean[1]])


def matrix(group: Locator) -> list[float]:
    return [float(entry) for entry in group.get_attribute("transform").removeprefix("matrix(").rstrip(")").split()]


def test_a_drawing_is_normalised_as_mnist_is(paper: Locator, model: VAE, record: Record) -> None:
    numbers = draw(paper, SEVEN)
    x = assert_as_vaelib(paper, numbers, model, record)
    inked = (x.view(28, 28) > 0.1).nonzero()
    assert (inked.amax(0) - inked.amin(0) + 1).max() in (20, 21)  # a box of 20, which may begin within a pixel
    places = torch.arange(28) + 0.5
    for weights in (x.view(28, 28).sum(0), x.view(28, 28).sum(1)):
        assert (weights @ places / weights.sum()).item() == pytest.approx(14, abs=0.1)
    assert x.max() == pytest.approx(1, abs=1e-3)
    small = draw(paper, SEVEN, corner=(0.55, 0.05), size=0.4)
    assert small["mean"] == pytest.approx(numbers["mean"], abs=0.1)
    assert (image_of(paper) - x).abs().mean() < 0.02


def test_a_seven_is_a_digit_and_a_star_is_none(paper: Locator, model: VAE, record: Record) -> None:
    """What the chapter says of both, and that the answer to either is sharp."""
    lower = {}
    for name, strokes in (("seven", SEVEN), ("star", STAR)):
        numbers = draw(paper, strokes)
        assert_as_vaelib(paper, numbers, model, record)
        assert max(numbers["std"]) < 0.2
        lower[name] = (record.table.elbo < numbers["elbo"]).mean()
    assert lower["star"] < 0.01
    assert lower["seven"] > 0.1


def test_clean_paper_has_no_code(paper: Locator) -> None:
    until(paper, "'mean' in s")
    paper.get_by_role("button", name="Clean paper").press("Enter")
    until(paper, "!('mean' in s)")
    assert not paper.locator("g.answer").is_visible()
    paper.get_by_text("Draw a digit on the black paper").wait_for()
