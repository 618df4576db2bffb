"""The examples in vaelib's docstrings, run as a reader would run them: in float32."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import torch

import vaelib

# Importing a package's __main__ would run it.
MODULES = [m.name for m in pkgutil.walk_packages(vaelib.__path__, "vaelib.") if not m.name.endswith(".__main__")]


def test_modules_are_found() -> None:
    assert {"vaelib.gaussians", "vaelib.likelihoods", "vaelib.models"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    torch.set_default_dtype(torch.float32)  # conftest.py restores it
    assert doctest.testmod(importlib.import_module(name)).failed == 0
