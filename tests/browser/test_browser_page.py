"""A page in a file as whoever was sent it meets it: Chromium, no network, no server."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

import diffgrid
from diffgrid import api
from diffgrid.browser.finished import page_of
from diffgrid.browser.page import LARGEST
from diffgrid.engine.local import LocalEngine
from diffgrid.models.registry import specify
from diffgrid.spec.grid import Grid
from diffgrid.store.bundled import Bundled
from diffgrid.store.forgiving import TrajectoryStore
from tests.app import browsing
from tests.app.test_browser import cell, painted, pixels
from tests.app.test_browser_keyboard import FOCUSED, MOST, SWALLOWED
from tests.fakes import focus, pictures

pytestmark = pytest.mark.browser

chromium = browsing.chromium  # a fixture
Open = Callable[..., Page]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine(TrajectoryStore(tmp_path_factory.mktemp("store"), bundled=Bundled()), "cpu")


@pytest.fixture(scope="module")
def grid(engine: LocalEngine) -> diffgrid.Grid:
    """The one that ships: nothing is sampled for it."""
    made = diffgrid.grid(engine=engine)
    assert made.evaluations["sampled"] == 0
    return made


@pytest.fixture(scope="module")
def file(
    grid: diffgrid.Grid, engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    file = tmp_path_factory.mktemp("page") / "page.html"
    file.write_text(grid.to_html(engine=engine), "utf-8")
    return file


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Open]:
    """Opens files with no network; none may ask for anything, or have anything to complain of."""
    faults: list[str] = []
    contexts = []

    def open_file(file: Path, width: int = 1366, height: int = 768, **options: Any) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, offline=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(browsing.PATIENCE)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text))
        page.on("dialog", lambda dialog: faults.append(dialog.message))

        def asked(url: str) -> None:
            if url != file.as_uri() and not url.startswith("data:text/javascript"):
                faults.append(url)

        page.on("request", lambda request: asked(request.url))
        page.goto(file.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert not faults


def portrait(page: Page) -> Locator:
    return page.locator(".portrait canvas:not(.heat)")


def test_the_journey_in_a_file(file: Path, opened: Open) -> None:
    assert file.stat().st_size <= LARGEST
    page = opened(file)
    painted(page, "trunk")
    expect(page).to_have_title("a monster with a hat on a blue background")
    grid = page.get_by_role("grid", name="Branching grid")
    expect(grid.get_by_role("gridcell")).to_have_count(12)
    expect(page.locator(".seen .factor").first).to_be_visible()

    # A cell that is hovered plays, in its own place and in the trunk's.
    before = pixels(portrait(page))
    cell(page, "1.1").hover()
    page.locator(".board[data-playing='1.1']").wait_for()
    assert len({pixels(cell(page, "1.1").locator("canvas")) for _ in range(20)}) > 1
    page.mouse.move(5, 5)
    page.locator(".board:not([data-playing])").wait_for()
    assert pixels(portrait(page)) == before

    # A click on each cell that is on view leads on, and Undo and the breadcrumb back.
    cell(page, "5.2").click()
    painted(page, "5.2")
    page.get_by_role("button", name="Undo").click()
    painted(page, "trunk")
    page.get_by_role("button", name="Redo").click()
    painted(page, "5.2")
    cell(page, "1.3").click()
    painted(page, "1.3")
    page.get_by_role("navigation", name="Path").get_by_role("button", name="trunk").click()
    painted(page, "trunk")
    for _ in range(3):
        page.get_by_role("button", name="Undo").click()
    painted(page, "trunk")
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()

    # The scrubber shows all cells at one moment.
    shown = pixels(cell(page, "1.1").locator("canvas"))
    page.get_by_label("All cells at one moment").fill("2")
    expect(page.locator(".foot")).to_contain_text("all cells at step 2 of 25")
    page.wait_for_function(
        "([canvas, before]) => canvas.toDataURL() !== before",
        arg=[cell(page, "1.1").locator("canvas").element_handle(), shown],
    )


def test_a_grid_that_is_not_in_the_file_is_one_sentence(file: Path, opened: Open) -> None:
    page = opened(file)
    cell(page, "5.2").click()
    painted(page, "5.2")
    page.mouse.move(5, 5)
    cell(page, "5.2/10.1").click()
    said = page.locator(".note")
    expect(said).to_have_text("The grid behind 5.2/10.1 is not in this file.")
    painted(page, "5.2")
    expect(said.get_by_role("link")).to_have_count(0)  # the file knows no app


def test_a_file_that_knows_an_app_links_to_what_it_has_not(
    engine: LocalEngine, opened: Open, tmp_path: Path
) -> None:
    grid = Grid.with_columns(specify(steps=4), (), (0, 1), columns=1)
    made = dict.fromkeys(grid.paths, pictures(4))
    page = page_of(grid, made, focus(grid), ["seed 7"], engine, "https://example.org/")
    file = tmp_path / "page.html"
    file.write_bytes(page.html())
    shown = opened(file)
    cell(shown, "0.0").click()
    link = shown.get_by_role("link", name="Open it in the app", exact=True)
    expect(link).to_have_attribute("href", re.compile(r"https://example\.org/\?.*&path=0\.0$"))


def test_what_needs_a_server_is_not_offered(file: Path, opened: Open) -> None:
    page = opened(file)
    painted(page, "trunk")
    cell(page, "1.1").hover()
    buttons = page.get_by_role("button").all()
    names = [each.get_attribute("aria-label") or each.inner_text() for each in buttons]
    assert not [n for n in names if re.search("Share|column|row$|Reroll|Change|Drop|Cancel", n)]
    assert {"Undo", "Redo", "Where rows differ", "Play all cells"} <= set(names)
    expect(page.locator(".segments")).to_be_hidden()
    page.keyboard.press("m")
    items = page.get_by_role("menu").get_by_role("menuitem")
    said = [item.locator("span").inner_text() for item in items.all()]
    assert said == ["Follow", "Enlarge", "Compare with …", "Copy recipe", "Download PNG"]
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        cell(page, "1.1").hover()
        page.keyboard.press("m")
        items.get_by_text("Download PNG").click()
    assert download.value.suggested_filename == "diffgrid-1.1.png"


def test_enlarging_and_comparing_stay_in_the_page(file: Path, opened: Open) -> None:
    page = opened(file)
    painted(page, "trunk")
    portrait(page).click()
    large = page.get_by_role("dialog", name="One branch, enlarged")
    expect(large.get_by_role("heading")).to_have_text("trunk")
    page.keyboard.press("ArrowRight")
    expect(large.get_by_role("heading")).to_have_text("row 1, first")
    page.keyboard.press("Escape")
    cell(page, "1.0").click(modifiers=["Shift"])
    cell(page, "1.1").click(modifiers=["Shift"])
    both = page.get_by_role("dialog", name="Two branches compared")
    both.get_by_text("Difference").click()
    expect(both.get_by_text("what differs, twice as bright")).to_be_visible()
    expect(both.get_by_role("button", name="Open in compare")).to_be_hidden()


def test_the_keyboard_reaches_everything_and_no_key_is_swallowed(file: Path, opened: Open) -> None:
    page = opened(file)
    painted(page, "trunk")
    stops: list[tuple[int, str]] = []
    for _ in range(MOST):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or (stops and tuple(focused) == stops[0]):
            break
        assert not page.evaluate(SWALLOWED), focused
        stops.append(tuple(focused))
    names = [name for _, name in stops]
    assert len(set(stops)) == len(stops) < MOST, names
    for wanted in (
        "Where rows differ",
        "branch 1.0",
        "the trunk in view",
        "All cells at one moment",
    ):
        assert any(name.startswith(wanted) for name in names), names
    cell(page, "1.0").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    painted(page, "5.1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_takes_the_colours_of_the_browser_and_fits_a_phone(
    scheme: Any, file: Path, opened: Open
) -> None:
    page = opened(file, 390, 844, color_scheme=scheme, has_touch=True)
    painted(page, "trunk")
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == {"light": "rgb(252, 251, 250)", "dark": "rgb(15, 14, 20)"}[scheme]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cell(page, "1.1").tap()
    page.locator(".board[data-playing='1.1']").wait_for()
    cell(page, "1.1").tap()
    painted(page, "1.1")


def test_words_cannot_become_scripts(engine: LocalEngine, opened: Open, tmp_path: Path) -> None:
    grid = Grid.with_columns(specify(steps=4, prompt=HOSTILE), (), (1,), columns=2)
    made = dict.fromkeys(grid.paths, pictures(4))
    file = tmp_path / "page.html"
    file.write_bytes(page_of(grid, made, focus(grid), [HOSTILE], engine).html())
    page = opened(file)
    painted(page, "trunk", 2)
    expect(page).to_have_title(HOSTILE)
    expect(page.locator("h1")).to_have_text(f"“{HOSTILE}”")
    expect(page.locator(".prompt")).to_have_text(f"“{HOSTILE}”")
    assert page.locator("img").count() == 0


def test_its_own_policy_forbids_every_request(file: Path, chromium: Browser) -> None:
    page = chromium.new_context().new_page()
    answered: list[str] = []
    page.goto(file.as_uri())
    page.on("response", lambda response: answered.append(response.url))
    page.evaluate(
        """async () => {
          let forbidden = 0;
          document.addEventListener("securitypolicyviolation", () => (forbidden += 1));
          const there = location.href;  // which could be had
          fetch(there).catch(() => {});
          new Image().src = there;
          document.body.append(Object.assign(document.createElement("iframe"), { src: there }));
          document.body.append(Object.assign(document.createElement("script"), { src: there }));
          while (forbidden < 4) await new Promise((done) => setTimeout(done, 20));
        }"""
    )
    assert not answered
    page.context.close()


def test_a_notebook_shows_the_page_in_a_frame_and_else_the_picture(
    grid: diffgrid.Grid,
    engine: LocalEngine,
    opened: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api, "default_engine", lambda: engine)
    shown = grid._repr_html_()
    assert len(shown) < 1_500_000
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><meta charset=utf-8>{shown}", "utf-8")
    page = opened(file)
    frame = page.frame_locator("iframe")
    frame.locator(".board[data-painted='trunk 12']").wait_for()
    frame.get_by_role("gridcell", name="branch 1.1 ").hover()
    frame.locator(".board[data-playing='1.1']").wait_for()
    sizes = "all => all.map((each) => each.getBoundingClientRect().height)"
    whole, framed = page.locator("div, iframe").evaluate_all(sizes)
    assert whole == framed  # the picture is all behind it
    # What a notebook that is not trusted leaves of it.
    left = re.sub(r"<iframe.*?</iframe>", "", shown, flags=re.S)
    file.write_text(f"<!doctype html><meta charset=utf-8>{left}", "utf-8")
    page.goto(file.as_uri())
    assert page.get_by_role("img").evaluate(
        "image => image.decode().then(() => image.naturalWidth)"
    )
    assert not page.locator("iframe").count()


def test_a_film_is_the_grid_from_noise_to_the_end(grid: diffgrid.Grid) -> None:
    film = Image.open(io.BytesIO(grid.film()))
    assert film.format == "WEBP"
    assert getattr(film, "n_frames", 1) == grid.trunk.steps + 1
