"""python -m diffgrid.app: the app's server, which `diffgrid app` becomes."""

import sys

from streamlit.web import cli

from diffgrid.app.shell import HOME

if __name__ == "__main__":
    # Streamlit reads the settings in `.streamlit` beside the script, wherever it is started.
    sys.argv = ["streamlit", "run", str(HOME / "streamlit_app.py"), *sys.argv[1:]]
    cli.main(prog_name="streamlit")
