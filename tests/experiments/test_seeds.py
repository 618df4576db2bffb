"""The experiment trains what the chapter trains."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from vaelib import data
from vaelib.experiments import seeds
from vaelib.models import VAE
from vaelib.training import fit


def test_the_histories_are_the_chapters(tmp_path, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    state = torch.get_rng_state()
    record = seeds.run(tmp_path, dataset="digits", epochs=2)
    assert torch.equal(torch.get_rng_state(), state)
    table = record.table
    assert record.name == "seeds-digits"
    assert (record.settings["dataset"], record.settings["dtype"]) == ("digits", "float32")
    assert table.groupby(["latent_dim", "seed"]).size().to_dict() == {(k, s): 2 for k in (2, 20) for s in range(5)}
    assert table.test_elbo.nunique() == 20  # no two runs are the same
    images = data.load("digits")
    for latent_dim, seed in ((20, 0), (2, 0), (2, 3)):
        # As in book/part-5/amortised-vae.md
        torch.manual_seed(seed)
        model = VAE.mlp(images.dim, (400,), latent_dim, grey=True)
        history = fit(model, images.train, images.test, epochs=2, learning_rate=6e-3, seed=seed, progress=False)
        rows = table[(table.latent_dim == latent_dim) & (table.seed == seed)].drop(columns=["latent_dim", "seed"])
        pd.testing.assert_frame_equal(rows.reset_index(drop=True), history, check_exact=True)


@pytest.mark.parametrize(("name", "epochs"), [("mnist", 5), ("digits", 150)])
def test_the_epochs_are_the_chapters(tmp_path, monkeypatch, name, epochs):
    images = data.load("digits")
    monkeypatch.setattr(data, "load", lambda dataset: data.replace(images, name=name))
    asked = {}
    monkeypatch.setattr(seeds, "run_grid", lambda name, *_, settings, **__: asked.update({name: settings["epochs"]}))
    seeds.run(tmp_path)
    assert asked == {f"seeds-{name}": epochs}
    with pytest.raises(ValueError, match="epochs must be an integer of at least 1, but is 0"):
        seeds.run(tmp_path, epochs=0)
