"""What charts are made of: marks with a role, which a page draws as SVG and a sheet as pixels."""

from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing drawn, in px from the top left of its scene."""

    role: str
    points: tuple[Point, ...]
    text: str = ""
    anchor: Anchor = "start"
    kind: Kind | None = None  # None: its role's

    def to_dict(self) -> dict[str, Any]:
        """For the page."""
        style = STYLES[self.role]
        return {
            "role": self.role,
            "kind": self.kind or style.kind,
            "size": style.size,
            "dash": list(style.dash),
            "points": [[round(x, 1), round(y, 1)] for x, y in self.points],
            "text": self.text,
            "anchor": self.anchor,
        }


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
        marks = [mark.to_dict() for mark in self.marks]
        return {"width": self.width, "height": self.height, "marks": marks}
