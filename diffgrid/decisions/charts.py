"""The chart of a study: when each factor is decided, laid out once for the page and the picture.

The page shows the marks as SVG in its theme's colours, `chart_png.py` draws them as pixels.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffgrid.compare import BANDS
from diffgrid.decisions.decision_steps import END, HALF, START, Crossing, Decision, ordered
from diffgrid.decisions.intervals import FEWEST, LEVEL
from diffgrid.decisions.metrics import Estimate
from diffgrid.decisions.results import Results
from diffgrid.models.registry import scheduler_name
from diffgrid.pictures.primitives import STYLES, Kind, Point, Scene

WIDTH, HEIGHT = 264, 180  # px, of a panel
LEFT, RIGHT, TOP, BOTTOM = 34, 10, 24, 24  # px, around what it plots
WIDE, NARROW = 864, 360  # px, of the overview
UNBROKEN = 2.5  # log-SNR that a first row may lie before the second without a break in the axis
APART = 30  # px between timesteps on an axis
TOO_FEW = "too few trunks for an interval"
MARKERS: dict[str, Kind] = {"layout": "dot", "shape": "square", "detail": "triangle"}


@dataclass(frozen=True)
class Panel:
    """A small chart under its name, with what it says in words."""

    title: str
    scene: Scene | None  # None: there is no curve
    sentence: str
    note: str
    stops: tuple[tuple[float, str], ...] = ()  # for each fork step its place and what is read there

    def to_dict(self) -> dict[str, Any]:
        """For the page."""
        return {
            "title": self.title,
            "scene": self.scene and self.scene.to_dict(),
            "sentence": self.sentence,
            "note": self.note,
            "stops": [{"x": round(x, 1), "text": text} for x, text in self.stops],
        }


@dataclass(frozen=True)
class Chart:
    """The whole of it."""

    prompt: str
    recipe: tuple[str, ...]
    order: str  # what is established of it
    world: str  # "In this world, with guidance 3, …", before every sentence
    wide: Scene
    narrow: Scene
    panels: tuple[Panel, ...]
    kernel: str
    intervals: str  # what they are over

    def to_dict(self) -> dict[str, Any]:
        """For the page."""
        return {
            "order": self.order,
            "world": self.world,
            "wide": self.wide.to_dict(),
            "narrow": self.narrow.to_dict(),
            "panels": [panel.to_dict() for panel in self.panels],
        }


class Axis:
    """Log-SNR from left to right, over the levels of one run."""

    def __init__(self, found: Results, left: float, right: float) -> None:
        levels, rows = found.decisions.levels, sorted(found.plan.rows)
        self.log_snr = dict(zip(levels.index.astype(int), levels.log_snr, strict=True))
        self.timesteps = dict(zip(levels.index.astype(int), levels.timestep, strict=True))
        self.left, self.right = left, right
        places = [self.log_snr[step] for step in rows]
        # Schedulers may start in pure noise, far before all else: there the axis is broken.
        self.broken = len(places) > 2 and places[1] - places[0] > UNBROKEN
        knots = [places[0], places[1], places[-1]] if self.broken else [places[0], places[-1]]
        room = (right - left) * 0.03
        ends = [left + room, left + (right - left) * 0.12, right - room]
        self._knots, self._ends = knots, ends if self.broken else [ends[0], ends[-1]]

    def at(self, log_snr: float) -> float:
        """Its place in px, on the axis's end where it is beyond the rows."""
        if log_snr < self._knots[0]:
            return self.left
        return self.right if log_snr > self._knots[-1] else self._px(log_snr)

    def step(self, step: int) -> float:
        return self._px(self.log_snr[step])

    def _px(self, log_snr: float) -> float:
        return float(np.interp(log_snr, self._knots, self._ends))

    def draw(self, scene: Scene, top: float, bottom: float) -> None:
        """Its lines, log-SNR below and the timestep above."""
        low, high = math.ceil(self._knots[-2]), math.floor(self._knots[-1])
        for value in range(low + low % 2, high + 1, 2):
            x = self._px(value)
            scene.add("grid", (x, top), (x, bottom))
            if not self.broken or x > self._ends[0] + APART:
                label = str(value).replace("-", "−")
                scene.add("tick", (x, bottom + 14), text=label, anchor="middle")
        scene.add("grid", (self.left, bottom), (self.right, bottom))
        if self.broken:
            scene.add("tick", (self._ends[0] - 4, bottom + 14), text="noise")
            x = (self._ends[0] + self._ends[1]) / 2
            for shift in (-2, 2):
                scene.add("bracket", (x + shift - 2, bottom + 4), (x + shift + 2, bottom - 4))
        scene.add("tick", (self.left - 8, bottom + 14), text="log-SNR", anchor="end")
        scene.add("tick", (self.left - 6, top - 7), text="t", anchor="end")
        for timestep, x in self._timesteps():
            scene.add("grid", (x, top - 4), (x, top))
            scene.add("tick", (x, top - 7), text=f"{timestep:.4g}", anchor="middle")

    def _timesteps(self) -> list[tuple[float, float]]:
        """Round timesteps that lie far enough apart, and where."""
        steps = sorted(self.timesteps)
        times = np.array([self.timesteps[step] for step in steps])
        log_snr = np.array([self.log_snr[step] for step in steps])
        span = abs(times[0] - times[-1]) or 1.0
        unit = 10 ** math.floor(math.log10(span))  # 900 -> 100
        order = np.argsort(times)
        found: list[tuple[float, float]] = []
        first = math.floor(max(times) / unit) * unit
        for i in range(10):
            timestep = first - i * unit
            place = float(np.interp(timestep, times[order], log_snr[order]))
            inside = self._knots[0] <= place <= self._knots[-1] and timestep >= min(times)
            if inside and all(abs(self._px(place) - x) >= APART for _, x in found):
                found.append((timestep, self._px(place)))
        return found


