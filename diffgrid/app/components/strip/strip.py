"""The trajectory strip: aligned lanes along time, a scrubber, a large picture and a chart.

Pure functions from a trajectory to the message that the component draws; `strip.js` does the rest
in the browser, so that scrubbing asks nobody. A column is a state: x_t before step 0, 1 … T-1, and
the finished one last.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffgrid.api import Trajectory, recipe
from diffgrid.app.components.shared.mount import component
from diffgrid.browser.protocol import ImagePool
from diffgrid.compare import FARTHEST, log_snr
from diffgrid.records.frames import decode, encode, encode_preview
from diffgrid.spec.grid import Grid
from diffgrid.spec.path import Path, behind, describe, format_path
from diffgrid.spec.run import key
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.pictures import stored_frames

THUMBNAIL = 96  # px
LARGEST_MAP = 128  # px a side, all channels of a state together: what a lane can show
VIOLET, ORANGE = (124, 92, 255), (232, 131, 34)  # to be seen on white and on black alike
FULL = 0.995  # the quantile that full colour stands for: one odd element must not dim the rest

_PREVIEWS = {"vae": (), "exact": ("noisy",)}  # lanes of approximate pictures, by the way of x̂0

_strip = component("strip", '<section class="film" aria-label="Trajectory strip"></section>')


def show_strip(data: bytes, on_acts: Callable[[], None]) -> None:
    """Draw a `message`; `on_acts` is called when `st.session_state["film"].acts` changed.

    It is for an `Inbox`: `{"do": "pick", "path": …}` is a thumbnail; `{"do": "change", "path": …,
    "step": …, "prompt": …, "guidance": …}` asks for a trajectory to go on under others.
    """
    _strip(key="film", data=data, on_acts_change=on_acts)


def message(
    trajectory: Trajectory,
    noisy: Sequence[bytes] | None,
    thumbnails: Sequence[Mapping[Path, bytes | None]] = (),
    rows: Collection[int] = (),
    waiting: bool = False,
    change: Mapping[str, Any] | None = None,
    acted: tuple[str, int] = ("", 0),
) -> bytes:
    """All that the component shows of a finished trajectory of T steps.

    `noisy` are the decoded x_t before each step, T pictures, or None where they are not made;
    `waiting` says that they will be. `thumbnails` are pictures of the trajectories to choose from,
    in groups, where known; `rows` the steps at which those leave; `change` is what
    `changeable` says of it; `acted` the receipt of the acts that were taken.
    """
    pool, length = ImagePool(), trajectory.spec.length
    final = trajectory.frames.final
    blanks: Sequence[bytes | None] = [None] * length
    x0 = trajectory.pred_original_sample
    name, *settings = recipe(trajectory.spec, trajectory.path)
    header = {
        "acted": acted,
        "path": format_path(trajectory.path),
        "name": name,
        "change": change,
        "waiting": waiting and noisy is None,
        "prompt": trajectory.spec.prompt,
        "aspect": trajectory.spec.width / trajectory.spec.height,
        "settings": settings,
        "timesteps": _numbers(trajectory.timesteps, 1),
        "alphaBar": _numbers(trajectory.alpha_bar, 9),
        "farthest": FARTHEST,
        "logSnr": _numbers(log_snr(trajectory.alpha_bar), 3),
        "distance": _numbers([*distances(x0, trajectory.latents[-1]), 0.0], 4),
        "moved": _numbers(moves(x0, trajectory.latents[-1]), 4),
        "parts": parts(trajectory.path, length),
        "forks": [fork.step for fork in trajectory.path],
        "rows": sorted(row for row in rows if row < length),
        "previews": _PREVIEWS.get(trajectory.frames.decoding.way, ("x0", "noisy")),
        "lanes": {
            "latents": pool.put_all(latent_maps(trajectory)),
            "noisy": pool.put_all([*(noisy or blanks), final]),
            "x0": pool.put_all([*trajectory.frames.x0, final]),
            "change": pool.put_all(heat_maps(x0, trajectory.latents[-1])),
        },
        "thumbnails": [
            {
                "path": format_path(path),
                "name": describe(path),
                "label": _short(path[-1:]),
                "group": number,
                "picture": pool.put(picture),
            }
            for number, group in enumerate(thumbnails)
            for path, picture in group.items()
        ],
    }
    return pool.pack(header)


def thumbnails(store: TrajectoryStore, grid: Grid) -> list[dict[Path, bytes | None]]:
    """What the grid's focus, then each row's cells, came to, where it is stored."""
    return [
        {path: _thumbnail(store, key(grid.spec, path)) for path in group}
        for group in ((grid.path,), *grid.cells)
    ]


def _thumbnail(store: TrajectoryStore, name: str) -> bytes | None:
    stored = stored_frames(store, name)
    if stored is None:
        return None
    # The last x̂0 is as good as the finished picture, and small; a preview of it is neither.
    return _small(stored.final) if stored.decoding.approximate else stored.x0[-1]


@lru_cache(maxsize=500)
def _small(picture: bytes) -> bytes:
    image = decode(picture)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return encode_preview(np.asarray(image))


def distances(
    pred_original_sample: NDArray[np.float32], final: NDArray[np.float32]
) -> NDArray[np.float32]:
    """How far each x̂0 (T,C,H,W) is from x_0 (C,H,W): RMS per element, (T,)."""
    return _rms(pred_original_sample - final, axis=(1, 2, 3))


def moves(
    pred_original_sample: NDArray[np.float32], final: NDArray[np.float32]
) -> list[float | None]:
    """How far x̂0 (T,C,H,W) moved since the step before, and last to x_0: RMS, T+1 of them."""
    return [None, *map(float, _rms(_changes(pred_original_sample, final), axis=(1, 2, 3)))]


def heat_maps(
    pred_original_sample: NDArray[np.float32], final: NDArray[np.float32]
) -> list[bytes | None]:
    """Where x̂0 (T,C,H,W) changed since the step before, and last where x_0 (C,H,W) differs.

    T+1 PNGs at the latents' resolution, violet on nothing, on one scale: RMS over the channels. At
    step 0 there is no step before.
    """
    heat = _rms(_changes(pred_original_sample, final), axis=1)  # (T, H, W)
    # The root: most of the change is early, and what late steps do would not be seen.
    weight = np.sqrt(heat / _full(heat))
    return [None, *(_png(_reduced(each)) for each in weight)]


def latent_maps(trajectory: Trajectory) -> list[bytes]:
    """Every x_t as a mosaic of its channels, T+1 PNGs: orange is negative, violet positive.

    One scale for the whole trajectory: of x_t/√(alpha²+sigma²), whose variance stays about 1
    whatever coordinates the scheduler keeps x_t in.
    """
    scale = np.hypot(trajectory.alphas, trajectory.sigmas)[:, None, None, None]
    states = trajectory.latents / scale
    weight = states / _full(np.abs(states))
    return [_png(_reduced(_mosaic(state))) for state in weight]


def parts(path: Path, length: int) -> list[dict[str, Any]]:
    """Whose each stretch of columns is: the ancestors' first, the path's own last.

    A fresh fork at step k shares column k with its parent, and what follows is its own; one that
    changes the prompt has an x̂0 of its own there, and re-noise all from where it goes back to.
    """
    found = []
    for owner, stretch in groupby(range(length + 1), lambda column: behind(path, column)):
        columns = list(stretch)
        ends = {"first": columns[0], "last": columns[-1]}
        found.append({"owner": _short(owner), **ends, "own": owner == path})
    return found


def _short(path: Path) -> str:
    """A path where there is little room: what its changes are is told elsewhere."""
    forks = (f"{fork.step}: …" if fork.changes else format_path((fork,)) for fork in path)
    return "/".join(forks) or "trunk"


def _changes(
    pred_original_sample: NDArray[np.float32], final: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(T, C, H, W): from each x̂0 to the next, and from the last to x_0."""
    return np.diff(pred_original_sample, axis=0, append=final[None])


