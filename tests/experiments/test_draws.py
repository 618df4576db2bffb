"""The experiment trains each pair (L, M) for the same number of decoded codes."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from vaelib import data
from vaelib.bounds import sgvb_b
from vaelib.experiments import draws
from vaelib.models import VAE
from vaelib.training import evaluate, fit


def test_each_row_is_the_bound_after_its_own_training(tmp_path, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    monkeypatch.setattr(draws, "COSTS", (100,))
    monkeypatch.setattr(draws, "NUM_SAMPLES", (1, 2))
    monkeypatch.setattr(draws, "SEEDS", range(2))
    table = draws.run(tmp_path, dataset="digits", epochs=4).table
    assert table[["num_samples", "batch_size", "seed"]].to_numpy().tolist() == [
        [1, 100, 0], [1, 100, 1], [2, 50, 0], [2, 50, 1]
    ]  # fmt: skip
    assert table.test_elbo.nunique() == 4
    images = data.load("digits")
    torch.manual_seed(1)
    model = VAE.mlp(images.dim, (400,), 20, grey=True)
    two = partial(sgvb_b, num_samples=2)
    # 2 epochs of 2 draws in minibatches of 50 decode as often, and take as many steps, as 4 of 1 draw in 100.
    fit(
        model, images.train, epochs=2, objective=two, batch_size=50, learning_rate=1e-3, schedule="constant",
        seed=1, progress=False,
    )  # fmt: skip
    assert table.test_elbo.iloc[3] == evaluate(model, images.test)["elbo"]


def test_epochs_that_cannot_be_shared_out_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"but 12 is none of \[5, 10\]"):
        draws.run(tmp_path, dataset="digits", epochs=12)
