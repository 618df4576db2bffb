"""Estimates of log p(x) against the linear-Gaussian model, where it is known, and against quadrature."""

import inspect
import math

import numpy as np
import pytest
import torch
from torch.distributions import Distribution, MultivariateNormal, Normal

import vaelib.marginal
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian, StandardNormal
from vaelib.hmc import HMCResult
from vaelib.linear_gaussian import LinearGaussian
from vaelib.marginal import (
    LogMarginal,
    average_weights,
    effective_sample_size,
    fit_gaussian,
    importance_sampling,
    naive,
    reciprocal_importance_sampling,
)
from vaelib.models import VAE


@pytest.fixture
def model() -> LinearGaussian:
    return LinearGaussian.random(4, 2, log_var=0.3, seed=3)


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(1)
    return 2 * torch.randn(3, 4)


def log_p(model: LinearGaussian, x: torch.Tensor) -> torch.Tensor:
    """The truth, by another library's density of x."""
    weight, noise = model.weight.detach(), model.log_var.detach().exp()
    covariance = weight @ weight.T + noise * torch.eye(model.data_dim)
    return MultivariateNormal(model.bias.detach(), covariance).log_prob(x)


def log_joint(model: LinearGaussian, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    pixels = Normal(z @ model.weight.detach().T + model.bias.detach(), (0.5 * model.log_var.detach()).exp())
    return pixels.log_prob(x).sum(-1) + Normal(0.0, 1.0).log_prob(z).sum(-1)


def wide(model: LinearGaussian, x: torch.Tensor) -> DiagonalGaussian:
    """A q with heavier tails than the posterior, beside it and without its correlations."""
    posterior = model.posterior(x)
    return DiagonalGaussian(posterior.mean.detach() + 0.2, (1.5 * posterior.variance.detach()).log())


def assert_mean(values: torch.Tensor, truth, errors: float = 4) -> None:
    """The mean of independent `values` over dim 0 lies within so many standard errors of `truth`."""
    standard_error = values.std(0) / math.sqrt(len(values))
    assert ((values.mean(0) - truth).abs() < errors * standard_error).all(), (values.mean(0), truth, standard_error)


# Effective sample size and the running average


def test_effective_sample_size_of_known_weights():
    torch.testing.assert_close(effective_sample_size(torch.full((7, 2), -1234.5)), torch.full((2,), 7.0))
    one = torch.full((7,), -1000.0)
    one[3] = 0
    torch.testing.assert_close(effective_sample_size(one), torch.tensor(1.0))
    torch.testing.assert_close(effective_sample_size(torch.tensor([1.0, 2.0, 3.0]).log()), torch.tensor(36 / 14))
    some = torch.tensor([-math.inf, 0.0, 0.0, -math.inf, 0.0])  # weights of zero count for nothing
    torch.testing.assert_close(effective_sample_size(some), torch.tensor(3.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_without_a_sum_are_refused(bad):
    log_weights = torch.zeros(5, 3)
    log_weights[2, 1] = bad
    with pytest.raises(ValueError, match=r"finite sum for each image, but 1 of 3 do not \(the first, at \(1,\)"):
        effective_sample_size(log_weights)
    with pytest.raises(ValueError, match=r"at \(\), is -inf.*for -inf, no draw"):
        effective_sample_size(torch.full((5,), -math.inf))


@pytest.mark.parametrize("at_once", [1, 3, 7, 10, 11, 1000])
def test_running_average_is_the_average(at_once):
    log_weights = 300 * torch.randn(10, 4) - 5000
    asked = []

    def draw(count: int) -> torch.Tensor:
        asked.append(count)
        return log_weights[sum(asked) - count : sum(asked)]

    result = average_weights(draw, 10, at_once)
    assert isinstance(result, LogMarginal)
    torch.testing.assert_close(result.log_marginal, log_weights.logsumexp(0) - math.log(10))
    torch.testing.assert_close(result.effective_sample_size, effective_sample_size(log_weights))
    assert sum(asked) == 10
    assert max(asked) == min(at_once, 10)


# Naive Monte Carlo and importance sampling


def test_naive_is_the_formula(model, x):
    torch.manual_seed(7)
    result = naive(model, x, 50)
    torch.manual_seed(7)
    z = model.prior.sample((50, 1))
    log_weights = log_joint(model, x, z) - Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(result.log_marginal, log_weights.exp().mean(0).log())
    torch.testing.assert_close(
        result.effective_sample_size, log_weights.exp().sum(0) ** 2 / (2 * log_weights).exp().sum(0)
    )


def test_importance_sampling_is_the_formula(model, x):
    q = wide(model, x)
    torch.manual_seed(7)
    result = importance_sampling(model, x, 50, q=q)
    torch.manual_seed(7)
    q.sample()  # one draw to look at q
    z = q.sample((50,))
    weights = (log_joint(model, x, z) - Normal(q.loc, q.stddev).log_prob(z).sum(-1)).exp()
    torch.testing.assert_close(result.log_marginal, weights.mean(0).log())
    torch.testing.assert_close(result.effective_sample_size, weights.sum(0) ** 2 / weights.square().sum(0))


def test_encoder_is_the_default_q(model, x):
    vae = model.with_posterior(lambda x: wide(model, x))
    torch.manual_seed(7)
    default = importance_sampling(vae, x, 20)
    torch.manual_seed(7)
    torch.testing.assert_close(default, importance_sampling(vae, x, 20, q=wide(model, x)))


def test_likelihood_is_estimated_without_bias(model, x):
    truth = log_p(model, x)
    by_naive = torch.stack([naive(model, x, 20).log_marginal for _ in range(2000)])
    assert_mean((by_naive - truth).exp(), 1)
    many = x.repeat(4000, 1)
    by_importance = importance_sampling(model, many, 3, q=wide(model, many)).log_marginal.view(4000, 3)
    assert_mean((by_importance - truth).exp(), 1)


def test_log_likelihood_is_biased_downwards_less_with_more_samples(model, x):
    """The bias is -Var(w) / (2 L p(x)^2) to first order in 1/L."""
    truth, many = log_p(model, x), x.repeat(3000, 1)
    q = wide(model, many)
    z = q.sample((100,))
    weights = (log_joint(model, many, z) - q.log_prob(z) - truth.repeat(3000)).exp().view(-1, 3)
    biases = []
    for num_samples in (1, 10, 100):
        error = importance_sampling(model, many, num_samples, q=q).log_marginal.view(3000, 3) - truth
        bias, standard_error = error.mean(0), error.std(0) / math.sqrt(3000)
        assert (bias < -4 * standard_error).all() or num_samples == 100
        biases.append(bias)
    assert (biases[0] < biases[1] - 0.05).all()
    assert (biases[1] < biases[2]).all()
    predicted = -weights.var(0) / 2 / 100
    assert ((biases[2] - predicted).abs() < 4 * standard_error).all()


def test_bounds_are_ordered(model, x):
    truth, many = log_p(model, x), x.repeat(2000, 1)
    q = wide(model, many)
    means = [importance_sampling(model, many, count, q=q).log_marginal.view(2000, 3).mean(0) for count in (1, 5, 50)]
    by_naive = torch.stack([naive(model, x, 50).log_marginal for _ in range(300)]).mean(0)
    for lower, higher in zip([by_naive, *means], [truth, *means[1:], truth], strict=True):
        assert (lower < higher).all()


def test_posterior_as_q_leaves_no_error(model, x):
    result = importance_sampling(model, x, 6, q=model.posterior(x))
    torch.testing.assert_close(result.log_marginal, log_p(model, x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.effective_sample_size, torch.full((3,), 6.0))


def test_effective_sample_size_foretells_the_spread(model, x):
    """ESS / L tends to 1 / (1 + Var(w) / E(w)^2), the loss of efficiency against equal weights."""
    truth, many = log_p(model, x), x.repeat(4000, 1)
    single = importance_sampling(model, many, 1, q=wide(model, many)).log_marginal.view(4000, 3)
    expected = 1 / (1 + (single - truth).exp().var(0))
    result = importance_sampling(model, x, 20_000, q=wide(model, x))
    torch.testing.assert_close(result.effective_sample_size / 20_000, expected, rtol=0.05, atol=0)


def test_bernoulli_likelihood_against_quadrature():
    vae = VAE.mlp(6, hidden=(5,), latent_dim=1)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.mul_(2)
    x = torch.randint(0, 2, (3, 6)).to(torch.float64)
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(80))
    with torch.no_grad():
        pixels = torch.sigmoid(vae.decode(nodes[:, None]).logits)[:, None]
        scores = torch.where(x == 1, pixels, 1 - pixels).prod(-1)
    truth = (weights[:, None] * scores).sum(0) / math.sqrt(2 * math.pi)
    by_naive = torch.stack([naive(vae, x, 20).log_marginal.exp() for _ in range(400)])
    assert_mean(by_naive, truth)
    by_importance = importance_sampling(vae, x.repeat(2000, 1), 5).log_marginal.exp().view(2000, 3)
    assert_mean(by_importance, truth)


def test_weights_that_underflow_have_an_average():
    """A weight of exp(-2000) is zero in any precision; its logarithm is not."""
    model = LinearGaussian.random(2000, 1).to(torch.float32)
    x = model.marginal.sample((2,))
    result = importance_sampling(model, x, 10, q=model.posterior(x))
    assert result.log_marginal.dtype == torch.float32
    assert (result.log_marginal < -2000).all()
    torch.testing.assert_close(result.log_marginal.double(), model.double().log_marginal(x.double()), rtol=1e-5, atol=0)
    assert torch.isfinite(naive(model.float(), x, 10).log_marginal).all()


# Memory


def spy_on_pixels(monkeypatch, data_dim: int) -> list[int]:
    """The numbers of (sample, image) pairs whose pixels are scored at a time."""
    pairs: list[int] = []
    original = DiagonalGaussian.log_prob

    def log_prob(self, value):
        result = original(self, value)
        if self.event_shape == (data_dim,):
            pairs.append(result.numel())
        return result

    monkeypatch.setattr(DiagonalGaussian, "log_prob", log_prob)
    return pairs


@pytest.mark.parametrize("pairs_at_once", [1, 3, 10, 25, 70, 10_000])
@pytest.mark.parametrize("estimate", [naive, importance_sampling])
def test_memory_is_bounded(monkeypatch, model, estimate, pairs_at_once):
    x = torch.randn(10, 4)
    vae = model.with_posterior(model.posterior)
    pairs = spy_on_pixels(monkeypatch, 4)
    estimate(vae, x, 13, pairs_at_once=pairs_at_once)
    assert sum(pairs) == 13 * 10
    assert max(pairs) <= pairs_at_once
    assert max(pairs) >= min(130, pairs_at_once) / 2  # and what is allowed is used


@pytest.mark.parametrize("estimate", [naive, importance_sampling])
def test_parts_of_the_images_make_no_difference(model, estimate):
    """Below B pairs the draws are the same for any number of them, in number and order."""
    x = torch.randn(10, 4)
    vae = model.with_posterior(lambda x: wide(model, x))
    results = []
    for pairs_at_once in (1, 3, 10):
        torch.manual_seed(3)
        results.append(estimate(vae, x, 5, pairs_at_once=pairs_at_once))
    torch.testing.assert_close(results[0], results[2])
    torch.testing.assert_close(results[1], results[2])


@pytest.mark.parametrize("estimate", [naive, importance_sampling])
def test_parts_of_the_samples_agree_within_their_errors(model, x, estimate):
    vae = model.with_posterior(lambda x: wide(model, x))
    results = [estimate(vae, x, 20_000, pairs_at_once=pairs) for pairs in (999, 10**6)]
    variance = sum(1 / result.effective_sample_size for result in results)
    assert ((results[0].log_marginal - results[1].log_marginal).abs() < 4 * variance.sqrt()).all()


# The estimator of appendix D


def test_reciprocal_estimate_is_the_formula(monkeypatch, model, x):
    num_samples = 9
    codes = torch.randn(3 * num_samples, 3, 2)
    asked = {}

    def fixed_chain(log_density, start, count, **options):
        asked.update(options, count=count, start=start, log_density=log_density)
        return HMCResult(codes, log_density(codes), torch.ones(3), torch.ones(3))

    monkeypatch.setattr(vaelib.marginal, "hmc", fixed_chain)
    result = reciprocal_importance_sampling(model, x, num_samples)
    assert (asked["count"], asked["num_leapfrog"], asked["warmup"]) == (3 * num_samples, 4, 200)
    assert asked["start"].shape == (3, 2)
    torch.testing.assert_close(asked["log_density"](codes), log_joint(model, x, codes))
    for n in range(3):
        first, fresh = codes[:num_samples, n], codes[2 * num_samples :, n]
        q = MultivariateNormal(first.mean(0), torch.from_numpy(np.cov(first.numpy().T)))
        ratios = (q.log_prob(fresh) - log_joint(model, x[n], fresh)).exp()
        torch.testing.assert_close(result.log_marginal[n], -ratios.mean().log())
        torch.testing.assert_close(result.effective_sample_size[n], ratios.sum() ** 2 / ratios.square().sum())


def test_reciprocal_estimate_is_unbiased_for_the_reciprocal_and_too_high_in_the_logarithm(model, x):
    truth, many = log_p(model, x), x.repeat(1000, 1)
    error = reciprocal_importance_sampling(model, many, 12).log_marginal.view(1000, 3) - truth
    assert_mean((-error).exp(), 1)
    assert (error.mean(0) > 4 * error.std(0) / math.sqrt(1000)).all()


def test_reciprocal_estimate_at_the_setting_of_the_paper():
    model = LinearGaussian.random(20, 3, log_var=-1.0)
    x = model.marginal.sample((50,))
    error = reciprocal_importance_sampling(model, x).log_marginal - log_p(model, x)
    assert error.abs().median() < 0.2
    assert error.abs().quantile(0.9) < 1
    precise = reciprocal_importance_sampling(model, x, 100, start=model.posterior(x), num_leapfrog=8, warmup=50)
    assert (precise.log_marginal - log_p(model, x)).abs().max() < 0.4
    assert precise.effective_sample_size.median() > 75


def test_defaults_are_those_of_the_paper():
    defaults = inspect.signature(reciprocal_importance_sampling).parameters
    assert (defaults["num_samples"].default, defaults["num_leapfrog"].default) == (50, 4)


def test_reciprocal_estimate_starts_where_it_is_told(monkeypatch, model, x):
    starts = []
    original = vaelib.marginal.hmc

    def spy(log_density, start, *args, **options):
        starts.append(start)
        return original(log_density, start, *args, **options)

    monkeypatch.setattr(vaelib.marginal, "hmc", spy)
    far = DiagonalGaussian(torch.full((3, 2), 5.0), torch.full((3, 2), -20.0))
    reciprocal_importance_sampling(model, x, 10, start=far)
    torch.testing.assert_close(starts[0], far.mean, rtol=0, atol=1e-3)


def test_chains_that_stand_still_are_refused(monkeypatch, model, x):
    codes = torch.randn(30, 3, 2)
    codes[1:10, 1] = codes[0, 1] + 1  # one move is not enough for two dimensions
    chain = HMCResult(codes, torch.zeros(30, 3), torch.ones(3), torch.ones(3))
    monkeypatch.setattr(vaelib.marginal, "hmc", lambda *args, **options: chain)
    with pytest.raises(ValueError, match=r"chains of 1 of 3 images moved less than 2 times in 10 iterations"):
        reciprocal_importance_sampling(model, x, 10)
    codes[9, 1] += torch.tensor([2.0, -1.0])  # two moves are
    assert torch.isfinite(reciprocal_importance_sampling(model, x, 10).log_marginal).all()


# What all share


def reciprocal(model, x, num_samples, **options):
    return reciprocal_importance_sampling(model, x, num_samples, warmup=2, **options)


ESTIMATES = [naive, importance_sampling, reciprocal]


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_values_are_per_image_without_gradient_and_repeatable(model, x, estimate):
    vae = model.with_posterior(lambda x: wide(model, x))
    torch.manual_seed(2)
    result = estimate(vae, x, 4)
    torch.manual_seed(2)
    again = estimate(vae, x, 4)
    for part, same in zip(result, again, strict=True):
        assert part.shape == (3,)
        assert not part.requires_grad
        assert torch.equal(part, same)
    assert ((result.effective_sample_size >= 1 - 1e-9) & (result.effective_sample_size <= 4 + 1e-9)).all()
    assert Distribution._validate_args
    assert all(parameter.grad is None for parameter in vae.parameters())


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_bad_arguments_are_named(model, x, estimate):
    vae = model.with_posterior(model.posterior)
    for num_samples in (0, 2.5, True):
        with pytest.raises(ValueError, match="num_samples must be an integer of at least 1"):
            estimate(vae, x, num_samples)
    for wrong in (x[0], x[:0], x[None]):
        with pytest.raises(ValueError, match=r"x must hold images in rows, shape \(B, 4\)"):
            estimate(vae, wrong, 4)
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 4\)"):
        estimate(vae, x[:, :3], 4)
    with pytest.raises(TypeError, match="x must be floating point"):
        estimate(vae, x.long(), 4)
    with pytest.raises(TypeError, match="x must have the dtype and device of the model"):
        estimate(vae, x.float(), 4)
    with pytest.raises(ValueError, match="nan"):
        estimate(vae, x * math.nan, 4)
    with pytest.raises(ValueError, match=r"grey|Bernoulli"):
        estimate(VAE.mlp(4, latent_dim=2), torch.full((3, 4), 0.5), 4)


@pytest.mark.parametrize("estimate", [naive, importance_sampling])
@pytest.mark.parametrize("pairs_at_once", [0, 1e4])
def test_pairs_at_once_must_be_a_positive_integer(model, x, estimate, pairs_at_once):
    with pytest.raises(ValueError, match="pairs_at_once must be an integer of at least 1"):
        estimate(model.with_posterior(model.posterior), x, 4, pairs_at_once=pairs_at_once)


@pytest.mark.parametrize(("estimate", "name"), [(importance_sampling, "q"), (reciprocal, "start")])
@pytest.mark.parametrize("q", [StandardNormal(2), StandardNormal(2, batch_shape=(4,)), StandardNormal(3)])
def test_distributions_over_codes_must_fit_the_images(model, x, estimate, name, q):
    with pytest.raises(ValueError, match=rf"{name} must have batch_shape \(3,\) and event_shape \(2,\).*expand"):
        estimate(model, x, 4, **{name: q})


def test_draws_must_be_of_the_dtype_of_the_images(model, x):
    single = StandardNormal(2, like=x.float(), batch_shape=(3,))
    with pytest.raises(TypeError, match="the draws of q must have the dtype and device of x"):
        importance_sampling(model, x, 4, q=single)
    with pytest.raises(TypeError, match="the draws of start must have the dtype and device of x"):
        reciprocal_importance_sampling(model, x, 4, start=single)


def test_model_without_an_encoder_needs_a_q(model, x):
    with pytest.raises(TypeError, match="q must be given for a LinearGaussian"):
        importance_sampling(model, x, 4)


def test_singular_q_is_refused(model, x):
    with pytest.raises(ValueError, match="singular"):
        importance_sampling(model, x, 4, q=AffineGaussian(torch.zeros(3, 2), torch.zeros(2, 2)))
    with pytest.raises(ValueError, match="singular"):
        importance_sampling(model, x, 4, q=CholeskyGaussian(torch.zeros(3, 2), torch.zeros(2, 2)))


def test_too_few_samples_to_fit_a_density(model, x):
    with pytest.raises(ValueError, match="num_samples must exceed latent_dim = 2 to fit q, but is 2"):
        reciprocal_importance_sampling(model, x, 2)


def test_a_fitted_gaussian_has_the_moments_of_the_states():
    torch.manual_seed(0)
    samples = torch.randn(30, 2, 3)
    q = fit_gaussian(samples)
    torch.testing.assert_close(q.mean, samples.mean(0))
    for chain in range(2):
        torch.testing.assert_close(q.covariance_matrix[chain], samples[:, chain].T.cov())
