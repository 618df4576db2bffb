"""Figure 3: each job as `fit` and `MonteCarloEM` would have it, also when it was stopped."""

from __future__ import annotations

import pytest
import torch

from vaelib import data
from vaelib.experiments import estimates, marginal_likelihood
from vaelib.experiments.grid import JobError
from vaelib.experiments.lower_bound import make_model
from vaelib.inference.mcem import MonteCarloEM
from vaelib.inference.wake_sleep import wake_sleep
from vaelib.training import fit

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # forward-mode derivatives use it


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    for name, value in {
        "SEEDS": range(1, 2), "SIZES": {"digits": (100, 300)}, "LARGE_SAMPLES": 600, "POINTS": (100, 300, 500),
        "SAMPLES": {"aevb": 500, "wake-sleep": 500, "mcem": 300}, "IMAGES": 4, "RECIPROCAL_IMAGES": 3,
        "PILOT_SAMPLES": {"aevb": 200, "wake-sleep": 200, "mcem": 100}, "ANNEALED_IMAGES": 2, "PRIOR_DRAWS": 100,
        "TEMPERATURES": 5, "LOCAL_STEPS": 3, "WARMUP": 20,
    }.items():  # fmt: skip
        monkeypatch.setattr(estimates if hasattr(estimates, name) else marginal_likelihood, name, value)


def test_each_job_is_a_run_of_its_method(tmp_path, short):
    record = marginal_likelihood.run(tmp_path, dataset="digits")
    table = record.table
    jobs = table.groupby(["method", "train_images"], sort=False)
    assert {job: rows.samples.tolist() for job, rows in jobs} == {
        ("aevb", 100): [100, 300, 500], ("wake-sleep", 100): [100, 300, 500], ("mcem", 100): [100, 300],
        ("aevb", 300): [300, 600], ("wake-sleep", 300): [300, 600],
    }  # fmt: skip
    images = data.load("digits")
    rows = jobs.get_group(("wake-sleep", 300))
    model = make_model(images, 3, 1, 100)
    fit(
        model, images.train[:300], epochs=2, objective=wake_sleep, batch_size=100, optimiser="adagrad",
        learning_rate=rows.step_size.iloc[0], schedule="constant", weight_decay=1 / 300, seed=1, progress=False,
    )  # fmt: skip
    values = estimates.estimate(model, images.test[:4], encoder=True, last=True, annealed=True)
    assert {name: rows[f"test_{name}"].iloc[1] for name in values} == values
    rows = jobs.get_group(("mcem", 100))
    model = make_model(images, 3, 1, 100)
    MonteCarloEM(model, images.train[:100], learning_rate=rows.step_size.iloc[0], weight_decay=1 / 100, seed=1).run(
        3, progress=False
    )
    values = estimates.estimate(model, images.train[:4], encoder=False, annealed=True)
    assert {name: rows[f"train_{name}"].iloc[1] for name in values} == values
    assert rows.train_elbo.isna().all()


def test_a_job_that_was_stopped_goes_on(tmp_path, short, monkeypatch):
    monkeypatch.setattr(marginal_likelihood, "SAMPLES", {"aevb": 500, "mcem": 300})
    whole = marginal_likelihood.run(tmp_path / "whole", dataset="digits").table
    estimate, calls = estimates.estimate, []

    def stops(*arguments, **options):
        calls.append(1)
        if len(calls) in (4, 14):
            raise RuntimeError("stopped")
        return estimate(*arguments, **options)

    monkeypatch.setattr(estimates, "estimate", stops)
    for _ in range(2):
        with pytest.raises(JobError, match="stopped"):
            marginal_likelihood.run(tmp_path / "parts", dataset="digits")
    again = marginal_likelihood.run(tmp_path / "parts", dataset="digits").table
    assert again.drop(columns="seconds").equals(whole.drop(columns="seconds"))


def test_other_data_sets_and_pixels_are_refused(tmp_path, monkeypatch):
    faces = data.Dataset("frey", torch.rand(20, 560), torch.rand(5, 560), None, None, (28, 20), None)
    monkeypatch.setattr(data, "load", lambda name: faces)
    with pytest.raises(ValueError, match="mnist, digits"):
        marginal_likelihood.run(tmp_path, dataset="frey")
    model = make_model(faces, 2, 0)
    with pytest.raises(TypeError, match="Bernoulli"):
        estimates.best_codes(model, faces.train, 3)
