"""Vouchers for the numbers of "Dimension reduction and autoencoders"."""

from __future__ import annotations

from prose.registry import Argued, Voucher

VOUCHERS: list[Voucher] = [
    Argued("Four things are worth reading off.", because="It counts the items of the list below it."),
]
