"""The experiment trains what the chapter on autoencoders trains."""

from __future__ import annotations

import pytest
import torch

from vaelib import data
from vaelib.autoencoder import Autoencoder, squared_error
from vaelib.experiments import bottleneck
from vaelib.training import fit


def test_the_errors_are_the_chapters(tmp_path, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    state = torch.get_rng_state()
    record = bottleneck.run(tmp_path, dataset="digits", epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert record.name == "bottleneck-digits"
    assert (record.settings["dataset"], record.settings["dtype"]) == ("digits", "float32")
    table = record.table.set_index(["epochs", "latent_dim", "seed"])
    assert sorted(table.index) == [(e, k, s) for e in (1, 5) for k in (2, 4, 8, 16, 32) for s in range(3)]
    assert table.test_squared_error.nunique() == 30  # no two runs are the same
    images = data.load("digits")
    for epochs, latent_dim, seed in ((1, 16, 0), (5, 2, 1)):
        # As in book/part-1/autoencoders.md
        torch.manual_seed(seed)
        model = Autoencoder.mlp(images.dim, (256,), latent_dim)
        options = {"objective": squared_error, "learning_rate": 1e-2, "seed": seed, "progress": False}
        history = fit(model, images.train, images.test, epochs=epochs, **options)
        assert table.loc[epochs, latent_dim, seed].to_dict() == {
            name: history[name].iloc[-1] for name in ("train_squared_error", "test_squared_error")
        }


@pytest.mark.parametrize(("name", "epochs", "largest"), [("mnist", 4, 256), ("digits", 150, 32)])
def test_the_defaults_are_the_chapters(tmp_path, monkeypatch, name, epochs, largest):
    images = data.load("digits")
    monkeypatch.setattr(data, "load", lambda dataset: data.replace(images, name=name))
    asked = {}
    monkeypatch.setattr(bottleneck, "run_grid", lambda name, jobs, *_, **__: asked.update({name: jobs}))
    bottleneck.run(tmp_path)
    assert {job["epochs"] for job in asked[f"bottleneck-{name}"]} == {epochs, 5 * epochs}
    assert max(job["latent_dim"] for job in asked[f"bottleneck-{name}"]) == largest
    with pytest.raises(ValueError, match="epochs must be an integer of at least 1, but is 0"):
        bottleneck.run(tmp_path, epochs=0)
