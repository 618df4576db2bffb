"""Checks of the numbered equations of "The evidence lower bound"."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Bernoulli, MultivariateNormal, Normal

from equations.registry import Formula, assert_mean, checks, four_codes, kl, least_diagonal_kl, line

close = torch.testing.assert_close


def a_smooth_model() -> tuple[Tensor, float, Tensor, Tensor]:
    """A grid of codes and its step, the prior's density there, and p(x|z) of one image of three pixels."""
    z, step = line(9, 721)
    x, weights = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.5, -0.8, 0.5])
    likelihood = Bernoulli(logits=z[:, None] * weights - 0.2).log_prob(x).sum(1).exp()
    return z, step, Normal(0.0, 1.0).log_prob(z).exp(), likelihood


@checks(
    "eq-elbo-integral",
    "Monte Carlo",
    r"p_\theta(x) = \int p_\theta(x \mid z)\,p(z)\,dz,",
    right=lambda likelihood, prior, step: (likelihood * prior).sum() * step,
    wrong={
        "no prior": lambda likelihood, prior, step: likelihood.sum() * step,
        "squared likelihood": lambda likelihood, prior, step: (likelihood**2 * prior).sum() * step,
    },
)
def integral(formula: Formula) -> None:
    """How often codes of the prior, decoded, give the very image: 400,000 draws of code and image."""
    _, step, prior, likelihood = a_smooth_model()
    x, weights = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.5, -0.8, 0.5])
    drawn = torch.bernoulli(torch.sigmoid(torch.randn(400_000, 1) * weights - 0.2))
    assert_mean((drawn == x).all(1).double(), formula(likelihood, prior, step))


@checks(
    "eq-elbo-weight",
    "quadrature",
    r"p_\theta(x) = \mathbb{E}_{q}\bigl[w(z)\bigr], \qquad w(z) = \frac{p_\theta(x, z)}{q(z)},",
    right=lambda likelihood, prior, q: likelihood * prior / q,
    wrong={
        "no prior": lambda likelihood, prior, q: likelihood / q,
        "upside down": lambda likelihood, prior, q: q / (likelihood * prior),
        "no correction": lambda likelihood, prior, q: likelihood,
    },
)
def weight(formula: Formula) -> None:
    """The mean of the weight over codes of q, against the mean of p(x|z) over codes of the prior."""
    z, step, prior, likelihood = a_smooth_model()
    q = Normal(0.5, 1.2).log_prob(z).exp()
    close((q * formula(likelihood, prior, q)).sum() * step, (prior * likelihood).sum() * step)


@checks(
    "eq-elbo-definition",
    "finite sum",
    r"""
    \begin{aligned}
    \mathcal{L}(q; x) &= \mathbb{E}_{q}\bigl[\log w(z)\bigr] \\
    &= \mathbb{E}_{q}\bigl[\log p_\theta(x, z) - \log q(z)\bigr].
    \end{aligned}
    """,
    right=lambda joint, q: ((q * (joint / q).log()).sum(), (q * (joint.log() - q.log())).sum()),
    wrong={
        "average under the joint": lambda joint, q: ((joint * (joint / q).log()).sum(),) * 2,
        "entropy with the wrong sign": lambda joint, q: ((q * (joint.log() + q.log())).sum(),) * 2,
        "logarithm outside": lambda joint, q: ((q * (joint / q)).sum().log(),) * 2,
    },
)
def definition(formula: Formula) -> None:
    """Four codes: log p(x) minus the divergence from the posterior, which Bayes' rule gives."""
    prior, likelihood, q = four_codes()
    evidence = prior @ likelihood
    for form in formula(prior * likelihood, q):
        close(form, evidence.log() - kl(q, prior * likelihood / evidence))


