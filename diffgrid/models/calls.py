"""What diffusers' pipelines are, by their source: to import them would bring torch."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diffgrid.errors import BadInput
from diffgrid.spec.checks import shown
from diffgrid.spec.pipeline_options import Value, format_options, parse_options

# By which a default is reckoned from literals, as 1024**2 or (7.0,) * 45 are.
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
}
_REAL = r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})(e[+-]?[0-9]{1,2})?"
# Of each plain kind how it is written, how it is read, and what it is called.
_KINDS: dict[str, tuple[str, Callable[[str], Value], str]] = {
    "bool": ("true|false", "true".__eq__, "true or false"),
    "int": ("[+-]?[0-9]{1,4}", int, "a whole number of at most 4 digits"),
    "float": (_REAL, float, "a number"),
    "str": (".*", str, "a text"),
}
# What other options of a run say, or what is diffgrid's own business; what makes fewer steps, goes
# to the scheduler's step past the sampler, rewrites the prompt by chance, remembers earlier steps,
# or opens files.
_ELSEWHERE = {
    "prompt", "negative_prompt", "height", "width", "num_inference_steps", "guidance_scale", "eta",
    "generator", "latents", "output_type", "return_dict", "num_images_per_prompt", "batch_size",
    "use_resolution_binning", "denoising_end", "use_clipped_model_output",
    "max_area", "use_kv_cache", "caption_upsample_temperature", "use_pe", "enable_prompt_rewrite",
    "prompt_upsampling", "prompt_upsampling_temperature", "editing_prompt", "fonts",
}  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """One argument of a call: its default, and the plain kinds it may be, of `_KINDS`."""

    default: Any  # None also where it is no literal
    kinds: tuple[str, ...]  # empty where it takes anything else

    def read(self, text: str) -> Value | None:
        """A value as it is written, of the first kind that it fits; None where it fits none."""
        for kind in self.kinds:
            written, read, _ = _KINDS[kind]
            if re.fullmatch(written, text):
                return read(text)
        return None

    @property
    def words(self) -> str:
        """What it may be, in words."""
        return " or ".join(_KINDS[kind][-1] for kind in self.kinds)


@cache
def arguments_of(pipeline: str) -> dict[str, Argument]:
    """The arguments of a pipeline class's call; empty where the installed diffusers has no such
    class, or one without a call."""
    for module in _modules_with(pipeline):
        classes = {node.name: node for node in module.body if isinstance(node, ast.ClassDef)}
        for node in classes[pipeline].body:
            if isinstance(node, ast.FunctionDef) and node.name == "__call__":
                return _arguments(node.args)
    return {}


def call_of(pipeline: str) -> dict[str, Any]:
    """The defaults of those arguments."""
    return {name: argument.default for name, argument in arguments_of(pipeline).items()}


def options_of(pipeline: str) -> dict[str, Argument]:
    """Those that no option of a run says otherwise, and that are plain values."""
    return {
        name: argument
        for name, argument in arguments_of(pipeline).items()
        if argument.kinds and name not in _ELSEWHERE and "callback" not in name
    }


def read_options(pipeline: str, text: str) -> dict[str, Value]:
    """The options in a text as the pipeline's call takes them, those at their default left out.

    Raises:
        BadInput: it does not take one, or one is of another kind.
    """
    known, found = options_of(pipeline), {}
    for name, written in parse_options(text).items():
        if name not in known:
            takes = f"use {', '.join(known)}" if known else "it takes none"
            raise BadInput(f"option {shown(name)} is not taken by {pipeline}: {takes}.")
        if (value := known[name].read(written)) is None:
            raise BadInput(
                f"option {name} {shown(written)} is not allowed: use {known[name].words}."
            )
        if value != known[name].default:
            found[name] = value
    return found


def checked_options(pipeline: str, given: str | Mapping[str, object]) -> str:
    """The same as a text again: what a run keeps of them."""
    text = given if isinstance(given, str) else format_options(given)
    return format_options(read_options(pipeline, text))


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


def _arguments(arguments: ast.arguments) -> dict[str, Argument]:
    taken = arguments.args[1:]
    nodes = arguments.defaults[-len(taken) :] if taken else []
    defaults = [None] * (len(taken) - len(nodes)) + [_literal(node) for node in nodes]
    return {
        each.arg: Argument(default, _kinds(each.annotation))
        for each, default in zip(taken, defaults, strict=True)
    }


def _kinds(annotation: ast.expr | None) -> tuple[str, ...]:
    """The plain kinds that an annotation names; none where it names any other, but several texts:
    of those one will do."""
    nodes = ast.walk(annotation) if annotation else ()
    named = {node.id for node in nodes if isinstance(node, ast.Name)} - {"Optional", "Union"}
    if named - _KINDS.keys() and named - {"list", "List"} != {"str"}:
        return ()
    return tuple(kind for kind in _KINDS if kind in named)


def _literal(node: ast.expr) -> Any:
    try:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](_literal(node.left), _literal(node.right))
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
