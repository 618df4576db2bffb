"""The data sets: MNIST, the Frey Face, and the small digits that come embedded in scikit-learn.

`load` gives one of them, whole, as float32 in [0, 1] in memory. What cannot be had is an error, never another set.
`python -m vaelib.data` says on stdout which set this machine uses; `--or-digits` lets it choose the digits, and say so.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vaelib._download import DataError, fetch, read_frey, read_idx

__all__ = ["DataError", "Dataset", "load"]

MNIST_MIRRORS: tuple[str, ...] = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/ae608a02b796c9ee908c082585a5f006fe05258e/",
)
MNIST_FILES: dict[str, tuple[tuple[int, ...], str]] = {  # shape, sha256 of the decompressed bytes
    "train-images-idx3-ubyte.gz": (
        (60_000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte.gz": ((60_000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte.gz": (
        (10_000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte.gz": ((10_000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
FREY_MIRRORS: tuple[str, ...] = (
    "https://cs.nyu.edu/~roweis/data/frey_rawface.mat",
    "https://raw.githubusercontent.com/vilhess/projet_meth_ia/417f18d3bba5d716291a891c22e8f57da426a819/dataset/frey_rawface.mat",
    "https://raw.githubusercontent.com/gbohner/UCL_IntroductionToMachineLearning_DimensionalityReduction/632111cfd96236ca8d695184eb084b147c56a325/freyface.mat",
)
FREY_SHA256 = "2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"  # of the pixels, one image a row
FREY_TRAIN = 1600


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A set of grey images, one a row, with its fixed split into a training and a test part.

    Attributes:
        name: "mnist", "frey" or "digits".
        train: images to train on, shape (N, D), float32 in [0, 1], D = rows * columns, row by row.
        test: images to test on, shape (N_test, D), likewise.
        train_labels: the class of each training image, shape (N,), int64; None for a set without classes.
        test_labels: the class of each test image, shape (N_test,), int64; None likewise.
        image_shape: (rows, columns) of an image: `train.unflatten(1, image_shape)` is (N, rows, columns).
        class_names: what the labels stand for, in order; empty for a set without classes.
    """

    name: str
    train: Tensor
    test: Tensor
    train_labels: Tensor | None
    test_labels: Tensor | None
    image_shape: tuple[int, int]
    class_names: tuple[str, ...]

    @property
    def dim(self) -> int:
        """D, the number of pixels of an image."""
        return math.prod(self.image_shape)

    def to(self, device: torch.device | str) -> Dataset:
        """The same set with its tensors on `device`."""

        def move(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device)

        return replace(
            self,
            train=self.train.to(device),
            test=self.test.to(device),
            train_labels=move(self.train_labels),
            test_labels=move(self.test_labels),
        )

    def __repr__(self) -> str:
        rows, columns = self.image_shape
        sizes = f"{len(self.train)} train, {len(self.test)} test images of {rows}x{columns}"
        return f"Dataset({self.name}: {sizes}, {len(self.class_names)} classes)"


def load(name: str | None = None) -> Dataset:
    """Load a data set.

    - "mnist": 60,000 and 10,000 handwritten digits of 28x28 (LeCun, Cortes, Burges), the original split, pixels / 255.
    - "frey": 1965 frames of a video of Brendan Frey's face, 28x20, pixels / 255 (distributed by Sam Roweis). The set
      has no split of its own: the first 1600 frames are for training, the last 365 for testing. Neighbouring frames
      are near-duplicates, so test frames drawn at random would reward a model for remembering: the training frame
      nearest to one is then 0.043 away (root mean square difference of the pixels, median), with this split 0.067.
      So the test bound speaks of a stretch of the video not seen before, expressions and all, and is the lower for it.
    - "digits": 1797 handwritten digits of 8x8, pixels / 16, embedded in scikit-learn; 1437 for training and 360 for
      testing, split at random within each class with a fixed seed.

    MNIST and Frey Face are read from the folder the environment variable VAELIB_DATA names, where it is set
    (mnist/train-images-idx3-ubyte.gz and the three like it, frey/frey_rawface.mat); otherwise from the user's cache,
    which is filled by download at the first use. The content is checked each time.

    Args:
        name: the set; None for the one that the environment variable VAELIB_DATASET names, or "mnist" without it.

    Raises:
        ValueError: there is no set of that name.
        DataError: the set cannot be had, or a file of it is damaged. No other set takes its place.
    """
    chosen = name if name is not None else os.environ.get("VAELIB_DATASET") or "mnist"  # set to nothing is not set
    if chosen == "mnist":
        return _mnist()
    if chosen == "frey":
        return _frey()
    if chosen == "digits":
        return _digits()
    source = "environment variable VAELIB_DATASET" if name is None else "argument name"
    raise ValueError(f"{source}: expected 'mnist', 'frey' or 'digits', got {chosen!r}")


def _mnist() -> Dataset:
    train, train_labels, test, test_labels = (
        fetch(f"mnist/{file}", [mirror + file for mirror in MNIST_MIRRORS], partial(read_idx, shape=shape), sha256)
        for file, (shape, sha256) in MNIST_FILES.items()
    )
    return Dataset(
        name="mnist",
        train=_images(train, 255),
        test=_images(test, 255),
        train_labels=_labels(train_labels),
        test_labels=_labels(test_labels),
        image_shape=(28, 28),
        class_names=tuple("0123456789"),
    )


def _frey() -> Dataset:
    faces = _images(fetch("frey/frey_rawface.mat", FREY_MIRRORS, read_frey, FREY_SHA256), 255)
    return Dataset("frey", faces[:FREY_TRAIN], faces[FREY_TRAIN:], None, None, image_shape=(28, 20), class_names=())


def _digits() -> Dataset:
    # Here, because importing scikit-learn takes longer than loading the set.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    train, test, train_labels, test_labels = train_test_split(
        pixels, labels, test_size=360, stratify=labels, random_state=0
    )
    return Dataset(
        name="digits",
        train=_images(train, 16),
        test=_images(test, 16),
        train_labels=_labels(train_labels),
        test_labels=_labels(test_labels),
        image_shape=(8, 8),
        class_names=tuple("0123456789"),
    )


def _images(pixels: npt.NDArray[Any], white: int) -> Tensor:
    """Flatten each image and scale [0, white] to [0, 1], in new memory."""
    flat = pixels.reshape(len(pixels), -1)
    return torch.from_numpy(np.divide(flat, white, dtype=np.float32))


def _labels(labels: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(labels.astype(np.int64))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the name of the set that this machine uses, once it has loaded; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vaelib.data", description=main.__doc__)
    parser.add_argument(
        "--or-digits",
        action="store_true",
        help="where neither VAELIB_DATASET nor VAELIB_DATA asks for MNIST and it cannot be downloaded, choose the "
        "embedded digits, and say so",
    )
    asked = os.environ.get("VAELIB_DATASET") or os.environ.get("VAELIB_DATA")
    may_choose = parser.parse_args(argv).or_digits and not asked
    try:
        print(load().name)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    except DataError as error:
        if not may_choose:
            print(error, file=sys.stderr)
            return 1
        reason = str(error).splitlines()[0]
        print(f"MNIST cannot be had here ({reason}): the notebooks run on the embedded digits (8x8).", file=sys.stderr)
        print("digits")
    return 0


if __name__ == "__main__":
    # Run as a script this file is the module __main__; its twin vaelib.data does the work, so each class exists once.
    from vaelib import data

    sys.exit(data.main())