@checks(
    "eq-elbo-jensen",
    "quadrature",
    r"""
    \mathcal{L}(q; x) \;\leq\; \log \int_{\{q > 0\}} p_\theta(x, z)\,dz \;\leq\; \log p_\theta(x),
    """,
    right=lambda bound, on_support, evidence: (bound, on_support.log(), evidence.log()),
    wrong={
        "the other way round": lambda bound, on_support, evidence: (evidence.log(), on_support.log(), bound),
        "no logarithm in the middle": lambda bound, on_support, evidence: (bound, on_support, evidence.log()),
        "the sign of the bound": lambda bound, on_support, evidence: (-bound, on_support.log(), evidence.log()),
    },
)
def jensen(formula: Formula) -> None:
    """A q on half of the line: both are strict; the posterior's part there: the second; the posterior: neither."""
    z, step, prior, likelihood = a_smooth_model()
    joint, half = prior * likelihood, z > 0
    cases = (
        (Normal(0.5, 0.7).log_prob(z).exp() * half, (True, True)),
        (joint * half, (False, True)),
        (joint, (False, False)),
    )
    for q, strict in cases:
        q = q / (q.sum() * step)
        held = q > 0
        bound = (q[held] * (joint[held] / q[held]).log()).sum() * step
        below, middle, above = formula(bound, joint[held].sum() * step, joint.sum() * step)
        for lower, upper, is_strict in ((below, middle, strict[0]), (middle, above, strict[1])):
            assert (upper - lower > 1e-3) if is_strict else abs(upper - lower) < 1e-9


@checks(
    "eq-elbo-tangent",
    "autograd",
    r"\log t \leq \log c + \frac{t - c}{c} \qquad (t \geq 0),",
    right=lambda t, c: math.log(c) + (t - c) / c,
    wrong={
        "slope 1": lambda t, c: math.log(c) + (t - c),
        "sign": lambda t, c: math.log(c) - (t - c) / c,
        "above": lambda t, c: math.log(c) + (t - c) / c + 0.1,
    },
)
def tangent(formula: Formula) -> None:
    """It touches the logarithm at c with its slope, by autograd, and lies above it elsewhere."""
    for c in (0.3, 2.0):
        t = torch.tensor(c, requires_grad=True)
        (slope,) = torch.autograd.grad(formula(t, c), t)
        (expected,) = torch.autograd.grad(t.log(), t)
        close(slope, expected)
        close(formula(t, c), t.log())
        grid = torch.linspace(0.01, 9, 900)
        assert (formula(grid, c) >= grid.log() - 1e-12).all()


@checks(
    "eq-elbo-both-sides",
    "finite sum",
    r"""
    \begin{aligned}
    &\log p_\theta(x) - \mathrm{KL}\bigl(q\,\|\,p_\theta(z \mid x)\bigr) \\
    &\quad = \mathbb{E}_{q}\bigl[\log p_\theta(x \mid z)\bigr] - \mathrm{KL}\bigl(q\,\|\,p(z)\bigr).
    \end{aligned}
    """,
    right=lambda reconstruction, to_prior: reconstruction - to_prior,
    wrong={
        "sign": lambda reconstruction, to_prior: reconstruction + to_prior,
        "no divergence": lambda reconstruction, to_prior: reconstruction,
    },
)
def both_sides(formula: Formula) -> None:
    """Four codes, the left side by Bayes' rule."""
    prior, likelihood, q = four_codes()
    evidence = prior @ likelihood
    left = evidence.log() - kl(q, prior * likelihood / evidence)
    close(formula(q @ likelihood.log(), kl(q, prior)), left)


@checks(
    "eq-elbo-multiply",
    "finite sum",
    r"""
    \begin{aligned}
    \log p_\theta(x)
    &= \mathbb{E}_q\!\left[\log \frac{p_\theta(x, z)}{p_\theta(z \mid x)}\right] \\
    &= \mathbb{E}_q\!\left[\log \frac{p_\theta(x, z)}{q(z)}\right] \\
    &\quad + \mathbb{E}_q\!\left[\log \frac{q(z)}{p_\theta(z \mid x)}\right].
    \end{aligned}
    """,
    right=lambda q, joint, posterior: (
        q @ (joint / posterior).log(),
        q @ (joint / q).log() + q @ (q / posterior).log(),
    ),
    wrong={
        "second term upside down": lambda q, joint, posterior: (
            q @ (joint / posterior).log(),
            q @ (joint / q).log() + q @ (posterior / q).log(),
        ),
        "second term forgotten": lambda q, joint, posterior: (q @ (joint / posterior).log(), q @ (joint / q).log()),
    },
)
def multiply(formula: Formula) -> None:
    """Four codes; log p(x) is the logarithm of a sum over them."""
    prior, likelihood, q = four_codes()
    evidence = prior @ likelihood
    for form in formula(q, prior * likelihood, prior * likelihood / evidence):
        close(form, evidence.log())