def chart(found: Results) -> Chart:
    """Lay out what a study says."""
    factors, spec, plan = ordered(found.decisions.factors), found.plan.spec, found.plan
    pooled = f"{found.trees} trunks, pooled" if found.trees > 1 else "this trunk"
    eta = "" if spec.eta is None else f", eta {spec.eta:g}"
    guidance = f"guidance {spec.guidance_scale:g}"
    panels = [panel(found, factor) for factor in factors]
    if found.divergence is not None:
        panels.append(bands(found))
    return Chart(
        spec.prompt,
        (
            guidance,
            f"{spec.num_inference_steps} steps",
            f"{scheduler_name(spec)}{eta}",
            pooled,
            f"{len(plan.rows)} rows × {plan.columns} branches",
        ),
        found.decisions.order(),
        f"In this world, with {guidance}, …",
        overview(found, factors, WIDE),
        overview(found, factors, NARROW),
        (*panels, key()),
        found.kernel,
        _intervals(found),
    )


# --- all factors at one glance --------------------------------------------------------------------


def overview(found: Results, factors: Sequence[Decision], width: int) -> Scene:
    """A bar a factor: its critical window, the decision in it, and how sure either is."""
    roomy = width >= WIDE
    joined = found.decisions.untold
    left, right = 96 if roomy else 78, width - (150 if roomy else 66) - 9 * len(joined)
    top, pitch = 26, 30
    bottom = top + pitch * len(factors) + 4
    scene = Scene(width, bottom + 36)
    axis = Axis(found, left, right)
    axis.draw(scene, top, bottom)
    scene.add("tick", (left, bottom + 30), text="← noise")
    scene.add("tick", (right, bottom + 30), text="picture →", anchor="end")
    rows = {factor.factor: top + pitch * (i + 0.5) + 2 for i, factor in enumerate(factors)}
    for factor in factors:
        y = rows[factor.factor]
        scene.add("name", (left - 12, y + 4), text=words(factor.factor), anchor="end")
        if factor.half and factor.window:
            _bar(scene, axis, factor, y)
            scene.add(
                "value", (right + 10, y + 4), text=_when(factor.half).removesuffix(" the rows")
            )
        else:
            shift = 0
            if factor.state == "fixed":
                _lock(scene, left + 10, y)
                shift = 16
            scene.add("note", (left + 6 + shift, y + 4), text=_unmeasured(factor))
    for i, names in enumerate(joined):
        x, ys = right + 64 + 9 * i, sorted(rows[name] for name in names)
        scene.add("bracket", (x, ys[0]), (x, ys[-1]))
        for y in ys:
            scene.add("bracket", (x - 4, y), (x, y))
    if roomy and joined:
        x, y = right + 74 + 9 * len(joined), sum(rows.values()) / len(rows)
        for shift, text in ((-6, "joined:"), (8, "order not"), (22, "established")):
            scene.add("note", (x, y + shift), text=text)
    return scene


