"""Training on a GPU: an epoch of MNIST launched from Python, compiled, and recorded as CUDA graphs.

The time of one epoch is the slope over runs of 1 and of 1 + `--epochs` epochs; what is left is the time before the
first: moving data, compiling, recording. Needs a GPU with CUDA.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
from plain_loop import PlainVAE
from timing import keep, parser
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from train import loss_after_training, make_model

from vaelib.bounds import sgvb_b
from vaelib.data import load
from vaelib.experiments.records import start
from vaelib.models import VAE
from vaelib.training import fit

LEARNING_RATE = 8e-3


def plain(x: Tensor, epochs: int) -> None:
    model = PlainVAE().cuda()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(x), batch_size=128, shuffle=True, num_workers=1, pin_memory=True)
    for _ in range(epochs):
        for (batch,) in loader:
            optimiser.zero_grad()
            loss = model(batch.cuda())
            loss.backward()
            loss.item()
            optimiser.step()


def with_fit(x: Tensor, epochs: int, graph_steps: int, compiled: bool = False) -> None:
    model = VAE.mlp(784, grey=True)
    objective = torch.compile(sgvb_b) if compiled else sgvb_b
    settings = {"learning_rate": LEARNING_RATE, "graph_steps": graph_steps, "device": "cuda", "progress": False}
    fit(model, x, epochs=epochs, objective=objective, **settings)


def seconds_of(function: Callable[[int], None], epochs: int) -> float:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    function(epochs)
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    made = parser(__doc__, rounds=3)
    made.add_argument("--epochs", type=int, default=10, help="epochs of the longer runs (default 10)")
    options = made.parse_args()
    if not torch.cuda.is_available():
        sys.exit("this benchmark needs a GPU with CUDA, and there is none here")
    started = start()
    mnist = load("mnist")
    in_bytes = (mnist.train * 255).round().to(torch.uint8)
    contenders: dict[str, Callable[[int], None]] = {
        "plain loop": partial(plain, mnist.train),
        "fit": partial(with_fit, mnist.train, graph_steps=1),
        "fit, compiled": partial(with_fit, mnist.train, graph_steps=1, compiled=True),
        "fit, graphs of 8": partial(with_fit, in_bytes, graph_steps=8),
        "fit, graphs of 32": partial(with_fit, in_bytes, graph_steps=32),
        "fit, graphs of 32, floats": partial(with_fit, mnist.train, graph_steps=32),
    }
    rows = []
    for number in range(options.rounds):
        for name, function in contenders.items():
            longer = 1 if name == "plain loop" else options.epochs
            one = seconds_of(function, 1)
            epoch = (seconds_of(function, 1 + longer) - one) / longer
            print(f"round {number}, {name}: {1e3 * epoch:.1f} ms an epoch, {one - epoch:.2f} s before it", flush=True)
            rows.append({"contender": name, "round": number, "seconds": epoch, "before": one - epoch})
    for epochs in (2, 3, 5):
        model = make_model(mnist.train, seed=1)
        begin = time.perf_counter()
        loss = loss_after_training(model, in_bytes, mnist.test, 1, epochs=epochs, graph_steps=32, progress=False)
        print(f"{epochs} epochs: test loss {loss:.2f} after {time.perf_counter() - begin:.2f} s, recording included")
    keep(options.out, "gpu-epoch-cuda", {"images": 60_000, "batch_size": 128}, pd.DataFrame(rows), started)


if __name__ == "__main__":
    main()
