"""Network bodies: what stands between an image or a code and the parameters of a distribution.

A body ends in features; the encoder or decoder that owns it adds the *head*, one linear map from the features to the
parameters. Images are flat, (..., D) with D = rows * columns, outside and in: only the convolutional networks fold them
up, and they take any leading dimensions, as decoders see codes of shape (L, B, K).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vaelib.checks import check_floating, check_images, check_last_dim, check_positive_integer


def mlp(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """A multilayer perceptron whose every layer, the last included, ends in the activation.

    Args:
        sizes: Widths from the input to the last hidden layer, two at least: (784, 400) is one hidden layer of 400.
        activation: Makes the non-linearity, e.g. `torch.nn.ReLU` or `torch.nn.Tanh`.

    Returns:
        A module from (..., sizes[0]) to (..., sizes[-1]).

    Raises:
        ValueError: If `sizes` holds fewer than two widths, or one that is not positive.

    Example:
        >>> mlp((784, 400))
        Sequential(
          (0): Linear(in_features=784, out_features=400, bias=True)
          (1): ReLU()
        )
    """
    if len(sizes) < 2 or any(size < 1 for size in sizes):
        raise ValueError(f"sizes must hold at least two positive widths, but is {tuple(sizes)}")
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers)


class Centred(nn.Module):
    """A body that is given each image less the mean image: body(x - m).

    If the body begins with an affine map, W x + b becomes W x + (b - W m), so that the family of functions stays. What
    changes is how fast it is learnt: the gradient of a unit's weights is x times one number, and where no pixel is
    negative it moves all of them in the same direction (LeCun, Bottou, Orr and Mueller 1998, "Efficient BackProp").

    Args:
        body: Maps images (..., D) to features (..., F).
        images: The training images, shape (N, D).

    Raises:
        TypeError: If `images` is no floating-point tensor.
        ValueError: If `images` has another shape, or is not finite.
    """

    mean: Tensor

    def __init__(self, body: nn.Module, images: Tensor) -> None:
        super().__init__()
        check_floating("images", images)
        check_images("images", images)
        self.body = body
        self.register_buffer("mean", images.mean(0))

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., F) of images x (..., D)."""
        return self.body(x - self.mean)


class ConvolutionalEncoderBody(nn.Module):
    """Convolutions that halve both sides of a grey image, each followed by the activation.

    Args:
        image_shape: (rows, columns), both divisible by 2 ** len(channels).
        channels: Channels after each convolution.
        activation: Makes the non-linearity.

    Attributes:
        features: F, the size of what comes out.

    Raises:
        ValueError: If a side cannot be halved that often, or `channels` is empty or not positive.

    Example:
        >>> body = ConvolutionalEncoderBody((28, 28))
        >>> body.features, body(torch.rand(5, 784)).shape  # 64 channels of 7 x 7
        (3136, torch.Size([5, 3136]))
    """

    def __init__(
        self,
        image_shape: tuple[int, int],
        channels: Sequence[int] = (32, 64),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        rows, columns = _halve(image_shape, channels)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise((1, *channels)):
            layers += [nn.Conv2d(inputs, outputs, kernel_size=4, stride=2, padding=1), activation()]
        self.layers = nn.Sequential(*layers)
        self.image_shape = image_shape
        self.features = channels[-1] * rows * columns

    def forward(self, x: Tensor) -> Tensor:
        """Features (..., F) of flat images x (..., D)."""
        check_last_dim("x", x, math.prod(self.image_shape))
        images = x.reshape(-1, 1, *self.image_shape)
        return self.layers(images).reshape(*x.shape[:-1], self.features)


class ConvolutionalDecoderBody(nn.Module):
    """A dense layer to the coarsest picture, and transposed convolutions that double it up to half the image's size.

    The last doubling is the decoder's head, a `ConvolutionalHead`. Kernels of 4 and steps of 2 reach every pixel
    equally often, where a kernel of 3 would leave a chequerboard.

    Args:
        latent_dim: K.
        image_shape: (rows, columns), both divisible by 2 ** len(channels).
        channels: As in `ConvolutionalEncoderBody`, of which this is the mirror image: used in reverse.
        activation: Makes the non-linearity.

    Attributes:
        features: F, the size of what comes out.

    Raises:
        ValueError: As `ConvolutionalEncoderBody`, or if `latent_dim` is not positive.

    Example:
        >>> body = ConvolutionalDecoderBody(20, (28, 28))
        >>> body.features, body(torch.randn(3, 5, 20)).shape  # 32 channels of 14 x 14
        (6272, torch.Size([3, 5, 6272]))
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: tuple[int, int],
        channels: Sequence[int] = (32, 64),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        check_positive_integer("latent_dim", latent_dim)
        rows, columns = _halve(image_shape, channels)
        self.coarsest = (channels[-1], rows, columns)
        self.dense = nn.Sequential(nn.Linear(latent_dim, math.prod(self.coarsest)), activation())
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(reversed(channels)):
            layers += [nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1), activation()]
        self.layers = nn.Sequential(*layers)
        self.features = channels[0] * (image_shape[0] // 2) * (image_shape[1] // 2)

    def forward(self, z: Tensor) -> Tensor:
        """Features (..., F) of codes z (..., K)."""
        pictures = self.dense(z).reshape(-1, *self.coarsest)
        return self.layers(pictures).reshape(*z.shape[:-1], self.features)


class ConvolutionalHead(nn.Module):
    """The last doubling of a convolutional decoder: a transposed convolution, plus one bias for each output.

    With a bias for each pixel, not for each channel, the network need not draw the mean image with its weights, and
    `bias` is the same thing here as in `torch.nn.Linear`, which this stands in for.

    Args:
        features: F, which must be whole channels of pictures of half the image's size.
        outputs: Numbers to predict, a whole multiple of the pixels: the first D are one number a pixel, and so on.
        image_shape: (rows, columns).

    Raises:
        ValueError: If `features` or `outputs` are not whole pictures, or a side of the image is not even.
    """

    def __init__(self, features: int, outputs: int, *, image_shape: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = _halve(image_shape, (1,))
        for name, value, pixels in (("features", features, rows * columns), ("outputs", outputs, 4 * rows * columns)):
            if value < 1 or value % pixels:
                raise ValueError(f"{name} must be a positive multiple of {pixels} for {image_shape}, but is {value}")
        self.coarse = (features // (rows * columns), rows, columns)
        self.convolution = nn.ConvTranspose2d(
            self.coarse[0], outputs // (4 * rows * columns), kernel_size=4, stride=2, padding=1, bias=False
        )
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """Outputs (..., outputs) from features (..., F)."""
        pictures = self.convolution(features.reshape(-1, *self.coarse))
        return pictures.reshape(*features.shape[:-1], len(self.bias)) + self.bias


def _halve(image_shape: tuple[int, int], channels: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of what one halving for each of the channels leaves."""
    if not channels or any(channel < 1 for channel in channels):
        raise ValueError(f"channels must hold at least one positive number, but is {tuple(channels)}")
    factor = 2 ** len(channels)
    if len(image_shape) != 2 or any(side < 1 or side % factor for side in image_shape):
        raise ValueError(
            f"image_shape must be (rows, columns), both divisible by {factor} to be halved {len(channels)} times, "
            f"but is {tuple(image_shape)}: pad the images, or use fewer channels"
        )
    return image_shape[0] // factor, image_shape[1] // factor
