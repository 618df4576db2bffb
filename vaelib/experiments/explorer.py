r"""The model behind the pictures that move: two latent variables, in files small enough for a web page.

It is the model of the chapter "Manifolds and samples" with 400 instead of 500 units a layer, and longer training. A
file of weights holds the layers of one network in their order, for each the rows of its matrix and then its biases, as
half-precision numbers with the low byte first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from vaelib import data
from vaelib.bounds import sgvb_b
from vaelib.checkpoints import write_whole
from vaelib.checks import check_positive_integer
from vaelib.devices import default_device
from vaelib.experiments.records import Record, read_record, start, write_record
from vaelib.models import VAE
from vaelib.runs import seeded
from vaelib.training import evaluate, fit

FOLDER = Path("book/_static/interactive/model")
"""Where the page looks for the files."""

HIDDEN = 400
"""With 500 the decoder's file would have 789 kB, with 400 it has 631."""

LATENT_DIM = 2
SEED = 0
EPOCHS = {"mnist": 20, "digits": 150}
BATCH_SIZE = 100
LEARNING_RATE = 4e-3
CODES = 1000
"""Test images, the first ones of the set, whose codes are shown."""

DRAWS = 100
"""Of each of these codes, for the image's bound."""


def make_model(data_dim: int) -> VAE:
    """The network, with torch's own first weights.

    Args:
        data_dim: D.
    """
    return VAE.mlp(data_dim, (HIDDEN,), LATENT_DIM, activation=nn.Tanh, grey=True)


def write_network(path: Path, network: nn.Module) -> None:
    """Write the weights of an encoder or a decoder."""
    numbers = parameters_to_vector(network.parameters()).detach().cpu().numpy().astype("<f2")
    write_whole(path, lambda file: file.write(numbers.tobytes()))


def read_network(path: Path, network: nn.Module) -> None:
    """Give an encoder or a decoder the weights of a file.

    Raises:
        ValueError: If the file has not as many numbers as the network.
    """
    numbers, wanted = np.fromfile(path, "<f2"), sum(weights.numel() for weights in network.parameters())
    if len(numbers) != wanted:
        raise ValueError(f"{path} holds {len(numbers)} numbers, and the network {wanted}: write it anew")
    like = next(network.parameters())
    vector_to_parameters(torch.from_numpy(numbers.astype("f4")).to(like), network.parameters())


def read_model(folder: Path | str = FOLDER) -> VAE:
    """The model of the files that `run` wrote.

    Raises:
        RecordError: If model.json is missing or damaged.
        ValueError: If a file of weights does not fit it.
    """
    folder = Path(folder)
    model = make_model(read_record(folder / "model.json").settings["encoder"][0])
    read_network(folder / "encoder.bin", model.encoder)
    read_network(folder / "decoder.bin", model.decoder)
    return model


def run(out: Path | str, *, dataset: str | None = None, epochs: int | None = None) -> Record:
    """Train the model, round its weights to half precision, and write the files.

    - encoder.bin and decoder.bin: the weights;
    - examples.bin: of each class the first test image, a byte a pixel;
    - model.json: the record, with the test bound of the rounded model, in nats, in its provenance.

    Args:
        out: The folder of the files.
        dataset: "mnist" or "digits", as `vaelib.data.load` names them.
        epochs: By default `EPOCHS`.

    Returns:
        The record. Its table has for each of `CODES` test images the `digit`, its code, the posterior's mean `z1` and
        `z2`, and its bound `elbo`, estimated with `DRAWS` draws.

    Raises:
        ValueError: If the set has no classes.
    """
    started, device = start(), default_device()
    images = data.load(dataset).to(device)
    if images.test_labels is None:
        raise ValueError(f"dataset must be a set with classes, as mnist, but is {images.name}")
    epochs = EPOCHS[images.name] if epochs is None else epochs
    check_positive_integer("epochs", epochs)
    with seeded(SEED, torch.device("cpu")):
        model = make_model(images.dim)
    model.decoder.set_output_bias(images.train.cpu())  # type: ignore[operator]  # of nn.Module torch knows no methods
    fit(
        model,
        images.train,
        epochs=epochs,
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        schedule="one-cycle",
        seed=SEED,
        device=device,
    )
    x, digit = images.test[:CODES], images.test_labels[:CODES]
    with torch.no_grad(), seeded(SEED, device):
        for weights in model.parameters():
            weights.copy_(weights.half())
        z = model.encode(x).mean
        elbo = torch.cat([sgvb_b(model, rows, DRAWS).elbo for rows in x.split(100)])
    columns = {"digit": digit, "z1": z[:, 0], "z2": z[:, 1], "elbo": elbo}
    table = pd.DataFrame({name: column.double().cpu().numpy() for name, column in columns.items()})
    out = Path(out)
    write_network(out / "encoder.bin", model.encoder)
    write_network(out / "decoder.bin", model.decoder)
    pixels = (255 * first_of_each(images.test, images.test_labels)).round().byte().cpu().numpy()
    write_whole(out / "examples.bin", lambda file: file.write(pixels.tobytes()))
    return write_record(
        out / "model.json",
        name="model",
        settings={
            "dataset": images.name, "image_shape": images.image_shape, "activation": "tanh", "grey": True,
            "encoder": [images.dim, HIDDEN, 2 * LATENT_DIM], "decoder": [LATENT_DIM, HIDDEN, images.dim],
            "epochs": epochs, "batch_size": BATCH_SIZE, "optimiser": "adam", "learning_rate": LEARNING_RATE,
            "schedule": "one-cycle",
        },
        seeds=[SEED],
        table=table.round(3).astype({"digit": int}),
        started=started,
        notes=evaluate(model, images.test),
    )  # fmt: skip


def first_of_each(x: Tensor, labels: Tensor) -> Tensor:
    """Of images x, shape (N, D), the first of each class, shape (C, D).

    Args:
        x: Images, shape (N, D).
        labels: Their classes, 0 to C - 1, shape (N,).
    """
    return torch.stack([x[labels == label][0] for label in labels.unique()])
