"""The switches switch what they say, the referees are right, and the measures do not mind the codes' scale."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from vaelib import data
from vaelib.bounds import sgvb_b
from vaelib.experiments import proximity
from vaelib.experiments.proximity import Referees, judge, measure, measure_images, pairs, spread, switched
from vaelib.models import VAE
from vaelib.training import fit


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    images = data.load("digits")
    return data.replace(images, train=images.train.double(), test=images.test.double())


@pytest.fixture(scope="module")
def referees(digits: data.Dataset) -> Referees:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    found = Referees(digits)
    torch.set_default_dtype(before)
    return found


# The objective


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("pull", [False, True])
def test_the_switches(noise: bool, pull: bool) -> None:
    model, x = VAE.mlp(12, (8,), 3), torch.rand(7, 12).round()
    torch.manual_seed(1)
    terms = switched(noise, pull)(model, x)
    torch.manual_seed(1)
    q = model.encode(x)
    z = q.mean + noise * torch.exp(0.5 * q.log_var) * torch.randn(7, 3)
    logits = model.decoder(z).logits
    reconstruction = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    kl = 0.5 * (q.mean**2 + q.log_var.exp() - 1 - q.log_var).sum(1)
    torch.testing.assert_close(terms.reconstruction, reconstruction)
    torch.testing.assert_close(terms.kl, kl)
    torch.testing.assert_close(terms.elbo, reconstruction - pull * kl)
    terms.elbo.sum().backward()
    log_var_learns = bool((model.encoder.head.bias.grad[3:] != 0).any())
    assert log_var_learns is (noise or pull)


def test_both_switches_make_a_vae() -> None:
    model, x = VAE.mlp(12, (8,), 3), torch.rand(7, 12).round()
    found = []
    for objective in (switched(*proximity.MODELS["vae"]), sgvb_b):
        torch.manual_seed(1)
        found.append(objective(model, x))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)
    assert switched(*proximity.MODELS["autoencoder"])(model, x).elbo.equal(
        model.decode(model.encode(x).mean).log_prob(x)
    )


# The referees


def test_the_classifier_knows_the_digits(digits: data.Dataset, referees: Referees) -> None:
    probabilities = referees(digits.test).probabilities
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(digits.test)))
    assert (probabilities.argmax(1) == digits.test_labels).double().mean() > 0.9


def test_the_nearest_training_image(digits: data.Dataset, referees: Referees) -> None:
    x = torch.cat([digits.test[:300], digits.train[:1]])  # in two parts
    nearest = referees(x).nearest
    expected = torch.stack([(digits.train - image).square().sum(1).amin().sqrt() for image in x])
    torch.testing.assert_close(nearest[:300], expected[:300])
    assert nearest[300] < 1e-6


def test_the_density_is_a_mixture_over_the_classes(digits: data.Dataset, referees: Referees) -> None:
    x = digits.test[:5]
    parts = [model.marginal for model in referees.densities]
    densities = torch.stack([
        torch.distributions.MultivariateNormal(part.loc, part.covariance_matrix).log_prob(x).exp() for part in parts
    ])  # fmt: skip
    torch.testing.assert_close(referees(x).log_density, densities.mean(0).log())
    for label, part in enumerate(parts):
        members = digits.train[digits.train_labels == label]
        torch.testing.assert_close(part.loc, members.mean(0))


def test_a_set_without_classes_is_refused(digits: data.Dataset) -> None:
    with pytest.raises(ValueError, match=r"images must have classes, but the set digits has none"):
        Referees(data.replace(digits, train_labels=None))


def test_verdicts_by_hand() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.5, 0.5], [0.1, 0.9]])
    verdict = proximity.Verdict(probabilities, torch.tensor([1.0, 2.0, 6.0]), torch.tensor([-1.0, -2.0, 0.0]))
    found = judge(
        lambda x: verdict,
        {"midpoint": torch.zeros(3, 4), "random": torch.zeros(3, 4)},
        torch.tensor([[0, 1, 0], [2, 2, 2]]),
    )
    entropy = -(0.95 * math.log(0.95) + 0.05 * math.log(0.05)) - math.log(0.5)
    entropy -= 0.9 * math.log(0.9) + 0.1 * math.log(0.1)
    expected = {"confident": 1 / 3, "entropy": entropy / 3, "nearest": 3.0, "log_density": -1.0}
    assert found == pytest.approx(
        {f"{name}_{key}": value for name in ("midpoint", "random") for key, value in expected.items()}
        | {"midpoint_end": 1 / 3}
    )


def test_pairs_are_of_two_classes_and_always_the_same(digits: data.Dataset) -> None:
    labels = digits.test_labels
    state = torch.get_rng_state()
    i, j = pairs(labels, 50)
    assert torch.equal(torch.get_rng_state(), state)
    assert i.shape == j.shape == (50,)
    assert (labels[i] != labels[j]).all()
    assert torch.equal(torch.stack(pairs(labels, 50)), torch.stack((i, j)))
    assert len(set(i.tolist())) > 40


def test_the_ends_of_a_midpoint_are_a_pair(digits: data.Dataset, referees: Referees) -> None:
    i, j = pairs(digits.test_labels, proximity.PLACES)
    found = measure_images(digits, referees)
    assert found["image_nearest"] == pytest.approx(referees(digits.test[i]).nearest.mean().item())
    half = referees((digits.test[i] + digits.test[j]) / 2)
    assert found["midimage_entropy"] == pytest.approx(torch.special.entr(half.probabilities).sum(1).mean().item())


# The measures


def test_spread_by_hand() -> None:
    assert spread(torch.tensor([[0.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 1.0]])) == pytest.approx(math.sqrt(8 / 4))


@torch.no_grad()
def stretched(model: VAE, factor: float) -> VAE:
    """The same autoencoder with codes `factor` times as long."""
    other = VAE.mlp(model.data_dim, (16,), model.latent_dim, grey=True)
    other.load_state_dict(model.state_dict())
    other.encoder.head.weight *= factor
    other.encoder.head.bias *= factor
    other.decoder.body[0].weight /= factor
    return other


def test_measures_do_not_depend_on_the_unit_of_the_codes(digits: data.Dataset, referees: Referees) -> None:
    model = VAE.mlp(digits.dim, (16,), 2, grey=True)
    fit(model, digits.train, epochs=3, learning_rate=1e-2, objective=switched(False, False), progress=False)
    other = stretched(model, 8)
    state = torch.get_rng_state()
    one, other = (measure(m, digits, referees) for m in (model, other))
    assert torch.equal(torch.get_rng_state(), state)
    assert other.pop("code_spread") == pytest.approx(8 * one.pop("code_spread"))
    assert other.pop("posterior_std") != one.pop("posterior_std")
    assert one == pytest.approx(other, rel=1e-6)


def test_measures_by_another_way(digits: data.Dataset, referees: Referees) -> None:
    model = VAE.mlp(digits.dim, (16,), 2, grey=True)
    found = measure(model, digits, referees)
    with torch.no_grad():
        z = model.encode(digits.test).mean
        x = model.decode(z).mean
        probabilities, pixels = x.clamp(1e-12, 1 - 1e-12), digits.test
        cross_entropy = -(pixels * probabilities.log() + (1 - pixels) * (1 - probabilities).log()).sum(1)
        i, j = pairs(digits.test_labels, proximity.PLACES)
        middle = model.decode((z[i] + z[j]) / 2).mean
    assert found["squared_error"] == pytest.approx((x - pixels).square().sum(1).mean().item())
    assert found["cross_entropy"] == pytest.approx(cross_entropy.mean().item())
    assert found["reconstruction_nearest"] == pytest.approx(referees(x[i]).nearest.mean().item())
    assert found["midpoint_log_density"] == pytest.approx(referees(middle).log_density.mean().item())
    for name in ("encoder", "decoder"):
        assert found[f"{name}_lipschitz"] <= found[f"{name}_jacobian"] * 1.5  # kinks apart, the Jacobian is the most
        assert found[f"{name}_jacobian"] <= found[f"{name}_jacobian_95"] * 1.5


def test_stretch_by_finite_differences(digits: data.Dataset, referees: Referees, monkeypatch) -> None:
    """At one image and its code, in units of the spreads."""
    model = VAE.mlp(digits.dim, (16,), 2, grey=True)
    monkeypatch.setattr(proximity, "PLACES", 2)
    with torch.no_grad():
        z = model.encode(digits.test).mean
        unit = spread(z) / spread(digits.test)
        expected = []
        for f, points in ((lambda x: model.encode(x).mean, digits.test), (lambda z: model.decode(z).mean, z)):
            steps = 1e-6 * torch.eye(points.shape[1])
            columns = [(f(point + steps) - f(point - steps)) / 2e-6 for point in points[:2]]
            expected.append(torch.stack([torch.linalg.svdvals(jacobian)[0] for jacobian in columns]))
    found = measure(model, digits, referees)
    assert found["encoder_jacobian"] == pytest.approx(expected[0].mean().item() / unit, rel=1e-4)
    assert found["decoder_jacobian"] == pytest.approx(expected[1].mean().item() * unit, rel=1e-4)
    assert found["decoder_jacobian_95"] == pytest.approx(expected[1].quantile(0.95).item() * unit, rel=1e-4)


# The experiment


def test_a_row_is_what_the_chapter_measures(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setattr(proximity, "IMAGES", 100)
    monkeypatch.setattr(proximity, "PLACES", 50)
    torch.set_default_dtype(torch.float32)  # as in the book; conftest.py restores it
    state = torch.get_rng_state()
    record = proximity.run(tmp_path, dataset="digits", epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert record.name == "proximity-digits"
    assert (record.settings["dataset"], record.settings["dtype"]) == ("digits", "float32")
    table = record.table
    sizes = table.groupby(["model", "latent_dim"]).size().to_dict()
    assert sizes == {(name, k): 5 for name in ("autoencoder", "vae") for k in (2, 10)} | {
        ("noise", 2): 5, ("pull", 2): 5,
    }  # fmt: skip
    assert table.squared_error.nunique() == 30  # no two runs are the same
    images = data.load("digits")
    referees = Referees(images)
    for name, latent_dim, seed in (("vae", 10, 0), ("autoencoder", 10, 0), ("pull", 2, 3)):
        # As in book/part-1/proximity.md
        torch.manual_seed(seed)
        model = VAE.mlp(images.dim, (400,), latent_dim, grey=True)
        objective = switched(*proximity.MODELS[name])
        fit(model, images.train, epochs=1, objective=objective, learning_rate=6e-3, seed=seed, progress=False)
        row = measure(model, images, referees) | measure_images(images, referees)
        expected = table[(table.model == name) & (table.latent_dim == latent_dim) & (table.seed == seed)]
        pd.testing.assert_frame_equal(expected[list(row)].reset_index(drop=True), pd.DataFrame([row]), check_exact=True)


@pytest.mark.parametrize(("name", "lengths"), [("mnist", (5, 1)), ("digits", (150, 30))])
def test_the_jobs_are_the_chapters(tmp_path, monkeypatch, digits, name, lengths) -> None:
    monkeypatch.setattr(data, "load", lambda dataset: data.replace(digits, name=name))
    monkeypatch.setattr(proximity, "Referees", lambda images: None)
    monkeypatch.setattr(proximity, "measure_images", lambda images, referees: {})
    asked = []
    monkeypatch.setattr(proximity, "run_grid", lambda name, jobs, *_, **__: asked.extend([name, jobs]))
    proximity.run(tmp_path)
    assert asked[0] == f"proximity-{name}"
    table = pd.DataFrame(asked[1])
    assert table.groupby(["model", "latent_dim", "epochs"]).seed.nunique().to_dict() == {
        (model, k, epochs): 5 for model in ("autoencoder", "vae") for k in (2, 10) for epochs in lengths
    } | {(model, 2, lengths[0]): 5 for model in ("noise", "pull")}


def test_epochs_must_be_positive(tmp_path) -> None:
    with pytest.raises(ValueError, match="epochs must be an integer of at least 1, but is 0"):
        proximity.run(tmp_path, dataset="digits", epochs=0)
