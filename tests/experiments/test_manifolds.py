"""Manifolds and samples: the critic against brute force, the measures against their parts, jobs against `fit`."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import exact_terms, make_tiny_images, make_tiny_vae

from vaelib import data
from vaelib.experiments import manifolds
from vaelib.runs import seeded
from vaelib.training import evaluate, fit


@pytest.fixture(autouse=True)
def as_in_the_book(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    torch.set_default_dtype(torch.float32)  # conftest.py restores it


def test_the_critic_measures_distances_both_ways_and_certainty():
    images = data.load("digits")
    critic = manifolds.Critic(images)
    sheet = torch.cat([images.test[:3], torch.zeros(2, 64), torch.rand(600, 64)])  # in two parts
    verdict = critic(sheet)
    pairs = (sheet[:, None] - images.test[None]).double().norm(dim=-1)
    assert verdict["nearest"] == pytest.approx(pairs.amin(1).mean().item(), rel=1e-3)
    assert verdict["reach"] == pytest.approx(pairs.amin(0).mean().item(), rel=1e-3)
    assert abs(verdict["nearest"] - verdict["reach"]) > 0.1
    probabilities = critic.referees.classifier(sheet).softmax(1).amax(1)
    assert verdict["certain"] == pytest.approx(sum(p > 0.9 for p in probabilities.tolist()) / len(sheet))
    mixed = (images.test + images.test.flip(0)) / 2
    assert critic(images.test)["certain"] > critic(mixed)["certain"]


def test_a_set_without_classes_has_no_certainty():
    faces = data.Dataset("frey", torch.rand(20, 560), torch.rand(5, 560), None, None, (28, 20), ())
    verdict = manifolds.Critic(faces)(faces.test)
    assert math.isnan(verdict["certain"])
    assert verdict["nearest"] == pytest.approx(0, abs=0.02)


def test_the_measures_are_those_of_quadrature_and_of_the_right_sheets(monkeypatch):
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(manifolds, "DECODED", 400)
    model, x = make_tiny_vae(), make_tiny_images()
    with torch.no_grad():
        model.encoder.head.bias[0] += 2  # so that the prior and the posteriors make different sheets
    reconstruction, kl, _ = exact_terms(model, x)
    shape = (1, x.shape[1])
    many = x.repeat(1000, 1)
    images = data.Dataset("tiny", 1 - many[:500], many, None, None, shape, ())
    sheets = []

    def critic(sheet):
        sheets.append(sheet)
        return {"nearest": float(len(sheets))}

    torch.manual_seed(1)
    state = torch.get_rng_state()
    found = manifolds.measure(model, images, critic)
    assert torch.equal(torch.get_rng_state(), state)
    assert found["kl"] == pytest.approx(kl.mean().item(), abs=1e-6)
    assert found["reconstruction"] == pytest.approx(reconstruction.mean().item(), abs=0.1)
    assert found["elbo"] == pytest.approx(found["reconstruction"] - found["kl"])
    with seeded(7, many.device), torch.no_grad():
        p = model.decode(model.encode(many).sample()).mean
        prior = model.decode(torch.randn(4000, model.latent_dim)).mean
        posterior = model.reconstruct(images.train)
    assert found["squared_error"] == pytest.approx((p - many).square().sum(1).mean().item(), rel=0.05)
    assert (found["prior_nearest"], found["posterior_nearest"]) == (1, 2)
    assert [len(sheet) for sheet in sheets] == [400, 400]
    for sheet, same_law in zip(sheets, (prior, posterior), strict=True):
        errors = 5 * same_law.std(0) * (1 / 400 + 1 / len(same_law)) ** 0.5
        assert ((sheet.mean(0) - same_law.mean(0)).abs() < errors + 1e-9).all()
    z = torch.linspace(-12, 12, 4001).unsqueeze(1)
    with torch.no_grad():
        mixture = model.encode(1 - x).log_prob(z.unsqueeze(1)).exp().mean(1)
        ratio = (mixture / model.prior.log_prob(z).exp()).clamp_min(1e-300).log()
    aggregate, square = (torch.trapezoid(mixture * ratio**n, z.squeeze(1)).item() for n in (1, 2))
    error = ((square - aggregate**2) / 400) ** 0.5  # of one draw for each of 400 images
    assert error < 0.15 * aggregate
    assert found["aggregate_lower"] < found["aggregate_upper"] == pytest.approx(aggregate, abs=5 * error)
    assert found["mmd"] > 0.001
    assert found["active"] in (0, 1)


def test_models_start_at_the_mean_image():
    digits = data.load("digits")
    faces = data.Dataset("frey", torch.rand(20, 560) ** 2, torch.rand(5, 560), None, None, (28, 20), ())
    for images, width in ((digits, 100), (faces, 200)):
        model = manifolds.make_model(images, 5, 0)
        assert model.encoder.body[0].weight.shape == (width, images.dim)
        with torch.no_grad():
            p = model.decode(torch.zeros(5))
        assert torch.corrcoef(torch.stack([p.mean, images.train.mean(0)]))[0, 1] > 0.7
        for name, weight in model.named_parameters():  # uniform, not Gaussian
            if weight.dim() == 2:
                assert weight.abs().max() <= weight.shape[1] ** -0.5, name
        assert not torch.equal(manifolds.make_model(images, 5, 1).encoder.head.weight, model.encoder.head.weight)
    assert torch.corrcoef(torch.stack([p.variance, faces.train.var(0)]))[0, 1] > 0.7


def test_each_job_is_a_run_of_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(manifolds, "SEEDS", range(1, 3))
    monkeypatch.setattr(manifolds, "LATENT_DIMS", (2, 3))
    monkeypatch.setitem(manifolds.EPOCHS, "digits", 2)
    monkeypatch.setitem(manifolds.LONG_SEEDS, "digits", range(1, 2))
    monkeypatch.setitem(manifolds.SHORT_EPOCHS, "digits", 1)
    monkeypatch.setitem(manifolds.FLAT_EPOCHS, "digits", 3)
    monkeypatch.setitem(manifolds.SHORT_IMAGES, "digits", 500)
    table = manifolds.run(tmp_path, dataset="digits").table
    jobs = table[["latent_dim", "images", "epochs", "seed"]].to_numpy().tolist()
    short = [[2, 500, 1], [3, 500, 1], [2, 500, 3]]
    assert jobs == [*([*job, seed] for seed in (1, 2) for job in short), [2, 1437, 2, 1], [3, 1437, 2, 1]]
    images = data.load("digits")
    model = manifolds.make_model(images, 2, 2)
    fit(model, images.train[:500], epochs=3, batch_size=100, learning_rate=8e-3, seed=2, progress=False)
    row = table[(table.latent_dim == 2) & (table.epochs == 3) & (table.seed == 2)].iloc[0]
    bound = evaluate(model, images.test)
    assert (row.elbo, row.kl) == (bound["elbo"], bound["kl"])
    assert (table.image_nearest == manifolds.Critic(images)(images.train[:2000])["nearest"]).all()
    assert table.mmd.nunique() == len(table)


def test_epochs_that_are_given_are_those_of_the_only_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(manifolds.LONG_SEEDS, "digits", range(1))
    monkeypatch.setattr(manifolds, "LATENT_DIMS", (2,))
    table = manifolds.run(tmp_path, dataset="digits", epochs=1).table
    assert table[["images", "epochs"]].to_numpy().tolist() == [[1437, 1]]
    with pytest.raises(ValueError, match="epochs"):
        manifolds.run(tmp_path, dataset="digits", epochs=0)
