"""Checks of the numbered equations of "EM, variational inference, VAE"."""

from __future__ import annotations

import torch
from torch import Tensor, logdet
from torch.autograd.functional import hessian
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from equations.registry import Formula, assert_mean, checks, kl

close = torch.testing.assert_close


@checks(
    "eq-em-bound",
    "finite sum",
    r"""
    \begin{aligned}
    \mathcal{L}(q, \theta) &= \mathbb{E}_{q(Z)}\left[\log \frac{p_\theta(X, Z)}{q(Z)}\right] \\
    &= \log p_\theta(X) \\
    &\quad - \mathrm{KL}\bigl(q(Z)\,\|\,p_\theta(Z \mid X)\bigr)
    \end{aligned}
    """,
    right=lambda evidence, divergence: evidence.log() - divergence,
    wrong={
        "sign": lambda evidence, divergence: evidence.log() + divergence,
        "no divergence": lambda evidence, divergence: evidence.log(),
    },
)
def bound(formula: Formula) -> None:
    """All twelve pairs of codes of two images."""
    joint, q = torch.rand(12), torch.rand(12).softmax(0)
    close(formula(joint.sum(), kl(q, joint / joint.sum())), (q * (joint / q).log()).sum())


W = torch.tensor([[1.2, 0.3], [-0.4, 0.9], [0.5, 0.5]], dtype=torch.float64)
B, SIGMA2 = torch.tensor([0.2, -1.0, 0.4], dtype=torch.float64), 0.49


def _linear_draws(W: Tensor, b: Tensor, sigma: float) -> Tensor:
    z = torch.randn(200_000, 2)
    return z @ W.mT + b + sigma * torch.randn(200_000, 3)


@checks(
    "eq-em-model",
    "Monte Carlo",
    r"""
    \begin{aligned}
    z &\sim \mathcal{N}(0, I_K), \\
    x \mid z &\sim \mathcal{N}(Wz + b,\ \sigma^2 I_D),
    \end{aligned}
    """,
    right=lambda: _linear_draws(W, B, SIGMA2**0.5),
    wrong={
        "variance for standard deviation": lambda: _linear_draws(W, B, SIGMA2),
        "sign of b": lambda: _linear_draws(W, -B, SIGMA2**0.5),
        "no noise": lambda: _linear_draws(W, B, 0.0),
    },
)
def model(formula: Formula) -> None:
    """200,000 draws have the mean b and the covariance WW' + sigma^2 I that the chapter gives the marginal."""
    x = formula()
    assert_mean(x, B)
    centred = x - B
    assert_mean((centred[:, :, None] * centred[:, None]).flatten(1), (W @ W.mT + SIGMA2 * torch.eye(3)).flatten())


def _posterior(x: Tensor) -> tuple[Tensor, Tensor]:
    P = torch.eye(2) + W.mT @ W / SIGMA2
    return torch.linalg.solve(P, W.mT @ (x - B)) / SIGMA2, P


@checks(
    "eq-em-posterior",
    "autograd",
    r"""
    \begin{aligned}
    p_\theta(z \mid x) &= \mathcal{N}\bigl(z;\ m_\theta(x),\ P^{-1}\bigr), \\
    m_\theta(x) &= \tfrac{1}{\sigma^2} P^{-1} W^\top (x - b), \\
    P &= I_K + \tfrac{1}{\sigma^2} W^\top W.
    \end{aligned}
    """,
    right=_posterior,
    wrong={
        "no 1 / sigma^2 in the mean": lambda x: (_posterior(x)[0] * SIGMA2, _posterior(x)[1]),
        "no I": lambda x: (_posterior(x)[0], _posterior(x)[1] - torch.eye(2)),
        "b not subtracted": lambda x: (_posterior(x + B)[0], _posterior(x)[1]),
        "the covariance for P": lambda x: (_posterior(x)[0], torch.linalg.inv(_posterior(x)[1])),
    },
)
def linear_posterior(formula: Formula) -> None:
    """log p(x, z) is quadratic in z: its stationary point and its second derivatives, by autograd."""
    x = torch.tensor([0.7, -0.5, 1.1])

    def log_joint(z: Tensor) -> Tensor:
        return Normal(0.0, 1.0).log_prob(z).sum() + Normal(W @ z + B, SIGMA2**0.5).log_prob(x).sum()

    mean, P = formula(x)
    close(hessian(log_joint, mean), -P)
    z = mean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(log_joint(z), z)
    close(gradient, torch.zeros(2))


