"""The page of decisions in a browser: a small study, from its price to its table."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from diffgrid.decisions.decision_steps import COLUMNS
from tests.app import browsing

pytestmark = pytest.mark.browser

chromium, tab, visit = browsing.chromium, browsing.tab, browsing.visit  # fixtures
PROMPT = "“a red monster”"
SAMPLED = 5 * browsing.PATIENCE  # ms: the model is loaded first


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browsing.server(tmp_path_factory.mktemp("server")) as address:
        yield f"{address}/decisions?prompt=a+red+monster&steps=4"


def test_a_study_from_its_price_to_its_table(address: str, visit: Callable[..., Page]) -> None:
    page = visit(address)
    expect(page.get_by_role("heading", level=1)).to_have_text("When is it decided?")
    page.get_by_text("Trunks, rows and columns").click()
    page.get_by_role("radio", name="4", exact=True).click()
    rows = page.get_by_role("textbox", name="Rows", exact=True)
    rows.fill("0, 2")
    rows.press("Enter")
    expect(page.get_by_text("4 trunks take 80 evaluations")).to_be_visible()
    page.get_by_role("button", name="Study this prompt").click()
    expect(page.get_by_text("Studying " + PROMPT)).to_be_visible()

    # It goes on while its page is left.
    page.get_by_role("link", name="Compare runs").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare runs")
    page.get_by_role("link", name="When is it decided?").click()
    heading = page.get_by_role("heading", name=PROMPT, exact=True)
    expect(heading).to_be_visible(timeout=SAMPLED)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page.get_by_text("4 trunks, pooled · 2 rows × 4 branches")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/decisions\?.*prompt=a\+red\+monster"))

    # A pointer, or the arrow keys, read all curves off at one step.
    plots = page.locator(".chart .plot")
    plots.first.focus()
    page.keyboard.press("ArrowRight")
    read = page.locator(".chart .reading .read")
    expect(read.first).to_contain_text("step 0, t 999")
    assert read.count() > 1
    page.keyboard.press("ArrowRight")
    expect(read.first).to_contain_text("step 2, t ")
    page.keyboard.press("Escape")
    expect(read).to_have_count(0)
    plots.nth(1).hover()
    expect(read.first).to_contain_text("pairs")

    # The same in words, as a table, and to take away.
    expect(page.get_by_role("img", name="All factors by decision step")).to_be_visible()
    page.get_by_text("The same as tables").click()
    expect(page.get_by_role("table").get_by_role("columnheader", name="factor")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV", exact=True).click()
    lines = [*csv.DictReader(saved.value.path().read_text("utf-8").splitlines())]
    assert tuple(lines[0]) == COLUMNS
    assert {line["step"] for line in lines} == {"0", "2"}

    for width, drawn in ((1280, "wide"), (390, "narrow")):
        page.set_viewport_size({"width": width, "height": 844})
        expect(page.locator(".overview svg:visible")).to_have_class(drawn)
        main = page.get_by_test_id("stMain")
        assert main.evaluate("element => element.scrollWidth - element.clientWidth") == 0
        assert page.locator(".chart").evaluate("e => e.getBoundingClientRect().right") <= width
