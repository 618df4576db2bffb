"""Checks of the numbered equations of "The score function"."""

from __future__ import annotations

import torch
from tiny import gauss_hermite
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent

from equations.registry import Formula, assert_mean, checks, four_codes, kl

close = torch.testing.assert_close


@checks(
    "eq-sf-bound",
    "finite sum",
    r"""
    \begin{aligned}
    \mathcal{L}(\theta, \phi; x) = \mathbb{E}_{q_\phi(z \mid x)}\bigl[ & \log p_\theta(x, z) \\
    & - \log q_\phi(z \mid x)\bigr].
    \end{aligned}
    """,
    right=lambda log_joint, q: q @ (log_joint - q.log()),
    wrong={
        "sign": lambda log_joint, q: q @ (log_joint + q.log()),
        "no entropy": lambda log_joint, q: q @ log_joint,
    },
)
def bound(formula: Formula) -> None:
    """Four codes: log p(x) minus the divergence from the posterior."""
    prior, likelihood, q = four_codes()
    joint = prior * likelihood
    close(formula(joint.log(), q), joint.sum().log() - kl(q, joint / joint.sum()))


Z = torch.arange(4.0, dtype=torch.float64)


def law(phi: Tensor) -> Tensor:
    """Probabilities of four codes, with two parameters."""
    return (phi[0] * Z + phi[1] * Z**2).softmax(0)


def integrand(phi: Tensor) -> Tensor:
    """A function of the code that contains the parameters as well."""
    return torch.sin(Z + phi[0]) * phi[1] ** 2


def derivatives(function: Formula, phi: Tensor) -> Tensor:
    """The Jacobian (4, 2) by reverse-mode autograd."""
    return torch.autograd.functional.jacobian(function, phi)


PHI = torch.tensor([0.4, -0.3], dtype=torch.float64)


@checks(
    "eq-sf-theorem",
    "autograd",
    r"""
    \begin{aligned}
    \nabla_\phi F = {} & \mathbb{E}_{q_\phi}\bigl[f_\phi(z)\,\nabla_\phi \log q_\phi(z)\bigr] \\
    & + \mathbb{E}_{q_\phi}\bigl[\nabla_\phi f_\phi(z)\bigr].
    \end{aligned}
    """,
    right=lambda q, f, score, slope: q @ (f[:, None] * score) + q @ slope,
    wrong={
        "no second term": lambda q, f, score, slope: q @ (f[:, None] * score),
        "sign": lambda q, f, score, slope: q @ (f[:, None] * score) - q @ slope,
        "no average": lambda q, f, score, slope: (f[:, None] * score).sum(0) + slope.sum(0),
    },
)
def theorem(formula: Formula) -> None:
    """The sum over four codes, differentiated by autograd as it stands."""
    score, slope = derivatives(lambda phi: law(phi).log(), PHI), derivatives(integrand, PHI)
    whole = torch.autograd.functional.jacobian(lambda phi: law(phi) @ integrand(phi), PHI)
    close(formula(law(PHI), integrand(PHI), score, slope), whole)


@checks(
    "eq-sf-elbo",
    "autograd",
    r"""
    \begin{aligned}
    \nabla_\phi \mathcal{L} = \mathbb{E}_{q_\phi(z \mid x)}\bigl[ & (\log p_\theta(x, z) \\
    & - \log q_\phi(z \mid x) - c) \\
    & \cdot \nabla_\phi \log q_\phi(z \mid x)\bigr].
    \end{aligned}
    """,
    right=lambda q, log_joint, score, c: q @ ((log_joint - q.log() - c)[:, None] * score),
    wrong={
        "sign of log q": lambda q, log_joint, score, c: q @ ((log_joint + q.log() - c)[:, None] * score),
        "no log q": lambda q, log_joint, score, c: q @ ((log_joint - c)[:, None] * score),
        "c outside": lambda q, log_joint, score, c: q @ ((log_joint - q.log())[:, None] * score) - c,
    },
)
def bound_gradient(formula: Formula) -> None:
    """The bound as a sum over four codes, differentiated by autograd; for several constants."""
    log_joint = torch.rand(4).log()
    whole = torch.autograd.functional.jacobian(lambda phi: law(phi) @ (log_joint - law(phi).log()), PHI)
    score = derivatives(lambda phi: law(phi).log(), PHI)
    for c in (0.0, 1.7, -20.0):
        close(formula(law(PHI), log_joint, score, c), whole)


