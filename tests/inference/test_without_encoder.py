"""A table of posteriors against estimator B with the same numbers, and trained against the closed-form maximum."""

from functools import partial

import pytest
import torch
from tiny import make_tiny_images, make_tiny_vae

from vaelib.bounds import sgvb_b
from vaelib.gaussians import DiagonalGaussian
from vaelib.inference.without_encoder import VAEWithoutEncoder, without_encoder
from vaelib.linear_gaussian import LinearGaussian
from vaelib.models import VAE, LatentVariableModel
from vaelib.training import fit


def test_the_objective_is_the_bound_under_the_images_own_posteriors():
    torch.manual_seed(7)
    images = torch.randint(0, 2, (10, 6)).double()
    model = VAEWithoutEncoder(make_tiny_vae(), images)
    with torch.no_grad():
        model.posteriors.loc.normal_()
    rows = torch.tensor([4, 9])
    torch.manual_seed(8)
    found = without_encoder(model, model.numbers[rows], num_samples=3)
    torch.manual_seed(8)
    expected = sgvb_b(model.model, images[rows], num_samples=3, q=DiagonalGaussian(*_numbers(model, rows)))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def _numbers(model: VAEWithoutEncoder, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return model.posteriors.loc[rows], model.posteriors.log_var[rows]


def test_only_the_posteriors_of_the_minibatch_have_a_gradient():
    images = torch.randint(0, 2, (10, 6)).double()
    model = VAEWithoutEncoder(make_tiny_vae(), images, family="full")
    without_encoder(model, model.numbers[[2, 7]]).elbo.sum().backward()
    touched = (model.posteriors.loc.grad != 0).any(1).nonzero().flatten()
    assert touched.tolist() == [2, 7]
    assert all(parameter.grad is not None for parameter in model.model.parameters())


def test_training_with_a_table_reaches_the_maximum_of_the_likelihood():
    """At the maximum, W can be rotated until the posterior is diagonal: the bound then costs nothing."""
    truth = LinearGaussian.random(4, 2, log_var=-1.0, seed=7)
    images = truth.marginal.sample((60,))
    best = LinearGaussian.maximum_likelihood(images, 2).log_marginal(images).mean()
    linear = LinearGaussian.random(4, 2, seed=1)
    before = linear.log_marginal(images).mean()
    model = VAEWithoutEncoder(linear, images)
    objective = partial(without_encoder, num_samples=8)
    settings = {"objective": objective, "batch_size": 60, "progress": False, "device": "cpu"}
    history = fit(model, model.numbers, epochs=600, learning_rate=0.1, **settings)
    assert list(history.columns) == ["epoch", "train_elbo", "train_reconstruction", "train_kl"]
    with torch.no_grad():
        assert before < best - 1
        assert best - 0.005 < linear.log_marginal(images).mean() <= best
        assert linear.elbo(images, model.posteriors()).mean() > best - 0.02


def test_the_encoder_is_left_out_and_the_images_are_not_saved():
    vae = VAE.mlp(6, (5,), 2)
    model = VAEWithoutEncoder(vae, torch.zeros(10, 6))
    assert type(model.model) is LatentVariableModel
    assert model.model.decoder is vae.decoder
    decoder = {f"model.decoder.{name}" for name in vae.decoder.state_dict()}
    assert set(model.state_dict()) == decoder | {"posteriors.loc", "posteriors.log_var"}
    posteriors = model.posteriors()
    torch.testing.assert_close(posteriors.mean, torch.zeros(10, 2))
    torch.testing.assert_close(posteriors.variance, torch.ones(10, 2))


def test_images_in_place_of_their_numbers_are_refused():
    model = VAEWithoutEncoder(make_tiny_vae(), make_tiny_images())
    with pytest.raises(ValueError, match=r"numbers must be rows of model\.numbers.*\(3, 6\).*fit_local"):
        without_encoder(model, make_tiny_images())


def test_a_dtype_that_cannot_count_the_images_is_refused():
    vae = VAE.mlp(6, (5,), 2).half()
    VAEWithoutEncoder(vae, torch.zeros(2048, 6, dtype=torch.float16))
    with pytest.raises(ValueError, match=r"few enough for torch\.float16 to count them, but are 2049"):
        VAEWithoutEncoder(vae, torch.zeros(2049, 6, dtype=torch.float16))
