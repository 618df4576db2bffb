r"""Decoders: from a code $z$ to the likelihood $p_\theta(x \mid z)$, a distribution over the D pixels."""

from __future__ import annotations

from torch import Tensor, nn

from vaelib.checks import check_positive_integer
from vaelib.likelihoods import Bernoulli


class BernoulliDecoder(nn.Module):
    """Independent Bernoulli pixels whose logits a network predicts.

    Args:
        body: Maps codes (..., K) to features (..., F).
        features: F.
        data_dim: D.
        grey: Passed on to `vaelib.likelihoods.Bernoulli`: whether values strictly between 0 and 1 are scored, by
            their cross-entropy.
    """

    def __init__(self, body: nn.Module, features: int, data_dim: int, *, grey: bool = False) -> None:
        super().__init__()
        check_positive_integer("features", features)
        check_positive_integer("data_dim", data_dim)
        self.body = body
        self.head = nn.Linear(features, data_dim)
        self.grey = grey

    def forward(self, z: Tensor) -> Bernoulli:
        """The likelihood given each code, batch_shape (...), event_shape (D,)."""
        return Bernoulli(self.head(self.body(z)), grey=self.grey)
