"""Annealed importance sampling on the linear-Gaussian model, where every distribution of its path is Gaussian."""

import itertools
import math

import pytest
import torch
from torch.distributions import Distribution, MultivariateNormal

import vaelib.annealing
from vaelib.annealing import annealed_importance_sampling, inverse_temperatures
from vaelib.gaussians import DiagonalGaussian, StandardNormal
from vaelib.linear_gaussian import LinearGaussian
from vaelib.marginal import naive
from vaelib.models import VAE


@pytest.fixture
def model() -> LinearGaussian:
    return LinearGaussian.random(4, 2, log_var=0.3, seed=3)


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(1)
    return 2 * torch.randn(3, 4)


def log_p(model: LinearGaussian, x: torch.Tensor) -> torch.Tensor:
    weight, noise = model.weight.detach(), model.log_var.detach().exp()
    covariance = weight @ weight.T + noise * torch.eye(model.data_dim)
    return MultivariateNormal(model.bias.detach(), covariance).log_prob(x)


def beside(model: LinearGaussian, x: torch.Tensor) -> DiagonalGaussian:
    """A base that is neither the prior nor the posterior."""
    posterior = model.posterior(x)
    return DiagonalGaussian(posterior.mean.detach() - 0.5, (1.5 * posterior.variance.detach()).log())


def assert_mean(values: torch.Tensor, truth, errors: float = 4) -> None:
    standard_error = values.std(0) / math.sqrt(len(values))
    assert ((values.mean(0) - truth).abs() < errors * standard_error).all(), (values.mean(0), truth, standard_error)


def test_linear_temperatures():
    torch.testing.assert_close(inverse_temperatures(4, "linear"), torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))


def test_temperatures_are_float64_whatever_the_default():
    """In float32 the short steps at the ends would be the differences of numbers that hardly differ."""
    torch.set_default_dtype(torch.float32)
    for schedule in ("linear", "sigmoid"):
        assert inverse_temperatures(1000, schedule).dtype == torch.float64


