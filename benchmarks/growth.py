"""How the time of a training epoch grows: with N, the batch size, K, the hidden width and L, each alone.

The exponent is the slope of log time on log size, over the upper half of the sizes: the lower half is overhead.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from timing import alternate, keep, parser
from torch import Tensor

from vaelib.bounds import sgvb_b
from vaelib.devices import default_device
from vaelib.experiments.records import start
from vaelib.models import VAE
from vaelib.training import fit

BASE = {"images": 4096, "batch_size": 128, "latent_dim": 20, "hidden": 400, "num_samples": 1}
SIZES = {
    "images": (1024, 2048, 4096, 8192, 16384),
    "batch_size": (16, 32, 64, 128, 256, 512),
    "latent_dim": (2, 8, 32, 128, 512),
    "hidden": (50, 100, 200, 400, 800, 1600),
    "num_samples": (1, 2, 4, 8, 16),
}


def epoch(x: Tensor, batch_size: int, latent_dim: int, hidden: int, num_samples: int) -> None:
    model = VAE.mlp(784, (hidden,), latent_dim)
    objective = partial(sgvb_b, num_samples=num_samples)
    objective.__qualname__ = "sgvb_b"
    fit(model, x, epochs=1, batch_size=batch_size, objective=objective, progress=False)


def exponent(sizes: pd.Series, seconds: pd.Series) -> float:
    """The slope of log seconds on log sizes, over the upper half of the sizes."""
    upper = sizes >= sorted(sizes.unique())[sizes.nunique() // 2]
    return float(np.polyfit(np.log(sizes[upper]), np.log(seconds[upper]), 1)[0])


def main() -> None:
    options = parser(__doc__, rounds=5).parse_args()
    started, device = start(), default_device()
    torch.manual_seed(0)
    images = torch.rand(max(SIZES["images"]), 784, device=device).round()
    tables = []
    for name, sizes in SIZES.items():
        contenders = {}
        for size in sizes:
            setting = BASE | {name: size}
            count = setting.pop("images")
            contenders[str(size)] = partial(epoch, images[:count], **setting)
        times = alternate(contenders, options.rounds, seconds=0).assign(varied=name)
        times["size"] = times.contender.astype(int)
        medians = times.groupby("size").seconds.median()
        print(f"{name}: exponent {exponent(medians.index.to_series(), medians):.2f}")
        print(medians.to_string(float_format=lambda value: f"{value:.3g} s"), flush=True)
        tables.append(times)
    keep(options.out, f"growth-{device.type}", BASE, pd.concat(tables, ignore_index=True), started)


if __name__ == "__main__":
    main()
