"""The encoded pictures of a trajectory: what an app shows without a model at hand.

One x̂0 picture for each step and the finished picture. Nothing here knows models, stores or the
network; `pictures` lays them out for people to look at.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from types import NoneType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffgrid.errors import Damaged

# By how x̂0 is decoded, best first, the names of frames; raise one when its pictures change.
DIGESTS = {"vae": "vae-1", "tiny": "tiny-1", "linear": "linear-2"}
FRAMES = DIGESTS["vae"]
NOISY_DIGESTS = {way: f"{digest}-noisy" for way, digest in DIGESTS.items()}  # pictures of x_t
EXACT = "exact-1"  # by the full VAE where another way is quicker; a row for each step, `EXACT-STEP`
# What older versions drew, and this one draws anew: x̂0 in the colours of the run's own end.
OLDER_DIGESTS = {"hindsight": "linear-1"}
LARGEST_SIDE = 4096  # px; a picture that claims more is refused before its pixels are read


@dataclass(frozen=True, slots=True)
class Decoding:
    """How pictures of x̂0 were decoded: `way` is of `DIGESTS` or `OLDER_DIGESTS`, or `exact`.

    What is exact was decoded by the full VAE although another way is quicker, and lost nothing.

    `error` is how far such pictures are from the full VAE's, RMS of 255 on samples; `seconds` what
    the full VAE took for one picture. Neither is known of what older versions stored.
    """

    way: str = "vae"
    error: float | None = None
    seconds: float | None = None

    @property
    def approximate(self) -> bool:
        """Whether the full VAE would draw other pictures."""
        return self.way not in ("vae", "exact")

    @property
    def outdated(self) -> bool:
        """Whether they are to be drawn anew, where the model is at hand."""
        return self.way in OLDER_DIGESTS

    @property
    def note(self) -> str:
        """What is said wherever such pictures are shown; nothing of the full VAE's."""
        if not self.approximate:
            return ""
        if self.outdated:
            return "x̂0 pictures are an older version's previews, coloured by how the run ended"
        off = "" if self.error is None else f", about {self.error:.0f} of 255 off (RMS on samples)"
        return f"x̂0 pictures are previews{off}"


@dataclass(frozen=True, slots=True)
class Frames:
    """The encoded pictures of one trajectory of T steps.

    `x0` holds T WebP pictures, the model's guess of the final sample before each step, made as
    `decoding` says; `final` is the finished picture as PNG, bit for bit.
    """

    x0: tuple[bytes, ...]
    final: bytes
    decoding: Decoding = Decoding()

    def to_payload(self) -> tuple[dict[str, Any], bytes]:
        """The frames as a JSON-ready header and all the pictures end to end.

        The header holds their lengths (bytes) and what is known of their decoding, but for its way,
        which names the row.
        """
        header: dict[str, Any] = {"x0": [*map(len, self.x0)], "final": len(self.final)}
        known = {"error": self.decoding.error, "seconds": self.decoding.seconds}
        header |= {name: value for name, value in known.items() if value is not None}
        return header, b"".join((*self.x0, self.final))

    @classmethod
    def from_payload(
        cls, header: Mapping[str, Any], payload: bytes | memoryview, way: str = "vae"
    ) -> Self:
        """Take back what `to_payload` gave. The pictures are checked when they are decoded.

        Raises:
            Damaged: the header is malformed, or its lengths do not add up to the payload's.
        """
        x0, final = header.get("x0"), header.get("final")
        lengths: list[Any] = [*x0, final] if isinstance(x0, list) else []
        pictures = _cut(payload, lengths)
        if pictures is None:
            raise Damaged(
                "the frames are damaged: their header must name the length of each picture, all of "
                f"them together {len(payload)} bytes; sample the trajectory again."
            )
        error, seconds = (header.get(name) for name in ("error", "seconds"))
        if any(type(value) not in (float, NoneType) for value in (error, seconds)):
            raise Damaged("the frames are damaged: their error and seconds must be numbers.")
        return cls(pictures[:-1], pictures[-1], Decoding(way, error, seconds))


def pack_pictures(pictures: tuple[bytes, ...]) -> tuple[dict[str, Any], bytes]:
    """Pictures as a JSON-ready header of lengths (bytes), and all of them end to end."""
    return {"pictures": [len(picture) for picture in pictures]}, b"".join(pictures)


def unpack_pictures(
    header: Mapping[str, Any], payload: bytes | memoryview, count: int
) -> tuple[bytes, ...] | None:
    """Take back `count` pictures of `pack_pictures`; None where the header is another one's."""
    lengths = header.get("pictures")
    return _cut(payload, lengths) if isinstance(lengths, list) and len(lengths) == count else None


def _cut(payload: bytes | memoryview, lengths: list[Any]) -> tuple[bytes, ...] | None:
    """Pictures that lie end to end, of these lengths; None where that is not what they are."""
    # type(), not isinstance(): True is no length here.
    if not lengths or any(type(length) is not int or length < 1 for length in lengths):
        return None
    ends = list(accumulate(lengths))
    if ends[-1] != len(payload):
        return None
    return tuple(
        bytes(payload[end - length : end]) for length, end in zip(lengths, ends, strict=True)
    )


def encode_preview(picture: NDArray[np.uint8]) -> bytes:
    """One picture (H,W,3) RGB uint8 as WebP, quality 75, by its quickest method."""
    return encode(Image.fromarray(picture), format="WEBP", quality=75, method=0)


def encode_exact(picture: NDArray[np.uint8]) -> bytes:
    """One picture (H,W,3) RGB uint8 as WebP without loss, by its quickest method."""
    return encode(Image.fromarray(picture), format="WEBP", lossless=True, quality=0, method=0)


def encode_final(picture: NDArray[np.uint8]) -> bytes:
    """One picture (H,W,3) RGB uint8 as PNG, without loss."""
    return encode(Image.fromarray(picture), format="PNG")


def decode(data: bytes) -> Image.Image:
    """The RGB picture in WebP or PNG bytes of any origin.

    Raises:
        Damaged: other or damaged bytes, an animation, or a picture over `LARGEST_SIDE` px a side.
    """
    with _opened(data) as image:
        return image.convert("RGB")


def check_picture(data: bytes) -> None:
    """Check what bytes of any origin say of themselves; whether they are whole is seen in decoding.

    Raises:
        Damaged: as `decode`.
    """
    with _opened(data):
        pass


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP", "PNG")) as image:
            width, height = image.size  # from the header: a bomb is refused before it is unpacked
            frames = getattr(image, "n_frames", 1)
            if max(width, height) > LARGEST_SIDE or frames != 1:
                raise Damaged(
                    f"a picture of {width} x {height} px and {frames} frame(s) is not allowed: at "
                    f"most {LARGEST_SIDE} px a side and one frame."
                )
            yield image
    except Damaged:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error, …
        raise Damaged(f"not a whole WebP or PNG picture: {error}.") from error


def encode(image: Image.Image, **options: Any) -> bytes:
    """A picture as the bytes of a file, by Pillow's options."""
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()
