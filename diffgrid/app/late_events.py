"""A mend of Streamlit: what a run that has ended still had to say is heard before the next begins.

A session hears its script from another thread, by way of its event loop. Where a fragment asks to
run again just as a run of the whole page has ended, Streamlit 1.67 starts a new runner at once and
from then on ignores the old one, whose last messages wait in the loop: elements of the new page are
missing ("Bad delta path index"), or the old ones stay beside the new, until the whole page runs
again. Streamlit says so itself where it does it (`AppSession.request_rerun`, and its issue 9921),
and mends it for fragments that are gone only. Ours polls, and stays.

Here such a request goes to the loop's end once, behind those messages.
"""

from functools import wraps

from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType


def mend() -> None:
    """Mend it, once a process."""
    plain = AppSession.request_rerun
    if hasattr(plain, "__wrapped__"):
        return

    @wraps(plain)
    def request_rerun(self: AppSession, client_state: ClientState | None) -> None:
        if client_state and client_state.fragment_id and _has_ended(self):
            self._event_loop.call_soon(plain, self, client_state)
        else:
            plain(self, client_state)

    AppSession.request_rerun = request_rerun  # type: ignore[method-assign]


def _has_ended(session: AppSession) -> bool:
    """Whether the session's runner takes no more requests, while it is still listened to.

    It sends its last message before it comes to that, so the message is in the loop by now.
    """
    runner = session._scriptrunner
    return runner is not None and runner._requests._state == ScriptRequestType.STOP
