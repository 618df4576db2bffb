"""The plan of the library: modules import only from lower floors, never in a circle, and stay short enough to read.

A *room* is a module of `vaelib` or a package in it; inside a package modules may import one another as long as no
circle comes of it. The floors stand here from the ground up.
"""

from __future__ import annotations

import ast
import io
import tokenize
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import vaelib

FLOORS = [
    {"checks", "devices", "progress", "optimisers", "graphs", "checkpoints", "_download", "data"},
    {"gaussians", "likelihoods", "networks"},
    {"encoders", "decoders"},
    {"models", "autoencoder", "linear_gaussian", "hmc"},
    {"bounds", "score_function", "marginal", "annealing"},
    {"runs", "training", "ensembles", "precision"},
    {"inference"},
    {"plots", "proximity", "diagnostics", "exercises"},
    {"experiments"},
]

SAME_FLOOR = {
    ("data", "_download"),
    ("linear_gaussian", "models"),
    ("score_function", "bounds"),
    ("annealing", "marginal"),
    ("training", "runs"),
    ("ensembles", "runs"),
    ("precision", "runs"),
}
"""(importer, imported): the imports between rooms of one floor that are meant."""

MOST_LINES = 250
"""A line counts if there is code on it: no blank line, no comment, no docstring."""


def read_package(folder: Path) -> dict[str, str]:
    """The source of every module under a package's folder, by its dotted name within the package; "" is its own."""
    sources = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return sources


def imports_of(name: str, sources: dict[str, str], package: str) -> set[str]:
    """The modules of the package that a module imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(sources[name])):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: import by the full name, {package}.something"
            # What is imported from a package is one of its modules, or else something of its own.
            targets = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            if target.split(".")[0] == package:
                inner = target.removeprefix(package).removeprefix(".")
                while inner not in sources:
                    inner = inner.rpartition(".")[0]
                found.add(inner)
    return found - {name}  # a module that is run as a script may import itself by its name


def faults_of(folder: Path, floors: list[set[str]], same_floor: set[tuple[str, str]], most_lines: int) -> list[str]:
    """All that is wrong with the package in a folder, one sentence each."""
    sources = read_package(folder)
    graph = {name: imports_of(name, sources, folder.name) for name in sources}
    height = {room: floor for floor, rooms in enumerate(floors) for room in rooms}
    faults = []
    for name, imported in graph.items():
        room = name.partition(".")[0]
        if name == "":
            faults += [f"the package itself imports {other}: it should import nothing" for other in sorted(imported)]
            continue
        if room not in height:
            faults.append(f"{room} is on no floor")
            continue
        for other_room in sorted({other.partition(".")[0] for other in imported} - {room, ""}):
            if other_room not in height:
                continue  # said already
            if height[other_room] > height[room]:
                faults.append(f"{name} imports {other_room}, which is on a higher floor")
            if height[other_room] == height[room] and (room, other_room) not in same_floor:
                faults.append(f"{name} imports {other_room}, which is on the same floor")
    for what, edges in (
        ("modules", graph),
        ("rooms of one floor", {a: {d for c, d in same_floor if c == a} for a, _ in same_floor}),
    ):
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            faults.append(f"{what} in a circle: {' <- '.join(error.args[1])}")
    for name, source in sources.items():
        if (lines := lines_of_code(source)) > most_lines:
            faults.append(f"{name} has {lines} lines of code: more than {most_lines} are not read in one sitting")
    return faults


def lines_of_code(source: str) -> int:
    """How many lines hold code."""
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):  # docstrings, of constants as well: strings that are statements
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def test_vaelib() -> None:
    assert faults_of(Path(vaelib.__file__).parent, FLOORS, SAME_FLOOR, MOST_LINES) == []


def test_every_room_has_one_floor() -> None:
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))
    height = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    assert all(height[importer] == height[imported] for importer, imported in SAME_FLOOR)


def test_every_exception_is_needed() -> None:
    sources = read_package(Path(vaelib.__file__).parent)
    used = {
        (name.partition(".")[0], other.partition(".")[0])
        for name in sources
        for other in imports_of(name, sources, "vaelib")
    }
    assert used >= SAME_FLOOR


# The checker finds what it should find


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A house without a fault: `ground` and `cellar` on one floor, `roof`, a package of two modules, above."""
    folder = tmp_path / "house"
    (folder / "roof").mkdir(parents=True)
    (folder / "__init__.py").write_text('"""A house."""\n')
    (folder / "cellar.py").write_text("import math\n")
    (folder / "ground.py").write_text("from house import cellar\nimport house.cellar as below\n")
    (folder / "roof" / "__init__.py").write_text("from house.roof.tiles import TILE\n")
    (folder / "roof" / "tiles.py").write_text("from house.ground import below\nTILE = below\n")
    return folder


def check(package: Path, most_lines: int = 3) -> list[str]:
    return faults_of(package, [{"ground", "cellar"}, {"roof"}], {("ground", "cellar")}, most_lines)


def test_a_sound_house(package: Path) -> None:
    assert check(package) == []
    assert imports_of("roof.tiles", read_package(package), "house") == {"ground"}


@pytest.mark.parametrize(
    ("module", "source", "faults"),
    [
        ("cellar.py", "from house import roof", ["cellar imports roof, which is on a higher floor"]),
        ("cellar.py", "import house.roof.tiles", ["cellar imports roof, which is on a higher floor"]),
        ("cellar.py", "def f():\n    from house.roof import TILE", ["cellar imports roof, which is on a higher floor"]),
        ("cellar.py", "from house.ground import below", ["cellar imports ground, which is on the same floor"]),
        ("attic.py", "import math", ["attic is on no floor"]),
        ("__init__.py", "from house import cellar", ["the package itself imports cellar: it should import nothing"]),
        ("cellar.py", "a = (\n    1,\n\n    2,\n)  # four of five\n", ["cellar has 4 lines of code: more than 3"]),
    ],
)
def test_faults(package: Path, module: str, source: str, faults: list[str]) -> None:
    (package / module).write_text(source)
    found = [fault for fault in check(package) if "circle" not in fault]
    assert len(found) == len(faults)
    assert all(fault.startswith(expected) for fault, expected in zip(found, faults, strict=True))


def test_circles(package: Path) -> None:
    (package / "roof" / "tiles.py").write_text("from house.roof import beams\n")
    (package / "roof" / "beams.py").write_text("from house.roof import tiles\n")
    (found,) = check(package)
    assert found.startswith("modules in a circle: roof.")
    circle = {("ground", "cellar"), ("cellar", "ground")}
    assert any("rooms of one floor in a circle" in fault for fault in faults_of(package, [set()], circle, 3))


def test_relative_imports_are_refused(package: Path) -> None:
    (package / "ground.py").write_text("from . import cellar\n")
    with pytest.raises(AssertionError, match="ground, line 1: import by the full name"):
        check(package)


def test_which_lines_count() -> None:
    source = '"""Docstring\nof two lines."""\n\n# comment\nx = """text\nof two lines"""  # both count\n"""Of x."""\n'
    assert lines_of_code(source) == 2