def _bar(scene: Scene, axis: Axis, factor: Decision, y: float) -> None:
    assert factor.half
    assert factor.window
    start, end = factor.window
    if start.interval and end.interval:
        ends = start.interval[0], end.interval[1]
        scene.add("ends", *((axis.at(each.log_snr), y) for each in ends))
        for each in ends:
            x = axis.at(each.log_snr)
            if math.isfinite(each.log_snr):
                scene.add("ends", (x, y - 4), (x, y + 4))
            else:  # it lies beyond the rows
                side = math.copysign(6, each.log_snr)
                scene.add("arrow", (x, y - 4), (x + side, y), (x, y + 4), kind="area")
    scene.add("bar", (axis.at(start.at.log_snr), y), (axis.at(end.at.log_snr), y))
    _decision(scene, axis, factor.half, y)


def _decision(scene: Scene, axis: Axis, half: Crossing, y: float) -> None:
    if half.interval:
        scene.add("reach", *((axis.at(each.log_snr), y) for each in half.interval))
    scene.add("decision", (axis.at(half.at.log_snr), y))


def _lock(scene: Scene, x: float, y: float) -> None:
    arc = [(x - 3 * math.cos(a), y - 2 - 4 * math.sin(a)) for a in np.linspace(0, math.pi, 9)]
    scene.add("bracket", (x - 3, y), *arc, (x + 3, y))
    scene.add("lock", (x - 5, y - 1), (x + 5, y - 1), (x + 5, y + 6), (x - 5, y + 6))


# --- one factor -----------------------------------------------------------------------------------


def panel(found: Results, factor: Decision) -> Panel:
    """φ by fork step with its intervals, between chance and ceiling, and where it is decided."""
    sentence = f"… {factor.sentence()}.".replace(" ≈ ", "\u00a0≈\u00a0")  # not to be broken there
    note = _note(found, factor)
    if factor.state == "fixed":
        return Panel(words(factor.factor), None, sentence, note)
    scene, axis, y = _plot(found)
    top, bottom = y(1), y(0)
    if factor.window:
        start, end = (axis.at(crossing.at.log_snr) for crossing in factor.window)
        scene.add("window", (start, top), (end, top), (end, bottom), (start, bottom))
    _frame(scene, axis, y)
    for role, level in (("chance", factor.chance), ("ceiling", factor.ceiling)):
        if level:
            x = axis.left + 2 if role == "ceiling" else axis.right - 2
            scene.add(role, (axis.left, y(level.value)), (axis.right, y(level.value)))
            if math.isfinite(level.low):
                scene.add("spread", (x, y(level.low)), (x, y(level.high)))
    if factor.chance:
        at = y(factor.chance.value)
        label = at + 12 if at < bottom - 14 else at - 5
        scene.add("tick", (axis.right - 6, label), text="chance", anchor="end")
    scene.add("tick", (axis.left - 6, y(0.75) + 3.5), text="φ", anchor="end")
    rows = [(axis.step(step), phi) for step, phi in factor.agreement.items()]
    for x, phi in rows:
        if math.isfinite(phi.low):
            scene.add("whisker", (x, y(phi.low)), (x, y(phi.high)))
    if rows:
        scene.add("curve", *((x, y(phi.value)) for x, phi in rows))
    for x, phi in rows:
        scene.add("point", (x, y(phi.value)))
    if factor.half and factor.chance:
        highest = factor.ceiling.value if factor.ceiling else 1.0
        _decision(scene, axis, factor.half, y((1 - HALF) * factor.chance.value + HALF * highest))
    stops = tuple(
        (axis.step(step), f"{_place(axis, step)}: {_figure(phi)}, {phi.n} pairs")
        for step, phi in factor.agreement.items()
    )
    return Panel(words(factor.factor), scene, sentence, note, stops)


