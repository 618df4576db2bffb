"""Answers to `induced-covariance`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import torch
from exercises.answers.pieces import lower_factor
from torch import distributions as td
from torch import nn


def qr(scale):
    r = torch.linalg.qr(scale.mT).R
    return r.mT @ r


def push_basis(scale):
    basis = torch.eye(scale.shape[-1], dtype=scale.dtype, device=scale.device)
    images = [(scale @ (scale.mT @ e).unsqueeze(-1)).squeeze(-1) for e in basis]
    return torch.stack(images, dim=-1)


def lower_half_mirrored(scale):
    full = torch.tril(scale @ scale.mT)
    return full + torch.tril(full, -1).mT


class Covariance(nn.Module):
    def forward(self, scale):
        return torch.matmul(scale, scale.permute(0, 2, 1))


RIGHT = (
    lambda scale: scale @ scale.mT,
    lambda scale: torch.einsum("bik,bjk->bij", scale, scale),
    lambda scale: sum(scale[:, :, k, None] * scale[:, None, :, k] for k in range(scale.shape[-1])),
    lambda scale: (scale.unsqueeze(2) * scale.unsqueeze(1)).sum(-1),
    lambda scale: torch.stack([s.mm(s.t()) for s in scale]),
    lambda scale: (
        td.MultivariateNormal(torch.zeros_like(scale[..., 0]), scale_tril=lower_factor(scale)).covariance_matrix
    ),
    qr,
    push_basis,
    lower_half_mirrored,
    Covariance(),
    lambda s: s @ s.swapaxes(-1, -2),
)


def tril(scale):
    lower = torch.tril(scale)
    return lower @ lower.mT


def multivariate_tril(scale):
    zero = torch.zeros(scale.shape[:-1], dtype=scale.dtype)
    return td.MultivariateNormal(zero, scale_tril=torch.tril(scale), validate_args=False).covariance_matrix


def symmetric_root(scale):
    values, vectors = torch.linalg.eigh(scale @ scale.mT)
    return vectors @ torch.diag_embed(values.sqrt()) @ vectors.mT


def of_rows(scale):
    centred = scale - scale.mean(-1, keepdim=True)
    return centred @ centred.mT / max(scale.shape[-1] - 1, 1)


def correlation_loop(scale):
    covariances = [s @ s.T for s in scale]
    return torch.stack([c / torch.outer(c.diag().sqrt(), c.diag().sqrt()) for c in covariances])


def empirical(scale):
    noise = torch.randn(1000, *scale.shape[:-1], dtype=scale.dtype)
    z = torch.einsum("bij,nbj->nbi", scale, noise)
    return torch.einsum("nbi,nbj->bij", z, z) / 1000


WRONG = {
    "assumes-triangular": (
        tril,
        multivariate_tril,
        lambda scale: torch.triu(scale) @ torch.triu(scale).transpose(-1, -2),
    ),
    "mixed-batch": (
        lambda scale: torch.stack([scale[0] @ scale[0].T for _ in scale]),
        lambda scale: torch.einsum("bij,ckj->bik", scale, scale),
        lambda scale: scale @ scale.transpose(0, 2),
    ),
    "root-of-covariance": (symmetric_root,),
    "absolute-value": (lambda scale: (scale @ scale.mT).abs(),),
    "one-triangle": (lambda scale: torch.tril(scale @ scale.mT),),
    "centred": (of_rows,),
    "correlation-for-covariance": (
        lambda scale: torch.nn.functional.normalize(scale, dim=-1) @ torch.nn.functional.normalize(scale, dim=-1).mT,
        correlation_loop,
    ),
    "transposed": (
        lambda scale: scale.mT @ scale,
        lambda scale: torch.bmm(scale.transpose(1, 2), scale),
        lambda scale: torch.stack([s.T @ s for s in scale]),
    ),
    "missing-transpose": (
        lambda scale: scale @ scale,
        lambda scale: torch.linalg.matrix_power(scale, 2),
        lambda scale: torch.einsum("bij,bjk->bik", scale, scale),
    ),
    "elementwise-product": (
        lambda scale: scale**2,
        lambda scale: scale * scale.mT,
    ),
    "scale-as-covariance": (
        lambda scale: scale.clone(),
        lambda scale: 0.5 * (scale + scale.mT),
    ),
    "diagonal-only": (lambda scale: torch.diag_embed(torch.diagonal(scale, dim1=-2, dim2=-1) ** 2),),
    "variances-only": (
        lambda scale: torch.diag_embed((scale**2).sum(-1)),
        lambda scale: (scale @ scale.mT).diagonal(dim1=1, dim2=2),
        lambda scale: torch.einsum("bij,bij->bi", scale, scale),
    ),
    "precision-for-covariance": (lambda scale: torch.linalg.inv(scale @ scale.mT),),
    "added-identity": (lambda scale: scale @ scale.mT + 1e-2 * torch.eye(scale.shape[-1], dtype=scale.dtype),),
    "sign": (lambda scale: -scale @ scale.mT,),
    "missing-half": (
        lambda scale: scale @ scale.mT + (scale @ scale.mT).mT,
        lambda scale: 2 * torch.bmm(scale, scale.transpose(1, 2)),
    ),
    "extra-half": (
        lambda scale: scale @ scale.mT / 2,
        lambda scale: 0.5 * torch.einsum("bik,bjk->bij", scale, scale),
    ),
    "reduced-over-batch": (
        lambda scale: torch.einsum("bik,bjk->ij", scale, scale),
        lambda scale: (scale @ scale.mT).mean(0),
    ),
    "divided-by-dimension": (
        lambda scale: scale @ scale.mT / scale.shape[-1],
        lambda scale: (scale.unsqueeze(2) * scale.unsqueeze(1)).mean(-1),
    ),
    "exception": (
        lambda scale: td.MultivariateNormal(torch.zeros_like(scale[..., 0]), scale_tril=scale).covariance_matrix,
        lambda scale: torch.mm(scale, scale.mT),
    ),
    "wrong-type": (lambda scale: [s @ s.T for s in scale],),
    "wrong-shape": (
        lambda scale: (scale @ scale.mT).squeeze(),
        lambda scale: scale.unsqueeze(2) * scale.unsqueeze(1),
    ),
    "wrong-dtype": (lambda scale: scale.float() @ scale.float().mT,),
    "random": (empirical,),
}
