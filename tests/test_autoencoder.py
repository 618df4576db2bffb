"""The deterministic autoencoder: linear against PCA, and the one that is not."""

from functools import partial

import pytest
import torch
from torch import nn

from vaelib.autoencoder import Autoencoder, squared_error
from vaelib.training import fit


def correlated_data(count=300, dim=6):
    """Rows with a mean, and directions of clearly different variances."""
    x = torch.randn(count, dim) * torch.tensor([2.0, 1.5, 0.4, 0.3, 0.2, 0.1])
    return x @ torch.linalg.qr(torch.randn(dim, dim)).Q + torch.randn(dim)


def principal_projection(x, latent_dim):
    """PCA's reconstruction of each row, and the squared error it leaves per row on average."""
    mean = x.mean(0)
    _, singular_values, axes = torch.linalg.svd(x - mean, full_matrices=False)
    axes = axes[:latent_dim]
    return mean + (x - mean) @ axes.T @ axes, singular_values[latent_dim:].square().sum() / len(x)


def test_linear_autoencoder_at_its_optimum_is_the_principal_projection():
    x = correlated_data()
    model = Autoencoder.linear(6, 2)
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def loss():
        optimiser.zero_grad()
        value = squared_error(model, x).squared_error.mean()
        value.backward()
        return value

    optimiser.step(loss)
    projected, error = principal_projection(x, 2)
    torch.testing.assert_close(squared_error(model, x).squared_error.mean(), error, rtol=1e-8, atol=0)
    torch.testing.assert_close(model(x), projected, rtol=0, atol=1e-4)
    # The subspace is the same, the axes in it are not: the codes are an invertible map of the principal components.
    ours, theirs = (y - y.mean(0) for y in (model.encode(x), projected))
    assert torch.linalg.matrix_rank(torch.cat([ours, theirs], 1), rtol=1e-3) == 2


def test_fit_trains_a_linear_autoencoder_to_the_principal_error():
    x = correlated_data()
    _, error = principal_projection(x, 2)
    model = Autoencoder.linear(6, 2)
    options = {"objective": squared_error, "learning_rate": 0.03, "batch_size": 20, "device": "cpu", "progress": False}
    history = fit(model, x, x, epochs=100, **options)
    assert list(history) == [
        "epoch",
        "train_negative_squared_error",
        "train_squared_error",
        "test_negative_squared_error",
        "test_squared_error",
    ]
    assert error <= history["test_squared_error"].iloc[-1] < 1.01 * error


@pytest.mark.parametrize("make", [partial(Autoencoder.linear, 12, 3), partial(Autoencoder.mlp, 12, (8, 6), 3)])
def test_squared_error_is_summed_over_pixels_and_kept_per_image(make):
    model = make()
    x = torch.rand(5, 12)
    score, error = squared_error(model, x)
    expected = torch.stack([torch.linalg.vector_norm(row - model(row)) ** 2 for row in x])
    torch.testing.assert_close(error, expected)
    torch.testing.assert_close(score, -expected)
    error.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("make", [partial(Autoencoder.linear, 12, 3), partial(Autoencoder.mlp, 12, (8, 6), 3)])
@pytest.mark.parametrize("batch_shape", [(), (0,), (5,), (4, 5)])
def test_autoencoder_maps_images_to_codes_and_back(make, batch_shape):
    model = make()
    x = torch.rand(*batch_shape, 12)
    codes = model.encode(x)
    assert codes.shape == (*batch_shape, 3)
    assert model.decode(codes).shape == (*batch_shape, 12)
    torch.testing.assert_close(model(x), model.decode(codes))
    assert model.to(torch.float32)(x.float()).dtype == torch.float32


def test_autoencoders_are_linear_or_not_as_named():
    def widths(network):
        return [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)]

    x, y = torch.randn(5, 12), torch.randn(5, 12)
    linear, deep = Autoencoder.linear(12, 3), Autoencoder.mlp(12, (8, 6), 3, activation=nn.Tanh)
    torch.testing.assert_close(linear((x + y) / 2), (linear(x) + linear(y)) / 2)
    assert not torch.allclose(deep((x + y) / 2), (deep(x) + deep(y)) / 2)
    assert (widths(deep.encoder), widths(deep.decoder)) == ([8, 6, 3], [6, 8, 12])
    assert sum(isinstance(layer, nn.Tanh) for layer in deep.modules()) == 4
    images = deep.decode(100 * torch.randn(50, 3))
    assert ((images >= 0) & (images <= 1)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Autoencoder.linear(0, 2), "data_dim"),
        (lambda: Autoencoder.linear(12, 0), "latent_dim"),
        (lambda: Autoencoder.mlp(0), "data_dim"),
        (lambda: Autoencoder.mlp(12, latent_dim=0), "latent_dim"),
        (lambda: Autoencoder.mlp(12, ()), "hidden"),
        (lambda: Autoencoder(nn.Identity(), nn.Identity(), data_dim=0, latent_dim=2), "data_dim"),
        (lambda: Autoencoder(nn.Identity(), nn.Identity(), data_dim=2, latent_dim=0), "latent_dim"),
        (lambda: Autoencoder.linear(12, 2).encode(torch.rand(5, 11)), "x must have shape"),
        (lambda: Autoencoder.linear(12, 2).decode(torch.rand(5, 3)), "z must have shape"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
