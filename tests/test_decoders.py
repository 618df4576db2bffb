"""The decoders: shapes, constants against torch's own distributions, where they start, and refusals."""

import math
from functools import partial

import pytest
import torch
from torch import distributions, nn

from vaelib.decoders import BernoulliDecoder, ContinuousBernoulliDecoder, GaussianDecoder
from vaelib.gaussians import DiagonalGaussian
from vaelib.likelihoods import Bernoulli, ContinuousBernoulli
from vaelib.networks import ConvolutionalDecoderBody, ConvolutionalHead, mlp

GAUSSIANS = [
    partial(GaussianDecoder, noise=noise, std=0.3, sigmoid_mean=sigmoid_mean)
    for noise in ("fixed", "shared", "predicted")
    for sigmoid_mean in (False, True)
]
DECODERS = [BernoulliDecoder, ContinuousBernoulliDecoder, *GAUSSIANS]
IMAGE_SHAPES = [(28, 28), (8, 8), (28, 20)]


def dense(decoder, image_shape, latent_dim=3):
    return decoder(mlp((latent_dim, 50)), 50, image_shape[0] * image_shape[1])


def convolutional(decoder, image_shape, latent_dim=3):
    body = ConvolutionalDecoderBody(latent_dim, image_shape, (4, 8))
    make_head = partial(ConvolutionalHead, image_shape=image_shape)
    return decoder(body, body.features, image_shape[0] * image_shape[1], make_head=make_head)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("make", [dense, convolutional])
@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
@pytest.mark.parametrize("batch_shape", [(), (1,), (5,), (4, 5), (2, 3, 4)])
def test_likelihoods_have_the_promised_shape(decoder, make, image_shape, batch_shape):
    p = make(decoder, image_shape)(torch.randn(*batch_shape, 3))
    pixels = image_shape[0] * image_shape[1]
    assert (p.batch_shape, p.event_shape) == (batch_shape, (pixels,))
    assert p.mean.shape == p.sample().shape == (*batch_shape, pixels)
    x = torch.bernoulli(torch.full((*batch_shape[-1:], pixels), 0.5))
    assert p.log_prob(x).shape == batch_shape


def torch_bernoulli(outputs, decoder):
    return distributions.Bernoulli(logits=outputs)


def torch_continuous_bernoulli(outputs, decoder):
    return distributions.ContinuousBernoulli(logits=outputs)


def torch_normal(outputs, decoder):
    std = torch.tensor(0.3)
    if decoder.noise == "predicted":
        outputs, log_var = outputs[..., :64], outputs[..., 64:]
        std = log_var.exp().sqrt()
    return distributions.Normal(1 / (1 + (-outputs).exp()) if decoder.sigmoid_mean else outputs, std)


@pytest.mark.parametrize(
    ("decoder", "family", "reference"),
    [
        (BernoulliDecoder, Bernoulli, torch_bernoulli),
        (ContinuousBernoulliDecoder, ContinuousBernoulli, torch_continuous_bernoulli),
        *((gaussian, DiagonalGaussian, torch_normal) for gaussian in GAUSSIANS),
    ],
)
@pytest.mark.parametrize("make", [dense, convolutional])
def test_log_prob_keeps_every_constant(decoder, family, reference, make):
    network = make(decoder, (8, 8))
    z = torch.randn(4, 5, 3)
    x = torch.rand(5, 64) if family is not Bernoulli else torch.bernoulli(torch.full((5, 64), 0.5))
    p = network(z)
    assert type(p) is family
    expected = reference(network.head(network.body(z)), network)
    torch.testing.assert_close(p.log_prob(x), expected.log_prob(x).sum(-1))
    torch.testing.assert_close(p.mean, expected.mean)


@pytest.mark.parametrize("make", [dense, convolutional])
def test_bernoulli_scores_grey_pixels_only_when_asked(make):
    x, z = torch.rand(5, 64), torch.randn(5, 3)
    with pytest.raises(ValueError, match="must be 0 or 1"):
        make(BernoulliDecoder, (8, 8))(z).log_prob(x)
    network = make(partial(BernoulliDecoder, grey=True), (8, 8))
    on = torch.sigmoid(network.head(network.body(z)))
    torch.testing.assert_close(network(z).log_prob(x), (x * on.log() + (1 - x) * (1 - on).log()).sum(-1))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("make", [dense, convolutional])
def test_gradients_reach_every_parameter(decoder, make):
    network = make(decoder, (8, 8))
    network(torch.randn(10, 3)).log_prob(torch.bernoulli(torch.full((10, 64), 0.5))).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert (network.head.bias.grad != 0).all()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("make", [dense, convolutional])
