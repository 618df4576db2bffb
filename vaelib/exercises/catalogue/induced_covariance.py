"""Exercise `induced-covariance`: the covariance of S epsilon. Chapter: "Q3.1"."""

from __future__ import annotations

import torch
from torch import Tensor

from vaelib.exercises.draws import scale_draws
from vaelib.exercises.exercise import Exercise, Ingredient, Mistake, Probe
from vaelib.exercises.hints import shared
from vaelib.exercises.matrices import diagonal, symmetric_root

INDUCED_COVARIANCE = Exercise(
    name="induced-covariance",
    arguments=("scale",),
    right=lambda scale: scale @ scale.mT,
    probes=lambda generator: [Probe((scale,), kind) for kind, scale in scale_draws(generator)],
    shapes=lambda scale: {"reduced-over-batch": scale.shape[1:], "variances-only": scale.shape[:2]},
    ingredients=(
        Ingredient("S S^T", lambda scale: scale @ scale.mT, "missing-transpose", 1.0),
        Ingredient("S^T S", lambda scale: scale.mT @ scale, "transposed"),
        Ingredient("S S", lambda scale: scale @ scale, "missing-transpose"),
        Ingredient("S^T S^T", lambda scale: scale.mT @ scale.mT, "missing-transpose"),
        Ingredient("S*S", lambda scale: scale**2, "elementwise-product"),
        Ingredient("S*S^T", lambda scale: scale * scale.mT, "elementwise-product"),
        Ingredient("S", lambda scale: scale, "scale-as-covariance"),
        Ingredient("S^T", lambda scale: scale.mT, "scale-as-covariance"),
        Ingredient("diag(S)^2", lambda scale: torch.diag_embed(diagonal(scale) ** 2), "diagonal-only"),
        Ingredient("diag(S)", lambda scale: torch.diag_embed(diagonal(scale)), "diagonal-only"),
        Ingredient("diag(S S^T)", lambda scale: torch.diag_embed(diagonal(scale @ scale.mT)), "variances-only"),
        Ingredient("(S S^T)^-1", lambda scale: torch.linalg.inv(scale @ scale.mT), "precision-for-covariance"),
        Ingredient("I", lambda scale: torch.eye(scale.shape[-1], dtype=scale.dtype).expand_as(scale), "added-identity"),
    ),
    mistakes=(
        Mistake(
            "assumes-triangular",
            "You use only one triangle of S. Nothing says that it is triangular.",
            (lambda scale: scale.tril() @ scale.tril().mT, lambda scale: scale.triu() @ scale.triu().mT),
        ),
        Mistake(
            "mixed-batch",
            "Your result mixes the matrices of different examples. Which axes does your product sum over, and which "
            "does your transposition swap?",
            (
                lambda scale: scale @ scale.permute(2, 1, 0),
                lambda scale: scale[:1] @ scale[:1].mT.expand_as(scale),
                lambda scale: torch.einsum("bij,ckj->bik", scale, scale),
                lambda scale: (scale @ scale.mT).sum(0, keepdim=True).expand_as(scale),
                lambda scale: (scale @ scale.mT).mean(0, keepdim=True).expand_as(scale),
            ),
        ),
        Mistake(
            "root-of-covariance",
            "That is a root of the covariance, as S itself is one.",
            (
                lambda scale: torch.linalg.cholesky(scale @ scale.mT),
                lambda scale: symmetric_root(scale @ scale.mT),
            ),
        ),
        Mistake(
            "absolute-value",
            "A covariance may be negative.",
            (lambda scale: (scale @ scale.mT).abs(), lambda scale: scale.abs() @ scale.abs().mT),
        ),
        Mistake(
            "one-triangle",
            "A covariance matrix is symmetric. What has happened to its other half?",
            (lambda scale: (scale @ scale.mT).tril(), lambda scale: (scale @ scale.mT).triu()),
        ),
        Mistake(
            "centred",
            "The entries of S are no data to be centred: the noise, which is random, has mean zero already.",
            (
                lambda scale: _centred(scale, -1) @ _centred(scale, -1).mT,
                lambda scale: _centred(scale, -1) @ _centred(scale, -1).mT / max(scale.shape[-1] - 1, 1),
                lambda scale: _centred(scale, -1) @ _centred(scale, -1).mT / (scale.shape[-1] - 1),
                lambda scale: _centred(scale, -1) @ _centred(scale, -1).mT / scale.shape[-1],
                lambda scale: _centred(scale, -2).mT @ _centred(scale, -2) / (scale.shape[-1] - 1),
            ),
        ),
        Mistake(
            "correlation-for-covariance",
            "The diagonal of your result is 1: those are correlations.",
            (lambda scale: _correlation(scale @ scale.mT),),
        ),
        Mistake(
            "transposed", "S^T S has the right diagonal sum, and belongs to another law. Which index is summed over?"
        ),
        Mistake("missing-transpose", "Write out the entry i, j of E[S eps eps^T S^T]: one factor is transposed."),
        Mistake("elementwise-product", "A matrix product, not a product entry by entry."),
        Mistake("scale-as-covariance", "S itself is not a covariance: it need not even be symmetric."),
        Mistake("diagonal-only", "The numbers beside the diagonal of S do nothing in your answer."),
        Mistake("variances-only", "The covariances between coordinates are missing."),
        Mistake("precision-for-covariance", "That is the inverse of the covariance."),
        Mistake("added-identity", "Where does the identity come from? The noise is all there is."),
        *shared("sign", "missing-half", "extra-half", "reduced-over-batch"),
        Mistake(
            "divided-by-dimension",
            "Why divide by K or K - 1? The covariance is no average over coordinates.",
            (
                lambda scale: scale @ scale.mT / scale.shape[-1],
                lambda scale: scale @ scale.mT / (scale.shape[-1] - 1),
            ),
        ),
    ),
)


def _centred(scale: Tensor, axis: int) -> Tensor:
    return scale - scale.mean(axis, keepdim=True)


def _correlation(covariance: Tensor) -> Tensor:
    std = diagonal(covariance).sqrt()
    return covariance / (std.unsqueeze(-1) * std.unsqueeze(-2))
