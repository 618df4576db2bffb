"""Full Bayes on few images: the three objectives, and each measure against the sum it stands for."""

from __future__ import annotations

import math

import pytest
import torch

from vaelib.bounds import log_mean_exp, sgvb_b
from vaelib.experiments import full_bayes as experiment
from vaelib.experiments.full_bayes import map_objective, measure, train
from vaelib.experiments.without_encoder import load
from vaelib.inference.full_bayes import BayesianVAE
from vaelib.inference.local import fit_local
from vaelib.marginal import importance_sampling
from vaelib.models import VAE
from vaelib.runs import seeded

CPU = torch.device("cpu")


@pytest.fixture
def images(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    small = {"PRESENTED": 300, "STEPS": 5, "NUM_SAMPLES": 4, "DRAWS": 3, "MEASURED": 10, "TEST_IMAGES": 30}
    for name, value in small.items():
        monkeypatch.setattr(experiment, name, value)
    monkeypatch.setattr(experiment, "HIDDEN", {"digits": 8})
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    return load("digits")


def test_map_adds_the_log_prior_of_the_decoder_alone(images):
    torch.manual_seed(0)
    model, x = VAE.mlp(64, (8,), 3), images.train[:6].cpu()
    torch.manual_seed(1)
    value = map_objective(20)(model, x)
    torch.manual_seed(1)
    elbo = sgvb_b(model, x)
    squares = sum(parameter.detach().square().sum().item() for parameter in model.decoder.parameters())
    log_prior = -0.5 * squares  # of N(0, I), but for its constant
    torch.testing.assert_close(20 * (value.bound - elbo.elbo), torch.full((6,), log_prior))
    torch.testing.assert_close(value.bound, value.reconstruction - value.kl - value.penalty)
    with pytest.raises(ValueError, match="dataset_size"):
        map_objective(0)


def test_all_methods_start_from_the_same_networks_and_differ_in_what_they_charge(images):
    plan = {"hidden": 8, "latent_dim": 3, "start": -6.0, "epochs": 2, "seed": 1}
    x, test = images.train[:50], images.test[:30]
    results = {method: train(method, x, test, **plan) for method in experiment.METHODS}
    assert isinstance(results["full"][0], BayesianVAE)
    assert results["full"][0].dataset_size == 50
    assert (results["ml"][1]["cost"] == 0).all()
    assert results["map"][1]["cost"].iloc[-1] < results["full"][1]["cost"].iloc[-1]
    # A step or two from the start, a weight still costs what log-variance -6 does, the means next to nothing.
    count = len(results["full"][0].log_var)
    assert results["full"][1]["cost"].iloc[0] == pytest.approx(count * 0.5 * (5 + math.exp(-6)) / 50, rel=0.05)
    with seeded(1, CPU):
        start = VAE.mlp(64, (8,), 3)
    for model, _ in results.values():
        vae = model.model if isinstance(model, BayesianVAE) else model
        moved = max((a.cpu() - b).abs().max() for a, b in zip(vae.parameters(), start.parameters(), strict=True))
        assert 0 < moved < 0.2  # six steps of at most 0.01 each, and more of nothing
    with pytest.raises(ValueError, match="method must be one of"):
        train("bayes", x, test, **plan)


def test_predictions_average_densities_over_drawn_weights(images):
    torch.manual_seed(0)
    test = images.test[:10].cpu()
    model = BayesianVAE(VAE.mlp(64, (8,), 3), 50, start_log_var=-2.0)
    found = measure(model, test)
    with seeded(0, CPU), torch.no_grad():
        q = fit_local(model.model, test, steps=5, num_samples=2, progress=False)
        of_mean = importance_sampling(model.model, test, 4, q=q).log_marginal
        each = torch.stack([importance_sampling(model.draw(), test, 4, q=q).log_marginal for _ in range(3)])
    assert found["test_log_p"] == pytest.approx(of_mean.mean().item())
    assert found["test_drawn"] == pytest.approx(each.mean().item())
    assert found["test_averaged"] == pytest.approx(log_mean_exp(each).mean().item())
    assert found["test_drawn"] < found["test_averaged"]
    point = measure(model.model, test)
    assert point["test_averaged"] == point["test_log_p"] == pytest.approx(found["test_log_p"])
    assert math.isnan(point["pruned"])


def test_units_whose_outgoing_weights_are_at_the_prior_are_pruned(images):
    test = images.test[:10].cpu()
    model = BayesianVAE(VAE.mlp(64, (8,), 3), 50, start_log_var=-2.0)
    head = model.model.decoder.head
    with torch.no_grad():  # three of eight units at the prior, and one that is there but for a tenth of its weights
        head.weight[:, :4] = 0
        log_var = model.log_var[-64 * 9 : -64].view(64, 8)
        log_var[:, :3] = 0
        log_var[:57, 3] = 0
    found = measure(model, test)
    assert found["pruned"] == 3 / 8
    assert found["at_prior"] == pytest.approx((64 * 3 + 57) / len(model.log_var))


def test_a_record_has_a_row_for_each_epoch_and_measures_at_the_end(images, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "SEEDS", range(2))
    monkeypatch.setattr(experiment, "IMAGES", {"digits": (20, 40)})
    monkeypatch.setattr(experiment, "OTHER_STARTS", {"digits": (0.0,)})
    record = experiment.run(tmp_path, dataset="digits", epochs=2)
    table = record.table
    assert len(table) == 2 * 2 * 7  # epochs, seeds, three methods for two N and one more start
    last = table["epoch"] == 2
    for column in ("test_log_p", "test_averaged", "active", "seconds"):
        assert (table[column].notna() == last).all()
    assert (table["at_prior"].notna() == (last & (table["method"] == "full"))).all()
    row = table[(table["method"] == "map") & (table["images"] == 20) & (table["seed"] == 1)]
    _, history = train("map", images.train[:20], images.test[:30], hidden=8, latent_dim=5, start=-6.0, epochs=2, seed=1)
    assert row["test_elbo"].tolist() == pytest.approx(history["test_elbo"].tolist(), rel=1e-5)
    with pytest.raises(ValueError, match="epochs"):
        experiment.run(tmp_path, dataset="digits", epochs=0)
