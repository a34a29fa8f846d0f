"""The page that was asked for comes, and whole: nothing that is left behind asks once more."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from inspect import unwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocket
from streamlit.config import get_option, set_option
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.scriptrunner import RerunData, ScriptRunnerEvent
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequests
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager
from streamlit.watcher.local_sources_watcher import LocalSourcesWatcher
from streamlit.web.server.starlette.starlette_websocket import create_websocket_handler

from diffgrid.app.mends import mend


@pytest.fixture(autouse=True)
def _streamlit_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Other tests run the app, which mends it.
    for owner, name in (
        (AppSession, "request_rerun"),
        (AppSession, "_create_scriptrunner"),
        (ScriptRequests, "request_rerun"),
        (LocalSourcesWatcher, "update_watched_modules"),
        (WebsocketSessionManager, "_resume_stored_session"),
        (WebsocketSessionManager, "disconnect_session"),
        (AppSession, "_enqueue_forward_msg"),
        (WebSocket, "receive_bytes"),
        (WebSocket, "send_bytes"),
    ):
        monkeypatch.setattr(owner, name, unwrap(getattr(owner, name)))
    monkeypatch.setattr(AppSession, "_create_scriptrunner", lambda self, data: self.start(data))
    before = get_option("runner.fastReruns")
    set_option("runner.fastReruns", True)
    yield
    set_option("runner.fastReruns", before)


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

    def start(self, initial_rerun_data: RerunData) -> None:
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


async def a_page_was_left_and_its_fragment_asks() -> list[str]:
    session = Session()
    session._scriptrunner = None
    session._client_state.page_script_hash = "strip"
    session.request_rerun(ClientState(page_script_hash="grid", fragment_id="f"))
    session._scriptrunner = None
    session.happened.append("and")
    session.request_rerun(ClientState(page_script_hash="strip", fragment_id="f"))
    return session.happened


def test_a_fragment_of_a_page_that_was_left_asks_in_vain() -> None:
    assert asyncio.run(a_page_was_left_and_its_fragment_asks()) == [
        *["a new runner", "and", "a new runner"]
    ]
    mend()
    assert asyncio.run(a_page_was_left_and_its_fragment_asks()) == ["and", "a new runner"]


async def a_connection_comes_back(*asked: ClientState) -> list[str]:
    """What happens where it ended on the strip, whose run was stopped."""
    session = Session()
    session._client_state.page_script_hash = "strip"
    session._scriptrunner = None
    manager = WebsocketSessionManager.__new__(WebsocketSessionManager)
    manager._active_session_info_by_id = {"tab": SimpleNamespace(session=session)}  # type: ignore[dict-item]
    assert manager._resume_stored_session("tab", None, {}) == "tab"  # type: ignore[arg-type]
    for each in asked:
        session.request_rerun(each)
    return session.happened


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ([], 0),
        ([ClientState(page_script_hash="grid")], 0),  # it had not heard of the strip yet
        ([ClientState(page_script_hash="grid"), ClientState(page_script_hash="grid")], 1),
        ([ClientState(page_script_hash="grid", is_history_navigation=True)], 1),
        ([ClientState(page_script_hash="strip")], 1),
    ],
)
def test_where_a_connection_comes_back_the_page_that_was_asked_for_runs_anew(
    asked: list[ClientState], runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WebsocketSessionManager, "_resume_stored_session", lambda *_: "tab")
    mend()
    happened = asyncio.run(a_connection_comes_back(*asked))
    assert happened == ["a new runner", *["one more run"] * runs]


def test_nothing_is_kept_for_a_connection_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebsocketSessionManager, "disconnect_session", lambda *_: None)
    monkeypatch.setattr(WebsocketSessionManager, "_resume_stored_session", lambda *_: "tab")
    mend()
    session: Any = type(
        "Kept", (AppSession,), {"__init__": lambda _: None, "__del__": lambda _: 0}
    )()
    session._browser_queue, session._message_enqueued_callback = ForwardMsgQueue(), None
    session._client_state, session.request_rerun = None, lambda _: None
    manager: Any = WebsocketSessionManager.__new__(WebsocketSessionManager)
    manager._active_session_info_by_id = {"tab": SimpleNamespace(session=session)}

    def told() -> int:
        session._enqueue_forward_msg(ForwardMsg(script_finished=ForwardMsg.FINISHED_SUCCESSFULLY))
        return len(session._browser_queue._queue)

    assert (told(), told()) == (1, 2)
    manager.disconnect_session("tab")
    assert (told(), told()) == (0, 0)
    assert manager._resume_stored_session("tab", None, {}) == "tab"
    assert told() == 1


async def a_connection_ends_as_it_is_written_to(fault: Exception) -> list[str]:
    """What a server reads of a message that had come before, where a write meets this fault."""
    connected: list[Any] = []
    told: list[str] = []

    def connect(client: Any, **_: Any) -> str:
        connected.append(client)
        return "tab"

    runtime = SimpleNamespace(
        connect_session=connect,
        handle_backmsg=lambda *_, **__: told.append("a message"),
        disconnect_session=lambda *_, **__: told.append("the end"),
    )
    coming = iter(
        [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "bytes": b""},
            {"type": "websocket.disconnect", "code": 1001},
        ]
    )

    async def receive() -> Any:
        for client in connected:
            if not client._closed.is_set():
                client.write_forward_msg(ForwardMsg())
                await client._closed.wait()
        return next(coming)

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            raise fault

    scope = {"type": "websocket", "headers": []}
    await create_websocket_handler(runtime)(WebSocket(scope, receive, send))  # type: ignore[arg-type]
    return told


@pytest.mark.parametrize("fault", [OSError(), RuntimeError()])  # it was left; it was given up
def test_a_connection_that_ends_as_it_is_written_to_has_ended_and_no_more(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[str] = []
    log = "streamlit.web.server.starlette.starlette_websocket._LOGGER.exception"
    monkeypatch.setattr(log, errors.append)
    mend()
    assert asyncio.run(a_connection_ends_as_it_is_written_to(fault)) == ["a message", "the end"]
    assert not errors


def test_streamlit_would_fail_as_a_connection_ends() -> None:
    """Where this fails, Streamlit has mended it."""
    with pytest.raises(RuntimeError, match="close message has been sent"):
        asyncio.run(a_connection_ends_as_it_is_written_to(OSError()))


def page(name: str) -> RerunData:
    return RerunData(page_script_hash=name)


def fragment(of: str) -> RerunData:
    return RerunData(page_script_hash=of, fragment_id="f")


def runs_next(monkeypatch: pytest.MonkeyPatch, *asked: tuple[str | None, RerunData]) -> str:
    """The page that runs after the grid, where each was asked for by a running page, or None."""
    requests = ScriptRequests()
    requests.request_rerun(page("grid"))
    requests.on_scriptrunner_ready()
    for by, data in asked:
        running = SimpleNamespace(page_script_hash=by) if by else None
        monkeypatch.setattr("diffgrid.app.mends.get_script_run_ctx", lambda **_: running)  # noqa: B023
        assert requests.request_rerun(data)
    return requests.on_scriptrunner_ready().rerun_data.page_script_hash


BROWSER = None
LEFT_BEHIND = [
    ("its fragment", [(BROWSER, page("strip")), (BROWSER, fragment("grid"))]),
    ("its fragment, as it goes by itself", [("grid", page("strip")), (BROWSER, fragment("grid"))]),
    ("itself, once more", [(BROWSER, page("strip")), ("grid", page("grid"))]),
    ("itself, for another", [(BROWSER, page("strip")), ("grid", page("compare"))]),
    ("its fragment, then itself", [(BROWSER, fragment("grid")), (BROWSER, page("strip"))]),
]
ON_THE_WAY = [
    ("for another", [("grid", page("strip"))]),
    ("for another, and its form for itself", [(BROWSER, page("grid")), ("grid", page("strip"))]),
    ("by a second click", [(BROWSER, page("compare")), (BROWSER, page("strip"))]),
    ("by a click after its own", [("grid", page("compare")), (BROWSER, page("strip"))]),
]


@pytest.mark.parametrize(("name", "asked"), LEFT_BEHIND + ON_THE_WAY)
def test_a_page_that_is_left_asks_for_nothing_more(
    name: str, asked: list[tuple[str | None, RerunData]], monkeypatch: pytest.MonkeyPatch
) -> None:
    mend()
    assert runs_next(monkeypatch, *asked) == "strip"


@pytest.mark.parametrize(("name", "asked"), LEFT_BEHIND[:4])
def test_streamlit_would_let_it_come_back(
    name: str, asked: list[tuple[str | None, RerunData]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where this fails, Streamlit has mended it."""
    monkeypatch.setattr("diffgrid.app.mends.get_script_run_ctx", lambda **_: None)
    assert runs_next(monkeypatch, *asked) != "strip"


def test_a_run_that_is_told_to_end_does_not_begin_another_beside_the_new_one() -> None:
    mend()
    assert not get_option("runner.fastReruns")


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


def test_no_two_pages_name_a_fragment_alike() -> None:
    """Streamlit tells them apart by the name of the function: another page's would be taken."""
    root = Path(__file__).parents[2]
    pages = [file.read_text() for file in (root / "pages").glob("*.py")]
    names = [name for page in pages for name in re.findall(r"st\.fragment\((\w+)", page)]
    assert len(names) > 2
    assert len(names) == len({*names})