@checks(
    "eq-sf-estimate",
    "Monte Carlo",
    r"""
    \begin{aligned}
    & \nabla_\phi\,\mathbb{E}_{q_\phi(z \mid x)}[f(z)] \\
    & \quad \approx \frac1L \sum_{l=1}^{L} f(z_l)\,\nabla_\phi \log q_\phi(z_l \mid x), \\
    & z_1, \dots, z_L \sim q_\phi(z \mid x).
    \end{aligned}
    """,
    right=lambda f, score: (f[..., None] * score).mean(1),
    wrong={
        "sum": lambda f, score: (f[..., None] * score).sum(1),
        "sign": lambda f, score: -(f[..., None] * score).mean(1),
        "mean of f": lambda f, score: f.mean(1, keepdim=True) * score.mean(1),
    },
)
def estimate(formula: Formula) -> None:
    """100,000 estimates from four draws each; the gradient of the sum over four codes by autograd."""
    f = torch.tensor([1.0, -0.5, 2.0, 0.3])
    z = Categorical(probs=law(PHI)).sample((100_000, 4))
    score = derivatives(lambda phi: law(phi).log(), PHI)
    assert_mean(formula(f[z], score[z]), torch.autograd.functional.jacobian(lambda phi: law(phi) @ f, PHI))


@checks(
    "eq-sf-surrogate",
    "autograd",
    r"""
    \begin{aligned}
    S(\phi) &= \frac1L \sum_{l=1}^{L} \operatorname{stop}\bigl(f(z_l)\bigr)\,\log q_\phi(z_l), \\
    \nabla_\phi S &= \frac1L \sum_{l=1}^{L} f(z_l)\,\nabla_\phi \log q_\phi(z_l),
    \end{aligned}
    """,
    right=lambda f, log_q: (f.detach() * log_q).mean(),
    wrong={
        "not stopped": lambda f, log_q: (f * log_q).mean(),
        "stopped in the wrong place": lambda f, log_q: (f * log_q.detach()).mean(),
        "sum": lambda f, log_q: (f.detach() * log_q).sum(),
        "probability for its logarithm": lambda f, log_q: (f.detach() * log_q.exp()).mean(),
    },
)
def surrogate(formula: Formula) -> None:
    """Its gradient by autograd, with an f that contains the parameter, against scores from the Jacobian of log q."""
    z = torch.tensor([0, 2, 2, 3, 1])
    phi = PHI.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(formula(integrand(phi)[z], law(phi).log()[z]), phi)
    score = derivatives(lambda phi: law(phi).log(), PHI)
    close(gradient, (integrand(PHI)[z][:, None] * score[z]).mean(0))


def _variance(K: int, delta2: float, sigma: float) -> float:
    smooth = K * delta2**2 / (4 * sigma**2) + (K + 2) ** 2 * delta2 / 2
    return smooth + sigma**2 * K * (K + 2) * (K + 4) / 4 - delta2


@checks(
    "eq-sf-variance",
    "quadrature",
    r"""
    \begin{aligned}
    V = {} & \frac{K \|\delta\|^4}{4 \sigma^2} + \frac{(K + 2)^2 \|\delta\|^2}{2} \\
    & + \frac{\sigma^2 K (K + 2)(K + 4)}{4} \\
    & - \|\delta\|^2 .
    \end{aligned}
    """,
    right=_variance,
    wrong={
        "mean not subtracted": lambda K, delta2, sigma: _variance(K, delta2, sigma) + delta2,
        "K + 1": lambda K, delta2, sigma: _variance(K, delta2, sigma) - (2 * K + 3) * delta2 / 2,
        "half the first": lambda K, delta2, sigma: _variance(K, delta2, sigma) - K * delta2**2 / (8 * sigma**2),
        "sigma for its square": lambda K, delta2, sigma: _variance(K, delta2, sigma**0.5),
    },
)
def variance(formula: Formula) -> None:
    """Gauss-Hermite quadrature in two dimensions, exact for these polynomials; and two million draws in five."""

    nodes, weights = gauss_hermite(12)
    eps = torch.cartesian_prod(nodes, nodes)
    weight = torch.outer(weights, weights).flatten()[:, None]
    delta, sigma = torch.tensor([0.8, -0.5]), 0.7
    estimates = -0.5 * (sigma * eps + delta).square().sum(1, keepdim=True) * eps / sigma
    exact = (weight * estimates**2).sum() - (weight * estimates).sum(0).square().sum()
    close(torch.tensor(formula(2, delta.square().sum().item(), sigma)), exact)
    eps, delta = torch.randn(400_000, 5), torch.tensor([0.8, -0.5, 0.2, 0.0, 1.0])
    estimates = -0.5 * (sigma * eps + delta).square().sum(1, keepdim=True) * eps / sigma
    assert_mean((estimates + delta).square().sum(1), formula(5, delta.square().sum().item(), sigma))


