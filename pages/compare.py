"""Cached and saved runs: a table to choose from, and up to four of them on one scrubber."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from diffgrid.app.components.comparison import comparison
from diffgrid.app.components.link.link import show_link
from diffgrid.app.session import run_list
from diffgrid.app.session.page import GRID
from diffgrid.app.session.reach import OPENED_BY, reach
from diffgrid.app.shell import page_file, through_the_entry
from diffgrid.app.state import session, store, write_query
from diffgrid.app.text import plain
from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.sharing import runs_file
from diffgrid.sharing.address import to_query
from diffgrid.spec.run import key as key_of
from diffgrid.store.runs import RunInfo, Unreadable

COLUMNS = {
    "picture": st.column_config.ImageColumn("", width=56, pinned=True),
    "path": st.column_config.TextColumn(width=72),
    "seed": st.column_config.NumberColumn(width=56, format="%d"),
    "imported": st.column_config.TextColumn("origin", width=176),
    "prompt": st.column_config.TextColumn(width=240),
    "name": st.column_config.TextColumn("saved as", width=130),
    "scheduler": st.column_config.TextColumn(width=96),
    "steps": st.column_config.NumberColumn(width=56),
    "guidance": st.column_config.NumberColumn(width=72, format="%g"),
    "eta": st.column_config.NumberColumn(width=48, format="%g"),
    "when": st.column_config.DatetimeColumn(format="distance", width=112),
    "size": st.column_config.NumberColumn(format="bytes", width=72),
    "note": st.column_config.TextColumn(width=200),
    "key": st.column_config.TextColumn(width=88),
}

BLANK = "width: 7rem; height: 7rem; border: 2px dashed; border-radius: 14px; opacity: 0.25"
BLANKS = '<div style="display: flex; gap: 0.9rem">' + 2 * f'<div style="{BLANK}"></div>' + "</div>"
QUIET: dict[str, Any] = {"type": "tertiary"}


def remember(chosen: Sequence[RunInfo]) -> None:
    """Write the choice into the address, too."""
    write_runs(session().compared.remember(chosen))


def write_runs(text: str | None) -> None:
    """Write these runs, as an address names them, and the view beside them."""
    write_query(session(), to_query(session().view) | ({"runs": text} if text else {}))


def table(infos: Sequence[RunInfo], chosen: Sequence[RunInfo]) -> None:
    """The runs to choose from; the rows of those on view are ticked."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input("Filter", placeholder="prompt, scheduler, name, seed 7 …")
        order = st.selectbox("Sort by", [*run_list.ORDERS], width=170)
    # The ticks are the table's own. It is another table, and so ticked anew, where its rows changed
    # or runs were chosen by other hands; those are then on top.
    on_top = session().compared.on_top(chosen)
    found = run_list.listing(infos, words, order, on_top)
    listed = found[: run_list.MOST_LISTED]
    with st.container():
        if not listed:
            st.info("No run has all of these words: try fewer.", icon=":material/search_off:")
            return
        if len(listed) < len(found):
            st.caption(f"The first {len(listed)} of {len(found):,} runs: filter to see others.")

    def take() -> None:
        ticked = [listed[row] for row in st.session_state[key].selection.rows]
        taken = session().compared.take(chosen, ticked)
        remember(taken)
        if not taken:
            session().compared.show_nothing()

    state = " ".join([*on_top, "of", *(info.key for info in listed)])
    key = hashlib.sha256(state.encode()).hexdigest()
    rows = [row for row, info in enumerate(listed) if info in chosen]
    blank = set() if any(info.saved or info.note for info in listed) else {"name", "note"}
    blank |= set() if any(info.imported for info in listed) else {"imported"}
    st.dataframe(
        run_list.to_table(store(), listed),
        height=min(len(listed), 4) * 52 + 37,
        row_height=52,
        placeholder="",
        hide_index=True,
        column_config=COLUMNS,
        column_order=[name for name in COLUMNS if name not in blank],
        key=key,
        on_select=take,
        selection_mode="multi-row",
        selection_default={"selection": {"rows": rows}},
        alt="Cached, saved and imported runs; tick two to four of them to compare",
    )


def load(chosen: Sequence[RunInfo]) -> list[comparison.Run]:
    """The runs to show, as far as they are whole."""
    runs = []
    for info in chosen:
        try:
            runs.append(comparison.load(store(), info))
        except DiffgridError as error:
            st.warning(plain(str(error)))
    return comparison.alike(store(), runs)


def show(chosen: Sequence[RunInfo]) -> list[RunInfo]:
    """The runs side by side; which are on view."""
    runs = load(chosen)
    with st.container():
        if runs:
            comparison.show(runs)
            for note in dict.fromkeys(run.frames.decoding.note for run in runs):
                if note:
                    st.caption(f"{note}.")
        if len(runs) < 2:
            st.caption("Tick two to four runs in the table to see them side by side.")
    return [run.info for run in runs]


