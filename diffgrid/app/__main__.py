"""python -m diffgrid.app [--at=/?seed=8]: the app's server, which `diffgrid app` becomes.

`--at` comes first, and is where on it the browser begins.
"""

import sys

from streamlit.web import cli

from diffgrid.app.shell import HOME, begin_at

if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("--at="):
        begin_at(sys.argv.pop(1).removeprefix("--at="))
    # Streamlit reads the settings in `.streamlit` beside the script, wherever it is started.
    sys.argv = ["streamlit", "run", str(HOME / "streamlit_app.py"), *sys.argv[1:]]
    cli.main(prog_name="streamlit")
