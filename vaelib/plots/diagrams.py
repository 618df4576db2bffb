"""Drawings of networks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

from vaelib.checks import check_positive_integer
from vaelib.plots.canvas import arrow, canvas
from vaelib.plots.style import INK, PALETTE, WIDTH

# All lengths are inches on paper; the axes measure in inches too.
_MARGIN, _STEP = 0.5, 1.08  # beside the outermost bars, and between neighbouring bars if the page is wide enough
_NARROWEST = 5.0  # leaves room for the noise's law beside it
_BOTTOM, _TOP = -1.75, 1.75
_BAR, _TALLEST, _SHORTEST = 0.2, 2.2, 0.5
_TALLEST_HEAD = 0.65  # two of them stand above each other
_HEAD = 0.72  # from the middle line to the middle of a head
_NOISE = 1.12  # from the middle line to the noise

_ENCODER, _DECODER, _RANDOM = PALETTE[0], PALETTE[1], PALETTE[2]


def architecture(
    data_dim: int,
    hidden: Sequence[int],
    latent_dim: int,
    *,
    activation: str = "ReLU",
    likelihood: str = "Bernoulli",
) -> Axes:
    """Draw a VAE of fully connected layers, left to right: data, encoder, the two heads, z, decoder, p(x|z).

    Bars are layers, of a height that grows as the square root of their width, within limits; the surfaces between
    them are the affine maps, each with its activation. The noise is the only random node, and the only round one:
    z = mu + sigma * epsilon.

    Args:
        data_dim: D.
        hidden: widths of the encoder's hidden layers, at most two; the decoder has them in reverse order.
        latent_dim: K, the width of each head and of z.
        activation: its name, written on every map into a hidden layer.
        likelihood: the family of p(x|z), written under the last layer.

    Raises:
        ValueError: if a width is not positive, or there are more than two hidden layers.
    """
    widths = [data_dim, *hidden, latent_dim]
    for name, width in zip(
        ["data_dim", *(f"hidden[{i}]" for i in range(len(hidden))), "latent_dim"], widths, strict=True
    ):
        check_positive_integer(name, width)
    if len(hidden) > 2:
        raise ValueError(f"hidden must have at most 2 layers to be legible on a page, but has {len(hidden)}")

    figure_width = min(WIDTH, max(_NARROWEST, 2 * _MARGIN + _STEP * (2 * len(widths) - 1)))
    ax = canvas(figure_width, _TOP - _BOTTOM, bottom=_BOTTOM)

    heights = [max(_SHORTEST, _TALLEST * (width / max(widths)) ** 0.5) for width in widths]
    heights[-1] = min(heights[-1], _TALLEST_HEAD)
    places = np.linspace(_MARGIN, figure_width - _MARGIN, 2 * len(widths)).tolist()
    heads, z = places[len(hidden) + 1], places[len(hidden) + 2]
    small = heights[-1]

    # The encoder: from the data to the last hidden layer, then a fork to the two heads.
    trunk = len(widths) - 1
    for i in range(trunk):
        if i + 1 < trunk:
            _map(ax, places[i], heights[i], places[i + 1], heights[i + 1], activation, _ENCODER)
        _layer(ax, places[i], 0, heights[i], "$h$" if i else "$x$", widths[i], _ENCODER)
    for y, name in ((_HEAD, r"$\mu$"), (-_HEAD, r"$\log\,\sigma^2$")):
        _map(ax, places[trunk - 1], heights[trunk - 1], heads, small, "linear", _ENCODER, y)
        _layer(ax, heads, y, small, name, latent_dim, _ENCODER)
        arrow(ax, (heads + _BAR / 2, y), (z - _BAR / 2, np.sign(y) * small / 5))

    # The noise enters from above.
    ax.add_patch(Circle((z, _NOISE), 0.2, facecolor="white", edgecolor=_RANDOM, linewidth=2))
    ax.text(z, _NOISE, r"$\varepsilon$", color=_RANDOM, ha="center", va="center", size="large")
    ax.text(z + 0.28, _NOISE, r"$\sim\mathcal{N}(0, I)$", color=_RANDOM, va="center")
    arrow(ax, (z, _NOISE - 0.2), (z, small / 2), _RANDOM)
    ax.text(z, _BOTTOM + 0.34, r"$z=\mu+\sigma\odot\varepsilon$", ha="center", va="top")

    # The decoder: the encoder's widths in reverse.
    for i in reversed(range(trunk)):
        here, there = places[-2 - i], places[-1 - i]
        _map(ax, here, heights[i + 1], there, heights[i], activation if i else "linear", _DECODER)
        _layer(ax, there, 0, heights[i], "$h$" if i else likelihood, widths[i], _DECODER)
    _layer(ax, z, 0, small, "$z$", latent_dim, _DECODER)

    for left, right, text in ((places[0], heads, "encoder $q(z|x)$"), (z, places[-1], "decoder $p(x|z)$")):
        ax.text((left + right) / 2, _TOP - 0.05, text, ha="center", va="top")
    return ax


def encoder_decoder(data_dim: int, latent_dim: int) -> Axes:
    r"""Draw an autoencoder, left to right: x, encoder g, code z, decoder f, and $\tilde x$, compared with x.

    Args:
        data_dim: D.
        latent_dim: K.

    Raises:
        ValueError: if a width is not positive.
    """
    check_positive_integer("data_dim", data_dim)
    check_positive_integer("latent_dim", latent_dim)
    middle, top = _NARROWEST / 2, _TALLEST / 2
    ax = canvas(_NARROWEST, _TALLEST + 1.55, bottom=-top - 1.2)
    ends = (0.7, _NARROWEST - 0.7)
    _map(ax, ends[0], _TALLEST, middle, _SHORTEST, "encoder $g$", _ENCODER)
    _map(ax, middle, _SHORTEST, ends[1], _TALLEST, "decoder $f$", _DECODER)
    _layer(ax, ends[0], 0, _TALLEST, "$x$", data_dim, _ENCODER)
    _layer(ax, middle, 0, _SHORTEST, "$z$", latent_dim, PALETTE[3])
    _layer(ax, ends[1], 0, _TALLEST, r"$\tilde x$", data_dim, _DECODER)
    for end in ends:  # both ends meet in the error
        arrow(ax, (end, -top - 0.62), (middle + math.copysign(0.72, end - middle), -top - 0.85))
    ax.text(middle, -top - 0.85, r"$\Vert x-\tilde x\Vert^2$", ha="center", va="center", size="large")
    return ax


def _layer(ax: Axes, x: float, y: float, height: float, name: str, width: int, colour: str) -> None:
    """Draw a layer as an upright bar around (x, y), with its name and width below."""
    box = FancyBboxPatch(
        (x - _BAR / 2, y - height / 2), _BAR, height, boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=colour, edgecolor=INK, linewidth=1, zorder=2,
    )  # fmt: skip
    ax.add_patch(box)
    ax.text(x, y - height / 2 - 0.05, f"{name}\n{width}", ha="center", va="top", linespacing=1.15, zorder=3)


def _map(
    ax: Axes, x: float, height: float, x_next: float, height_next: float, text: str, colour: str, y_next: float = 0
) -> None:
    """Shade the affine map between a layer around (x, 0) and the next around (x_next, y_next)."""
    corners = [
        (x, height / 2),
        (x_next, y_next + height_next / 2),
        (x_next, y_next - height_next / 2),
        (x, -height / 2),
    ]
    ax.add_patch(Polygon(corners, closed=True, facecolor=colour, alpha=0.25, linewidth=0, zorder=1))
    if y_next:  # towards a head, where the fork has parted
        ax.text(x_next - _BAR / 2 - 0.06, 0.6 * y_next, text, ha="right", va="center", zorder=3)
    else:
        ax.text((x + x_next) / 2, 0, text, ha="center", va="center", zorder=3)
