"""The bounds against the truth of a model small enough to integrate by quadrature."""

import math

import numpy as np
import pytest
import torch

from vaelib.bounds import sgvb_a, sgvb_b
from vaelib.models import VAE

DRAWS = 20_000


@pytest.fixture
def model() -> VAE:
    torch.manual_seed(0)
    model = VAE.mlp(6, hidden=(5,), latent_dim=1)
    with torch.no_grad():  # away from the prior, so that no term of the bound vanishes
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 2, (3, 6)).to(torch.float64)


def gauss_hermite(points: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights for an expectation under N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return torch.from_numpy(nodes), torch.from_numpy(weights) / math.sqrt(2 * math.pi)


@torch.no_grad()
def exact_terms(model: VAE, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reconstruction term and the divergence by quadrature under q, and log p(x) by quadrature under the prior."""
    nodes, weights = gauss_hermite()
    q = model.encode(x)
    z = q.mean + q.stddev * nodes[:, None, None]
    logits = model.decode(z).logits
    log_p = (x * logits - torch.nn.functional.softplus(logits)).sum(-1)
    log_q = -0.5 * (nodes[:, None] ** 2 + q.log_var[:, 0] + math.log(2 * math.pi))
    log_prior = -0.5 * (z[..., 0] ** 2 + math.log(2 * math.pi))
    reconstruction = (weights[:, None] * log_p).sum(0)
    kl = (weights[:, None] * (log_q - log_prior)).sum(0)
    logits = model.decode(nodes[:, None]).logits[:, None]
    log_p_x = ((x * logits - torch.nn.functional.softplus(logits)).sum(-1).exp() * weights[:, None]).sum(0).log()
    return reconstruction, kl, log_p_x


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
        draws = sgvb_a(model, x.repeat(DRAWS, 1))
    assert_unbiased(draws.view(DRAWS, 3), reconstruction - kl)


def test_bound_lies_below_the_evidence(model, x):
    reconstruction, kl, log_p_x = exact_terms(model, x)
    assert (reconstruction - kl < log_p_x).all()


@pytest.mark.parametrize("bound", [sgvb_a, lambda *args: sgvb_b(*args).elbo])
def test_more_samples_average_more_draws(model, x, bound):
    with torch.no_grad():
        one = bound(model, x.repeat(DRAWS, 1), 1).view(DRAWS, 3)
        ten = bound(model, x.repeat(DRAWS, 1), 10).view(DRAWS, 3)
    ratio = one.var(0) / ten.var(0)
    # The relative standard error of such a ratio is sqrt(4 / DRAWS) = 1.4 % for Gaussian tails, more for heavier ones.
    assert ((ratio / 10 - 1).abs() < 0.1).all()


@pytest.mark.parametrize("estimator", [sgvb_a, lambda *args: sgvb_b(*args).elbo])
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
    assert sgvb_a(model, x, 3).shape == (3,)
    torch.testing.assert_close(bound.elbo, bound.reconstruction - bound.kl)


@pytest.mark.parametrize("bound", [sgvb_a, sgvb_b])
@pytest.mark.parametrize("num_samples", [0, -1, 2.0, True])
def test_num_samples_must_be_a_positive_integer(model, x, bound, num_samples):
    with pytest.raises(ValueError, match="num_samples must be an integer of at least 1"):
        bound(model, x, num_samples)
