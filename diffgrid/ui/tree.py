"""The grid as HTML: the trunk runs down the left edge, each row leaves it at its step.

Pure functions from what is known now to a page's markup; blanks stand where nothing is known yet.
`tree.css` gives it its looks.
"""

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from pathlib import Path as File

from diffgrid.api import Trajectory, recipe
from diffgrid.engine import PathView
from diffgrid.spec import Grid, Path, format_path

CSS = File(__file__).with_suffix(".css")
PER_LINE, PER_LINE_NARROW = 8, 4  # cells of a row before it goes on in another line
IN_STRIP = 25  # pictures; more of them would be too small to see


def draw_tree(grid: Grid, views: Mapping[Path, PathView], trunk: Trajectory | None) -> str:
    """The rows: the trunk's x̂0 at each fork step, and the newest picture of every cell."""
    across = max((len(branches) for branches in grid.branches), default=1)
    style = f"--across: {min(across, PER_LINE)}; --across-narrow: {min(across, PER_LINE_NARROW)}"
    rows = "".join(
        f'<div role="row" class="dg-row">{_node(step, trunk)}'
        f'<div role="none" class="dg-cells">{"".join(_cell(views, path) for path in cells)}</div>'
        "</div>"
        for step, cells in zip(grid.rows, grid.cells, strict=True)
    )
    return (
        f'<div role="grid" aria-label="Branching grid" class="dg-tree" style="{style}">{rows}</div>'
    )


def draw_trunk(grid: Grid, views: Mapping[Path, PathView], trunk: Trajectory | None) -> str:
    """The trajectory in view: its picture, the words that made it, and its strip."""
    name, *settings = recipe(grid.spec, grid.path)
    words = " · ".join(escape(setting) for setting in settings)
    prompt = f"“{escape(grid.spec.prompt)}”" if grid.spec.prompt else "(empty prompt)"
    view = views[grid.path]
    caption = "the finished picture" if view.done else "the picture so far"
    return (
        f'<div class="dg-trunk">{_picture(view.frame, f"{name}: {caption}", "dg-final")}'
        f'<div class="dg-words"><p class="dg-prompt">{prompt}</p>'
        f"<p><b>{escape(name)}</b> · {words}</p></div></div>" + _strip(grid, trunk)
    )


def _node(step: int, trunk: Trajectory | None) -> str:
    """The trunk where a row leaves it."""
    frame, time = None, "&nbsp;"
    if trunk:
        frame, time = trunk.frames.x0[step], f"t = {trunk.timesteps[step]:.4g}"
    picture = _picture(frame, f"the trunk's predicted x̂0 at step {step}", "dg-node")
    return (
        f'<div role="rowheader" class="dg-header">{picture}'
        f'<p class="dg-label"><b>{time}</b><br>step {step}</p></div>'
    )


def _cell(views: Mapping[Path, PathView], path: Path) -> str:
    view, name = views[path], format_path(path)
    busy = "" if view.done else ' aria-busy="true"'
    return (
        f'<div role="gridcell" class="dg-cell" title="{name}"{busy}>'
        f"{_picture(view.frame, f'branch {name}')}</div>"
    )


def _strip(grid: Grid, trunk: Trajectory | None) -> str:
    """x̂0 along time, the fork points marked."""
    length = grid.spec.length
    shown = {round(i * (length - 1) / (IN_STRIP - 1)) for i in range(IN_STRIP)} | {*grid.rows}
    moments = []
    for step in sorted(step for step in shown if step < length):
        frame, time = None, "&nbsp;"
        if trunk:
            frame, time = trunk.frames.x0[step], f"{trunk.timesteps[step]:.4g}"
        kind = "dg-fork" if step in grid.rows else ""
        picture = _picture(frame, f"x̂0 at step {step}")
        moments.append(f'<div role="listitem" class="{kind}">{picture}{time}</div>')
    label = "The trunk's predicted x̂0, step by step; fork points are marked"
    items = "".join(moments)
    return f'<div role="list" class="dg-strip" tabindex="0" aria-label="{label}">{items}</div>'


def _picture(frame: bytes | None, alt: str, kind: str = "") -> str:
    """Encoded bytes as they are; decoded at once, so that a repaint does not blink."""
    if frame is None:
        label = f"{escape(alt)}, not yet made"
        return f'<div class="dg-blank {kind}" role="img" aria-label="{label}"></div>'
    mime = "image/png" if frame.startswith(b"\x89PNG") else "image/webp"
    source = f"data:{mime};base64,{b64encode(frame).decode('ascii')}"
    return f'<img class="{kind}" alt="{escape(alt)}" decoding="sync" src="{source}">'
