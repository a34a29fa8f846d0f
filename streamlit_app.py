"""The app: streamlit run streamlit_app.py"""

import streamlit as st

from diffgrid.ui.desk import desk
from diffgrid.ui.shell import PAGE_STYLE, page_file
from diffgrid.ui.sidebar import sidebar

st.set_page_config(page_title="diffgrid", page_icon="🌱", layout="wide")
st.html(PAGE_STYLE)

pages = [
    st.Page(page_file("grid"), title="Branching grid", default=True),
    st.Page(page_file("strip"), title="Trajectory strip"),
    st.Page(page_file("compare"), title="Compare runs"),
]
page = st.navigation(pages, position="hidden")  # the links stand under the name, below
st.session_state["_shell"] = True  # what the pages' first lines look for

mine = desk()
if page.url_path == "compare":
    mine.leave()
else:
    mine.heed(st.query_params.to_dict(), aside=page.url_path == "strip")
with st.sidebar:
    st.html('<p class="brand">diffgrid <small>paths not taken</small></p>')
    for each in pages:
        st.page_link(each)
sidebar(mine)

page.run()