def bands(found: Results) -> Panel:
    """How far pictures of one row are apart, by frequency, over how far those of strangers are."""
    table = found.divergence
    assert table is not None
    if found.trees < FEWEST:
        text = "Layout, shape and detail: too few trunks to tell how far strangers end apart."
        return Panel("by frequency", None, text, f"It takes {FEWEST}.")
    most = max(1.25, math.ceil(4 * float(table.ratio.max())) / 4)
    scene, axis, y = _plot(found, most)
    _frame(scene, axis, y, most)
    scene.add("tick", (axis.right - 4, y(1) - 4), text="strangers", anchor="end")
    by_band: dict[str, list[tuple[float, Any]]] = {}
    said: dict[int, list[str]] = {}
    for line in table.to_dict(orient="records"):
        step, name = line["step"], line["band"]
        by_band.setdefault(name, []).append((axis.step(step), line))
        figures = f"{line['ratio']:.2f}{_interval(line['low'], line['high'])}"
        said.setdefault(step, []).append(f"{name} {figures}")
    for name, rows in by_band.items():
        for x, line in rows:
            low, high = (
                line[end] if line[end] is not None else math.nan for end in ("low", "high")
            )
            if math.isfinite(low):
                top = high if math.isfinite(high) else most
                scene.add(f"{name}-interval", (x, y(low)), (x, y(top)))
        scene.add(name, *((x, y(line["ratio"])) for x, line in rows))
        for x, line in rows:
            scene.add(name, (x, y(line["ratio"])), kind=MARKERS[name])
    for i, name in enumerate(by_band):
        _glyph(scene, name, (axis.right - 66, y(1) + 9 + 15 * i), MARKERS[name], name)
    pairs = sorted({int(n) for n in table.n})
    note = f"{found.trees} trunks, pooled; {_span(pairs)} pairs a row, 95 % intervals"
    edges = {name: f"{name} {_edges(low, high)}" for name, (low, high) in BANDS.items()}
    return Panel(
        "by frequency",
        scene,
        "Layout, shape and detail: how far branches end apart, 1 as far as strangers do.",
        f"{note}; in cycles a side: {', '.join(edges.values())}.",
        tuple((axis.step(step), f"{_place(axis, step)}: {'; '.join(said[step])}") for step in said),
    )


def key() -> Panel:
    """How to read the others."""
    scene = Scene(WIDTH, HEIGHT)
    lines = (
        ("curve", "point", "how often two branches agree, φ"),
        ("whisker", None, "its 95 % interval, over trunks"),
        ("chance", None, "two different trunks: chance"),
        ("ceiling", None, "the probe with itself: ceiling"),
        ("window", None, f"critical window, {START:.0%} to {END:.0%} of the way"),
        ("decision", None, "decision step, half of the way"),
        ("bracket", None, "joined: their order is not established"),
    )
    for i, (role, marker, text) in enumerate(lines):
        _glyph(scene, role, (6, 18 + 23 * i), STYLES[marker].kind if marker else None, text)
    return Panel(
        "How to read it",
        scene,
        "Branches that leave a trunk by other noise agree on what was decided before.",
        "From left to right noise turns into a picture; t is the scheduler's timestep.",
    )


def _glyph(scene: Scene, role: str, at: Point, marker: Kind | None, text: str) -> None:
    x, y = at
    match role:
        case "window":
            scene.add(role, (x, y - 7), (x + 24, y - 7), (x + 24, y + 7), (x, y + 7))
        case "decision":
            scene.add("reach", (x, y), (x + 24, y))
            scene.add(role, (x + 12, y))
        case "whisker":
            scene.add(role, (x + 12, y - 8), (x + 12, y + 8))
        case "bracket":
            scene.add(role, (x + 9, y - 7), (x + 14, y - 7), (x + 14, y + 7), (x + 9, y + 7))
        case _:
            scene.add(role, (x, y), (x + 24, y))
    if marker:
        scene.add("point" if role == "curve" else role, (x + 12, y), kind=marker)
    scene.add("note", (x + 32, y + 4), text=text)


def _plot(found: Results, most: float = 1.0) -> tuple[Scene, Axis, Callable[[float], float]]:
    """An empty panel, its axis, and the place of a value from 0 to `most`."""
    bottom = HEIGHT - BOTTOM
    axis = Axis(found, LEFT + 10, WIDTH - RIGHT)
    return (
        Scene(WIDTH, HEIGHT),
        axis,
        lambda value: bottom - (bottom - TOP) * min(value, most) / most,
    )


