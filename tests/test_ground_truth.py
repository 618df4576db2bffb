"""Every estimator on the linear-Gaussian model, where log p(x), the posterior and each gap are known exactly."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import kl_divergence

from vaelib.annealing import annealed_importance_sampling
from vaelib.bounds import iwae, iwae_dreg, sgvb_a, sgvb_b
from vaelib.encoders import CholeskyEncoder, DiagonalEncoder, FullEncoder
from vaelib.gaussians import DiagonalGaussian
from vaelib.linear_gaussian import LinearGaussian
from vaelib.marginal import importance_sampling, naive
from vaelib.models import VAE
from vaelib.score_function import score_function_elbo

REPEATS = 4000


@pytest.fixture
def model() -> LinearGaussian:
    weight = torch.tensor([[1.5, 1.2], [1.0, 1.3], [0.8, 0.9], [1.1, 0.7], [0.9, 1.0]])
    return LinearGaussian(weight, torch.zeros(5), torch.tensor(-0.5))  # its posterior is strongly correlated


@pytest.fixture
def x(model: LinearGaussian) -> Tensor:
    torch.manual_seed(1)
    return model.marginal.sample((3,))


@pytest.fixture
def vae(model: LinearGaussian, x: Tensor) -> VAE:
    """The model with its best diagonal posterior: the gap is positive, and known."""
    return model.with_posterior(model.optimal_diagonal)


def assert_mean(draws: Tensor, truth: Tensor, standard_errors: float = 4) -> None:
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - truth).abs() <= standard_errors * error + 1e-12).all()


def repeated(bound, vae: VAE, x: Tensor) -> Tensor:
    with torch.no_grad():
        return bound(vae, x.repeat(REPEATS, 1)).view(REPEATS, len(x))


BOUNDS = {
    "sgvb_a": lambda vae, x: sgvb_a(vae, x, 2).elbo,
    "sgvb_b": lambda vae, x: sgvb_b(vae, x, 2).elbo,
    "iwae of one": lambda vae, x: iwae(vae, x, 1).iwae,
    "score function": lambda vae, x: score_function_elbo(vae, x, 2).elbo,
}


@pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)
def test_bounds_are_unbiased_for_the_exact_one(model, vae, x, bound):
    exact = model.elbo(x, vae.encode(x)).detach()
    assert_mean(repeated(bound, vae, x), exact)


@pytest.mark.parametrize("family", ["exact", "diagonal", "wide"])
def test_the_gap_is_the_divergence_from_the_posterior(model, x, family):
    q = {
        "exact": model.posterior,
        "diagonal": model.optimal_diagonal,
        "wide": lambda x: model.prior.expand((len(x),)),
    }[family](x)
    gap = model.log_marginal(x) - model.elbo(x, q)
    torch.testing.assert_close(gap, kl_divergence(q, model.posterior(x)))
    assert (gap.abs() < 1e-12).all() if family == "exact" else (gap > 0.01).all()


def test_bounds_are_ordered_as_theory_says(model, vae, x):
    truth = model.log_marginal(x).detach()
    elbo = model.elbo(x, vae.encode(x)).detach()
    five, fifty = (repeated(lambda vae, x, n=n: iwae(vae, x, n).iwae, vae, x) for n in (5, 50))
    e5, e50 = (4 * d.std(0) / math.sqrt(REPEATS) for d in (five, fifty))
    assert (elbo < five.mean(0) - e5).all()
    assert (five.mean(0) + e5 < fifty.mean(0) - e50).all()
    assert (fifty.mean(0) < truth + e50).all()


def test_naive_monte_carlo_is_low_on_average_and_rises(model, x):
    truth = model.log_marginal(x).detach()
    few, many = (torch.stack([naive(model, x, n).log_marginal for _ in range(300)]) for n in (5, 500))
    assert (few.mean(0) + 4 * few.std(0) / math.sqrt(300) < truth).all()
    assert (few.mean(0) < many.mean(0)).all()
    assert (many.mean(0) < truth + 4 * many.std(0) / math.sqrt(300)).all()


def test_naive_monte_carlo_is_unbiased_for_the_evidence(model, x):
    truth = model.log_marginal(x).detach()
    assert_mean(torch.stack([(naive(model, x, 100).log_marginal - truth).exp() for _ in range(400)]), torch.ones(3))


ESTIMATORS = {
    "importance sampling": lambda vae, x: importance_sampling(vae, x, 20),
    "annealing": lambda vae, x: annealed_importance_sampling(vae, x, 2, num_temperatures=10, num_leapfrog=2),
}


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_estimates_of_the_evidence_are_unbiased(model, x, estimator):
    """With twice the posterior's marginal variances no direction of two has a lighter tail than the posterior: only
    then do the weights have a variance, and their average a standard error."""

    def wide(x: Tensor) -> DiagonalGaussian:
        posterior = model.posterior(x)
        return DiagonalGaussian(posterior.mean, (2 * posterior.variance).log())

    estimates = estimator(model.with_posterior(wide), x.repeat(500, 1)).log_marginal.view(500, 3)
    assert_mean((estimates - model.log_marginal(x).detach()).exp(), torch.ones(3))


OBJECTIVES = {
    "sgvb_a": lambda vae, x: sgvb_a(vae, x, 4).elbo,
    "sgvb_b": lambda vae, x: sgvb_b(vae, x, 4).elbo,
    "score function, leave one out": lambda vae, x: score_function_elbo(vae, x, 4).elbo,
    "score function, no baseline": lambda vae, x: score_function_elbo(vae, x, 4, "none").elbo,
    "iwae of one": lambda vae, x: iwae(vae, x, 1).iwae,
    "dreg of one": lambda vae, x: iwae_dreg(vae, x, 1).iwae,
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("make_encoder", [DiagonalEncoder, FullEncoder, CholeskyEncoder])
def test_gradients_are_unbiased_for_the_exact_one(model, x, objective, make_encoder):
    torch.manual_seed(2)
    vae = model.with_posterior(make_encoder(nn.Identity(), 5, 2))
    parameters = list(vae.parameters())
    exact = torch.autograd.grad(model.elbo(x, vae.encode(x)).sum(), parameters)
    batch = x.repeat(300, 1)
    draws = [torch.autograd.grad(objective(vae, batch).sum() / 300, parameters) for _ in range(40)]
    for n, truth in enumerate(exact):
        # 40 repeats make a t statistic: 5.5 of its errors are as rare as 4.5 Gaussian ones, and there are 60 of them.
        assert_mean(torch.stack([draw[n] for draw in draws]), truth, 5.5)


@pytest.mark.parametrize("num_samples", [2, 10])
def test_both_gradients_of_the_weighted_bound_agree(model, x, num_samples):
    torch.manual_seed(2)
    vae = model.with_posterior(DiagonalEncoder(nn.Identity(), 5, 2))
    batch = x.repeat(300, 1)
    means, variances = [], []
    for bound in (iwae, iwae_dreg):
        objective = partial(bound, num_samples=num_samples)
        draws = [torch.autograd.grad(objective(vae, batch).iwae.mean(), list(vae.parameters())) for _ in range(60)]
        columns = [torch.stack(column) for column in zip(*draws, strict=True)]
        means.append([c.mean(0) for c in columns])
        variances.append([c.var(0) / len(c) for c in columns])
    for a, b, va, vb in zip(*means, *variances, strict=True):
        assert ((a - b).abs() <= 5 * (va + vb).sqrt() + 1e-12).all()
