"""The terms of the divergence between two Gaussians, and those that mistakes put in their places.

d is the difference of the means, Sigma = S S^T.
"""

from __future__ import annotations

import torch

from vaelib.exercises.exercise import Ingredient
from vaelib.exercises.matrices import (
    diagonal,
    inverse_covariance,
    log_abs_det,
    log_abs_diagonal,
    quadratic,
    times,
    trace,
)
from vaelib.exercises.shapes import count

INGREDIENTS = (
    Ingredient(
        "trace of Sigma_q^-1 Sigma_p", lambda mq, q, mp, p: trace(inverse_covariance(q) @ p @ p.mT), "kl-reversed"
    ),
    Ingredient("d^T Sigma_q^-1 d", lambda mq, q, mp, p: quadratic(inverse_covariance(q), mq - mp), "kl-reversed"),
    Ingredient(
        "trace of Sigma_p^-1 S_q^T S_q", lambda mq, q, mp, p: trace(inverse_covariance(p) @ q.mT @ q), "transposed"
    ),
    Ingredient(
        "trace of (S_p^T S_p)^-1 Sigma_q",
        lambda mq, q, mp, p: trace(inverse_covariance(p.mT) @ q @ q.mT),
        "transposed",
    ),
    Ingredient("d^T (S_p^T S_p)^-1 d", lambda mq, q, mp, p: quadratic(inverse_covariance(p.mT), mq - mp), "transposed"),
    Ingredient("trace of S_p^-1 S_q", lambda mq, q, mp, p: trace(torch.linalg.solve(p, q)), "trace-for-frobenius"),
    Ingredient("d^T S_p^-1 d", lambda mq, q, mp, p: quadratic(torch.linalg.inv(p), mq - mp), "scale-as-covariance"),
    Ingredient("sum (q_kk / p_kk)^2", lambda mq, q, mp, p: ((diagonal(q) / diagonal(p)) ** 2).sum(-1), "diagonal-only"),
    Ingredient("sum (d_k / p_kk)^2", lambda mq, q, mp, p: (((mq - mp) / diagonal(p)) ** 2).sum(-1), "diagonal-only"),
    Ingredient("sum log|q_kk|", lambda mq, q, mp, p: log_abs_diagonal(q), "assumes-triangular"),
    Ingredient("sum log|p_kk|", lambda mq, q, mp, p: log_abs_diagonal(p), "assumes-triangular"),
    Ingredient("|d|^2", lambda mq, q, mp, p: ((mq - mp) ** 2).sum(-1), "missing-precision"),
    Ingredient("||S_q||^2", lambda mq, q, mp, p: (q**2).sum((-2, -1)), "missing-precision"),
    Ingredient("trace of Sigma_p Sigma_q", lambda mq, q, mp, p: trace(p @ p.mT @ q @ q.mT), "covariance-for-precision"),
    Ingredient("d^T Sigma_p d", lambda mq, q, mp, p: quadratic(p @ p.mT, mq - mp), "covariance-for-precision"),
    Ingredient("|mean_q|^2", lambda mq, q, mp, p: (mq**2).sum(-1), "missing-prior-mean"),
    Ingredient(
        "mean_q^T Sigma_p^-1 mean_q",
        lambda mq, q, mp, p: quadratic(inverse_covariance(p), mq),
        "missing-prior-mean",
    ),
    Ingredient(
        "mean_p^T Sigma_p^-1 mean_p",
        lambda mq, q, mp, p: quadratic(inverse_covariance(p), mp),
        "missing-prior-mean",
    ),
    Ingredient("||S_p S_q||^2", lambda mq, q, mp, p: ((p @ q) ** 2).sum((-2, -1)), "covariance-for-precision"),
    Ingredient("|S_p d|^2", lambda mq, q, mp, p: (times(p, mq - mp) ** 2).sum(-1), "covariance-for-precision"),
    Ingredient(
        "sum of (Sigma_p^-1)_kk (Sigma_q)_kk",
        lambda mq, q, mp, p: (diagonal(inverse_covariance(p)) * diagonal(q @ q.mT)).sum(-1),
        "elementwise-product",
    ),
    Ingredient(
        "||S_p^-1 S_q||",
        lambda mq, q, mp, p: torch.linalg.matrix_norm(torch.linalg.solve(p, q)),
        "norm-not-squared",
    ),
    Ingredient("|S_p^-1 d|", lambda mq, q, mp, p: quadratic(inverse_covariance(p), mq - mp).sqrt(), "norm-not-squared"),
    Ingredient(
        "|log|det S_p| - log|det S_q||",
        lambda mq, q, mp, p: (log_abs_det(p) - log_abs_det(q)).abs(),
        "absolute-value",
    ),
    Ingredient("B", lambda mq, q, mp, p: torch.full_like(mq[:, 0], len(mq)), "dimension-counted-wrongly"),
    Ingredient("1", lambda mq, q, mp, p: torch.ones(len(mq), dtype=mq.dtype), "dimension-counted-wrongly"),
    Ingredient(
        "trace of Sigma_p^-1 Sigma_q",
        lambda mq, q, mp, p: trace(inverse_covariance(p) @ q @ q.mT),
        "missing-trace-term",
        0.5,
    ),
    Ingredient(
        "d^T Sigma_p^-1 d", lambda mq, q, mp, p: quadratic(inverse_covariance(p), mq - mp), "missing-mean-term", 0.5
    ),
    Ingredient("K", lambda mq, q, mp, p: count(mq), "missing-dimension", -0.5),
    Ingredient(
        "log|det S_p|",
        lambda mq, q, mp, p: log_abs_det(p),
        "missing-log-det",
        1.0,
        {0.5: "log-det-factor", 2.0: "log-det-factor"},
    ),
    Ingredient(
        "log|det S_q|",
        lambda mq, q, mp, p: log_abs_det(q),
        "missing-log-det",
        -1.0,
        {0.5: "log-det-factor", 2.0: "log-det-factor"},
    ),
)
"""Functions of mean_q, scale_q, mean_p, scale_p, of shapes (B, K) and (B, K, K), with values of shape (B,)."""
