"""The schedules and the optimiser of our own against torch's."""

import math
import subprocess
import sys

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import ConstantLR, LinearLR, OneCycleLR, SequentialLR

from vaelib.optimisers import Adagrad, learning_rates, make_optimiser, set_learning_rate


@pytest.mark.parametrize("steps", [2, 3, 4, 10, 11, 500])
def test_one_cycle_is_torchs(steps):
    optimiser = SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = OneCycleLR(optimiser, max_lr=0.006, total_steps=steps, cycle_momentum=False)
    expected = []
    for _ in range(steps):
        expected.append(scheduler.get_last_lr()[0])
        optimiser.step()
        if len(expected) < steps:
            scheduler.step()
    torch.testing.assert_close(learning_rates("one-cycle", 0.006, steps), torch.tensor(expected))


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 500])
def test_linear_is_two_of_torchs(steps):
    rising = math.ceil(steps / 10)
    falling = steps - rising + 1
    optimiser = SGD([torch.zeros(1, requires_grad=True)], lr=0.006)
    parts = [
        LinearLR(optimiser, 1 / rising, 1, rising - 1) if rising > 1 else ConstantLR(optimiser, 1, 1),
        LinearLR(optimiser, 1, 1 / falling, falling - 1) if falling > 1 else ConstantLR(optimiser, 1, 1),
    ]
    scheduler = SequentialLR(optimiser, parts, [rising - 1])
    expected = []
    for _ in range(steps):
        expected.append(scheduler.get_last_lr()[0])
        optimiser.step()
        scheduler.step()
    torch.testing.assert_close(learning_rates("linear", 0.006, steps), torch.tensor(expected))


def test_constant_stays():
    assert learning_rates("constant", 0.1, 3).tolist() == [0.1, 0.1, 0.1]


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_adam_is_torchs(weight_decay):
    torch.manual_seed(0)
    start = torch.randn(3, 2)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    mine = make_optimiser("adam", [ours], weight_decay)
    set_learning_rate(mine, 0.5)
    optimisers = mine, torch.optim.Adam([theirs], 0.5, weight_decay=weight_decay, foreach=False)
    for _ in range(20):
        for optimiser, value in zip(optimisers, (ours, theirs), strict=True):
            optimiser.zero_grad()
            (value - 1).pow(4).sum().backward()
            optimiser.step()
    torch.testing.assert_close(ours, theirs)


TRAINS = """
import sys
import torch
from vaelib.optimisers import make_optimiser

weight = torch.zeros(3, requires_grad=True)
optimiser = make_optimiser(sys.argv[1], [weight], weight_decay=0.1)
weight.sum().backward()
optimiser.step()
optimiser.zero_grad()
optimiser.load_state_dict(optimiser.state_dict())
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("name", ["adam", "adagrad"])
def test_torchs_compiler_is_not_imported(name):
    """It takes longer to import than a small model takes to train."""
    done = subprocess.run([sys.executable, "-c", TRAINS, name], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("fused", [False, True])
def test_adagrad_is_torchs(fused, weight_decay):
    torch.manual_seed(0)
    start = [torch.randn(3, 2), torch.randn(4)]
    ours = [value.clone().requires_grad_() for value in start]
    theirs = [value.clone().requires_grad_() for value in start]
    unused = torch.zeros(2, requires_grad=True)
    mine = make_optimiser("adagrad", [*ours, unused], weight_decay)
    if not fused:  # as on CUDA
        mine = Adagrad([*ours, unused], 0.0, weight_decay)
    set_learning_rate(mine, 0.5)
    optimisers = mine, torch.optim.Adagrad(theirs, 0.5, 0, weight_decay, foreach=False)
    for _ in range(20):
        for optimiser, values in zip(optimisers, (ours, theirs), strict=True):
            optimiser.zero_grad()
            sum((value - 1).pow(4).sum() for value in values).backward()
            optimiser.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.equal(unused, torch.zeros(2))


def test_adagrads_memory_comes_back():
    """With a gradient of one, the steps are 1, 1/sqrt 2, 1/sqrt 3: a fresh optimiser would take the first again."""
    value = torch.zeros(1, requires_grad=True)
    state = None
    for n in (1, 2, 3):
        optimiser = Adagrad([value], 1.0)
        if state is not None:
            optimiser.load_state_dict(state)
        before = value.item()
        value.grad = torch.ones(1)
        optimiser.step()
        assert before - value.item() == pytest.approx(n**-0.5)
        state = optimiser.state_dict()


@pytest.mark.parametrize("name", ["adam", "adagrad"])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_learning_rate_is_set_as_a_number_or_in_place(name, as_tensor):
    value = torch.zeros(1, requires_grad=True)
    optimiser = make_optimiser(name, [value], weight_decay=0.0)
    rate = torch.tensor(0.0)
    if as_tensor:  # as it is where steps are recorded
        optimiser.param_groups[0]["lr"] = rate
    set_learning_rate(optimiser, torch.tensor(0.25) if as_tensor else 0.25)
    assert optimiser.param_groups[0]["lr"] == 0.25
    if as_tensor:
        assert optimiser.param_groups[0]["lr"] is rate
    else:
        value.grad = torch.ones(1)
        optimiser.step()
        assert value.item() == pytest.approx(-0.25)


@pytest.mark.parametrize("fused", [False, True])
def test_a_group_has_its_share_of_the_rate(fused):
    values = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    groups = [{"params": [value], "share": share} for value, share in zip(values, (1.0, 0.25), strict=True)]
    optimiser = make_optimiser("adagrad", groups, 0.0) if fused else Adagrad(groups, 0.0)
    set_learning_rate(optimiser, 0.5)
    for value in values:
        value.grad = torch.ones(1)
    optimiser.step()  # Adagrad's first is as long as the rate
    assert [value.item() for value in values] == pytest.approx([-0.5, -0.125])
    assert [group["lr"] for group in optimiser.param_groups] == [0.5, 0.125]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match='optimiser must be "adam" or "adagrad", but is \'sgd\''):
        make_optimiser("sgd", [torch.zeros(1, requires_grad=True)], 0.0)
    with pytest.raises(ValueError, match='schedule must be "one-cycle", "linear" or "constant", but is \'cosine\''):
        learning_rates("cosine", 0.1, 3)
