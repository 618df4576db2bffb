"""A grid for test_grid.py to start under torchrun: one job ends, one goes on for ever, and then one fails."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pandas as pd

from vaelib.experiments.grid import run_grid

JOBS = [{"seed": 0}, {"seed": 1}, {"seed": 2}]


def work(job, checkpoint):
    endless = checkpoint.parent / "seed=1" / "begun"
    if job["seed"] == 1:
        endless.touch()
        time.sleep(600)
    while job["seed"] == 2 and not endless.exists():
        time.sleep(0.01)
    if job["seed"] == 2:
        raise ZeroDivisionError("by intent")
    return pd.DataFrame({"x": [0.5]})


if __name__ == "__main__":
    run_grid("failing", JOBS, work, settings={}, out=Path(sys.argv[1]), progress=False)
