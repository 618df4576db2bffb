"""The exactly solvable model against explicit D x D covariances, quadrature, Monte Carlo, scikit-learn and autograd."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from sklearn.decomposition import PCA
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vaelib.bounds import sgvb_a, sgvb_b
from vaelib.encoders import DiagonalEncoder
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian
from vaelib.linear_gaussian import LinearGaussian
from vaelib.models import VAE

EXACT = {"rtol": 1e-10, "atol": 1e-10}
SHAPES = [(5, 2), (4, 1), (2, 4), (1, 1)]


def make_model(data_dim: int = 5, latent_dim: int = 2, *, shared: bool = True, seed: int = 0) -> LinearGaussian:
    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(data_dim, latent_dim, generator=rng)
    bias = torch.randn(data_dim, generator=rng)
    log_var = torch.randn(() if shared else (data_dim,), generator=rng)
    return LinearGaussian(weight, bias, log_var)


def images(model: LinearGaussian, count: int = 3, seed: int = 1) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return model.bias.detach() + 2 * torch.randn(count, model.data_dim, generator=rng)


def dense_covariance(model: LinearGaussian) -> torch.Tensor:
    return model.weight @ model.weight.mT + torch.diag(model.log_var.exp().expand(model.data_dim))


def some_gaussians(count: int, latent_dim: int, seed: int = 2) -> dict[str, DiagonalGaussian | AffineGaussian]:
    """A q of each kind for each image, far from any posterior."""
    rng = torch.Generator().manual_seed(seed)
    loc = torch.randn(count, latent_dim, generator=rng)
    log_var = 0.5 * torch.randn(count, latent_dim, generator=rng)
    scale = torch.randn(count, latent_dim, latent_dim, generator=rng) + torch.eye(latent_dim)
    tril = scale.tril(-1) + torch.diag_embed(torch.exp(log_var))
    return {
        "diagonal": DiagonalGaussian(loc, log_var),
        "affine": AffineGaussian(loc, scale),
        "cholesky": CholeskyGaussian(loc, tril),
    }


def torch_normal(q: DiagonalGaussian | AffineGaussian) -> MultivariateNormal:
    """The same law in torch's own class, whose divergences are not ours."""
    return MultivariateNormal(q.mean, q.covariance_matrix)


@pytest.fixture(params=[True, False], ids=["one noise", "a noise per pixel"])
def shared(request) -> bool:
    return request.param


# --- marginal and posterior ---


@pytest.mark.parametrize(("data_dim", "latent_dim"), SHAPES)
def test_log_marginal_is_that_of_the_explicit_covariance(data_dim, latent_dim, shared):
    model = make_model(data_dim, latent_dim, shared=shared)
    x = images(model)
    expected = MultivariateNormal(model.bias, dense_covariance(model)).log_prob(x)
    assert model.log_marginal(x).shape == (3,)
    torch.testing.assert_close(model.log_marginal(x), expected, **EXACT)
    torch.testing.assert_close(model.marginal.log_prob(x), expected, **EXACT)


@pytest.mark.parametrize(("data_dim", "latent_dim"), SHAPES)
def test_posterior_is_the_joint_gaussian_conditioned(data_dim, latent_dim, shared):
    model = make_model(data_dim, latent_dim, shared=shared)
    x = images(model)
    gain = model.weight.mT @ torch.linalg.inv(dense_covariance(model))
    q = model.posterior(x)
    assert (q.batch_shape, q.event_shape) == ((3,), (latent_dim,))
    torch.testing.assert_close(q.mean, (x - model.bias) @ gain.mT, **EXACT)
    covariance = torch.eye(latent_dim) - gain @ model.weight
    torch.testing.assert_close(q.covariance_matrix, covariance.expand(3, -1, -1), **EXACT)


