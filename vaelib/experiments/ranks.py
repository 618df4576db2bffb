"""The processes that share the work of one command: the ranks that `torchrun` starts, or one process alone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store


class Ranks:
    """The processes that share a list of jobs, each under a number, its rank.

    A rank takes the next job that nobody has taken, by raising a counter that the launcher keeps for all of them: no
    rank idles while there are jobs left, whatever each one costs. The ranks tell each other nothing else, so no process
    group is made; one process alone needs no launcher and no counter.

    Args:
        name: Of the list of jobs: of the counter.
    """

    def __init__(self, name: str) -> None:
        self.rank = 0
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self._store: Store | None = None
        if self.size > 1:
            # Here, because torch can be built without it.
            from torch.distributed.distributed_c10d import PrefixStore
            from torch.distributed.rendezvous import rendezvous

            store, self.rank, self.size = next(rendezvous("env://"))
            self._store = PrefixStore(name, store)

    def claim(self, count: int) -> Iterator[int]:
        """The numbers below `count` that are this rank's, each taken when it is asked for."""
        if self._store is None:
            yield from range(count)
            return
        while (number := self._store.add("next", 1) - 1) < count:
            yield number

    def wait(self, meanwhile: Callable[[], None]) -> None:
        """Say that this rank has no more to do; rank 0 waits until all have said so, calling `meanwhile` now and then.

        There is no time limit, since jobs may take days: the launcher ends all ranks when one fails.
        """
        if self._store is None:
            return
        self._store.set(f"rank {self.rank} is done", "")
        everyone = [f"rank {rank} is done" for rank in range(self.size)]
        while self.rank == 0 and not self._store.check(everyone):
            meanwhile()
            time.sleep(0.2)  # and not Store.wait, which Ctrl-C does not interrupt


def use_own_accelerator() -> None:
    """Make the accelerator whose number is LOCAL_RANK the current one, where there are any and a launcher sets it.

    Raises:
        RuntimeError: If the machine has fewer.
    """
    local_rank = os.environ.get("LOCAL_RANK")
    if local_rank is None or not torch.accelerator.is_available():
        return
    count = torch.accelerator.device_count()
    if int(local_rank) >= count:
        raise RuntimeError(
            f"process {local_rank} of this machine (from 0) has no accelerator, for there are {count}: start no more "
            "processes than that with --nproc-per-node"
        )
    torch.accelerator.set_device_index(int(local_rank))
