"""Neighbourhoods against scikit-learn and by hand, stretch against linear algebra and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness as sklearn_trustworthiness
from tiny import make_tiny_images, make_tiny_vae
from torch import Tensor

from vaelib import proximity
from vaelib.autoencoder import Autoencoder
from vaelib.models import VAE
from vaelib.proximity import continuity, jacobian_spectral_norm, local_lipschitz, trustworthiness

Measure = Callable[[Tensor, Tensor, int], Tensor]


def pair(count: int, data_dim: int = 4, latent_dim: int = 2) -> tuple[Tensor, Tensor]:
    """Images, and codes that know something of them, but not all."""
    x = torch.randn(count, data_dim)
    return x, x[:, :latent_dim] + 0.3 * torch.randn(count, latent_dim)


# Neighbourhoods


@given(st.integers(5, 40), st.integers(1, 30), st.integers(1, 4), st.data())
def test_trustworthiness_is_scikit_learns(count: int, data_dim: int, latent_dim: int, data: st.DataObject) -> None:
    num_neighbours = data.draw(st.integers(1, (count - 1) // 2))
    x, z = torch.randn(count, data_dim), torch.randn(count, latent_dim)
    ours = trustworthiness(x, z, num_neighbours)
    assert ours.shape == (count,)
    assert ours.mean().item() == pytest.approx(sklearn_trustworthiness(x, z, n_neighbors=num_neighbours), abs=1e-12)
    swapped = continuity(x, z, num_neighbours).mean().item()
    assert swapped == pytest.approx(sklearn_trustworthiness(z, x, n_neighbors=num_neighbours), abs=1e-12)


@pytest.mark.parametrize("measure", [trustworthiness, continuity])
def test_rows_are_treated_in_parts(measure: Measure) -> None:
    count = 2 * proximity.ROWS + 3
    x, z = pair(count)
    theirs = sklearn_trustworthiness(x, z, n_neighbors=7)
    if measure is continuity:
        theirs = sklearn_trustworthiness(z, x, n_neighbors=7)
    assert measure(x, z, 7).mean().item() == pytest.approx(theirs, abs=1e-12)


def test_each_example_by_hand() -> None:
    """On a line, the codes of 1 and 3 trade places: 0's nearest code is then image 3, third by rank."""
    x = torch.tensor([[0.0], [1.0], [2.1], [3.3], [4.6]])
    z = torch.tensor([[0.0], [3.3], [2.1], [1.0], [4.6]])
    # The nearest codes of 0 to 4 are those of 3, 2, 3, 0 and 1, which have ranks 3, 2, 2, 4 and 3 among the images. The
    # worst possible rank is 4, so T = 1 - (rank - 1) / 3.
    torch.testing.assert_close(trustworthiness(x, z, 1), 1 - torch.tensor([2.0, 1.0, 1.0, 3.0, 2.0]) / 3)


def test_per_example_values_say_where_the_fault_is() -> None:
    """Two far clusters; the codes of one are shuffled within it."""
    near, far = torch.randn(20, 2), 100 + torch.randn(20, 2)
    x = torch.cat([near, far])
    z = torch.cat([near, far[torch.randperm(20)]])
    for measure in (trustworthiness, continuity):
        values = measure(x, z, 5)
        assert (values[:20] == 1).all()
        assert (values[20:] < 1).any()


@pytest.mark.parametrize("measure", [trustworthiness, continuity])
def test_a_similarity_keeps_all_neighbours(measure: Measure) -> None:
    x = torch.randn(50, 3)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3))
    assert (measure(x, 7 * x @ rotation + 2, 10) == 1).all()


def test_the_worst_is_0_and_random_codes_have_one_half() -> None:
    line = torch.arange(9.0).unsqueeze(1)
    # The neighbour of example 0 is the last of all by image distance; the others stand at random.
    z = torch.cat([torch.zeros(1, 1), 10 + torch.arange(7.0).unsqueeze(1), torch.tensor([[0.1]])])
    assert trustworthiness(line, z, 1)[0] == 0
    # One example against another are not independent draws, but 400 of them leave a standard error well below 0.01.
    random = trustworthiness(torch.randn(400, 3), torch.randn(400, 3), 5).mean().item()
    assert random == pytest.approx(0.5, abs=0.03)