def test_marginal_and_bound_by_quadrature(shared):
    model = make_model(4, 1, shared=shared)
    x = images(model)
    q = some_gaussians(3, 1)["diagonal"]
    weight, bias = model.weight.detach().numpy()[:, 0], model.bias.detach().numpy()
    std = model.log_var.detach().mul(0.5).exp().expand(4).numpy()

    def log_normal(value, mean, std):
        return np.sum(-0.5 * ((value - mean) / std) ** 2 - np.log(std) - 0.5 * math.log(2 * math.pi))

    for n in range(3):
        loc, spread = q.mean[n].item(), q.stddev[n].item()

        def log_joint(z, n=n):
            return log_normal(x[n].numpy(), weight * z + bias, std) + log_normal(z, 0.0, 1.0)

        def bound(z, log_joint=log_joint, loc=loc, spread=spread):
            log_q = log_normal(z, loc, spread)
            return math.exp(log_q) * (log_joint(z) - log_q)

        evidence = integrate.quad(lambda z, f=log_joint: math.exp(f(z)), -12, 12, epsabs=0, epsrel=1e-11, limit=200)
        assert model.log_marginal(x)[n].item() == pytest.approx(math.log(evidence[0]), rel=1e-9)
        elbo = integrate.quad(bound, loc - 12 * spread, loc + 12 * spread, epsabs=0, epsrel=1e-11, limit=200)
        assert model.elbo(x, q)[n].item() == pytest.approx(elbo[0], rel=1e-9)


def test_draws_of_the_model_have_its_marginal_moments(shared):
    model = make_model(shared=shared)
    count = 100_000
    with torch.no_grad():
        x = model.decode(model.prior.sample((count,))).sample()
        mean, covariance = model.bias, dense_covariance(model)
    error = (x - mean).mean(0).abs()
    assert (error < 4 * (covariance.diagonal() / count).sqrt()).all()
    products = (x - mean).unsqueeze(-1) * (x - mean).unsqueeze(-2)
    assert ((products.mean(0) - covariance).abs() < 4 * products.std(0) / math.sqrt(count)).all()


def test_nothing_of_size_d_by_d_is_formed():
    model = LinearGaussian.random(200_000, 3)  # D x D would take 320 GB
    x = model.marginal.sample((2,))
    torch.testing.assert_close(model.log_marginal(x), model.marginal.log_prob(x), rtol=1e-8, atol=0)
    q = model.optimal_diagonal(x)
    torch.testing.assert_close(
        model.log_marginal(x) - model.elbo(x, q), kl_divergence(q, model.posterior(x)), rtol=0, atol=1e-6
    )


def test_rotating_the_codes_leaves_the_images_alone(shared):
    model = make_model(6, 3, shared=shared)
    x = images(model)
    rotation = torch.linalg.qr(torch.randn(3, 3)).Q
    rotated = LinearGaussian(model.weight @ rotation, model.bias, model.log_var)
    assert not torch.allclose(rotated.weight, model.weight)
    torch.testing.assert_close(rotated.log_marginal(x), model.log_marginal(x), **EXACT)
    torch.testing.assert_close(rotated.posterior(x).mean, model.posterior(x).mean @ rotation, **EXACT)
    # The best diagonal q does depend on the axes: here the rotation is the one thing that sets its gap.
    gaps = [(m.log_marginal(x) - m.elbo(x, m.optimal_diagonal(x))).mean().item() for m in (model, rotated)]
    assert abs(gaps[0] - gaps[1]) > 1e-3


# --- the bound ---


@pytest.mark.parametrize("kind", ["diagonal", "affine", "cholesky"])
@pytest.mark.parametrize(("data_dim", "latent_dim"), SHAPES)
def test_gap_is_the_divergence_from_the_posterior(data_dim, latent_dim, kind, shared):
    model = make_model(data_dim, latent_dim, shared=shared)
    x = images(model)
    q = some_gaussians(3, latent_dim)[kind]
    gain = model.weight.mT @ torch.linalg.inv(dense_covariance(model))
    posterior = MultivariateNormal((x - model.bias) @ gain.mT, torch.eye(latent_dim) - gain @ model.weight)
    gap = model.log_marginal(x) - model.elbo(x, q)
    torch.testing.assert_close(gap, kl_divergence(torch_normal(q), posterior), **EXACT)
    torch.testing.assert_close(gap, kl_divergence(q, model.posterior(x)), **EXACT)


