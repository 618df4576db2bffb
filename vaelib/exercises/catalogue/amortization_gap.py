"""Exercise `amortization-gap`: what an encoder loses, in nats. Chapter: "Q3.3"."""

from __future__ import annotations

from torch import Generator

from vaelib.exercises.draws import between, normal
from vaelib.exercises.exercise import Exercise, Ingredient, Mistake, Probe
from vaelib.exercises.hints import shared


def _probes(generator: Generator) -> list[Probe]:
    probes = []
    for batch in (1, 1, 2, 3, 4, 7):
        encoder = normal(generator, batch, std=5.0) - 90.0
        for low, high in ((0.3, 3.0), (-1.0, 2.0), (-2.0, -0.2)):  # a local search may stop below the encoder
            probes.append(Probe((encoder, encoder + between(generator, low, high, batch))))
    return probes


AMORTIZATION_GAP = Exercise(
    name="amortization-gap",
    arguments=("elbo_encoder", "elbo_local"),
    right=lambda encoder, local: (local - encoder).mean(),
    probes=_probes,
    shapes=lambda encoder, local: {"not-reduced": encoder.shape, "wrong-shape": (1,)},
    ingredients=(
        Ingredient("mean of elbo_local", lambda encoder, local: local.mean(), "missing-elbo", 1.0),
        Ingredient("mean of elbo_encoder", lambda encoder, local: encoder.mean(), "missing-elbo", -1.0),
    ),
    mistakes=(
        Mistake(
            "sign",
            "Which of the two bounds is the larger one? A gap is what is missing to it.",
            (lambda encoder, local: (encoder - local).mean(),),
        ),
        Mistake(
            "sum-for-mean",
            "You sum over the examples. The average gap does not depend on how many were tried.",
            (
                lambda encoder, local: (local - encoder).sum(),
                lambda encoder, local: (encoder - local).sum(),
                lambda encoder, local: local.mean() - encoder.sum(),
                lambda encoder, local: local.sum() - encoder.mean(),
            ),
        ),
        Mistake(
            "absolute-value",
            "A local search may stop below the encoder. Taking absolute values turns what it lost into a gain.",
            (
                lambda encoder, local: (local - encoder).abs().mean(),
                lambda encoder, local: (local - encoder).mean().abs(),
            ),
        ),
        Mistake(
            "clipped",
            "A local search may stop below the encoder. Negative differences belong into the average; clipping hides "
            "that the search has not converged.",
            (
                lambda encoder, local: (local - encoder).clamp_min(0).mean(),
                lambda encoder, local: (local - encoder).mean().clamp_min(0),
            ),
        ),
        Mistake(
            "maximum",
            "One example is not the average.",
            (
                lambda encoder, local: (local - encoder).amax(),
                lambda encoder, local: (local - encoder).amin(),
                lambda encoder, local: local.amax() - encoder.amax(),
                lambda encoder, local: (local - encoder)[0],
                lambda encoder, local: (local - encoder)[-1],
            ),
        ),
        Mistake("median", "A median is no average.", (lambda encoder, local: (local - encoder).median(),)),
        Mistake(
            "relative",
            "A gap in nats is a difference: a ratio of log-likelihoods depends on their unit's zero.",
            (
                lambda encoder, local: (local / encoder).mean(),
                lambda encoder, local: (encoder / local).mean(),
                lambda encoder, local: ((local - encoder) / local).mean(),
                lambda encoder, local: ((local - encoder) / encoder).mean(),
                lambda encoder, local: ((local - encoder) / local.abs()).mean(),
                lambda encoder, local: ((local - encoder) / encoder.abs()).mean(),
                lambda encoder, local: (local - encoder).mean() / local.mean(),
                lambda encoder, local: (local - encoder).mean() / encoder.mean(),
                lambda encoder, local: local.mean() / encoder.mean(),
            ),
        ),
        Mistake(
            "squared",
            "Nothing is squared here: nats are compared with nats.",
            (
                lambda encoder, local: ((local - encoder) ** 2).mean(),
                lambda encoder, local: ((local - encoder) ** 2).mean().sqrt(),
                lambda encoder, local: (local - encoder).std(correction=0),
            ),
        ),
        Mistake(
            "not-log",
            "The bounds are logarithms already, and their difference is in nats.",
            (
                lambda encoder, local: (local - encoder).exp().mean(),
                lambda encoder, local: (local.exp() - encoder.exp()).mean(),
                lambda encoder, local: (local - encoder).exp().mean().log(),
                lambda encoder, local: (local - encoder).logsumexp(0),
            ),
        ),
        Mistake(
            "wrong-count",
            "You divide by the wrong number: over what is the average?",
            (
                lambda encoder, local: (local - encoder).sum() / (len(local) - 1),
                lambda encoder, local: (local - encoder).sum() / max(len(local) - 1, 1),
            ),
        ),
        Mistake("missing-elbo", "A gap lies between two bounds. Where is the other one?"),
        *shared("missing-half", "extra-half", "not-reduced"),
    ),
)
