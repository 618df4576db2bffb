"""Sheets of images, on one fixed grey scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaelib.checks import check_positive_integer, check_unit_interval
from vaelib.plots.arrays import to_array
from vaelib.plots.style import WIDTH

_CELL = 0.8  # inches: no image is drawn wider than this
_MARGIN = 1.5  # inches, room for texts beside the sheet
_PAD = 0.04  # inches around the figure's contents, matplotlib's own default

_Ticks: TypeAlias = tuple[ArrayLike, Sequence[str]]


def image_grid(
    images: Tensor | ArrayLike,
    image_shape: tuple[int, int],
    *,
    columns: int = 10,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw images row by row on one sheet, 0 black and 1 white whatever the images hold.

    Args:
        images: (N, D), values in [0, 1].
        image_shape: height and width of one image, H * W = D.
        columns: images in a row; the last row may stay incomplete.
        row_labels: one text a row, written on the left.
        column_labels: one text a column, written above.
        ax: where to draw; by default a new figure of fitting size.

    Raises:
        ValueError: if a shape or a number of labels does not fit, or a value lies outside [0, 1].
    """
    pixels = _to_pixels("images", images, image_shape)
    check_positive_integer("columns", columns)
    columns = min(columns, len(pixels))
    rows = math.ceil(len(pixels) / columns)
    names = _names("column_labels", column_labels, columns), _names("row_labels", row_labels, rows)
    return _draw(pixels, columns, 1, *names, ax)


def comparison(rows: Mapping[str, Tensor | ArrayLike], image_shape: tuple[int, int], *, ax: Axes | None = None) -> Axes:
    """Draw rows of images under each other, each with its name, such as originals above their reconstructions.

    Args:
        rows: name to images (N, D), the same N in every row, values in [0, 1].
        image_shape: height and width of one image, H * W = D.
        ax: where to draw; by default a new figure of fitting size.

    Raises:
        ValueError: if there is no row, rows differ in length, a shape does not fit, or a value lies outside [0, 1].
    """
    pixels = {name: _to_pixels(f"rows[{name!r}]", images, image_shape) for name, images in rows.items()}
    lengths = {name: len(images) for name, images in pixels.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"rows must be one or more of equal length, but have {lengths} images: cut them to one length")
    columns = next(iter(lengths.values()))
    names = _names("rows", list(pixels), len(pixels))
    return _draw(np.concatenate(list(pixels.values())), columns, 1, ([], []), names, ax)


def manifold(
    decode: Callable[[Tensor], Tensor | ArrayLike],
    image_shape: tuple[int, int],
    *,
    steps: int = 15,
    ax: Axes | None = None,
) -> Axes:
    """Draw what a decoder makes of the plane of two latents (AEVB, figure 4).

    The midpoints of a `steps` x `steps` grid on the unit square pass through the inverse Gaussian CDF, so every cell
    stands for the same mass of the prior N(0, I). z_1 grows to the right and z_2 upwards.

    Args:
        decode: from latents (N, 2), of torch's default dtype and on the CPU, to images (N, D) in [0, 1].
        image_shape: height and width of one image, H * W = D.
        steps: images along each side.
        ax: where to draw; by default a new figure of fitting size.

    Raises:
        ValueError: if `steps` is not positive, or `decode` returns another shape or values outside [0, 1].
    """
    check_positive_integer("steps", steps)
    quantiles = (torch.arange(steps, dtype=torch.get_default_dtype()) + 0.5) / steps
    ticks = torch.special.ndtri(quantiles)
    z_2, z_1 = torch.meshgrid(ticks.flip(0), ticks, indexing="ij")
    with torch.no_grad():
        images = decode(torch.stack([z_1.flatten(), z_2.flatten()], dim=1))
    pixels = _to_pixels("decode(z)", images, image_shape)
    if len(pixels) != steps**2:
        raise ValueError(f"decode(z) must give {steps**2} images, one for each latent, but gave {len(pixels)}")

    # Whole numbers of z, where they fall between the cells' midpoints.
    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    cells = steps * torch.special.ndtr(values).numpy()
    texts = [f"{value:.0f}".replace("-", "−") for value in values.tolist()]
    return _draw(pixels, steps, 0, (cells, texts), (steps - cells, texts), ax, ("$z_1$", "$z_2$"))


def _to_pixels(name: str, images: Tensor | ArrayLike, image_shape: tuple[int, int]) -> NDArray[np.float64]:
    """Check images (N, D) and return them as (N, H, W)."""
    height, width = image_shape
    pixels = to_array(name, images, 2)
    if pixels.shape[1] != height * width:
        raise ValueError(
            f"{name} must have shape (N, {height * width}) for images of {height} x {width}, but has shape "
            f"{pixels.shape}: flatten each image to one row, or correct image_shape"
        )
    check_unit_interval(name, torch.from_numpy(pixels))
    return pixels.reshape(-1, height, width)


def _names(name: str, labels: Sequence[str] | None, expected: int) -> _Ticks:
    """Place one name at the middle of each row or column."""
    if labels is None:
        return [], []
    if len(labels) != expected:
        raise ValueError(f"{name} must hold {expected} texts, but holds {len(labels)}")
    return np.arange(expected) + 0.5, labels


def _draw(
    pixels: NDArray[np.float64],
    columns: int,
    gap: int,
    column_ticks: _Ticks,
    row_ticks: _Ticks,
    ax: Axes | None,
    coordinates: tuple[str, str] | None = None,
) -> Axes:
    """Put (N, H, W) on one sheet, `gap` white pixels between neighbours, and draw it as a single image.

    Ticks are given in cells from the sheet's upper left corner. They are names, or values of two `coordinates`.
    """
    number, height, width = pixels.shape
    rows = math.ceil(number / columns)
    cells = np.ones((rows * columns, height + gap, width + gap))
    cells[:number, :height, :width] = pixels
    sheet = cells.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap))[: -gap or None, : -gap or None]

    new = ax is None
    if ax is None:
        figure_width = min(WIDTH, columns * _CELL + (_MARGIN if row_ticks[1] else 0.0))
        # Too high on purpose: the width then sets the scale, and the surplus height is taken off below.
        size = (figure_width, figure_width * rows * height / (columns * width) + _MARGIN)
        figure, ax = plt.subplots(figsize=size, layout="constrained")

    ax.imshow(sheet, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    ax.set_xticks(np.asarray(column_ticks[0]) * (width + gap) - (gap + 1) / 2, column_ticks[1])
    ax.set_yticks(np.asarray(row_ticks[0]) * (height + gap) - (gap + 1) / 2, row_ticks[1])
    ax.grid(False)
    ax.spines[:].set_visible(False)
    if coordinates is None:
        ax.tick_params(length=0, bottom=False, labelbottom=False, labeltop=True, labelsize="medium")
    else:
        ax.set_xlabel(coordinates[0])
        ax.set_ylabel(coordinates[1], rotation=0, va="center")

    if new:
        figure.draw_without_rendering()
        figure.set_size_inches(figure_width, figure.get_tightbbox().height + 2 * _PAD)
        figure.draw_without_rendering()  # the layout settles in steps; saving takes the last one
    return ax
