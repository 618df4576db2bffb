"""Answers to `amortization-gap`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def loop(elbo_encoder, elbo_local):
    total = torch.zeros((), dtype=elbo_local.dtype)
    for enc, loc in zip(elbo_encoder, elbo_local, strict=True):
        total = total + loc - enc
    return total / len(elbo_local)


def dot(elbo_encoder, elbo_local):
    ones = torch.ones_like(elbo_local)
    return torch.dot(elbo_local - elbo_encoder, ones) / len(ones)


class Gap(nn.Module):
    def forward(self, elbo_encoder, elbo_local):
        return torch.einsum("b->", elbo_local - elbo_encoder) / elbo_encoder.shape[0]


RIGHT = (
    lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).mean(),
    lambda elbo_encoder, elbo_local: elbo_local.mean() - elbo_encoder.mean(),
    lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).sum() / elbo_local.numel(),
    loop,
    lambda elbo_encoder, elbo_local: np.asarray(np.mean(elbo_local.detach().numpy() - elbo_encoder.detach().numpy())),
    lambda elbo_encoder, elbo_local: -torch.mean(torch.sub(elbo_encoder, elbo_local), dim=0),
    dot,
    lambda elbo_encoder, elbo_local: torch.stack([b - a for a, b in zip(elbo_encoder, elbo_local, strict=True)]).mean(),
    lambda elbo_encoder, elbo_local: np.mean(elbo_local.detach().numpy() - elbo_encoder.detach().numpy()),
    lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).mean().item(),
    Gap(),
    lambda encoder, local: torch.stack([local, -encoder]).sum(0).mean(),
)


def in_place(elbo_encoder, elbo_local):
    elbo_local -= elbo_encoder
    return elbo_local.mean()


def random_example(elbo_encoder, elbo_local):
    i = torch.randperm(len(elbo_local))[: max(len(elbo_local) // 2, 1)]
    return (elbo_local[i] - elbo_encoder[i]).mean() + 1e-3 * torch.randn((), dtype=elbo_local.dtype)


WRONG = {
    "sign": (
        lambda elbo_encoder, elbo_local: -torch.mean(elbo_local - elbo_encoder),
        lambda elbo_encoder, elbo_local: (elbo_encoder - elbo_local).mean(),
        lambda elbo_local, elbo_encoder: torch.mean(torch.sub(elbo_local, elbo_encoder)),
    ),
    "sum-for-mean": (
        lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).sum(),
        lambda elbo_encoder, elbo_local: torch.tensor(
            np.sum(elbo_local.numpy() - elbo_encoder.numpy()), dtype=elbo_local.dtype
        ),
        lambda elbo_encoder, elbo_local: elbo_local.sum() - elbo_encoder.mean(),
    ),
    "absolute-value": (
        lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).abs().mean(),
        lambda elbo_encoder, elbo_local: F.l1_loss(elbo_local, elbo_encoder),
        lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).mean().abs(),
    ),
    "clipped": (
        lambda elbo_encoder, elbo_local: torch.relu(elbo_local - elbo_encoder).mean(),
        lambda elbo_encoder, elbo_local: (torch.maximum(elbo_local, elbo_encoder) - elbo_encoder).mean(),
        lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).mean().clamp(min=0.0),
    ),
    "maximum": (
        lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).max(),
        lambda elbo_encoder, elbo_local: elbo_local[0] - elbo_encoder[0],
        lambda elbo_encoder, elbo_local: elbo_local[-1] - elbo_encoder[-1],
    ),
    "median": (lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).median(),),
    "relative": (
        lambda elbo_encoder, elbo_local: ((elbo_local - elbo_encoder) / elbo_local.abs()).mean(),
        lambda elbo_encoder, elbo_local: (elbo_local / elbo_encoder).mean(),
    ),
    "squared": (
        lambda elbo_encoder, elbo_local: ((elbo_local - elbo_encoder) ** 2).mean(),
        lambda elbo_encoder, elbo_local: F.mse_loss(elbo_encoder, elbo_local),
        lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).std(correction=0),
    ),
    "not-log": (
        lambda elbo_encoder, elbo_local: torch.logsumexp(elbo_local - elbo_encoder, 0) - math.log(len(elbo_local)),
        lambda elbo_encoder, elbo_local: torch.exp(elbo_local - elbo_encoder).mean(),
    ),
    "wrong-count": (
        lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).sum() / max(len(elbo_local) - 1, 1),
        lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).sum() / (elbo_local.numel() - 1),
    ),
    "missing-elbo": (
        lambda elbo_encoder, elbo_local: elbo_local.mean(),
        lambda elbo_encoder, elbo_local: elbo_encoder.mean(),
    ),
    "missing-half": (lambda elbo_encoder, elbo_local: 2 * (elbo_local - elbo_encoder).mean(),),
    "extra-half": (lambda elbo_encoder, elbo_local: 0.5 * (elbo_local - elbo_encoder).mean(),),
    "not-reduced": (
        lambda elbo_encoder, elbo_local: elbo_local - elbo_encoder,
        lambda elbo_encoder, elbo_local: elbo_local - elbo_encoder.mean(),
    ),
    "exception": (lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).mean(1),),
    "wrong-shape": (
        lambda elbo_encoder, elbo_local: (elbo_local - elbo_encoder).mean(0, keepdim=True),
        lambda elbo_encoder, elbo_local: elbo_local[:, None] - elbo_encoder[None, :],
    ),
    "wrong-dtype": (lambda elbo_encoder, elbo_local: (elbo_local.double() - elbo_encoder.double()).mean(),),
    "modified-in-place": (in_place,),
    "random": (random_example,),
}
