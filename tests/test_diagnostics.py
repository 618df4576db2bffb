"""Diagnostics against models whose aggregate posterior is known in closed form, quadrature and plain Monte Carlo."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from tiny import make_tiny_images, make_tiny_vae
from torch import Tensor
from torch.distributions import (
    Categorical,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from vaelib import diagnostics
from vaelib.diagnostics import AggregateKL, active_units, aggregate_kl, kl_per_unit, prior_mmd
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian, StandardNormal
from vaelib.linear_gaussian import LinearGaussian


def standard_error(values: Tensor) -> float:
    return (values.std() / math.sqrt(len(values))).item()


# Active units


def test_active_units_of_a_linear_encoder() -> None:
    """The mean of the exact posterior is affine in x, so its variances follow from the images' covariance."""
    model = LinearGaussian.random(data_dim=6, latent_dim=3, log_var=1.0)
    with torch.no_grad():
        model.decoder.weight[:, 1] = 0  # the images say nothing of this unit
    x = model.marginal.sample((2 * diagnostics.ROWS + 5,))
    result = active_units(model.with_posterior(model.posterior), x)
    with torch.no_grad():
        weight, identity = model.weight, torch.eye(3)
        gain = torch.linalg.inv(identity + weight.mT @ weight / math.e) @ weight.mT / math.e
        exact = (gain @ torch.cov(x.mT) @ gain.mT).diagonal()
    torch.testing.assert_close(result.variance, exact)
    assert not result.variance.requires_grad
    assert result.variance[1] == 0
    assert result.number_active == 2


def test_the_threshold_of_active_units() -> None:
    model = make_tiny_vae()
    x = make_tiny_images()
    means = model.encode(x).mean.detach()[:, 0].tolist()
    centre = sum(means) / 3
    variance = sum((mean - centre) ** 2 for mean in means) / 2
    assert active_units(model, x).variance.item() == pytest.approx(variance, rel=1e-12)
    assert active_units(model, x, threshold=0.99 * variance).number_active == 1
    assert active_units(model, x, threshold=1.01 * variance).number_active == 0
    with torch.no_grad():
        model.encoder.head.weight[:1] *= math.sqrt(0.011 / variance)  # the default threshold lies between
        assert active_units(model, x).number_active == 1
        model.encoder.head.weight[:1] *= math.sqrt(0.9 / 1.1)
        assert active_units(model, x).number_active == 0


def test_bad_active_units() -> None:
    model = make_tiny_vae()
    with pytest.raises(TypeError, match="has no encoder"):
        active_units(LinearGaussian.random(4, 2), torch.zeros(5, 4))
    with pytest.raises(ValueError, match=r"x must hold two images or more, shape \(N, D\), but has shape \(1, 6\)"):
        active_units(model, torch.zeros(1, 6))
    with pytest.raises(ValueError, match=r"x must hold two images or more, shape \(N, D\), but has shape \(6,\)"):
        active_units(model, torch.zeros(6))
    with pytest.raises(ValueError, match="x must have shape"):
        active_units(model, torch.zeros(5, 7))
    for threshold in (-0.1, math.nan):
        with pytest.raises(ValueError, match="threshold must be a variance"):
            active_units(model, torch.zeros(5, 6), threshold)


# Divergence per unit


def test_kl_per_unit_is_torchs_and_adds_up() -> None:
    q = DiagonalGaussian(torch.randn(7, 3), torch.randn(7, 3))
    terms = kl_per_unit(q)
    torch.testing.assert_close(terms, kl_divergence(Normal(q.loc, q.stddev), Normal(0.0, 1.0)))
    torch.testing.assert_close(terms.sum(-1), kl_divergence(q, StandardNormal(3)))
    assert (kl_per_unit(StandardNormal(3, batch_shape=(7,))) == 0).all()


def test_kl_of_correlated_units_is_refused() -> None:
    with pytest.raises(TypeError, match=r"q must be a DiagonalGaussian, .* but is a CholeskyGaussian"):
        kl_per_unit(CholeskyGaussian(torch.zeros(5, 2), torch.eye(2)))


# The aggregate posterior


