"""Mixed precision: the products of the networks in 16 bits, everything else as it was.

In bfloat16 a weight does not move when it is to move by less than 1/512 of itself. So the weights, the state of the
optimiser and the densities stay in float32, and only the matrix products are shortened, which are most of a step's
arithmetic. It pays on processors and GPUs that have units for it. Chapter: "Speed".
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vaelib.runs import Objective


def in_bfloat16(objective: Objective) -> Objective:
    """The same objective, with networks that multiply in bfloat16 while the model trains; evaluation stays exact.

    Args:
        objective: What is maximised, as in `vaelib.training.fit`.

    Returns:
        A function of a model and its images, shape (B, D), as `objective` is.

    Example:
        >>> from vaelib.bounds import sgvb_b
        >>> from vaelib.models import VAE
        >>> in_bfloat16(sgvb_b)(VAE.mlp(6), torch.rand(3, 6).round()).elbo.dtype
        torch.float32
    """

    def shortened(model: nn.Module, x: Tensor) -> Any:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=model.training):
            return objective(model, x)

    # By this name a saved run knows its objective again.
    shortened.__qualname__ = f"in_bfloat16({getattr(objective, '__qualname__', repr(objective))})"
    return shortened
