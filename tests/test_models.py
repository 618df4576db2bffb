"""The models: autoencoders against PCA; variational ones' shapes, starting points, refusals."""

from functools import partial

import pytest
import torch
from torch import nn

from vaelib.bounds import sgvb_b
from vaelib.decoders import BernoulliDecoder, ContinuousBernoulliDecoder, GaussianDecoder
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian, StandardNormal
from vaelib.likelihoods import Bernoulli
from vaelib.models import VAE
from vaelib.training import fit

CONVOLUTIONAL = partial(VAE.convolutional, (8, 8), (3, 5), 3)
MLP = partial(VAE.mlp, 64, (20, 10), 3)
LIKELIHOODS = [
    BernoulliDecoder,
    ContinuousBernoulliDecoder,
    partial(GaussianDecoder, std=0.1),
    partial(GaussianDecoder, noise="shared"),
    partial(GaussianDecoder, noise="predicted", sigmoid_mean=True),
]


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


def test_mlp_vae_draws_its_weights_layer_by_layer():
    """The same seed gives the weights that plain layers made in this order have, so stored results stay valid."""
    torch.manual_seed(7)
    layers = [nn.Linear(12, 8), nn.Linear(8, 6), nn.Linear(3, 8), nn.Linear(8, 12)]
    expected = [parameter for layer in layers for parameter in layer.parameters()]
    torch.manual_seed(7)
    model = VAE.mlp(12, (8,), 3)
    layers = [model.encoder.body[0], model.encoder.head, model.decoder.body[0], model.decoder.head]
    actual = [parameter for layer in layers for parameter in layer.parameters()]
    assert len(actual) == len(list(model.parameters()))
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("make", [MLP, CONVOLUTIONAL])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(
    ("posterior", "family"),
    [("diagonal", DiagonalGaussian), ("full", AffineGaussian), ("cholesky", CholeskyGaussian)],
)
def test_every_posterior_goes_with_every_likelihood(make, likelihood, posterior, family):
    model = make(posterior=posterior, likelihood=likelihood)
    x = torch.bernoulli(torch.full((5, 64), 0.5))
    model.check_data(x)
    q = model.encode(x)
    assert type(q) is family
    assert model.decode(q.rsample((4,))).log_prob(x).shape == (4, 5)
    assert model.generate(7).shape == (7, 64)
    assert model.reconstruct(x).shape == (5, 64)
    terms = sgvb_b(model, x, num_samples=4)
    assert terms.kl.max() < 1
    terms.elbo.mean().neg().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("posterior", ["diagonal", "full", "cholesky"])
@pytest.mark.parametrize("make", [MLP, CONVOLUTIONAL])
def test_fit_improves_the_bound(make, posterior):
    model = make(posterior=posterior)
    x = torch.bernoulli(torch.rand(64).round().lerp(torch.tensor(0.5), 0.2).expand(200, 64))
    history = fit(model, x, epochs=10, learning_rate=0.01, batch_size=50, device="cpu", progress=False)
    assert history["train_elbo"].iloc[-1] > history["train_elbo"].iloc[0] + 5


@pytest.mark.parametrize("image_shape", [(28, 28), (8, 8), (28, 20)])
def test_convolutional_vae_knows_its_sizes(image_shape):
    model = VAE.convolutional(image_shape, (3, 5), 2, activation=nn.Tanh)
    pixels = image_shape[0] * image_shape[1]
    assert (model.data_dim, model.latent_dim) == (pixels, 2)
    assert model.reconstruct(torch.rand(4, pixels)).shape == (4, pixels)
    assert not any(isinstance(module, nn.ReLU) for module in model.modules())
    assert sum(isinstance(module, nn.Tanh) for module in model.modules()) == 4


@pytest.mark.parametrize("make", [MLP, CONVOLUTIONAL])
def test_grey_images_are_taken_when_asked_for(make):
    x = torch.rand(5, 64)
    make(grey=True).check_data(x)
    with pytest.raises(ValueError, match="must be 0 or 1"):
        make().check_data(x)


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
        (lambda: VAE.mlp(0), "data_dim"),
        (lambda: VAE.mlp(12, latent_dim=0), "latent_dim"),
        (lambda: VAE.mlp(12, hidden=()), "hidden"),
        (lambda: VAE.mlp(12, hidden=(8, 0)), r"hidden must hold .* \(8, 0\)"),
        (lambda: VAE.mlp(12, posterior="free"), "posterior must be .* 'free'"),
        (lambda: VAE.convolutional((8, 8), posterior="free"), "posterior must be .* 'free'"),
        (lambda: VAE.mlp(12, likelihood=GaussianDecoder, grey=True), "grey is about the Bernoulli"),
        (lambda: VAE.convolutional((8, 8), likelihood=GaussianDecoder, grey=True), "grey is about the Bernoulli"),
        (lambda: VAE.convolutional((8, 8), latent_dim=0), "latent_dim"),
        (lambda: VAE.convolutional((8, 6)), "image_shape"),
        (lambda: VAE.convolutional((8, 8), ()), "channels"),
        (lambda: VAE.mlp(12).encode(torch.rand(5, 11)), "x must have shape"),
        (lambda: VAE.mlp(12, latent_dim=3).decode(torch.rand(5, 2)), "z must have shape"),
        (lambda: VAE.mlp(12).generate(0), "count"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
