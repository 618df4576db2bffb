"""The interactive figures, used as a reader would, and their numbers against vaelib's."""

from __future__ import annotations

import math
from urllib.parse import urljoin

import numpy as np
import pytest
import torch
from figures import FIGURES, come_near, new_page, open_figure, slide, state, until
from playwright.sync_api import Browser, Locator, Page, expect
from torch.distributions import kl_divergence

from vaelib.gaussians import AffineGaussian, StandardNormal


@pytest.fixture
def figure(page: Page, address: str, request: pytest.FixtureRequest) -> Locator:
    return open_figure(page, address, request.param)


only = pytest.mark.parametrize


@only("figure", ["reparameterization"], indirect=True)
def test_the_divergence_is_vaelibs_wherever_the_sliders_go(figure: Locator) -> None:
    before = state(figure)
    slide(figure, "\u03bc\u2081", "ArrowRight", 7)
    slide(figure, "S\u2081\u2082", "ArrowLeft", 9)
    slide(figure, "S\u2082\u2082", "ArrowRight", 3)
    now = state(figure)
    assert now["mu"][0] == pytest.approx(before["mu"][0] + 7 * 0.05)
    assert now["S"][0][1] == pytest.approx(before["S"][0][1] - 9 * 0.05)
    assert now["S"][1][1] == pytest.approx(before["S"][1][1] + 3 * 0.05)
    for numbers in (before, now):
        mu, S = torch.tensor(numbers["mu"]), torch.tensor(numbers["S"])
        expected = kl_divergence(AffineGaussian(mu, S), StandardNormal(2)).item()
        assert numbers["kl"] == pytest.approx(expected, abs=1e-9)
        assert numbers["mean"] == pytest.approx(0.5 * mu.square().sum().item())
        assert numbers["spread"] == pytest.approx(0.5 * (torch.trace(S @ S.mT).item() - 2))
        assert numbers["volume"] == pytest.approx(-torch.linalg.slogdet(S).logabsdet.item())
    assert f"{now['kl']:.3f} nats" in figure.locator(".term.kl").inner_text()


@only("figure", ["reparameterization"], indirect=True)
def test_dragging_moves_the_mean_and_a_column(figure: Locator) -> None:
    plane = figure.locator("svg.plane").bounding_box()
    unit = plane["width"] / 8

    def drag(handle: str, dx: float, dy: float) -> None:
        box = figure.locator(f".handle.{handle}").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        mouse = figure.page.mouse
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + dx * unit, y - dy * unit, steps=4)
        mouse.up()

    before = state(figure)
    drag("centre", -1.5, 0.5)
    middle = state(figure)
    assert middle["mu"] == pytest.approx([before["mu"][0] - 1.5, before["mu"][1] + 0.5], abs=0.03)
    assert middle["S"] == before["S"]
    drag("c0", 0.4, -0.8)
    after = state(figure)
    column = [row[0] for row in after["S"]]
    assert column == pytest.approx([before["S"][0][0] + 0.4, before["S"][1][0] - 0.8], abs=0.06)
    assert after["mu"] == middle["mu"]


@only("figure", ["reparameterization"], indirect=True)
def test_the_picture_is_the_map(figure: Locator) -> None:
    """The transform of the draws is z = mu + S eps, or on the way there; and a singular S has no divergence."""
    numbers = state(figure)
    matrix = figure.locator("g.moved").get_attribute("transform")
    entries = [float(entry) for entry in matrix.removeprefix("matrix(").removesuffix(")").split()]
    S, mu = np.array(numbers["S"]), numbers["mu"]
    assert entries == pytest.approx([*S.T.flatten(), *mu])
    slide(figure, "from", "Home", 1)
    assert state(figure)["t"] == 0
    assert figure.locator("g.moved").get_attribute("transform") == "matrix(1 0 0 1 0 0)"
    for name, value in (("S\u2081\u2081", 0), ("S\u2081\u2082", 0)):
        figure.get_by_label(name).fill(str(value))
    assert state(figure)["kl"] is None  # JSON's word for infinity
    assert "S is singular" in figure.locator(".term.kl").inner_text()


