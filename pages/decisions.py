"""When is what decided? A study of many trunks, for the prompt in the sidebar."""

import json
from dataclasses import replace

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from diffgrid.app.components.chart.chart import show_chart
from diffgrid.app.downloads import downloads
from diffgrid.app.session.bundled_studies import (
    OWN,
    bundled_results,
    choices,
    nearest,
    same,
    told_apart,
)
from diffgrid.app.session.studies import TRUNKS, USUAL_COLUMNS, USUAL_TRUNKS, Studies, plan_of
from diffgrid.app.shell import explain, through_the_entry
from diffgrid.app.state import session, studies, write_query
from diffgrid.app.text import described, plain, quoted
from diffgrid.decisions.chart_png import to_png
from diffgrid.decisions.charts import chart, summary
from diffgrid.decisions.decision_steps import ordered
from diffgrid.decisions.intervals import FEWEST
from diffgrid.decisions.results import Results
from diffgrid.decisions.study import Plan, study_rows
from diffgrid.errors import DiffgridError
from diffgrid.limits import Limits
from diffgrid.sharing.address import to_query
from diffgrid.spec.run import RunSpec

SECONDS_BETWEEN_LOOKS = 1.0
FEW = 16  # trunks; with fewer, intervals are as wide as the chart


# Studying.


def watch(mine: Studies, before: Results | None) -> None:
    """How far the study is; the rest of the page runs again only when a look was taken."""
    mine.look()
    if mine.study is None or mine.plan is None:
        return
    snapshot, spec = mine.study.snapshot, mine.plan.spec
    if not mine.running or mine.found.get(spec) is not before:
        st.rerun()
    with st.container(border=True):
        st.markdown(f"Studying {plain(quoted(spec, 80))}, {plain(described(spec))}")
        st.progress(snapshot.sampled / max(1, snapshot.to_sample), mine.progress)
        st.button("Cancel", on_click=mine.close, disabled=snapshot.ended)
    if snapshot.warning:
        st.warning(plain(snapshot.warning))


def ended(mine: Studies) -> None:
    """Why the last study came to nothing, if it did."""
    if mine.error:
        st.error(plain(mine.error))
    if mine.study and mine.study.snapshot.error:
        say = st.info if mine.study.snapshot.state == "cancelled" else st.error
        say(plain(str(mine.study.snapshot.error)))


def offer(mine: Studies, spec: RunSpec, shown: RunSpec | None) -> None:
    """Study the prompt of the sidebar, at a price that is told first."""
    known = shown is not None and same(spec, shown)
    label = "Study it anew, with other trunks, rows or columns" if known else None
    box = st.expander(label) if label else st.container(border=True)
    text, button = box.columns([0.76, 0.24], vertical_alignment="center")
    try:
        plan = wanted(spec)
        cost = mine.price(plan)
    except DiffgridError as error:
        text.error(plain(str(error)))
    else:
        if known:
            words = f"{plan.trunks} trunks take {cost}; what is stored is not sampled again."
        else:
            below = f" Below: {quoted(shown, 40)}, {described(shown)}." if shown else ""
            words = (
                f"{quoted(spec, 80)} with {described(spec)} was not studied yet.{below} "
                f"{plan.trunks} trunks take {cost}."
            )
        text.markdown(plain(words))
        name = "Study it" if known else "Study this prompt"
        button.button(name, type="primary", width="stretch", on_click=mine.start, args=(plan,))
    settings(box if known else box.expander("Trunks, rows and columns"), spec)


def wanted(spec: RunSpec) -> Plan:
    """What a study is made of, by the fields that are drawn below what is said of it: told before
    they are there, it does not move them under somebody's hand.

    Raises:
        BadInput: it cannot be.
    """
    given = st.session_state.get
    rows = given(rows_key(spec), usual_rows(spec))
    return plan_of(spec, given("trunks", USUAL_TRUNKS), rows, given("columns", USUAL_COLUMNS))


