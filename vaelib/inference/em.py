r"""Expectation maximisation: coordinate ascent on the evidence lower bound.

For any distribution q over the hidden variables, $F(q, \theta) = \mathbb{E}_q[\log p_\theta(x, z)] + H(q)$ equals
$\log p_\theta(x) - \mathrm{KL}(q \,\|\, p_\theta(z \mid x))$. The E step maximises F over q, which gives the posterior
and $F = \log p_\theta(x)$; the M step maximises F over $\theta$ with q held. Neither lowers F, and so the likelihood
never falls (Dempster, Laird and Rubin 1977; Neal and Hinton 1998). EM needs both maxima in closed form. Two models that
have them are `vaelib.linear_gaussian.LinearGaussian` and the mixture of Gaussians below. In both the E step is
`posterior(x)`, the M step `m_step(x, q)` and F is `elbo(x, q)`. All values are in nats, one per image.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import pandas as pd
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily

from vaelib.checks import check_floating, check_images, check_last_dim, check_positive_integer
from vaelib.gaussians import CholeskyGaussian, DiagonalGaussian


class CollapsedComponentError(RuntimeError):
    """A component of a mixture shrank onto too few images: its likelihood grows without bound there."""


class ExactModel(Protocol):
    """What EM asks of a model: the posterior, and the best parameters given it."""

    def log_marginal(self, x: Tensor) -> Tensor:
        """log p(x) of each image, shape (N,)."""

    def posterior(self, x: Tensor) -> Any:
        """p(z|x) for images x (N, D), the E step."""

    def m_step(self, x: Tensor, q: Any) -> None:
        """Set the parameters to the maximum of the mean ELBO over images x (N, D) for this q."""


@torch.no_grad()
def em(model: ExactModel, x: Tensor, *, max_iterations: int = 100, tolerance: float = 1e-9) -> pd.DataFrame:
    """Alternate E and M steps; the model is changed in place.

    Args:
        model: A `LinearGaussian`, a `GaussianMixture`, or any model with their methods `log_marginal`, `posterior` and
            `m_step`.
        x: Images, shape (N, D).
        max_iterations: Pairs of steps at most.
        tolerance: EM stops when the mean of log p(x) rises by no more than this, in nats per image. That proves no
            convergence: the less x alone says about the parameters, compared with x and z together, the shorter EM's
            steps.

    Returns:
        One row for the model as it came and one for each iteration: `iteration` from 0, and `log_marginal`, the mean of
        log p(x) over the images, in nats.

    Raises:
        CollapsedComponentError: If a component of a mixture collapses. The model is left as it was before that step.
        ValueError: If an argument is out of range.

    Example:
        >>> from vaelib.linear_gaussian import LinearGaussian
        >>> x = LinearGaussian.random(data_dim=5, latent_dim=2).marginal.sample((100,))
        >>> model = LinearGaussian.random(data_dim=5, latent_dim=2, seed=1)
        >>> em(model, x, max_iterations=3).columns.tolist()
        ['iteration', 'log_marginal']
    """
    check_positive_integer("max_iterations", max_iterations)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be a number of nats, 0 or more, but is {tolerance!r}")
    history = [model.log_marginal(x).mean().item()]
    for _ in range(max_iterations):
        model.m_step(x, model.posterior(x))
        history.append(model.log_marginal(x).mean().item())
        if history[-1] - history[-2] <= tolerance:
            break
    return pd.DataFrame({"iteration": range(len(history)), "log_marginal": history})


class GaussianMixture:
    r"""$p(x) = \sum_c \pi_c\,\mathcal{N}(x;\ \mu_c, \Sigma_c)$: a latent variable model with one discrete code.

    Args:
        weights: $\pi$, shape (C,), positive and of sum 1.
        components: The C Gaussians, batch_shape (C,), event_shape (D,): a `DiagonalGaussian` or a `CholeskyGaussian`.
            EM keeps to the kind that is given.

    Attributes:
        weights: As given, and changed by `m_step`.
        components: As given, and replaced by `m_step`.

    Example:
        >>> x = torch.cat([torch.randn(50, 2) - 3, torch.randn(50, 2) + 3])
        >>> model = GaussianMixture.start(x, num_components=2)
        >>> history = em(model, x)
        >>> model.posterior(x).probs.shape  # the responsibilities
        torch.Size([100, 2])
    """

    def __init__(self, weights: Tensor, components: DiagonalGaussian | CholeskyGaussian) -> None:
        check_floating("weights", weights)
        if not isinstance(components, DiagonalGaussian | CholeskyGaussian):
            raise TypeError(
                f"components must be a DiagonalGaussian or a CholeskyGaussian, but is a {type(components).__name__}"
            )
        if weights.dim() != 1 or components.batch_shape != weights.shape:
            raise ValueError(
                "weights must have shape (C,) and components batch_shape (C,), "
                f"but have {tuple(weights.shape)} and {tuple(components.batch_shape)}"
            )
        if not (weights > 0).all() or abs(weights.sum().item() - 1) > 1e-6:
            raise ValueError(f"weights must be positive and of sum 1, but are {weights.tolist()}: divide by their sum")
        self.weights = weights
        self.components = components

    @classmethod
    def start(cls, x: Tensor, num_components: int, *, diagonal: bool = False, seed: int = 0) -> Self:
        """A starting point for EM: means at images drawn without replacement, each with the covariance of all x.

        Args:
            x: Images, shape (N, D).
            num_components: C.
            diagonal: Whether the covariances are diagonal.
            seed: Of the draw; the global generator is left alone.

        Raises:
            TypeError: If x is no floating-point tensor.
            ValueError: If there are fewer images than components, or x is not a finite matrix or constant in a pixel.
            CollapsedComponentError: If the covariance of x is singular and not taken as diagonal.
        """
        check_positive_integer("num_components", num_components)
        _check_images(x)
        if num_components > len(x):
            raise ValueError(f"num_components must be at most the {len(x)} images of x, but is {num_components}")
        picked = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:num_components].to(x.device)
        whole = _fit_components(x, torch.ones_like(x[:, :1]), diagonal)
        components: DiagonalGaussian | CholeskyGaussian
        if isinstance(whole, DiagonalGaussian):
            components = DiagonalGaussian(x[picked], whole.log_var)
        else:
            components = CholeskyGaussian(x[picked], whole.scale_tril)
        return cls(x.new_full((num_components,), 1 / num_components), components)

    @property
    def marginal(self) -> MixtureSameFamily:
        """p(x), event_shape (D,), e.g. to draw from."""
        return MixtureSameFamily(Categorical(self.weights), self.components)

    def log_joint(self, x: Tensor) -> Tensor:
        """log p(x, z = c) in nats for images x (N, D) and every component c, shape (N, C)."""
        _check_images(x)
        check_last_dim("x", x, self.components.event_shape[0])
        return self.components.log_prob(x.unsqueeze(1)) + self.weights.log()

    def log_marginal(self, x: Tensor) -> Tensor:
        """log p(x) in nats for images x (N, D), shape (N,)."""
        return self.log_joint(x).logsumexp(-1)

    def posterior(self, x: Tensor) -> Categorical:
        """p(z|x) for images x (N, D), batch_shape (N,): its `probs`, shape (N, C), are the responsibilities."""
        return Categorical(logits=self.log_joint(x))

    def elbo(self, x: Tensor, q: Categorical) -> Tensor:
        r"""The free energy $F(q, \theta) = \mathbb{E}_q[\log p(x, z)] + H(q)$ in nats, shape (N,).

        Args:
            x: Images, shape (N, D).
            q: Any distribution over the components for each image, batch_shape (N,).

        Raises:
            ValueError: If q has another shape.
        """
        log_joint = self.log_joint(x)
        self._check_posterior(x, q)
        return (q.probs * log_joint).sum(-1) + q.entropy()

    @torch.no_grad()
    def m_step(self, x: Tensor, q: Categorical) -> None:
        r"""Set weights, means and covariances to where the mean of `elbo(x, q)` is highest.

        With responsibilities $r_{nc} = q_n(c)$ and $N_c = \sum_n r_{nc}$: $\pi_c = N_c / N$,
        $\mu_c = \sum_n r_{nc}x_n / N_c$ and $\Sigma_c = \sum_n r_{nc}(x_n - \mu_c)(x_n - \mu_c)^\top / N_c$, of which
        a diagonal mixture keeps the diagonal (Bishop 2006, section 9.2.2).

        Args:
            x: Images, shape (N, D).
            q: A distribution over the components for each image, batch_shape (N,).

        Raises:
            CollapsedComponentError: If a component keeps no images, or its covariance is singular for all its digits
                can tell. The mixture is left unchanged.
            ValueError: If x or q have wrong shapes, or x is constant in a pixel.
        """
        _check_images(x)
        check_last_dim("x", x, self.components.event_shape[0])
        self._check_posterior(x, q)
        components = _fit_components(x, q.probs, isinstance(self.components, DiagonalGaussian))
        self.weights = q.probs.mean(0)
        self.components = components

    def _check_posterior(self, x: Tensor, q: Categorical) -> None:
        expected = (len(x), len(self.weights))
        if q.probs.shape != expected:
            raise ValueError(f"q must have probs of shape {expected}, (N, C), but they have {tuple(q.probs.shape)}")


def _check_images(x: Tensor) -> None:
    check_floating("x", x)
    check_images("x", x)


def _fit_components(x: Tensor, share: Tensor, diagonal: bool) -> DiagonalGaussian | CholeskyGaussian:
    """The C Gaussians most likely for images x (N, D), each counted with its shares (N, C)."""
    spread = x.std(0, correction=0)
    if not (spread > 0).all():
        raise ValueError(
            f"x must vary in every pixel, but is constant in {int((~(spread > 0)).sum())} of {len(spread)}: drop those"
        )
    counts = share.sum(0)
    loc = (share.mT @ x) / counts.unsqueeze(-1)  # NaN where a component has lost every image, which is refused below
    # In units of the spread of all images: whether a variance counts as zero is no question of the pixels' units.
    centred = (x.unsqueeze(1) - loc) / spread
    if diagonal:
        variance = (share.unsqueeze(-1) * centred.square()).sum(0) / counts.unsqueeze(-1)
        _refuse_collapse(variance.amin(-1), counts)
        return DiagonalGaussian(loc, variance.log() + 2 * spread.log())
    covariance = torch.einsum("nc,nci,ncj->cij", share, centred, centred) / counts.view(-1, 1, 1)
    eigenvalues = torch.linalg.eigvalsh(covariance.nan_to_num())  # 0 for NaN: it refuses them itself, with less to say
    _refuse_collapse(eigenvalues[:, 0] / (len(spread) * eigenvalues[:, -1].clamp_min(1)), counts)
    return CholeskyGaussian(loc, spread.unsqueeze(-1) * torch.linalg.cholesky(covariance))


def _refuse_collapse(smallest: Tensor, counts: Tensor) -> None:
    """Raise where the smallest relative variance of a component, shape (C,), is zero to a few roundings."""
    collapsed = ~(smallest > 8 * torch.finfo(smallest.dtype).eps)
    if collapsed.any():
        component = int(collapsed.nonzero()[0])
        raise CollapsedComponentError(
            f"component {component} of {len(counts)} collapsed: it holds {counts[component].item():.3g} images' worth "
            "of responsibility, and its covariance is singular, where the likelihood grows without bound. Start from "
            "another seed, take fewer components or diagonal covariances, or give more images"
        )