@given(data_dim=st.integers(1, 8), latent_dim=st.integers(1, 6), count=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_gap_identity_for_any_shape(data_dim, latent_dim, count, seed):
    model = make_model(data_dim, latent_dim, shared=seed % 2 == 0, seed=seed)
    x = images(model, count, seed + 1)
    for q in some_gaussians(count, latent_dim, seed + 2).values():
        if torch.linalg.cond(q.scale).max() < 1e4:
            gap = model.log_marginal(x) - model.elbo(x, q)
            torch.testing.assert_close(gap, kl_divergence(q, model.posterior(x)), rtol=1e-8, atol=1e-8)


def test_bound_of_the_posterior_is_the_evidence(shared):
    model = make_model(shared=shared)
    x = images(model)
    torch.testing.assert_close(model.elbo(x, model.posterior(x)), model.log_marginal(x), **EXACT)


@pytest.mark.parametrize("kind", ["diagonal", "affine", "cholesky"])
def test_bound_by_monte_carlo(kind, shared):
    model = make_model(shared=shared)
    x = images(model)
    q = some_gaussians(3, 2)[kind]
    with torch.no_grad():
        z = q.rsample((20_000,))
        draws = model.log_joint(x, z) - torch_normal(q).log_prob(z)
        reconstructions = model.decode(z).log_prob(x)
        elbo = model.elbo(x, q)
        reconstruction = elbo + kl_divergence(q, model.prior)
    for sample, truth in ((draws, elbo), (reconstructions, reconstruction)):
        assert ((sample.mean(0) - truth).abs() < 4 * sample.std(0) / math.sqrt(len(sample))).all()


def test_one_q_may_serve_all_images():
    model = make_model()
    x = images(model)
    q = DiagonalGaussian(torch.randn(2), torch.randn(2))
    torch.testing.assert_close(model.elbo(x, q), model.elbo(x, q.expand((3,))))
    assert model.elbo(x, q).shape == (3,)


def test_optimal_diagonal_has_the_highest_bound_of_all_diagonals(shared):
    model = make_model(6, 3, shared=shared)
    x = images(model)
    best = model.optimal_diagonal(x)
    loc, log_var = best.loc.detach().requires_grad_(), best.log_var.detach().requires_grad_()
    gradients = torch.autograd.grad(model.elbo(x, DiagonalGaussian(loc, log_var)).sum(), (loc, log_var))
    for gradient in gradients:
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), **EXACT)
    top = model.elbo(x, best)
    for size in (1e-2, 1.0):
        for _ in range(20):
            other = DiagonalGaussian(loc + size * torch.randn_like(loc), log_var + size * torch.randn_like(loc))
            assert (model.elbo(x, other) < top).all()
    precision = torch.linalg.inv(model.posterior(x).covariance_matrix)
    torch.testing.assert_close(best.variance, 1 / precision.diagonal(dim1=-2, dim2=-1), **EXACT)
    assert (best.variance < model.posterior(x).variance).all()


def test_optimal_diagonal_is_the_posterior_where_that_is_uncorrelated():
    model = make_model(6, 3)
    orthogonal = torch.linalg.qr(torch.randn(6, 3)).Q * torch.tensor([1.0, 2.0, 3.0])
    model = LinearGaussian(orthogonal, model.bias, model.log_var)
    x = images(model)
    q = model.optimal_diagonal(x)
    torch.testing.assert_close(q.covariance_matrix, model.posterior(x).covariance_matrix, **EXACT)
    torch.testing.assert_close(model.elbo(x, q), model.log_marginal(x), **EXACT)


# --- gradients ---


@pytest.mark.parametrize(("data_dim", "latent_dim"), [(4, 2), (2, 3)])
def test_gradients_of_everything(data_dim, latent_dim, shared):
    model = make_model(data_dim, latent_dim, shared=shared)
    inputs = [p.detach().clone().requires_grad_() for p in (model.weight, model.bias, model.log_var)]
    inputs.append(images(model).requires_grad_())
    q = some_gaussians(3, latent_dim)["affine"]

    def everything(weight, bias, log_var, x):
        values = (weight, bias, log_var)
        for name, value in zip(("weight", "bias", "log_var"), values, strict=True):
            model.decoder._parameters[name] = value  # a plain tensor, to differentiate by it
        posterior, best = model.posterior(x), model.optimal_diagonal(x)
        return (
            model.log_marginal(x),
            model.elbo(x, q),
            posterior.mean,
            posterior.covariance_matrix,
            best.log_var,
            model.elbo(x, best),
        )

    assert torch.autograd.gradcheck(everything, inputs)


