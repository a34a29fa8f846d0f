"""The branching grid: a prompt's trunk, and the paths it did not take."""

import time
from contextlib import suppress
from functools import partial
from urllib.parse import urlencode

import streamlit as st

from diffgrid.app.components.grid.grid import board
from diffgrid.app.examples import experiments
from diffgrid.app.render_state import present
from diffgrid.app.session.actions import act
from diffgrid.app.session.desk import HEAD_START, SECONDS_TO_ANSWER, Desk, desk
from diffgrid.app.shell import page_file, through_the_entry
from diffgrid.app.text import plain, seconds, weight
from diffgrid.engine.protocol import Snapshot
from diffgrid.errors import DiffgridError
from diffgrid.sharing.address import command, to_query
from diffgrid.spec.path import parse_path

SECONDS_BETWEEN_LOOKS = 0.5
WELCOMED = {"welcomed": True}


def show(mine: Desk, around: tuple[object, ...]) -> None:
    """The grid, as far as it is: again while a job runs, and after every touch."""
    if mine.next:
        page, query = mine.next
        mine.next = None
        st.switch_page(page_file(page), query_params=query)
    running, *_ = around
    if mine.job and not running:
        mine.job.wait(SECONDS_TO_ANSWER)  # what is cached is answered at once
    if mine.around != around or mine.sharing:
        st.rerun()  # the whole page: it looks again or no longer, and the form follows
    mine.sign()
    if mine.job:
        tell(mine.job.snapshot())
    board(
        data=present(mine),
        on_acts=partial(act_on, mine),
        on_rest=partial(rest_on, mine),
        on_lack=partial(lack_on, mine),
    )


def tell(snapshot: Snapshot) -> None:
    """What went wrong, in its own words."""
    if snapshot.warning:
        st.warning(plain(snapshot.warning))
    if snapshot.state == "failed":
        st.error(plain(str(snapshot.error)))


def act_on(mine: Desk) -> None:
    for what in mine.inbox.take(st.session_state["board"].acts):
        act(mine, what)


def rest_on(mine: Desk) -> None:
    match st.session_state["board"].rest:  # a browser may send anything
        case {"path": str(path)}:
            with suppress(DiffgridError):
                mine.rest(parse_path(path))


def lack_on(mine: Desk) -> None:
    match st.session_state["board"].lack:  # a browser may send anything
        case {"names": [*names]}:
            mine.ledger.lacks(name for name in names if isinstance(name, str))


def welcome() -> None:
    """What am I looking at? Until somebody has read it."""
    text, button = st.columns([0.88, 0.12], vertical_alignment="center")
    text.caption(
        "A diffusion model turns noise into a picture step by step, and each step rolls dice. The "
        "trunk is one run; each row leaves it at one step, by other dice. **Hover** (or tap) a "
        "cell and it plays; **click** (or tap again) and it becomes the trunk."
    )
    button.button("Got it", on_click=st.session_state.update, args=(WELCOMED,))


def offer(mine: Desk) -> None:
    """What would take long is sampled only when somebody says so."""
    if mine.offer is None:
        return
    count, model = f"{mine.offer.evaluations:,} evaluations", plain(mine.offer.view.model)
    if mine.offer.seconds is None:
        words = (
            f"This grid takes {count} of **{model}** ({weight(mine.offer.view.model)}). How long "
            "is not known yet: nothing was timed on this machine."
        )
    else:
        words = f"This grid takes {count}, about **{seconds(mine.offer.seconds)}** here."
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(words)
        st.button("Sample", type="primary", on_click=mine.accept, args=(mine.offer.view,))
        if smaller := mine.smaller():
            label = f"Smaller: {smaller.steps} steps, {len(smaller.rows)} × {smaller.columns}"
            st.button(label, on_click=mine.accept, args=(smaller,))


@st.dialog("Share this grid")
def share(mine: Desk) -> None:
    """The address rebuilds it anywhere."""
    mine.sharing = False
    st.caption("Whoever opens this address sees the same grid, sampled anew where it must be.")
    query = urlencode(to_query(mine.view))
    st.code(f"{str(st.context.url).partition('?')[0]}?{query}", language=None, wrap_lines=True)
    st.caption("The trajectory in view, from a command line:")
    st.code(command(mine.view, mine.view.path), language="bash", wrap_lines=True)


through_the_entry(__file__)
mine = desk()
mine.put_aside()
mine.open()
st.title("Branching grid", anchor=False)
if st.session_state.get("welcomed"):
    st.caption("Hover a cell and it plays; click it and it becomes the trunk.")
else:
    welcome()
if mine.error:
    st.error(plain(mine.error))
offer(mine)
if mine.sharing:
    share(mine)
look_again = SECONDS_BETWEEN_LOOKS if mine.running else None
st.fragment(show, run_every=look_again)(mine, mine.around)
if not mine.warmed:
    # What is below the fold would be drawn together with the grid, a third of a second later.
    time.sleep(HEAD_START)
experiments()
mine.warm()
