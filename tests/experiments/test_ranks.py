"""Several processes share a list of jobs: each is taken once, by whoever asks; the first waits for the others."""

from __future__ import annotations

import pytest
import torch
from torch.distributed import TCPStore

from vaelib.experiments.ranks import Ranks, use_own_accelerator


@pytest.fixture
def launcher(monkeypatch):
    """What `torchrun` gives the processes that it starts; each call is one of them."""
    server = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    monkeypatch.setenv("WORLD_SIZE", "3")

    def launch(rank: int, name: str = "grid") -> Ranks:
        monkeypatch.setenv("RANK", str(rank))
        return Ranks(name)

    yield launch
    del server


def test_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = Ranks("grid")
    assert (ranks.rank, ranks.size) == (0, 1)
    assert list(ranks.claim(3)) == [0, 1, 2]
    ranks.wait(lambda: pytest.fail("there is nobody to wait for"))
    assert not torch.distributed.is_initialized()


def test_every_job_is_taken_once(launcher):
    team = [launcher(rank) for rank in range(3)]
    assert [(ranks.rank, ranks.size) for ranks in team] == [(0, 3), (1, 3), (2, 3)]
    slow, quick, late = (ranks.claim(6) for ranks in team)
    assert next(slow) == 0  # and is busy with it, while
    assert [next(quick) for _ in range(4)] == [1, 2, 3, 4]
    assert next(slow) == 5
    assert [list(claims) for claims in (slow, quick, late)] == [[], [], []]


def test_two_grids_of_one_command_are_counted_apart(launcher):
    assert list(launcher(0, "one").claim(2)) == [0, 1]
    assert list(launcher(0, "other").claim(2)) == [0, 1]


def test_the_first_waits_for_all_others(launcher):
    team = [launcher(rank) for rank in range(3)]
    calls = []

    def meanwhile():
        calls.append(None)
        assert len(calls) <= 2
        team[len(calls)].wait(lambda: pytest.fail("only the first waits"))

    team[0].wait(meanwhile)
    assert len(calls) == 2


@pytest.fixture
def accelerators(monkeypatch):
    """A machine with two of them, and the list of those that were made the current one."""
    chosen = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "set_device_index", chosen.append)
    return chosen


def test_each_process_has_an_accelerator_of_its_own(accelerators, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    use_own_accelerator()
    assert accelerators == []
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        use_own_accelerator()
    assert accelerators == [0, 1]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(RuntimeError, match=r"process 2 of this machine .* there are 2: .* --nproc-per-node"):
        use_own_accelerator()


def test_on_the_processor_any_number_of_processes_is_welcome(accelerators, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setenv("LOCAL_RANK", "7")
    use_own_accelerator()
    assert accelerators == []
