"""Full variational Bayes against quadrature over the one random weight of a linear-Gaussian model."""

import math

import pytest
import torch
from tiny import gauss_hermite, make_tiny_images, make_tiny_vae
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from vaelib.bounds import minibatch_estimate, sgvb_b
from vaelib.checks import without_validation
from vaelib.encoders import DiagonalEncoder
from vaelib.inference.full_bayes import BayesianVAE, full_bayes
from vaelib.linear_gaussian import LinearGaussian
from vaelib.models import VAE
from vaelib.training import fit

COUNT = 20
NOISE = 0.5
BIAS = 0.3


def make_model(random: str, weight: float = 0.8, start_log_var: float = -4.0) -> tuple[BayesianVAE, LinearGaussian]:
    """x = weight z + bias + noise, one pixel and one code; only the parameter named is random.

    The encoder starts at the posterior given the mean weights.
    """
    linear = LinearGaussian(torch.tensor([[weight]]), torch.tensor([BIAS]), torch.tensor(NOISE).log())
    for name, parameter in linear.decoder.named_parameters():
        parameter.requires_grad_(name == random)
    encoder = DiagonalEncoder(nn.Identity(), 1, 1)
    precision = 1 + weight**2 / NOISE
    gain = weight / NOISE / precision
    with torch.no_grad():
        encoder.head.weight.copy_(torch.tensor([[gain], [0.0]]))
        encoder.head.bias.copy_(torch.tensor([-gain * BIAS, -math.log(precision)]))
    return BayesianVAE(linear.with_posterior(encoder), COUNT, start_log_var=start_log_var), linear


def images() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(COUNT, 1) + 0.7


def evidence(random: str, x: Tensor, weight: float = 0.8) -> tuple[Tensor, Tensor, Tensor]:
    """log p(X), and the mean and variance of p(theta | X), on a grid that holds all of the posterior."""
    grid = torch.linspace(-6, 6, 4001)
    weights = grid if random == "weight" else torch.full_like(grid, weight)
    biases = grid if random == "bias" else torch.full_like(grid, BIAS)
    log_joint = Normal(biases, (weights**2 + NOISE).sqrt()).log_prob(x).sum(0) + Normal(0.0, 1.0).log_prob(grid)
    total = log_joint.logsumexp(0)
    share = (log_joint - total).exp()
    mean = (share * grid).sum()
    return total + (grid[1] - grid[0]).log(), mean, (share * (grid - mean) ** 2).sum()


@torch.no_grad()
def exact_bound(model: BayesianVAE, linear: LinearGaussian, parameter: Tensor, x: Tensor) -> Tensor:
    """The bound on log p(X): over theta by quadrature, over z in closed form."""
    nodes, node_weights = gauss_hermite(40)
    kept, q = parameter.clone(), model.model.encode(x)
    mean, std = model.weights.mean.clone(), model.weights.stddev
    totals = []
    for node in nodes:
        parameter.fill_((mean + std * node).item())
        totals.append(linear.elbo(x, q).sum())
    parameter.copy_(kept)
    return (node_weights * torch.stack(totals)).sum() - kl_divergence(Normal(mean, std), Normal(0.0, 1.0)).sum()


@pytest.mark.parametrize("random", ["weight", "bias"])
def test_the_estimate_is_unbiased_for_the_bound_on_all_images(random):
    x = images()
    model, linear = make_model(random)
    exact = exact_bound(model, linear, getattr(linear, random), x)
    torch.manual_seed(3)
    with torch.no_grad(), without_validation():
        # Many draws of z for each of the weights: it is the weights' draws that the error comes from.
        draws = torch.stack([full_bayes(model, x.repeat(50, 1)).bound.mean() for _ in range(1000)])
    error = COUNT * draws.std() / len(draws) ** 0.5
    assert abs(COUNT * draws.mean() - exact) < 4 * error
    assert error < 0.1
    assert exact < evidence(random, x)[0] - 1


def test_minibatches_estimate_the_bound_on_all_images():
    """The four minibatches of an epoch see the same weights here, and then their estimates average to the whole."""
    x, (model, _) = images(), make_model("bias", start_log_var=-80.0)
    torch.manual_seed(4)
    with torch.no_grad(), without_validation():
        parts = [minibatch_estimate(full_bayes(model, part.repeat(20_000, 1)).bound, COUNT) for part in x.split(5)]
        whole = minibatch_estimate(full_bayes(model, x.repeat(20_000, 1)).bound, COUNT)
    torch.testing.assert_close(torch.stack(parts).mean(), whole, atol=0.1, rtol=0)
    assert torch.stack(parts).std() > 1


def test_the_posterior_is_exact_where_codes_and_weights_are_independent():
    """With W = 0 the codes say nothing: q can be the posterior, and the bound log p(X) itself."""
    x = images()
    model, linear = make_model("bias", weight=0.0)
    fit(model, x, epochs=1200, objective=full_bayes, batch_size=COUNT, learning_rate=0.05, progress=False, device="cpu")
    log_evidence, mean, variance = evidence("bias", x, weight=0.0)
    torch.testing.assert_close(model.weights.mean.detach(), mean.view(1), atol=0.02, rtol=0)
    torch.testing.assert_close(model.weights.variance.detach(), variance.view(1), atol=0, rtol=0.1)
    assert log_evidence - 0.02 < exact_bound(model, linear, linear.bias, x) <= log_evidence


