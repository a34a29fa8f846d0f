"""Pictures that say what they were made of, as they leave the page and come back to it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, WebSocket, expect

from diffgrid.pictures.png import SIGNATURE
from diffgrid.sharing.foreign import opened
from diffgrid.sharing.recipe import element, write
from diffgrid.spec.path import parse_path
from tests.app import browsing

pytestmark = pytest.mark.browser

chromium, tab, visit = browsing.chromium, browsing.tab, browsing.visit  # fixtures
FIXTURE = browsing.ROOT / "tests" / "fixtures" / "recipe-of-0.png"  # 4 steps of 8 px


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browsing.server(tmp_path_factory.mktemp("server")) as address:
        yield address


def painted(page: Page, path: str, cells: int) -> None:
    page.locator(f".board[data-painted='{path} {cells}']:not([data-lacking])").wait_for()


# Events as the browser makes them, with a file that it gives to nobody before it is dropped.
HAND = """([kind, encoded]) => {
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], "a file"));
  const options = { bubbles: true, cancelable: true, composed: true };
  const event = kind === "paste"
    ? new ClipboardEvent(kind, { ...options, clipboardData: data })
    : new DragEvent(kind, { ...options, dataTransfer: data });
  return !(document.activeElement ?? document.body).dispatchEvent(event);
}"""


def hand(page: Page, kind: str, data: bytes) -> bool:
    """Whether the page took it, and the browser does nothing of its own."""
    taken: bool = page.evaluate(HAND, [kind, b64encode(data).decode("ascii")])
    return taken


def test_a_picture_goes_from_hand_to_hand(address: str, visit: Callable[..., Page]) -> None:
    page, sent = visit(address), list[bytes | str]()

    def note(frame: bytes | str) -> None:
        sent.append(frame)

    def connected(socket: WebSocket) -> None:
        socket.on("framesent", note)

    page.on("websocket", connected)
    page.reload()
    painted(page, "trunk", 12)
    hint, fixture = page.get_by_text("Drop it, and the view"), FIXTURE.read_bytes()

    # While a file is dragged the page says what will come of it; and no longer when it is gone.
    expect(hint).to_be_hidden()
    assert hand(page, "dragenter", fixture)
    expect(hint).to_be_visible()
    hand(page, "dragleave", fixture)
    expect(hint).to_be_hidden()

    # Dropped, it opens the exact view, which can be undone; the pixels stay here.
    assert hand(page, "dragover", fixture)
    assert hand(page, "drop", fixture)
    expect(hint).to_be_hidden()
    painted(page, "1.0", 1)
    expect(page).to_have_url(re.compile("seed=3&steps=4.*rows=1&columns=1&path=1.0"))
    assert sent
    assert not any(SIGNATURE in each for each in sent if isinstance(each, bytes))

    # A cell's picture is taken away, and says what it was made of.
    page.get_by_role("gridcell").focus()
    page.keyboard.press("m")
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Download PNG").click()
    picture = Path(download.value.path()).read_bytes()
    found = opened(picture)
    assert found.view == opened(fixture).view
    assert (found.kind, found.path) == ("cell", ())

    page.get_by_role("button", name="Undo").click()
    painted(page, "trunk", 12)

    # Pasted, it opens as well; but not where somebody types.
    prompt = page.get_by_label("Prompt", exact=True)
    prompt.focus()
    assert not hand(page, "paste", picture)
    page.locator(".portrait").focus()
    assert hand(page, "paste", picture)
    painted(page, "1.0", 1)

    # What has no recipe, or one that cannot be, is told in a sentence.
    hand(page, "drop", SIGNATURE)
    expect(page.get_by_text("That file carries no recipe")).to_be_visible()
    many = write(found.view).replace('"steps":"4"', '"steps":"4000"')
    hand(page, "drop", element(many).encode())
    expect(page.get_by_text("steps 4000 is not allowed")).to_be_visible()
    painted(page, "1.0", 1)

    # A strip's opens its own page, and says the same when it is taken away.
    strip = element(write(found.view, "strip", parse_path("trunk")))
    hand(page, "drop", f"<!doctype html>{strip}".encode())
    expect(page).to_have_url(re.compile("/strip[?].*&trunk=1.0"))
    with page.expect_download() as download:
        page.get_by_role("button", name="Strip", exact=True).click()
    taken = opened(Path(download.value.path()).read_bytes())
    assert (taken.view, taken.kind, taken.path) == (found.view, "strip", ())
