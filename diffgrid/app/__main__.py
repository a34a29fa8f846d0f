"""python -m diffgrid.app [--at=/?seed=8]: the app's server, which `diffgrid app` becomes.

`--at` comes first, and is where on it the browser begins.
"""

import sys

from streamlit import cli_util
from streamlit.web import cli

from diffgrid.app.shell import HOME


def begin_at(address: str) -> None:
    """Have Streamlit open the browser there, where it would at the first page."""
    opens = cli_util.open_browser
    cli_util.open_browser = lambda url: opens(url + address)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("--at="):
        begin_at(sys.argv.pop(1).removeprefix("--at="))
    # Streamlit reads the settings in `.streamlit` beside the script, wherever it is started.
    sys.argv = ["streamlit", "run", str(HOME / "streamlit_app.py"), *sys.argv[1:]]
    cli.main(prog_name="streamlit")