def moments(settings: dict) -> tuple[float, float, float]:
    """The exact gradient and the variances of both estimators, by Gauss-Hermite quadrature over one coordinate."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    weights = weights / math.sqrt(2 * math.pi)
    delta, sigma, K = settings["delta"], settings["sigma"], settings["K"]
    f = -((sigma * nodes - delta) ** 2) / 2
    mean, variance = weights @ f, weights @ f**2 - (weights @ f) ** 2
    b = K * mean if settings["baseline"] else 0.0
    # Given the first coordinate's noise, the others' sum has mean (K - 1) mean and variance (K - 1) variance.
    total = f + (K - 1) * mean - b
    score = total * nodes / sigma
    second = weights @ ((total**2 + (K - 1) * variance) * nodes**2 / sigma**2)
    pathwise = delta - sigma * nodes
    return weights @ score, second - (weights @ score) ** 2, weights @ pathwise**2 - (weights @ pathwise) ** 2


@only("figure", ["gradients"], indirect=True)
def test_both_estimates_tend_to_the_exact_gradient(figure: Locator) -> None:
    slide(figure, "dimension", "ArrowRight", 4)
    slide(figure, "\u03c3", "ArrowLeft", 3)
    slide(figure, "\u03b4", "ArrowLeft", 2)
    first = state(figure)
    assert (first["K"], first["sigma"], first["delta"]) == (5, pytest.approx(0.7), pytest.approx(0.8))
    stage = figure.locator(".stage").element_handle()
    figure.page.wait_for_function("(stage) => JSON.parse(stage.dataset.state).count >= 3000", arg=stage)
    numbers = state(figure)
    exact, score, pathwise = moments(numbers)
    assert numbers["exact"] == pytest.approx(exact)
    assert numbers["variances"]["score"] == pytest.approx(score)
    assert numbers["variances"]["pathwise"] == pytest.approx(pathwise)
    for kind, variance in (("score", score), ("pathwise", pathwise)):
        assert abs(numbers["means"][kind] - exact) < 5 * math.sqrt(variance / numbers["count"])


@only("figure", ["gradients"], indirect=True)
def test_the_baseline_lowers_the_variance_and_leaves_the_gradient(figure: Locator) -> None:
    slide(figure, "dimension", "ArrowRight", 9)
    without = state(figure)
    figure.get_by_label("baseline").check()
    with_baseline = state(figure)
    assert with_baseline["exact"] == without["exact"]
    assert without["variances"]["score"] == pytest.approx(moments(without)[1])
    assert with_baseline["variances"]["score"] == pytest.approx(moments(with_baseline)[1])
    assert with_baseline["variances"]["score"] < 0.3 * without["variances"]["score"]


@only("figure", ["gradients"], indirect=True)
def test_it_pauses_and_goes_on(figure: Locator) -> None:
    figure.get_by_role("button", name="Pause").click()
    count = state(figure)["count"]
    assert state(figure)["count"] == count
    figure.get_by_role("button", name="Go on").click()
    stage = figure.locator(".stage").element_handle()
    figure.page.wait_for_function(f"(stage) => JSON.parse(stage.dataset.state).count > {count}", arg=stage)


def test_it_waits_for_readers_who_want_no_motion(browser: Browser, address: str) -> None:
    page = new_page(browser, reduced_motion="reduce")
    figure = open_figure(page, address, "gradients")
    assert state(figure)["count"] == 0
    figure.get_by_role("button", name="Go on").click()
    until(figure, "s.count > 0")
    page.close()


@only("name", FIGURES)
def test_without_scripts_the_page_says_so_and_shows_a_picture(browser: Browser, address: str, name: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = new_page(context)
    page.goto(f"{address}/{FIGURES[name]}.html")
    figure = page.locator(f"#interactive-{name} noscript")
    come_near(page.locator(f"#interactive-{name}"))  # what is far from view is not laid out
    expect(figure).to_contain_text("needs JavaScript", use_inner_text=True)
    picture = figure.locator("img")
    response = page.request.get(urljoin(page.url, picture.get_attribute("src")))
    assert response.ok
    assert len(response.body()) < 60_000
    assert len(picture.get_attribute("alt")) > 100
    context.close()