def test_folding_costs_trust_and_tearing_costs_continuity() -> None:
    line = torch.linspace(-1, 1, 101).unsqueeze(1) + 1e-3 * torch.randn(101, 1)
    folded = line.abs()
    assert trustworthiness(line, folded, 5).mean() < 0.9 < continuity(line, folded, 5).mean()
    torn = line + 3 * line.sign() * (line.abs() < 0.5)  # the middle is cut out, and its halves thrown to either side
    assert continuity(line, torn, 5).mean() < trustworthiness(line, torn, 5).mean()


def test_small_distances_far_from_the_origin_are_not_lost_in_float32() -> None:
    offsets = torch.randn(30, 40, dtype=torch.float64) / 128
    offsets = (offsets * 2**13).round() / 2**13  # so that they can be added to 1024 without rounding
    x = (1024 + offsets).float()
    assert (trustworthiness(x, offsets.float(), 5) == 1).all()


def test_equal_distances_are_ordered_by_row() -> None:
    """All codes in one place: each example's nearest codes are then those of the first rows."""
    x = torch.arange(7.0).unsqueeze(1)
    same = torch.zeros(7, 1)
    # The nearest code of 0 is that of 1 (rank 1), of i > 0 that of 0, whose rank is counted by hand.
    ranks = torch.tensor([1.0, 1.0, 3.0, 5.0, 6.0, 6.0, 6.0])
    torch.testing.assert_close(trustworthiness(x, same, 1), 1 - (ranks - 1) / 5)


# Stretch


@pytest.mark.parametrize(("data_dim", "out_dim"), [(5, 2), (2, 5), (3, 3), (4, 1), (1, 4)])
def test_spectral_norm_of_a_linear_map_is_its_largest_singular_value(data_dim: int, out_dim: int) -> None:
    matrix = torch.randn(out_dim, data_dim)
    norms = jacobian_spectral_norm(lambda x: x @ matrix.mT + 1, torch.randn(6, data_dim))
    torch.testing.assert_close(norms, torch.linalg.svdvals(matrix)[0].expand(6))


@pytest.mark.parametrize(("data_dim", "out_dim"), [(5, 2), (2, 5)])
def test_spectral_norm_of_a_curved_map(data_dim: int, out_dim: int) -> None:
    """Against the SVD of central differences, row by row, over the border between two parts."""
    matrix = torch.randn(out_dim, data_dim)

    def f(x: Tensor) -> Tensor:
        return torch.sin(x @ matrix.mT) + (x**2).sum(1, keepdim=True)

    x = torch.randn(proximity.ROWS + 2, data_dim)
    h = 1e-5
    steps = h * torch.eye(data_dim)
    jacobian = torch.stack([(f(x + step) - f(x - step)) / (2 * h) for step in steps], dim=2)
    torch.testing.assert_close(jacobian_spectral_norm(f, x), torch.linalg.svdvals(jacobian)[:, 0], rtol=1e-7, atol=0)


@pytest.mark.parametrize(("data_dim", "out_dim"), [(50, 2), (2, 50)])
def test_passes_are_as_many_as_the_smaller_side_needs(
    monkeypatch: pytest.MonkeyPatch, data_dim: int, out_dim: int
) -> None:
    calls = []
    grad = torch.autograd.grad

    def counting(*args: Any, **options: Any) -> tuple[Tensor, ...]:
        calls.append(args)
        return grad(*args, **options)

    monkeypatch.setattr(torch.autograd, "grad", counting)
    matrix = torch.randn(data_dim, out_dim)
    jacobian_spectral_norm(lambda x: x @ matrix, torch.randn(3, data_dim))
    assert len(calls) <= 1 + 2


