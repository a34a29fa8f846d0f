"""The branching grid: a prompt's trunk, and the paths it did not take."""

import time
from collections.abc import Collection, Sequence
from urllib.parse import urlencode

import streamlit as st

from diffgrid.api import finished_grid, recipe
from diffgrid.app.components.grid.grid import board
from diffgrid.app.components.history.history import show_history
from diffgrid.app.components.link.link import show_link
from diffgrid.app.downloads import downloads
from diffgrid.app.examples import experiments
from diffgrid.app.render_state import render_history, render_state
from diffgrid.app.replay import replay
from diffgrid.app.session import actions
from diffgrid.app.session.reach import OPENED_BY, reach
from diffgrid.app.session.session import HEAD_START, SECONDS_TO_ANSWER, Around, Session
from diffgrid.app.shell import page_file, through_the_entry
from diffgrid.app.state import engine, session, write_query
from diffgrid.app.text import plain, seconds, weight
from diffgrid.browser.finished import page_of
from diffgrid.engine.protocol import Job, Snapshot
from diffgrid.limits import Limits
from diffgrid.pictures.animations import to_gif, to_webp
from diffgrid.sharing.address import command, to_query
from diffgrid.sharing.view import View
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import file_name


def show_grid(mine: Session, around: Around) -> None:
    """The grid, as far as it is: again while a job runs, and after every touch."""
    mine.open()  # the connection may have ended since, and come back
    if mine.next:
        page, query = mine.next
        mine.next = None
        st.switch_page(page_file(page), query_params=query)
    look_again, *_ = around
    if (job := mine.job) and not look_again:
        job.wait(SECONDS_TO_ANSWER)  # what is cached is answered at once
    if mine.around != around or mine.sharing:
        st.rerun()  # the whole page: it looks again or no longer, and the form follows
    write_query(mine, to_query(mine.view))
    with st.container():
        if job := mine.job:
            tell(job.snapshot())
    board(
        data=render_state(mine),
        on_acts=lambda: actions.take(mine, st.session_state["board"].acts),
        on_rest=lambda: actions.rest(mine, st.session_state["board"].rest),
        on_lack=lambda: actions.lack(mine.sent_images, st.session_state["board"].lack),
    )
    show_history(
        render_history(mine),
        lambda: actions.lack(mine.sent_thumbnails, st.session_state["history"].lack),
    )


def tell(snapshot: Snapshot) -> None:
    """What went wrong, in its own words."""
    if snapshot.warning:
        st.warning(plain(snapshot.warning))
    if snapshot.state == "failed":
        st.error(plain(str(snapshot.error)))


def offer(mine: Session) -> None:
    """What would take long is sampled only when somebody says so."""
    if not (held := mine.request.offer):
        return
    count, model = f"{held.evaluations:,} evaluations", held.view.model
    if held.seconds is None:
        words = (
            f"This grid takes {count} of **{plain(model)}** ({weight(model)}). How long is not "
            "known yet: nothing was timed on this machine."
        )
    else:
        words = f"This grid takes {count}, about **{seconds(held.seconds)}** here."
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(words)
        st.button("Sample", type="primary", on_click=mine.accept, args=(held.view,))
        if smaller := held.smaller:
            label = f"Smaller: {smaller.steps} steps, {len(smaller.rows)} × {smaller.columns}"
            st.button(label, on_click=mine.accept, args=(smaller,))


@st.dialog("Share this grid")
def share(mine: Session) -> None:
    """The address rebuilds it anywhere; the page and the pictures need no server."""
    mine.sharing = False
    st.caption("Whoever opens this address sees the same grid, sampled anew where it must be.")
    address, query = str(st.context.url).partition("?")[0], urlencode(to_query(mine.view))
    show_link("?".join(filter(None, [address, query])), mine.view.spec.prompt)
    opens = reach(address)
    if opens != "everyone":
        st.caption(f"{OPENED_BY[opens]} The page below can be sent to anyone.")
    st.caption("The grid to take away: as one HTML file that plays with no server, or as pictures.")
    if mine.grid and mine.done:
        take_away(mine.name, mine.grid, address if opens == "everyone" else "")
    else:
        st.caption("It can be had once all of it is sampled.")
    if len(mine.history.journey) > 1:
        st.caption("The journey here, grid by grid, as far as their pictures are stored.")
        take_journey(tuple(mine.history.journey), mine.request.keys)
    st.caption("The trajectory in view, from a command line:")
    st.code(command(mine.view, mine.view.path), language="bash", wrap_lines=True)


def take_away(name: str, grid: Grid, address: str) -> None:
    """The grid as files; `address` is this page's, where others can open it.

    What makes them is kept for minutes after everybody has left, and so holds no picture.
    """
    served = engine()

    def again() -> Job:
        limits = Limits.from_environment()
        job = served.submit(grid.spec, grid.paths, session=name, limits=limits, trust=True)
        job.wait()  # it is stored
        return job

    def page() -> bytes:
        job, words = again(), recipe(grid.spec, grid.path)[1:]
        made = {path: job.frames(path) for path in grid.paths}
        focus, _ = job.result(grid.path)
        return page_of(grid, made, focus, words, served, address).html()

    downloads(
        f"grid-{file_name(grid.path)}",
        {
            "html": ("Page", "text/html", page),
            "png": ("Picture", "image/png", lambda: finished_grid(grid, again()).picture()),
            "webp": ("Film", "image/webp", lambda: finished_grid(grid, again()).film()),
        },
    )


def take_journey(views: Sequence[View], own: Collection[str]) -> None:
    """The grids that were visited as a film; what makes it holds no picture, as above."""
    served = engine()
    downloads(
        "journey",
        {
            "gif": ("GIF", "image/gif", lambda: replay(served.store, views, own, to_gif)),
            "webp": ("WebP", "image/webp", lambda: replay(served.store, views, own, to_webp)),
        },
    )


through_the_entry(__file__)
mine = session()
mine.one_run.put_aside()
mine.open()
st.title("Branching grid", anchor=False)
st.caption(  # what to do with a cell, the grid itself tells a first visitor
    "A diffusion model turns noise into a picture step by step, and each step rolls dice: every "
    "row leaves the trunk at one step, and rolls again."
)
with st.container():
    if mine.error:
        st.error(plain(mine.error))
    offer(mine)
if mine.sharing:
    share(mine)
around = mine.around
st.fragment(show_grid, run_every=around[0])(mine, around)
if not mine.warmed:
    # What is below the fold would be drawn together with the grid, a third of a second later.
    time.sleep(HEAD_START)
experiments()
mine.warm()
