"""What stands behind the numbers of "Manifolds and samples"."""

from __future__ import annotations

import math
import re
from pathlib import Path
from statistics import NormalDist

from prose.registry import Argued, Computed, Voucher
from vaelib.experiments import explorer
from vaelib.experiments.records import published

INTERACTIVE = Path(__file__).parents[3] / "book" / "_static" / "interactive"

plane = published("manifolds-mnist").table.query("latent_dim == 2 and epochs == 4 and seed == 0")
draws = re.search(r"const DRAWS = (\d+);", (INTERACTIVE / "draw.js").read_text("utf8"))
assert draws is not None
examples = (INTERACTIVE / "model" / "examples.bin").stat().st_size  # a byte for each pixel

VOUCHERS: list[Voucher] = [
    Computed("A bound of $-156$ nats", {"156": plane.elbo.item()}),
    Computed("a million cells get to 3.29", {"a million": 1000**2, "3.29": NormalDist().inv_cdf(1 - 1 / 2000)}),
    Computed(
        "by a network with 400 units in place of 500, so that its weights are a download of 0.6 MB",
        {
            "400": explorer.HIDDEN,
            "500": published("manifolds-mnist").settings["hidden"],
            "0.6": (INTERACTIVE / "model" / "decoder.bin").stat().st_size / 1e6,
        },
    ),
    Computed("ten test images to choose from", {"ten": examples / 28**2}),
    Computed("seven decoded images", {"seven": float(draws[1])}),
    Computed("seven draws $z_l$ from it", {"seven": float(draws[1])}),
    Argued("Cross a seven, close a four at the top", because="they are digits to draw"),
    Computed(r"exceeds $\log 2000 = 7.6$", {"7.6": math.log(published("manifolds-mnist").settings["decoded"])}),
    Computed(
        r"run from $\Phi(0.025) = 0.51$ to $\Phi(0.975) = 0.84$",
        {
            "0.025": 0.5 / 20,
            "0.51": NormalDist().cdf(0.5 / 20),
            "0.975": 19.5 / 20,
            "0.84": NormalDist().cdf(19.5 / 20),
        },
    ),
]
