"""`python -m vaelib.experiments NAME` runs one experiment; without a name it lists them.

A run that was stopped goes on when the same command is given again. `torchrun --nproc-per-node=2 -m vaelib.experiments
NAME` shares it between two processes, each on an accelerator of its own where there are any.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vaelib.checkpoints import CheckpointError
from vaelib.data import DataError
from vaelib.experiments import (
    active_units,
    amortization,
    bottleneck,
    draws,
    explorer,
    full_bayes,
    iwae,
    likelihoods,
    lower_bound,
    manifolds,
    marginal_likelihood,
    proximity,
    seeds,
    without_encoder,
)
from vaelib.experiments.ranks import use_own_accelerator
from vaelib.experiments.records import Record, RecordError

EXPERIMENTS: dict[str, Callable[..., Record | None]] = {
    "active-units": active_units.run,
    "amortization": amortization.run,
    "bottleneck": bottleneck.run,
    "draws": draws.run,
    "explorer": explorer.run,
    "full-bayes": full_bayes.run,
    "iwae": iwae.run,
    "likelihoods": likelihoods.run,
    "lower-bound": lower_bound.run,
    "manifolds": manifolds.run,
    "marginal-likelihood": marginal_likelihood.run,
    "proximity": proximity.run,
    "seeds": seeds.run,
    "without-encoder": without_encoder.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment that the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vaelib.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = parser.add_subparsers(dest="name", metavar="NAME", title="experiments")
    for name, run in EXPERIMENTS.items():
        description = sys.modules[run.__module__].__doc__
        experiment = names.add_parser(name, help=description, description=description)
        folder = explorer.FOLDER if name == "explorer" else Path("book/records")
        experiment.add_argument("--out", type=Path, default=folder, help="the folder of the record")
        experiment.add_argument(
            "--dataset",
            help="mnist, frey or digits (lower-bound has frey-shuffled too); by default as vaelib.data.load chooses",
        )
        experiment.add_argument("--epochs", type=int, help="of each training run; by default as the book has it")
    options = vars(parser.parse_args(argv))
    name, out = options.pop("name"), options.pop("out", None)
    if name is None:
        parser.print_help()
        return 0
    try:
        use_own_accelerator()
        record = EXPERIMENTS[name](out, **options)
    except (CheckpointError, DataError, RecordError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"{str(stop) or 'stopped'}; the same command goes on with the experiment", file=sys.stderr)
        return 130
    if record is not None:
        date, seconds = record.provenance["date"], record.provenance["seconds"]
        print(f"{out / record.name}.json: {len(record.table)} rows, of a run that began {date} and took {seconds} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
