"""The chart of a study as a component: `diffgrid.charts` lays it out, `chart.js` draws its marks.

Nothing comes back: a pointer or the arrow keys read figures off in the browser.
"""

import streamlit as st

from diffgrid.app.components.shared.protocol import FOLDER, style
from diffgrid.decisions.charts import Chart

_chart = st.components.v2.component(
    "diffgrid.chart",
    html='<div class="chart"></div>',
    css=style("chart"),
    js=(FOLDER / "chart" / "chart.js").read_text("utf-8"),
)


def show_chart(drawn: Chart) -> None:
    """Mount it."""
    _chart(key="chart", data=drawn.to_dict())
