"""Whether files may be sent: Streamlit's route for them is open to whoever reaches the server."""

from streamlit.config import set_option

from diffgrid.limits import Limits

MOST = 200  # MB of a file of runs, which is in memory meanwhile; the command line takes larger ones


def open_uploads(limits: Limits) -> None:
    """Let files in, but on a public server; `.streamlit/config.toml` lets none in."""
    set_option("server.maxUploadSize", 0 if limits.public else MOST)
