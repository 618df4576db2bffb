"""Checks of the numbered equations of "The amortised VAE"."""

from __future__ import annotations

import torch
from tiny import exact_terms, gauss_hermite, make_tiny_images, make_tiny_vae
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from equations.registry import Formula, assert_mean, checks, line

close = torch.testing.assert_close


@checks(
    "eq-amortised-posterior",
    "quadrature",
    r"""
    q_\phi(z \mid x) = \mathcal{N}\bigl(z;\ \mu_\phi(x),\ \operatorname{diag} \sigma_\phi^2(x)\bigr),
    \qquad \sigma_\phi^2(x) = e^{\ell_\phi(x)}.
    """,
    right=lambda mu, ell: (mu, (ell / 2).exp()),
    wrong={
        "variance for standard deviation": lambda mu, ell: (mu, ell.exp()),
        "sign": lambda mu, ell: (mu, (-ell / 2).exp()),
        "softplus": lambda mu, ell: (mu, torch.nn.functional.softplus(ell)),
    },
)
def posterior(formula: Formula) -> None:
    """The second moment about the mean, on the line, is exp of the log-variance."""
    z, step = line(12, 961)
    mu, ell = torch.tensor(0.4), torch.tensor(-0.9)
    density = Normal(*formula(mu, ell)).log_prob(z).exp()
    close((density * z).sum() * step, mu)
    close((density * (z - mu) ** 2).sum() * step, ell.exp())


@checks(
    "eq-bernoulli-likelihood",
    "finite sum",
    r"\log p_\theta(x \mid z) = \sum_{d=1}^{D} x_d \log \pi_d(z) + (1 - x_d) \log\bigl(1 - \pi_d(z)\bigr),",
    right=lambda x, pi: (x * pi.log() + (1 - x) * (1 - pi).log()).sum(-1),
    wrong={
        "sign": lambda x, pi: -(x * pi.log() + (1 - x) * (1 - pi).log()).sum(-1),
        "exchanged": lambda x, pi: ((1 - x) * pi.log() + x * (1 - pi).log()).sum(-1),
        "mean": lambda x, pi: (x * pi.log() + (1 - x) * (1 - pi).log()).mean(-1),
    },
)
def likelihood(formula: Formula) -> None:
    """PyTorch's Bernoulli law by its logits, at all eight images of three pixels; they add up to one."""
    x, logits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3), torch.tensor([0.4, -1.2, 2.0])
    values = formula(x, 1 / (1 + (-logits).exp()))
    close(values, Independent(Bernoulli(logits=logits), 1).log_prob(x))
    close(values.exp().sum(), torch.tensor(1.0))


@checks(
    "eq-reparameterised-draw",
    "Monte Carlo",
    r"z = \mu_\phi(x) + \sigma_\phi(x) \odot \varepsilon, \qquad \varepsilon \sim \mathcal{N}(0, I_K),",
    right=lambda mu, sigma, eps: mu + sigma * eps,
    wrong={
        "variance": lambda mu, sigma, eps: mu + sigma**2 * eps,
        "sign of the mean": lambda mu, sigma, eps: sigma * eps - mu,
    },
)
def draw(formula: Formula) -> None:
    """200,000 draws: ratios to the Gaussian's density have the mean one, for two other laws."""
    mu, sigma = torch.tensor([0.4, -1.0]), torch.tensor([0.3, 1.5])
    z = formula(mu, sigma, torch.randn(200_000, 2))
    q = Independent(Normal(mu, sigma), 1)
    for shift, width in ((0.2, 0.8), (-0.3, 0.7)):
        other = Independent(Normal(mu + shift * sigma, width * sigma), 1)
        assert_mean((other.log_prob(z) - q.log_prob(z)).exp(), 1.0)


def tiny() -> tuple[Tensor, Tensor, Tensor]:
    """Reconstruction, divergence from the prior and log p(x) of three images under a small network, by quadrature."""
    return exact_terms(make_tiny_vae(), make_tiny_images())


@checks(
    "eq-elbo-gap",
    "quadrature",
    r"""
    \log p_\theta(x) = \mathcal{L}(\theta, \phi; x)
    + \mathrm{KL}\bigl(q_\phi(z \mid x)\,\|\,p_\theta(z \mid x)\bigr),
    """,
    right=lambda bound, divergence: bound + divergence,
    wrong={
        "sign": lambda bound, divergence: bound - divergence,
        "no divergence": lambda bound, divergence: bound,
    },
)
def gap(formula: Formula) -> None:
    """A network with one code: the divergence from the posterior on a grid, the rest by Gauss-Hermite quadrature."""
    model, x = make_tiny_vae(), make_tiny_images()
    reconstruction, divergence, log_evidence = tiny()
    z, step = line(9, 1441)
    with torch.no_grad():
        q = model.encode(x)
        log_q = Normal(q.mean, q.stddev).log_prob(z)  # (3, points)
        log_joint = model.decode(z[:, None, None]).log_prob(x).T + Normal(0.0, 1.0).log_prob(z)
    log_posterior = log_joint - (log_joint.exp().sum(1, keepdim=True) * step).log()
    to_posterior = (log_q.exp() * (log_q - log_posterior)).sum(1) * step
    close(formula(reconstruction - divergence, to_posterior), log_evidence, rtol=1e-4, atol=0)


