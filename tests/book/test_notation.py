"""The appendix on notation is a contract: what it says of `vaelib` and of the chapters is so.

The page is read as it stands. Its names must be in the library, its shapes must be those that the library returns, its
symbols must occur in chapters, and what it retires must not. Beyond the page, the names that the field uses for
several things at once are forbidden, and nothing that its name calls a log-variance, a standard deviation, a variance,
a matrix S or a covariance may be given to a name that says another of these.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from plain_notebooks.book import Book
from torch import Tensor
from torch.distributions import Distribution

from vaelib.autoencoder import Autoencoder
from vaelib.bounds import iwae, log_weights, minibatch_estimate, sgvb_a, sgvb_b
from vaelib.gaussians import StandardNormal
from vaelib.hmc import hmc
from vaelib.inference.full_bayes import BayesianVAE, full_bayes
from vaelib.inference.without_encoder import VAEWithoutEncoder
from vaelib.linear_gaussian import LinearGaussian
from vaelib.marginal import naive
from vaelib.models import VAE
from vaelib.score_function import score_function_gradient

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "book/appendices/notation.md").read_text("utf8")
CHAPTERS = {page: (ROOT / f"{page}.md").read_text("utf8") for page in Book(ROOT).pages if "/part-" in page}
MODULES = {str(path.relative_to(ROOT)): path.read_text("utf8") for path in sorted((ROOT / "vaelib").rglob("*.py"))}


# The page


class Row(NamedTuple):
    """A row of a table of six columns; a cell that has nothing in it holds a dash."""

    symbol: str
    code: str
    shape: str
    meaning: str
    sources: str
    paper: str

    @property
    def names(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.code)


def tables(page: str) -> Iterator[list[list[str]]]:
    """The rows of each table, without the head."""
    for block in re.findall(r"(?:^\|.*\n)+", page, re.M):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        assert len({len(row) for row in rows}) == 1, f"a row has too many or too few cells: {rows[0]}"
        yield rows[2:]


ROWS = [Row(*row) for table in tables(PAGE) if len(table[0]) == 6 for row in table]
SHAPED = [row for row in ROWS if "(" in row.shape]
NAMES = {name for row in ROWS for cell in (row.code, row.meaning) for name in re.findall(r"`([\w.]+)`", cell)}


def shapes_in(cell: str) -> list[tuple[str, ...]]:
    """`(B, K)` and the like, each as the letters in it."""
    return [tuple(re.findall(r"\w", shape)) for shape in re.findall(r"`(\([^`]*\))`", cell)]


def test_the_page_was_read() -> None:
    assert len(ROWS) > 50
    assert len(SHAPED) > 35


# The names


def is_public(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return not node.name.startswith("_") or node.name in ("__init__", "__call__")


def arguments(function: ast.FunctionDef) -> list[ast.arg]:
    spec = function.args
    return [arg for arg in [*spec.posonlyargs, *spec.args, *spec.kwonlyargs] if arg.arg not in ("self", "cls")]


def public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """The public functions of a module, and the methods of its public classes, each with the name of its class."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and is_public(node):
            yield "", node
        if isinstance(node, ast.ClassDef) and is_public(node):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and is_public(inner):
                    yield node.name, inner


@cache
def library() -> frozenset[str]:
    """All names that a reader can look up in `vaelib`: classes, functions, methods, arguments, fields, attributes."""
    names: set[str] = set()
    for source in MODULES.values():
        tree = ast.parse(source)
        for owner, function in public_functions(tree):
            names |= {function.name, *(arg.arg for arg in arguments(function))} | ({f"{owner}.{function.name}"} - {"."})
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and is_public(node):
                names.add(node.name)
                for inner in ast.walk(node):
                    if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name):
                        names.add(inner.target.id)
                    if (
                        isinstance(inner, ast.Attribute)
                        and isinstance(inner.ctx, ast.Store)
                        and isinstance(inner.value, ast.Name)
                        and inner.value.id == "self"
                        and not inner.attr.startswith("_")
                    ):
                        names.add(inner.attr)
    return frozenset(names)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_in_the_library(name: str) -> None:
    assert name in library()


