"""EM against the closed form of probabilistic PCA, scikit-learn, and its own promise never to lower the likelihood."""

import itertools
import math
import re

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from sklearn.decomposition import FactorAnalysis
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch.distributions import Categorical, kl_divergence

from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian
from vaelib.inference.em import CollapsedComponentError, GaussianMixture, em
from vaelib.linear_gaussian import LinearGaussian

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def linear_data(count: int = 300) -> torch.Tensor:
    """Images with a clear gap between the second and the third eigenvalue of their covariance."""
    torch.manual_seed(5)
    return LinearGaussian.random(6, 2, log_var=-1.0, seed=7).marginal.sample((count,))


def clusters(count: int = 100) -> torch.Tensor:
    """Three overlapping clusters in the plane, of different shapes."""
    torch.manual_seed(6)
    scales = torch.tensor([[[1.0, 0.0], [0.8, 0.3]], [[0.5, 0.0], [0.0, 1.5]], [[0.7, 0.0], [-0.5, 0.5]]])
    means = torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    return (means.unsqueeze(1) + torch.randn(3, count, 2) @ scales.mT).flatten(0, 1)


def some_mixture(diagonal: bool) -> GaussianMixture:
    loc = torch.tensor([[-2.0, 0.5], [1.0, 1.0], [0.0, 2.0]])
    scale_tril = torch.tensor([[[1.0, 0.0], [0.4, 0.8]], [[0.9, 0.0], [-0.3, 1.2]], [[1.1, 0.0], [0.2, 0.6]]])
    log_var = torch.tensor([[0.0, 0.5], [-0.5, 0.2], [0.3, -0.2]])
    components = DiagonalGaussian(loc, log_var) if diagonal else CholeskyGaussian(loc, scale_tril)
    return GaussianMixture(torch.tensor([0.2, 0.3, 0.5]), components)


def some_responsibilities(count: int) -> Categorical:
    torch.manual_seed(8)
    return Categorical(logits=2 * torch.randn(count, 3))


def as_sklearn(model: GaussianMixture, **options) -> SklearnMixture:
    """scikit-learn's mixture, to start from the same parameters."""
    diagonal = isinstance(model.components, DiagonalGaussian)
    covariance = model.components.variance if diagonal else model.components.covariance_matrix
    precisions = 1 / covariance if diagonal else torch.linalg.inv(covariance)
    return SklearnMixture(
        len(model.weights),
        covariance_type="diag" if diagonal else "full",
        reg_covar=0,
        weights_init=model.weights.numpy(),
        means_init=model.components.mean.numpy(),
        precisions_init=precisions.numpy(),
        **options,
    )


@pytest.fixture(params=[True, False], ids=["diagonal", "full"])
def diagonal(request) -> bool:
    return request.param


# --- EM itself ---


@pytest.mark.parametrize("shared", [True, False])
def test_likelihood_of_the_linear_model_never_falls(shared):
    x = linear_data()
    model = LinearGaussian(torch.randn(6, 2), torch.randn(6), torch.zeros(() if shared else 6))
    rises = em(model, x, max_iterations=200, tolerance=0).log_marginal.diff()[1:]
    assert len(rises) > 20
    assert (rises[:-1] > 0).all()  # the last may be a rounding down, at which EM stopped
    assert rises.iloc[-1] > -1e-12


def test_likelihood_of_a_mixture_never_falls(diagonal):
    x = clusters()
    rises = em(some_mixture(diagonal), x, max_iterations=200, tolerance=0).log_marginal.diff()[1:]
    assert len(rises) > 20
    assert (rises[:-1] > 0).all()
    assert rises.iloc[-1] > -1e-12


def test_linear_model_converges_to_probabilistic_pca():
    x = linear_data()
    model = LinearGaussian.random(6, 2, seed=11)
    history = em(model, x, max_iterations=600, tolerance=1e-14)
    best = LinearGaussian.maximum_likelihood(x, 2)
    assert history.log_marginal.iloc[-1] == pytest.approx(best.log_marginal(x).mean().item(), abs=1e-10)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(model.bias, best.bias, **close)
    torch.testing.assert_close(model.log_var, best.log_var, **close)
    torch.testing.assert_close(model.weight @ model.weight.mT, best.weight @ best.weight.mT, **close)
    bases = [torch.linalg.qr(m.weight.detach()).Q for m in (model, best)]
    assert torch.linalg.svdvals(bases[0].mT @ bases[1]).min() > 1 - 1e-8
    assert not torch.allclose(model.weight, best.weight, atol=0.1)  # the rotation stays where it happened to end


