"""The loop that a tutorial would show: a DataLoader, the loss read at every step, Adam at 1e-3, ten epochs.

It stands in for PyTorch's own example where that is not at hand: the same model, loss, batch size and optimiser.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from vaelib.data import load


class PlainVAE(nn.Module):
    """784-400-20 with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(784, 400)
        self.loc = nn.Linear(400, 20)
        self.log_var = nn.Linear(400, 20)
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The loss of images x (M, 784), summed over them."""
        hidden = functional.relu(self.hidden(x))
        loc, log_var = self.loc(hidden), self.log_var(hidden)
        z = loc + torch.exp(0.5 * log_var) * torch.randn_like(loc)
        cross_entropy = functional.binary_cross_entropy(self.decoder(z), x, reduction="sum")
        return cross_entropy - 0.5 * (1 + log_var - loc.pow(2) - log_var.exp()).sum()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--seed", type=int, default=1)
    arguments = options.parse_args()
    torch.manual_seed(arguments.seed)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    mnist = load("mnist")
    train = DataLoader(TensorDataset(mnist.train), batch_size=128, shuffle=True)
    test = DataLoader(TensorDataset(mnist.test), batch_size=128)
    model = PlainVAE().to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for epoch in range(1, arguments.epochs + 1):
        total = 0.0
        for (x,) in train:
            optimiser.zero_grad()
            loss = model(x.to(device))
            loss.backward()
            total += loss.item()
            optimiser.step()
        with torch.no_grad():
            test_loss = sum(model(x.to(device)).item() for (x,) in test) / len(mnist.test)
        print(f"epoch {epoch}: train loss {total / len(mnist.train):.4f}, test loss {test_loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
