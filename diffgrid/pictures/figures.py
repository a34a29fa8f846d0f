"""The sheets that people look at: the branching grid, one trajectory as a strip, a link's card.

`draw_grid` and `draw_strip` lay pictures out; `typography.to_png` writes a sheet with its recipe.
Equal inputs give equal bytes on one machine; another may have other fonts for the scripts that ours
lack.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from diffgrid.pictures.typography import (
    ACCENT,
    BACKGROUND,
    EMPTY,
    FORMER,
    INK,
    LINE,
    MUTED,
    NEGATIVE,
    POSITIVE,
    Color,
    Style,
    font_for,
    one_line,
    width_of,
    wrap,
)
from diffgrid.spec.path import Path, describe

# --- what sheets are drawn from -------------------------------------------------------------------


@dataclass(frozen=True, eq=False, slots=True)
class Cell:
    """The finished picture of one path; None where it is not sampled yet."""

    path: Path
    image: Image.Image | None


@dataclass(frozen=True, eq=False, slots=True)
class Moment:
    """A trajectory's picture before `step`, at the scheduler's `timestep`."""

    step: int
    timestep: float
    image: Image.Image | None


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """What leaves the trunk at one step: the trunk's x̂0 there and the siblings' cells."""

    trunk: Moment
    cells: tuple[Cell, ...]


@dataclass(frozen=True, eq=False, slots=True)
class GridSheet:
    """A branching grid: `final` and `strip` (all x̂0 in order) are the focus's own."""

    prompt: str
    recipe: tuple[str, ...]  # the path's name, then the settings: ("trunk", "seed 7", "25 steps")
    rows: tuple[Row, ...]
    final: Image.Image | None
    strip: tuple[Moment, ...]
    footer: str
    note: str = ""  # a line above the footer: what the pictures of x̂0 are, where approximate


@dataclass(frozen=True, eq=False, slots=True)
class StripSheet:
    """One trajectory of T steps, step by step; `note` as of a grid.

    `latents` (T+1,C,H,W) are x_t in any scheduler's scale, `strip` the T x̂0 pictures in order,
    `noisy` the T+1 decoded x_t, or () to leave that lane out. The forks of `path` are marked.
    """

    prompt: str
    recipe: tuple[str, ...]
    path: Path
    latents: NDArray[np.float32]
    strip: tuple[Moment, ...]
    final: Image.Image | None
    footer: str
    noisy: tuple[Image.Image, ...] = ()
    note: str = ""


@dataclass(frozen=True, eq=False, slots=True)
class CardSheet:
    """A grid in short: in each row the focus's x̂0 at a step, and the cells that leave it there.

    None is a picture that is not there.
    """

    prompt: str
    recipe: tuple[str, ...]  # in lines
    rows: tuple[tuple[Image.Image | None, tuple[Image.Image | None, ...]], ...]
    final: Image.Image | None


# --- the visual language --------------------------------------------------------------------------

MARGIN, GAP = 44, 12
_DOT = "  ·  "
Box = tuple[int, int, int, int]  # left, top, right, bottom
_MARKED: tuple[Color, Style] = (ACCENT, "strong")
_UNMARKED: tuple[Color, Style] = (MUTED, "plain")


@lru_cache(maxsize=64)
def _mask(width: int, height: int, radius: int) -> Image.Image:
    """A rounded rectangle (a disc where radius is half the side) with clean edges."""
    mask = Image.new("L", (4 * width, 4 * height))
    box = (0, 0, 4 * width - 1, 4 * height - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, 4 * radius, fill=255)
    return mask.reduce(4)


