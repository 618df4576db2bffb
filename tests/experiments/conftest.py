"""Two processes on one machine, as a reader would start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def torchrun() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command under `torchrun` with two processes of one thread each; one that hangs is ended and an error."""

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            [*launcher, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            try:
                stdout, stderr = process.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                process.terminate()  # the launcher then ends the two that it started, which a kill would leave behind
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    return run
