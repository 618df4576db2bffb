"""Checks of the numbered equations of "The divergence between Gaussians"."""

from __future__ import annotations

import math

import torch
from torch import Tensor, logdet, trace
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from equations.registry import Formula, assert_mean, checks, four_codes, line

LOG_2PI = math.log(2 * math.pi)
close = torch.testing.assert_close


def a_pair() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means and covariances of two Gaussians in the plane that share nothing."""
    mu = torch.tensor([[0.6, -0.3], [-0.2, 0.5]])
    S = torch.tensor([[[0.9, 0.0], [0.4, 0.7]], [[1.1, 0.3], [-0.5, 0.8]]])
    return mu[0], S[0] @ S[0].mT, mu[1], S[1] @ S[1].mT


def integral_of_kl(q: MultivariateNormal, p: MultivariateNormal) -> Tensor:
    """The defining integral over the plane."""
    points, step = line(9, 361)
    z = torch.cartesian_prod(points, points)
    log_q, log_p = q.log_prob(z), p.log_prob(z)
    return (log_q.exp() * (log_q - log_p)).sum() * step**2


def integral(q: Normal, of: Tensor) -> Tensor:
    """Of a function that is given at the points of `line(9, 721)`, under a Gaussian on the line."""
    points, step = line(9, 721)
    return (q.log_prob(points).exp() * of).sum() * step


@checks(
    "eq-gkl-trace",
    "finite sum",
    r"""
    \begin{aligned}
    & \mathbb{E}\bigl[(z - m)^\top A\, (z - m)\bigr] \\
    & \quad = \operatorname{tr}(A \Sigma) + (\mu - m)^\top A\, (\mu - m).
    \end{aligned}
    """,
    right=lambda A, Sigma, mu, m: trace(A @ Sigma) + (mu - m) @ A @ (mu - m),
    wrong={
        "A transposed in the trace": lambda A, Sigma, mu, m: trace(A.mT @ A @ Sigma) + (mu - m) @ A @ (mu - m),
        "sign": lambda A, Sigma, mu, m: trace(A @ Sigma) - (mu - m) @ A @ (mu - m),
        "no m": lambda A, Sigma, mu, m: trace(A @ Sigma) + mu @ A @ mu,
    },
)
def trace_trick(formula: Formula) -> None:
    """The expectation over a law on five points, which is not Gaussian."""
    z, weight = torch.randn(5, 3), torch.rand(5).softmax(0)
    A, m = torch.randn(3, 3), torch.randn(3)
    mu = weight @ z
    Sigma = (weight[:, None] * (z - mu)).mT @ (z - mu)
    close(weight @ ((z - m) @ A * (z - m)).sum(1), formula(A, Sigma, mu, m))


def _full(mu0: Tensor, Sigma0: Tensor, mu1: Tensor, Sigma1: Tensor) -> Tensor:
    P, d = torch.linalg.inv(Sigma1), mu1 - mu0
    return 0.5 * (trace(P @ Sigma0) - len(d) + logdet(Sigma1) - logdet(Sigma0) + d @ P @ d)


@checks(
    "eq-gkl-full",
    "quadrature",
    r"""
    \begin{aligned}
    \mathrm{KL}(q\,\|\,p) = \tfrac12 \Bigl( & \operatorname{tr}(\Sigma_1^{-1} \Sigma_0) - K \\
    & + \log \det \Sigma_1 - \log \det \Sigma_0 \\
    & + (\mu_1 - \mu_0)^\top \Sigma_1^{-1} (\mu_1 - \mu_0) \Bigr).
    \end{aligned}
    """,
    right=_full,
    wrong={
        "the other direction": lambda mu0, Sigma0, mu1, Sigma1: _full(mu1, Sigma1, mu0, Sigma0),
        "no half": lambda *pair: 2 * _full(*pair),
        "K once too often": lambda mu0, *rest: _full(mu0, *rest) - 0.5 * len(mu0),
        "determinants exchanged": lambda mu0, Sigma0, mu1, Sigma1: (
            _full(mu0, Sigma0, mu1, Sigma1) + logdet(Sigma0) - logdet(Sigma1)
        ),
        "distance by the wrong covariance": lambda mu0, Sigma0, mu1, Sigma1: (
            _full(mu0, Sigma0, mu0, Sigma1) + 0.5 * (mu1 - mu0) @ torch.linalg.solve(Sigma0, mu1 - mu0)
        ),
    },
)
def full(formula: Formula) -> None:
    """The integral of q log(q / p) over a grid in the plane."""
    mu0, Sigma0, mu1, Sigma1 = a_pair()
    value = integral_of_kl(MultivariateNormal(mu0, Sigma0), MultivariateNormal(mu1, Sigma1))
    close(formula(mu0, Sigma0, mu1, Sigma1), value)


@checks(
    "eq-gkl-prior",
    "quadrature",
    r"""
    \begin{aligned}
    \mathrm{KL}(q\,\|\,p) = \tfrac12 \bigl( & \operatorname{tr} \Sigma_0 - K \\
    & - \log \det \Sigma_0 + \|\mu_0\|^2 \bigr).
    \end{aligned}
    """,
    right=lambda mu, Sigma: 0.5 * (trace(Sigma) - len(mu) - logdet(Sigma) + mu @ mu),
    wrong={
        "sign of the determinant": lambda mu, Sigma: 0.5 * (trace(Sigma) - len(mu) + logdet(Sigma) + mu @ mu),
        "norm not squared": lambda mu, Sigma: 0.5 * (trace(Sigma) - len(mu) - logdet(Sigma) + mu.norm()),
        "no K": lambda mu, Sigma: 0.5 * (trace(Sigma) - logdet(Sigma) + mu @ mu),
    },
)
def against_the_prior(formula: Formula) -> None:
    """The integral of q log(q / p) over a grid in the plane."""
    mu, Sigma, *_ = a_pair()
    value = integral_of_kl(MultivariateNormal(mu, Sigma), MultivariateNormal(torch.zeros(2), torch.eye(2)))
    close(formula(mu, Sigma), value)


MU, SIGMA = torch.tensor([0.7, -1.1, 0.2], dtype=torch.float64), torch.tensor([0.4, 1.3, 0.8], dtype=torch.float64)


@checks(
    "eq-gkl-cross-entropy",
    "quadrature",
    r"""
    \begin{aligned}
    & \int q(z) \log p(z)\, dz \\
    & \quad = -\frac{K}{2} \log 2\pi - \frac12 \sum_{k=1}^{K} \bigl(\mu_k^2 + \sigma_k^2\bigr),
    \end{aligned}
    """,
    right=lambda mu, sigma: -0.5 * len(mu) * LOG_2PI - 0.5 * (mu**2 + sigma**2).sum(),
    wrong={
        "sign": lambda mu, sigma: 0.5 * len(mu) * LOG_2PI + 0.5 * (mu**2 + sigma**2).sum(),
        "sigma for its square": lambda mu, sigma: -0.5 * len(mu) * LOG_2PI - 0.5 * (mu**2 + sigma).sum(),
        "one constant for all coordinates": lambda mu, sigma: -0.5 * LOG_2PI - 0.5 * (mu**2 + sigma**2).sum(),
    },
)
def cross_entropy(formula: Formula) -> None:
    """Integrals on the line, whose sum over coordinates is that of the product law."""
    log_p = Normal(0.0, 1.0).log_prob(line(9, 721)[0])
    value = sum(integral(Normal(mu, sigma), log_p) for mu, sigma in zip(MU, SIGMA, strict=True))
    close(formula(MU, SIGMA), value)


@checks(
    "eq-gkl-entropy",
    "quadrature",
    r"""
    \begin{aligned}
    & \int q(z) \log q(z)\, dz \\
    & \quad = -\frac{K}{2} \log 2\pi - \frac12 \sum_{k=1}^{K} \bigl(1 + \log \sigma_k^2\bigr).
    \end{aligned}
    """,
    right=lambda sigma: -0.5 * len(sigma) * LOG_2PI - 0.5 * (1 + 2 * sigma.log()).sum(),
    wrong={
        "logarithm of sigma": lambda sigma: -0.5 * len(sigma) * LOG_2PI - 0.5 * (1 + sigma.log()).sum(),
        "no 1": lambda sigma: -0.5 * len(sigma) * LOG_2PI - 0.5 * (2 * sigma.log()).sum(),
        "the entropy itself": lambda sigma: 0.5 * len(sigma) * LOG_2PI + 0.5 * (1 + 2 * sigma.log()).sum(),
    },
)
def entropy(formula: Formula) -> None:
    """Integrals on the line, whose sum over coordinates is that of the product law."""
    points, _ = line(9, 721)
    laws = [Normal(mu, sigma) for mu, sigma in zip(MU, SIGMA, strict=True)]
    close(formula(SIGMA), sum(integral(q, q.log_prob(points)) for q in laws))


@checks(
    "eq-gkl-diagonal",
    "quadrature",
    r"\mathrm{KL}(q\,\|\,p) = \frac12 \sum_{k=1}^{K} \bigl(\mu_k^2 + \sigma_k^2 - 1 - \log \sigma_k^2\bigr).",
    right=lambda mu, sigma: 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum(),
    wrong={
        "sign of the logarithm": lambda mu, sigma: 0.5 * (mu**2 + sigma**2 - 1 + 2 * sigma.log()).sum(),
        "sigma for its square": lambda mu, sigma: 0.5 * (mu**2 + sigma - 1 - sigma.log()).sum(),
        "mean for sum": lambda mu, sigma: 0.5 * (mu**2 + sigma**2 - 1 - 2 * sigma.log()).mean(),
        "no half": lambda mu, sigma: (mu**2 + sigma**2 - 1 - 2 * sigma.log()).sum(),
    },
)
def diagonal(formula: Formula) -> None:
    """Integrals of q log(q / p) on the line, whose sum over coordinates is that of the product laws."""
    points, _ = line(9, 721)
    prior = Normal(0.0, 1.0).log_prob(points)
    laws = [Normal(mu, sigma) for mu, sigma in zip(MU, SIGMA, strict=True)]
    close(formula(MU, SIGMA), sum(integral(q, q.log_prob(points) - prior) for q in laws))


def _two_diagonal(mu0: Tensor, sigma0: Tensor, mu1: Tensor, sigma1: Tensor) -> Tensor:
    ratio = sigma0**2 / sigma1**2
    return 0.5 * ((mu0 - mu1) ** 2 / sigma1**2 + ratio - 1 - ratio.log()).sum()


@checks(
    "eq-gkl-two-diagonal",
    "quadrature",
    r"""
    \frac12 \sum_{k=1}^{K} \biggl( \frac{(\mu_{0,k} - \mu_{1,k})^2}{\sigma_{1,k}^2}
    + \frac{\sigma_{0,k}^2}{\sigma_{1,k}^2} - 1
    - \log \frac{\sigma_{0,k}^2}{\sigma_{1,k}^2} \biggr).
    """,
    right=_two_diagonal,
    wrong={
        "the other direction": lambda mu0, sigma0, mu1, sigma1: _two_diagonal(mu1, sigma1, mu0, sigma0),
        "distance by sigma_0": lambda mu0, sigma0, mu1, sigma1: (
            _two_diagonal(mu0, sigma0, mu0, sigma1) + 0.5 * ((mu0 - mu1) ** 2 / sigma0**2).sum()
        ),
    },
)
def two_diagonal(formula: Formula) -> None:
    """Integrals of q log(q / p) on the line, whose sum over coordinates is that of the product laws."""
    points, _ = line(9, 721)
    mu1, sigma1 = MU.flip(0) + 0.3, SIGMA.roll(1)
    rows = torch.stack([MU, SIGMA, mu1, sigma1], 1)
    laws = [(Normal(mu0, sigma0), Normal(mu1, sigma1)) for mu0, sigma0, mu1, sigma1 in rows]
    value = sum(integral(q, q.log_prob(points) - p.log_prob(points)) for q, p in laws)
    close(formula(MU, SIGMA, mu1, sigma1), value)


@checks(
    "eq-gkl-regrouped",
    "finite sum",
    r"\mathrm{KL}(q\,\|\,p) = H(q, p) - H(q),",
    right=lambda cross_entropy, entropy: cross_entropy - entropy,
    wrong={
        "sign": lambda cross_entropy, entropy: cross_entropy + entropy,
        "reversed": lambda cross_entropy, entropy: entropy - cross_entropy,
    },
)
def regrouped(formula: Formula) -> None:
    """Two laws on four points; the divergence as PyTorch sums it."""
    q, p = torch.rand(2, 4).softmax(1)
    value = torch.nn.functional.kl_div(p.log(), q, reduction="sum")
    close(formula(-(q * p.log()).sum(), -(q * q.log()).sum()), value)


@checks(
    "eq-gkl-loss-forms",
    "finite sum",
    r"""
    \begin{aligned}
    -\mathcal{L} &= \mathbb{E}_q[-\log p_\theta(x \mid z)] + \mathrm{KL}(q\,\|\,p) \\
    &= \mathbb{E}_q[-\log p_\theta(x \mid z)] + H(q, p) - H(q) \\
    &= \mathbb{E}_q[-\log p_\theta(x, z)] - H(q).
    \end{aligned}
    """,
    right=lambda error, kl, cross, entropy, joint: (error + kl, error + cross - entropy, joint - entropy),
    wrong={
        "entropy added": lambda error, kl, cross, entropy, joint: (
            error + kl, error + cross + entropy, joint + entropy,
        ),
        "divergence subtracted": lambda error, kl, cross, entropy, joint: (error - kl,) * 3,
        "divergence forgotten in the last": lambda error, kl, cross, entropy, joint: (
            error + kl, error + cross - entropy, joint,
        ),
    },
)  # fmt: skip
def loss_forms(formula: Formula) -> None:
    """Four codes; minus the bound is the divergence from the posterior minus log p(x)."""
    prior, likelihood, q = four_codes()
    evidence = prior @ likelihood
    posterior = prior * likelihood / evidence
    expected = (q * (q / posterior).log()).sum() - evidence.log()
    terms = (
        -(q * likelihood.log()).sum(), (q * (q / prior).log()).sum(), -(q * prior.log()).sum(), -(q * q.log()).sum(),
        -(q * (likelihood * prior).log()).sum(),
    )  # fmt: skip
    for form in formula(*terms):
        close(form, expected)


def _loss(log_likelihood: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    return -log_likelihood - 0.5 * (1 + 2 * sigma.log() - mu**2 - sigma**2).sum()


@checks(
    "eq-gkl-loss",
    "Monte Carlo",
    r"""
    \begin{aligned}
    L^{(i)} = {} & -\log p_\theta(x_i \mid z) \\
    & - \frac12 \sum_{k=1}^{K} \bigl(1 + \log \sigma_k^2 - \mu_k^2 - \sigma_k^2\bigr),
    \end{aligned}
    """,
    right=_loss,
    wrong={
        "sign of the divergence": lambda log_likelihood, mu, sigma: (
            -log_likelihood + 0.5 * (1 + 2 * sigma.log() - mu**2 - sigma**2).sum()
        ),
        "logarithm of sigma": lambda log_likelihood, mu, sigma: (
            -log_likelihood - 0.5 * (1 + sigma.log() - mu**2 - sigma**2).sum()
        ),
        "sign of the likelihood": lambda log_likelihood, mu, sigma: _loss(-log_likelihood, mu, sigma),
    },
)
def loss(formula: Formula) -> None:
    """Its mean over 200,000 draws is minus the bound, by quadrature of log p(x, z) - log q(z) over one code."""
    mu, sigma, weights = torch.tensor([0.4]), torch.tensor([0.6]), torch.tensor([1.5, -0.8, 0.5])
    x = torch.tensor([1.0, 0.0, 1.0])

    def log_likelihood(z: Tensor) -> Tensor:
        return Bernoulli(logits=z * weights - 0.2).log_prob(x).sum(-1)

    q, (points, _) = Normal(mu, sigma), line(9, 721)
    log_joint = log_likelihood(points[:, None]) + Normal(0.0, 1.0).log_prob(points)
    bound = integral(q, log_joint - q.log_prob(points))
    assert_mean(formula(log_likelihood(q.sample((200_000,))), mu, sigma), -bound)


@checks(
    "eq-gkl-normal-form",
    "quadrature",
    r"""
    \begin{aligned}
    \mathrm{KL}(q\,\|\,p) = {} & \frac12 \sum_{k=1}^{K} \bigl(\lambda_k - 1 - \log \lambda_k\bigr) \\
    & + \frac12 \|m\|^2.
    \end{aligned}
    """,
    right=lambda ratios, distance: 0.5 * (ratios - 1 - ratios.log()).sum() + 0.5 * distance,
    wrong={
        "ratios upside down": lambda ratios, distance: 0.5 * (1 / ratios - 1 + ratios.log()).sum() + 0.5 * distance,
        "norm not squared": lambda ratios, distance: 0.5 * (ratios - 1 - ratios.log()).sum() + 0.5 * distance.sqrt(),
        "no 1": lambda ratios, distance: 0.5 * (ratios - ratios.log()).sum() + 0.5 * distance,
    },
)
def normal_form(formula: Formula) -> None:
    """The integral of q log(q / p) over a grid in the plane."""
    mu0, Sigma0, mu1, Sigma1 = a_pair()
    ratios = torch.linalg.eigvals(torch.linalg.solve(Sigma1, Sigma0)).real
    distance = (mu0 - mu1) @ torch.linalg.solve(Sigma1, mu0 - mu1)
    value = integral_of_kl(MultivariateNormal(mu0, Sigma0), MultivariateNormal(mu1, Sigma1))
    close(formula(ratios, distance), value)


@checks(
    "eq-gkl-chain",
    "finite sum",
    r"""
    \begin{aligned}
    & \mathrm{KL}\bigl(q(u, v)\,\|\,p(u, v)\bigr) \\
    & \quad = \mathrm{KL}\bigl(q(u)\,\|\,p(u)\bigr) \\
    & \qquad + \mathbb{E}_{q(u)}\bigl[\mathrm{KL}\bigl(q(v \mid u)\,\|\,p(v \mid u)\bigr)\bigr].
    \end{aligned}
    """,
    right=lambda of_u, given_u, q_u, p_u: of_u + q_u @ given_u,
    wrong={
        "average under p": lambda of_u, given_u, q_u, p_u: of_u + p_u @ given_u,
        "no average": lambda of_u, given_u, q_u, p_u: of_u + given_u.sum(),
        "sign": lambda of_u, given_u, q_u, p_u: of_u - q_u @ given_u,
    },
)
def chain(formula: Formula) -> None:
    """Two laws on three times four points."""
    q, p = torch.rand(2, 12).softmax(1).view(2, 3, 4)
    q_u, p_u = q.sum(1), p.sum(1)
    q_v, p_v = q / q_u[:, None], p / p_u[:, None]
    given_u = (q_v * (q_v / p_v).log()).sum(1)
    close(formula((q_u * (q_u / p_u).log()).sum(), given_u, q_u, p_u), (q * (q / p).log()).sum())


@checks(
    "eq-gkl-correlation",
    "quadrature",
    r"""
    \begin{aligned}
    \mathrm{KL}(q\,\|\,p) = {} & \sum_{k=1}^{K} \mathrm{KL}(q_k\,\|\,p_k) \\
    & - \frac12 \log \det R ,
    \end{aligned}
    """,
    right=lambda marginals, R: marginals.sum() - 0.5 * logdet(R),
    wrong={
        "sign": lambda marginals, R: marginals.sum() + 0.5 * logdet(R),
        "no half": lambda marginals, R: marginals.sum() - logdet(R),
        "no remainder": lambda marginals, R: marginals.sum(),
    },
)
def correlation(formula: Formula) -> None:
    """The integral over a grid in the plane, for a prior of Student's t times a logistic; the marginals by theirs."""
    mu, Sigma, *_ = a_pair()
    points, step = line(9, 361)
    log_p = torch.stack(
        [torch.distributions.StudentT(5.0).log_prob(points), -points - 2 * torch.log1p(torch.exp(-points))]
    )
    z = torch.cartesian_prod(points, points)
    log_q = MultivariateNormal(mu, Sigma).log_prob(z)
    log_product = (log_p[0][:, None] + log_p[1]).flatten()
    whole = (log_q.exp() * (log_q - log_product)).sum() * step**2
    log_marginals = [Normal(mu[k], Sigma[k, k].sqrt()).log_prob(points) for k in (0, 1)]
    marginals = torch.stack([(a.exp() * (a - b)).sum() * step for a, b in zip(log_marginals, log_p, strict=True)])
    R = Sigma / torch.outer(Sigma.diagonal(), Sigma.diagonal()).sqrt()
    close(formula(marginals, R), whole)


