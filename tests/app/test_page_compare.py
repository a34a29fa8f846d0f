"""The compare page: what it shows of stored runs, keeps and deletes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path as File
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from streamlit.config import get_option
from streamlit.testing.v1 import AppTest

from diffgrid.app.components.comparison import comparison
from diffgrid.app.session import run_list
from diffgrid.app.session.run_list import shown_to_strangers
from diffgrid.app.uploads import MOST
from diffgrid.models.registry import specify
from diffgrid.records.frames import DIGESTS, FRAMES, Decoding
from diffgrid.records.shared_run import SharedRun
from diffgrid.records.trajectories import Trajectory
from diffgrid.sharing import runs_file
from diffgrid.spec.path import parse_path
from diffgrid.spec.run import RunSpec, key
from diffgrid.spec.schedulers import scheduler_of
from diffgrid.store.forgiving import TrajectoryStore
from tests.app import browsing
from tests.app.driver import alive, app, choose, header, press, run
from tests.fakes import pictures, trajectory

chromium, tab, visit = browsing.chromium, browsing.tab, browsing.visit  # fixtures
DDIM, EULER = specify(steps=6, seed=7), specify(steps=4, seed=8, scheduler="euler")


@pytest.fixture
def nothing_ships(cache_directory: File, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's store holds what a test put there, and no more."""
    monkeypatch.setattr(TrajectoryStore, "default", lambda: TrajectoryStore(cache_directory))


@pytest.fixture
def store(cache_directory: File, nothing_ships: None) -> Iterator[TrajectoryStore]:
    """Three runs, the oldest first: 1.0 and 1.1 of one specification, and another's trunk."""
    opened = TrajectoryStore(cache_directory)
    for spec, path in ((DDIM, "1.0"), (EULER, "trunk"), (DDIM, "1.1")):
        put(opened, spec, path)
    yield opened
    opened.close()


def put(store: TrajectoryStore, spec: RunSpec, path: str) -> str:
    """A made-up run in the store: its key."""
    made = trajectory(spec, parse_path(path))
    store.add(made)
    store.add_frames(made.key, FRAMES, *pictures(spec.length, spec.seed).to_payload())
    return made.key


def page(runs: str | None = None) -> AppTest:
    return run(app("compare", **({} if runs is None else {"runs": runs})))


def confirm(page: AppTest, opener: str, label: str) -> AppTest:
    """Press the last button of this name in an open dialog; AppTest would close it, so `opener` is
    pressed once more."""
    next(b for b in page.button if b.label == opener).click()
    return press(page, label, which=-1)


def viewer(page: AppTest) -> dict[str, Any]:
    """What the viewer was sent."""
    (shown,) = page.get("bidi_component")
    return header(shown.proto.bytes)


def downloads(page: AppTest) -> list[str]:
    return [each.proto.label for each in page.get("download_button")]


def shown(page: AppTest) -> list[str]:
    return [run["path"] for run in viewer(page)["runs"]]


def test_a_page_that_is_done_holds_no_run(store: TrajectoryStore) -> None:
    """Its callbacks are kept for minutes after everybody has left, and with them what it names."""
    opened = page()
    assert len(shown(opened)) == 2
    assert alive(comparison.Run, Trajectory) == []


def test_approximate_pictures_are_told_of(store: TrajectoryStore) -> None:
    run = put(store, replace(EULER, seed=9), "trunk")
    store._runs.delete(f"{run}/frames/{FRAMES}")
    frames = replace(pictures(EULER.length), decoding=Decoding("linear", 12.0))
    store.add_frames(run, DIGESTS["linear"], *frames.to_payload())
    other = key(EULER, ())
    opened = page(f"{run[:8]},{other[:8]}")
    assert [side["preview"] for side in viewer(opened)["runs"]] == [True, False]
    assert any("about 12 of 255 off" in each.value for each in opened.caption)
    assert not any("of 255" in each.value for each in page(other[:8]).caption)


def warnings(page: AppTest) -> str:
    return " ".join(each.value for each in page.warning)


def key8(store: TrajectoryStore, path: str) -> str:
    return next(i.key[:8] for i in store.runs() if i.path == parse_path(path))


