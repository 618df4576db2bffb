"""Exercise `gaussian-log-likelihood`: of real-valued pixels, in nats for each image."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from vaelib.exercises.draws import SIZES, between, normal, short
from vaelib.exercises.exercise import Exercise, Ingredient, Mistake, Probe
from vaelib.exercises.hints import shared
from vaelib.exercises.shapes import count, shapes_per_example

LOG_2_PI = math.log(2 * math.pi)


def _gaussian(mean: Tensor, log_var: Tensor, x: Tensor) -> Tensor:
    return -0.5 * (LOG_2_PI + log_var + (x - mean) ** 2 / log_var.exp()).sum(-1)


def _probes(generator: Generator) -> list[Probe]:
    bounds = [(0.2, 1.5, False), (-1.5, -0.2, False), (-2.0, 2.0, False), (-12.0, -8.0, True), (8.0, 12.0, True)]
    probes = []
    for low, high, extreme in bounds:
        for size in SIZES:
            mean, log_var = normal(generator, *size), between(generator, low, high, *size)
            away = normal(generator, *size, std=40.0 if low == 8.0 else 1.0) * (log_var / 2).exp()
            probes.append(Probe((mean, log_var, mean + (away if extreme else short(away))), extreme=extreme))
    return probes


GAUSSIAN = Exercise(
    name="gaussian-log-likelihood",
    arguments=("mean", "log_var", "x"),
    right=_gaussian,
    probes=_probes,
    differentiable=("mean", "log_var"),
    shapes=shapes_per_example,
    ingredients=(
        Ingredient(
            "sum d^2 exp(-2 log_var)", lambda m, v, x: ((x - m) ** 2 * (-2 * v).exp()).sum(-1), "log-var-as-log-std"
        ),
        Ingredient(
            "sum d^2 exp(-log_var/2)", lambda m, v, x: ((x - m) ** 2 * (-v / 2).exp()).sum(-1), "std-for-variance"
        ),
        Ingredient("sum d^2 exp(log_var)", lambda m, v, x: ((x - m) ** 2 * v.exp()).sum(-1), "multiplied-by-variance"),
        Ingredient("sum d^2 / log_var^2", lambda m, v, x: ((x - m) ** 2 / v**2).sum(-1), "log-var-as-std"),
        Ingredient("sum d^2 / log_var", lambda m, v, x: ((x - m) ** 2 / v).sum(-1), "log-var-as-variance"),
        Ingredient("sum log|log_var|", lambda m, v, x: v.abs().log().sum(-1), "log-var-as-variance"),
        Ingredient("sum |d| exp(-log_var/2)", lambda m, v, x: ((x - m).abs() * (-v / 2).exp()).sum(-1), "not-squared"),
        Ingredient("sum d exp(-log_var/2)", lambda m, v, x: ((x - m) * (-v / 2).exp()).sum(-1), "not-squared"),
        Ingredient("sum d exp(-log_var)", lambda m, v, x: ((x - m) * (-v).exp()).sum(-1), "not-squared"),
        Ingredient("sum |d| exp(-log_var)", lambda m, v, x: ((x - m).abs() * (-v).exp()).sum(-1), "not-squared"),
        Ingredient("sum d^2", lambda m, v, x: ((x - m) ** 2).sum(-1), "missing-variance"),
        Ingredient("sum exp(log_var)", lambda m, v, x: v.exp().sum(-1), "variance-without-log"),
        Ingredient("sum exp(log_var/2)", lambda m, v, x: (v / 2).exp().sum(-1), "variance-without-log"),
        Ingredient("1", lambda m, v, x: torch.ones(len(m), dtype=m.dtype), "constant-counted-wrongly"),
        Ingredient("D^2", lambda m, v, x: count(m) ** 2, "constant-counted-wrongly"),
        Ingredient("B", lambda m, v, x: torch.full_like(m[:, 0], len(m)), "constant-counted-wrongly"),
        Ingredient(
            "sum d^2 exp(-log_var)", lambda m, v, x: ((x - m) ** 2 * (-v).exp()).sum(-1), "missing-distance", -0.5
        ),
        Ingredient("sum log_var", lambda m, v, x: v.sum(-1), "missing-log-det", -0.5),
        Ingredient(
            "D log 2 pi",
            lambda m, v, x: LOG_2_PI * count(m),
            "missing-constant",
            -0.5,
            otherwise="wrong-constant",
        ),
    ),
    mistakes=(
        Mistake(
            "log-var-as-std",
            "You take the log-variance for a standard deviation. A log-variance may be negative.",
            (
                lambda m, v, x: Normal(m, v).log_prob(x).sum(-1),
                lambda m, v, x: (-0.5 * LOG_2_PI - v.log() - 0.5 * ((x - m) / v) ** 2).sum(-1),
                lambda m, v, x: (-0.5 * LOG_2_PI - v.abs().log() - 0.5 * ((x - m) / v) ** 2).sum(-1),
            ),
        ),
        Mistake(
            "log-var-as-variance",
            "You take the log-variance for the variance. A log-variance may be negative.",
            (
                lambda m, v, x: -0.5 * (LOG_2_PI + v.log() + (x - m) ** 2 / v).sum(-1),
                lambda m, v, x: Normal(m, v.sqrt()).log_prob(x).sum(-1),
                lambda m, v, x: -0.5 * (v.log() + (x - m) ** 2 / v).sum(-1),
                lambda m, v, x: -0.5 * (LOG_2_PI + v.abs().log() + (x - m) ** 2 / v.abs()).sum(-1),
                lambda m, v, x: -0.5 * (LOG_2_PI + v.log() + (x - m) ** 2 / v.exp()).sum(-1),
            ),
        ),
        Mistake(
            "log-var-as-log-std",
            "You take the log-variance for the logarithm of a standard deviation: a factor 2 in each logarithm.",
            (lambda m, v, x: Normal(m, v.exp()).log_prob(x).sum(-1),),
        ),
        Mistake(
            "mean-for-sum",
            "You average over the pixels. The log-density of independent pixels is the sum of theirs: an average "
            "divides it by D.",
            (
                lambda m, v, x: _gaussian(m, v, x) / m.shape[1],
                lambda m, v, x: -0.5 * (v + (x - m) ** 2 / v.exp()).mean(-1),
            ),
        ),
        Mistake(
            "reduced-over-batch",
            "Images of the batch have been summed or averaged. Each keeps its own likelihood.",
            (
                lambda m, v, x: _gaussian(m, v, x).sum().expand(len(m)),
                lambda m, v, x: _gaussian(m, v, x).mean().expand(len(m)),
                lambda m, v, x: _gaussian(m, v, x) / len(m),
            ),
        ),
        Mistake(
            "not-log",
            "That is the density, and not its logarithm.",
            (
                lambda m, v, x: _gaussian(m, v, x).exp(),
                lambda m, v, x: Normal(m, (v / 2).exp()).log_prob(x).exp().sum(-1),
            ),
        ),
        Mistake("std-for-variance", "Somewhere a standard deviation stands where the variance belongs."),
        Mistake(
            "swapped",
            "Two arguments have changed places: first the mean, then the log-variance, then x.",
            (
                lambda m, v, x: _gaussian(v, m, x),
                lambda m, v, x: _gaussian(m, x, v),
                lambda m, v, x: _gaussian(x, m, v),
            ),
        ),
        Mistake(
            "sign",
            "A sign is wrong. Which terms make a log-density smaller, and what is the distance of x from the mean?",
            (lambda m, v, x: _gaussian(-m, v, x),),
        ),
        Mistake(
            "clipped",
            "Something is clipped. A log-variance may take any value.",
            (
                lambda m, v, x: _gaussian(m, v.clamp(-1, 1), x),
                lambda m, v, x: _gaussian(m, v.clamp_max(0), x),
                lambda m, v, x: _gaussian(m, v.clamp_min(0), x),
            ),
        ),
        Mistake("multiplied-by-variance", "A wide Gaussian should forgive a distance, not punish it more."),
        Mistake("not-squared", "The distance of x from the mean enters by its square."),
        Mistake("missing-variance", "Distances are counted in units of the spread. Where does that enter?"),
        Mistake("variance-without-log", "It is the logarithm of the width that normalises a log-density."),
        Mistake("missing-constant", "A density integrates to one. Does yours, for mean 0 and log-variance 0?"),
        Mistake("wrong-constant", "The constant is not the one that makes the density integrate to one."),
        Mistake("constant-counted-wrongly", "The constant belongs to each pixel once. How often do you count it?"),
        Mistake("missing-log-det", "Nothing in your answer keeps the variance from growing without end. What does?"),
        Mistake("missing-distance", "Your answer does not see how far x is from the mean."),
        *shared("missing-half", "extra-half", "not-reduced", "wrong-axis", "wrong-base"),
    ),
)