def test_spectral_norm_of_encoders_and_decoders_leaves_them_alone() -> None:
    model, x = make_tiny_vae(), make_tiny_images()
    z = torch.randn(4, 1)
    encoder_norm = jacobian_spectral_norm(lambda x: model.encode(x).mean, x)
    decoder_norm = jacobian_spectral_norm(lambda z: model.decode(z).mean, z)
    for norm, points, f in (
        (encoder_norm, x, lambda x: model.encode(x).mean),
        (decoder_norm, z, lambda z: model.decode(z).mean),
    ):
        exact = [
            torch.linalg.svdvals(torch.autograd.functional.jacobian(f, point[None])[0, :, 0])[0] for point in points
        ]
        torch.testing.assert_close(norm, torch.stack(exact))
        assert not norm.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.no_grad():
        torch.testing.assert_close(jacobian_spectral_norm(lambda x: model.encode(x).mean, x), encoder_norm)
    assert not x.requires_grad


@pytest.mark.parametrize("posterior", ["diagonal", "full", "cholesky"])
def test_stretch_of_every_model(posterior: str) -> None:
    """In float32, as it will be used, and with convolutions: what the directions find never exceeds the Jacobian."""
    torch.set_default_dtype(torch.float32)
    models = [VAE.mlp(16, (8,), 3, posterior=posterior), VAE.convolutional((4, 4), (4,), 3, posterior=posterior)]
    maps: list[tuple[int, Callable[[Tensor], Tensor]]] = []
    for model in models:
        maps += [(16, lambda x, m=model: m.encode(x).mean), (3, lambda z, m=model: m.decode(z).mean)]
    autoencoder = Autoencoder.mlp(16, (8,), 3)
    maps += [(16, autoencoder.encode), (3, autoencoder.decode), (16, autoencoder)]
    for dim, f in maps:
        points = torch.rand(5, dim)
        norms = jacobian_spectral_norm(f, points)
        assert norms.shape == (5,)
        assert norms.dtype == torch.float32
        assert (norms > 0).all()
        assert (local_lipschitz(f, points, 1e-3, 20) <= 1.02 * norms).all()


def test_lipschitz_of_a_linear_map_is_bounded_by_its_largest_singular_value_and_reaches_it() -> None:
    matrix = torch.randn(5, 2)
    largest = torch.linalg.svdvals(matrix)[0]
    for radius in (1e-3, 10.0):
        found = local_lipschitz(lambda x: x @ matrix.mT - 1, torch.randn(8, 2), radius, 300)
        assert found.shape == (8,)
        assert (found <= largest * (1 + 1e-9)).all()
        assert (found >= 0.999 * largest).all()  # 300 directions in a plane: one within a few degrees of the best


def test_one_direction_has_the_mean_square_of_the_frobenius_norm() -> None:
    matrix = torch.randn(4, 6)
    squares = local_lipschitz(lambda x: x @ matrix.mT, torch.zeros(20_000, 6), 0.5, 1).square()
    error = (squares.std() / math.sqrt(len(squares))).item()
    assert squares.mean().item() == pytest.approx((matrix.square().sum() / 6).item(), abs=4 * error)


def test_more_directions_find_no_less() -> None:
    matrix, x = torch.randn(3, 10), torch.randn(5, 10)
    found = []
    for num_directions in (1, 10, 100):
        torch.manual_seed(3)
        found.append(local_lipschitz(lambda x: x @ matrix.mT, x, 1.0, num_directions))
    assert (found[0] <= found[1]).all()
    assert (found[1] < found[2]).any()


def test_directions_see_a_jump_within_the_radius_only() -> None:
    """A hash is constant but for jumps, which its Jacobian cannot know."""

    def jump(x: Tensor) -> Tensor:
        return 10 * (x > 0).to(x) + 0 * x

    x = torch.full((4, 1), 0.5)
    assert (jacobian_spectral_norm(jump, x) == 0).all()
    assert (local_lipschitz(jump, x, 0.1, 50) == 0).all()
    torch.testing.assert_close(local_lipschitz(jump, x, 1.0, 50), torch.full((4,), 10.0))


def test_the_length_of_a_step_is_the_one_that_was_taken() -> None:
    """In float32 a step of 1e-6 from 10 is rounded to 0.95e-6 or so, or to nothing: the ratio is still that of f."""
    x = torch.full((50, 1), 10.0, dtype=torch.float32)
    torch.testing.assert_close(
        local_lipschitz(lambda x: 2 * x, x, 1e-6, 4), torch.full((50,), 2.0).float(), rtol=0, atol=0
    )


# Bad input