def test_a_noise_per_pixel_converges_to_factor_analysis():
    torch.manual_seed(9)
    truth = LinearGaussian(torch.randn(8, 2), torch.randn(8), torch.linspace(-1, 1, 8))
    x = truth.marginal.sample((500,))
    model = LinearGaussian(torch.randn(8, 2), torch.zeros(8), torch.zeros(8))
    em(model, x, max_iterations=500, tolerance=1e-12)
    theirs = FactorAnalysis(2, tol=1e-7, svd_method="lapack").fit(x.numpy())
    assert model.log_marginal(x).mean().item() == pytest.approx(theirs.score(x.numpy()), abs=1e-7)
    covariance = (model.weight @ model.weight.mT).detach() + torch.diag(model.log_var.detach().exp())
    np.testing.assert_allclose(covariance.numpy(), theirs.get_covariance(), atol=1e-3)


def test_each_half_step_climbs_the_bound_of_the_linear_model():
    x = linear_data()
    model = LinearGaussian.random(6, 2, seed=11)
    with torch.no_grad():
        for _ in range(5):
            q = model.posterior(x)
            before = model.log_marginal(x)
            torch.testing.assert_close(model.elbo(x, q), before, **EXACT)
            model.m_step(x, q)
            bound = model.elbo(x, q).mean()
            assert before.mean() < bound < model.log_marginal(x).mean()


def test_the_best_diagonal_q_climbs_its_bound_and_not_more():
    """Variational EM: the same two steps, with q held to a family that leaves the posterior out."""
    x = linear_data()
    model = LinearGaussian.random(6, 2, seed=11)
    bounds = []
    with torch.no_grad():
        for _ in range(50):
            q = model.optimal_diagonal(x)
            bounds.append(model.elbo(x, q).mean().item())
            assert bounds[-1] < model.log_marginal(x).mean()
            model.m_step(x, q)
            bounds.append(model.elbo(x, q).mean().item())
    assert all(later > earlier for earlier, later in itertools.pairwise(bounds))


def test_history_begins_with_the_model_as_it_came():
    x = clusters()
    model = some_mixture(diagonal=False)
    first = model.log_marginal(x).mean().item()
    history = em(model, x, max_iterations=4, tolerance=0)
    assert history.columns.tolist() == ["iteration", "log_marginal"]
    assert history.iteration.tolist() == [0, 1, 2, 3, 4]
    assert history.log_marginal[0] == first
    assert history.log_marginal[4] == model.log_marginal(x).mean().item()


def test_em_stops_at_the_tolerance():
    x = clusters()
    everything = em(some_mixture(diagonal=False), x, max_iterations=100, tolerance=0)
    rises = everything.log_marginal.diff()[1:]
    stopped = em(some_mixture(diagonal=False), x, max_iterations=100, tolerance=1e-3)
    assert len(stopped) - 1 == int((rises < 1e-3).argmax()) + 1
    assert len(stopped) < len(everything)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iterations": 0}, "max_iterations must be an integer"),
        ({"tolerance": -1e-9}, "tolerance must be a number of nats, 0 or more, but is -1e-09"),
        ({"tolerance": math.nan}, "tolerance must be a number of nats, 0 or more, but is nan"),
    ],
)
def test_em_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        em(some_mixture(diagonal=False), clusters(), **options)


# --- the mixture ---


