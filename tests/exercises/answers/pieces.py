"""What several answers are written with."""

from __future__ import annotations

import math

import torch

LOG_2PI = math.log(2 * math.pi)


def lower_factor(scale):
    """The triangular S with a positive diagonal that has the same S S^T."""
    r = torch.linalg.qr(scale.mT).R
    sign = torch.where(torch.diagonal(r, dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(r.dtype)
    return (sign.unsqueeze(-1) * r).mT


def log_abs_det(scale):
    return torch.linalg.slogdet(scale).logabsdet


def squares(scale):
    return scale.pow(2).sum((1, 2))
