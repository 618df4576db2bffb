"""The data sets, and every way in which a download can go wrong, against a real server on the loopback."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from scipy.io import savemat
from sklearn.datasets import load_digits
from torch import Tensor

from vaelib import _download, data
from vaelib._download import parse_idx, read_frey, read_idx
from vaelib.data import DataError, Dataset, load

VAELIB_DATA = os.environ.get("VAELIB_DATA")  # read before the fixture below hides it


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the test's own; no variable of ours set; no proxy between the test and its server."""
    for variable in ("VAELIB_DATA", "VAELIB_DATASET"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "vaelib"


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() or path.name.startswith(".")}


# The server and the small sets it serves


@dataclass
class Server:
    """What a loopback server answers, by path, and the paths it was asked for."""

    url: str
    answers: dict[str, tuple[int, bytes, int | None]] = field(default_factory=dict)  # status, body, length claimed
    asked: list[str] = field(default_factory=list)
    hanging: set[str] = field(default_factory=set)
    release: threading.Event = field(default_factory=threading.Event)

    def serve(self, path: str, body: bytes, status: int = 200, length: int | None = None) -> None:
        self.answers[path] = (status, body, len(body) if length is None else length)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            if self.path in state.hanging:
                state.release.wait(20)
                return
            status, body, length = state.answers.get(self.path, (404, b"no such file", None))
            self.send_response(status)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = Server(f"http://127.0.0.1:{httpd.server_port}")
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    state.release.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def idx(array: np.ndarray) -> bytes:
    """Write the IDX format, from its description."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


def mat(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    savemat(file, arrays, do_compression=True)
    return file.getvalue()


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch, server: Server) -> dict[str, bytes]:
    """A tiny MNIST with the real file names; the mirrors are /first/ and /second/ of the server, both good."""
    rng = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte.gz": rng.integers(0, 256, (6, 28, 28), np.uint8),
        "train-labels-idx1-ubyte.gz": rng.integers(0, 10, 6, np.uint8),
        "t10k-images-idx3-ubyte.gz": rng.integers(0, 256, (3, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte.gz": rng.integers(0, 10, 3, np.uint8),
    }
    expected = {name: (array.shape, hashlib.sha256(idx(array)).hexdigest()) for name, array in arrays.items()}
    assert list(expected) == list(data.MNIST_FILES)
    monkeypatch.setattr(data, "MNIST_FILES", expected)
    monkeypatch.setattr(data, "MNIST_MIRRORS", (f"{server.url}/first/", f"{server.url}/second/"))
    # The two mirrors compress differently, as the real ones do: the content is the same, the files are not.
    for mirror, level in (("first", 9), ("second", 0)):
        for name, array in arrays.items():
            server.serve(f"/{mirror}/{name}", gzip.compress(idx(array), level))
    return {name: gzip.compress(idx(array)) for name, array in arrays.items()}


FACES = np.random.default_rng(1).integers(0, 256, (1965, 560), np.uint8)


@pytest.fixture
def frey(monkeypatch: pytest.MonkeyPatch, server: Server) -> bytes:
    monkeypatch.setattr(data, "FREY_SHA256", hashlib.sha256(FACES.tobytes()).hexdigest())
    monkeypatch.setattr(data, "FREY_MIRRORS", (f"{server.url}/a/frey_rawface.mat", f"{server.url}/b/freyface.mat"))
    file = mat(ff=FACES.T)
    server.serve("/a/frey_rawface.mat", file)
    server.serve("/b/freyface.mat", mat(X=FACES.T))
    return file


IMAGES = "train-images-idx3-ubyte.gz"


# What a set looks like


def check_form(dataset: Dataset, classes: int) -> None:
    rows, columns = dataset.image_shape
    assert dataset.dim == rows * columns
    assert len(dataset.class_names) == classes
    for images, labels in ((dataset.train, dataset.train_labels), (dataset.test, dataset.test_labels)):
        assert images.dtype == torch.float32
        assert images.shape == (len(images), dataset.dim)
        assert images.min() >= 0
        assert images.max() <= 1
        if classes:
            assert labels is not None
            assert labels.dtype == torch.int64
            assert labels.shape == (len(images),)
            assert set(labels.tolist()) <= set(range(classes))
        else:
            assert labels is None


def test_digits_are_those_of_scikit_learn_each_once() -> None:
    digits = load("digits")
    check_form(digits, classes=10)
    assert (len(digits.train), len(digits.test), digits.image_shape) == (1437, 360, (8, 8))
    assert digits.train_labels is not None
    assert digits.test_labels is not None
    ours = np.column_stack(
        [torch.cat([digits.train, digits.test]) * 16, torch.cat([digits.train_labels, digits.test_labels])]
    )
    theirs = np.column_stack(load_digits(return_X_y=True))
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_digits_are_split_within_each_class_and_always_alike() -> None:
    digits = load("digits")
    assert digits.test_labels is not None
    counts = np.bincount(load_digits(return_X_y=True)[1])
    np.testing.assert_allclose(np.bincount(digits.test_labels), counts * 360 / 1797, atol=1)
    # A new version of scikit-learn that splits differently would change every number in the book.
    found = hashlib.sha256((digits.test * 16).to(torch.uint8).numpy().tobytes()).hexdigest()
    assert found == "3cc232bd25364446c8646cd9434a26e35ea92e20045d395b2fdd2232a75c9b8f"


def test_repr_is_one_line_and_nothing_can_be_set() -> None:
    digits = load("digits")
    assert repr(digits) == "Dataset(digits: 1437 train, 360 test images of 8x8, 10 classes)"
    with pytest.raises(FrozenInstanceError):
        digits.name = "mnist"  # type: ignore[misc]


def test_to_moves_every_tensor_and_leaves_the_set_as_it_was(frey: bytes) -> None:
    digits = load("digits")
    moved = digits.to("meta")
    for name in ("train", "test", "train_labels", "test_labels"):
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).shape == getattr(digits, name).shape
        assert getattr(digits, name).device.type == "cpu"
    assert repr(moved) == repr(digits)
    assert load("frey").to("meta").train_labels is None


# Which set


def test_an_unknown_name_is_an_error_that_lists_the_names_and_says_where_it_came_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=r"argument name: expected 'mnist', 'frey' or 'digits', got 'MNIST'"):
        load("MNIST")
    monkeypatch.setenv("VAELIB_DATASET", "cifar")
    with pytest.raises(ValueError, match=r"variable VAELIB_DATASET: expected 'mnist', 'frey' or 'digits', got 'cifar'"):
        load()


def test_the_argument_comes_before_the_variable_and_the_variable_before_mnist(
    monkeypatch: pytest.MonkeyPatch, mnist: dict[str, bytes], frey: bytes
) -> None:
    assert load().name == "mnist"
    monkeypatch.setenv("VAELIB_DATASET", "")
    assert load().name == "mnist"
    monkeypatch.setenv("VAELIB_DATASET", "digits")
    assert load().name == "digits"
    assert load("frey").name == "frey"


# The formats

SMALL = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def test_idx_round_trip() -> None:
    np.testing.assert_array_equal(parse_idx(idx(SMALL), (2, 3, 4)), SMALL)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header of 16 bytes expected, but there are only 0"),
        (idx(SMALL)[:15], "header of 16 bytes expected, but there are only 15"),
        (b"\0\0\x0d\x03" + idx(SMALL)[4:], "magic number 0x00000803 expected, got 0x00000d03"),
        (idx(SMALL.reshape(6, 4)), "magic number 0x00000803 expected, got 0x00000802"),
        (idx(SMALL.reshape(2, 4, 3)), r"dimensions \(2, 3, 4\) expected, got \(2, 4, 3\)"),
        (idx(SMALL)[:-1], "24 bytes expected after the IDX header, got 23"),
        (idx(SMALL) + b"\0", "24 bytes expected after the IDX header, got 25"),
    ],
    ids=["empty", "header cut", "type", "dimensions", "shape", "cut", "trailing byte"],
)
def test_a_damaged_idx_is_an_error_that_says_how(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_idx(content, (2, 3, 4))
    with pytest.raises(DataError, match=message):
        read_idx(gzip.compress(content), (2, 3, 4))


def flipped(raw: bytes, position: int) -> bytes:
    return raw[:position] + bytes([raw[position] ^ 0xFF]) + raw[position + 1 :]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        idx(SMALL),
        b"<html>Sign in to the network</html>",
        gzip.compress(idx(SMALL))[:-10],
        flipped(gzip.compress(idx(SMALL)), -6),  # in the checksum
        flipped(gzip.compress(idx(SMALL)), 10),  # in the compressed data
    ],
    ids=["empty", "not compressed", "a web page", "cut", "checksum", "compressed data"],
)
def test_what_is_not_a_whole_gzip_file_is_an_error(raw: bytes) -> None:
    with pytest.raises(DataError, match=r"not a whole gzip file|header of 16 bytes expected, but there are only 0"):
        read_idx(raw, (2, 3, 4))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not a MATLAB file"),
        (b"<html>" + bytes(200), "not a MATLAB file"),
        (mat(ff=FACES.T)[:-1000], "not a MATLAB file"),
        (mat(faces=FACES.T), "expected, got no such array"),
        (mat(ff=FACES), r"expected, got \(1965, 560\) uint8"),
        (mat(ff=FACES.T / 255), r"expected, got \(560, 1965\) float64"),
    ],
    ids=["empty", "a web page", "cut", "no ff", "transposed", "scaled"],
)
def test_a_damaged_frey_file_is_an_error(raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_frey(raw)


# Downloads


def test_mnist_is_downloaded_once_and_then_read_from_the_cache(
    mnist: dict[str, bytes], server: Server, cache: Path
) -> None:
    first = load("mnist")
    check_form(first, classes=10)
    assert (len(first.train), len(first.test), first.image_shape) == (6, 3, (28, 28))
    assert server.asked == [f"/first/{name}" for name in mnist]
    assert files_below(cache) == {f"mnist/{name}" for name in mnist}

    second = load("mnist")
    assert len(server.asked) == 4
    for name in ("train", "test", "train_labels", "test_labels"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    pixels = np.frombuffer(gzip.decompress(mnist[IMAGES]), np.uint8, offset=16).reshape(6, 784)
    torch.testing.assert_close(first.train, torch.tensor(pixels / 255, dtype=torch.float32), rtol=0, atol=0)
    labels = np.frombuffer(gzip.decompress(mnist["t10k-labels-idx1-ubyte.gz"]), np.uint8, offset=8)
    assert first.test_labels is not None
    assert first.test_labels.tolist() == labels.tolist()


def test_frey_is_downloaded_once_and_then_read_from_the_cache(frey: bytes, server: Server, cache: Path) -> None:
    first = load("frey")
    check_form(first, classes=0)
    assert first.image_shape == (28, 20)
    assert server.asked == ["/a/frey_rawface.mat"]
    assert files_below(cache) == {"frey/frey_rawface.mat"}
    second = load("frey")
    assert len(server.asked) == 1
    expected = torch.tensor(FACES / 255, dtype=torch.float32)
    for dataset in (first, second):
        assert torch.equal(dataset.train, expected[:1600])
        assert torch.equal(dataset.test, expected[1600:])


def test_a_mirror_that_calls_the_faces_x_serves_too(frey: bytes, server: Server) -> None:
    server.serve("/a/frey_rawface.mat", b"gone", status=404)
    assert torch.equal(load("frey").test, torch.tensor(FACES[1600:] / 255, dtype=torch.float32))
    assert server.asked == ["/a/frey_rawface.mat", "/b/freyface.mat"]


def spoil(server: Server, mirror: str, how: str, good: bytes) -> None:
    """Let a mirror answer badly for the training images."""
    path = f"/{mirror}/{IMAGES}"
    if how in ("403", "503"):
        server.serve(path, b"not now", status=int(how))
    elif how == "cut":  # the connection ends before the length it announced
        server.serve(path, good[: len(good) // 2], length=len(good))
    elif how == "short":  # half a file, announced as such
        server.serve(path, good[: len(good) // 2])
    elif how == "another":  # right in form, but other pixels
        server.serve(path, gzip.compress(idx(np.zeros((6, 28, 28), np.uint8))))
    elif how == "page":
        server.serve(path, b"<html>Sign in to the network</html>")
    elif how == "hangs":
        server.hanging.add(path)
    else:
        raise AssertionError(how)


REASONS = {
    "403": "403 Client Error",
    "503": "503 Server Error",
    "cut": "IncompleteRead",
    "short": "not a whole gzip file",
    "another": "wrong content: expected sha256",
    "page": "not a whole gzip file",
    "hangs": "Read timed out",
}


@pytest.mark.parametrize("how", REASONS)
def test_a_bad_mirror_is_passed_over(
    how: str, mnist: dict[str, bytes], server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "TIMEOUT", (0.5, 0.5))
    spoil(server, "first", how, mnist[IMAGES])
    assert len(load("mnist").train) == 6
    assert server.asked[:3] == [f"/first/{IMAGES}", f"/second/{IMAGES}", "/first/train-labels-idx1-ubyte.gz"]
    assert files_below(cache) == {f"mnist/{name}" for name in mnist}
    # What is kept is the second mirror's file, byte for byte.
    assert (cache / "mnist" / IMAGES).read_bytes() == server.answers[f"/second/{IMAGES}"][1]


@pytest.mark.parametrize("how", REASONS)
def test_when_all_mirrors_are_bad_the_error_says_so_and_nothing_is_left(
    how: str, mnist: dict[str, bytes], server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "TIMEOUT", (0.5, 0.5))
    spoil(server, "first", how, mnist[IMAGES])
    spoil(server, "second", "503", mnist[IMAGES])
    with pytest.raises(DataError) as caught:
        load("mnist")
    message = str(caught.value)
    assert message.splitlines()[0] == f"none of 2 mirrors gave {IMAGES}"
    for expected in (
        f"{server.url}/first/{IMAGES}\n    ",
        REASONS[how],
        f"{server.url}/second/{IMAGES}\n    503",
        f"mnist/{IMAGES}",
        "VAELIB_DATA",
        "VAELIB_DATASET=digits",
    ):
        assert expected in message
    assert files_below(cache) == set()


def test_a_machine_where_nothing_answers(mnist: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        port = closed.server_port
    monkeypatch.setattr(data, "MNIST_MIRRORS", (f"http://127.0.0.1:{port}/",))
    with pytest.raises(DataError, match=r"(?s)none of 1 mirrors.*refused"):
        load("mnist")
    assert files_below(cache) == set()


def test_a_file_that_was_good_stays_when_a_later_one_fails(
    mnist: dict[str, bytes], server: Server, cache: Path
) -> None:
    last = "t10k-labels-idx1-ubyte.gz"
    for mirror in ("first", "second"):
        server.serve(f"/{mirror}/{last}", b"", status=503)
    with pytest.raises(DataError, match=f"none of 2 mirrors gave {last}"):
        load("mnist")
    assert files_below(cache) == {f"mnist/{name}" for name in mnist if name != last}
    server.serve(f"/second/{last}", mnist[last])
    server.asked.clear()
    load("mnist")
    assert server.asked == [f"/first/{last}", f"/second/{last}"]


@pytest.mark.parametrize(
    "damage",
    [b"", b"half a file", gzip.compress(idx(np.zeros((6, 28, 28), np.uint8)))],
    ids=["empty", "no gzip", "other pixels"],
)
def test_a_damaged_cached_file_is_told_about_and_downloaded_again(
    damage: bytes, mnist: dict[str, bytes], server: Server, cache: Path
) -> None:
    first = load("mnist")
    (cache / "mnist" / IMAGES).write_bytes(damage)
    server.asked.clear()
    with pytest.warns(UserWarning, match=rf"cached file .*{IMAGES} cannot be used \(.*\); downloading it again"):
        second = load("mnist")
    assert server.asked == [f"/first/{IMAGES}"]
    assert torch.equal(first.train, second.train)
    load("mnist")
    assert len(server.asked) == 1


def test_an_interrupt_leaves_nothing_behind(
    mnist: dict[str, bytes], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[str]] = []

    class Interrupted:
        def __init__(self, **kwargs: object) -> None: ...

        def __call__(self, url: str, output_file: str, pooch: object) -> None:
            Path(output_file).write_bytes(b"half")
            seen.append(files_below(cache))
            raise KeyboardInterrupt

    monkeypatch.setattr(pooch, "HTTPDownloader", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("mnist")
    assert len(seen[0]) == 2  # the half file and the hidden folder it is in: there was something to clean up
    assert files_below(cache) == set()


def test_a_cache_that_cannot_be_written_is_an_error_that_says_what_to_do(mnist: dict[str, bytes], cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=rf"(?s){IMAGES} cannot be stored in the cache: .*VAELIB_DATA"):
        load("mnist")


# VAELIB_DATA


@pytest.fixture
def folder(tmp_path: Path, mnist: dict[str, bytes], frey: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good folder, named by VAELIB_DATA."""
    folder = tmp_path / "provided"
    for name, raw in {**{f"mnist/{name}": raw for name, raw in mnist.items()}, "frey/frey_rawface.mat": frey}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    monkeypatch.setenv("VAELIB_DATA", str(folder))
    return folder


