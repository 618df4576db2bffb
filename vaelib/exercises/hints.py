"""Hints to mistakes that can be made in every exercise, by their ids. An exercise may give a better one of its own."""

from __future__ import annotations

from vaelib.exercises.exercise import Mistake

HINTS = {
    "exception": "Your function raised for these inputs. Read the message, and try it on them by hand.",
    "returns-nothing": "For some inputs your function ends without a return.",
    "wrong-type": "The result is not what was asked for. Compare its type with the docstring of the exercise.",
    "wrong-shape": "Write the shape beside each line of your function. Is it still right for a batch of one example, "
    "or for a single dimension? `squeeze()` removes more than one may think.",
    "wrong-dtype": "float64 in, float64 out: a new tensor takes torch's default dtype unless it is told another.",
    "reduced-over-batch": "Examples of the batch have been summed or averaged. Each keeps its own value; which axis "
    "is the batch?",
    "not-reduced": "The result still has an axis that the formula sums or averages over.",
    "wrong-axis": "You have reduced over the wrong axis. The numbers alone may look right: look at the shape, and "
    "count what you sum over.",
    "modified-in-place": "The inputs are not the same after the call. Whoever passed them still needs them, and so "
    "does the backward pass: which operation writes into its argument?",
    "random": "Your function draws random numbers, or gives another result when it is called again. All randomness "
    "that it may use is among its arguments.",
    "unstable": "The formula is right, and its evaluation is not: some intermediate result overflows, underflows, or "
    "is rounded, clamped or shifted by an epsilon. Which one would be 0 or infinite in float32?",
    "detached": "The values are right, but their gradient does not come back, or only in part. What leaves the graph: "
    "detach, .data, .item(), numpy, no_grad, a new tensor?",
    "sign": "A sign is wrong. Try a case in which you know the sign of each term.",
    "missing-half": "Something is twice as large as it should be. Follow the factor 1/2 through your derivation.",
    "extra-half": "Something is half as large as it should be. Follow the factor 1/2 through your derivation.",
    "mean-for-sum": "You average where the formula sums. What is a log-density of independent coordinates: the sum of "
    "theirs, or the mean?",
    "sum-for-mean": "You sum where the formula averages: what happens to your result with twice as many terms?",
    "wrong-base": "Nats are natural logarithms.",
}


def shared(*ids: str) -> tuple[Mistake, ...]:
    """Mistakes whose hint stands here, and that are recognised by ingredients or shapes."""
    return tuple(Mistake(id, HINTS[id]) for id in ids)


FACTORS = shared("sign", "missing-half", "extra-half")
"""Mistakes in the factor of a term."""

MISSING = (
    Mistake("missing-dimension", "Put in q = N(0, I): your divergence from itself is not zero. What is left over?"),
    Mistake("dimension-counted-wrongly", "One of the terms belongs to each dimension once. How often do you count it?"),
    Mistake("missing-log-det", "Nothing in your answer keeps a posterior from shrinking to a point. What does?"),
    Mistake("missing-trace-term", "Nothing in your answer keeps a posterior from widening without end. What does?"),
    Mistake("missing-mean-term", "Your answer does not see how far the means lie apart. Where does that enter?"),
)
"""Mistakes of leaving out a term."""
