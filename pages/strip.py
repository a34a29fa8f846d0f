"""One trajectory, timestep by timestep."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import streamlit as st
from PIL.Image import Image

from diffgrid.api import Trajectory, finished_trajectory
from diffgrid.app.components.strip.strip import message, show_strip, thumbnails
from diffgrid.app.downloads import downloads
from diffgrid.app.session.actions import take
from diffgrid.app.session.change import changeable
from diffgrid.app.session.page import GRID
from diffgrid.app.session.session import Session
from diffgrid.app.shell import page_file, through_the_entry
from diffgrid.app.state import session, store, write_query
from diffgrid.app.text import plain, progress, seconds
from diffgrid.engine.protocol import Job, Snapshot
from diffgrid.errors import DiffgridError
from diffgrid.pictures.animations import to_gif, to_webp
from diffgrid.records.frames import Decoding
from diffgrid.sharing.address import command, query_of_one
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, file_name
from diffgrid.spec.run import key
from diffgrid.store.pictures import stored_exact, with_exact

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_UNASKED = 10.0  # up to which a strip is decoded exactly although nobody asks
DECODING = "x̂0 of every step by the model's full VAE. The pictures are kept."


def show_one(mine: Session, grid: Grid, path: Path, around: tuple[object, ...]) -> None:
    """The strip, as far as it is.

    Streamlit keeps what a fragment is given, what makes a file and what the page itself names for
    minutes after everybody has left: none of that is a job or a picture.
    """
    try:
        job = mine.one_run.ask(grid.spec, path)
    except DiffgridError as error:
        trouble(error)
        return
    snapshot = job.snapshot()
    if around_it(mine, grid, job) != around:
        st.rerun()  # the whole page: it shows what was asked for, or looks no longer
    with st.container():
        if snapshot.warning:
            st.warning(plain(snapshot.warning))
        if snapshot.error:
            trouble(snapshot.error)
    ahead = mine.furthest(grid.spec, path, job)
    if not ahead.snapshot().paths[path].done:
        if not snapshot.ended:
            wait(ahead.snapshot(), path, grid.spec.model)
        return
    try:
        trajectory = read(ahead, path)
        noisy = job.noisy(path) if snapshot.state == "done" else None
        groups, change = thumbnails(store(), grid), changeable(mine.view, path)
        data = message(
            trajectory,
            noisy,
            groups,
            grid.rows,
            waiting=not snapshot.ended,
            change=change,
            acted=mine.inbox.receipt,
        )
        show_strip(data, lambda: take(mine, st.session_state["film"].acts))
        take_away(mine, grid, path, trajectory.x0_note)
    except DiffgridError as error:
        if not snapshot.error:
            trouble(error)


def read(job: Job, path: Path) -> Trajectory:
    """What the job made of it, with the exact pictures that are stored."""
    trajectory = finished_trajectory(job, path)
    return replace(trajectory, frames=with_exact(store(), trajectory.key, trajectory.frames))


def take_away(mine: Session, grid: Grid, path: Path, note: str) -> None:
    """The strip as a file."""
    view = mine.view
    words = "  # ".join(filter(None, [command(view, path), note]))

    def again() -> Trajectory:
        job = mine.one_run.ask(grid.spec, path)
        job.wait()  # it is stored, or here still
        return read(job, path)

    def film(make: Callable[[Sequence[Image], str], bytes]) -> bytes:
        trajectory = again()
        return make([*trajectory.x0_images, trajectory.image], words)

    downloads(
        f"strip-{file_name(path)}",
        {
            "png": ("Strip", "image/png", lambda: again().strip(view)),
            "gif": ("GIF", "image/gif", lambda: film(to_gif)),
            "webp": ("WebP", "image/webp", lambda: film(to_webp)),
        },
    )


def exactness(mine: Session, grid: Grid, path: Path, previews: Decoding, running: bool) -> None:
    """Whether x̂0 is in previews, and the one control that has the full VAE decode it."""
    exact = mine.one_run.exact
    snapshot = exact.snapshot() if exact else None
    if running != (snapshot is not None and not snapshot.ended):
        st.rerun()  # the whole page: it shows what was made, or looks at what is under way
    if exact and snapshot and running:  # nothing is read: it looks twice a second
        with st.container(horizontal=True, vertical_alignment="center"):
            share = snapshot.decoded / max(1, snapshot.to_decode)
            st.progress(share, progress(snapshot, grid.spec.model))
            st.button("Stop", on_click=exact.cancel)
        return
    length = grid.spec.length
    left = length - len(stored_exact(store(), key(grid.spec, path), length))
    took = previews.seconds
    cost = None if took is None else took * left
    if left and cost is not None and cost < SECONDS_UNASKED and not (exact or mine.error):
        decode(mine, grid, path)
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        if left:
            st.caption(f"{previews.note}.")
            words = "Decode exactly" if cost is None else f"Decode exactly, about {seconds(cost)}"
            st.button(words, help=DECODING, on_click=decode, args=(mine, grid, path))
        else:
            st.caption("x̂0 pictures are exact: the model's full VAE decoded them.")
    if snapshot and snapshot.state == "failed":
        st.error(plain(str(snapshot.error)))


def decode(mine: Session, grid: Grid, path: Path) -> None:
    """Have the full VAE decode x̂0 of each step."""
    try:
        mine.one_run.decode(grid.spec, path)
    except DiffgridError as error:
        mine.error = str(error)


def around_it(mine: Session, grid: Grid, job: Job) -> tuple[object, ...]:
    """What the page around the strip depends on."""
    return mine.view, mine.one_run.picked(mine.view, grid), mine.error, job.snapshot().ended


def wait(snapshot: Snapshot, path: Path, model: str) -> None:
    """How far it is, and the newest guess."""
    st.progress(snapshot.sampled / max(1, snapshot.to_sample), progress(snapshot, model))
    if frame := snapshot.paths[path].frame:
        preview = " (a preview)" if snapshot.decoding.approximate else ""
        st.image(frame, f"the model's guess so far{preview}", width=272)


def trouble(error: DiffgridError) -> None:
    """What went wrong, and ways on."""
    st.error(plain(str(error)))
    with st.container(horizontal=True):
        if st.button("Try again"):
            mine.one_run.put_aside()
            st.rerun()
        if st.button("Back to the grid"):
            st.switch_page(page_file(GRID))


def strip(mine: Session) -> None:
    """The path of the grid that was picked, and what is said around it."""
    try:
        grid = mine.view.grid()
        path = mine.one_run.picked(mine.view, grid)
        job = mine.one_run.ask(grid.spec, path)
    except DiffgridError as error:
        trouble(error)
    else:
        with st.container():
            if mine.error:
                st.error(plain(mine.error))
        write_query(mine, query_of_one(mine.view, path))
        around = around_it(mine, grid, job)
        look_again = None if job.snapshot().ended else SECONDS_BETWEEN_LOOKS
        if job.snapshot().ended and job.snapshot().paths[path].done:
            previews, exact = job.frames(path).decoding, mine.one_run.exact
            if previews.approximate:
                decoding = exact is not None and not exact.snapshot().ended
                st.fragment(exactness, run_every=SECONDS_BETWEEN_LOOKS if decoding else None)(
                    mine, grid, path, previews, decoding
                )
        st.fragment(show_one, run_every=look_again)(mine, grid, path, around)


through_the_entry(__file__)
mine = session()
st.title("Trajectory strip", anchor=False)
st.caption(
    "One run from noise to picture, a column for each timestep: what the model was given, what it "
    "guessed, and what changed."
)
strip(mine)
