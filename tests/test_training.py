"""Training: it optimises, it is reproducible, it leaves the caller's state alone, and it refuses what cannot work."""

import copy
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adagrad, Adam
from torch.optim.lr_scheduler import OneCycleLR

from vaelib.bounds import sgvb_b
from vaelib.devices import default_device
from vaelib.models import VAE
from vaelib.optimisers import learning_rates
from vaelib.runs import shuffled
from vaelib.training import NonFiniteLossError, evaluate, fit


class Quadratic(NamedTuple):
    value: Tensor
    distance: Tensor


class Point(nn.Module):
    """One parameter vector, to be moved to the mean of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2))


def closeness(model: Point, x: Tensor) -> Quadratic:
    squares = (x - model.w).square().sum(-1)
    return Quadratic(-squares, squares.sqrt())


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(0)
    return torch.randint(0, 2, (50, 6)).to(torch.float64)


def make_vae() -> VAE:
    torch.manual_seed(0)
    return VAE.mlp(6, hidden=(5,), latent_dim=2)


def run(x: Tensor, **changes):
    settings = {"epochs": 3, "batch_size": 16, "progress": False, "device": "cpu"} | changes
    model = make_vae()
    return model, fit(model, x, x[:10], **settings)


def test_fit_finds_the_maximum_of_a_known_objective():
    x = torch.randn(40, 2) + torch.tensor([1.0, -2.0])
    model = Point()
    fit(model, x, epochs=400, batch_size=40, learning_rate=0.1, objective=closeness, progress=False, device="cpu")
    torch.testing.assert_close(model.w.detach(), x.mean(0), atol=1e-3, rtol=0)


def test_history_has_one_row_an_epoch_and_a_column_a_term(x):
    _, history = run(x)
    terms = ("elbo", "reconstruction", "kl")
    assert list(history.columns) == ["epoch"] + [f"{part}_{term}" for part in ("train", "test") for term in terms]
    assert history.epoch.tolist() == [1, 2, 3]
    for part in ("train", "test"):
        difference = history[f"{part}_elbo"] - history[f"{part}_reconstruction"] + history[f"{part}_kl"]
        assert difference.abs().max() < 1e-10
    _, without_test = make_vae(), fit(make_vae(), x, epochs=1, progress=False)
    assert list(without_test.columns) == ["epoch", "train_elbo", "train_reconstruction", "train_kl"]


def test_history_averages_over_images_not_over_minibatches():
    x = torch.tensor([[0.0, 0.0]] * 4 + [[3.0, 4.0]])  # minibatches of 4 and 1, or 3 + 1 and 1: the mean is over 5
    history = fit(
        Point(), x, x, epochs=1, batch_size=4, learning_rate=1e-12, objective=closeness, progress=False, device="cpu"
    )
    assert history.train_distance[0] == pytest.approx(1.0, abs=1e-9)
    assert history.test_value[0] == pytest.approx(-5.0, abs=1e-9)


def test_every_image_is_seen_once_an_epoch():
    seen = []

    def watch(model: Point, x: Tensor) -> Quadratic:
        if torch.is_grad_enabled():
            seen.append(x[:, 0])
        return closeness(model, x)

    x = torch.arange(10.0).repeat(2, 1).T.contiguous()
    fit(Point(), x, epochs=2, batch_size=4, objective=watch, progress=False, device="cpu")
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    first, second = torch.cat(seen[:3]), torch.cat(seen[3:])
    assert torch.equal(first.sort().values, x[:, 0])
    assert torch.equal(second.sort().values, x[:, 0])
    assert not torch.equal(first, second)


def test_same_seed_same_run_other_seed_other_run(x):
    (first, history), (second, again), (third, _) = run(x, seed=1), run(x, seed=1), run(x, seed=2)
    assert history.equals(again)
    for a, b, c in zip(first.parameters(), second.parameters(), third.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_the_callers_random_state_and_validation_survive(x):
    model = make_vae()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit(model, x, epochs=1, progress=False, device="cpu")
    evaluate(model, x)
    assert torch.equal(torch.rand(1), expected)
    with pytest.raises(ValueError, match="value must lie in"):
        model.decode(torch.zeros(1, 2)).log_prob(torch.full((1, 6), 2.0))


def test_schedules_differ_and_two_end_near_zero(x):
    steps: dict[str, list[float]] = {}
    for schedule in ("one-cycle", "linear", "constant"):
        before, rates = None, []

        def watch(model: Point, x: Tensor) -> Quadratic:
            nonlocal before
            if before is not None:
                rates.append((model.w.detach() - before).abs().max().item())  # noqa: B023
            before = model.w.detach().clone()
            return closeness(model, x)

        data = torch.full((4, 2), 1e6)  # so far away that Adam's steps are the learning rate itself
        fit(
            Point(),
            data,
            epochs=40,
            batch_size=4,
            learning_rate=0.01,
            schedule=schedule,
            objective=watch,
            progress=False,
            device="cpu",
        )
        steps[schedule] = rates
    assert steps["constant"] == pytest.approx([0.01] * 39, rel=1e-3)
    assert max(steps["one-cycle"]) == pytest.approx(0.01, rel=0.01)
    assert steps["one-cycle"][0] < 0.001
    assert steps["one-cycle"][-1] < 0.001
    assert steps["linear"] == pytest.approx(learning_rates("linear", 0.01, 40)[:-1].tolist(), rel=1e-3)


def manually(x: Tensor, steps: int, make_optimiser, max_grad_norm: float | None = None) -> Tensor:
    """What `fit` should do to a `Point` on one minibatch of all images, written out: where it ends."""
    model = Point()
    optimiser = make_optimiser(model.parameters())
    for _ in range(steps):
        optimiser.zero_grad()
        (-closeness(model, x).value.mean()).backward()
        if max_grad_norm is not None:
            model.w.grad *= min(1.0, max_grad_norm / model.w.grad.norm().item())
        optimiser.step()
    return model.w.detach()


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adagrad", Adagrad)])
def test_the_optimisers_are_torchs_with_these_settings(name, kind, weight_decay):
    x = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    model = Point()
    settings = {"optimiser": name, "schedule": "constant", "learning_rate": 0.1, "weight_decay": weight_decay}
    fit(model, x, epochs=7, objective=closeness, progress=False, device="cpu", **settings)
    expected = manually(x, 7, lambda parameters: kind(parameters, lr=0.1, weight_decay=weight_decay))
    torch.testing.assert_close(model.w.detach(), expected)


@pytest.mark.parametrize("norm", [0.01, 4.0, 1e3])
def test_long_gradients_are_shortened_to_the_norm_and_short_ones_left(norm):
    x = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    model = Point()
    settings = {"optimiser": "adagrad", "schedule": "constant", "learning_rate": 0.1, "max_grad_norm": norm}
    fit(model, x, epochs=7, objective=closeness, progress=False, device="cpu", **settings)
    # Adagrad does not mind one factor for all steps; at 4.0 the first gradients are shortened and the last are not.
    expected = manually(x, 7, lambda parameters: Adagrad(parameters, lr=0.1), norm)
    torch.testing.assert_close(model.w.detach(), expected, rtol=1e-5, atol=1e-7)
    unclipped = manually(x, 7, lambda parameters: Adagrad(parameters, lr=0.1))
    assert torch.allclose(expected, unclipped, rtol=1e-4) == (norm == 1e3)


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adagrad", Adagrad)])
def test_each_part_has_the_rate_of_its_name(name, kind):
    """Fifty steps on one minibatch, written out with torch's groups of parameters."""
    torch.manual_seed(0)
    x = torch.randint(0, 2, (8,), dtype=torch.float64).repeat(30, 1)  # alike: their order must not matter
    model = VAE.mlp(8, (6,), 2)
    plain = copy.deepcopy(model)
    rates = {"decoder": 0.02, "encoder": 0.005}
    settings = {"optimiser": name, "schedule": "constant", "learning_rate": rates, "seed": 3}
    fit(model, x, epochs=50, batch_size=30, progress=False, device="cpu", **settings)
    groups = [{"params": getattr(plain, part).parameters(), "lr": rate} for part, rate in rates.items()]
    optimiser = kind(groups)
    torch.manual_seed(3)
    for _ in range(50):
        optimiser.zero_grad()
        (-sgvb_b(plain, x).elbo.mean()).backward()
        optimiser.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "rates", [{"encoder": 0.1}, {"encoder": 0.1, "decoder": 0.1, "prior": 0.1}, {"encoder": 0.0, "decoder": 0.1}, {}]
)
def test_rates_that_do_not_fit_the_parts_are_refused(rates):
    message = r"learning_rate must be .* to each part of the model that learns, \['decoder', 'encoder'\], but is {"
    with pytest.raises(ValueError, match=message):
        fit(make_vae(), torch.ones(2, 6), epochs=1, learning_rate=rates, progress=False)