def _tipping(x: Tensor, K: int, R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    lam, axes = torch.linalg.eigh((x - x.mean(0)).mT @ (x - x.mean(0)) / len(x))
    lam, axes = lam.flip(0), axes.flip(1)
    sigma2 = lam[K:].mean()
    return x.mean(0), sigma2, axes[:, :K] @ (lam[:K] - sigma2).sqrt().diag() @ R


def _last_axes(x: Tensor, K: int, R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    lam, axes = torch.linalg.eigh((x - x.mean(0)).mT @ (x - x.mean(0)) / len(x))
    order = torch.tensor([3, 1, 2, 0])  # stationary as well, with the first and the third, and no maximum
    lam, axes = lam[order], axes[:, order]
    sigma2 = lam[K:].mean().clamp(max=lam[:K].min() * 0.99)
    return x.mean(0), sigma2, axes[:, :K] @ (lam[:K] - sigma2).sqrt().diag() @ R


@checks(
    "eq-em-ml",
    "autograd",
    r"""
    \begin{aligned}
    \hat b &= \bar x, \\
    \hat\sigma^2 &= \frac{1}{D - K} \sum_{k > K} \lambda_k, \\
    \hat W &= U\,\operatorname{diag}(\lambda_k - \hat\sigma^2)^{1/2}\,R,
    \end{aligned}
    """,
    right=_tipping,
    wrong={
        "no noise subtracted": lambda x, K, R: (
            *_tipping(x, K, R)[:2],
            _tipping(x, K, R)[2] * (1 + _tipping(x, K, R)[1]),
        ),
        "sum for mean of the rest": lambda x, K, R: (
            x.mean(0), 2 * _tipping(x, K, R)[1], _tipping(x, K, R)[2],
        ),
        "median for mean": lambda x, K, R: (x.median(0).values, *_tipping(x, K, R)[1:]),
        "the last eigenvectors": lambda x, K, R: _last_axes(x, K, R),
        "too long": lambda x, K, R: (*_tipping(x, K, R)[:2], _tipping(x, K, R)[2] * 1.3),
    },
)  # fmt: skip
def maximum(formula: Formula) -> None:
    """The gradient of the log-likelihood of 50 points vanishes there; three climbs from elsewhere end as high."""
    x = torch.randn(50, 4) @ torch.tensor([2.0, 1.2, 0.6, 0.4]).diag() + 1.0
    R = torch.linalg.qr(torch.randn(2, 2)).Q
    parameters = [value.clone().requires_grad_() for value in formula(x, 2, R)]

    def log_likelihood(b: Tensor, sigma2: Tensor, W: Tensor) -> Tensor:
        return MultivariateNormal(b, W @ W.mT + sigma2 * torch.eye(4)).log_prob(x).sum()

    top = log_likelihood(*parameters)
    for gradient in torch.autograd.grad(top, parameters):
        assert gradient.abs().max() < 1e-9
    for _ in range(3):
        start = [torch.zeros(4), torch.zeros(()), torch.randn(4, 2)]
        free = [value.requires_grad_() for value in start]
        optimiser = torch.optim.LBFGS(free, max_iter=300, line_search_fn="strong_wolfe")

        def closure(free: list[Tensor] = free) -> Tensor:
            for value in free:
                value.grad = None
            loss = -log_likelihood(free[0], free[1].exp(), free[2])
            loss.backward()
            return loss

        optimiser.step(closure)
        assert abs(-closure().item() - top.item()) < 1e-3


@checks(
    "eq-em-increase",
    "finite sum",
    r"""
    \begin{aligned}
    &\log p_{\theta_{t+1}}(X) - \log p_{\theta_t}(X) \\
    &= \mathcal{L}(q_{t+1}, \theta_{t+1}) - \mathcal{L}(q_{t+1}, \theta_t) \\
    &\quad + \mathrm{KL}\bigl(p_{\theta_t}(Z \mid X)\,\|\,p_{\theta_{t+1}}(Z \mid X)\bigr) \\
    &\geq 0.
    \end{aligned}
    """,
    right=lambda new, old, forward, backward: new - old + forward,
    wrong={
        "the other direction": lambda new, old, forward, backward: new - old + backward,
        "sign": lambda new, old, forward, backward: new - old - forward,
        "no divergence": lambda new, old, forward, backward: new - old,
    },
)
def increase(formula: Formula) -> None:
    """Two joints on twelve pairs of codes, the second with a higher bound at the posterior of the first."""
    old, new = torch.rand(2, 12)
    q = old / old.sum()
    while (q * (new / q).log()).sum() < (q * (old / q).log()).sum():
        new = 1.5 * new
    bounds = [(q * (joint / q).log()).sum() for joint in (new, old)]
    value = formula(*bounds, kl(q, new / new.sum()), kl(new / new.sum(), q))
    close(value, new.sum().log() - old.sum().log())
    assert value >= 0


def _m_step(x: Tensor, mu: Tensor, covariances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    xt, mut = x - x.mean(0), mu - mu.mean(0)
    moments = mut.mT @ mut + covariances.sum(0)
    W = xt.mT @ mut @ torch.linalg.inv(moments)
    spread = (W @ covariances @ W.mT).diagonal(dim1=1, dim2=2).sum()
    return W, x.mean(0) - W @ mu.mean(0), ((xt - mut @ W.mT).square().sum() + spread) / x.numel()


@checks(
    "eq-em-m-step",
    "autograd",
    r"""
    \begin{aligned}
    W &= \Bigl(\sum_i \tilde x_i \tilde\mu_i^\top\Bigr) B^{-1}, \\
    B &= \sum_i \bigl(\tilde\mu_i \tilde\mu_i^\top + \Sigma_i\bigr), \\
    b &= \bar x - W\bar\mu, \\
    \sigma^2 &= \frac{1}{ND} \sum_i \Bigl(\|\tilde x_i - W\tilde\mu_i\|^2 \\
    &\qquad\qquad + \operatorname{tr}(W \Sigma_i W^\top)\Bigr),
    \end{aligned}
    """,
    right=_m_step,
    wrong={
        "codes taken for certain": lambda x, mu, covariances: _m_step(x, mu, 0 * covariances),
        "no trace in the variance": lambda x, mu, covariances: (
            *_m_step(x, mu, covariances)[:2],
            (x - x.mean(0) - (mu - mu.mean(0)) @ _m_step(x, mu, covariances)[0].mT).square().mean(),
        ),
        "divided by N": lambda x, mu, covariances: (
            *_m_step(x, mu, covariances)[:2], 3 * _m_step(x, mu, covariances)[2],
        ),
        "sign in b": lambda x, mu, covariances: (
            (r := _m_step(x, mu, covariances))[0], x.mean(0) + r[0] @ mu.mean(0), r[2],
        ),
        "codes not centred": lambda x, mu, covariances: (
            (x - x.mean(0)).mT @ mu @ torch.linalg.inv(mu.mT @ mu + covariances.sum(0)),
            *_m_step(x, mu, covariances)[1:],
        ),
    },
)  # fmt: skip
def m_step(formula: Formula) -> None:
    """The gradient of the expected log-likelihood of eight images vanishes there, by autograd."""
    x, mu = torch.randn(8, 3), torch.randn(8, 2) + 1
    S = torch.randn(8, 2, 2)
    covariances = S @ S.mT
    nodes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]) * 2**0.5  # E h(z) for quadratic h
    z = mu[:, None] + (torch.linalg.cholesky(covariances)[:, None] @ nodes[..., None]).squeeze(-1)
    parameters = [value.clone().requires_grad_() for value in formula(x, mu, covariances)]
    W, b, sigma2 = parameters
    expected = Normal(z @ W.mT + b, sigma2.sqrt()).log_prob(x[:, None]).sum(2).mean(1).sum()
    for gradient in torch.autograd.grad(expected, parameters):
        assert gradient.abs().max() < 1e-9


@checks(
    "eq-em-optimal-factor",
    "finite sum",
    r"""
    \begin{aligned}
    \mathcal{L}(q_j\,q_{-j}) &= \log \Gamma + H(q_{-j}) \\
    &\quad - \mathrm{KL}\bigl(q_j\,\|\,q_j^*\bigr), \\
    q_j^*(u_j) &= \tfrac{1}{\Gamma}\,e^{a_j(u_j)}.
    \end{aligned}
    """,
    right=lambda a, entropy, q: a.exp().sum().log() + entropy - kl(q, a.softmax(0)),
    wrong={
        "sign of the entropy": lambda a, entropy, q: a.exp().sum().log() - entropy - kl(q, a.softmax(0)),
        "sign of the divergence": lambda a, entropy, q: a.exp().sum().log() + entropy + kl(q, a.softmax(0)),
        "the other direction": lambda a, entropy, q: a.exp().sum().log() + entropy - kl(a.softmax(0), q),
        "no entropy": lambda a, entropy, q: a.exp().sum().log() - kl(q, a.softmax(0)),
    },
)
def optimal_factor(formula: Formula) -> None:
    """Two factors on three and four points: the bound of their product by summing over all twelve pairs."""
    log_joint = torch.rand(3, 4).log()
    q, rest = torch.rand(3).softmax(0), torch.rand(4).softmax(0)
    product = torch.outer(q, rest)
    close(formula(log_joint @ rest, -(rest @ rest.log()), q), (product * (log_joint - product.log())).sum())


@checks(
    "eq-em-gaussian-kl",
    "linear algebra",
    r"""
    \begin{aligned}
    &\mathrm{KL}\bigl(q\,\|\,p(U \mid X)\bigr) = \Delta + \sum_j \mathrm{KL}(q_j\,\|\,\tilde q_j) \\
    &\quad + \tfrac12 (\mu - m)^\top \Lambda\,(\mu - m), \\
    &2 \Delta = \sum_j \log\det \Lambda_{jj} - \log\det \Lambda \geq 0.
    \end{aligned}
    """,
    right=lambda dets, det, divergences, square: 0.5 * (sum(dets) - det) + sum(divergences) + 0.5 * square,
    wrong={
        "sign of Delta": lambda dets, det, divergences, square: (
            0.5 * (det - sum(dets)) + sum(divergences) + 0.5 * square
        ),
        "Delta without its half": lambda dets, det, divergences, square: (
            sum(dets) - det + sum(divergences) + 0.5 * square
        ),
        "no half at the square": lambda dets, det, divergences, square: (
            0.5 * (sum(dets) - det) + sum(divergences) + square
        ),
    },
)
def gaussian_blocks(formula: Formula) -> None:
    """Blocks of one and two coordinates: PyTorch's divergence between Gaussians in three dimensions."""
    root = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.7, 0.0], [-0.5, 0.4, 0.9]])
    precision, m = root @ root.mT, torch.tensor([0.5, -1.0, 0.3])
    blocks, mu = (slice(0, 1), slice(1, 3)), torch.tensor([0.1, 0.2, -0.4])
    covariance = torch.tensor([[0.7, 0.0, 0.0], [0.0, 1.2, 0.3], [0.0, 0.3, 0.5]])
    divergences = [
        kl_divergence(
            MultivariateNormal(mu[s], covariance[s, s]), MultivariateNormal(mu[s], precision_matrix=precision[s, s])
        )
        for s in blocks
    ]
    dets = [logdet(precision[s, s]) for s in blocks]
    value = formula(dets, logdet(precision), divergences, (mu - m) @ precision @ (mu - m))
    close(value, kl_divergence(MultivariateNormal(mu, covariance), MultivariateNormal(m, precision_matrix=precision)))


