"""Ensembles: each member of a stack becomes what `fit` makes of it alone, and nothing passes between members."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from vaelib.autoencoder import Autoencoder, squared_error
from vaelib.bounds import iwae, iwae_dreg, sgvb_a, sgvb_b
from vaelib.decoders import BernoulliDecoder, ContinuousBernoulliDecoder, GaussianDecoder
from vaelib.encoders import DiagonalEncoder
from vaelib.ensembles import _alike, fit_ensemble
from vaelib.linear_gaussian import LinearGaussian
from vaelib.models import VAE
from vaelib.networks import mlp
from vaelib.runs import shuffled
from vaelib.score_function import score_function_elbo
from vaelib.training import NonFiniteLossError, fit

COMMON = {"device": "cpu", "progress": False}


@pytest.fixture
def x() -> Tensor:
    return torch.randint(0, 2, (50, 16)).to(torch.float64)


def scattered(make: Callable[[], nn.Module], count: int = 3) -> list[nn.Module]:
    """Models with weights of different sizes, none of them zero: so are their gradients, which tells them apart."""
    models = [make() for _ in range(count)]
    with torch.no_grad():
        for size, model in enumerate(models, start=1):
            for parameter in model.parameters():
                parameter.add_(0.1 * size * torch.randn_like(parameter))
    return models


def assert_same_as_fit(models: list[nn.Module], x: Tensor, seeds: list[int], **settings) -> pd.DataFrame:
    """Train copies of the models by `fit` and the models as an ensemble: the same states, the same history."""
    alone = copy.deepcopy(models)
    history = fit_ensemble(models, x[:-9], x[-9:], seeds=seeds, **COMMON, **settings)
    for member, (model, together, seed) in enumerate(zip(alone, models, seeds, strict=True)):
        expected = fit(model, x[:-9], x[-9:], seed=seed, **COMMON, **settings)
        rows = history[history.member == member].reset_index(drop=True)
        assert (rows.seed == seed).all()
        pd.testing.assert_frame_equal(rows.drop(columns=["member", "seed"]), expected, rtol=1e-9)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(together.state_dict()[name], value, rtol=1e-8, atol=1e-10)
    return history


# What one member becomes


@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("optimiser", ["adam", "adagrad"])
def test_without_noise_each_member_is_as_trained_alone(x, optimiser, weight_decay, max_grad_norm):
    """41 images in minibatches of 16: the last one is smaller. Two members have the same seed."""
    models = scattered(lambda: Autoencoder.mlp(16, (5,), 2))
    settings = {"optimiser": optimiser, "weight_decay": weight_decay, "max_grad_norm": max_grad_norm}
    history = assert_same_as_fit(
        models, x, [4, 0, 4], epochs=3, batch_size=16, learning_rate=0.01, objective=squared_error, **settings
    )
    assert history.groupby("member").train_squared_error.last().nunique() == 3


def test_the_constant_schedule(x):
    models = scattered(lambda: Autoencoder.linear(16, 2))
    assert_same_as_fit(models, x, [0, 1, 2], epochs=2, objective=squared_error, schedule="constant")


@pytest.mark.parametrize("frozen", [None, "encoder"])
def test_each_part_has_the_rate_of_its_name(x, frozen):
    models = scattered(lambda: Autoencoder.mlp(16, (5,), 2))
    rates = {"encoder": 0.01, "decoder": 0.05}
    if frozen is not None:
        del rates[frozen]
        for model in models:
            getattr(model, frozen).requires_grad_(False)
    assert_same_as_fit(models, x, [0, 1, 2], epochs=3, objective=squared_error, learning_rate=rates)


@pytest.fixture
def frozen_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normal draws that are a function of their shape alone, so that runs with and without `vmap` have the same."""

    def randn(shape, **settings):
        return torch.from_numpy(np.random.default_rng(7).standard_normal(tuple(shape)))

    monkeypatch.setattr(torch, "randn", randn)


OBJECTIVES = {
    "sgvb_a": partial(sgvb_a, num_samples=2),
    "sgvb_b": sgvb_b,
    "iwae": partial(iwae, num_samples=3),
    "iwae_dreg": partial(iwae_dreg, num_samples=3),
    "score_function_elbo": score_function_elbo,
}
DECODERS = {
    "bernoulli": BernoulliDecoder,
    "continuous": ContinuousBernoulliDecoder,
    "fixed": partial(GaussianDecoder, std=0.5),
    "shared": partial(GaussianDecoder, noise="shared", sigmoid_mean=True),
    "predicted": partial(GaussianDecoder, noise="predicted"),
}
TRAINED = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}


