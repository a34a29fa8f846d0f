"""A photo, in Chromium: from the file to the grid, and back to noise."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.app import browsing

pytestmark = pytest.mark.slow
chromium, tab, visit = browsing.chromium, browsing.tab, browsing.visit  # fixtures


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
        expect(page.get_by_text(re.compile("image [0-9a-f]{8}"))).to_be_visible()

        other = visit(page.url)
        expect(other.get_by_role("slider", name="Strength")).to_be_visible()
        expect(other.locator("[data-testid=stSidebar] [data-testid=stImage] img")).to_be_visible()

        page.get_by_role("button", name="Leave it out").click()
        expect(strength).to_have_count(0)
        expect(page).not_to_have_url(re.compile("image="))
