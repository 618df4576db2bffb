"""What a bottleneck costs: the squared error of D-256-K-256-D autoencoders against K, after short and long training."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from vaelib import data
from vaelib.autoencoder import Autoencoder, squared_error
from vaelib.checks import check_positive_integer
from vaelib.devices import default_device
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.runs import seeded
from vaelib.training import fit

SEEDS = range(3)
LATENT_DIMS = (2, 4, 16, 64, 256)
SMALL_LATENT_DIMS = (2, 4, 8, 16, 32)
"""For the sets that are smaller than MNIST."""
HIDDEN = (256,)
BATCH_SIZE = 128
LEARNING_RATE = 1e-2
LONGER = 5
"""How many times longer the second training of each network is."""


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train an autoencoder for each K, length of training and seed, and record its error when it is trained.

    Args:
        out: The folder of the record, which is called bottleneck-DATASET.json.
        dataset: As `vaelib.data.load` names it.
        epochs: Of the short trainings, of which the long ones are `LONGER` multiples; by default those of the chapter
            on autoencoders, 4 on MNIST and 150 on the smaller sets.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns: one row a network, with `train_squared_error`, the mean over
        the last epoch while the weights were moving, and `test_squared_error`, after it.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    if epochs is None:
        epochs = 4 if images.name == "mnist" else 150
    check_positive_integer("epochs", epochs)
    latent_dims = LATENT_DIMS if images.name == "mnist" else SMALL_LATENT_DIMS

    def train(job: Job, checkpoint: Path) -> pd.DataFrame:
        seed, latent_dim = int(job["seed"]), int(job["latent_dim"])
        with seeded(seed, torch.device("cpu")):
            model = Autoencoder.mlp(images.dim, HIDDEN, latent_dim)
        history = fit(
            model,
            images.train,
            images.test,
            epochs=int(job["epochs"]),
            objective=squared_error,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            schedule="one-cycle",
            seed=seed,
            device=device,
            progress=False,
            checkpoint=checkpoint,
        )
        return history[["train_squared_error", "test_squared_error"]].tail(1).reset_index(drop=True)

    settings = {
        "dataset": images.name, "hidden": HIDDEN, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE,
        "schedule": "one-cycle",
    }  # fmt: skip
    jobs = [
        {"epochs": length, "latent_dim": latent_dim, "seed": seed}
        for length in (LONGER * epochs, epochs)
        for latent_dim in latent_dims
        for seed in SEEDS
    ]
    return run_grid(f"bottleneck-{images.name}", jobs, train, settings=settings, out=out)