def test_mixture_density_and_posterior_by_scipy_and_sklearn(diagonal):
    x = clusters(10)
    model = some_mixture(diagonal)
    joint = np.stack(
        [
            stats.multivariate_normal(mean, covariance).logpdf(x.numpy()) + np.log(weight)
            for mean, covariance, weight in zip(
                model.components.mean.numpy(),
                model.components.covariance_matrix.numpy(),
                model.weights.numpy(),
                strict=True,
            )
        ],
        axis=1,
    )
    np.testing.assert_allclose(model.log_joint(x).numpy(), joint, rtol=1e-10)
    np.testing.assert_allclose(model.log_marginal(x).numpy(), logsumexp(joint, axis=1), rtol=1e-10)
    torch.testing.assert_close(model.marginal.log_prob(x), model.log_marginal(x), **EXACT)
    theirs = as_sklearn(model)
    theirs.weights_, theirs.means_ = model.weights.numpy(), model.components.mean.numpy()
    theirs.precisions_cholesky_ = (
        1 / model.components.stddev.numpy()
        if diagonal
        else torch.linalg.cholesky(torch.linalg.inv(model.components.covariance_matrix)).numpy()
    )
    np.testing.assert_allclose(model.posterior(x).probs.numpy(), theirs.predict_proba(x.numpy()), atol=1e-12)


def test_far_from_every_component_the_density_stays_finite():
    model = some_mixture(diagonal=False)
    x = torch.tensor([[1e4, -1e4]])
    torch.testing.assert_close(model.log_marginal(x), model.log_joint(x).max(-1).values, **EXACT)
    assert -1e10 < model.log_marginal(x).item() < -1e6
    torch.testing.assert_close(model.posterior(x).probs.sum(), torch.tensor(1.0))


def test_free_energy_misses_the_evidence_by_the_divergence(diagonal):
    x = clusters(10)
    model = some_mixture(diagonal)
    torch.testing.assert_close(model.elbo(x, model.posterior(x)), model.log_marginal(x), **EXACT)
    q = some_responsibilities(len(x))
    gap = model.log_marginal(x) - model.elbo(x, q)
    torch.testing.assert_close(gap, kl_divergence(q, model.posterior(x)), **EXACT)
    assert (gap > 0).all()
    hard = Categorical(probs=torch.eye(3)[torch.arange(len(x)) % 3])
    expected = model.log_joint(x)[torch.arange(len(x)), torch.arange(len(x)) % 3]
    torch.testing.assert_close(model.elbo(x, hard), expected, **EXACT)


def test_free_energy_by_monte_carlo():
    x = clusters(3)
    model = some_mixture(diagonal=False)
    q = some_responsibilities(len(x))
    z = q.sample((20_000,))
    draws = model.log_joint(x).expand(20_000, -1, -1).gather(-1, z.unsqueeze(-1)).squeeze(-1) - q.log_prob(z)
    assert ((draws.mean(0) - model.elbo(x, q)).abs() < 4 * draws.std(0) / math.sqrt(len(draws))).all()


def test_m_step_of_a_mixture_is_where_the_gradient_vanishes(diagonal):
    x = clusters(20)
    q = some_responsibilities(len(x))
    model = some_mixture(diagonal)
    before = model.elbo(x, q).mean()
    model.m_step(x, q)
    after = model.elbo(x, q).mean()
    assert after > before
    logits = model.weights.log().requires_grad_()
    loc = model.components.loc.clone().requires_grad_()
    name = "log_var" if diagonal else "scale_tril"
    shape = getattr(model.components, name).clone().requires_grad_()
    family = DiagonalGaussian if diagonal else CholeskyGaussian
    lower = shape if diagonal else shape.tril()
    free = GaussianMixture(logits.softmax(0), family(loc, lower))
    torch.testing.assert_close(free.elbo(x, q).mean(), after, **EXACT)
    for gradient in torch.autograd.grad(free.elbo(x, q).mean(), (logits, loc, shape)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)


@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_em_takes_the_steps_of_sklearn(iterations, diagonal):
    x = clusters()
    model = some_mixture(diagonal)
    theirs = as_sklearn(model, tol=0, max_iter=iterations, warm_start=False)
    with pytest.warns(UserWarning, match="did not converge"):  # tol=0 makes it take every step
        theirs.fit(x.numpy())
    em(model, x, max_iterations=iterations, tolerance=0)
    close = {"rtol": 1e-8, "atol": 1e-8}
    np.testing.assert_allclose(model.weights.numpy(), theirs.weights_, **close)
    np.testing.assert_allclose(model.components.mean.numpy(), theirs.means_, **close)
    covariance = model.components.variance if diagonal else model.components.covariance_matrix
    np.testing.assert_allclose(covariance.numpy(), theirs.covariances_, **close)
    assert model.log_marginal(x).mean().item() == pytest.approx(theirs.score(x.numpy()), abs=1e-10)