class _Canvas:
    """A sheet while it is drawn; all coordinates in px from the top left."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), BACKGROUND)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int = 13,
        color: Color = MUTED,
        style: Style = "plain",
        anchor: Literal["l", "m", "r"] = "l",
    ) -> float:
        """Write one line, anchored at its baseline's left, middle or right; returns its width."""
        # Four times the size and reduced: at 13 px the fonts' hinting spaces letters unevenly.
        font = font_for(text, style, 4 * size)
        width = width_of(text, style, size)
        left = x - width * "lmr".index(anchor) / 2
        column, row = math.floor(left) - size, math.floor(y) - 2 * size  # room for overhangs
        mask = Image.new("L", (4 * math.ceil(width + 2 * size + 1), 12 * size))
        ImageDraw.Draw(mask).text((4 * (left - column), 8 * size), text, 255, font, anchor="ls")
        self.image.paste(color, (column, row), mask.reduce(4))
        return width

    def shape(self, box: Box, radius: int, fill: Color | Image.Image) -> None:
        """Fill a rounded rectangle with a colour or with a picture of its size."""
        left, top, right, bottom = box
        mask = _mask(right - left, bottom - top, radius)
        self.image.paste(fill, box, mask)

    def picture(
        self, image: Image.Image | None, box: Box, radius: int, ring: Color | None = None
    ) -> None:
        """A picture in a rounded frame, cropped to its shape; a calm blank where there is none."""
        if ring:
            self.shape(_grown(box, 5), radius + 5, ring)
            self.shape(_grown(box, 2), radius + 2, BACKGROUND)
        size = (box[2] - box[0], box[3] - box[1])
        self.shape(box, radius, EMPTY if image is None else _fitted(image, size))

    def timeline(self, y: int, centres: Sequence[int], forks: Sequence[bool]) -> None:
        """The trunk's line with a bead for every picture and a ring for every fork."""
        self.image.paste(ACCENT, (centres[0], y - 1, centres[-1], y + 1))
        for x, fork in zip(centres, forks, strict=True):
            self.shape(_around(x, y, 6 if fork else 3), 6 if fork else 3, ACCENT)
            if fork:
                self.shape(_around(x, y, 3), 3, BACKGROUND)


