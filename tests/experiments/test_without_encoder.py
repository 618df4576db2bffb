"""The experiment trains the same decoder with an encoder and with a table, and measures both alike."""

from __future__ import annotations

import math

import pytest
import torch

from vaelib import data
from vaelib.bounds import sgvb_b
from vaelib.experiments import without_encoder as experiment
from vaelib.experiments.without_encoder import Learner, binarise, measure, neighbour_ratio, train
from vaelib.training import fit


@pytest.fixture
def images(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(experiment, "IMAGES", 20)
    monkeypatch.setattr(experiment, "STEPS", 5)
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    return experiment.load("digits")


def test_pixels_are_drawn_with_their_grey_level_as_probability():
    grey = torch.tensor([0.0, 0.2, 0.7, 1.0])
    binary = binarise(grey.expand(40_000, 4), seed=0)
    assert set(binary.unique().tolist()) == {0.0, 1.0}
    assert (binary.mean(0) - grey).abs().max() < 5 * math.sqrt(0.25 / 40_000)
    assert torch.equal(binary, binarise(grey.expand(40_000, 4), seed=0))
    assert not torch.equal(binary, binarise(grey.expand(40_000, 4), seed=1))


def test_the_set_stays_what_it_is_but_for_its_grey_pixels(images):
    original = data.load("digits")
    assert images.train.shape == original.train.shape
    assert torch.equal(images.test_labels, original.test_labels)
    sure = (original.train == 0) | (original.train == 1)
    assert torch.equal(images.train[sure].cpu(), original.train[sure])


def test_both_kinds_begin_with_the_same_decoder(images):
    encoder, table = (Learner(kind, images.train, 3, seed=1) for kind in ("encoder", "table"))
    for one, other in zip(encoder.model.decoder.parameters(), table.model.decoder.parameters(), strict=True):
        assert torch.equal(one, other)
    assert sum(p.numel() for p in table.infers.parameters()) == len(images.train) * 6
    with pytest.raises(ValueError, match=r'"encoder" or "table"'):
        Learner("neither", images.train, 3, seed=1)


def test_with_the_decoders_rate_an_encoder_is_trained_as_by_fit(images):
    x = images.train[:250]
    learner, twin = (Learner("encoder", x, 3, seed=1) for _ in range(2))
    table = train(learner, epochs=4, rate=experiment.LEARNING_RATE, seed=5)
    history = fit(
        twin.model, x, epochs=4, objective=sgvb_b, batch_size=experiment.BATCH_SIZE,
        learning_rate=experiment.LEARNING_RATE, seed=5, progress=False,
    )  # fmt: skip
    assert table.train_elbo.tolist() == pytest.approx(history.train_elbo.tolist(), rel=1e-4)
    for one, other in zip(learner.model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)


def test_a_rate_of_zero_leaves_the_table_at_the_prior_and_moves_the_decoder(images):
    learner, start = (Learner("table", images.train[:250], 3, seed=1) for _ in range(2))
    train(learner, epochs=4, rate=0.0, seed=5)
    q = learner.posterior(torch.arange(250, device=images.train.device))
    assert (q.mean == 0).all()
    assert (q.variance == 1).all()
    pairs = zip(learner.model.parameters(), start.model.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)


def test_measures_are_those_of_the_models_own_posteriors(images, monkeypatch):
    monkeypatch.setattr(experiment, "STEPS", 40)
    learner = Learner("encoder", images.train[:250], 3, seed=1)
    results = measure(learner, images.test)
    with torch.no_grad():
        again = torch.stack([sgvb_b(learner.model, images.train[:20], 2000).elbo for _ in range(3)]).mean().item()
        new = sgvb_b(learner.model, images.test[:20], 2000).elbo.mean().item()
    assert results["train_bound"] == pytest.approx(again, abs=0.1)
    assert results["test_bound"] == pytest.approx(new, abs=0.1)
    assert results["train_local"] > results["train_bound"] + 0.1
    assert results["test_local"] < results["test_log_marginal"]
    assert math.isnan(measure(Learner("table", images.train[:250], 3, seed=1), images.test)["test_bound"])


def test_the_neighbour_ratio_of_a_line_and_of_its_shuffle():
    generator = torch.Generator().manual_seed(0)
    x = torch.arange(300.0).unsqueeze(1)
    assert neighbour_ratio(x, 3 * x) == pytest.approx(1 / 87, rel=0.03)  # the median distance is 300 (1 - sqrt(1/2))
    assert neighbour_ratio(x, x[torch.randperm(300, generator=generator)]) == pytest.approx(1, abs=0.3)


def test_the_record_has_a_row_for_each_epoch_and_measures_in_the_last(images, monkeypatch, tmp_path):
    monkeypatch.setattr(experiment, "SEEDS", range(1))
    monkeypatch.setattr(experiment, "RATES", {"encoder": (2e-3,), "table": (0.2,)})
    table = experiment.run(tmp_path, dataset="digits", epochs=4).table
    runs = table.groupby(["inference", "epochs", "latent_dim"]).size()
    assert runs.to_dict() == {
        (kind, epochs, dim): epochs for kind in ("encoder", "table") for epochs, dim in ((1, 10), (4, 2), (4, 10))
    }
    assert (table.train_bound.notna() == (table.epoch == table.epochs)).all()
    learner = Learner("table", images.train, 10, seed=0)
    expected = train(learner, epochs=4, rate=0.2, seed=0)
    row = table[(table.inference == "table") & (table.epochs == 4) & (table.latent_dim == 10)]
    assert row.train_elbo.tolist() == expected.train_elbo.tolist()
    assert (row.phi_numbers == 2 * 10 * len(images.train)).all()
    assert row.train_bound.iloc[-1] == measure(learner, images.test)["train_bound"]


def test_too_few_epochs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 4"):
        experiment.run(tmp_path, dataset="digits", epochs=3)
