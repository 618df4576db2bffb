"""Mistakes that can be made in every exercise: what they make of a right answer."""

from __future__ import annotations

import functools

import torch


def mistake(change):
    """A function that makes a mistake, from what it returns for a right answer and its arguments."""

    def spoil(answer):
        @functools.wraps(change)
        def wrong(*arguments):
            return change(answer, *arguments)

        return wrong

    return spoil


def each(change, result):
    """A change made to each part of a result."""
    return tuple(map(change, result)) if isinstance(result, tuple) else change(result)


@mistake
def raises(answer, *arguments):
    answer(*arguments)
    raise IndexError("index 3 is out of bounds for dimension 0 with size 3")


@mistake
def answers_for_long_inputs_only(answer, *arguments):
    return answer(*arguments) if len(arguments[0]) > 2 else None


@mistake
def returns_it_twice(answer, *arguments):
    return answer(*arguments), answer(*arguments)


@mistake
def adds_an_axis(answer, *arguments):
    return each(lambda part: part.unsqueeze(0), answer(*arguments))


@mistake
def rounds_to_float32(answer, *arguments):
    return each(torch.Tensor.float, answer(*arguments))


@mistake
def changes_its_arguments(answer, *arguments):
    result = each(torch.clone, answer(*arguments))
    for argument in arguments:
        argument.data.add_(1)
    return result


@mistake
def adds_noise(answer, *arguments):
    return each(lambda part: part + 0.1 * torch.randn_like(part), answer(*arguments))


@mistake
def sets_a_seed_and_adds_noise(answer, *arguments):
    torch.manual_seed(0)
    return each(lambda part: part + 0.1 * torch.randn_like(part), answer(*arguments))


@mistake
def leaves_the_graph(answer, *arguments):
    return each(torch.detach, answer(*arguments))


@mistake
def goes_through_numpy(answer, *arguments):
    return each(torch.from_numpy, each(lambda part: part.detach().numpy(), answer(*arguments)))


WRONG = {
    "exception": (raises,),
    "returns-nothing": (answers_for_long_inputs_only,),
    "wrong-type": (returns_it_twice,),
    "wrong-shape": (adds_an_axis,),
    "wrong-dtype": (rounds_to_float32,),
    "modified-in-place": (changes_its_arguments,),
    "random": (adds_noise, sets_a_seed_and_adds_noise),
    "detached": (leaves_the_graph, goes_through_numpy),
}
"""To be applied to a right answer; the last only where gradients are asked for."""
