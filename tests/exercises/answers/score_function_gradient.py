"""Answers to `score-function-gradient`: right ones, and wrong ones by their mistakes."""

from __future__ import annotations

import numpy as np
import torch


def baselines(values, scores):
    count = values.shape[0]
    baseline = (values.sum() - values) / (count - 1)
    return ((values - baseline)[:, None] * scores).mean(0)


def loops(values, scores):
    count, total = len(values), 0
    for i in range(count):
        others = [values[j] for j in range(count) if j != i]
        total = total + (values[i] - sum(others) / len(others)) * scores[i]
    return total / count


def cat_without(values, scores):
    terms = []
    for i in range(values.numel()):
        rest = torch.cat([values[:i], values[i + 1 :]])
        terms.append((values[i] - rest.mean()) * scores[i])
    return torch.stack(terms).mean(dim=0)


def mask(values, scores):
    n = values.shape[0]
    weights = (1 - torch.eye(n, dtype=values.dtype)) / (n - 1)
    return torch.einsum("l,lp->p", values - weights @ values, scores) / n


def numpy(values, scores):
    f, s = values.detach().numpy(), scores.detach().numpy()
    n = f.shape[0]
    baseline = (f.sum() - f) / (n - 1)
    return torch.from_numpy(np.asarray(((f - baseline)[:, None] * s).sum(0) / n, dtype=f.dtype))


def numpy_array(values, scores):
    f, s = np.asarray(values), np.asarray(scores)
    baseline = np.array([np.delete(f, i).mean() for i in range(len(f))], dtype=f.dtype)
    return np.mean((f - baseline)[:, None] * s, axis=0)


def pairs(values, scores):
    n = len(values)
    difference = values[:, None] - values[None, :]
    return (difference.sum(1, keepdim=True) * scores).sum(0) / (n * (n - 1))


def autograd(values, scores):
    theta = torch.zeros(scores.shape[1], dtype=scores.dtype, requires_grad=True)
    f = values.detach()
    advantage = f - (f.sum() - f) / (len(f) - 1)
    with torch.enable_grad():
        surrogate = (advantage * (scores.detach() @ theta)).mean()
    return torch.autograd.grad(surrogate, theta)[0]


def mean_rescaled(values, scores):
    n = len(values)
    return n / (n - 1) * torch.mean((values - values.mean()).unsqueeze(1) * scores, 0)


class Gradient:
    def __call__(self, values, scores):
        advantage = values - torch.stack([values[torch.arange(len(values)) != i].mean() for i in range(len(values))])
        return torch.mv(scores.T, advantage).div(len(values))


RIGHT = (
    baselines,
    loops,
    lambda values, scores: (values - values.mean()) @ scores / (len(values) - 1),
    cat_without,
    mask,
    numpy,
    numpy_array,
    lambda values, scores: torch.cov(torch.cat([values[:, None], scores], dim=1).T)[0, 1:],
    pairs,
    autograd,
    mean_rescaled,
    Gradient(),
    lambda f, s: torch.func.vmap(lambda c: ((f - (f.sum() - f) / (len(f) - 1)) * c).mean(), in_dims=1)(s),
)


def baseline_over_all(values, scores):
    n = len(values)
    baseline = (values.sum() - values) / n
    return ((values - baseline)[:, None] * scores).mean(0)


def sum_answer(values, scores):
    n = len(values)
    baseline = (values.sum() - values) / (n - 1)
    return ((values - baseline)[:, None] * scores).sum(0)


def sum_loop(values, scores):
    total = torch.zeros_like(scores[0])
    for i in range(len(values)):
        rest = torch.cat([values[:i], values[i + 1 :]])
        total = total + (values[i] - rest.mean()) * scores[i]
    return total


def negative(values, scores):
    n = len(values)
    baseline = (values.sum() - values) / (n - 1)
    return ((baseline - values)[:, None] * scores).mean(0)


def baseline_added(values, scores):
    n = len(values)
    baseline = (values.sum() - values) / (n - 1)
    return ((values + baseline)[:, None] * scores).mean(0)


def scalar(values, scores):
    n = len(values)
    baseline = (values.sum() - values) / (n - 1)
    return ((values - baseline)[:, None] * scores).mean()