@checks(
    "eq-sf-optimal",
    "finite sum",
    r"""
    \begin{aligned}
    \operatorname{Var}\bigl((f - b)\,s_p\bigr) = {} & \operatorname{Var}\bigl((f - b_p^*)\,s_p\bigr) \\
    & + (b - b_p^*)^2\,\mathbb{E}[s_p^2],
    \end{aligned}
    """,
    right=lambda least, distance, square: least + distance**2 * square,
    wrong={
        "no square": lambda least, distance, square: least + distance.abs() * square,
        "sign": lambda least, distance, square: least - distance**2 * square,
        "no second moment": lambda least, distance, square: least + distance**2,
    },
)
def optimal(formula: Formula) -> None:
    """Variances over four codes, for several baselines, with the best one as the chapter gives it."""
    q, f = law(PHI), torch.tensor([1.0, -0.5, 2.0, 0.3])
    score = derivatives(lambda phi: law(phi).log(), PHI)

    def var(values: Tensor) -> Tensor:
        return q @ values**2 - (q @ values) ** 2

    for s in score.T:
        best = (q @ (f * s**2)) / (q @ s**2)
        for b in (-1.0, 0.0, 2.5):
            close(formula(var((f - best) * s), b - best, q @ s**2), var((f - b) * s))


@checks(
    "eq-sf-loo",
    "linear algebra",
    r"\frac1L \sum_{l=1}^{L} (f_l - b_l)\,s_l = \frac{1}{L - 1} \sum_{l=1}^{L} (f_l - \bar f)\,s_l .",
    right=lambda f, s: ((f - f.mean()) * s).sum() / (len(f) - 1),
    wrong={
        "L": lambda f, s: ((f - f.mean()) * s).sum() / len(f),
        "no baseline": lambda f, s: (f * s).sum() / (len(f) - 1),
        "mean of the scores taken off": lambda f, s: (f * s.abs()).sum() / (len(f) - 1),
    },
)
def leave_one_out(formula: Formula) -> None:
    """The mean of the other draws, one by one."""
    f, s = torch.randn(2, 6)
    left = torch.stack([(f[k] - torch.cat([f[:k], f[k + 1 :]]).mean()) * s[k] for k in range(6)]).mean()
    close(formula(f, s), left)


@checks(
    "eq-sf-loo-variance",
    "finite sum",
    r"""
    \begin{aligned}
    & \frac1L \operatorname{Var}\bigl((f - \mathbb{E} f)\,s_p\bigr) \\
    & + \frac{\operatorname{Var}(f)\,\mathbb{E}[s_p^2] + (\partial_p F)^2}{L (L - 1)} .
    \end{aligned}
    """,
    right=lambda L, centred, f_var, s2, slope: centred / L + (f_var * s2 + slope**2) / (L * (L - 1)),
    wrong={
        "no gradient": lambda L, centred, f_var, s2, slope: centred / L + f_var * s2 / (L * (L - 1)),
        "L squared": lambda L, centred, f_var, s2, slope: centred / L + (f_var * s2 + slope**2) / L**2,
        "sign": lambda L, centred, f_var, s2, slope: centred / L + (f_var * s2 - slope**2) / (L * (L - 1)),
        "first alone": lambda L, centred, f_var, s2, slope: centred / L,
    },
)
def leave_one_out_variance(formula: Formula) -> None:
    """Every outcome of three draws of four codes, with its probability."""
    q, f = law(PHI), torch.tensor([1.0, -0.5, 2.0, 0.3])
    outcomes = torch.cartesian_prod(*[torch.arange(4)] * 3)
    weight = q[outcomes].prod(1)
    drawn = f[outcomes]
    for s in derivatives(lambda phi: law(phi).log(), PHI).T:
        values = ((drawn - (drawn.sum(1, keepdim=True) - drawn) / 2) * s[outcomes]).mean(1)
        slope = weight @ values
        centred = (f - q @ f) * s
        parts = (q @ centred**2 - (q @ centred) ** 2, q @ f**2 - (q @ f) ** 2, q @ s**2, slope)
        close(formula(3, *parts), weight @ values**2 - slope**2)


