"""What a picture says of itself, and the view that comes of it."""

import io
import json
import re
from pathlib import Path as File
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffgrid.errors import BadInput
from diffgrid.pictures.png import with_texts
from diffgrid.records.frames import encode
from diffgrid.sharing.foreign import opened
from diffgrid.sharing.recipe import LARGEST, element, read, texts, unfinished, write
from diffgrid.sharing.view import View
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import key
from diffgrid.version import __version__
from tests import tiny
from tests.sharing.made import DEFAULT, ODD_PROMPTS, views

FIXTURES = File(__file__).parents[1] / "fixtures"
BLANK = encode(Image.new("RGB", (2, 1), "red"), format="PNG")


def told(**changes: Any) -> str:
    """The recipe of the default view, where something else stands in it."""
    return json.dumps(json.loads(write(DEFAULT)) | changes)


@pytest.mark.slow
@given(views(), st.sampled_from(["grid", "strip", "cell"]), st.data())
def test_a_picture_opens_the_exact_view(view: View, kind: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(view.grid().paths))
    found = opened(with_texts(BLANK, texts(view, kind, path)))
    assert (found.view, found.kind, found.path, found.note) == (view, kind, path, None)
    assert opened(f"<html>{element(write(view, kind, path))}".encode()) == found


@pytest.mark.parametrize("prompt", ODD_PROMPTS)
def test_no_prompt_is_too_odd(prompt: str) -> None:
    view = DEFAULT.with_options(prompt=prompt, negative_prompt=prompt[::-1])
    picture = with_texts(BLANK, texts(view))
    assert opened(picture).view == view
    assert opened(f"<p>{element(write(view))}</p>".encode()).view == view
    assert Image.open(io.BytesIO(picture)).info["diffgrid"] == write(view)


@pytest.mark.slow
@given(views())
def test_a_grid_that_was_asked_for_otherwise_has_a_view(view: View) -> None:
    grid = view.grid()
    assert View.of(grid).grid() == grid


def test_a_recipe_is_complete_where_an_address_is_bare() -> None:
    spec = DEFAULT.spec
    assert json.loads(write(DEFAULT)) == {
        "diffgrid": __version__,
        "schema": 1,
        "kind": "grid",
        "view": {
            "model": "monsters",
            "prompt": DEFAULT.prompt,
            "seed": "7",
            "steps": "25",
            "guidance": "3",
            "eta": "1",
            "rows": "1,5,10",
            "columns": "4",
        },
        "path": "trunk",
        "key": key(spec, ()),
        "digest": spec.digest,
        "dtype": "float32",
    }
    assert read(write(DEFAULT)).address == "/"


@pytest.mark.parametrize(
    ("kind", "address"),
    [("grid", "/?mod"), ("cell", "/?mod"), ("strip", "/strip?mod"), ("decisions", "/deci")],
)
def test_each_kind_has_an_address(kind: Any, address: str) -> None:
    found = read(write(DEFAULT.follow(parse_path("5.2")), kind, parse_path("5.2/10.1")))
    assert found.address.startswith(address)
    shown = ("path=5.2%2F10.1" in found.address, "trunk=5.2" in found.address)
    assert shown == ((True, True) if kind == "strip" else (False, False))


def test_other_tools_find_what_they_look_for() -> None:
    view = DEFAULT.with_options(prompt="a monster\nof two lines", negative_prompt="hats, ties")
    path = parse_path("8:prompt=a+cat")
    assert texts(view, "cell", path).parameters == (
        "a monster\nof two lines\nNegative prompt: hats, ties\n"
        "Steps: 25, Sampler: ddim, CFG scale: 3, Seed: 7, Size: 128x128, Model: monsters, Eta: 1, "
        'Diffgrid path: "8:prompt=a+cat"'
    )
    for prompt, kind in (("é", b"tEXt"), ("怪", b"iTXt"), ("a\0b", b"tEXt")):
        picture = with_texts(BLANK, texts(DEFAULT.with_options(prompt=prompt)))
        assert kind + b"parameters\0" in picture
        shown = Image.open(io.BytesIO(picture)).info["parameters"]
        assert shown.startswith(prompt.replace("\0", " ") + "\nNegative prompt: \nSteps: 25, ")


