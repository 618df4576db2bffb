"""Figure 3: the estimates where quadrature knows log p(x), and each job as `fit` and `MonteCarloEM` would have it."""

from __future__ import annotations

import pytest
import torch
from tiny import exact_terms, make_tiny_images, make_tiny_vae

from vaelib import data
from vaelib.experiments import marginal_likelihood
from vaelib.experiments.grid import JobError
from vaelib.experiments.lower_bound import make_model
from vaelib.inference.mcem import MonteCarloEM
from vaelib.inference.wake_sleep import wake_sleep
from vaelib.marginal import fit_gaussian, reciprocal_importance_sampling
from vaelib.runs import seeded
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
        monkeypatch.setattr(marginal_likelihood, name, value)


def test_the_search_finds_the_mode_and_the_expected_curvature():
    model, x = make_tiny_vae(), make_tiny_images()
    start = marginal_likelihood.best_codes(model, x, 50)
    q = marginal_likelihood.laplace(model, x, start, 30)
    mode = q.mean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_joint(x, mode).sum(), mode)
    assert gradient.abs().max() < 1e-6
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda z: model.decode(z).logits, q.mean[i])
        curvature = jacobian.T @ torch.diag(model.decode(q.mean[i]).variance) @ jacobian + torch.eye(len(q.mean[i]))
        torch.testing.assert_close(torch.linalg.inv(curvature), q.covariance_matrix[i])
    wide = marginal_likelihood.laplace(model, x, start, 30, widening=1.5)
    torch.testing.assert_close(wide.covariance_matrix, 2.25 * q.covariance_matrix)


def test_the_best_code_is_that_of_the_highest_joint_density():
    model, x = make_tiny_vae(), make_tiny_images()
    torch.manual_seed(3)
    best = marginal_likelihood.best_codes(model, x, 40)
    torch.manual_seed(3)
    z = model.prior.sample((40,))
    heights = model.log_joint(x, z.unsqueeze(1))
    assert torch.equal(best, z[heights.argmax(0)])


def test_the_estimates_are_those_of_quadrature(monkeypatch):
    monkeypatch.setattr(marginal_likelihood, "WEIGHTS", 4000)
    monkeypatch.setattr(marginal_likelihood, "LOCAL_STEPS", 300)
    model, x = make_tiny_vae(), make_tiny_images()
    values = marginal_likelihood.estimate(model, x, encoder=True, last=True, annealed=True)
    reconstruction, kl, log_p = (term.mean().item() for term in exact_terms(model, x))
    for name, tolerance in (("importance", 0.06), ("reciprocal_reference", 0.06), ("reciprocal", 0.15)):
        assert abs(values[name] - log_p) < tolerance
    assert abs(values["annealed"] - log_p) < 0.5
    assert abs(values["local_reference"] - (reconstruction - kl)) < 0.3
    assert values["local_reference"] < values["local"] < log_p + 0.1
    assert 0.5 < values["ess"] / 4000 <= 1


def test_the_reciprocal_estimate_is_that_of_the_library():
    model, x = make_tiny_vae(), make_tiny_images()
    values = marginal_likelihood.estimate(model, x, encoder=False)
    library = [reciprocal_importance_sampling(model, x, 50).log_marginal.mean().item() for _ in range(4)]
    assert abs(values["reciprocal"] - sum(library) / 4) < 0.1
    assert set(values) == {"importance", "ess", "reciprocal", "reciprocal_reference"}


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
    values = marginal_likelihood.estimate(model, images.test[:4], encoder=True, last=True, annealed=True)
    assert {name: rows[f"test_{name}"].iloc[1] for name in values} == values
    rows = jobs.get_group(("mcem", 100))
    model = make_model(images, 3, 1, 100)
    MonteCarloEM(model, images.train[:100], learning_rate=rows.step_size.iloc[0], weight_decay=1 / 100, seed=1).run(
        3, progress=False
    )
    values = marginal_likelihood.estimate(model, images.train[:4], encoder=False, annealed=True)
    assert {name: rows[f"train_{name}"].iloc[1] for name in values} == values
    assert rows.train_elbo.isna().all()


def test_a_job_that_was_stopped_goes_on(tmp_path, short, monkeypatch):
    monkeypatch.setattr(marginal_likelihood, "SAMPLES", {"aevb": 500, "mcem": 300})
    whole = marginal_likelihood.run(tmp_path / "whole", dataset="digits").table
    estimate, calls = marginal_likelihood.estimate, []

    def stops(*arguments, **options):
        calls.append(1)
        if len(calls) in (4, 14):
            raise RuntimeError("stopped")
        return estimate(*arguments, **options)

    monkeypatch.setattr(marginal_likelihood, "estimate", stops)
    for _ in range(2):
        with pytest.raises(JobError, match="stopped"):
            marginal_likelihood.run(tmp_path / "parts", dataset="digits")
    again = marginal_likelihood.run(tmp_path / "parts", dataset="digits").table
    assert again.drop(columns="seconds").equals(whole.drop(columns="seconds"))


def test_a_fitted_gaussian_has_the_moments_of_the_states():
    with seeded(0, torch.device("cpu")):
        samples = torch.randn(30, 2, 3)
    q = fit_gaussian(samples)
    torch.testing.assert_close(q.mean, samples.mean(0))
    for chain in range(2):
        torch.testing.assert_close(q.covariance_matrix[chain], samples[:, chain].T.cov())


def test_other_data_sets_and_pixels_are_refused(tmp_path, monkeypatch):
    faces = data.Dataset("frey", torch.rand(20, 560), torch.rand(5, 560), None, None, (28, 20), None)
    monkeypatch.setattr(data, "load", lambda name: faces)
    with pytest.raises(ValueError, match="mnist, digits"):
        marginal_likelihood.run(tmp_path, dataset="frey")
    model = make_model(faces, 2, 0)
    with pytest.raises(TypeError, match="Bernoulli"):
        marginal_likelihood.best_codes(model, faces.train, 3)