@checks(
    "eq-elbo-decomposition",
    "quadrature",
    r"""
    \begin{aligned}
    &\log p_\theta(x) - \mathcal{L}(q; x) \\
    &\quad = \mathrm{KL}\bigl(q\,\|\,p_\theta(z \mid x)\bigr) \in [0, \infty],
    \end{aligned}
    """,
    right=lambda q, posterior: q * (q / posterior).log(),
    wrong={
        "the other direction": lambda q, posterior: posterior * (posterior / q).log(),
        "sign": lambda q, posterior: -q * (q / posterior).log(),
    },
)
def decomposition(formula: Formula) -> None:
    """Quadrature over one code: the bound from the joint density alone, the divergence from the posterior."""
    z, step, prior, likelihood = a_smooth_model()
    joint = prior * likelihood
    evidence = joint.sum() * step
    for mean, std in ((0.3, 0.6), (-1.0, 1.1)):
        q = Normal(mean, std).log_prob(z).exp()
        bound = (q * (joint / q).log()).sum() * step
        right = formula(q, joint / evidence).sum() * step
        close(right, evidence.log() - bound)
        assert right >= 0


@checks(
    "eq-elbo-variational",
    "autograd",
    r"""
    \begin{aligned}
    \log p_\theta(x) &= \max_q \mathcal{L}(q; x), \\
    p_\theta(z \mid x) &= \arg\max_q \mathcal{L}(q; x).
    \end{aligned}
    """,
    right=lambda q, joint: q @ (joint / q).log(),
    wrong={
        "no entropy": lambda q, joint: q @ joint.log(),
        "entropy twice": lambda q, joint: q @ (joint.log() - 2 * q.log()),
        "a minimum": lambda q, joint: -(q @ (joint / q).log()),
    },
)
def variational(formula: Formula) -> None:
    """Gradient ascent over all laws on four codes ends at Bayes' posterior and at log p(x)."""
    prior, likelihood, start = four_codes()
    joint, logits = prior * likelihood, start.log().requires_grad_()
    optimiser = torch.optim.LBFGS([logits], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = -formula(logits.softmax(0), joint)
        value.backward()
        return value

    optimiser.step(closure)
    q = logits.detach().softmax(0)
    close(q, joint / joint.sum(), atol=1e-4, rtol=0)
    close(formula(q, joint), joint.sum().log())


@checks(
    "eq-elbo-pointwise",
    "finite sum",
    r"""
    \begin{aligned}
    \log w(z) = {} & \log p_\theta(x) \\
    & - \log \frac{q(z)}{p_\theta(z \mid x)},
    \end{aligned}
    """,
    right=lambda evidence, q, posterior: evidence.log() - (q / posterior).log(),
    wrong={
        "sign": lambda evidence, q, posterior: evidence.log() + (q / posterior).log(),
        "no evidence": lambda evidence, q, posterior: -(q / posterior).log(),
    },
)
def pointwise(formula: Formula) -> None:
    """Each of four codes, with the weight as it was defined."""
    prior, likelihood, q = four_codes()
    evidence = prior @ likelihood
    close(formula(evidence, q, prior * likelihood / evidence), (likelihood * prior / q).log())


@checks(
    "eq-elbo-path",
    "quadrature",
    r"q_t(z) \propto p(z)\,p_\theta(x \mid z)^t, \qquad t \geq 0,",
    right=lambda prior, likelihood, t: prior * likelihood**t,
    wrong={
        "prior to the power as well": lambda prior, likelihood, t: (prior * likelihood) ** t,
        "t as a factor": lambda prior, likelihood, t: prior * (1 + t * likelihood),
        "a straight line": lambda prior, likelihood, t: (1 - t) * prior + t * prior * likelihood,
    },
)
def path(formula: Formula) -> None:
    """Prior and posterior lie on it; and on it E log p(x|z) is the slope of the log of what normalises it."""
    _, step, prior, likelihood = a_smooth_model()
    joint = prior * likelihood
    for t, law in ((0.0, prior), (1.0, joint)):
        q = formula(prior, likelihood, t)
        close(q / q.sum(), law / law.sum())
    log_normaliser = [(formula(prior, likelihood, 0.6 + h).sum() * step).log() for h in (-1e-4, 1e-4)]
    q = formula(prior, likelihood, 0.6)
    slope = (log_normaliser[1] - log_normaliser[0]) / 2e-4
    close((q * likelihood.log()).sum() / q.sum(), slope, rtol=1e-6, atol=0)


@checks(
    "eq-elbo-two-terms",
    "quadrature",
    r"""
    \begin{aligned}
    \mathcal{L}(q; x) = {} & \mathbb{E}_{q}\bigl[\log p_\theta(x \mid z)\bigr] \\
    & - \mathrm{KL}\bigl(q\,\|\,p(z)\bigr).
    \end{aligned}
    """,
    right=lambda reconstruction, to_prior: reconstruction - to_prior,
    wrong={
        "sign": lambda reconstruction, to_prior: reconstruction + to_prior,
        "sign of the first": lambda reconstruction, to_prior: -reconstruction - to_prior,
        "half the divergence": lambda reconstruction, to_prior: reconstruction - to_prior / 2,
    },
)
def two_terms(formula: Formula) -> None:
    """Quadrature over one code; the left side is log p(x) minus the divergence from the posterior."""
    z, step, prior, likelihood = a_smooth_model()
    q, joint = Normal(0.3, 0.6).log_prob(z).exp(), prior * likelihood
    evidence = joint.sum() * step
    left = evidence.log() - (q * (q * evidence / joint).log()).sum() * step
    close(formula((q * likelihood.log()).sum() * step, (q * (q / prior).log()).sum() * step), left)


@checks(
    "eq-elbo-entropy",
    "quadrature",
    r"""
    \begin{aligned}
    \mathcal{L}(q; x) = {} & \mathbb{E}_{q}\bigl[\log p_\theta(x, z)\bigr] \\
    & + H(q).
    \end{aligned}
    """,
    right=lambda log_joint, entropy: log_joint + entropy,
    wrong={
        "sign": lambda log_joint, entropy: log_joint - entropy,
        "no entropy": lambda log_joint, entropy: log_joint,
    },
)
def with_entropy(formula: Formula) -> None:
    """Quadrature over one code; the left side is log p(x) minus the divergence from the posterior."""
    z, step, prior, likelihood = a_smooth_model()
    law, joint = Normal(0.3, 0.6), prior * likelihood
    q, evidence = law.log_prob(z).exp(), joint.sum() * step
    left = evidence.log() - (q * (q * evidence / joint).log()).sum() * step
    close(formula((q * joint.log()).sum() * step, law.entropy()), left)


def two_images() -> tuple[Tensor, Tensor, Tensor]:
    """Joints p(x_i, z_i) of two images with three and four codes, and a q of both codes that makes them dependent."""
    return torch.rand(3), torch.rand(4), torch.rand(12).softmax(0).view(3, 4)


@checks(
    "eq-elbo-iid",
    "finite sum",
    r"""
    \begin{aligned}
    \log p_\theta(X) &= \sum_{i=1}^N \log p_\theta(x_i), \\
    p_\theta(Z \mid X) &= \prod_{i=1}^N p_\theta(z_i \mid x_i),
    \end{aligned}
    """,
    right=lambda first, second: (
        first.sum().log() + second.sum().log(),
        torch.outer(first / first.sum(), second / second.sum()),
    ),
    wrong={
        "sum in the logarithm": lambda first, second: (
            (first.sum() + second.sum()).log(),
            torch.outer(first / first.sum(), second / second.sum()),
        ),
        "joints for posteriors": lambda first, second: (
            first.sum().log() + second.sum().log(),
            torch.outer(first, second),
        ),
    },
)
def independent(formula: Formula) -> None:
    """Two images: the sum over all pairs of codes of the joint of everything, and Bayes' rule with it."""
    first, second, _ = two_images()
    joint = first[:, None] * second
    log_evidence, posterior = formula(first, second)
    close(log_evidence, joint.sum().log())
    close(posterior, joint / joint.sum())


def _parts(first: Tensor, second: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return q.sum(1), q.sum(0), kl(q.flatten(), torch.outer(q.sum(1), q.sum(0)).flatten())


@checks(
    "eq-elbo-sum",
    "finite sum",
    r"\mathcal{L}(q; X) = \sum_i \mathcal{L}(q_i; x_i) - \mathrm{TC}(q),",
    right=lambda bounds, total_correlation: bounds.sum() - total_correlation,
    wrong={
        "sign": lambda bounds, total_correlation: bounds.sum() + total_correlation,
        "no correlation": lambda bounds, total_correlation: bounds.sum(),
        "mean": lambda bounds, total_correlation: bounds.mean() - total_correlation,
    },
)
def bound_of_a_data_set(formula: Formula) -> None:
    """Two images: the bound of the whole by summing over all pairs of codes."""
    first, second, q = two_images()
    q1, q2, total_correlation = _parts(first, second, q)
    whole = (q * (torch.outer(first, second) / q).log()).sum()
    bounds = torch.stack([q1 @ (first / q1).log(), q2 @ (second / q2).log()])
    close(formula(bounds, total_correlation), whole)


@checks(
    "eq-elbo-sum-kl",
    "finite sum",
    r"""
    \begin{aligned}
    &\mathrm{KL}\bigl(q\,\|\,p_\theta(Z \mid X)\bigr) \\
    &\quad = \sum_i \mathrm{KL}\bigl(q_i\,\|\,p_\theta(z_i \mid x_i)\bigr) \\
    &\qquad + \mathrm{TC}(q).
    \end{aligned}
    """,
    right=lambda divergences, total_correlation: divergences.sum() + total_correlation,
    wrong={
        "sign": lambda divergences, total_correlation: divergences.sum() - total_correlation,
        "no correlation": lambda divergences, total_correlation: divergences.sum(),
    },
)
def divergence_of_a_data_set(formula: Formula) -> None:
    """Two images: the divergence of the whole by summing over all pairs of codes."""
    first, second, q = two_images()
    q1, q2, total_correlation = _parts(first, second, q)
    posterior = torch.outer(first / first.sum(), second / second.sum())
    divergences = torch.stack([kl(q1, first / first.sum()), kl(q2, second / second.sum())])
    close(formula(divergences, total_correlation), kl(q.flatten(), posterior.flatten()))


@checks(
    "eq-elbo-conditional",
    "finite sum",
    r"""
    \begin{aligned}
    \sum_{i=1}^N \log p_\theta(x_i) &\geq \sum_{i=1}^N \mathcal{L}(\theta, \phi; x_i), \\
    \mathcal{L}(\theta, \phi; x_i) &= \mathcal{L}\bigl(q_\phi(\,\cdot \mid x_i), \theta; x_i\bigr).
    \end{aligned}
    """,
    right=lambda joints, q: (q * (joints / q).log()).sum(1).sum(),
    wrong={
        "one q, that of the first image, for all": lambda joints, q: (q[:1] * (joints / q[:1]).log()).sum(),
        "sign of log q": lambda joints, q: (q * (joints * q).log()).sum(),
        "no entropy": lambda joints, q: (q * joints.log()).sum(),
    },
)
def conditional(formula: Formula) -> None:
    """Three images with four codes each: strictly below for a random encoder, and equal for the posteriors."""
    joints, q = torch.rand(3, 4), torch.rand(3, 4).softmax(1)
    evidence = joints.sum(1)
    assert formula(joints, q) < evidence.log().sum()
    close(formula(joints, joints / evidence[:, None]), evidence.log().sum())


@checks(
    "eq-elbo-gaps",
    "finite sum",
    r"""
    \begin{aligned}
    &\max_\phi \sum_i \mathcal{L}(\theta, \phi; x_i) \\
    &\quad \leq \sum_i \max_{q \in \mathcal{Q}} \mathcal{L}(q, \theta; x_i) \\
    &\quad \leq \sum_i \log p_\theta(x_i)
    \end{aligned}
    """,
    right=lambda shared, own, evidence: (shared, own, evidence),
    wrong={
        "the first two exchanged": lambda shared, own, evidence: (own, shared, evidence),
        "the last two exchanged": lambda shared, own, evidence: (shared, evidence, own),
    },
)
def gaps(formula: Formula) -> None:
    """All encoders that answer every image with one of fifty laws: one law for all images, or the best for each."""
    joints, family = torch.rand(3, 4), torch.rand(50, 4).softmax(1)
    bounds = (family[:, None] * (joints / family[:, None]).log()).sum(-1)  # (50, 3)
    terms = formula(bounds.sum(1).max(), bounds.max(0).values.sum(), joints.sum(1).log().sum())
    assert terms[0] < terms[1] < terms[2]


@checks(
    "eq-elbo-diagonal-gap",
    "autograd",
    r"""
    \begin{aligned}
    &\min_{\mu, v} \mathrm{KL}\bigl(q\,\|\,p_\theta(z \mid x)\bigr) \\
    &\quad = \frac12 \Bigl(\sum_{k=1}^K \log P_{kk} - \log \det P\Bigr),
    \end{aligned}
    """,
    right=lambda P: 0.5 * (P.diagonal().log().sum() - torch.logdet(P)),
    wrong={
        "no half": lambda P: P.diagonal().log().sum() - torch.logdet(P),
        "covariance for precision": lambda P: 0.5 * (torch.linalg.inv(P).diagonal().log().sum() - torch.logdet(P)),
        "sign": lambda P: 0.5 * (torch.logdet(P) - P.diagonal().log().sum()),
    },
)
def diagonal_gap(formula: Formula) -> None:
    """An optimiser over means and variances, with PyTorch's divergence between the two Gaussians."""
    root = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.7, 0.0], [-0.5, 0.4, 0.9]])
    posterior = MultivariateNormal(torch.tensor([0.5, -1.0, 0.3]), precision_matrix=root @ root.mT)
    close(formula(root @ root.mT), least_diagonal_kl(posterior), atol=1e-8, rtol=0)


