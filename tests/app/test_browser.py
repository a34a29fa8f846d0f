"""The app as a visitor meets it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, WebSocketRoute, expect

from tests.app import browsing

pytestmark = pytest.mark.browser

chromium, tab, visit = browsing.chromium, browsing.tab, browsing.visit  # fixtures


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browsing.server(tmp_path_factory.mktemp("server")) as address:
        yield address


# Of two fields of one name that are on view at any moment, the name goes into `twice`.
LOOK_FOR_FIELDS_THAT_STAND_TWICE = """() => {
  window.twice = [];
  const look = () => {
    const all = [...document.querySelectorAll("[data-testid=stSidebar] input[aria-label]")];
    const names = all.filter((each) => each.checkVisibility()).map((each) => each.ariaLabel);
    twice.push(...names.filter((name, i) => names.indexOf(name) < i));
  };
  const watched = { subtree: true, childList: true, attributes: true };
  new MutationObserver(look).observe(document.body, watched);
}"""


def painted(page: Page, path: str, cells: int = 12) -> None:
    """Wait until this path is the trunk, so many cells are drawn, and all pictures are there."""
    page.locator(f".board[data-painted='{path} {cells}']:not([data-lacking])").wait_for()


def cell(page: Page, path: str) -> Locator:
    return page.get_by_role("gridcell", name=f"branch {path} ")


def pixels(canvas: Locator) -> str:
    taken: str = canvas.evaluate("canvas => canvas.toDataURL()")
    return taken


def test_a_card_leads_to_its_grid_and_back(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    painted(page, "trunk")
    card = page.get_by_role("listitem").filter(has_text="Few steps, many steps")
    link = card.get_by_role("link", name="4 steps")
    expect(link).to_have_attribute("href", re.compile(r"^\?.*steps=4"))
    link.click()
    expect(page).to_have_url(re.compile(r"[?&]steps=4"))
    painted(page, "trunk", 12)
    expect(page.locator(".board")).to_contain_text("4 steps")
    page.go_back()
    painted(page, "trunk")
    expect(page).to_have_url(f"{address}/")


def test_the_journey(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    heading = page.get_by_role("heading", level=1)

    # The grid that ships: whole at once, and no model was loaded for it.
    grid = page.get_by_role("grid", name="Branching grid")
    painted(page, "trunk")
    expect(heading).to_have_text("Branching grid")
    expect(grid.get_by_role("gridcell")).to_have_count(12)
    cost = page.locator(".board .cost")
    expect(cost).to_contain_text("249 evaluations, all reused")
    seen = page.locator(".seen .factor").first
    expect(seen).to_be_visible()

    # A cell that is hovered plays, in its own place and in the trunk's.
    portrait = page.locator(".portrait canvas:not(.heat)")
    before = pixels(portrait)
    cell(page, "1.1").hover()
    page.locator(".board[data-playing='1.1']").wait_for()
    shown = {pixels(cell(page, "1.1").locator("canvas")) for _ in range(20)}
    assert len(shown) > 1
    assert pixels(portrait) != before
    page.mouse.move(5, 5)
    page.locator(".board:not([data-playing])").wait_for()
    assert pixels(portrait) == before

    # A click makes it the trunk; what ships holds that grid too.
    final = pixels(cell(page, "5.2").locator("canvas"))
    cell(page, "5.2").click()
    painted(page, "5.2")
    assert pixels(portrait) == final
    expect(cost).to_contain_text("all reused")
    expect(page).to_have_url(re.compile(r"[?&]path=5\.2"))
    page.get_by_role("button", name="Undo").click()
    painted(page, "trunk")
    expect(page).to_have_url(f"{address}/")
    page.go_back()
    painted(page, "5.2")
    page.go_forward()
    painted(page, "trunk")

    # Two columns are enough from here on, and nothing need move.
    page.emulate_media(reduced_motion="reduce")
    columns = page.get_by_label("Columns", exact=True)
    expect(columns).to_have_count(1)  # that of the view before goes when the script has ended
    columns.fill("2")
    page.keyboard.press("Enter")
    painted(page, "trunk", 6)

    # Another prompt is sampled at once; it can be stopped, and goes on where it was.
    prompt = page.get_by_label("Prompt", exact=True)
    expect(prompt).to_have_count(1)
    prompt.fill("a green monster")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Go on").click()
    painted(page, "trunk", 6)
    expect(page.locator(".board .prompt")).to_have_text("“a green monster”")
    expect(seen).to_be_visible()  # a probe looks when all are finished

    # Only what is missing is evaluated: two cells of the last row, fourteen steps each.
    cell(page, "5.1").click()
    painted(page, "5.1", 6)
    expect(cost).to_contain_text("137 evaluations, 109 reused")

    # A reload is a new session, and shows the same.
    here, picture = page.url, pixels(portrait)
    page.reload()
    painted(page, "5.1", 6)
    assert page.url == here
    assert pixels(portrait) == picture
    expect(cost).to_contain_text("all reused")

    # One of its cells by itself, step by step; the grid stays where it was.
    cell(page, "5.0").focus()
    page.keyboard.press("t")
    expect(heading).to_have_text("Trajectory strip")
    expect(page.get_by_role("slider", name="Step", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(r"/strip\?.*path=5\.0"))
    page.get_by_role("link", name="Branching grid").click()
    painted(page, "5.1", 6)

    # Two cells, compared in place and then on the page that compares; one is kept.
    for path in ("1.0", "1.1"):
        cell(page, path).focus()
        page.keyboard.press("c")
    page.get_by_role("dialog").get_by_role("button", name="Open in compare").click()
    expect(heading).to_have_text("Compare runs")
    expect(page.get_by_role("slider", name="Noise level", exact=True)).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).first.click()
    page.get_by_label("Name", exact=True).fill("the first of two")
    page.get_by_role("dialog").get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("the first of two: 1.0, seed 7")).to_be_visible()


def test_a_browser_that_lost_its_pictures_gets_them_again(
    address: str, visit: Callable[..., Page]
) -> None:
    page = visit(address)
    painted(page, "trunk")
    last = cell(page, "10.3").locator("canvas")
    before = pixels(last)
    page.locator(".board").evaluate("board => board.owner.known.clear()")
    cell(page, "1.1").click()
    painted(page, "1.1")
    page.locator(".board").evaluate("board => board.owner.known.clear()")
    page.get_by_role("button", name="Undo").click()
    painted(page, "trunk")
    assert pixels(last) == before
    cell(page, "10.3").hover()
    page.locator(".board[data-playing='10.3']").wait_for()


def test_the_keyboard_alone_can_go_the_way(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    painted(page, "trunk")
    cell(page, "1.0").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    expect(cell(page, "5.2")).to_be_focused()
    page.keyboard.press("Enter")
    painted(page, "5.2")
    page.get_by_role("button", name="Undo").focus()
    page.keyboard.press("Enter")
    painted(page, "trunk")
    cell(page, "1.3").focus()
    page.keyboard.press("e")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_hint_never_takes_the_place_of_an_act(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    for rested in (0.1, 0.3, 0.5):
        painted(page, "trunk")
        cell(page, "5.2").hover()
        page.locator(".board[data-playing='5.2']").wait_for()
        time.sleep(rested)  # a pointer that rests 0.4 s is told to the server
        page.keyboard.press("t")
        expect(page).to_have_url(re.compile(r"/strip\?.*path=5\.2"))
        page.get_by_role("link", name="Branching grid").click()


def test_one_press_of_back_goes_back_one(address: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{address}/?path=5.2")
    heading = page.get_by_role("heading", level=1)
    for name in ("Trajectory strip", "Compare runs", "When is it decided?"):
        painted(page, "5.2")
        here = page.url
        page.get_by_role("link", name=name).click()
        expect(heading).to_have_text(name)
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.go_back()
        painted(page, "5.2")
        assert page.url == here
        page.go_forward()
        expect(heading).to_have_text(name)
        page.reload()
        expect(heading).to_have_text(name)
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        here = page.url
        page.get_by_role("link", name="Branching grid").click()
        painted(page, "5.2")  # which the address of each page names
        page.go_back()
        expect(heading).to_have_text(name)
        assert page.url == here
        page.get_by_role("link", name="Branching grid").click()


def test_an_act_is_done_though_its_page_is_left_at_once(
    address: str, visit: Callable[..., Page]
) -> None:
    """But for one that leads to a page: the page that was asked for last comes."""
    page = visit(address)
    for key, path in (("s", "5.2"), ("t", "5.3")):
        painted(page, "trunk")
        cell(page, path).focus()
        link = page.get_by_role("link", name="Compare runs").element_handle()
        page.keyboard.press(key)
        link.evaluate("link => link.click()")
        expect(page.get_by_role("heading", level=1)).to_have_text("Compare runs")
        page.get_by_role("link", name="Branching grid").click()
        painted(page, "trunk")
        expect(cell(page, path).locator(".starred")).to_be_visible(visible=key == "s")


def test_acts_that_come_at_once_are_all_done(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    painted(page, "trunk")
    fewer = page.get_by_role("button", name="One column less")
    fewer.evaluate("button => { button.click(); button.click(); }")
    painted(page, "trunk", 6)
    page.get_by_role("button", name="Undo").click()
    painted(page, "trunk", 9)


def test_tab_goes_on_from_the_trunk(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    painted(page, "trunk")
    page.get_by_role("button", name="the trunk in view").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="More about this picture")).to_be_focused()


def test_a_trunk_is_changed_on_the_way_and_cells_are_re_noised(
    address: str, visit: Callable[..., Page]
) -> None:
    address += "/?steps=8&columns=2"
    page = visit(address)
    page.emulate_media(reduced_motion="reduce")
    painted(page, "trunk", 6)
    page.get_by_role("button", name="the trunk in view").focus()
    page.keyboard.press("w")
    dialog = page.get_by_role("dialog", name="Change from here")
    dialog.get_by_label("Prompt").fill("a red monster")
    page.keyboard.press("Enter")
    painted(page, "2:prompt=a+red+monster", 6)
    crumb = page.locator(".crumbs b")
    expect(crumb).to_have_text("from step 2: “a red monster”")
    here = page.url
    page.reload()
    painted(page, "2:prompt=a+red+monster", 6)
    assert page.url == here
    page.goto(address)
    painted(page, "trunk", 6)
    page.get_by_text("Lab", exact=True).click()
    page.get_by_text("Re-noise", exact=True).click()
    painted(page, "trunk", 4)
    expect(page).to_have_url(re.compile(r"[?&]fork=renoise%3A2"))
    cell(page, "3.1-2").click()
    painted(page, "3.1-2", 4)
    page.get_by_role("button", name="Undo").click()
    painted(page, "trunk", 4)


def test_the_form_can_be_used_after_the_grid_was(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    painted(page, "trunk")
    page.evaluate(LOOK_FOR_FIELDS_THAT_STAND_TWICE)
    columns = page.get_by_label("Columns", exact=True).filter(visible=True)
    # Somebody is in the field as it is about to show what the grid was told.
    page.get_by_role("button", name="One column less").evaluate(
        "button => { button.click(); document.querySelector('input[aria-label=Columns]').focus() }"
    )
    painted(page, "trunk", 9)
    expect(columns).to_have_value("3")
    cell(page, "5.2").click()
    painted(page, "5.2", 9)
    page.get_by_role("button", name="Undo").click()
    painted(page, "trunk", 9)
    columns.fill("100")
    page.keyboard.press("Enter")
    allowed = page.get_by_text("between 1 and 64")
    assert allowed.evaluate("each => each.clientWidth") > 50  # it is not for those alone who listen
    columns.fill("2")
    page.keyboard.press("Enter")
    painted(page, "trunk", 6)
    assert page.evaluate("twice") == []
    cell(page, "5.1").click()
    painted(page, "5.1", 6)
    page.get_by_role("link", name="Trajectory strip").click()
    expect(page).to_have_url(re.compile(r"/strip\?.*columns=2.*path=5\.1"))
    page.get_by_role("link", name="Branching grid").click()
    painted(page, "5.1", 6)
    page.get_by_role("gridcell", name="trunk ").focus()  # in the slot of what was followed
    page.keyboard.press("t")
    expect(page).to_have_url(re.compile(r"/strip\?(?!.*path)"))


def test_two_visitors_see_their_own(address: str, visit: Callable[..., Page]) -> None:
    one, other = visit(address), visit(f"{address}/?path=1.2")
    painted(one, "trunk")
    painted(other, "1.2")
    cell(one, "5.0").click()
    painted(one, "5.0")
    expect(other.locator(".crumbs b")).to_have_text("row 1, third")


def test_on_a_phone_nothing_is_too_wide_and_the_menu_goes_once_a_page_is_chosen(
    address: str, visit: Callable[..., Page]
) -> None:
    page = visit(address, 1280, 844)
    painted(page, "trunk")
    main = page.get_by_test_id("stMain")
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_function(
            "width => document.querySelector('[data-testid=stMain]').clientWidth <= width",
            arg=width,
        )
        assert main.evaluate("element => element.scrollWidth - element.clientWidth") == 0
        assert page.locator(".board").evaluate("e => e.getBoundingClientRect().right") <= width
    page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_role("link", name="Compare runs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare runs")
    expect(page.get_by_test_id("stExpandSidebarButton")).to_be_visible()


def test_a_link_that_is_pressed_as_the_connection_ends_leads_to_its_page(
    address: str, chromium: Browser
) -> None:
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    visitor = chromium.new_context()
    page = visitor.new_page()
    page.route_web_socket(re.compile("_stcore/stream"), connect)
    page.goto(f"{address}/decisions?seed=8")
    heading = page.get_by_role("heading", level=1)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    sockets.pop().close(code=1011)
    page.get_by_role("link", name="Compare runs").click()
    expect(heading).to_have_text("Compare runs")
    expect(page).to_have_url(re.compile("seed=8"))
    sockets.pop().close(code=1011)
    page.go_back()
    expect(heading).to_have_text("When is it decided?")
    visitor.close()


def test_a_tap_plays_and_a_second_tap_follows(address: str, chromium: Browser) -> None:
    phone = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = phone.new_page()
    page.set_default_timeout(browsing.PATIENCE)
    page.goto(address)
    painted(page, "trunk")
    cell(page, "5.2").tap()
    page.locator(".board[data-playing='5.2']").wait_for()
    cell(page, "5.2").tap()
    painted(page, "5.2")
    phone.close()


@pytest.mark.parametrize(
    ("page_name", "title"), [("strip", "Trajectory strip"), ("compare", "Compare runs")]
)
def test_a_cold_servers_first_visit_may_be_to_any_page(
    tmp_path: Path, visit: Callable[..., Page], page_name: str, title: str
) -> None:
    with browsing.server(tmp_path) as address:
        page = visit(f"{address}/{page_name}")
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        links = page.get_by_test_id("stSidebar").get_by_role("link")
        expect(links).to_have_text(
            ["Branching grid", "Trajectory strip", "Compare runs", "When is it decided?"]
        )
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_hostile_address_is_one_sentence(address: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{address}/?rows=<script>alert(1)</script>&path=../../etc")
    painted(page, "trunk")
    expect(page.get_by_test_id("stAlert")).to_contain_text("are not allowed")
