"""Files that hold the state of a training run: written whole or not at all, read without executing code."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged, or that belongs to another run."""


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file, by a function of the open file, so that `path` is at no time incomplete.

    It is written under another name, forced to disk, and then put in place in one step; a process killed at any moment
    leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state`, made of tensors, numbers, strings, lists and dicts, whole or not at all."""
    write_whole(path, lambda file: torch.save(state, file))


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote, with every tensor on the CPU.

    Raises:
        CheckpointError: If the file is damaged, or holds anything but tensors, numbers, strings, lists and dicts.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint: delete it to start afresh, or give another folder ({error})"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not the state of a run: give another folder")
    return state


def check_same_run(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise `CheckpointError` unless the settings stored in `path` are those of the run that wants to continue it."""
    differing = [name for name in expected | found if found.get(name) != expected.get(name)]
    if differing:
        changes = ", ".join(f"{name} was {found.get(name)!r} and is {expected.get(name)!r}" for name in differing)
        raise CheckpointError(f"{path} belongs to another run: {changes}. Restore the setting, or give another folder")
