"""Train the 784-400-20 model of PyTorch's example on MNIST with vaelib, and print its test loss.

`time_to_bound.py` runs it as a whole process. The loss is the example's: the negative bound with one draw of z, in nats
per test image, with the cross-entropy of grey pixels, and computed in float32.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from vaelib.bounds import sgvb_b
from vaelib.data import load
from vaelib.models import VAE
from vaelib.networks import Centred
from vaelib.precision import in_bfloat16
from vaelib.runs import Objective
from vaelib.training import evaluate, fit

EPOCHS = 2
BATCH_SIZE = 320
LEARNING_RATE = {"encoder": 8e-3, "decoder": 4e-2}


def make_model(images: torch.Tensor, seed: int, centred: bool = True, biased: bool = True) -> VAE:
    torch.manual_seed(seed)
    model = VAE.mlp(784, (400,), 20, grey=True)
    if centred:
        model.encoder.body = Centred(model.encoder.body, images)
    if biased:
        model.decoder.set_output_bias(images)
    return model


def loss_after_training(
    model: VAE, train: torch.Tensor, test: torch.Tensor, seed: int, objective: Objective = sgvb_b, **changes: Any
) -> float:
    """Train the model, and return its loss on the test images."""
    settings = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "schedule": "linear"}
    fit(model, train, objective=objective, seed=seed, **settings | changes)
    return -evaluate(model, test)["elbo"]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=EPOCHS)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--bfloat16", action="store_true", help="multiply in bfloat16 while training")
    arguments = options.parse_args()
    mnist = load("mnist")
    model = make_model(mnist.train, arguments.seed)
    objective = in_bfloat16(sgvb_b) if arguments.bfloat16 else sgvb_b
    loss = loss_after_training(model, mnist.train, mnist.test, arguments.seed, objective, epochs=arguments.epochs)
    print(f"test loss {loss:.4f}")


if __name__ == "__main__":
    main()
