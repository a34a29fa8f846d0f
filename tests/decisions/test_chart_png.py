"""A study's chart as a picture."""

from diffgrid.decisions.chart_png import draw
from diffgrid.decisions.charts import chart
from diffgrid.decisions.results import read
from diffgrid.decisions.study import Finding, Plan
from diffgrid.models.registry import specify

LEVELS = tuple((1000.0 - 200 * step, (step + 1) / 6) for step in range(5))


def test_a_factor_that_a_probe_never_sees_has_a_panel_without_a_curve() -> None:
    plan = Plan(specify(steps=5), 1, (0, 2), 2)
    labels = {"hat": "unclear", "body": "red"}
    finding = Finding(labels, labels, b"", levels=LEVELS)
    drawn = chart(read(plan, [(0, path, finding) for path in plan.paths]))
    curves = {
        panel.title: [mark.points for mark in panel.scene.marks if mark.role == "curve"]
        for panel in drawn.panels
        if panel.scene and panel.title in labels
    }
    assert [len(points) for points in curves["body"]] == [2]
    assert curves["hat"] == []
    assert draw(drawn).width > 800
