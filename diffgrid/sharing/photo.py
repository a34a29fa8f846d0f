"""Somebody's picture, to begin with: the one place where foreign pictures are read.

What a run begins with is what `fitted` makes of it: RGB, upright, of the run's own size. It is
named by the digest of those pixels, so that one picture in two formats is one.
"""

import hashlib
import os
import stat
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from diffgrid.errors import BadInput, Damaged, reason_of
from diffgrid.spec.checks import shown

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = ("png", "jpg", "jpeg", "webp")  # by which people choose
MOST_BYTES = 32 * 2**20  # of a file
MOST_PIXELS = 50_000_000  # as its header says, before they are decoded
# What can be made RGB as it looks; the others hold numbers that no screen shows.
MODES = {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"}


def read(given: Any) -> Image.Image:
    """A file, or a picture that Pillow holds, as it looks: upright, RGB, on white.

    Raises:
        BadInput: it is no such picture, or too large.
    """
    if isinstance(given, Image.Image):
        return _as_it_looks(given, "image")
    if not isinstance(given, str | os.PathLike):
        raise BadInput(f"image {shown(given)} is not allowed: give a file, or a PIL image.")
    name = f"image {shown(os.fsdecode(given))}"
    return decode(_bytes_of(Path(os.fsdecode(given)), name), name)


def decode(data: bytes, name: str = "image") -> Image.Image:
    """The same of a file's bytes; `name` is what a sentence calls it.

    Raises:
        BadInput: see `read`.
    """
    if len(data) > MOST_BYTES:
        raise BadInput(f"{name} is {_too_large(len(data))}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(BytesIO(data), formats=FORMATS)
            _check_pixels(picture, name)
            return _as_it_looks(picture, name)
    except BadInput:
        raise
    except UnidentifiedImageError as error:
        raise BadInput(
            f"{name} is no picture that is read here: give a PNG, JPEG or WebP file."
        ) from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as bomb:
        raise BadInput(f"{name} has {_too_many()}.") from bomb
    except MemoryError as error:
        raise BadInput(f"{name} does not fit in memory: make it smaller.") from error
    except Exception as error:  # Pillow raises what it likes at what is no picture
        raise BadInput(
            f"{name} is a picture that is not whole ({shown(reason_of(error))}): save it again."
        ) from error


def fitted(picture: Image.Image, height: int, width: int) -> Image.Image:
    """Its middle, as large as fits, made so many pixels."""
    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)


def digest_of(picture: Image.Image) -> str:
    """sha256 over its size and its RGB pixels, 64 hexadecimal digits."""
    pixels = hashlib.sha256(f"{picture.width} x {picture.height}\n".encode("ascii"))
    pixels.update(picture.tobytes())
    return pixels.hexdigest()


def to_png(picture: Image.Image) -> bytes:
    """As it is kept; `from_png` takes it back."""
    encoded = BytesIO()
    picture.save(encoded, "PNG")
    return encoded.getvalue()


def from_png(data: bytes, digest: str) -> Image.Image:
    """What was kept of the picture that this digest names.

    Raises:
        Damaged: it is another, or none.
    """
    try:
        picture = decode(data)
    except BadInput as error:
        raise Damaged(str(error)) from error
    if digest_of(picture) != digest:
        raise Damaged(f"the picture kept as {digest[:8]} is another: give it again.")
    return picture


def _bytes_of(file: Path, name: str) -> bytes:
    """The file's bytes. What it is, and how large, is asked before it is opened: reading a pipe, a
    device or 10 GB has no end."""
    try:
        _check_file(file.stat(), name)
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            _check_file(os.fstat(opened.fileno()), name)
            return opened.read(MOST_BYTES + 1)  # it may grow
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{name} is not there: give the path of a picture.") from error
    except (OSError, ValueError) as error:  # a name with a NUL in it, or too long
        raise BadInput(
            f"{name} cannot be read ({getattr(error, 'strerror', None) or error}): give the path "
            "of a picture."
        ) from error


def _check_file(status: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no plain file"
        raise BadInput(f"{name} is {kind}: give the path of a picture.")
    if status.st_size > MOST_BYTES:
        raise BadInput(f"{name} is {_too_large(status.st_size)}.")


def _check_pixels(picture: Image.Image, name: str) -> None:
    if picture.width * picture.height > MOST_PIXELS:
        raise BadInput(f"{name} has {_too_many(f'{picture.width:,} x {picture.height:,}')}.")
    if picture.mode not in MODES:
        raise BadInput(
            f"{name} has pixels of another kind ({picture.mode}) than are shown: save it with 8 "
            "bits a channel."
        )


def _as_it_looks(picture: Image.Image, name: str) -> Image.Image:
    _check_pixels(picture, name)
    upright = ImageOps.exif_transpose(picture)
    if not upright.has_transparency_data:
        return upright.convert("RGB")
    colours = upright.convert("RGBA")
    seen = Image.new("RGB", colours.size, "white")
    seen.paste(colours, mask=colours.getchannel("A"))
    return seen


def _too_large(size: int) -> str:
    return f"{size / 2**20:,.0f} MB large: use a file of at most {MOST_BYTES // 2**20} MB"


def _too_many(count: str = "too many") -> str:
    return f"{count} pixels: use at most {MOST_PIXELS // 10**6} million"