@checks(
    "eq-amortised-split",
    "quadrature",
    r"""
    \log p_\theta(x) = \mathbb{E}_{q_\phi}\!\left[\log \frac{p_\theta(x, z)}{q_\phi(z \mid x)}\right]
    + \mathbb{E}_{q_\phi}\!\left[\log \frac{q_\phi(z \mid x)}{p_\theta(z \mid x)}\right].
    """,
    right=lambda log_joint, log_q, log_posterior, mean: mean(log_joint - log_q) + mean(log_q - log_posterior),
    wrong={
        "sign": lambda log_joint, log_q, log_posterior, mean: mean(log_joint - log_q) - mean(log_q - log_posterior),
        "fraction upside down": lambda log_joint, log_q, log_posterior, mean: (
            mean(log_joint - log_q) + mean(log_posterior - log_q)
        ),
        "no second": lambda log_joint, log_q, log_posterior, mean: mean(log_joint - log_q),
    },
)
def split(formula: Formula) -> None:
    """A network with one code, all expectations over a grid, against log p(x) by Gauss-Hermite quadrature."""
    model, x = make_tiny_vae(), make_tiny_images()
    z, step = line(9, 1441)
    with torch.no_grad():
        q = model.encode(x)
        log_q = Normal(q.mean, q.stddev).log_prob(z)
        log_joint = model.decode(z[:, None, None]).log_prob(x).T + Normal(0.0, 1.0).log_prob(z)
    log_posterior = log_joint - (log_joint.exp().sum(1, keepdim=True) * step).log()

    def mean(values: Tensor) -> Tensor:
        return (log_q.exp() * values).sum(1) * step

    close(formula(log_joint, log_q, log_posterior, mean), tiny()[2], rtol=1e-4, atol=0)


@checks(
    "eq-amortised-log-ratio",
    "linear algebra",
    r"\log \frac{q(z)}{p(z)} = -\frac12 \log \sigma^2 - \frac{(z - \mu)^2}{2 \sigma^2} + \frac{z^2}{2},",
    right=lambda z, mu, sigma: -sigma.log() - (z - mu) ** 2 / (2 * sigma**2) + z**2 / 2,
    wrong={
        "no half": lambda z, mu, sigma: -2 * sigma.log() - (z - mu) ** 2 / (2 * sigma**2) + z**2 / 2,
        "sign of the prior": lambda z, mu, sigma: -sigma.log() - (z - mu) ** 2 / (2 * sigma**2) - z**2 / 2,
        "standard deviation below": lambda z, mu, sigma: -sigma.log() - (z - mu) ** 2 / (2 * sigma) + z**2 / 2,
    },
)
def log_ratio(formula: Formula) -> None:
    """PyTorch's two log-densities at ten points."""
    z, mu, sigma = torch.randn(10), torch.tensor(0.7), torch.tensor(0.4)
    close(formula(z, mu, sigma), Normal(mu, sigma).log_prob(z) - Normal(0.0, 1.0).log_prob(z))


@checks(
    "eq-elbo",
    "Monte Carlo",
    r"""
    \mathcal{L}(\theta, \phi; x) = \mathbb{E}_{q_\phi(z \mid x)}\bigl[\log p_\theta(x \mid z)\bigr]
    - \mathrm{KL}\bigl(q_\phi(z \mid x)\,\|\,p(z)\bigr).
    """,
    right=lambda reconstruction, divergence: reconstruction - divergence,
    wrong={
        "sign": lambda reconstruction, divergence: reconstruction + divergence,
        "no divergence": lambda reconstruction, divergence: reconstruction,
    },
)
def elbo(formula: Formula) -> None:
    """A network with one code: the mean of log p(x, z) - log q(z|x) over 200,000 codes."""
    model, x = make_tiny_vae(), make_tiny_images()
    reconstruction, divergence, _ = tiny()
    with torch.no_grad():
        q = model.encode(x)
        z = q.mean + q.stddev * torch.randn(200_000, 3, 1)
        log_q = Normal(q.mean, q.stddev).log_prob(z).squeeze(-1)
        log_joint = model.decode(z).log_prob(x) + Normal(0.0, 1.0).log_prob(z).squeeze(-1)
    assert_mean(log_joint - log_q, formula(reconstruction, divergence))


