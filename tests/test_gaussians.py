"""The Gaussians against torch's MultivariateNormal, quadrature, Monte Carlo and numerical derivatives."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from vaelib.checks import without_validation
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian, StandardNormal
from vaelib.gaussians.elimination import equilibrate, is_resolved, log_det_and_gradient

KINDS = ("diagonal", "standard", "affine", "cholesky")
PAIRS = list(product(KINDS, KINDS))


def orthogonal(dim: int, batch: tuple[int, ...] = ()) -> Tensor:
    return torch.linalg.qr(torch.randn(*batch, dim, dim, dtype=torch.float64))[0]


def with_condition(dim: int, condition: float, batch: tuple[int, ...] = ()) -> Tensor:
    """Square matrices with geometrically spaced singular values from 1 to 1 / condition."""
    return orthogonal(dim, batch) * condition ** -torch.linspace(0, 1, dim) @ orthogonal(dim, batch)


def full_scale(dim: int, batch: tuple[int, ...] = ()) -> Tensor:
    """Square, not triangular, singular values in [0.6, 1.4], negative determinant."""
    scale = orthogonal(dim, batch) * (0.6 + 0.8 * torch.rand(*batch, 1, dim)) @ orthogonal(dim, batch)
    flip = torch.ones(*batch, dim)
    flip[..., 0] = -torch.linalg.det(scale).sign()
    return scale * flip.unsqueeze(-2)


def lower_scale(dim: int, batch: tuple[int, ...] = ()) -> Tensor:
    """Lower triangular, with a diagonal of both signs."""
    diagonal = (0.6 + 0.8 * torch.rand(*batch, dim)) * torch.tensor([1.0, -1.0] * dim)[:dim]
    return torch.randn(*batch, dim, dim).mul(0.4).tril(-1) + torch.diag_embed(diagonal)


def make(kind: str, dim: int = 3, batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Any:
    loc = torch.randn(*batch, dim).mul(0.5).to(dtype)
    if kind == "diagonal":
        return DiagonalGaussian(loc, torch.randn(*batch, dim).mul(0.5).to(dtype))
    if kind == "standard":
        return StandardNormal(dim, like=loc, batch_shape=batch)
    if kind == "affine":
        return AffineGaussian(loc, full_scale(dim, batch).to(dtype))
    return CholeskyGaussian(loc, lower_scale(dim, batch).to(dtype))


def reference(q: Any) -> MultivariateNormal:
    """The same law by another route: torch's class, from the covariance of the parameters, in float64."""
    match q:
        case StandardNormal():
            loc, covariance = torch.zeros(*q.batch_shape, *q.event_shape), torch.eye(*q.event_shape)
        case DiagonalGaussian():
            loc, covariance = q.loc, torch.diag_embed(q.log_var.double().exp())
        case CholeskyGaussian():
            loc, covariance = q.loc, q.scale_tril.double() @ q.scale_tril.double().mT
        case _:
            loc, covariance = q.loc, q.scale.double() @ q.scale.double().mT
    return MultivariateNormal(loc.double(), covariance)


def grid(dim: int) -> tuple[Tensor, float]:
    """Nodes and weight of a trapezoidal rule, which for these smooth and decaying integrands is exact to rounding."""
    line = torch.arange(-14, 14.05, 0.1)
    return torch.cartesian_prod(*[line] * dim).reshape(-1, dim), 0.1**dim


# Densities, entropies, moments


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_density_entropy_and_moments(kind: str, batch: tuple[int, ...], dim: int) -> None:
    q = make(kind, dim, batch)
    p = reference(q)
    z = torch.randn(7, *batch, dim)
    torch.testing.assert_close(q.log_prob(z), p.log_prob(z), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(q.entropy(), p.entropy().expand(batch), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(q.mean, p.mean)
    torch.testing.assert_close(q.covariance_matrix, p.covariance_matrix.expand(*batch, dim, dim))
    torch.testing.assert_close(q.scale @ q.scale.mT, p.covariance_matrix.expand(*batch, dim, dim))
    torch.testing.assert_close(q.variance, p.variance.expand(*batch, dim))
    torch.testing.assert_close(q.stddev, p.stddev.expand(*batch, dim))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 2])
def test_density_and_entropy_by_quadrature(kind: str, dim: int) -> None:
    q = make(kind, dim)
    z, weight = grid(dim)
    log_q = q.log_prob(z)
    assert log_q.exp().sum().item() * weight == pytest.approx(1, abs=1e-12)
    assert -(log_q.exp() * log_q).sum().item() * weight == pytest.approx(q.entropy().item(), abs=1e-11)


@pytest.mark.parametrize(
    "scale",
    [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 2.0], [3.0, 1.0]], [[0.0, 1.0], [-1.0, 0.0]], [[2.0, 1.0], [0.0, 3.0]], [[-3.0]]],
    ids=["swap", "negative", "turn", "upper", "K=1"],
)
def test_any_invertible_scale_has_a_density(scale: list[list[float]]) -> None:
    matrix = torch.tensor(scale)
    q = AffineGaussian(torch.ones(len(scale)), matrix)
    z = torch.randn(5, len(scale))
    expected = MultivariateNormal(torch.ones(len(scale)), matrix @ matrix.mT).log_prob(z)
    torch.testing.assert_close(q.log_prob(z), expected)


# Divergences