def test_the_posterior_over_a_bias_is_the_best_of_its_mean_field():
    """The mean is quadrature's; the variance is one over the precision at fixed codes, below the posterior's."""
    x = images()
    model, _ = make_model("bias")
    fit(model, x, epochs=1200, objective=full_bayes, batch_size=COUNT, learning_rate=0.05, progress=False, device="cpu")
    _, mean, variance = evidence("bias", x)
    mean_field = 1 / (1 + COUNT / NOISE)
    torch.testing.assert_close(model.weights.mean.detach(), mean.view(1), atol=0.03, rtol=0)
    torch.testing.assert_close(model.weights.variance.detach(), torch.tensor([mean_field]), atol=0, rtol=0.1)
    assert mean_field < 0.5 * variance


def test_the_gradient_is_that_of_the_estimate_at_fixed_noise():
    model, x = BayesianVAE(make_tiny_vae(), 10, start_log_var=-1.0), make_tiny_images()

    def value() -> Tensor:
        torch.manual_seed(4)
        return full_bayes(model, x).bound.mean()

    parameters = [model.log_var, model.model.decoder.head.weight, model.model.encoder.head.weight]
    gradients = torch.autograd.grad(value(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            parameter += 1e-5 * direction
            above = value()
            parameter -= 2e-5 * direction
            below = value()
            parameter += 1e-5 * direction
        torch.testing.assert_close((above - below) / 2e-5, (gradient * direction).sum(), rtol=1e-6, atol=1e-8)


def test_the_parts_add_up_and_the_weights_share_is_one_nth():
    model, x = BayesianVAE(make_tiny_vae(), 10, start_log_var=-1.0), make_tiny_images()
    terms = full_bayes(model, x)
    assert all(term.shape == (3,) for term in terms)
    torch.testing.assert_close(terms.bound, terms.reconstruction - terms.kl - terms.kl_theta)
    means = torch.cat([parameter.flatten() for parameter in model.model.decoder.parameters()])
    q = Normal(means, torch.full_like(means, math.exp(-0.5)))
    expected = kl_divergence(q, Normal(0.0, 1.0)).sum() / 10
    torch.testing.assert_close(terms.kl_theta, expected.expand(3))


def test_the_means_are_the_decoders_own_parameters():
    model, x = BayesianVAE(make_tiny_vae(), 10), make_tiny_images()
    torch.manual_seed(5)
    found = model.with_weights(model.weights.mean, x)
    torch.manual_seed(5)
    expected = sgvb_b(model.model, x)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    count = sum(parameter.numel() for parameter in model.model.decoder.parameters())
    assert model.log_var.shape == (count,)
    everything = sum(parameter.numel() for parameter in model.parameters())
    assert everything == sum(parameter.numel() for parameter in model.model.parameters()) + count


def test_drawn_models_are_draws_of_the_weights_and_models_of_their_own():
    model = BayesianVAE(make_tiny_vae(), 10)
    with torch.no_grad():
        model.log_var.copy_(torch.linspace(-6, 0, len(model.log_var)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(6)
    drawn = [model.draw() for _ in range(300)]
    assert type(drawn[0]) is VAE
    thetas = torch.stack([torch.cat([part.flatten() for part in one.decoder.parameters()]) for one in drawn])
    mean, std = model.weights.mean, model.weights.stddev
    assert ((thetas.mean(0) - mean).abs() < 4 * std / 300**0.5).all()
    assert ((thetas.std(0) / std - 1).abs() < 4 / 600**0.5).all()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    encoder = [torch.equal(one, other) for one, other in zip(*map(_encoder, (drawn[0], model.model)), strict=True)]
    assert all(encoder)
    with torch.no_grad():
        drawn[0].encoder.head.weight.add_(1)
    assert torch.equal(model.model.encoder.head.weight, before["model.encoder.head.weight"])


def _encoder(model: VAE) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in model.encoder.parameters()]


def test_a_frozen_parameter_is_no_part_of_theta():
    model, linear = make_model("bias")
    assert model.log_var.shape == (1,)
    drawn = model.draw()
    assert torch.equal(drawn.decoder.weight, linear.weight)
    assert not torch.equal(drawn.decoder.bias, linear.bias)


def test_bad_arguments_are_named():
    with pytest.raises(TypeError, match="model must be a VAE, but is a LinearGaussian"):
        BayesianVAE(LinearGaussian.random(3, 1), 10)
    with pytest.raises(ValueError, match="dataset_size must be an integer of at least 1"):
        BayesianVAE(make_tiny_vae(), 0)
    frozen = make_tiny_vae()
    frozen.decoder.requires_grad_(False)
    with pytest.raises(ValueError, match="no decoder parameter that requires a gradient"):
        BayesianVAE(frozen, 10)