def test_start_takes_its_means_from_the_images_and_its_covariance_from_all(diagonal):
    x = clusters()
    state = torch.get_rng_state()
    model = GaussianMixture.start(x, 4, diagonal=diagonal, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(model.components, DiagonalGaussian) == diagonal
    torch.testing.assert_close(model.weights, torch.full((4,), 0.25))
    same = (model.components.mean.unsqueeze(1) == x).all(-1)
    assert (same.sum(1) == 1).all()
    assert len(set(same.nonzero()[:, 1].tolist())) == 4
    expected = x.mT.cov(correction=0)
    expected = torch.diag(expected.diagonal()) if diagonal else expected
    torch.testing.assert_close(model.components.covariance_matrix, expected.expand(4, 2, 2), **EXACT)
    again, other = (GaussianMixture.start(x, 4, diagonal=diagonal, seed=seed) for seed in (3, 4))
    assert torch.equal(again.components.mean, model.components.mean)
    assert not torch.equal(other.components.mean, model.components.mean)
    history = em(model, x)
    assert history.log_marginal.is_monotonic_increasing


def test_em_finds_clusters_that_are_there():
    torch.manual_seed(0)
    means = torch.tensor([[-8.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    label = torch.arange(300) % 3
    x = means[label] + torch.randn(300, 2)
    model = GaussianMixture.start(x, 3, seed=1)
    em(model, x, max_iterations=500)
    found = model.posterior(x).probs.argmax(-1)
    assert len({(a, b) for a, b in zip(label.tolist(), found.tolist(), strict=True)}) == 3
    assert torch.cdist(means, model.components.mean).amin(1).max() < 4 * math.sqrt(2 / 100)


# --- collapse ---


def test_collapse_is_refused_and_leaves_the_mixture_alone(diagonal):
    x = clusters(10)
    model = some_mixture(diagonal)
    weights, components = model.weights, model.components
    lonely = torch.full((len(x), 3), 0.5)
    lonely[:, 1] = 0
    lonely[4] = torch.tensor([0.0, 1.0, 0.0])  # component 1 holds image 4 and nothing else
    with pytest.raises(CollapsedComponentError, match="component 1 of 3 collapsed: it holds 1 images' worth"):
        model.m_step(x, Categorical(probs=lonely))
    assert model.weights is weights
    assert model.components is components


@pytest.mark.parametrize("data_dim", [2, 6])  # LAPACK itself refuses a NaN from 3 dimensions on, with less to say
def test_component_that_lost_every_image_is_refused(data_dim, diagonal):
    x = torch.randn(30, data_dim)
    model = GaussianMixture.start(x, 3, diagonal=diagonal)
    probs = torch.tensor([0.5, 0.5, 0.0]).expand(len(x), 3)
    with pytest.raises(CollapsedComponentError, match="component 2 of 3 collapsed: it holds 0 images' worth"):
        model.m_step(x, Categorical(probs=probs))


def test_em_meets_the_singularity_of_the_likelihood_and_says_so(diagonal):
    torch.manual_seed(0)
    x = torch.cat([torch.randn(50, 2), torch.tensor([[30.0, 30.0]])])
    components = [torch.tensor([[0.0, 0.0], [30.0, 30.0]]), torch.zeros(2, 2)]
    components = DiagonalGaussian(*components) if diagonal else CholeskyGaussian(components[0], torch.eye(2))
    model = GaussianMixture(torch.tensor([0.5, 0.5]), components)
    with pytest.raises(CollapsedComponentError, match="another seed, take fewer components"):
        em(model, x)


def test_three_images_in_a_line_collapse_a_full_covariance_only():
    x = clusters(10)
    probs = torch.zeros(len(x) + 3, 2)
    probs[:-3, 0] = probs[-3:, 1] = 1
    x = torch.cat([x, torch.tensor([[0.0, 0.1], [1.0, 0.2], [2.0, 0.3]])])
    q = Categorical(probs=probs)
    loc, weights = torch.zeros(2, 2), torch.tensor([0.5, 0.5])
    with pytest.raises(CollapsedComponentError, match="component 1 of 2 collapsed: it holds 3 images"):
        GaussianMixture(weights, CholeskyGaussian(loc, torch.eye(2))).m_step(x, q)
    GaussianMixture(weights, DiagonalGaussian(loc, loc)).m_step(x, q)


def test_units_of_the_pixels_do_not_matter(diagonal):
    x = clusters()
    units = torch.tensor([1e-9, 1e7])
    plain, scaled = (GaussianMixture.start(data, 2, diagonal=diagonal) for data in (x, x * units))
    history, other = (em(m, data, max_iterations=20) for m, data in ((plain, x), (scaled, x * units)))
    difference = history.log_marginal - other.log_marginal
    np.testing.assert_allclose(difference, units.log().sum().item(), rtol=1e-9)


def test_small_but_honest_components_are_kept(diagonal):
    torch.manual_seed(0)
    x = torch.cat([1e-5 * torch.randn(50, 2), 1 + torch.randn(50, 2)])
    q = Categorical(probs=torch.eye(2).repeat_interleave(50, 0))
    model = GaussianMixture.start(x, 2, diagonal=diagonal)
    model.m_step(x, q)
    assert model.components.stddev[0].max() < 2e-5


# --- refusals ---

HALF = torch.tensor([0.5, 0.5]).double()
PAIR = DiagonalGaussian(torch.zeros(2, 2).double(), torch.zeros(2, 2).double())
TEN = torch.arange(20.0).view(10, 2).double()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: GaussianMixture(HALF[:1], PAIR), ValueError, "weights must have shape (C,)"),
        (lambda: GaussianMixture(HALF.view(1, 2), PAIR), ValueError, "weights must have shape (C,)"),
        (lambda: GaussianMixture(HALF * 2, PAIR), ValueError, "weights must be positive and of sum 1"),
        (
            lambda: GaussianMixture(HALF + HALF * torch.tensor([1.0, -1.0]), PAIR),
            ValueError,
            "weights must be positive",
        ),
        (lambda: GaussianMixture([0.5, 0.5], PAIR), TypeError, "weights must be a tensor"),
        (
            lambda: GaussianMixture(HALF, AffineGaussian(torch.zeros(2, 2).double(), torch.eye(2).double())),
            TypeError,
            "components must be a DiagonalGaussian or a CholeskyGaussian, but is a AffineGaussian",
        ),
        (lambda: GaussianMixture.start(TEN, 0), ValueError, "num_components must be an integer"),
        (lambda: GaussianMixture.start(TEN, 11), ValueError, "num_components must be at most the 10 images of x"),
        (lambda: GaussianMixture.start(TEN[0], 1), ValueError, "x must hold images in rows"),
        (lambda: GaussianMixture.start(TEN[:0], 1), ValueError, "x must hold images in rows"),
        (lambda: GaussianMixture.start(TEN.int(), 1), TypeError, "x must be floating point"),
        (lambda: GaussianMixture.start(TEN / 0, 1), ValueError, "x must be finite"),
        (
            lambda: GaussianMixture.start(TEN * 0, 1),
            ValueError,
            "x must vary in every pixel, but is constant in 2 of 2",
        ),
        (lambda: GaussianMixture.start(TEN, 2), CollapsedComponentError, "covariance is singular"),
        (lambda: GaussianMixture(HALF, PAIR).log_marginal(torch.zeros(4, 3)), ValueError, "x must have shape (..., 2)"),
        (
            lambda: GaussianMixture(HALF, PAIR).elbo(TEN, Categorical(torch.ones(9, 2))),
            ValueError,
            "q must have probs of shape (10, 2), (N, C), but they have (9, 2)",
        ),
        (
            lambda: GaussianMixture(HALF, PAIR).m_step(TEN, Categorical(torch.ones(10, 3))),
            ValueError,
            "q must have probs of shape (10, 2), (N, C), but they have (10, 3)",
        ),
        (
            lambda: GaussianMixture(HALF, PAIR).m_step(torch.zeros(4, 3), Categorical(torch.ones(4, 2))),
            ValueError,
            "x must have shape (..., 2)",
        ),
    ],
)
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
