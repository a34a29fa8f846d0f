"""What is drawn for every visitor: a page, and what stands around all of them."""

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from diffgrid.app import state
from diffgrid.app.mends import mend
from diffgrid.app.session.page import PAGES, title
from diffgrid.app.shell import ICON, LOGO, PAGE_STYLE, arrival, page_file
from diffgrid.app.sidebar import sidebar
from diffgrid.app.text import plain
from diffgrid.app.uploads import open_uploads
from diffgrid.limits import Limits

CREDIT = (
    "A toy after the essay [AI research could use more toys]"
    "(https://silverthorn.blog/posts/2022-12-diffusion-grid) and its "
    "[Diffusion Grid](https://github.com/bsilverthorn/diffusion-grid-app) by bsilverthorn."
)


def draw() -> None:
    """Draw the page that the address names."""
    mend()
    open_uploads(Limits.from_environment())
    st.set_page_config(page_icon=ICON, layout="wide")
    st.html(PAGE_STYLE)
    st.logo(LOGO, size="large")

    pages = [st.Page(page_file(each), title=each.title, default=each == PAGES[0]) for each in PAGES]
    page = st.navigation(pages, position="hidden")
    st.session_state["_shell"] = True  # what the pages' first lines look for
    # Beside the page, where it takes no room.
    st._event.html(arrival(page.url_path), unsafe_allow_javascript=True)

    with st.sidebar:
        for each in pages:
            st.page_link(each)

    mine = state.session()
    context = get_script_run_ctx()
    back = context is not None and context.is_history_navigation
    here = PAGES[pages.index(page)]
    mine.load_query(here, st.query_params.to_dict(), back=back)
    st.set_page_config(page_title=title(here, "" if here.keys else mine.view.prompt))
    if mine.lost:
        st.error(plain(mine.lost))
        st.button("Go on with the model in the box", on_click=mine.give_up)
    else:
        sidebar(mine)
        page.run()
    st.caption(CREDIT)
