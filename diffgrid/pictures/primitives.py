"""What charts are made of: marks with a role, which a page draws as SVG and a sheet as pixels."""

import math
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from diffgrid.pictures.typography import ACCENT, INK, LINE, MUTED, Color

Point = tuple[float, float]
Kind = Literal["line", "area", "dot", "square", "triangle", "diamond", "text"]
Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True, slots=True)
class Style:
    """How marks of one role are drawn; the page has its own colours."""

    kind: Kind
    size: float  # px: a line's width, a mark's radius, a text's height
    color: Color
    opacity: float = 1.0
    dash: tuple[float, ...] = ()


# The bands' colours are Okabe and Ito's; no two lines differ by colour alone.
STYLES = {
    "window": Style("area", 0, ACCENT, 0.13),
    "grid": Style("line", 1, LINE, 0.55),
    "tick": Style("text", 10, MUTED),
    "note": Style("text", 11, MUTED),
    "name": Style("text", 13, INK),
    "value": Style("text", 12, INK),
    "chance": Style("line", 1.4, MUTED, dash=(5, 4)),
    "ceiling": Style("line", 1.4, MUTED, dash=(1.5, 3)),
    "spread": Style("line", 3, MUTED, 0.5),  # the interval of either
    "whisker": Style("line", 1.4, ACCENT, 0.75),
    "curve": Style("line", 2, ACCENT),
    "point": Style("dot", 3.2, ACCENT),
    "reach": Style("line", 2, INK),
    "decision": Style("diamond", 5.5, INK),
    "bar": Style("line", 12, ACCENT, 0.35),
    "ends": Style("line", 1.4, ACCENT),
    "arrow": Style("triangle", 4, ACCENT),
    "bracket": Style("line", 1.4, MUTED),
    "lock": Style("area", 0, MUTED),
    "layout": Style("line", 2, (0, 114, 178)),
    "shape": Style("line", 2, (213, 94, 0), dash=(7, 4)),
    "detail": Style("line", 2, (0, 128, 96), dash=(2, 3)),
    "layout-interval": Style("line", 1.4, (0, 114, 178), 0.75),
    "shape-interval": Style("line", 1.4, (213, 94, 0), 0.75),
    "detail-interval": Style("line", 1.4, (0, 128, 96), 0.75),
}  # fmt: skip


# Of a marker its corners, the turn of the first, and how much larger than the radius it is.
_MARKERS = {
    "dot": (24, 0.0, 1.0),
    "square": (4, math.pi / 4, 1.25),
    "triangle": (3, -math.pi / 2, 1.35),
    "diamond": (4, 0.0, 1.1),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing drawn, in px from the top left of its scene."""

    role: str
    points: tuple[Point, ...]
    text: str = ""
    anchor: Anchor = "start"
    kind: Kind | None = None  # None: its role's

    @property
    def drawn_as(self) -> Kind:
        return self.kind or STYLES[self.role].kind

    @property
    def corners(self) -> list[Point]:
        """Of what is filled."""
        if self.drawn_as == "area":
            return list(self.points)
        style, [(x, y)] = STYLES[self.role], self.points
        count, turn, grown = _MARKERS[self.drawn_as]
        radius = grown * (style.size if style.kind != "line" else 3.6)
        angles = (turn + 2 * math.pi * i / count for i in range(count))
        return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]

    def to_svg(self) -> str:
        """An element of a class by its role, which has its colour from the page."""
        style = STYLES[self.role]
        if self.drawn_as == "text":
            [(x, y)] = self.points
            where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{self.anchor}" font-size="{style.size}"'
            return f'<text class="text {self.role}" {where}>{escape(self.text)}</text>'
        line = self.drawn_as == "line"
        points = " ".join(f"{x:.2f},{y:.2f}" for x, y in (self.points if line else self.corners))
        if not line:
            return f'<polygon class="fill {self.role}" points="{points}"/>'
        dash = " ".join(map(str, style.dash))
        stroke = f'stroke-width="{style.size}" stroke-dasharray="{dash}"'
        return f'<polyline class="line {self.role}" {stroke} points="{points}"/>'


@dataclass(frozen=True)
class Scene:
    """Marks on a width and height, first ones below."""

    width: int
    height: int
    marks: list[Mark] = field(default_factory=list)

    def add(self, role: str, *points: Point, **more: Any) -> None:
        self.marks.append(Mark(role, points, **more))

    def to_dict(self) -> dict[str, Any]:
        """For the page."""
        drawn = "".join(mark.to_svg() for mark in self.marks)
        return {"width": self.width, "height": self.height, "svg": drawn}