@checks(
    "eq-sf-local",
    "finite sum",
    r"""
    \begin{aligned}
    \mathbb{E}\bigl[(f - b)\,s_k\bigr] = {} & \mathbb{E}\bigl[(f_k - b')\,s_k\bigr], \\
    \operatorname{Var}\bigl((f - b)\,s_k\bigr) = {} & \operatorname{Var}\bigl((f_k - b')\,s_k\bigr) \\
    & + \operatorname{Var}(r_k)\,\mathbb{E}[s_k^2].
    \end{aligned}
    """,
    right=lambda mean, var, rest, square: (mean, var + rest * square),
    wrong={
        "nothing added": lambda mean, var, rest, square: (mean, var),
        "sign": lambda mean, var, rest, square: (mean, var - rest * square),
        "no second moment": lambda mean, var, rest, square: (mean, var + rest),
        "the mean with the other variable's noise": lambda mean, var, rest, square: (mean + rest, var + rest * square),
    },
)
def local(formula: Formula) -> None:
    """Every outcome of two independent variables of four values each, with its probability, for several baselines."""
    q, other = law(PHI), law(-PHI)
    f, r = torch.tensor([1.0, -0.5, 2.0, 0.3]), torch.tensor([0.7, 1.9, -1.0, 0.2])
    both = torch.outer(q, other)
    for s in derivatives(lambda phi: law(phi).log(), PHI).T:
        for b in (-1.0, 0.0, 2.5):
            whole = (f[:, None] + r - b) * s[:, None]
            alone = (f - (b - other @ r)) * s
            mean, rest = q @ alone, other @ r**2 - (other @ r) ** 2
            value = formula(mean, q @ alone**2 - mean**2, rest, q @ s**2)
            average = (both * whole).sum()
            close(value, (average, (both * whole**2).sum() - average**2))


def _taylor(f: Tensor, g: Tensor, A: Tensor, step: Tensor) -> Tensor:
    return f + step @ g + 0.5 * ((step @ A) * step).sum(-1)


@checks(
    "eq-sf-taylor",
    "autograd",
    r"""
    \begin{aligned}
    h(z) = f(\mu) & + g^\top (z - \mu) \\
    & + \tfrac12 (z - \mu)^\top A\,(z - \mu), \\
    g = \nabla f(\mu), &
    \end{aligned}
    """,
    right=_taylor,
    wrong={
        "no half": lambda f, g, A, step: _taylor(f, g, 2 * A, step),
        "sign of g": lambda f, g, A, step: _taylor(f, -g, A, step),
        "no constant": lambda f, g, A, step: _taylor(0 * f, g, A, step),
    },
)
def taylor(formula: Formula) -> None:
    """It is left behind by less than a constant times the third power of the step."""
    mu, direction = torch.tensor([0.3, -0.7]), torch.tensor([0.6, 0.8])

    def f(z: Tensor) -> Tensor:
        return torch.sin(z[..., 0] * z[..., 1]) + z[..., 0].exp() * z[..., 1]

    derive = torch.autograd.functional
    terms = f(mu), derive.jacobian(f, mu), derive.hessian(f, mu)
    for t in (1e-1, 1e-2, 1e-3):
        assert (f(mu + t * direction) - formula(*terms, t * direction)).abs() < 2 * t**3


@checks(
    "eq-sf-switches",
    "finite sum",
    r"""
    \begin{aligned}
    p(z) &= 2^{-K}, \\
    q_\phi(z \mid x) &= \prod_{k=1}^{K} \pi_k^{z_k} (1 - \pi_k)^{1 - z_k}, \\
    \pi_k &= 1 / \bigl(1 + e^{-a_k(x)}\bigr).
    \end{aligned}
    """,
    right=lambda z, a: (
        2.0 ** -z.shape[1],
        ((1 / (1 + (-a).exp())) ** z * (1 - 1 / (1 + (-a).exp())) ** (1 - z)).prod(1),
    ),
    wrong={
        "sign of the logit": lambda z, a: (
            2.0 ** -z.shape[1],
            ((1 / (1 + a.exp())) ** z * (1 - 1 / (1 + a.exp())) ** (1 - z)).prod(1),
        ),
        "2 to the -1": lambda z, a: (0.5, Independent(Bernoulli(logits=a), 1).log_prob(z).exp()),
        "exponents exchanged": lambda z, a: (
            2.0 ** -z.shape[1],
            ((1 / (1 + (-a).exp())) ** (1 - z) * (1 - 1 / (1 + (-a).exp())) ** z).prod(1),
        ),
    },
)
def switches(formula: Formula) -> None:
    """PyTorch's Bernoulli law by its logits, over all eight codes; both add up to one."""
    z, a = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3), torch.tensor([0.4, -1.2, 2.0])
    prior, q = formula(z, a)
    close(q, Independent(Bernoulli(logits=a), 1).log_prob(z).exp())
    assert abs(8 * prior - 1) < 1e-12
    close(q.sum(), torch.tensor(1.0))
