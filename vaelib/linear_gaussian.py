r"""The variational autoencoder that can be solved exactly: a linear decoder with Gaussian noise.

$$z \sim \mathcal{N}(0, I_K), \qquad x \mid z \sim \mathcal{N}(Wz + b,\ \mathrm{diag}\,e^{\ell}).$$

With one noise variance for all pixels this is probabilistic principal component analysis (Tipping and Bishop 1999,
https://doi.org/10.1111/1467-9868.00196), with one for each it is factor analysis. All that a VAE only bounds or
estimates has a closed form here, so that every estimator can be compared with the truth.

All of it rests on the precision of the posterior, $P = I + W^\top \mathrm{diag}(e^{-\ell})\,W$, of size K x K and the
same for all images. P itself is never formed: stacking $A = (\mathrm{diag}(e^{-\ell/2})\,W;\ I)$ gives
$P = A^\top A$, and the triangular factor of A is had without squaring its condition number. Nothing of size D x D
occurs. Densities, bounds and divergences are in nats, one value per image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, LowRankMultivariateNormal

from vaelib.checks import check_finite, check_floating, check_images, check_last_dim, check_like, check_positive_integer
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian
from vaelib.models import VAE, LatentVariableModel


class LinearDecoder(nn.Module):
    r"""$p(x \mid z) = \mathcal{N}(Wz + b,\ \mathrm{diag}\,e^{\ell})$; the arguments are those of `LinearGaussian`."""

    def __init__(self, weight: Tensor, bias: Tensor, log_var: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = nn.Parameter(bias.detach().clone())
        self.log_var = nn.Parameter(log_var.detach().clone())

    def forward(self, z: Tensor) -> DiagonalGaussian:
        """The likelihood given each code of shape (..., K): batch_shape (...), event_shape (D,)."""
        return DiagonalGaussian(z @ self.weight.mT + self.bias, self.log_var.expand_as(self.bias))


class LinearGaussian(LatentVariableModel):
    """The linear-Gaussian model with its marginal, its posterior, and its bound for any Gaussian q, all exact.

    The parameters are copies of the arguments, and learn like any others. A rotation R of the codes changes none of the
    probabilities of images: weight and weight R are the same model.

    Args:
        weight: W, shape (D, K).
        bias: b, shape (D,).
        log_var: Logarithm of the noise variance: shape () for one noise shared by all pixels, (D,) for one each.

    Raises:
        TypeError: If an argument is no floating-point tensor, or their dtypes or devices differ.
        ValueError: If a shape is wrong or a value not finite.

    Example:
        >>> model = LinearGaussian.random(data_dim=5, latent_dim=2)
        >>> x = model.marginal.sample((8,))
        >>> q = model.optimal_diagonal(x)
        >>> gap = model.log_marginal(x) - model.elbo(x, q)
        >>> torch.testing.assert_close(gap, torch.distributions.kl_divergence(q, model.posterior(x)))
    """

    decoder: LinearDecoder

    def __init__(self, weight: Tensor, bias: Tensor, log_var: Tensor) -> None:
        for name, value in (("weight", weight), ("bias", bias), ("log_var", log_var)):
            check_floating(name, value)
            check_finite(name, value)
            check_like(name, value, "weight", weight)
        if weight.dim() != 2 or weight.numel() == 0:
            raise ValueError(f"weight must have shape (D, K), D and K at least 1, but has shape {tuple(weight.shape)}")
        data_dim, latent_dim = weight.shape
        if bias.shape != (data_dim,):
            raise ValueError(f"bias must have shape ({data_dim},) to go with weight, but has {tuple(bias.shape)}")
        if log_var.shape not in ((), (data_dim,)):
            raise ValueError(f"log_var must have shape () or ({data_dim},), but has shape {tuple(log_var.shape)}")
        super().__init__(LinearDecoder(weight, bias, log_var), data_dim=data_dim, latent_dim=latent_dim)

    @classmethod
    def random(cls, data_dim: int, latent_dim: int, *, log_var: float = 0.0, seed: int = 0) -> Self:
        """A model whose weight and bias are drawn from N(0, 1), in torch's default dtype.

        Args:
            data_dim: D.
            latent_dim: K.
            log_var: Logarithm of the noise variance, the same for all pixels.
            seed: Of the draw; the global generator is left alone.
        """
        check_positive_integer("data_dim", data_dim)
        check_positive_integer("latent_dim", latent_dim)
        draw = torch.randn(data_dim, latent_dim + 1, generator=torch.Generator().manual_seed(seed))
        return cls(draw[:, 1:], draw[:, 0], torch.tensor(log_var, dtype=draw.dtype))

    @classmethod
    def maximum_likelihood(cls, x: Tensor, latent_dim: int) -> Self:
        r"""The model with one shared noise under which the images x (N, D) are most likely, in closed form.

        With $\lambda_1 \ge \dots \ge \lambda_D$ the eigenvalues of the covariance of x (divided by N) and U the first K
        eigenvectors: b is the mean, $\sigma^2 = \frac{1}{D-K}\sum_{k>K}\lambda_k$ and
        $W = U\,\mathrm{diag}(\lambda_k - \sigma^2)^{1/2}$, up to a rotation (Tipping and Bishop 1999, equations 7, 8).

        Raises:
            TypeError: If x is no floating-point tensor.
            ValueError: If x is no finite matrix, if K is not below D, or if x lies in a K-dimensional plane: the noise
                would vanish, and the likelihood has no maximum.
        """
        check_floating("x", x)
        check_positive_integer("latent_dim", latent_dim)
        check_images("x", x)
        count, data_dim = x.shape
        if latent_dim >= data_dim:
            raise ValueError(f"latent_dim must be below D = {data_dim} to leave any noise, but is {latent_dim}")
        bias = x.mean(0)
        _, singular, directions = torch.linalg.svd(x - bias, full_matrices=False)
        rounding = max(x.shape) * torch.finfo(x.dtype).eps * torch.linalg.vector_norm(x, ord=torch.inf)
        if (singular[latent_dim:] <= rounding).all():
            raise ValueError(
                f"x lies in a plane of {latent_dim} dimensions or fewer, so the noise variance would be 0 and the "
                "likelihood infinite: give more images, or a smaller latent_dim"
            )
        eigenvalues = singular.square() / count
        noise = eigenvalues[latent_dim:].sum() / (data_dim - latent_dim)
        weight = directions[:latent_dim].mT * (eigenvalues[:latent_dim] - noise).sqrt()
        return cls(weight, bias, noise.log())

    @property
    def weight(self) -> nn.Parameter:
        """W, shape (D, K)."""
        return self.decoder.weight

    @property
    def bias(self) -> nn.Parameter:
        """b, shape (D,)."""
        return self.decoder.bias

    @property
    def log_var(self) -> nn.Parameter:
        """Logarithm of the noise variance, shape () or (D,)."""
        return self.decoder.log_var

    @property
    def marginal(self) -> LowRankMultivariateNormal:
        r"""$p(x) = \mathcal{N}(b,\ WW^\top + \mathrm{diag}\,e^{\ell})$, event_shape (D,)."""
        return LowRankMultivariateNormal(self.bias, self.weight, self.log_var.exp().expand_as(self.bias))

    def posterior(self, x: Tensor) -> CholeskyGaussian:
        r"""$p(z \mid x) = \mathcal{N}(m(x), P^{-1})$, $m(x) = P^{-1}W^\top\mathrm{diag}(e^{-\ell})(x - b)$.

        Args:
            x: Images, shape (B, D).

        Returns:
            The exact posterior, batch_shape (B,), event_shape (K,). Its mean is affine in x and its covariance the same
            for all images, so one affine encoder can be exact: amortisation costs nothing in this model.
        """
        self._check_images(x)
        orthogonal, lower = self._factorise()
        scale_tril = torch.linalg.solve_triangular(lower, torch.eye(self.latent_dim).to(lower), upper=False)
        white = (x - self.bias) * torch.exp(-0.5 * self.log_var)
        return CholeskyGaussian(white @ orthogonal @ scale_tril.mT, scale_tril)

    def log_marginal(self, x: Tensor) -> Tensor:
        r"""$\log p(x)$ in nats for images x (B, D), shape (B,).

        Bayes' rule, $\log p(x) = \log p(x, z) - \log p(z \mid x)$, holds for every z. At the posterior's mean m it is
        $\log p(x \mid m) + \log p(m) + \frac K2\log 2\pi - \frac12\log\det P$, in which no large terms cancel.
        """
        posterior = self.posterior(x)
        return self.log_joint(x, posterior.mean) - posterior.log_prob(posterior.mean)

    def optimal_diagonal(self, x: Tensor) -> DiagonalGaussian:
        r"""The diagonal Gaussian with the highest ELBO: the posterior's mean, and variances $1/P_{kk}$.

        Proof: for $q = \mathcal{N}(\mu, \mathrm{diag}(v))$ all of $\mathrm{KL}(q \,\|\, p(z \mid x))$ that depends on q
        is $\frac12(\mu - m)^\top P(\mu - m) + \frac12\sum_k (P_{kk}v_k - \log v_k)$. The first term vanishes at
        $\mu = m$ and is positive elsewhere; each of the others is convex in $v_k$ with its minimum at $1/P_{kk}$.
        (Bishop 2006, section 10.1.2.) As $1/P_{kk} \le (P^{-1})_{kk}$, the best diagonal q is never wider than the
        posterior's marginals, and is as wide only where the posterior itself is uncorrelated.

        Args:
            x: Images, shape (B, D).

        Returns:
            The distribution, batch_shape (B,), event_shape (K,).
        """
        white = self.weight * torch.exp(-0.5 * self.log_var).unsqueeze(-1)
        return DiagonalGaussian(self.posterior(x).mean, -torch.log1p(white.square().sum(0)))

    def elbo(self, x: Tensor, q: DiagonalGaussian | AffineGaussian) -> Tensor:
        r"""The evidence lower bound $\mathbb{E}_q[\log p(x, z)] + H(q)$ of any Gaussian q, exactly.

        $\log p(x, z)$ is quadratic in z with Hessian $-P$, hence
        $\mathbb{E}_q[\log p(x, z)] = \log p(x, \mu_q) - \frac12\mathrm{tr}(P\Sigma_q)$.
        What is missing to `log_marginal(x)` is $\mathrm{KL}(q \,\|\, p(z \mid x))$. The reconstruction term
        $\mathbb{E}_q[\log p(x \mid z)]$ is this bound plus `kl_divergence(q, model.prior)`.

        Args:
            x: Images, shape (B, D).
            q: One distribution over codes for each image, batch_shape (B,) or (), event_shape (K,).

        Returns:
            The bound for each image, shape (B,), in nats.

        Raises:
            TypeError: If q is not one of the Gaussians of `vaelib.gaussians`, or of another dtype or device.
            ValueError: If q has another K or batch, or is singular: its bound is minus infinity.
        """
        self._check_images(x)
        self._check_posterior(x, q)
        _, lower = self._factorise()
        trace = (lower @ q.scale).square().sum((-2, -1))  # tr(P S S^T) = |L S|^2
        return self.log_joint(x, q.mean) - 0.5 * trace + q.entropy()

    @torch.no_grad()
    def m_step(self, x: Tensor, q: DiagonalGaussian | AffineGaussian) -> None:
        r"""Set W, b and the noise to where the mean ELBO over x is highest for this q (the M step of EM).

        Least squares with moments for unknown codes: with bars for means over the images and $\mu_n$, $\Sigma_n$ the
        mean and covariance of $q_n$,
        $W = \sum_n (x_n - \bar x)(\mu_n - \bar\mu)^\top
        \bigl[\sum_n (\mu_n - \bar\mu)(\mu_n - \bar\mu)^\top + \Sigma_n\bigr]^{-1}$, $b = \bar x - W\bar\mu$, and each
        pixel's noise variance is the mean over n of $(x_n - W\mu_n - b)_d^2 + (W\Sigma_n W^\top)_{dd}$; a shared one is
        their mean over the pixels too. (Rubin and Thayer 1982; Tipping and Bishop 1999, equations 29 and 30.)

        Args:
            x: Images, shape (N, D).
            q: Their distributions over codes, batch_shape (N,), event_shape (K,).

        Raises:
            TypeError: As `elbo`.
            ValueError: If q has another K or batch, or if a noise variance would be 0, and the likelihood infinite.
        """
        self._check_images(x)
        self._check_posterior(x, q)
        codes = q.mean.expand(len(x), self.latent_dim)
        pixels = x - x.mean(0)
        centred = codes - codes.mean(0)
        covariance = q.covariance_matrix.expand(len(x), self.latent_dim, self.latent_dim).mean(0)
        second = centred.mT @ centred + len(x) * covariance
        weight = torch.linalg.solve(second, centred.mT @ pixels).mT
        noise = (pixels - centred @ weight.mT).square().mean(0) + ((weight @ covariance) * weight).sum(-1)
        if self.log_var.dim() == 0:
            noise = noise.mean()
        if not (noise > 0).all():
            raise ValueError(
                f"x leaves no noise in {int((~(noise > 0)).sum())} of {noise.numel()} variances, so the likelihood has "
                "no maximum: drop the pixels that are the same in all images, or share one log_var of shape ()"
            )
        self.weight.copy_(weight)
        self.bias.copy_(x.mean(0) - weight @ codes.mean(0))
        self.log_var.copy_(noise.log())

    def with_posterior(self, posterior: Callable[[Tensor], Distribution]) -> VAE:
        """A VAE with this decoder, its parameters shared and not copied, and any q(z|x): what the bounds run on.

        Args:
            posterior: Maps images (B, D) to a distribution over codes, batch_shape (B,), event_shape (K,): a method of
                this model, any function, or an encoder module, whose parameters then are the VAE's.

        Example:
            >>> from vaelib.bounds import sgvb_a
            >>> model = LinearGaussian.random(data_dim=5, latent_dim=2)
            >>> x = model.marginal.sample((8,))
            >>> exact = sgvb_a(model.with_posterior(model.posterior), x).elbo  # no variance: z cancels in Bayes' rule
            >>> torch.testing.assert_close(exact, model.log_marginal(x))
        """
        return VAE(_Encoder(posterior), self.decoder, data_dim=self.data_dim, latent_dim=self.latent_dim)

    def _factorise(self) -> tuple[Tensor, Tensor]:
        """Q, shape (D, K), and L, lower triangular (K, K), with diag(exp(-log_var / 2)) W = Q L and P = L^T L."""
        white = self.weight * torch.exp(-0.5 * self.log_var).unsqueeze(-1)
        stacked = torch.cat([white, torch.eye(self.latent_dim).to(white)])
        # With F the matrix that reverses the order, A F = Q R gives A = (Q F)(F R F), and F R F is lower triangular.
        orthogonal, upper = torch.linalg.qr(stacked.flip(-1))
        return orthogonal[: self.data_dim].flip(-1), upper.flip((-2, -1))

    def _check_images(self, x: Tensor) -> None:
        check_floating("x", x)
        if x.dim() != 2 or len(x) == 0:
            raise ValueError(f"x must hold images in rows, shape (B, {self.data_dim}), but has {tuple(x.shape)}")
        check_last_dim("x", x, self.data_dim)
        check_like("x", x, "the model", self.bias)
        check_finite("x", x)

    def _check_posterior(self, x: Tensor, q: DiagonalGaussian | AffineGaussian) -> None:
        if not isinstance(q, DiagonalGaussian | AffineGaussian):
            raise TypeError(f"q must be one of the Gaussians of vaelib.gaussians, but is a {type(q).__name__}")
        if q.event_shape != (self.latent_dim,) or q.batch_shape not in ((), x.shape[:1]):
            raise ValueError(
                f"q must have event_shape ({self.latent_dim},) and batch_shape ({len(x)},) or (), "
                f"but has {tuple(q.event_shape)} and {tuple(q.batch_shape)}"
            )
        check_like("q", q.loc, "x", x)


class _Encoder(nn.Module):
    """Makes an encoder of any function; if it is a module, its parameters are found."""

    def __init__(self, posterior: Callable[[Tensor], Distribution]) -> None:
        super().__init__()
        self.posterior = posterior

    def forward(self, x: Tensor) -> Distribution:
        q: Distribution = self.posterior(x)
        return q
