"""Drawings of models as graphs: what depends on what, what is random, and where gradients can pass."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch

from vaelib.plots.canvas import arrow, canvas
from vaelib.plots.style import INK, PALETTE

# All lengths are inches on paper.
_RADIUS = 0.27  # of a round node
_WIDTH, _HALF = 1.75, 0.23  # of a box, and half its height
_RANDOM, _GRADIENT = PALETTE[2], PALETTE[4]
_OBSERVED, _LOSS = "#dcdfe4", "#bcdaf4"


def plates() -> Axes:
    r"""Draw the latent variable model and its encoder as one graph with a plate over the N images.

    Solid arrows are the generative model $p(z)\,p_\theta(x \mid z)$, dashed ones the approximate posterior
    $q_\phi(z \mid x)$. Round nodes are random, and shaded if they are observed; parameters have no node around them.
    After figure 1 of Kingma and Welling (2014), but for the prior, which has no parameters here.
    """
    ax = canvas(4.6, 3.5)
    left, middle, right, low, high = 0.55, 2.3, 4.05, 0.95, 2.75
    plate = FancyBboxPatch(
        (1.45, 0.3), 1.7, 2.95, boxstyle="round,pad=0,rounding_size=0.1", facecolor="none", edgecolor=INK
    )
    ax.add_patch(plate)
    ax.text(3.07, 0.4, "$N$", ha="right", va="bottom")
    _random(ax, middle, high, "$z_i$")
    _random(ax, middle, low, "$x_i$", observed=True)
    ax.text(left, high, r"$\phi$", ha="center", va="center", size="large")
    ax.text(right, low, r"$\theta$", ha="center", va="center", size="large")
    arrow(ax, (middle + 0.12, high - 0.25), (middle + 0.12, low + 0.25))
    arrow(ax, (right - 0.18, low), (middle + _RADIUS, low))
    arrow(ax, (middle - 0.12, low + 0.25), (middle - 0.12, high - 0.25), _GRADIENT, style="--")
    arrow(ax, (left + 0.18, high), (middle - _RADIUS, high), _GRADIENT, style="--")
    ax.text(right, low + 0.55, r"$p_\theta(x|z)$", ha="center", va="center")
    ax.text(left + 0.02, high - 0.55, r"$q_\phi(z|x)$", ha="center", va="center", color=_GRADIENT)
    return ax


def computation_graph(reparameterized: bool, ax: Axes | None = None) -> Axes:
    r"""Draw how a VAE's bound is computed, bottom to top, and how far its gradient comes back (dashed).

    Without reparameterization the code z is drawn in the middle of the graph, and the gradient of
    $\log p_\theta(x \mid z)$ ends at the draw. With it, $z = \mu + \sigma \odot \varepsilon$ is computed from a draw
    that stands beside the graph as an input, and the gradient reaches the encoder. The divergence's gradient, on the
    right, reaches it in both.

    Args:
        reparameterized: Which of the two.
        ax: Where to draw; by default a figure of its own.
    """
    ax = canvas(3.6, 5.9, ax)
    stem, up, down = 1.55, 0.1, -0.1  # the forward pass runs up the stem, the gradient down beside it
    x, encoder, heads, z, decoder, loss = 0.35, 1.35, 2.35, 3.4, 4.45, 5.5

    _box(ax, stem, x, "$x$", _OBSERVED)
    _box(ax, stem, encoder, r"encoder $\phi$")
    _box(ax, stem, heads, r"$\mu,\ \sigma$")
    _box(ax, stem, decoder, r"decoder $\theta$")
    _box(ax, stem, loss, r"$\log\,p_\theta(x|z)$", _LOSS)
    _box(ax, 3.15, heads, "KL", _LOSS, width=0.68)
    arrow(ax, (stem, x + _HALF), (stem, encoder - _HALF))
    for below, above in ((encoder, heads), (z, decoder), (decoder, loss)):
        arrow(ax, (stem + up, below + _HALF), (stem + up, above - _HALF))
        arrow(ax, (stem + down, above - _HALF), (stem + down, below + _HALF), _GRADIENT, style="--")
    arrow(ax, (stem + _WIDTH / 2, heads + up), (2.81, heads + up))
    arrow(ax, (2.81, heads + down), (stem + _WIDTH / 2, heads + down), _GRADIENT, style="--")

    if reparameterized:
        _box(ax, stem, z, r"$z=\mu+\sigma\odot\varepsilon$")
        _random(ax, 3.15, z, r"$\varepsilon$")
        ax.text(3.15, z + 0.42, r"$\mathcal{N}(0,I)$", color=_RANDOM, ha="center", va="center")
        arrow(ax, (3.15 - _RADIUS, z), (stem + _WIDTH / 2, z), _RANDOM)
        arrow(ax, (stem + up, heads + _HALF), (stem + up, z - _HALF))
        arrow(ax, (stem + down, z - _HALF), (stem + down, heads + _HALF), _GRADIENT, style="--")
    else:
        _random(ax, stem, z, "$z$")
        ax.text(stem + 0.38, z, r"$\sim\mathcal{N}(\mu,\sigma^2)$", color=_RANDOM, va="center")
        arrow(ax, (stem + up, heads + _HALF), (stem + up, z - 0.25), _RANDOM)
        # Where the way back would go on.
        ax.text(stem + down - 0.1, (heads + z) / 2, "×", color=_GRADIENT, size=24, ha="center", va="center")
    return ax


def _random(ax: Axes, x: float, y: float, name: str, *, observed: bool = False) -> None:
    """A round node: a random variable."""
    colour, ground = (INK, _OBSERVED) if observed else (_RANDOM, "white")
    ax.add_patch(Circle((x, y), _RADIUS, facecolor=ground, edgecolor=colour, linewidth=2, zorder=4))
    ax.text(x, y, name, ha="center", va="center", zorder=5, size="large", color=colour)


def _box(ax: Axes, x: float, y: float, text: str, colour: str = "white", *, width: float = _WIDTH) -> None:
    """A box: something computed from what leads to it."""
    box = FancyBboxPatch(
        (x - width / 2, y - _HALF), width, 2 * _HALF, boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=colour, edgecolor=INK, linewidth=1, zorder=4,
    )  # fmt: skip
    ax.add_patch(box)
    ax.text(x, y, text, ha="center", va="center", zorder=5)
