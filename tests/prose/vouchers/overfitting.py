"""What stands behind the numbers of "The marginal likelihood, and overfitting"."""

from __future__ import annotations

from prose.registry import Cited, Voucher

VOUCHERS: list[Voucher] = [
    Cited("up to 60 million", key="kingma2014auto", place="figure 3, the horizontal axes"),
]
