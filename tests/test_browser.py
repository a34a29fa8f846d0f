"""The app as a visitor meets it: a server of its own, and Debian's Chromium."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[1]
PATIENCE = 240_000  # ms; machines that run tests are often busy


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh server with an empty cache; nobody has visited it yet."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.address=127.0.0.1", f"--server.port={port}", "--server.headless=true"]
    command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", *options]
    log = folder / "server.log"
    environment = {**os.environ, "DIFFGRID_CACHE": str(folder / "cache")}
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.kill()  # the store takes no harm, and a busy machine is slow to end politely
        server.wait()
    assert "Traceback" not in log.read_text()


@pytest.fixture
def page() -> Iterator[Page]:
    """A tab 1280 px wide."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


def test_a_visitor_gets_a_grid_and_takes_its_picture_home(
    address: str, page: Page, tmp_path: Path
) -> None:
    faults: list[str] = []
    strangers: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda request: (
            strangers.append(request.url)
            if urlsplit(request.url).hostname not in ("127.0.0.1", None)
            else None
        ),
    )
    page.set_default_timeout(PATIENCE)
    page.goto(address)

    # The default grid begins at once; a smaller one takes its place.
    expect(page.get_by_role("heading", level=1)).to_have_text("Branching grid", timeout=PATIENCE)
    grid = page.get_by_role("grid", name="Branching grid")
    expect(grid.get_by_role("gridcell")).to_have_count(16, timeout=PATIENCE)
    page.get_by_label("Steps").fill("3")
    page.get_by_label("Columns").fill("1")
    page.get_by_role("button", name="Sample").click()
    expect(grid.get_by_role("gridcell")).to_have_count(2, timeout=PATIENCE)  # steps 0 and 1

    button = page.get_by_role("button", name="Download")
    button.wait_for()
    pictures = page.locator(".stMain img")
    widths = pictures.evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(widths) == 2 + 2 + 1 + 3  # cells, nodes, the trunk, its strip
    assert set(widths) == {128}
    expect(page.get_by_role("heading", level=1)).to_have_count(1)

    with page.expect_download() as download:
        button.click()
    saved = tmp_path / "grid.png"
    download.value.save_as(saved)
    with Image.open(saved) as picture:
        recipe = json.loads(picture.info["diffgrid"])
    assert (recipe["seed"], recipe["num_inference_steps"], len(recipe["rows"])) == (7, 3, 2)
    assert not faults
    assert not strangers


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(address: str, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(address)
    page.locator(".dg-strip").wait_for(timeout=PATIENCE)
    main = page.get_by_test_id("stMain")
    assert main.evaluate("element => element.scrollWidth - element.clientWidth") == 0
    assert page.locator(".dg-tree").evaluate("e => e.getBoundingClientRect().right") <= width