SETTINGS_ONLY = ("vaelib/experiments", "vaelib/exercises", "vaelib/plots")
"""What an experiment or a picture is given is no notation: how long, from which file, in which colour."""

NO_NOTATION = {
    *(
        "model",
        "name",
        "path",
        "like",
        "body",
        "family",
        "start",
        "count",
        "numbers",
        "test",
        "grey",
    ),  # what is worked on
    *("channels", "image_shape", "sample_shape"),
    *("epochs", "steps", "schedule", "optimiser", "rates", "batches", "max_grad_norm", "seed"),  # how a run goes
    *("device", "progress", "pairs_at_once", "validate_args"),  # what the machine does
    *("checkpoint", "checkpoint_seconds", "graph_steps"),
}
"""Arguments in two modules or more that no formula has a letter for."""


def shared_arguments() -> set[str]:
    """The arguments of public functions that occur in two modules or more, experiments and pictures aside."""
    users: dict[str, set[str]] = {}
    for module, source in MODULES.items():
        if not module.startswith(SETTINGS_ONLY):
            for _, function in public_functions(ast.parse(source)):
                for arg in arguments(function):
                    users.setdefault(arg.arg, set()).add(module)
    return {name for name, modules in users.items() if len(modules) > 1}


def test_every_shared_argument_is_in_the_tables() -> None:
    assert not shared_arguments() - NO_NOTATION - NAMES, "give these a row, or say why they need none"
    assert not NO_NOTATION - shared_arguments(), "these need no exception"
    assert not NO_NOTATION & NAMES, "these have a row, and need no exception"


FORBIDDEN = re.compile(
    r"mus?(_\w+)?|sigmas?(_\w+|\d)?|log_?sigmas?(_\w+|\d)?|log_?variances?|logvars?|log_?std_?dev|lv"  # which?
    r"|kld|kl_?loss|recon(_\w+)?|x_(hat|recon|rec)|bce(_\w+)?|elbo_?loss"  # a loss has lost its sign, and its parts
    r"|epsilons?|n_?samples|z_?dim|latent_size|n_?latents?|input_dim|n_z|bs"  # noise, num_samples, latent_dim
)
"""Names by which the field calls several different things, or calls by many what has one here."""


class Use(NamedTuple):
    """A line of code."""

    where: str
    line: int
    tree: ast.AST


def cells(page: str, text: str) -> Iterator[tuple[int, str]]:
    """The code cells of a chapter, each with the number of the line before it."""
    for match in re.finditer(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", text, re.S | re.M):
        head = re.match(r"(?:---\n.*?\n---\n|(?::[^\n]*\n)+)?", match[1], re.S)
        assert head is not None
        yield text[: match.start(1)].count("\n") + head[0].count("\n"), re.sub(r"(?m)^%.*$", "", match[1][head.end() :])


@cache
def all_code() -> tuple[Use, ...]:
    chapters = [Use(page, line, ast.parse(cell)) for page, text in CHAPTERS.items() for line, cell in cells(page, text)]
    return (*(Use(module, 0, ast.parse(source)) for module, source in MODULES.items()), *chapters)


def names_given(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What the code itself names: variables, arguments, attributes, functions and classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def test_no_name_stands_for_several_things() -> None:
    found = {
        (use.where, name): use.line + line
        for use in all_code()
        for name, line in names_given(use.tree)
        if FORBIDDEN.fullmatch(name)
    }
    lines = [f"{where}, line {line}: {name}" for (where, name), line in found.items()]
    assert not lines, "\n".join(["see the appendix on notation for a name that says what it is:", *lines])


# The kinds: what a name says its value is, and what an expression makes of it

KINDS = {
    "log-variance": r"(?:\w+_)?log_vars?(?:_[a-z]+)?",
    "log standard deviation": r"(?:\w+_)?log_stds?(?:_[a-z]+)?",
    "standard deviation": r"(?:\w+_)?(?:stds?|stddev)(?:_[a-z]|\d)?",
    "variance": r"(?:\w+_)?(?:var|variances?)(?:_[a-z]|\d)?",
    "triangular S": r"scale_tril(?:_[a-z]|\d)?",
    "matrix S": r"(?:white_)?scale(?:_[a-z]|\d)?",
    "covariance": r"covariance(?:_matrix)?(?:_[a-z]|\d)?",
}

KEEPS = {
    *("expand", "expand_as", "flatten", "movedim", "repeat", "reshape", "squeeze", "unsqueeze", "view", "view_as"),
    *("clone", "contiguous", "cpu", "detach", "double", "float", "item", "numpy", "sort", "to", "tolist"),
}
"""Methods that change no value."""

STEPS = {
    ("exp", "log-variance"): "variance",
    ("exp", "half a log-variance"): "standard deviation",
    ("exp", "log standard deviation"): "standard deviation",
    ("log", "variance"): "log-variance",
    ("log", "standard deviation"): "log standard deviation",
    ("square", "standard deviation"): "variance",
    ("sqrt", "variance"): "standard deviation",
    ("cholesky", "covariance"): "triangular S",
    ("diag_embed", "standard deviation"): "triangular S",
    ("diag_embed", "variance"): "covariance",
    ("diagonal", "covariance"): "variance",
}
"""What a function makes of a kind."""

PARAMETERS = {
    "DiagonalGaussian": (None, "log-variance"),
    "AffineGaussian": (None, "matrix S"),
    "CholeskyGaussian": (None, "triangular S"),
    "MultivariateNormal": (None, "covariance"),
    "Normal": (None, "standard deviation"),
}
"""The kinds of positional arguments."""


def kind_of_name(name: str) -> str | None:
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)), None)


