"""Which known mistake explains what an answer returned."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vaelib.exercises.exercise import MULTIPLES, Answer, Exercise
from vaelib.exercises.trials import Trial, same

SMALL = 1e-4
"""An ingredient with a smaller weight is not there, and two weights that differ by less are equal."""


def diagnose(exercise: Exercise, answer: Answer, trials: Sequence[Trial]) -> tuple[str | None, str]:
    """The id of the mistake that explains the trials, of which at least one has a fault, and a remark on the answer."""
    wrong = [trial for trial in trials if trial.fault]
    plain = [trial for trial in trials if trial.plain]
    if any(trial.modified for trial in wrong):
        return "modified-in-place", ""
    if all(trial.fault == "dtype" for trial in wrong):
        return "wrong-dtype", ""
    if _is_random(answer, max(wrong, key=lambda trial: trial.probe.size)):
        return "random", ""
    if all(not trial.fault or _nearly_right(trial) for trial in plain):
        return "unstable", ""
    if any(trial.error is None and trial.raw is None for trial in plain):
        return "returns-nothing", ""
    odd = [trial for trial in plain if trial.fault == "type"]
    if odd and not any(trial.error for trial in plain):
        return ("detached" if all(_has_numbers(trial) for trial in odd) else "wrong-type"), ""
    spelled, formula = _spell(exercise, plain)
    found = (
        _like_a_known_one(exercise, plain)
        or _by_shape(exercise, plain)
        or spelled
        or _multiple_of_the_right_one(plain)
        or _by_kind(exercise, plain)
        or ("exception" if any(trial.fault == "raised" for trial in plain) else None)
    )
    return found, formula


def _is_random(answer: Answer, trial: Trial) -> bool:
    """Whether the answer draws numbers of its own, or gives something else when it is asked again."""
    for seed in range(8):  # one that picks a number at random may pick the same again
        torch.manual_seed(seed)  # not the state that an answer which sets a seed of its own has left
        state = torch.random.get_rng_state()
        again = trial.by(answer)
        if not torch.equal(state, torch.random.get_rng_state()):
            return True
        if not (trial.finite and again.finite):
            return False
        assert trial.parts is not None
        assert again.parts is not None
        if not same(trial.parts, again.parts, 1e-9):
            return True
    return False


def _nearly_right(trial: Trial) -> bool:
    """Whether only something small, such as an epsilon, stands between the result and the right one."""
    return trial.fault == "values" and trial.parts is not None and same(trial.parts, trial.expected, 1e-3)


def _has_numbers(trial: Trial) -> bool:
    """Whether the result is numbers without a graph: an array, a float."""
    return trial.exercise.differentiable != () and hasattr(trial.raw, "__float__") and trial.parts is None


def _like_a_known_one(exercise: Exercise, plain: Sequence[Trial]) -> str | None:
    """The mistake whose written-out answer agrees with this one at all inputs; if several do, with most results."""
    best, most = None, 0
    if not any(trial.finite for trial in plain):
        return None
    for mistake in exercise.mistakes:
        for known in mistake.answers:
            agreements = _agreements(known, plain)
            if agreements > most:
                best, most = mistake.id, agreements
    return best


def _agreements(known: Answer, trials: Sequence[Trial]) -> int:
    """For how many inputs an answer does as a wrong one does; 0 if not for all, or if a right one would do the same."""
    numbers, failures, telling = 0, 0, 0
    for trial in trials:
        other = trial.by(known)
        if trial.finite and not (other.finite and trial.agrees(other)):
            return 0
        if trial.finite:
            numbers += 1
            telling += bool(other.fault)
        elif not other.finite:  # where the answer fails and the known one does not, there is nothing to compare
            failures += 1
            telling += 1
    return numbers + failures if numbers and telling else 0


def _by_shape(exercise: Exercise, plain: Sequence[Trial]) -> str | None:
    """The mistake behind a wrong shape."""
    wrong = [trial for trial in plain if trial.fault == "shape" and trial.parts is not None]
    if not wrong:
        return None
    if all(1 in trial.inputs[0].shape for trial in wrong):  # an axis of size one is missing, and nothing is reduced
        return None if any(trial.fault == "raised" for trial in plain) else "wrong-shape"
    for mistake in exercise.shapes(*wrong[0].inputs):
        if all(
            trial.parts is not None and trial.parts[0].shape == exercise.shapes(*trial.inputs)[mistake]
            for trial in wrong
        ):
            return mistake
    return "wrong-shape"


def _multiple_of_the_right_one(plain: Sequence[Trial]) -> str | None:
    """The mistake of an answer that is a known multiple of the right one."""
    for multiple, mistake in MULTIPLES.items():
        if all(
            trial.finite
            and trial.parts is not None
            and same(trial.parts, tuple(multiple * part for part in trial.expected), 1e-6)
            for trial in plain
        ):
            return mistake
    return None


def _by_kind(exercise: Exercise, plain: Sequence[Trial]) -> str | None:
    """The mistake of an answer that only inputs of one kind show to be wrong."""
    kinds = {trial.probe.kind for trial in plain if trial.fault}
    return exercise.only_kinds.get(kinds.pop()) if len(kinds) == 1 else None


def _spell(exercise: Exercise, plain: Sequence[Trial]) -> tuple[str | None, str]:
    """The mistake that the answer's own formula shows, and that formula, if it is a sum of ingredients."""
    usable = [trial for trial in plain if trial.finite and trial.fault in ("", "values")]
    if not exercise.ingredients or not usable:
        return None, ""
    weights = _weights(exercise, usable)
    if weights is None:
        return None, ""
    terms = [
        f"{weight:+.4g} {ingredient.formula}"
        for ingredient, weight in zip(exercise.ingredients, weights, strict=True)
        if abs(weight) > SMALL
    ]
    formula = f"Your answer equals {' '.join(terms).removeprefix('+').replace('-', '- ').replace('+', '+ ')}."
    found = [
        ingredient.mistake_of(weight)
        for ingredient, weight in zip(exercise.ingredients, weights, strict=True)
        if abs(weight - ingredient.weight) > SMALL
    ]
    foreign = [
        ingredient.mistake
        for ingredient, weight in zip(exercise.ingredients, weights, strict=True)
        if ingredient.weight == 0 and abs(weight) > SMALL
    ]
    known = foreign or [mistake for mistake in found if mistake]
    return (known[0] if known else None), formula


def _weights(exercise: Exercise, trials: Sequence[Trial]) -> list[float] | None:
    """The weights of the ingredients whose sum the results are, if they are one."""
    rows = torch.cat(
        [
            torch.stack([term.values(*trial.inputs).expand_as(trial.expected[0]) for term in exercise.ingredients], -1)
            .reshape(-1, len(exercise.ingredients))
            for trial in trials
        ]
    )  # fmt: skip
    values = torch.cat([trial.parts[0].flatten() for trial in trials if trial.parts is not None])
    usable = rows.isfinite().all(-1)
    size = 1 + rows[usable].abs().amax(-1)  # a row of large numbers shall not outweigh the others
    rows, values = rows[usable] / size.unsqueeze(-1), values[usable] / size
    columns = rows.norm(dim=0).clamp_min(1e-300)
    if len(rows) < 2 * rows.shape[1] or torch.linalg.matrix_rank(rows / columns, rtol=1e-9) < rows.shape[1]:
        return None
    weights: Tensor = torch.linalg.lstsq(rows / columns, values.unsqueeze(-1)).solution.squeeze(-1) / columns
    if (rows @ weights - values).abs().max() > 1e-8:
        return None
    return [float(weight) for weight in weights]
