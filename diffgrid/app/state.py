"""What a server keeps from one run of a page to the next."""

import streamlit as st

from diffgrid.app.session.session import Session
from diffgrid.app.session.studies import Studies
from diffgrid.engine.choose import choose_engine
from diffgrid.engine.protocol import Engine
from diffgrid.limits import Limits
from diffgrid.store.forgiving import TrajectoryStore


@st.cache_resource(show_spinner=False)
def store() -> TrajectoryStore:
    """The store of this process."""
    return TrajectoryStore.default()


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The engine of this process; torch comes with its first job that has to sample."""
    return choose_engine(store())


@st.cache_resource(show_spinner=False, scope="session", on_release=Session.close)
def session() -> Session:
    """What this tab works on; what it holds is given back when the connection ends.

    Where that comes back, callbacks and fragments of before go on: with the same session.
    """
    if "_mine" not in st.session_state:
        # To the engine all tabs of a stranger's browser are one, by Streamlit's token.
        public = Limits.from_environment().public
        token = st.context.cookies.get("_streamlit_xsrf") if public else None
        st.session_state["_mine"] = Session(engine, token)
    mine: Session = st.session_state["_mine"]
    return mine


@st.cache_resource(show_spinner=False, scope="session", on_release=Studies.close)
def studies() -> Studies:
    """What this tab studies; cancelled when the connection ends, as above."""
    kept: Studies = st.session_state.setdefault("_studies", Studies(engine, session().name))
    return kept


def write_query(mine: Session, query: dict[str, str]) -> None:
    """Write this into the address, in one update."""
    told = mine.address.write_query(query, st.query_params.to_dict())
    if told is not None:
        st.query_params.from_dict(told)
