"""Exercise `reparameterize-full`: a draw with a full covariance. Chapter: "Q3.1"."""

from __future__ import annotations

import torch
from torch import Generator
from torch.distributions import MultivariateNormal

from vaelib.exercises.draws import normal, scale_draws
from vaelib.exercises.exercise import Exercise, Ingredient, Mistake, Probe
from vaelib.exercises.hints import shared
from vaelib.exercises.matrices import diagonal, symmetric_root, times


def _probes(generator: Generator) -> list[Probe]:
    return [
        Probe((normal(generator, *scale.shape[:2]), scale, normal(generator, *scale.shape[:2])), kind)
        for kind, scale in scale_draws(generator)
    ]


REPARAMETERIZE_FULL = Exercise(
    name="reparameterize-full",
    arguments=("mean", "scale", "noise"),
    right=lambda mean, scale, noise: mean + times(scale, noise),
    probes=_probes,
    differentiable=("mean", "scale"),
    shapes=lambda mean, *_: {
        "reduced-over-batch": (mean.shape[1],),
        "elementwise-product": (len(mean), mean.shape[1], mean.shape[1]),
        "not-squeezed": (len(mean), mean.shape[1], 1),
        "summed-over-dimensions": (len(mean),),
    },
    ingredients=(
        Ingredient("mean", lambda mean, scale, noise: mean, "missing-mean", 1.0),
        Ingredient("S noise", lambda mean, scale, noise: times(scale, noise), "missing-noise", 1.0),
        Ingredient("S^T noise", lambda mean, scale, noise: times(scale.mT, noise), "transposed"),
        Ingredient("diag(S)*noise", lambda mean, scale, noise: diagonal(scale) * noise, "diagonal-only"),
        Ingredient("S S^T noise", lambda mean, scale, noise: times(scale @ scale.mT, noise), "covariance-as-scale"),
        Ingredient("S^T S noise", lambda mean, scale, noise: times(scale.mT @ scale, noise), "covariance-as-scale"),
        Ingredient("S S noise", lambda mean, scale, noise: times(scale @ scale, noise), "covariance-as-scale"),
        Ingredient("row sums of S*noise", lambda mean, scale, noise: scale.sum(-1) * noise, "elementwise-product"),
        Ingredient("column sums of S*noise", lambda mean, scale, noise: scale.sum(-2) * noise, "elementwise-product"),
        Ingredient("S mean", lambda mean, scale, noise: times(scale, mean), "noise-on-mean"),
        Ingredient("noise", lambda mean, scale, noise: noise, "missing-scale"),
        Ingredient(
            "S^-1 noise", lambda mean, scale, noise: torch.linalg.solve(scale, noise.unsqueeze(-1))[..., 0], "inverted"
        ),
    ),
    mistakes=(
        Mistake(
            "scale-as-covariance",
            "You treat S as a covariance and take a root of it. What is the covariance of S epsilon?",
            (
                lambda mean, scale, noise: mean + times(torch.linalg.cholesky(scale), noise),
                lambda mean, scale, noise: mean + MultivariateNormal(mean, scale).scale_tril @ noise,
                lambda mean, scale, noise: mean + scale.abs().sqrt() @ noise,
                lambda mean, scale, noise: mean + times(scale.sqrt(), noise),
                lambda mean, scale, noise: mean + times(symmetric_root(scale), noise),
            ),
        ),
        Mistake(
            "another-square-root",
            "Your draws have the right distribution: another root of S S^T gives the same law. But this noise with "
            "this S must give mu + S epsilon.",
            (
                lambda mean, scale, noise: mean + times(torch.linalg.cholesky(scale @ scale.mT), noise),
                lambda mean, scale, noise: mean + times(symmetric_root(scale @ scale.mT), noise),
                lambda mean, scale, noise: mean + times(torch.linalg.qr(scale.mT).R.mT, noise),
            ),
        ),
        Mistake(
            "assumes-triangular",
            "You use only the lower triangle of S. Nothing says that it is triangular.",
            (
                lambda mean, scale, noise: mean + times(scale.tril(), noise),
                lambda mean, scale, noise: mean + times(scale.triu(), noise),
            ),
        ),
        Mistake(
            "shared-noise",
            "Several examples share one noise, or one matrix. Each has its own.",
            (
                lambda mean, scale, noise: mean + times(scale, noise[:1].expand_as(noise)),
                lambda mean, scale, noise: mean + noise @ scale[0].mT,
                lambda mean, scale, noise: mean + times(scale, noise.mean(0, keepdim=True).expand_as(noise)),
                lambda mean, scale, noise: mean + times(scale, noise[:, :1].expand_as(noise)),
            ),
        ),
        Mistake(
            "not-batched",
            "A batch of matrices times a batch of vectors: without an axis for it, `@` takes the batch of vectors for "
            "a matrix, and mixes the examples.",
            (
                lambda mean, scale, noise: mean + scale @ noise,
                lambda mean, scale, noise: mean + scale @ noise.mT,
                lambda mean, scale, noise: mean + noise @ scale,
                lambda mean, scale, noise: mean + torch.einsum("bij,cj->bi", scale, noise),
                lambda mean, scale, noise: mean + torch.einsum("bij,cj->ci", scale, noise),
                lambda mean, scale, noise: mean.unsqueeze(1) + noise @ scale.mT,
                lambda mean, scale, noise: mean.unsqueeze(1) + noise @ scale,
            ),
        ),
        Mistake(
            "elementwise-product",
            "S times epsilon is a matrix times a vector: along which index is the sum?",
            (
                lambda mean, scale, noise: mean.unsqueeze(-1) + scale * noise.unsqueeze(-1),
                lambda mean, scale, noise: mean.unsqueeze(-1) + scale * noise.unsqueeze(1),
                lambda mean, scale, noise: mean + scale * noise,
            ),
        ),
        Mistake(
            "not-squeezed",
            "The vectors still carry the axis that made them matrices of one column.",
            (lambda mean, scale, noise: mean.unsqueeze(1) + scale @ noise.unsqueeze(-1),),
        ),
        Mistake("transposed", "You have multiplied by the transpose of S. Mind what `noise @ S` does to a row."),
        Mistake("diagonal-only", "The numbers beside the diagonal of S do nothing in your answer."),
        Mistake(
            "covariance-as-scale",
            "The noise is multiplied by S S^T, or by S twice. Which covariance would that give?",
        ),
        Mistake("inverted", "The inverse of S takes draws back to noise: the other direction."),
        Mistake("missing-mean", "Where is the centre of your draws?"),
        Mistake("missing-noise", "Your z does not depend on S noise as it should. What makes two draws differ?"),
        Mistake("missing-scale", "Your draws all have the law of the noise itself."),
        Mistake("noise-on-mean", "Is it the mean that S multiplies?"),
        Mistake("summed-over-dimensions", "z has K coordinates, as the mean has."),
        *shared("sign", "missing-half", "extra-half", "reduced-over-batch"),
    ),
)
