"""What a visitor sees first, reads once, and shows to others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app import browsing
from tests.app.test_browser import cell, painted, pixels

pytestmark = pytest.mark.browser

chromium, tab, visit = browsing.chromium, browsing.tab, browsing.visit  # fixtures
# Each time the words or the portrait may have changed: what both are, in `seen`.
WATCH_THE_PORTRAIT = """board => {
  window.seen = [];
  const look = () => {
    const canvas = board.querySelector(".portrait canvas:not(.heat)");
    seen.push([board.querySelector(".prompt").textContent, canvas.toDataURL()]);
    requestAnimationFrame(look);
  };
  look();
}"""
SHAPES = [(1366, 768), (1920, 1080), (390, 844)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browsing.server(tmp_path_factory.mktemp("server")) as address:
        yield address


def covers_the_window(board: Locator) -> bool:
    """Whether nothing of the page is on view around it, or over it."""
    covers: bool = board.evaluate(
        """board => {
          const { left, top, right, bottom } = board.getBoundingClientRect();
          const whole = !left && !top && right === innerWidth && bottom === innerHeight;
          const corners = [[1, 1], [innerWidth - 2, 1], [1, innerHeight - 2]];
          const over = ([x, y]) => board.getRootNode().elementFromPoint(x, y)?.closest(".board");
          return whole && corners.every(over);
        }"""
    )
    return covers


@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_p_shows_the_grid_alone_and_escape_leads_back(
    address: str, visit: Callable[..., Page], width: int, height: int
) -> None:
    page = visit(address, width, height)
    painted(page, "trunk")
    board, tools = page.locator(".board"), page.get_by_role("toolbar", name="Grid tools")
    before = cell(page, "1.1").bounding_box()
    assert before
    for key in ("p", "Escape"):
        page.keyboard.press("p")
        expect(tools).to_be_hidden()
        assert covers_the_window(board)
        # All of it is on view, and no smaller than it was.
        for each in (*page.get_by_role("gridcell").all(), page.locator(".portrait")):
            expect(each).to_be_in_viewport(ratio=1)
        alone = cell(page, "1.1").bounding_box()
        assert alone
        assert alone["width"] >= before["width"] - 4  # a phone has no more room
        page.keyboard.press(key)
        expect(tools).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert cell(page, "1.1").bounding_box() == before


def test_what_is_alone_is_hovered_followed_and_walked_as_ever(
    address: str, visit: Callable[..., Page]
) -> None:
    page = visit(address)
    painted(page, "trunk")
    page.keyboard.press("p")
    cell(page, "5.2").hover()
    page.locator(".board[data-playing='5.2']").wait_for()
    page.keyboard.press("e")
    enlarged = page.get_by_role("dialog", name="Enlarged")
    expect(enlarged).to_be_visible()
    page.keyboard.press("p")  # of the dialog's own keys none: nothing is left behind it
    page.keyboard.press("Escape")
    expect(enlarged).to_be_hidden()
    assert covers_the_window(page.locator(".board"))
    cell(page, "5.2").click()
    painted(page, "5.2")
    page.mouse.move(5, 5)
    cell(page, "1.0").focus()
    page.keyboard.press("ArrowRight")
    expect(cell(page, "1.1")).to_be_focused()
    assert covers_the_window(page.locator(".board"))
    page.keyboard.press("c")  # Escape first stops what is compared
    page.keyboard.press("Escape")
    assert covers_the_window(page.locator(".board"))
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


def test_who_types_a_p_writes_one(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    painted(page, "trunk")
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.press("End")
    prompt.press("p")
    expect(prompt).to_have_value("a monster with a hat on a blue backgroundp")
    expect(page.get_by_role("toolbar", name="Grid tools")).to_be_visible()


def test_an_embedded_grid_is_alone_from_the_start(address: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{address}/?embed=true")
    painted(page, "trunk")
    assert covers_the_window(page.locator(".board"))
    cell(page, "5.2").click()
    painted(page, "5.2")
    assert covers_the_window(page.locator(".board"))
    assert "embed=true" in page.url


def test_what_was_read_once_is_told_in_short_from_then_on(
    address: str, visit: Callable[..., Page]
) -> None:
    page = visit(f"{address}/decisions")
    read = page.get_by_role("button", name="Got it")
    long = page.locator("[class*=st-key-][class*=-long]")
    short = page.locator("[class*=st-key-][class*=-short]")
    expect(long).to_be_visible()
    expect(short).to_be_hidden()
    read.click()
    expect(short).to_be_visible()
    expect(read).to_be_hidden()
    page.reload()
    expect(short).to_be_visible()
    expect(read).to_be_hidden()


@pytest.mark.parametrize(
    ("width", "height", "least"), [(1280, 880, 104), (1366, 768, 104), (1920, 1080, 128)]
)
def test_pictures_are_large_and_all_that_moves_is_on_view(
    address: str, visit: Callable[..., Page], width: int, height: int, least: int
) -> None:
    page = visit(address, width, height)
    painted(page, "trunk")
    expect(page.get_by_text("named by the prompt")).to_be_visible()
    for each in page.get_by_role("gridcell").all():
        box = each.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= least
    foot = page.locator(".board .foot").bounding_box()
    assert foot
    assert foot["y"] + foot["height"] <= height
    # An address of when there were four rows shows four.
    page.goto(f"{address}/?rows=1,5,10,16")
    painted(page, "trunk", 16)
    expect(page.locator(".board .cost")).to_contain_text("281 evaluations, all reused")


def test_a_hint_points_at_a_cell_until_one_was_followed(
    address: str, visit: Callable[..., Page]
) -> None:
    page = visit(address, 1366, 768)
    page.emulate_media(reduced_motion="reduce")
    painted(page, "trunk")
    hint = page.get_by_text("Hover me: I play. Click: I become the trunk.")
    expect(hint).to_be_visible()
    at, pointed = hint.bounding_box(), cell(page, "1.1").bounding_box()
    assert at
    assert pointed
    assert at["y"] + at["height"] <= pointed["y"]  # it covers no picture
    page.get_by_role("button", name="The grid alone").click()
    expect(hint).to_be_hidden()
    page.keyboard.press("Escape")
    expect(hint).to_be_visible()
    cell(page, "5.2").click()
    expect(hint).to_be_hidden()
    painted(page, "5.2")
    page.get_by_role("button", name="Undo").click()
    painted(page, "trunk")
    page.reload()
    painted(page, "trunk")
    expect(hint).to_be_hidden()


@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_rows_and_their_facts_are_named_in_plain_words(
    address: str, visit: Callable[..., Page], width: int, height: int
) -> None:
    page = visit(address, width, height)
    painted(page, "trunk")
    labels = page.locator(".board .label")
    expect(labels).to_have_text(
        ["very earlystep 1 of 25", "earlystep 5 of 25", "midwaystep 10 of 25"]
    )
    assert labels.first.get_attribute("title") == "t = 959 · ᾱ .0004"
    names = page.locator(".board .factor .name")
    expect(names).to_have_count(3 * 7)
    for each in names.all():
        expect(each).to_be_visible()
    expect(page.get_by_text("still open")).to_have_count(1)
    cell(page, "1.2").hover()
    page.locator(".board[data-playing='1.2']").wait_for()
    expect(page.locator(".trunk .words b")).to_have_text("row 1, third")
    cell(page, "1.2").click()
    painted(page, "1.2")
    crumb = page.locator(".crumbs b")
    expect(crumb).to_have_text("row 1, third")
    assert crumb.get_attribute("title") == "1.2"
    page.mouse.move(5, 5)
    cell(page, "1.2/5.0").click()
    painted(page, "1.2/5.0")
    expect(page.locator(".crumbs")).to_have_text("trunk›row 1, third›row 2, first")


def test_prompts_are_leafed_through_and_no_picture_stands_under_other_words(
    address: str, visit: Callable[..., Page]
) -> None:
    page = visit(f"{address}/?steps=8&columns=2")
    painted(page, "trunk", 6)
    words, canvas = page.locator(".board .prompt"), page.locator(".portrait canvas:not(.heat)")
    old = pixels(canvas)
    # What is drawn as soon as the words are others, and whatever comes before the first picture.
    page.locator(".board").evaluate(WATCH_THE_PORTRAIT)
    forth, back = (page.get_by_role("button", name=f"{way} prompt") for way in ("Next", "Previous"))
    forth.click()
    expect(words).to_have_text("“a spotted green monster with two eyes and horns”")
    painted(page, "trunk", 6)
    shown = page.evaluate("seen")
    assert "“a spotted green monster with two eyes and horns”" in {text for text, _ in shown}
    first = "“a monster with a hat on a blue background”"
    assert not [text for text, drawn in shown if drawn == old and text != first]
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(
        "a spotted green monster with two eyes and horns"
    )
    # Two presses at once are two; and back again, to what is stored.
    forth.evaluate("button => { button.click(); button.click(); }")
    expect(words).to_have_text("“a fluffy pink monster”")
    painted(page, "trunk", 6)
    for _ in range(3):
        back.click()
    expect(words).to_have_text(first)
    painted(page, "trunk", 6)
    assert pixels(canvas) == old


def test_the_tab_is_called_after_what_it_shows(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    painted(page, "trunk")
    shown = "a monster with a hat on a blue background"
    expect(page).to_have_title(f"Branching grid · {shown} · diffgrid")
    page.get_by_role("link", name="Trajectory strip").click()
    expect(page).to_have_title(f"Trajectory strip · {shown} · diffgrid")
    page.get_by_role("link", name="Compare runs").click()
    expect(page).to_have_title("Compare runs · diffgrid")
    page.get_by_role("link", name="When is it decided?").click()
    expect(page).to_have_title(f"When is it decided? · {shown} · diffgrid")
    page.get_by_role("link", name="Branching grid").click()
    painted(page, "trunk")
    page.get_by_label("Prompt", exact=True).fill("a red monster")
    page.keyboard.press("Enter")
    expect(page).to_have_title("Branching grid · a red monster · diffgrid")


def test_the_node_of_a_hovered_cells_row_is_lit(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    page.emulate_media(reduced_motion="reduce")
    painted(page, "trunk")
    nodes = page.locator(".board .node")

    def lit() -> list[bool]:
        shadows: list[str] = nodes.evaluate_all(
            "all => all.map((n) => getComputedStyle(n).boxShadow)"
        )
        return [shadow != "none" for shadow in shadows]

    assert lit() == [False] * 3
    for path, row in (("5.2", 1), ("10.0", 2)):
        cell(page, path).hover()
        page.locator(f".board[data-playing='{path}']").wait_for()
        assert lit() == [each == row for each in range(3)]
    page.mouse.move(5, 5)
    page.locator(".board:not([data-playing])").wait_for()
    assert lit() == [False] * 3


def test_the_foot_of_each_page_names_what_it_follows(
    address: str, visit: Callable[..., Page]
) -> None:
    page = visit(address)
    for where in ("/", "/strip", "/compare", "/decisions"):
        page.goto(address + where)
        essay = page.get_by_role("link", name="AI research could use more toys")
        expect(essay).to_have_attribute(
            "href", "https://silverthorn.blog/posts/2022-12-diffusion-grid"
        )
