"""Exercise `elbo-monte-carlo`: the bound as an average over draws, in nats."""

from __future__ import annotations

import math

from torch import Generator

from vaelib.bounds import log_mean_exp
from vaelib.exercises.draws import DRAW_SIZES, normal
from vaelib.exercises.exercise import Exercise, Ingredient, Mistake, Probe
from vaelib.exercises.hints import shared
from vaelib.exercises.shapes import shapes_over_draws


def _probes(generator: Generator) -> list[Probe]:
    return [
        Probe(
            (normal(generator, *size, std=2.0) + level, normal(generator, *size, std=1.5) + level / 2),
            extreme=abs(level) > 100,
        )
        for level in (-3.0, 1.0, -2000.0, 1000.0)
        for size in DRAW_SIZES
    ]


ELBO = Exercise(
    name="elbo-monte-carlo",
    arguments=("log_joint", "log_q"),
    right=lambda log_joint, log_q: (log_joint - log_q).mean(0),
    probes=_probes,
    differentiable=("log_joint", "log_q"),
    shapes=shapes_over_draws,
    ingredients=(
        Ingredient("mean of log_joint", lambda joint, q: joint.mean(0), "missing-log-joint", 1.0),
        Ingredient("mean of log_q", lambda joint, q: q.mean(0), "missing-log-q", -1.0),
        Ingredient("mean of exp(log_q) log_q", lambda joint, q: (q.exp() * q).mean(0), "weighted-twice"),
        Ingredient("mean of exp(log_q) log_joint", lambda joint, q: (q.exp() * joint).mean(0), "weighted-twice"),
        Ingredient("mean of exp(log_q)", lambda joint, q: q.exp().mean(0), "density-for-log"),
        Ingredient("mean of exp(log_joint)", lambda joint, q: joint.exp().mean(0), "density-for-log"),
    ),
    mistakes=(
        Mistake(
            "mean-in-probability",
            "You average the weights and then take the logarithm: that is the importance weighted bound. Here the "
            "logarithms are averaged.",
            (
                lambda joint, q: log_mean_exp(joint - q),
                lambda joint, q: (joint - q).logsumexp(0),
                lambda joint, q: log_mean_exp(joint) - log_mean_exp(q),
                lambda joint, q: log_mean_exp(joint) - q.mean(0),
            ),
        ),
        Mistake(
            "sum-for-mean",
            "You sum over the draws. With twice as many your bound would be twice as large.",
            (
                lambda joint, q: (joint - q).sum(0),
                lambda joint, q: joint.sum(0) - q.mean(0),
                lambda joint, q: joint.mean(0) - q.sum(0),
                lambda joint, q: joint.sum(0),
                lambda joint, q: (q - joint).sum(0),
            ),
        ),
        Mistake(
            "reduced-over-batch",
            "Examples of the batch have been summed or averaged. Each keeps its own estimate.",
            (
                lambda joint, q: (joint - q).mean().expand(joint.shape[1]),
                lambda joint, q: (joint - q).sum().expand(joint.shape[1]),
                lambda joint, q: (joint - q).mean(0).sum().expand(joint.shape[1]),
                lambda joint, q: joint.mean(0) - q.mean(),
                lambda joint, q: (joint - q).mean(0) / joint.shape[1],
            ),
        ),
        Mistake(
            "wrong-count",
            "You divide by the wrong number: over what is the average?",
            (
                lambda joint, q: (joint - q).sum(0) / joint.shape[1],
                lambda joint, q: (joint - q).sum(0) / (len(joint) - 1),
                lambda joint, q: (joint - q).sum(0) / math.sqrt(len(joint)),
            ),
        ),
        Mistake(
            "weighted-twice",
            "The draws come from q already. To weigh them by q once more counts it twice.",
            (
                lambda joint, q: (q.exp() * (joint - q)).sum(0),
                lambda joint, q: (q.softmax(0) * (joint - q)).sum(0),
                lambda joint, q: ((joint - q).softmax(0) * (joint - q)).sum(0),
            ),
        ),
        Mistake(
            "not-log",
            "That is a ratio of densities, or its average. The bound is in nats.",
            (
                lambda joint, q: (joint - q).exp().mean(0),
                lambda joint, q: (joint - q).mean(0).exp(),
                lambda joint, q: joint.exp().mean(0) - q.exp().mean(0),
            ),
        ),
        Mistake(
            "ratio-of-logs",
            "The logarithm of a ratio is a difference of logarithms, not their ratio.",
            (
                lambda joint, q: (joint / q).mean(0),
                lambda joint, q: joint.mean(0) / q.mean(0),
                lambda joint, q: (joint * q).mean(0),
            ),
        ),
        Mistake("maximum", "The best draw is not the average draw.", (lambda joint, q: (joint - q).amax(0),)),
        Mistake("median", "A median is no expectation.", (lambda joint, q: (joint - q).median(0).values,)),
        Mistake(
            "one-draw",
            "You use one of the L draws.",
            (
                lambda joint, q: (joint - q)[0],
                lambda joint, q: (joint - q)[-1],
                lambda joint, q: joint.mean(0) - q[0],
                lambda joint, q: joint[0] - q.mean(0),
            ),
        ),
        Mistake("missing-log-q", "Without log q the bound would reward a q that is a point. What is left out?"),
        Mistake(
            "absolute-value",
            "The difference may have either sign: why an absolute value?",
            (
                lambda joint, q: (joint - q).abs().mean(0),
                lambda joint, q: (joint - q).mean(0).abs(),
                lambda joint, q: -(joint - q).abs().mean(0),
            ),
        ),
        Mistake(
            "count-subtracted",
            "The logarithm of L belongs to an average of weights. Here the logarithms themselves are averaged.",
            (
                lambda joint, q: (joint - q).mean(0) - math.log(len(joint)),
                lambda joint, q: (joint - q).sum(0) - math.log(len(joint)),
            ),
        ),
        Mistake("missing-log-joint", "Where does the model enter?"),
        Mistake("density-for-log", "A density stands where its logarithm belongs."),
        *shared("sign", "missing-half", "extra-half", "not-reduced", "wrong-axis", "wrong-base"),
    ),
)
