"""Files that anybody may have written: found, refused in one sentence, and never unpacked whole."""

import io
import os
import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path as File

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffgrid.errors import BadInput
from diffgrid.pictures.png import SIGNATURE, with_texts
from diffgrid.records.frames import encode
from diffgrid.sharing import foreign, recipe
from diffgrid.sharing.foreign import opened, opened_file
from tests.sharing.made import DEFAULT

VIEW = DEFAULT.with_options(prompt="a red monster 怪")
TEXTS = recipe.texts(VIEW)
PLAIN = encode(Image.new("RGB", (2, 1), "red"), format="PNG")


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def picture(*chunks: bytes) -> bytes:
    """A picture with these chunks behind its pixels."""
    return PLAIN[:-12] + b"".join(chunks) + PLAIN[-12:]


TEXT = TEXTS.recipe.encode()
PRESSED = zlib.compress(TEXT)
BOMB = zlib.compress(b"[" * 50_000_000)


@pytest.mark.parametrize(
    "data",
    [
        with_texts(PLAIN, TEXTS),
        picture(chunk(b"tEXt", b"diffgrid\0" + TEXT)),
        picture(chunk(b"zTXt", b"diffgrid\0\0" + PRESSED)),
        picture(chunk(b"iTXt", b"diffgrid\0\0\0en\0recipe\0" + TEXT)),
        picture(chunk(b"iTXt", b"diffgrid\0\1\0\0\0" + PRESSED)),
        picture(chunk(b"tEXt", b"Software\0x"), chunk(b"tEXt", b"diffgrid\0" + TEXT)),
        f"\n<!doctype html>{recipe.element(TEXTS.recipe)}<p>".encode(),
    ],
    ids=["ours", "tEXt", "zTXt", "iTXt", "iTXt compressed", "not the first", "a page"],
)
def test_a_recipe_is_found_wherever_a_tool_moved_it(data: bytes) -> None:
    assert opened(data).view == VIEW


def test_a_picture_that_another_program_saved_anew_opens() -> None:
    image = Image.open(io.BytesIO(with_texts(PLAIN, TEXTS)))
    texts = PngInfo()
    texts.add_text("diffgrid", image.info["diffgrid"], zip=True)
    assert opened(encode(image, format="PNG", pnginfo=texts)).view == VIEW


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the file is no picture and no page that carries a recipe"),
        (b"GIF89a", "the file is no picture"),
        (SIGNATURE, "the picture carries no recipe"),
        (PLAIN, "the picture carries no recipe"),
        (with_texts(PLAIN, TEXTS)[:200], "the picture carries no recipe"),
        (picture(chunk(b"eXIf", b"diffgrid\0{}")), "the picture carries no recipe"),
        (picture(chunk(b"tEXt", b"diffgrids\0{}")), "the picture carries no recipe"),
        (PLAIN + chunk(b"tEXt", b"diffgrid\0" + TEXT), "the picture carries no recipe"),
        (picture(chunk(b"tEXt", b"diffgrid\0")), "the recipe is not as diffgrid wrote it"),
        (picture(chunk(b"tEXt", b"diffgrid\0{}")[:-4] + b"0000"), "the picture's recipe is dam"),
        (picture(chunk(b"zTXt", b"diffgrid\0\0x")), "the picture's recipe is damaged"),
        (picture(chunk(b"zTXt", b"diffgrid\0")), "the picture's recipe is damaged"),
        (picture(chunk(b"zTXt", b"diffgrid\0\0" + PRESSED[:-9])), "the picture's recipe is dam"),
        (picture(chunk(b"iTXt", b"diffgrid\0")), "the recipe is not as diffgrid wrote it"),
        (picture(chunk(b"iTXt", b"diffgrid\0\0\0\0\0\xff")), "the picture's recipe is damaged"),
        (picture(chunk(b"zTXt", b"diffgrid\0\0" + BOMB)), "the file's recipe is too long"),
        (picture(chunk(b"iTXt", b"diffgrid\0\1\0\0\0" + BOMB)), "the file's recipe is too long"),
        (picture(chunk(b"tEXt", b"diffgrid\0" + b"x" * 100_001)), "the file's recipe is too long"),
        (recipe.ELEMENT.encode(), "the recipe is not as diffgrid wrote it"),
        (recipe.ELEMENT.encode() * 100_000, "the recipe is not as diffgrid wrote it"),
        (b"x" * (foreign.LARGEST + 1), "the file is too large: use at most 64,000,000 bytes"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=re.escape(sentence)) as error:
        opened(data)
    assert "\n" not in str(error.value)


def test_a_picture_of_more_chunks_than_any_has_is_left() -> None:
    many = chunk(b"tEXt", b"a\0b") * foreign.MOST_CHUNKS
    with pytest.raises(BadInput, match="carries no recipe"):
        opened(picture(many, chunk(b"tEXt", b"diffgrid\0" + TEXT)))


@given(st.binary(max_size=200), st.integers(0, len(PLAIN)), st.integers(0, 400))
def test_no_bytes_are_anything_but_a_view_or_a_sentence(noise: bytes, at: int, cut: int) -> None:
    whole = with_texts(PLAIN, TEXTS)
    for data in (noise, SIGNATURE + noise, whole[:at] + noise + whole[at + cut :]):
        with suppress(BadInput):
            opened(data)


def test_a_file_is_opened_by_name_where_it_is_one(tmp_path: File) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(with_texts(PLAIN, TEXTS))
    assert opened_file(file).view == VIEW
    os.mkfifo(tmp_path / "pipe")
    for name, sentence in (
        ("pipe", "is no regular file"),
        ("none.png", "cannot be read (No such file or directory)"),
        (".", "cannot be read (Is a directory)"),
        ("x" * 300, "cannot be read (File name too long)"),
    ):
        with pytest.raises(BadInput, match=re.escape(sentence)):
            opened_file(tmp_path / name)


def test_foreign_bytes_are_read_in_one_place() -> None:
    """Of all that people meet; what is below it reads what diffgrid keeps, and models.

    Recipes, photos and runs have a reader each; two places hand them what was uploaded.
    """
    root = File(recipe.__file__).parents[2]
    met = ("pages", "diffgrid/app", "diffgrid/cli", "diffgrid/sharing", "diffgrid/pictures")
    files = [each for name in met for each in (root / name).rglob("*.py")]
    reads = re.compile(r"Image\.open|read_bytes|read_text|\"rb\"|decompress|file_uploader")
    found = {file.relative_to(root).as_posix() for file in files if reads.search(file.read_text())}
    ours = ("session/bundled_studies", "shell", "link_previews")  # what ships, and Streamlit's page
    ships = {f"diffgrid/app/{name}.py" for name in ours}
    readers = {f"diffgrid/sharing/{name}.py" for name in ("foreign", "photo", "runs_file")}
    assert found - ships - {"pages/compare.py", "diffgrid/app/sidebar.py"} == readers