def _fitted(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    image = image.convert("RGB")
    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def _grown(box: Box, by: int) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _around(x: int, y: int, radius: int) -> Box:
    return x - radius, y - radius, x + radius, y + radius


def _size_within(image: Image.Image | None, side: int) -> tuple[int, int]:
    """The picture's proportions with the longer side `side` px."""
    width, height = image.size if image else (1, 1)
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _spread(count: int, keep: Iterable[int], most: int) -> list[int]:
    """At most `most` of range(count): both ends and `keep`, and the gaps between divided evenly."""
    if count <= most:
        return list(range(count))
    fixed = sorted({0, count - 1, *sorted(keep)[: most - 2]})
    gaps = list(pairwise(fixed))
    parts = [1] * len(gaps)
    for _ in range(most - len(fixed)):
        widest = max(range(len(gaps)), key=lambda gap: (gaps[gap][1] - gaps[gap][0]) / parts[gap])
        parts[widest] += 1
    inner = (
        start + (end - start) * part // division
        for (start, end), division in zip(gaps, parts, strict=True)
        for part in range(division)
    )
    return [*inner, count - 1]


def _timestep(value: float) -> str:
    return f"{value:.4g}"


# --- the grid -------------------------------------------------------------------------------------

RAIL, LABEL, NODE = 18, 20, 40  # px: branching line to cell, room under a cell, a node's radius
PER_LINE, THUMB = 8, 54  # cells; px
LARGEST_FRAME = 960  # px, about: the longer side of a film; a WebP ends at 16,383
MOST_PIXELS = 40_000_000  # of a sheet; Pillow warns from 89 million on, others refuse sooner


def draw_grid(sheet: GridSheet, halved: int = 0) -> Image.Image:
    """The grid as a tree: the trunk runs down the left edge, every row hangs off it at its step.

    Takes any number of rows, and of cells in a row (past 8 they go on in further lines); pictures
    are `halved` so often that it can be opened. A cell whose path has no fork at its row's step
    holds what the focus left there: it is ringed and named.
    """
    pictures = [cell.image for row in sheet.rows for cell in row.cells if cell.image]
    sample = sheet.final or (pictures[0] if pictures else None)
    side = min(192, max(128, *sample.size)) if sample else 128
    per_line = PER_LINE << 2 * halved  # wider too, or it would be a ribbon
    width, height = _size_within(sample, side >> halved)
    trunk_width, trunk_height = _size_within(sample, side * 11 // 8)

    most = max((len(row.cells) for row in sheet.rows), default=0)
    across = math.ceil(most / max(1, math.ceil(most / per_line)))  # 12 cells are 6 + 6, not 8 + 4
    left = MARGIN + trunk_width + 52
    right = max(left + across * (width + GAP) - GAP, MARGIN + 760)
    caption_left = MARGIN + trunk_width + 32
    caption = _Caption.of(sheet.prompt, sheet.recipe, right - caption_left)

    pitch = RAIL + height + LABEL + GAP
    tops, y = [], MARGIN + NODE + 14
    for row in sheet.rows:
        tops.append(y)
        y += max(1, math.ceil(len(row.cells) / max(1, across))) * pitch + GAP
    trunk_top = y if sheet.rows else MARGIN
    strip_top = trunk_top + max(trunk_height, caption.height) + 32
    bottom = strip_top + (THUMB + 62 if sheet.strip else 0)
    if (right + MARGIN) * (bottom + MARGIN) > MOST_PIXELS:
        return draw_grid(sheet, halved + 1)
    canvas = _Canvas(right + MARGIN, bottom + MARGIN - 8 + _note_height(sheet.note))

    x = MARGIN + trunk_width // 2
    if sheet.rows:
        canvas.image.paste(ACCENT, (x - 1, MARGIN, x + 1, trunk_top))
        canvas.shape(_around(x, MARGIN, 4), 4, ACCENT)
    for row, top in zip(sheet.rows, tops, strict=True):
        corners = [
            (left + index % across * (width + GAP), top + RAIL + index // across * pitch)
            for index in range(len(row.cells))
        ]
        boxes = [(cx, cy, cx + width, cy + height) for cx, cy in corners]
        _draw_row(canvas, row, x, top, left - 20, boxes)

    trunk_box = (MARGIN, trunk_top, MARGIN + trunk_width, trunk_top + trunk_height)
    canvas.picture(sheet.final, trunk_box, 16, ring=ACCENT)
    caption_top = trunk_top + max(0, trunk_height - caption.height) // 2
    caption.draw(canvas, caption_left, caption_top)
    if sheet.strip:
        _draw_moments(canvas, sheet, strip_top, right)
    _footer(canvas, sheet.footer, sheet.note)
    return canvas.image


def draw_moment(trunk: Image.Image, rows: Sequence[Sequence[Image.Image]]) -> Image.Image:
    """The grid without a word, as a frame of a film: the trunk at the left, cells row by row.

    Rows that would be too small below one another go on in further bands to the right.
    """
    most = max(map(len, rows), default=0)

    def side_in(bands: int) -> int:
        across, down = bands * most + bands // 2 + 2, math.ceil(len(rows) / bands)
        return min(128, LARGEST_FRAME // across, LARGEST_FRAME // max(1, down))

    bands = max(range(1, len(rows) + 1), key=side_in, default=1)
    side, down = max(8, side_in(bands)), math.ceil(len(rows) / bands)
    gap = min(GAP, side // 4)
    width, height = _size_within(trunk, side)
    trunk_width, trunk_height = _size_within(trunk, side * 11 // 8)
    left, band = trunk_width + 3 * GAP, most * (width + gap) + 2 * gap
    tall = max(trunk_height + GAP, down * (height + gap)) + GAP
    canvas = _Canvas(left + bands * band - 2 * gap, tall)
    top = (tall - trunk_height) // 2
    canvas.picture(trunk, (GAP, top, GAP + trunk_width, top + trunk_height), 14, ring=ACCENT)
    for row, cells in enumerate(rows):
        y = GAP + row % down * (height + gap)
        for column, cell in enumerate(cells):
            x = left + row // down * band + column * (width + gap)
            canvas.picture(cell, (x, y, x + width, y + height), gap)
    return canvas.image


def _draw_row(canvas: _Canvas, row: Row, x: int, y: int, stem: int, boxes: Sequence[Box]) -> None:
    """A node of the trunk at (x, y), what branches off it, and its label under the branch."""
    _draw_branches(canvas, x, y, stem, boxes)
    canvas.picture(row.trunk.image, _around(x, y, NODE), NODE, ring=ACCENT)
    label = x + NODE + 14
    canvas.text(label, y + 20, f"t = {_timestep(row.trunk.timestep)}", 14, INK, "strong")
    canvas.text(label, y + 37, f"step {row.trunk.step}")
    for cell, box in zip(row.cells, boxes, strict=True):
        former = not cell.path or cell.path[-1].step != row.trunk.step
        canvas.picture(cell.image, box, 12, ring=FORMER if former else None)
        if box[2] - box[0] < NODE + LABEL:
            continue  # no room for a name
        name = describe(cell.path if former else cell.path[-1:])
        middle, color = (box[0] + box[2]) / 2, ACCENT if former else MUTED
        canvas.text(middle, box[3] + 16, name, 12, color, anchor="m")


def _draw_branches(canvas: _Canvas, x: int, y: int, stem: int, boxes: Sequence[Box]) -> None:
    """Thin lines from the trunk at (x, y) that bend down into the top of every cell."""
    if not boxes:
        return
    right, bottom = max(box[2] for box in boxes), max(box[1] for box in boxes)
    mask = Image.new("L", (4 * (right - x), 4 * (bottom - y + 4)))
    draw, bend = ImageDraw.Draw(mask), 10

    def line(x0: float, y0: float, x1: float, y1: float) -> None:
        draw.line(
            [4 * (v - o) for v, o in zip((x0, y0, x1, y1), (x, y - 2) * 2, strict=True)], 255, 6
        )

    def turn(cx: float, cy: float, start: int) -> None:
        cx, cy, outer = 4 * (cx - x), 4 * (cy - y + 2), 4 * bend + 3
        draw.arc((cx - outer, cy - outer, cx + outer, cy + outer), start, start + 90, 255, 6)

    for top in sorted({box[1] for box in boxes}):
        rail = top - RAIL
        if rail > y:  # a further line of the same row: down the stem first
            turn(stem - bend, y + bend, 270)
            line(stem, y + bend, stem, rail - bend)
            turn(stem + bend, rail - bend, 90)
        centres = [(box[0] + box[2]) / 2 for box in boxes if box[1] == top]
        line(x if rail == y else stem + bend, rail, centres[-1] - bend, rail)
        for centre in centres:
            turn(centre - bend, rail + bend, 270)
            line(centre, rail + bend, centre, top)
    canvas.image.paste(LINE, (x, y - 2), mask.reduce(4))


def _draw_moments(canvas: _Canvas, sheet: GridSheet, top: int, right: int) -> None:
    """The focus's x̂0 along time, as many as fit, every row's step among them."""
    rows = {row.trunk.step for row in sheet.rows}
    slots = (right - MARGIN + 6) // (THUMB + 6)
    keep = [index for index, moment in enumerate(sheet.strip) if moment.step in rows]
    shown = [sheet.strip[index] for index in _spread(len(sheet.strip), keep, slots)]
    pitch = (right - MARGIN - THUMB) / (slots - 1)
    lefts = [MARGIN + round(index * pitch) for index in range(len(shown))]
    marks = [moment.step in rows for moment in shown]
    canvas.timeline(top + THUMB + 14, [left + THUMB // 2 for left in lefts], marks)
    for left, moment, mark in zip(lefts, shown, marks, strict=True):
        canvas.picture(moment.image, (left, top, left + THUMB, top + THUMB), 7)
        color, style = _MARKED if mark else _UNMARKED
        stamp = _timestep(moment.timestep)
        canvas.text(left + THUMB / 2, top + THUMB + 36, stamp, 12, color, style, "m")


@dataclass(frozen=True, slots=True)
class _Caption:
    """The quoted prompt in at most four lines and the recipe under it, broken to a width."""

    quote: list[str]
    recipe: list[list[str]]

    @classmethod
    def of(cls, prompt: str, recipe: Sequence[str], width: float) -> Self:
        words = one_line(prompt)
        quote = wrap(f"“{words}”" if words else "(empty prompt)", "prompt", 25, width, 4, "…”")
        lines: list[list[str]] = [[]]
        for part in recipe:
            [part] = wrap(one_line(part), "strong", 15, width)
            if lines[-1] and width_of(_DOT.join([*lines[-1], part]), "strong", 15) > width:
                lines.append([])
            lines[-1].append(part)
        return cls(quote, lines)

    @property
    def height(self) -> int:
        return 32 * len(self.quote) + 22 * len(self.recipe)

    def draw(self, canvas: _Canvas, left: int, top: int) -> None:
        y = top + 24
        for line in self.quote:
            canvas.text(left, y, line, 25, INK, "prompt")
            y += 32
        y -= 2
        for number, parts in enumerate(self.recipe):
            x: float = left
            for index, part in enumerate(parts):
                color, style = _MARKED if number == index == 0 else _UNMARKED  # the path's name
                x += canvas.text(x, y, _DOT, 15) if index else 0
                x += canvas.text(x, y, part, 15, color, style)
            y += 22


def _note_height(note: str) -> int:
    return 20 if note else 0


def _footer(canvas: _Canvas, footer: str, note: str) -> None:
    width, height = canvas.image.size
    y = height - 26
    canvas.text(MARGIN, y - _note_height(note), note)
    canvas.text(MARGIN, y, footer)
    tail = canvas.text(width - MARGIN, y, "paths not taken", anchor="r")
    canvas.text(width - MARGIN - tail - 6, y, "diffgrid", 13, INK, "strong", "r")


# --- the strip ------------------------------------------------------------------------------------

LANE_LABEL, LANE_GAP, COLUMN_GAP, BAND = 92, 8, 6, 26  # px, px, px, columns


def draw_strip(sheet: StripSheet) -> Image.Image:
    """One trajectory in aligned lanes: the latents' channels, x_t decoded (where given) and x̂0.

    A column is a state: before step 0, 1 … and the finished one last. Past 26 columns the strip
    goes on in further bands, past 104 columns steps are left out (the forks stay).
    """
    steps = len(sheet.strip)
    forks = {fork.step: f"fork {describe((fork,))}" for fork in sheet.path}
    shown = _spread(steps + 1, forks, 4 * BAND)
    across = math.ceil(len(shown) / math.ceil(len(shown) / BAND))
    bands = [shown[start : start + across] for start in range(0, len(shown), across)]
    side = min(128, max(64, 1800 // across - COLUMN_GAP))
    right = MARGIN + max(LANE_LABEL + across * (side + COLUMN_GAP) - COLUMN_GAP, 760)

    guesses = [*(moment.image for moment in sheet.strip), sheet.final]
    proportions = _size_within(sheet.final, 1000)
    height = max(1, side * proportions[1] // proportions[0])
    maps_height = _latent_maps(sheet.latents[0], side).height
    caption = _Caption.of(sheet.prompt, sheet.recipe, right - MARGIN)
    pitch = 58 + maps_height + (2 if sheet.noisy else 1) * (height + LANE_GAP) + 28
    top = MARGIN + caption.height + 20
    height_of_all = top + len(bands) * pitch + 36 + _note_height(sheet.note)
    canvas = _Canvas(right + MARGIN, height_of_all)
    caption.draw(canvas, MARGIN, MARGIN - 6)

    for number, band in enumerate(bands):
        y = top + number * pitch
        lefts = [MARGIN + LANE_LABEL + slot * (side + COLUMN_GAP) for slot in range(len(band))]
        columns = list(zip(band, lefts, strict=True))
        for index, x in columns:
            moment = sheet.strip[index] if index < steps else None
            name = f"step {moment.step}" if moment else "finished"
            color, style = _MARKED if index in forks or not moment else _UNMARKED
            canvas.text(x + side / 2, y + 12, forks.get(index, name), 13, color, style, "m")
            stamp = f"t = {_timestep(moment.timestep)}" if moment else ""
            canvas.text(x + side / 2, y + 28, stamp, 12, anchor="m")
        canvas.timeline(y + 44, [x + side // 2 for x in lefts], [index in forks for index in band])
        y += 58
        _lane_label(canvas, y + maps_height // 2, "x", "t", f"{sheet.latents.shape[1]} channels")
        for index, x in columns:
            canvas.image.paste(_latent_maps(sheet.latents[index], side), (x, y))
        y += maps_height + LANE_GAP
        if sheet.noisy:
            _lane_label(canvas, y + height // 2, "x", "t", "decoded")
            for index, x in columns:
                canvas.picture(sheet.noisy[index], (x, y, x + side, y + height), 6)
            y += height + LANE_GAP
        _lane_label(canvas, y + height // 2, "x̂", "0", "predicted")
        for index, x in columns:
            ring = ACCENT if index == steps else None
            canvas.picture(guesses[index], (x, y, x + side, y + height), 6, ring)
    _footer(canvas, sheet.footer, sheet.note)
    return canvas.image


def _lane_label(canvas: _Canvas, middle: int, symbol: str, index: str, note: str) -> None:
    x = MARGIN + canvas.text(MARGIN, middle - 2, symbol, 17, INK, "strong")
    canvas.text(x + 1, middle + 2, index, 12, INK, "strong")
    canvas.text(MARGIN, middle + 17, note, 12)


def _latent_maps(latents: NDArray[np.float32], width: int) -> Image.Image:
    """All channels of one state (C,H,W) as small maps, one or two a line, `width` px in all.

    Orange is negative, violet positive. Full colour stands for the state's own 99th percentile of
    |x|, since the scale of x_t falls by orders of magnitude under some schedulers.
    """
    values = np.nan_to_num(latents.astype(np.float32))
    limit = max(float(np.quantile(np.abs(values), 0.99)), 1e-12)
    weight = np.clip(values / limit, -1, 1)[..., None]
    ends = np.where(weight < 0, np.array(NEGATIVE), np.array(POSITIVE))
    pixels = np.array(BACKGROUND) * (1 - np.abs(weight)) + ends * np.abs(weight)

    channels, rows, columns = values.shape
    across, gap = 1 if channels <= 4 else 2, 2
    map_width = (width - gap * (across - 1)) // across
    map_height = max(1, round(map_width * rows / columns))
    lines = math.ceil(channels / across)
    sheet = Image.new("RGB", (width, lines * (map_height + gap) - gap), BACKGROUND)
    for channel in range(channels):
        small = Image.fromarray(pixels[channel].round().astype(np.uint8))
        large = small.resize((map_width, map_height), Image.Resampling.BOX)
        x, y = channel % across * (map_width + gap), channel // across * (map_height + gap)
        sheet.paste(large, (x, y))
    return sheet


# --- the card -------------------------------------------------------------------------------------

CARD = (1200, 630)  # px; in these proportions a link's picture is cropped least
EDGE, TRUNK, CELLS = 56, 566, 648  # px from the left: words, the trunk's line, the cells
PORTRAIT, RECIPE = 224, 30  # px: the side of the finished picture, a line


def draw_card(sheet: CardSheet) -> Image.Image:
    """What stands beside a link: the prompt and the grid, to be read at half its size."""
    canvas = _Canvas(*CARD)
    _draw_mark(canvas, EDGE - 10, 46)
    name = canvas.text(EDGE + 24, 74, "diffgrid", 25, ACCENT, "strong")
    canvas.text(EDGE + name + 38, 74, "paths not taken", 21)
    if sheet.rows:
        _draw_tree(canvas, sheet.rows)

    bottom, left, right = CARD[1] - EDGE, EDGE, TRUNK - 80
    words, size, most = one_line(sheet.prompt), 44, 6
    if sheet.final:
        width, height = _size_within(sheet.final, PORTRAIT)
        canvas.picture(sheet.final, (left, bottom - height, left + width, bottom), 18, ring=ACCENT)
        left, size, most = left + width + 26, 36, 4
    y = 104 + size
    for line in wrap(
        f"“{words}”" if words else "(empty prompt)", "prompt", size, right - EDGE, most, "…”"
    ):
        canvas.text(EDGE, y, line, size, INK, "prompt")
        y += size * 5 // 4
    y = bottom - RECIPE * (len(sheet.recipe) - 1)
    for part in sheet.recipe:
        [part] = wrap(one_line(part), "plain", 21, right - left)
        canvas.text(left, y, part, 21)
        y += RECIPE
    return canvas.image


def _draw_tree(
    canvas: _Canvas, rows: Sequence[tuple[Image.Image | None, tuple[Image.Image | None, ...]]]
) -> None:
    """The trunk from the card's top to its bottom, and beside it the cells of each row."""
    most = max(len(cells) for _, cells in rows)
    across = (CARD[0] - EDGE // 2 - CELLS - (most - 1) * GAP) // most
    down = (CARD[1] - EDGE) // len(rows) - RAIL - GAP
    sample = next((each for node, cells in rows for each in (node, *cells) if each), None)
    width, height = _size_within(sample, 1000)
    scale = min(across / width, down / height)
    width, height = max(1, int(width * scale)), max(1, int(height * scale))
    top = (CARD[1] - len(rows) * (RAIL + height + GAP) + GAP) // 2
    radius = max(4, min(46, height // 2 - 6))
    canvas.image.paste(ACCENT, (TRUNK - 1, 0, TRUNK + 2, CARD[1]))
    for number, (node, cells) in enumerate(rows):
        y = top + number * (RAIL + height + GAP)
        lefts = [CELLS + index * (width + GAP) for index in range(len(cells))]
        boxes = [(left, y + RAIL, left + width, y + RAIL + height) for left in lefts]
        _draw_branches(canvas, TRUNK, y, CELLS - 20, boxes)
        for cell, box in zip(cells, boxes, strict=True):
            canvas.picture(cell, box, 12)
        canvas.picture(node, _around(TRUNK, y + radius, radius), radius, ring=ACCENT)


def _draw_mark(canvas: _Canvas, left: int, top: int) -> None:
    """The app's mark (`logo.svg`), 38 px a side."""
    side, unit = 38, 38 / 32 * 4
    mask = Image.new("L", (4 * side, 4 * side))
    draw, thick = ImageDraw.Draw(mask), round(2.4 * unit)
    for line in ((7, 4, 7, 28), (7, 9, 15, 9), (7, 19, 15, 19)):
        draw.line([unit * value for value in line], 255, thick)
    for y, radius, fill in ((9, 3.4, 255), (19, 4.6, 0)):
        box = [unit * value for value in (19 - radius, y - radius, 19 + radius, y + radius)]
        draw.ellipse(box, fill, 255, 0 if fill else thick)
    canvas.image.paste(ACCENT, (left, top), mask.reduce(4))
