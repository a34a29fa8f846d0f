"""A grid as one HTML file: what stands in it, and what is left out of it. (That it plays is in
`test_browser_page.py`.)"""

from __future__ import annotations

import json
import re
import tomllib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path as File
from typing import Any

import pytest
from hypothesis import given

from diffgrid.browser import page as page_module
from diffgrid.browser.finished import page_of
from diffgrid.browser.message import GridState, message
from diffgrid.browser.modules import stylesheet
from diffgrid.browser.page import LARGEST, Page
from diffgrid.browser.protocol import unpack
from diffgrid.models.registry import specify
from diffgrid.records.frames import Decoding, Frames
from diffgrid.sharing.foreign import opened
from diffgrid.sharing.recipe import write
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, before, format_path, parse_path
from diffgrid.spec.run import key
from diffgrid.store.bundled import Bundled
from diffgrid.store.pictures import stored_frames
from tests.fakes import FakeEngine, focus, pictures
from tests.sharing.made import ODD_PROMPTS, views
from tests.store.made import store_in_memory

ROOT = File(__file__).parents[2]
LENGTH = 7


class Read(HTMLParser):
    """A page as a browser takes it apart: its scripts by id, and the text of each element."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.texts: dict[str, str] = {}
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self._open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        elif self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data

    def json(self, name: str) -> Any:
        (text,) = [text for attributes, text in self.scripts if attributes.get("id") == name]
        return json.loads(text)

    @property
    def heads(self) -> list[dict[str, Any]]:
        heads: list[dict[str, Any]] = self.json("diffgrid-grids")
        return heads

    @property
    def pictures(self) -> dict[str, bytes]:
        return {name: b64decode(text) for name, text in self.json("diffgrid-pictures").items()}


def small(prompt: str = "a cat", path: str = "trunk") -> Grid:
    return Grid.with_columns(
        specify(steps=LENGTH, prompt=prompt), parse_path(path), (1, 3), columns=2
    )


def frames(path: Path, size: int = 40, decoding: Decoding | None = None) -> Frames:
    """Pictures of so many bytes, named by their evaluations; the last is one that can be opened."""
    x0 = [f"{format_path(before(path, step))} x0 {step}".ljust(size) for step in range(LENGTH)]
    final = pictures(1, len(format_path(path))).final
    return Frames(tuple(map(str.encode, x0)), final, decoding or Decoding())


def state(grid: Grid, **about: Any) -> GridState:
    return GridState(grid, {}, {path: frames(path, **about) for path in grid.paths})


def page(*paths: str, **about: Any) -> Page:
    """The page of a small grid, with the grids of these paths behind it."""
    behind = [state(small(path=path), **about) for path in paths]
    return Page(state(small(), **about), behind, write(View.of(small())))


def moments(head: Mapping[str, Any], read: Read) -> dict[str, list[str]]:
    """The words on the pictures along each cell's way."""
    cells = [head["focus"], *(cell for row in head["rows"] for cell in row["cells"])]
    names = head["names"]
    return {
        cell["path"]: [read.pictures[names[i]].decode().strip() for i in cell["x0"]]
        for cell in cells
    }


# What stands in it.


def test_a_page_holds_what_the_app_is_sent_to_the_byte_and_each_picture_once() -> None:
    read = Read(page().html())
    sent, bytes_sent = unpack(message(state(small())))
    (head,) = read.heads
    assert head["names"] == sent["names"]
    assert [read.pictures[name] for name in head["names"]] == bytes_sent
    assert len(read.pictures) == len(set(head["names"]))
    unlike = {name for name in sent if sent[name] != head.get(name)}
    assert unlike == {"lengths", "file", "row_steps"}  # where rows can be is asked of a server
    assert head["row_steps"] == []


def test_grids_behind_share_what_the_grid_on_view_has() -> None:
    alone, more = Read(page().html()), Read(page("1.0").html())
    assert [head["path"] for head in more.heads] == ["trunk", "1.0"]
    assert all(head["file"] == {"paths": ["trunk", "1.0"], "link": ""} for head in more.heads)
    new = more.pictures.keys() - alone.pictures.keys()
    assert {more.pictures[name].decode().strip() for name in new} == {
        f"1.0/3.{branch} x0 {step}" for branch in (0, 1) for step in (4, 5, 6)
    }
    assert moments(more.heads[1], more)["1.0/3.0"] == [
        "trunk x0 0", "trunk x0 1", "1.0 x0 2", "1.0 x0 3",
        "1.0/3.0 x0 4", "1.0/3.0 x0 5", "1.0/3.0 x0 6",
    ]  # fmt: skip


