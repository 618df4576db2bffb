"""Figures: what is drawn is what was given, on a fixed scale, in one legible style, the same bytes every time."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vaelib import plots

SHAPE = (4, 3)


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    plt.switch_backend("Agg")
    with mpl.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def images(number: int, seed: int = 0) -> Tensor:
    return torch.rand(number, SHAPE[0] * SHAPE[1], generator=torch.Generator().manual_seed(seed))


def history(epochs: int = 5) -> pd.DataFrame:
    frame = pd.DataFrame({"epoch": range(1, epochs + 1)})
    for split, gap in (("train", 0.0), ("test", 1.0)):
        frame[f"{split}_reconstruction"] = -80.0 - 50.0 / frame["epoch"] - gap
        frame[f"{split}_kl"] = 25.0 - 5.0 / frame["epoch"]
        frame[f"{split}_elbo"] = frame[f"{split}_reconstruction"] - frame[f"{split}_kl"]
    return frame


def codes() -> tuple[Tensor, Tensor]:
    labels = torch.arange(200) % 10
    angle = labels * torch.pi / 5
    noise = 0.1 * torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    return 3 * torch.stack([angle.cos(), angle.sin()], dim=1) + noise, labels


def decode(z: Tensor) -> Tensor:
    return torch.sigmoid(z @ torch.linspace(-1, 1, 24).reshape(2, 12))


DRAWINGS: dict[str, Callable[[], Axes | Figure]] = {
    "image_grid": lambda: plots.image_grid(images(20), SHAPE),
    "comparison": lambda: plots.comparison({"original": images(8), "reconstruction": images(8, 1)}, SHAPE),
    "manifold": lambda: plots.manifold(decode, SHAPE, steps=6),
    "training_curves": lambda: plots.training_curves(history()),
    "latent_scatter": lambda: plots.latent_scatter(*codes(), [str(i) for i in range(10)]),
    "architecture": lambda: plots.architecture(784, [400], 20),
    "encoder_decoder": lambda: plots.encoder_decoder(784, 20),
    "plates": plots.plates,
    "computation_graph": lambda: plots.computation_graph(reparameterized=True),
}
every_drawing = pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS.keys())


def _figure(drawn: Axes | Figure) -> Figure:
    return drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)


def sheet(ax: Axes) -> NDArray[np.float64]:
    (image,) = ax.images
    return np.asarray(image.get_array())


def texts(parent: Axes | Figure) -> list[Text]:
    return [text for text in parent.findobj(Text) if text.get_visible() and text.get_text()]


def png(draw: Callable[[], Axes | Figure]) -> bytes:
    figure = _figure(draw())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


# The style


@every_drawing
def test_the_same_bytes_twice(draw: Callable[[], Axes | Figure]) -> None:
    assert png(draw) == png(draw)


@every_drawing
def test_opaque_and_nothing_cut_off(draw: Callable[[], Axes | Figure]) -> None:
    pixels = np.asarray(Image.open(io.BytesIO(png(draw))).convert("RGBA"))
    assert (pixels[..., 3] == 255).all()
    for border in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (border == 255).all()


@every_drawing
def test_text_is_as_large_as_the_page(draw: Callable[[], Axes | Figure]) -> None:
    figure = _figure(draw())
    assert figure.get_size_inches()[0] <= plots.WIDTH  # wider, and the page would shrink it
    assert min((text.get_fontsize() for text in texts(figure)), default=11) >= 11


@every_drawing
def test_nothing_is_shown(draw: Callable[[], Axes | Figure], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail("plt.show() was called")

    monkeypatch.setattr(plt, "show", refuse)
    draw()


def _linear(colour: str) -> NDArray[np.float64]:
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


# Linear RGB as seen with normal vision and without one kind of cone (Machado, Oliveira and Fernandes 2009, severity 1).
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("vision", VISIONS)
def test_ten_colours_stay_apart(vision: str) -> None:
    to_lms = [[0.412221, 0.536333, 0.051446], [0.211904, 0.680700, 0.107397], [0.088302, 0.281719, 0.629979]]
    to_lab = [[0.210454, 0.793618, -0.004072], [1.977998, -2.428592, 0.450594], [0.025904, 0.782772, -0.808676]]
    seen = [np.clip(np.array(VISIONS[vision]) @ _linear(colour), 0, 1) for colour in plots.PALETTE]
    oklab = [np.array(to_lab) @ np.cbrt(np.array(to_lms) @ rgb) for rgb in seen]
    closest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(oklab, 2))
    assert closest > 0.06  # of 1 from black to white; matplotlib's default colours come down to 0.007


def test_colours_of_text_contrast_with_white() -> None:
    drawn = [text.get_color() for draw in DRAWINGS.values() for text in texts(_figure(draw()))]
    for colour in {to_rgba(c)[:3] for c in drawn}:
        luminance = _linear(colour) @ [0.2126, 0.7152, 0.0722]
        assert 1.05 / (luminance + 0.05) >= 4.5, colour


def test_notebook_figures_are_sharp_and_720_wide() -> None:
    # In a process of its own: the notebook client and the kernel do not belong in this one.
    code = """
