"""Vouchers for the numbers of "When it fails"."""

from __future__ import annotations

import math

from prose.registry import Argued, Cited, Computed, Voucher
from vaelib.experiments.records import published

ACTIVE = published("active-units-mnist")
USUAL = ACTIVE.settings["epochs"]["usual"]

VOUCHERS: list[Voucher] = [
    Computed("more than $-\\frac12 \\log 0.99 = 0.005$ nats", {"0.99": 1 - 0.01, "0.005": -math.log(1 - 0.01) / 2}),
    Cited("With 1000 training images the *model* can overfit", "kingma2014auto", "figure 3: N_train = 1000"),
    Computed("falls from 5.4 nats after one epoch of the record to 3.6 after four", {"four": USUAL}),
    Computed("close together ($s = 1$) it is 0.62", {"0.62": 1 / (1 + math.exp(-(1**2) / 2))}),
    Argued("twenty images need to be told apart, which costs about $\\log 20$ nats", "the size of an example"),
    Argued("near the sum of the two on twenty images", "the same example"),
    Cited("| Network | 500 tanh units |", "kingma2014auto", "section 5: hidden units for MNIST; appendix C: tanh"),
]
