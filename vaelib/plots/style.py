"""The one plot style of the book."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib as mpl
from cycler import cycler

#: Width in inches of a figure that fills the page's column: 720 CSS pixels.
WIDTH = 7.2

#: Ten colours that colour-blind readers can tell apart (Petroff 2021, arXiv:2107.02270).
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)

#: Text, axes and outlines.
INK = "#22262e"

_STYLE: dict[Any, Any] = {
    # 100 CSS pixels an inch, so 12.5 pt is 17.4 px: as large as the page's own text.
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.figsize": (WIDTH, 4.2),
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every machine
    "font.size": 12.5,
    "axes.titlesize": 12.5,
    "axes.labelsize": 12.5,
    "legend.fontsize": 12.5,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "mathtext.fontset": "dejavuserif",  # as large as the text around it
    # An opaque ground: a figure looks the same on a light and on a dark page.
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e5e8",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "axes.prop_cycle": cycler(color=PALETTE),
    "image.cmap": "gray",
    "legend.frameon": False,
}


def use_style() -> None:
    """Set the book's style for every figure drawn from here on.

    In a notebook, figures also become PNGs of twice the resolution, losslessly packed and shown at half their size:
    a figure `WIDTH` inches wide is 720 CSS pixels wide and sharp on every screen.
    """
    mpl.rcParams.update(_STYLE)
    if "IPython" not in sys.modules:
        return
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        from matplotlib_inline.config import InlineBackend

        inline: Any = InlineBackend.instance(parent=shell)
        inline.figure_formats = {"retina"}
        # The default crops each figure to its ink, so that equal widths would come out unequal.
        inline.print_figure_kwargs = {"bbox_inches": None, "pil_kwargs": {"optimize": True}}
