r"""A VAE without an encoder: a table of all $\phi_i$, learnt together with the decoder's $\theta$.

Chapter: "A VAE without an encoder".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaelib.bounds import ELBO, sgvb_b
from vaelib.checks import check_finite
from vaelib.inference.local import Family, FreePosteriors
from vaelib.marginal import check_estimate
from vaelib.models import LatentVariableModel


class VAEWithoutEncoder(nn.Module):
    r"""A decoder, and a table with the posterior of each training image instead of an encoder.

    `vaelib.training.fit` gives an objective nothing but the model and rows of a tensor. Here that tensor holds the
    *numbers* of the images, and the model keeps the images:

        fit(model, model.numbers, objective=without_encoder, epochs=...)

    A step moves the $\phi_i$ of its minibatch and $\theta$. The others have a gradient of zero, at which Adagrad leaves
    them where they are; under Adam they drift on for some steps by their momentum. A new image has no row in the table:
    its posterior must be searched with `fit_local(model.model, x)`.

    Args:
        model: Its decoder is taken, and learns; an encoder is left out.
        images: The training images, shape (N, D), in the model's dtype and on its device.
        family: As in `FreePosteriors`; every posterior starts at the prior.

    Attributes:
        model: The generative model, a `LatentVariableModel`.
        posteriors: The table, `FreePosteriors`.
        images: As given. They are not part of the state dict.

    Raises:
        TypeError: If the images are not of the model's dtype and device.
        ValueError: If the likelihood cannot score the images, or the dtype cannot count them.
    """

    images: Tensor

    def __init__(self, model: LatentVariableModel, images: Tensor, family: Family = "diagonal") -> None:
        super().__init__()
        check_estimate(model, images, num_samples=1)
        check_finite("images", images)
        if len(images) > 2 / torch.finfo(images.dtype).eps:
            raise ValueError(f"images must be few enough for {images.dtype} to count them, but are {len(images)}")
        self.model = LatentVariableModel(model.decoder, data_dim=model.data_dim, latent_dim=model.latent_dim)
        self.posteriors = FreePosteriors(self.model.prior.expand((len(images),)), family)
        self.register_buffer("images", images, persistent=False)

    @property
    def numbers(self) -> Tensor:
        """0, 1, ..., N - 1 in floating point, shape (N, 1): what `fit` shuffles and hands to `without_encoder`."""
        return torch.arange(len(self.images), dtype=self.images.dtype, device=self.images.device).unsqueeze(-1)


def without_encoder(model: VAEWithoutEncoder, numbers: Tensor, num_samples: int = 1) -> ELBO:
    """SGVB estimator B for the training images of these numbers, each with its own posterior.

    Args:
        model: The model.
        numbers: Rows of `model.numbers`, shape (M, 1).
        num_samples: L, draws per image.

    Returns:
        The bound and its two parts for each image, each of shape (M,), in nats.

    Raises:
        ValueError: If `numbers` has another shape.
    """
    if numbers.dim() != 2 or numbers.shape[1] != 1:
        raise ValueError(
            f"numbers must be rows of model.numbers, shape (M, 1), but has shape {tuple(numbers.shape)}: an image that "
            "is not in the table has no posterior until fit_local finds one"
        )
    rows = numbers.squeeze(1).long()
    return sgvb_b(model.model, model.images[rows], num_samples, q=model.posteriors(rows))