def _fisher(delta: Tensor, V: Tensor, Sigma: Tensor) -> Tensor:
    PV = torch.linalg.solve(Sigma, V)
    return delta @ torch.linalg.solve(Sigma, delta) + 0.5 * trace(PV @ PV)


@checks(
    "eq-gkl-fisher",
    "autograd",
    r"""
    F(\delta, V) = \delta^\top \Sigma^{-1} \delta
    + \tfrac12 \operatorname{tr}\bigl(\Sigma^{-1} V\, \Sigma^{-1} V\bigr)
    """,
    right=_fisher,
    wrong={
        "no half": lambda delta, V, Sigma: 2 * _fisher(delta, V, Sigma) - delta @ torch.linalg.solve(Sigma, delta),
        "covariance for precision": lambda delta, V, Sigma: _fisher(delta, V, torch.linalg.inv(Sigma)),
        "trace of V squared": lambda delta, V, Sigma: (
            delta @ torch.linalg.solve(Sigma, delta) + 0.5 * trace(torch.linalg.solve(Sigma, V @ V))
        ),
    },
)
def fisher(formula: Formula) -> None:
    """The score along the direction by autograd, its square integrated under p over a grid in the plane."""
    mu, Sigma, *_ = a_pair()
    delta, V = torch.tensor([0.3, -0.8]), torch.tensor([[0.5, 0.2], [0.2, -0.4]])
    points, step = line(9, 361)
    z = torch.cartesian_prod(points, points)
    _, score = torch.autograd.functional.jvp(
        lambda t: MultivariateNormal(mu + t * delta, Sigma + t * V, validate_args=False).log_prob(z),
        torch.zeros(()), torch.ones(()),
    )  # fmt: skip
    density = MultivariateNormal(mu, Sigma).log_prob(z).exp()
    close(formula(delta, V, Sigma), (density * score**2).sum() * step**2)


