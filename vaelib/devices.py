"""The one place that decides where tensors live."""

from __future__ import annotations

import torch


def default_device() -> torch.device:
    """The current accelerator where there is one, else the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if accelerator is None else accelerator
