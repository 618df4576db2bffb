"""Hamiltonian Monte Carlo: the integrator against its algebra, the draws against densities that are known exactly."""

import math

import pytest
import torch
from torch.distributions import Distribution, MultivariateNormal

import vaelib.hmc
from vaelib.hmc import HMCResult, evaluate, hmc, leapfrog, transition


def normal(z: torch.Tensor) -> torch.Tensor:
    return -z.square().sum(-1) / 2


def quartic(z: torch.Tensor) -> torch.Tensor:
    """Two unequal wells in the first coordinate, coupled to the second: no direction is harmonic."""
    return -(z[..., 0] ** 4) / 4 + z[..., 0] ** 2 - 0.3 * z[..., 0] - (z[..., 1:] - z[..., :1].sin()).square().sum(-1)


def energy(log_density, z: torch.Tensor, momentum: torch.Tensor) -> torch.Tensor:
    return -log_density(z) + momentum.square().sum(-1) / 2


def assert_mean(values: torch.Tensor, truth, errors: float = 4) -> None:
    """The mean of independent `values` over dim 0 lies within so many standard errors of `truth`."""
    standard_error = values.std(0) / math.sqrt(len(values))
    assert ((values.mean(0) - truth).abs() < errors * standard_error).all(), (values.mean(0), truth, standard_error)


# The integrator


def test_evaluate_gives_each_chain_its_own_gradient():
    z = torch.randn(4, 3, 2)
    point = evaluate(quartic, z)
    torch.testing.assert_close(point.log_density, quartic(z))
    step = 1e-6
    for k in range(2):
        shift = step * torch.eye(2)[k]
        torch.testing.assert_close(point.gradient[..., k], (quartic(z + shift) - quartic(z - shift)) / (2 * step))
    assert not any(part.requires_grad for part in point)


def test_leapfrog_is_the_matrix_power_it_is_for_a_harmonic_oscillator():
    step, count = 0.7, 9
    matrix = torch.tensor([[1 - step**2 / 2, step], [-step * (1 - step**2 / 4), 1 - step**2 / 2]])
    start = torch.randn(5, 2)  # position and momentum
    end, momentum = leapfrog(normal, evaluate(normal, start[:, :1]), start[:, 1:], torch.full((5,), step), count)
    torch.testing.assert_close(torch.cat([end.z, momentum], -1), start @ torch.matrix_power(matrix, count).T)


def test_leapfrog_runs_back_when_the_momentum_is_turned_round():
    z, momentum, step = torch.randn(50, 2), torch.randn(50, 2), torch.full((50,), 0.15)
    end, turned = leapfrog(quartic, evaluate(quartic, z), momentum, step, 20)
    back, returned = leapfrog(quartic, end, -turned, step, 20)
    assert (end.z - z).norm(dim=-1).min() > 1e-2
    torch.testing.assert_close(back.z, z, rtol=0, atol=1e-9)
    torch.testing.assert_close(returned, -momentum, rtol=0, atol=1e-9)


def test_leapfrog_keeps_volume():
    state, width, step = torch.randn(4), 1e-5, torch.tensor(0.3)

    def flow(state: torch.Tensor) -> torch.Tensor:
        end, momentum = leapfrog(quartic, evaluate(quartic, state[:2]), state[2:], step, 7)
        return torch.cat([end.z, momentum])

    columns = [(flow(state + width * e) - flow(state - width * e)) / (2 * width) for e in torch.eye(4)]
    jacobian = torch.stack(columns, 1)
    assert (jacobian - torch.eye(4)).abs().max() > 0.5
    assert abs(torch.linalg.det(jacobian) - 1) < 1e-6


def test_energy_errs_by_the_square_of_the_step_size():
    z, momentum = torch.randn(100, 2), torch.randn(100, 2)
    before = energy(quartic, z, momentum)
    errors = []
    for count in (50, 100, 200):  # steps through the same time
        end, end_momentum = leapfrog(quartic, evaluate(quartic, z), momentum, torch.full((100,), 1 / count), count)
        errors.append((energy(quartic, end.z, end_momentum) - before).square().mean().sqrt())
    assert 3.9 < errors[0] / errors[1] < 4.1
    assert 3.9 < errors[1] / errors[2] < 4.1


