"""The branching grid: a prompt's trunk, and the paths it did not take."""

import streamlit as st

from diffgrid.engine import Job, Snapshot
from diffgrid.errors import DiffgridError
from diffgrid.spec import Grid
from diffgrid.ui.desk import Desk, desk
from diffgrid.ui.form import run_form
from diffgrid.ui.tree import CSS, draw_tree, draw_trunk
from diffgrid.ui.words import cost, plain, progress

SECONDS_BETWEEN_LOOKS = 0.5


def show(mine: Desk, grid: Grid, job: Job, running: bool) -> None:
    """The grid, as far as it is."""
    snapshot = job.snapshot()
    if running and snapshot.ended:
        st.rerun()  # the whole page, which then stops looking
    trunk = mine.trunk()
    with st.container(horizontal=True, vertical_alignment="center"):
        show_state(mine, job, snapshot)
    # One piece of markup: the trunk's line runs through all of it.
    st.html(draw_tree(grid, snapshot.paths, trunk) + draw_trunk(grid, snapshot.paths, trunk))


def show_state(mine: Desk, job: Job, snapshot: Snapshot) -> None:
    """How far the job is or what it cost, and the button that goes with it."""
    if snapshot.warning:
        st.warning(plain(snapshot.warning))
    if snapshot.state == "failed":
        st.error(plain(str(snapshot.error)))
    elif snapshot.state == "cancelled":
        st.caption("Stopped. What was computed is kept: Sample goes on from there.")
    elif snapshot.state == "done":
        st.caption(cost(snapshot))
        st.download_button(
            "Download",
            mine.picture,
            file_name="grid.png",
            mime="image/png",
            icon=":material/download:",
            on_click="ignore",
        )
    else:
        st.progress(snapshot.sampled / max(1, snapshot.to_sample), progress(snapshot))
        st.button("Cancel", on_click=job.cancel)


st.html(CSS)
st.title("Branching grid", anchor=False)
st.caption("The trunk runs down the left; each row leaves it at that step.")

asked, sent = run_form()
mine = desk()
try:
    mine.ask(asked.grid(), again=sent)
except DiffgridError as error:
    st.error(plain(str(error)))
if mine.grid and mine.job:
    running = not mine.job.snapshot().ended
    look_again = SECONDS_BETWEEN_LOOKS if running else None
    st.fragment(show, run_every=look_again)(mine, mine.grid, mine.job, running)