def test_sigmoid_temperatures_are_short_at_both_ends():
    betas = inverse_temperatures(40)
    assert betas.dtype == torch.float64
    assert (betas[0], betas[-1]) == (0, 1)
    t = torch.arange(41) / 40
    raw = [1 / (1 + math.exp(-4 * (2 * float(value) - 1))) for value in t]
    torch.testing.assert_close(betas, torch.tensor([(value - raw[0]) / (raw[-1] - raw[0]) for value in raw]))
    torch.testing.assert_close(betas + betas.flip(0), torch.ones(41))
    steps = betas.diff()
    assert (steps > 0).all()
    assert steps[20] / steps[0] > 10
    torch.testing.assert_close(inverse_temperatures(1), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("num_temperatures", [1, 2, 7])
def test_posterior_as_base_leaves_no_error(model, x, num_temperatures):
    """The joint density is p(x) times the posterior, so every step of the path adds its share of log p(x)."""
    result = annealed_importance_sampling(
        model, x, 5, num_temperatures=num_temperatures, base=model.posterior(x), num_leapfrog=3
    )
    torch.testing.assert_close(result.log_marginal, log_p(model, x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.effective_sample_size, torch.full((3,), 5.0))


@pytest.mark.parametrize("base", [None, beside])
@pytest.mark.parametrize(
    ("num_temperatures", "num_leapfrog", "schedule"), [(1, 1, "linear"), (2, 5, "linear"), (5, 2, "sigmoid")]
)
def test_likelihood_is_estimated_without_bias(model, x, base, num_temperatures, num_leapfrog, schedule):
    many = x.repeat(2500, 1)
    result = annealed_importance_sampling(
        model,
        many,
        2,
        num_temperatures=num_temperatures,
        schedule=schedule,
        base=None if base is None else base(model, many),
        num_leapfrog=num_leapfrog,
    )
    error = result.log_marginal.view(2500, 3) - log_p(model, x)
    assert_mean(error.exp(), 1)
    assert (error.mean(0) < 0).all()


def test_weights_are_those_of_a_path_worked_out_by_hand(monkeypatch, model, x):
    """With transitions that jump to known codes the weight is a plain sum."""
    stops = iter(torch.randn(6, 4, 3, 2))  # three of the chains that tune, three of those that count
    targets = []

    def jump(log_density, point, step_size, num_leapfrog):
        targets.append(log_density)
        return point._replace(z=next(stops)), torch.full(point.z.shape[:-1], 0.65)

    monkeypatch.setattr(vaelib.annealing, "transition", jump)
    codes = torch.randn(6, 4, 3, 2)
    stops, path = iter(codes), codes[3:]
    starts = []
    base = beside(model, x)
    original = DiagonalGaussian.sample

    def sample(self, shape=()):
        starts.append(original(self, shape))
        return starts[-1]

    monkeypatch.setattr(DiagonalGaussian, "sample", sample)
    result = annealed_importance_sampling(model, x, 4, num_temperatures=4, schedule="linear", base=base)
    assert starts[-1].shape == (4, 3, 2)
    log_weights = torch.stack(
        [(model.log_joint(x, z) - base.log_prob(z)).detach() / 4 for z in [starts[-1], *path]]
    ).sum(0)
    torch.testing.assert_close(result.log_marginal, log_weights.exp().mean(0).log())
    z = torch.randn(4, 3, 2)
    for n, target in enumerate(targets[3:], 1):
        tempered = (1 - n / 4) * base.log_prob(z) + n / 4 * model.log_joint(x, z)
        torch.testing.assert_close(target(z), tempered)


def test_a_longer_path_is_better_and_beats_monte_carlo_from_the_prior():
    model = LinearGaussian.random(30, 5, log_var=-2.0)
    x = model.marginal.sample((8,))
    truth = log_p(model, x)
    short = annealed_importance_sampling(model, x, 16, num_temperatures=10, num_leapfrog=5).log_marginal - truth
    long = annealed_importance_sampling(model, x, 16, num_temperatures=100, num_leapfrog=5).log_marginal - truth
    # As many evaluations of the model: 16 chains, 100 transitions of 5 steps, twice for the step sizes.
    same_cost = naive(model, x, 16 * 100 * 5 * 2).log_marginal - truth
    assert long.abs().mean() < short.abs().mean() / 3
    assert long.abs().mean() < same_cost.abs().mean() / 3


def test_step_sizes_follow_the_path_to_the_target_acceptance(monkeypatch):
    """The density narrows fiftyfold on its way, and the transitions go on being accepted."""
    model = LinearGaussian.random(50, 2, log_var=-4.0)
    x = model.marginal.sample((5,))
    calls = []
    original = vaelib.annealing.transition

    def spy(log_density, point, step_size, num_leapfrog):
        point, acceptance = original(log_density, point, step_size, num_leapfrog)
        calls.append((step_size, acceptance))
        return point, acceptance

    monkeypatch.setattr(vaelib.annealing, "transition", spy)
    annealed_importance_sampling(model, x, 32, num_temperatures=40, num_leapfrog=5)
    assert len(calls) == 2 * 39
    tuning, counting = calls[:39], calls[39:]
    for (step_size, _), (same, _) in zip(tuning, counting, strict=True):
        assert torch.equal(step_size, same)  # the chains that count do not adapt
    for (before, acceptance), (after, _) in itertools.pairwise(tuning):
        torch.testing.assert_close((after / before).log()[0], acceptance.mean(0) - 0.65)
    assert calls[0][0].mean() / calls[-1][0].mean() > 10
    later = torch.stack([acceptance.mean() for _, acceptance in counting[10:]])
    assert abs(later.mean() - 0.65) < 0.05


def test_chains_run_as_many_at_a_time_as_allowed(monkeypatch, model, x):
    chains = []
    original = vaelib.annealing._anneal

    def spy(model, x, z, *args, **options):
        chains.append(len(z))
        return original(model, x, z, *args, **options)

    monkeypatch.setattr(vaelib.annealing, "_anneal", spy)
    annealed_importance_sampling(model, x, 10, num_temperatures=2, pairs_at_once=12)
    assert chains == [4, 4, 4, 2]  # the first of them tune
    chains.clear()
    annealed_importance_sampling(model, x, 2, num_temperatures=2, pairs_at_once=1)
    assert chains == [1, 1, 1]
    chains.clear()
    annealed_importance_sampling(model, x, 2, num_temperatures=2)
    assert chains == [2, 2]


def test_bernoulli_decoder_in_float32():
    vae = VAE.mlp(6, hidden=(5,), latent_dim=1).to(torch.float32)
    x = torch.randint(0, 2, (3, 6)).to(torch.float32)
    result = annealed_importance_sampling(vae, x, 200, num_temperatures=10)
    assert result.log_marginal.dtype == torch.float32
    torch.testing.assert_close(result.log_marginal, naive(vae, x, 100_000).log_marginal, rtol=0, atol=0.05)
    assert (result.effective_sample_size > 150).all()


def test_values_are_per_image_without_gradient_and_repeatable(model, x):
    torch.manual_seed(2)
    result = annealed_importance_sampling(model, x, 4, num_temperatures=3)
    torch.manual_seed(2)
    again = annealed_importance_sampling(model, x, 4, num_temperatures=3)
    for part, same in zip(result, again, strict=True):
        assert part.shape == (3,)
        assert not part.requires_grad
        assert torch.equal(part, same)
    assert Distribution._validate_args


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_samples": 0}, "num_samples must be an integer of at least 1"),
        ({"num_temperatures": 0}, "num_temperatures must be an integer of at least 1"),
        ({"num_leapfrog": 0}, "num_leapfrog must be an integer of at least 1"),
        ({"pairs_at_once": 0}, "pairs_at_once must be an integer of at least 1"),
        ({"schedule": "cosine"}, 'schedule must be "sigmoid" or "linear", but is \'cosine\''),
        ({"base": StandardNormal(2)}, r"base must have batch_shape \(3,\) and event_shape \(2,\)"),
        ({"x": torch.zeros(4)}, "x must hold images in rows"),
        ({"x": torch.full((3, 4), math.nan, dtype=torch.float64)}, "nan"),
    ],
)
def test_bad_arguments_are_named(model, x, change, message):
    arguments = {"x": x, "num_samples": 2, "num_temperatures": 2} | change
    with pytest.raises(ValueError, match=message):
        annealed_importance_sampling(model, **arguments)