def test_gradient_of_the_evidence_is_that_of_the_bound_at_the_posterior(shared):
    """Fisher's identity: the reason why EM and the ELBO agree once q is exact."""
    model = make_model(shared=shared)
    x = images(model)
    parameters = list(model.parameters())
    posterior = model.posterior(x)
    frozen = CholeskyGaussian(posterior.loc.detach(), posterior.scale_tril.detach())
    evidence = torch.autograd.grad(model.log_marginal(x).sum(), parameters)
    bound = torch.autograd.grad(model.elbo(x, frozen).sum(), parameters)
    for a, b in zip(evidence, bound, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


# --- the model as a VAE ---


def test_exact_posterior_gives_the_evidence_without_variance():
    model = make_model()
    x = images(model)
    vae = model.with_posterior(model.posterior)
    assert isinstance(vae, VAE)
    for _ in range(3):
        torch.testing.assert_close(sgvb_a(vae, x).elbo, model.log_marginal(x), **EXACT)


def wrong_posterior(model: LinearGaussian):
    def posterior(x):
        exact = model.posterior(x)
        return CholeskyGaussian(exact.loc + 0.5, 1.5 * exact.scale_tril)

    return posterior


@pytest.mark.parametrize("choose", [lambda m: m.optimal_diagonal, wrong_posterior], ids=["best diagonal", "wrong"])
def test_estimators_are_unbiased_for_the_exact_bound(choose, shared):
    model = make_model(shared=shared)
    x = images(model)
    q = choose(model)
    vae = model.with_posterior(q)
    with torch.no_grad():
        exact = model.elbo(x, q(x))
        many = x.repeat(20_000, 1)
        for draws in (sgvb_a(vae, many).elbo.view(-1, 3), sgvb_b(vae, many).elbo.view(-1, 3)):
            assert ((draws.mean(0) - exact).abs() < 4 * draws.std(0) / math.sqrt(len(draws))).all()
        kl = sgvb_b(vae, x).kl
    torch.testing.assert_close(kl, kl_divergence(torch_normal(q(x)), torch_normal(model.prior)), **EXACT)
    assert (exact < model.log_marginal(x)).all()


def test_vae_shares_the_parameters_of_the_model():
    model = make_model()
    x = images(model)
    vae = model.with_posterior(model.optimal_diagonal)
    assert {id(p) for p in vae.parameters()} == {id(p) for p in model.parameters()}
    sgvb_b(vae, x).elbo.sum().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert (parameter.grad != 0).any()
    with torch.no_grad():
        model.bias.add_(1)
    torch.testing.assert_close(vae.decode(torch.zeros(1, 2)).mean, model.bias.unsqueeze(0))


def test_encoder_module_becomes_part_of_the_vae():
    model = make_model()
    encoder = DiagonalEncoder(torch.nn.Identity(), features=5, latent_dim=2)
    vae = model.with_posterior(encoder)
    assert {id(p) for p in encoder.parameters()} <= {id(p) for p in vae.parameters()}
    x = images(model)
    torch.testing.assert_close(vae.encode(x).mean, encoder(x).mean)


def test_model_is_a_latent_variable_model():
    model = make_model()
    x = images(model)
    model.check_data(x)
    assert model.generate(4).shape == (4, 5)
    z = torch.randn(7, 3, 2)
    expected = Independent(Normal(z @ model.weight.mT + model.bias, torch.exp(0.5 * model.log_var)), 1).log_prob(x)
    expected = expected + Independent(Normal(torch.zeros(2), 1.0), 1).log_prob(z)
    torch.testing.assert_close(model.log_joint(x, z), expected, **EXACT)
    assert model.to(torch.float32).log_marginal(x.float()).dtype == torch.float32


# --- maximum likelihood ---


@pytest.mark.parametrize(("count", "data_dim", "latent_dim"), [(200, 6, 2), (50, 6, 5), (8, 20, 3)])
def test_maximum_likelihood_is_probabilistic_pca(count, data_dim, latent_dim):
    x = torch.randn(count, data_dim) @ torch.randn(data_dim, data_dim) + torch.randn(data_dim)
    model = LinearGaussian.maximum_likelihood(x, latent_dim)
    centred = (x - x.mean(0)).numpy()
    pca = PCA(latent_dim, svd_solver="full").fit(centred)
    covariance = dense_covariance(model).detach().numpy()
    if count > data_dim:  # scikit-learn averages over min(N, D) - K eigenvalues, which is right only here
        np.testing.assert_allclose(covariance, pca.get_covariance() * (count - 1) / count, rtol=1e-8, atol=1e-8)
    cosines = np.linalg.svd(pca.components_ @ np.linalg.qr(model.weight.detach().numpy())[0])[1]
    np.testing.assert_allclose(cosines, 1, rtol=1e-9)
    for gradient in torch.autograd.grad(model.log_marginal(x).mean(), list(model.parameters())):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)
    torch.testing.assert_close(model.bias.detach(), x.mean(0))


