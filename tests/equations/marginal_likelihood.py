"""Checks of the numbered equations of "The marginal likelihood"."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from equations.registry import Formula, assert_mean, checks, four_codes, line

close = torch.testing.assert_close


@checks(
    "eq-ml-marginal",
    "quadrature",
    r"""
    \begin{aligned}
    p_\theta(x) &= \int p_\theta(x \mid z)\,p(z)\,dz \\
    &= \mathbb{E}_{p(z)}\bigl[p_\theta(x \mid z)\bigr],
    \end{aligned}
    """,
    right=lambda likelihood, prior: likelihood * prior,
    wrong={
        "no prior": lambda likelihood, prior: likelihood,
        "likelihood squared": lambda likelihood, prior: likelihood**2 * prior,
    },
)
def marginal(formula: Formula) -> None:
    """For a linear decoder with Gaussian pixels a Gaussian; and over all binary images it adds up to one."""
    z, step = line(9, 721)
    prior = Normal(0.0, 1.0).log_prob(z).exp()
    x = torch.tensor(0.8)
    value = formula(Normal(1.5 * z - 0.3, 0.5).log_prob(x).exp(), prior).sum() * step
    close(value, Normal(-0.3, math.sqrt(1.5**2 + 0.5**2)).log_prob(x).exp())
    images = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    law = Bernoulli(logits=z[:, None] * torch.tensor([1.5, -0.8, 0.5]))
    total = sum(formula(law.log_prob(image).sum(1).exp(), prior).sum() * step for image in images)
    close(total, torch.tensor(1.0))


@checks(
    "eq-ml-posterior",
    "Monte Carlo",
    r"p_\theta(z \mid x) = \frac{p_\theta(x \mid z)\,p(z)}{p_\theta(x)}.",
    right=lambda likelihood, prior: likelihood * prior / (likelihood @ prior),
    wrong={
        "prior forgotten": lambda likelihood, prior: likelihood / likelihood.sum(),
        "not divided": lambda likelihood, prior: likelihood * prior,
        "likelihood forgotten": lambda likelihood, prior: prior,
    },
)
def posterior(formula: Formula) -> None:
    """400,000 pairs of a code, one of four, and a binary image: the codes of those whose image is the one observed."""
    prior, likelihood, _ = four_codes()
    z = torch.multinomial(prior, 400_000, replacement=True)
    matching = z[torch.rand(400_000) < likelihood[z]]
    assert_mean(torch.nn.functional.one_hot(matching, 4).double(), formula(likelihood, prior))


@checks(
    "eq-ml-quantile",
    "finite sum",
    r"F^{-1}(u) = \inf\{x : F(x) \geq u\}.",
    right=lambda values, F, u: values[u <= F].min(),
    wrong={
        "strictly": lambda values, F, u: values[u < F].min() if (u < F).any() else torch.tensor(9.0),
        "supremum": lambda values, F, u: values[u <= F].max(),
        "below": lambda values, F, u: values[u >= F].max() if (u >= F).any() else torch.tensor(-9.0),
    },
)
def quantile(formula: Formula) -> None:
    """A law on four values: over (0, 1) its values are taken on lengths that are their probabilities, ends included."""
    values, p = torch.tensor([-1.0, 0.0, 0.5, 2.0]), torch.tensor([0.125, 0.5, 0.125, 0.25])
    F = p.cumsum(0)
    u = (torch.arange(64) + 0.5) / 64
    taken = torch.stack([formula(values, F, each) for each in u])
    close(torch.stack([(taken == value).double().mean() for value in values]), p)
    for k in range(4):  # F(F^{-1}(u)) >= u, and F^{-1}(u) <= x if and only if u <= F(x)
        assert formula(values, F, F[k]) == values[k]


@checks(
    "eq-ml-bayes",
    "finite sum",
    r"\log p_\theta(x) = \log p_\theta(x, z) - \log p_\theta(z \mid x)",
    right=lambda log_joint, log_posterior: log_joint - log_posterior,
    wrong={
        "sign": lambda log_joint, log_posterior: log_joint + log_posterior,
        "exchanged": lambda log_joint, log_posterior: log_posterior - log_joint,
    },
)
def bayes(formula: Formula) -> None:
    """The same at each of four codes: the logarithm of the sum over them."""
    prior, likelihood, _ = four_codes()
    joint = prior * likelihood
    close(formula(joint.log(), (joint / joint.sum()).log()), joint.sum().log().expand(4))


@checks(
    "eq-ml-naive",
    "finite sum",
    r"\hat p_L(x) = \frac1L \sum_{l=1}^{L} p_\theta(x \mid z_l)",
    right=lambda likelihoods: likelihoods.mean(-1),
    wrong={
        "sum": lambda likelihoods: likelihoods.sum(-1),
        "mean of logarithms": lambda likelihoods: likelihoods.log().mean(-1).exp(),
        "largest": lambda likelihoods: likelihoods.amax(-1),
    },
)
def naive(formula: Formula) -> None:
    """Unbiased: its average over all sixteen pairs of codes, with their probabilities."""
    prior, likelihood, _ = four_codes()
    pairs = torch.stack(torch.meshgrid(likelihood, likelihood, indexing="ij"), -1)
    close((torch.outer(prior, prior) * formula(pairs)).sum(), prior @ likelihood)


@checks(
    "eq-ml-rho",
    "finite sum",
    r"\rho(z) = \frac{p_\theta(x \mid z)}{p_\theta(x)} = \frac{p_\theta(z \mid x)}{p(z)}",
    right=lambda likelihood, evidence, posterior, prior: (likelihood / evidence, posterior / prior),
    wrong={
        "second upside down": lambda likelihood, evidence, posterior, prior: (likelihood / evidence, prior / posterior),
        "first upside down": lambda likelihood, evidence, posterior, prior: (evidence / likelihood, posterior / prior),
        "posterior over evidence": lambda likelihood, evidence, posterior, prior: (
            likelihood / evidence,
            posterior / evidence,
        ),
    },
)
def rho(formula: Formula) -> None:
    """Four codes: the two agree, and the average over the prior is one."""
    prior, likelihood, _ = four_codes()
    evidence = prior @ likelihood
    first, second = formula(likelihood, evidence, prior * likelihood / evidence, prior)
    close(first, second)
    close(prior @ first, torch.tensor(1.0))


@checks(
    "eq-ml-gaussian-ess",
    "quadrature",
    r"1 + \chi^2 = \prod_{k=1}^{K} \frac{e^{m_k^2 / (2 - s_k^2)}}{s_k \sqrt{2 - s_k^2}}.",
    right=lambda m, s: ((m**2 / (2 - s**2)).exp() / (s * (2 - s**2).sqrt())).prod(),
    wrong={
        "plus": lambda m, s: ((m**2 / (2 + s**2)).exp() / (s * (2 + s**2).sqrt())).prod(),
        "no root": lambda m, s: ((m**2 / (2 - s**2)).exp() / (s * (2 - s**2))).prod(),
        "half the exponent": lambda m, s: ((0.5 * m**2 / (2 - s**2)).exp() / (s * (2 - s**2).sqrt())).prod(),
        "no s": lambda m, s: ((m**2 / (2 - s**2)).exp() / (2 - s**2).sqrt()).prod(),
    },
)
def gaussian_ess(formula: Formula) -> None:
    """The mean square of posterior over prior, by quadrature on the line for each coordinate."""
    m, s = torch.tensor([0.5, -0.2, 0.9]), torch.tensor([0.3, 0.8, 1.1])
    z, step = line(30, 6001)
    log_prior = Normal(0.0, 1.0).log_prob(z)
    log_squares = [2 * Normal(*each).log_prob(z) - log_prior for each in zip(m, s, strict=True)]
    close(formula(m, s), torch.stack([square.exp().sum() * step for square in log_squares]).prod())


@checks(
    "eq-ml-bias",
    "finite sum",
    r"""
    \begin{aligned}
    &\mathbb{E}\bigl[\log \hat p_L(x)\bigr] - \log p_\theta(x) \\
    &\quad= -\frac{\chi^2}{2 L} + O(L^{-3/2}).
    \end{aligned}
    """,
    right=lambda chi2, L: -chi2 / (2 * L),
    wrong={
        "sign": lambda chi2, L: chi2 / (2 * L),
        "no half": lambda chi2, L: -chi2 / L,
        "root of L": lambda chi2, L: -chi2 / (2 * L**0.5),
        "one more": lambda chi2, L: -(1 + chi2) / (2 * L),
    },
)
def bias(formula: Formula) -> None:
    """Two codes: the expectation is a binomial sum; L times what is left over tends to zero."""
    p, likelihood = torch.tensor(0.3), torch.tensor([0.9, 0.4])
    evidence = p * likelihood[0] + (1 - p) * likelihood[1]
    chi2 = (p * likelihood[0] ** 2 + (1 - p) * likelihood[1] ** 2) / evidence**2 - 1
    for L in (100, 10_000):
        n = torch.arange(L + 1.0)
        weights = torch.distributions.Binomial(L, p).log_prob(n).exp()
        estimate = (n * likelihood[0] + (L - n) * likelihood[1]) / L
        left = (weights * estimate.log()).sum() - evidence.log()
        assert abs(left - formula(chi2, L)) < 0.1 * L**-1.5


def _sample_size(L: int, c: float, below: Tensor, above: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    return L * math.exp(-c) + below / (1 - delta), math.sqrt(math.exp(c) / L) + 2 * above


@checks(
    "eq-ml-sample-size",
    "finite sum",
    r"""
    \begin{aligned}
    &P\bigl(\hat p_L \geq (1 - \delta)\,p_\theta(x)\bigr) \\
    &\leq L e^{-c} + \frac{P_x(\log \rho \leq c)}{1 - \delta}, \\
    &\mathbb{E}\left|\frac{\hat p_L}{p_\theta(x)} - 1\right| \\
    &\leq \sqrt{e^c / L} + 2\,P_x(\log \rho > c).
    \end{aligned}
    """,
    right=_sample_size,
    wrong={
        "above and below exchanged": lambda L, c, below, above, delta: _sample_size(L, c, above, below, delta),
        "sign of c": lambda L, c, below, above, delta: _sample_size(L, -c, below, above, delta),
        "times 1 - delta, and L cubed": lambda L, c, below, above, delta: (
            math.exp(-c) / L + below * (1 - delta), _sample_size(L, c, below, above, delta)[1],
        ),
        "e^c / L without the root": lambda L, c, below, above, delta: (
            _sample_size(L, c, below, above, delta)[0], math.exp(c) / L + 2 * above,
        ),
    },
)  # fmt: skip
def sample_size(formula: Formula) -> None:
    """Two codes, one of them rare and telling: both left sides are binomial sums, for many L, c and delta."""
    slack = []
    for p in (0.5, 0.1, 1e-3):
        for likelihood in (torch.tensor([0.9, 1e-4]), torch.tensor([0.9, 0.3])):
            prior = torch.tensor([p, 1 - p])
            evidence = prior @ likelihood
            posterior, log_rho = prior * likelihood / evidence, (likelihood / evidence).log()
            for L in (1, 3, 10, 100, 3000):
                n = torch.arange(L + 1.0)
                weights = torch.distributions.Binomial(L, prior[0]).log_prob(n).exp()
                ratio = (n * likelihood[0] + (L - n) * likelihood[1]) / L / evidence
                error = (weights * (ratio - 1).abs()).sum()
                for c in torch.cat([torch.linspace(-3, 8, 23), log_rho]).tolist():
                    above = posterior[log_rho > c].sum()
                    for delta in (0.01, 0.5, 0.99):
                        reached = weights[ratio >= 1 - delta - 1e-12].sum()
                        bounds = formula(L, c, 1 - above, above, delta)
                        assert reached <= bounds[0] + 1e-9
                        assert error <= bounds[1] + 1e-9
                        slack.append((bounds[0] - reached).item())
    assert min(slack) < 0.02  # it says something: somewhere it is nearly attained
