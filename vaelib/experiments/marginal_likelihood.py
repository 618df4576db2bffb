r"""Figure 3 of "Auto-Encoding Variational Bayes": log p(x) itself against samples, and what few images do to it.

The setting is that of section 5 (Kingma and Welling 2014, https://arxiv.org/abs/1312.6114): networks of 100 tanh units
and three latents, 1000 or 50,000 images to learn from, AEVB, wake-sleep and, on the small set, Monte Carlo EM. At each
point the marginal likelihood is estimated by importance sampling and by the paper's appendix D, in the end also by
annealed importance sampling. Chapter: "The marginal likelihood, and overfitting".
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import pandas as pd
from torch import Tensor

from vaelib import checkpoints, data
from vaelib.checks import check_positive_integer, without_validation
from vaelib.devices import default_device
from vaelib.experiments import estimates, lower_bound
from vaelib.experiments.grid import Job, run_grid
from vaelib.experiments.records import Record
from vaelib.inference.mcem import MonteCarloEM
from vaelib.models import VAE
from vaelib.optimisers import learning_rates, make_optimiser
from vaelib.runs import NonFiniteLossError, Run, seeded
from vaelib.training import evaluate, fit

SEEDS = range(3)
SIZES = {"mnist": (1000, 50_000), "digits": (200, 1000)}
HIDDEN = 100
LATENT_DIM = 3
SAMPLES = {"aevb": 5_000_000, "wake-sleep": 5_000_000, "mcem": 500_000}
"""Of training, counted with repetition. Monte Carlo EM, whose samples cost some eight times as much, takes fewer."""

LARGE_SAMPLES = 2_000_000
"""At most so many on the larger set."""

POINTS = (20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000)
PILOT_SAMPLES = {"aevb": 20_000, "wake-sleep": 20_000, "mcem": 10_000}
"""After as many, from no more different images than that, the step size is chosen on the training images."""

IMAGES = 300
"""The first so many training and test images are evaluated."""


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record | None:
    """Train with each method, number of training images and seed, and estimate log p(x) along the way.

    Args:
        out: The folder of the record, which is called marginal-likelihood-DATASET.json.
        dataset: "mnist" or "digits"; by default as `vaelib.data.load` chooses.
        epochs: Ends each run after so many passes over the smaller set, if it would take more; a run on the larger one
            then sees as many images, rounded up to whole passes.

    Returns:
        What `vaelib.experiments.grid.run_grid` returns. For each job there is a row for each of `POINTS` up to its
        end, rounded to whole epochs, with the number of `samples` so far, the `step_size` that was chosen, the
        processor `seconds` of training so far (less what a run that was stopped lost), and what `estimates.estimate`
        returns for training and for test images, the names with the prefixes `train_` and `test_`.

    Raises:
        ValueError: If the data set is another, or `epochs` is not positive.
    """
    device = default_device()
    images = data.load(dataset).to(device)
    if images.name not in SIZES:
        raise ValueError(f"dataset must be one of {', '.join(SIZES)}, but is {images.name!r}")
    if epochs is not None:
        check_positive_integer("epochs", epochs)
    small, large = SIZES[images.name]

    def end(job: Job) -> int:
        """How many samples it takes, but for the last epoch's end."""
        most = SAMPLES[str(job["method"])] if job["train_images"] == small else LARGE_SAMPLES
        return most if epochs is None else min(most, epochs * small)

    def model_of(job: Job) -> VAE:
        return lower_bound.make_model(images, LATENT_DIM, int(job["seed"]), HIDDEN).to(device)

    def monte_carlo_em(job: Job, model: VAE, train: Tensor, step_size: float) -> MonteCarloEM:
        return MonteCarloEM(
            model,
            train,
            batch_size=lower_bound.BATCH_SIZE,
            learning_rate=step_size,
            weight_decay=1 / len(train),
            seed=int(job["seed"]),
        )

    def pilot(job: Job, train: Tensor, step_size: float) -> float:
        model, samples = model_of(job), min(PILOT_SAMPLES[str(job["method"])], end(job))
        train = train[:samples]
        pilot_epochs = math.ceil(samples / len(train))
        try:
            if job["method"] == "mcem":
                monte_carlo_em(job, model, train, step_size).run(pilot_epochs, progress=False)
                return estimates.estimate(model, train[:IMAGES], encoder=False)["importance"]
            options = lower_bound.fit_options(str(job["method"]), step_size, int(job["train_images"]), int(job["seed"]))
            fit(model, train, epochs=pilot_epochs, **options)
        except NonFiniteLossError:  # too large a step: not the one to choose
            return -math.inf
        return evaluate(model, train[:1000], seed=int(job["seed"]))["elbo"]

    def work(job: Job, checkpoint: Path) -> pd.DataFrame:
        method, train = str(job["method"]), images.train[: int(job["train_images"])]
        shown = sorted({max(1, round(point / len(train))) for point in POINTS if point <= end(job)})
        if not shown or shown[-1] * len(train) < end(job):
            shown.append(math.ceil(end(job) / len(train)))
        notes = checkpoint / "points.pt"
        state = checkpoints.load(notes) if notes.exists() else {"rows": []}
        if "step_size" not in state:
            state["step_size"] = max(lower_bound.STEP_SIZES, key=lambda step: pilot(job, train, step))
            checkpoints.save(notes, state)
        model = model_of(job)
        if method == "mcem":
            trainer = monte_carlo_em(job, model, train, state["step_size"])
        else:
            batches = math.ceil(len(train) / lower_bound.BATCH_SIZE)
            rates = learning_rates("constant", state["step_size"], shown[-1] * batches)
            optimiser = make_optimiser("adagrad", model.parameters(), 1 / len(train))
            ascent = Run(model, lower_bound.METHODS[method], optimiser, rates, train)
            settings = {"epochs": shown[-1], "learning_rate": state["step_size"]}
        with seeded(int(job["seed"]), device):
            if method != "mcem" and (checkpoint / "last.pt").exists():
                ascent.restore(checkpoint / "last.pt", settings)
            for epoch in shown[len(state["rows"]) :]:
                began = time.process_time()
                if method == "mcem":
                    trainer.run(epoch, progress=False, checkpoint=checkpoint)
                else:
                    with without_validation():
                        advance(ascent, epoch, int(job["seed"]))
                    ascent.save(checkpoint / "last.pt", settings)
                state["seconds"] = state.get("seconds", 0.0) + time.process_time() - began
                checkpoints.save(notes, state)
                row = {
                    "samples": epoch * len(train),
                    "step_size": state["step_size"],
                    "seconds": round(state["seconds"], 2),
                }
                for split, x in (("train", train[:IMAGES]), ("test", images.test[:IMAGES])):
                    values = estimates.estimate(
                        model,
                        x,
                        encoder=method != "mcem",
                        last=epoch == shown[-1],
                        annealed=epoch == shown[-1] and job["seed"] == SEEDS[0],
                    )
                    row |= {f"{split}_{name}": value for name, value in values.items()}
                state["rows"].append(row)
                checkpoints.save(notes, state)
        return pd.DataFrame(state["rows"])

    settings = {
        "dataset": images.name, "hidden": HIDDEN, "latent_dim": LATENT_DIM, "activation": "tanh",
        "weight_std": lower_bound.WEIGHT_STD, "optimiser": "adagrad", "step_sizes": lower_bound.STEP_SIZES,
        "batch_size": lower_bound.BATCH_SIZE, "weight_decay": "1 / train_images", "samples": SAMPLES,
        "large_samples": LARGE_SAMPLES, "epochs": epochs,
        "pilot_samples": PILOT_SAMPLES, "points": POINTS, "evaluated_images": IMAGES,
        "reciprocal_images": estimates.RECIPROCAL_IMAGES, "annealed_images": estimates.ANNEALED_IMAGES,
        "prior_draws": estimates.PRIOR_DRAWS, "newton_steps": estimates.NEWTON_STEPS, "weights": estimates.WEIGHTS,
        "widening": estimates.WIDENING, "reciprocal_samples": estimates.RECIPROCAL_SAMPLES,
        "reciprocal_leapfrog": estimates.RECIPROCAL_LEAPFROG, "warmup": estimates.WARMUP,
        "chains": estimates.CHAINS, "temperatures": estimates.TEMPERATURES, "local_steps": estimates.LOCAL_STEPS,
    }  # fmt: skip
    jobs: list[Job] = [
        {"method": method, "train_images": train_images, "seed": seed}
        for seed in SEEDS
        for train_images in (small, large)
        for method in SAMPLES
        if method != "mcem" or train_images == small
    ]
    return run_grid(f"marginal-likelihood-{images.name}", jobs, work, settings=settings, out=out)


def advance(ascent: Run, epoch: int, seed: int) -> None:
    """Go on until this many epochs are finished in all: what `vaelib.training.fit` does in between."""
    while ascent.epoch < epoch:
        ascent.take_epoch(lower_bound.BATCH_SIZE, seed)
        ascent.finish_epoch(len(ascent.train), None)