def test_likelihood_follows_the_dtype(decoder, make):
    network = make(decoder, (8, 8))
    for dtype in (torch.float32, torch.float64):
        p = network.to(dtype)(torch.randn(5, 3, dtype=dtype))
        assert p.mean.dtype == p.log_prob(torch.ones(5, 64, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("make", [dense, convolutional])
@pytest.mark.parametrize("sigmoid_mean", [False, True])
def test_each_kind_of_noise_is_what_it_says(make, sigmoid_mean):
    def parts(noise):
        network = make(partial(GaussianDecoder, noise=noise, std=0.3, sigmoid_mean=sigmoid_mean), (8, 8))
        return network, network(torch.randn(7, 3)).stddev

    fixed, std = parts("fixed")
    torch.testing.assert_close(std, torch.full_like(std, 0.3))
    assert "log_var" not in dict(fixed.named_parameters())
    assert "log_var" in fixed.state_dict()  # what is fixed is saved with the weights all the same

    shared, std = parts("shared")
    torch.testing.assert_close(std, torch.full_like(std, 0.3))
    assert dict(shared.named_parameters())["log_var"].shape == ()

    predicted, std = parts("predicted")
    assert not hasattr(predicted, "log_var")
    assert ((std > 0.1) & (std < 0.9)).all()
    assert std.std(0).min() > 0  # another one for each code
    torch.testing.assert_close(predicted.head.bias[64:], torch.full((64,), 2 * math.log(0.3)))
    assert predicted.head.bias[:64].abs().max() < 1


def test_sigmoid_means_stay_inside_the_unit_interval():
    network = dense(partial(GaussianDecoder, sigmoid_mean=True), (8, 8))
    z = 100 * torch.randn(50, 3)
    assert ((network(z).mean >= 0) & (network(z).mean <= 1)).all()
    network.sigmoid_mean = False
    assert (network(z).mean < 0).any()


def test_best_shared_variance_is_the_mean_squared_error():
    """With D log(s^2) + |x - mu|^2 / s^2 in the loss, the gradient by log_var vanishes at s^2 = |x - mu|^2 / D."""
    network = dense(partial(GaussianDecoder, noise="shared"), (8, 8))
    z, x = torch.randn(10, 3), torch.rand(10, 64)
    with torch.no_grad():
        network.log_var.copy_((x - network(z).mean).square().mean().log())
    network(z).log_prob(x).sum().backward()
    torch.testing.assert_close(network.log_var.grad, torch.tensor(0.0), rtol=0, atol=1e-10)


@pytest.mark.parametrize("make", [dense, convolutional])
def test_output_bias_starts_the_model_at_the_mean_image(make):
    images = torch.bernoulli(torch.linspace(0.05, 0.95, 64).expand(200, 64))
    images[:, 0], images[:, 63] = 0, 1
    network = make(BernoulliDecoder, (8, 8))
    network.set_output_bias(images)
    for name, parameter in network.named_parameters():
        if name.startswith("head") and name.endswith("weight"):
            nn.init.zeros_(parameter)
    p = network(torch.randn(5, 3))
    torch.testing.assert_close(p.mean[:, 1:63], images[:, 1:63].mean(0).expand(5, 62), rtol=0, atol=0.005)
    torch.testing.assert_close(p.mean[:, 0], torch.full((5,), 1 / 202))
    torch.testing.assert_close(p.mean[:, 63], torch.full((5,), 201 / 202))
    assert torch.isfinite(p.log_prob(1 - images[0])).all()
    assert network.head.bias.requires_grad


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.rand(9, 63, dtype=torch.float64), ValueError, r"images must have shape \(\.\.\., 64\)"),
        (torch.rand(64, dtype=torch.float64), ValueError, r"images must hold images in rows"),
        (torch.full((9, 64), 255.0), ValueError, r"images must lie in \[0, 1\]"),
        (torch.ones(9, 64, dtype=torch.uint8), TypeError, "images must be floating point"),
    ],
)
def test_output_bias_refuses_what_is_no_set_of_images(images, error, message):
    with pytest.raises(error, match=message):
        dense(BernoulliDecoder, (8, 8)).set_output_bias(images)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    ("features", "data_dim", "message"),
    [(0, 64, "features must"), (50, 0, "data_dim must"), (50, 6.4, "data_dim must")],
)
def test_sizes_are_checked_by_name(decoder, features, data_dim, message):
    with pytest.raises(ValueError, match=message):
        decoder(mlp((3, 50)), features, data_dim)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "learned"}, 'noise must be "fixed", "shared" or "predicted", but is \'learned\''),
        ({"std": 0.0}, "std must be positive"),
        ({"std": -1.0}, "std must be positive"),
        ({"std": math.inf}, "std must be positive"),
        ({"std": math.nan, "noise": "shared"}, "std must be positive"),
    ],
)
def test_gaussian_options_are_checked_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        GaussianDecoder(mlp((3, 50)), 50, 64, **options)
