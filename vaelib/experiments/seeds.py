"""What a seed changes: the 784-400-K model of the chapter on the amortised VAE, for five seeds and two latent sizes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from vaelib import data
from vaelib.checks import check_positive_integer
from vaelib.devices import default_device
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.models import VAE
from vaelib.runs import seeded
from vaelib.training import fit

SEEDS = range(5)
LATENT_DIMS = (20, 2)
HIDDEN = (400,)
BATCH_SIZE = 128
LEARNING_RATE = 6e-3


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train each model as the chapter does, and record the bound and its two terms after every epoch.

    Args:
        out: The folder of the record, which is called seeds-DATASET.json.
        dataset: As `vaelib.data.load` names it.
        epochs: Of each model; by default the chapter's, 5 on MNIST and 150 on the smaller sets.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns, with `vaelib.training.fit`'s columns.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    if epochs is None:
        epochs = 5 if images.name == "mnist" else 150
    check_positive_integer("epochs", epochs)

    def train(job: Job, checkpoint: Path) -> pd.DataFrame:
        seed, latent_dim = int(job["seed"]), int(job["latent_dim"])
        with seeded(seed, torch.device("cpu")):
            model = VAE.mlp(images.dim, HIDDEN, latent_dim, grey=True)
        return fit(
            model,
            images.train,
            images.test,
            epochs=epochs,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            schedule="one-cycle",
            seed=seed,
            device=device,
            progress=False,
            checkpoint=checkpoint,
        )

    settings = {
        "dataset": images.name, "epochs": epochs, "hidden": HIDDEN, "batch_size": BATCH_SIZE,
        "learning_rate": LEARNING_RATE, "schedule": "one-cycle",
    }  # fmt: skip
    jobs = [{"latent_dim": latent_dim, "seed": seed} for latent_dim in LATENT_DIMS for seed in SEEDS]
    return run_grid(f"seeds-{images.name}", jobs, train, settings=settings, out=out)