@pytest.mark.parametrize(("kind_q", "kind_p"), PAIRS)
@pytest.mark.parametrize(
    ("batch_q", "batch_p"), [((), ()), ((4,), (4,)), ((4,), ()), ((), (4,)), ((2, 1), (3,))], ids=str
)
@pytest.mark.parametrize("dim", [1, 4])
def test_divergence(
    kind_q: str, kind_p: str, batch_q: tuple[int, ...], batch_p: tuple[int, ...], dim: int
) -> None:  # with dim 4, a batch of 4 matrices can be taken for a matrix
    q, p = make(kind_q, dim, batch_q), make(kind_p, dim, batch_p)
    kl = kl_divergence(q, p)
    assert kl.shape == torch.broadcast_shapes(batch_q, batch_p)
    torch.testing.assert_close(kl, kl_divergence(reference(q), reference(p)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("kind_q", "kind_p"), PAIRS)
@pytest.mark.parametrize("dim", [1, 2])
def test_divergence_by_quadrature(kind_q: str, kind_p: str, dim: int) -> None:
    q, p = make(kind_q, dim), make(kind_p, dim)
    z, weight = grid(dim)
    log_q = q.log_prob(z)
    integral = (log_q.exp() * (log_q - p.log_prob(z))).sum().item() * weight
    assert kl_divergence(q, p).item() == pytest.approx(integral, abs=1e-10)


@pytest.mark.parametrize(("kind_q", "kind_p"), PAIRS)
def test_divergence_by_monte_carlo(kind_q: str, kind_p: str) -> None:
    q, p = make(kind_q, 5, (2,)), make(kind_p, 5, (2,))
    z = q.sample((20_000,))
    draws = q.log_prob(z) - p.log_prob(z)
    if kind_q == kind_p == "standard":
        assert not draws.any()
    else:
        error = draws.std(0) / math.sqrt(len(draws))
        assert ((draws.mean(0) - kl_divergence(q, p)).abs() <= 4 * error).all()


def test_divergence_keeps_its_digits_near_zero() -> None:
    """KL = (e^l - 1 - l) / 2, nearly l^2 / 4; taken literally it loses all digits for l below 1e-8."""
    log_var = torch.tensor([1e-5])
    exact = 2.5e-11 * (1 + 1e-5 / 3)
    for prior in (StandardNormal(1), DiagonalGaussian(torch.zeros(1), torch.zeros(1))):
        kl = kl_divergence(DiagonalGaussian(torch.zeros(1), log_var), prior)
        assert kl.item() == pytest.approx(exact, rel=1e-9)


# Derivatives, against central differences

LEAF: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "diagonal": lambda loc, free: DiagonalGaussian(loc, free[..., 0]),
    "affine": lambda loc, free: AffineGaussian(loc, free),
    "cholesky": lambda loc, free: CholeskyGaussian(loc, free.tril()),  # central differences also move what is above
}


def leaves(kind: str, dim: int = 3) -> tuple[Tensor, Tensor]:
    loc, scale = torch.randn(2, dim), lower_scale(dim, (2,)) if kind == "cholesky" else full_scale(dim, (2,))
    return loc.requires_grad_(), scale.requires_grad_()


@pytest.mark.parametrize("kind", LEAF)
def test_gradients_of_density_and_entropy(kind: str) -> None:
    value = torch.randn(2, 3, requires_grad=True)
    assert gradcheck(lambda loc, free, z: LEAF[kind](loc, free).log_prob(z), (*leaves(kind), value))
    assert gradcheck(lambda loc, free: LEAF[kind](loc, free).entropy(), leaves(kind))


@pytest.mark.parametrize("kind", LEAF)
def test_gradients_of_draws(kind: str) -> None:
    """With the noise held fixed, the derivative of mu + S eps is 1 in mu and eps in S."""

    def draw(loc: Tensor, free: Tensor) -> Tensor:
        torch.manual_seed(1)
        return LEAF[kind](loc, free).rsample((4,))

    assert gradcheck(draw, leaves(kind))


@pytest.mark.parametrize(("kind_q", "kind_p"), list(product(LEAF, LEAF)))
def test_gradients_of_divergence(kind_q: str, kind_p: str) -> None:
    def kl(q_loc: Tensor, q_free: Tensor, p_loc: Tensor, p_free: Tensor) -> Tensor:
        return kl_divergence(LEAF[kind_q](q_loc, q_free), LEAF[kind_p](p_loc, p_free))

    assert gradcheck(kl, (*leaves(kind_q), *leaves(kind_p)))


@pytest.mark.parametrize("kind", LEAF)
def test_gradients_of_divergence_from_the_prior(kind: str) -> None:
    assert gradcheck(lambda loc, free: kl_divergence(LEAF[kind](loc, free), StandardNormal(3)), leaves(kind))
    assert gradcheck(lambda loc, free: kl_divergence(StandardNormal(3), LEAF[kind](loc, free)), leaves(kind))
    assert gradgradcheck(lambda loc, free: kl_divergence(LEAF[kind](loc, free), StandardNormal(3)), leaves(kind))


@pytest.mark.parametrize("kind", ["affine", "cholesky"])
def test_gradients_of_divergence_from_the_prior_under_vmap(kind: str) -> None:
    """As an ensemble takes them: one call for a stack, where each member alone must give the same."""
    loc, free = (leaf.detach().expand(4, *leaf.shape) * torch.rand(4, *[1] * leaf.dim()) for leaf in leaves(kind))

    def kl(loc: Tensor, free: Tensor) -> Tensor:
        return kl_divergence(LEAF[kind](loc, free), StandardNormal(3)).sum()

    with without_validation():  # a check looks at values, which a stack does not show
        stacked = torch.func.vmap(torch.func.grad(kl, argnums=(0, 1)))(loc, free)
    for n in range(4):
        alone = torch.func.grad(kl, argnums=(0, 1))(loc[n], free[n])
        for one, other in zip(stacked, alone, strict=True):
            torch.testing.assert_close(one[n], other)


@pytest.mark.parametrize("kind", ["affine", "cholesky"])
def test_divergence_from_a_batch_of_priors(kind: str) -> None:
    q, p = make(kind, 3, (2, 1)), StandardNormal(3, batch_shape=(4,))
    found = kl_divergence(q, p)
    assert found.shape == (2, 4)
    torch.testing.assert_close(found, kl_divergence(q, StandardNormal(3)).expand(2, 4))


