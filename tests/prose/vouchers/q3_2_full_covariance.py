"""Vouchers for "Q3.2: full covariance"."""

from __future__ import annotations

import re
from pathlib import Path

from prose.registry import Computed, Voucher

FIGURE = Path(__file__).parents[3] / "book/_static/interactive/reparameterization.js"

VOUCHERS: list[Voucher] = [
    Computed(
        "The cloud is 300 draws of noise",
        {"300": float(re.findall(r"^const DRAWS = (\d+);$", FIGURE.read_text("utf8"), flags=re.M)[0])},
    ),
]
