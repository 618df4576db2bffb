"""Draws or images: SGVB with L draws for each of M images a minibatch, at equal numbers L x M of decoded codes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
import torch

from vaelib import data
from vaelib.bounds import sgvb_b
from vaelib.checks import check_positive_integer
from vaelib.devices import default_device
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.models import VAE
from vaelib.runs import seeded
from vaelib.training import evaluate, fit

SEEDS = range(3)
COSTS = (100, 400)
"""L M, decoded codes for each step: how many steps a given amount of work pays for."""

NUM_SAMPLES = (1, 2, 5, 10)
HIDDEN = (400,)
LATENT_DIM = 20
LEARNING_RATE = 1e-3


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train with each pair (L, M), with as many decoded codes in all, and record the test bound at the end.

    With L draws an image, an epoch decodes L codes an image: it is worth L epochs with one draw, and so many fewer are
    run. All pairs of equal cost L M thus take equally many gradient steps of equal size, by Adam at a constant rate.

    Args:
        out: The folder of the record, which is called draws-DATASET.json.
        dataset: As `vaelib.data.load` names it.
        epochs: With one draw; a multiple of each L. By default 10 on MNIST, and 100 on the smaller sets.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns; the columns are `num_samples`, `batch_size`, `seed` and
        `test_elbo`, the bound on the test images with one draw each, in nats.

    Raises:
        ValueError: If `epochs` is no multiple of every L.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    if epochs is None:
        epochs = 10 if images.name == "mnist" else 100
    check_positive_integer("epochs", epochs)
    if wrong := [count for count in NUM_SAMPLES if epochs % count]:
        raise ValueError(f"epochs must be a multiple of every number of draws, but {epochs} is none of {wrong}")

    def train(job: Job, checkpoint: Path) -> pd.DataFrame:
        seed, num_samples = int(job["seed"]), int(job["num_samples"])
        with seeded(seed, torch.device("cpu")):
            model = VAE.mlp(images.dim, HIDDEN, LATENT_DIM, grey=True)
        fit(
            model,
            images.train,
            epochs=epochs // num_samples,
            objective=partial(sgvb_b, num_samples=num_samples),
            batch_size=int(job["batch_size"]),
            learning_rate=LEARNING_RATE,
            schedule="constant",
            seed=seed,
            device=device,
            progress=False,
            checkpoint=checkpoint,
        )
        return pd.DataFrame({"test_elbo": [evaluate(model, images.test)["elbo"]]})

    settings = {
        "dataset": images.name, "epochs": epochs, "hidden": HIDDEN, "latent_dim": LATENT_DIM,
        "learning_rate": LEARNING_RATE, "schedule": "constant",
    }  # fmt: skip
    jobs = [
        {"num_samples": num_samples, "batch_size": cost // num_samples, "seed": seed}
        for cost in COSTS
        for num_samples in NUM_SAMPLES
        for seed in SEEDS
    ]
    return run_grid(f"draws-{images.name}", jobs, train, settings=settings, out=out)
