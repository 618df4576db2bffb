"""Mixed precision: only products are shortened, only in training, and the weights go on learning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from vaelib.bounds import sgvb_b
from vaelib.checkpoints import CheckpointError
from vaelib.data import load
from vaelib.decoders import BernoulliDecoder, ContinuousBernoulliDecoder, GaussianDecoder
from vaelib.encoders import DiagonalEncoder
from vaelib.ensembles import fit_ensemble
from vaelib.models import VAE
from vaelib.precision import in_bfloat16
from vaelib.runs import Objective
from vaelib.training import fit

SETTINGS = {"epochs": 4, "batch_size": 64, "learning_rate": 5e-3, "device": "cpu", "progress": False}


@pytest.fixture(autouse=True)
def single_precision() -> None:
    """Autocast shortens nothing else."""
    torch.set_default_dtype(torch.float32)  # conftest.py restores it


class Prediction(NamedTuple):
    loc: Tensor


def predicted(encoder: nn.Module, x: Tensor) -> Prediction:
    return Prediction(encoder(x).loc)


def rounded(value: Tensor) -> Tensor:
    """To the eight binary digits of bfloat16."""
    return value.detach().bfloat16().double()


def test_products_are_of_rounded_factors() -> None:
    torch.manual_seed(0)
    encoder, x = DiagonalEncoder(nn.Identity(), 50, latent_dim=6), torch.randn(30, 50)
    loc = in_bfloat16(predicted)(encoder, x).loc
    expected = (rounded(x) @ rounded(encoder.head.weight).T + rounded(encoder.head.bias))[:, :6]
    assert loc.dtype == torch.float32
    torch.testing.assert_close(loc.double(), expected, rtol=2**-8, atol=2**-12)  # the sum is rounded as well, once
    exact = encoder(x).loc
    assert (loc - exact).abs().max() > 1e-3  # float32 would agree to 1e-6


def images() -> Tensor:
    return (load("digits").train > 0.5).float()


def in_both(run: Callable[[Objective], Any]) -> tuple[Any, Any]:
    """What comes of the exact objective and of the short one, from the same random numbers."""
    found = []
    for objective in (sgvb_b, in_bfloat16(sgvb_b)):
        torch.manual_seed(0)
        found.append(run(objective))
    return found[0], found[1]


def test_evaluation_is_exact() -> None:
    model, x = VAE.mlp(64).eval(), images()[:20]
    exact, short = in_both(lambda objective: objective(model, x).elbo)
    torch.testing.assert_close(short, exact, rtol=0, atol=0)


MODELS = {
    "diagonal": partial(VAE.mlp, 64, (32,), 3),
    "full": partial(VAE.mlp, 64, (32,), 3, posterior="full"),
    "cholesky": partial(VAE.mlp, 64, (32,), 3, posterior="cholesky"),
    "convolutional": partial(VAE.convolutional, (8, 8), (4, 8), 3),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_densities_are_of_full_precision(make) -> None:
    model, x = make(), images()[:20]
    exact, short = in_both(lambda objective: objective(model, x))
    assert {term.dtype for term in short} == {torch.float32}
    # A pixel's log-likelihood moves by less than its logit does, which is exact to 2^-8; there are 64 pixels.
    torch.testing.assert_close(short.elbo, exact.elbo, rtol=0, atol=64 * 2**-8)
    assert (short.elbo - exact.elbo).abs().max() > 1e-5


@pytest.mark.parametrize("decoder", [BernoulliDecoder, ContinuousBernoulliDecoder, GaussianDecoder])
def test_every_likelihood_is_of_full_precision(decoder) -> None:
    codes = torch.randn(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        likelihood = decoder(nn.Linear(3, 4), 4, 7)(codes)
    assert likelihood.mean.dtype == torch.float32


def test_training_is_as_good_as_in_full_precision() -> None:
    exact, short = in_both(lambda objective: fit(VAE.mlp(64, (64,), 4), images(), objective=objective, **SETTINGS))
    gained = exact.train_elbo.iloc[-1] - exact.train_elbo.iloc[0]
    assert gained > 10  # a weight that did not move would leave it where it is
    assert 0 < (exact.train_elbo - short.train_elbo).abs().max() < 0.2  # nats; measured: 0.01


def test_an_ensemble_trains_as_well() -> None:
    def run(objective: Objective) -> pd.DataFrame:
        models = [VAE.mlp(64, (64,), 4) for _ in range(2)]
        return fit_ensemble(models, images(), objective=objective, **SETTINGS)

    exact, short = in_both(run)
    assert exact.train_elbo.iloc[-1] - exact.train_elbo.iloc[0] > 10
    assert 0 < (exact.train_elbo - short.train_elbo).abs().max() < 0.2


def test_a_saved_run_is_not_continued_in_another_precision(tmp_path) -> None:
    short = SETTINGS | {"epochs": 1}
    fit(VAE.mlp(64), images(), checkpoint=tmp_path, **short)
    with pytest.raises(CheckpointError, match=r"in_bfloat16\(sgvb_b\)"):
        fit(VAE.mlp(64), images(), checkpoint=tmp_path, objective=in_bfloat16(sgvb_b), **short)


def fit_ensemble_of_one(model: nn.Module, *arguments: Any, **settings: Any) -> pd.DataFrame:
    return fit_ensemble([model], *arguments, **settings)


@pytest.mark.parametrize("train", [fit, fit_ensemble_of_one])
def test_training_inside_of_autocast_is_refused(train) -> None:
    """There no weight would ever be read again: the bound of the first step would stay for ever."""
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match=r"vaelib\.precision\.in_bfloat16"):
        train(VAE.mlp(64), images(), **SETTINGS)