def kind_of(node: ast.AST) -> str | None:
    """The kind of an expression's value, None where that cannot be told."""
    match node:
        case ast.Name(id=name):
            return kind_of_name(name)
        case ast.Attribute(value=value, attr="mT" | "T"):
            return kind_of(value) if kind_of(value) == "covariance" else None
        case ast.Attribute(attr=name):
            return kind_of_name(name)
        case ast.Subscript(value=value):
            return kind_of(value)
        case ast.IfExp(body=body, orelse=orelse):
            return kind_of(body) if kind_of(body) == kind_of(orelse) else None
        case ast.Call(func=ast.Attribute(attr="std"), args=[_]):
            return "standard deviation"
        case ast.Call(func=ast.Attribute(attr="var"), args=[_]):
            return "variance"
        case ast.Call(func=ast.Attribute(value=value, attr=name), args=args):
            of_module = isinstance(value, ast.Name | ast.Attribute) and ast.unparse(value).split(".")[0] in MODULE_NAMES
            operand = args[0] if of_module and args else value
            return kind_of(operand) if name in KEEPS else STEPS.get((name, kind_of(operand) or ""))
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=power)):
            return STEPS.get(({2: "square", 0.5: "sqrt"}.get(power, ""), kind_of(left) or ""))
        case (
            ast.BinOp(left=ast.Constant(value=0.5), op=ast.Mult(), right=half)
            | ast.BinOp(left=half, op=ast.Div(), right=ast.Constant(value=2))
        ):
            return "half a log-variance" if kind_of(half) == "log-variance" else None
        case ast.BinOp(left=ast.Constant(value=2), op=ast.Mult(), right=whole):
            return "log-variance" if kind_of(whole) == "log standard deviation" else None
        case ast.BinOp(left=left, op=ast.MatMult(), right=ast.Attribute(value=right, attr="mT")):
            square = ast.unparse(left) == ast.unparse(right) and (kind_of(left) or "").endswith(" S")
            return "covariance" if square else None
    return None


MODULE_NAMES = frozenset({"torch", "math", "np", "F"})


