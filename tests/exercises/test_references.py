"""Each exercise's reference answer against another route to the same numbers."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from scipy import special, stats
from tiny import gauss_hermite
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

from vaelib.exercises import EXERCISES


def plain_inputs(name: str) -> list:
    """The inputs of an exercise that need no care with rounding."""
    probes = EXERCISES[name].probes(torch.Generator().manual_seed(0))
    return [probe.inputs for probe in probes if not probe.extreme]


def close(got, expected) -> None:
    torch.testing.assert_close(got, torch.as_tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_reparameterize_keeps_quantiles():
    for mean, std, noise in plain_inputs("reparameterize"):
        quantiles = stats.norm.cdf(noise.numpy())
        close(EXERCISES["reparameterize"].right(mean, std, noise), stats.norm.ppf(quantiles, mean, std))


def test_reparameterize_full_entry_by_entry():
    for mean, scale, noise in plain_inputs("reparameterize-full"):
        z = EXERCISES["reparameterize-full"].right(mean, scale, noise)
        for b, i in itertools.product(range(z.shape[0]), range(z.shape[1])):
            terms = [float(scale[b, i, j] * noise[b, j]) for j in range(z.shape[1])]
            close(z[b, i], float(mean[b, i]) + math.fsum(terms))


def test_reparameterize_full_as_a_change_of_variables():
    for mean, scale, noise in plain_inputs("reparameterize-full"):
        z = EXERCISES["reparameterize-full"].right(mean, scale, noise)
        log_noise = Normal(0.0, 1.0).log_prob(noise).sum(-1)
        close(MultivariateNormal(mean, scale @ scale.mT).log_prob(z), log_noise - torch.linalg.det(scale).abs().log())


def test_induced_covariance_is_that_of_draws():
    for (scale,) in plain_inputs("induced-covariance")[-4:]:  # one of each kind
        z = torch.einsum("bij,nbj->nbi", scale, torch.randn(50_000, *scale.shape[:2]))
        products = z.unsqueeze(-1) * z.unsqueeze(-2)
        error = products.std(0) / math.sqrt(len(z))
        assert ((products.mean(0) - EXERCISES["induced-covariance"].right(scale)).abs() < 5 * error).all()


def test_kl_diagonal_by_quadrature():
    nodes, weights = gauss_hermite()
    for mean, log_var in plain_inputs("kl-diagonal"):
        q = Normal(mean, (log_var / 2).exp())
        z = q.mean + q.stddev * nodes[:, None, None]
        ratio = q.log_prob(z) - Normal(0.0, 1.0).log_prob(z)
        close(EXERCISES["kl-diagonal"].right(mean, log_var), torch.einsum("n,nbk->b", weights, ratio))


def test_kl_full_as_a_distribution_gives_it():
    for mean, scale in plain_inputs("kl-full"):
        prior = MultivariateNormal(torch.zeros_like(mean), torch.eye(mean.shape[1]))
        close(EXERCISES["kl-full"].right(mean, scale), kl_divergence(MultivariateNormal(mean, scale @ scale.mT), prior))


def test_kl_full_is_an_average_over_draws():
    mean, scale = plain_inputs("kl-full")[-1]
    q = MultivariateNormal(mean, scale @ scale.mT)
    z = q.sample((100_000,))
    ratio = q.log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(-1)
    error = ratio.std(0) / math.sqrt(len(z))
    assert ((ratio.mean(0) - EXERCISES["kl-full"].right(mean, scale)).abs() < 5 * error).all()


def test_kl_gaussians_as_a_distribution_gives_it():
    for mean_q, scale_q, mean_p, scale_p in plain_inputs("kl-gaussians"):
        q, p = (MultivariateNormal(m, s @ s.mT) for m, s in ((mean_q, scale_q), (mean_p, scale_p)))
        close(EXERCISES["kl-gaussians"].right(mean_q, scale_q, mean_p, scale_p), kl_divergence(q, p))


def test_bernoulli_of_probabilities():
    for logits, x in plain_inputs("bernoulli-log-likelihood"):
        right = EXERCISES["bernoulli-log-likelihood"].right(logits, x)
        close(right, Bernoulli(probs=1 / (1 + torch.exp(-logits))).log_prob(x).sum(-1))


def test_bernoulli_adds_up_to_one_over_all_images():
    images = torch.tensor(list(itertools.product((0.0, 1.0), repeat=5)))
    logits = torch.randn(1, 5).expand(len(images), 5)
    close(EXERCISES["bernoulli-log-likelihood"].right(logits, images).exp().sum(), 1.0)


def test_gaussian_as_scipy_gives_it():
    for mean, log_var, x in plain_inputs("gaussian-log-likelihood"):
        right = EXERCISES["gaussian-log-likelihood"].right(mean, log_var, x)
        close(right, stats.norm.logpdf(x.numpy(), mean.numpy(), np.exp(log_var.numpy() / 2)).sum(-1))


@pytest.mark.parametrize("name", ["naive-likelihood", "iwae-bound"])
def test_log_mean_exp_by_way_of_probabilities(name):
    for (values,) in plain_inputs(name):
        means = [statistics.fmean(math.exp(value) for value in column) for column in values.T.tolist()]
        close(EXERCISES[name].right(values), [math.log(mean) for mean in means])


@pytest.mark.parametrize("name", ["naive-likelihood", "iwae-bound"])
def test_log_mean_exp_of_extreme_values(name):
    for probe in EXERCISES[name].probes(torch.Generator().manual_seed(0)):
        (values,) = probe.inputs
        expected = special.logsumexp(values.numpy(), axis=0, b=np.full(values.shape, 1 / len(values)))
        close(EXERCISES[name].right(values), expected)


def test_elbo_is_an_average_of_differences():
    for log_joint, log_q in plain_inputs("elbo-monte-carlo"):
        pairs = zip(log_joint.T.tolist(), log_q.T.tolist(), strict=True)
        means = [statistics.fmean(a - b for a, b in zip(joint, q, strict=True)) for joint, q in pairs]
        close(EXERCISES["elbo-monte-carlo"].right(log_joint, log_q), means)


def test_score_function_draw_by_draw():
    for values, scores in plain_inputs("score-function-gradient"):
        f, s = values.tolist(), scores.tolist()
        gradient = [
            statistics.fmean((f[i] - statistics.fmean(f[:i] + f[i + 1 :])) * s[i][p] for i in range(len(f)))
            for p in range(scores.shape[1])
        ]
        close(EXERCISES["score-function-gradient"].right(values, scores), gradient)


def test_score_function_is_unbiased():
    logits = torch.tensor([0.3, -1.0, 0.5], requires_grad=True)
    values = torch.tensor([2.0, -1.0, 4.0])
    probabilities = logits.softmax(0)
    (exact,) = torch.autograd.grad((probabilities * values).sum(), logits)
    probabilities = probabilities.detach()
    scores = torch.eye(3) - probabilities  # of each of the three outcomes
    expectation = torch.zeros(3)
    for outcomes in itertools.product(range(3), repeat=4):  # all that four draws may be
        drawn = torch.tensor(outcomes)
        estimate = EXERCISES["score-function-gradient"].right(values[drawn], scores[drawn])
        expectation += probabilities[drawn].prod() * estimate
    close(expectation, exact)


def test_mean_field_optimum_is_stationary():
    for mean, precision in plain_inputs("mean-field-optimum"):
        best, variance = (
            part.clone().requires_grad_() for part in EXERCISES["mean-field-optimum"].right(mean, precision)
        )
        q = MultivariateNormal(best, torch.diag_embed(variance))
        kl_divergence(q, MultivariateNormal(mean, precision_matrix=precision)).backward()
        close(best.grad, torch.zeros_like(mean))
        close(variance.grad, torch.zeros_like(mean))


def test_amortization_gap_is_an_average_of_differences():
    for encoder, local in plain_inputs("amortization-gap"):
        gaps = [b - a for a, b in zip(encoder.tolist(), local.tolist(), strict=True)]
        close(EXERCISES["amortization-gap"].right(encoder, local), statistics.fmean(gaps))
