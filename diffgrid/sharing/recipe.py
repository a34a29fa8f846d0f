"""What a picture or a page says of itself: enough to open the view again that it was made of.

A recipe is one JSON object, written the one way that equal ones are equal:

| name | what it holds |
|---|---|
| diffgrid, schema | the version that wrote it; the version of what is written |
| kind | what it is of: `grid`, `strip`, `cell` or `decisions` |
| view | the keys of its address, as `to_query` writes them, those of the default view too |
| path, key | the trajectory that it shows, or the grid's own; its key, but from the browser |
| digest, dtype | of the model's weights, and what it ran in |
| note, study | what is said of approximate pictures; what a chart was made of |

Whoever reads one gets its view through `from_query`, like an address that somebody wrote.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from diffgrid.errors import BadInput
from diffgrid.models.folder import BUNDLED
from diffgrid.models.hub_list import fetching, find_hub_model
from diffgrid.models.registry import named, scheduler_name, to_fetch
from diffgrid.pictures.png import Texts
from diffgrid.sharing.address import from_query, full_query, query_of_one, to_query
from diffgrid.sharing.view import View
from diffgrid.spec.checks import shown
from diffgrid.spec.options import OPTIONS
from diffgrid.spec.path import Path, format_path, parse_path
from diffgrid.spec.run import RunSpec, canonical, key
from diffgrid.version import __version__

SCHEMA = 1
LARGEST = 100_000  # characters
ELEMENT = '<script type="application/json" id="diffgrid-recipe">'  # which holds a page's recipe
END = "</script>"
Kind = Literal["grid", "strip", "cell", "decisions"]
# What the first version wrote of a specification, where its name was another.
_FORMER = {"steps": "num_inference_steps", "guidance": "guidance_scale"}
_DAMAGED = "the recipe is not as diffgrid wrote it: open the file as it was saved."


@dataclass(frozen=True)
class Recipe:
    """What a file was made of.

    `path` is the trajectory that it shows, one of the view's grid. `note` says where the model that
    goes by that name here is another one.
    """

    view: View
    kind: Kind
    path: Path
    note: str | None = None

    @property
    def address(self) -> str:
        """Where an app shows it, from its host on."""
        page = "" if self.kind in ("grid", "cell") else self.kind
        one = self.kind == "strip"
        query = query_of_one(self.view, self.path) if one else to_query(self.view)
        return f"/{page}?{urlencode(query)}" if query else f"/{page}"


# Writing.


def write(
    view: View,
    kind: Kind = "grid",
    path: Path | None = None,
    *,
    spec: RunSpec | None = None,
    **more: Any,
) -> str:
    """The recipe of what shows this view; ASCII.

    `path` is the trajectory that it shows, where that is not the view's own. `spec` is what it was
    sampled by, where that says more than the view: its dtype.
    """
    spec, path = spec or view.spec, view.path if path is None else path
    of_path = {"path": format_path(path), "key": key(spec, path)}
    return canonical(_of_view(view, kind, spec) | of_path | more)


def texts(
    view: View,
    kind: Kind = "grid",
    path: Path | None = None,
    *,
    spec: RunSpec | None = None,
    **more: Any,
) -> Texts:
    """What a picture says of itself; arguments as for `write`."""
    spec, path = spec or view.spec, view.path if path is None else path
    recipe = write(view, kind, path, spec=spec, **more)
    return Texts(recipe, _parameters(spec) + json.dumps(format_path(path)))


def unfinished(view: View, spec: RunSpec) -> dict[str, Any]:
    """What the browser makes the texts of any cell's picture from (`png.js`), by its path."""
    recipe = _of_view(view, "cell", spec) | {"path": ""}
    in_order = dict(sorted(recipe.items())) | {"view": dict(sorted(recipe["view"].items()))}
    return {"recipe": in_order, "parameters": _parameters(spec)}


def element(recipe: str) -> str:
    """A recipe as the element of a page that `foreign.opened` looks for."""
    return "".join((ELEMENT, recipe.replace("<", r"\u003c"), END))


def _of_view(view: View, kind: Kind, spec: RunSpec) -> dict[str, Any]:
    return {
        "diffgrid": __version__,
        "schema": SCHEMA,
        "kind": kind,
        "view": full_query(view) | {"model": public_name(view.model)},
        "digest": spec.digest,
        "dtype": spec.dtype,
    }


