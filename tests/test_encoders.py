"""The encoders: shapes, where they start, and which number of the head becomes which entry of S."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from vaelib.encoders import CholeskyEncoder, DiagonalEncoder, FullEncoder
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian, StandardNormal
from vaelib.networks import ConvolutionalEncoderBody, mlp

ENCODERS = [DiagonalEncoder, FullEncoder, CholeskyEncoder]
IMAGE_SHAPES = [(28, 28), (8, 8), (28, 20)]


def dense_body(image_shape):
    return mlp((image_shape[0] * image_shape[1], 100)), 100


def convolutional_body(image_shape):
    body = ConvolutionalEncoderBody(image_shape, (4, 8))
    return body, body.features


@pytest.mark.parametrize(
    ("encoder", "family"),
    [(DiagonalEncoder, DiagonalGaussian), (FullEncoder, AffineGaussian), (CholeskyEncoder, CholeskyGaussian)],
)
@pytest.mark.parametrize("make_body", [dense_body, convolutional_body])
@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
@pytest.mark.parametrize("batch_shape", [(), (1,), (5,), (2, 3)])
@pytest.mark.parametrize("latent_dim", [1, 3])
def test_posteriors_have_the_promised_type_and_shape(encoder, family, make_body, image_shape, batch_shape, latent_dim):
    q = encoder(*make_body(image_shape), latent_dim)(torch.rand(*batch_shape, image_shape[0] * image_shape[1]))
    assert type(q) is family
    assert (q.batch_shape, q.event_shape) == (batch_shape, (latent_dim,))
    assert q.scale.shape == (*batch_shape, latent_dim, latent_dim)
    assert q.rsample((4,)).shape == (4, *batch_shape, latent_dim)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("make_body", [dense_body, convolutional_body])
@pytest.mark.parametrize("latent_dim", [1, 2, 20, 50])
def test_posteriors_start_near_the_prior(encoder, make_body, latent_dim):
    """Near enough that the divergence, infinite for a singular S, is at most a tenth of a nat for each dimension."""
    for seed in range(20):
        torch.manual_seed(seed)
        q = encoder(*make_body((8, 8)), latent_dim)(torch.rand(10, 64))
        assert torch.linalg.cond(q.scale).max() < 3
        assert kl_divergence(q, StandardNormal(latent_dim)).max() < 0.1 * latent_dim + 0.3


@pytest.mark.parametrize("encoder", [FullEncoder, CholeskyEncoder])
@pytest.mark.parametrize("make_body", [dense_body, convolutional_body])
@pytest.mark.parametrize("latent_dim", [1, 2, 20, 50])
def test_correlated_posteriors_start_at_the_identity_whatever_the_image(encoder, make_body, latent_dim):
    for seed in range(20):
        torch.manual_seed(seed)
        q = encoder(*make_body((8, 8)), latent_dim)(100 * torch.randn(10, 64))  # no pixels, but bodies are free
        torch.testing.assert_close(q.scale, torch.eye(latent_dim).expand(10, -1, -1), rtol=0, atol=0)
        assert q.mean.std() > 0  # only S is the same for all


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("make_body", [dense_body, convolutional_body])
@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_first_gradients_reach_every_parameter_and_every_row_of_the_head(encoder, make_body, latent_dim):
    network = encoder(*make_body((8, 8)), latent_dim)
    q = network(torch.rand(10, 64))
    target = torch.randn(10, latent_dim)
    loss = (q.rsample((3,)) - target).square().sum((0, 1, 2)) + kl_divergence(q, StandardNormal(latent_dim)).sum()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert (network.head.weight.grad.abs().sum(1) > 0).all()
    assert (network.head.bias.grad != 0).all()


def test_full_encoder_predicts_the_entries_of_s_row_by_row():
    encoder = FullEncoder(nn.Identity(), 12, latent_dim=3)
    x = torch.randn(5, 12)
    with torch.no_grad():  # a head that hands its input through
        encoder.head.weight.copy_(torch.eye(12))
        encoder.head.bias.zero_()
    q = encoder(x)
    torch.testing.assert_close(q.mean, x[:, :3], rtol=0, atol=0)
    torch.testing.assert_close(q.scale[2, 0, 1], x[2, 4], rtol=0, atol=0)
    torch.testing.assert_close(q.scale[2, 1, 0], x[2, 6], rtol=0, atol=0)
    torch.testing.assert_close(q.scale.flatten(1), x[:, 3:], rtol=0, atol=0)


def test_cholesky_encoder_predicts_the_log_diagonal_then_what_lies_below():
    encoder = CholeskyEncoder(nn.Identity(), 9, latent_dim=3)
    x = torch.randn(5, 9)
    with torch.no_grad():
        encoder.head.weight.copy_(torch.eye(9))
        encoder.head.bias.zero_()
    q = encoder(x)
    a, b, c, d, e, f = x[2, 3:].tolist()
    expected = torch.tensor([[a, 0, 0], [d, b, 0], [e, f, c]])
    expected.diagonal().exp_()
    torch.testing.assert_close(q.mean, x[:, :3], rtol=0, atol=0)
    torch.testing.assert_close(q.scale_tril[2], expected)
    torch.testing.assert_close(q.entropy(), 1.5 * (1 + torch.tensor(2 * torch.pi).log()) + x[:, 3:6].sum(1))
    z = torch.randn(5, 3)
    torch.testing.assert_close(q.log_prob(z), MultivariateNormal(q.mean, scale_tril=q.scale_tril).log_prob(z))


def test_cholesky_diagonal_is_positive_whatever_the_head_predicts():
    encoder = CholeskyEncoder(nn.Identity(), 6, latent_dim=4)
    nn.init.normal_(encoder.head.weight, std=5)
    q = encoder(torch.randn(200, 6))
    assert (q.scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert torch.isfinite(kl_divergence(q, StandardNormal(4))).all()


def test_diagonal_encoder_predicts_the_mean_then_the_log_variances():
    encoder = DiagonalEncoder(nn.Identity(), 6, latent_dim=3)
    x = torch.randn(5, 6)
    expected = x @ encoder.head.weight.T + encoder.head.bias
    torch.testing.assert_close(encoder(x).mean, expected[:, :3])
    torch.testing.assert_close(encoder(x).log_var, expected[:, 3:])


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("make_body", [dense_body, convolutional_body])
def test_posterior_follows_the_dtype(encoder, make_body):
    network = encoder(*make_body((8, 8)), 3)
    for dtype in (torch.float32, torch.float64):
        q = network.to(dtype)(torch.rand(5, 64, dtype=dtype))
        assert q.mean.dtype == q.scale.dtype == q.rsample().dtype == dtype


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    ("features", "latent_dim", "message"),
    [(0, 3, "features must"), (2.0, 3, "features must"), (6, 0, "latent_dim must"), (6, -2, "latent_dim must")],
)
def test_errors_name_the_argument(encoder, features, latent_dim, message):
    with pytest.raises(ValueError, match=message):
        encoder(nn.Identity(), features, latent_dim)
