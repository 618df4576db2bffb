"""Answers to `naive-likelihood` and `iwae-bound`, which ask for the same function in two places."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import distributions as td


def max_shift(a):
    top = a.max(dim=0, keepdim=True).values
    return top.squeeze(0) + (a - top).exp().mean(0).log()


def detached_shift(a):
    top = a.detach().amax(0)
    return torch.log(torch.mean(torch.exp(a - top), dim=0)) + top


def running(a):
    total = a[0]
    for row in a[1:]:
        high, low = torch.maximum(total, row), torch.minimum(total, row)
        total = high + torch.log1p(torch.exp(low - high))
    return total - math.log(a.shape[0])


RIGHT = (
    lambda a: torch.logsumexp(a, dim=0) - math.log(a.shape[0]),
    max_shift,
    detached_shift,
    lambda a: reduce(torch.logaddexp, a.unbind(0)) - np.log(len(a)),
    lambda a: torch.logsumexp(a - math.log(len(a)), 0),
    lambda a: (a - F.log_softmax(a, dim=0)).mean(0) - math.log(a.shape[0]),
    lambda a: (
        a[0] + F.cross_entropy(a.T, torch.zeros(a.shape[1], dtype=torch.long), reduction="none") - math.log(a.shape[0])
    ),
    lambda a: torch.logcumsumexp(a, 0)[-1] - math.log(a.shape[0]),
    lambda a: torch.func.vmap(lambda column: torch.logsumexp(column, 0), in_dims=1)(a) - math.log(a.shape[0]),
    running,
    lambda a: (a - td.Categorical(logits=a.T).logits.T)[-1] - math.log(a.shape[0]),
)


def log_sum_by_hand(a):
    top = a.max(0).values
    return top + (a - top).exp().sum(0).log()


def folded_logaddexp(a):
    total = a[0]
    for row in a[1:]:
        total = torch.logaddexp(total, row)
    return total


def shifted_by_global_minimum(a):
    low = a.min()
    return low + torch.log(torch.exp(a - low).mean(0))


def shift_in_place(a):
    value = torch.logsumexp(a, 0) - math.log(a.shape[0])
    a.data -= a.data.max(0).values
    return value


WRONG = {
    "mean-of-logs": (
        lambda a: a.mean(0),
        lambda a: torch.log(torch.exp(a)).mean(0),
        lambda a: a.sum(0),
    ),
    "missing-count": (
        lambda a: torch.logsumexp(a, 0),
        log_sum_by_hand,
        folded_logaddexp,
    ),
    "wrong-count": (
        lambda a: torch.logsumexp(a, 0) / a.shape[0],
        lambda a: torch.logsumexp(a, 0) - math.log(a.shape[1]),
        lambda a: torch.logsumexp(a, 0) - math.log(max(len(a) - 1, 0.5)),
    ),
    "sign": (
        lambda a: torch.logsumexp(a, 0) + math.log(a.shape[0]),
        lambda a: torch.logsumexp(-a, 0) - math.log(a.shape[0]),
        lambda a: -(torch.logsumexp(-a, 0) - math.log(a.shape[0])),
    ),
    "not-log": (
        lambda a: a.exp().mean(0),
        lambda a: torch.exp(torch.logsumexp(a, dim=0) - math.log(a.shape[0])),
    ),
    "log-missing-exp": (
        lambda a: torch.log(torch.mean(a, dim=0)),
        lambda a: a.abs().log().sum(0) / len(a),
    ),
    "maximum": (
        lambda a: a.max(dim=0).values,
        lambda a: torch.amax(a, 0),
        lambda a: a.max(dim=0)[0] - math.log(a.shape[0]),
    ),
    "reduced-over-batch": (
        lambda a: torch.logsumexp(a, dim=(0, 1)) - math.log(a.shape[0]),
        lambda a: (torch.logsumexp(a, 0) - math.log(a.shape[0])).mean(),
        lambda a: (torch.logsumexp(a, 0) - math.log(a.shape[0])).sum(),
    ),
    "one-draw": (
        lambda a: a[0],
        lambda a: a[-1],
        lambda a: torch.logsumexp(a[1:], 0) - math.log(max(len(a) - 1, 1)),
    ),
    "shift-not-added-back": (lambda a: (a - a.max(0).values).exp().mean(0).log(),),
    "wrong-base": (
        lambda a: torch.logsumexp(a, 0) - math.log2(a.shape[0]),
        lambda a: a.logsumexp(0) - np.log10(len(a)),
        lambda a: a.exp().mean(0).log2(),
    ),
    "median": (lambda a: a.median(0).values,),
    "weighted-average": (
        lambda a: (torch.softmax(a, dim=0) * a).sum(0),
        lambda a: torch.einsum("lb,lb->b", (a - a.logsumexp(0, keepdim=True)).exp(), a),
    ),
    "not-reduced": (
        lambda a: a - math.log(a.shape[0]),
        lambda a: torch.log_softmax(a, dim=0),
        lambda a: torch.logcumsumexp(a, 0) - math.log(a.shape[0]),
    ),
    "wrong-axis": (
        lambda a: torch.logsumexp(a, dim=1) - math.log(a.shape[1]),
        lambda a: torch.logsumexp(a, -1) - math.log(a.shape[0]),
        lambda a: torch.stack([torch.logsumexp(row, 0) - math.log(len(row)) for row in a]),
    ),
    "unstable": (
        lambda a: torch.log(torch.exp(a).mean(0)),
        shifted_by_global_minimum,
        lambda a: torch.logsumexp(a.clamp(min=-100, max=100), 0) - math.log(a.shape[0]),
    ),
    "exception": (
        lambda a: torch.logsumexp(a) - math.log(a.shape[0]),
        lambda a: torch.logsumexp(a, 0) - torch.log(a.shape[0]),
    ),
    "wrong-shape": (
        lambda a: torch.logsumexp(a, 0, keepdim=True) - math.log(a.shape[0]),
        lambda a: (torch.logsumexp(a, 0, keepdim=True) - math.log(a.shape[0])).squeeze(),
    ),
    "wrong-dtype": (lambda a: torch.logsumexp(a.double(), 0) - math.log(a.shape[0]),),
    "modified-in-place": (shift_in_place,),
    "random": (lambda a: a[torch.randint(len(a), ())],),
}
