"""Vouchers for "SGVB: one image, one draw, one step"."""

from __future__ import annotations

import math
from pathlib import Path

from prose.registry import Computed, Voucher
from vaelib.data import MNIST_FILES
from vaelib.experiments.records import published

CHAPTER = Path(__file__).parents[3] / "book/part-3/sgvb.md"
N = MNIST_FILES["train-images-idx3-ubyte.gz"][0][0]
DRAWS = published("draws-mnist").table


def lines_of_the_algorithm() -> int:
    """The lines of the function `aevb`."""
    _, _, after = CHAPTER.read_text("utf8").partition("\ndef aevb")
    return after.partition("\n```")[0].count("\n") + 1


def cost(L: int) -> float:
    """The exercise on ten draws: an encoder that costs 50 decoders, and draws with three times the images' variance."""
    return (50 + L) * (1 + 3 / L)


ENCODE = 6 * (784 * 400 + 400 * 40) - 2 * 784 * 400
DECODE = 6 * (20 * 400 + 400 * 784)
BEST, NEXT = sorted(range(1, 1000), key=cost)[:2]

VOUCHERS: list[Voucher] = [
    Computed("the whole algorithm in nine lines", {"nine": lines_of_the_algorithm()}),
    Computed("Nine lines", {"Nine": lines_of_the_algorithm()}),
    Computed(
        "one draw for each of 100 images also encodes twice as many images as two draws for each of 50. Charged for "
        "that too, two draws would have been allowed a quarter more steps",
        {
            "100": DRAWS.batch_size[DRAWS.num_samples == 1].min(),
            "50": DRAWS.batch_size[DRAWS.num_samples == 2].min(),
            "twice": 100 / 50,
            "a quarter": round(100 * (2 * (ENCODE + DECODE) / (ENCODE + 2 * DECODE) - 1) / 5) * 5 / 100,
        },
    ),
    Computed(
        r"$(50 + L)(1 + 3 / L) = 53 + L + 150 / L$, least at $L = \sqrt{150} \approx 12.2$",
        {"53": 50 + 3, "150": 50 * 3, "12.2": math.sqrt(50 * 3)},
    ),
    Computed(
        "The integers next to it give $53 + 12 + 12.5 = 77.5$ at $L = 12$ and $53 + 13 + 11.54 = 77.54$ at $L = 13$; "
        "$L = 1$ gives 204",
        {
            "53": 50 + 3,
            "12": BEST,
            "12.5": 150 / BEST,
            "77.5": cost(BEST),
            "13": NEXT,
            "11.54": 150 / NEXT,
            "77.54": cost(NEXT),
            "204": cost(1),
        },
    ),
    Computed("$204 / 77.5 = 2.6$ times as much", {"204": cost(1), "77.5": cost(BEST), "2.6": cost(1) / cost(BEST)}),
    Computed("Divided by 600 once more", {"600": N / 100}),
    Computed(r"$\beta = 1/600$", {"600": N / 100}),
]