def test_it_opens_on_the_newest_run_and_one_that_begins_otherwise(store: TrajectoryStore) -> None:
    opened = page()
    assert [title.value for title in opened.title] == ["Compare runs"]
    assert shown(opened) == ["1.1", "trunk"]
    assert opened.query_params["runs"] == f"{key8(store, '1.1')},{key8(store, 'trunk')}"
    (table,) = opened.dataframe
    assert list(table.value["path"]) == ["1.1", "trunk", "1.0"]
    assert all(table.value["picture"].str.startswith("data:image/webp;base64,"))


def test_the_address_says_what_is_compared_and_in_which_order(store: TrajectoryStore) -> None:
    opened = page(f"{key8(store, '1.0')},{key8(store, '1.1')}")
    assert shown(opened) == ["1.0", "1.1"]
    assert viewer(opened)["table"] == [["path", ["1.0", "1.1"]]]
    assert list(opened.dataframe[0].value["path"]) == ["1.1", "1.0", "trunk"]


def test_the_viewer_gets_levels_frames_and_distances(store: TrajectoryStore) -> None:
    told = viewer(page())
    first, second = told["runs"]
    assert (len(first["levels"]), len(second["levels"])) == (6, 4)
    assert len(first["frames"]) == 6
    assert len(told["lengths"]) == 7 + 5
    (curve,) = told["curves"]
    assert curve["final"] == 1.0  # 7 everywhere, and 8 everywhere
    assert curve["levels"] == sorted(curve["levels"])
    assert [*curve["bands"]] == [*curve["final_bands"]] == ["layout", "shape", "detail"]
    assert curve["final_bands"] == {"layout": 1.0, "shape": 0.0, "detail": 0.0}
    assert all(len(band) == len(curve["levels"]) for band in curve["bands"].values())
    assert {name for name, _ in told["table"]} == {"path", "seed", "scheduler", "steps", "eta"}


@pytest.mark.parametrize("runs", ["deadbeef", "<b>*", "trunk,", "x" * 5000, "0" * 64 + "/meta"])
def test_an_unknown_key_is_told_and_a_pair_is_shown(store: TrajectoryStore, runs: str) -> None:
    opened = page(runs)
    assert "No stored run has the key" in warnings(opened)
    assert len(warnings(opened)) < 300
    assert shown(opened) == ["1.1", "trunk"]


def test_what_the_form_refuses_is_told_here_too(store: TrajectoryStore) -> None:
    opened = choose(page(), "Prompt", 12_000 * "x")
    assert "prompt" in opened.error[0].value


def test_a_run_removed_while_on_view_leaves_the_other(store: TrajectoryStore) -> None:
    opened = page()
    store.remove(store.find(key8(store, "1.1")))
    run(opened)
    assert "it was removed" in warnings(opened)
    assert shown(opened) == ["trunk"]


def test_a_damaged_run_is_told_and_the_other_is_shown(store: TrajectoryStore) -> None:
    opened = page()
    store._runs.set(store.find(key8(store, "1.1")), b"diffgrid, or not")
    run(opened)
    assert "arrays are no longer stored whole" in warnings(opened)
    assert shown(opened) == ["trunk"]


def test_a_run_without_its_pictures_is_told(store: TrajectoryStore) -> None:
    key = store.find(key8(store, "1.1"))
    store._runs.set(f"{key}/frames/{FRAMES}", b"nothing")
    opened = page()
    assert "pictures are no longer stored whole" in warnings(opened)
    assert opened.dataframe[0].value["picture"].isna().sum() == 1


def test_the_filter_finds_runs_by_all_its_words(store: TrajectoryStore) -> None:
    opened = page()
    opened.text_input[0].set_value("SEED euler 8")
    assert list(run(opened).dataframe[0].value["path"]) == ["trunk"]
    assert shown(opened) == ["1.1", "trunk"]
    opened.text_input[0].set_value("nothing has this")
    run(opened)
    assert not opened.dataframe
    assert "try fewer" in opened.info[0].value
    assert shown(opened) == ["1.1", "trunk"]


def test_runs_are_sorted_before_the_list_is_cut(
    store: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_list, "MOST_LISTED", 2)
    opened = page()
    assert "The first 2 of 3 runs" in opened.caption[1].value
    infos = store.runs()
    assert [i.spec.seed for i in run_list.listing(infos, "", "Seed")] == [7, 7, 8]
    assert [i.spec.length for i in run_list.listing(infos, "", "Steps")] == [4, 6, 6]
    store.save(infos[-1].key, "mine")
    assert run_list.listing(store.runs(), "", "Saved first")[0].saved == "mine"


