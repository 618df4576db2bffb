"""`check`: an answer is tried on many inputs, and the mistake is looked for that explains what came out."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Sequence

import torch
from torch import Tensor

from vaelib.exercises.catalogue import EXERCISES
from vaelib.exercises.diagnosis import diagnose
from vaelib.exercises.exercise import Answer, Exercise, Inputs, as_tuple
from vaelib.exercises.hints import HINTS
from vaelib.exercises.report import Counterexample, Report, show
from vaelib.exercises.trials import Trial, same

GRADIENT_TOLERANCE = 1e-5


def check(name: str, answer: Answer, seed: int | None = None) -> Report:
    """Try an answer to an exercise of the book.

    The answer is called with inputs of several sizes, 1 among them, in float64 and in float32; where it belongs into a
    training objective, its gradients are tried as well. The inputs are drawn afresh each time, on the CPU. A check
    takes under a second, and leaves the state of the global random number generator as it was.

    Args:
        name: Of the exercise, as the chapter gives it; `EXERCISES` has them all.
        answer: Your function. As long as it returns None, the exercise counts as not attempted.
        seed: Draw the inputs of an earlier check again. Reports tell theirs.

    Returns:
        The report, which prints itself. It never raises for what the answer does, be it an exception of its own.

    Raises:
        ValueError: If no exercise has this name.
        TypeError: If the answer cannot be called.

    Example:
        >>> check("kl-diagonal", lambda mean, log_var: None)
        kl-diagonal: not attempted. Your function returned None: write it, and mind the return.
        >>> kl = lambda mean, log_var: 0.5 * (mean**2 + log_var.exp() - log_var).sum(-1)
        >>> check("kl-diagonal", kl).diagnosis
        'missing-dimension'
    """
    if name not in EXERCISES:
        close = difflib.get_close_matches(name, EXERCISES, n=1)
        raise ValueError(f"no exercise is called {name!r}: it must be one of {', '.join(close or EXERCISES)}")
    if not callable(answer):
        raise TypeError(
            f"answer must be a function, but is a {type(answer).__name__}: pass its name, without calling it"
        )
    seed = secrets.randbelow(10**6) if seed is None else seed
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        return _check(EXERCISES[name], answer, seed)


def _check(exercise: Exercise, answer: Answer, seed: int) -> Report:
    probes = exercise.probes(torch.Generator().manual_seed(seed))
    probes.sort(key=lambda probe: (probe.extreme, probe.size))
    trials = [
        Trial.of(exercise, answer, probe, dtype)
        for dtype in (torch.float64, torch.float32)
        for number, probe in enumerate(probes)
        if dtype == torch.float64 or probe.extreme or number % 3 == 0
    ]
    if all(isinstance(trial.error, NotImplementedError) or (not trial.error and trial.raw is None) for trial in trials):
        message = "Your function returned None: write it, and mind the return."
        return Report(exercise.name, False, False, None, message, seed)
    wrong = [trial for trial in trials if trial.fault]
    if wrong:
        mistake, remark = diagnose(exercise, answer, trials)
        first = wrong[0]
        example = Counterexample(
            dict(zip(exercise.arguments, first.inputs, strict=True)), _one(first.expected), _came(first)
        )
        return _refuse(exercise, mistake, remark, example, seed)
    for trial in _for_gradients(trials) if exercise.differentiable else ():
        if (refusal := _check_gradient(exercise, answer, trial, seed)) is not None:
            return refusal
    what = "values and gradients" if exercise.differentiable else "values"
    message = f"{len(trials)} inputs in float64 and float32, {what}."
    return Report(exercise.name, True, True, None, message, seed)


def _refuse(exercise: Exercise, mistake: str | None, remark: str, example: Counterexample, seed: int) -> Report:
    hint = "" if mistake is None else {**HINTS, **exercise.hints}[mistake]
    unknown = "The values are not those of the formula, and not those of a mistake in the catalogue."
    message = " ".join(filter(None, [hint or unknown, remark]))
    return Report(exercise.name, False, True, mistake, message, seed, example)


def _one(parts: tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    return parts[0] if len(parts) == 1 else parts


def _came(trial: Trial) -> object:
    """The outcome of a trial as a counterexample shows it."""
    if trial.fault == "raised":
        return trial.error
    if trial.fault == "modified":
        return f"{show(trial.raw)}, and changed inputs"
    if trial.fault == "dtype" and isinstance(trial.raw, Tensor):
        return f"{show(trial.raw)} in {str(trial.raw.dtype).removeprefix('torch.')}"
    if trial.fault == "shape" and isinstance(trial.raw, Tensor):
        return f"{show(trial.raw)}, of shape {tuple(trial.raw.shape)}"
    return trial.raw


def _for_gradients(trials: Sequence[Trial]) -> list[Trial]:
    """The smallest inputs and the three largest, of those that ask for the formula."""
    plain = [trial for trial in trials if trial.plain]
    return [plain[0], *plain[-3:]]


def _check_gradient(exercise: Exercise, answer: Answer, trial: Trial, seed: int) -> Report | None:
    """A report if the gradient of the answer's results, weighted 1, 2, ..., is not that of the right ones."""

    def fail(mistake: str, name: str, expected: object, got: object) -> Report:
        inputs = dict(zip(exercise.arguments, trial.inputs, strict=True))
        example = Counterexample(inputs, f"a gradient with respect to {name} of {show(expected)}", got)
        return _refuse(exercise, mistake, "", example, seed)

    expected = _gradients(exercise, exercise.right, trial.inputs)
    name, right = next(iter(expected.items()))
    try:
        got = _gradients(exercise, answer, trial.inputs)
    except Exception as error:  # again the reader's code; what raises with a graph alone has left it or cut it
        return fail("detached", name, right, error)
    for name, right in expected.items():
        came = got[name]
        if same((came,), (right,), GRADIENT_TOLERANCE):
            continue
        return fail("detached", name, right, came)
    return None


def _gradients(exercise: Exercise, answer: Answer, inputs: Inputs) -> dict[str, Tensor]:
    """The gradients in the arguments in which the exercise asks for them; zero where no path leads."""
    arguments = {
        name: tensor.clone().requires_grad_(name in exercise.differentiable)
        for name, tensor in zip(exercise.arguments, inputs, strict=True)
    }
    total = sum(
        ((1 + torch.arange(part.numel(), dtype=part.dtype)) * part.flatten()).sum()
        for part in as_tuple(answer(*arguments.values()))
    )
    wanted = [arguments[name] for name in exercise.differentiable]
    if not isinstance(total, Tensor) or not total.requires_grad:
        found: Sequence[Tensor | None] = [None] * len(wanted)
    else:
        found = torch.autograd.grad(total, wanted, allow_unused=True)
    return {
        name: torch.zeros_like(tensor) if gradient is None else gradient
        for name, tensor, gradient in zip(exercise.differentiable, wanted, found, strict=True)
    }
