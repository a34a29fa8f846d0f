"""Marks of a chart, as the page gets them."""

import pytest

from diffgrid.pictures.primitives import Mark, Scene


def test_a_mark_says_what_is_written_and_no_more() -> None:
    written = Mark("name", ((1, 2),), text="<b>&").to_svg()
    assert written == (
        '<text class="text name" x="1.0" y="2.0" text-anchor="start" font-size="13">'
        "&lt;b&gt;&amp;</text>"
    )


@pytest.mark.parametrize(
    ("mark", "tag", "points"),
    [
        (Mark("curve", ((0, 0), (10, 5))), "polyline", "0.00,0.00 10.00,5.00"),
        (Mark("window", ((0, 0), (4, 0), (4, 4))), "polygon", "0.00,0.00 4.00,0.00 4.00,4.00"),
        (Mark("decision", ((0, 0),)), "polygon", "6.05,0.00 0.00,6.05 -6.05,0.00 -0.00,-6.05"),
    ],
)
def test_a_line_an_area_and_a_marker_are_drawn_by_their_corners(
    mark: Mark, tag: str, points: str
) -> None:
    drawn = mark.to_svg()
    assert drawn.startswith(f"<{tag} ")
    assert f'points="{points}"' in drawn


def test_a_scene_holds_its_marks_in_order() -> None:
    scene = Scene(20, 10)
    scene.add("grid", (0, 0), (20, 0))
    scene.add("point", (5, 5))
    drawn = scene.to_dict()
    assert (drawn["width"], drawn["height"]) == (20, 10)
    assert drawn["svg"].index("grid") < drawn["svg"].index("point")