def test_a_run_is_saved_with_a_name_and_a_note(store: TrajectoryStore) -> None:
    opened = press(page(), "Save")
    next(t for t in opened.text_input if t.label == "Name").set_value("the *green* one")
    opened.text_area[0].set_value("horns come late")
    confirm(opened, "Save", "Save")
    (saved,) = [info for info in store.runs() if info.saved]
    assert (saved.saved, saved.note) == ("the *green* one", "horns come late")
    assert saved.path == parse_path("1.1")


def test_a_name_is_needed(store: TrajectoryStore) -> None:
    opened = press(page(), "Save")
    next(t for t in opened.text_input if t.label == "Name").set_value("  ")
    confirm(opened, "Save", "Save")
    assert "use 1 to 200 characters" in opened.error[0].value.replace("\\", "")
    assert not any(info.saved for info in store.runs())


def test_a_run_is_removed_only_when_confirmed(store: TrajectoryStore) -> None:
    opened = press(page(), "Remove")
    assert len(store.runs()) == 3
    confirm(opened, "Remove", "Remove")
    assert [info.path for info in store.runs()] == [(), parse_path("1.0")]
    run(opened)
    assert shown(opened) == ["trunk"]
    assert not opened.warning


def test_clearing_keeps_what_was_saved(store: TrajectoryStore) -> None:
    store.save(store.find(key8(store, "1.0")), "mine")
    opened = press(page(), "Clear the cache")
    assert len(store.runs()) == 3
    confirm(opened, "Clear the cache", "Clear")
    assert [info.saved for info in store.runs()] == ["mine"]
    assert shown(run(opened)) == ["1.0"]


