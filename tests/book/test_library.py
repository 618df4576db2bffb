"""The pages on the library, as far as one can tell without building them; tests/site/test_library.py reads them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from library.entries import source_of
from library.markup import to_rst
from library.names import entry, full_name, imported, used
from plain_notebooks.book import Book

ROOT = Path(__file__).parents[2]
CODE = """\
import vaelib.bounds
import torch
from vaelib import data, plots as figures
from vaelib.models import VAE as Model

model = Model.mlp(data.load().size)
figures.use_style()
torch.data.missing()
elbo = vaelib.bounds.sgvb_b(model, x)
"""


def test_what_code_imports() -> None:
    known = imported(CODE)
    assert known == {
        "vaelib": "vaelib",
        "data": "vaelib.data",
        "figures": "vaelib.plots",
        "Model": "vaelib.models.VAE",
    }
    assert full_name("figures.use_style", known) == "vaelib.plots.use_style"
    assert full_name("vaelib.data", {}) == "vaelib.data"
    assert full_name("torch.data", known) == full_name("model", known) == ""


def test_what_code_uses() -> None:
    names = {"vaelib.models.VAE.mlp", "vaelib.data.load", "vaelib.plots.use_style", "vaelib.bounds.sgvb_b"}
    found = used(CODE)
    assert names < found
    assert "vaelib.models.VAE" in found
    assert not any("torch" in name or "missing" in name for name in found)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("vaelib.bounds", "vaelib.bounds"),
        ("vaelib.models.VAE.mlp", "vaelib.models.VAE.mlp"),
        ("vaelib.gaussians.AffineGaussian.scale", "vaelib.gaussians.AffineGaussian.scale"),
        ("vaelib.gaussians.distributions.AffineGaussian", "vaelib.gaussians.AffineGaussian"),
        ("vaelib.exercises.check", "vaelib.exercises.check"),
        ("vaelib.exercises.EXERCISES", "vaelib.exercises.catalogue.EXERCISES"),  # a constant: where it is explained
        ("vaelib.training.NonFiniteLossError", "vaelib.runs.NonFiniteLossError"),
        ("vaelib.data.DataError", "vaelib.data.DataError"),  # from a private module
        ("vaelib.marginal.LatentVariableModel", "vaelib.models.LatentVariableModel"),
    ],
)
def test_each_object_has_one_entry(name: str, shown: str) -> None:
    assert entry(name) == shown


@pytest.mark.parametrize(
    ("markdown", "rst"),
    [
        ("The law of $S\\varepsilon$.", "The law of :math:`S\\varepsilon`."),
        ("For $x$s and `x`s, not 2$x$", "For :math:`x`\\ s and ``x``\\ s, not 2\\ :math:`x`"),
        ("($x$, `x`)-`y`", "(:math:`x`, ``x``)-``y``"),
        (
            "Above\n\n    $$a = b,\n    \\qquad c$$\n\nbelow",
            "Above\n\n    .. math::\n\n       a = b,\n       \\qquad c\n\n\nbelow",
        ),
        ("log |det S| of x_ and x_i", "log \\|det S\\| of x\\_ and x_i"),
        ("Args:\n    latent_dim: K.", "Args:\n    latent_dim: \\K."),
        ("Returns:\n    One row, in order: `a`.", "Returns:\n    : One row, in order: ``a``."),
        (
            "Example:\n    >>> a | b  # `a`\n    |a|\n\nThat is |c|.",
            "Example:\n    >>> a | b  # `a`\n    |a|\n\nThat is \\|c\\|.",
        ),
        ('Chapter:\n"A\nB". Or Chapter C.', "Chapter: <A B>. Or Chapter C."),
    ],
)
def test_markdown_becomes_restructured_text(markdown: str, rst: str) -> None:
    assert to_rst(markdown, "<{}>".format) == rst


def test_a_value_has_no_type_in_its_docstring() -> None:
    assert to_rst("How many: all.", str, of_value=True) == ": How many: all."


@pytest.mark.parametrize(
    ("module", "name", "begins"),
    [
        ("vaelib.gaussians", "AffineGaussian", "class AffineGaussian"),
        ("vaelib.gaussians", "Gaussian.mean", "@property"),
        ("vaelib.models", "VAE.mlp", "@classmethod"),
        ("vaelib.models", "VAE.reconstruct", "@torch.no_grad()"),
        ("vaelib.exercises.exercise", "Exercise.hints", "@cached_property"),
        ("vaelib.data", "DataError", "class DataError"),
        ("vaelib.bounds", "sgvb_a", "def sgvb_a"),
    ],
)
def test_source_links_lead_to_the_definition(module: str, name: str, begins: str) -> None:
    path, _, lines = (source_of(module, name) or "").partition("#")
    first, last = (int(line) for line in re.findall(r"L(\d+)", lines))
    text = (ROOT / path).read_text("utf8").split("\n")
    assert text[first - 1].strip().startswith(begins)
    assert text[last - 1].strip()
    assert not text[last].strip()  # a blank line follows


def test_constants_have_no_source_link() -> None:
    assert source_of("vaelib.annealing", "TARGET_ACCEPTANCE") is None
    assert source_of("vaelib.exercises.trials", "Trial.nothing") is None


def test_chapters_that_docstrings_name_exist() -> None:
    pages = [chapter.source.read_text("utf8") for chapter in Book(ROOT).chapters]
    titles = [re.search(r"^# (.*)", page, re.M)[1] for page in pages]
    missing, found = [], 0
    for path in sorted((ROOT / "vaelib").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                for name in re.findall(r'Chapter:\s+"([^"]+)"', ast.get_docstring(node) or ""):
                    found += 1
                    meant = [title for title in titles if title.startswith(" ".join(name.split()))]
                    missing += [] if len(meant) == 1 else [f"{path.relative_to(ROOT)} names {name!r}: {meant}"]
    assert missing == []
    assert found > 15
