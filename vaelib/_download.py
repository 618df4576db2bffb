"""One data file, found, read and checked: in the folder VAELIB_DATA names, in the cache, or at a mirror.

What is checked is the content (a sha256 after decompression), not the file: mirrors compress the same set differently.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Read = Callable[[bytes], tuple[bytes, Pixels]]

TIMEOUT = (10.0, 30.0)
"""Seconds to wait for a mirror's connection, and for each further piece of its answer."""


class DataError(RuntimeError):
    """A data set that cannot be had, or a damaged file of it; the first line of the message is the short reason."""


def fetch(path: str, urls: Sequence[str], read: Read, sha256: str) -> Pixels:
    """Return the array in one data file, its content checked whatever place it came from.

    With VAELIB_DATA set, only that folder is read and nothing in it is changed. Otherwise the cache is read, and what
    it lacks is downloaded into it; a damaged cached file is told about (`UserWarning`) and downloaded again.

    Args:
        path: the file's place below VAELIB_DATA and, the same, below the cache.
        urls: where it can be downloaded, in the order to try.
        read: turns the file's bytes into the content that is hashed and the array that is returned. It raises
            `DataError` for bytes it cannot read.
        sha256: the hash, in hexadecimal, that the content must have.

    Raises:
        DataError: the file is missing from VAELIB_DATA or damaged there, no mirror gave it, or the cache cannot be
            written.
    """

    def check(raw: bytes) -> Pixels:
        content, array = read(raw)
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise DataError(f"wrong content: expected sha256 {sha256}, got {found}")
        return array

    if folder := os.environ.get("VAELIB_DATA"):
        return _from_folder(Path(folder).expanduser(), path, check)
    import pooch  # here and below, as importing these takes longer than reading MNIST from a disk

    cached = Path(pooch.os_cache("vaelib")) / path
    if cached.exists():
        try:
            return check(cached.read_bytes())
        except (OSError, DataError) as error:
            warnings.warn(f"The cached file {cached} cannot be used ({error}); downloading it again.", stacklevel=2)
    return _download(cached, urls, check)


def _from_folder(folder: Path, path: str, check: Callable[[bytes], Pixels]) -> Pixels:
    """Read and check a file the reader provides."""
    if not folder.is_dir():
        raise DataError(
            f"VAELIB_DATA: {folder} is not a folder\n"
            f"Make that folder and put {path} into it, or unset VAELIB_DATA to have the file downloaded."
        )
    file = folder / path
    try:
        return check(file.read_bytes())
    except OSError as error:
        raise DataError(
            f"VAELIB_DATA: {file} cannot be read: {error.strerror}\n"
            f"While VAELIB_DATA is set, only {folder} is searched. Put {path} into it, or unset VAELIB_DATA to have "
            "the file downloaded."
        ) from error
    except DataError as error:
        raise DataError(
            f"VAELIB_DATA: {file} is damaged: {error}\n"
            "Nothing in that folder is ever changed from here: replace the file, or unset VAELIB_DATA to have it "
            "downloaded."
        ) from error


def _download(target: Path, urls: Sequence[str], check: Callable[[bytes], Pixels]) -> Pixels:
    """Try one mirror after the other; only a file that passed the check gets the name `target`."""
    import pooch
    import requests

    get = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
    reasons = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # On the cache's own disk, so that the move is atomic; gone again however this ends, an interrupt included.
        with TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            part = Path(folder) / target.name
            for url in urls:
                try:
                    get(url, str(part), None)
                    array = check(part.read_bytes())
                except (requests.RequestException, DataError) as error:
                    reasons.append(f"  {url}\n    {error}")
                else:
                    os.replace(part, target)
                    return array
    except OSError as error:
        raise DataError(
            f"{target.name} cannot be stored in the cache: {error}\n"
            f"Make {target.parent} writable, or put the file into a folder of yours and set VAELIB_DATA to it."
        ) from error
    raise DataError(
        f"none of {len(urls)} mirrors gave {target.name}\n" + "\n".join(reasons) + "\n"
        f"Try again with an internet connection; or put the file into a folder as {target.parent.name}/{target.name} "
        "and set VAELIB_DATA to that folder; or set VAELIB_DATASET=digits, the small set that needs no download."
    )


def parse_idx(content: bytes, shape: tuple[int, ...]) -> Pixels:
    """Read an array of unsigned bytes in the IDX format of MNIST, which must have the shape given.

    IDX is big-endian: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension in four
    bytes, then the values in C order, and nothing after them.

    Raises:
        DataError: another magic number, other dimensions, or too few or too many bytes.
    """
    start = 4 + 4 * len(shape)
    if len(content) < start:
        raise DataError(f"an IDX header of {start} bytes expected, but there are only {len(content)} bytes")
    magic, *dims = struct.unpack_from(f">{1 + len(shape)}I", content)
    expected = 0x0800 + len(shape)
    if magic != expected:
        raise DataError(f"IDX magic number 0x{expected:08x} expected, got 0x{magic:08x}")
    if tuple(dims) != shape:
        raise DataError(f"IDX dimensions {shape} expected, got {tuple(dims)}")
    if len(content) - start != math.prod(shape):
        raise DataError(f"{math.prod(shape)} bytes expected after the IDX header, got {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_idx(raw: bytes, shape: tuple[int, ...]) -> tuple[bytes, Pixels]:
    """Return the decompressed bytes of a gzip'ed IDX file, and the array of the given shape in it."""
    try:
        content = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file ({error})") from error
    return content, parse_idx(content, shape)


def read_frey(raw: bytes) -> tuple[bytes, Pixels]:
    """Return the pixels of Frey Face, one image a row, as bytes and as an array of shape (1965, 560)."""
    from scipy.io import loadmat

    try:
        arrays = loadmat(io.BytesIO(raw))
    except Exception as error:  # on damaged bytes it raises almost anything: ValueError, TypeError, IndexError, ...
        raise DataError(f"not a MATLAB file that can be read ({type(error).__name__}: {error})") from error
    faces = arrays.get("ff", arrays.get("X"))  # Roweis's file calls them ff, a mirror X
    if faces is None or faces.shape != (560, 1965) or faces.dtype != np.uint8:
        found = "no such array" if faces is None else f"{faces.shape} {faces.dtype}"
        raise DataError(f"an array ff of shape (560, 1965) and type uint8 expected, got {found}")
    pixels = np.ascontiguousarray(faces.T)
    return pixels.tobytes(), pixels
