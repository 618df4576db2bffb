"""The bodies and the convolutional head: shapes for every batch shape, and what the layers compute."""

import pytest
import torch
from torch import nn

from vaelib.networks import Centred, ConvolutionalDecoderBody, ConvolutionalEncoderBody, ConvolutionalHead, mlp

IMAGE_SHAPES = [(28, 28), (8, 8), (28, 20)]
BATCH_SHAPES = [(), (0,), (1,), (5,), (4, 5), (2, 3, 4)]


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


def test_centred_is_a_perceptron_of_other_biases():
    images = torch.rand(20, 5) + torch.arange(5)
    body, same = mlp((5, 4, 3)), mlp((5, 4, 3))
    same.load_state_dict(body.state_dict())
    with torch.no_grad():
        same[0].bias -= body[0].weight @ torch.tensor(images.numpy().mean(axis=0))
    x = torch.rand(2, 7, 5)
    torch.testing.assert_close(Centred(body, images)(x), same(x))


def test_centred_moves_with_its_body():
    """The mean image is kept with the weights: it goes to their dtype, and into what is saved."""
    images = torch.rand(20, 5)
    centred, other = Centred(mlp((5, 4)), images).half(), Centred(mlp((5, 4)), images + 1)
    assert centred.mean.dtype == torch.half
    other.load_state_dict(centred.state_dict())
    torch.testing.assert_close(other.mean, images.mean(0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
@pytest.mark.parametrize("batch_shape", BATCH_SHAPES)
def test_convolutional_networks_take_any_batch_shape(image_shape, batch_shape):
    rows, columns = image_shape
    encoder = ConvolutionalEncoderBody(image_shape, (3, 5))
    decoder = ConvolutionalDecoderBody(7, image_shape, (3, 5))
    head = ConvolutionalHead(decoder.features, 2 * rows * columns, image_shape=image_shape)
    assert encoder.features == 5 * (rows // 4) * (columns // 4)
    assert encoder(torch.rand(*batch_shape, rows * columns)).shape == (*batch_shape, encoder.features)
    features = decoder(torch.randn(*batch_shape, 7))
    assert features.shape == (*batch_shape, decoder.features)
    assert head(features).shape == (*batch_shape, 2 * rows * columns)


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
def test_each_image_and_code_is_handled_by_itself(image_shape):
    encoder = ConvolutionalEncoderBody(image_shape, (3, 5))
    decoder = ConvolutionalDecoderBody(7, image_shape, (3, 5))
    x, z = torch.rand(2, 3, image_shape[0] * image_shape[1]), torch.randn(2, 3, 7)
    torch.testing.assert_close(encoder(x)[1, 2], encoder(x[1, 2]))
    torch.testing.assert_close(decoder(z)[1, 2], decoder(z[1, 2]))


@pytest.mark.parametrize("channels", [(3,), (3, 5), (3, 5, 7)])
def test_channels_count_the_halvings(channels):
    encoder = ConvolutionalEncoderBody((16, 24), channels)
    decoder = ConvolutionalDecoderBody(2, (16, 24), channels)
    assert encoder.features == channels[-1] * (16 * 24) // 4 ** len(channels)
    assert decoder(torch.zeros(2)).shape == (3 * 8 * 12,)


def test_every_layer_of_the_bodies_ends_in_the_activation():
    encoder, decoder = ConvolutionalEncoderBody((8, 8), (3, 5)), ConvolutionalDecoderBody(2, (8, 8), (3, 5), nn.Tanh)
    assert [type(layer) for layer in encoder.layers] == [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU]
    assert [type(layer) for layer in decoder.dense] == [nn.Linear, nn.Tanh]
    assert [type(layer) for layer in decoder.layers] == [nn.ConvTranspose2d, nn.Tanh]
    assert (encoder(torch.randn(5, 64)) >= 0).all()
    assert (decoder(100 * torch.randn(5, 2)).abs() <= 1).all()


def test_encoder_body_slides_its_kernel_over_the_folded_image():
    body = ConvolutionalEncoderBody((8, 4), (1,), nn.Identity)
    nn.init.ones_(body.layers[0].weight)
    nn.init.zeros_(body.layers[0].bias)
    image = torch.rand(8, 4)
    padded = torch.zeros(10, 6)
    padded[1:9, 1:5] = image
    expected = [[padded[i : i + 4, j : j + 4].sum() for j in (0, 2)] for i in (0, 2, 4, 6)]
    torch.testing.assert_close(body(image.flatten()), torch.tensor(expected).flatten())


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
def test_head_without_bias_is_the_adjoint_of_a_convolution_of_the_same_weights(image_shape):
    """<y, head(h)> = <body(y), h>, which holds only if both fold rows and columns alike."""
    pixels = image_shape[0] * image_shape[1]
    body = ConvolutionalEncoderBody(image_shape, (3,), nn.Identity)
    nn.init.zeros_(body.layers[0].bias)
    head = ConvolutionalHead(body.features, pixels, image_shape=image_shape)
    head.convolution.weight = body.layers[0].weight
    y, h = torch.rand(pixels), torch.randn(body.features)
    torch.testing.assert_close(y @ head(h), body(y) @ h)


@pytest.mark.parametrize("image_shape", IMAGE_SHAPES)
def test_decoder_body_is_a_chain_of_adjoints_of_the_encoder_body(image_shape):
    encoder = ConvolutionalEncoderBody(image_shape, (3, 5), nn.Identity)
    decoder = ConvolutionalDecoderBody(7, image_shape, (3, 5), nn.Identity)
    second = encoder.layers[2]
    for bias in (second.bias, decoder.layers[0].bias):
        nn.init.zeros_(bias)
    decoder.layers[0].weight = second.weight
    z, y = torch.randn(7), torch.randn(3, image_shape[0] // 2, image_shape[1] // 2)
    torch.testing.assert_close(decoder(z) @ y.flatten(), decoder.dense(z) @ second(y).flatten())


def test_head_gives_each_pixel_its_own_bias_and_lays_out_one_picture_after_the_other():
    head = ConvolutionalHead(3 * 14 * 10, 2 * 560, image_shape=(28, 20))
    with torch.no_grad():
        head.convolution.weight[:, 1] = 0
        head.bias.copy_(torch.randn(1120))
    outputs = head(torch.randn(5, 3 * 14 * 10))
    torch.testing.assert_close(outputs[:, 560:], head.bias[560:].expand(5, 560))
    assert (outputs[:, :560] != head.bias[:560]).all()


def test_head_leaves_no_chequerboard():
    head = ConvolutionalHead(14 * 10, 560, image_shape=(28, 20))
    nn.init.ones_(head.convolution.weight)
    inner = head(torch.ones(140)).reshape(28, 20)[1:-1, 1:-1]
    torch.testing.assert_close(inner, torch.full_like(inner, 4.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ConvolutionalEncoderBody((28, 30)), r"image_shape must be .* divisible by 4 .* \(28, 30\)"),
        (lambda: ConvolutionalDecoderBody(2, (30, 28)), r"image_shape must be .* divisible by 4 .* \(30, 28\)"),
        (lambda: ConvolutionalEncoderBody((28, 28, 1)), "image_shape must be"),
        (lambda: ConvolutionalEncoderBody((0, 28)), "image_shape must be"),
        (lambda: ConvolutionalEncoderBody((28, 28), ()), "channels must hold"),
        (lambda: ConvolutionalDecoderBody(2, (28, 28), ()), "channels must hold"),
        (lambda: ConvolutionalEncoderBody((28, 28), (3, 0)), "channels must hold"),
        (lambda: ConvolutionalDecoderBody(0, (28, 28)), "latent_dim"),
        (lambda: ConvolutionalHead(195, 784, image_shape=(28, 28)), "features must be a positive multiple of 196"),
        (lambda: ConvolutionalHead(196, 783, image_shape=(28, 28)), "outputs must be a positive multiple of 784"),
        (lambda: ConvolutionalHead(196, 0, image_shape=(28, 28)), "outputs must be a positive multiple of 784"),
        (lambda: ConvolutionalHead(196, 783, image_shape=(27, 28)), "image_shape must be"),
        (lambda: Centred(mlp((5, 4)), torch.rand(5)), r"images must hold images in rows, shape \(N, D\)"),
        (lambda: Centred(mlp((5, 4)), torch.full((2, 5), torch.nan)), "images must be finite"),
        # 2 x 784 pixels would fold into two images
        (lambda: ConvolutionalEncoderBody((28, 28))(torch.rand(5, 1568)), r"x must have shape \(\.\.\., 784\)"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()
