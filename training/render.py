"""The world that the bundled model learns: little monsters with seven labelled factors.

    python -m training.render --count 48000 --out DIRECTORY

A caption names some of a monster's factors and leaves the others to chance. What no caption ever
names (place, size, tilt, gaze, shade) is nuisance, drawn anew for every picture. Features are
drawn large on purpose: at a latent grid of 16 x 16 whatever is thinner than four pixels is lost.
"""

import argparse
import math
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, ...]  # red, green, blue, 0 … 255
Points = np.ndarray  # (n, 2), in units of the body's radius, y down, the body's centre at 0

SIZE = 128
SUPERSAMPLING = 3

BACKGROUNDS: dict[str, Colour] = {
    "white": (250, 248, 244),
    "grey": (168, 172, 180),
    "black": (44, 46, 60),
    "yellow": (252, 228, 140),
    "green": (178, 226, 170),
    "blue": (160, 208, 246),
    "purple": (198, 176, 238),
    "pink": (252, 190, 212),
}
BODIES: dict[str, Colour] = {
    "red": (222, 56, 58),
    "orange": (244, 140, 40),
    "yellow": (248, 208, 44),
    "green": (92, 186, 72),
    "teal": (40, 182, 176),
    "blue": (58, 112, 224),
    "purple": (140, 76, 200),
    "pink": (244, 116, 176),
}
FACTORS: dict[str, tuple[str, ...]] = {
    "background": tuple(BACKGROUNDS),
    "shape": ("round", "square", "tall", "triangular", "fluffy"),
    "body": tuple(BODIES),
    "eyes": ("one eye", "two eyes", "three eyes"),
    "mouth": ("a smile", "a frown", "an open mouth", "fangs"),
    "head": ("a bare head", "horns", "antennae", "cat ears", "a hat"),
    "pattern": ("plain", "spotted", "striped"),
}
GLUE = ("a", "an", "and", "with", "on", "the", "monster", "creature", "background")
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
WORDS: tuple[str, ...] = SPECIAL + tuple(
    sorted({w for names in FACTORS.values() for name in names for w in name.split()} | set(GLUE))
)

OUTLINE: Colour = (38, 30, 48)
WHITE: Colour = (252, 252, 250)
BONE: Colour = (246, 236, 208)
LAMP: Colour = (252, 222, 70)
INNER_EAR: Colour = (250, 176, 190)
HAT: Colour = (70, 62, 92)
BAND: Colour = (226, 66, 66)
THROAT: Colour = (66, 22, 40)
TONGUE: Colour = (216, 74, 92)

Monster = dict[str, int]  # factor -> index into FACTORS[factor]


class Layout(NamedTuple):
    """Where things sit on a shape, in body radii."""

    spread: float  # half the distance between what stands on the head
    top: float  # the height that it stands on
    eyes: float
    mouth: float
    foot_x: float
    foot_y: float
    face: float  # how much eyes and mouth are shrunk to fit


LAYOUT: dict[str, Layout] = {
    "round": Layout(0.54, -0.80, -0.20, 0.46, 0.40, 0.98, 1.0),
    "square": Layout(0.60, -0.84, -0.22, 0.46, 0.44, 0.94, 1.0),
    "tall": Layout(0.46, -0.90, -0.28, 0.42, 0.34, 1.04, 0.90),
    "triangular": Layout(0.34, -0.66, 0.04, 0.60, 0.46, 0.95, 0.90),
    "fluffy": Layout(0.52, -0.80, -0.18, 0.46, 0.40, 0.98, 0.96),
}


def shade(colour: Colour, factor: float) -> Colour:
    """Darker (factor < 1) or lighter (factor > 1) by the same share in each channel."""
    if factor <= 1:
        return tuple(int(v * factor) for v in colour)
    return tuple(int(v + (255 - v) * (factor - 1)) for v in colour)


def ellipse(x: float, y: float, rx: float, ry: float | None = None, n: int = 36) -> Points:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([x + rx * np.cos(t), y + (rx if ry is None else ry) * np.sin(t)], 1)


def superellipse(a: float, b: float, power: float, n: int = 96) -> Points:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    x, y = np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)
    return np.stack([a * x, b * y], 1)


