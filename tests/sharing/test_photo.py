"""Foreign pictures: what is read as it looks, and what is refused in one sentence."""

import os
import random
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffgrid.errors import BadInput, Damaged
from diffgrid.sharing import photo

WIDE, HIGH = 61, 40


def drawn(mode: str = "RGB", width: int = WIDE, height: int = HIGH) -> Image.Image:
    numbers = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(numbers, "RGBA").convert(mode)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def header(width: int, height: int, more: bytes = b"") -> bytes:
    """A PNG that says that it is so large, and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + more + pixels + chunk(b"IEND", b"")


def refused(given: Any) -> str:
    with pytest.raises(BadInput) as told:
        photo.read(given)
    sentence = str(told.value)
    assert sentence.startswith("image")
    assert "\n" not in sentence
    assert len(sentence) < 300
    return sentence


# --- what is read


@pytest.mark.parametrize("options", [{}, {"lossless": True}], ids=["png", "webp"])
def test_one_picture_in_two_formats_is_one(tmp_path: Path, options: dict[str, Any]) -> None:
    kind = "WEBP" if options else "PNG"
    (tmp_path / "a").write_bytes(encoded(drawn(), kind, **options))
    read = photo.fitted(photo.read(tmp_path / "a"), 16, 16)
    assert photo.digest_of(read) == photo.digest_of(photo.fitted(drawn(), 16, 16))


def test_a_picture_held_is_the_file_it_was_read_from(tmp_path: Path) -> None:
    """Also one of a format that is not read from files: Pillow has decoded it."""
    held = Image.open(BytesIO(encoded(drawn(), "BMP")))
    (tmp_path / "a.png").write_bytes(encoded(drawn()))
    assert photo.digest_of(photo.read(held)) == photo.digest_of(photo.read(tmp_path / "a.png"))


def test_other_pixels_or_another_size_is_another_picture() -> None:
    one, black = drawn(), Image.new("RGB", (8, 4))
    other = one.copy()
    other.putpixel((0, 0), (1, 2, 3))
    assert photo.digest_of(one) != photo.digest_of(other)
    assert photo.digest_of(black) != photo.digest_of(Image.new("RGB", (4, 8)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_that_is_shown_is_read_as_it_looks(mode: str) -> None:
    picture = drawn("RGB").convert(mode) if mode == "P" else drawn(mode)
    read = photo.decode(encoded(picture))
    assert (read.mode, read.size) == ("RGB", picture.size)
    if mode in ("1", "L", "P", "RGB"):
        np.testing.assert_array_equal(read, picture.convert("RGB"))


def test_a_print_is_read_too() -> None:
    assert photo.decode(encoded(drawn("CMYK"), "JPEG")).mode == "RGB"


def test_what_can_be_seen_through_is_seen_on_white() -> None:
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert photo.decode(encoded(picture)).getpixel((3, 3)) == (255, 255, 255)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([10, 20, 30])
    assert photo.decode(encoded(palette, transparency=0)).getpixel((3, 3)) == (255, 255, 255)
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert photo.decode(encoded(half)).getpixel((3, 3)) == (127, 127, 127)


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_camera_that_was_held_otherwise_is_heeded(turned: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turned
    read = photo.decode(encoded(drawn(), "JPEG", exif=exif))
    assert read.size == ((WIDE, HIGH) if turned < 5 else (HIGH, WIDE))


@pytest.mark.parametrize("size", [(8, 8), (64, 16), (16, 64), (128, 128)])
def test_the_middle_is_made_as_large_as_the_run(size: tuple[int, int]) -> None:
    picture = Image.new("RGB", (300, 100), "red")
    picture.paste("blue", (100, 0, 200, 100))
    made = photo.fitted(picture, *size)
    assert made.size == (size[1], size[0])
    assert made.getpixel((size[1] // 2, size[0] // 2)) == (0, 0, 255)


def test_a_picture_of_the_runs_size_stays_as_it_is() -> None:
    picture = drawn("RGB", 32, 32)
    np.testing.assert_array_equal(photo.fitted(picture, 32, 32), picture)


def test_what_is_kept_is_what_was_read() -> None:
    picture = drawn()
    kept = photo.to_png(picture)
    np.testing.assert_array_equal(photo.from_png(kept, photo.digest_of(picture)), picture)
    for other in (b"", b"no picture", kept[:-40], photo.to_png(drawn("L").convert("RGB"))):
        with pytest.raises(Damaged):
            photo.from_png(other, photo.digest_of(picture))


# --- what is refused


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    for name in ("a.png", "empty.png"):
        assert "is no picture that is read here: give a PNG" in refused(tmp_path / name)


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "PPM", "ICO", "PDF"])
def test_other_formats_are_refused_whatever_they_are_called(tmp_path: Path, kind: str) -> None:
    """Each decoder is one more that strangers' bytes would reach."""
    (tmp_path / "a.png").write_bytes(encoded(drawn(), kind))
    assert "is no picture that is read here" in refused(tmp_path / "a.png")


