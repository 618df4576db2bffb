"""The first cell of every notebook, run in environments without and with the library.

It is run to the letter. That it finds the library here, and not at the book's address, is git's doing, which is told to
look for that address in a folder; and pip may ask no index, so nothing comes from the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import nbformat
import pytest
from plain_notebooks.book import Book
from plain_notebooks.cells import SETUP

ROOT = Path(__file__).parents[2]
WHERE = "import vaelib; print(vaelib.__file__)"
RECORD = "from vaelib.experiments.records import published; published('active-units-mnist')"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The library as it stands here, in a repository of git."""
    folder = tmp_path / "repository"
    shutil.copytree(ROOT / "vaelib", folder / "vaelib", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("book/records", "benchmarks/records"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
        subprocess.run([*git, *command], check=True)
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python with the packages that are installed here, but for the library, which is there only as a link."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return Path(sysconfig.get_path("scripts", "venv", vars=paths)) / "python"


def test_it_installs_the_library_where_it_is_missing_and_then_leaves_it_alone(python: Path, repository: Path) -> None:
    address = Book(ROOT).repository
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment["PIP_NO_BUILD_ISOLATION"] = "0"  # as a variable, it means the opposite
    environment |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf"}
    environment |= {"GIT_CONFIG_VALUE_0": address, "IPYTHONDIR": str(repository.parent / "ipython")}

    def run(*code: str) -> subprocess.CompletedProcess[str]:
        """Run cells, each by itself, as a notebook does."""
        cells = "; ".join(["shell = get_ipython()", *(f"shell.run_cell({cell!r}).raise_error()" for cell in code)])
        command = [str(python), "-m", "IPython", "--no-banner", "--no-confirm-exit", "-c", cells]
        return subprocess.run(
            command, cwd=repository.parent, env=environment, capture_output=True, text=True, timeout=300
        )

    setup = SETUP.format(repository=address)
    assert run(WHERE).returncode != 0

    first = run(setup, RECORD, WHERE)
    assert first.returncode == 0, first.stdout + first.stderr
    assert Path(first.stdout.splitlines()[-1]).is_relative_to(python.parents[1])

    shutil.rmtree(repository)
    second = run(setup)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_every_notebook_begins_with_it() -> None:
    book = Book(ROOT)
    expected = SETUP.format(repository=book.repository)
    for chapter in book.chapters:
        cells = nbformat.read(chapter.notebook, as_version=4).cells
        assert next(cell for cell in cells if cell.cell_type == "code").source == expected
