"""What diffusers' pipelines are, by their source: to import them would bring torch."""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
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
    "bool": ("(?i:true|false)", lambda text: text.lower() == "true", "true or false"),
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
    "prompt_upsampling", "prompt_upsampling_temperature", "editing_prompt", "fonts", "strength",
    "denoising_start",
    # Of layers that only a list could name.
    "skip_layer_guidance_scale", "skip_layer_guidance_start", "skip_layer_guidance_stop",
}  # fmt: skip
# What does nothing without a negative prompt, which that pipeline is not given.
_OF_FLUX = {"true_cfg_scale", "negative_prompt_2"}
_UNHEEDED = {"FluxPipeline": _OF_FLUX, "FluxImg2ImgPipeline": _OF_FLUX}


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
    left_out = _ELSEWHERE | _UNHEEDED.get(pipeline, set())
    return {
        name: argument
        for name, argument in arguments_of(pipeline).items()
        if argument.kinds
        and isinstance(argument.default, Value | None)
        and not (name in left_out or "callback" in name or name.endswith("_embeds"))
    }


def read_options(pipeline: str, text: str) -> dict[str, Value]:
    """The options in a text as the pipeline's call takes them, those at their default left out.

    Raises:
        BadInput: it does not take one, or one is of another kind.
    """
    if not (told := parse_options(text)):
        return {}  # without a look at all of diffusers' sources
    known, found = options_of(pipeline), {}
    for name, written in told.items():
        if name not in known:
            takes = f"use {', '.join(known)}" if known else "it takes none"
            raise BadInput(f"option {shown(name)} is not taken by {pipeline}: {takes}.")
        if (value := known[name].read(written)) is None:
            raise BadInput(
                f"option {name} {shown(written)} is not allowed: use {known[name].words}."
            )
        # No layer left out is what is done where nothing is said of it.
        if value != known[name].default and (name, value) != ("clip_skip", 0):
            found[name] = value
    return found


def checked_options(pipeline: str, given: object) -> str:
    """The same of a text or a mapping, as a text again: what a run keeps of them."""
    if not isinstance(given, str | Mapping):
        raise BadInput(f"option {shown(given)} is not allowed: use name=value, or a mapping.")
    text = given if isinstance(given, str) else format_options(given)
    return format_options(read_options(pipeline, text))


@cache
def packages() -> tuple[str, ...]:
    """The packages of diffusers' pipelines, some of which have parts of their own."""
    return tuple(file.parent.name for file in _folder().glob("*/__init__.py"))


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
    """The plain kinds that an annotation names; none where it names any other, but lists of what
    may stand alone."""
    members = {ast.unparse(member) for member in _members(annotation)} - {"None"}
    plain = members & _KINDS.keys()
    lists = {f"{word}[{kind}]" for kind in plain for word in ("list", "List")}
    return () if members - plain - lists else tuple(kind for kind in _KINDS if kind in plain)


def _members(annotation: ast.expr | None) -> Iterator[ast.expr]:
    """The alternatives of an annotation."""
    match annotation:
        case ast.BinOp(op=ast.BitOr()):
            yield from _members(annotation.left)
            yield from _members(annotation.right)
        case ast.Subscript(value=ast.Name(id="Optional" | "Union")):
            inner = annotation.slice
            for member in inner.elts if isinstance(inner, ast.Tuple) else [inner]:
                yield from _members(member)
        case ast.expr():
            yield annotation


def _literal(node: ast.expr) -> Any:
    try:
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](_literal(node.left), _literal(node.right))
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