def test_pixels_that_no_screen_shows_are_refused(tmp_path: Path) -> None:
    Image.new("I;16", (8, 8)).save(tmp_path / "a.png")
    assert "save it with 8 bits a channel" in refused(tmp_path / "a.png")
    assert "pixels of another kind (F)" in refused(Image.new("F", (8, 8)))


def test_more_pixels_than_can_be_are_refused_before_they_are_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image.Image, "load", None)
    for width, height in ((10_000, 5_001), (12_000, 12_000), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(BadInput, match="pixels: use at most 50 million"):
            photo.decode(header(width, height))


def test_a_bomb_in_its_words_is_refused() -> None:
    """Text that is a thousand times as long as it is in the file."""
    text = b"a\0\0" + zlib.compress(b"0" * 100_000_000)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text
    more = chunk + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    with pytest.raises(BadInput):
        photo.decode(header(64, 64, more))


def test_a_file_that_is_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "large.png"
    with file.open("wb") as opened:
        opened.truncate(10 * 2**30)  # which takes no room on the disk
    monkeypatch.setattr(os, "open", None)
    assert "is 10,240 MB large: use a file of at most 32 MB" in refused(file)


def test_a_file_that_grows_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"0" * 1000)
    monkeypatch.setattr(photo, "MOST_BYTES", 100)
    monkeypatch.setattr(photo, "_check_file", lambda *_: None)
    assert "MB large" in refused(file)


def test_bytes_that_are_too_many_are_refused() -> None:
    with pytest.raises(BadInput, match="is 32 MB large: use a file of at most 32 MB"):
        photo.decode(bytes(photo.MOST_BYTES + 1))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    assert "is a folder" in refused(tmp_path)
    assert "is no plain file" in refused(tmp_path / "pipe")
    assert "is no plain file" in refused("/dev/zero")
    assert "is not there" in refused(tmp_path / "gone.png")
    assert "is not there" in refused(str(tmp_path / "gone.png"))
    assert "cannot be read" in refused(tmp_path / "link")
    assert "cannot be read" in refused("a\0b")
    assert "cannot be read" in refused("a" * 5000)
    assert "is not allowed: give a file" in refused(7)


def test_a_pipe_that_takes_the_place_of_a_file_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and the opening."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    plain = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda _: plain)
    assert "is no plain file" in refused(tmp_path / "pipe")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_whatever_is_damaged_is_a_picture_or_a_sentence(kind: str) -> None:
    """Bytes are changed, cut or doubled anywhere, and nothing but BadInput comes out."""
    whole, chance = encoded(drawn(), kind), random.Random(0)
    read, sentences = [], []
    for _ in range(300):
        data = bytearray(
            whole[: chance.randrange(len(whole) + 1)] if chance.random() < 0.3 else whole
        )
        for _ in range(chance.randrange(1, 20)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            read.append(photo.decode(bytes(data)).mode)
        except BadInput as told:
            sentences.append(str(told))
    assert {*read} <= {"RGB"}
    assert sentences
    assert not [sentence for sentence in sentences if "\n" in sentence]
