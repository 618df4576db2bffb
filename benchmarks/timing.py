"""What the benchmarks share: contenders timed in turn, ratios round by round, and one record a question."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from vaelib.experiments.records import Start, write_record
from vaelib.progress import progress_bar

RECORDS = Path(__file__).parent / "records"


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help=f"how often each contender runs (default {rounds})")
    made.add_argument("--out", type=Path, default=RECORDS, help="the folder of the record (default benchmarks/records)")
    return made


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int, seconds: float = 0.2) -> pd.DataFrame:
    """Time functions in turn: whatever slows the machine for a while slows all of them.

    Args:
        contenders: Functions by name. Each is called once before the clock runs.
        rounds: How often each has its turn.
        seconds: A turn repeats the call until this long has passed, and at least once.

    Returns:
        One row a turn: `contender`, `round`, `seconds` for one call.
    """
    for function in contenders.values():
        function()
    rows = []
    bar = progress_bar(rounds * len(contenders), unit="turn")
    for number in range(rounds):
        for name, function in contenders.items():
            synchronise()
            begin, calls = time.perf_counter(), 0
            while calls == 0 or time.perf_counter() - begin < seconds:
                function()
                calls += 1
            synchronise()
            rows.append({"contender": name, "round": number, "seconds": (time.perf_counter() - begin) / calls})
            bar.update()
    bar.close()
    return pd.DataFrame(rows)


def synchronise() -> None:
    """Wait for the accelerator, where there is one: it works on while Python goes on."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


def ratios(times: pd.DataFrame, slow: str, fast: str) -> dict[str, float]:
    """How many times faster `fast` was than `slow`: the median of the rounds' ratios, the least and the greatest."""
    by_round = times.pivot(index="round", columns="contender", values="seconds")
    ratio = by_round[slow] / by_round[fast]
    return {"median": ratio.median(), "least": ratio.min(), "greatest": ratio.max()}


def show(times: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Print and return the median, least and greatest seconds of each contender."""
    summary = times.groupby(by, sort=False).seconds.agg(["median", "min", "max"]).reset_index()
    print(summary.to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    return summary


def keep(out: Path, name: str, settings: Mapping[str, Any], times: pd.DataFrame, started: Start) -> None:
    """Write the record of a benchmark, and say where it is."""
    path = out / f"{name}.json"
    write_record(path, name=name, settings=settings, seeds=[0], table=times, started=started)
    print(f"record: {path}")
