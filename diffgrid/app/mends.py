"""Mends of Streamlit 1.67, so that the page that was asked for comes, and whole.

*One run at a time.* By default a request to run a page starts a second thread beside the one that
runs, which is told to stop but may begin another run first: it then puts the old page's query,
widgets and fragments in place of the new one's (`runner.fastReruns`). Without it the same thread
turns to the request, at the next `st` call as well, and keeps what the page before was told.

*A page that is being left asks for nothing more.* Of requests that wait Streamlit makes one, for
the page of the last. A fragment asks under the page it was drawn on, also just after somebody went
to another one, and `st.rerun` asks for its own page: then the page that was left comes back, or
none at all ("Bad delta path index").

*Just as a run of the whole page has ended*, Streamlit starts a new runner at once and from then on
ignores the old one, whose last messages wait in the event loop: elements of the page are missing.
It says so itself where it does it, and mends it for fragments that are gone only (its issue 9921).
A fragment's request goes to the loop's end once, behind those messages.

*When a connection ends* it stops the run under way, and where the connection comes back it passes
that on as one that ended: of the page parts are missing, or all of it. It is run anew then; and a
browser that had not heard of the page yet asks for the one that was left, in vain.

What a run still draws for a connection that is gone is kept for two minutes by Streamlit, a
megabyte a session: a hundred visitors who left made a server of 650 MB one of 890. As the page is
run anew where the connection comes back, nothing of it is wanted.

*A connection that ends while it is written to* is taken by its reader, where a message was left,
for one that sends text: it is closed once more, which fails, with a traceback in the log. Writing
to one that the server itself has given up leaves another. To both it has ended, and no more.

*After every run* it looks at the files of all modules, in the event loop, also where it is told to
watch none: with torch there are thousands. On a busy machine the end of a page was held back for a
minute by it, and its old form stood beside the new one as long.
"""

from functools import wraps
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from streamlit.config import get_option, set_option
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner import RerunData, get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequests
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager
from streamlit.watcher.local_sources_watcher import LocalSourcesWatcher

GONE = 1006  # WebSocket's code for a connection that ended without a word


def mend() -> None:
    """Mend all of it, once a process."""
    if hasattr(AppSession.request_rerun, "__wrapped__"):
        return
    set_option("runner.fastReruns", False)
    ask, start = AppSession.request_rerun, AppSession._create_scriptrunner
    wait, look = ScriptRequests.request_rerun, LocalSourcesWatcher.update_watched_modules
    resume = WebsocketSessionManager._resume_stored_session
    leave, tell = WebsocketSessionManager.disconnect_session, AppSession._enqueue_forward_msg
    read, write = WebSocket.receive_bytes, WebSocket.send_bytes

    @wraps(ask)
    def request_rerun(self: AppSession, client_state: ClientState | None) -> None:
        here = self._client_state.page_script_hash
        if client_state and here and client_state.page_script_hash != here:
            if client_state.fragment_id and self._scriptrunner is None:
                return
            resumed = vars(self).pop("resumed", None) and self._scriptrunner is not None
            if resumed and not client_state.is_history_navigation:
                return
        ask(self, client_state)

    @wraps(start)
    def create_scriptrunner(self: AppSession, rerun_data: RerunData) -> None:
        ended = self._scriptrunner  # it takes no more requests, and is still listened to
        if ended is None or not rerun_data.fragment_id:
            return start(self, rerun_data)

        def later() -> None:
            other = self._scriptrunner
            if other in (ended, None) or not other.request_rerun(rerun_data):
                start(self, rerun_data)

        # It sent its last message before it came to that, so the message is in the loop by now.
        self._event_loop.call_soon(later)

    @wraps(wait)
    def request_rerun_of(self: ScriptRequests, new_data: RerunData) -> bool:
        running = get_script_run_ctx(suppress_warning=True)  # None where a browser asks
        going = getattr(self, "going", "")  # the page that was asked for last
        whole = not (new_data.fragment_id or new_data.fragment_id_queue)
        leaving = running.page_script_hash if running else not whole and new_data.page_script_hash
        if going and leaving and leaving != going:
            return True
        if whole or not going:
            self.going = new_data.page_script_hash  # type: ignore[attr-defined]
        return wait(self, new_data)

    @wraps(resume)
    def resume_stored_session(self: WebsocketSessionManager, *arguments: Any) -> str | None:
        resumed = resume(self, *arguments)
        if resumed is not None:
            session = self._active_session_info_by_id[resumed].session
            session.away = False  # type: ignore[attr-defined]
            session.request_rerun(session._client_state)
            session.resumed = True  # type: ignore[attr-defined]
        return resumed

    @wraps(leave)
    def disconnect_session(self: WebsocketSessionManager, session_id: str) -> None:
        if info := self._active_session_info_by_id.get(session_id):
            info.session.away = True  # type: ignore[attr-defined]
            info.session._browser_queue.clear()
        leave(self, session_id)

    @wraps(tell)
    def enqueue_forward_msg(self: AppSession, msg: ForwardMsg) -> None:
        if not getattr(self, "away", False):
            tell(self, msg)

    @wraps(read)
    async def receive_bytes(self: WebSocket) -> bytes:
        if self.application_state is WebSocketState.DISCONNECTED:
            raise WebSocketDisconnect(GONE)
        return await read(self)

    @wraps(write)
    async def send_bytes(self: WebSocket, data: bytes) -> None:
        try:
            await write(self, data)
        except RuntimeError as error:
            raise WebSocketDisconnect(GONE) from error

    @wraps(look)
    def update_watched_modules(self: LocalSourcesWatcher) -> None:
        if get_option("server.fileWatcherType") != "none":
            look(self)

    AppSession._enqueue_forward_msg = enqueue_forward_msg  # type: ignore[method-assign]
    WebsocketSessionManager.disconnect_session = disconnect_session  # type: ignore[method-assign]
    WebSocket.receive_bytes = receive_bytes  # type: ignore[method-assign, assignment]
    WebSocket.send_bytes = send_bytes  # type: ignore[method-assign, assignment]
    AppSession.request_rerun = request_rerun  # type: ignore[method-assign]
    AppSession._create_scriptrunner = create_scriptrunner  # type: ignore[method-assign, assignment]
    ScriptRequests.request_rerun = request_rerun_of  # type: ignore[method-assign]
    LocalSourcesWatcher.update_watched_modules = update_watched_modules  # type: ignore[method-assign]
    WebsocketSessionManager._resume_stored_session = resume_stored_session  # type: ignore[method-assign, assignment]
