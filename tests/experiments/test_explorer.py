"""The model behind the pictures that move: its files, read by hand as the page reads them, against the model."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from vaelib import data
from vaelib.experiments import __main__ as command
from vaelib.experiments import explorer
from vaelib.experiments.records import Record, RecordError, read_record
from vaelib.training import evaluate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """Its files are only read: training is the slow part."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TQDM_DISABLE", "1")
        assert torch.get_default_dtype() == torch.float32
        return folder, explorer.run(folder, dataset="digits", epochs=8)


def layers(path: Path, sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The matrix and the biases of each layer, taken from the file by its description."""
    numbers, found = np.frombuffer(path.read_bytes(), "<f2").astype(float), []
    for inputs, outputs in itertools.pairwise(sizes):
        weights, biases, numbers = np.split(numbers, [inputs * outputs, (inputs + 1) * outputs])
        found.append((weights.reshape(outputs, inputs), biases))
    assert len(numbers) == 0
    return found


def test_the_files_hold_the_model(written: tuple[Path, Record]) -> None:
    folder, record = written
    model, images = explorer.read_model(folder), data.load("digits")
    (a, b), (c, d) = layers(folder / "decoder.bin", record.settings["decoder"])
    z = np.array([[0.5, -1.0], [2.0, 0.3]])
    pixels = 1 / (1 + np.exp(-(np.tanh(z @ a.T + b) @ c.T + d)))
    with torch.no_grad():
        np.testing.assert_allclose(model.decode(torch.tensor(z)).mean, pixels, atol=1e-5)
        q = model.encode(images.test.double())
    (a, b), (c, d) = layers(folder / "encoder.bin", record.settings["encoder"])
    heads = np.tanh(images.test.numpy() @ a.T + b) @ c.T + d
    np.testing.assert_allclose(q.mean, heads[:, :2], atol=1e-4)
    np.testing.assert_allclose(q.stddev, np.exp(heads[:, 2:] / 2), atol=1e-4)


def test_the_record_is_of_the_rounded_model(written: tuple[Path, Record]) -> None:
    folder, record = written
    model, images = explorer.read_model(folder).float(), data.load("digits")
    bound = evaluate(model, images.test)
    assert {name: record.provenance[name] for name in bound} == pytest.approx(bound, abs=1e-3)
    assert record.provenance["elbo"] > -27.5  # it was trained: one Gaussian code for all images has -29
    table = record.table
    assert table.digit.tolist() == images.test_labels.tolist()
    with torch.no_grad():
        np.testing.assert_allclose(table[["z1", "z2"]], model.encode(images.test).mean, atol=6e-4)
    assert table.elbo.mean() == pytest.approx(bound["elbo"], abs=0.1)
    assert table.elbo.std() > 1


def test_the_examples_are_the_first_of_each_class(written: tuple[Path, Record]) -> None:
    folder, _ = written
    images = data.load("digits")
    pixels = np.fromfile(folder / "examples.bin", np.uint8).reshape(10, 64)
    labels = images.test_labels.tolist()
    for digit in range(10):
        first = images.test[labels.index(digit)].numpy()
        np.testing.assert_allclose(pixels[digit] / 255, first, atol=0.5 / 255 + 1e-6)


def test_files_that_do_not_belong_together_are_refused(written: tuple[Path, Record], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(written[0], folder)
    (folder / "decoder.bin").write_bytes((folder / "decoder.bin").read_bytes()[:-2])
    with pytest.raises(ValueError, match=r"decoder\.bin holds 26863 numbers, and the network 26864: write it anew"):
        explorer.read_model(folder)
    with pytest.raises(RecordError, match="model"):
        explorer.read_model(folder / "nowhere")


def test_wrong_arguments_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="epochs"):
        explorer.run(tmp_path, dataset="digits", epochs=0)
    faces = data.Dataset("frey", torch.rand(4, 6), torch.rand(2, 6), None, None, (3, 2), ())
    monkeypatch.setattr(data, "load", lambda name: faces)
    with pytest.raises(ValueError, match="a set with classes"):
        explorer.run(tmp_path, dataset="frey")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_where_the_page_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setitem(command.EXPERIMENTS, "explorer", lambda out, **options: asked.append(out))
    assert command.main(["explorer"]) == 0
    assert asked == [Path("book/_static/interactive/model")]


def test_the_published_model() -> None:
    """What the book serves: MNIST's, trained well, of a clean checkout, and small."""
    folder = ROOT / explorer.FOLDER
    record = read_record(folder / "model.json")
    assert record.settings["dataset"] == "mnist"
    assert record.provenance["elbo"] > -150
    assert record.provenance["git"]["dirty"] is False
    assert (folder / "decoder.bin").stat().st_size + (folder / "model.json").stat().st_size < 670_000
    model = explorer.read_model(folder)
    with torch.no_grad():
        assert model.decode(torch.zeros(2)).mean.shape == (784,)