def exact_aggregate(model: LinearGaussian, images: MultivariateNormal) -> tuple[float, float]:
    """KL(q(z) || p(z)) and I(x; z) for q(z|x) = N(A(x - b), C) and Gaussian images: q(z) = N(A(m - b), C + A V A^T)."""
    weight, noise = model.weight.detach(), model.log_var.detach().exp()
    covariance = torch.linalg.inv(torch.eye(model.latent_dim) + weight.mT @ weight / noise)
    gain = covariance @ weight.mT / noise
    spread = covariance + gain @ images.covariance_matrix @ gain.mT
    aggregate = MultivariateNormal(gain @ (images.mean - model.bias.detach()), spread)
    prior = MultivariateNormal(torch.zeros(model.latent_dim), torch.eye(model.latent_dim))
    information = 0.5 * (torch.logdet(spread) - torch.logdet(covariance))
    return kl_divergence(aggregate, prior).item(), information.item()


def replicate(model: LinearGaussian, images: MultivariateNormal, count: int, times: int) -> AggregateKL:
    """Means over `count` images, for each of `times` data sets, shape (times,)."""
    results = []
    for _ in range(times):
        with torch.no_grad():
            q = model.posterior(images.sample((count,)))
        results.append([terms.mean() for terms in aggregate_kl(q)])
    return AggregateKL(*torch.tensor(results).mT)


def images_of_another_model() -> MultivariateNormal:
    marginal = LinearGaussian.random(data_dim=4, latent_dim=1, log_var=1.0, seed=1).marginal
    return MultivariateNormal(marginal.mean.detach() + 3, marginal.covariance_matrix.detach())


@pytest.mark.parametrize("own_images", [True, False])
def test_many_images_of_a_linear_gaussian_model(own_images: bool) -> None:
    """With its own images the aggregate posterior is the prior itself; with others it is some other Gaussian."""
    model = LinearGaussian.random(data_dim=4, latent_dim=2, log_var=2.0)
    images = images_of_another_model()
    if own_images:
        images = MultivariateNormal(model.marginal.mean.detach(), model.marginal.covariance_matrix.detach())
    kl, information = exact_aggregate(model, images)
    assert (abs(kl) < 1e-12) if own_images else (kl > 0.2)
    found = replicate(model, images, 1000, 20)
    for lower, upper, exact in (
        (found.lower, found.upper, kl),
        (found.information_lower, found.information_upper, information),
    ):
        assert lower.mean().item() - 4 * standard_error(lower) <= exact
        assert exact <= upper.mean().item() + 4 * standard_error(upper)
        assert upper.mean() - lower.mean() < 0.03


def test_few_images_of_a_linear_gaussian_model_are_bounded_on_either_side() -> None:
    model = LinearGaussian.random(data_dim=4, latent_dim=2, log_var=0.0)
    images = images_of_another_model()
    kl, information = exact_aggregate(model, images)
    found = replicate(model, images, 4, 1000)
    for lower, upper, exact in (
        (found.lower, found.upper, kl),
        (found.information_lower, found.information_upper, information),
    ):
        assert lower.mean().item() + 4 * standard_error(lower) < exact
        assert exact < upper.mean().item() - 4 * standard_error(upper)
    assert (found.information_lower <= math.log(4)).all()


def tiny_posteriors() -> DiagonalGaussian:
    return DiagonalGaussian(torch.tensor([[-1.0], [0.5], [2.0]]), torch.tensor([[-1.0], [-2.0], [0.5]]))


def test_left_in_is_unbiased_for_the_mixture_of_these_images() -> None:
    """Three posteriors over one latent variable: the divergence of their mixture is an integral over the line."""
    q = tiny_posteriors()
    line = torch.linspace(-15, 15, 20_001)
    densities = Normal(q.loc, q.stddev).log_prob(line).exp()
    mixture, prior = densities.mean(0), Normal(0.0, 1.0)
    kl = torch.trapezoid(mixture * (mixture.log() - prior.log_prob(line)), line).item()
    information = torch.trapezoid(densities * (densities / mixture).log().nan_to_num(0, 0, 0), line).mean().item()
    assert kl + information == pytest.approx(kl_divergence(q, StandardNormal(1)).mean().item(), rel=1e-6)

    results = [aggregate_kl(q) for _ in range(1500)]
    upper = torch.stack([result.upper.mean() for result in results])
    lower = torch.stack([result.information_lower.mean() for result in results])
    assert upper.mean().item() == pytest.approx(kl, abs=4 * standard_error(upper))
    assert lower.mean().item() == pytest.approx(information, abs=4 * standard_error(lower))
    assert max(standard_error(upper), standard_error(lower)) < 0.02