def rounded_triangle(half_width: float, top: float, bottom: float, radius: float) -> Points:
    corners = [
        (0, top + radius),
        (half_width - radius, bottom - radius),
        (radius - half_width, bottom - radius),
    ]
    arcs = [
        (-math.pi * 0.86, -math.pi * 0.14),
        (-math.pi * 0.14, math.pi / 2),
        (math.pi / 2, math.pi * 1.14),
    ]
    return np.concatenate(
        [
            [
                (x + radius * math.cos(a), y + radius * math.sin(a))
                for a in np.linspace(start, stop, 14)
            ]
            for (x, y), (start, stop) in zip(corners, arcs, strict=True)
        ]
    )


def body_outline(shape: str) -> Points:
    match shape:
        case "round":
            return superellipse(1.0, 1.0, 2)
        case "square":
            return superellipse(0.92, 0.92, 6)
        case "tall":
            return superellipse(0.74, 1.06, 3)
        case "triangular":
            return rounded_triangle(1.18, -1.16, 0.96, 0.26)
        case "fluffy":
            t = np.linspace(0, 2 * np.pi, 180, endpoint=False)
            r = 0.82 + 0.27 * np.abs(np.sin(4 * (t + np.pi / 2)))
            return np.stack([r * np.cos(t), r * np.sin(t)], 1)
    raise ValueError(shape)


class Canvas:
    """Draws shapes given in body radii: scaled, tilted and placed once for the whole monster."""

    def __init__(self, background: Colour, rng: random.Random) -> None:
        width = SIZE * SUPERSAMPLING
        self.radius = width * 0.30 * rng.uniform(0.92, 1.07)
        self.x = width * (0.5 + rng.uniform(-0.035, 0.035))
        self.y = width * (0.575 + rng.uniform(-0.025, 0.025))
        tilt = rng.uniform(-0.10, 0.10)
        self.cos, self.sin = math.cos(tilt), math.sin(tilt)
        self.line = round(width * 0.020)
        self.image = Image.new("RGB", (width, width), background)
        self.draw = ImageDraw.Draw(self.image)

    def place(self, points: Points | Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        p = np.asarray(points, dtype=float) * self.radius
        x = self.x + p[:, 0] * self.cos - p[:, 1] * self.sin
        y = self.y + p[:, 0] * self.sin + p[:, 1] * self.cos
        return list(zip(x.tolist(), y.tolist(), strict=True))

    def fill(
        self, points: Points | Sequence[tuple[float, float]], colour: Colour, outlined: bool = True
    ) -> None:
        placed = self.place(points)
        self.draw.polygon(placed, fill=colour)
        if outlined:
            self.draw.line([*placed, *placed[:2]], fill=OUTLINE, width=self.line, joint="curve")

    def stroke(
        self, points: Points | Sequence[tuple[float, float]], colour: Colour, width: float
    ) -> None:
        placed, thickness = self.place(points), round(self.line * width)
        self.draw.line(placed, fill=colour, width=thickness, joint="curve")
        for x, y in (placed[0], placed[-1]):  # round ends
            r = thickness / 2
            self.draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)


def render(monster: Monster, rng: random.Random) -> Image.Image:
    """One 128 x 128 RGB picture; `rng` draws the nuisance."""
    value = {factor: FACTORS[factor][index] for factor, index in monster.items()}
    light = rng.uniform(-7, 7)
    background, body = (
        tuple(int(min(255, max(0, v + light))) for v in table[value[factor]])
        for table, factor in ((BACKGROUNDS, "background"), (BODIES, "body"))
    )
    at = LAYOUT[value["shape"]]
    canvas = Canvas(background, rng)
    _shadow(canvas, value["shape"], at, shade(background, 0.86))
    for side in (-1, 1):
        canvas.fill(ellipse(side * at.foot_x, at.foot_y, 0.22, 0.15), shade(body, 0.72))
    _behind_head(canvas, value["head"], value["shape"], at, body)
    _body(canvas, value["shape"], value["pattern"], body, rng)
    if value["head"] == "a hat":
        _hat(canvas, at, value["shape"])
    _eyes(canvas, monster["eyes"] + 1, at, rng)
    _mouth(canvas, value["mouth"], at)
    return canvas.image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)


def _shadow(canvas: Canvas, shape: str, at: Layout, colour: Colour) -> None:
    y = canvas.y + canvas.radius * (at.foot_y + 0.13)
    w, h = canvas.radius * (0.74 if shape == "tall" else 0.95), canvas.radius * 0.12
    canvas.draw.ellipse([canvas.x - w, y - h, canvas.x + w, y + h], fill=colour)


