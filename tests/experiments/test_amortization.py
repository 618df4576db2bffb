"""The gaps of the record, where quadrature knows them, and on the digits as the command measures them."""

from __future__ import annotations

import pytest
import torch
from tiny import exact_terms, make_tiny_images, make_tiny_vae

from vaelib import data
from vaelib.experiments import amortization
from vaelib.models import VAE
from vaelib.training import fit


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    for name, value in {
        "SEEDS": range(2), "WIDTHS": (8,), "IMAGES": 5, "CHECKED": 2, "FEW_STEPS": (1, 3), "STEPS": 30, "DRAWS": 500,
        "WEIGHTS": 500,
    }.items():  # fmt: skip
        monkeypatch.setattr(amortization, name, value)


def test_the_bounds_are_those_of_quadrature(monkeypatch):
    monkeypatch.setattr(amortization, "STEPS", 300)
    model, x = make_tiny_vae(), make_tiny_images()
    other = make_tiny_vae()
    with torch.no_grad():
        other.encoder.head.bias += 1
    table = amortization.measure(model, x, {7: other})
    reconstruction, kl, log_p = (values.numpy() for values in exact_terms(model, x))
    assert (abs(table["encoder"] - (reconstruction - kl)) < 5 * table["encoder_error"] + 1e-4).all()
    reconstruction, kl, _ = (values.numpy() for values in exact_terms(other, x))
    assert (abs(table["width_7"] - (reconstruction - kl)) < 1).all()
    assert (table["encoder"] - table["width_7"] > 0.1).all()
    assert (abs(table["log_p"] - log_p) < 0.05).all()
    for lower, upper in (("encoder", "refined_3"), ("refined_3", "diagonal"), ("prior_1", "prior_3")):
        assert table[lower].mean() < table[upper].mean()
    # With a single latent variable both families are the same.
    for name in ("full", "diagonal_prior"):
        assert (abs(table["diagonal"] - table[name]) < 0.1).all()
    assert (table["diagonal"] < log_p + 5 * table["diagonal_error"]).all()
    for name in ("diagonal", "full"):
        again = table[f"{name}_twice"]
        assert again.isna().tolist() == [False, False, True]
        assert (abs(again - table[name])[:2] < 0.1).all()
    assert table["ess"].between(1, 500).all()
    assert table["ess"].mean() > 475  # with codes from the prior, 465
    assert (table[["encoder_seconds", "diagonal_step_seconds", "full_step_seconds"]] > 0).all(axis=None)


def test_the_estimate_does_not_depend_on_the_state_of_the_generator():
    model, x = make_tiny_vae(), make_tiny_images()
    torch.manual_seed(1)
    first = amortization.estimate_bound(model, x, num_samples=400)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = amortization.estimate_bound(model, x, model.encode(x), 400)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.bound, second.bound)
    many = amortization.estimate_bound(model, x, num_samples=40_000)
    torch.testing.assert_close(first.error / many.error, torch.full((3,), 10.0), rtol=0.2, atol=0)
    with pytest.raises(ValueError, match="num_samples"):
        amortization.estimate_bound(model, x, num_samples=0)


def test_binary_images_are_drawn_once_from_the_grey_ones():
    grey = data.load("digits")
    torch.manual_seed(3)
    state = torch.get_rng_state()
    binary = amortization.binarised(grey)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(binary.train, amortization.binarised(grey).train)
    assert set(torch.cat([binary.train, binary.test]).unique().tolist()) == {0.0, 1.0}
    assert abs(binary.train.mean() - grey.train.mean()) < 5 * 0.5 / grey.train.numel() ** 0.5
    assert (binary.train[grey.train == 0] == 0).all()
    assert (binary.test[grey.test == 1] == 1).all()
    assert 0.1 < binary.test[grey.test < 0.5].mean() / grey.test[grey.test < 0.5].mean() < 2


def test_the_record_holds_both_splits_of_each_seed(tmp_path):
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    table = amortization.run(tmp_path, dataset="digits", epochs=2).table
    keys = table[["seed", "split", "image"]].to_numpy().tolist()
    assert keys == [[seed, split, image] for seed in range(2) for split in ("train", "test") for image in range(5)]
    images = amortization.binarised(data.load("digits"))
    torch.manual_seed(1)
    model = VAE.mlp(images.dim, (400,), 20)
    other = VAE.mlp(images.dim, (8,), 20)
    settings = {"epochs": 2, "learning_rate": 6e-3, "seed": 1, "progress": False}
    fit(model, images.train, **settings)
    own = amortization.estimate_bound(model, images.test[:5]).bound
    other.decoder = model.decoder.requires_grad_(False)
    before = [parameter.clone() for parameter in model.decoder.parameters()]
    fit(other, images.train, **settings)
    assert all(torch.equal(*pair) for pair in zip(before, model.decoder.parameters(), strict=True))
    theirs = amortization.estimate_bound(other, images.test[:5]).bound
    last = table[(table["seed"] == 1) & (table["split"] == "test")]
    assert last["encoder"].tolist() == own.double().numpy().round(4).tolist()
    assert last["width_8"].tolist() == theirs.double().numpy().round(4).tolist()


def test_epochs_must_be_positive(tmp_path):
    with pytest.raises(ValueError, match="epochs"):
        amortization.run(tmp_path, dataset="digits", epochs=0)