@pytest.mark.parametrize("kind", ["diagonal", "full", "cholesky"])
@pytest.mark.parametrize("pairs_at_once", [1, 20, 1000])
def test_each_term_is_the_mixtures(kind: str, pairs_at_once: int) -> None:
    """The same draws scored by torch's own mixture of torch's own Gaussians."""
    loc, scale = torch.randn(9, 2), torch.eye(2) + 0.3 * torch.randn(9, 2, 2)
    q: DiagonalGaussian | AffineGaussian
    if kind == "diagonal":
        q = DiagonalGaussian(loc, torch.randn(9, 2))
    else:
        q = AffineGaussian(loc, scale) if kind == "full" else CholeskyGaussian(loc, scale.tril())
    torch.manual_seed(5)
    found = aggregate_kl(q, pairs_at_once=pairs_at_once)
    torch.manual_seed(5)
    z = q.sample()

    def mixture(kept: list[int]) -> MixtureSameFamily:
        components = MultivariateNormal(q.mean[kept], q.covariance_matrix[kept])
        return MixtureSameFamily(Categorical(torch.ones(len(kept))), components)

    prior = MultivariateNormal(torch.zeros(2), torch.eye(2))
    own = MultivariateNormal(q.mean, q.covariance_matrix).log_prob(z)
    left_in = mixture(list(range(9))).log_prob(z)
    left_out = torch.stack([mixture([j for j in range(9) if j != i]).log_prob(z[i]) for i in range(9)])
    torch.testing.assert_close(found.upper, left_in - prior.log_prob(z))
    torch.testing.assert_close(found.lower, left_out - prior.log_prob(z))
    torch.testing.assert_close(found.information_lower, own - left_in)
    torch.testing.assert_close(found.information_upper, own - left_out)


def test_a_collapsed_posterior_is_the_prior_and_says_nothing() -> None:
    for terms in aggregate_kl(StandardNormal(3, batch_shape=(50,))):
        torch.testing.assert_close(terms, torch.zeros(50), rtol=0, atol=1e-12)


def test_posteriors_far_apart_reach_log_n() -> None:
    q = DiagonalGaussian(100 * torch.arange(8.0).unsqueeze(1), torch.zeros(8, 1))
    found = aggregate_kl(q)
    torch.testing.assert_close(found.information_lower, torch.full((8,), math.log(8)))
    assert (found.information_upper > 1000).all()


def test_no_gradient_is_kept() -> None:
    q = DiagonalGaussian(torch.randn(5, 2, requires_grad=True), torch.zeros(5, 2))
    assert not any(terms.requires_grad for terms in aggregate_kl(q))


def test_bad_posteriors() -> None:
    for q in (StandardNormal(2), StandardNormal(2, batch_shape=(1,)), StandardNormal(2, batch_shape=(3, 3))):
        with pytest.raises(ValueError, match=r"q must have batch_shape \(N,\) with N of at least 2"):
            aggregate_kl(q)
    with pytest.raises(ValueError, match=r"event_shape \(K,\), but has \(5,\) and \(\)"):
        aggregate_kl(Normal(torch.zeros(5), torch.ones(5)))
    with pytest.raises(ValueError, match="scale is singular in 4 of 4 cases"):
        aggregate_kl(AffineGaussian(torch.zeros(4, 2), torch.zeros(4, 2, 2)))
    with pytest.raises(ValueError, match="pairs_at_once must be an integer of at least 1"):
        aggregate_kl(StandardNormal(2, batch_shape=(5,)), pairs_at_once=0)


# Maximum mean discrepancy


