"""Nothing that its name calls one kind of number is given to a name that says another."""

from __future__ import annotations

import ast

import pytest

from notation.code import all_code
from notation.kinds import confusions

MISTAKES = {
    "log_var = q.stddev": 1,
    "std = q.log_var": 1,
    "std = torch.exp(log_var)": 1,
    "std = log_var.exp()": 1,
    "log_var = std.log()": 1,
    "mean, std = q.mean, q.variance[0].detach()": 1,
    "scale = q.covariance_matrix": 1,
    "covariance_matrix = scale": 1,
    "scale_tril = q.scale": 1,
    "std = values.var(0)": 1,
    "p = Normal(mean, noise_var)": 1,
    "p = DiagonalGaussian(mean, std)": 1,
    "p = MultivariateNormal(mean, scale_tril)": 1,
    "p = GaussianDecoder(body, 4, 7, std=variance)": 1,
    "std, log_var = torch.exp(0.5 * log_var), 2 * std.log()": 0,
    "variance, std = std**2, variance.sqrt()": 0,
    "covariance = scale @ scale.mT": 0,
    "scale = torch.linalg.cholesky(covariance)": 0,
    "p = Normal(mean, torch.exp(log_var / 2))": 0,
}


@pytest.mark.parametrize(("line", "count"), MISTAKES.items())
def test_a_confusion_is_found(line: str, count: int) -> None:
    assert len(list(confusions(ast.parse(line)))) == count


PLANTED = {
    ("book/part-2/gaussian-kl", "torch.diag_embed(std)"): "an exercise's bug, and what it computes",
    ("book/part-2/gaussian-kl", "std ** 2"): "another one",
}
"""Where a chapter makes the mistake in order to show it."""


def test_no_kind_is_taken_for_another() -> None:
    found = {
        (use.where, ast.unparse(value)): f"line {use.line + value.lineno}: {fault}"
        for use in all_code()
        if not use.where.startswith("vaelib/exercises/catalogue")  # which holds wrong answers, by design
        for value, fault in confusions(use.tree)
    }
    new = [f"{key[0]}, {fault}" for key, fault in found.items() if key not in PLANTED]
    assert not new, "\n".join(new)
    assert set(PLANTED) <= set(found), f"take them off: {set(PLANTED) - set(found)}"
