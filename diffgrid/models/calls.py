"""What diffusers' pipelines are, by their source: to import them would bring torch."""

import ast
import operator
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# By which a default is reckoned from literals, as 1024**2 or (7.0,) * 45 are.
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
}


@cache
def call_of(pipeline: str) -> dict[str, Any]:
    """The arguments of a pipeline class's call with their defaults; None also stands for one that
    is no literal. Empty where the installed diffusers has no such class, or one without a call."""
    for module in _modules_with(pipeline):
        classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
        for node in classes[pipeline].body:
            if isinstance(node, ast.FunctionDef) and node.name == "__call__":
                return _defaults(node.args)
    return {}


@cache
def packages() -> frozenset[str]:
    """The packages of diffusers' pipelines, some of which have parts of their own."""
    return frozenset(file.parent.name for file in _folder().glob("*/__init__.py"))


def _folder() -> Path:
    spec = find_spec("diffusers")
    return Path(spec.origin if spec and spec.origin else "").parent / "pipelines"


def _modules_with(pipeline: str) -> list[ast.Module]:
    if not pipeline.isidentifier():
        return []
    texts = (file.read_text("utf-8") for file in _folder().rglob("pipeline_*.py"))
    return [ast.parse(text) for text in texts if f"\nclass {pipeline}(" in text]


def _defaults(arguments: ast.arguments) -> dict[str, Any]:
    names = [argument.arg for argument in arguments.args[1:]]
    nodes = arguments.defaults[-len(names) :] if names else []
    given = dict(zip(names[len(names) - len(nodes) :], map(_literal, nodes), strict=True))
    return {name: given.get(name) for name in names}


def _literal(node: ast.expr) -> Any:
    try:
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](_literal(node.left), _literal(node.right))
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
