"""The chart of a study as a picture: overview, panels, and what it was made of."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

from diffgrid.decisions.charts import HEIGHT, WIDTH, Chart
from diffgrid.decisions.results import Results
from diffgrid.pictures import typography
from diffgrid.pictures.primitives import STYLES, Anchor, Point, Scene
from diffgrid.pictures.typography import ACCENT, BACKGROUND, INK, MUTED, font_for, wrap
from diffgrid.sharing.recipe import texts
from diffgrid.sharing.view import View

SCALE, FINE = 2, 2  # px of the picture for one of a scene; and of the drawing for one of those
MARGIN, GAP, ACROSS = 44, 36, 3
_SENTENCE, _NOTE = 14, 11  # px


def to_png(drawn: Chart, found: Results) -> bytes:
    """The chart of a study on a sheet, which says what it was made of."""
    spec = found.plan.spec
    made_of = texts(View.of_one(spec), "decisions", spec=spec, study=found.to_dict()["study"])
    return typography.to_png(draw(drawn), made_of)


def draw(drawn: Chart) -> Image.Image:
    """The chart on a light sheet: overview, panels, and what it was made of."""
    width = 2 * MARGIN + ACROSS * WIDTH + (ACROSS - 1) * GAP
    texts = [
        (_lines(each.sentence, _SENTENCE, 2), _lines(each.note, _NOTE, 4)) for each in drawn.panels
    ]
    rows = [range(i, min(i + ACROSS, len(texts))) for i in range(0, len(texts), ACROSS)]
    heights = [
        44
        + (HEIGHT if any(drawn.panels[i].scene for i in row) else 0)
        + max(19 * len(texts[i][0]) + 15 * len(texts[i][1]) for i in row)
        for row in rows
    ]
    order = wrap(drawn.order, "plain", 14, width - 2 * MARGIN, 3) if drawn.order else []
    top = MARGIN + 96
    height = top + drawn.wide.height + 70 + 20 * len(order) + sum(heights) + GAP * len(rows) + 30
    canvas = _Canvas(width, height)
    quote = f"“{' '.join(drawn.prompt.split())}”" if drawn.prompt else "(empty prompt)"
    [quote] = wrap(quote, "prompt", 25, width - 2 * MARGIN, 1, "…”")
    canvas.text(MARGIN, MARGIN + 20, "When is it decided?", 13, ACCENT, "strong")
    canvas.text(MARGIN, MARGIN + 52, quote, 25, INK, "prompt")
    canvas.text(MARGIN, MARGIN + 78, "  ·  ".join(drawn.recipe), 14, MUTED)
    canvas.scene(MARGIN, top, drawn.wide)
    y = top + drawn.wide.height + 26
    for text in order:
        canvas.text(MARGIN, y, text, 14, INK)
        y += 20
    y += 20
    canvas.text(MARGIN, y, drawn.world, 20, INK, "prompt")
    y += 14
    for row, room in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            each, x = drawn.panels[i], MARGIN + column * (WIDTH + GAP)
            canvas.text(x, y + 22, each.title, 15, INK, "strong")
            line = y + 32
            if each.scene:
                canvas.scene(x, line, each.scene)
                line += HEIGHT
            sentence, note = texts[i]
            for text in sentence:
                line += 19
                canvas.text(x, line, text, _SENTENCE, INK)
            line += 3
            for text in note:
                line += 15
                canvas.text(x, line, text, _NOTE, MUTED)
        y += room + GAP
    footer = f"{drawn.intervals}  ·  branches by {drawn.kernel}"
    [footer] = wrap(footer, "plain", 12, width - 2 * MARGIN)
    canvas.text(MARGIN, height - 26, footer, 12, MUTED)
    return canvas.image.reduce(FINE)


def _lines(text: str, size: int, most: int) -> list[str]:
    return wrap(text, "plain", size, WIDTH, most)


class _Canvas:
    """A sheet while it is drawn; all coordinates in px of a scene."""

    def __init__(self, width: int, height: int) -> None:
        self.scale = SCALE * FINE
        self.image = Image.new("RGB", (width * self.scale, height * self.scale), BACKGROUND)
        self.pen = ImageDraw.Draw(self.image, "RGBA")

    def text(
        self, x: float, y: float, text: str, size: float, color: typography.Color,
        style: typography.Style = "plain", anchor: Anchor = "start",
    ) -> None:  # fmt: skip
        """Write one line; y is its baseline."""
        font = font_for(text, style, round(size * self.scale))
        where = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
        self.pen.text((x * self.scale, y * self.scale), text, color, font, anchor=where)

    def scene(self, x: float, y: float, scene: Scene) -> None:
        """Draw a scene's marks with its top left there."""
        for mark in scene.marks:
            style, (left, top) = STYLES[mark.role], mark.points[0]
            ink = (*style.color, round(255 * style.opacity))
            if mark.drawn_as == "text":
                at = x + left, y + top
                self.text(*at, mark.text, style.size, style.color, "plain", mark.anchor)
            elif mark.drawn_as == "line":
                for part in _dashed(mark.points, style.dash):
                    width = round(style.size * self.scale)
                    self.pen.line(self._px(x, y, part), fill=ink, width=width, joint="curve")
            else:
                self.pen.polygon(self._px(x, y, mark.corners), fill=ink)

    def _px(self, x: float, y: float, points: Iterable[Point]) -> list[Point]:
        return [((x + px) * self.scale, (y + py) * self.scale) for px, py in points]


def _dashed(points: Sequence[Point], dash: Sequence[float]) -> list[Sequence[Point]]:
    """A line's visible parts."""
    if not dash:
        return [points]
    parts: list[Sequence[Point]] = []
    for (x0, y0), (x1, y1) in pairwise(points):
        length, done = math.hypot(x1 - x0, y1 - y0), 0.0
        while done < length:
            ends = (done, min(done + dash[0], length))
            parts.append([(x0 + (x1 - x0) * e / length, y0 + (y1 - y0) * e / length) for e in ends])
            done += sum(dash)
    return parts
