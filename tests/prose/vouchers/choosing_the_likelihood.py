"""Vouchers for the numbers of "Choosing p(x|z)"."""

from __future__ import annotations

import math

from prose.registry import Computed, Voucher
from vaelib.experiments.likelihoods import LEVELS

VOUCHERS: list[Voucher] = [
    Computed("| 8-bit, to be compared |", {"8": math.log2(LEVELS["mnist"])}),
    # lambda = 2K sigma^2 / D for lightning_bolts, against its default
    Computed("sixty times less than the 0.1", {"sixty": 0.1 / (2 * 256 * 0.1**2 / (3 * 32**2))}),
]
