"""What drawings share: axes measured in inches on paper, without frame or ticks, and arrows."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch

from vaelib.plots.style import INK


def canvas(width: float, height: float, ax: Axes | None = None, *, bottom: float = 0.0) -> Axes:
    """Axes that measure in inches, x from 0 to `width` and y from `bottom`; by default they fill a figure of that size.

    On given axes the drawing keeps its proportions, and is as large as there is room.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="none")
        ax.set_position((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(bottom, bottom + height), aspect="equal")
    ax.axis("off")
    return ax


def arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    colour: str = INK,
    *,
    style: str = "-",
) -> None:
    """Draw a straight arrow whose tip stands on `end`."""
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=14, shrinkA=0, shrinkB=0, color=colour, linewidth=1.5,
            linestyle=style, zorder=3,
        )
    )  # fmt: skip