def test_maximum_likelihood_is_a_maximum():
    truth = make_model(6, 2)
    x = truth.marginal.sample((300,))
    best = LinearGaussian.maximum_likelihood(x, 2)
    top = best.log_marginal(x).mean()
    assert top > truth.log_marginal(x).mean()
    for size in (1e-2, 0.3):
        for _ in range(20):
            moved = [p + size * torch.randn_like(p) for p in (best.weight, best.bias, best.log_var)]
            assert LinearGaussian(*moved).log_marginal(x).mean() < top
    more = LinearGaussian.maximum_likelihood(x, 3)
    assert more.log_marginal(x).mean() > top


def test_maximum_likelihood_refuses_data_without_noise():
    plane = torch.randn(50, 2) @ torch.randn(2, 5) + 100
    with pytest.raises(ValueError, match="x lies in a plane of 2 dimensions or fewer"):
        LinearGaussian.maximum_likelihood(plane, 2)
    LinearGaussian.maximum_likelihood(plane, 1)
    with pytest.raises(ValueError, match="x lies in a plane of 2 dimensions or fewer"):
        LinearGaussian.maximum_likelihood(torch.randn(3, 5), 2)
    with pytest.raises(ValueError, match="x lies in a plane of 1 dimensions or fewer"):
        LinearGaussian.maximum_likelihood(torch.randn(1, 5), 1)


@pytest.mark.parametrize("kind", ["posterior", "diagonal", "affine", "cholesky", "one for all"])
@pytest.mark.parametrize(("data_dim", "latent_dim"), [(5, 2), (2, 3)])
def test_m_step_is_where_the_gradient_of_the_bound_vanishes(data_dim, latent_dim, kind, shared):
    model = make_model(data_dim, latent_dim, shared=shared)
    x = images(model, 30)
    with torch.no_grad():
        posterior = model.posterior(x)
        q = {"posterior": posterior, "one for all": DiagonalGaussian(torch.ones(latent_dim), torch.zeros(latent_dim))}
        q = (q | some_gaussians(30, latent_dim))[kind]
    before = model.elbo(x, q).mean().item()
    model.m_step(x, q)
    assert model.elbo(x, q).mean().item() > before
    for gradient in torch.autograd.grad(model.elbo(x, q).mean(), list(model.parameters())):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)


