"""Exercise `score-function-gradient`: an estimate with a leave-one-out baseline."""

from __future__ import annotations

from torch import Generator, Tensor

from vaelib.exercises.draws import normal
from vaelib.exercises.exercise import Exercise, Mistake, Probe
from vaelib.exercises.hints import shared


def _others(values: Tensor) -> Tensor:
    """For each draw, the mean of the other draws."""
    return (values.sum(0) - values) / (len(values) - 1)


def _score_function(values: Tensor, scores: Tensor) -> Tensor:
    return ((values - _others(values)).unsqueeze(-1) * scores).mean(0)


def _probes(generator: Generator) -> list[Probe]:
    return [
        Probe((normal(generator, draws) + level, normal(generator, draws, dim)))
        for draws, dim in ((2, 1), (3, 1), (2, 2), (3, 2), (2, 3), (4, 3), (3, 5), (6, 4))
        for level in (0.5, -90.0)
    ]


SCORE_FUNCTION = Exercise(
    name="score-function-gradient",
    arguments=("values", "scores"),
    right=_score_function,
    probes=_probes,
    shapes=lambda values, scores: {
        "not-reduced": scores.shape,
        "wrong-axis": values.shape,
        "reduced-over-parameters": (),
    },
    mistakes=(
        Mistake(
            "no-baseline",
            "Add 1000 to all values: the expectation does not change. Your estimate's variance explodes. Where is the "
            "baseline?",
            (
                lambda f, s: (f.unsqueeze(-1) * s).mean(0),
                lambda f, s: (f.unsqueeze(-1) * s).sum(0),
                lambda f, s: (f.unsqueeze(-1) * s).sum(0) / (len(f) - 1),
            ),
        ),
        Mistake(
            "own-value-in-baseline",
            "Each draw's own value is in its baseline, which is then not independent of its score: a bias of the "
            "factor 1 - 1/L.",
            (
                lambda f, s: ((f - f.mean()).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f.mean()).unsqueeze(-1) * (s - s.mean(0))).mean(0),
            ),
        ),
        Mistake(
            "wrong-count",
            "You divide by the wrong number: how many draws are averaged, and how many are in a baseline?",
            (
                lambda f, s: ((f - _others(f)).unsqueeze(-1) * s).sum(0) / (len(f) - 1),
                lambda f, s: ((f - _others(f)).unsqueeze(-1) * s).sum(0) / s.shape[1],
                lambda f, s: ((f - (f.sum() - f) / len(f)).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - (f.sum() - f)).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f.sum() / (len(f) - 1)).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f.sum()).unsqueeze(-1) * s).mean(0),
            ),
        ),
        Mistake(
            "sum-for-mean",
            "You sum over the draws. With twice as many your gradient would be twice as large.",
            (
                lambda f, s: ((f - _others(f)).unsqueeze(-1) * s).sum(0),
                lambda f, s: ((f - f.mean()).unsqueeze(-1) * s).sum(0),
            ),
        ),
        Mistake(
            "sign",
            "A sign is wrong. Larger values should pull the parameters towards their draws; a baseline is subtracted.",
            (
                lambda f, s: -_score_function(f, s),
                lambda f, s: -((f - _others(f)).unsqueeze(-1) * s).sum(0),
                lambda f, s: ((f + _others(f)).unsqueeze(-1) * s).mean(0),
                lambda f, s: -(f.unsqueeze(-1) * s).mean(0),
                lambda f, s: -((f - f.mean()).unsqueeze(-1) * s).mean(0),
            ),
        ),
        Mistake(
            "baseline-not-scored",
            "The baseline has to be multiplied by the score as well: its expectation vanishes only then.",
            (
                lambda f, s: (f.unsqueeze(-1) * s).mean(0) - f.mean(),
                lambda f, s: (f.unsqueeze(-1) * s - _others(f).unsqueeze(-1)).mean(0),
                lambda f, s: (f.unsqueeze(-1) * s - _others(f.unsqueeze(-1) * s)).mean(0),
            ),
        ),
        Mistake(
            "product-of-means",
            "The mean of a product is not the product of the means.",
            (lambda f, s: f.mean() * s.mean(0),),
        ),
        Mistake(
            "another-baseline",
            "The baseline is another one than the mean of the other draws' values.",
            (
                lambda f, s: ((f - f[0]).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f.roll(1)).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f.roll(-1)).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f.median()).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f.amin()).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f.amax()).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - 1.0).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f[1:].mean()).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - f[:-1].mean()).unsqueeze(-1) * s).mean(0),
                lambda f, s: (
                    (f.unsqueeze(-1) * s).mean(0) - (f.unsqueeze(-1) * s**2).mean(0) / (s**2).mean(0) * s.mean(0)
                ),
                lambda f, s: ((f.unsqueeze(-1) - (f.unsqueeze(-1) * s**2).mean(0) / (s**2).mean(0)) * s).mean(0),
            ),
        ),
        Mistake(
            "normalised",
            "Dividing by the standard deviation of the values changes the gradient's length: no longer unbiased.",
            (
                lambda f, s: (((f - f.mean()) / f.std(correction=1)).unsqueeze(-1) * s).mean(0),
                lambda f, s: (((f - _others(f)) / f.std(correction=1)).unsqueeze(-1) * s).mean(0),
                lambda f, s: (((f - f.mean()) / f.std(correction=0)).unsqueeze(-1) * s).mean(0),
            ),
        ),
        Mistake(
            "missing-values",
            "Where do the values of the draws themselves enter?",
            (
                lambda f, s: s.mean(0),
                lambda f, s: s.sum(0),
                lambda f, s: (_others(f).unsqueeze(-1) * s).mean(0),
                lambda f, s: -(_others(f).unsqueeze(-1) * s).mean(0),
            ),
        ),
        Mistake(
            "absolute-value",
            "A draw worse than the others must push the parameters away from it: why an absolute value?",
            (
                lambda f, s: ((f - _others(f)).abs().unsqueeze(-1) * s).mean(0),
                lambda f, s: _score_function(f, s).abs(),
            ),
        ),
        Mistake(
            "clipped",
            "Something is clipped: a biased gradient, whatever it does for the variance.",
            (
                lambda f, s: ((f - _others(f)).clamp_min(0).unsqueeze(-1) * s).mean(0),
                lambda f, s: ((f - _others(f)).clamp(-1, 1).unsqueeze(-1) * s).mean(0),
            ),
        ),
        Mistake(
            "reduced-over-parameters",
            "Each of the P parameters keeps its own gradient.",
            (
                lambda f, s: _score_function(f, s).sum().expand(s.shape[1]),
                lambda f, s: _score_function(f, s).mean().expand(s.shape[1]),
            ),
        ),
        *shared("missing-half", "extra-half", "not-reduced", "wrong-axis"),
    ),
)
