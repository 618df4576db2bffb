"""Monte Carlo EM against the maximum of the likelihood in closed form, and its two steps each on its own."""

import signal

import pytest
import torch
from scipy import stats
from torch.optim import Adagrad

from vaelib.checkpoints import CheckpointError
from vaelib.inference import mcem
from vaelib.inference.mcem import MonteCarloEM
from vaelib.linear_gaussian import LinearGaussian
from vaelib.models import VAE
from vaelib.runs import NonFiniteLossError, TrainingInterrupted, seeded


def data(count: int = 200) -> torch.Tensor:
    torch.manual_seed(100)  # not that of a run: its chains would start at the very codes that the images are made of
    return LinearGaussian.random(4, 1, log_var=-1.0, seed=7).marginal.sample((count,))


def test_it_reaches_the_maximum_of_the_likelihood():
    x = data()
    best = LinearGaussian.maximum_likelihood(x, 1).log_marginal(x).mean()
    model = LinearGaussian.random(4, 1, seed=3)
    before = model.log_marginal(x).mean()
    history = MonteCarloEM(model, x, learning_rate=0.1).run(60, progress=False)
    with torch.no_grad():
        assert before < best - 1
        assert best - 0.01 < model.log_marginal(x).mean() <= best
    assert history.epoch.tolist() == list(range(1, 61))
    # log p(x, z) of a posterior draw is log p(x) minus the posterior's entropy, in expectation.
    expected = (model.log_marginal(x) - model.posterior(x).entropy()).mean().item()
    assert abs(history.train_log_joint.tail(20).mean() - expected) < 0.05


def test_the_chains_draw_from_the_posterior_one_iteration_an_epoch():
    """With the weights held, the codes' deviations in the posterior's own coordinates must become N(0, I)."""
    x = data(1000)
    model = LinearGaussian.random(4, 2, log_var=-1.0, seed=2)
    run = MonteCarloEM(model, x, learning_rate=0.0, weight_updates=1, batch_size=250)
    posterior = model.posterior(x)

    def white() -> torch.Tensor:
        return torch.linalg.solve_triangular(posterior.scale_tril, (run.codes - posterior.mean)[..., None], upper=False)

    assert white().std() > 1.5  # the chains start at the prior, not at the answer
    run.run(40, progress=False)
    values = white().detach().flatten()
    assert stats.kstest(values.numpy(), "norm").pvalue > 0.001
    correlation = torch.corrcoef(white().detach().squeeze(-1).mT)[0, 1]
    assert abs(correlation) < 4 / 1000**0.5


@pytest.mark.parametrize("target", [0.7, 0.9])
def test_the_step_size_is_tuned_to_the_target(target):
    model = LinearGaussian.random(4, 2, log_var=-1.0, seed=2)
    run = MonteCarloEM(model, data(), learning_rate=0.0, target_acceptance=target)
    history = run.run(80, progress=False)
    assert abs(history.acceptance.tail(50).mean() - target) < 0.01
    assert run.step_size == history.step_size.iloc[-1]


