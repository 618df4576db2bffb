r"""Does an encoder keep neighbours together, and how far does a small step take it?

Two families of measures, one value for each example:

- ranks of distances: `trustworthiness` and `continuity` compare who is near whom among images and among codes;
- stretch: `local_lipschitz` and `jacobian_spectral_norm` say by how much a map lengthens small steps. They serve an
  encoder, `lambda x: model.encode(x).mean`, and a decoder, `lambda z: model.decode(z).mean`, alike.

All distances are Euclidean. Chapter: "The proximity issue".
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vaelib.checks import check_finite, check_floating, check_positive_integer

Map = Callable[[Tensor], Tensor]  # from (B, D) to (B, M), each row by itself

ROWS = 256
"""How many examples are treated at the same time, so that memory grows with N and not with its square."""


@torch.no_grad()
def trustworthiness(x: Tensor, z: Tensor, num_neighbours: int) -> Tensor:
    r"""Whether neighbours among the codes are neighbours among the images: 1 if all are, about 1/2 for random codes.

    With $U_i$ those of the k nearest codes of $z_i$ whose images are not among the k nearest of $x_i$, and $r(i, j)$
    the rank of image j by its distance from image i (1 for the nearest),

    $$T_i = 1 - \frac{2}{k(2N - 3k - 1)}\sum_{j \in U_i}\bigl(r(i, j) - k\bigr).$$

    The factor makes 0 the worst possible value. The mean over i is the trustworthiness of Venna and Kaski (2001,
    "Neighborhood preservation in nonlinear projection methods", https://doi.org/10.1007/3-540-44668-0_68), which is
    also that of `sklearn.manifold.trustworthiness`. Among equal distances the earlier row counts as nearer.

    Args:
        x: Images, shape (N, D).
        z: Their codes, shape (N, K).
        num_neighbours: k, below N / 2.

    Returns:
        $T_i$ for each example, shape (N,), between 0 and 1.

    Raises:
        TypeError: If `x` or `z` is no floating-point tensor.
        ValueError: If `x` and `z` are not matrices of equally many finite rows on one device, or k is out of range.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.1], [3.3], [4.6]])
        >>> trustworthiness(x, x.exp(), 2)  # a map that stretches unevenly swaps neighbours
        tensor([1.0000, 1.0000, 0.6667, 0.6667, 1.0000])
    """
    _check_pair(x, z, num_neighbours)
    count = len(x)
    penalties = []
    for rows in torch.arange(count, device=x.device).split(ROWS):
        neighbours = _by_distance(z, rows)[:, 1 : num_neighbours + 1]  # without the example itself, always the first
        order = _by_distance(x, rows)
        ranks = torch.empty_like(order).scatter_(1, order, torch.arange(count, device=x.device).expand_as(order))
        penalties.append((ranks.gather(1, neighbours) - num_neighbours).clamp(min=0).sum(1))
    worst = num_neighbours * (2 * count - 3 * num_neighbours - 1) / 2
    return 1 - torch.cat(penalties).to(x.dtype) / worst


def continuity(x: Tensor, z: Tensor, num_neighbours: int) -> Tensor:
    """Whether neighbours among the images are neighbours among the codes: `trustworthiness` with the roles swapped.

    A map that tears the data apart loses continuity; one that folds distant parts onto each other loses
    trustworthiness. (Venna and Kaski 2001; the rank is now the code's, and the k nearest are those of the image.)

    Args:
        x: Images, shape (N, D).
        z: Their codes, shape (N, K).
        num_neighbours: k, below N / 2.

    Returns:
        A number for each example, shape (N,), between 0 and 1.

    Raises:
        TypeError: As `trustworthiness`.
        ValueError: As `trustworthiness`.
    """
    _check_pair(x, z, num_neighbours)
    return trustworthiness(z, x, num_neighbours)


@torch.no_grad()
def local_lipschitz(f: Map, x: Tensor, radius: float, num_directions: int) -> Tensor:
    r"""The most that f lengthens any of some random steps of one length: $\max_l \|f(x + d_l) - f(x)\| / \|d_l\|$.

    The $d_l$ are uniform on the sphere of the given radius, so the result is a lower bound on the Lipschitz constant of
    f in the ball around x, and rises towards it with the number of directions. In many dimensions it rises slowly: for
    a linear f with matrix J the mean square over one direction is $\|J\|_F^2 / D$, and the largest singular value is
    hardly ever met. What it sees and the Jacobian does not are jumps within the radius.

    Args:
        f: Maps rows (B, D) to rows (B, M), each by itself.
        x: Points, shape (B, D).
        radius: Length of the steps, in the units of x.
        num_directions: L, steps from each point.

    Returns:
        The largest ratio at each point, shape (B,), in units of f(x) per unit of x.

    Raises:
        TypeError: If `x` is no floating-point tensor.
        ValueError: If `x` is no finite matrix, f returns something else than (B, M), `num_directions` is not positive,
            or the radius is not, or is lost to rounding when it is added to x.
    """
    _check_matrix("x", x)
    check_positive_integer("num_directions", num_directions)
    if not 0 < radius < math.inf:
        raise ValueError(f"radius must be positive and finite, but is {radius!r}")
    start = _apply(f, x)
    largest = torch.zeros_like(start[:, 0])
    for _ in range(num_directions):
        direction = torch.randn_like(x)
        end = x + radius * direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)
        # The step that was taken, after rounding: with a small radius it is not the one that was asked for.
        length = torch.linalg.vector_norm(end - x, dim=1)
        if (length == 0).any():
            raise ValueError(f"radius must be large enough to move x in {x.dtype}, but {radius:g} is rounded away")
        largest = torch.maximum(largest, torch.linalg.vector_norm(_apply(f, end) - start, dim=1) / length)
    return largest


def jacobian_spectral_norm(f: Map, x: Tensor) -> Tensor:
    r"""The largest singular value of the Jacobian of f at each x: the local Lipschitz constant as the radius vanishes.

    $$\|J(x)\|_2 = \max_{\|d\| = 1}\|J(x)\,d\| = \lim_{r \to 0}\max_{\|d\| = r}\frac{\|f(x + d) - f(x)\|}{\|d\|}.$$

    It is exact. The Jacobian is had in min(D, M) passes, which is cheap for encoders and decoders: the smaller of the
    two is K.

    Args:
        f: Twice differentiable map (up to kinks) of rows (B, D) to rows (B, M), each by itself.
        x: Points, shape (B, D).

    Returns:
        The norm at each point, shape (B,), in units of f(x) per unit of x; without a graph.

    Raises:
        TypeError: If `x` is no floating-point tensor.
        ValueError: If `x` is no finite matrix, f returns something else than (B, M), or has no gradient in x.

    Example:
        >>> jacobian_spectral_norm(lambda x: x @ torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.zeros(1, 2))
        tensor([4.])
    """
    _check_matrix("x", x)
    return torch.cat([_spectral_norm(_jacobian(f, rows)) for rows in x.split(ROWS)])


def _jacobian(f: Map, x: Tensor) -> Tensor:
    """df/dx at each row, its smaller side first: shape (B, M, D), or transposed, (B, D, M)."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = _apply(f, x)
        u = torch.ones_like(y, requires_grad=True)
        product = torch.autograd.grad(y, x, u, create_graph=True, allow_unused=True)[0] if y.requires_grad else None
        if product is None:
            raise ValueError(
                "f must be differentiable, but f(x) has no gradient in x: look for no_grad or detach in it"
            )
        # Either the rows of J, the gradients of y in x; or its columns, the gradients in u of the product J^T u, which
        # is linear in u. Examples do not mix, so that the gradient of a sum over them holds the gradient of each.
        outputs, inputs = (y, x) if y.shape[1] <= x.shape[1] else (product, u)
        parts = [torch.autograd.grad(part.sum(), inputs, retain_graph=True)[0] for part in outputs.unbind(1)]
    return torch.stack(parts, dim=1)


def _spectral_norm(matrices: Tensor) -> Tensor:
    """The largest singular values of matrices (B, m, n), by way of (B, m, m): squaring harms only the small ones."""
    return torch.linalg.matrix_norm(matrices @ matrices.mT, ord=2).sqrt()


def _by_distance(points: Tensor, rows: Tensor) -> Tensor:
    """All N points in the order of their distance from each of some rows of them, itself first, shape (rows, N)."""
    # The faster way, |a|^2 - 2 a.b + |b|^2, loses the small distances within clusters that are far from the origin.
    distances = torch.cdist(points[rows], points, compute_mode="donot_use_mm_for_euclid_dist")
    distances.scatter_(1, rows.unsqueeze(1), -1)
    return distances.argsort(dim=1, stable=True)


def _apply(f: Map, x: Tensor) -> Tensor:
    outputs = f(x)
    if outputs.dim() != 2 or len(outputs) != len(x):
        raise ValueError(f"f must map x to shape ({len(x)}, M), but returns shape {tuple(outputs.shape)}")
    return outputs


def _check_matrix(name: str, value: Tensor) -> None:
    check_floating(name, value)
    if value.dim() != 2 or value.numel() == 0:
        raise ValueError(f"{name} must hold one example in each row, but has shape {tuple(value.shape)}")
    check_finite(name, value)


def _check_pair(x: Tensor, z: Tensor, num_neighbours: int) -> None:
    _check_matrix("x", x)
    _check_matrix("z", z)
    if len(x) != len(z) or x.device != z.device:
        raise ValueError(
            f"x and z must have a row for each example and be on one device, but have {len(x)} rows on {x.device} and "
            f"{len(z)} rows on {z.device}"
        )
    check_positive_integer("num_neighbours", num_neighbours)
    if 2 * num_neighbours >= len(x):
        raise ValueError(f"num_neighbours must be below N / 2 = {len(x) / 2:g}, but is {num_neighbours}")