def exact_mmd(loc: Tensor, bandwidth: float) -> float:
    """Between N(loc, I) and N(0, I): the difference of two draws is N(loc or 0, 2I), and so all means are Gaussian."""
    square, latent_dim = bandwidth**2, len(loc)
    peak = (square / (square + 2)) ** (latent_dim / 2)
    return 2 * peak * (1 - math.exp(-loc.square().sum().item() / (2 * (square + 2))))


@pytest.mark.parametrize("bandwidth", [0.7, 3.0, None])
@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_mmd_of_shifted_gaussians(bandwidth: float | None, shift: float) -> None:
    """0 for the prior itself, and the closed form for others, within 4 standard errors over data sets."""
    loc = torch.tensor([shift, 0.0, -shift])
    values = torch.stack([prior_mmd(loc + torch.randn(60, 3), bandwidth) for _ in range(400)])
    exact = exact_mmd(loc, math.sqrt(3) if bandwidth is None else bandwidth)
    assert values.mean().item() == pytest.approx(exact, abs=4 * standard_error(values))
    assert standard_error(values) < 0.003


def test_mmd_is_the_two_sample_estimate_with_draws_of_the_prior_without_end() -> None:
    """The same codes against 20000 draws of the prior, by scikit-learn's kernel; codes that are no Gaussian."""
    z = torch.rand(40, 2) * torch.tensor([1.0, 4.0])
    bandwidth = 1.3
    gamma = 1 / (2 * bandwidth**2)
    within = torch.from_numpy(rbf_kernel(z, gamma=gamma))
    draws = torch.randn(20_000, 2)
    between = torch.from_numpy(rbf_kernel(draws, z, gamma=gamma)).mean(1)
    pairs = torch.exp(-gamma * (draws[:10_000] - draws[10_000:]).square().sum(1))
    two_sample = (within.sum() - 40) / (40 * 39) - 2 * between.mean() + pairs.mean()
    error = math.hypot(2 * standard_error(between), standard_error(pairs))
    assert prior_mmd(z, bandwidth).item() == pytest.approx(two_sample.item(), abs=4 * error)
    assert error < 0.01


def test_rows_of_codes_are_treated_in_parts() -> None:
    count = 2 * diagnostics.ROWS + 3
    z = torch.randn(count, 2)
    gram = torch.from_numpy(rbf_kernel(z, gamma=1 / 4))
    between = torch.exp(-z.square().sum(1) / 6).mean() * (2 / 3)
    exact = (gram.sum() - count) / (count * (count - 1)) - 2 * between + 0.5
    assert prior_mmd(z).item() == pytest.approx(exact.item(), abs=1e-12)


def test_mmd_of_the_aggregate_posterior_of_the_exact_encoder_vanishes() -> None:
    model = LinearGaussian.random(data_dim=4, latent_dim=2)
    with torch.no_grad():
        values = torch.stack([prior_mmd(model.posterior(model.marginal.sample((50,))).sample()) for _ in range(150)])
        narrow = torch.stack([prior_mmd(model.posterior(model.marginal.sample((50,))).mean) for _ in range(150)])
    assert values.mean().item() == pytest.approx(0, abs=4 * standard_error(values))
    assert narrow.mean().item() > 4 * standard_error(narrow)  # the posterior means alone are too narrow


def test_mmd_in_float32() -> None:
    z = torch.randn(500, 20)
    assert prior_mmd(z.float()).item() == pytest.approx(prior_mmd(z).item(), abs=1e-6)


def test_bad_codes() -> None:
    with pytest.raises(TypeError, match="z must be floating point"):
        prior_mmd(torch.zeros(4, 2, dtype=torch.long))
    for shape in ((4,), (1, 2), (4, 0)):
        with pytest.raises(ValueError, match="z must hold two codes or more in rows"):
            prior_mmd(torch.zeros(shape))
    with pytest.raises(ValueError, match="z must be finite"):
        prior_mmd(torch.tensor([[0.0], [math.nan]]))
    for bandwidth in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="bandwidth must be positive and finite"):
            prior_mmd(torch.zeros(4, 2), bandwidth)