N, TAU2 = 3, 1.7


def _log_joint(x: Tensor, b: Tensor, Z: Tensor) -> Tensor:
    """Of two latent vectors an image and an offset b with the prior N(0, tau^2 I)."""
    log_prior = Normal(0.0, TAU2**0.5).log_prob(b).sum() + Normal(0.0, 1.0).log_prob(Z).sum()
    return log_prior + Normal(Z @ W.mT + b, SIGMA2**0.5).log_prob(x).sum()


@checks(
    "eq-em-precision",
    "autograd",
    r"""
    \begin{aligned}
    \Lambda_{bb} &= \Bigl(\frac{1}{\tau^2} + \frac{N}{\sigma^2}\Bigr) I_D, \\
    \Lambda_{b z_i} &= \frac{1}{\sigma^2} W, \\
    \Lambda_{z_i z_i} &= P, \quad \Lambda_{z_i z_j} = 0 \text{ for } i \neq j.
    \end{aligned}
    """,
    right=lambda P: ((1 / TAU2 + N / SIGMA2) * torch.eye(3), W / SIGMA2, P, torch.zeros(2, 2)),
    wrong={
        "no N": lambda P: ((1 / TAU2 + 1 / SIGMA2) * torch.eye(3), W / SIGMA2, P, torch.zeros(2, 2)),
        "tau^2 for its inverse": lambda P: ((TAU2 + N / SIGMA2) * torch.eye(3), W / SIGMA2, P, torch.zeros(2, 2)),
        "sign of W": lambda P: ((1 / TAU2 + N / SIGMA2) * torch.eye(3), -W / SIGMA2, P, torch.zeros(2, 2)),
        "P for different images too": lambda P: ((1 / TAU2 + N / SIGMA2) * torch.eye(3), W / SIGMA2, P, P),
    },
)
def precision(formula: Formula) -> None:
    """Minus the second derivatives of log p(X, b, Z) for three images, by autograd."""
    x = torch.randn(N, 3)
    second = hessian(lambda u: _log_joint(x, u[:3], u[3:].view(N, 2)), torch.zeros(3 + 2 * N))
    P = torch.eye(2) + W.mT @ W / SIGMA2
    blocks = (second[:3, :3], second[:3, 3:5], second[3:5, 3:5], second[3:5, 5:7])
    for block, expected in zip(blocks, formula(P), strict=True):
        close(-block, expected)