def gifts(tree: ast.AST) -> Iterator[tuple[str | None, ast.expr]]:
    """Every value that is given to a name, with the kind that the name says: assignments and arguments."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    pairs = [(target, value)]
                    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                        pairs = list(zip(target.elts, value.elts, strict=False))
                    yield from ((kind_of(name), given) for name, given in pairs)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield kind_of(target), value
            case ast.Call(func=func, args=args, keywords=keywords):
                name = ast.unparse(func).rpartition(".")[2]
                yield from zip(PARAMETERS.get(name, ()), args, strict=False)
                for keyword in keywords:
                    if keyword.arg:
                        torchs = name == "Normal" and keyword.arg == "scale"
                        yield ("standard deviation" if torchs else kind_of_name(keyword.arg)), keyword.value


def confusions(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Where a value of one kind is given to a name of another. A triangular S is an S as well."""
    for said, value in gifts(tree):
        kind = kind_of(value)
        if said and kind and kind != said and (said, kind) != ("matrix S", "triangular S"):
            yield value, f"`{ast.unparse(value)}` is a {kind}, and is given to a {said}"


MISTAKES = {
    "log_var = q.stddev": 1,
    "std = q.log_var": 1,
    "std = torch.exp(log_var)": 1,
    "std = log_var.exp()": 1,
    "log_var = std.log()": 1,
    "mean, std = q.mean, q.variance[0].detach()": 1,
    "scale = q.covariance_matrix": 1,
    "covariance_matrix = scale": 1,
    "scale_tril = q.scale": 1,
    "std = values.var(0)": 1,
    "p = Normal(mean, noise_var)": 1,
    "p = DiagonalGaussian(mean, std)": 1,
    "p = MultivariateNormal(mean, scale_tril)": 1,
    "p = GaussianDecoder(body, 4, 7, std=variance)": 1,
    "std, log_var = torch.exp(0.5 * log_var), 2 * std.log()": 0,
    "variance, std = std**2, variance.sqrt()": 0,
    "covariance = scale @ scale.mT": 0,
    "scale = torch.linalg.cholesky(covariance)": 0,
    "p = Normal(mean, torch.exp(log_var / 2))": 0,
}


@pytest.mark.parametrize(("line", "count"), MISTAKES.items())
def test_a_confusion_is_found(line: str, count: int) -> None:
    assert len(list(confusions(ast.parse(line)))) == count


PLANTED = {
    ("book/part-2/gaussian-kl", "torch.diag_embed(std)"): "an exercise's bug, and what it computes",
    ("book/part-2/gaussian-kl", "std ** 2"): "another one",
}
"""Where a chapter makes the mistake in order to show it."""


def test_no_kind_is_taken_for_another() -> None:
    found = {
        (use.where, ast.unparse(value)): f"line {use.line + value.lineno}: {fault}"
        for use in all_code()
        if not use.where.startswith("vaelib/exercises/catalogue")  # which holds wrong answers, by design
        for value, fault in confusions(use.tree)
    }
    new = [f"{key[0]}, {fault}" for key, fault in found.items() if key not in PLANTED]
    assert not new, "\n".join(new)
    assert set(PLANTED) <= set(found), f"take them off: {set(PLANTED) - set(found)}"


# The shapes

SIZES = {"B": 3, "D": 7, "K": 2, "L": 5, "N": 11, "P": 47}
"""All different, so that no shape fits by chance. A decoder 2-4-7 has 47 weights."""