def unreduced(values, scores):
    n = len(values)
    baseline = (values.sum() - values) / (n - 1)
    return (values - baseline)[:, None] * scores


def mean_over_parameters(values, scores):
    n = len(values)
    baseline = (values.sum() - values) / (n - 1)
    return ((values - baseline)[:, None] * scores).mean(1)


def no_broadcast(values, scores):
    n = len(values)
    baseline = (values.sum() - values) / (n - 1)
    weighted = torch.bmm((values - baseline)[:, None], scores)
    return weighted.mean(0)


def double(values, scores):
    f, s = values.double(), scores.double()
    return (f - f.mean()) @ s / (len(f) - 1)


def values_in_place(values, scores):
    values -= (values.sum() - values) / (len(values) - 1)
    return (values[:, None] * scores).mean(0)


def random_baseline(values, scores):
    n = len(values)
    other = (torch.arange(n) + torch.randint(1, n, (n,)) if n > 2 else torch.arange(n) + 1) % n
    return ((values - values[other] + 1e-3 * torch.randn_like(values))[:, None] * scores).mean(0)


WRONG = {
    "no-baseline": (
        lambda values, scores: (values[:, None] * scores).mean(0),
        lambda values, scores: torch.stack([f * s for f, s in zip(values, scores, strict=True)]).mean(0),
    ),
    "own-value-in-baseline": (
        lambda values, scores: ((values - values.mean())[:, None] * scores).mean(0),
        lambda values, scores: (values[:, None] * (scores - scores.mean(0))).mean(0),
    ),
    "wrong-count": (
        baseline_over_all,
        lambda values, scores: ((values - (values.sum() - values))[:, None] * scores).mean(0),
    ),
    "sum-for-mean": (
        sum_answer,
        sum_loop,
    ),
    "sign": (
        negative,
        baseline_added,
    ),
    "baseline-not-scored": (
        lambda values, scores: (values[:, None] * scores).mean(0) - values.mean(),
        lambda values, scores: (values - (values.sum() - values) / (len(values) - 1)).mean().expand(scores.shape[1]),
    ),
    "product-of-means": (lambda values, scores: values.mean() * scores.mean(0),),
    "another-baseline": (
        lambda values, scores: ((values - values[1:].mean())[:, None] * scores).mean(0),
        lambda values, scores: ((values - values.max())[:, None] * scores).mean(0),
    ),
    "normalised": (
        lambda values, scores: (((values - values.mean()) / (values.std() + 1e-08))[:, None] * scores).mean(0),
    ),
    "missing-values": (
        lambda values, scores: (((values.sum() - values) / (len(values) - 1))[:, None] * scores).mean(0),
        lambda values, scores: scores.mean(0),
    ),
    "absolute-value": (
        lambda values, scores: ((values - (values.sum() - values) / (len(values) - 1)).abs()[:, None] * scores).mean(0),
    ),
    "clipped": (
        lambda values, scores: (
            torch.relu(values - (values.sum() - values) / (len(values) - 1))[:, None] * scores
        ).mean(0),
    ),
    "reduced-over-parameters": (scalar,),
    "missing-half": (lambda values, scores: 2 * (values - values.mean()) @ scores / (len(values) - 1),),
    "extra-half": (
        lambda values, scores: 0.5 * ((values - (values.sum() - values) / (len(values) - 1))[:, None] * scores).mean(0),
    ),
    "not-reduced": (unreduced,),
    "wrong-axis": (mean_over_parameters,),
    "exception": (
        no_broadcast,
        lambda values, scores: (
            torch.mv(scores.T, (values - (values.sum() - values) / (len(values) - 1))[:, None]) / len(values)
        ),
    ),
    "wrong-shape": (lambda values, scores: (values - values.mean())[None] @ scores / (len(values) - 1),),
    "wrong-dtype": (double,),
    "modified-in-place": (values_in_place,),
    "random": (random_baseline,),
    None: (
        lambda values, scores: (
            (values - (values.sum() - values) / (len(values) - 1)).clamp(-0.5, 0.5)[:, None] * scores
        ).mean(0),
    ),
}