def test_vaelib_data_is_read_and_nothing_is_asked_for_or_cached(folder: Path, server: Server, cache: Path) -> None:
    assert len(load("mnist").train) == 6
    assert torch.equal(load("frey").test, torch.tensor(FACES[1600:] / 255, dtype=torch.float32))
    assert server.asked == []
    assert not cache.exists()


def test_a_missing_folder_is_an_error_and_nothing_is_downloaded(
    folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAELIB_DATA", str(folder / "nowhere"))
    with pytest.raises(
        DataError, match=rf"VAELIB_DATA: {re.escape(str(folder / 'nowhere'))} is not a folder\n.*unset VAELIB_DATA"
    ):
        load("mnist")
    assert server.asked == []


@pytest.mark.parametrize(("name", "path"), [("mnist", f"mnist/{IMAGES}"), ("frey", "frey/frey_rawface.mat")])
def test_a_missing_file_is_an_error_and_nothing_is_downloaded(
    name: str, path: str, folder: Path, server: Server
) -> None:
    (folder / path).unlink()
    with pytest.raises(
        DataError,
        match=rf"VAELIB_DATA: {re.escape(str(folder / path))} cannot be read: No such file.*\n.*Put {path} into it",
    ):
        load(name)
    assert server.asked == []


@pytest.mark.parametrize(
    ("name", "path", "damage", "message"),
    [
        ("mnist", f"mnist/{IMAGES}", b"no gzip", "not a whole gzip file"),
        ("mnist", f"mnist/{IMAGES}", gzip.compress(idx(np.zeros((6, 28, 28), np.uint8))), "wrong content"),
        ("mnist", "mnist/t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.full(3, 77, np.uint8))), "wrong content"),
        ("frey", "frey/frey_rawface.mat", mat(ff=FACES.T[:, ::-1]), "wrong content"),
    ],
    ids=["no gzip", "other pixels", "other labels", "other faces"],
)
def test_a_damaged_file_is_an_error_and_is_never_touched(
    name: str, path: str, damage: bytes, message: str, folder: Path, server: Server
) -> None:
    (folder / path).write_bytes(damage)
    with pytest.raises(
        DataError, match=rf"VAELIB_DATA: {re.escape(str(folder / path))} is damaged: {message}.*\n.*replace the file"
    ):
        load(name)
    assert (folder / path).read_bytes() == damage
    assert server.asked == []


# python -m vaelib.data


def test_main_names_the_set_that_loads(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for flags in ([], ["--or-digits"]):
        assert data.main(flags) == 0
        assert tuple(capsys.readouterr()) == ("mnist\n", "")
    monkeypatch.setenv("VAELIB_DATASET", "frey")
    assert data.main([]) == 0
    assert tuple(capsys.readouterr()) == ("frey\n", "")


def test_main_chooses_the_digits_only_when_told_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setattr(data, "MNIST_MIRRORS", (f"{server.url}/nothing/",))
    assert data.main([]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "mirrors" in err

    assert data.main(["--or-digits"]) == 0
    out, err = capsys.readouterr()
    assert out == "digits\n"
    assert err.startswith("MNIST cannot be had here (")
    assert err.endswith("): the notebooks run on the embedded digits (8x8).\n")
    assert err.count("\n") == 1

    # MNIST asked for, by its name or by its folder, is another matter: then nothing else will do.
    monkeypatch.setenv("VAELIB_DATASET", "mnist")
    assert data.main(["--or-digits"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "mnist" in err
    monkeypatch.delenv("VAELIB_DATASET")
    monkeypatch.setenv("VAELIB_DATA", "/nowhere")
    assert data.main(["--or-digits"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "/nowhere is not a folder" in err


def test_main_refuses_an_unknown_set(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAELIB_DATASET", "cifar")
    assert data.main(["--or-digits"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "VAELIB_DATASET" in err


def test_the_module_runs() -> None:
    command = [sys.executable, "-W", "error", "-m", "vaelib.data", "--or-digits"]
    environment = {**os.environ, "VAELIB_DATASET": "digits"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "digits\n", "")


# The real sets


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    if not VAELIB_DATA:
        pytest.skip("VAELIB_DATA is not set: the real MNIST and Frey Face are read from the folder it names")
    monkeypatch.setenv("VAELIB_DATA", VAELIB_DATA)


def roughness(images: Tensor, shape: tuple[int, int]) -> float:
    """The mean absolute difference of a pixel and the one below: small when the rows are rows."""
    return images.unflatten(1, shape).diff(dim=1).abs().mean().item()


@pytest.mark.usefixtures("real")
def test_real_mnist() -> None:
    mnist = load("mnist")
    check_form(mnist, classes=10)
    assert (len(mnist.train), len(mnist.test), mnist.image_shape) == (60_000, 10_000, (28, 28))
    assert mnist.train_labels is not None
    assert mnist.test_labels is not None
    # Published facts: the class counts, the mean and standard deviation everybody normalises with.
    train_counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert mnist.train_labels.bincount().tolist() == train_counts
    assert mnist.test_labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.train.mean(dtype=torch.float64).item() == pytest.approx(0.1307, abs=5e-5)
    assert mnist.train.double().std().item() == pytest.approx(0.3081, abs=5e-5)
    # Images and labels belong together, and the two parts are of a kind: class means alone know most of the test set.
    means = torch.stack([mnist.train[mnist.train_labels == k].mean(0) for k in range(10)])
    accuracy = (torch.cdist(mnist.test, means).argmin(1) == mnist.test_labels).double().mean().item()
    assert accuracy == pytest.approx(0.82, abs=0.01)


@pytest.mark.usefixtures("real")
def test_real_frey() -> None:
    frey = load("frey")
    check_form(frey, classes=0)
    assert (len(frey.train), len(frey.test), frey.image_shape) == (1600, 365, (28, 20))
    assert roughness(frey.train, (28, 20)) < 0.5 * roughness(frey.train, (20, 28))


@pytest.mark.usefixtures("real")
def test_the_frey_split_is_harder_than_a_random_one_by_what_load_says() -> None:
    frey = load("frey")

    def distance_to_nearest(train: Tensor, test: Tensor) -> float:
        return (torch.cdist(test, train).amin(1).median() / frey.dim**0.5).item()

    frames = torch.cat([frey.train, frey.test])
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))
    assert distance_to_nearest(frey.train, frey.test) == pytest.approx(0.067, abs=0.0005)
    assert distance_to_nearest(frames[order[:1600]], frames[order[1600:]]) == pytest.approx(0.043, abs=0.002)
