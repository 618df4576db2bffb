"""Numbers of "The marginal likelihood" that no code beside them holds."""

from __future__ import annotations

import math
from statistics import NormalDist

from prose.registry import Argued, Computed, Voucher

VOUCHERS: list[Voucher] = [
    Argued(
        "a decoder with 20 inputs and 784 outputs has no density at all",
        "an example of fewer inputs than outputs, of the sizes of the MNIST model below",
    ),
    Computed("$\\Lambda \\approx 1000 / \\sqrt{2 \\pi} \\approx 399$", {"399": 0.5 / NormalDist().inv_cdf(0.5005)}),
    Computed("Every tenfold $L$ adds $\\log 10 \\approx 2.3$ nats", {"2.3": math.log(10)}),
]
