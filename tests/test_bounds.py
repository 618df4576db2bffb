"""The bounds against the truth of a model small enough to integrate by quadrature."""

import math
from itertools import combinations

import pytest
import torch
from tiny import exact_terms, gauss_hermite, make_tiny_images, make_tiny_vae
from torch.distributions import Independent, Normal

from vaelib.bounds import iwae, iwae_dreg, log_mean_exp, minibatch_estimate, sgvb_a, sgvb_b
from vaelib.gaussians import CholeskyGaussian
from vaelib.models import VAE, LatentVariableModel

DRAWS = 20_000


@pytest.fixture
def model() -> VAE:
    return make_tiny_vae()


@pytest.fixture
def x() -> torch.Tensor:
    return make_tiny_images()


def assert_unbiased(draws: torch.Tensor, truth: torch.Tensor) -> None:
    """The mean of `draws` over dim 0 lies within 4 standard errors of `truth`."""
    standard_error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - truth).abs() < 4 * standard_error).all()


def test_estimator_b_is_unbiased_with_an_exact_divergence(model, x):
    reconstruction, kl, _ = exact_terms(model, x)
    with torch.no_grad():
        draws = sgvb_b(model, x.repeat(DRAWS, 1))
    torch.testing.assert_close(draws.kl[:3], kl, rtol=1e-10, atol=1e-10)
    assert_unbiased(draws.reconstruction.view(DRAWS, 3), reconstruction)
    assert_unbiased(draws.elbo.view(DRAWS, 3), reconstruction - kl)


def test_estimator_a_is_unbiased(model, x):
    reconstruction, kl, _ = exact_terms(model, x)
    with torch.no_grad():
        draws = sgvb_a(model, x.repeat(DRAWS, 1)).elbo
    assert_unbiased(draws.view(DRAWS, 3), reconstruction - kl)


def test_bound_lies_below_the_evidence(model, x):
    reconstruction, kl, log_p_x = exact_terms(model, x)
    assert (reconstruction - kl < log_p_x).all()


@pytest.mark.parametrize("bound", [lambda *args: sgvb_a(*args).elbo, lambda *args: sgvb_b(*args).elbo])
def test_more_samples_average_more_draws(model, x, bound):
    with torch.no_grad():
        one = bound(model, x.repeat(DRAWS, 1), 1).view(DRAWS, 3)
        ten = bound(model, x.repeat(DRAWS, 1), 10).view(DRAWS, 3)
    ratio = one.var(0) / ten.var(0)
    # The relative standard error of such a ratio is sqrt(4 / DRAWS) = 1.4 % for Gaussian tails, more for heavier ones.
    assert ((ratio / 10 - 1).abs() < 0.1).all()


@pytest.mark.parametrize("estimator", [lambda *args: sgvb_a(*args).elbo, lambda *args: sgvb_b(*args).elbo])
def test_gradient_through_the_draw_is_that_of_the_exact_bound(model, x, estimator):
    parameters = list(model.parameters())
    nodes, weights = gauss_hermite()
    q = model.encode(x)
    z = q.mean + q.stddev * nodes[:, None, None]
    logits = model.decode(z).logits
    log_p = (x * logits - torch.nn.functional.softplus(logits)).sum(-1)
    kl = 0.5 * (q.mean.square() + q.variance - 1 - q.log_var).sum(-1)
    exact = torch.autograd.grad(((weights[:, None] * log_p).sum(0) - kl).sum(), parameters)
    draws = [torch.autograd.grad(estimator(model, x).sum(), parameters) for _ in range(500)]
    for n, truth in enumerate(exact):
        gradients = torch.stack([draw[n] for draw in draws])
        error = (gradients.mean(0) - truth).abs()
        standard_error = gradients.std(0) / math.sqrt(len(draws))
        assert (error <= 5 * standard_error + 1e-12).all()  # 5, for there are 90 of them


def test_values_are_per_image(model, x):
    bound = sgvb_b(model, x, 3)
    assert bound.elbo.shape == bound.reconstruction.shape == bound.kl.shape == (3,)
    assert all(part.shape == (3,) for part in sgvb_a(model, x, 3))
    torch.testing.assert_close(bound.elbo, bound.reconstruction - bound.kl)


@pytest.mark.parametrize("bound", [sgvb_a, sgvb_b, iwae, iwae_dreg])
@pytest.mark.parametrize("num_samples", [0, -1, 2.0, True])
def test_num_samples_must_be_a_positive_integer(model, x, bound, num_samples):
    with pytest.raises(ValueError, match="num_samples must be an integer of at least 1"):
        bound(model, x, num_samples)


def test_log_mean_exp_neither_overflows_nor_underflows():
    values = torch.tensor([[-1000.0, 1000.0], [-1001.0, 999.0]])
    expected = torch.tensor([-1000.0, 1000.0]) + math.log((1 + math.exp(-1)) / 2)
    torch.testing.assert_close(log_mean_exp(values), expected)


def test_iwae_of_one_sample_is_estimator_a(model, x):
    torch.manual_seed(2)
    one = iwae(model, x, 1).iwae
    torch.manual_seed(2)
    torch.testing.assert_close(one, sgvb_a(model, x).elbo)


