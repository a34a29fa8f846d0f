"""What a server keeps from one run of a page to the next."""

import streamlit as st

from diffgrid.app.session.session import Session
from diffgrid.app.session.studies import Studies
from diffgrid.engine.choose import choose_engine
from diffgrid.engine.protocol import Engine
from diffgrid.limits import Limits
from diffgrid.spec.path import Path
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
    """What this tab works on; cleared when it is closed."""
    # To the engine all tabs of a stranger's browser are one, by the token that Streamlit gives it.
    token = st.context.cookies.get("_streamlit_xsrf") if Limits.from_environment().public else None
    return Session(engine, token)


@st.cache_resource(show_spinner=False, scope="session", on_release=Studies.close)
def studies() -> Studies:
    """What this tab studies; cancelled when it is closed."""
    return Studies(engine)


def write_query(mine: Session, path: Path | None = None) -> None:
    """Write the view, at its own path or this one, into the address, in one update."""
    view = mine.view if path is None else mine.view.follow(path)
    query = mine.address.write_query(view, st.query_params.to_dict())
    if query is not None:
        st.query_params.from_dict(query)
