"""Figures of the book, all in one style: call `use_style()` once, then draw.

Every function takes tensors (on any device, with or without gradient) or arrays, checks them, and returns the
`Axes` or `Figure` it drew on; none calls `plt.show()`.
"""

from vaelib.plots.curves import latent_scatter, training_curves
from vaelib.plots.diagrams import architecture, encoder_decoder
from vaelib.plots.graphs import computation_graph, plates
from vaelib.plots.images import comparison, image_grid, manifold
from vaelib.plots.style import INK, PALETTE, WIDTH, use_style

__all__ = [
    "INK",
    "PALETTE",
    "WIDTH",
    "architecture",
    "comparison",
    "computation_graph",
    "encoder_decoder",
    "image_grid",
    "latent_scatter",
    "manifold",
    "plates",
    "training_curves",
    "use_style",
]
