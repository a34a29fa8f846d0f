"""The app: streamlit run streamlit_app.py

Streamlit's server reads this file once, for `app`, and runs it as a script for every visitor.
"""

from streamlit.starlette import App

from diffgrid.app.link_previews import routes
from diffgrid.app.shell import open_browser

if __name__ == "__main__":
    from diffgrid.app.entry import draw  # here: the server listens before the pages are read

    draw()
else:
    app = App(__file__, routes=routes(), lifespan=open_browser)
