"""Three mends of Streamlit 1.67: of how it takes a fragment's request to run again, and of a stall.

*From a page that is being left.* A fragment asks under the page it was drawn on, also just after
somebody went to another one. Streamlit then runs a fragment in the middle of the other page, and
the browser, told the old page's name, throws away what it was just sent: a white page ("Bad delta
path index"), or the page that was left. Such a request is dropped: its page is no longer there.

*Just as a run of the whole page has ended.* Streamlit starts a new runner at once and from then on
ignores the old one, whose last messages wait in the event loop: elements of the page are missing.
It says so itself where it does it, and mends it for fragments that are gone only (its issue 9921).
Such a request goes to the loop's end once, behind those messages.

*After every run* it looks at the files of all modules, in the event loop, also where it is told to
watch none: with torch there are thousands. On a busy machine the end of a page was held back for a
minute by it, and its old form stood beside the new one as long.
"""

from functools import wraps

from streamlit.config import get_option
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType
from streamlit.watcher.local_sources_watcher import LocalSourcesWatcher


def mend() -> None:
    """Mend all three, once a process."""
    plain = AppSession.request_rerun
    if hasattr(plain, "__wrapped__"):
        return

    @wraps(plain)
    def request_rerun(self: AppSession, client_state: ClientState | None) -> None:
        if client_state and client_state.fragment_id:
            here = self._client_state.page_script_hash
            if here and client_state.page_script_hash != here:
                return
            if _has_ended(self):
                self._event_loop.call_soon(plain, self, client_state)
                return
        elif client_state and client_state.page_script_hash:
            # Streamlit notes it when the run begins; a request that is on its way would be sooner.
            self._client_state.page_script_hash = client_state.page_script_hash
        plain(self, client_state)

    AppSession.request_rerun = request_rerun  # type: ignore[method-assign]
    look = LocalSourcesWatcher.update_watched_modules

    @wraps(look)
    def update_watched_modules(self: LocalSourcesWatcher) -> None:
        if get_option("server.fileWatcherType") != "none":
            look(self)

    LocalSourcesWatcher.update_watched_modules = update_watched_modules  # type: ignore[method-assign]


def _has_ended(session: AppSession) -> bool:
    """Whether the session's runner takes no more requests, while it is still listened to.

    It sends its last message before it comes to that, so the message is in the loop by now.
    """
    runner = session._scriptrunner
    return runner is not None and runner._requests._state == ScriptRequestType.STOP