def _sweep(x: Tensor, m_b: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    P = torch.eye(2) + W.mT @ W / SIGMA2
    mu = (x - m_b) @ W @ torch.linalg.inv(P) / SIGMA2
    v = 1 / (1 / TAU2 + len(x) / SIGMA2)
    return mu, torch.linalg.inv(P), v / SIGMA2 * (x - mu @ W.mT).sum(0), torch.tensor(v)


@checks(
    "eq-em-vi-updates",
    "autograd",
    r"""
    \begin{aligned}
    q(z_i) &= \mathcal{N}\bigl(\tfrac{1}{\sigma^2} P^{-1} W^\top (x_i - m_b),\ P^{-1}\bigr), \\
    q(b) &= \mathcal{N}(m_b, v I), \\
    m_b &= \frac{v}{\sigma^2} \sum_i (x_i - W\mu_i), \\
    v &= \Bigl(\frac{1}{\tau^2} + \frac{N}{\sigma^2}\Bigr)^{-1},
    \end{aligned}
    """,
    right=_sweep,
    wrong={
        "b added": lambda x, m_b: _sweep(x, -m_b),
        "mean for sum": lambda x, m_b: (*(r := _sweep(x, m_b))[:2], r[2] / N, r[3]),
        "v the precision": lambda x, m_b: (*(r := _sweep(x, m_b))[:3], 1 / r[3]),
        "P for the covariance": lambda x, m_b: ((r := _sweep(x, m_b))[0], torch.linalg.inv(r[1]), *r[2:]),
    },
)
def updates(formula: Formula) -> None:
    """Each factor is proportional to exp E[log p(X, b, Z)] over the others: derivatives at its mean, by autograd."""
    x, m_b = torch.randn(N, 3), torch.tensor([0.4, -0.2, 0.3])
    mu, covariance, new_m, v = formula(x, m_b)

    def of_z(Z: Tensor) -> Tensor:  # E over b adds a constant: the joint is quadratic, b's covariance meets no z
        return _log_joint(x, m_b, Z.view(N, 2))

    gradient = torch.func.grad(of_z)(mu.flatten())
    close(gradient, torch.zeros(2 * N), atol=1e-9, rtol=0)
    close(-hessian(of_z, mu.flatten())[:2, :2], torch.linalg.inv(covariance))
    gradient = torch.func.grad(lambda b: _log_joint(x, b, mu))(new_m)
    close(gradient, torch.zeros(3), atol=1e-9, rtol=0)
    close(-hessian(lambda b: _log_joint(x, b, mu), new_m), torch.eye(3) / v)


@checks(
    "eq-em-ck",
    "linear algebra",
    r"c_k = \frac{N\tau^2}{N\tau^2 + \sigma^2} \cdot \frac{\omega_k}{\omega_k + \sigma^2}.",
    right=lambda omega: N * TAU2 / (N * TAU2 + SIGMA2) * omega / (omega + SIGMA2),
    wrong={
        "no N": lambda omega: TAU2 / (TAU2 + SIGMA2) * omega / (omega + SIGMA2),
        "second factor upside down": lambda omega: N * TAU2 / (N * TAU2 + SIGMA2) * (omega + SIGMA2) / omega,
        "tau^2 and sigma^2 exchanged": lambda omega: N * SIGMA2 / (N * SIGMA2 + TAU2) * omega / (omega + SIGMA2),
        "one factor": lambda omega: omega / (omega + SIGMA2),
    },
)
def two_blocks(formula: Formula) -> None:
    """The eigenvalues of C, from the second derivatives of log p(X, b, Z) by autograd."""
    x = torch.randn(N, 3)
    full = -hessian(lambda u: _log_joint(x, u[:3], u[3:].view(N, 2)), torch.zeros(3 + 2 * N))
    root = torch.linalg.cholesky(torch.linalg.inv(full[:3, :3]))
    C = root.mT @ full[:3, 3:] @ torch.linalg.solve(full[3:, 3:], full[3:, :3]) @ root
    close(torch.linalg.eigvalsh(C)[1:], formula(torch.linalg.eigvalsh(W.mT @ W)))


@checks(
    "eq-em-encoder",
    "Monte Carlo",
    r"q_\phi(z \mid x) = \mathcal{N}\bigl(z;\ Ax + d,\ \operatorname{diag} s^2\bigr)",
    right=lambda A, d, s, x, z: MultivariateNormal(A @ x + d, (s**2).diag()).log_prob(z),
    wrong={
        "s for its square": lambda A, d, s, x, z: MultivariateNormal(A @ x + d, s.diag()).log_prob(z),
        "no offset": lambda A, d, s, x, z: MultivariateNormal(A @ x, (s**2).diag()).log_prob(z),
    },
)
def encoder(formula: Formula) -> None:
    """It is the density of Ax + d + s * eps: over such draws, ratios to it have the mean one, and it its entropy."""
    A, d, s, x = torch.randn(2, 3), torch.randn(2), torch.tensor([0.4, 1.3]), torch.randn(3)
    z = A @ x + d + s * torch.randn(100_000, 2)
    other = MultivariateNormal(A @ x + d + 0.1, (1.44 * s**2).diag() * 0.5)
    assert_mean((other.log_prob(z) - formula(A, d, s, x, z)).exp(), 1.0)
    assert_mean(formula(A, d, s, x, z), -(1 + torch.tensor(2 * torch.pi).log()) - s.log().sum())


@checks(
    "eq-em-diagonal-gap",
    "autograd",
    r"\Delta = \tfrac12 \Bigl(\sum_k \log P_{kk} - \log\det P\Bigr)",
    right=lambda P: 0.5 * (P.diagonal().log().sum() - logdet(P)),
    wrong={
        "sign": lambda P: 0.5 * (logdet(P) - P.diagonal().log().sum()),
        "no half": lambda P: P.diagonal().log().sum() - logdet(P),
        "covariance": lambda P: 0.5 * (torch.linalg.inv(P).diagonal().log().sum() - logdet(P)),
    },
)
def diagonal_gap(formula: Formula) -> None:
    """The smallest divergence of a diagonal Gaussian over a grid of variances, in the plane."""
    P = torch.eye(2) + W.mT @ W / SIGMA2
    values = torch.logspace(-2, 0, 400)
    s1, s2 = torch.meshgrid(values, values, indexing="ij")
    loss = 0.5 * (P[0, 0] * s1 + P[1, 1] * s2 - 2 - s1.log() - s2.log() - logdet(P))
    assert abs(loss.min() - formula(P)) < 1e-4