def test_m_step_of_two_images_by_hand():
    model = LinearGaussian(torch.ones(2, 1), torch.zeros(2), torch.zeros(()))
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    q = DiagonalGaussian(torch.tensor([[1.0], [-1.0]]), torch.zeros(2, 1))
    model.m_step(x, q)  # by hand: W = (sum of x_n mu_n) / (sum of mu_n^2 + 1) = (0.5, -0.5) 2 / 4
    torch.testing.assert_close(model.weight.detach(), torch.tensor([[0.25], [-0.25]]))
    torch.testing.assert_close(model.bias.detach(), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(model.log_var.exp().detach(), torch.tensor(0.25**2 + 0.25**2))


def test_m_step_refuses_pixels_without_noise():
    model = make_model(3, 1, shared=False)
    x = torch.cat([torch.randn(20, 2), torch.ones(20, 1)], dim=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="x leaves no noise in 1 of 3 variances"):
        model.m_step(x, model.posterior(x))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    make_model(3, 1, shared=True).m_step(x, make_model(3, 1).posterior(x))


# --- float32 ---


@pytest.mark.parametrize("log_var", [-30.0, -10.0, 0.0, 30.0])
def test_float32_stays_close_to_float64(log_var):
    single = [torch.randn(20, 3).float(), torch.randn(20).float(), torch.tensor(log_var).float()]
    x = torch.randn(4, 20).float()
    exact, rounded = LinearGaussian(*[value.double() for value in single]), LinearGaussian(*single)
    close = {"rtol": 1e-5, "atol": 1e-5, "check_dtype": False}
    torch.testing.assert_close(rounded.log_marginal(x), exact.log_marginal(x.double()), **close)
    p, truth = rounded.posterior(x), exact.posterior(x.double())
    torch.testing.assert_close(p.mean, truth.mean, **close)
    units = truth.stddev.unsqueeze(-1) * truth.stddev.unsqueeze(-2)  # covariances may be near zero, or all tiny
    torch.testing.assert_close(p.covariance_matrix / units, truth.covariance_matrix / units, rtol=0, atol=1e-4)
    q = rounded.optimal_diagonal(x)
    elbo = exact.elbo(x.double(), exact.optimal_diagonal(x.double()))
    torch.testing.assert_close(rounded.elbo(x, q), elbo, **close)


def test_float32_survives_a_precision_that_a_cholesky_factorisation_does_not():
    torch.manual_seed(0)
    weight = torch.randn(20, 3)
    weight[:, 2] = weight[:, 1] + 1e-3 * torch.randn(20)
    single = [weight.float(), torch.zeros(20).float(), torch.tensor(-18.0).float()]
    exact, rounded = LinearGaussian(*[value.double() for value in single]), LinearGaussian(*single)
    white = rounded.weight * torch.exp(-0.5 * rounded.log_var)
    failed = torch.linalg.cholesky_ex(torch.eye(3).float() + white.mT @ white)[0]
    x = torch.randn(4, 20).float()
    truth = exact.posterior(x.double()).covariance_matrix[0]
    naive = torch.cholesky_inverse(failed)
    assert (naive / truth - 1).abs().max() > 0.05  # the road not taken
    torch.testing.assert_close(rounded.posterior(x).covariance_matrix[0], truth, rtol=0.01, atol=0, check_dtype=False)


# --- construction and refusals ---


def test_random_depends_on_its_seed_alone():
    state = torch.get_rng_state()
    model = LinearGaussian.random(5, 2, log_var=-1.5, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    again, other = LinearGaussian.random(5, 2, seed=3), LinearGaussian.random(5, 2, seed=4)
    assert torch.equal(model.weight, again.weight)
    assert torch.equal(model.bias, again.bias)
    assert not torch.equal(model.weight, other.weight)
    assert (model.weight.shape, model.bias.shape, model.log_var.item()) == ((5, 2), (5,), -1.5)
    assert model.weight.dtype == model.log_var.dtype == torch.float64
    entries = LinearGaussian.random(1000, 99).weight
    assert abs(entries.mean().item()) < 4 / math.sqrt(99_000)
    assert abs(entries.square().mean().item() - 1) < 4 * math.sqrt(2 / 99_000)


def test_parameters_are_copies():
    weight = torch.randn(5, 2)
    model = LinearGaussian(weight, torch.zeros(5), torch.zeros(()))
    weight.zero_()
    assert (model.weight != 0).all()
    assert all(p.requires_grad for p in model.parameters())


W, B, V = torch.ones(5, 2).double(), torch.zeros(5).double(), torch.zeros(()).double()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LinearGaussian(W[0], B, V), ValueError, "weight must have shape (D, K)"),
        (lambda: LinearGaussian(W[:, :0], B, V), ValueError, "weight must have shape (D, K)"),
        (lambda: LinearGaussian(W, B[:4], V), ValueError, "bias must have shape (5,) to go with weight, but has (4,)"),
        (lambda: LinearGaussian(W, B, B[:2]), ValueError, "log_var must have shape () or (5,), but has shape (2,)"),
        (lambda: LinearGaussian(W.int(), B, V), TypeError, "weight must be floating point"),
        (lambda: LinearGaussian(W, B.float(), V), TypeError, "bias must have the dtype and device of weight"),
        (lambda: LinearGaussian(W, B, V.float()), TypeError, "log_var must have the dtype and device of weight"),
        (lambda: LinearGaussian(W, B / 0, V), ValueError, "bias must be finite"),
        (lambda: LinearGaussian(W, B, 0.0), TypeError, "log_var must be a tensor"),
        (lambda: LinearGaussian.random(0, 2), ValueError, "data_dim must be an integer"),
        (lambda: LinearGaussian.random(5, 0), ValueError, "latent_dim must be an integer"),
        (lambda: LinearGaussian.maximum_likelihood(W, 2), ValueError, "latent_dim must be below D = 2"),
        (lambda: LinearGaussian.maximum_likelihood(W, 0), ValueError, "latent_dim must be an integer"),
        (lambda: LinearGaussian.maximum_likelihood(B, 1), ValueError, "x must hold images in rows"),
        (lambda: LinearGaussian.maximum_likelihood(W.int(), 1), TypeError, "x must be floating point"),
        (lambda: LinearGaussian.maximum_likelihood(W / 0, 1), ValueError, "x must be finite"),
    ],
)
def test_construction_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()


