"""Answers to `reparameterize`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import torch
from torch import distributions as td
from torch import nn


def loops(mean, std, noise):
    rows = []
    for i in range(mean.shape[0]):
        rows.append(torch.stack([mean[i, k] + std[i, k] * noise[i, k] for k in range(mean.shape[1])]))
    return torch.stack(rows)


def clone_then_in_place(m, s, eps):
    z = eps.clone()
    z *= s
    z += m
    return z


class Draw(nn.Module):
    def forward(self, mean, std, noise):
        return noise.mul(std).add(mean)


RIGHT = (
    lambda mean, std, noise: mean + std * noise,
    lambda mean, std, noise: torch.addcmul(mean, std, noise),
    lambda mean, std, noise: td.AffineTransform(loc=mean, scale=std, event_dim=1)(noise),
    loops,
    lambda mean, std, noise: mean + torch.einsum("bk,bk->bk", std, noise),
    lambda mean, std, noise: mean + (torch.diag_embed(std) @ noise.unsqueeze(-1)).squeeze(-1),
    lambda mean, std, noise: torch.vmap(lambda m, s, e: m + s.mul(e))(mean, std, noise),
    clone_then_in_place,
    lambda mean, std, noise: (mean.double() + std.double() * noise.double()).to(mean.dtype),
    Draw(),
    lambda mu, sigma, eps: mu + sigma * eps,
)


def noise_in_place(mean, std, noise):
    noise *= std
    return mean + noise


WRONG = {
    "shared-noise": (
        lambda mean, std, noise: mean + std * noise[0],
        lambda mean, std, noise: mean + std * noise.mean(0, keepdim=True),
        lambda mean, std, noise: mean + std * noise[:, :1],
    ),
    "not-elementwise": (
        lambda mean, std, noise: mean + torch.matmul(std, noise.T),
        lambda mean, std, noise: mean.unsqueeze(1) + torch.bmm(std.unsqueeze(2), noise.unsqueeze(1)),
    ),
    "absolute-value": (lambda mean, std, noise: mean + std * noise.abs(),),
    "clipped": (
        lambda mean, std, noise: mean + std * noise.clamp(-1, 1),
        lambda mean, std, noise: mean + std.clamp(max=1.0) * noise,
    ),
    "swapped": (lambda mean, std, noise: std + mean * noise,),
    "summed-over-dimensions": (
        lambda mean, std, noise: torch.sum(mean + std * noise, dim=-1),
        lambda mean, std, noise: torch.einsum("bk,bk->b", std, noise) + mean.sum(1),
    ),
    "missing-mean": (
        lambda mean, std, noise: std * noise,
        lambda mean, std, noise: td.AffineTransform(0.0, std)(noise),
    ),
    "missing-noise": (lambda mean, std, noise: mean + std,),
    "missing-std": (
        lambda mean, std, noise: mean + noise,
        lambda mean, std, noise: mean + std + noise,
    ),
    "variance-for-std": (
        lambda mean, std, noise: mean + std**2 * noise,
        lambda mean, std, noise: torch.addcmul(mean, std.square(), noise),
    ),
    "std-as-variance": (
        lambda mean, std, noise: mean + torch.sqrt(std) * noise,
        lambda mean, std, noise: noise * std.pow(0.5) + mean,
    ),
    "std-as-log-var": (lambda mean, std, noise: mean + torch.exp(0.5 * std) * noise,),
    "std-as-log-std": (lambda mean, std, noise: mean + torch.exp(std) * noise,),
    "noise-on-mean": (lambda mean, std, noise: (mean + noise) * std,),
    "divided-by-std": (
        lambda mean, std, noise: mean + noise / std,
        lambda mean, std, noise: mean + noise * std.reciprocal(),
    ),
    "sign": (
        lambda mean, std, noise: mean - std * noise,
        lambda mean, std, noise: std * noise - mean,
    ),
    "extra-half": (lambda mean, std, noise: mean + 0.5 * std * noise,),
    "missing-half": (lambda mean, std, noise: mean + 2 * std * noise,),
    "reduced-over-batch": (lambda mean, std, noise: (mean + std * noise).mean(0),),
    "exception": (lambda mean, std, noise: mean + torch.bmm(std, noise),),
    "wrong-shape": (
        lambda mean, std, noise: (mean + std * noise).T,
        lambda mean, std, noise: mean.unsqueeze(1) + std.unsqueeze(1) * noise.unsqueeze(0),
    ),
    "wrong-dtype": (lambda mean, std, noise: mean.double() + std.double() * noise.double(),),
    "modified-in-place": (noise_in_place,),
    "random": (lambda mean, std, noise: mean + std * torch.randn_like(mean),),
    "detached": (
        lambda mean, std, noise: mean + std.detach() * noise,
        lambda mean, std, noise: mean.data + std * noise,
    ),
    None: (lambda mean, std, noise: mean + std.clamp(max=0.5) * noise,),
}
