"""What sheets are drawn with: their colours, their fonts, and lines of text that fit."""

import importlib.util
from bisect import bisect
from contextlib import suppress
from functools import lru_cache
from pathlib import Path as FilePath
from typing import Literal

from PIL import Image, ImageFont

from diffgrid.pictures.png import Texts, with_texts
from diffgrid.records.frames import encode

BACKGROUND, INK, MUTED = (252, 251, 250), (29, 27, 38), (122, 117, 130)
LINE, EMPTY = (208, 202, 224), (240, 238, 233)
ACCENT, FORMER = (108, 78, 242), (183, 170, 247)  # the path on view; the one it left
NEGATIVE, POSITIVE = (206, 104, 28), (76, 46, 200)  # the ends of the latents' map; 0 is BACKGROUND

Color = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Style = Literal["plain", "strong", "prompt"]

# Pillow's own font has no Greek, no accents and no ×. Streamlit, which the app needs anyway, ships
# these two with Latin, Greek, Cyrillic and Vietnamese; other scripts are left to the system.
_FILES: dict[Style, tuple[str, int]] = {
    "plain": ("SourceSansVF-Upright*.woff2", 400),
    "strong": ("SourceSansVF-Upright*.woff2", 600),
    "prompt": ("SourceSerifVariable-Italic*.woff2", 400),
}
_SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "DejaVuSans.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "msyh.ttc",
)


@lru_cache(maxsize=64)
def _font(style: Style, size: int) -> Font:
    pattern, weight = _FILES[style]
    package = importlib.util.find_spec("streamlit")  # finds the folder, imports nothing
    folders = (package.submodule_search_locations or []) if package else []
    files = sorted(file for folder in folders for file in FilePath(folder, "static").rglob(pattern))
    if files:
        font = ImageFont.truetype(files[0], size)
        axes: list[float] = [weight, size / 4]  # drawn at four times the size that is seen
        font.set_variation_by_axes(axes[: len(font.get_variation_axes())])
        return font
    return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def _system_fonts(size: int) -> list[Font]:
    found: list[Font] = []
    for name in _SYSTEM_FONTS:
        with suppress(OSError):  # this system has it not
            found.append(ImageFont.truetype(name, size))
    return found


def font_for(text: str, style: Style, size: int) -> Font:
    """The house font, or the first system font where only that has every character of the text."""
    house = _font(style, size)
    if text.isascii() or all(_draws(house, character) for character in set(text)):
        return house
    for font in _system_fonts(size):
        if all(_draws(font, character) for character in set(text)):
            return font
    return house


@lru_cache(maxsize=4096)
def _draws(font: Font, character: str) -> bool:
    missing = font.getmask("\uffff")  # no font has it: this is the box for missing characters
    return bytes(font.getmask(character)) != bytes(missing)


def width_of(text: str, style: Style, size: int) -> float:
    """In px, as `_Canvas.text` will draw it."""
    return font_for(text, style, 4 * size).getlength(text) / 4


def one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def wrap(
    text: str, style: Style, size: int, width: float, most: int = 1, end: str = "…"
) -> list[str]:
    """At most `most` lines no wider than `width` px, closed by `end` where text is left over."""

    def fits(line: str) -> bool:
        return width_of(line, style, size) <= width

    def longest(text: str, end: str = "") -> int:
        """How many of the text's characters fit with `end` behind them, at least one."""
        lengths = range(1, len(text) + 1)
        return max(1, bisect(lengths, False, key=lambda n: not fits(text[:n] + end)))

    lines, line = [], ""
    for word in text.split(" "):
        if line and fits(f"{line} {word}"):
            line = f"{line} {word}"
            continue
        if line:
            lines.append(line)
        line = word
        # No space to break at: long words, Chinese, Japanese.
        while len(lines) <= most and not fits(line):
            count = longest(line)
            lines.append(line[:count])
            line = line[count:]
        if len(lines) > most:
            break
    lines.append(line)
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    return [*lines[: most - 1], last[: longest(last, end)].rstrip(" ,.;") + end]


def to_png(image: Image.Image, texts: Texts) -> bytes:
    """A sheet as PNG, which says of itself what it was made of."""
    return with_texts(encode(image, format="PNG"), texts)
