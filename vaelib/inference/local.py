r"""Posteriors with parameters $\phi_i$ of their own for every image, instead of one encoder for all.

With $\theta$ held, the best $\phi_i$ bounds from above what any encoder of the same family can reach: the difference is
the amortisation gap, and what remains to $\log p_\theta(x_i)$ is the approximation gap (Cremer, Li and Duvenaud 2018,
https://arxiv.org/abs/1801.03558).

- `fit_local` finds that optimum for images under a fixed decoder;
- `refine` takes an encoder's answer a few steps towards it (Kim et al. 2018, https://arxiv.org/abs/1802.02550).

`vaelib.inference.without_encoder` learns a table of all $\phi_i$ together with $\theta$.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.optim import Adam
from torch.optim.lr_scheduler import LambdaLR

from vaelib.bounds import posterior_of
from vaelib.checks import check_positive_integer, without_validation
from vaelib.gaussians import AffineGaussian, CholeskyGaussian, DiagonalGaussian
from vaelib.marginal import check_estimate, draw_codes
from vaelib.models import VAE, LatentVariableModel
from vaelib.progress import progress_bar

Family = Literal["diagonal", "full"]


class FreePosteriors(nn.Module):
    r"""A table of $\phi_1, \dots, \phi_N$: one Gaussian for each image, all of its numbers parameters.

    Args:
        start: The Gaussians to start from, batch_shape (N,), event_shape (K,).
        family: "diagonal", with parameters `loc` and `log_var`, N x 2K numbers; or "full", the law of
            $\mu_i + L_i\varepsilon$ with $L_i$ lower triangular and of positive diagonal, as in
            `vaelib.encoders.CholeskyEncoder`, N x (K + K(K + 1) / 2) numbers. A diagonal table keeps of a correlated
            `start` the means and marginal variances.

    Raises:
        TypeError: If `start` is not one of `vaelib.gaussians`.
        ValueError: If `family` is neither, or `start` has another shape or is singular.

    Example:
        >>> from vaelib.gaussians import StandardNormal
        >>> table = FreePosteriors(StandardNormal(2).expand((1000,)))
        >>> sum(parameter.numel() for parameter in table.parameters())
        4000
        >>> table(torch.tensor([3, 14, 15])).batch_shape
        torch.Size([3])
    """

    def __init__(self, start: Distribution, family: Family = "diagonal") -> None:
        super().__init__()
        if family not in ("diagonal", "full"):
            raise ValueError(f'family must be "diagonal" or "full", but is {family!r}')
        if not isinstance(start, DiagonalGaussian | AffineGaussian):
            raise TypeError(f"start must be one of vaelib.gaussians, but is a {type(start).__name__}")
        if len(start.batch_shape) != 1:
            raise ValueError(f"start must have batch_shape (N,), but has {tuple(start.batch_shape)}: see its expand()")
        start.entropy()  # raises if S is singular
        self.family = family
        self.loc = nn.Parameter(start.mean.detach().clone())
        if family == "diagonal":
            self.log_var = nn.Parameter(start.variance.detach().log())
        else:
            # With S^T = Q R the covariance S S^T is R^T R: R^T is its Cholesky factor, up to the signs of its columns.
            _, upper = torch.linalg.qr(start.scale.detach().mT, mode="r")
            scale_tril = upper.mT * upper.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
            rows, columns = self._below()
            self.log_diagonal = nn.Parameter(scale_tril.diagonal(dim1=-2, dim2=-1).log())
            self.below_diagonal = nn.Parameter(scale_tril[..., rows, columns])

    def forward(self, rows: Tensor | None = None) -> DiagonalGaussian | CholeskyGaussian:
        """The posteriors of the images numbered `rows`, integers of shape (B,), or of all; event_shape (K,)."""
        pick = slice(None) if rows is None else rows
        if self.family == "diagonal":
            return DiagonalGaussian(self.loc[pick], self.log_var[pick])
        scale_tril = torch.diag_embed(self.log_diagonal[pick].exp())
        below_rows, columns = self._below()
        scale_tril[..., below_rows, columns] = self.below_diagonal[pick]
        return CholeskyGaussian(self.loc[pick], scale_tril)

    def _below(self) -> tuple[Tensor, Tensor]:
        latent_dim = self.loc.shape[-1]
        rows, columns = torch.tril_indices(latent_dim, latent_dim, offset=-1, device=self.loc.device)
        return rows, columns


def fit_local(
    model: LatentVariableModel,
    x: Tensor,
    *,
    family: Family = "diagonal",
    start: Distribution | None = None,
    steps: int = 1000,
    learning_rate: float = 0.05,
    num_samples: int = 4,
    progress: bool = True,
) -> DiagonalGaussian | CholeskyGaussian:
    r"""The posterior of each image that maximises its ELBO under the model as it is.

    Adam ascends SGVB estimator A of the bound, with fresh draws at every step (noise that is drawn once would be fitted
    along with the image), and a learning rate that falls linearly to zero averages them out. Two devices take most of
    the noise away, and bring no bias. Each draw is used together with its mirror image, $\mu \pm S\varepsilon$. And
    $\log q(z)$ depends on $\phi_i$ through z alone: the gradient at fixed z, which is left out, has mean zero, and the
    rest vanishes draw by draw where q is the posterior (Roeder, Wu and Duvenaud 2017, https://arxiv.org/abs/1703.09194).

    Each image is a problem of its own: they only share the loop. The model, its gradients and what of it requires them
    stay as they are.

    Args:
        model: The model; an encoder is not used.
        x: Images, shape (B, D). All are decoded together: 2 L B codes at a time.
        family: "diagonal" or "full", any Gaussian.
        start: Where to start, batch_shape (B,), event_shape (K,), for example `model.encode(x)`; by default the prior.
        steps: Gradient steps.
        learning_rate: Adam's at the first step: about how far a step can go in each of the numbers $\phi_i$.
        num_samples: L, draws per image and step, and as many mirror images.
        progress: Whether to show a progress bar.

    Returns:
        q(z|x), batch_shape (B,), event_shape (K,), without a graph. It is a local optimum: with a posterior of several
        modes, another start can end in another one.

    Raises:
        TypeError: If x is not of the model's dtype and device, or `start` is not one of `vaelib.gaussians`.
        ValueError: If the likelihood cannot score x, `start` has another shape or is singular, an argument is out of
            range, or the ascent diverged.

    Example:
        >>> from vaelib.linear_gaussian import LinearGaussian
        >>> model = LinearGaussian.random(data_dim=5, latent_dim=2)
        >>> x = model.marginal.sample((8,))
        >>> q = fit_local(model, x, family="full", progress=False)
        >>> bool((torch.distributions.kl_divergence(q, model.posterior(x)) < 0.01).all())
        True
    """
    check_estimate(model, x, num_samples)
    check_positive_integer("steps", steps)
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate must be a positive number, but is {learning_rate!r}")
    start = model.prior.expand((len(x),)) if start is None else start
    draw_codes("start", start, model, x)  # raises if it is no distribution over codes for each image
    free = FreePosteriors(start, family)
    phi = list(free.parameters())
    # The gradients at a bad start are large: Adam's usual memory, of 1000 steps, would hold the later steps back.
    optimiser = Adam(phi, lr=learning_rate, betas=(0.9, 0.9))
    schedule = LambdaLR(optimiser, lambda step: 1 - step / steps)
    with torch.enable_grad(), without_validation(), progress_bar(steps, unit="step", show=progress) as bar:
        for _ in range(steps):
            optimiser.zero_grad()
            q = free()
            z = q.rsample((num_samples,))
            z = torch.cat([z, 2 * q.mean - z])
            log_weights = model.log_joint(x, z) - q.detach().log_prob(z)
            (-log_weights.mean(0).sum()).backward(inputs=phi)
            optimiser.step()
            schedule.step()
            bar.update()
    for name, parameter in free.named_parameters():
        if not torch.isfinite(parameter).all():
            raise ValueError(f"{name} of the fitted posteriors is not finite: try a smaller learning_rate")
    return free.requires_grad_(False)()


def refine(
    model: VAE, x: Tensor, *, steps: int = 20, learning_rate: float = 0.01, num_samples: int = 4
) -> DiagonalGaussian | CholeskyGaussian:
    r"""Semi-amortised inference: the encoder's posteriors, improved for each image by a few steps of `fit_local`.

    The family is the encoder's. Kim et al. (2018) also train the encoder through these steps; here they only follow
    training, and nothing is differentiated through them.

    Args:
        model: The VAE.
        x: Images, shape (B, D).
        steps: Gradient steps.
        learning_rate: As in `fit_local`, and smaller, since the start is good.
        num_samples: As in `fit_local`.

    Returns:
        q(z|x), batch_shape (B,), event_shape (K,), without a graph.

    Raises:
        TypeError: As `fit_local`, or if the model has no encoder.
        ValueError: As `fit_local`.
    """
    check_estimate(model, x, num_samples)
    with torch.no_grad():
        start = posterior_of(model, x, None)
    family: Family = "diagonal" if isinstance(start, DiagonalGaussian) else "full"
    return fit_local(
        model, x, family=family, start=start, steps=steps, learning_rate=learning_rate, num_samples=num_samples,
        progress=False,
    )  # fmt: skip
