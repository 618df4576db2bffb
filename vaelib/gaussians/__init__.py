r"""Gaussian distributions over a K-vector, and every Kullback-Leibler divergence between them.

Each of them is the law of $z = \mu + S\varepsilon$ with $\varepsilon \sim \mathcal{N}(0, I)$ (Kingma and Welling
2014, section 2.4), and they differ in what is known about the matrix $S$:

- `DiagonalGaussian`: $S$ is diagonal, given by its log-variances;
- `AffineGaussian`: $S$ is any square matrix;
- `CholeskyGaussian`: $S$ is lower triangular;
- `StandardNormal`: $S = I$ and $\mu = 0$, the prior.

The covariance is $\Sigma = S S^\top$, but nothing here forms it unless it is asked for: its condition number is the
square of that of $S$, so a float32 Cholesky factorisation of $S S^\top$ fails where $S$ itself is still harmless.
All densities, entropies and divergences are in nats, one value for each element of the batch.
"""

from vaelib.gaussians import divergences  # registers them
from vaelib.gaussians.distributions import (
    LOG_2PI,
    AffineGaussian,
    CholeskyGaussian,
    DiagonalGaussian,
    Gaussian,
    StandardNormal,
)

__all__ = [
    "LOG_2PI",
    "AffineGaussian",
    "CholeskyGaussian",
    "DiagonalGaussian",
    "Gaussian",
    "StandardNormal",
    "divergences",
]
