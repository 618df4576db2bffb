"""Grouping steps for graphs, on any machine with a recorder that only remembers; and on a GPU the graphs themselves."""

import copy

import pytest
import torch

from vaelib import graphs
from vaelib.graphs import WARM_UP_STEPS, StepGraphs
from vaelib.models import VAE
from vaelib.training import fit

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")


class PretendDevice:
    """What `StepGraphs` looks at of a device, on a machine without that device."""

    type = "cuda"


@pytest.fixture
def pretended(monkeypatch):
    """What is recorded, as a list, while recordings are functions that do the same again, on the CPU."""
    recorded = []

    def record(function):
        recorded.append(function)
        return function

    monkeypatch.setattr(graphs, "record", record)
    monkeypatch.setattr(graphs, "on_side_stream", lambda device: torch.no_grad())
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *shape, device=None, **options: zeros(*shape, **options))
    return recorded


def test_every_step_is_taken_once_in_order_at_its_rate(pretended):
    taken = []

    def step(numbers, rate):
        taken.append((numbers.tolist(), rate.item()))
        return torch.stack([numbers.sum(), rate])

    together = StepGraphs(step, 4, PretendDevice())
    order, rates = torch.arange(37), torch.linspace(0.1, 1.0, 26)
    batches = order.split(3)  # twelve of three images, and one of one
    sums = []
    for epoch in range(2):
        done = 0
        while done < 13:
            sums.append(together.advance(batches[done:], rates[13 * epoch + done :]))
            done += len(sums[-1])
    expected = [(batch.tolist(), rate.item()) for batch, rate in zip(batches * 2, rates, strict=True)]
    assert taken == [(numbers, pytest.approx(rate)) for numbers, rate in expected]
    sizes = [len(part) for part in sums]
    assert sizes == [1] * WARM_UP_STEPS + [4, 4, 1, 1] + [4, 4, 4, 1]
    torch.testing.assert_close(torch.cat(sums)[:, 0], torch.tensor([float(sum(n)) for n, _ in expected]))
    assert len(pretended) == 3  # four of three, one of three, one of one: each shape is recorded once


def test_what_a_replay_returns_is_not_overwritten_by_the_next(pretended, monkeypatch):
    output = torch.zeros(2, 1)

    def record(function):
        return lambda: output.copy_(function())

    monkeypatch.setattr(graphs, "record", record)
    together = StepGraphs(lambda numbers, rate: numbers.sum()[None].double(), 2, PretendDevice())
    together.warm = WARM_UP_STEPS
    batches, rates = torch.arange(8).split(2), torch.zeros(4)
    first, second = together.advance(batches, rates), together.advance(batches[2:], rates)
    assert first.flatten().tolist() == [1, 5]
    assert second.flatten().tolist() == [9, 13]


def test_without_cuda_they_are_refused():
    x = torch.zeros(10, 6)
    with pytest.raises(ValueError, match="graph_steps must be 1 on a device without CUDA graphs"):
        fit(VAE.mlp(6), x, epochs=1, graph_steps=4, device="cpu", progress=False)
    with pytest.raises(ValueError, match="graph_steps must be an integer of at least 1"):
        fit(VAE.mlp(6), x, epochs=1, graph_steps=0, device="cpu", progress=False)


@needs_cuda
@pytest.mark.parametrize("optimiser", ["adam", "adagrad"])
def test_graphs_take_the_steps_that_python_takes(optimiser):
    """The same seed and the same draws: two hundred steps and more, with a smaller last minibatch in each epoch."""
    torch.manual_seed(0)
    x = torch.randint(0, 2, (700, 20), dtype=torch.float32)
    plain = VAE.mlp(20, (32,), 4).float()
    recorded = copy.deepcopy(plain)
    settings = {"epochs": 10, "batch_size": 32, "optimiser": optimiser, "learning_rate": 6e-3, "max_grad_norm": 50.0}
    expected = fit(plain, x, x, progress=False, device="cuda", **settings)
    found = fit(recorded, x, x, progress=False, device="cuda", graph_steps=8, **settings)
    torch.testing.assert_close(torch.tensor(found.values), torch.tensor(expected.values), rtol=1e-4, atol=1e-4)


@needs_cuda
def test_a_run_with_graphs_resumes_bit_for_bit(tmp_path):
    torch.manual_seed(0)
    x = torch.randint(0, 2, (700, 20), dtype=torch.float32)
    whole = VAE.mlp(20, (32,), 4).float()
    stopped = copy.deepcopy(whole)
    settings = {"epochs": 4, "batch_size": 32, "graph_steps": 8, "progress": False, "device": "cuda"}
    history = fit(whole, x, **settings)

    class Stop(Exception):
        pass

    steps = 0
    take = StepGraphs.advance

    def dying(self, batches, rates):
        nonlocal steps
        steps += 1
        if steps == 9:
            raise Stop
        return take(self, batches, rates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StepGraphs, "advance", dying)
        with pytest.raises(Stop):
            fit(stopped, x, checkpoint=tmp_path, checkpoint_seconds=0, **settings)
    assert fit(stopped, x, checkpoint=tmp_path, **settings).equals(history)
    for one, other in zip(whole.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(one, other)
