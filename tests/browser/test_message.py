"""What the grid's component is sent. (What it does with it, the browser tests show.)"""

import io
import json
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from diffgrid.browser.message import GridState, message
from diffgrid.browser.protocol import SentImages
from diffgrid.engine.protocol import PathView
from diffgrid.models.registry import specify
from diffgrid.records.frames import Frames
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, before, format_path, parse_path

LENGTH = 5


def grid(path: str = "trunk") -> Grid:
    return Grid.with_columns(specify(steps=LENGTH), parse_path(path), (1, 3), columns=2)


def frames(path: Path) -> Frames:
    """Pictures named by their evaluations, so that relatives share what they share in truth."""
    x0 = [f"{format_path(before(path, step))} x0 {step}" for step in range(LENGTH)]
    return Frames(tuple(map(str.encode, x0)), f"{format_path(path)} final".encode())


def finished(shown: Grid) -> dict[Path, Frames]:
    return {path: frames(path) for path in shown.paths}


def sent(
    shown: Grid,
    made: Mapping[Path, Frames],
    views: Mapping[Path, PathView] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """The header, its indices replaced by the pictures they stand for."""
    data = message(GridState(shown, views or {}, made, **more))
    (size,) = struct.unpack("<I", data[:4])
    header: dict[str, Any] = json.loads(data[4 : 4 + size])
    pictures, start = [], 4 + size
    for length in header["lengths"]:
        pictures.append(data[start : start + length].decode())
        start += length
    header["pictures"] = pictures
    for entry in entries(header):
        for lane in ("x0", "noisy"):
            entry[lane] = entry[lane] and [i if i is None else pictures[i] for i in entry[lane]]
        for name in ("final", "newest"):
            entry[name] = entry[name] if entry[name] is None else pictures[entry[name]]
    return header


def entries(header: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [header["focus"], *(cell for row in header["rows"] for cell in row["cells"])]


def test_a_finished_cell_has_all_its_pictures() -> None:
    shown = grid()
    cell = sent(shown, finished(shown))["rows"][0]["cells"][1]
    assert cell["path"] == "1.1"
    assert cell["branch"] == 1
    assert cell["done"]
    assert cell["step"] == LENGTH
    assert cell["x0"] == ["trunk x0 0", "trunk x0 1", "1.1 x0 2", "1.1 x0 3", "1.1 x0 4"]
    assert cell["final"] == cell["newest"] == "1.1 final"


def test_a_picture_that_trajectories_share_is_sent_once() -> None:
    shown = grid()
    pictures = sent(shown, finished(shown))["pictures"]
    assert len(pictures) == len(set(pictures)) == 5 + 2 * 3 + 2 * 1 + len(shown.paths)


def test_an_unfinished_cell_has_its_newest_picture_and_what_it_shares_with_the_trunk() -> None:
    shown = grid()
    views = {parse_path("3.0"): PathView(b"so far", 4)}
    header = sent(shown, {(): frames(())}, views)
    cell = header["rows"][1]["cells"][0]
    assert not cell["done"]
    assert cell["step"] == 4
    assert cell["newest"] == "so far"
    assert cell["final"] is None
    assert cell["x0"] == ["trunk x0 0", "trunk x0 1", "trunk x0 2", "trunk x0 3", None]


def test_where_nothing_is_known_everything_is_null() -> None:
    header = sent(grid(), {})
    assert header["pictures"] == []
    assert header["levels"] is None
    assert {entry["newest"] for entry in entries(header)} == {None}


def test_the_slot_of_the_focus_shows_the_path_it_left() -> None:
    header = sent(grid("1.1"), {})
    assert header["path"] == header["focus"]["path"] == "1.1"
    slot = header["rows"][0]["cells"][1]
    assert (slot["path"], slot["branch"]) == ("trunk", 1)
    assert [cell["path"] for cell in header["rows"][1]["cells"]] == ["1.1/3.0", "1.1/3.1"]


@pytest.mark.parametrize(
    ("path", "crumbs"),
    [("trunk", ["trunk"]), ("1.1/3.0", ["trunk", "1.1", "1.1/3.0"])],
)
def test_the_breadcrumb_names_all_ancestors(path: str, crumbs: list[str]) -> None:
    assert sent(grid(path), {})["crumbs"] == crumbs


def test_noisy_pictures_and_stars_go_to_their_own_cells() -> None:
    path = parse_path("1.0")
    noisy = {path: tuple(f"x_{step}".encode() for step in range(LENGTH))}
    header = sent(grid(), {}, noisy=noisy, about=lambda p: {"starred": p == path}, lane="xt")
    first, second = header["rows"][0]["cells"]
    assert first["noisy"] == ["x_0", "x_1", "x_2", "x_3", "x_4"]
    assert second["noisy"] is None
    assert (first["starred"], second["starred"]) == (True, False)


def test_levels_are_named() -> None:
    header = sent(grid(), {}, levels=[(959.0, 0.1), (0.0, 0.9)])
    assert header["levels"][0] == {"timestep": 959.0, "alpha_bar": 0.1}


def test_a_fork_that_changes_the_prompt_is_named_in_words() -> None:
    header = sent(grid("1:prompt=a+hat"), {})
    assert header["crumbs"] == ["trunk", "1:prompt=a+hat"]
    assert header["words"] == {"1:prompt=a+hat": "from step 1: “a hat”"}
    assert header["focus"]["name"] == "from step 1: “a hat”"
    assert header["rows"][1]["cells"][0]["name"] == "from step 1: “a hat” › 3.0"


def test_rows_can_be_added_where_a_fork_can_go_back() -> None:
    assert sent(grid(), {})["row_steps"] == [0, 1, 2, 3]
    back = Grid.with_columns(specify(steps=LENGTH), (), (3,), columns=2, back=2)
    assert sent(back, {})["row_steps"] == [2, 3]


def brought(
    shown: Grid, sent_images: SentImages, made: Mapping[Path, Frames] | None = None
) -> dict[str, str]:
    """The pictures that a message brings, by their names."""
    data = message(GridState(shown, {}, finished(shown) if made is None else made), sent_images)
    (size,) = struct.unpack("<I", data[:4])
    header, pictures = json.loads(data[4 : 4 + size]), io.BytesIO(data[4 + size :])
    read = {
        name: pictures.read(length).decode()
        for name, length in zip(header["names"], header["lengths"], strict=True)
    }
    assert not pictures.read()
    return {name: picture for name, picture in read.items() if picture}


def test_the_first_look_comes_first_and_the_rest_when_asked_for() -> None:
    shown, sent_images = grid(), SentImages()
    first = brought(shown, sent_images)
    ends = {f"{format_path(path)} x0 {LENGTH - 1}" for path in shown.paths}
    trunk = {f"trunk x0 {step}" for step in range(LENGTH)}
    assert set(first.values()) == ends | trunk | {"trunk final"}
    assert brought(shown, sent_images) == {}
    names = set(sent(shown, finished(shown))["names"])
    sent_images.lacks(names - first.keys())
    assert brought(shown, sent_images).keys() == names - first.keys()


def test_what_a_browser_has_is_not_sent_again() -> None:
    sent_images = SentImages()
    before = brought(grid(), sent_images)
    after = brought(grid("1.1"), sent_images)
    assert after
    assert not before.keys() & after.keys()


def test_what_a_browser_lost_is_sent_again_when_asked_for() -> None:
    shown, sent_images = grid(), SentImages()
    first = brought(shown, sent_images)
    sent_images.lacks([*first, "a name of nothing"])
    assert brought(shown, sent_images) == first


def test_a_row_says_how_often_its_cells_and_the_focus_show_what() -> None:
    colours = {"trunk": "blue", "1.0": "red", "1.1": "blue", "3.0": "blue", "3.1": "blue"}
    labels = {parse_path(path): {"body": colour} for path, colour in colours.items()}
    blue = {"swatch": [0, 0, 255]}
    rows = sent(grid(), {}, labels=labels, signs={"body": {"blue": blue}})["rows"]
    first, second = [row["seen"] for row in rows]
    counts = [["blue", 2, blue], ["red", 1, None]]
    assert first == [{"factor": "body", "fixed": False, "values": counts}]
    assert second == [{"factor": "body", "fixed": False, "values": [["blue", 3, blue]]}]


def test_the_path_that_the_focus_left_counts_where_it_is_shown() -> None:
    labels = {(): {"body": "red"}}
    first, second = sent(grid("1.1"), {}, labels=labels)["rows"]
    assert first["seen"][0]["values"] == [["red", 1, None]]
    assert second["seen"] == []


def test_what_the_prompt_of_a_row_names_is_marked() -> None:
    changed = parse_path("2:prompt=a+hat")
    labels = {(*changed, *parse_path("3.0")): {"head": "hat"}, parse_path("1.0"): {"head": "hat"}}
    shown = Grid.with_columns(specify(steps=LENGTH), changed, (1, 3), columns=1)
    names = {changed: ["head"]}
    header = sent(shown, {}, labels=labels, named=lambda path: names.get(path[:1], ()))
    assert [row["seen"][0]["fixed"] for row in header["rows"]] == [False, True]
