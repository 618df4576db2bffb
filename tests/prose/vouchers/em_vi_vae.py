"""Vouchers for the numbers of "EM, variational inference, VAE"."""

from prose.registry import Argued, Cited, Voucher

VOUCHERS: list[Voucher] = [
    Cited("from 1977, the 1990s and 2013", "jordan1999introduction", "the survey of that decade's work"),
    Argued("Four questions decide how they are used", "they are counted in the list below"),
]
