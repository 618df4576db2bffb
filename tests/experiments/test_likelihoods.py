"""The experiment trains what the chapter on likelihoods trains, and measures what it says."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaelib import data
from vaelib.bounds import ELBO
from vaelib.decoders import BernoulliDecoder, GaussianDecoder
from vaelib.experiments import likelihoods
from vaelib.models import VAE
from vaelib.runs import NonFiniteLossError
from vaelib.training import fit


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(likelihoods, "SEEDS", range(1))
    monkeypatch.setattr(likelihoods, "TRAIN", 600)
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    return likelihoods.run(tmp_path, dataset="digits", epochs=2)


def row_of(record, likelihood, dequantised=False, start=likelihoods.START_STD):
    table = record.table
    rows = table[(table.likelihood == likelihood) & (table.dequantised == dequantised) & (table.start == start)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_each_likelihood_is_trained_once_a_seed(record):
    assert record.name == "likelihoods-digits"
    assert (record.settings["levels"], record.settings["images"]) == (17, 600)
    assert len(record.table) == len(likelihoods.STDS) + 4 + 3
    assert record.table.test_elbo.nunique() == len(record.table)  # no two runs are the same
    for part in ("train", "test"):
        parts = record.table[f"{part}_reconstruction"] - record.table[f"{part}_kl"]
        torch.testing.assert_close(torch.tensor(parts), torch.tensor(record.table[f"{part}_elbo"]), rtol=1e-5, atol=0)
    none = record.table.likelihood.str.contains("bernoulli")
    assert (record.table["std"].isna() == none).all()
    continuous = record.table.likelihood == "continuous-bernoulli"
    assert (record.table["sigmoid_error"].notna() == continuous).all()


def test_a_fixed_sigma_is_a_weight_of_the_squared_error(record):
    """The same network, trained on the bound written out with torch's own normal densities."""
    images = data.load("digits")
    std = likelihoods.STDS[0]
    torch.manual_seed(0)
    model = VAE.mlp(64, (200,), 20, likelihood=partial(GaussianDecoder, std=std))

    def bound(model, x):
        q = model.encode(x)
        z = q.rsample((1,))
        reconstruction = Normal(model.decoder.head(model.decoder.body(z)), std).log_prob(x).sum(-1).mean(0)
        kl = kl_divergence(Normal(q.loc, q.stddev), Normal(0.0, 1.0)).sum(-1)
        return ELBO(reconstruction - kl, reconstruction, kl)

    options = {"objective": bound, "learning_rate": 1e-2, "seed": 0, "progress": False}
    history = fit(model, images.train[:600], images.test, epochs=2, **options)
    row = row_of(record, "fixed", start=std)
    with torch.no_grad():
        variance = model.encode(images.test).mean.double().var(0)
    active = (variance > 0.01).sum().item()
    assert 0 < active < 20
    assert abs(row.active - active) <= 1  # one may lie on the threshold
    assert row["std"] == pytest.approx(std)
    for name in ("train_elbo", "test_elbo", "test_kl"):
        assert row[name] == pytest.approx(history[name].iloc[-1], rel=1e-3)
    variance = 2 * row.test_reconstruction + 64 * math.log(2 * math.pi * std**2)
    # Of other draws of z, so not the same number
    assert row.test_error == pytest.approx(math.sqrt(-variance * std**2 / 64), rel=0.02)


def test_the_bernoulli_is_that_of_the_library(record):
    images = data.load("digits")
    torch.manual_seed(0)
    model = VAE.mlp(64, (200,), 20, likelihood=partial(BernoulliDecoder, grey=True))
    fit(model, images.train[:600], epochs=2, learning_rate=1e-2, seed=0, progress=False)
    row = row_of(record, "bernoulli")
    with torch.no_grad():
        q = model.encode(images.test)
        z = q.mean + q.stddev * torch.randn(30, *q.mean.shape)
        error = (images.test - torch.sigmoid(model.decode(z).logits)).square().mean().sqrt().item()
    assert row.test_error == pytest.approx(error, rel=0.02)  # of other draws


def test_dequantised_pixels_stay_in_their_cell():
    levels = 17
    x = torch.arange(levels) / (levels - 1)
    torch.manual_seed(0)
    y = likelihoods.dequantised(x.expand(20_000, -1), levels)
    cell = torch.arange(levels) / levels
    assert (y >= cell).all()
    assert (y <= cell + 1 / levels).all()
    error = 5 / levels / math.sqrt(12 * len(y))
    assert ((y.mean(0) - cell - 0.5 / levels).abs() < error).all()
    assert y.std(0) == pytest.approx(torch.full((levels,), 1 / levels / math.sqrt(12)), rel=0.03)


def test_a_run_that_overflows_is_recorded_as_such(tmp_path, monkeypatch):
    def overflow(*_, **__):
        raise NonFiniteLossError

    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(likelihoods, "SEEDS", range(1))
    monkeypatch.setattr(likelihoods, "fit", overflow)
    record = likelihoods.run(tmp_path, dataset="digits", epochs=1)
    assert record.table.test_elbo.isna().all()
    assert len(record.table) == len(likelihoods.STDS) + 4 + 3


def test_the_smallest_sigma_and_refusals():
    torch.manual_seed(0)
    model = likelihoods.make_model(5, "predicted", 0.3, seed=0)
    with torch.no_grad():
        model.decoder.head.weight.zero_()
        model.decoder.head.bias[5:] = 2 * torch.tensor([0.4, 0.1, 0.2, 0.3, 0.5]).log()
    assert likelihoods.smallest_std(model, torch.rand(7, 5)) == pytest.approx(0.1)
    assert math.isnan(likelihoods.smallest_std(likelihoods.make_model(5, "bernoulli", 0.3, 0), torch.rand(7, 5)))
    with pytest.raises(ValueError, match=r"likelihood must be one of .*, but is 'poisson'"):
        likelihoods.make_model(5, "poisson", 0.3, seed=0)
    with pytest.raises(ValueError, match="epochs must be an integer of at least 1, but is 0"):
        likelihoods.run("nowhere", dataset="digits", epochs=0)
