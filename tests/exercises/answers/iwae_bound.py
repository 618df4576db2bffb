"""Answers to `iwae-bound`: those to a log-mean-exp, and some of its own."""

from __future__ import annotations

import math

import numpy as np
import torch
from exercises.answers import log_mean_exp


def bound_from_elbo(log_weights):
    elbo = log_weights.mean(0)
    return elbo + torch.logsumexp(log_weights - elbo, dim=0) - math.log(log_weights.shape[0])


RIGHT = (
    *log_mean_exp.RIGHT,
    bound_from_elbo,
)


def max_not_unpacked(log_weights):
    top = log_weights.max(dim=0)
    return top + (log_weights - top).exp().mean(0).log()


def through_numpy(a):
    w = a.detach().numpy()
    top = w.max(0)
    return torch.from_numpy(np.log(np.exp(w - top).mean(0)) + top)


def jackknife(log_weights):
    count = len(log_weights)
    full = torch.logsumexp(log_weights, 0) - math.log(count)
    if count == 1:
        return full
    rest = [torch.logsumexp(torch.cat([log_weights[:i], log_weights[i + 1 :]]), 0) for i in range(count)]
    return count * full - (count - 1) * (torch.stack(rest).mean(0) - math.log(count - 1))


WRONG = {
    **log_mean_exp.WRONG,
    "exception": (*log_mean_exp.WRONG["exception"], max_not_unpacked),
    "detached": (
        through_numpy,
        lambda a: torch.tensor(
            [torch.logsumexp(column, 0).item() - math.log(len(column)) for column in a.T], dtype=a.dtype
        ),
    ),
    None: (jackknife,),
}
