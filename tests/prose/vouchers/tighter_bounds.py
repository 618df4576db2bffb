"""What stands behind the numbers of "Tighter bounds"."""

from __future__ import annotations

from prose.registry import Cited, Voucher

VOUCHERS: list[Voucher] = [
    Cited(
        r"the code: $\beta_1 = 0.99$, second moments start at 1",
        key="burda2016importance",
        place="its code, yburda/iwae on GitHub, optimizers.py",
    ),
    Cited(
        "over 500 training images",
        key="burda2016importance",
        place="its code, yburda/iwae on GitHub, iwae.py, get_units_variances",
    ),
]
