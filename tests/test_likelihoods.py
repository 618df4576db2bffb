"""The likelihoods against torch's own, quadrature in 40 digits, Monte Carlo and numerical derivatives."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor
from torch.autograd import grad, gradcheck
from torch.distributions import Independent
from torch.nn.functional import binary_cross_entropy_with_logits

from vaelib.likelihoods import Bernoulli, ContinuousBernoulli

mpmath.mp.dps = 40
EPS32, EPS64 = torch.finfo(torch.float32).eps, torch.finfo(torch.float64).eps
SIZES = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 0.1, 0.19999, 0.2, 0.20001, 1.0, 5.0, 20.0, 50.0, 500.0)
LOGITS = (0.0, *SIZES, *(-size for size in SIZES))
LIKELIHOODS = {
    "Bernoulli": Bernoulli,
    "grey Bernoulli": lambda logits, **options: Bernoulli(logits, grey=True, **options),
    "ContinuousBernoulli": ContinuousBernoulli,
}


def binary(*shape: int) -> Tensor:
    return torch.randint(2, shape).to(torch.get_default_dtype())


# Bernoulli


@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_bernoulli_equals_torch(batch: tuple[int, ...]) -> None:
    logits = torch.randn(*batch, 6) * 3
    ours, theirs = Bernoulli(logits), Independent(torch.distributions.Bernoulli(logits=logits), 1)
    x = binary(5, *batch, 6)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.mean, theirs.mean)
    torch.testing.assert_close(ours.variance, theirs.variance)
    torch.testing.assert_close(ours.stddev, theirs.stddev)


def test_bernoulli_probabilities_add_up_to_one() -> None:
    outcomes = torch.tensor(list(product([0.0, 1.0], repeat=3)))
    total = Bernoulli(torch.randn(4, 1, 3) * 2).log_prob(outcomes).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones(4))


def test_bernoulli_refuses_grey() -> None:
    x = torch.tensor([[0.0, 1.0, 1.0, 0.0], [1.0, 0.25, 0.0, 0.75]])
    message = (
        "value must be 0 or 1 under a Bernoulli likelihood, but is 0.25 at (1, 1), and 25.0% of its pixels are grey: "
        "binarise the images, use ContinuousBernoulli, or ask for the cross-entropy by name with grey=True"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Bernoulli(torch.zeros(4)).log_prob(x)
    assert Bernoulli(torch.zeros(4), validate_args=False).log_prob(x).shape == (2,)


def test_grey_is_minus_the_cross_entropy_and_the_expected_binary_log_probability() -> None:
    logits, x = torch.randn(3, 4) * 2, torch.rand(3, 4)
    grey = Bernoulli(logits, grey=True).log_prob(x)
    cross_entropy = binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    torch.testing.assert_close(grey, -cross_entropy)
    outcomes = torch.tensor(list(product([0.0, 1.0], repeat=4))).unsqueeze(1)
    weights = torch.where(outcomes == 1, x, 1 - x).prod(-1)
    torch.testing.assert_close(grey, (weights * Bernoulli(logits).log_prob(outcomes)).sum(0))


@pytest.mark.parametrize("logit", [50.0, -50.0, 500.0, -500.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bernoulli_at_extreme_logits(logit: float, dtype: torch.dtype) -> None:
    logits = torch.full((2, 1), logit, dtype=dtype, requires_grad=True)
    x = torch.tensor([[0.0], [1.0]], dtype=dtype)
    q = Bernoulli(logits)
    exact = torch.tensor([-max(logit, 0.0), min(logit, 0.0)], dtype=dtype)  # but for e^-50
    torch.testing.assert_close(q.log_prob(x), exact, rtol=0, atol=1e-20)
    (gradient,) = grad(q.log_prob(x).sum(), logits)
    torch.testing.assert_close(gradient, x - float(logit > 0), rtol=0, atol=1e-20)
    entropy = q.entropy()
    (gradient,) = grad(entropy.sum(), logits)
    expected = math.exp(-abs(logit)) * (1 + abs(logit))
    torch.testing.assert_close(entropy, torch.full((2,), expected, dtype=dtype), rtol=1e-5, atol=0)
    assert gradient.isfinite().all()
    assert q.mean.isfinite().all()
    torch.testing.assert_close(
        q.variance, torch.full((2, 1), math.exp(-abs(logit)), dtype=dtype), rtol=1e-4, atol=1e-44
    )


def test_bernoulli_gradients() -> None:
    logits = (torch.randn(2, 3) * 3).requires_grad_()
    x = torch.rand(2, 3, requires_grad=True)
    assert gradcheck(lambda logits, x: Bernoulli(logits, grey=True).log_prob(x), (logits, x))
    assert gradcheck(lambda logits: Bernoulli(logits).entropy(), logits)
    (slope,) = grad(Bernoulli(logits, grey=True).log_prob(x).sum(), logits)
    torch.testing.assert_close(slope, x - torch.sigmoid(logits))
    (slope,) = grad(Bernoulli(logits).entropy().sum(), logits)
    torch.testing.assert_close(slope, -logits * torch.sigmoid(logits) * torch.sigmoid(-logits))


def test_bernoulli_draws() -> None:
    logits = torch.tensor([[-2.0, 0.0], [1.0, 3.0]], requires_grad=True)
    x = Bernoulli(logits).sample((50_000,))
    assert x.shape == (50_000, 2, 2)
    assert not x.requires_grad
    assert set(x.unique().tolist()) == {0.0, 1.0}
    p = torch.sigmoid(logits)
    assert ((x.mean(0) - p).abs() <= 4 * (p * (1 - p) / len(x)).sqrt()).all()
    assert Bernoulli.has_rsample is False
    with pytest.raises(NotImplementedError):
        Bernoulli(logits).rsample()


def test_expand_keeps_grey() -> None:
    x = torch.full((3,), 0.5)
    Bernoulli(torch.zeros(3), grey=True).expand((2,)).log_prob(x)
    with pytest.raises(ValueError, match="grey=True"):
        Bernoulli(torch.zeros(3)).expand((2,)).log_prob(x)


# Continuous Bernoulli: the truth is quadrature of e^(eta x) in 40 digits


class Truth(NamedTuple):
    log_normaliser: float
    mean: float
    variance: float
    entropy: float


def truth(logit: float) -> Truth:
    eta, shift = mpmath.mpf(logit), mpmath.mpf(max(logit, 0.0))
    nodes = [mpmath.mpf(i) / 32 for i in range(33)] if abs(logit) > 5 else [0, 1]

    def integral(f: Callable[[Any], Any]) -> Any:
        return mpmath.quad(lambda x: f(x) * mpmath.exp(eta * x - shift), nodes)

    size = integral(lambda x: 1)
    mean = integral(lambda x: x) / size
    variance = integral(lambda x: (x - mean) ** 2) / size
    log_normaliser = mpmath.log(size) + shift
    entropy = -integral(lambda x: eta * x - log_normaliser) / size
    return Truth(*map(float, (log_normaliser, mean, variance, entropy)))


TRUTHS = {logit: truth(logit) for logit in LOGITS}


@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_by_quadrature(logit: float) -> None:
    """To a few roundings, but for the variance at 0.2, where 1 / eta^2 = 25 takes 300 of them."""
    q, exact = ContinuousBernoulli(torch.tensor([logit])), TRUTHS[logit]
    assert q.log_normaliser().item() == pytest.approx(exact.log_normaliser, rel=20 * EPS64, abs=0)
    assert q.mean.item() == pytest.approx(exact.mean, rel=20 * EPS64, abs=0)
    assert q.variance.item() == pytest.approx(exact.variance, rel=1000 * EPS64, abs=0)
    assert q.entropy().item() == pytest.approx(exact.entropy, rel=0, abs=4 * EPS64 * max(abs(logit), 0.2))
    assert q.stddev.item() == pytest.approx(math.sqrt(exact.variance))
    for x in (0.0, 0.3, 1.0):
        expected = logit * x - exact.log_normaliser
        assert q.log_prob(torch.tensor([x])).item() == pytest.approx(expected, abs=4 * EPS64 * (1 + abs(logit)))


@pytest.mark.parametrize("logit", [logit for logit in LOGITS if abs(logit) <= 50])
def test_continuous_bernoulli_in_float32(logit: float) -> None:
    """The same formulas, so the same bounds in roundings of float32."""
    logits = torch.tensor([logit], dtype=torch.float32)
    exact = ContinuousBernoulli(logits.double())
    q = ContinuousBernoulli(logits)
    results = (q.log_normaliser(), q.mean, q.variance, q.entropy(), q.log_prob(logits.sigmoid()))
    assert {r.dtype for r in results} == {torch.float32}
    assert q.log_normaliser().item() == pytest.approx(exact.log_normaliser().item(), rel=20 * EPS32, abs=0)
    assert q.mean.item() == pytest.approx(exact.mean.item(), rel=20 * EPS32, abs=0)
    assert q.variance.item() == pytest.approx(exact.variance.item(), rel=1000 * EPS32, abs=0)
    assert q.entropy().item() == pytest.approx(exact.entropy().item(), abs=4 * EPS32 * (1 + abs(logit)))
    x = logits.sigmoid()
    expected = exact.log_prob(x.double()).item()
    assert q.log_prob(x).item() == pytest.approx(expected, abs=4 * EPS32 * (1 + abs(logit)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_overflows(dtype: torch.dtype) -> None:
    """In value or in gradient, at logits where e^eta, eta^8 or sinh(eta) would."""
    sizes = torch.tensor([0.0, 1e-30, 1e-3, 0.1, 1.0, 90.0, 200.0, 800.0, 1e6, 1e10], dtype=dtype)
    logits = torch.cat([-sizes, sizes]).requires_grad_()
    q = ContinuousBernoulli(logits)
    for result in (
        q.log_normaliser(),
        q.mean,
        q.variance,
        q.entropy(),
        q.rsample(),
        q.log_prob(torch.rand_like(logits)),
    ):
        assert result.isfinite().all()
        assert grad(result.sum(), logits, retain_graph=True)[0].isfinite().all()


@pytest.mark.parametrize("logit", LOGITS)
def test_derivatives_of_the_normaliser(logit: float) -> None:
    """A' is the mean and A'' the variance, whichever branch or series they come from."""
    logits = torch.tensor([logit], requires_grad=True)
    q = ContinuousBernoulli(logits)
    (first,) = grad(q.log_normaliser().sum(), logits, create_graph=True)
    (second,) = grad(first.sum(), logits)
    assert first.item() == pytest.approx(TRUTHS[logit].mean, abs=20 * EPS64)
    assert second.item() == pytest.approx(TRUTHS[logit].variance, abs=1000 * EPS64)
    (slope,) = grad(q.mean.sum(), logits, retain_graph=True)
    assert slope.item() == pytest.approx(TRUTHS[logit].variance, abs=1000 * EPS64)
    (slope,) = grad(q.entropy().sum(), logits)
    assert slope.item() == pytest.approx(-logit * TRUTHS[logit].variance, abs=1000 * EPS64)


