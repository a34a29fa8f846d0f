"""A short film to post, which begins anew for ever: a trajectory's x̂0 step by step, or a journey.

Pure Pillow. The words that made it go along: as a GIF's comment, as a WebP's EXIF description.
"""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from diffgrid.records.frames import encode

SECONDS = 2.0  # of the way to the finished picture, about
FRAME_MS, SHORTEST_MS = 80, 20  # browsers slow a GIF down whose frames are shorter
HOLD_MS = 1000
MOST_FRAMES = 100  # of more steps, as many evenly spread
SIDE = 256  # px; smaller pictures are enlarged by a whole factor,
LARGEST_SIDE = 1024  # px; but not beyond this
_DESCRIPTION = 0x010E  # the EXIF tag


def to_gif(pictures: Sequence[Image.Image], recipe: str = "", each_ms: int = 0) -> bytes:
    """T+1 RGB pictures of one size, the finished one last, as a GIF that loops.

    Each stays for `each_ms`; where that is 0, all together for some `SECONDS`.

    Raises:
        ValueError: there are no pictures.
    """
    frames, durations = _timed(pictures, each_ms)
    # A palette for each frame, and no dither: dots that jump from frame to frame look like noise.
    frames = [frame.quantize(256, dither=Image.Dither.NONE) for frame in frames]
    return _film(frames, format="GIF", duration=durations, comment=recipe.encode("utf-8"))


def to_webp(pictures: Sequence[Image.Image], recipe: str = "", each_ms: int = 0) -> bytes:
    """The same as an animated WebP: a tenth of the size, in all colours.

    Raises:
        ValueError: there are no pictures.
    """
    frames, durations = _timed(pictures, each_ms)
    exif = Image.Exif()
    exif[_DESCRIPTION] = recipe.encode("utf-8")  # as text it would be cut down to ASCII
    return _film(frames, format="WEBP", duration=durations, quality=85, method=4, exif=exif)


def chosen_moments(count: int) -> list[int]:
    """Which of so many pictures, indices, are shown: all, or `MOST_FRAMES`; the last is."""
    last, shown = count - 1, min(count, MOST_FRAMES)
    return [*(round(i * last / max(1, shown - 1)) for i in range(shown - 1)), last]


def _timed(pictures: Sequence[Image.Image], each_ms: int) -> tuple[list[Image.Image], list[int]]:
    """The frames to show, enlarged, and for how long, in ms."""
    if not pictures:
        raise ValueError("an animation needs at least one picture")
    frames = [_enlarged(pictures[index]) for index in chosen_moments(len(pictures))]
    each = round(1000 * SECONDS / len(frames) / 10) * 10  # a GIF counts in hundredths of a second
    each = each_ms or min(FRAME_MS, max(SHORTEST_MS, each))
    return frames, [*([each] * (len(frames) - 1)), max(HOLD_MS, 2 * each)]


def _enlarged(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    factor = min(-(-SIDE // min(width, height)), LARGEST_SIDE // max(width, height))
    # A copy of each frame would be as much again: a film is in memory as a whole.
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    if factor <= 1:
        return rgb
    return rgb.resize((width * factor, height * factor), Image.Resampling.BICUBIC)


def _film(frames: list[Image.Image], **options: Any) -> bytes:
    first, *rest = frames
    return encode(first, save_all=True, append_images=rest, loop=0, **options)
