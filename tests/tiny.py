"""A variational autoencoder with one latent variable, small enough for its integrals to be done by quadrature."""

from __future__ import annotations

import math

import numpy as np
import torch

from vaelib.models import VAE


def make_tiny_vae() -> VAE:
    """Six binary pixels, one latent variable, and a posterior away from the prior: no term of the bound vanishes.

    Its activation is smooth, since a kink would cost the quadrature its digits.
    """
    torch.manual_seed(0)
    model = VAE.mlp(6, hidden=(5,), latent_dim=1, activation=torch.nn.Tanh)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def make_tiny_images() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 2, (3, 6)).to(torch.float64)


def gauss_hermite(points: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights for an expectation under N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return torch.from_numpy(nodes), torch.from_numpy(weights) / math.sqrt(2 * math.pi)


@torch.no_grad()
def exact_terms(model: VAE, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reconstruction term and the divergence by quadrature under q, and log p(x) by quadrature under the prior."""
    nodes, weights = gauss_hermite()
    q = model.encode(x)
    z = q.mean + q.stddev * nodes[:, None, None]
    logits = model.decode(z).logits
    log_p = (x * logits - torch.nn.functional.softplus(logits)).sum(-1)
    log_q = -0.5 * (nodes[:, None] ** 2 + q.log_var[:, 0] + math.log(2 * math.pi))
    log_prior = -0.5 * (z[..., 0] ** 2 + math.log(2 * math.pi))
    reconstruction = (weights[:, None] * log_p).sum(0)
    kl = (weights[:, None] * (log_q - log_prior)).sum(0)
    logits = model.decode(nodes[:, None]).logits[:, None]
    log_p_x = ((x * logits - torch.nn.functional.softplus(logits)).sum(-1).exp() * weights[:, None]).sum(0).log()
    return reconstruction, kl, log_p_x
