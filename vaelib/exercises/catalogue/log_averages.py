"""Exercises `naive-likelihood` and `iwae-bound`: the logarithm of an average, from logarithms."""

from __future__ import annotations

import math

from torch import Generator, Tensor

from vaelib.bounds import log_mean_exp
from vaelib.exercises.draws import DRAW_SIZES, between
from vaelib.exercises.exercise import Exercise, Mistake, Probe
from vaelib.exercises.hints import shared
from vaelib.exercises.shapes import shapes_over_draws


def _spread(generator: Generator, *shape: int) -> Tensor:
    """Values of a few nats: moderate enough for any evaluation, and apart enough to tell averages from one another."""
    return between(generator, -4.0, 2.0, *shape)


def _probes(generator: Generator) -> list[Probe]:
    plain = [Probe((_spread(generator, *size) + level,)) for size in DRAW_SIZES for level in (0.0, 4.5)]
    extreme = [
        Probe((_spread(generator, *size) + level,), extreme=True) for size in DRAW_SIZES for level in (-2000, 1000)
    ]
    for size in DRAW_SIZES:
        far_apart = _spread(generator, *size)
        far_apart[:, 0] -= 3000  # one shift for all examples will not do
        extreme.append(Probe((far_apart,), extreme=True))
    return plain + extreme


def _mistakes_of_a_log_mean(jensen: Mistake) -> tuple[Mistake, ...]:
    """The mistakes that both log-mean-exps share, and the one whose hint differs."""
    return (
        jensen,
        Mistake(
            "missing-count",
            "That is the logarithm of a sum. With all L values equal, an average would be that value: is yours?",
            (lambda values: values.logsumexp(0),),
        ),
        Mistake(
            "wrong-count",
            "You divide by the wrong number, or you divide the logarithm. How many numbers are averaged, and where in "
            "the formula?",
            (
                lambda values: values.logsumexp(0) - math.log(values.shape[1]),
                lambda values: values.logsumexp(0) - math.log(values.numel()),
                lambda values: values.logsumexp(0) / len(values),
                lambda values: values.logsumexp(0) - len(values),
                lambda values: values.logsumexp(0) - math.log(max(len(values) - 1, 1)),
                lambda values: values.logsumexp(0) - math.log(max(len(values) - 1, 0.5)),
                lambda values: values.logsumexp(0) - math.log(len(values) + 1),
            ),
        ),
        Mistake(
            "sign",
            "A sign is wrong. With a single draw your estimate must be its value; with L equal ones too.",
            (
                lambda values: -log_mean_exp(values),
                lambda values: -values.logsumexp(0),
                lambda values: values.logsumexp(0) + math.log(len(values)),
                lambda values: log_mean_exp(-values),
                lambda values: -log_mean_exp(-values),
            ),
        ),
        Mistake(
            "not-log",
            "The average is right, and its logarithm is missing.",
            (lambda values: values.exp().mean(0), lambda values: values.exp().sum(0)),
        ),
        Mistake(
            "log-missing-exp",
            "You average, or take the logarithm of, what is a logarithm already.",
            (
                lambda values: values.mean(0).log(),
                lambda values: values.abs().log().mean(0),
                lambda values: values.log().mean(0),
            ),
        ),
        Mistake(
            "maximum",
            "The largest value dominates the average, and is not the average.",
            (lambda values: values.amax(0), lambda values: values.amax(0) - math.log(len(values))),
        ),
        Mistake(
            "reduced-over-batch",
            "Examples of the batch have been summed or averaged. Each keeps its own estimate.",
            (
                lambda values: log_mean_exp(values).mean().expand(values.shape[1]),
                lambda values: log_mean_exp(values).sum().expand(values.shape[1]),
                lambda values: log_mean_exp(values.flatten()).expand(values.shape[1]),
                lambda values: values.flatten().logsumexp(0).expand(values.shape[1]),
            ),
        ),
        Mistake(
            "one-draw",
            "You do not use all of the L draws, or only one of them.",
            (
                lambda values: values[0],
                lambda values: values[-1],
                lambda values: log_mean_exp(values[1:]),
                lambda values: log_mean_exp(values[:-1]),
                lambda values: values[1:].logsumexp(0) - math.log(len(values)),
            ),
        ),
        Mistake(
            "shift-not-added-back",
            "The largest value was subtracted before the exponentials, and is still missing.",
            (
                lambda values: log_mean_exp(values - values.amax(0)),
                lambda values: log_mean_exp(values - values.amax(0)) - values.amax(0),
                lambda values: log_mean_exp(values - values.amax()),
            ),
        ),
        Mistake(
            "wrong-base",
            "Nats are natural logarithms, throughout.",
            (
                lambda values: values.logsumexp(0) - math.log2(len(values)),
                lambda values: values.logsumexp(0) - math.log10(len(values)),
                lambda values: log_mean_exp(values) / math.log(2),
            ),
        ),
        Mistake("median", "A median is no expectation.", (lambda values: values.median(0).values,)),
        Mistake(
            "weighted-average",
            "The logarithms are averaged with softmax weights. That is the direction of the bound's gradient, not the "
            "bound.",
            (lambda values: (values.softmax(0) * values).sum(0), lambda values: (values.softmax(0) * values).mean(0)),
        ),
        *shared("not-reduced", "wrong-axis", "unstable"),
    )


NAIVE = Exercise(
    name="naive-likelihood",
    arguments=("log_likelihoods",),
    right=log_mean_exp,
    probes=_probes,
    shapes=shapes_over_draws,
    mistakes=_mistakes_of_a_log_mean(
        Mistake(
            "mean-of-logs",
            "You average the logarithms. The logarithm of an average is larger, by Jensen: which of the two estimates "
            "log p(x)?",
            (lambda values: values.mean(0), lambda values: values.sum(0)),
        )
    ),
)

IWAE = Exercise(
    name="iwae-bound",
    arguments=("log_weights",),
    right=log_mean_exp,
    probes=_probes,
    differentiable=("log_weights",),
    shapes=shapes_over_draws,
    mistakes=_mistakes_of_a_log_mean(
        Mistake(
            "mean-of-logs",
            "You average the logarithms: that is the ELBO, whatever L. The weights themselves are to be averaged.",
            (lambda values: values.mean(0), lambda values: values.sum(0)),
        )
    ),
)