@checks(
    "eq-amortised-kl",
    "quadrature",
    r"""
    \mathrm{KL}\bigl(q\,\|\,\mathcal{N}(0, I_K)\bigr)
    = \frac12 \sum_{k=1}^{K} \bigl(\mu_k^2 + \sigma_k^2 - 1 - \log \sigma_k^2\bigr).
    """,
    right=lambda mu, sigma: 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum(),
    wrong={
        "logarithm of sigma": lambda mu, sigma: 0.5 * (mu**2 + sigma**2 - 1 - sigma.log()).sum(),
        "no half": lambda mu, sigma: (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum(),
        "sign": lambda mu, sigma: -0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum(),
    },
)
def divergence(formula: Formula) -> None:
    """PyTorch's divergence of each coordinate, and their integrals on the line."""
    mu, sigma = torch.tensor([0.7, -1.1]), torch.tensor([0.4, 1.3])
    z, step = line(9, 721)
    log_q, log_p = Normal(mu[:, None], sigma[:, None]).log_prob(z), Normal(0.0, 1.0).log_prob(z)
    close(formula(mu, sigma), (log_q.exp() * (log_q - log_p)).sum() * step)
    close(formula(mu, sigma), kl_divergence(Normal(mu, sigma), Normal(0.0, 1.0)).sum())


def binary_images(D: int) -> Tensor:
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * D)


@checks(
    "eq-grey-expectation",
    "finite sum",
    r"C(x, \pi) = \mathbb{E}_b\bigl[\log p(b \mid \pi)\bigr] \leq -H(x),",
    right=lambda expectation, entropy: (expectation, -entropy),
    wrong={
        "sign of the entropy": lambda expectation, entropy: (expectation, entropy - 10),
        "sign of the expectation": lambda expectation, entropy: (-expectation, -entropy),
    },
)
def grey(formula: Formula) -> None:
    """All eight binarisations of three grey pixels; the inequality for many pi, and equality where pi is the image."""
    x = torch.tensor([0.3, 0.9, 0.5])
    b = binary_images(3)
    weight = (x**b * (1 - x) ** (1 - b)).prod(1)
    entropy = Independent(Bernoulli(x), 1).entropy()
    for pi in [*torch.rand(20, 3), x]:
        expectation = weight @ Independent(Bernoulli(pi), 1).log_prob(b)
        cross_entropy, most = formula(expectation, entropy)
        close(cross_entropy, -torch.nn.functional.binary_cross_entropy(pi, x, reduction="sum"))
        assert cross_entropy <= most + 1e-12
    close(cross_entropy, most)


@checks(
    "eq-grey-bound",
    "finite sum",
    r"""
    \mathbb{E}_{q_\phi(z \mid x)}\bigl[C(x, \pi(z))\bigr] - \mathrm{KL}\bigl(q_\phi(z \mid x)\,\|\,p(z)\bigr)
    \leq \mathbb{E}_b\bigl[\log p_\theta(b)\bigr].
    """,
    right=lambda reconstruction, divergence, evidence: (reconstruction - divergence, evidence),
    wrong={
        "sign of the divergence": lambda reconstruction, divergence, evidence: (reconstruction + divergence, evidence),
        "the other way round": lambda reconstruction, divergence, evidence: (evidence, reconstruction - divergence),
        "no divergence": lambda reconstruction, divergence, evidence: (reconstruction, evidence),
    },
)
def grey_bound(formula: Formula) -> None:
    """One code by quadrature, all eight binarisations: for many q; and for pixels that ignore the code, equality."""
    nodes, weights = gauss_hermite(60)
    x, b = torch.tensor([0.3, 0.9, 0.5]), binary_images(3)
    chance = (x**b * (1 - x) ** (1 - b)).prod(1)
    prior = Normal(0.0, 1.0)
    for slope in (torch.tensor([2.5, -1.5, 1.0]), torch.zeros(3)):
        log_likelihood = Independent(Bernoulli(logits=nodes[:, None, None] * slope), 1).log_prob(b)
        evidence = chance @ (weights[:, None] * log_likelihood.exp()).sum(0).log()
        for mean, std in ((0.0, 1.0), (0.3, 0.8), (-0.5, 0.5), (0.2, 1.2)):
            logits = (mean + std * nodes[:, None]) * slope
            C = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x.expand(60, 3), reduction="none").sum(1)
            to_prior = kl_divergence(Normal(mean, std), prior)
            left, right = formula(weights @ C, to_prior, evidence)
            assert left <= right + 1e-9
            if not slope.any() and (mean, std) == (0.0, 1.0):
                close(left, right)