def _rms(values: NDArray[np.float32], axis: int | tuple[int, ...]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = np.sqrt(np.mean(np.square(values), axis=axis))
    return result


def _full(values: NDArray[Any]) -> float:
    return max(float(np.quantile(np.nan_to_num(values), FULL)), 1e-12)


def _mosaic(state: NDArray[Any]) -> NDArray[Any]:
    """(C, H, W) -> all channels side by side in a square, a gap of 1 between them."""
    channels, height, width = state.shape
    across = math.ceil(math.sqrt(channels))
    lines = math.ceil(channels / across)
    canvas = np.zeros((lines * (height + 1) - 1, across * (width + 1) - 1), state.dtype)
    for channel, values in enumerate(state):
        y, x = channel // across * (height + 1), channel % across * (width + 1)
        canvas[y : y + height, x : x + width] = values
    return canvas


def _reduced(weight: NDArray[Any]) -> NDArray[Any]:
    """(H, W), averaged down by a whole factor until no side is over `LARGEST_MAP`."""
    factor = math.ceil(max(weight.shape) / LARGEST_MAP)
    image = Image.fromarray(np.nan_to_num(weight).astype(np.float32)).reduce(factor)
    return np.asarray(image)


def _palette() -> bytes:
    """RGBA of 255 weights from -1 to 1: colour grows in from nothing, on a page of any colour."""
    weights = [(index - 127) / 127 for index in range(255)]
    colours = [(*(ORANGE if w < 0 else VIOLET), round(255 * abs(w))) for w in weights]
    return bytes(value for colour in colours for value in colour)


_PALETTE = _palette()


def _png(weight: NDArray[Any]) -> bytes:
    """Weights (H,W) from -1 to 1 as a PNG with transparency."""
    indices = np.rint(np.clip(weight, -1, 1) * 127 + 127).astype(np.uint8)
    image = Image.fromarray(indices, "P")
    image.putpalette(_PALETTE, "RGBA")
    return encode(image, format="PNG")


def _numbers(values: Iterable[Any], digits: int) -> list[float | None]:
    """For JSON, which has no infinity."""
    return [
        round(float(value), digits) if value is not None and math.isfinite(value) else None
        for value in values
    ]
