"""Right answers in many styles pass, and each wrong one is refused for the mistake that it makes."""

from __future__ import annotations

import importlib

import pytest
import torch
from exercises.answers import universal

from vaelib.exercises import EXERCISES, check

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch.func.hessian uses it

ANSWERS = {name: importlib.import_module(f"exercises.answers.{name.replace('-', '_')}") for name in EXERCISES}


def wrong_answers(name):
    """The wrong answers to an exercise by their mistakes, those among them that can be made everywhere."""
    exercise, first = EXERCISES[name], ANSWERS[name].RIGHT[0]
    found = {mistake: list(answers) for mistake, answers in ANSWERS[name].WRONG.items()}
    for mistake, spoils in universal.WRONG.items():
        if mistake != "detached" or exercise.differentiable:
            found.setdefault(mistake, []).extend(spoil(first) for spoil in spoils)
    return found


RIGHT = [
    pytest.param(name, answer, id=f"{name}-{getattr(answer, '__name__', type(answer).__name__)}-{number}")
    for name in EXERCISES
    for number, answer in enumerate(ANSWERS[name].RIGHT)
]
WRONG = [
    pytest.param(name, mistake, answer, id=f"{name}-{mistake}-{number}")
    for name in EXERCISES
    for mistake, answers in wrong_answers(name).items()
    for number, answer in enumerate(answers)
]
SEED = 1
"""Of the inputs for wrong answers."""


@pytest.fixture(autouse=True)
def as_in_the_book(exact_and_repeatable) -> None:
    """Float32 unless told otherwise, as readers have it."""
    torch.set_default_dtype(torch.float32)  # conftest.py restores it


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_right_answers_pass(name, answer):
    for seed in (1, 2):
        report = check(name, answer, seed)
        assert report.passed, report


@pytest.mark.parametrize(("name", "mistake", "answer"), WRONG)
def test_wrong_answers_are_told_their_mistake(name, mistake, answer):
    report = check(name, answer, SEED)
    assert not report.passed
    assert report.attempted
    assert report.diagnosis == mistake, report
    assert report.counterexample is not None


@pytest.mark.parametrize("name", EXERCISES)
def test_every_mistake_is_made_once(name):
    exercise = EXERCISES[name]
    probes = exercise.probes(torch.Generator().manual_seed(0))
    possible = {mistake.id for mistake in exercise.mistakes} | set(universal.WRONG) | {"unstable", "detached"}
    possible |= set(exercise.shapes(*probes[-1].inputs))
    if not any(probe.extreme for probe in probes):
        possible.remove("unstable")
    if not exercise.differentiable:
        possible.remove("detached")
    assert set(wrong_answers(name)) - {None} == possible


@pytest.mark.parametrize("name", EXERCISES)
def test_there_are_right_answers_to_each(name):
    assert len(ANSWERS[name].RIGHT) >= 3
