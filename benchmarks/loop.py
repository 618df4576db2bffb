"""What a training loop loses besides its arithmetic: an epoch's time as one habit after another is dropped.

The model, the batch size and the steps are those of `plain_loop.py`, on the first 12,800 training images.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from PIL import Image
from plain_loop import PlainVAE
from timing import alternate, keep, parser, ratios, show
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from vaelib.data import load
from vaelib.experiments.records import start
from vaelib.models import VAE
from vaelib.training import fit

IMAGES = 12_800


class Decoded(Dataset):
    """Images that become tensors one by one, by way of Pillow, as the usual dataset classes make them."""

    def __init__(self, x: Tensor) -> None:
        self.levels = (x * 255).round().to(torch.uint8).view(-1, 28, 28).numpy()

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, number: int) -> tuple[Tensor]:
        image = Image.fromarray(self.levels[number])
        return (torch.from_numpy(np.array(image)).to(torch.float32).div(255).flatten(),)


def from_loader(dataset: Dataset, read_loss: bool) -> None:
    model = PlainVAE()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    total = 0.0
    for (batch,) in DataLoader(dataset, batch_size=128, shuffle=True):
        optimiser.zero_grad()
        loss = model(batch)
        loss.backward()
        if read_loss:
            total += loss.item()
        optimiser.step()


def resident(x: Tensor, fused: bool) -> None:
    model = PlainVAE()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    for rows in torch.randperm(len(x)).split(128):
        optimiser.zero_grad()
        model(x[rows]).backward()
        optimiser.step()


def with_fit(x: Tensor) -> None:
    fit(VAE.mlp(784, grey=True), x, epochs=1, device="cpu", progress=False)


def main() -> None:
    options = parser(__doc__, rounds=9).parse_args()
    started = start()
    x = load("mnist").train[:IMAGES]
    contenders = {
        "images decoded one by one": partial(from_loader, Decoded(x), True),
        "loader, loss read": partial(from_loader, TensorDataset(x), True),
        "loader": partial(from_loader, TensorDataset(x), False),
        "resident tensor": partial(resident, x, False),
        "resident tensor, fused Adam": partial(resident, x, True),
        "vaelib.training.fit": partial(with_fit, x),
    }
    times = alternate(contenders, options.rounds, seconds=0)
    show(times, ["contender"])
    for name in list(contenders)[1:]:
        print(f"{name}:", ratios(times, "images decoded one by one", name))
    keep(options.out, "loop-cpu", {"images": IMAGES, "batch_size": 128}, times, started)


if __name__ == "__main__":
    main()