def test_bytes_are_grey_levels():
    torch.manual_seed(0)
    levels = torch.randint(0, 256, (50, 6), dtype=torch.uint8)
    histories = []
    for x in (levels, levels / 255.0):
        torch.manual_seed(0)
        model = VAE.mlp(6, (5,), 2, grey=True)
        histories.append(fit(model, x, x[:10], epochs=2, batch_size=16, progress=False, device="cpu"))
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    with pytest.raises(ValueError, match="binarise"):
        fit(make_vae(), levels, epochs=1, progress=False)


def test_the_loop_is_the_plain_one():
    """Two hundred steps in float32, written out with torch's own optimiser and schedule, and the same draws."""
    torch.manual_seed(0)
    x = torch.randint(0, 2, (640, 20), dtype=torch.float32)
    model = VAE.mlp(20, (32,), 4).float()
    plain = copy.deepcopy(model)
    history = fit(model, x, epochs=10, batch_size=32, learning_rate=6e-3, seed=3, progress=False, device="cpu")

    optimiser = Adam(plain.parameters(), lr=6e-3)
    scheduler = OneCycleLR(optimiser, max_lr=6e-3, total_steps=200, cycle_momentum=False)
    torch.manual_seed(3)
    losses = []
    for epoch in range(10):
        order = shuffled(640, 3, epoch, torch.device("cpu"))
        for rows in order.view(20, 32):
            batch = x[rows]
            q = plain.encode(batch)
            z = q.loc + q.log_var.mul(0.5).exp() * torch.randn_like(q.loc)
            logits = plain.decode(z).logits
            cross_entropy = functional.binary_cross_entropy_with_logits(logits, batch, reduction="sum")
            kl = 0.5 * (q.loc.square() + q.log_var.exp() - 1 - q.log_var).sum()
            optimiser.zero_grad()
            ((cross_entropy + kl) / 32).backward()
            optimiser.step()
            scheduler.step()
            losses.append((cross_entropy + kl).item() / 32)
    expected = -torch.tensor(losses).view(10, 20).mean(1)
    torch.testing.assert_close(torch.tensor(history.train_elbo), expected, rtol=1e-4, atol=0)