def test_strangers_can_neither_keep_nor_delete_runs(
    store: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    labels = {button.label for button in page().button}
    assert not labels & {"Save", "Rename", "Remove", "Clear the cache"}


def test_strangers_see_what_the_owner_keeps_and_their_own_runs_and_no_others(
    store: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    (kept, other, named) = sorted(store.runs(), key=lambda info: info.created)
    store.save(kept.key, "the owner's")

    def listed(opened: AppTest) -> set[str]:
        return set(opened.dataframe[0].value["key"])

    assert listed(page()) == {kept.key[:8]}
    assert listed(page(named.key[:8])) == {kept.key[:8], named.key[:8]}
    assert listed(page(other.key[:4])) == {kept.key[:8]}  # keys cannot be guessed bit by bit
    assert shown_to_strangers([other, named], {other.key}, "") == [other]


def test_before_anything_was_sampled_it_opens_on_what_ships() -> None:
    opened = page()
    shown = [run["label"] for run in viewer(opened)["runs"]]
    assert shown == ["trunk, seed 7, 25 steps, ddim", "1.0, seed 7, 25 steps, ddim"]
    assert not any(button.label == "Remove" for button in opened.button)
    assert any(
        caption.value.startswith("Your own: 0 runs, 0 of them saved") for caption in opened.caption
    )


@pytest.mark.usefixtures("nothing_ships")
def test_an_empty_cache_leads_to_the_grid() -> None:
    opened = page("deadbeef")
    assert "Nothing to compare yet" in opened.subheader[0].value
    assert "Sample a grid" in [link.proto.label for link in opened.get("page_link")]


def test_siblings_are_compared_where_there_is_nothing_else(store: TrajectoryStore) -> None:
    siblings = [info for info in store.runs() if info.spec == DDIM]
    assert run_list.first_pair(siblings) == siblings
    assert run_list.first_pair(siblings[:1]) == siblings[:1]


def test_long_runs_are_thinned(store: TrajectoryStore) -> None:
    put(store, replace(DDIM, num_inference_steps=150), "trunk")
    longest = viewer(page())["runs"][0]
    assert longest["length"] == 150
    assert (len(longest["frames"]), longest["steps"][-1]) == (64, 149)


def test_runs_of_another_version_are_shown_and_removed_only_when_confirmed(
    store: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = scheduler_of("DDIMScheduler")
    monkeypatch.setattr("diffgrid.spec.run.scheduler_of", lambda _: replace(sampler, version=7))
    opened = page()
    (closed,) = opened.main.expander
    assert closed.label == "3 stored runs cannot be read by this version"
    assert all("made by another version of diffgrid" in each.value for each in closed.markdown)
    assert len(closed.get("image")) == 3
    for label in ("2 stored runs", "1 stored run"):
        press(opened, "Remove")
        assert opened.main.expander[0].label == closed.label  # only when confirmed
        confirm(opened, "Remove", "Remove")
        (closed,) = run(opened).main.expander
        assert closed.label == f"{label} cannot be read by this version"


THEIRS = replace(DDIM, seed=9)


def imported(store: TrajectoryStore) -> str:
    """A run that came in a file: its key."""
    run = SharedRun(trajectory(THEIRS, ()), pictures(THEIRS.length), "theirs", "their note")
    store.add_imported([run], "0.1.9")
    return run.trajectory.key


def test_an_imported_run_is_listed_and_shown_as_such(store: TrajectoryStore) -> None:
    key = imported(store)
    opened = page(f"{key[:8]},{key8(store, '1.0')}")
    assert [side["label"] for side in viewer(opened)["runs"]] == [
        "theirs: trunk, seed 9, 6 steps, ddim (imported)",
        "1.0, seed 7, 6 steps, ddim",
    ]
    rows = opened.dataframe[0].value.set_index("key")
    assert rows["imported"].dropna().to_dict() == {key[:8]: "imported (diffgrid 0.1.9)"}
    assert rows["picture"].notna().all()
    assert [b.label for b in opened.button if b.label in ("Save", "Remove")] == [
        "Remove",
        "Save",
        "Remove",
    ]
    assert downloads(opened) == ["Export B", "CSV"]
    confirm(press(opened, "Remove"), "Remove", "Remove")
    assert not any(info.imported for info in store.runs())


def test_what_is_computed_here_is_shown_in_place_of_what_was_imported(
    store: TrajectoryStore,
) -> None:
    key = imported(store)
    store.add(trajectory(THEIRS, ()))
    store.add_frames(key, FRAMES, *pictures(6, 100).to_payload())
    opened = page(key[:8])
    assert viewer(opened)["runs"][0]["label"] == "trunk, seed 9, 6 steps, ddim"
    rows = opened.dataframe[0].value.set_index("key")
    assert rows["imported"][key[:8]] == "imported too (diffgrid 0.1.9)"
    store._imported.delete(key)
    assert viewer(run(opened))["runs"][0]["label"] == "trunk, seed 9, 6 steps, ddim"


def test_a_file_of_runs_is_taken_in_and_shown(store: TrajectoryStore) -> None:
    runs = [SharedRun(trajectory(DDIM, parse_path(path)), pictures(6)) for path in ("2.0", "3.0")]
    opened = press(page(), "Import runs")
    opened.file_uploader[0].set_value(("runs.diffgrid", runs_file.to_bytes(runs), ""))
    next(b for b in opened.button if b.label == "Import runs").click()
    run(opened)
    assert {info.path for info in store.runs() if info.imported} == {
        parse_path("2.0"),
        parse_path("3.0"),
    }
    assert sorted(shown(run(opened))) == ["2.0", "3.0"]


def test_a_file_that_is_none_is_told_and_nothing_is_taken_in(store: TrajectoryStore) -> None:
    opened = press(page(), "Import runs")
    opened.file_uploader[0].set_value(("runs.diffgrid", b"diffgrid, or not", ""))
    next(b for b in opened.button if b.label == "Import runs").click()
    run(opened)
    assert "cannot be read as a file of runs" in opened.error[0].value
    assert len(store.runs()) == 3


def test_strangers_take_runs_away_and_send_none(
    store: TrajectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    page()
    assert get_option("server.maxUploadSize") == MOST
    monkeypatch.setenv("DIFFGRID_PUBLIC", "1")
    opened = page(key8(store, "1.1"))
    assert get_option("server.maxUploadSize") == 0
    assert "Import runs" not in {button.label for button in opened.button}
    assert downloads(opened) == ["Export", "CSV"]


def test_a_comparison_has_an_address_to_copy(store: TrajectoryStore) -> None:
    keys = f"{key8(store, '1.0')},{key8(store, 'trunk')}"
    opened = press(page(keys), "Copy link")
    (link,) = [
        json.loads(each.proto.json)
        for each in opened.get("bidi_component")
        if each.proto.component_name.endswith("link")
    ]
    assert link["address"].endswith(f"?runs={keys}")
    assert link["title"] == "A: 1.0, seed 7, 6 steps, ddim; B: trunk, seed 8, 4 steps, euler"
    assert any(each.value.startswith("This address is of") for each in opened.caption)


@pytest.fixture
def address(store: TrajectoryStore, cache_directory: File) -> Iterator[str]:
    """The page on a server of its own."""
    with browsing.server(cache_directory.parent) as address:
        yield f"{address}/compare?runs={key8(store, '1.1')},{key8(store, 'trunk')}"


@pytest.mark.browser
def test_runs_are_taken_away_and_brought_back(
    address: str, store: TrajectoryStore, visit: Callable[..., Page], tmp_path: File
) -> None:
    page = visit(address)
    with page.expect_download() as taken:
        page.get_by_role("button", name="Export").click()
    file = tmp_path / taken.value.suggested_filename
    taken.value.save_as(file)
    assert file.name == "runs.diffgrid"
    for info in store.runs():
        store.remove(info.key)
    page.get_by_role("button", name="Import runs").click()
    page.locator("input[type=file]").set_input_files(str(file))
    expect(page.get_by_text("(imported)")).to_have_count(2)
    assert sorted(info.computed for info in store.runs()) == [False, False]


@pytest.mark.browser
def test_two_runs_move_together_by_noise_level(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    level = page.get_by_role("slider", name="Noise level")
    expect(level).to_have_attribute("aria-valuetext", "finished")
    level.press("Home")
    expect(page.get_by_role("img", name="step 0 of 6, t = 999")).to_be_visible()
    expect(page.get_by_role("img", name="step 0 of 4, t = 999")).to_be_visible()
    level.press("ArrowRight")  # ᾱ .19: the other's next step is at .31, its last at .01
    expect(page.get_by_role("img", name="step 1 of 6, t = 799.2")).to_be_visible()
    expect(page.get_by_role("img", name="step 1 of 4, t = 666")).to_be_visible()

    page.get_by_role("radio", name="Flip").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="A is shown: flip to B").press("Enter")
    expect(page.get_by_role("button", name="B is shown: flip to A")).to_be_visible()
    expect(level).to_have_attribute("aria-valuetext", re.compile("log-SNR −1.5"))
    page.get_by_role("radio", name="Difference").focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("img", name=re.compile("step . of"))).to_have_count(1)

    page.set_viewport_size({"width": 390, "height": 844})
    main = page.get_by_test_id("stMain").element_handle()
    # Streamlit's table measures anew some frames after its window has changed.
    page.wait_for_function("element => element.scrollWidth === element.clientWidth", arg=main)


@pytest.fixture
def pair(address: str, visit: Callable[..., Page]) -> Page:
    """The page with both runs drawn."""
    page = visit(address)
    expect(page.get_by_role("img", name="finished")).to_have_count(2)
    return page


def looks(page: Page) -> list[tuple[float, float, float]]:
    """How large each picture is drawn, and where, in px of its frame."""
    measured: list[tuple[float, float, float]] = page.locator(".frame canvas").evaluate_all(
        """canvases => canvases.map((canvas) => {
            const box = (element) => element.getBoundingClientRect();
            const [own, frame] = [box(canvas), box(canvas.parentElement)];
            return [own.width / frame.width, own.left - frame.left, own.top - frame.top];
        })"""
    )
    return [(round(scale, 3), round(x, 1), round(y, 1)) for scale, x, y in measured]


@pytest.mark.browser
def test_all_pictures_are_zoomed_at_one_place(pair: Page) -> None:
    first, second = pair.locator(".frame").all()
    whole = [(1, 0, 0), (1, 0, 0)]
    assert looks(pair) == whole
    second.hover(position={"x": 200, "y": 50})
    pair.mouse.wheel(0, -400)
    expect(pair.get_by_title("back to 1×")).not_to_have_text("1×")
    ((scale, x, y), same) = looks(pair)
    assert same == (scale, x, y)
    assert scale > 2
    assert (x, y) == pytest.approx((200 * (1 - scale), 50 * (1 - scale)), abs=1)
    drawn = "element => getComputedStyle(element).imageRendering"
    assert first.locator("canvas").evaluate(drawn) == "pixelated"

    pair.mouse.down()  # what is dragged is the picture, no further than its edges
    pair.mouse.move(*at(second, 240, 60), steps=4)
    pair.mouse.up()
    assert looks(pair) == [pytest.approx((scale, x + 40, y + 10), abs=1)] * 2
    second.dblclick()
    assert looks(pair) == whole

    first.focus()
    pair.keyboard.press("+")
    assert [scale for scale, _, _ in looks(pair)] == [1.5, 1.5]
    pair.keyboard.press("ArrowLeft")
    (left, same) = looks(pair)
    assert left == same
    pair.keyboard.press("-")
    assert looks(pair) == whole
    pair.get_by_role("button", name="Zoom in").click()
    pair.keyboard.press("0")
    assert looks(pair) == whole
    pair.mouse.wheel(0, 300)  # the page scrolls where nothing is zoomed
    assert looks(pair) == whole


def at(frame: Locator, x: float, y: float) -> tuple[float, float]:
    """A place of a frame as one of the page."""
    box = frame.bounding_box()
    assert box
    return box["x"] + x, box["y"] + y


@pytest.mark.browser
def test_a_zoomed_pair_is_wiped_by_its_divider_and_flipped_by_no_drag(pair: Page) -> None:
    pair.get_by_text("Wipe", exact=True).click()
    pair.get_by_role("button", name="Zoom in").click()
    frame, divider = pair.locator(".frame"), pair.locator(".divider")
    (before, _) = looks(pair)
    divider.hover()
    pair.mouse.down()
    pair.mouse.move(*at(frame, 30, 100), steps=4)
    pair.mouse.up()
    assert looks(pair)[0] == before
    box, whole = divider.bounding_box(), frame.bounding_box()
    assert box
    assert whole
    assert box["x"] - whole["x"] == pytest.approx(30, abs=3)

    pair.get_by_text("Flip", exact=True).click()
    flipper = pair.get_by_role("button", name="A is shown: flip to B")
    frame.hover(position={"x": 60, "y": 60})
    pair.mouse.down()
    pair.mouse.move(*at(frame, 90, 70), steps=4)
    pair.mouse.up()
    expect(flipper).to_be_visible()
    frame.click()
    expect(flipper).to_have_count(0)


@pytest.mark.browser
def test_a_run_keeps_its_moment_while_the_other_moves(pair: Page) -> None:
    level = pair.get_by_role("slider", name="Noise level")
    level.press("ArrowLeft")
    pin = pair.get_by_role("button", name="Keep A at this moment")
    expect(pin).to_have_attribute("aria-pressed", "false")
    pin.click()
    kept = pair.locator("figcaption").first
    expect(kept).to_contain_text("step 5 of 6")
    level.press("Home")
    expect(pair.get_by_role("img", name="step 0 of 4")).to_be_visible()
    expect(kept).to_contain_text("step 5 of 6")
    expect(kept).to_contain_text("kept")
    expect(pair.locator(".mark:visible")).to_have_count(1)
    pair.get_by_role("button", name="Let A move again").click()
    expect(kept).not_to_contain_text("kept")
    expect(pair.locator(".mark:visible")).to_have_count(0)


@pytest.mark.browser
def test_a_difference_is_a_map_and_is_told_by_frequency(pair: Page) -> None:
    pair.get_by_text("Heat map").click()
    expect(pair.get_by_role("img", name="What differs between A")).to_be_visible()
    expect(pair.locator(".heat")).to_contain_text("of 255")
    expect(
        pair.get_by_role("img", name="by frequency along the way; layout ends at 1")
    ).to_be_visible()
    expect(pair.locator(".chart")).to_contain_text("layout1.00")
    with pair.expect_download() as taken:
        pair.get_by_role("button", name="CSV", exact=True).click()
    lines = [*csv.DictReader(taken.value.path().read_text("utf-8").splitlines())]
    assert {line["run"] for line in lines} == {"A", "B"}
    assert lines[-1]["layout"] == "1.0"


@pytest.mark.browser
def test_a_phone_shows_it_all_within_its_width(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address, width=390, height=844)
    expect(page.get_by_role("img", name="finished")).to_have_count(2)
    width = "element => element.scrollWidth - element.clientWidth"
    assert page.get_by_test_id("stMain").evaluate(width) == 0
    assert page.locator(".tools").evaluate(width) == 0