def actions(chosen: Sequence[RunInfo], keeps: bool) -> None:
    """What can be done with each run on view."""
    for letter, info in zip("ABCD", chosen, strict=False):
        with st.container(horizontal=True, vertical_alignment="center"):
            note = f"  \n:gray[:small[{plain(info.note)}]]" if info.note else ""
            st.markdown(f"**{letter}**  {plain(run_list.label(info))}{note}")
            word = "Rename" if info.saved else "Save"
            own = keeps and info.computed
            if own and st.button(word, key=f"save-{info.key}", **QUIET):
                save(info)
            stored = keeps and (not info.bundled or info.imported)
            if stored and st.button("Remove", key=f"remove-{info.key}", **QUIET):
                copies = {"saved": info.saved, "imported": info.computed and info.imported}
                too = "".join(f" Its {name} copy goes too." for name in copies if copies[name])
                again = "sampled again" if info.computed else "imported again, or sampled"
                again += ", from its photo" if info.spec.photo else ""
                remove(
                    info.key,
                    run_list.label(info),
                    f"Its arrays and pictures are deleted.{too} It can be {again}.",
                    [other for other in chosen if other != info],
                )


def in_files(infos: Sequence[RunInfo], keeps: bool) -> None:
    """The runs on view to take away, as a file, in figures or as an address, and a way in."""
    with st.container(horizontal=True, horizontal_alignment="right"):
        if keeps and st.button("Import runs", icon=":material/upload:"):
            take_in()
        export(infos)
        if infos:
            figures(infos)
            if st.button("Copy link", icon=":material/link:"):
                share(infos)