@pytest.mark.parametrize("method", ["log_marginal", "posterior", "optimal_diagonal", "elbo", "m_step"])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(3, 4).double(), ValueError, "x must have shape (..., 5)"),
        (torch.zeros(5).double(), ValueError, "x must hold images in rows, shape (B, 5)"),
        (torch.zeros(0, 5).double(), ValueError, "x must hold images in rows, shape (B, 5)"),
        (torch.zeros(3, 5).float(), TypeError, "x must have the dtype and device of the model"),
        (torch.zeros(3, 5).int(), TypeError, "x must be floating point"),
        (torch.full((3, 5), math.nan).double(), ValueError, "x must be finite"),
    ],
)
def test_bad_images_are_refused(method, x, error, message):
    model = make_model()
    arguments = (DiagonalGaussian(torch.zeros(3, 2), torch.zeros(3, 2)),) if method in ("elbo", "m_step") else ()
    with pytest.raises(error, match=re.escape(message)):
        getattr(model, method)(x, *arguments)


@pytest.mark.parametrize("method", ["elbo", "m_step"])
@pytest.mark.parametrize(
    ("q", "error", "message"),
    [
        (lambda: DiagonalGaussian(torch.zeros(3, 1), torch.zeros(3, 1)), ValueError, "q must have event_shape (2,)"),
        (lambda: DiagonalGaussian(torch.zeros(4, 2), torch.zeros(4, 2)), ValueError, "batch_shape (3,) or ()"),
        (lambda: Normal(torch.zeros(3, 2), 1.0), TypeError, "q must be one of the Gaussians of vaelib.gaussians"),
        (
            lambda: DiagonalGaussian(torch.zeros(3, 2).float(), torch.zeros(3, 2).float()),
            TypeError,
            "q must have the dtype and device of x",
        ),
    ],
)
def test_bad_posteriors_are_refused(method, q, error, message):
    model = make_model()
    with pytest.raises(error, match=re.escape(message)):
        getattr(model, method)(images(model), q())


def test_bound_of_a_singular_q_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match="scale is singular in 3 of 3 cases"):
        model.elbo(images(model), AffineGaussian(torch.zeros(3, 2), torch.zeros(3, 2, 2)))
