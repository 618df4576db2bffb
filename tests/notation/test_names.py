"""The names of the page are the library's, and no name stands for several things."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from notation.code import MODULES, all_code, arguments, is_public, public_functions
from notation.page import NAMES, ROWS, SHAPED


def test_the_page_was_read() -> None:
    assert len(ROWS) > 50
    assert len(SHAPED) > 35


@cache
def library() -> frozenset[str]:
    """All names that a reader can look up in `vaelib`: classes, functions, methods, arguments, fields, attributes."""
    names: set[str] = set()
    for source in MODULES.values():
        tree = ast.parse(source)
        for owner, function in public_functions(tree):
            names |= {function.name, *(arg.arg for arg in arguments(function))} | ({f"{owner}.{function.name}"} - {"."})
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and is_public(node):
                names.add(node.name)
                for inner in ast.walk(node):
                    if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                        names.add(inner.target.id)
                    if (
                        isinstance(inner, ast.Attribute)
                        and isinstance(inner.ctx, ast.Store)
                        and isinstance(inner.value, ast.Name)
                        and inner.value.id == "self"
                        and not inner.attr.startswith("_")
                    ):
                        names.add(inner.attr)
    return frozenset(names)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_in_the_library(name: str) -> None:
    assert name in library()


SETTINGS_ONLY = ("vaelib/experiments", "vaelib/exercises", "vaelib/plots")
"""What an experiment or a picture is given is no notation: how long, from which file, in which colour."""

NO_NOTATION = {
    *(
        "model",
        "name",
        "path",
        "like",
        "body",
        "family",
        "start",
        "count",
        "numbers",
        "rows",
        "test",
        "grey",
    ),  # what is worked on
    *("channels", "image_shape", "sample_shape"),
    *("epochs", "steps", "schedule", "optimiser", "rates", "batches", "max_grad_norm", "seed"),  # how a run goes
    *("device", "progress", "pairs_at_once", "validate_args"),  # what the machine does
    *("checkpoint", "checkpoint_seconds", "graph_steps"),
}
"""Arguments in two modules or more that no formula has a letter for."""


def shared_arguments() -> set[str]:
    """The arguments of public functions that occur in two modules or more, experiments and pictures aside."""
    users: dict[str, set[str]] = {}
    for module, source in MODULES.items():
        if not module.startswith(SETTINGS_ONLY):
            for _, function in public_functions(ast.parse(source)):
                for arg in arguments(function):
                    users.setdefault(arg.arg, set()).add(module)
    return {name for name, modules in users.items() if len(modules) > 1}


def test_every_shared_argument_is_in_the_tables() -> None:
    assert not shared_arguments() - NO_NOTATION - NAMES, "give these a row, or say why they need none"
    assert not NO_NOTATION - shared_arguments(), "these need no exception"
    assert not NO_NOTATION & NAMES, "these have a row, and need no exception"


FORBIDDEN = re.compile(
    r"mus?(_\w+)?|sigmas?(_\w+|\d)?|log_?sigmas?(_\w+|\d)?|log_?variances?|logvars?|log_?std_?dev|lv"  # which?
    r"|kld|kl_?loss|recon(_\w+)?|x_(hat|recon|rec)|bce(_\w+)?|elbo_?loss"  # a loss has lost its sign, and its parts
    r"|epsilons?|n_?samples|z_?dim|latent_size|n_?latents?|input_dim|n_z|bs"  # noise, num_samples, latent_dim
)
"""Names by which the field calls several different things, or calls by many what has one here."""


def names_given(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What the code itself names: variables, arguments, attributes, functions and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def test_no_name_stands_for_several_things() -> None:
    found = {
        (use.where, name): use.line + line
        for use in all_code()
        for name, line in names_given(use.tree)
        if FORBIDDEN.fullmatch(name)
    }
    lines = [f"{where}, line {line}: {name}" for (where, name), line in found.items()]
    assert not lines, "\n".join(["see the appendix on notation for a name that says what it is:", *lines])