def test_each_chain_has_its_own_step_size():
    steps, z, momentum = torch.tensor([0.1, 0.3]), torch.randn(2, 2), torch.randn(2, 2)
    both, _ = leapfrog(quartic, evaluate(quartic, z), momentum, steps, 5)
    for n in range(2):
        alone, _ = leapfrog(quartic, evaluate(quartic, z[n]), momentum[n], steps[n], 5)
        torch.testing.assert_close(both.z[n], alone.z)


# The chains


@pytest.fixture(scope="module")
def wells() -> tuple[torch.Tensor, torch.Tensor]:
    """A grid over the line and the probabilities of its cells under exp(skewed)."""
    grid = torch.linspace(-5, 5, 20001, dtype=torch.float64)
    return grid, skewed(grid.unsqueeze(-1)).softmax(0)


def skewed(z: torch.Tensor) -> torch.Tensor:
    return (-(z**4) / 4 + z**2 - 0.3 * z).sum(-1)


def test_one_transition_is_in_detailed_balance(wells):
    grid, probabilities = wells
    chains = 400_000
    z = grid[torch.multinomial(probabilities, chains, replacement=True)].unsqueeze(-1)
    point, acceptance = transition(skewed, evaluate(skewed, z), torch.full((chains,), 0.6), 3)
    assert 0.5 < acceptance.mean() < 0.9  # the Metropolis test matters
    edges = torch.tensor([-1.5, -0.8, 0.0, 0.8, 1.5])
    pairs = 6 * torch.bucketize(z[:, 0], edges) + torch.bucketize(point.z[:, 0], edges)
    counts = torch.bincount(pairs, minlength=36).view(6, 6).double()
    flow, total = counts - counts.T, counts + counts.T
    assert (counts > 300).sum() > 20
    assert (flow.abs() <= 4 * total.sqrt()).all()
    # and so the density is left as it was
    share = torch.bincount(torch.bucketize(point.z[:, 0], edges), minlength=6) / chains
    truth = torch.zeros(6).scatter_add(0, torch.bucketize(grid, edges), probabilities)
    assert ((share - truth).abs() < 4 * (truth * (1 - truth) / chains).sqrt()).all()


