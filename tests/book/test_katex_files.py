"""KaTeX's files come whole and unchanged, or not at all."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import katex_files
import pytest

CSS = (
    '@font-face{src:url(fonts/A.woff2) format("woff2"),url(fonts/A.woff) format("woff"),url(fonts/A.ttf) format("ttf")}'
)
FILES = {"dist/katex.min.css": CSS, "dist/fonts/A.woff2": "A", "dist/fonts/A.ttf": "B", "dist/katex.min.js": "C"}


def archive(folder: Path) -> Path:
    path = folder / f"katex-{katex_files.katex_version}.tgz"
    with tarfile.open(path, "w:gz") as package:
        for name, text in FILES.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            package.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """An npm that delivers one archive, and the folders into which it was asked to."""
    made = archive(tmp_path)
    folders: list[Path] = []

    def pack(arguments: list[str], stdout: int) -> int:
        folders.append(Path(arguments[-1]))
        shutil.copy(made, folders[-1])
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(katex_files, "npm", pack)
    sha256 = hashlib.sha256(made.read_bytes()).hexdigest()
    monkeypatch.setitem(katex_files.SHA256, katex_files.katex_version, sha256)
    return folders


def test_fetched_once(calls: list[Path]) -> None:
    katex_files.main()
    katex_files.main()
    assert len(calls) == 1
    files = {str(path.relative_to(katex_files.TARGET)) for path in katex_files.TARGET.rglob("*") if path.is_file()}
    assert files == {"fonts/A.woff2", "katex.min.css"}
    css = (katex_files.TARGET / "katex.min.css").read_text()
    assert css == '@font-face{src:url(fonts/A.woff2) format("woff2")}'


def test_another_archive_is_refused(calls: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(katex_files.SHA256, katex_files.katex_version, "0" * 64)
    with pytest.raises(SystemExit, match="expected: 0000"):
        katex_files.main()
    assert not katex_files.TARGET.exists()


def test_no_network(calls: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(katex_files, "npm", lambda arguments, stdout: 1)
    with pytest.raises(SystemExit, match="the first build needs the network"):
        katex_files.main()


def test_the_version_of_the_script_has_a_hash() -> None:
    assert katex_files.katex_version in katex_files.SHA256