def _frame(scene: Scene, axis: Axis, y: Callable[[float], float], most: float = 1.0) -> None:
    """The axis, and lines across it."""
    axis.draw(scene, y(most), y(0))
    for value in (0, 0.5, 1):
        scene.add("grid", (axis.left, y(value)), (axis.right, y(value)))
        scene.add("tick", (axis.left - 6, y(value) + 3.5), text=f"{value:g}", anchor="end")


# --- words ----------------------------------------------------------------------------------------


def summary(factor: Decision) -> dict[str, str]:
    """What its panel says, as a line of a table."""
    window = ""
    if factor.window:
        window = " to ".join(_when(crossing) for crossing in factor.window)
    pairs = sorted({phi.n for phi in factor.agreement.values()})
    return {
        "factor": words(factor.factor),
        "decided at": _when(factor.half) if factor.half else _unmeasured(factor),
        "95 % interval, t": _range(factor.half) if factor.half else "",
        "critical window": window,
        "chance": _figure(factor.chance) if factor.chance else "",
        "ceiling": _figure(factor.ceiling) if factor.ceiling else "",
        "pairs a row": _span(pairs),
    }


def words(factor: str) -> str:
    """A factor's name as people read it."""
    return factor.replace("_", " ")


def _when(half: Crossing) -> str:
    if half.at.log_snr == -math.inf:
        return "before the rows"
    return "after the rows" if half.at.log_snr == math.inf else f"t ≈ {half.at.timestep:.0f}"


def _range(half: Crossing) -> str:
    """The interval of a decision step, noise first."""
    if half.interval is None:
        return TOO_FEW
    return " to ".join(
        f"{end.timestep:.0f}" if math.isfinite(end.log_snr)
        else "before the rows" if end.log_snr < 0
        else "after the rows"
        for end in half.interval
    )  # fmt: skip


def _unmeasured(factor: Decision) -> str:
    return {
        "fixed": "fixed by the prompt",
        "blind": "the probe cannot tell",
        "few trunks": "too few trunks to tell",
    }[factor.state]


def _intervals(found: Results) -> str:
    if 1 < found.trees < FEWEST:
        return f"{found.trees} trunks are too few for intervals: they take {FEWEST}"
    unit = "trunks" if found.trees > 1 else "pairs of branches"
    return f"{100 * LEVEL:.0f} % intervals over {unit}"


def _note(found: Results, factor: Decision) -> str:
    scope = f"{found.trees} trunks, pooled" if factor.scope == "pooled" else "this trunk"
    pairs = sorted({phi.n for phi in factor.agreement.values()})
    parts = [f"{scope}; {_span(pairs)} pairs a row"]
    if factor.half:
        at = "at " if math.isfinite(factor.half.at.log_snr) else ""
        parts.insert(0, f"Half-way {at}{_when(factor.half)} ({_range(factor.half)})")
    for name, level in (("chance", factor.chance), ("ceiling", factor.ceiling)):
        if level:
            parts.append(f"{name} {_figure(level)}")
    unclear = [share.value for share in factor.unclear.values()]
    if max(unclear, default=0.0) >= 0.005:
        parts.append(f"unclear {_span([round(100 * share) for share in unclear])} %")
    return "; ".join(parts) + "."


def _place(axis: Axis, step: int) -> str:
    return f"step {step}, t {axis.timesteps[step]:.0f}, log-SNR {axis.log_snr[step]:.1f}".replace(
        "-SNR -", "-SNR −"
    )


def _figure(estimate: Estimate) -> str:
    return f"{estimate.value:.2f}{_interval(estimate.low, estimate.high)}"


def _interval(low: float | None, high: float | None) -> str:
    if low is None or not math.isfinite(low):
        return ""
    if high is None or not math.isfinite(high):
        return f" (above {low:.2f})"
    return f" ({low:.2f}–{high:.2f})"


def _span(numbers: Sequence[int]) -> str:
    if not numbers:
        return "no"
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}–{high}"


def _edges(low: float, high: float) -> str:
    if math.isinf(high):
        return f"above {low:.2g}"
    return f"up to {high:.2g}" if low == 0 else f"{low:.2g} to {high:.2g}"
