"""An option can be added: older runs keep their keys, and newer ones are kept though not known."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffgrid.api import recipe
from diffgrid.cli.parser import build_parser
from diffgrid.compare import differing
from diffgrid.errors import BadInput
from diffgrid.models.registry import specify
from diffgrid.sharing.address import command, from_query, to_query
from diffgrid.sharing.view import View
from diffgrid.spec import options
from diffgrid.spec.options import Option
from diffgrid.spec.path import format_path, parse_path
from diffgrid.spec.run import RunSpec, key
from tests.spec.made import texts

FIXTURES = File(__file__).parents[1] / "fixtures"
BEFORE = json.loads((FIXTURES / "addresses.json").read_text("utf-8"))
CLIP_SKIP = Option("clip_skip", int, "layers of the text encoder to leave out", 0, low=0, high=12)


@pytest.fixture
def clip_skip(monkeypatch: pytest.MonkeyPatch) -> Option:
    """A table with one more row; whoever looks at it finds it there."""
    table = (*options.OPTIONS, CLIP_SKIP)
    for module in (
        "spec.options",
        "sharing.view",
        "sharing.address",
        "models.registry",
        "cli.parser",
    ):
        monkeypatch.setattr(f"diffgrid.{module}.OPTIONS", table)
    return CLIP_SKIP


def specification(view: dict[str, Any]) -> RunSpec:
    config = json.dumps(BEFORE["configurations"][view["spec"]["scheduler_config"]])
    return RunSpec.from_dict({**view["spec"], "scheduler_config": config})


@pytest.mark.parametrize("was", BEFORE["views"], ids=lambda was: str(was["address"])[:60])
def test_an_address_of_before_leads_to_the_same_view_and_the_same_keys(
    was: dict[str, Any],
) -> None:
    for address in (was["address"], was["written"]):
        view = from_query(address)
        grid = view.grid()
        keys = {format_path(p): key(grid.spec, p) for p in grid.paths}
        assert (grid.spec, grid.back) == (specification(was), was["back"])
        if "rows" in address:
            assert list(grid.rows) == was["rows"]
            assert [list(row) for row in grid.branches] == was["branches"]
            assert keys == was["keys"]
            assert to_query(view) == was["written"]
        else:  # the rows were four then, where nobody named them
            assert len(grid.rows) in (3, len(was["rows"]) - 1)
            assert list(grid.rows) == was["rows"][: len(grid.rows)]
            assert keys.items() <= was["keys"].items()


@pytest.mark.usefixtures("clip_skip")
@pytest.mark.parametrize("was", BEFORE["views"], ids=lambda was: str(was["address"])[:60])
def test_keys_and_addresses_of_before_hold_when_an_option_is_added(was: dict[str, Any]) -> None:
    test_an_address_of_before_leads_to_the_same_view_and_the_same_keys(was)


def test_an_added_option_is_said_everywhere(clip_skip: Option) -> None:
    plain, skipping = specify(), specify(clip_skip=2)
    assert (plain.option("clip_skip"), skipping.option("clip_skip")) == (0, 2)
    assert specify(clip_skip=0) == plain
    assert key(skipping, ()) not in (key(plain, ()), key(specify(clip_skip=3), ()))
    assert RunSpec.from_dict(json.loads(json.dumps(skipping.to_dict()))) == skipping
    assert "clip skip 2" in recipe(skipping, ())
    assert differing([(plain, ()), (skipping, ())]) == {"clip skip": ("", "2")}

    view = View.default().with_options(clip_skip=2)
    assert view.spec == skipping
    assert to_query(view)["clip_skip"] == "2"
    assert from_query(to_query(view)) == view
    assert view.with_options(clip_skip=0) == View.default()
    words = command(view, parse_path("5.2")).split("diffgrid ")[1]
    assert " --clip-skip 2 " in words
    given = build_parser().parse_args(["strip", "--clip-skip", "2", "--out", "x.png"])
    assert isinstance(given, argparse.Namespace)
    assert given.clip_skip == 2


@pytest.mark.parametrize("value", [-1, 13, 1.5, "2", True])
def test_an_added_option_is_checked(clip_skip: Option, value: object) -> None:
    with pytest.raises(BadInput, match="clip skip .* is not allowed: use a whole number from 0"):
        specify(clip_skip=value)


def test_what_a_newer_version_wrote_is_kept_and_never_taken_for_a_run_without_it() -> None:
    plain = specify()
    newer = RunSpec.from_dict({**plain.to_dict(), "clip_skip": 2, "freeu": {"b1": 1.5}})
    assert newer != plain
    assert newer.unknown == ["clip_skip", "freeu"]
    assert newer.to_dict()["freeu"] == {"b1": 1.5}
    assert RunSpec.from_dict(newer.to_dict()) == newer
    assert key(newer, ()) != key(plain, ())
    assert "clip skip 2" in recipe(newer, ())


def test_an_option_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="option 'clip_skip' is not known: use model, prompt, "):
        specify(clip_skip=2)
    with pytest.raises(BadInput, match="added options .* are not allowed: give a JSON object"):
        replace(specify(), added="[]")


@given(st.sampled_from(options.OPTIONS), st.data())
def test_what_is_written_of_an_option_reads_back(option: Option, data: st.DataObject) -> None:
    values: dict[type, st.SearchStrategy[Any]] = {str: texts, int: st.integers(-(10**30), 10**30)}
    value = data.draw(values.get(option.kind, st.floats(allow_nan=False)))
    assert option.read(option.write(value)) == value


@given(st.sampled_from(options.OPTIONS), st.text(st.sampled_from("0123456789.+-eEninfa_ ٣x")))
def test_what_is_typed_is_read_or_refused_in_one_line(option: Option, text: str) -> None:
    try:
        assert isinstance(option.read(text), option.kind)
    except BadInput as refusal:
        said = str(refusal)
    else:
        return
    assert said.startswith(f"{option.name} ")
    assert "\n" not in said
