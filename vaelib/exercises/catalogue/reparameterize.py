"""Exercise `reparameterize`: a draw as a function of noise. Chapter: "Q3.1"."""

from __future__ import annotations

import torch
from torch import Generator

from vaelib.exercises.draws import SIZES, between, normal
from vaelib.exercises.exercise import Exercise, Ingredient, Mistake, Probe
from vaelib.exercises.hints import shared


def _probes(generator: Generator) -> list[Probe]:
    return [
        Probe((normal(generator, *size), between(generator, low, high, *size), normal(generator, *size)))
        for size in SIZES
        for low, high in ((0.2, 0.7), (1.5, 3.0))
    ]


REPARAMETERIZE = Exercise(
    name="reparameterize",
    arguments=("mean", "std", "noise"),
    right=lambda mean, std, noise: mean + std * noise,
    probes=_probes,
    differentiable=("mean", "std"),
    shapes=lambda mean, *_: {
        "reduced-over-batch": (mean.shape[1],),
        "not-elementwise": (len(mean), mean.shape[1], mean.shape[1]),
        "summed-over-dimensions": (len(mean),),
    },
    ingredients=(
        Ingredient("mean", lambda mean, std, noise: mean, "missing-mean", 1.0),
        Ingredient("std*noise", lambda mean, std, noise: std * noise, "missing-noise", 1.0),
        Ingredient("std^2*noise", lambda mean, std, noise: std**2 * noise, "variance-for-std"),
        Ingredient("sqrt(std)*noise", lambda mean, std, noise: std.sqrt() * noise, "std-as-variance"),
        Ingredient("exp(std/2)*noise", lambda mean, std, noise: (std / 2).exp() * noise, "std-as-log-var"),
        Ingredient("exp(std)*noise", lambda mean, std, noise: std.exp() * noise, "std-as-log-std"),
        Ingredient("noise", lambda mean, std, noise: noise, "missing-std"),
        Ingredient("std", lambda mean, std, noise: std, "missing-noise"),
        Ingredient("mean*noise", lambda mean, std, noise: mean * noise, "noise-on-mean"),
        Ingredient("mean*std", lambda mean, std, noise: mean * std, "noise-on-mean"),
        Ingredient("noise/std", lambda mean, std, noise: noise / std, "divided-by-std"),
    ),
    mistakes=(
        Mistake(
            "shared-noise",
            "Several draws share one noise. Each example, and each of its coordinates, has its own.",
            (
                lambda mean, std, noise: mean + std * noise[:1],
                lambda mean, std, noise: mean + std * noise[:, :1],
                lambda mean, std, noise: mean + std * noise.flatten()[0],
                lambda mean, std, noise: mean + std * noise.mean(),
                lambda mean, std, noise: mean + std * noise.mean(0),
                lambda mean, std, noise: mean + std * noise.mean(-1, keepdim=True),
                lambda mean, std, noise: mean + std * noise.sum(-1, keepdim=True),
            ),
        ),
        Mistake(
            "not-elementwise",
            "Each coordinate of the noise is scaled by the standard deviation of that coordinate alone: no matrix "
            "product.",
            (
                lambda mean, std, noise: mean + std @ noise.mT,
                lambda mean, std, noise: mean + (std * noise).sum(-1, keepdim=True),
                lambda mean, std, noise: mean + torch.einsum("bi,bj->bij", std, noise),
            ),
        ),
        Mistake(
            "absolute-value",
            "Draws lie on both sides of the mean: why an absolute value?",
            (
                lambda mean, std, noise: mean + std * noise.abs(),
                lambda mean, std, noise: (mean + std * noise).abs(),
            ),
        ),
        Mistake(
            "clipped",
            "Something is clipped. The tails of the noise, and standard deviations of any size, belong to the law.",
            (
                lambda mean, std, noise: mean + std * noise.clamp(-1, 1),
                lambda mean, std, noise: mean + std.clamp_max(1) * noise,
                lambda mean, std, noise: mean + std.clamp_min(1) * noise,
            ),
        ),
        Mistake(
            "swapped",
            "Two arguments have changed places. Which of the three is shifted, which scales, and which is scaled?",
            (
                lambda mean, std, noise: std + mean * noise,
                lambda mean, std, noise: noise + mean * std,
            ),
        ),
        Mistake("summed-over-dimensions", "z has K coordinates, as the mean has. Why sum over them?"),
        Mistake("missing-mean", "Where is the centre of your draws?"),
        Mistake("missing-noise", "Your z does not depend on the noise as it should. What makes two draws differ?"),
        Mistake("missing-std", "Your draws all have the width of the noise itself."),
        Mistake(
            "variance-for-std",
            "You scale the noise by a variance. What is the variance of a times epsilon, if that of epsilon is 1?",
        ),
        Mistake("std-as-variance", "A root too many: the argument is a standard deviation already."),
        Mistake("std-as-log-var", "The argument is a standard deviation, not a log-variance: nothing to exponentiate."),
        Mistake("std-as-log-std", "The argument is a standard deviation, not its logarithm: nothing to exponentiate."),
        Mistake("noise-on-mean", "Which of the two is shifted, and which is scaled? Try noise 0: what must come out?"),
        Mistake(
            "divided-by-std", "Dividing by the standard deviation takes a draw back to the noise: the other direction."
        ),
        *shared("sign", "extra-half", "missing-half", "reduced-over-batch"),
    ),
)
