"""The networks and the model that joins them: shapes, starting points, refusals."""

import pytest
import torch
from torch import nn

from vaelib.gaussians import DiagonalGaussian, StandardNormal
from vaelib.likelihoods import Bernoulli
from vaelib.models import VAE
from vaelib.networks import mlp


def test_mlp_alternates_affine_maps_and_activations():
    body = mlp((5, 4, 3), nn.Tanh)
    assert [type(layer) for layer in body] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh]
    x = torch.randn(7, 5)
    expected = torch.tanh(torch.tanh(x @ body[0].weight.T + body[0].bias) @ body[2].weight.T + body[2].bias)
    torch.testing.assert_close(body(x), expected)


@pytest.mark.parametrize("sizes", [(), (5,), (5, 0), (-1, 5)])
def test_mlp_refuses_sizes_that_make_no_layer(sizes):
    with pytest.raises(ValueError, match="sizes must hold at least two positive widths"):
        mlp(sizes)


def test_vae_gives_distributions_of_the_promised_shapes():
    model = VAE.mlp(12, hidden=(8, 6), latent_dim=3)
    q = model.encode(torch.rand(5, 12))
    assert isinstance(q, DiagonalGaussian)
    assert (q.batch_shape, q.event_shape) == ((5,), (3,))
    p = model.decode(q.rsample((4,)))
    assert isinstance(p, Bernoulli)
    assert (p.batch_shape, p.event_shape) == ((4, 5), (12,))
    assert isinstance(model.prior, StandardNormal)
    assert model.prior.event_shape == (3,)


def test_mlp_vae_has_the_layers_it_is_named_for():
    def widths(network: nn.Module) -> list[int]:
        return [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]

    model = VAE.mlp(784)
    assert (widths(model.encoder), widths(model.decoder)) == ([400, 2 * 20], [400, 784])
    deeper = VAE.mlp(784, hidden=(300, 200), latent_dim=10)
    assert (widths(deeper.encoder), widths(deeper.decoder)) == ([300, 200, 2 * 10], [200, 300, 784])


def test_prior_follows_the_model_dtype():
    model = VAE.mlp(12, latent_dim=3).to(torch.float32)
    assert model.prior.sample().dtype == torch.float32
    assert model.to(torch.float64).prior.sample().dtype == torch.float64


def test_encoder_starts_near_the_prior():
    torch.manual_seed(0)
    q = VAE.mlp(784).encode(torch.rand(100, 784))
    assert q.mean.abs().max() < 1
    assert q.log_var.abs().max() < 1


def test_generate_and_reconstruct_give_mean_images_without_gradient():
    torch.manual_seed(0)
    model = VAE.mlp(12, latent_dim=3)
    x = torch.rand(5, 12)
    for images, count in ((model.reconstruct(x), 5), (model.generate(7), 7)):
        assert images.shape == (count, 12)
        assert not images.requires_grad
        assert ((images > 0) & (images < 1)).all()


def test_reconstruct_draws_its_code_from_the_posterior():
    torch.manual_seed(0)
    model = VAE.mlp(12, latent_dim=3)
    x = torch.rand(5, 12)
    torch.manual_seed(1)
    images = model.reconstruct(x)
    torch.manual_seed(1)
    z = model.encode(x).mean + model.encode(x).stddev * torch.randn(5, 3)
    torch.testing.assert_close(images, torch.sigmoid(model.decode(z).logits))


def test_check_data_looks_at_every_image():
    model = VAE.mlp(12, latent_dim=3)
    x = torch.randint(0, 2, (1000, 12)).to(torch.float64)
    model.check_data(x)
    x[999, 11] = 0.5
    with pytest.raises(ValueError, match=r"0\.5 at \(999, 11\)"):
        model.check_data(x)
    VAE.mlp(12, latent_dim=3, grey=True).check_data(x)
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., 12\)"):
        model.check_data(x[:, :11])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VAE.mlp(0), "data_dim|sizes"),
        (lambda: VAE.mlp(12, latent_dim=0), "latent_dim"),
        (lambda: VAE.mlp(12, hidden=()), "hidden"),
        (lambda: VAE.mlp(12).encode(torch.rand(5, 11)), "x must have shape"),
        (lambda: VAE.mlp(12, latent_dim=3).decode(torch.rand(5, 2)), "z must have shape"),
        (lambda: VAE.mlp(12).generate(0), "count"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
