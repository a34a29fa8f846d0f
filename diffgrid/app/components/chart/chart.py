"""The chart of a study as a component: `decisions/charts.py` lays it out, `chart.js` draws it.

Nothing comes back: a pointer or the arrow keys read figures off in the browser.
"""

from diffgrid.app.components.shared.mount import component
from diffgrid.decisions.charts import Chart

_chart = component("chart", '<div class="chart"></div>')


def show_chart(drawn: Chart) -> None:
    """Mount it."""
    _chart(key="chart", data=drawn.to_dict())