def figures(infos: Sequence[RunInfo]) -> None:
    """Settings and distances as CSV; what makes it is kept for a while, and holds no array."""
    stored = store()
    st.download_button(
        "CSV",
        lambda: comparison.in_figures(stored, infos),
        file_name="compared.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


@st.dialog("Copy the link")
def share(infos: Sequence[RunInfo]) -> None:
    """The address of these runs, as long as this server has them."""
    st.caption(
        "Whoever opens this address sees the same runs side by side, as long as they are stored on "
        "this server. *Export* makes a file of them that can be opened elsewhere."
    )
    address = str(st.context.url).partition("?")[0]
    query = urlencode({"runs": run_list.address(infos)}, safe=",")
    labels = zip("ABCD", map(run_list.label, infos), strict=False)
    title = "; ".join(f"{letter}: {label}" for letter, label in labels)
    show_link(f"{address}?{query}", title)
    opens = reach(address)
    if opens != "everyone":
        st.caption(OPENED_BY[opens])


def export(infos: Sequence[RunInfo]) -> None:
    """The runs on view as one file, but for those that came in one: that can be passed on."""
    own = [(letter, info) for letter, info in zip("ABCD", infos, strict=False) if info.computed]
    which = "" if len(own) == len(infos) else " " + ", ".join(letter for letter, _ in own)
    if own:
        # They are read when it is asked for: what makes the file is kept for a while.
        stored = runs_file.Stored(store(), [info.key for _, info in own])
        st.download_button(
            f"Export{which}",
            lambda: runs_file.to_bytes(stored),
            file_name="runs.diffgrid",
            mime="application/octet-stream",
            icon=":material/download:",
            on_click="ignore",
        )


@st.dialog("Import runs")
def take_in() -> None:
    """Ask for a file of runs; what it holds is on view then."""
    st.caption(
        "A file that somebody exported, runs.diffgrid say. Its runs are listed as imported: they "
        "never stand in for what is sampled here."
    )
    file = st.file_uploader("File of runs", type=["diffgrid"], label_visibility="collapsed")
    if file is None:
        return
    keys: list[str] = []

    def add() -> None:
        found = runs_file.read(file.getvalue(), store().imported_limit)
        store().add_imported(found, found.version)
        keys.extend(run.trajectory.key for run in found)

    if settle(add):
        infos = [info for info in store().runs(bundled=True) if info.key in keys]
        remember(infos[: run_list.MOST_SHOWN])
        st.rerun()


@st.dialog("Keep this run")
def save(info: RunInfo) -> None:
    """Ask for a name and a note."""
    st.caption("A saved run is never dropped from the cache.")
    with st.form("save", border=False):
        name = st.text_input("Name", info.saved or info.spec.prompt[:60], max_chars=200)
        note = st.text_area("Note", info.note, max_chars=2000, placeholder="What is it worth?")
        sent = st.form_submit_button("Save", type="primary")
    if sent and settle(lambda: store().save(info.key, name, note)):
        st.rerun()


@st.dialog("Remove this run?")
def remove(key: str, words: str, cost: str, others: Sequence[RunInfo] | None = None) -> None:
    """Ask whether it may be deleted, which costs so much; where it is on view the others stay.

    Without `others` it is one that cannot be read.
    """
    st.markdown(plain(words))
    st.caption(cost)
    act = partial(store().remove, key, unreadable=others is None)
    if st.button("Remove", type="primary") and settle(act):
        if others is not None:
            remember(others)
        st.rerun()


@st.dialog("Clear the cache?")
def clear(count: int, saved: Sequence[RunInfo], photos: bool) -> None:
    """Ask whether all but the saved runs may be deleted; `photos`: some begin with one."""
    again = ", some from photos that are to be given again" if photos else ""
    words = f"{count:,} runs are deleted; saved and imported runs stay."
    st.caption(f"{words} All can be sampled again{again}.")
    if st.button("Clear", type="primary") and settle(store().clear):
        remember(saved)
        st.rerun()


def settle(act: Callable[[], None]) -> bool:
    """Do it, or say why not."""
    try:
        act()
    except DiffgridError as error:
        st.error(plain(str(error)))
        return False
    return True


def cache(infos: Sequence[RunInfo], chosen: Sequence[RunInfo], keeps: bool) -> None:
    """How full the cache is, and the way to empty it."""
    infos = [info for info in infos if info.computed and not info.bundled]
    saved = [info for info in infos if info.saved]
    used, limit = run_list.megabytes(store().size()), run_list.megabytes(store().limit)
    with st.container(horizontal=True, vertical_alignment="center"):
        words = f"Your own: {len(infos):,} runs, {len(saved):,} of them saved, {used} of {limit}."
        st.caption(f"{words} The cache drops what was used longest ago, but no saved run.")
        if keeps and st.button("Clear the cache", disabled=len(saved) == len(infos)):
            kept = [info for info in chosen if info.saved or not info.computed]
            photos = any(info.spec.photo for info in infos if not info.saved)
            clear(len(infos) - len(saved), kept, photos)


def unreadable(left: Sequence[Unreadable]) -> None:
    """What is stored and cannot be read here, with its picture where that can be shown."""
    runs = "1 stored run" if len(left) == 1 else f"{len(left):,} stored runs"
    with st.expander(f"{runs} cannot be read by this version"):
        st.caption("Nothing goes until you remove it: another version may be able to read it.")
        for run in left[: run_list.MOST_LISTED]:
            with st.container(horizontal=True, vertical_alignment="center"):
                if picture := run_list.thumbnail(store(), run.key):
                    st.image(picture, width=run_list.THUMBNAIL)
                words = [run.name, run.prompt, f"{run.key[:8]}, {run.reason}"]
                text = ": ".join(filter(None, words))
                st.markdown(plain(text))
                if st.button("Remove", key=f"remove-{run.key}", **QUIET):
                    remove(run.key, text, "All that is stored of it is deleted for good.")


def nothing() -> None:
    """What stands here before anything was sampled."""
    with st.container(horizontal_alignment="center"):
        st.space("large")
        st.html(BLANKS, width="content")
        st.subheader("Nothing to compare yet", anchor=False, text_alignment="center")
        words = "Every grid leaves its runs here: the trunk and each path not taken."
        st.caption(words, text_alignment="center")
        st.page_link(page_file(GRID), label="Sample a grid", icon=":material/account_tree:")


through_the_entry(__file__)
st.title("Compare runs", anchor=False)
mine, asked = session(), st.query_params.get("runs")
keeps = not Limits.from_environment().public  # strangers must not touch each other's runs
try:
    infos = store().runs(bundled=True)
    left = store().unreadable(infos) if keeps else []
except DiffgridError as error:
    st.error(plain(str(error)))
    st.stop()
if not keeps:
    infos = run_list.shown_to_strangers(infos, mine.request.keys, asked or "")
with st.container():
    if mine.error:
        st.error(plain(mine.error))
    if warning := store().warning:
        st.warning(plain(warning))
    if left:
        unreadable(left)
if not infos:
    write_runs(asked)
    nothing()
    st.stop()
st.caption("Up to four runs on one scrubber, matched by noise level: their steps may differ.")
trunk = key_of(mine.view.spec, mine.view.path)
chosen, complaint = mine.compared.choose(infos, asked, trunk)
with st.container():
    if complaint:
        st.warning(plain(complaint))
if chosen:
    remember(chosen)
else:
    write_runs(None)
with st.container():
    table(infos, chosen)
with st.container():
    on_view = show(chosen)
with st.container():
    actions(on_view, keeps)
    in_files(on_view, keeps)
st.divider()
try:
    cache(infos, chosen, keeps)
except DiffgridError as error:
    st.error(plain(str(error)))