@pytest.mark.parametrize("bound", [iwae, iwae_dreg])
def test_bounds_rise_with_the_number_of_samples_to_the_evidence(model, x, bound):
    reconstruction, kl, log_p_x = exact_terms(model, x)
    means, errors = [reconstruction - kl], [torch.zeros(3)]
    for num_samples in (5, 50):
        with torch.no_grad():
            draws = bound(model, x.repeat(DRAWS // 4, 1), num_samples).iwae.view(-1, 3)
        means.append(draws.mean(0))
        errors.append(4 * draws.std(0) / math.sqrt(len(draws)))
    for lower, higher, error in zip(means, means[1:], errors[1:], strict=False):
        assert (lower < higher - error).all()
    assert (means[-1] - errors[-1] < log_p_x).all()
    assert (log_p_x - means[-1] < 0.2 * (log_p_x - means[0])).all()


def test_average_importance_weight_is_the_evidence(model, x):
    log_p_x = exact_terms(model, x)[2]
    with torch.no_grad():
        ratios = (iwae(model, x.repeat(DRAWS, 1), 3).iwae.view(DRAWS, 3) - log_p_x).exp()
    assert_unbiased(ratios, torch.ones(3))


def gradients(model: VAE, estimate, repeats: int) -> list[torch.Tensor]:
    """The gradient of `estimate()` in each parameter, `repeats` times over: a tensor (repeats, ...) each."""
    draws = [torch.autograd.grad(estimate(), list(model.parameters())) for _ in range(repeats)]
    return [torch.stack(column) for column in zip(*draws, strict=True)]


def test_doubly_reparameterised_gradient_is_that_of_the_bound_with_less_noise(model, x):
    x = x[:1].repeat(200, 1)
    plain = gradients(model, lambda: iwae(model, x, 10).iwae.mean(), 150)
    doubly = gradients(model, lambda: iwae_dreg(model, x, 10).iwae.mean(), 150)
    for a, b in zip(plain, doubly, strict=True):
        error = ((a.var(0) + b.var(0)) / len(a)).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() <= 5 * error + 1e-12).all()
    in_encoder = [id(p) for p in model.encoder.parameters()]
    columns = zip(model.parameters(), plain, doubly, strict=True)
    noise = [(a.var(0).sum(), b.var(0).sum()) for p, a, b in columns if id(p) in in_encoder]
    assert sum(b for _, b in noise) < 0.7 * sum(a for a, _ in noise)


def test_doubly_reparameterised_value_is_the_bound(model, x):
    torch.manual_seed(2)
    plain = iwae(model, x, 7).iwae
    torch.manual_seed(2)
    torch.testing.assert_close(iwae_dreg(model, x, 7).iwae, plain)


def test_a_given_posterior_takes_the_place_of_the_encoder(model, x):
    q = CholeskyGaussian(torch.full((3, 1), 0.3), torch.full((3, 1, 1), 0.7))
    for bound in (lambda *args: sgvb_a(*args).elbo, lambda *args: sgvb_b(*args).elbo, lambda *args: iwae(*args).iwae):
        torch.manual_seed(2)
        value = bound(model, x, 2, q)
        assert not torch.allclose(value, bound(model, x, 2))
        bare = LatentVariableModel(model.decoder, data_dim=6, latent_dim=1)
        torch.manual_seed(2)
        torch.testing.assert_close(bound(bare, x, 2, q), value)
        with pytest.raises(TypeError, match="a LatentVariableModel has no encoder: give"):
            bound(bare, x, 2)
        with pytest.raises(ValueError, match=r"q must have batch_shape \(3,\)"):
            bound(bare, x, 2, q.expand((2, 3)))
    with pytest.raises(TypeError, match="but is of type Independent: use iwae"):
        iwae_dreg(model, x, 2, Independent(Normal(torch.zeros(3, 1), torch.ones(3, 1)), 1))


def test_minibatch_estimate_is_unbiased_for_the_whole_set():
    values = torch.randn(12)
    estimates = torch.stack([minibatch_estimate(values[list(rows)], 12) for rows in combinations(range(12), 5)])
    torch.testing.assert_close(estimates.mean(), values.sum())
    with pytest.raises(ValueError, match=r"per_image must have shape \(M,\)"):
        minibatch_estimate(torch.zeros(2, 3), 12)
    torch.testing.assert_close(minibatch_estimate(values[:1], 12), 12 * values[0])
    with pytest.raises(ValueError, match=r"per_image must have shape \(M,\)"):
        minibatch_estimate(torch.zeros(0), 12)
    with pytest.raises(ValueError, match=r"^dataset_size must be"):
        minibatch_estimate(values, 0)


@pytest.mark.parametrize("bound", [sgvb_a, sgvb_b])
def test_one_draw_is_the_default(model, x, bound):
    torch.manual_seed(2)
    default = bound(model, x).elbo
    torch.manual_seed(2)
    torch.testing.assert_close(default, bound(model, x, 1).elbo)