def test_histogram_of_long_chains_is_the_density(wells):
    grid, probabilities = wells
    result = hmc(skewed, torch.full((500, 1), 4.0), 200, step_size=0.7, num_leapfrog=5, warmup=50)
    edges = torch.tensor([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
    bins = torch.bucketize(result.samples[..., 0], edges)
    shares = torch.nn.functional.one_hot(bins, 9).double().mean(0)  # one row for each of the independent chains
    truth = torch.zeros(9).scatter_add(0, torch.bucketize(grid, edges), probabilities)
    assert_mean(shares, truth)


def test_moments_of_a_correlated_gaussian():
    loc, covariance = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([[2.0, 1.2, 0.0], [1.2, 1.0, -0.1], [0, -0.1, 0.3]])
    target = MultivariateNormal(loc, covariance)
    result = hmc(target.log_prob, torch.zeros(300, 3), 50, warmup=100)
    # Draws within a chain are correlated, but chains are not: the spread of their averages has it all.
    assert_mean(result.samples.mean(0), loc)
    deviations = result.samples - loc
    assert_mean((deviations.unsqueeze(-1) * deviations.unsqueeze(-2)).mean(0), covariance)


def test_a_trajectory_of_one_period_does_not_trap_the_chain():
    step = math.sqrt(2 - 2 * math.cos(2 * math.pi / 10))  # 10 such leapfrog steps are the identity
    result = hmc(normal, torch.full((1000, 1), 3.0), 40, num_leapfrog=10, step_size=step)
    assert_mean(result.samples[-1], 0)


@pytest.mark.parametrize("target", [0.65, 0.9])
@pytest.mark.parametrize("step_size", [0.01, 10.0])
def test_acceptance_comes_to_the_target(target, step_size):
    scales = torch.tensor([1.0, 0.1, 0.01]).repeat_interleave(100)  # of the densities of 300 chains
    result = hmc(
        lambda z: normal(z / scales.unsqueeze(-1)),
        scales.unsqueeze(-1) * torch.randn(300, 5),
        100,
        step_size=step_size,
        target_acceptance=target,
        warmup=150,
    )
    acceptance = result.acceptance.view(3, 100).mean(1)
    assert ((acceptance - target).abs() < 0.03).all()
    relative = (result.step_size / scales).view(3, 100).mean(1)
    torch.testing.assert_close(relative, relative.mean().expand(3), rtol=0.05, atol=0)


def test_acceptance_is_how_often_the_chains_move():
    result = hmc(normal, torch.randn(500, 4), 100, step_size=1.2, num_leapfrog=3)
    path = torch.cat([torch.full_like(result.samples[:1], torch.nan), result.samples])
    moved = (path[2:] != path[1:-1]).any(-1).double().mean(0)
    assert 0.3 < result.acceptance.mean() < 0.95
    assert_mean(moved - result.acceptance, 0)


@pytest.mark.parametrize("warmup", [1, 2, 7])
def test_step_sizes_follow_robbins_and_monro_and_then_stay(monkeypatch, warmup):
    used = []

    def rejecting(log_density, point, step_size, num_leapfrog):
        used.append(step_size)
        return point, torch.tensor([0.0, 0.25])

    monkeypatch.setattr(vaelib.hmc, "transition", rejecting)
    result = hmc(normal, torch.zeros(2, 1), 3, step_size=2.0, target_acceptance=0.8, warmup=warmup)
    logs = [torch.full((2,), math.log(2.0))]
    for n in range(1, warmup + 1):
        logs.append(logs[-1] + (torch.tensor([0.0, 0.25]) - 0.8) / (0.4 * math.sqrt(n)))
    for step_size, log in zip(used[:warmup], logs, strict=False):
        torch.testing.assert_close(step_size, log.exp())
    second_half = logs[1 + warmup // 2 :]
    torch.testing.assert_close(result.step_size, torch.stack(second_half).mean(0).exp())
    assert len(used) == warmup + 3
    assert all(torch.equal(step_size, result.step_size) for step_size in used[warmup:])


def test_result_has_the_promised_shapes_and_no_graph():
    weight = torch.nn.Parameter(torch.ones(2))
    result = hmc(lambda z: normal(weight * z), torch.zeros(4, 3, 2), 6, warmup=2)
    assert isinstance(result, HMCResult)
    assert [tuple(part.shape) for part in result] == [(6, 4, 3, 2), (6, 4, 3), (4, 3), (4, 3)]
    assert not any(part.requires_grad for part in result)
    assert weight.grad is None
    torch.testing.assert_close(result.log_density, normal(result.samples))


def test_step_sizes_without_warmup_are_those_given():
    start = torch.zeros(2, 1)
    torch.testing.assert_close(hmc(normal, start, 1).step_size, torch.full((2,), 0.1))
    steps = torch.tensor([0.2, 0.4])
    torch.testing.assert_close(hmc(normal, start, 1, step_size=steps).step_size, steps)


def test_dtype_is_that_of_the_start():
    result = hmc(normal, torch.zeros(2, 1, dtype=torch.float32), 2, warmup=2, step_size=torch.tensor([0.1, 0.2]))
    assert {part.dtype for part in result} == {torch.float32}


def test_global_generator_makes_it_repeatable():
    torch.manual_seed(5)
    first = hmc(normal, torch.zeros(3, 2), 4, warmup=3)
    torch.manual_seed(5)
    again = hmc(normal, torch.zeros(3, 2), 4, warmup=3)
    other = hmc(normal, torch.zeros(3, 2), 4, warmup=3)
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.samples, other.samples)


# What is refused


@pytest.mark.parametrize("outside", [math.nan, math.inf, -math.inf])
def test_energies_that_are_not_finite_are_rejected(outside):
    def cut(z: torch.Tensor) -> torch.Tensor:
        return torch.where(z[..., 0].abs() < 1, normal(z), outside)

    result = hmc(cut, torch.zeros(200, 1), 50, step_size=0.5, num_leapfrog=2)
    assert result.samples.abs().max() < 1
    assert torch.isfinite(result.log_density).all()
    assert 0.1 < result.acceptance.mean() < 0.9
    # E[z^2] of N(0, 1) cut at 1 is 1 - 2 phi(1) / (2 Phi(1) - 1)
    variance = 1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) / math.erf(1 / math.sqrt(2))
    assert_mean(result.samples[10:, :, 0].square().mean(0), variance)


def test_diverging_trajectories_are_rejected_and_do_not_raise():
    """The target's own checks would not let a position of nan pass."""
    target = MultivariateNormal(torch.zeros(2), torch.eye(2))
    steps = torch.tensor([1e200, 0.5])
    result = hmc(target.log_prob, torch.ones(2, 2), 20, step_size=steps)
    assert (result.samples[:, 0] == 1).all()
    assert result.acceptance[0] == 0
    assert result.acceptance[1] > 0.5


def test_checks_of_distributions_are_off_inside_and_on_again_afterwards():
    seen = []

    def spying(z: torch.Tensor) -> torch.Tensor:
        seen.append(Distribution._validate_args)
        return normal(z)

    before = Distribution._validate_args
    hmc(spying, torch.zeros(1, 1), 1)
    assert before
    assert Distribution._validate_args
    assert seen[0]  # the start is looked at with all checks
    assert not any(seen[2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": torch.tensor([[0.0], [math.nan]])}, r"start must be finite.*\(1, 0\)"),
        ({"start": torch.tensor(1.0)}, r"start must have shape \(\.\.\., K\)"),
        ({"start": torch.zeros(3, 0)}, r"start must have shape \(\.\.\., K\)"),
        ({"log_density": lambda z: z[..., 0].log()}, r"log_density\(start\) must be finite.*-inf"),
        ({"log_density": lambda z: (z[..., 0] - 1).log()}, r"log_density\(start\) must be finite.*nan"),
        ({"log_density": lambda z: z[..., 0].sqrt()}, "the gradient of log_density at start must be finite"),
        ({"log_density": lambda z: -z.square()}, r"one value for each chain, shape \(2,\).*returned shape \(2, 1\)"),
        ({"log_density": lambda z: -z.square().sum()}, r"one value for each chain.*returned shape \(\)"),
        ({"num_samples": 0}, "num_samples must be an integer of at least 1"),
        ({"num_leapfrog": 0}, "num_leapfrog must be an integer of at least 1"),
        ({"warmup": -1}, "warmup must be an integer of at least 0, but is -1"),
        ({"warmup": 2.5}, "warmup must be an integer of at least 0"),
        ({"target_acceptance": 1.0}, "target_acceptance must lie between 0 and 1, but is 1"),
        ({"target_acceptance": 0.0}, "target_acceptance must lie between 0 and 1"),
        ({"step_size": 0.0}, "step_size must be positive and finite"),
        ({"step_size": -0.1}, "step_size must be positive and finite"),
        ({"step_size": math.inf}, "step_size must be positive and finite"),
        ({"step_size": torch.tensor([0.1, math.nan])}, "step_size must be positive and finite"),
        ({"step_size": torch.ones(3)}, r"step_size must be a number or have the chains' shape \(2,\).*\(3,\)"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"log_density": normal, "start": torch.zeros(2, 1), "num_samples": 2} | change
    with pytest.raises(ValueError, match=message):
        hmc(**arguments)


def test_start_must_be_a_floating_point_tensor():
    with pytest.raises(TypeError, match="start must be floating point"):
        hmc(normal, torch.zeros(2, 1, dtype=torch.int64), 1)
    with pytest.raises(TypeError, match="start must be a tensor"):
        hmc(normal, [[0.0]], 1)