def test_a_page_says_what_it_is() -> None:
    read = Read(replace(page(), shown=replace(page().shown, recipe=["seed 7", "5 steps"])).html())
    assert read.texts["title"] == "a cat"
    assert read.texts["h1"] == "“a cat”"
    metas = [each for tag, each in read.attributes if tag == "meta"]
    said = {each.get("property") or each.get("name"): each.get("content") for each in metas}
    assert said["og:title"] == "a cat"
    assert said["description"] == "seed 7 · 5 steps"
    assert "made with diffgrid" in read.texts["p"]


def test_its_scripts_are_the_two_that_its_policy_names() -> None:
    read = Read(page().html())
    (policy,) = [each["content"] for _, each in read.attributes if "http-equiv" in each]
    kinds = ("importmap", "module")
    runs = [text for attributes, text in read.scripts if attributes["type"] in kinds]
    assert len(runs) == len(kinds)
    for text in runs:
        assert f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in str(policy)
    assert str(policy).startswith("default-src 'none'; script-src 'sha256-")
    assert not re.search(r"https?:|\*|unsafe-eval|connect-src|img-src", str(policy))
    others = {attributes["type"] for attributes, _ in read.scripts} - set(kinds)
    assert others == {"application/json"}


def test_it_names_no_place_that_could_be_asked() -> None:
    written = page("1.0").html().decode()
    # The names of SVG's elements, in the components.
    assert set(re.findall(r"\w+://[\w./]+", written)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"""(?:src|href)=["']?(?!\$)""", written.split("<script", 1)[0])


def test_its_colours_are_the_apps() -> None:
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    light, dark = stylesheet("page/page.css").split("prefers-color-scheme: dark")
    for colours, style in ((theme["light"], light), (theme["dark"], dark)):
        for name in ("primaryColor", "backgroundColor", "textColor"):
            variable = re.sub(r"([A-Z])", r"-\1", name).lower()
            assert f"--st-{variable}: {colours[name]};" in style


@pytest.mark.parametrize("prompt", ODD_PROMPTS)
def test_text_reaches_the_page_as_text(prompt: str) -> None:
    usual, odd = (
        Page(state(grid), [], write(View.of(grid))) for grid in (small(), small(prompt=prompt))
    )
    shown = replace(odd.shown, recipe=[f"not “{prompt}”"], note=prompt)
    ours, theirs = Read(usual.html()), Read(replace(odd, shown=shown).html())
    assert [tag for tag, _ in theirs.attributes] == [tag for tag, _ in ours.attributes]
    assert theirs.heads[0]["prompt"] == prompt
    assert theirs.texts["title"] == (prompt or "no prompt")


# Its recipe.


@pytest.mark.slow
@given(views())
def test_a_page_opens_the_view_that_it_shows(view: View) -> None:
    grid = view.grid()
    made = dict.fromkeys(grid.paths, pictures(grid.spec.length))
    engine = FakeEngine(store_in_memory())
    written = page_of(grid, made, focus(grid), ["seed 7"], engine).html()
    found = opened(written)
    assert found.view.grid() == grid
    assert (found.kind, found.path) == ("grid", grid.path)


def test_previews_are_said_in_the_recipe_too() -> None:
    grid = small()
    preview = Decoding("linear", 9.0, 1.0)
    made = {path: frames(path, decoding=preview) for path in grid.paths}
    read = Read(page_of(grid, made, focus(grid), ["seed 7"], FakeEngine(store_in_memory())).html())
    assert read.json("diffgrid-recipe")["note"] == preview.note
    assert read.heads[0]["note"] == preview.note


def test_an_address_leads_to_each_path() -> None:
    grid = small(prompt="a&b", path="1.0")
    made = {path: frames(path) for path in grid.paths}
    engine = FakeEngine(store_in_memory())
    page = page_of(grid, made, focus(grid), ["seed 7"], engine, "https://example.org/")
    link = Read(page.html()).heads[0]["file"]["link"]
    assert link.startswith("https://example.org/?model=monsters&prompt=a%26b&seed=7")
    assert link.endswith("&path=")
    assert f'href="{link.replace("&", "&amp;")}1.0"' in page.html().decode()


# What is left out.


def test_pictures_on_the_way_go_before_grids_and_those_before_quality() -> None:
    big = page("1.0", "1.1", size=3000)
    whole = len(big.html())
    first = Read(big.html(whole - 1))
    assert [head["path"] for head in first.heads] == ["trunk", "1.0", "1.1"]
    assert first.heads[1]["note"] == "x̂0 of every second step"
    assert first.heads[0]["note"] == ""
    assert moments(first.heads[0], first) == moments(Read(big.html()).heads[0], Read(big.html()))

    alone = len(replace(big, behind=[]).html())
    assert [head["path"] for head in Read(big.html(alone + 18_000)).heads] == ["trunk", "1.0"]
    last = Read(big.html(alone))
    assert [head["path"] for head in last.heads] == ["trunk"]
    assert len(Read(big.html(1)).pictures) < len(last.pictures)  # as small as it gets, but a grid


