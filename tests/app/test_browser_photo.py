"""A photo, in Chromium: from the file to the grid, and back to noise."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.app import browsing

pytestmark = pytest.mark.slow
chromium, tab, visit = browsing.chromium, browsing.tab, browsing.visit  # fixtures
FIELD = "[data-testid=stFileUploaderDropzone]"
DRAG = """(element, [kind, encoded]) => {
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], "photo.png", { type: "image/png" }));
  const options = { bubbles: true, cancelable: true, composed: true, dataTransfer };
  element.dispatchEvent(new DragEvent(kind, options));
}"""


def drag(page: Page, kind: str, to: str, data: bytes) -> None:
    """What the browser tells of a file that is dragged over an element, or dropped on it."""
    page.locator(to).first.evaluate(DRAG, [kind, b64encode(data).decode("ascii")])


def test_a_photo_is_what_the_trunk_begins_with_until_it_is_left_out(
    visit: Callable[..., Page], tmp_path: Path
) -> None:
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "photo.jpg")
    (tmp_path / "words.png").write_text("hello")
    with browsing.server(tmp_path) as address:
        page = visit(f"{address}/?steps=4&rows=0&columns=1")
        page.get_by_text("Begin with a photo").click()
        files = page.locator("input[type=file]")
        files.set_input_files(tmp_path / "words.png")
        expect(page.get_by_text("the photo is no picture that is read here").first).to_be_visible()
        files.set_input_files(tmp_path / "photo.jpg")
        strength = page.get_by_role("slider", name="Strength")
        expect(strength).to_be_visible()
        expect(page).to_have_url(re.compile("image=[0-9a-f]{64}"))
        expect(page.get_by_text("the photo is no picture")).to_have_count(0)
        expect(page.locator(".board").get_by_text(re.compile("image [0-9a-f]{8}"))).to_be_visible()

        other = visit(page.url)
        expect(other.get_by_role("slider", name="Strength")).to_be_visible()
        expect(other.locator("[data-testid=stSidebar] [data-testid=stImage] img")).to_be_visible()

        # A photo that says what it was made of is taken once: by the field that it is dropped on.
        photo = (browsing.ROOT / "tests" / "fixtures" / "recipe-of-0.png").read_bytes()
        hint = page.get_by_text("Drop it, and the view")
        drag(page, "dragenter", ".board", photo)
        expect(hint).to_be_visible()
        for kind in ("dragenter", "dragover"):
            drag(page, kind, FIELD, photo)
            expect(hint).to_be_hidden()
        earlier = page.url
        drag(page, "drop", FIELD, photo)
        expect(page).not_to_have_url(earlier)
        expect(page).to_have_url(re.compile("seed=7.*image=[0-9a-f]{64}"))
        expect(page.get_by_text("The view of that file was asked for.")).to_have_count(0)

        page.get_by_role("button", name="Leave it out").click()
        expect(strength).to_have_count(0)
        expect(page).not_to_have_url(re.compile("image="))

        # Beside the field, as long as there is one, it opens the view that it was made of.
        page.get_by_text("Begin with a photo").click()
        expect(files).to_be_attached()
        drag(page, "drop", ".board", photo)
        expect(page).to_have_url(re.compile("seed=3&steps=4"))
