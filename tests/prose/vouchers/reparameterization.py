"""Vouchers for the numbers of "The reparameterization trick"."""

import math

from prose.registry import Computed, Voucher


def moment(n: int) -> int:
    """E[z^n] of the exponential law with the rate 1."""
    return math.factorial(n)


VOUCHERS: list[Voucher] = [
    Computed(
        "Five standard errors, here and below, leave one chance in two million of a false alarm",
        {"two million": round(1 / math.erfc(5 / 2**0.5), -6)},
    ),
    Computed("(Fifty differences tell it to a tenth.)", {"a tenth": round(1 / math.sqrt(2 * (50 - 1)), 1)}),
    Computed(
        r"has mean $(1 - 2)/\lambda^2$ and second moment $(2 - 12 + 24)/\lambda^4$, so variance $13/\lambda^4$",
        {
            "12": 2 * moment(3),
            "24": moment(4),
            "13": moment(2) - 2 * moment(3) + moment(4) - (moment(1) - moment(2)) ** 2,
        },
    ),
]
