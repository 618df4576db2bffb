"""Vouchers for "The amortised VAE on MNIST"."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch

from prose.registry import Computed, Voucher
from vaelib.data import MNIST_FILES
from vaelib.experiments.records import published

CHAPTER = Path(__file__).parents[3] / "book/part-5/amortised-vae.md"
STEPS = [int(number) for number in re.findall(r"^\*\*Step (\d)\.\*\*", CHAPTER.read_text("utf8"), flags=re.M)]
N = MNIST_FILES["train-images-idx3-ubyte.gz"][0][0]
RACE = published("time-to-bound-cpu").table
EXAMPLE = RACE[RACE.contender == "example"].test_loss
FALSE_ALARM = math.erfc(5 / math.sqrt(2))  # a standard normal variable beyond five, on either side

VOUCHERS: list[Voucher] = [
    Computed("follow an image through it in four steps", {"four": max(STEPS)}),
    Computed("in four steps. Here they are for the first eight test images", {"four": max(STEPS), "eight": 8}),
    Computed("Training needs steps 1 to 3 only", {"3": max(STEPS) - 1}),
    Computed("the four steps are `q = model.encode(x)`", {"four": max(STEPS)}),
    Computed("passes through it in four steps", {"four": max(STEPS)}),
    Computed(
        "a mean and a variance for each of 20 latent variables, and you store 2.4 million numbers that are useless for "
        "image 60,001",
        {"2.4 million": N * 2 * 20, "60,001": N + 1},
    ),
    Computed("image 60,001 costs one forward pass", {"60,001": N + 1}),
    Computed("one chance in two million", {"two million": round(1 / FALSE_ALARM, -6)}),
    Computed(
        "reaches a test loss between 105.55 and 105.82 (three seeds",
        {"105.55": EXAMPLE.min(), "105.82": EXAMPLE.max()},
    ),
    Computed("overflows near $\\ell = 88.7$", {"88.7": math.log(torch.finfo(torch.float32).max)}),
]
