"""Wake-sleep's two gradients against quadrature over codes and enumeration of all images; where it comes to rest."""

import itertools

import pytest
import torch
from tiny import exact_terms, gauss_hermite, make_tiny_images, make_tiny_vae
from torch import Tensor, nn

from vaelib.encoders import DiagonalEncoder
from vaelib.gaussians import DiagonalGaussian
from vaelib.inference.wake_sleep import wake_sleep
from vaelib.linear_gaussian import LinearGaussian
from vaelib.models import VAE
from vaelib.training import fit


def gradient(value: Tensor, module: nn.Module) -> Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, list(module.parameters()))])


def exact_gradients(model: VAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient for theta under the encoder's codes, and the gradient for phi under all 64 dreams of each code."""
    nodes, weights = gauss_hermite()
    q = model.encode(x)
    z = (q.mean + q.stddev * nodes[:, None, None]).detach()
    wake = (weights[:, None] * model.log_joint(x, z)).sum(0).mean()
    dreams = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))
    codes = nodes[:, None, None]
    chances = weights[:, None] * model.decode(codes).log_prob(dreams).exp().detach()
    sleep = (chances * model.encode(dreams).log_prob(codes)).sum()
    torch.testing.assert_close(chances.sum(), torch.tensor(1.0))
    return gradient(wake, model.decoder), gradient(sleep, model.encoder)


def test_the_expected_gradients_are_the_two_that_are_stated():
    model, x = make_tiny_vae(), make_tiny_images()
    exact = torch.cat(exact_gradients(model, x))
    draws = []
    torch.manual_seed(3)
    for _ in range(400):
        objective = wake_sleep(model, x.repeat(50, 1)).wake_plus_sleep.mean()
        draws.append(torch.cat([gradient(objective, part) for part in (model.decoder, model.encoder)]))
    estimates = torch.stack(draws)
    error = estimates.std(0) / len(draws) ** 0.5
    assert (error > 0).all()
    assert ((estimates.mean(0) - exact).abs() < 4 * error).all()
    assert (error < 0.05 * exact.abs().max()).all()  # there is something to see


def test_each_phase_reaches_its_own_network_alone():
    model = make_tiny_vae()
    terms = wake_sleep(model, make_tiny_images())
    for value, own, other in ((terms.wake, "decoder", "encoder"), (terms.sleep, "encoder", "decoder")):
        model.zero_grad()
        value.sum().backward(retain_graph=True)
        assert all(parameter.grad is None for parameter in getattr(model, other).parameters())
        assert all(parameter.grad.abs().sum() > 0 for parameter in getattr(model, own).parameters())
    assert not terms.elbo.requires_grad


def test_the_sum_is_that_of_the_two_phases_one_value_an_image():
    terms = wake_sleep(make_tiny_vae(), make_tiny_images())
    assert all(term.shape == (3,) for term in terms)
    torch.testing.assert_close(terms.wake_plus_sleep, terms.wake + terms.sleep)


def test_the_elbo_is_unbiased():
    model, x = make_tiny_vae(), make_tiny_images()
    reconstruction, kl, _ = exact_terms(model, x)
    count = 20_000
    torch.manual_seed(4)
    draws = wake_sleep(model, x.repeat(count, 1)).elbo.view(count, 3)
    error = draws.std(0) / count**0.5
    assert ((draws.mean(0) - (reconstruction - kl)).abs() < 4 * error).all()
    assert (error < 0.02).all()


class Spy(nn.Module):
    """An encoder that remembers what it has seen."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> DiagonalGaussian:
        self.seen.append(x)
        return self.encoder(x)


@pytest.mark.parametrize("grey", [False, True])
def test_dreams_are_draws_from_the_model_as_many_as_images(grey):
    torch.manual_seed(5)
    model = VAE.mlp(6, (5,), 1, grey=grey)
    model.encoder = Spy(model.encoder)
    x = torch.full((2000, 6), 0.5) if grey else torch.ones(2000, 6)
    wake_sleep(model, x)
    images, dreams = model.encoder.seen
    assert images is x
    assert dreams.shape == x.shape
    assert set(dreams.unique().tolist()) == {0.0, 1.0}
    nodes, weights = gauss_hermite()
    expected = (weights[:, None] * model.decode(nodes[:, None]).mean).sum(0)
    assert ((dreams.mean(0) - expected).abs() < 4 * (expected * (1 - expected) / 2000).sqrt()).all()


def test_it_comes_to_rest_at_the_maximum_of_the_likelihood_and_the_posterior():
    """An affine encoder can be exact here for images and dreams alike, and then the wake phase is EM's M step."""
    x = LinearGaussian.random(4, 1, log_var=-1.0, seed=7).marginal.sample((200,))
    best = LinearGaussian.maximum_likelihood(x, 1).log_marginal(x).mean().item()
    linear = LinearGaussian.random(4, 1, seed=3)
    before = linear.log_marginal(x).mean()
    model = linear.with_posterior(DiagonalEncoder(nn.Identity(), 4, 1))
    settings = {"objective": wake_sleep, "batch_size": 100, "progress": False, "device": "cpu"}
    history = fit(model, x, epochs=300, learning_rate=0.1, **settings)
    terms = ["wake_plus_sleep", "wake", "sleep", "elbo"]
    assert list(history.columns) == ["epoch"] + [f"train_{term}" for term in terms]
    with torch.no_grad():
        assert before < best - 1
        assert best - 0.005 < linear.log_marginal(x).mean() <= best
        posterior, q = linear.posterior(x), model.encode(x)
        torch.testing.assert_close(q.mean, posterior.mean, atol=0.05, rtol=0)
        torch.testing.assert_close(q.variance, posterior.variance, atol=0.0, rtol=0.2)
    assert abs(history.train_elbo.iloc[-1] - best) < 0.05
