"""Exercise `bernoulli-log-likelihood`: of binary pixels, in nats for each image."""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.distributions import Bernoulli
from torch.nn import functional as F

from vaelib.exercises.draws import SIZES, between
from vaelib.exercises.exercise import Exercise, Ingredient, Mistake, Probe
from vaelib.exercises.hints import shared
from vaelib.exercises.shapes import count, shapes_per_example


def _bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    return (x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)).sum(-1)


def _probes(generator: Generator) -> list[Probe]:
    probes = []
    for low, high, extreme in ((-3, 3, False), (0.1, 0.9, False), (-300, 300, True), (25, 60, True), (-60, -25, True)):
        for size in SIZES:
            x = torch.randint(2, size, generator=generator).double()
            probes.append(Probe((between(generator, low, high, *size), x), extreme=extreme))
    return probes


BERNOULLI = Exercise(
    name="bernoulli-log-likelihood",
    arguments=("logits", "x"),
    right=_bernoulli,
    probes=_probes,
    differentiable=("logits",),
    shapes=shapes_per_example,
    ingredients=(
        Ingredient("sum p^2", lambda a, x: (a.sigmoid() ** 2).sum(-1), "squared-error"),
        Ingredient("sum x log(1-p)", lambda a, x: (x * F.logsigmoid(-a)).sum(-1), "classes-swapped"),
        Ingredient("sum (1-x) log p", lambda a, x: ((1 - x) * F.logsigmoid(a)).sum(-1), "classes-swapped"),
        Ingredient("sum x p", lambda a, x: (x * a.sigmoid()).sum(-1), "not-log"),
        Ingredient("sum (1-x) p", lambda a, x: ((1 - x) * a.sigmoid()).sum(-1), "not-log"),
        Ingredient("sum x a^2", lambda a, x: (x * a**2).sum(-1), "squared-error"),
        Ingredient("sum (1-x) a^2", lambda a, x: ((1 - x) * a**2).sum(-1), "squared-error"),
        Ingredient("sum x", lambda a, x: x.sum(-1), "extra-constant"),
        Ingredient("D", lambda a, x: count(a), "extra-constant"),
        Ingredient("sum x log p", lambda a, x: (x * F.logsigmoid(a)).sum(-1), "one-class-only", 1.0),
        Ingredient("sum (1-x) log(1-p)", lambda a, x: ((1 - x) * F.logsigmoid(-a)).sum(-1), "one-class-only", 1.0),
    ),
    mistakes=(
        Mistake(
            "logits-as-probabilities",
            "You take the logits for probabilities. A logit may be any number: what turns it into a probability?",
            (
                lambda a, x: (x * a.log() + (1 - x) * (1 - a).log()).sum(-1),
                lambda a, x: -F.binary_cross_entropy(a, x, reduction="none").sum(-1),
                lambda a, x: Bernoulli(a).log_prob(x).sum(-1),
                lambda a, x: Bernoulli(a, validate_args=False).log_prob(x).sum(-1),
                lambda a, x: (x * a.abs().log() + (1 - x) * (1 - a).abs().log()).sum(-1),
                lambda a, x: (x * a.clamp(1e-6, 1 - 1e-6).log() + (1 - x) * (1 - a.clamp(1e-6, 1 - 1e-6)).log()).sum(
                    -1
                ),
            ),
        ),
        Mistake(
            "sigmoid-twice",
            "The sigmoid is applied twice: what does the function that you call expect, logits or probabilities?",
            (
                lambda a, x: _bernoulli(a.sigmoid(), x),
                lambda a, x: -_bernoulli(a.sigmoid(), x),
            ),
        ),
        Mistake("swapped", "First the logits, then the image.", (lambda a, x: _bernoulli(x, a),)),
        Mistake(
            "missing-normaliser",
            "The probabilities of 0 and of 1 do not add up to one in your answer.",
            (
                lambda a, x: (x * a).sum(-1),
                lambda a, x: (x * a - a.exp()).sum(-1),
                lambda a, x: (x * a - (1 - x) * a).sum(-1),
            ),
        ),
        Mistake(
            "not-log",
            "These are probabilities, or their product. The logarithm of a product is a sum of logarithms.",
            (
                lambda a, x: _bernoulli(a, x).exp(),
                lambda a, x: torch.where(x > 0, a.sigmoid(), 1 - a.sigmoid()).sum(-1),
                lambda a, x: torch.where(x > 0, a.sigmoid(), 1 - a.sigmoid()).sum(-1).log(),
            ),
        ),
        Mistake(
            "mean-for-sum",
            "You average over the pixels. The log-likelihood of independent pixels is the sum of theirs: an average "
            "divides it by D.",
            (lambda a, x: _bernoulli(a, x) / a.shape[1], lambda a, x: -_bernoulli(a, x) / a.shape[1]),
        ),
        Mistake(
            "reduced-over-batch",
            "Images of the batch have been summed or averaged. Each keeps its own likelihood.",
            (
                lambda a, x: _bernoulli(a, x).sum().expand(len(a)),
                lambda a, x: _bernoulli(a, x).mean().expand(len(a)),
                lambda a, x: _bernoulli(a, x) / len(a),
            ),
        ),
        Mistake(
            "softmax-for-sigmoid",
            "A softmax makes the pixels compete for one unit of probability. Each pixel is a coin of its own.",
            (
                lambda a, x: (x * a.log_softmax(-1)).sum(-1),
                lambda a, x: (x * a.softmax(-1).log() + (1 - x) * (1 - a.softmax(-1)).log()).sum(-1),
            ),
        ),
        Mistake(
            "sign",
            "A sign is wrong. A log-probability is negative, and a large logit favours a pixel that is on.",
            (
                lambda a, x: (x * a + F.softplus(a)).sum(-1),
                lambda a, x: (F.softplus(a) + x * a).sum(-1) * -1,
                lambda a, x: (x * F.logsigmoid(a) - (1 - x) * F.logsigmoid(-a)).sum(-1),
            ),
        ),
        Mistake(
            "one-class-only",
            "A pixel that is off says something too: which of your terms sees it?",
            (
                lambda a, x: F.logsigmoid(a).sum(-1),
                lambda a, x: F.logsigmoid(-a).sum(-1),
            ),
        ),
        Mistake("classes-swapped", "Which value of a pixel has the probability sigmoid(logit)?"),
        Mistake("squared-error", "That is a squared error, the likelihood of another distribution."),
        Mistake(
            "extra-constant", "There is a constant too much. The probabilities of 0 and of 1 add up to one already."
        ),
        *shared("missing-half", "extra-half", "not-reduced", "wrong-axis", "wrong-base"),
    ),
)
