"""Figure 2: the paper's networks, its choice of a step size, and the bound of each method as `fit` would record it."""

from __future__ import annotations

import pytest
import torch

from vaelib import data
from vaelib.experiments import lower_bound
from vaelib.gaussians import DiagonalGaussian
from vaelib.inference.wake_sleep import wake_sleep
from vaelib.training import evaluate, fit


@pytest.fixture(autouse=True)
def as_in_the_book(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    torch.set_default_dtype(torch.float32)  # conftest.py restores it


def train(images, latent_dim, seed, step_size, epochs, objective):
    model = lower_bound.make_model(images, latent_dim, seed)
    return model, fit(
        model, images.train, images.test, epochs=epochs, objective=objective, batch_size=100, optimiser="adagrad",
        learning_rate=step_size, schedule="constant", weight_decay=1 / len(images.train), seed=seed, progress=False,
    )  # fmt: skip


def test_each_job_is_a_run_of_fit_at_the_best_of_three_step_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(lower_bound, "SEEDS", range(1, 3))
    monkeypatch.setattr(lower_bound, "PILOT_SAMPLES", 2000)
    record = lower_bound.run(tmp_path, dataset="digits", epochs=4)
    table = record.table
    assert record.settings["pilot_epochs"] == 2
    shown = lower_bound.shown_epochs(4, 1437)
    jobs = table.groupby(["method", "latent_dim", "seed"], sort=False)
    assert list(jobs.groups) == [
        ("aevb", 10, 1), ("wake-sleep", 10, 1), ("aevb", 3, 1), ("wake-sleep", 3, 1),
        ("aevb", 10, 2), ("wake-sleep", 10, 2), ("aevb", 3, 2), ("wake-sleep", 3, 2),
    ]  # fmt: skip
    for (_, _, seed), job in jobs:  # a tenth of four epochs, rounded up, is one
        assert job.samples.tolist() == [1437 * epoch for epoch in (shown if seed == 1 else [1])]
    images = data.load("digits")
    pilots = {step: train(images, 3, 1, step, 2, wake_sleep)[0] for step in (0.01, 0.02, 0.1)}
    bounds = {step: evaluate(model, images.train, seed=1)["elbo"] for step, model in pilots.items()}
    best = max(bounds, key=lambda step: bounds[step])
    assert best != 0.01  # the first would be taken if nothing were compared
    mine = jobs.get_group(("wake-sleep", 3, 1))
    assert (mine.step_size == best).all()
    _, history = train(images, 3, 1, best, 4, wake_sleep)
    for column in ("train_elbo", "test_elbo"):
        assert mine[column].tolist() == history[column].iloc[[epoch - 1 for epoch in shown]].tolist()


def test_a_step_size_that_diverges_is_not_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(lower_bound, "SEEDS", range(1))
    monkeypatch.setattr(lower_bound, "METHODS", {"aevb": lower_bound.METHODS["aevb"]})
    monkeypatch.setattr(lower_bound, "LATENT_DIMS", {"digits": (2,)})
    monkeypatch.setattr(lower_bound, "STEP_SIZES", (1e4, 0.02))
    table = lower_bound.run(tmp_path, dataset="digits", epochs=1).table
    assert (table.step_size == 0.02).all()


def test_frames_divided_at_random_are_the_frames_of_the_film(monkeypatch):
    film = data.Dataset("frey", torch.rand(1600, 560), torch.rand(365, 560), None, None, (28, 20), ())
    monkeypatch.setattr(data, "load", {"frey": film}.__getitem__)
    dealt = lower_bound.load("frey-shuffled")
    assert (dealt.name, dealt.train.shape, dealt.test.shape) == ("frey-shuffled", film.train.shape, film.test.shape)
    frames, dealt_frames = torch.cat([film.train, film.test]), torch.cat([dealt.train, dealt.test])
    place = {frame.numpy().tobytes(): index for index, frame in enumerate(frames)}
    places = [place[frame.numpy().tobytes()] for frame in dealt_frames]
    assert sorted(places) == list(range(1965))
    # In a draw without replacement 365 * 365 / 1965 = 68 of the last 365 frames stay in the test, give or take 7.
    assert 33 < sum(index >= 1600 for index in places[1600:]) < 103
    assert torch.equal(lower_bound.load("frey-shuffled").train, dealt.train)
    model = lower_bound.make_model(dealt, 2, 0)
    assert isinstance(model.decode(torch.randn(3, 2)), DiagonalGaussian)
    assert lower_bound.load("frey") is film


def test_networks_are_those_of_the_paper():
    faces = data.Dataset("frey", torch.rand(20, 560), torch.rand(5, 560), None, None, (28, 20), None)
    model = lower_bound.make_model(faces, 5, 0)
    assert [tuple(parameter.shape) for parameter in model.encoder.parameters()] == [
        (200, 560), (200,), (10, 200), (10,)
    ]  # fmt: skip
    weights = torch.cat([parameter.flatten() for parameter in model.parameters()])
    assert abs(weights.square().mean() / 0.01 - 1) < 5 * (2 / len(weights)) ** 0.5
    assert abs(weights.mean()) < 5 * 0.1 / len(weights) ** 0.5
    x = model.decode(torch.randn(50, 5))
    assert isinstance(x, DiagonalGaussian)
    assert x.log_var.shape == (50, 560)
    assert (x.mean > 0).all()
    assert (x.mean < 1).all()
    assert any(isinstance(module, torch.nn.Tanh) for module in model.modules())


def test_epochs_shown_are_evenly_spaced_on_a_logarithmic_axis():
    shown = lower_bound.shown_epochs(2000, 1000)
    assert shown[:10] == list(range(1, 11))
    assert shown[-1] == 2000
    steps = torch.tensor([epoch for epoch in shown if 100 <= epoch < 2000]).log10().diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 20), atol=0.004, rtol=0)
    assert lower_bound.shown_epochs(1, 1000) == [1]
