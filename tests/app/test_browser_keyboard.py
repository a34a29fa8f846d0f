"""Every page with the keyboard alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page

from tests.app import browsing

pytestmark = pytest.mark.browser

chromium, tab, visit = browsing.chromium, browsing.tab, browsing.visit  # fixtures
READY = {  # what is there once the page is whole
    "/": ".board[data-painted='trunk 12']:not([data-lacking])",
    "/strip": "role=slider[name='Step']",
    "/compare": ".body",
    "/decisions": "role=button[name='Study this prompt']",
}
MOST = 200  # presses; no page has so many stops
# Where the focus is, through all shadow roots: a number of its own, and its name. None: the window.
FOCUSED = """() => {
  let element = document.activeElement;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  if (!element || element === document.body) return null;
  window.stops ??= new Map();
  if (!window.stops.has(element)) window.stops.set(element, window.stops.size);
  return [window.stops.get(element), element.getAttribute("aria-label") ?? element.tagName];
}"""
# Keys that no part of the app has a use for, at the element that has the focus; those swallowed.
SWALLOWED = """() => {
  let element = document.activeElement;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  const keys = [{ key: "Tab" }, { key: "Tab", shiftKey: true }, { key: "F6" }, { key: "F5" },
    { key: "ArrowLeft", altKey: true }, { key: "ArrowRight", altKey: true },
    { key: "r", ctrlKey: true }, { key: "c", metaKey: true }, { key: "t", ctrlKey: true }];
  const event = (key) => new KeyboardEvent("keydown",
    { ...key, bubbles: true, composed: true, cancelable: true });
  const ours = element.getRootNode() instanceof ShadowRoot;
  return ours ? keys.filter((key) => !element.dispatchEvent(event(key))) : [];
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browsing.server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.mark.parametrize("path", READY)
def test_tab_walks_through_the_page_and_comes_round_and_no_key_is_swallowed(
    path: str, address: str, visit: Callable[..., Page]
) -> None:
    page = visit(address + path)
    page.locator(READY[path]).first.wait_for()
    page.locator("[data-test-script-state='notRunning']").wait_for()
    stops: list[tuple[int, str]] = []
    for _ in range(MOST):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or (stops and tuple(focused) == stops[0]):
            if len(stops) > 1:
                break
            continue
        assert not page.evaluate(SWALLOWED), focused
        stops.append(tuple(focused))
    names = [name for _, name in stops]
    assert len(stops) < MOST, names[-5:]
    assert len(set(stops)) == len(stops), names  # nothing holds the focus, or sends it back
    assert {"Prompt", "Seed"} <= set(names)