import json, sys, nbformat
from nbclient import NotebookClient
cell = nbformat.v4.new_code_cell("import matplotlib.pyplot as plt\\nfrom vaelib import plots\\nplots.use_style()\\n"
                                 "plt.figure(figsize=(plots.WIDTH, 2)).add_subplot().plot([0, 1]);")
notebook = nbformat.v4.new_notebook(cells=[cell])
NotebookClient(notebook, kernel_name="python3").execute()
(output,) = notebook.cells[0].outputs
json.dump([output["metadata"]["image/png"], output["data"]["image/png"]], sys.stdout)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    metadata, data = json.loads(run.stdout)
    assert metadata == {"width": 720, "height": 200}
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (1440, 400)


# Sheets of images


def test_grid_puts_every_image_in_its_place() -> None:
    given = images(5)
    drawn = sheet(plots.image_grid(given, SHAPE, columns=3))
    assert drawn.shape == (2 * 4 + 1, 3 * 3 + 2)
    for index, image in enumerate(given):
        row, column = divmod(index, 3)
        cell = drawn[5 * row : 5 * row + 4, 4 * column : 4 * column + 3]
        np.testing.assert_array_equal(cell, image.double().reshape(SHAPE))
    assert (drawn[4] == 1).all()
    assert (drawn[:, 3] == 1).all()
    assert (drawn[5:, 8:] == 1).all()  # the place of the sixth


def test_grey_scale_is_fixed() -> None:
    (image,) = plots.image_grid(0.4 + 0.1 * images(4), SHAPE).images
    assert image.get_clim() == (0, 1)
    assert image.cmap(image.norm(0.0)) == (0, 0, 0, 1)
    assert image.cmap(image.norm(1.0)) == (1, 1, 1, 1)


def test_takes_gradients_arrays_and_an_axes() -> None:
    given = images(3)
    expected = sheet(plots.image_grid(given, SHAPE))
    np.testing.assert_array_equal(sheet(plots.image_grid(given.clone().requires_grad_(), SHAPE)), expected)
    read_only = given.numpy().copy()
    read_only.flags.writeable = False
    np.testing.assert_array_equal(sheet(plots.image_grid(read_only, SHAPE)), expected)
    ax = plt.figure(figsize=(5, 5)).add_subplot()
    assert plots.image_grid(given, SHAPE, ax=ax) is ax
    assert tuple(ax.get_figure().get_size_inches()) == (5, 5)


def test_labels_stand_at_the_middle_of_rows_and_columns() -> None:
    ax = plots.image_grid(images(6), SHAPE, columns=2, row_labels=["a", "b", "c"], column_labels=["one", "two"])
    assert ax.get_yticks().tolist() == [1.5, 6.5, 11.5]
    assert ax.get_xticks().tolist() == [1, 5]
    ax.figure.draw_without_rendering()
    assert [text.get_text() for text in texts(ax)] == ["one", "two", "a", "b", "c"]


def test_comparison_names_its_rows() -> None:
    first, second = images(4), images(4, 1)
    ax = plots.comparison({"original": first, "reconstruction": second}, SHAPE)
    np.testing.assert_array_equal(sheet(ax), sheet(plots.image_grid(torch.cat([first, second]), SHAPE, columns=4)))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["original", "reconstruction"]