@checks(
    "eq-elbo-gradient",
    "autograd",
    r"""
    \begin{aligned}
    &\nabla_\theta\, \mathcal{L}(q, \theta; x) \big|_{\theta_0} \\
    &\quad = \nabla_\theta \log p_\theta(x) \big|_{\theta_0}.
    \end{aligned}
    """,
    right=lambda log_joint, q: (q * log_joint).sum(),
    wrong={
        "under the prior, not the posterior": lambda log_joint, q: log_joint.mean(),
        "sign": lambda log_joint, q: -(q * log_joint).sum(),
        "twice": lambda log_joint, q: 2 * (q * log_joint).sum(),
    },
)
def gradient(formula: Formula) -> None:
    """Autograd through the sum over four codes, against autograd through the bound with its q held fixed."""
    prior, _, _ = four_codes()
    theta = torch.randn(4, requires_grad=True)
    log_joint = prior.log() + torch.nn.functional.logsigmoid(theta * torch.arange(1.0, 5.0))
    q = log_joint.detach().softmax(0)
    (left,) = torch.autograd.grad(formula(log_joint, q), theta, retain_graph=True)
    (right,) = torch.autograd.grad(log_joint.logsumexp(0), theta)
    close(left, right)


@checks(
    "eq-elbo-surgery",
    "finite sum",
    r"""
    \frac1N \sum_{i=1}^N \mathrm{KL}\bigl(q_i\,\|\,p(z)\bigr)
    = \mathrm{KL}\bigl(\bar q\,\|\,p(z)\bigr) + \frac1N \sum_{i=1}^N \mathrm{KL}\bigl(q_i\,\|\,\bar q\bigr),
    """,
    right=lambda to_prior, to_aggregate: to_prior + to_aggregate.mean(),
    wrong={
        "sum for mean": lambda to_prior, to_aggregate: to_prior + to_aggregate.sum(),
        "sign": lambda to_prior, to_aggregate: to_prior - to_aggregate.mean(),
        "first term alone": lambda to_prior, to_aggregate: to_prior,
    },
)
def surgery(formula: Formula) -> None:
    """Three laws on four codes."""
    prior, q = torch.rand(4).softmax(0), torch.rand(3, 4).softmax(1)
    close(formula(kl(q.mean(0), prior), kl(q, q.mean(0))), kl(q, prior).mean())