def _scales(W: Tensor, w: Tensor, S0: Tensor, S1: Tensor) -> Tensor:
    volume = torch.linalg.slogdet(S1).logabsdet - torch.linalg.slogdet(S0).logabsdet
    return 0.5 * ((W**2).sum() + w @ w - len(w)) + volume


@checks(
    "eq-gkl-scales",
    "quadrature",
    r"""
    \begin{aligned}
    \mathrm{KL}(q\,\|\,p) = {} & \tfrac12 \bigl( \|W\|_F^2 + \|w\|^2 - K \bigr) \\
    & + \log |\det S_1| - \log |\det S_0|.
    \end{aligned}
    """,
    right=_scales,
    wrong={
        "half of the determinants": lambda W, w, S0, S1: (
            _scales(W, w, S0, S1) / 2 + 0.25 * ((W**2).sum() + w @ w - len(w))
        ),
        "determinants exchanged": lambda W, w, S0, S1: _scales(W, w, S1, S0),
        "trace for the norm": lambda W, w, S0, S1: _scales(W, w, S0, S1) + 0.5 * (trace(W @ W) - (W**2).sum()),
    },
)
def scales(formula: Formula) -> None:
    """The integral of q log(q / p) over a grid in the plane, for roots with determinants of either sign."""
    mu0, Sigma0, mu1, Sigma1 = a_pair()
    S0 = torch.linalg.cholesky(Sigma0) @ torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    S1 = torch.linalg.cholesky(Sigma1) @ torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    value = integral_of_kl(MultivariateNormal(mu0, Sigma0), MultivariateNormal(mu1, Sigma1))
    close(formula(torch.linalg.solve(S1, S0), torch.linalg.solve(S1, mu0 - mu1), S0, S1), value)