# Draws


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_mu_plus_s_eps(kind: str) -> None:
    q = make(kind, 3, (2,))
    torch.manual_seed(5)
    z = q.rsample((4,))
    torch.manual_seed(5)
    noise = torch.randn(4, 2, 3)
    torch.testing.assert_close(z, q.loc + torch.einsum("bij,lbj->lbi", q.scale, noise))


@pytest.mark.parametrize("kind", KINDS)
def test_moments_of_draws(kind: str) -> None:
    """Within 4 standard errors, which come from the law that is claimed: draws of another may have any."""
    q = make(kind, 3, (2,))
    z = q.sample((100_000,))
    assert not z.requires_grad
    covariance = reference(q).covariance_matrix.expand(2, 3, 3)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    assert ((z.mean(0) - q.mean).abs() <= 4 * (variance / len(z)).sqrt()).all()
    centred = z - q.mean
    estimate = torch.einsum("lbi,lbj->bij", centred, centred) / len(z)
    error = ((variance.unsqueeze(-1) * variance.unsqueeze(-2) + covariance.square()) / len(z)).sqrt()
    assert ((estimate - covariance).abs() <= 4 * error).all()


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_gaussian(kind: str) -> None:
    """Whitened by torch's own factor of the covariance, they pass a test against the normal distribution function."""
    q = make(kind, 2)
    factor = torch.linalg.cholesky(reference(q).covariance_matrix)
    white = torch.linalg.solve_triangular(factor, (q.sample((20_000,)) - q.mean).unsqueeze(-1), upper=False)
    for column in white.squeeze(-1).T:
        assert kstest(column.numpy(), "norm").pvalue > 6.3e-5  # as rare as 4 standard errors


@pytest.mark.parametrize("kind", KINDS)
def test_detach(kind: str) -> None:
    shift = torch.zeros(2, 3, requires_grad=True)
    plain = make(kind, 3, (2,))
    q = copy.copy(plain)
    q.loc = plain.loc + shift
    cut = q.detach()
    assert type(cut) is type(q)
    assert not cut.log_prob(torch.zeros(3)).requires_grad
    assert q.log_prob(torch.zeros(3)).requires_grad  # and the original is as it was
    torch.testing.assert_close(kl_divergence(cut, plain), torch.zeros(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_dtypes_and_seeds(kind: str, dtype: torch.dtype) -> None:
    q = make(kind, 3, (2, 5), dtype)
    assert (q.batch_shape, q.event_shape) == ((2, 5), (3,))
    torch.manual_seed(7)
    z = q.rsample((4, 6))
    torch.manual_seed(7)
    assert torch.equal(z, q.rsample((4, 6)))
    assert not torch.equal(z, q.rsample((4, 6)))
    assert z.shape == (4, 6, 2, 5, 3)
    assert q.rsample().shape == (2, 5, 3)
    assert q.log_prob(z).shape == (4, 6, 2, 5)
    assert q.entropy().shape == (2, 5)
    prior = StandardNormal(3, like=z)
    results = (z, q.log_prob(z), q.entropy(), q.mean, q.variance, q.covariance_matrix, kl_divergence(q, prior))
    assert {r.dtype for r in results} == {dtype}


def test_prior_defaults() -> None:
    prior = StandardNormal(3)
    assert prior.batch_shape == ()
    assert prior.loc.dtype == torch.get_default_dtype() == torch.float64
    assert prior.loc.device == torch.device("cpu")
    elsewhere = StandardNormal(3, like=torch.empty(0, device="meta"), validate_args=False)
    assert elsewhere.rsample().device == elsewhere.loc.device == torch.device("meta")


def test_batch_dimensions_broadcast() -> None:
    q = DiagonalGaussian(torch.zeros(2, 1, 3), torch.zeros(4, 3))
    assert (q.batch_shape, q.loc.shape, q.log_var.shape) == ((2, 4), (2, 4, 3), (2, 4, 3))
    for q in (AffineGaussian(torch.ones(3), full_scale(3, (2, 4))), AffineGaussian(torch.ones(2, 4, 3), full_scale(3))):
        assert (q.batch_shape, q.loc.shape, q.scale.shape) == ((2, 4), (2, 4, 3), (2, 4, 3, 3))
        z = torch.randn(2, 4, 3)
        torch.testing.assert_close(q.log_prob(z), reference(q).log_prob(z))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("validate", [True, False])
def test_expand(kind: str, validate: bool) -> None:
    q = make(kind, 3, (2, 1))
    q._validate_args = validate
    wide = q.expand((4, 2, 5))
    assert type(wide) is type(q)
    assert wide._validate_args is validate
    assert (wide.batch_shape, wide.event_shape) == ((4, 2, 5), (3,))
    assert wide.rsample((6,)).shape == (6, 4, 2, 5, 3)
    z = torch.randn(4, 2, 5, 3)
    torch.testing.assert_close(wide.log_prob(z), q.log_prob(z))
    torch.testing.assert_close(kl_divergence(wide, q), torch.zeros(4, 2, 5))
    torch.testing.assert_close(wide.entropy(), q.entropy().expand(4, 2, 5))
    blank = type(q).__new__(type(q))  # how a subclass of torch's distributions asks for it
    assert q.expand((4, 2, 5), blank) is blank
    assert torch.equal(blank.loc, wide.loc)


# Singular matrices


def refused(matrix: Tensor, *, loc: Tensor | None = None) -> int:
    """How many of the matrices are refused, which must happen by every road to a density."""
    dim = matrix.shape[-1]
    loc = torch.zeros(dim, dtype=matrix.dtype) if loc is None else loc
    q = AffineGaussian(loc, matrix)
    prior, other = StandardNormal(dim, like=loc), DiagonalGaussian(loc, torch.ones_like(loc))
    roads: list[Callable[[], Tensor]] = [
        q.entropy,
        lambda: q.log_prob(loc),
        lambda: kl_divergence(q, prior),
        lambda: kl_divergence(q, other),
        lambda: kl_divergence(q, AffineGaussian(loc, torch.eye(dim, dtype=loc.dtype))),
        lambda: kl_divergence(prior, q),
        lambda: kl_divergence(AffineGaussian(loc, torch.eye(dim, dtype=loc.dtype)), q),
    ]
    (count,) = {refusals(road, matrix.shape[:-2].numel()) for road in roads}
    return count


def refusals(road: Callable[[], Tensor], cases: int) -> int:
    try:
        road()
    except ValueError as error:
        message = str(error)
    else:
        return 0
    found = re.match(rf"scale is singular in (\d+) of {cases} cases, so the distribution has no density", message)
    assert found, message
    assert message.endswith("it can be sampled, nothing else. Start encoders near the identity, never at zero")
    return int(found[1])


EXACTLY_SINGULAR = {
    "zero": [[0.0, 0.0], [0.0, 0.0]],
    "zero row": [[1.0, 2.0], [0.0, 0.0]],
    "zero column": [[0.0, 2.0], [0.0, 1.0]],
    "equal rows": [[1.0, 2.0], [1.0, 2.0]],
    "equal columns": [[3.0, 3.0], [2.0, 2.0]],
    "K=1": [[0.0]],
    "count": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]],
    "tiny": [[1e-30, 2e-30], [2e-30, 4e-30]],
}


