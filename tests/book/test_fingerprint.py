"""What changes a chapter's fingerprint, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from nbformat import v4
from plain_notebooks.fingerprint import bare, fingerprint, modules_behind

FILES = {
    "vaelib/__init__.py": '"""The library."""\n',
    "vaelib/ground.py": "LOG_2PI = 1.8\n",
    "vaelib/bounds.py": (
        '"""Bounds."""\n\nfrom . import ground\n\n\n'
        'def elbo(x):\n    """The bound."""\n    # in nats\n    return "text # no comment" + str(x + ground.LOG_2PI)\n'
    ),
    "vaelib/room/__init__.py": "from vaelib.bounds import elbo\n",
    "vaelib/room/hmc.py": "def step():\n    from ..room import deep\n",
    "vaelib/room/deep.py": "DEPTH = 1\n",
    "vaelib/unused.py": "NOTHING = 0\n",
    "pyproject.toml": '[project]\ndependencies = ["torch>=2", "scikit_learn>=1"]\n',
    "requirements.txt": "-e .\n# the library\ntorch==2.13.0\nScikit_Learn==1.9.1  # digits\nSphinx==7.4.7\n",
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def of(root: Path, code: str = "%matplotlib inline\nfrom vaelib import bounds") -> str:
    return fingerprint(root, v4.new_notebook(cells=[v4.new_code_cell(code), v4.new_markdown_cell("import no.code")]))


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import vaelib", "vaelib"),
        ("import torch, vaelib.ground as g", "vaelib vaelib.ground"),
        ("from vaelib import ground", "vaelib vaelib.ground"),
        ("from vaelib.bounds import elbo", "vaelib vaelib.bounds vaelib.ground"),
        ("def f():\n    import vaelib.room", "vaelib vaelib.bounds vaelib.ground vaelib.room"),
        (
            "from vaelib.room import hmc",
            "vaelib vaelib.bounds vaelib.ground vaelib.room vaelib.room.deep vaelib.room.hmc",
        ),
        ("import vaelib_else, torch", ""),
    ],
)
def test_modules_behind(library: Path, code: str, modules: str) -> None:
    assert sorted(modules_behind(library, code)) == modules.split()


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    "change",
    [
        replace("vaelib/bounds.py", "x + ground", "x - ground"),
        replace("vaelib/bounds.py", "# no comment", "# none"),  # in a string
        replace("vaelib/ground.py", "1.8", "1.9"),  # imported by what the chapter imports
        replace("vaelib/__init__.py", '"""\n', '"""\nimport torch\n'),
        replace("requirements.txt", "torch==2.13.0", "torch==2.13.1"),
        replace("requirements.txt", "Learn==1.9.1", "Learn==1.9.2"),
    ],
)
def test_code_and_pins_count(library: Path, change: Callable[[Path], None]) -> None:
    before = of(library)
    change(library)
    assert of(library) != before


@pytest.mark.parametrize(
    "change",
    [
        replace("vaelib/bounds.py", "The bound.", "The lower bound,\n\n    in two lines."),
        replace("vaelib/bounds.py", "# in nats", "# in nats, not bits"),
        replace("vaelib/bounds.py", "\n\n\ndef", "\n\n\n\n\ndef"),
        replace("vaelib/__init__.py", "The library.", "Another word."),
        replace("vaelib/unused.py", "0", "1"),
        replace("requirements.txt", "Sphinx==7.4.7", "Sphinx==7.4.8"),
    ],
)
def test_words_and_what_is_not_used_do_not_count(library: Path, change: Callable[[Path], None]) -> None:
    before = of(library)
    change(library)
    assert of(library) == before


SOURCE = '''#!x
"""A
B."""
x = 1  # é


class C:
    "Doc."

    y = "é"  # é
    """About y."""

z = ("#",
     """kept""")
'''


def test_bare() -> None:
    assert bare(SOURCE) == 'x = 1\nclass C:\n    y = "é"\nz = ("#",\n     """kept""")'
