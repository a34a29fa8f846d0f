"""A view into an address or a command and back; and all that an address may try."""

from __future__ import annotations

import argparse
import shlex

import pytest
from hypothesis import assume, given

from diffgrid.cli import commands
from diffgrid.cli.parser import build_parser
from diffgrid.errors import BadInput
from diffgrid.models.registry import specify
from diffgrid.sharing.address import command, from_query, to_query
from diffgrid.sharing.view import View
from diffgrid.spec.path import parse_path
from tests.sharing.made import DEFAULT, views


@pytest.mark.slow
@given(views())
def test_an_address_rebuilds_the_exact_view(view: View) -> None:
    assert from_query(to_query(view)) == view


def test_the_default_view_has_a_bare_address() -> None:
    assert to_query(DEFAULT) == {}
    assert from_query({}) == DEFAULT


def test_an_address_names_what_is_default_too() -> None:
    query = to_query(DEFAULT.with_options(seed=8))
    assert query == {
        "model": "monsters",
        "prompt": DEFAULT.prompt,
        "seed": "8",
        "steps": "25",
        "guidance": "3",
        "eta": "1",
        "rows": "1,5,10",
        "columns": "4",
    }


def test_an_address_of_when_there_were_four_rows_shows_four() -> None:
    written = to_query(DEFAULT.with_options(seed=8)) | {"rows": "1,5,10,16"}
    assert [step for step, _ in from_query(written).rows] == [1, 5, 10, 16]
    assert to_query(from_query(written)) == written
    assert [step for step, _ in from_query({}).rows] == [1, 5, 10]


def test_rerolled_branches_are_written_beside_their_row() -> None:
    view = DEFAULT.reroll_cell(5, 1).reroll_row(10)
    assert to_query(view)["rows"] == "1,5:0.4.2.3,10:4.5.6.7"


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"model": "/etc"}, "model '/etc' is not known here"),
        ({"model": "../monsters"}, "is not known here"),
        ({"seed": "-1"}, "seed -1 is not allowed"),
        ({"seed": "seven"}, "seed 'seven' is not allowed"),
        ({"seed": "9" * 4000}, "seed '999"),
        ({"steps": "0"}, "steps 0 is not allowed"),
        ({"steps": "9" * 18}, "steps 999"),
        ({"scheduler": "os.system"}, "scheduler 'os.system' is not known"),
        ({"scheduler": "lcm", "steps": "60"}, "steps 60 is not allowed with lcm"),
        ({"scheduler": "euler", "eta": "1"}, "eta 1.0 is not allowed with euler"),
        ({"eta": "7"}, "eta 7.0 is not allowed"),
        ({"guidance": "nan"}, "guidance nan is not allowed"),
        ({"guidance": "-1"}, "guidance -1.0 is not allowed"),
        ({"guidance": "1e999"}, "guidance"),
        ({"prompt": "x" * 2001}, "prompt has 2,001 characters"),
        ({"rows": "one"}, "rows 'one' are not allowed"),
        ({"rows": "1," * 9000}, "are not allowed"),
        ({"rows": "5,5"}, "rows '5,5' are not allowed"),
        ({"rows": "24"}, "row 24 is not allowed"),
        ({"rows": "1:0.0"}, "give each branch once"),
        ({"columns": "0"}, "columns 0 is not allowed"),
        ({"columns": "65"}, "columns 65 is not allowed"),
        ({"path": "5.2/5.3"}, "path '5.2/5.3' is not allowed"),
        ({"path": "24.0"}, "forks at step 24, which is too late"),
        ({"path": "<script>"}, "path '<script>' is not allowed"),
        ({"height": "7"}, "height 7 is not allowed"),
    ],
)
def test_what_an_address_cannot_ask_for_is_told(query: dict[str, str], sentence: str) -> None:
    with pytest.raises(BadInput) as error:
        from_query(query)
    assert sentence in str(error.value)


def test_a_public_server_has_tighter_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    with pytest.raises(BadInput, match="steps 51 is not allowed: use a whole number from 1 to 50"):
        from_query({"steps": "51"})


def test_an_address_says_the_pipelines_options_and_a_lora_is_no_strangers_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = DEFAULT.with_options(option="guidance_rescale=0.7")
    assert from_query(to_query(view)) == view
    for name, value, words in (
        ("option", "pag_scale=3", "option 'pag_scale' is not taken by"),
        ("lora", "../../secret", "write the name of its folder"),
    ):
        with pytest.raises(BadInput, match=words):
            from_query({name: value})
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    with pytest.raises(BadInput, match="lora 'crayon' is not allowed on a public server"):
        from_query({"lora": "crayon"})
    with pytest.raises(BadInput, match="max_sequence_length is not allowed on a public server"):
        from_query({"option": "max_sequence_length=9999"})


def test_keys_it_does_not_know_are_left_alone() -> None:
    assert from_query({"utm_source": "a post", "seed": "8"}) == DEFAULT.with_options(seed=8)


def _typed(words: str) -> argparse.Namespace:
    return build_parser().parse_args(shlex.split(words)[3:])


def test_the_command_line_names_the_same_trajectory() -> None:
    view = DEFAULT.with_options(prompt="a 'red' monster; rm -rf $HOME", scheduler="unipc")
    options = _typed(command(view, parse_path("5.2/9.0")))
    assert (options.prompt, options.path, options.eta) == (view.prompt, "5.2/9.0", None)
    assert str(options.out) == "5.2-9.0.png"


@pytest.mark.slow
@given(views())
def test_a_command_that_is_typed_makes_the_views_trajectory(view: View) -> None:
    assume("--" not in (view.prompt, view.negative_prompt))  # argparse takes it for its own mark
    options = _typed(command(view, view.path))
    assert specify(**commands._given(options)) == view.spec
    assert parse_path(options.path) == view.path


def test_re_noise_goes_back_as_far_as_the_loop_allows() -> None:
    view = DEFAULT.with_fork_kind(5)
    assert to_query(view)["fork"] == "renoise:5"
    assert min(step for step, _ in view.rows) >= 5
    assert view.with_options(steps=4).back == 2
    assert view.with_options(scheduler="heun").back == 6  # two evaluations a step
    with pytest.raises(BadInput, match="use renoise:1 to renoise:23"):
        from_query({"fork": "renoise:24"})


def test_a_huge_number_of_steps_is_refused_at_once() -> None:
    for query in ({"steps": "9" * 19}, {"steps": "9" * 19, "fork": "renoise:3", "rows": "1,5"}):
        with pytest.raises(BadInput, match="steps 9999"):
            from_query(query)