def settings(place: DeltaGenerator, spec: RunSpec) -> None:
    """The fields that `wanted` reads."""
    limits = Limits.from_environment()
    left, middle, right = place.columns([3, 4, 2])
    left.segmented_control(
        "Trunks", [count for count in TRUNKS if count <= limits.max_trunks],
        default=USUAL_TRUNKS, required=True, key="trunks",
        help="Seeds 0, 1, 2 …: the more, the shorter the intervals.",
    )  # fmt: skip
    middle.text_input(
        "Rows", usual_rows(spec), key=rows_key(spec), help="The steps at which each trunk is left."
    )
    right.number_input(
        "Columns", 2, limits.max_columns, USUAL_COLUMNS, key="columns",
        help="Branches at each of them.",
    )  # fmt: skip


def rows_key(spec: RunSpec) -> str:
    """Steps of one length are none of another."""
    return f"rows-{spec.loop.length}"


def usual_rows(spec: RunSpec) -> str:
    """The rows that a study has where nobody chose, as they are typed."""
    return ", ".join(map(str, study_rows(spec.loop)))


# What is shown.


def choose(mine: Studies, spec: RunSpec) -> Results | None:
    """The study of this specification, or else the nearest there is; others can be picked."""
    own = mine.found.get(spec)
    known = choices(spec, own is not None)
    chosen = first = OWN if own else nearest(spec, known)
    names = told_apart(known)
    if len(known) > 1:
        chosen = st.segmented_control(
            "Study", [*known], default=first, required=True,
            format_func=lambda name: plain(names[name]), label_visibility="collapsed",
            key=f"study-{first}-{hash(spec)}-{len(known)}",
        )  # fmt: skip
    if chosen is None or chosen == OWN:
        return own
    with st.spinner("Reading the study …", show_time=False):
        return bundled_results(chosen)


def show(found: Results, mine: Studies) -> None:
    """The chart, under its own words."""
    drawn = chart(found)
    st.subheader(plain(quoted(found.plan.spec)), anchor=False)
    recipe = " · ".join([*drawn.recipe, f"seeds 0 to {found.trees - 1}"])
    st.caption(f"{plain(recipe)}  \nNoise of the branches: {plain(found.kernel)}")
    with st.container():
        if found.trees < FEWEST:
            few = f"Too few trunks for intervals: {FEWEST} carry them,"
            st.caption(f"{few} and more make them shorter.")
        elif found.trees < FEW:
            few = "Few trunks say little: go by the intervals."
            st.caption(f"{few} {USUAL_TRUNKS} or more say more.")
        if mine.running and mine.plan and mine.plan.spec == found.plan.spec and mine.next_look:
            st.caption(
                f"As of {found.trees} trunks; it stays so until the next look, at {mine.next_look}."
            )
    show_chart(drawn)


def take_away(found: Results) -> None:
    """The study as files; what makes them is kept for a while, and so makes all anew."""

    downloads(
        "decisions",
        {
            "csv": ("CSV", "text/csv", found.to_csv),
            "json": ("JSON", "application/json", lambda: json.dumps(found.to_dict(), indent=1)),
            "png": ("Picture", "image/png", lambda: to_png(chart(found), found)),
        },
    )


def tables(found: Results) -> None:
    """The same in figures."""
    with st.expander("The same as tables"):
        st.table(pd.DataFrame(summary(each) for each in ordered(found.decisions.factors)))
        st.dataframe(found.decisions.table().round(3), hide_index=True)


through_the_entry(__file__)
here, mine = session(), studies()
here.one_run.put_aside()
st.title("When is it decided?", anchor=False)
explain(
    "decisions_explained",
    "Take a run, stop it half-way, go on several times with other dice: what all the branches "
    "have in common was decided **before** they parted, the rest after. Done for many runs and "
    "at many steps, and looked at by a classifier, this tells when each feature is settled. "
    "Point at a curve to read it.",
    "What branches of one trunk agree on was decided before they parted.",
)
with st.container():
    if here.error:
        st.error(plain(here.error))
write_query(here, to_query(here.view))
mine.look()
try:
    spec = replace(here.form.spec, seed=0)
    mine.recall(spec)
    with st.container():
        found = choose(mine, spec)
except DiffgridError as error:
    st.error(plain(str(error)))
else:
    with st.container():
        if mine.running:
            before = mine.found.get(mine.plan.spec) if mine.plan else None
            st.fragment(watch, run_every=SECONDS_BETWEEN_LOOKS)(mine, before)
        else:
            with st.container():
                ended(mine)
            offer(mine, spec, found.plan.spec if found else None)
    if found:
        show(found, mine)
        take_away(found)
        tables(found)