@cache
def measured() -> dict[str, Tensor | Distribution]:
    """What `vaelib` makes of B images of D pixels, by the name in the second column."""
    b, d, k, draws, n = (SIZES[letter] for letter in "BDKLN")
    exact = LinearGaussian.random(d, k)
    x = torch.rand(b, d).round()
    model = VAE.mlp(d, (4,), k)
    q, cholesky = model.encode(x), VAE.mlp(d, (4,), k, posterior="cholesky").encode(x)
    autoencoder = Autoencoder.mlp(d, (4,), k)
    z = q.rsample()
    bayesian = BayesianVAE(model, n)
    shares = full_bayes(bayesian, x)
    bound = sgvb_b(model, x, draws)
    found: dict[str, Any] = {
        "x": exact.marginal.sample((b,)),
        "images": VAEWithoutEncoder(model, torch.rand(n, d).round()).images,
        "posteriors": VAEWithoutEncoder(model, torch.rand(n, d).round()).posteriors(),
        "z": z,
        "prior": model.prior,
        "decode": model.decode(z),
        "log_joint": model.log_joint(x, z),
        "log_marginal": exact.log_marginal(x),
        "posterior": exact.posterior(x),
        "encode": q,
        "Gaussian": cholesky,
        "scale_tril": cholesky.scale_tril,
        "rsample": q.rsample((draws,)),
        "log_prob": q.log_prob(q.rsample((draws,))),
        "entropy": q.entropy(),
        "sgvb_a": sgvb_a(model, x, draws).elbo,
        "sgvb_b": bound.elbo,
        "minibatch_estimate": minibatch_estimate(bound.elbo, n),
        "log_weights": log_weights(model, x, draws),
        "iwae": iwae(model, x, draws).iwae,
        "naive": naive(model, x, draws).log_marginal,
        "effective_sample_size": naive(model, x, draws).effective_sample_size,
        "step_size": hmc(lambda codes: model.log_joint(x, codes), z.detach(), 1, warmup=1).step_size,
        "objective": sgvb_b(model, x)[0],
        "weights": bayesian.weights,
        "weights_prior": bayesian.weights_prior,
        "kl_theta": shares.kl_theta,
        "bound": shares.bound,
        "Autoencoder.encode": autoencoder.encode(x),
        "Autoencoder.decode": autoencoder.decode(z),
        "Autoencoder.forward": autoencoder(x),
        "logits": model.decode(z).logits,
        "Bernoulli.mean": model.decode(z).mean,
        "weight": exact.weight,
        "bias": exact.bias,
    }
    for name in ("loc", "log_var", "stddev", "variance", "scale", "covariance_matrix"):
        found[name] = getattr(q, name)
    for name in ("elbo", "reconstruction", "kl"):
        found[name] = getattr(bound, name)
    return found


INPUTS = ("values", "scores")
"""These are made of the shapes that the tables state, and given to the library."""


def shapes_of(value: Tensor | Distribution) -> list[tuple[int, ...]]:
    parts = [value.batch_shape, value.event_shape] if isinstance(value, Distribution) else [value.shape]
    return [tuple(part) for part in parts]


@pytest.mark.parametrize("row", SHAPED, ids=lambda row: row.names[0])
def test_the_shapes_are_those_that_the_library_returns(row: Row) -> None:
    stated = [tuple(SIZES[letter] for letter in shape) for shape in shapes_in(row.shape)]
    if row.names[0] in INPUTS:
        inputs = [
            torch.rand([SIZES[letter] for letter in shapes_in(r.shape)[0]]) for r in SHAPED if r.names[0] in INPUTS
        ]
        assert score_function_gradient(*inputs).shape == (SIZES["P"],)
    else:
        assert stated == shapes_of(measured()[row.names[0]])
        assert getattr(measured()[row.names[0]], "dtype", torch.float64) == torch.float64
        assert ("batch" in row.shape) == isinstance(measured()[row.names[0]], Distribution)


def test_everything_measured_is_stated() -> None:
    assert {row.names[0] for row in SHAPED} == {*measured(), *INPUTS}
    assert isinstance(measured()["prior"], StandardNormal)


@pytest.mark.parametrize("row", [row for row in ROWS if row.shape == "number"], ids=lambda row: row.names[0])
def test_a_number_is_annotated_as_one(row: Row) -> None:
    annotations = {
        ast.unparse(arg.annotation)
        for source in MODULES.values()
        for _, function in public_functions(ast.parse(source))
        for arg in arguments(function)
        if arg.arg == row.names[0] and arg.annotation
    }
    assert annotations <= {"int", "float", "int | None", "float | Tensor"}
    assert annotations


# The symbols


LAYOUT = re.compile(r"&|\\(?:[,;!:\\]|q?quad|[bB]igg?[lrm]?|left|right)")


def bare(tex: str) -> str:
    """LaTeX without what only moves things apart, aligns them or makes them larger."""
    tokens = [
        token
        for token in re.findall(r"\\[A-Za-z]+|\\.|\S", tex.replace(r"\Vert", r"\|"))
        if not LAYOUT.fullmatch(token)
    ]
    text = "".join(f"{token} " if token[0] == "\\" and token[-1].isalpha() else token for token in tokens)
    return re.sub(r" (?![A-Za-z])", "", text)


