"""The history under the grid, as a visitor meets it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app import browsing

pytestmark = pytest.mark.browser

chromium, tab, visit = browsing.chromium, browsing.tab, browsing.visit  # fixtures

ROOT = "trunk"
TREE = [
    ROOT,
    "1.2, from trunk",
    "5.1, from 1.2",
    "10.0, from 5.1",
    "10.2, from 5.1",
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browsing.server(tmp_path_factory.mktemp("server")) as address:
        yield address


def painted(page: Page, path: str) -> None:
    """Wait until this path is the trunk, and all of its grid is there."""
    page.locator(f".board[data-painted='{path} 12']:not([data-lacking])").wait_for()


def follow(page: Page, path: str) -> None:
    page.get_by_role("gridcell", name=f"branch {path} ").click()
    painted(page, path)


def nodes(page: Page) -> Locator:
    return page.get_by_role("list", name="Grids visited").get_by_role("link")


def shows(page: Page, names: list[str], here: str) -> None:
    """Wait until the tree has these nodes, each with its picture, and this one is marked."""
    expect(nodes(page)).to_have_count(len(names))
    for node, name in zip(nodes(page).all(), names, strict=True):
        expect(node).to_have_accessible_name(name)
    expect(page.locator(".history li:not(.blank) canvas:not([width='300'])")).to_have_count(
        len(names)
    )
    marked = page.locator(".history [aria-current]")
    expect(marked).to_have_count(1)
    expect(marked).to_have_accessible_name(here)


def test_the_grids_visited_are_a_tree_that_leads_back_and_outlives_a_reload(
    address: str, visit: Callable[..., Page]
) -> None:
    page = visit(address)
    page.emulate_media(reduced_motion="reduce")
    painted(page, "trunk")
    expect(nodes(page)).to_have_count(0)  # one grid is no history
    for path in ("1.2", "1.2/5.1", "1.2/5.1/10.0"):
        follow(page, path)
    page.get_by_role("button", name="Undo").click()
    painted(page, "1.2/5.1")
    follow(page, "1.2/5.1/10.2")
    shows(page, TREE, TREE[-1])

    nodes(page).nth(1).click()
    painted(page, "1.2")
    expect(page).to_have_url(re.compile(r"[?&]path=1\.2(&|$)"))
    shows(page, TREE, TREE[1])

    # A reload is a new session, and has it still; the keyboard leads on.
    page.reload()
    painted(page, "1.2")
    shows(page, TREE, TREE[1])
    nodes(page).nth(2).focus()
    page.keyboard.press("Tab")
    expect(nodes(page).nth(3)).to_be_focused()
    page.keyboard.press("Enter")
    painted(page, "1.2/5.1/10.0")
    page.get_by_role("button", name="Undo").click()
    painted(page, "1.2")
    shows(page, TREE, TREE[1])

    # It was never sampled for: all of it was there.
    expect(page.locator(".board .cost")).to_contain_text("all reused")

    # Another address in the same tab goes on from there; another tab knows nothing.
    page.goto(f"{address}/?path=1.1")
    painted(page, "1.1")
    shows(page, [*TREE, "1.1, from 1.2"], "1.1, from 1.2")
    other = visit(address)
    painted(other, "trunk")
    expect(nodes(other)).to_have_count(0)


def test_a_node_is_starred_and_the_history_stays_folded(
    address: str, visit: Callable[..., Page]
) -> None:
    page = visit(address)
    page.emulate_media(reduced_motion="reduce")
    painted(page, "trunk")
    follow(page, "5.2")
    nodes(page).first.focus()
    page.keyboard.press("s")
    expect(nodes(page).first).to_have_accessible_name("trunk, starred")
    expect(page.locator(".board .frame.has-star")).to_have_count(0)  # that is the new trunk
    page.get_by_text("History", exact=True).click()
    expect(nodes(page).first).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    painted(page, "trunk")
    expect(page.locator(".board .frame.has-star")).to_have_count(1)
    page.reload()
    painted(page, "trunk")
    expect(page.get_by_text("History", exact=True)).to_be_visible()
    expect(nodes(page).first).to_be_hidden()
    page.get_by_text("History", exact=True).click()
    shows(page, ["trunk, starred", "5.2, from trunk"], "trunk, starred")
