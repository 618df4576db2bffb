"""Records: the table that a long run leaves, and where it came from, in one file.

The file is JSON with one line for each entry and each column, so that a change of it can be read. A float is written
with the digits that read back as the same float; "nan", "inf" and "-inf" stand for what JSON has no number for.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from vaelib.checkpoints import write_whole

PUBLISHED = ("benchmarks/records", "book/records")
"""Folders of the repository with records that chapters read."""


class RecordError(RuntimeError):
    """A record that cannot be read."""


@dataclass(frozen=True, eq=False)
class Record:
    """What a long run left.

    Attributes:
        name: Of the run.
        settings: All that decides the numbers in the table, but for the machine and the versions.
        seeds: The seeds that were used.
        provenance: `command`, `date` (of the start, UTC), `seconds`, `versions`, `machine`, and `git`: the `commit`
            that vaelib ran from and whether the checkout was `dirty`; None outside a checkout. Runs add their notes.
        table: The numbers.
    """

    name: str
    settings: dict[str, Any]
    seeds: list[int]
    provenance: dict[str, Any]
    table: pd.DataFrame


class Start(NamedTuple):
    """What must be known of a run's beginning: the date in UTC, a clock's seconds, and the state of the checkout."""

    date: str
    clock: float
    git: dict[str, Any] | None


def start() -> Start:
    """Note the beginning of a run."""
    return Start(datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic(), _own_checkout())


@cache
def _own_checkout() -> dict[str, Any] | None:
    """Asked once a process: its code stays what it was, whatever is edited or committed while it runs."""
    return checkout(Path(__file__))


def checkout(file: Path) -> dict[str, Any] | None:
    """The `commit` of the checkout that a file belongs to, and whether it is `dirty`: any Python file differs from it.

    Other files, such as the records themselves, change no result. None for a file outside a checkout, or one that the
    checkout ignores, as an installed copy of the library.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        if not git("ls-files", "--cached", "--others", "--exclude-standard", "--", file.name):
            return None
        changes = git("status", "--porcelain", "--untracked-files=all", "--", ":(top)*.py")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return None


def provenance(started: Start) -> dict[str, Any]:
    """Where a run that ends now came from: see `Record`."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "pandas", "vaelib")}
    return {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "date": started.date,
        "seconds": round(time.monotonic() - started.clock, 3),
        "versions": {"python": platform.python_version(), **versions},
        "machine": machine(),
        "git": started.git,
    }


def machine() -> dict[str, Any]:
    """The `processor`, the `cores` and `threads` that this process may use of it, and the `gpu`, None without one."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else accelerator and accelerator.type,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write_record(
    path: Path | str,
    *,
    name: str,
    settings: Mapping[str, Any],
    seeds: Sequence[int],
    table: pd.DataFrame,
    started: Start,
    notes: Mapping[str, Any] | None = None,
) -> Record:
    """Write a record, so that `path` is at no time incomplete, and read it back.

    Args:
        path: The file, which is replaced where it exists.
        name: Of the run.
        settings: All that decides the numbers in the table: finite numbers, strings, booleans, None, and lists and
            dicts of them. (A tuple is read back as a list.)
        seeds: The seeds that were used.
        table: Columns of floats, integers, booleans or strings under the default index. They are read back exactly:
            numbers in their own dtype, NaN and infinities included, strings as the string dtype of pandas.
        started: What `start()` returned when the run began.
        notes: What else to keep about the run, made as `settings` are; added to the record's `provenance`.

    Returns:
        The record as `read_record` gives it.

    Raises:
        ValueError: If the settings, the notes or the table hold something else.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> started = start()
        >>> table = pd.DataFrame({"seed": [0, 1], "elbo": [-104.25, float("nan")]})
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "bound.json")
        ...     write_record(path, name="bound", settings={}, seeds=[0, 1], table=table, started=started).seeds
        ...     read_record(path).table.equals(table)
        [0, 1]
        True
    """
    path = Path(path)
    fields = {
        "name": name,
        "settings": plain("settings", settings),
        "seeds": plain("seeds", list(seeds)),
        "provenance": provenance(started) | plain("notes", notes or {}),
        "table": _encode(table),
    }
    write_whole(path, lambda file: file.write((_to_json(fields, depth=2) + "\n").encode()))
    return read_record(path)


def read_record(path: Path | str) -> Record:
    """Read what `write_record` wrote.

    Raises:
        RecordError: If there is no such file, or it is damaged.
    """
    try:
        fields = json.loads(Path(path).read_text(encoding="utf-8"))
        return Record(**fields | {"table": _decode(fields["table"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordError(
            f"{path} is not a readable record: delete it if it is there, and run what writes it "
            f"({type(error).__name__}: {error})"
        ) from error


def published(name: str) -> Record:
    """The record of this name that came with the book: from the checkout, or from where vaelib was installed with it.

    Raises:
        RecordError: If there is none of this name, or it is damaged.
    """
    root = Path(__file__).parents[2]
    candidates = [root / folder / f"{name}.json" for folder in PUBLISHED]
    candidates += [Path(str(file.locate())) for file in metadata.files("vaelib") or [] if file.name == f"{name}.json"]
    for path in candidates:
        if path.exists():
            return read_record(path)
    raise RecordError(f"no record is called {name!r}: see {' and '.join(PUBLISHED)} in the book's repository")


def plain(name: str, value: Any) -> Any:
    """A value as it comes back from JSON.

    Raises:
        ValueError: If it has no place there; the message calls it by its `name`.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be made of finite numbers, strings, booleans, None, lists and dicts of Python, but: {error}"
        ) from error


def _encode(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    if not (table.columns.is_unique and all(isinstance(name, str) for name in table.columns)):
        raise ValueError(f"table must have one string to name each column, but has {list(table.columns)}")
    if not table.index.equals(pd.RangeIndex(len(table))):
        raise ValueError("table must have the index 0, 1, ..., which is not kept: make it so with .reset_index()")
    return {name: _encode_column(name, column) for name, column in table.items()}


def _encode_column(name: str, column: pd.Series) -> dict[str, Any]:
    values = column.tolist()
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb" and column.dtype.itemsize <= 8:
        if column.dtype.kind == "f":
            values = [value if math.isfinite(value) else str(value) for value in values]
        return {"dtype": column.dtype.name, "values": values}
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(
                f"table must hold numbers, booleans or strings, but column {name!r} of dtype {column.dtype} holds "
                f"{value!r} in row {row}: convert it with .astype()"
            )
    return {"dtype": "str", "values": values}


def _decode(columns: dict[str, dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: _decode_column(**column) for name, column in columns.items()})


def _decode_column(dtype: str, values: list[Any]) -> pd.Series:
    if dtype.startswith("float"):
        values = [float(value) for value in values]
    return pd.Series(values, dtype=dtype)


def _to_json(value: Any, depth: int, indent: str = "") -> str:
    """JSON in which dicts down to a depth take one line for each entry."""
    if not isinstance(value, dict) or not value or depth < 0:
        return json.dumps(value, allow_nan=False)
    inner = indent + "  "
    lines = [f"{inner}{json.dumps(key)}: {_to_json(entry, depth - 1, inner)}" for key, entry in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