@pytest.mark.parametrize("measure", [trustworthiness, continuity])
@pytest.mark.parametrize(
    ("x", "z", "num_neighbours", "error", "message"),
    [
        (torch.zeros(9, 2, dtype=torch.long), torch.zeros(9, 2), 2, TypeError, "x must be floating point"),
        (torch.zeros(9, 2), torch.zeros(9, 2, dtype=torch.long), 2, TypeError, "z must be floating point"),
        (torch.zeros(9), torch.zeros(9, 2), 2, ValueError, "x must hold one example in each row"),
        (torch.zeros(9, 2), torch.zeros(9, 0), 2, ValueError, "z must hold one example in each row"),
        (torch.zeros(9, 2), torch.full((9, 2), torch.nan), 2, ValueError, "z must be finite"),
        (torch.full((9, 2), torch.inf), torch.zeros(9, 2), 2, ValueError, "x must be finite"),
        (torch.zeros(9, 2), torch.zeros(8, 2), 2, ValueError, "have 9 rows on cpu and 8 rows"),
        (torch.zeros(9, 2), torch.zeros(9, 2), 0, ValueError, "num_neighbours must be an integer of at least 1"),
        (torch.zeros(9, 2), torch.zeros(9, 2), 5, ValueError, "num_neighbours must be below N / 2 = 4.5, but is 5"),
        (torch.zeros(8, 2), torch.zeros(8, 2), 4, ValueError, "num_neighbours must be below N / 2 = 4, but is 4"),
    ],
)
def test_bad_neighbourhoods(
    measure: Measure, x: Tensor, z: Tensor, num_neighbours: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        measure(x, z, num_neighbours)


def test_bad_maps() -> None:
    x = torch.randn(4, 2)
    for measure in (jacobian_spectral_norm, lambda f, x: local_lipschitz(f, x, 0.1, 2)):
        with pytest.raises(ValueError, match=r"f must map x to shape \(4, M\), but returns shape \(4,\)"):
            measure(lambda x: x.sum(1), x)
        with pytest.raises(ValueError, match=r"f must map x to shape \(4, M\), but returns shape \(1, 2\)"):
            measure(lambda x: x[:1], x)
        with pytest.raises(ValueError, match="x must hold one example in each row"):
            measure(lambda x: x, torch.zeros(3))
        with pytest.raises(ValueError, match="x must be finite"):
            measure(lambda x: x, torch.full((3, 1), torch.nan))
        with pytest.raises(TypeError, match="x must be floating point"):
            measure(lambda x: x, torch.zeros(3, 1, dtype=torch.long))


def test_a_map_without_a_gradient_is_refused_and_not_called_flat() -> None:
    model = make_tiny_vae()
    with pytest.raises(ValueError, match="f must be differentiable"):
        jacobian_spectral_norm(lambda x: x.detach() * 2, torch.randn(4, 2))
    with pytest.raises(ValueError, match="f must be differentiable"):
        jacobian_spectral_norm(model.reconstruct, make_tiny_images())
    matrix = torch.randn(2, 2, requires_grad=True)  # has a gradient, but not in x
    for out_dim in (1, 3):
        with pytest.raises(ValueError, match="f must be differentiable"):
            jacobian_spectral_norm(
                lambda x, m=out_dim: (x.detach() @ matrix).sum(1, keepdim=True).expand(-1, m), torch.randn(4, 2)
            )


@pytest.mark.parametrize("radius", [0.0, -1.0, math.inf, math.nan])
def test_bad_radius(radius: float) -> None:
    with pytest.raises(ValueError, match="radius must be positive and finite"):
        local_lipschitz(lambda x: x, torch.zeros(3, 2), radius, 2)


def test_a_radius_that_is_rounded_away() -> None:
    with pytest.raises(ValueError, match=r"radius must be large enough to move x in torch.float32, but 1e-09"):
        local_lipschitz(lambda x: x, torch.ones(3, 2, dtype=torch.float32), 1e-9, 2)


def test_bad_number_of_directions() -> None:
    with pytest.raises(ValueError, match="num_directions must be an integer of at least 1"):
        local_lipschitz(lambda x: x, torch.zeros(3, 2), 0.1, 0)
