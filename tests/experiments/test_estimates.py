"""The estimates behind figure 3, where quadrature knows log p(x)."""

from __future__ import annotations

import pytest
import torch
from tiny import exact_terms, make_tiny_images, make_tiny_vae

from vaelib.experiments import estimates
from vaelib.marginal import reciprocal_importance_sampling

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # forward-mode derivatives use it


def test_the_search_finds_the_mode_and_the_expected_curvature():
    model, x = make_tiny_vae(), make_tiny_images()
    start = estimates.best_codes(model, x, 50)
    q = estimates.laplace(model, x, start, 30)
    mode = q.mean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.log_joint(x, mode).sum(), mode)
    assert gradient.abs().max() < 1e-6
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda z: model.decode(z).logits, q.mean[i])
        curvature = jacobian.T @ torch.diag(model.decode(q.mean[i]).variance) @ jacobian + torch.eye(len(q.mean[i]))
        torch.testing.assert_close(torch.linalg.inv(curvature), q.covariance_matrix[i])
    wide = estimates.laplace(model, x, start, 30, widening=1.5)
    torch.testing.assert_close(wide.covariance_matrix, 2.25 * q.covariance_matrix)


def test_the_best_code_is_that_of_the_highest_joint_density():
    model, x = make_tiny_vae(), make_tiny_images()
    torch.manual_seed(3)
    best = estimates.best_codes(model, x, 40)
    torch.manual_seed(3)
    z = model.prior.sample((40,))
    heights = model.log_joint(x, z.unsqueeze(1))
    assert torch.equal(best, z[heights.argmax(0)])


def test_the_estimates_are_those_of_quadrature(monkeypatch):
    monkeypatch.setattr(estimates, "WEIGHTS", 4000)
    monkeypatch.setattr(estimates, "LOCAL_STEPS", 300)
    model, x = make_tiny_vae(), make_tiny_images()
    values = estimates.estimate(model, x, encoder=True, last=True, annealed=True)
    reconstruction, kl, log_p = (term.mean().item() for term in exact_terms(model, x))
    for name, tolerance in (("importance", 0.06), ("reciprocal_reference", 0.06), ("reciprocal", 0.15)):
        assert abs(values[name] - log_p) < tolerance
    assert abs(values["annealed"] - log_p) < 0.5
    assert abs(values["local_reference"] - (reconstruction - kl)) < 0.3
    assert values["local_reference"] < values["local"] < log_p + 0.1
    assert 0.5 < values["ess"] / 4000 <= 1


def test_the_reciprocal_estimate_is_that_of_the_library():
    model, x = make_tiny_vae(), make_tiny_images()
    values = estimates.estimate(model, x, encoder=False)
    library = [reciprocal_importance_sampling(model, x, 50).log_marginal.mean().item() for _ in range(4)]
    assert abs(values["reciprocal"] - sum(library) / 4) < 0.1
    assert set(values) == {"importance", "ess", "reciprocal", "reciprocal_reference"}
