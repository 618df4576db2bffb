"""Vouchers of "A VAE without an encoder"."""

from __future__ import annotations

from prose.registry import Computed, Voucher
from vaelib.experiments.records import published

_record = published("without-encoder-mnist")
_table, _batch_size = _record.table, _record.settings["batch_size"]
_race = _table[(_table["latent_dim"] == 10) & (_table["epoch"] == _table["epochs"])]
_passes = _race[_race["images"] == 10_000]["epochs"].max()

_small = _race[(_race["images"] == 1000) & (_race["inference"] == "encoder")]
_best = _small.groupby("rate")["train_elbo"].mean().idxmax()
_left = _small[_small["rate"] == _best].mean(numeric_only=True)

VOUCHERS: list[Voucher] = [
    Computed(
        "With 10,000 images in minibatches of 100, a table that trains for 40 epochs gives each row 40 gradients, "
        "estimated from one draw each, while the decoder below it takes 4000 steps",
        {"40": _passes, "4000": _passes * 10_000 / _batch_size},
    ),
    Computed(
        "trained on 1000 images, it leaves 0.27 nats to a search on these, and 10.4 on new ones",
        {"0.27": _left["train_local"] - _left["train_bound"], "10.4": _left["test_local"] - _left["test_bound"]},
    ),
]
