"""Answers to `elbo-monte-carlo`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def loop(log_joint, log_q):
    total = 0
    for joint, q in zip(log_joint, log_q, strict=True):
        total = total + (joint - q)
    return total / len(log_joint)


def matmul(log_joint, log_q):
    count = log_joint.shape[0]
    return torch.full((count,), 1 / count, dtype=log_q.dtype) @ (log_joint - log_q)


def running_mean(log_joint, log_q):
    mean = torch.zeros_like(log_q[0])
    for step, value in enumerate(log_joint - log_q, start=1):
        mean = mean + (value - mean) / step
    return mean


def in_place_on_copy(log_joint, log_q):
    out = log_joint.clone()
    out -= log_q
    return out.mean(dim=0)


class Bound(nn.Module):
    def forward(self, log_joint, log_q):
        return F.adaptive_avg_pool1d((log_joint - log_q).T.unsqueeze(0), 1)[0, :, 0]


RIGHT = (
    lambda log_joint, log_q: (log_joint - log_q).mean(0),
    lambda log_joint, log_q: torch.mean(log_joint, dim=0) - torch.mean(log_q, dim=0),
    lambda log_joint, log_q: torch.sum(log_joint - log_q, 0) / log_joint.shape[0],
    loop,
    lambda log_joint, log_q: torch.einsum("lb->b", log_joint - log_q) / log_q.size(0),
    matmul,
    lambda log_joint, log_q: torch.stack([(log_joint[:, b] - log_q[:, b]).mean() for b in range(log_q.shape[1])]),
    lambda log_joint, log_q: torch.func.vmap(lambda a, b: torch.mean(a - b), in_dims=(1, 1))(log_joint, log_q),
    running_mean,
    lambda log_joint, log_q: torch.stack([log_joint, -log_q]).sum(0).mean(-2),
    in_place_on_copy,
    Bound(),
    lambda lj, lq: (lj - lq).sum(0).div(len(lj)),
    lambda lj, lq: -(lq - lj).T.mean(1),
)


def log_mean_weight(log_joint, log_q):
    w = log_joint - log_q
    top = w.max(0).values
    return top + torch.log(torch.mean(torch.exp(w - top), 0))


def loop_without_count(log_joint, log_q):
    total = 0
    for joint, q in zip(log_joint, log_q, strict=True):
        total = total + joint - q
    return total


def self_normalised(log_joint, log_q):
    w = log_joint - log_q
    return (torch.softmax(w, 0) * w).sum(0)


def minus_equal(log_joint, log_q):
    log_joint -= log_q
    return log_joint.mean(0)


def random_draw(log_joint, log_q):
    i = torch.randint(len(log_q), ())
    return log_joint[i] - log_q[i]


def log_of_product(log_joint, log_q):
    weights = torch.exp(log_joint - log_q)
    return torch.log(weights.prod(0)) / len(weights)


WRONG = {
    "mean-in-probability": (
        lambda log_joint, log_q: torch.logsumexp(log_joint - log_q, 0) - math.log(log_joint.shape[0]),
        log_mean_weight,
        lambda log_joint, log_q: torch.logsumexp(log_joint, 0) - torch.logsumexp(log_q, 0),
    ),
    "sum-for-mean": (
        lambda log_joint, log_q: (log_joint - log_q).sum(0),
        loop_without_count,
        lambda log_joint, log_q: log_joint.sum(0) - log_q.mean(0),
    ),
    "reduced-over-batch": (
        lambda log_joint, log_q: (log_joint - log_q).mean(),
        lambda log_joint, log_q: torch.mean(torch.sum(log_joint - log_q, dim=1)),
        lambda log_joint, log_q: log_joint.mean(0) - log_q.mean(),
    ),
    "wrong-count": (lambda log_joint, log_q: (log_joint - log_q).sum(0) / log_joint.shape[1],),
    "weighted-twice": (
        lambda log_joint, log_q: (log_q.exp() * (log_joint - log_q)).mean(0),
        self_normalised,
    ),
    "not-log": (
        lambda log_joint, log_q: (log_joint - log_q).exp().mean(0),
        lambda log_joint, log_q: torch.exp((log_joint - log_q).mean(0)),
    ),
    "ratio-of-logs": (
        lambda log_joint, log_q: (log_joint / log_q).mean(0),
        lambda log_joint, log_q: log_joint.mean(0) / log_q.mean(0),
    ),
    "maximum": (lambda log_joint, log_q: (log_joint - log_q).max(0).values,),
    "median": (lambda log_joint, log_q: (log_joint - log_q).median(0).values,),
    "one-draw": (
        lambda log_joint, log_q: log_joint[0] - log_q[0],
        lambda log_joint, log_q: log_joint.mean(0) - log_q[0],
    ),
    "missing-log-q": (
        lambda log_joint, log_q: log_joint.mean(0),
        lambda log_joint, log_q: torch.stack([column.sum() / len(column) for column in log_joint.T]),
    ),
    "absolute-value": (
        lambda log_joint, log_q: (log_joint - log_q).abs().mean(0),
        lambda log_joint, log_q: torch.nn.functional.l1_loss(log_joint, log_q, reduction="none").mean(0),
    ),
    "count-subtracted": (lambda log_joint, log_q: (log_joint - log_q).mean(0) - math.log(log_joint.shape[0]),),
    "missing-log-joint": (
        lambda log_joint, log_q: -log_q.mean(0),
        lambda log_joint, log_q: log_q.mean(0),
    ),
    "density-for-log": (
        lambda log_joint, log_q: (log_joint - log_q.exp()).mean(0),
        lambda log_joint, log_q: (log_joint.exp() - log_q).mean(0),
    ),
    "sign": (
        lambda log_joint, log_q: (log_joint + log_q).mean(0),
        lambda log_joint, log_q: -(log_joint - log_q).mean(0),
        lambda log_joint, log_q: torch.mean(log_q, dim=0) - torch.mean(log_joint, dim=0),
    ),
    "missing-half": (
        lambda log_joint, log_q: 2 * (log_joint - log_q).mean(0),
        lambda log_joint, log_q: (log_joint - 2 * log_q).mean(0),
    ),
    "extra-half": (lambda log_joint, log_q: 0.5 * (log_joint - log_q).mean(0),),
    "not-reduced": (
        lambda log_joint, log_q: log_joint - log_q,
        lambda log_joint, log_q: log_joint - log_q.mean(0),
    ),
    "wrong-axis": (
        lambda log_joint, log_q: (log_joint - log_q).mean(1),
        lambda log_joint, log_q: torch.sum(log_joint - log_q, dim=-1) / log_joint.shape[-1],
    ),
    "wrong-base": (
        lambda log_joint, log_q: (log_joint - log_q).mean(0) / math.log(2),
        lambda log_joint, log_q: (log_joint - log_q).div(math.log(10)).mean(0),
    ),
    "exception": (lambda log_joint, log_q: (log_joint - log_q).mean(dim=2),),
    "wrong-shape": (
        lambda log_joint, log_q: (log_joint - log_q).mean(0, keepdim=True),
        lambda log_joint, log_q: (log_joint - log_q).T.mean(1, keepdim=True),
    ),
    "wrong-dtype": (lambda log_joint, log_q: (log_joint.double() - log_q.double()).mean(0),),
    "modified-in-place": (minus_equal,),
    "random": (random_draw,),
    "unstable": (
        lambda log_joint, log_q: torch.log(log_joint.exp() / log_q.exp()).mean(0),
        log_of_product,
    ),
    "detached": (
        lambda log_joint, log_q: (log_joint - log_q.detach()).mean(0),
        lambda log_joint, log_q: torch.from_numpy(np.mean(log_joint.detach().numpy() - log_q.detach().numpy(), axis=0)),
    ),
    None: (
        lambda log_joint, log_q: torch.log(torch.exp(log_joint - log_q) + 1e-3).mean(0),
        lambda log_joint, log_q: (log_joint - log_q).clamp(min=-1.0).mean(0),
    ),
}