def test_a_picture_that_is_left_out_is_stood_for_by_the_one_before() -> None:
    long = Grid.with_columns(specify(steps=LENGTH), (), (1,), columns=1)
    behind = Grid.with_columns(specify(steps=LENGTH), parse_path("0.3"), (1,), columns=1)
    two = Page(state(long, size=3000), [state(behind, size=3000)], write(View.of(long)))
    read = Read(two.html(len(two.html()) - 1))
    assert moments(read.heads[1], read)["0.3"] == [
        "trunk x0 0", "trunk x0 0", "0.3 x0 2", "0.3 x0 2", "0.3 x0 4", "0.3 x0 4", "0.3 x0 6",
    ]  # fmt: skip


def test_the_grid_on_view_loses_what_nobody_sees_before_pictures_on_the_way() -> None:
    big = page("1.0", size=3000)
    whole = Read(big.html())
    read = Read(big.html(len(replace(big, behind=[]).html()) - 1))
    assert moments(read.heads[0], read) == moments(whole.heads[0], whole)
    final = read.pictures[read.heads[0]["names"][read.heads[0]["focus"]["final"]]]
    assert final.startswith(b"RIFF")


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[Any]:
    """What a function of `page.py` is given first, call by call."""
    calls: list[Any] = []
    called = getattr(page_module, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(args[:1])
        return called(*args, **kwargs)

    monkeypatch.setattr(page_module, name, counting)
    return calls


def test_each_finished_picture_is_made_smaller_once(monkeypatch: pytest.MonkeyPatch) -> None:
    preview = Decoding("linear", 9.0, 1.0)
    big = page("1.0", "1.1", "3.0", size=3000, decoding=preview)
    alone = len(replace(big, behind=[]).html())
    paths = {path for each in (big.shown, *big.behind) for path in each.made}
    for largest in (alone + 1, alone - 1, 1):
        with monkeypatch.context() as patch:
            encoded = counted(patch, "encode")
            big.html(largest)
        assert 0 < len(encoded) <= len(paths)


def test_nothing_behind_a_grid_that_is_too_large_alone_is_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    big = page("1.0", "1.1", size=3000)
    told = counted(monkeypatch, "message")
    big.html(1)
    assert {state.grid.path for (state,) in told} == {()}


def test_how_many_grids_fit_is_found_in_few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"1.{branch}" for branch in range(40)]
    many = page(*paths, size=3000)
    most = len(replace(many, behind=[]).html()) + 200_000
    written = counted(monkeypatch, "_written")
    told = counted(monkeypatch, "message")
    fits = many.html(most)
    # The grid alone; all by each thinning; by halves; and what is given back.
    assert len(written) <= 1 + 4 + 6 + 1
    assert len(told) == 1 + 4 * len(paths)
    kept = [head["path"] for head in Read(fits).heads]
    assert kept == ["trunk", *paths][: len(kept)]
    assert 1 < len(kept) < 1 + len(paths)
    assert len(fits) <= most


def test_the_last_guess_stands_for_a_finished_picture_only_where_it_was_decoded_as_that() -> None:
    for decoding in (Decoding(), Decoding("linear", 9.0, 1.0)):
        read = Read(page("1.0", decoding=decoding).html())
        cell = read.heads[1]["rows"][1]["cells"][0]
        stands_in = cell["final"] == cell["x0"][-1]
        assert stands_in is not decoding.approximate
        picture = read.pictures[read.heads[1]["names"][cell["final"]]]
        assert (picture[:4] == b"RIFF") is decoding.approximate


def test_the_grid_that_ships_is_there_with_the_grid_behind_each_first_click() -> None:
    view = View.default()
    grid, engine = view.grid(), FakeEngine(store_in_memory(Bundled()))
    made = {path: stored_frames(engine.store, key(grid.spec, path)) for path in grid.paths}
    there = {path: frames for path, frames in made.items() if frames}
    assert there.keys() == set(grid.paths)
    written = page_of(grid, there, focus(grid), ["seed 7"], engine).html()
    assert len(written) <= LARGEST == 3_000_000
    read = Read(written)
    assert {head["path"] for head in read.heads} == {format_path(path) for path in grid.paths}
    every = {picture for frames in there.values() for picture in (*frames.x0, frames.final)}
    assert every <= set(read.pictures.values())  # all that is on view, to the byte
    assert all(row["seen"] for head in read.heads for row in head["rows"])
