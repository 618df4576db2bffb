"""Table 1 of the paper on importance weighted autoencoders: its schedule, start and steps, and what is measured."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch.distributions import Bernoulli, Normal

from vaelib import data
from vaelib.bounds import sgvb_a
from vaelib.experiments import iwae
from vaelib.experiments.grid import JobError
from vaelib.marginal import importance_sampling
from vaelib.runs import shuffled


@pytest.fixture(autouse=True)
def as_in_the_book(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(iwae, "WEIGHTS", 20)
    torch.set_default_dtype(torch.float32)  # conftest.py restores it


def plain_loop(images, method, k, seed, epochs):
    """The same run in the words of torch alone: the objective of each epoch, and the model."""
    model = iwae.make_model(images, seed)
    adam = torch.optim.Adam(model.parameters(), betas=(0.9, 0.999), eps=1e-4)
    torch.manual_seed(seed)
    means = []
    for epoch in range(epochs):
        adam.param_groups[0]["lr"] = 1e-3 if epoch == 0 else 1e-3 * 10 ** (-1 / 7)
        values = []
        for rows in shuffled(len(images.train), seed, epoch, torch.device("cpu")).split(20):
            x = torch.bernoulli(images.train[rows])
            mean, log_var = model.encoder.head(model.encoder.body(x)).chunk(2, dim=1)
            q = Normal(mean, torch.exp(log_var / 2))
            z = q.rsample((k,))
            logits = model.decoder.head(model.decoder.body(z))
            log_w = Bernoulli(logits=logits).log_prob(x).sum(2)
            log_w = log_w + (Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)).sum(2)
            bound = log_w.mean(0) if method == "vae" else log_w.logsumexp(0) - math.log(k)
            adam.zero_grad()
            (-bound.mean()).backward()
            adam.step()
            values.append(bound.detach())
        means.append(torch.cat(values).mean().item())
    return means, model


def test_each_job_takes_the_steps_of_a_plain_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(iwae, "SEEDS", {"digits": range(1, 3)})
    monkeypatch.setattr(iwae, "MODELS", (("vae", 2), ("iwae", 3)))
    record = iwae.run(tmp_path, dataset="digits", epochs=2)
    jobs = record.table.groupby(["method", "k", "seed"], sort=False)
    assert list(jobs.groups) == [("iwae", 3, 1), ("vae", 2, 1), ("iwae", 3, 2), ("vae", 2, 2)]
    assert jobs["epoch"].apply(list).tolist() == [[1, 2], [1, 2], [1], [1]]  # a quarter of two, rounded up
    assert record.settings["short_epochs"] == 1
    images = data.load("digits")
    for (method, k, seed), job in jobs:
        means, model = plain_loop(images, method, k, seed, len(job))
        assert job["train_bound"].tolist() == pytest.approx(means, abs=2e-3)
    torch.manual_seed(0)
    test = torch.bernoulli(images.test)
    bound = torch.stack([sgvb_a(model, test, 100).elbo.mean() for _ in range(10)])
    assert job["test_bound"].iloc[-1] == pytest.approx(bound.mean().item(), abs=0.3)
    assert job["bound_1"].iloc[-1] == pytest.approx(bound.mean().item(), abs=0.1)
    assert (job["seconds"] > 0).all()


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    monkeypatch.setattr(iwae, "SEEDS", {"digits": range(1)})
    monkeypatch.setattr(iwae, "MODELS", (("iwae", 2),))
    monkeypatch.setattr(iwae, "SAVE_SECONDS", 0.0)
    whole = iwae.run(tmp_path / "whole", dataset="digits", epochs=2).table
    good, calls = iwae.measure, []

    def killed(model, x):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("killed")
        return good(model, x)

    monkeypatch.setattr(iwae, "measure", killed)
    with pytest.raises(JobError, match="killed"):
        iwae.run(tmp_path / "parts", dataset="digits", epochs=2)
    parts = iwae.run(tmp_path / "parts", dataset="digits", epochs=2).table
    assert len(calls) == 3
    pd.testing.assert_frame_equal(parts.drop(columns="seconds"), whole.drop(columns="seconds"))


def test_the_schedule_is_the_papers():
    assert iwae.stage_ends() == [1, 4, 13, 40, 121, 364, 1093, 3280]
    rates = iwae.staged_rates(3280, 2)
    assert len(rates) == 6560
    for stage, length in enumerate((1, 3, 9, 27, 81, 243, 729, 2187), start=1):
        mine = rates[::2][iwae.stage_ends()[stage - 1] - length :][:length]
        torch.testing.assert_close(mine, torch.full_like(mine, 1e-3 * 10 ** (-(stage - 1) / 7)))
    torch.testing.assert_close(iwae.staged_rates(20, 3), iwae.staged_rates(3280, 3)[:60])
    with pytest.raises(ValueError, match="at most 3280"):
        iwae.staged_rates(3281, 1)


def test_the_start_is_the_papers():
    mnist = data.Dataset("mnist", torch.rand(50, 784), torch.rand(5, 784), None, None, (28, 28), ())
    model = iwae.make_model(mnist, 0)
    shapes = [tuple(weight.shape) for weight in model.parameters() if weight.dim() == 2]
    assert shapes == [(200, 50), (200, 200), (784, 200), (200, 784), (200, 200), (100, 200)]  # the decoder first
    for weight in (weight for weight in model.parameters() if weight.dim() == 2):
        outputs, inputs = (50, 200) if weight.shape == (100, 200) else weight.shape
        largest = math.sqrt(6 / (inputs + outputs))
        assert weight.abs().max() <= largest
        assert weight.std().item() == pytest.approx(largest / math.sqrt(3), rel=0.03)
    mean_image = torch.sigmoid(model.decoder.head.bias)
    torch.testing.assert_close(mean_image, (mnist.train.sum(0) + 1) / 52)
    assert not any(
        bias.any() for name, bias in model.named_parameters() if "bias" in name and "decoder.head" not in name
    )


def test_log_likelihood_of_few_images_stands_for_all(monkeypatch):
    images = data.load("digits")
    model = iwae.make_model(images, 0)
    torch.manual_seed(0)
    x = torch.bernoulli(images.test[:100])
    monkeypatch.setattr(iwae, "WEIGHTS", 1000)
    state = torch.get_rng_state()
    everything = iwae.measure(model, x)
    assert torch.equal(torch.get_rng_state(), state)
    exact = importance_sampling(model, x, 20_000).log_marginal.mean().item()
    assert -everything["nll"] == pytest.approx(exact, abs=0.05)
    assert everything["bound_1"] < everything["bound_5"] < everything["bound_50"] < -everything["nll"] + 0.05
    means = model.encode(x).mean
    assert everything["active_units"] == (means.var(0) > 0.01).sum()
    monkeypatch.setattr(iwae, "IMAGES", 20)
    some = iwae.measure(model, x)
    assert 0 < some["nll_error"] < 0.5
    assert abs(some["nll"] - everything["nll"]) < 5 * some["nll_error"] + 0.05


def test_pixels_are_binarised_anew_at_every_call(monkeypatch):
    seen = []
    monkeypatch.setattr(iwae, "iwae", lambda model, x, k: seen.append((x, k)))
    objective = iwae.objective_of("iwae", 2)
    torch.manual_seed(0)
    for _ in range(2):
        objective(None, torch.full((4, 50), 0.5))
    (first, k), (second, _) = seen
    assert k == 2
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(first, second)


def test_other_sets_and_too_many_epochs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 3280"):
        iwae.run(tmp_path, dataset="digits", epochs=4000)
