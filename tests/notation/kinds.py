"""What a name says its value is, and what an expression makes of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

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
