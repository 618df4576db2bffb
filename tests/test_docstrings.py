"""Every public name says what it is, and every function of tensors says of what shape.

The rule: a public function, method or class that is defined in `vaelib` has a docstring. If one of its arguments or its
result is a tensor, a shape is mentioned. Where there is an `Args:` section, it names every argument, and the entry of
each tensor mentions a shape, or says where to look ("As in ..."), or that it only lends its dtype and device. The
arguments of a class stand in its own docstring.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest
from torch import Tensor

import vaelib

SHAPE = re.compile(
    r"\b(?:shapes?|batch_shape|event_shape|scalars?|matrix|broadcasts?)\b"
    r"|\((?:\.\.\.|[A-Z]'?|\d+|count)(?:,\s?(?:\.\.\.|[A-Z]'?|\d+|count))*,?\)",  # (B,), (N, D), (..., K)
    re.IGNORECASE,
)
EXCUSE = re.compile(r"\b[Aa]s (?:in|for|given|`)|\bsame as\b|\bthose of `|\bdtype and device\b")


def modules_of(package: ModuleType) -> list[ModuleType]:
    """A package and all its public modules. Importing a package's __main__ would run it."""
    names = [info.name for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    public = [name for name in names if not any(part.startswith("_") for part in name.split("."))]
    return [package, *(importlib.import_module(name) for name in public)]


def public_names(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The public functions and classes that a module defines, and the public methods that its classes define."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        value = inspect.unwrap(value) if callable(value) else value
        if inspect.isfunction(value):
            yield f"{module.__name__}.{name}", value
        if inspect.isclass(value):
            yield f"{module.__name__}.{name}", value
            for method_name, method in vars(value).items():
                if isinstance(method, classmethod | staticmethod):
                    method = method.__func__
                if isinstance(method, property):
                    method = method.fget
                method = inspect.unwrap(method) if callable(method) else method
                if not method_name.startswith("_") and inspect.isfunction(method):
                    yield f"{module.__name__}.{name}.{method_name}", method


def tensors_of(function: FunctionType) -> tuple[list[str], list[str]]:
    """The names of a function's arguments, and of those that are tensors; "return" is among them if the result is."""
    annotations = {name: str(annotation) for name, annotation in function.__annotations__.items()}
    values = {name: re.sub(r"Callable\[.*?\], .*?\]", "", annotation) for name, annotation in annotations.items()}
    tensors = [name for name, annotation in values.items() if re.search(r"\bTensor\b", annotation)]
    arguments = [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]
    return arguments, tensors


def entries_of(docstring: str) -> dict[str, str] | None:
    """The text of each argument in the `Args:` section; None if there is no such section."""
    match = re.search(r"^Args:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    if match is None:
        return None
    parts = re.split(r"^    (\w+): ", match.group(1), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def faults_of(name: str, value: Any) -> list[str]:
    """What is missing in the docstring of a function or class, one sentence each."""
    docstring = inspect.cleandoc(value.__doc__ or "")
    # A named tuple without a docstring is given its signature.
    if not docstring or docstring.startswith(f"{value.__name__}("):
        return [f"{name} has no docstring"]
    if inspect.isclass(value) and issubclass(value, tuple):
        has_tensors = any("Tensor" in str(annotation) for annotation in value.__annotations__.values())
        return [f"{name} mentions no shape"] if has_tensors and not SHAPE.search(docstring) else []
    function = vars(value).get("__init__") if inspect.isclass(value) else value
    if not inspect.isfunction(function):
        return []
    arguments, tensors = tensors_of(function)
    if not tensors:
        return []
    entries = entries_of(docstring)
    if entries is None:
        known = SHAPE.search(docstring) or EXCUSE.search(docstring)
        return [] if known else [f"{name} mentions no shape"]
    faults = [f"{name} has no entry for {argument} under Args" for argument in arguments if argument not in entries]
    for tensor in tensors:
        if tensor in entries and not (SHAPE.search(entries[tensor]) or EXCUSE.search(entries[tensor])):
            faults.append(f"{name} mentions no shape of {tensor}")
    if "return" in tensors and not SHAPE.search(docstring.partition("Args:")[0] + docstring.partition("Returns:")[2]):
        faults.append(f"{name} mentions no shape of the result")
    return faults


@pytest.mark.parametrize("module", modules_of(vaelib), ids=lambda module: module.__name__)
def test_docstrings(module: ModuleType) -> None:
    assert inspect.getdoc(module), f"{module.__name__} has no docstring"
    faults = [fault for name, value in public_names(module) for fault in faults_of(name, value)]
    assert not faults, "\n".join(["", *faults])


# The rule finds what it should find


class Pair(NamedTuple):
    """Two tensors."""

    left: Tensor
    right: Tensor


class Bare(NamedTuple):
    left: Tensor


class Layer:
    """A layer.

    Args:
        weight: W.
        size: A number.
    """

    def __init__(self, weight: Tensor, size: int, bias: Tensor) -> None:
        pass

    @property
    def silent(self) -> int:
        return 0

    @classmethod
    def make(cls) -> Layer:
        return cls(Tensor(), 0, Tensor())


def silent(x: int) -> int:
    return x


def shapeless(x: Tensor) -> None:
    """Takes x."""


def pointing(x: Tensor | None) -> None:
    """Takes x as in `Layer`."""


def without_tensors(f: Callable[[Tensor], Tensor], count: int) -> None:
    """Takes f."""


def with_sections(x: Tensor, y: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Does something.

    Args:
        x: Images,
            shape (B, D).
        y: Codes.

    Returns:
        Two tensors.
    """
    return x, y


def with_result(x: Tensor) -> Tensor:
    """Does something, shape (B,).

    Args:
        x: Images, (B, D).
    """
    return x


@pytest.mark.parametrize(
    ("value", "faults"),
    [
        (Pair, ["it mentions no shape"]),
        (Bare, ["it has no docstring"]),
        (Layer, ["it has no entry for bias under Args", "it mentions no shape of weight"]),
        (silent, ["it has no docstring"]),
        (shapeless, ["it mentions no shape"]),
        (pointing, []),
        (without_tensors, []),
        (
            with_sections,
            [
                "it has no entry for count under Args",
                "it mentions no shape of y",
                "it mentions no shape of the result",
            ],
        ),
        (with_result, []),
    ],
)
def test_the_rule(value: Any, faults: list[str]) -> None:
    assert faults_of("it", value) == faults


@pytest.mark.parametrize("text", ["(B,)", "(N, D)", "(..., K)", "(L, B, K)", "shape of x", "a scalar", "(784, 10)"])
def test_shapes(text: str) -> None:
    assert SHAPE.search(f"Values {text}, in nats")


@pytest.mark.parametrize("text", ["(nats)", "(see below)", "(Burda et al. 2016)", "reshaped"])
def test_what_is_no_shape(text: str) -> None:
    assert not SHAPE.search(f"Values {text}, in nats")


def test_which_names_are_public() -> None:
    module = ModuleType("tests.made_up")
    for value in (Layer, silent, Pair):
        setattr(module, value.__name__, value)
    module.__name__ = __name__
    module._hidden = silent  # type: ignore[attr-defined]
    module.path = importlib  # type: ignore[attr-defined]
    found = [name.removeprefix(__name__ + ".") for name, _ in public_names(module)]
    assert found == ["Layer", "Layer.silent", "Layer.make", "silent", "Pair"]


def test_modules_are_found() -> None:
    found = {module.__name__ for module in modules_of(vaelib)}
    assert {"vaelib", "vaelib.gaussians", "vaelib.inference.em", "vaelib.plots.style"} <= found
    assert "vaelib._download" not in found
