"""The shapes of the page are those that the library returns."""

from __future__ import annotations

import ast
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

from notation.code import MODULES, arguments, public_functions
from notation.page import ROWS, SHAPED, Row, shapes_in
from vaelib.autoencoder import Autoencoder
from vaelib.bounds import iwae, log_weights, minibatch_estimate, sgvb_a, sgvb_b
from vaelib.gaussians import StandardNormal
from vaelib.hmc import hmc
from vaelib.inference.full_bayes import BayesianVAE, full_bayes
from vaelib.inference.without_encoder import VAEWithoutEncoder
from vaelib.linear_gaussian import LinearGaussian
from vaelib.marginal import naive
from vaelib.models import VAE
from vaelib.score_function import score_function_gradient

SIZES = {"B": 3, "D": 7, "K": 2, "L": 5, "N": 11, "P": 47}
"""All different, so that no shape fits by chance. A decoder 2-4-7 has 47 weights."""


@cache
def measured() -> dict[str, Tensor | Distribution]:
    """What `vaelib` makes of B images of D pixels, by the name in the second column."""
    b, d, k, draws, n = (SIZES[letter] for letter in "BDKLN")
    exact = LinearGaussian.random(d, k)
    x = torch.rand(b, d).round()
    model = VAE.mlp(d, (4,), k)
    q, cholesky = model.encode(x), VAE.mlp(d, (4,), k, posterior="cholesky").encode(x)
    autoencoder = Autoencoder.mlp(d, (4,), k)
    z = q.rsample()
    bayesian = BayesianVAE(model, n)
    shares = full_bayes(bayesian, x)
    bound = sgvb_b(model, x, draws)
    found: dict[str, Any] = {
        "x": exact.marginal.sample((b,)),
        "images": VAEWithoutEncoder(model, torch.rand(n, d).round()).images,
        "posteriors": VAEWithoutEncoder(model, torch.rand(n, d).round()).posteriors(),
        "z": z,
        "prior": model.prior,
        "decode": model.decode(z),
        "log_joint": model.log_joint(x, z),
        "log_marginal": exact.log_marginal(x),
        "posterior": exact.posterior(x),
        "encode": q,
        "Gaussian": cholesky,
        "scale_tril": cholesky.scale_tril,
        "rsample": q.rsample((draws,)),
        "log_prob": q.log_prob(q.rsample((draws,))),
        "entropy": q.entropy(),
        "sgvb_a": sgvb_a(model, x, draws).elbo,
        "sgvb_b": bound.elbo,
        "minibatch_estimate": minibatch_estimate(bound.elbo, n),
        "log_weights": log_weights(model, x, draws),
        "iwae": iwae(model, x, draws).iwae,
        "naive": naive(model, x, draws).log_marginal,
        "effective_sample_size": naive(model, x, draws).effective_sample_size,
        "step_size": hmc(lambda codes: model.log_joint(x, codes), z.detach(), 1, warmup=1).step_size,
        "objective": sgvb_b(model, x)[0],
        "weights": bayesian.weights,
        "weights_prior": bayesian.weights_prior,
        "kl_theta": shares.kl_theta,
        "bound": shares.bound,
        "Autoencoder.encode": autoencoder.encode(x),
        "Autoencoder.decode": autoencoder.decode(z),
        "Autoencoder.forward": autoencoder(x),
        "logits": model.decode(z).logits,
        "Bernoulli.mean": model.decode(z).mean,
        "weight": exact.weight,
        "bias": exact.bias,
    }
    for name in ("loc", "log_var", "stddev", "variance", "scale", "covariance_matrix"):
        found[name] = getattr(q, name)
    for name in ("elbo", "reconstruction", "kl"):
        found[name] = getattr(bound, name)
    return found


INPUTS = ("values", "scores")
"""These are made of the shapes that the tables state, and given to the library."""


def shapes_of(value: Tensor | Distribution) -> list[tuple[int, ...]]:
    parts = [value.batch_shape, value.event_shape] if isinstance(value, Distribution) else [value.shape]
    return [tuple(part) for part in parts]


@pytest.mark.parametrize("row", SHAPED, ids=lambda row: row.names[0])
def test_the_shapes_are_those_that_the_library_returns(row: Row) -> None:
    stated = [tuple(SIZES[letter] for letter in shape) for shape in shapes_in(row.shape)]
    if row.names[0] in INPUTS:
        inputs = [
            torch.rand([SIZES[letter] for letter in shapes_in(r.shape)[0]]) for r in SHAPED if r.names[0] in INPUTS
        ]
        assert score_function_gradient(*inputs).shape == (SIZES["P"],)
    else:
        assert stated == shapes_of(measured()[row.names[0]])
        assert getattr(measured()[row.names[0]], "dtype", torch.float64) == torch.float64
        assert ("batch" in row.shape) == isinstance(measured()[row.names[0]], Distribution)


def test_everything_measured_is_stated() -> None:
    assert {row.names[0] for row in SHAPED} == {*measured(), *INPUTS}
    assert isinstance(measured()["prior"], StandardNormal)


@pytest.mark.parametrize("row", [row for row in ROWS if row.shape == "number"], ids=lambda row: row.names[0])
def test_a_number_is_annotated_as_one(row: Row) -> None:
    annotations = {
        ast.unparse(arg.annotation)
        for source in MODULES.values()
        for _, function in public_functions(ast.parse(source))
        for arg in arguments(function)
        if arg.arg == row.names[0] and arg.annotation
    }
    assert annotations <= {"int", "float", "int | None", "float | Tensor", "float | dict[str, float]"}
    assert annotations
