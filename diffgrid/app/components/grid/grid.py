"""The branching grid as one component: how it is mounted (`message.py` has what it is sent).

All that moves under a pointer (replay, scrubbing, comparing two cells) happens in the browser, from
pictures that are already there. What needs the server comes back as an act such as
`{"do": "follow", "path": "5.2"}`:

| do | with | |
|---|---|---|
| follow, goto | path | a cell, or a name of the breadcrumb, becomes the trunk |
| undo, redo, cancel, resample, share | | resample goes on with what was stopped or failed |
| add_row, drop_row, reroll_row | step | |
| reroll_cell | step, branch | |
| add_column, drop_column | | |
| change | step, prompt, guidance | the trunk goes on from that step under others |
| prompt | prompt | another run, from its trunk: one of those to leaf through |
| lane | lane | `"x0"`, or `"xt"`: send x_t as well |
| star | path, on | keep it for good, or no longer; with a query, one of that view's run |
| strip | path | the page of this trajectory |
| compare | paths | two of them, on the page that compares |
| open | recipe | the view of a file that was dropped, or pasted |
| visit | query | where a link leads, of the cards and the history, which deliver through the grid |
| take_in | nodes, at | the history that the browser kept over a reload |
"""

from collections.abc import Callable
from typing import Any

from diffgrid.app.components.shared.mount import component

_component = component("grid", '<div class="board"></div>')


def board(
    *,
    data: bytes,
    on_acts: Callable[[], None],
    on_rest: Callable[[], None],
    on_lack: Callable[[], None],
) -> Any:
    """Mount the grid; each is called when its state in `st.session_state["board"]` changed.

    `acts` is for an `Inbox`. `rest["path"]` is a cell that the pointer rests on, at most once a
    path: a click may follow. `lack["names"]` are pictures of the last message that the browser does
    not have.
    """
    changes = {"on_acts_change": on_acts, "on_rest_change": on_rest, "on_lack_change": on_lack}
    return _component(key="board", data=data, **changes)