def _behind_head(canvas: Canvas, head: str, shape: str, at: Layout, body: Colour) -> None:
    w, y = at.spread, at.top
    for side in (-1, 1):
        if head == "horns":
            outer = [(w - 0.20, y + 0.20), (w - 0.02, y - 0.16), (w + 0.26, y - 0.46)]
            inner = [(w + 0.32, y - 0.06), (w + 0.22, y + 0.34)]
            canvas.fill([(side * px, py) for px, py in outer + inner], BONE)
        elif head == "antennae":
            stalk = [
                (side * w * 0.50, y + 0.2),
                (side * w * 0.75, y - 0.22),
                (side * (w + 0.10), y - 0.40),
            ]
            canvas.stroke(stalk, OUTLINE, 1.7)
            canvas.fill(ellipse(side * (w + 0.12), y - 0.44, 0.19), LAMP)
        elif head == "cat ears":
            x = w + (0.06 if shape == "triangular" else 0.0)
            ear = [(x - 0.44, y + 0.12), (x + 0.14, y - 0.46), (x + 0.34, y + 0.38)]
            pink = [(x - 0.20, y + 0.10), (x + 0.10, y - 0.22), (x + 0.20, y + 0.24)]
            canvas.fill([(side * px, py) for px, py in ear], body)
            canvas.fill([(side * px, py) for px, py in pink], INNER_EAR, outlined=False)


def _body(canvas: Canvas, shape: str, pattern: str, body: Colour, rng: random.Random) -> None:
    outline = body_outline(shape)
    mask = Image.new("L", canvas.image.size, 0)
    ImageDraw.Draw(mask).polygon(canvas.place(outline), fill=255)
    layer = Image.new("RGB", canvas.image.size, shade(body, 0.74))
    draw = ImageDraw.Draw(layer)
    draw.polygon(canvas.place(outline - [0.11, 0.13]), fill=body)
    narrow = 0.78 if shape == "tall" else 1.0
    marks = shade(body, 0.54)
    if pattern == "spotted":
        swell = rng.uniform(0.95, 1.08)
        for x, y, r in SPOTS:
            draw.polygon(canvas.place(ellipse(x * narrow, y, r * swell)), fill=marks)
    elif pattern == "striped":
        shift = rng.uniform(-0.04, 0.04)
        for y in (-0.98, 0.16, 0.76):
            band = [
                (-1.4, y + shift),
                (1.4, y + shift),
                (1.4, y + shift + 0.26),
                (-1.4, y + shift + 0.26),
            ]
            draw.polygon(canvas.place(band), fill=marks)
    canvas.image.paste(layer, (0, 0), mask)
    placed = canvas.place(outline)
    canvas.draw.line([*placed, *placed[:2]], fill=OUTLINE, width=canvas.line, joint="curve")


SPOTS = (
    (-0.72, 0.16, 0.21),
    (0.76, 0.20, 0.21),
    (-0.50, 0.78, 0.22),
    (0.52, 0.80, 0.22),
    (0.30, -0.78, 0.20),
    (-0.36, -0.74, 0.20),
)


def _hat(canvas: Canvas, at: Layout, shape: str) -> None:
    y = at.top + (-0.14 if shape == "triangular" else 0.08)
    canvas.fill([(-0.38, y - 0.56), (0.38, y - 0.56), (0.34, y), (-0.34, y)], HAT)
    canvas.fill(
        [(-0.36, y - 0.26), (0.36, y - 0.26), (0.34, y - 0.06), (-0.34, y - 0.06)],
        BAND,
        outlined=False,
    )
    canvas.fill(superellipse(0.64, 0.11, 3, 40) + np.array([0, y + 0.03]), HAT)


def _eyes(canvas: Canvas, count: int, at: Layout, rng: random.Random) -> None:
    places = {
        1: [(0.0, -0.02, 0.42)],
        2: [(-0.36, 0.0, 0.31), (0.36, 0.0, 0.31)],
        3: [(-0.48, 0.13, 0.235), (0.48, 0.13, 0.235), (0.0, -0.21, 0.265)],
    }[count]
    angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.0, 0.30)
    for x, y, r in places:
        x, y, r = x * at.face, at.eyes + y * at.face, r * at.face
        canvas.fill(ellipse(x, y, r), WHITE)
        px, py = x + r * reach * math.cos(angle), y + r * reach * math.sin(angle)
        canvas.fill(ellipse(px, py, r * 0.52), OUTLINE, outlined=False)


