"""KL(q || N(0, I)) of full-covariance Gaussians: vaelib against torch.distributions, value and gradient.

Both are given the same S and the same work: build q, take the divergence from the prior, and differentiate it in the
mean and in S. From a triangular S, MultivariateNormal is built with `scale_tril`; from any other, with S S^T, as it has
no other way in. Each is timed as a user finds it, with its checks, and without; with a draw of z and without.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from timing import alternate, keep, parser, ratios
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from vaelib.devices import default_device
from vaelib.experiments.records import start
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, StandardNormal

BATCH = 1024
LATENT_DIMS = (2, 20, 50, 128)


def make_ours(loc: Tensor, scale: Tensor, triangular: bool, checks: bool) -> tuple[Distribution, Distribution]:
    family = CholeskyGaussian if triangular else AffineGaussian
    return family(loc, scale, validate_args=checks), StandardNormal(loc.shape[-1], like=loc, validate_args=checks)


def make_theirs(loc: Tensor, scale: Tensor, triangular: bool, checks: bool) -> tuple[Distribution, Distribution]:
    matrix = {"scale_tril": scale} if triangular else {"covariance_matrix": scale @ scale.mT}
    identity = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
    q = MultivariateNormal(loc, **matrix, validate_args=checks)
    return q, MultivariateNormal(torch.zeros_like(loc[0]), scale_tril=identity, validate_args=checks)


Make = Callable[[Tensor, Tensor, bool, bool], tuple[Distribution, Distribution]]


def gradients(make: Make, loc: Tensor, scale: Tensor, triangular: bool, checks: bool, draw: bool) -> tuple[Tensor, ...]:
    q, p = make(loc, scale, triangular, checks)
    value = kl_divergence(q, p).sum()
    return torch.autograd.grad(value + q.rsample().sum() if draw else value, (loc, scale))


def agree(loc: Tensor, scale: Tensor, triangular: bool) -> None:
    """Raise unless both give the same gradients."""
    ours, theirs = (gradients(make, loc, scale, triangular, True, False) for make in (make_ours, make_theirs))
    for one, other in zip(ours, theirs, strict=True):
        other = other.tril() if triangular and other.dim() == 3 else other
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def make_parameters(latent_dim: int, triangular: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Means, and matrices S near the identity."""
    torch.manual_seed(0)
    loc = torch.randn(BATCH, latent_dim, device=device)
    scale = 0.3 / latent_dim**0.5 * torch.randn(BATCH, latent_dim, latent_dim, device=device)
    scale = torch.eye(latent_dim, device=device) + (scale.tril() if triangular else scale)
    return loc.requires_grad_(), scale.requires_grad_()


def main() -> None:
    options = parser(__doc__, rounds=9).parse_args()
    started, device = start(), default_device()
    tables = []
    for latent_dim, triangular in itertools.product(LATENT_DIMS, (True, False)):
        loc, scale = make_parameters(latent_dim, triangular, device)
        agree(loc, scale, triangular)
        for draw, checks in itertools.product((False, True), (True, False)):
            contenders = {
                name: partial(gradients, make, loc, scale, triangular, checks, draw)
                for name, make in (("vaelib", make_ours), ("torch", make_theirs))
            }
            times = alternate(contenders, options.rounds)
            row = {"latent_dim": latent_dim, "triangular": triangular, "draw": draw, "checks": checks}
            ratio = ratios(times, "torch", "vaelib")
            print(", ".join(f"{key} {value}" for key, value in row.items()), end=": ")
            print("{median:.1f} times faster ({least:.1f} to {greatest:.1f})".format(**ratio), flush=True)
            tables.append(times.assign(**row))
    settings = {"batch": BATCH, "dtype": "float32"}
    keep(options.out, f"full-covariance-{device.type}", settings, pd.concat(tables, ignore_index=True), started)


if __name__ == "__main__":
    main()