def test_the_m_step_is_adagrad_on_the_log_joint_of_the_codes():
    x = data(30)
    model, twin = (LinearGaussian.random(4, 1, seed=3) for _ in range(2))
    run = MonteCarloEM(model, x, batch_size=30, weight_updates=3, learning_rate=0.05, weight_decay=0.1)
    run.run(1, progress=False)
    optimiser = Adagrad(twin.parameters(), lr=0.05, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (-twin.log_joint(x, run.codes).mean()).backward()
        optimiser.step()
    for found, expected in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_every_minibatch_gets_its_weight_updates():
    run = MonteCarloEM(LinearGaussian.random(4, 1), data(50), batch_size=20, weight_updates=5)
    run.run(2, progress=False)
    assert {int(state["step"]) for state in run.optimiser.state.values()} == {2 * 3 * 5}


def test_two_runs_are_one_and_the_callers_generator_is_left_alone():
    x = data(50)
    whole, parts = (MonteCarloEM(LinearGaussian.random(4, 1, seed=3), x, batch_size=20, seed=5) for _ in range(2))
    torch.manual_seed(11)
    untouched = torch.get_rng_state()
    at_once = whole.run(5, progress=False)
    assert torch.equal(torch.get_rng_state(), untouched)
    parts.run(2, progress=False)
    torch.randn(7)
    assert at_once.equals(parts.run(5, progress=False))
    assert torch.equal(whole.codes, parts.codes)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(one, other)
    another = MonteCarloEM(LinearGaussian.random(4, 1, seed=3), x, batch_size=20, seed=6)
    assert not torch.equal(another.codes, MonteCarloEM(another.model, x, batch_size=20, seed=5).codes)


def test_no_two_steps_share_their_draws(monkeypatch):
    used = []
    monkeypatch.setattr(mcem, "seeded", lambda seed, device: used.append(seed) or seeded(seed, device))
    MonteCarloEM(LinearGaussian.random(4, 1), data(50), batch_size=20, seed=5).run(2, progress=False)
    assert len(used) == len(set(used)) == 1 + 2 * 3  # the start of the chains, and three steps an epoch


class Stop(Exception):
    """Ends a run in the middle of a step."""


@pytest.mark.parametrize("stop_at", [1, 2, 4, 9])
def test_a_run_that_died_goes_on_bit_for_bit(stop_at, tmp_path, monkeypatch):
    """50 images in minibatches of 20: three steps an epoch, so that the runs die within the first, second or third."""

    def make() -> MonteCarloEM:
        return MonteCarloEM(LinearGaussian.random(4, 1, seed=3), data(50), batch_size=20, seed=5)

    whole, dying = make(), make()
    at_once = whole.run(4, progress=False)
    steps, m_step = 0, dying._m_step

    def die(rows: torch.Tensor) -> None:
        nonlocal steps
        steps += 1
        if steps > stop_at:
            raise Stop
        m_step(rows)

    monkeypatch.setattr(dying, "_m_step", die)
    with pytest.raises(Stop):
        dying.run(4, progress=False, checkpoint=tmp_path, checkpoint_seconds=0.0)
    fresh = make()
    torch.randn(7)
    assert fresh.run(4, progress=False, checkpoint=tmp_path).equals(at_once)
    assert torch.equal(fresh.codes, whole.codes)
    assert fresh.step_size == whole.step_size
    for one, other in zip(fresh.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)
    # Adagrad's memory came along as well: the next epoch is the same.
    assert fresh.run(5, progress=False).equals(whole.run(5, progress=False))


def test_ctrl_c_saves_between_two_steps_and_says_how_to_go_on(tmp_path):
    run = MonteCarloEM(LinearGaussian.random(4, 1, seed=3), data(50), batch_size=20)
    m_step = run._m_step

    def press(rows: torch.Tensor) -> None:
        m_step(rows)
        signal.raise_signal(signal.SIGINT)

    run._m_step = press
    with pytest.raises(TrainingInterrupted, match=r"last\.pt holds the run, and the same call goes on"):
        run.run(2, progress=False, checkpoint=tmp_path)
    run._m_step = m_step
    assert run.epoch == 0
    assert run.run(2, progress=False, checkpoint=tmp_path).epoch.tolist() == [1, 2]
    assert {int(state["step"]) for state in run.optimiser.state.values()} == {2 * 3 * 5}


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    x = data(50)
    MonteCarloEM(LinearGaussian.random(4, 1), x, batch_size=20).run(1, progress=False, checkpoint=tmp_path)
    other = MonteCarloEM(LinearGaussian.random(4, 1), x, batch_size=20, learning_rate=0.5)
    with pytest.raises(CheckpointError, match=r"learning_rate was 0\.02 and is 0\.5"):
        other.run(2, progress=False, checkpoint=tmp_path)


def test_it_learns_a_neural_decoder_and_leaves_an_encoder_alone():
    torch.manual_seed(1)
    x = (torch.rand(60, 1) < 0.5).double().expand(60, 6).contiguous()  # all pixels are on, or none
    model = VAE.mlp(6, (8,), 1, activation=torch.nn.Tanh)
    encoder = {name: value.clone() for name, value in model.encoder.state_dict().items()}
    run = MonteCarloEM(model, x, batch_size=20, learning_rate=0.1)
    history = run.run(40, progress=False)
    assert history.train_log_joint.iloc[-1] > history.train_log_joint.iloc[0] + 2
    assert all(torch.equal(encoder[name], value) for name, value in model.encoder.state_dict().items())
    # Both kinds of image have found codes of their own.
    on, off = run.codes[x[:, 0] == 1], run.codes[x[:, 0] == 0]
    assert (on.mean() - off.mean()).abs() > on.std() + off.std()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"num_leapfrog": 0}, "num_leapfrog must be an integer of at least 1"),
        ({"weight_updates": 0}, "weight_updates must be an integer of at least 1"),
        ({"target_acceptance": 1.0}, r"target_acceptance must lie between 0 and 1, but is 1\.0"),
        ({"x": torch.zeros(3, 5)}, r"x must have shape \(\.\.\., 4\)"),
    ],
)
def test_bad_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        MonteCarloEM(LinearGaussian.random(4, 1), **({"x": data(5)} | changes))
    with pytest.raises(ValueError, match="epochs must be an integer of at least 1"):
        MonteCarloEM(LinearGaussian.random(4, 1), data(5)).run(0)


def test_images_of_another_dtype_are_refused():
    with pytest.raises(TypeError, match="x must have the dtype and device of the model"):
        MonteCarloEM(LinearGaussian.random(4, 1), data(5).float())


def test_a_likelihood_that_blows_up_stops_the_run():
    run = MonteCarloEM(LinearGaussian.random(4, 1, log_var=5.0), data(30), learning_rate=1e4)
    with pytest.raises(NonFiniteLossError, match=r"in epoch \d+: try a smaller learning_rate"):
        run.run(20, progress=False)