@pytest.mark.parametrize("scale", EXACTLY_SINGULAR.values(), ids=EXACTLY_SINGULAR)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_is_sampled_and_nothing_else(scale: list[list[float]], dtype: torch.dtype) -> None:
    matrix = torch.tensor(scale, dtype=dtype)
    assert refused(matrix) == 1
    assert refused(torch.stack([torch.eye(len(scale), dtype=dtype), matrix, matrix])) == 2
    loc = torch.ones(len(scale), dtype=dtype)
    z = AffineGaussian(loc, matrix).sample((50,))
    left_null = torch.linalg.svd(matrix)[0][:, torch.linalg.matrix_rank(matrix) :]
    assert left_null.shape[-1] > 0
    assert ((z - loc) @ left_null).abs().max() <= 50 * torch.finfo(dtype).eps


def low_rank(dim: int, rank: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(200, dim, rank, dtype=dtype) @ torch.randn(200, rank, dim, dtype=dtype)


def dependent_rows(dim: int, dtype: torch.dtype) -> Tensor:
    matrix = torch.randn(200, dim, dim, dtype=dtype)
    matrix[:, -1:] = torch.randn(200, 1, dim - 1, dtype=dtype) @ matrix[:, :-1]
    return matrix


def units(*shape: int) -> Tensor:
    """Scales from e^-15 to e^15."""
    return torch.exp(30 * torch.rand(*shape, dtype=torch.float64) - 15)


@pytest.mark.parametrize("dim", [2, 3, 5, 10, 20, 50])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_singular_but_for_rounding_is_refused(dim: int, dtype: torch.dtype) -> None:
    row, column = units(200, dim, 1).to(dtype), units(200, 1, dim).to(dtype)
    families = {
        "outer product": low_rank(dim, 1, dtype),
        "half rank": low_rank(dim, dim // 2, dtype),
        "rank K - 1": low_rank(dim, dim - 1, dtype),
        "dependent rows": dependent_rows(dim, dtype),
        "dependent columns": dependent_rows(dim, dtype).mT,
        "outer product, rows in all units": low_rank(dim, 1, dtype) * row,
        "outer product, columns in all units": low_rank(dim, 1, dtype) * column,
    }
    assert {name: refused(matrix) for name, matrix in families.items()} == dict.fromkeys(families, 200)


@pytest.mark.parametrize("dim", [2, 3, 5, 10, 20, 50, 128])
def test_invertible_is_accepted_in_float32(dim: int) -> None:
    """Condition 1e6, or whatever condition comes from the units of the rows (standard deviations) or columns."""
    count = 200 if dim < 50 else 20
    one_small, one_large = torch.ones(dim), torch.full((dim,), 1e-6)
    one_small[-1], one_large[0] = 1e-6, 1
    left, right = orthogonal(dim, (count,)), orthogonal(dim, (count,))
    families = {
        "spread": with_condition(dim, 1e6, (count,)),
        "one small": left * one_small @ right,
        "one large": left * one_large @ right,
        "rows": full_scale(dim, (count,)) * units(count, dim, 1),
        "columns": full_scale(dim, (count,)) * units(count, 1, dim),
        "both": full_scale(dim, (count,)) * units(count, dim, 1) * units(count, 1, dim),
    }
    assert {name: refused(matrix.float()) for name, matrix in families.items()} == dict.fromkeys(families, 0)


@pytest.mark.parametrize("entry", [1e-300, -1e-300, 2.0, -2.0])
@pytest.mark.parametrize("which", [slice(None), slice(2, 3)], ids=["in all", "in one"])
def test_triangle_is_looked_at_in_every_matrix(entry: float, which: slice) -> None:
    scale_tril = torch.eye(3).repeat(2, 4, 1, 1)
    scale_tril[:, which, 1, 2] = entry
    with pytest.raises(ValueError, match="must be lower triangular"):
        CholeskyGaussian(torch.zeros(3), scale_tril)


def test_empty_batch_of_triangles() -> None:
    assert CholeskyGaussian(torch.zeros(0, 3), torch.zeros(0, 3, 3)).entropy().shape == (0,)


def test_units_as_far_apart_as_float32_allows() -> None:
    """Rows from 1e-30 to 1e30: regular, and of the same entropy as in float64."""
    exponents = torch.linspace(-30, 30, 7).unsqueeze(-1)
    scale = (torch.eye(7) + 0.1 * torch.randn(200, 7, 7)) * 10**exponents
    found = AffineGaussian(torch.zeros(7).float(), scale.float()).entropy()
    torch.testing.assert_close(found.double(), AffineGaussian(torch.zeros(7), scale).entropy(), rtol=0, atol=1e-3)


def test_columns_beyond_float32_are_not_wrong_in_silence() -> None:
    """Columns from 1e-25 to 1e25 can leave S^-T no room: what is not refused must be right."""
    scale = (3 * torch.eye(6) + torch.randn(500, 6, 6)) * 10 ** (50 * torch.rand(500, 1, 6) - 25)
    rows, largest = equilibrate(scale.float())
    log_det, gradient = log_det_and_gradient(rows)
    found = log_det + largest.log().sum((-2, -1))
    right = (found.double() - torch.linalg.slogdet(scale).logabsdet).abs() < 1e-2
    assert (right | ~is_resolved(rows, gradient)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_singularity_is_told_at_eight_roundings(dtype: torch.dtype, size: float) -> None:
    """[[1, 1], [1, 1 + d]] becomes singular when both entries of a row change by the relative amount d / (2 + d)."""
    eps = torch.finfo(dtype).eps
    for roundings, expected in ((12, 1), (15, 1), (17, 0), (24, 0)):
        matrix = torch.tensor([[1, 1], [1, 1 + roundings * eps]], dtype=dtype) * size
        assert refused(matrix) == expected
        assert refused(matrix * torch.tensor([1e6, 1e-6], dtype=dtype)) == expected
        assert refused(matrix * torch.tensor([[1e6], [1e-6]], dtype=dtype)) == expected


def test_rows_and_columns_both_count() -> None:
    """All rows and columns of this matrix add up to 0, so with d added to one entry its inverse is nearly 1 / d.

    The first row then has the sum of gains 4 / d, while no column has more than 2.5 / d.
    """
    matrix = torch.tensor([[1.0, 1.0, -1.0, -1.0], [-1.25, 0.25, 1.0, 0.0], [0.0, -1.0, 0.0, 1.0], [0.25, -0.25, 0, 0]])
    for roundings, expected in ((26, 1), (42, 0)):
        near = matrix.clone()
        near[0, 0] += roundings * torch.finfo(torch.float64).eps
        assert refused(near) == refused(near.mT) == expected


@pytest.mark.parametrize("dim", [1, 3])
def test_singular_cholesky(dim: int) -> None:
    tril = torch.eye(dim)
    tril[-1, -1] = 0
    loc = torch.zeros(dim)
    q = CholeskyGaussian(loc, torch.stack([tril, torch.eye(dim)]))
    assert not (q.sample((10,))[:, 0, -1]).any()
    roads: list[Callable[[], Tensor]] = [
        q.entropy,
        lambda: q.log_prob(loc),
        lambda: kl_divergence(q, StandardNormal(dim)),
        lambda: kl_divergence(StandardNormal(dim), q),
    ]
    for road in roads:
        with pytest.raises(ValueError, match=r"^scale_tril is singular in 1 of 2 cases"):
            road()
    tril[-1, -1] = -1e-300
    assert CholeskyGaussian(loc, tril).entropy().isfinite()


def test_without_validation_singular_is_not_looked_for() -> None:
    q = AffineGaussian(torch.zeros(2), torch.zeros(2, 2), validate_args=False)
    tril = CholeskyGaussian(torch.zeros(2), torch.zeros(2, 2), validate_args=False)
    for entropy in (q.entropy(), tril.entropy(), q.expand((3,)).entropy()[0]):
        assert entropy == -math.inf
    tril.log_prob(torch.zeros(2))  # NaN, and no error


# float32, against float64 from the same float32 parameters

EPS32 = torch.finfo(torch.float32).eps


def double(q: Any) -> Any:
    match q:
        case StandardNormal():
            return StandardNormal(q.event_shape[0])
        case DiagonalGaussian():
            return DiagonalGaussian(q.loc.double(), q.log_var.double())
        case CholeskyGaussian():
            return CholeskyGaussian(q.loc.double(), q.scale_tril.double())
    return AffineGaussian(q.loc.double(), q.scale.double())


@pytest.mark.parametrize("sign_q", [-1, 1])
@pytest.mark.parametrize("sign_p", [-1, 1])
def test_float32_at_extreme_log_variances(sign_q: int, sign_p: int) -> None:
    """Every formula is a sum of few terms each exact to a few roundings: so is the sum, relative to the largest."""
    loc = torch.randn(100, 4, dtype=torch.float32)
    q = DiagonalGaussian(loc, torch.full_like(loc, sign_q * 30.0))
    p = DiagonalGaussian(torch.randn_like(loc), torch.full_like(loc, sign_p * 30.0))
    for prior in (p, StandardNormal(4, like=loc)):
        exact = kl_divergence(double(q), double(prior))
        assert ((kl_divergence(q, prior) - exact).abs() <= 8 * EPS32 * (exact.abs() + 60)).all()
    z = q.sample()
    exact = double(q).log_prob(z.double())
    size = ((z.double() - loc.double()) / double(q).stddev).square().sum(-1) + 4 * 30
    assert ((q.log_prob(z) - exact).abs() <= 8 * EPS32 * size).all()
    assert ((q.entropy() - double(q).entropy()).abs() <= 8 * EPS32 * 4 * 30).all()
    affine = AffineGaussian(loc, torch.diag_embed(q.stddev))
    assert ((kl_divergence(affine, q)).abs() <= 8 * EPS32 * 4 * 30).all()
    torch.testing.assert_close(kl_divergence(affine, p), kl_divergence(q, p), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dim", [10, 20, 50])
def test_float32_where_a_cholesky_factorisation_fails(dim: int) -> None:
    """At cond(S) = 1e6 the covariance has condition 1e12, which float32 cannot hold; S serves as it is.

    An elimination is exact for entries changed by a rounding or so each. Such changes move log|det S| by at most one
    rounding times the sum of |S_ij (S^-1)_ij|, and S^-1 S_p, S^-1 (z - mu) by cond(S) roundings relative to their size.
    """
    scale = with_condition(dim, 1e6, (50,)).float()
    loc = torch.randn(50, dim, dtype=torch.float32)
    for matrix in scale:
        with pytest.raises((ValueError, RuntimeError), match=r"PositiveDefinite|not positive-definite"):
            MultivariateNormal(loc[0], matrix @ matrix.mT)
    q, exact = AffineGaussian(loc, scale), double(AffineGaussian(loc, scale))
    log_det_bound = EPS32 * (scale.double() * torch.linalg.inv(scale.double()).mT).abs().sum((-2, -1))
    rounding = 8 * EPS32 * dim * math.log(1e6)  # of the terms themselves, each below dim log(1e6)
    assert log_det_bound.max() < 0.5
    assert ((q.entropy() - exact.entropy()).abs() <= log_det_bound + rounding).all()

    prior, exact_prior = StandardNormal(dim, like=loc), StandardNormal(dim)
    error = kl_divergence(q, prior) - kl_divergence(exact, exact_prior)
    assert (error.abs() <= log_det_bound + rounding).all()

    z = q.sample()
    error = q.log_prob(z) - exact.log_prob(z.double())
    white = torch.linalg.solve(exact.scale, (z.double() - loc.double()).unsqueeze(-1)).square().sum((-2, -1))
    assert (error.abs() <= EPS32 * 1e6 * white + log_det_bound + rounding).all()

    far = kl_divergence(exact_prior, exact)  # about cond^2
    assert ((kl_divergence(prior, q) - far).abs() <= 2 * EPS32 * 1e6 * far).all()

    tril = torch.linalg.qr(scale.double().mT)[1].mT.contiguous().float()  # the same law, but for one rounding
    error = CholeskyGaussian(loc, tril).entropy() - double(CholeskyGaussian(loc, tril)).entropy()
    assert (error.abs() <= rounding).all()


def test_float32_keeps_its_digits_in_any_units() -> None:
    """Units of the rows cost nothing, and no units cost the entropy anything: the error is roundings of the terms.

    (Columns of very different size make a thin law, whose density says nothing about points known to 7 digits.)
    """
    base, loc = full_scale(10, (50,)), torch.zeros(50, 10, dtype=torch.float32)
    for scale in (base * units(50, 10, 1), base * units(50, 1, 10), base * units(50, 10, 1) * units(50, 1, 10)):
        q = AffineGaussian(loc, scale.float())
        assert ((q.entropy() - double(q).entropy()).abs() <= 4 * EPS32 * 10 * 30).all()
    q = AffineGaussian(loc, (base * units(50, 10, 1)).float())
    z = q.sample()
    assert ((q.log_prob(z) - double(q).log_prob(z.double())).abs() <= 4 * EPS32 * 10 * 30).all()


@pytest.mark.parametrize("unit", [1.0, 1e-20])
def test_units_of_rows_do_not_choose_the_pivots(unit: float) -> None:
    """1e-17 a + b = 1, a + b = 2: starting with the first equation, as its units are large, gives a = 0."""
    scale = unit * torch.tensor([[1e3, 1e20], [1.0, 1.0]])
    log_prob = AffineGaussian(torch.zeros(2), scale).log_prob(unit * torch.tensor([1e20, 2.0]))
    assert log_prob.item() == pytest.approx(-(1 + 1) / 2 - math.log(2 * math.pi) - math.log(1e20) - 2 * math.log(unit))


# Properties

SEEDS = st.integers(0, 2**32)
DTYPES = st.sampled_from([torch.float32, torch.float64])
SHAPES = st.lists(st.integers(1, 3), max_size=2).map(tuple)
DIMS = st.integers(1, 6)


@given(st.sampled_from(KINDS), DIMS, SHAPES, SHAPES, DTYPES, SEEDS)
def test_shapes(kind: str, dim: int, batch: Any, sample: Any, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    q = make(kind, dim, batch, dtype)
    z = q.rsample(sample)
    assert z.shape == sample + batch + (dim,)
    assert q.log_prob(z).shape == sample + batch
    assert q.entropy().shape == q.batch_shape == batch
    assert q.scale.shape == q.covariance_matrix.shape == (*batch, dim, dim)
    assert q.expand(sample + batch).log_prob(z).shape == sample + batch
    assert z.dtype == q.log_prob(z).dtype == q.entropy().dtype == q.scale.dtype == dtype


@given(st.sampled_from(KINDS), st.sampled_from(KINDS), DIMS, SHAPES, DTYPES, SEEDS)
def test_divergence_is_positive_and_zero_on_itself(
    kind_q: str, kind_p: str, dim: int, batch: Any, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    q, p = make(kind_q, dim, batch, dtype), make(kind_p, dim, batch, dtype)
    tolerance = 50 * dim * torch.finfo(dtype).eps
    assert kl_divergence(q, p).shape == batch
    assert (kl_divergence(q, p) >= -tolerance).all()
    assert (kl_divergence(q, q).abs() <= tolerance).all()
    if "standard" not in (kind_q, kind_p) or kind_q != kind_p:
        assert (kl_divergence(q, p) > tolerance).all()


@given(DIMS, SHAPES, st.sampled_from(KINDS), SEEDS)
def test_only_the_law_counts(dim: int, batch: Any, other: str, seed: int) -> None:
    """S and S Q, with Q orthogonal, give the same law; so does the Cholesky factor of S S^T."""
    torch.manual_seed(seed)
    q, p = make("affine", dim, batch), make(other, dim, batch)
    turned = AffineGaussian(q.loc, q.scale @ orthogonal(dim, batch))
    tril = CholeskyGaussian(q.loc, torch.linalg.cholesky(q.covariance_matrix))
    z = torch.randn(*batch, dim)
    for same in (turned, tril):
        torch.testing.assert_close(same.log_prob(z), q.log_prob(z), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(same.entropy(), q.entropy(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(kl_divergence(same, p), kl_divergence(q, p), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(kl_divergence(p, same), kl_divergence(p, q), rtol=1e-9, atol=1e-9)


@given(st.sampled_from(["affine", "cholesky"]), st.sampled_from(["affine", "cholesky"]), DIMS, DIMS, SHAPES, SEEDS)
def test_independent_blocks_add_up(kind_q: str, kind_p: str, first: int, second: int, batch: Any, seed: int) -> None:
    torch.manual_seed(seed)

    def join(a: Any, b: Any) -> AffineGaussian:
        scale = torch.zeros(*batch, first + second, first + second)
        scale[..., :first, :first], scale[..., first:, first:] = a.scale, b.scale
        return AffineGaussian(torch.cat([a.loc, b.loc], -1), scale)

    q1, q2 = make(kind_q, first, batch), make(kind_q, second, batch)
    p1, p2 = make(kind_p, first, batch), make(kind_p, second, batch)
    together = kl_divergence(join(q1, q2), join(p1, p2))
    torch.testing.assert_close(together, kl_divergence(q1, p1) + kl_divergence(q2, p2), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(join(q1, q2).entropy(), q1.entropy() + q2.entropy(), rtol=1e-9, atol=1e-9)


@given(st.sampled_from(["diagonal", "affine", "cholesky"]), DIMS, SHAPES, st.floats(-20, 20), SEEDS)
def test_entropy_grows_by_log_of_the_unit(kind: str, dim: int, batch: Any, log_unit: float, seed: int) -> None:
    """Measuring z in units e^-u adds K u to the entropy, and the same map of both laws leaves a divergence alone."""
    torch.manual_seed(seed)

    def stretch(q: Any) -> Any:
        unit = math.exp(log_unit)
        if isinstance(q, DiagonalGaussian):
            return DiagonalGaussian(q.loc * unit, q.log_var + 2 * log_unit)
        return type(q)(q.loc * unit, q.scale * unit)

    q, p = make(kind, dim, batch), make("diagonal", dim, batch)
    torch.testing.assert_close(stretch(q).entropy(), q.entropy() + dim * log_unit, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(kl_divergence(stretch(q), stretch(p)), kl_divergence(q, p), rtol=1e-9, atol=1e-9)


# Bad input

V2, V3, M3, NAN, INF = torch.zeros(2), torch.zeros(3), torch.eye(3), float("nan"), float("inf")
BAD_ARGUMENTS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "loc list": (lambda: DiagonalGaussian([0.0], V3), TypeError, "^loc must be a tensor, but is a list"),  # type: ignore[arg-type]
    "loc integers": (lambda: DiagonalGaussian(V3.long(), V3), TypeError, "^loc must be floating point"),
    "loc scalar": (
        lambda: DiagonalGaussian(V3[0], V3),
        ValueError,
        r"^loc must have shape \(\.\.\., K\) .* shape \(\)",
    ),
    "loc empty": (lambda: DiagonalGaussian(V3[:0], V3[:0]), ValueError, r"^loc must have shape .* shape \(0,\)"),
    "loc NaN": (lambda: DiagonalGaussian(V3 * NAN, V3), ValueError, "loc must be finite"),
    "loc infinite": (lambda: DiagonalGaussian(V3 + INF, V3), ValueError, "^loc must be finite"),
    "log_var list": (lambda: DiagonalGaussian(V3, [0.0]), TypeError, "^log_var must be a tensor"),  # type: ignore[arg-type]
    "log_var integers": (lambda: DiagonalGaussian(V3, V3.int()), TypeError, "^log_var must be floating point"),
    "log_var scalar": (lambda: DiagonalGaussian(V3, V3[0]), ValueError, r"^log_var must have shape \(\.\.\., K\)"),
    "log_var shape": (
        lambda: DiagonalGaussian(V3, V2),
        ValueError,
        r"^loc and log_var must broadcast, but have shapes \(3,\) and \(2,\)$",
    ),
    "log_var dtype": (
        lambda: DiagonalGaussian(V3.double(), V3.float()),
        TypeError,
        "^log_var must have the dtype and device of loc, torch.float64 on cpu, but has torch.float32 on cpu: convert",
    ),
    "log_var device": (lambda: DiagonalGaussian(V3, V3.to("meta")), TypeError, "^log_var must .* on meta"),
    "log_var NaN": (lambda: DiagonalGaussian(V3, V3 * NAN), ValueError, "log_var must be finite"),
    "log_var infinite": (lambda: DiagonalGaussian(V3, V3 - INF), ValueError, "^log_var must be finite"),
    "latent_dim 0": (lambda: StandardNormal(0), ValueError, "^latent_dim must be an integer of at least 1, but is 0"),
    "latent_dim 2.0": (lambda: StandardNormal(2.0), ValueError, "^latent_dim must be an integer"),  # type: ignore[arg-type]
    "like integers": (lambda: StandardNormal(2, like=V3.long()), TypeError, "^like must be floating point"),
    "like list": (lambda: StandardNormal(2, like=[1.0]), TypeError, "^like must be a tensor"),  # type: ignore[arg-type]
    "affine loc": (lambda: AffineGaussian([0.0], M3), TypeError, "^loc must be a tensor"),  # type: ignore[arg-type]
    "affine loc NaN": (lambda: AffineGaussian(V3 * NAN, M3), ValueError, "loc must be finite"),
    "affine loc infinite": (lambda: AffineGaussian(V3 - INF, M3), ValueError, "^loc must be finite"),
    "scale list": (lambda: AffineGaussian(V3, [[1.0]]), TypeError, "^scale must be a tensor"),  # type: ignore[arg-type]
    "scale integers": (lambda: AffineGaussian(V3, M3.long()), TypeError, "^scale must be floating point"),
    "scale dtype": (lambda: AffineGaussian(V3.double(), M3.float()), TypeError, "^scale must have the dtype .* of loc"),
    "scale vector": (
        lambda: AffineGaussian(V3, V3),
        ValueError,
        r"^scale must have shape \(\.\.\., 3, 3\) to go with loc of shape \(3,\), but has shape \(3,\)$",
    ),
    "scale shape": (
        lambda: AffineGaussian(V3, M3[:, :2]),
        ValueError,
        r"^scale must have shape .* has shape \(3, 2\)$",
    ),
    "scale batch": (
        lambda: AffineGaussian(torch.zeros(2, 3), torch.zeros(4, 3, 3)),
        ValueError,
        r"^the batch dimensions of loc \(2, 3\) and scale \(4, 3, 3\) must broadcast$",
    ),
    "scale NaN": (lambda: AffineGaussian(V3, M3 * NAN), ValueError, "scale must be finite"),
    "scale infinite": (lambda: AffineGaussian(V3, M3 + INF), ValueError, "^scale must be finite"),
    "scale_tril list": (lambda: CholeskyGaussian(V3, [[1.0]]), TypeError, "^scale_tril must be a tensor"),  # type: ignore[arg-type]
    "scale_tril loc": (lambda: CholeskyGaussian(V3[0], M3), ValueError, "^loc must have shape"),
    "scale_tril shape": (lambda: CholeskyGaussian(V3, M3[:2]), ValueError, "^scale_tril must have shape"),
    "scale_tril dtype": (
        lambda: CholeskyGaussian(V3.double(), M3.float()),
        TypeError,
        "^scale_tril must have the dtype",
    ),
    "scale_tril full": (
        lambda: CholeskyGaussian(V3, M3 + 1),
        ValueError,
        "scale_tril must be lower triangular.*AffineGaussian",
    ),
    "scale_tril last corner": (
        lambda: CholeskyGaussian(V3, M3 + 1e-30 * M3.roll(1, 1)),
        ValueError,
        "must be lower triangular",
    ),
    "scale_tril NaN": (lambda: CholeskyGaussian(V3, M3 * NAN), ValueError, "scale_tril must be finite"),
    "scale_tril infinite": (
        lambda: CholeskyGaussian(V3, torch.diag(V3 + INF)),
        ValueError,
        "^scale_tril must be finite",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS)
def test_bad_arguments(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.compile(message, re.DOTALL)):
        call()


BAD_VALUES: dict[str, tuple[Any, type[Exception], str]] = {
    "list": ([0.0, 0.0, 0.0], TypeError, "^value must be a tensor, but is a list"),
    "integers": (torch.zeros(3, dtype=torch.long), TypeError, "^value must be floating point"),
    "float16": (torch.zeros(3, dtype=torch.float16), TypeError, "^value must have the dtype and device of loc"),
    "scalar": (torch.tensor(0.0), ValueError, r"^value must have shape \(\.\.\., 3\), but has shape \(\)$"),
    "K": (torch.zeros(2, 4), ValueError, r"^value must have shape \(\.\.\., 3\), but has shape \(2, 4\)$"),
    "batch": (torch.zeros(5, 3), ValueError, "^Value is not broadcastable"),
    "NaN": (torch.full((3,), NAN), ValueError, "^value must be finite"),
    "infinite": (torch.full((3,), INF), ValueError, "^value must be finite"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("value", "error", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_values(kind: str, value: Any, error: type[Exception], message: str) -> None:
    q = make(kind, 3, (2,))
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        value = value.double()  # made before the default was set
    with pytest.raises(error, match=message):
        q.log_prob(value)


@pytest.mark.parametrize(("kind_q", "kind_p"), PAIRS)
def test_divergence_between_different_spaces(kind_q: str, kind_p: str) -> None:
    with pytest.raises(ValueError, match=r"^q and p must have the same K, but q has 3 and p has 2$"):
        kl_divergence(make(kind_q, 3), make(kind_p, 2))
    with pytest.raises(ValueError, match=r"^the batch shapes of q \(2,\) and p \(5,\) must broadcast$"):
        kl_divergence(make(kind_q, 3, (2,)), make(kind_p, 3, (5,)))
    with pytest.raises(TypeError, match=r"^p must have the dtype and device of q, torch.float64 .* has torch.float32"):
        kl_divergence(make(kind_q), make(kind_p, dtype=torch.float32))


def test_support() -> None:
    for kind in KINDS:
        q = make(kind)
        assert q.support.check(torch.tensor([0.0, -1e300, 3.0]))
        assert q.support.event_dim == 1
        assert q.has_rsample is True


def test_unregistered_divergence_is_refused() -> None:
    with pytest.raises(NotImplementedError):
        kl_divergence(make("affine"), MultivariateNormal(torch.zeros(3), torch.eye(3)))


@pytest.mark.parametrize("kind", KINDS)
def test_validation_can_be_switched_off(kind: str) -> None:
    nan, scale = torch.full((3,), NAN), torch.full((3, 3), NAN)
    made: dict[str, Callable[[], Distribution]] = {
        "diagonal": lambda: DiagonalGaussian(nan, nan, validate_args=False),
        "standard": lambda: StandardNormal(3, validate_args=False),
        "affine": lambda: AffineGaussian(nan, scale, validate_args=False),
        "cholesky": lambda: CholeskyGaussian(nan, scale, validate_args=False),
    }
    q = made[kind]()
    for same in (q, q.expand((2,))):
        assert same.log_prob(nan).isnan().all()
        assert same._validate_args is False
