"""Free posteriors against the linear-Gaussian model's closed forms, and against quadrature with a general search."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from tiny import gauss_hermite, make_tiny_images, make_tiny_vae
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from vaelib.encoders import CholeskyEncoder, DiagonalEncoder, FullEncoder
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian, StandardNormal
from vaelib.inference.local import FreePosteriors, fit_local, refine
from vaelib.linear_gaussian import LinearGaussian
from vaelib.training import fit


@pytest.fixture(scope="module")
def linear() -> LinearGaussian:
    """A model whose posterior is narrow and correlated."""
    return LinearGaussian.random(4, 2, log_var=-1.5, seed=3).double()


@pytest.fixture(scope="module")
def x(linear) -> torch.Tensor:
    return torch.randn(12, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2


def some_start(kind: str, count: int = 3) -> DiagonalGaussian | AffineGaussian:
    torch.manual_seed(2)
    loc, scale = torch.randn(count, 3), torch.randn(count, 3, 3)
    if kind == "diagonal":
        return DiagonalGaussian(loc, torch.randn(count, 3))
    return AffineGaussian(loc, scale) if kind == "affine" else CholeskyGaussian(loc, scale.tril())


# The table


@pytest.mark.parametrize("kind", ["diagonal", "affine", "cholesky"])
def test_a_full_table_starts_at_any_gaussian(kind):
    start = some_start(kind)
    q = FreePosteriors(start, "full")()
    torch.testing.assert_close(q.mean, start.mean)
    torch.testing.assert_close(q.covariance_matrix, start.covariance_matrix)
    assert (q.scale_tril.diagonal(dim1=-2, dim2=-1) > 0).all()


@pytest.mark.parametrize("kind", ["diagonal", "affine", "cholesky"])
def test_a_diagonal_table_starts_at_the_means_and_marginal_variances(kind):
    start = some_start(kind)
    q = FreePosteriors(start, "diagonal")()
    torch.testing.assert_close(q.mean, start.mean)
    torch.testing.assert_close(q.variance, start.variance)


@pytest.mark.parametrize(("family", "numbers"), [("diagonal", 2 * 3), ("full", 3 + 6)])
def test_the_table_holds_just_the_numbers_of_its_family(family, numbers):
    table = FreePosteriors(some_start("affine", count=7), family)
    assert sum(parameter.numel() for parameter in table.parameters()) == 7 * numbers


@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_rows_of_the_table_are_picked_by_number(family):
    table = FreePosteriors(some_start("affine", count=7), family)
    picked, everything = table(torch.tensor([5, 0, 5])), table()
    torch.testing.assert_close(picked.mean, everything.mean[[5, 0, 5]])
    torch.testing.assert_close(picked.covariance_matrix, everything.covariance_matrix[[5, 0, 5]])


def test_the_table_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match=r"family must be .* but is 'low-rank'"):
        FreePosteriors(some_start("diagonal"), "low-rank")
    with pytest.raises(TypeError, match=r"start must be one of vaelib\.gaussians, but is a MultivariateNormal"):
        FreePosteriors(MultivariateNormal(torch.zeros(3, 2), torch.eye(2)))
    with pytest.raises(ValueError, match=r"start must have batch_shape \(N,\), but has \(\)"):
        FreePosteriors(StandardNormal(2))
    with pytest.raises(ValueError, match="singular"):
        FreePosteriors(AffineGaussian(torch.zeros(3, 2), torch.ones(3, 2, 2)), "full")


# The optimum under a fixed decoder


def test_free_full_posteriors_reach_the_posterior(linear, x):
    q = fit_local(linear, x, family="full", progress=False)
    assert kl_divergence(q, linear.posterior(x)).max() < 1e-4


def test_free_diagonal_posteriors_reach_the_best_diagonal_one(linear, x):
    q, best = fit_local(linear, x, progress=False), linear.optimal_diagonal(x)
    assert (linear.elbo(x, best) - linear.elbo(x, q)).max() < 5e-3
    torch.testing.assert_close(q.mean, best.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(q.log_var, best.log_var, atol=0.1, rtol=0)


def test_any_start_reaches_the_same_optimum(linear, x):
    torch.manual_seed(4)
    start = AffineGaussian(torch.randn(len(x), 2), torch.randn(len(x), 2, 2))
    for family, best in (("diagonal", linear.optimal_diagonal(x)), ("full", linear.posterior(x))):
        q = fit_local(linear, x, family=family, start=start, steps=500, progress=False)
        assert (linear.elbo(x, best) - linear.elbo(x, q)).max() < 0.02


def test_the_optimum_without_a_closed_form_is_the_one_a_general_search_finds():
    """The bound of each image by quadrature, maximised over its two numbers with scipy."""
    model, x = make_tiny_vae(), make_tiny_images()
    nodes, weights = gauss_hermite()

    @torch.no_grad()
    def bound(numbers: np.ndarray, image: torch.Tensor) -> float:
        mean, log_var = torch.from_numpy(numbers)
        z = (mean + (log_var / 2).exp() * nodes).unsqueeze(-1)
        kl = (mean**2 + log_var.exp() - 1 - log_var) / 2
        return float((weights * model.decode(z).log_prob(image)).sum() - kl)

    q = fit_local(model, x, num_samples=16, progress=False)
    for image, mean, log_var in zip(x, q.mean[:, 0], q.log_var[:, 0], strict=True):
        found = minimize(lambda numbers, image=image: -bound(numbers, image), np.zeros(2), method="Nelder-Mead")
        assert bound(np.array([mean, log_var]), image) > -found.fun - 1e-3
        np.testing.assert_allclose([mean, log_var], found.x, atol=0.1)


def test_the_gaps_are_ordered(linear, x):
    torch.manual_seed(5)
    model = linear.with_posterior(DiagonalEncoder(nn.Linear(4, 4), 4, 2))
    fit(model, x, epochs=100, learning_rate=0.01, progress=False, device="cpu")
    for parameter in linear.parameters():
        parameter.grad = None
    with torch.no_grad():
        encoder = linear.elbo(x, model.encode(x))
        refined = linear.elbo(x, refine(model, x))
        start = model.encode(x)
        diagonal = linear.elbo(x, fit_local(model, x, start=start, steps=300, progress=False))
        full = linear.elbo(x, fit_local(model, x, family="full", start=start, steps=300, progress=False))
        log_marginal = linear.log_marginal(x)
    assert (encoder + 0.01 < diagonal).all()  # the amortisation gap
    assert (diagonal + 0.01 < full).all()  # what the correlation is worth
    assert (full <= log_marginal).all()
    assert encoder.mean() + 0.01 < refined.mean() < diagonal.mean()


def test_the_model_stays_as_it_is(linear, x):
    linear.bias.requires_grad_(False)
    linear.weight.grad = torch.ones_like(linear.weight)
    before = {name: value.clone() for name, value in linear.state_dict().items()}
    with torch.no_grad():
        q = fit_local(linear, x, steps=3, progress=False)
    assert not q.mean.requires_grad
    assert not q.log_var.requires_grad
    assert not torch.equal(q.mean, torch.zeros_like(q.mean))
    assert all(torch.equal(before[name], value) for name, value in linear.state_dict().items())
    assert [parameter.requires_grad for parameter in (linear.weight, linear.bias, linear.log_var)] == [
        True,
        False,
        True,
    ]
    assert torch.equal(linear.weight.grad, torch.ones_like(linear.weight))
    assert linear.log_var.grad is None
    linear.bias.requires_grad_(True)
    linear.weight.grad = None


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"family": "low-rank"}, ValueError, "family must be"),
        ({"steps": 0}, ValueError, "steps must be an integer of at least 1"),
        ({"num_samples": 0}, ValueError, "num_samples must be an integer of at least 1"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be a positive number, but is 0"),
        ({"start": StandardNormal(2)}, ValueError, r"start must have batch_shape \(12,\)"),
        ({"learning_rate": 1e300}, ValueError, "is not finite: try a smaller learning_rate"),
    ],
)
def test_bad_arguments_are_named(linear, x, changes, error, message):
    with pytest.raises(error, match=message):
        fit_local(linear, x, **({"steps": 5, "progress": False} | changes))


def test_bad_images_are_refused(linear, x):
    with pytest.raises(TypeError, match="x must have the dtype and device of the model"):
        fit_local(linear, x.float(), progress=False)
    with pytest.raises(TypeError, match="x must have the dtype and device of the model"):
        refine(linear.with_posterior(DiagonalEncoder(nn.Identity(), 4, 2)), x.float())
    with pytest.raises(ValueError, match="value must be finite"):
        fit_local(linear, torch.full_like(x, torch.nan), progress=False)


# Semi-amortised refinement


def test_the_more_steps_of_refinement_the_better_on_average(linear, x):
    torch.manual_seed(6)
    model = linear.with_posterior(DiagonalEncoder(nn.Linear(4, 4), 4, 2))
    with torch.no_grad():
        means = [linear.elbo(x, model.encode(x)).mean()]
        means += [linear.elbo(x, refine(model, x, steps=steps)).mean() for steps in (1, 3, 10, 30, 100)]
    assert all(later > earlier for earlier, later in itertools.pairwise(means))


@pytest.mark.parametrize(
    ("encoder", "kind"),
    [(DiagonalEncoder, DiagonalGaussian), (FullEncoder, CholeskyGaussian), (CholeskyEncoder, CholeskyGaussian)],
)
def test_refinement_keeps_the_encoders_family(linear, x, encoder, kind):
    model = linear.with_posterior(encoder(nn.Identity(), 4, 2))
    q = refine(model, x, steps=1, learning_rate=1e-10)
    assert type(q) is kind
    torch.testing.assert_close(q.mean, model.encode(x).mean.detach(), atol=1e-8, rtol=0)
    torch.testing.assert_close(q.covariance_matrix, model.encode(x).covariance_matrix.detach(), atol=1e-8, rtol=0)


def test_there_is_nothing_to_refine_without_an_encoder(linear, x):
    with pytest.raises(TypeError, match="has no encoder"):
        refine(linear, x)