@pytest.mark.parametrize("posterior", ["diagonal", "full", "cholesky"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_and_posterior(x, frozen_noise, name, posterior):
    models = scattered(lambda: VAE.mlp(16, (5,), 2, posterior=posterior), 2)
    assert_same_as_fit(models, x, [0, 1], objective=OBJECTIVES[name], **TRAINED)


@pytest.mark.parametrize("convolutional", [False, True])
@pytest.mark.parametrize("name", DECODERS)
def test_every_likelihood_and_network(x, frozen_noise, name, convolutional):
    def make() -> VAE:
        if convolutional:
            return VAE.convolutional((4, 4), (2, 3), 2, likelihood=DECODERS[name])
        return VAE.mlp(16, (5,), 2, likelihood=DECODERS[name])

    assert_same_as_fit(scattered(make, 2), x, [0, 1], **TRAINED)


class Net(nn.Module):
    """An autoencoder of any module."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Masked(nn.Module):
    """A weight with two names, whose gradient is not laid out like itself."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.weight = self.same = nn.Parameter(torch.randn(size, size) / 4)
        self.register_buffer("mask", torch.randn(size, size))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + x * (self.same.mT * self.mask).sum(0)


def with_normalisation() -> Net:
    return Net(nn.Linear(16, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 16))


class Centred(nn.Module):
    """Takes off a running mean, which it keeps in a new tensor each time."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 16) / 4)
        self.register_buffer("centre", torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.centre = 0.9 * self.centre + 0.1 * x.mean(0)
        return (x - self.centre) @ self.weight


def with_tied_layers() -> Net:
    layer = nn.Linear(16, 16)
    return Net(layer, nn.Tanh(), layer)


def with_tied_weights() -> Net:
    layers = [nn.Linear(16, 16), nn.Linear(16, 16)]
    layers[1].weight = layers[0].weight
    return Net(layers[0], nn.Tanh(), layers[1])


def with_frozen_layer() -> Net:
    net = Net(nn.Linear(16, 5), nn.Tanh(), nn.Linear(5, 16))
    net.layers[0].requires_grad_(False)
    return net


@pytest.mark.parametrize(
    "make",
    [
        with_normalisation,
        with_tied_layers,
        with_tied_weights,
        with_frozen_layer,
        lambda: Net(Masked()),
        lambda: Net(Centred()),
    ],
    ids=["normalisation", "tied layers", "tied weights", "frozen", "masked", "centred"],
)
def test_buffers_ties_frozen_weights_and_layouts(x, make):
    models = scattered(make)
    before = models[0].layers[0].state_dict()["weight"].clone()
    settings = {"objective": squared_error, "weight_decay": 0.1, "max_grad_norm": 1.0}
    assert_same_as_fit(models, x, [0, 1, 2], **settings, **TRAINED)
    moved = not torch.equal(models[0].layers[0].state_dict()["weight"], before)
    assert moved == (make is not with_frozen_layer)


# Noise


def test_with_noise_each_member_is_an_independent_run():
    """Forty runs that learn nothing, from the same seed: the mean and the spread of their bounds, against theory."""
    truth = LinearGaussian.random(data_dim=5, latent_dim=2)
    model = truth.with_posterior(DiagonalEncoder(mlp((5, 4)), 4, 2))
    images = truth.marginal.sample((30,))
    models = [copy.deepcopy(model) for _ in range(40)]
    history = fit_ensemble(
        models, images, images[:10], seeds=[3] * 40, epochs=1, batch_size=8, learning_rate=1e-12, **COMMON
    )
    for part, shown in (("train", images), ("test", images[:10])):
        bounds = history[f"{part}_elbo"]
        with torch.no_grad():
            exact = truth.elbo(shown, model.encode(shown)).mean().item()
            alone = torch.stack([sgvb_b(model, shown).elbo for _ in range(400)])
        spread = (alone.var(0).sum().sqrt() / len(shown)).item()  # of a mean over images with draws of their own
        assert bounds.nunique() == 40
        assert bounds.mean() == pytest.approx(exact, abs=4 * spread / 40**0.5)
        assert bounds.std() == pytest.approx(spread, rel=4 / (2 * 39) ** 0.5)


def test_the_same_call_gives_the_same_result_and_other_seeds_another(x):
    models = scattered(lambda: VAE.mlp(16, (5,), 2), 2)
    first, again, other = (
        fit_ensemble(copy.deepcopy(models), x, seeds=seeds, epochs=2, **COMMON) for seeds in ([0, 1], [0, 1], [2, 1])
    )
    assert first.equals(again)
    assert (first.train_elbo != other.train_elbo).all()


def test_the_callers_random_state_and_validation_survive(x):
    models = [VAE.mlp(16, (5,), 2) for _ in range(2)]
    state = torch.get_rng_state()
    fit_ensemble(models, x, x, epochs=1, **COMMON)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="value must lie in"):
        models[0].decode(torch.zeros(1, 2)).log_prob(torch.full((1, 16), 2.0))


# Stacks


def test_models_of_several_structures_are_trained_stack_by_stack(x):
    def make(latent_dim: int, activation: type[nn.Module] = nn.ReLU) -> Autoencoder:
        return scattered(lambda: Autoencoder.mlp(16, (5,), latent_dim, activation=activation), 1)[0]

    models = [make(2), make(3), make(2), make(2, nn.Tanh), make(3)]
    assert _alike(models) == [[0, 2], [1, 4], [3]]
    assert_same_as_fit(models, x, [0, 1, 2, 3, 1], objective=squared_error, **TRAINED)


def gaussian(**settings) -> VAE:
    return VAE.mlp(16, (5,), 2, likelihood=partial(GaussianDecoder, **settings))


def vae(**settings) -> VAE:
    return VAE.mlp(16, (5,), 2, **settings)


class Other(VAE):
    pass


def given(extra: object) -> Net:
    net = Net(nn.Linear(16, 16))
    net.extra = extra
    return net


def again(place: int) -> Net:
    """Two layers, and one of them once more."""
    layers = [nn.Linear(16, 16), nn.Linear(16, 16)]
    return Net(*layers, layers[place])


def again_its_weight(place: int) -> Net:
    """Three layers, two of which have one weight."""
    layers = [nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)]
    layers[2].weight = layers[place].weight
    return Net(*layers)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        (vae, vae, True),
        (vae, partial(vae, activation=nn.Tanh), False),
        (vae, partial(vae, grey=True), False),
        (vae, lambda: vae().float(), False),
        (vae, lambda: vae().eval(), False),
        (vae, lambda: vae().requires_grad_(False), False),
        (vae, lambda: Other.mlp(16, (5,), 2), False),
        (vae, partial(vae, posterior="cholesky"), False),
        (partial(gaussian, std=0.5), partial(gaussian, std=2.0), True),  # a buffer: its value is stacked
        (gaussian, partial(gaussian, sigmoid_mean=True), False),  # repr is the same
        (gaussian, partial(gaussian, noise="shared"), False),
        (lambda: VAE.convolutional((4, 4), (2,)), lambda: VAE.convolutional((4, 4), (2,)), True),
        (lambda: VAE.convolutional((4, 4), (2,)), lambda: VAE.convolutional((2, 8), (2,)), False),
        (with_normalisation, with_normalisation, True),
        (partial(Masked, 3), partial(Masked, 3), True),
        (partial(Masked, 3), partial(Masked, 4), False),  # no attribute tells
        (partial(again, 0), partial(again, 0), True),
        (partial(again, 0), partial(again, 1), False),
        (partial(again_its_weight, 0), partial(again_its_weight, 1), False),
        (lambda: given(2.0), lambda: given(2.0), True),
        (lambda: given(2.0), lambda: given(3.0), False),
        (lambda: given(torch.ones(2)), lambda: given(torch.ones(2)), False),  # not to be compared by a yes or no
        (lambda: given(np.ones(2)), lambda: given(np.ones(2)), False),
        (lambda: given(lambda: 0), lambda: given(lambda: 0), False),
    ],
)
def test_what_is_stacked(one, other, together):
    assert _alike([one(), other()]) == ([[0, 1]] if together else [[0], [1]])


def test_models_stay_where_they_are_and_keep_their_parameters(x):
    models = [VAE.mlp(16, (5,), 2).eval() for _ in range(2)]
    before = [[(parameter, parameter.clone()) for parameter in model.parameters()] for model in models]
    fit_ensemble(models, x, epochs=1, **COMMON)
    for model, remembered in zip(models, before, strict=True):
        assert model.training
        for parameter, (same, start) in zip(model.parameters(), remembered, strict=True):
            assert parameter is same
            assert parameter.requires_grad
            assert parameter.is_leaf
            assert not torch.equal(parameter, start)


def test_modules_train_in_training_mode_and_are_evaluated_in_the_other(x):
    modes = []

    def watch(model: VAE, batch: Tensor):
        modes.append((torch.is_grad_enabled(), model.training))
        return sgvb_b(model, batch)

    fit_ensemble([VAE.mlp(16, (5,), 2) for _ in range(2)], x, x, epochs=2, objective=watch, **COMMON)
    assert modes == [(True, True), (False, False)] * 2  # once for both members


def test_images_are_evaluated_in_batches_of_a_thousand_over_all_members(x):
    sizes = []

    def watch(model: Autoencoder, batch: Tensor):
        sizes.append(len(batch))
        return squared_error(model, batch)

    models = scattered(lambda: Autoencoder.linear(16, 2))
    test = torch.rand(700, 16)
    settings = {"epochs": 1, "batch_size": 50, "learning_rate": 1e-12, **COMMON}
    history = fit_ensemble(models, x, test, objective=watch, **settings)
    assert sizes == [50, 333, 333, 34]
    for model, mean in zip(models, history.test_squared_error, strict=True):
        assert mean == pytest.approx(squared_error(model, test).squared_error.mean().item())


def test_history_is_in_long_form(x):
    models = [VAE.mlp(16, (5,), latent_dim) for latent_dim in (2, 1, 2)]
    history = fit_ensemble(models, x, x, seeds=[7, 8, 7], epochs=2, **COMMON)
    terms = ("elbo", "reconstruction", "kl")
    columns = [f"{part}_{term}" for part in ("train", "test") for term in terms]
    assert list(history) == ["epoch", "member", "seed", *columns]
    keys = [[epoch, *member] for epoch in (1, 2) for member in ([0, 7], [1, 8], [2, 7])]
    assert history[["epoch", "member", "seed"]].to_numpy().tolist() == keys
    assert history.index.tolist() == list(range(6))
    without_test = fit_ensemble(models[:2], x, epochs=1, **COMMON)
    assert list(without_test) == ["epoch", "member", "seed", *columns[:3]]
    assert without_test.seed.tolist() == [0, 1]


def test_one_bar_over_all_stacks(x, monkeypatch):
    bars = []

    class Bar:
        def __init__(self, total, *, unit, show):
            self.total, self.unit, self.show, self.done, self.said = total, unit, show, 0, []
            bars.append(self)

        def update(self):
            self.done += 1

        def set_postfix(self, said):
            self.said.append(said)

        def close(self):
            self.closed = True

    monkeypatch.setattr("vaelib.ensembles.progress_bar", Bar)
    models = [VAE.mlp(16, (5,), latent_dim) for latent_dim in (1, 2, 2)]
    history = fit_ensemble(models, x, x, epochs=3, device="cpu")
    (bar,) = bars
    assert (bar.total, bar.done, bar.unit, bar.show, bar.closed) == (6, 6, "epoch", True, True)
    last = history[(history.epoch == 3) & (history.member > 0)]
    assert bar.said[-1] == {"elbo": f"{last.test_elbo.mean():.2f}"}


# What cannot be trained


class Marked(NamedTuple):
    value: Tensor
    distance: Tensor
    quotient: Tensor


def breaks_at_the_mark(model: Autoencoder, x: Tensor) -> Marked:
    """NaN where a marked image, with 9 for its first pixel, meets a member with a broken bias."""
    distance = squared_error(model, x).squared_error
    quotient = distance * torch.where((x[:, 0] == 9) & (model.decoder.bias[0] > 1), torch.nan, 1.0)
    return Marked(-quotient, distance, quotient)


def test_a_nan_stops_with_the_member_the_step_and_the_term():
    models = [Autoencoder.linear(4, latent_dim) for latent_dim in (1, 2, 2)]
    with torch.no_grad():
        models[2].decoder.bias[0] = 3
    images = torch.rand(40, 4)
    images[11, 0] = 9
    step = shuffled(40, 6, 0, torch.device("cpu")).tolist().index(11) // 8 + 1
    message = rf"member 2 \(seed 6\) stopped .* at step {step} of epoch 1: quotient went first.*learning_rate"
    settings = {"seeds": [4, 5, 6], "batch_size": 8, "learning_rate": 1e-5, **COMMON}
    with pytest.raises(NonFiniteLossError, match=message):
        fit_ensemble(models, images, epochs=2, objective=breaks_at_the_mark, **settings)
    finite = [all(parameter.isfinite().all() for parameter in model.parameters()) for model in models]
    assert finite == [True, True, False]


def test_a_run_that_is_broken_off_leaves_the_weights_that_it_reached(x):
    def stopping(calls: int):
        def objective(model: Autoencoder, batch: Tensor):
            nonlocal calls
            calls -= 1
            if calls < 0:
                raise KeyboardInterrupt
            return squared_error(model, batch)

        return objective

    models = scattered(lambda: Autoencoder.linear(16, 2))
    alone = copy.deepcopy(models[1])
    with pytest.raises(KeyboardInterrupt):
        fit_ensemble(models, x, objective=stopping(5), **TRAINED, **COMMON)
    with pytest.raises(KeyboardInterrupt):
        fit(alone, x, seed=1, objective=stopping(5), **TRAINED, **COMMON)
    for reached, expected in zip(models[1].parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(reached, expected)


def sharing() -> list[VAE]:
    models = [VAE.mlp(16, (5,), 2) for _ in range(3)]
    models[2].decoder.head = models[1].decoder.head
    return models


def sharing_a_buffer() -> list[Net]:
    models = [with_normalisation(), with_normalisation()]
    models[1].layers[1].running_mean = models[0].layers[1].running_mean
    return models


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (lambda: [], "models must hold at least one model"),
        (lambda: [VAE.mlp(16)] * 2, r"models must not share weights.*models\[1\].*models\[0\].*deepcopy"),
        (sharing, r"models\[2\] has its decoder.head.weight from models\[1\]"),
        (sharing_a_buffer, r"models\[1\] has its layers.1.running_mean from models\[0\]"),
        (lambda: [VAE.mlp(16), VAE.mlp(16).float()], r"models must have one dtype.*torch.float32, torch.float64"),
    ],
)
def test_models_are_checked(x, models, message):
    with pytest.raises(ValueError, match=message):
        fit_ensemble(models(), x, epochs=1, **COMMON)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 1, 2]}, "seeds must hold one seed for each of 2 models, but holds 3"),
        ({"seeds": []}, "seeds must hold one seed for each of 2 models, but holds 0"),
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"optimiser": "sgd"}, "optimiser must be"),
        ({"schedule": "cosine"}, "schedule must be"),
        ({"learning_rate": {"encoder": 0.1}}, "learning_rate must be a number, or give one above 0 to each part"),
        ({"train": torch.full((5, 16), 0.5)}, "binarise"),
        ({"train": torch.zeros(16)}, "train must hold images in rows"),
        ({"test": torch.full((5, 16), torch.nan)}, "test must be finite"),
    ],
)
def test_errors_name_the_argument_before_the_first_step(x, changes, message):
    models = [VAE.mlp(16, (5,), 2, grey=True), VAE.mlp(16, (5,), 2)]  # the second alone refuses grey pixels
    before = copy.deepcopy(models)
    with pytest.raises(ValueError, match=message):
        fit_ensemble(models, **({"train": x, "epochs": 1} | COMMON | changes))
    for model, same in zip(models, before, strict=True):
        assert all(map(torch.equal, model.parameters(), same.parameters()))


def test_images_are_taken_to_the_models_dtype(x):
    models = [VAE.mlp(16, (5,), 2).float() for _ in range(2)]
    fit_ensemble(models, x, x, epochs=1, **COMMON)
    assert {parameter.dtype for model in models for parameter in model.parameters()} == {torch.float32}


def test_images_may_be_bytes():
    models = scattered(lambda: Autoencoder.mlp(16, (5,), 2), 2)
    images = torch.randint(0, 256, (50, 16)).to(torch.uint8)
    assert_same_as_fit(models, images, [0, 1], objective=squared_error, **TRAINED)
