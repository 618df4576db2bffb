"""Checks of the numbered equations of "Autoencoders"."""

from __future__ import annotations

import torch
from scipy.interpolate import BarycentricInterpolator
from sklearn.decomposition import PCA
from sklearn.metrics import mean_squared_error
from torch import Tensor

from equations.registry import Formula, checks

close = torch.testing.assert_close


@checks(
    "eq-ae-error",
    "linear algebra",
    r"\|x - \tilde x\|^2 = \sum_{d=1}^{D} \bigl(x_d - f(g(x))_d\bigr)^2 .",
    right=lambda x, reconstruction: ((x - reconstruction) ** 2).sum(),
    wrong={
        "no square": lambda x, reconstruction: (x - reconstruction).abs().sum(),
        "mean": lambda x, reconstruction: ((x - reconstruction) ** 2).mean(),
        "sum": lambda x, reconstruction: ((x + reconstruction) ** 2).sum(),
    },
)
def error(formula: Formula) -> None:
    """The squared length of the difference."""
    x, reconstruction = torch.randn(2, 5)
    close(formula(x, reconstruction), torch.linalg.vector_norm(x - reconstruction) ** 2)


@checks(
    "eq-ae-mean-error",
    "linear algebra",
    r"E(g, f) = \frac1N \sum_{i=1}^{N} \|x_i - f(g(x_i))\|^2",
    right=lambda x, reconstruction: ((x - reconstruction) ** 2).sum(1).mean(),
    wrong={
        "sum over images": lambda x, reconstruction: ((x - reconstruction) ** 2).sum(),
        "mean over pixels too": lambda x, reconstruction: ((x - reconstruction) ** 2).mean(),
        "no square": lambda x, reconstruction: (x - reconstruction).norm(dim=1).mean(),
    },
)
def mean_error(formula: Formula) -> None:
    """Scikit-learn's mean squared error, which is one over pixels as well, times their number."""
    x, reconstruction = torch.randn(2, 7, 5)
    assert abs(formula(x, reconstruction).item() - 5 * mean_squared_error(x, reconstruction)) < 1e-12


@checks(
    "eq-ae-interpolation",
    "linear algebra",
    r"f(t) = \sum_{i=1}^{N} x_i \prod_{j \neq i} \frac{t - t_j}{t_i - t_j}",
    right=lambda s, t, x: sum(
        x[i] * torch.stack([(s - t[j]) / (t[i] - t[j]) for j in range(len(t)) if j != i]).prod() for i in range(len(t))
    ),
    wrong={
        "t_i in the numerator": lambda s, t, x: sum(
            x[i] * torch.stack([(s - t[i]) / (t[i] - t[j]) for j in range(len(t)) if j != i]).prod()
            for i in range(len(t))
        ),
        "sign of the denominator": lambda s, t, x: sum(
            x[i] * torch.stack([(s - t[j]) / (t[j] - t[i]) for j in range(len(t)) if j != i]).prod()
            for i in range(len(t))
        ),
        "sum for the product": lambda s, t, x: sum(
            x[i] * torch.stack([(s - t[j]) / (t[i] - t[j]) for j in range(len(t)) if j != i]).sum()
            for i in range(len(t))
        ),
    },
)
def interpolation(formula: Formula) -> None:
    """The images themselves at their codes; scipy's interpolating polynomial between and beyond them."""
    t, x = torch.tensor([-1.0, 0.2, 0.9, 2.0]), torch.randn(4, 3)
    polynomial = BarycentricInterpolator(t.numpy(), x.numpy())
    for code, image in zip(t, x, strict=True):
        close(formula(code, t, x), image)
    for s in torch.tensor([-1.5, -0.3, 0.5, 1.4, 2.2]):
        close(formula(s, t, x), torch.as_tensor(polynomial(s.item())))


@checks(
    "eq-ae-offset",
    "linear algebra",
    r"""
    \begin{aligned}
    \frac1N \sum_i \|(I - P)(x_i - b)\|^2
    &= \operatorname{tr}\bigl((I - P) C\bigr) + \|(I - P)(\bar x - b)\|^2 \\
    &\geq \operatorname{tr} C - \operatorname{tr}(P C),
    \end{aligned}
    """,
    right=lambda P, C, off: (
        torch.trace(C - P @ C) + (off - P @ off).square().sum(),
        torch.trace(C) - torch.trace(P @ C),
    ),
    wrong={
        "P for I - P": lambda P, C, off: (
            torch.trace(P @ C) + (off - P @ off).square().sum(),
            torch.trace(C) - torch.trace(P @ C),
        ),
        "no square": lambda P, C, off: (
            torch.trace(C - P @ C) + (off - P @ off).norm(),
            torch.trace(C) - torch.trace(P @ C),
        ),
        "no offset": lambda P, C, off: (torch.trace(C - P @ C), torch.trace(C) - torch.trace(P @ C)),
        "sum of the traces": lambda P, C, off: (
            torch.trace(C - P @ C) + (off - P @ off).square().sum(),
            torch.trace(C) + torch.trace(P @ C),
        ),
    },
)
def offset(formula: Formula) -> None:
    """A plane in five dimensions: many offsets, and one from which the mean is reached within the plane."""
    x = torch.randn(40, 5) @ torch.randn(5, 5) + 2
    mean, C = x.mean(0), torch.cov(x.mT, correction=0)
    basis = torch.linalg.qr(torch.randn(5, 2)).Q
    P = basis @ basis.mT
    for b in [*torch.randn(10, 5), mean + basis @ torch.tensor([1.0, -3.0])]:
        middle, below = formula(P, C, mean - b)
        close(((x - b) - (x - b) @ P).square().sum(1).mean(), middle)
        assert middle >= below - 1e-9
    close(middle, below)