def test_a_browser_makes_any_cells_texts() -> None:
    view, path = DEFAULT.with_options(prompt="é 怪"), parse_path("8:prompt=a+cat")
    parts = unfinished(view, view.spec)
    whole = json.loads(write(view, "cell", path))
    assert parts["recipe"] | {"path": "8:prompt=a+cat", "key": whole["key"]} == whole
    assert parts["parameters"] + '"8:prompt=a+cat"' == texts(view, "cell", path).parameters


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the recipe is not as diffgrid wrote it"),
        ("[" * 50_000, "the recipe is not as diffgrid wrote it"),
        ("[1]", "the recipe is not as diffgrid wrote it"),
        ('{"seed": ' + "9" * 9000 + "}", "the recipe is not as diffgrid wrote it"),
        ("x" * (LARGEST + 1), "the recipe has 100,001 characters, which is too long"),
        (told(schema=2, diffgrid="9.0"), "the recipe is one of diffgrid '9.0', which this version"),
        (told(schema=True), "the recipe is one of diffgrid"),
        (told(kind="film"), "the recipe is not as diffgrid wrote it"),
        (told(view={"seed": 7}), "the recipe is not as diffgrid wrote it"),
        (told(view={"model": "mine"}), "model 'mine', which made this, is not here: open it where"),
        (told(view={"model": "/etc"}), "model '/etc', which made this, is not here"),
        (told(view={"model": "stabilityai/sd-turbo"}), "models --fetch stabilityai/sd-turbo"),
        (told(view={"model": "monsters", "steps": "9999"}), "steps 9999 is not allowed"),
        (told(view={"model": "monsters", "path": "24.0"}), "which is too late"),
        (told(path="5.9"), "the recipe is not as diffgrid wrote it"),
        (told(path=7), "the recipe is not as diffgrid wrote it"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=re.escape(sentence)) as error:
        read(text)
    assert "\n" not in str(error.value)


def test_a_public_server_opens_what_it_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = write(DEFAULT.with_shape(2, 9))
    assert read(wide).view.columns == 9
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    assert read(write(DEFAULT)).view == DEFAULT
    with pytest.raises(BadInput, match="columns 9 is not allowed"):
        read(wide)


def test_another_model_of_the_same_name_is_told() -> None:
    found = read(told(digest="0" * 64))
    assert found.view == DEFAULT
    assert "monsters here is not the model that made this" in str(found.note)


@pytest.mark.slow
def test_a_models_folder_is_named_and_its_place_is_not(
    tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.save(tmp_path / "models" / "mine")
    made = texts(View.default(str(folder)))
    assert str(tmp_path) not in "".join(made)
    with pytest.raises(BadInput, match="model 'mine', which made this, is not here"):
        read(made.recipe)
    monkeypatch.setenv("DIFFGRID_MODELS", str(folder.parent))
    assert read(made.recipe).view == View.default("mine")


# What older versions wrote. A picture of 0.2.0 before recipes had a schema, and one of schema 1.


def test_a_picture_of_before_opens_still() -> None:
    found = opened((FIXTURES / "recipe-of-0.png").read_bytes())
    view = DEFAULT.with_options(
        prompt="a red monster with «two» eyes 👩‍🚀", negative_prompt="hat", seed=3,
        steps=4, guidance=2.5, height=8, width=8,
    )  # fmt: skip
    assert found.view == view.with_shape(1, 1).with_steps([1]).follow(parse_path("1.0"))
    assert (found.kind, found.path, found.note) == ("grid", parse_path("1.0"), None)


def test_a_strip_and_a_chart_of_before_open_still() -> None:
    spec = DEFAULT.with_options(guidance=2.0).spec
    values = spec.to_dict() | {"scheduler": "ddim", "key": key(spec, ())}
    del values["scheduler_config"]
    found = read(json.dumps(values | {"path": "8:prompt=a+cat"}))
    assert (found.kind, found.path) == ("strip", parse_path("8:prompt=a+cat"))
    assert found.view == DEFAULT.with_options(guidance=2.0).follow(found.path)
    run = {"model": "/home/me/monsters", "prompt": "a monster", "steps": 50, "guidance": 3.0}
    study = {"trunks": 64, "rows": [0, 2], "columns": 4, "digest": spec.digest}
    found = read(json.dumps(run | study))
    assert (found.kind, found.note) == ("decisions", None)
    assert found.view == DEFAULT.with_options(prompt="a monster", steps=50)


@pytest.mark.parametrize(
    "changes",
    [{"rows": {"a": [1]}}, {"rows": {"1": 1}}, {"path": 5.2}, {"seed": "x"}, {"model": None}],
)
def test_one_of_before_that_is_damaged_is_one_sentence(changes: dict[str, Any]) -> None:
    text = json.dumps({"model": "monsters", "seed": 7, "path": "trunk"} | changes)
    with pytest.raises(BadInput):
        read(text)


def test_a_picture_of_schema_1_opens() -> None:
    found = opened((FIXTURES / "recipe-of-1.png").read_bytes())
    view = DEFAULT.with_options(prompt="a red monster", steps=4, height=8, width=8)
    assert found.view == view.change(1, "a green monster", 4.0)
    assert (found.kind, found.path, found.note) == ("cell", found.view.path, None)
