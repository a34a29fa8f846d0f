"""Servers of their own, and visitors in Debian's Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

ROOT = Path(__file__).parents[2]
PATIENCE = 90_000  # ms; machines that run tests are often busy

expect.set_options(timeout=PATIENCE)


@contextmanager
def server(
    folder: Path, base: str = "", *, at: str = "/", browser: Path | None = None
) -> Iterator[str]:
    """A fresh server whose cache is in this folder, under `/base`; nobody has visited it yet.

    Where there is a program for its own browser, it opens that at this address.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--server.address=127.0.0.1", f"--server.port={port}"]
    options += [f"--server.baseUrlPath={base}", f"--server.headless={browser is None}"]
    program = ["streamlit", "run", "streamlit_app.py"]
    if browser:
        program = ["diffgrid.app", f"--at={at}"]
    command = [sys.executable, "-m", *program, *options]
    address = f"http://127.0.0.1:{port}{base}"
    log = folder / "server.log"
    environment = {**os.environ, "DIFFGRID_CACHE": str(folder / "cache")}
    if browser:  # what Streamlit looks for first is `xdg-open`
        environment |= {"BROWSER": str(browser), "PATH": ""}
    with log.open("wb") as output:
        running = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        last = time.monotonic() + PATIENCE / 1000
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=5).close()
                break
            except OSError:
                assert running.poll() is None, log.read_text()
                assert time.monotonic() < last, "nobody is answered"
                time.sleep(0.2)
        yield address
    finally:
        running.kill()  # the store takes no harm, and a busy machine is slow to end politely
        running.wait()
    told = log.read_text()
    assert "Traceback" not in told, told[-5000:]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(chromium: Browser) -> Page:
    """Where each test's first visitor looks: a new one would read and compile Streamlit's code
    again, two seconds of work a visit."""
    return chromium.new_context().new_page()


@pytest.fixture
def visit(chromium: Browser, tab: Page) -> Iterator[Callable[..., Page]]:
    """Opens the app for visitors who do not know each other; none may fail or ask strangers."""
    faults: list[str] = []
    visited: list[Page] = []
    others: list[BrowserContext] = []

    def failed(error: object) -> None:
        faults.append(str(error))

    def asked(request: Request) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            faults.append(request.url)

    def visit(address: str, width: int = 1280, height: int = 900) -> Page:
        if visited:
            others.append(chromium.new_context())
        page = others[-1].new_page() if others else tab
        visited.append(page)
        page.set_viewport_size({"width": width, "height": height})
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", failed)
        page.on("request", asked)
        page.goto(address)
        return page

    yield visit
    if visited:
        tab.evaluate("localStorage.clear(), sessionStorage.clear()")
        tab.goto("about:blank")
        tab.emulate_media(reduced_motion="no-preference")
        tab.remove_listener("pageerror", failed)
        tab.remove_listener("request", asked)
    for context in others:
        context.close()
    assert not faults
