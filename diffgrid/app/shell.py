"""What every page does first, and where the pages are."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Thread

import streamlit as st
from streamlit import cli_util
from streamlit.config import get_option, is_manually_set
from streamlit.starlette import App
from streamlit.web.server.server_util import get_display_address, get_url

from diffgrid.app.session.page import Page

_HERE = Path(__file__).parent
# The entry point, the pages and the settings: at the top of a checkout, or in the package itself
# where it was installed from a wheel.
HOME = _HERE if (_HERE / "pages").is_dir() else _HERE.parents[1]
PAGE_STYLE = _HERE / "page.css"
_SCRIPTS = "".join(
    f'<script type="module">{(_HERE / "components" / "shared" / name).read_text("utf-8")}</script>'
    for name in ("arrival.js", "read.js")
)
# No emoji: for one, Streamlit reads all there are, a tenth of a second before the first picture.
ICON = str(_HERE / "icon.svg")
LOGO = str(_HERE / "logo.svg")

_begins_at = ""  # what follows the server's own address where the browser is opened


def begin_at(address: str) -> None:
    """Have the server open the browser there, such as at `/strip?seed=8`."""
    global _begins_at
    _begins_at = address


@asynccontextmanager
async def open_browser(app: App) -> AsyncIterator[None]:
    """While the server runs: as it begins, the browser is opened, unless it is headless.

    As Streamlit does for what is no `App`, but beside the server: a browser that is started by this
    may return when it is closed. Who comes before the first answer is ready waits at the port.
    """
    if not get_option("server.headless"):
        url = get_url(_host()) + _begins_at
        Thread(target=cli_util.open_browser, args=[url], daemon=True).start()
    yield


def _host() -> str:
    """What the browser calls the server: as it was told to, or else where the server listens."""
    if is_manually_set("browser.serverAddress"):
        return str(get_option("browser.serverAddress"))
    return get_display_address(get_option("server.address") or "localhost")


def page_file(page: Page) -> str:
    """Its file, whichever script the server was started with."""
    return str(HOME / "pages" / f"{page.file}.py")


def arrival(address: str) -> str:
    """What sees to it that a page that is asked for comes, and says that this one did.

    And what remembers that somebody has read what `explain` says.
    """
    return f'<i data-page="{address}"></i>{_SCRIPTS}'


def through_the_entry(file: str) -> None:
    """See to it that the entry point ran, which draws the sidebar and names the pages.

    A server that has a `pages` folder takes an app for one of the old kind until some session has
    called `st.navigation`: a fresh server's first visit to `/strip` comes past the entry point.
    """
    if not st.session_state.get("_shell"):
        # Beside a default page: alone it would be that itself, and its own address not be found.
        st.navigation([st.Page(_nowhere, default=True), st.Page(file)], position="hidden")
        st.rerun()


def explain(name: str, long: str, short: str) -> None:
    """What am I looking at? At length until somebody has read it: `read.js` remembers that."""
    read = f'html[data-read~="{name}"]'
    hidden = f"{read} .st-key-{name}-long, html:not({read[4:]}) .st-key-{name}-short"
    st.html(f"<style>{hidden} {{ display: none; }}</style>")
    with st.container(key=f"{name}-long"):
        text, button = st.columns([0.88, 0.12], vertical_alignment="center")
        text.caption(long)
        button.button("Got it", key=f"{name}-read")
    st.container(key=f"{name}-short").caption(short)


def _nowhere() -> None:
    """What a page needs beside it to be one at an address of its own."""
