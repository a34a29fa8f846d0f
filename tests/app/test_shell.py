"""How the browser is opened: where it begins, and that nobody waits for it."""

from __future__ import annotations

import asyncio
import queue
import shutil
import time
from copy import deepcopy
from pathlib import Path

import pytest
from streamlit import cli_util, config

import streamlit_app
from diffgrid.app import shell
from tests.app import browsing


def opened(monkeypatch: pytest.MonkeyPatch, **settings: str) -> str:
    """What a server with these settings opens as it begins."""
    asked = queue.Queue[str]()
    monkeypatch.setattr(cli_util, "open_browser", asked.put)
    monkeypatch.setattr(config, "_config_options", deepcopy(config.get_config_options()))
    for name, value in {"server_headless": False, **settings}.items():
        config.set_option(name.replace("_", ".", 1), value)

    async def begin() -> None:
        async with shell.open_browser(streamlit_app.app):
            pass

    asyncio.run(begin())
    return asked.get(timeout=60)


def test_the_browser_begins_where_a_file_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_begins_at", "")
    assert opened(monkeypatch, server_port="8600") == "http://localhost:8600"
    shell.begin_at("/strip?seed=8")
    url = opened(monkeypatch, server_port="8600", server_baseUrlPath="toys")
    assert url == "http://localhost:8600/toys/strip?seed=8"


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "localhost"),
        ({"server_address": "127.0.0.2"}, "127.0.0.2"),
        ({"server_address": "0.0.0.0"}, "localhost"),
        ({"server_address": "127.0.0.2", "browser_serverAddress": "toys.test"}, "toys.test"),
    ],
    ids=str,
)
def test_the_browser_is_led_to_where_the_server_listens(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], host: str
) -> None:
    assert opened(monkeypatch, server_port="8600", **settings) == f"http://{host}:8600"


@pytest.mark.slow
def test_the_server_answers_while_the_browser_is_open(tmp_path: Path) -> None:
    browser, asked, closed = tmp_path / "browser", tmp_path / "asked", tmp_path / "closed"
    wait = f"while [ ! -e {closed} ]; do {shutil.which('sleep')} 0.1; done"
    browser.write_text(f'#!/bin/sh\necho "$1" > {asked}\n{wait}\n')
    browser.chmod(0o755)
    try:
        with browsing.server(tmp_path, "/toys", at="/strip?seed=8", browser=browser) as address:
            while not asked.exists() or not asked.read_text():
                time.sleep(0.1)
            assert asked.read_text() == f"{address}/strip?seed=8\n"
    finally:
        closed.touch()
