"""Answers to `reparameterize-full`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from exercises.answers.pieces import lower_factor
from torch import distributions as td


def columns(mean, scale, noise):
    z = mean
    for j in range(noise.shape[1]):
        z = z + scale[:, :, j] * noise[:, j : j + 1]
    return z


class Draw:
    def __init__(self):
        self.product = torch.func.vmap(torch.mv)

    def __call__(self, mean, scale, noise):
        return mean + self.product(scale, noise)


RIGHT = (
    lambda mean, scale, noise: mean + (scale @ noise.unsqueeze(-1)).squeeze(-1),
    lambda mean, scale, noise: mean + torch.einsum("bij,bj->bi", scale, noise),
    lambda mean, scale, noise: mean + torch.bmm(scale, noise[:, :, None])[:, :, 0],
    lambda mean, scale, noise: torch.baddbmm(mean[..., None], scale, noise[..., None]).flatten(1),
    lambda mean, scale, noise: mean + (scale * noise[:, None, :]).sum(-1),
    lambda mean, scale, noise: mean + (noise[:, None, :] @ scale.transpose(1, 2))[:, 0],
    lambda mean, scale, noise: torch.stack([m + s @ e for m, s, e in zip(mean, scale, noise, strict=True)]),
    lambda mean, scale, noise: torch.stack([F.linear(noise[b], scale[b], mean[b]) for b in range(len(mean))]),
    columns,
    lambda mean, scale, noise: torch.linalg.vecdot(scale, noise.unsqueeze(1)) + mean,
    Draw(),
    lambda m, s, e: m + torch.matmul(s, e[..., None])[..., 0],
)


def symmetric_root(mean, scale, noise):
    values, vectors = torch.linalg.eigh(scale @ scale.mT)
    root = vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT
    return mean + torch.matmul(root, noise[..., None]).squeeze(-1)


def mean_in_place(mean, scale, noise):
    mean += torch.einsum("bij,bj->bi", scale, noise)
    return mean


def cholesky_of_symmetrised(mean, scale, noise):
    symmetric = 0.5 * (scale + scale.mT)
    factor = torch.linalg.cholesky_ex(symmetric).L
    return mean + torch.einsum("bij,bj->bi", factor, noise)


def seeded_noise(mean, scale, noise):
    generator = torch.Generator().manual_seed(42)
    own = torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
    return mean + torch.einsum("bij,bj->bi", scale, own)


WRONG = {
    "scale-as-covariance": (
        lambda mean, scale, noise: mean + (torch.linalg.cholesky(scale) @ noise.unsqueeze(-1)).squeeze(-1),
        lambda mean, scale, noise: mean + torch.einsum("bij,bj->bi", scale.pow(0.5), noise),
    ),
    "another-square-root": (
        lambda mean, scale, noise: mean + (torch.linalg.cholesky(scale @ scale.mT) @ noise.unsqueeze(-1)).squeeze(-1),
        lambda mean, scale, noise: mean + torch.einsum("bij,bj->bi", lower_factor(scale), noise),
        symmetric_root,
    ),
    "assumes-triangular": (
        lambda mean, scale, noise: mean + torch.einsum("bij,bj->bi", torch.tril(scale), noise),
        lambda mean, scale, noise: mean + (torch.triu(scale) @ noise[..., None])[..., 0],
    ),
    "shared-noise": (
        lambda mean, scale, noise: mean + scale @ noise[0],
        lambda mean, scale, noise: mean + torch.einsum("bij,j->bi", scale, noise[0]),
    ),
    "not-batched": (
        lambda mean, scale, noise: mean + torch.matmul(scale, noise.T),
        lambda mean, scale, noise: mean + torch.matmul(noise, scale),
    ),
    "elementwise-product": (
        lambda mean, scale, noise: mean[:, :, None] + scale * noise[:, None, :],
        lambda mean, scale, noise: mean + scale.sum(-1) * noise,
        lambda mean, scale, noise: mean + torch.einsum("bij,bi->bi", scale, noise),
    ),
    "not-squeezed": (
        lambda mean, scale, noise: mean.unsqueeze(-1) + scale @ noise.unsqueeze(-1),
        lambda mean, scale, noise: mean.unsqueeze(1) + (scale @ noise.unsqueeze(-1)),
    ),
    "transposed": (
        lambda mean, scale, noise: mean + (scale.mT @ noise.unsqueeze(-1)).squeeze(-1),
        lambda mean, scale, noise: mean + (noise.unsqueeze(1) @ scale).squeeze(1),
        lambda mean, scale, noise: torch.stack([m + e @ s for m, s, e in zip(mean, scale, noise, strict=True)]),
    ),
    "diagonal-only": (
        lambda mean, scale, noise: mean + torch.diagonal(scale, dim1=-2, dim2=-1) * noise,
        lambda mean, scale, noise: mean + torch.einsum("bii,bi->bi", scale, noise),
    ),
    "covariance-as-scale": (
        lambda mean, scale, noise: mean + (scale @ scale.mT @ noise.unsqueeze(-1)).squeeze(-1),
        lambda mean, scale, noise: mean + torch.einsum("bij,bkj,bk->bi", scale, scale, noise),
    ),
    "inverted": (lambda mean, scale, noise: mean + torch.linalg.solve(scale, noise),),
    "missing-mean": (
        lambda mean, scale, noise: torch.einsum("bij,bj->bi", scale, noise),
        lambda mean, scale, noise: torch.bmm(scale, noise.unsqueeze(-1)).squeeze(-1),
    ),
    "missing-noise": (
        lambda mean, scale, noise: mean.clone(),
        lambda mean, scale, noise: mean + 0 * torch.einsum("bij,bj->bi", scale, noise),
    ),
    "missing-scale": (
        lambda mean, scale, noise: mean + noise,
        lambda mean, scale, noise: torch.add(noise, mean),
    ),
    "noise-on-mean": (
        lambda mean, scale, noise: (scale @ (mean + noise).unsqueeze(-1)).squeeze(-1),
        lambda mean, scale, noise: noise + torch.einsum("bij,bj->bi", scale, mean),
    ),
    "summed-over-dimensions": (
        lambda mean, scale, noise: (mean + torch.einsum("bij,bj->bi", scale, noise)).sum(1),
        lambda mean, scale, noise: mean.sum(1) + torch.einsum("bij,bj->b", scale, noise),
    ),
    "sign": (lambda mean, scale, noise: mean - (scale @ noise.unsqueeze(-1)).squeeze(-1),),
    "missing-half": (lambda mean, scale, noise: mean + 2 * torch.einsum("bij,bj->bi", scale, noise),),
    "extra-half": (lambda mean, scale, noise: mean + 0.5 * torch.bmm(scale, noise[..., None])[..., 0],),
    "reduced-over-batch": (
        lambda mean, scale, noise: mean.mean(0) + torch.einsum("bij,bj->i", scale, noise),
        lambda mean, scale, noise: (mean + torch.einsum("bij,bj->bi", scale, noise)).mean(0),
    ),
    "exception": (
        lambda mean, scale, noise: mean + torch.bmm(scale, noise),
        lambda mean, scale, noise: td.MultivariateNormal(mean, scale_tril=scale).rsample(),
    ),
    "wrong-shape": (lambda mean, scale, noise: (mean.unsqueeze(-1) + scale @ noise.unsqueeze(-1)).squeeze(),),
    "wrong-dtype": (
        lambda mean, scale, noise: mean.float() + torch.einsum("bij,bj->bi", scale.float(), noise.float()),
    ),
    "modified-in-place": (mean_in_place,),
    "random": (lambda mean, scale, noise: mean + (scale @ torch.randn_like(noise).unsqueeze(-1)).squeeze(-1),),
    "detached": (
        lambda mean, scale, noise: mean + torch.einsum("bij,bj->bi", scale.detach(), noise),
        lambda mean, scale, noise: torch.tensor(
            [(m + s @ e).tolist() for m, s, e in zip(mean, scale, noise, strict=True)], dtype=mean.dtype
        ),
    ),
    None: (
        cholesky_of_symmetrised,
        seeded_noise,
    ),
}
