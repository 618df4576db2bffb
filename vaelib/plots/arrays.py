"""From tensors and sequences to checked NumPy arrays."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vaelib.checks import check_finite


def to_array(name: str, values: Tensor | ArrayLike, ndim: int) -> NDArray[np.float64]:
    """Return `values` as a float64 array on the CPU, cut off from any graph.

    Args:
        name: the argument's name in the caller, for the error message.
        values: tensor or array of any shape, real-valued.
        ndim: the number of dimensions it must have.

    Raises:
        ValueError: if it has another number of dimensions, no entries, or an entry that is NaN or infinite.
    """
    if not isinstance(values, Tensor):
        values = torch.tensor(np.asarray(values, dtype=np.float64))
    values = values.detach().to("cpu", torch.float64)
    if values.dim() != ndim:
        raise ValueError(f"{name} must have {ndim} dimension(s), but has shape {tuple(values.shape)}: reshape it first")
    if values.numel() == 0:
        raise ValueError(f"{name} must not be empty, but has shape {tuple(values.shape)}")
    check_finite(name, values)
    return values.numpy()