def public_name(model: str) -> str:
    """What others may call it: whoever posts a picture need not say where its model lies."""
    known = model in BUNDLED or any(each.name == model for each in named())
    return model if known else File(model).name


def _parameters(spec: RunSpec) -> str:
    """The text that most programs put into a picture, up to the path, which only this one has."""
    words = {
        "Steps": spec.num_inference_steps,
        "Sampler": scheduler_name(spec),
        "CFG scale": f"{spec.guidance_scale:g}",
        "Seed": spec.seed,
        "Size": f"{spec.width}x{spec.height}",
        "Model": public_name(spec.model),
        "Eta": None if spec.eta is None else f"{spec.eta:g}",
        **spec.added_words,
        "Diffgrid path": "",
    }
    lines = [
        *filter(None, [spec.prompt]),
        f"Negative prompt: {spec.negative_prompt}",
        ", ".join(
            f"{name}: {_quoted(value)}" for name, value in words.items() if value is not None
        ),
    ]
    return "\n".join(lines).replace("\0", " ")  # which would end the text


def _quoted(value: object) -> str:
    text = str(value)
    return json.dumps(text) if any(mark in text for mark in ',:"\n') else text


# Reading: whatever comes in was written by anybody.


def read(text: str) -> Recipe:
    """What a recipe says.

    Raises:
        BadInput: it is damaged or of a newer version, its model is not here, or it asks for what
            is not allowed, or is above this server's limits.
    """
    content = _object(text)
    if "schema" not in content:
        return _former(content)
    if content["schema"] != SCHEMA or type(content["schema"]) is not int:
        raise BadInput(
            f"the recipe is one of diffgrid {shown(content.get('diffgrid'))}, which this version "
            f"({__version__}) cannot read: use that one, or a newer."
        )
    match content:
        case {"view": dict(query), "kind": str(kind), "path": str(path), "digest": str(digest)}:
            pass
        case _:
            raise BadInput(_DAMAGED)
    if kind not in get_args(Kind) or not all(isinstance(each, str) for each in query.values()):
        raise BadInput(_DAMAGED)
    return _checked(_view(query), kind, path, digest)


def _object(text: str) -> dict[str, Any]:
    if len(text) > LARGEST:
        raise BadInput(
            f"the recipe has {len(text):,} characters, which is too long: use at most {LARGEST:,}."
        )
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BadInput(_DAMAGED)
    return content


def _view(query: Mapping[str, str]) -> View:
    model = query.get("model", "")
    if model not in (each.name for each in named()):
        hub = find_hub_model(model)
        do = fetching(hub) if hub and hub in to_fetch() else "open it where that model is"
        raise BadInput(f"model {shown(model)}, which made this, is not here: {do}.")
    return from_query(query)


def _checked(view: View, kind: Any, path: str, digest: object) -> Recipe:
    shows = parse_path(path)
    grid = view.grid()
    if shows not in grid.paths:
        raise BadInput(_DAMAGED)
    note = None
    if grid.spec.digest != digest:
        note = (
            f"what goes by the name {view.model} here is not the model that made this: other "
            "pictures will come."
        )
    return Recipe(view, kind, shows, note)


def _former(content: Mapping[str, Any]) -> Recipe:
    """One of the first version, which wrote the specification and not the view.

    It did not say how far the cells of a grid go back.
    """
    query = {}
    for option in OPTIONS:
        value = content.get(option.name, content.get(_FORMER.get(option.name, "")))
        if option.addressed and type(value) in (str, int, float):
            query[option.name] = option.write(value)
    query["model"] = File(query.get("model", "")).name
    path, rows = content.get("path", "trunk"), content.get("rows")
    if not isinstance(path, str):
        raise BadInput(_DAMAGED)
    kind = "decisions" if "trunks" in content else "strip"
    if isinstance(rows, dict):
        kind, query["rows"] = "grid", _former_rows(rows)
    view = _view(query | {"path": path})
    return _checked(View.of(view.grid()), kind, path, content.get("digest"))


def _former_rows(rows: Mapping[str, Any]) -> str:
    match [*rows.values()]:
        case lists if all(isinstance(each, list) for each in lists):
            steps = sorted(rows, key=lambda step: (len(step), step))
            return ",".join(f"{step}:{'.'.join(map(str, rows[step]))}" for step in steps)
    raise BadInput(_DAMAGED)
