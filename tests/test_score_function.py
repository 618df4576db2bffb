"""The score-function gradient against exact gradients: sums over a discrete z, and quadrature."""

import math

import pytest
import torch
from tiny import exact_terms, gauss_hermite, make_tiny_images, make_tiny_vae

from vaelib.models import VAE
from vaelib.score_function import baseline_of, control_variate_gradient, score_function_elbo, score_function_gradient


@pytest.fixture
def model() -> VAE:
    return make_tiny_vae()


@pytest.fixture
def x() -> torch.Tensor:
    return make_tiny_images()


LOGITS = torch.tensor([0.5, -1.0, 0.2, 1.5], dtype=torch.float64)
F = torch.tensor([3.0, 5.0, 4.0, 10.0], dtype=torch.float64)  # f has a mean far from 0: what a baseline is for


def exact_gradient() -> torch.Tensor:
    """Of E_q[f(z)] for z categorical with these logits, by summing over its four values."""
    logits = LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((torch.softmax(logits, 0) * F).sum(), logits)
    return gradient


def draw(num_samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    z = torch.multinomial(torch.softmax(LOGITS, 0), num_samples, replacement=True)
    return F[z], torch.eye(4)[z] - torch.softmax(LOGITS, 0)  # f and the score of a categorical law


def estimates(estimator, num_samples: int, repeats: int = 4000) -> torch.Tensor:
    return torch.stack([estimator(*draw(num_samples)) for _ in range(repeats)])


def assert_mean(draws: torch.Tensor, truth: torch.Tensor) -> None:
    assert ((draws.mean(0) - truth).abs() < 4 * draws.std(0) / math.sqrt(len(draws))).all()


@pytest.mark.parametrize("baseline", ["none", "leave-one-out"])
@pytest.mark.parametrize("num_samples", [2, 5])
def test_estimate_is_unbiased(baseline, num_samples):
    assert_mean(estimates(lambda f, s: score_function_gradient(f, s, baseline), num_samples), exact_gradient())


def test_control_variate_is_unbiased():
    assert_mean(estimates(control_variate_gradient, 40, 2000), exact_gradient())


@pytest.mark.parametrize("num_samples", [2, 5])
def test_mean_baseline_shrinks_the_gradient_by_the_stated_factor(num_samples):
    draws = estimates(lambda f, s: score_function_gradient(f, s, "mean"), num_samples)
    assert_mean(draws, exact_gradient() * (num_samples - 1) / num_samples)


def test_baselines_and_the_control_variate_lower_the_variance():
    plain, loo, cv = (
        estimates(estimator, 40, 1000).var(0).sum()
        for estimator in (
            lambda f, s: score_function_gradient(f, s, "none"),
            score_function_gradient,
            control_variate_gradient,
        )
    )
    assert loo < 0.5 * plain
    assert cv < 0.5 * plain


def test_control_variate_by_its_definition():
    values, scores = torch.randn(5), torch.randn(5, 2)
    expected = torch.zeros(2)
    for i in range(5):
        rest = [j for j in range(5) if j != i]
        c = (values[rest, None] * scores[rest] ** 2).sum(0) / (scores[rest] ** 2).sum(0)
        expected += (values[i] - c) * scores[i] / 5
    torch.testing.assert_close(control_variate_gradient(values, scores), expected)


def test_baselines_by_their_definitions():
    values = torch.tensor([[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]])
    assert torch.equal(baseline_of(values, "none"), torch.zeros(3, 2))
    torch.testing.assert_close(baseline_of(values, "mean"), torch.tensor([[3.0, 30.0]]).expand(3, 2))
    expected = torch.tensor([[4.0, 40.0], [3.5, 35.0], [1.5, 15.0]])
    torch.testing.assert_close(baseline_of(values, "leave-one-out"), expected)


@pytest.mark.parametrize(("baseline", "shrink"), [("none", 1.0), ("leave-one-out", 1.0), ("mean", 3 / 4)])
def test_elbo_objective_has_the_gradient_of_the_exact_bound(model, x, baseline, shrink):
    nodes, weights = gauss_hermite()
    parameters = list(model.encoder.parameters()) + list(model.decoder.parameters())
    q = model.encode(x)
    z = q.mean + q.stddev * nodes[:, None, None]
    log_p = model.decode(z).log_prob(x)
    kl = 0.5 * (q.mean.square() + q.variance - 1 - q.log_var).sum(-1)
    exact = torch.autograd.grad(((weights[:, None] * log_p).sum(0) - kl).sum(), parameters)
    batch = x.repeat(400, 1)
    draws = [
        torch.autograd.grad(score_function_elbo(model, batch, 4, baseline).elbo.sum() / 400, parameters)
        for _ in range(60)
    ]
    encoder_parameters = len(list(model.encoder.parameters()))
    for n, truth in enumerate(exact):
        found = torch.stack([d[n] for d in draws])
        truth = truth * (shrink if n < encoder_parameters else 1.0)
        assert ((found.mean(0) - truth).abs() <= 5 * found.std(0) / math.sqrt(len(found)) + 1e-12).all()


def test_elbo_objective_has_the_value_of_the_bound(model, x):
    reconstruction, kl, _ = exact_terms(model, x)
    with torch.no_grad():
        terms = score_function_elbo(model, x.repeat(5000, 1), 2)
    assert_mean(terms.reconstruction.view(-1, 3), reconstruction)
    assert_mean(terms.kl.view(-1, 3), kl)
    torch.testing.assert_close(terms.elbo, terms.reconstruction - terms.kl)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: baseline_of(torch.ones(1), "leave-one-out"), '^baseline "leave-one-out" needs at least 2 draws'),
        (lambda: baseline_of(torch.ones(3), "median"), "baseline must be"),
        (lambda: score_function_gradient(torch.ones(3, 1), torch.ones(3, 2)), r"values must have shape \(L,\)"),
        (lambda: score_function_gradient(torch.ones(3), torch.ones(2, 2)), r"scores must have shape \(3, P\)"),
        (lambda: control_variate_gradient(torch.ones(1), torch.ones(1, 2)), "at least 2 draws"),
        (lambda: control_variate_gradient(torch.ones(2), torch.zeros(2, 2)), "^scores must not vanish"),
    ],
)
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_num_samples_must_be_positive(model, x):
    with pytest.raises(ValueError, match=r"^num_samples must be"):
        score_function_elbo(model, x, 0)


def test_defaults_go_together(model, x):
    torch.manual_seed(3)
    default = score_function_elbo(model, x).elbo
    torch.manual_seed(3)
    torch.testing.assert_close(default, score_function_elbo(model, x, 2, "leave-one-out").elbo)


def test_each_image_has_a_gradient_of_its_own(model, x):
    """The bound of image 0 is a function of image 0: its gradient does not change with the other images."""
    gradients = []
    for other in (x[1], x[2]):
        images = torch.stack([x[0], other])
        torch.manual_seed(3)
        first = score_function_elbo(model, images, 2).elbo[0]
        gradients.append(torch.autograd.grad(first, list(model.parameters())))
    for one, another in zip(*gradients, strict=True):
        torch.testing.assert_close(one, another)