def _mouth(canvas: Canvas, mouth: str, at: Layout) -> None:
    y, size = at.mouth, at.face
    t = np.linspace(-1, 1, 21)
    if mouth in ("a smile", "a frown"):
        sign = 1 if mouth == "a smile" else -1
        curve = np.stack([t * 0.44, sign * (0.17 - 0.34 * t**2) + 0.02], 1)
        canvas.stroke(curve * size + [0, y], OUTLINE, 2.3)
    elif mouth == "an open mouth":
        canvas.fill(ellipse(0, y + 0.04, 0.31 * size, 0.29 * size), THROAT)
        canvas.fill(ellipse(0, y + 0.17 * size, 0.20 * size, 0.13 * size), TONGUE, outlined=False)
    else:
        upper = np.stack([t * 0.50, -0.14 + 0 * t], 1)
        lower = np.stack([t[::-1] * 0.50, 0.20 - 0.34 * t**2], 1)
        canvas.fill(np.concatenate([upper, lower]) * size + [0, y], THROAT)
        for side in (-1, 1):
            fang = np.array([(side * 0.40, -0.12), (side * 0.08, -0.12), (side * 0.24, 0.24)])
            canvas.fill(fang * size + [0, y], WHITE, outlined=False)


def random_monster(rng: random.Random) -> Monster:
    return {factor: rng.randrange(len(values)) for factor, values in FACTORS.items()}


def caption(monster: Monster, rng: random.Random, keep: float | None = None) -> str:
    """A sentence that names each factor with probability `keep`, in mildly random order."""
    if keep is None:
        keep = rng.choice([0.15, 0.35, 0.6, 0.85, 1.0])
    named = {f: FACTORS[f][i] for f, i in monster.items() if rng.random() < keep}
    adjectives = [named[f] for f in ("shape", "pattern") if f in named]
    if rng.random() < 0.35:
        rng.shuffle(adjectives)
    if "body" in named:
        adjectives.insert(len(adjectives) if rng.random() < 0.75 else 0, named["body"])
    parts = [named[f] for f in ("eyes", "mouth", "head") if f in named]
    if rng.random() < 0.5:
        rng.shuffle(parts)
    sentence = " ".join(["a", *adjectives, "monster" if rng.random() < 0.85 else "creature"])
    if parts:
        listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
        sentence += f" with {listed}"
    if "background" in named:
        place = f"on a {named['background']} background"
        sentence = f"{sentence} {place}" if rng.random() < 0.85 else f"{place} {sentence}"
    return sentence


def batch(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 128, 128, 3) uint8 and their factors (count, 7) uint8."""
    rng = random.Random(seed)
    monsters = [random_monster(rng) for _ in range(count)]
    pictures = np.stack([np.asarray(render(m, rng)) for m in monsters])
    return pictures, np.array([list(m.values()) for m in monsters], dtype=np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=48_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    chunk = 500
    shape = (options.count, SIZE, SIZE, 3)
    partial_file = options.out / "pictures.partial.npy"
    pictures = np.lib.format.open_memmap(partial_file, mode="w+", dtype=np.uint8, shape=shape)
    factors = np.zeros((options.count, len(FACTORS)), dtype=np.uint8)
    starts = range(0, options.count, chunk)
    with ProcessPoolExecutor() as pool:
        jobs = pool.map(partial(_chunk, options.count, chunk, options.seed), starts)
        for start, (drawn, labels) in zip(starts, jobs, strict=True):
            pictures[start : start + len(drawn)] = drawn
            factors[start : start + len(drawn)] = labels
            print(f"{start + len(drawn)} of {options.count} pictures", flush=True)
    pictures.flush()
    np.save(options.out / "factors.npy", factors)
    partial_file.rename(
        options.out / "pictures.npy"
    )  # a half-written file never has the final name


def _chunk(count: int, chunk: int, seed: int, start: int) -> tuple[np.ndarray, np.ndarray]:
    return batch(min(chunk, count - start), seed * 1_000_003 + start)


if __name__ == "__main__":
    main()
