"""Answers to `bernoulli-log-likelihood`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from exercises.answers.pieces import LOG_2PI
from torch import distributions as td
from torch import nn


def manual_shift(logits, x):
    top = torch.maximum(logits, torch.zeros_like(logits))
    return (x * logits - top - torch.log(torch.exp(-top) + torch.exp(logits - top))).sum(1)


def two_class_softmax(logits, x):
    both = F.log_softmax(torch.stack([torch.zeros_like(logits), logits], dim=-1), dim=-1)
    return both.gather(-1, x.long().unsqueeze(-1)).squeeze(-1).sum(-1)


def log1p(logits, x):
    signed = torch.where(x.bool(), -logits, logits)
    small = torch.log1p(torch.exp(-signed.abs()))
    return -(torch.maximum(signed, torch.zeros_like(signed)) + small).sum(-1)


class LogLikelihood(nn.Module):
    def __init__(self):
        super().__init__()
        self.loss = nn.BCEWithLogitsLoss(reduction="none")

    def forward(self, logits, x):
        return self.loss(logits, x).neg().flatten(1).sum(1)


RIGHT = (
    lambda logits, x: -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1),
    lambda logits, x: td.Bernoulli(logits=logits).log_prob(x).sum(1),
    lambda logits, x: (x * logits - F.softplus(logits)).sum(-1),
    lambda logits, x: -F.softplus((1 - 2 * x) * logits).sum(dim=1),
    lambda logits, x: torch.sum(x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits), dim=-1),
    lambda logits, x: torch.where(x > 0.5, F.logsigmoid(logits), F.logsigmoid(-logits)).sum(1),
    manual_shift,
    two_class_softmax,
    log1p,
    lambda logits, x: torch.func.vmap(lambda a, b: torch.dot(a, b) - F.softplus(a).sum())(logits, x),
    lambda logits, x: -(logits.clamp(min=0) - logits * x + torch.log1p(torch.exp(-logits.abs()))).sum(-1),
    LogLikelihood(),
    lambda a, x: torch.einsum("bd->b", x * a + F.logsigmoid(-a)),
    lambda a, x: x.size(1) * -F.binary_cross_entropy_with_logits(a, x, reduction="none").mean(1),
)


def product(logits, x):
    p = torch.sigmoid(logits)
    return torch.where(x > 0.5, p, 1 - p).prod(-1)


def sum_of_probabilities(logits, x):
    p = torch.sigmoid(logits)
    return (x * p + (1 - x) * (1 - p)).sum(-1)


def softmax_probabilities(logits, x):
    p = torch.softmax(logits, dim=-1)
    return torch.xlogy(x, p).sum(-1)


def logits_in_place(logits, x):
    value = (x * logits - F.softplus(logits)).sum(-1)
    logits.data.sigmoid_()
    return value


def log_sigmoid_by_hand(logits, x):
    p = torch.sigmoid(logits)
    return (x * torch.log(p) + (1 - x) * torch.log(1 - p)).sum(-1)


def clamped_probabilities(logits, x):
    p = torch.sigmoid(logits).clamp(1e-6, 1 - 1e-6)
    return (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)


def numpy(logits, x):
    a, b = logits.detach().numpy(), x.detach().numpy()
    return torch.from_numpy((b * a - np.logaddexp(0, a).astype(a.dtype)).sum(-1))


WRONG = {
    "logits-as-probabilities": (
        lambda logits, x: (x * torch.log(logits) + (1 - x) * torch.log(1 - logits)).sum(-1),
        lambda logits, x: td.Bernoulli(logits).log_prob(x).sum(-1),
        lambda logits, x: td.Bernoulli(probs=logits, validate_args=False).log_prob(x).sum(-1),
    ),
    "sigmoid-twice": (
        lambda logits, x: -F.binary_cross_entropy_with_logits(torch.sigmoid(logits), x, reduction="none").sum(-1),
        lambda logits, x: td.Bernoulli(logits=logits.sigmoid()).log_prob(x).sum(1),
    ),
    "swapped": (lambda logits, x: -F.binary_cross_entropy_with_logits(x, logits, reduction="none").sum(-1),),
    "missing-normaliser": (
        lambda logits, x: (x * logits).sum(-1),
        lambda logits, x: ((2 * x - 1) * logits).sum(-1),
    ),
    "not-log": (
        product,
        sum_of_probabilities,
        lambda logits, x: td.Bernoulli(logits=logits).log_prob(x).exp().sum(-1),
    ),
    "mean-for-sum": (
        lambda logits, x: -F.binary_cross_entropy_with_logits(logits, x, reduction="none").mean(-1),
        lambda logits, x: torch.stack(
            [-F.binary_cross_entropy_with_logits(a, b) for a, b in zip(logits, x, strict=True)]
        ),
    ),
    "reduced-over-batch": (
        lambda logits, x: -F.binary_cross_entropy_with_logits(logits, x),
        lambda logits, x: -F.binary_cross_entropy_with_logits(logits, x, reduction="sum"),
        lambda logits, x: td.Independent(td.Bernoulli(logits=logits), 2).log_prob(x),
    ),
    "softmax-for-sigmoid": (
        lambda logits, x: (x * F.log_softmax(logits, dim=-1)).sum(-1),
        softmax_probabilities,
    ),
    "sign": (
        lambda logits, x: F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1),
        lambda logits, x: -td.Bernoulli(logits=logits).log_prob(x).sum(-1),
        lambda logits, x: (x * logits + F.softplus(logits)).sum(-1),
    ),
    "one-class-only": (
        lambda logits, x: (x * F.logsigmoid(logits)).sum(-1),
        lambda logits, x: ((1 - x) * F.logsigmoid(-logits)).sum(-1),
        lambda logits, x: F.logsigmoid(logits).sum(-1),
    ),
    "classes-swapped": (
        lambda logits, x: ((1 - x) * F.logsigmoid(logits) + x * F.logsigmoid(-logits)).sum(-1),
        lambda logits, x: -F.softplus((2 * x - 1) * logits).sum(-1),
    ),
    "squared-error": (lambda logits, x: -((torch.sigmoid(logits) - x) ** 2).sum(-1),),
    "extra-constant": (
        lambda logits, x: td.Bernoulli(logits=logits).log_prob(x).sum(-1) - 0.5 * LOG_2PI * x.shape[1],
        lambda logits, x: (x * logits - F.softplus(logits)).sum(-1) - x.sum(-1),
    ),
    "missing-half": (
        lambda logits, x: -2 * F.softplus((1 - 2 * x) * logits).sum(-1),
        lambda logits, x: 2 * td.Bernoulli(logits=logits).log_prob(x).sum(-1),
    ),
    "extra-half": (lambda logits, x: -0.5 * F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1),),
    "not-reduced": (
        lambda logits, x: td.Bernoulli(logits=logits).log_prob(x),
        lambda logits, x: -F.binary_cross_entropy_with_logits(logits, x, reduction="none"),
    ),
    "wrong-axis": (
        lambda logits, x: td.Bernoulli(logits=logits).log_prob(x).sum(0),
        lambda logits, x: torch.einsum("bd->d", x * logits - F.softplus(logits)),
    ),
    "wrong-base": (lambda logits, x: td.Bernoulli(logits=logits).log_prob(x).sum(-1) / math.log(2),),
    "wrong-shape": (
        lambda logits, x: (x * logits - F.softplus(logits)).sum(-1, keepdim=True),
        lambda logits, x: x @ F.logsigmoid(logits).T + (1 - x) @ F.logsigmoid(-logits).T,
    ),
    "wrong-dtype": (lambda logits, x: td.Bernoulli(logits=logits.double()).log_prob(x.double()).sum(-1),),
    "modified-in-place": (logits_in_place,),
    "random": (
        lambda logits, x: td.Bernoulli(logits=logits).log_prob(torch.bernoulli(torch.sigmoid(logits.detach()))).sum(-1),
    ),
    "unstable": (
        log_sigmoid_by_hand,
        clamped_probabilities,
        lambda logits, x: -F.binary_cross_entropy_with_logits(logits.clamp(-10, 10), x, reduction="none").sum(-1),
    ),
    "detached": (
        lambda logits, x: (x * logits - F.softplus(logits.detach())).sum(-1),
        numpy,
    ),
    None: (lambda logits, x: td.ContinuousBernoulli(logits=logits).log_prob(x).sum(-1),),
}
