"""Vouchers for the numbers of the appendix on speed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch

from prose.registry import Computed, Voucher
from vaelib.experiments.records import published

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def written(script: str, pattern: str) -> float:
    """The number that a benchmark's source has where the pattern's group is."""
    match = re.search(pattern, (BENCHMARKS / script).read_text("utf8"))
    assert match, f"{script} has no {pattern}"
    return float(match[1])


def second_slowest() -> float:
    """How many pairs at a time are the slowest of those that are faster than ten thousand."""
    rate = published("marginal-likelihood-cpu").table.groupby("contender").pairs_per_second.median()
    slowest, second = sorted((name for name in rate.index if name.endswith("pairs")), key=rate.__getitem__)[:2]
    assert slowest == "vaelib, 10000 pairs"
    return float(second.split()[1])


RATE = written("train.py", r"LEARNING_RATE = (\S+)") / written("plain_loop.py", r"lr=([\d.e-]+)")
OUR_BATCH = written("train.py", r"BATCH_SIZE = (\d+)")
THEIR_BATCH = written("plain_loop.py", r"mnist\.train\), batch_size=(\d+)")

VOUCHERS: list[Voucher] = [
    Computed("A peak of twenty times the example's rate", {"twenty": RATE}),
    Computed("Minibatches of 320 images, instead of the example's 128", {"320": OUR_BATCH, "128": THEIR_BATCH}),
    Computed("cut down to eight binary digits", {"eight": 1 - math.log2(torch.finfo(torch.bfloat16).eps)}),
    Computed("what the example's ten did", {"ten": written("plain_loop.py", r'"--epochs", type=int, default=(\d+)')}),
    Computed("were fastest, and even 250 faster", {"250": second_slowest()}),
]
