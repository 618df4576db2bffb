"""Training curves and the scatter of two-dimensional codes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaelib.plots.arrays import to_array
from vaelib.plots.style import PALETTE

_PANELS = {
    "elbo": "ELBO = reconstruction − KL",
    "reconstruction": r"reconstruction, $\mathrm{E}_{q(z|x)}\,\log\,p(x|z)$",
    "kl": r"$\mathrm{KL}(q(z|x)\,\Vert\,p(z))$",
}
_SPLITS = {"train": PALETTE[8], "test": PALETTE[2]}  # both dark enough to carry text in their own colour


def training_curves(history: pd.DataFrame) -> Figure:
    """Draw the ELBO and its two terms over the epochs, on training and on test data, in nats per image.

    The panels stand under each other and share the epochs, so that the terms can be read off against the bound.

    Args:
        history: one row an epoch, with columns `epoch` and `{train,test}_{elbo,reconstruction,kl}`, where
            reconstruction = E_q[log p(x|z)] and elbo = reconstruction - kl.

    Raises:
        ValueError: if a column is missing, there are no rows, or a value is NaN or infinite.
    """
    needed = ["epoch", *(f"{split}_{term}" for term in _PANELS for split in _SPLITS)]
    missing = [name for name in needed if name not in history]
    if missing:
        raise ValueError(f"history must have the columns {needed}, but lacks {missing}")
    column = {name: to_array(f"history[{name!r}]", history[name].to_numpy(), 1) for name in needed}

    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(5.6, 6.2), layout="constrained")
    for ax, (term, title) in zip(axes, _PANELS.items(), strict=True):
        ends = {split: column[f"{split}_{term}"][-1] for split in _SPLITS}
        upper = max(ends, key=lambda split: float(ends[split]))
        for split, colour in _SPLITS.items():
            # The mark at the end leads to the name, and shows a history of a single epoch.
            ax.plot(column["epoch"], column[f"{split}_{term}"], color=colour, marker="o", markersize=5, markevery=[-1])
            above = split == upper
            ax.annotate(
                split,
                (column["epoch"][-1], ends[split]),
                xytext=(8, 1 if above else -1),
                textcoords="offset points",
                va="bottom" if above else "top",
                color=colour,
            )
        ax.set_title(title, loc="left")
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    figure.supylabel("nats per image", fontsize=plt.rcParams["axes.labelsize"])
    return figure


def latent_scatter(
    points: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    class_names: Sequence[str],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw two-dimensional codes coloured by class, each class named at its median.

    Names closer to each other than their size are moved apart.

    Args:
        points: (N, 2).
        labels: (N,), whole numbers that index `class_names`.
        class_names: at most ten, one for each colour of the palette.
        ax: where to draw; by default a new square figure.

    Raises:
        ValueError: if a shape does not fit, a label has no name, or there are more than ten classes.
    """
    codes, classes = to_array("points", points, 2), to_array("labels", labels, 1)
    if codes.shape[1] != 2:
        raise ValueError(
            f"points must have shape (N, 2), but has shape {codes.shape}: project the codes to two dimensions"
        )
    if len(classes) != len(codes):
        raise ValueError(f"labels must be one for each of {len(codes)} points, but are {len(classes)}")
    if not 1 <= len(class_names) <= len(PALETTE):
        raise ValueError(f"class_names must be 1 to {len(PALETTE)}, but are {len(class_names)}: group the classes")
    strange = set(classes.tolist()) - set(range(len(class_names)))
    if strange:
        raise ValueError(
            f"labels must be whole numbers from 0 to {len(class_names) - 1}, but hold {sorted(strange)[:5]}"
        )

    if ax is None:
        _, ax = plt.subplots(figsize=(6.0, 6.0), layout="constrained")
    # One collection in the order of the data: drawn class by class, the last would cover the others.
    # Without antialiasing the PNG has few colours and a third of the size.
    colours = np.array(PALETTE)[classes.astype(int)].tolist()
    ax.scatter(codes[:, 0], codes[:, 1], s=4, c=colours, linewidths=0, antialiased=False)
    present = np.unique(classes).astype(int)
    medians = np.array([np.median(codes[classes == index], axis=0) for index in present])
    for index, (x, y) in zip(present, _spread(medians, 0.06 * np.ptp(codes, axis=0).max()), strict=True):
        box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": PALETTE[index], "linewidth": 2.5}
        ax.text(x, y, class_names[index], ha="center", va="center", weight="bold", bbox=box)
    ax.set_aspect("equal", adjustable="datalim")
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$", rotation=0, va="center")
    return ax


def _spread(positions: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    """Move points (C, 2) apart, pair by pair, until none are closer than `distance` (or a hundred rounds are over)."""
    positions = positions.copy()
    for _ in range(100):
        for i in range(len(positions)):
            for j in range(i):
                step = positions[i] - positions[j]
                length = float(np.hypot(*step))
                if length < distance:
                    direction = step / length if length > 0 else np.array([1.0, 0.0])
                    positions[i] += direction * (distance - length) / 2
                    positions[j] -= direction * (distance - length) / 2
    return positions
