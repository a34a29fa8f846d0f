"""What every page does first, and where the pages are."""

import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit as st
from anyio import to_thread
from streamlit.config import get_option
from streamlit.starlette import App
from streamlit.web.server.server_util import get_url

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


@asynccontextmanager
async def open_browser(app: App) -> AsyncIterator[None]:
    """While the server runs: it opens the first page, as Streamlit does for what is no `App`."""
    if not get_option("server.headless"):
        await to_thread.run_sync(webbrowser.open, get_url(get_option("browser.serverAddress")))
    yield


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
