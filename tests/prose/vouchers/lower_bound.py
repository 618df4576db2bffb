"""What stands behind the numbers of "The lower bound"."""

from __future__ import annotations

from prose.registry import Argued, Computed, Voucher
from vaelib.data import FREY_TRAIN

VOUCHERS: list[Voucher] = [
    Argued("nine panels, two methods, ten million images each", because="five panels and four, counted in the figures"),
    Computed(r"With $N = 60{,}000$ the decay is $1.7 \cdot 10^{-5}$", {"1.7": 1e5 / 60_000}),
    Computed("the last 365 frames", {"365": 1965 - FREY_TRAIN}),
    Computed("the last 365 to test; as a control, 365 at random", {"365": 1965 - FREY_TRAIN}),
]
