"""Importance sampling of log p(x): 5000 draws for each of 10,000 test images, within a stated memory.

The throughput is that of (draw, image) pairs. The plain loop takes one draw of all images at a time and keeps the log
weights, as one would write it first; the whole run's estimate, time and peak memory are recorded with `--whole`.
"""

from __future__ import annotations

import resource
import sys
import time
from functools import partial

import pandas as pd
import torch
from timing import alternate, keep, parser, ratios, show
from torch import Tensor

from vaelib.bounds import log_mean_exp
from vaelib.data import load
from vaelib.experiments.records import start
from vaelib.marginal import importance_sampling
from vaelib.models import VAE
from vaelib.training import fit


@torch.no_grad()
def plain(model: VAE, x: Tensor, num_samples: int) -> Tensor:
    q = model.encode(x)
    log_weights = []
    for _ in range(num_samples):
        z = q.sample()
        log_weights.append(model.log_joint(x, z) - q.log_prob(z))
    return log_mean_exp(torch.stack(log_weights))


def main() -> None:
    made = parser(__doc__, rounds=5)
    made.add_argument("--whole", action="store_true", help="also run all 5000 draws of all images")
    options = made.parse_args()
    started = start()
    mnist = load("mnist")
    torch.manual_seed(0)
    model = VAE.mlp(784, (400,), 20)
    train, test = ((x > 0.5).float() for x in (mnist.train, mnist.test))
    fit(model, train, epochs=1, learning_rate=6e-3)
    model.requires_grad_(False)
    x = test.to(model.prior.loc.device)
    budgets = (250, 1000, 4000, 10_000)
    contenders = {
        f"vaelib, {n} pairs": partial(importance_sampling, model, x[:1000], 50, pairs_at_once=n) for n in budgets
    }
    times = alternate(contenders | {"plain loop": partial(plain, model, x[:1000], 50)}, options.rounds, seconds=0)
    times["pairs_per_second"] = 50_000 / times.seconds
    summary = show(times, ["contender"])
    print((50_000 / summary.set_index("contender")["median"]).round().to_string())
    best = summary.loc[summary["median"].idxmin(), "contender"]
    print(f"{best} against the plain loop:", ratios(times, "plain loop", best))
    if options.whole:
        begin = time.perf_counter()
        estimate = importance_sampling(model, x, 5000)
        seconds = time.perf_counter() - begin
        # Kilobytes on Linux, bytes on a Mac.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(f"standard error over images {estimate.log_marginal.std() / 100:.2f}")
        row = {
            "contender": "whole",
            "round": 0,
            "seconds": seconds,
            "pairs_per_second": 5e7 / seconds,
            "peak_bytes": peak,
            "log_marginal": estimate.log_marginal.mean().item(),
        }
        times = pd.concat([times, pd.DataFrame([row])], ignore_index=True)
        print(
            f"whole: {seconds:.0f} s, peak memory {peak / 2**20:.0f} MiB, log p(x) {estimate.log_marginal.mean():.2f}"
        )
    settings = {"images": 1000, "draws": 50, "whole": options.whole, "latent_dim": 20, "hidden": 400}
    keep(options.out, "marginal-likelihood-cpu", settings, times, started)


if __name__ == "__main__":
    main()
