"""The app: streamlit run streamlit_app.py"""

import streamlit as st

st.set_page_config(page_title="diffgrid", page_icon="🌱", layout="wide")

page = st.navigation([st.Page("pages/grid.py", title="Branching grid", default=True)])

with st.sidebar:
    st.markdown("**diffgrid**  \n:gray[:small[paths not taken]]")

page.run()