@cache
def maths(page: str) -> tuple[tuple[int, str], ...]:
    """The formulas of a chapter's text, each with its line."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", lambda m: re.sub(r"[^\n]", " ", m[0]), CHAPTERS[page], flags=re.S | re.M)
    found = re.finditer(r"\$\$(.*?)\$\$|\$([^$]+)\$", text, re.S)
    return tuple((text[: m.start()].count("\n") + 1, m[1] or m[2]) for m in found)


@cache
def all_maths() -> str:
    return "\n".join(bare(tex) for page in CHAPTERS for _, tex in maths(page))


@pytest.mark.parametrize(
    "symbol", sorted({symbol for row in ROWS for symbol in re.findall(r"\$([^$]+)\$", row.symbol)})
)
def test_every_symbol_is_in_a_chapter(symbol: str) -> None:
    """As it stands, and not as the beginning or the end of a longer name."""
    tex = re.escape(bare(symbol))
    tex = rf"(?<![A-Za-z\\]){tex}" if symbol[0].isalpha() else tex
    tex = rf"{tex}(?![A-Za-z])" if symbol[-1].isalpha() else tex
    assert re.search(tex, all_maths())


RETIRED = {
    r"$\ln$": r"\\ln(?![A-Za-z])",
    r"$D_{KL}$, $\mathcal{D}$, $KL$, $\mathbf{KL}$": r"D_\{?(?:KL|\\mathrm\{KL)|\\mathcal\{D\}|(?<!\\mathrm\{)KL",
    r"$E$, $\mathbf{E}$": r"(?<![A-Za-z{}\\_^])E_\{?(?:q|p|z|x|\\phi)|\\mathbf\{E\}|(?<![A-Za-z{\\])E\[",
    r"$\mathbf{x}$, $\mathbf{z}$": r"\\mathbf\{[A-Za-z]|\\boldsymbol",
    r"$x^{(i)}$, $z^{(l)}$, $\varepsilon^{(l)}$": r"(?:[xz]|\\varepsilon)\}?\^\{\(",
    r"$p_\theta(z)$, $p(z; \theta)$": r"p_\\theta\(z\)|p\([zZ];",
    r"$\otimes$, $\oplus$": r"\\otimes|\\oplus",
    r"$\mu + \sigma \epsilon$": r"\\epsilon(?:_[a-z])?\\sim|(?:\\sigma|\\odot|\+S|\+L)(?:\([^)]*\))?\\epsilon",
    r"$\sum_j^J$": r"\^\{?J",
}
"""What the page retires, and how to recognise it."""

OURS = {r"$\mathrm{H}(q)$": r"\\mathrm\{H\}"}
"""No source's: of two forms for one thing the book keeps the other."""

QUOTED = {
    ("book/part-3/reparameterization", r"$\ln$"): "source 4's draw",
    ("book/part-3/score-function", r"$\mathbf{x}$, $\mathbf{z}$"): "the formula on the slide",
    ("book/part-3/score-function", r"$x^{(i)}$, $z^{(l)}$, $\varepsilon^{(l)}$"): "the formula on the slide",
    ("book/part-4/q3-1-affine-noise", r"$p_\theta(z)$, $p(z; \theta)$"): "the sheet's prior",
    ("book/part-4/q3-2-full-covariance", r"$p_\theta(z)$, $p(z; \theta)$"): "the sheet's prior",
}
"""Where a chapter prints what a source writes, to say that it does not."""


def test_the_page_retires_what_is_tested() -> None:
    *_, last = tables(PAGE)
    assert [row[0] for row in last] == list(RETIRED)


def test_no_chapter_writes_what_is_retired() -> None:
    found = {
        (page, form): line
        for page in CHAPTERS
        for form, pattern in (RETIRED | OURS).items()
        for line, tex in maths(page)
        if re.search(pattern, bare(tex))
    }
    new = [f"{page}, line {line}: {form}" for (page, form), line in found.items() if (page, form) not in QUOTED]
    assert not new, "\n".join(["see the appendix on notation for what to write instead:", *new])
    assert set(QUOTED) <= set(found), f"take them off the list: {set(QUOTED) - set(found)}"
