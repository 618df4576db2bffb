"""Train the 784-400-20 model of PyTorch's example on MNIST with vaelib, and print its test loss.

`time_to_bound.py` runs it as a whole process. The loss is the example's: the negative bound with one draw of z, in nats
per test image, with the cross-entropy of grey pixels, and computed in float32.
"""

from __future__ import annotations

import argparse

import torch

from vaelib.bounds import sgvb_b
from vaelib.data import load
from vaelib.models import VAE
from vaelib.networks import Centred
from vaelib.precision import in_bfloat16
from vaelib.training import evaluate, fit


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=2)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--bfloat16", action="store_true", help="multiply in bfloat16 while training")
    arguments = options.parse_args()
    mnist = load("mnist")
    torch.manual_seed(arguments.seed)
    model = VAE.mlp(784, (400,), 20, grey=True)
    model.encoder.body = Centred(model.encoder.body, mnist.train)
    model.decoder.set_output_bias(mnist.train)
    objective = in_bfloat16(sgvb_b) if arguments.bfloat16 else sgvb_b
    settings = {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "schedule": "linear"}
    fit(model, mnist.train, epochs=arguments.epochs, objective=objective, seed=arguments.seed, **settings)
    print(f"test loss {-evaluate(model, mnist.test)['elbo']:.4f}")


BATCH_SIZE = 320
LEARNING_RATE = {"encoder": 8e-3, "decoder": 4e-2}

if __name__ == "__main__":
    main()
