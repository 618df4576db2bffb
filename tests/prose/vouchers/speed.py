"""Vouchers for the numbers of the appendix on speed."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch

from prose.registry import Computed, Voucher

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


def written(script: str, pattern: str) -> float:
    """The number that a benchmark's source has where the pattern's group is."""
    match = re.search(pattern, (BENCHMARKS / script).read_text("utf8"))
    assert match, f"{script} has no {pattern}"
    return float(match[1])


ENCODER_RATE = written("train.py", r'LEARNING_RATE = {"encoder": (\S+),')
DECODER_RATE = written("train.py", r'"decoder": (\S+)}')
THEIR_RATE = written("plain_loop.py", r"lr=([\d.e-]+)")
OUR_BATCH = written("train.py", r"BATCH_SIZE = (\d+)")
THEIR_EPOCHS = written("plain_loop.py", r'"--epochs", type=int, default=(\d+)')
THEIR_BATCH = written("plain_loop.py", r"mnist\.train\), batch_size=(\d+)")

VOUCHERS: list[Voucher] = [
    Computed(
        "Minibatches of 320 images, instead of the example's 128, use the processor better, as the section on growth "
        "will show.",
        {"320": OUR_BATCH, "128": THEIR_BATCH},
    ),
    Computed(
        "the decoder's peaks at 0.04, forty times the example's, and the encoder's at 0.008",
        {"0.04": DECODER_RATE, "forty": DECODER_RATE / THEIR_RATE, "0.008": ENCODER_RATE},
    ),
    Computed("Two epochs do what the example's ten did", {"ten": THEIR_EPOCHS}),
    Computed("cut down to eight binary digits", {"eight": 1 - math.log2(torch.finfo(torch.bfloat16).eps)}),
]
