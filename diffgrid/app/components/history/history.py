"""The grids that were visited, as a tree of small pictures under the grid, which delivers for it.

A click is an act, `{"do": "visit", "query": {…}}`. The browser keeps the tree over a reload, and
hands it to the new session: `{"do": "take_in", "nodes": […], "at": …}` (see `Journey`).
"""

from collections.abc import Callable

from diffgrid.app.components.shared.mount import component

_history = component("history", '<section class="history" hidden></section>')


def show_history(data: bytes, on_lack: Callable[[], None]) -> None:
    """Mount it; `on_lack` is called when the browser has not all pictures of the last message.

    `lack["names"]` of `st.session_state["history"]` are those that it was sent and does not have.
    """
    _history(key="history", data=data, on_lack_change=on_lack)