def test_another_seed_is_another_order():
    seen: list[Tensor] = []

    def watch(model: Point, x: Tensor) -> Quadratic:
        seen.append(x[:, 0])
        return closeness(model, x)

    x = torch.arange(20.0).repeat(2, 1).T.contiguous()
    for seed in (0, 1):
        fit(Point(), x, epochs=1, seed=seed, objective=watch, progress=False, device="cpu")
    assert not torch.equal(*seen)


def test_modules_train_in_training_mode_and_are_evaluated_in_the_other(x):
    modes = []

    def watch(model: VAE, batch: Tensor):
        modes.append((torch.is_grad_enabled(), model.training))
        return sgvb_b(model, batch)

    model = make_vae().eval()
    fit(model, x, x, epochs=2, objective=watch, progress=False, device="cpu")
    assert set(modes) == {(True, True), (False, False)}
    assert model.training
    evaluate(model.eval(), x)
    assert not model.training


def test_evaluate_changes_nothing_and_agrees_with_the_objective(x):
    model = make_vae()
    means = evaluate(model, x, seed=3, batch_size=7)
    torch.manual_seed(3)
    with torch.no_grad():
        terms = [sgvb_b(model, batch) for batch in x.split(7)]
    for name in ("elbo", "reconstruction", "kl"):
        expected = torch.cat([getattr(term, name) for term in terms]).mean().item()
        assert means[name] == pytest.approx(expected, rel=1e-12)
    assert all(p.grad is None for p in model.parameters())


def test_a_nan_stops_with_the_step_and_the_term(x):
    calls = 0

    def breaks(model: VAE, batch: Tensor):
        nonlocal calls
        terms = sgvb_b(model, batch)
        calls += torch.is_grad_enabled()
        if calls == 6:  # four steps an epoch: the second step of epoch 2
            kl = terms.kl * float("nan")
            return terms._replace(kl=kl, elbo=terms.reconstruction - kl)
        return terms

    with pytest.raises(NonFiniteLossError, match=r"step 2 of epoch 2: kl went first.*learning_rate"):
        run(x, objective=breaks)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"schedule": "cosine"}, "schedule must be"),
    ],
)
def test_errors_name_the_argument(x, changes, message):
    with pytest.raises(ValueError, match=message):
        run(x, **changes)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (torch.ones(50, 6, dtype=torch.int64), TypeError, "train must be floating point"),
        (torch.ones(6), ValueError, "train must hold images in rows"),
        (torch.ones(0, 6), ValueError, "train must hold images in rows"),
        (torch.ones(50, 5), ValueError, r"shape \(\.\.\., 6\)"),
        (torch.full((50, 6), float("nan")), ValueError, "train must be finite"),
        (torch.full((50, 6), 2.0), ValueError, r"\[0, 1\]"),
        (torch.full((50, 6), 0.5), ValueError, "binarise"),
    ],
)
def test_images_are_checked_before_the_first_step(x, bad, error, message):
    with pytest.raises(error, match=message):
        fit(make_vae(), bad, epochs=1, progress=False)
    model = make_vae()
    with pytest.raises(error, match=message.replace("train", "test")):
        fit(model, x, bad, epochs=1, progress=False)
    assert_unchanged(model)


def assert_unchanged(model: VAE) -> None:
    for parameter, fresh in zip(model.parameters(), make_vae().parameters(), strict=True):
        assert torch.equal(parameter, fresh)


def test_default_device_is_where_the_model_ends_up(x):
    model = make_vae().to(torch.float32)
    fit(model, x, epochs=1, progress=False)
    assert next(model.parameters()).device.type == default_device().type