def test_figure_fits_its_sheet() -> None:
    ax = plots.comparison({"original": images(10), "reconstruction": images(10, 1)}, SHAPE)
    ax.figure.draw_without_rendering()
    width, height = ax.figure.get_size_inches()
    ink = ax.figure.get_tightbbox()
    assert width - ink.width == pytest.approx(0.08, abs=0.02)
    assert height - ink.height == pytest.approx(0.08, abs=0.02)


def test_manifold_runs_along_both_latents() -> None:
    seen: list[Tensor] = []

    def record(z: Tensor) -> Tensor:
        seen.append(z)
        return torch.distributions.Normal(0, 1).cdf(z)  # two "pixels": the two quantiles

    drawn = sheet(plots.manifold(record, (1, 2), steps=4))
    quantiles = np.array([0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(drawn[:, ::2], np.tile(quantiles, (4, 1)), atol=1e-6)
    np.testing.assert_allclose(drawn[:, 1::2], np.tile(quantiles[::-1, None], (1, 4)), atol=1e-6)
    assert len(seen) == 1
    assert seen[0].dtype == torch.get_default_dtype()


def test_manifold_ticks_stand_where_z_is() -> None:
    ax = plots.manifold(decode, SHAPE, steps=20)
    normal = torch.distributions.Normal(0.0, 1.0)
    labels = [float(label.get_text().replace("−", "-")) for label in ax.get_xticklabels()]
    assert labels == [-2, -1, 0, 1, 2]
    share = (ax.get_xticks() + 0.5) / (20 * SHAPE[1])
    np.testing.assert_allclose(normal.icdf(torch.tensor(share)), labels, atol=1e-4)
    share = 1 - (ax.get_yticks() + 0.5) / (20 * SHAPE[0])
    np.testing.assert_allclose(normal.icdf(torch.tensor(share)), labels, atol=1e-4)


def test_manifold_keeps_no_graph() -> None:
    weight = torch.ones(2, 12, requires_grad=True)

    def tracked(z: Tensor) -> Tensor:
        out = torch.sigmoid(z @ weight)
        assert not out.requires_grad
        return out

    plots.manifold(tracked, SHAPE, steps=3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.image_grid(images(3), (5, 3)), "images must have shape (N, 15)"),
        (lambda: plots.image_grid(images(3).reshape(3, 4, 3), SHAPE), "images must have 2 dimension(s)"),
        (lambda: plots.image_grid(images(0), SHAPE), "images must not be empty"),
        (lambda: plots.image_grid(images(3) + 0.5, SHAPE), "images must lie in [0, 1]"),
        (lambda: plots.image_grid(images(3) - 0.5, SHAPE), "images must lie in [0, 1]"),
        (lambda: plots.image_grid(images(3) * torch.nan, SHAPE), "images must be finite"),
        (lambda: plots.image_grid(images(3), SHAPE, columns=0), "columns must be an integer of at least 1"),
        (lambda: plots.image_grid(images(3), SHAPE, columns=2, row_labels=["a"]), "row_labels must hold 2 texts"),
        (lambda: plots.image_grid(images(3), SHAPE, column_labels=["a"]), "column_labels must hold 3 texts"),
        (lambda: plots.comparison({}, SHAPE), "rows must be one or more"),
        (lambda: plots.comparison({"a": images(3), "b": images(2)}, SHAPE), "{'a': 3, 'b': 2}"),
        (lambda: plots.comparison({"a": images(3), "b": 2 * images(3)}, SHAPE), "rows['b'] must lie in [0, 1]"),
        (lambda: plots.manifold(decode, SHAPE, steps=0), "steps must be an integer of at least 1"),
        (lambda: plots.manifold(lambda z: decode(z)[1:], SHAPE, steps=3), "decode(z) must give 9 images"),
        (lambda: plots.manifold(lambda z: decode(z) * 3, SHAPE), "decode(z) must lie in [0, 1]"),
        (lambda: plots.training_curves(history().drop(columns="test_kl")), "but lacks ['test_kl']"),
        (lambda: plots.training_curves(history(0)), "history['epoch'] must not be empty"),
        (lambda: plots.training_curves(history().replace(20.0, np.nan)), "history['train_kl'] must be finite"),
        (lambda: plots.latent_scatter(torch.zeros(4, 3), torch.zeros(4), ["a"]), "points must have shape (N, 2)"),
        (lambda: plots.latent_scatter(torch.zeros(4, 2), torch.zeros(3), ["a"]), "labels must be one for each of 4"),
        (lambda: plots.latent_scatter(torch.zeros(4, 2), torch.ones(4), ["a"]), "labels must be whole numbers"),
        (lambda: plots.latent_scatter(torch.zeros(4, 2), torch.full((4,), 0.5), ["a"]), "labels must be whole numbers"),
        (lambda: plots.latent_scatter(torch.zeros(4, 2), torch.zeros(4), ["a"] * 11), "class_names must be 1 to 10"),
        (lambda: plots.architecture(784, [0], 20), "hidden[0] must be an integer of at least 1"),
        (lambda: plots.architecture(784, [400] * 3, 20), "hidden must have at most 2 layers"),
        (lambda: plots.encoder_decoder(784, 0), "latent_dim must be an integer of at least 1"),
    ],
)
def test_bad_input_raises(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


# Curves and codes


def test_curves_show_the_history_and_name_each_line() -> None:
    frame = history()
    figure = plots.training_curves(frame)
    assert len(figure.axes) == 3
    for ax, term in zip(figure.axes, ["elbo", "reconstruction", "kl"], strict=True):
        for line, name, split in zip(ax.lines, ax.texts, ["train", "test"], strict=True):
            np.testing.assert_array_equal(line.get_xdata(), frame["epoch"])
            np.testing.assert_array_equal(line.get_ydata(), frame[f"{split}_{term}"])
            assert name.get_text() == split
            assert name.get_color() == line.get_color()
    assert figure.get_supylabel() == "nats per image"
    assert figure.axes[-1].get_xlabel() == "epoch"


@pytest.mark.parametrize("epochs", [1, 5])
def test_names_of_lines_do_not_cover_each_other(epochs: int) -> None:
    # Training and test KL are equal in this history: the hardest case.
    figure = plots.training_curves(history(epochs))
    figure.draw_without_rendering()
    for ax in figure.axes:
        train, test = (name.get_window_extent() for name in ax.texts)
        assert not train.overlaps(test)


def test_scatter_colours_and_names_each_class() -> None:
    points, labels = codes()
    ax = plots.latent_scatter(points, labels, [f"n{i}" for i in range(10)])
    (dots,) = ax.collections
    assert isinstance(dots, PathCollection)
    np.testing.assert_array_equal(np.asarray(dots.get_offsets()), points.double())
    np.testing.assert_allclose(dots.get_facecolor(), [to_rgba(plots.PALETTE[label]) for label in labels])
    assert [text.get_text() for text in ax.texts] == [f"n{i}" for i in range(10)]
    for index, text in enumerate(ax.texts):
        np.testing.assert_allclose(text.get_position(), np.median(points[labels == index].double(), axis=0))
    assert ax.get_aspect() == 1


def test_scatter_moves_names_apart() -> None:
    points, labels = codes()
    ax = plots.latent_scatter(torch.cat([0.01 * points, torch.tensor([[3.0, 3.0], [-3.0, -3.0]])]),
                              torch.cat([labels, torch.tensor([0, 0])]), list("0123456789"))  # fmt: skip
    ax.figure.draw_without_rendering()
    for one, other in itertools.combinations(ax.texts, 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent())


def test_scatter_leaves_out_classes_without_points() -> None:
    ax = plots.latent_scatter(torch.zeros(2, 2), torch.tensor([1, 1]), ["a", "b"])
    assert [text.get_text() for text in ax.texts] == ["b"]


# The network


@pytest.mark.parametrize("hidden", [[], [400], [500, 200], [500, 500]])
@pytest.mark.parametrize("latent_dim", [2, 20, 200])
def test_architecture_has_every_layer_and_no_overlapping_texts(hidden: list[int], latent_dim: int) -> None:
    ax = plots.architecture(784, hidden, latent_dim, activation="tanh", likelihood="Gaussian")
    bars = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert len(bars) == 2 * (2 + len(hidden)) + 1  # two heads
    written = [text.get_text() for text in ax.texts]
    for name, width in (("$x$", 784), ("Gaussian", 784), ("$z$", latent_dim), (r"$\mu$", latent_dim)):
        assert written.count(f"{name}\n{width}") == 1
    for width in set(hidden):
        assert written.count(f"$h$\n{width}") == 2 * hidden.count(width)
    assert written.count("tanh") == 2 * len(hidden)
    assert written.count("linear") == 3

    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    outlines = [bar.get_window_extent() for bar in bars]
    assert not any(box.overlaps(outline) for box in boxes for outline in outlines)


def test_only_the_noise_is_round() -> None:
    ax = plots.architecture(784, [400], 20)
    (circle,) = [patch for patch in ax.patches if isinstance(patch, Circle)]
    (noise,) = [text for text in ax.texts if text.get_text() == r"$\varepsilon$"]
    assert noise.get_position() == circle.center
    assert circle.get_edgecolor() == to_rgba(noise.get_color())
    assert circle.get_edgecolor() not in {p.get_edgecolor() for p in ax.patches if isinstance(p, FancyBboxPatch)}


def no_overlapping_texts(ax: Axes) -> bool:
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    return not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def arrows(ax: Axes, dashed: bool) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Start and end of each arrow of a kind."""
    found = [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    return [patch._posA_posB for patch in found if (patch.get_linestyle() == "--") == dashed]


def test_an_autoencoder_has_a_code_between_two_images() -> None:
    ax = plots.encoder_decoder(784, 20)
    written = [text.get_text() for text in ax.texts]
    assert sum(text.endswith("784") for text in written) == 2
    assert "$z$\n20" in written
    assert {"encoder $g$", "decoder $f$"} <= set(written)
    assert no_overlapping_texts(ax)


def test_the_plate_holds_what_there_is_one_of_for_each_image() -> None:
    ax = plots.plates()
    (plate,) = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    inside = {
        text.get_text()
        for text in ax.texts
        if plate.get_x() < text.get_position()[0] < plate.get_x() + plate.get_width()
    }
    assert inside == {"$z_i$", "$x_i$", "$N$"}
    code, image = (patch.center for patch in ax.patches if isinstance(patch, Circle))
    assert code[1] > image[1]
    # The model leads from the code, above, to the image, and the posterior back up.
    assert any(start[1] > end[1] for start, end in arrows(ax, dashed=False))
    assert any(start[1] < end[1] for start, end in arrows(ax, dashed=True))
    assert len(arrows(ax, dashed=False)) == len(arrows(ax, dashed=True)) == 2
    assert no_overlapping_texts(ax)


def test_the_gradient_reaches_the_encoder_from_the_likelihood_only_with_reparameterization() -> None:
    cut, whole = plots.computation_graph(reparameterized=False), plots.computation_graph(reparameterized=True)
    downwards = [[arrow for arrow in arrows(ax, dashed=True) if arrow[0][1] > arrow[1][1]] for ax in (cut, whole)]
    assert [len(found) for found in downwards] == [3, 4]
    # With it, one chain: each gradient sets out from the box in which the one above it ended.
    ends = sorted((y for arrow in downwards[1] for y in (arrow[0][1], arrow[1][1])), reverse=True)
    gaps = [upper - lower for upper, lower in itertools.pairwise(ends)]
    assert gaps[1::2] == pytest.approx([0.46] * 3)
    for ax, round_node, marks in ((cut, "$z$", 1), (whole, r"$\varepsilon$", 0)):
        (circle,) = [patch for patch in ax.patches if isinstance(patch, Circle)]
        (name,) = [text for text in ax.texts if text.get_position() == circle.center]
        assert name.get_text() == round_node
        assert [text.get_text() for text in ax.texts].count("×") == marks
        assert no_overlapping_texts(ax)


def test_a_graph_can_be_drawn_beside_another() -> None:
    figure, axes = plt.subplots(1, 2)
    assert plots.computation_graph(reparameterized=False, ax=axes[0]) is axes[0]
    assert plots.computation_graph(reparameterized=True, ax=axes[1]).get_figure(root=True) is figure
    assert len(plt.get_fignums()) == 1
