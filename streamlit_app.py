"""The app: streamlit run streamlit_app.py"""

import streamlit as st
from streamlit.config import set_option
from streamlit.runtime.scriptrunner import get_script_run_ctx

from diffgrid.app.mends import mend
from diffgrid.app.session.page import PAGES
from diffgrid.app.shell import ICON, LOGO, PAGE_STYLE, arrival, page_file
from diffgrid.app.sidebar import sidebar
from diffgrid.app.state import session
from diffgrid.app.text import plain
from diffgrid.limits import Limits
from diffgrid.sharing.photo import MOST_BYTES

mend()
if not Limits.from_environment().public:  # MB; strangers' are refused, as the settings say
    set_option("server.maxUploadSize", MOST_BYTES // 2**20)
st.set_page_config(page_title="diffgrid", page_icon=ICON, layout="wide")
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

mine = session()
context = get_script_run_ctx()
back = context is not None and context.is_history_navigation
mine.load_query(PAGES[pages.index(page)], st.query_params.to_dict(), back=back)
if mine.lost:
    st.error(plain(mine.lost))
    st.button("Go on with the model in the box", on_click=mine.give_up)
else:
    sidebar(mine)
    page.run()