def test_continuous_bernoulli_gradients() -> None:
    logits = torch.tensor(LOGITS).requires_grad_()
    x = torch.rand(len(LOGITS), requires_grad=True)
    assert gradcheck(lambda logits, x: ContinuousBernoulli(logits).log_prob(x), (logits, x))
    for name in ("mean", "variance"):
        assert gradcheck(lambda logits, name=name: getattr(ContinuousBernoulli(logits), name), logits)
    assert gradcheck(lambda logits: ContinuousBernoulli(logits).entropy(), logits)


@pytest.mark.parametrize("logit", [-5.0, -1.0, -0.5, 0.5, 1.0, 5.0])
def test_continuous_bernoulli_equals_torch_away_from_one_half(logit: float) -> None:
    logits = torch.full((2, 3), logit)
    ours, theirs = ContinuousBernoulli(logits), Independent(torch.distributions.ContinuousBernoulli(logits=logits), 1)
    x = torch.rand(4, 2, 3)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.entropy(), theirs.entropy(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.mean, theirs.mean, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.variance, theirs.variance, rtol=1e-10, atol=1e-10)


def cdf(x: Any, logit: float) -> Any:
    """P(X <= x) = (e^(eta x) - 1) / (e^eta - 1), in the form that does not overflow."""
    x = torch.as_tensor(x)
    if logit == 0:
        return x.numpy()
    if logit > 0:
        return (1 - cdf(1 - x, -logit)).clip(0, 1)
    return (torch.expm1(logit * x) / math.expm1(logit)).numpy()


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_continuous_bernoulli_draws(logit: float, dtype: torch.dtype) -> None:
    q = ContinuousBernoulli(torch.tensor([logit], dtype=dtype))
    x = q.sample((20_000,))
    assert x.dtype == dtype
    assert ((x >= 0) & (x <= 1)).all()
    four_errors = 6.3e-5
    assert kstest(x.double().flatten().numpy(), lambda x: cdf(x, logit)).pvalue > four_errors
    assert abs(x.double().mean().item() - TRUTHS[logit].mean) <= 4 * math.sqrt(TRUTHS[logit].variance / len(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_of_draws(dtype: torch.dtype) -> None:
    """By the implicit function theorem on F(x; eta) = u: dx / d eta = -(dF / d eta) / p(x), in 40 digits.

    The draws x themselves must also solve F(x; eta) = u. The error of the gradient is largest where the series takes
    over, at |eta| = eps^(1/3), and eps^(2/3) there.
    """
    tolerance = 2 * torch.finfo(dtype).eps ** (2 / 3)
    logits = torch.tensor([*LOGITS, 3e-3, -3e-3, 1e-2, -1e-2], dtype=dtype, requires_grad=True)
    torch.manual_seed(3)
    x = ContinuousBernoulli(logits).rsample((20,))
    torch.manual_seed(3)
    u = torch.rand(20, len(logits), dtype=dtype)
    for j, eta in enumerate(map(mpmath.mpf, logits.tolist())):
        for i in range(20):
            point = mpmath.mpf(x[i, j].item())
            slope = grad(x[i, j], logits, retain_graph=True)[0][j].item()
            if eta == 0:
                assert point == u[i, j].item()
                expected = point * (1 - point) / 2
            else:
                bulk = mpmath.expm1(eta * point) / mpmath.expm1(eta)
                density = eta * mpmath.exp(eta * point) / mpmath.expm1(eta)
                rounding = 8 * torch.finfo(dtype).eps * float(1 + density)  # of x, seen through F
                assert float(bulk) == pytest.approx(u[i, j].item(), abs=rounding)
                expected = -(point * mpmath.exp(eta * point) - bulk * mpmath.exp(eta)) / mpmath.expm1(eta) / density
            assert slope == pytest.approx(float(expected), rel=tolerance, abs=tolerance / (1 + abs(float(eta))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_ends_of_the_unit_interval_are_harmless(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.rand returns 0 once in 2^24 float32 draws, which is every few minutes of training."""
    logits = torch.tensor(LOGITS, dtype=dtype).requires_grad_()
    for uniform in (0.0, 1 - torch.finfo(dtype).eps / 2):
        monkeypatch.setattr(torch, "rand", lambda *_, value=uniform, **__: torch.full_like(logits, value))
        x = ContinuousBernoulli(logits).rsample()
        assert ((x >= 0) & (x <= 1)).all()
        assert grad(x.sum(), logits)[0].isfinite().all()
        near_end = x[logits.abs() <= 5] < 1e-5 if uniform == 0 else x[logits.abs() <= 5] > 1 - 1e-5
        assert near_end.all()
        assert x[0] == max(uniform, torch.finfo(dtype).eps / 2)  # logit 0


# What both share


def test_supports() -> None:
    assert Bernoulli.support.check(torch.tensor([0.0, 1.0]))
    assert not Bernoulli.support.check(torch.tensor([0.0, 0.5]))
    assert ContinuousBernoulli.support.check(torch.tensor([0.0, 0.5, 1.0]))
    assert not ContinuousBernoulli.support.check(torch.tensor([0.5, 1.5]))
    assert ContinuousBernoulli.has_rsample is True
    elsewhere = torch.zeros(3, device="meta")
    assert ContinuousBernoulli(elsewhere, validate_args=False).rsample().device == elsewhere.device


@pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS)
@pytest.mark.parametrize("validate", [True, False])
def test_expand(make: Any, validate: bool) -> None:
    q = make(torch.randn(2, 1, 3), validate_args=validate)
    wide = q.expand((4, 2, 5))
    assert type(wide) is type(q)
    assert wide._validate_args is validate
    assert (wide.batch_shape, wide.event_shape, wide.logits.shape) == ((4, 2, 5), (3,), (4, 2, 5, 3))
    x = binary(4, 2, 5, 3)
    torch.testing.assert_close(wide.log_prob(x), q.log_prob(x))
    torch.testing.assert_close(wide.entropy(), q.entropy().expand(4, 2, 5))
    assert wide.sample((6,)).shape == (6, 4, 2, 5, 3)
    blank = type(q).__new__(type(q))  # how a subclass of torch's distributions asks for it
    assert q.expand((4, 2, 5), blank) is blank
    assert torch.equal(blank.logits, wide.logits)


@given(
    st.sampled_from(list(LIKELIHOODS.values())),
    st.integers(1, 5),
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
    st.lists(st.integers(1, 3), max_size=2).map(tuple),
    st.sampled_from([torch.float32, torch.float64]),
    st.integers(0, 2**32),
)
def test_shapes_dtypes_and_seeds(make: Any, dim: int, batch: Any, sample: Any, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    q = make((torch.randn(*batch, dim) * 5).to(dtype))
    assert (q.batch_shape, q.event_shape) == (batch, (dim,))
    x = q.sample(sample)
    assert x.shape == sample + batch + (dim,)
    assert q.log_prob(x).shape == sample + batch
    assert q.log_prob(x[..., :1, :] if batch else x).shape == sample + batch  # one image under every logit
    assert q.entropy().shape == batch
    assert q.mean.shape == q.variance.shape == (*batch, dim)
    assert {r.dtype for r in (x, q.log_prob(x), q.entropy(), q.mean, q.variance)} == {dtype}
    torch.manual_seed(seed)
    first = q.sample(sample)
    torch.manual_seed(seed)
    assert torch.equal(first, q.sample(sample))


@given(st.integers(1, 4), st.integers(1, 4), st.floats(-100, 100), st.integers(0, 2**32))
def test_pixels_are_independent_and_mirror(first: int, second: int, shift: float, seed: int) -> None:
    """Log-densities add up over pixels, and 1 - x under -logits has the density of x under logits."""
    torch.manual_seed(seed)
    for make in (Bernoulli, ContinuousBernoulli):
        logits = torch.randn(first + second) * 3 + shift
        x = binary(7, first + second)
        whole = make(logits).log_prob(x)
        parts = make(logits[:first]).log_prob(x[:, :first]) + make(logits[first:]).log_prob(x[:, first:])
        torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(make(-logits).log_prob(1 - x), whole, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(make(-logits).entropy(), make(logits).entropy(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(make(-logits).mean, 1 - make(logits).mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(make(-logits).variance, make(logits).variance)


NAN, INF = float("nan"), float("inf")
BAD_LOGITS: dict[str, tuple[Any, type[Exception], str]] = {
    "list": ([0.0], TypeError, r"^logits must be a tensor, but is a list"),
    "integers": (torch.zeros(3, dtype=torch.long), TypeError, r"^logits must be floating point"),
    "scalar": (torch.tensor(0.0), ValueError, r"^logits must have shape \(\.\.\., D\) .* but has \(\)$"),
    "empty": (torch.zeros(2, 0), ValueError, r"^logits must have shape .* D of at least 1, but has \(2, 0\)$"),
    "NaN": (torch.tensor([0.0, NAN]), ValueError, r"parameter logits "),
    "infinite": (torch.tensor([0.0, INF]), ValueError, r"^logits must be finite, but 1 of 2"),
}
BAD_VALUES: dict[str, tuple[Any, type[Exception], str]] = {
    "list": ([0.0, 1.0, 0.0], TypeError, r"^value must be a tensor, but is a list"),
    "integers": (
        torch.zeros(3, dtype=torch.uint8),
        TypeError,
        r"^value must be floating point, but has dtype torch.uint8",
    ),
    "scalar": (torch.tensor(0.0), ValueError, r"^value must have shape \(\.\.\., 3\), but has shape \(\)$"),
    "D": (torch.zeros(2, 4), ValueError, r"^value must have shape \(\.\.\., 3\), but has shape \(2, 4\)$"),
    "batch": (
        torch.zeros(5, 3),
        ValueError,
        r"^value must broadcast with logits of shape \(2, 3\), but has \(5, 3\)$",
    ),
    "NaN": (torch.tensor([0.0, NAN, 1.0]), ValueError, r"^value must lie in \[0, 1\], but is nan at \(1,\)"),
    "negative": (torch.tensor([0.0, 1.0, -1.0]), ValueError, r"^value must lie in \[0, 1\], but is -1 at \(2,\)"),
    "bytes": (torch.tensor([255.0, 1.0, 0.0]), ValueError, r"^value must lie in .* is 255 at \(0,\): divide grey"),
}


@pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS)
@pytest.mark.parametrize(("logits", "error", "message"), BAD_LOGITS.values(), ids=BAD_LOGITS)
def test_bad_logits(make: Any, logits: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(logits)


@pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS)
@pytest.mark.parametrize(("value", "error", "message"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_bad_values(make: Any, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(torch.zeros(2, 3)).log_prob(value)


@pytest.mark.parametrize("make", LIKELIHOODS.values(), ids=LIKELIHOODS)
def test_validation_can_be_switched_off(make: Any) -> None:
    q = make(torch.tensor([NAN, INF]), validate_args=False)
    for same in (q, q.expand((3,))):
        assert same.log_prob(torch.tensor([-1.0, 0.5])).isnan().all()