@checks(
    "eq-ae-linear",
    "linear algebra",
    r"E = \operatorname{tr}\bigl((I - BA)\,C\,(I - BA)^\top\bigr) .",
    right=lambda A, B, C: torch.trace((torch.eye(5) - B @ A) @ C @ (torch.eye(5) - B @ A).mT),
    wrong={
        "no transpose": lambda A, B, C: torch.trace((torch.eye(5) - B @ A) @ C @ (torch.eye(5) - B @ A)),
        "sum": lambda A, B, C: torch.trace((torch.eye(5) + B @ A) @ C @ (torch.eye(5) + B @ A).mT),
        "one factor": lambda A, B, C: torch.trace((torch.eye(5) - B @ A) @ C),
    },
)
def linear(formula: Formula) -> None:
    """The mean error of a linear pair with the best offsets, image by image; other offsets do worse."""
    x = torch.randn(40, 5) @ torch.randn(5, 5) + 2
    mean = x.mean(0)
    A, B = torch.randn(2, 5), torch.randn(5, 2)
    a, b = torch.randn(2), torch.randn(5)
    best = mean - B @ (A @ mean + a)
    value = formula(A, B, torch.cov(x.mT, correction=0))
    close((x - (x @ A.mT + a) @ B.mT - best).square().sum(1).mean(), value)
    assert (x - (x @ A.mT + a) @ B.mT - b).square().sum(1).mean() > value


def _affine(U: Tensor, h: Tensor, M: Tensor, m: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    codes = h @ M.mT + m
    return codes, mean + (codes - m) @ torch.linalg.inv(M).mT @ U.mT


@checks(
    "eq-ae-codes",
    "linear algebra",
    r"""
    \begin{aligned}
    g(x_i) &= M h_i + m && \text{for every } i, \\
    f(z) &= \bar x + U M^{-1} (z - m) && \text{for every } z,
    \end{aligned}
    """,
    right=_affine,
    wrong={
        "M for its inverse": lambda U, h, M, m, mean: (h @ M.mT + m, mean + (h @ M.mT) @ M.mT @ U.mT),
        "m added twice": lambda U, h, M, m, mean: (
            h @ M.mT + m,
            mean + (h @ M.mT + 2 * m) @ torch.linalg.inv(M).mT @ U.mT,
        ),
        "no mean": lambda U, h, M, m, mean: (h @ M.mT + m, _affine(U, h, M, m, 0 * mean)[1]),
        "M transposed in the decoder": lambda U, h, M, m, mean: (
            h @ M.mT + m,
            mean + (h @ M.mT) @ torch.linalg.inv(M) @ U.mT,
        ),
    },
)
def codes(formula: Formula) -> None:
    """Its reconstructions have scikit-learn's principal component error, the smallest there is, for any M and m."""
    x = torch.randn(40, 5) @ torch.randn(5, 5)
    pca = PCA(2).fit(x.numpy())
    best = ((x - torch.from_numpy(pca.inverse_transform(pca.transform(x.numpy())))) ** 2).sum(1).mean()
    U = torch.from_numpy(pca.components_.T)
    M, m = torch.tensor([[2.0, 0.5], [-1.0, 0.7]]), torch.tensor([0.3, -2.0])
    mean = x.mean(0)
    z, reconstruction = formula(U, (x - mean) @ U, M, m, mean)
    close(((x - reconstruction) ** 2).sum(1).mean(), best)
    solved = torch.linalg.lstsq(torch.cat([(x - mean) @ U, torch.ones(40, 1)], 1), z).solution
    close(solved, torch.cat([M.mT, m[None]]))


@checks(
    "eq-ae-trace",
    "linear algebra",
    r"""
    \begin{aligned}
    \sum_{k \leq K} \lambda_k - \operatorname{tr}(P C)
    &= \sum_{k \leq K} \lambda_k (1 - w_k) - \sum_{k > K} \lambda_k w_k \\
    &\geq \lambda_K s - \lambda_{K+1} s \geq 0 .
    \end{aligned}
    """,
    right=lambda lam, w, K: (
        lam[:K] @ (1 - w[:K]) - lam[K:] @ w[K:],
        (lam[K - 1] - lam[K]) * w[K:].sum(),
    ),
    wrong={
        "sign of the rest": lambda lam, w, K: (
            lam[:K] @ (1 - w[:K]) + lam[K:] @ w[K:],
            (lam[K - 1] - lam[K]) * w[K:].sum(),
        ),
        "eigenvalues exchanged": lambda lam, w, K: (
            lam[:K] @ (1 - w[:K]) - lam[K:] @ w[K:],
            (lam[K] - lam[K - 1]) * w[K:].sum(),
        ),
        "first eigenvalue for the K-th": lambda lam, w, K: (
            lam[:K] @ (1 - w[:K]) - lam[K:] @ w[K:],
            (lam[0] - lam[K]) * w[K:].sum(),
        ),
    },
)
def trace(formula: Formula) -> None:
    """Twenty random projections of a covariance to the plane, and one that trades the second axis for the third."""
    lam, axes = torch.linalg.eigh((a := torch.randn(5, 5)) @ a.mT)
    lam, axes = lam.flip(0), axes.flip(1)
    C = axes @ lam.diag() @ axes.mT
    swapped = axes[:, [0, 2]]  # the second axis given up for the third: then the bound is attained
    for basis in [torch.linalg.qr(torch.randn(5, 2)).Q for _ in range(20)] + [swapped]:
        P = basis @ basis.mT
        w = (P @ axes).square().sum(0)
        middle, below = formula(lam, w, 2)
        close(lam[:2].sum() - torch.trace(P @ C), middle)
        assert middle >= below - 1e-12 >= -2e-12
    close(middle, below)
