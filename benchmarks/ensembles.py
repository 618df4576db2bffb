"""An ensemble trained at once against its members trained one after another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from timing import alternate, keep, parser, ratios
from torch import Tensor

from vaelib.devices import default_device
from vaelib.ensembles import fit_ensemble
from vaelib.experiments.records import start
from vaelib.models import VAE
from vaelib.training import fit

SIZES = ((784, 400, 20), (64, 32, 2))


def make(count: int, data_dim: int, hidden: int, latent_dim: int) -> list[VAE]:
    torch.manual_seed(0)
    return [VAE.mlp(data_dim, (hidden,), latent_dim) for _ in range(count)]


def together(make_models: Callable[[], list[VAE]], x: Tensor) -> None:
    fit_ensemble(make_models(), x, epochs=1, progress=False)


def in_turn(make_models: Callable[[], list[VAE]], x: Tensor) -> None:
    for seed, model in enumerate(make_models()):
        fit(model, x, epochs=1, seed=seed, progress=False)


def main() -> None:
    options = parser(__doc__, rounds=7).parse_args()
    started, device = start(), default_device()
    tables = []
    for (data_dim, hidden, latent_dim), count in ((size, count) for size in SIZES for count in (1, 4, 16)):
        torch.manual_seed(0)
        x = torch.rand(4096, data_dim, device=device).round()
        models = partial(make, count, data_dim, hidden, latent_dim)
        contenders = {"together": partial(together, models, x), "in turn": partial(in_turn, models, x)}
        times = alternate(contenders, options.rounds, seconds=0)
        ratio = ratios(times, "in turn", "together")
        print(f"{data_dim}-{hidden}-{latent_dim}, {count} members:", end=" ")
        print("together {median:.2f} times faster ({least:.2f} to {greatest:.2f})".format(**ratio), flush=True)
        tables.append(times.assign(data_dim=data_dim, hidden=hidden, latent_dim=latent_dim, members=count))
    settings = {"images": 4096, "batch_size": 128, "epochs": 1}
    keep(options.out, f"ensembles-{device.type}", settings, pd.concat(tables, ignore_index=True), started)


if __name__ == "__main__":
    main()
