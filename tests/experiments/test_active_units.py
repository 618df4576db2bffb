"""The experiment on active units, against sums that are written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from vaelib import data
from vaelib.bounds import sgvb_b
from vaelib.experiments import active_units
from vaelib.gaussians import DiagonalGaussian
from vaelib.models import VAE
from vaelib.runs import seeded
from vaelib.training import fit


def test_units_that_are_cut_answer_with_the_prior():
    q = DiagonalGaussian(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.1, 0.2, 0.3]]))
    cut = active_units.keep_units(q, torch.tensor([True, False, True]))
    assert cut.mean.tolist() == [[1.0, 0.0, 3.0]]
    assert torch.equal(cut.variance, torch.tensor([[0.1, 0.0, 0.3]]).exp())


def test_the_gain_of_a_fitted_prior_is_the_divergence_of_the_codes_from_the_old_one():
    """For codes that are Gaussian, a mixture can be as good as their own law, and no better."""
    torch.manual_seed(0)
    law = MultivariateNormal(torch.tensor([1.0, 0.0]), torch.tensor([[0.5, 0.3], [0.3, 0.6]]))
    gain = active_units.fitted_prior_gain(law.sample((4000,)), law.sample((4000,)))
    prior = MultivariateNormal(torch.zeros(2), torch.eye(2))
    divergence = torch.distributions.kl_divergence(law, prior).item()
    assert gain.shape == (4000,)
    assert abs(gain.mean().item() - divergence) < 5 * gain.std().item() / math.sqrt(4000)


def test_the_record_is_what_the_settings_say(tmp_path, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    monkeypatch.setattr(active_units, "SMALL_LATENT_DIMS", (2, 20))
    monkeypatch.setattr(active_units, "SEEDS", range(2))
    state = torch.get_rng_state()
    record = active_units.run(tmp_path, dataset="digits", epochs=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert record.name == "active-units-digits"
    assert record.settings["epochs"] == {"short": 1, "usual": 4, "long": 12}
    table = record.table.set_index(["length", "latent_dim", "seed", "threshold"]).sort_index()
    jobs = {("usual", 2, 0), ("usual", 20, 0), ("usual", 20, 1), ("short", 20, 0), ("short", 20, 1), ("long", 20, 0)}
    assert {index[:3] for index in table.index} == jobs

    images = data.load("digits")
    torch.manual_seed(1)
    model = VAE.mlp(images.dim, (400,), 20, activation=nn.Tanh, grey=True)
    options = {"epochs": 1, "batch_size": 100, "learning_rate": 5e-3, "seed": 1, "progress": False}
    fit(model, images.train, **options)
    with torch.no_grad(), seeded(1, torch.device("cpu")):
        q = model.encode(images.test)
        spread = ((q.mean - q.mean.mean(0)) ** 2).sum(0) / (len(images.test) - 1)
        units = 0.5 * (q.mean**2 + q.variance - 1 - q.log_var).mean(0)
        rows = table.loc["short", 20, 1]
        for threshold in active_units.THRESHOLDS:
            assert rows.active[threshold] == int((spread > threshold).sum())
            assert rows.rest_kl[threshold] == pytest.approx(units[spread <= threshold].sum().item(), rel=1e-4)
        assert rows.test_kl.iloc[0] == pytest.approx(units.sum().item(), rel=1e-5)
        assert (rows.test_elbo - rows.test_reconstruction + rows.test_kl).abs().max() < 1e-4
        bound = sgvb_b(model, images.test, 200).elbo.mean().item()
    assert rows.test_elbo.iloc[0] == pytest.approx(bound, abs=0.3)
    assert rows.cut_elbo[0.001] == pytest.approx(bound, abs=0.5)
    assert (rows.information_lower < rows.information_upper).all()
    assert (rows.information_lower < math.log(record.settings["aggregated"])).all()


def test_the_defaults_are_the_chapters(tmp_path, monkeypatch):
    images = data.load("digits")
    asked = {}
    for name in ("mnist", "digits"):
        monkeypatch.setattr(data, "load", lambda dataset, name=name: data.replace(images, name=name))
        monkeypatch.setattr(
            active_units, "run_grid", lambda name, jobs, *_, **options: asked.update({name: (jobs, options)})
        )
        active_units.run(tmp_path)
    jobs, options = asked["active-units-mnist"]
    assert options["settings"]["epochs"] == {"short": 1, "usual": 4, "long": 12}
    assert [job["latent_dim"] for job in jobs if job["length"] == "usual" and job["seed"] == 0] == [
        200,
        100,
        50,
        20,
        10,
        5,
        2,
    ]
    assert sum(job["latent_dim"] == 5 for job in jobs) == 3
    assert asked["active-units-digits"][1]["settings"]["epochs"]["usual"] == 60
    with pytest.raises(ValueError, match="epochs must be an integer of at least 1, but is 0"):
        active_units.run(tmp_path, epochs=0)
