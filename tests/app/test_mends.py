"""No request of a fragment takes a page away, or what a run that has ended still had to say."""

from __future__ import annotations

import asyncio
from inspect import unwrap
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.scriptrunner import RerunData, ScriptRunnerEvent
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequests
from streamlit.watcher.local_sources_watcher import LocalSourcesWatcher

from diffgrid.app.mends import mend


@pytest.fixture(autouse=True)
def _streamlit_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests run the app, which mends it.
    monkeypatch.setattr(AppSession, "request_rerun", unwrap(AppSession.request_rerun))
    plain = unwrap(LocalSourcesWatcher.update_watched_modules)
    monkeypatch.setattr(LocalSourcesWatcher, "update_watched_modules", plain)


class Session(AppSession):
    """Streamlit's own session, but for what it would draw and start."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self._state = AppSessionState.APP_NOT_RUNNING
        self._event_loop = asyncio.get_running_loop()
        self._client_state = ClientState()
        requests = ScriptRequests()
        self._scriptrunner: Any = SimpleNamespace(
            _requests=requests,
            request_rerun=requests.request_rerun,
            request_stop=requests.request_stop,
        )

    def shutdown(self) -> None:
        pass

    def has_fragment(self, fragment_id: str) -> bool:
        return True

    def _enqueue_forward_msg(self, msg: Any) -> None:
        self.happened.append(msg.WhichOneof("type"))

    def _create_scriptrunner(self, initial_rerun_data: RerunData) -> None:
        self.happened.append("a new runner")
        self._scriptrunner = SimpleNamespace(
            _requests=ScriptRequests(), request_rerun=self._also, request_stop=lambda: None
        )

    def _also(self, rerun_data: RerunData) -> bool:
        self.happened.append("one more run")
        return True


async def a_run_ends_as_somebody_asks(fragment_id: str) -> list[str]:
    """What happens, in order, where a request was in the loop before the end of a run."""
    session = Session()
    old = session._scriptrunner
    session._event_loop.call_soon(session.request_rerun, ClientState(fragment_id=fragment_id))
    session._on_scriptrunner_event(old, ScriptRunnerEvent.SCRIPT_STOPPED_WITH_SUCCESS)
    old._requests.on_scriptrunner_ready()  # nothing is asked for: it takes no more requests
    await asyncio.sleep(0.01)
    return session.happened


def test_a_fragments_request_comes_after_the_last_message_of_the_run_before() -> None:
    mend()
    mend()
    assert asyncio.run(a_run_ends_as_somebody_asks("f")) == ["script_finished", "a new runner"]


def test_a_request_for_the_whole_page_comes_at_once() -> None:
    """It draws all anew: what the run before had to say counts no longer."""
    mend()
    assert asyncio.run(a_run_ends_as_somebody_asks("")) == ["a new runner"]


def test_streamlit_would_lose_that_message() -> None:
    """When this fails, Streamlit has mended it: `diffgrid/app/mends.py` can go."""
    assert asyncio.run(a_run_ends_as_somebody_asks("f")) == ["a new runner"]


async def a_page_is_left_and_its_fragment_asks() -> list[str]:
    session = Session()
    session._client_state.page_script_hash = "grid"
    session.request_rerun(ClientState(page_script_hash="strip"))
    session.request_rerun(ClientState(page_script_hash="grid", fragment_id="f"))
    session.happened.append("and")
    session._scriptrunner = None
    session.request_rerun(ClientState(page_script_hash="strip", fragment_id="f"))
    await asyncio.sleep(0.01)
    return session.happened


def test_a_fragment_of_a_page_that_is_left_asks_in_vain() -> None:
    mend()
    happened = asyncio.run(a_page_is_left_and_its_fragment_asks())
    assert happened == ["a new runner", "and", "a new runner"]


@pytest.mark.parametrize(("kind", "looks"), [("none", False), ("poll", True)])
def test_files_are_looked_at_only_where_they_are_watched(
    kind: str, looks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    monkeypatch.setattr(
        LocalSourcesWatcher, "update_watched_modules", lambda self: looked.append("at them all")
    )
    monkeypatch.setattr("diffgrid.app.mends.get_option", lambda name: kind)
    mend()
    LocalSourcesWatcher.update_watched_modules(LocalSourcesWatcher.__new__(LocalSourcesWatcher))
    assert bool(looked) == looks
