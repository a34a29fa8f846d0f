"""Frames survive their encoding, refuse foreign bytes, and sheets show what they are given.

Sheets are looked at by colour: every picture is one plain colour of its own, so where it lies, how
large it is and whether it is there at all can be read from the sheet.
"""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from diffgrid.errors import Damaged
from diffgrid.pictures import figures
from diffgrid.pictures.figures import (
    MARGIN,
    Cell,
    GridSheet,
    Moment,
    Row,
    StripSheet,
    draw_grid,
    draw_strip,
)
from diffgrid.pictures.png import Texts
from diffgrid.pictures.typography import (
    ACCENT,
    BACKGROUND,
    EMPTY,
    FORMER,
    NEGATIVE,
    POSITIVE,
    to_png,
)
from diffgrid.records.frames import (
    LARGEST_SIDE,
    Decoding,
    Frames,
    decode,
    encode_final,
    encode_preview,
)
from diffgrid.spec.path import Fork, Path

Color = tuple[int, int, int]
RECIPE = ("trunk", "seed 7", "25 steps", "DDIM eta 1", "guidance 3", "monsters")
FOOTER = "281 evaluations made 17 trajectories; one by one they would have cost 425"


def color(number: int) -> Color:
    """A colour for each number below 4096, none of them used by the sheets themselves."""
    return (number % 16 * 15, number // 16 % 16 * 15, 5 + number // 256 * 15)


def plain(number: int, size: tuple[int, int] = (128, 128)) -> Image.Image:
    return Image.new("RGB", size, color(number))


class Seen:
    """Where the plain colours of a sheet lie: boxes are left, top, right, bottom."""

    def __init__(self, sheet: Image.Image) -> None:
        codes = np.asarray(sheet).astype(np.int32) @ np.array([65536, 256, 1], np.int32)
        order = np.argsort(codes, axis=None, kind="stable")
        colors, starts = np.unique(codes.ravel()[order], return_index=True)
        ys, xs = np.divmod(order, codes.shape[1])
        low, high = np.minimum.reduceat, np.maximum.reduceat
        edges = (low(xs, starts), low(ys, starts), high(xs, starts) + 1, high(ys, starts) + 1)
        self.boxes = dict(zip(colors.tolist(), np.stack(edges, -1).tolist(), strict=True))

    def find(self, wanted: Color) -> tuple[int, int, int, int] | None:
        """The box around everything in exactly this colour, None where there is none."""
        box = self.boxes.get(wanted[0] * 65536 + wanted[1] * 256 + wanted[2])
        return tuple(box) if box else None

    def box(self, number: int) -> tuple[int, int, int, int]:
        box = self.find(color(number))
        assert box, f"picture {number} is not on the sheet"
        return box


def grid(
    steps: tuple[int, ...] = (1, 5),
    columns: int = 4,
    *,
    length: int = 25,
    path: Path = (),
    prompt: str = "a monster",
    recipe: tuple[str, ...] = RECIPE,
    size: tuple[int, int] = (128, 128),
) -> GridSheet:
    """Cells are coloured 0, 1, … row by row, the strip from 1000 on, the finished picture 2000."""
    strip = tuple(Moment(i, 999 - 40 * i, plain(1000 + i, size)) for i in range(length))
    rows = []
    for number, step in enumerate(steps):
        kept = tuple(fork for fork in path if fork.step < step)
        cells = [
            Cell(kept if Fork(step, j) in path else (*kept, Fork(step, j)), plain(n, size))
            for j, n in enumerate(range(number * columns, (number + 1) * columns))
        ]
        rows.append(Row(strip[step], tuple(cells)))
    return GridSheet(prompt, recipe, tuple(rows), plain(2000, size), strip, FOOTER)


def strip(
    length: int = 25,
    *,
    channels: int = 4,
    path: Path = (),
    noisy: bool = False,
    scale: float = 1.0,
) -> StripSheet:
    """x̂0 pictures are coloured from 1000 on, decoded x_t from 3000 on, the finished one 2000."""
    latents = np.random.default_rng(0).normal(size=(length + 1, channels, 16, 16)) * scale
    return StripSheet(
        "a monster",
        RECIPE,
        path,
        latents.astype(np.float32),
        tuple(Moment(i, 999 - i, plain(1000 + i)) for i in range(length)),
        plain(2000),
        FOOTER,
        tuple(plain(3000 + i) for i in range(length + 1)) if noisy else (),
    )


# --- encoded frames -------------------------------------------------------------------------------


def pictures(count: int) -> NDArray[np.uint8]:
    """Smooth pictures (count,32,32,3), as WebP is meant for."""
    red, green, blue = np.mgrid[0:count, 0:32, 0:32] * 6
    return np.stack([red, green, blue], -1).astype(np.uint8)


def test_final_frame_is_lossless_and_x0_frames_are_close() -> None:
    x0, final = pictures(3), np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(np.asarray(decode(encode_final(final))), final)
    for picture in x0:
        difference = np.asarray(decode(encode_preview(picture))).astype(int) - picture
        assert np.abs(difference).mean() < 6


KNOWN = st.none() | st.floats(0, 1e6)


@given(st.lists(st.binary(min_size=1), min_size=0), st.binary(min_size=1), KNOWN, KNOWN)
def test_frames_survive_their_payload_and_json(
    x0: list[bytes], final: bytes, error: float | None, seconds: float | None
) -> None:
    frames = Frames(tuple(x0), final, Decoding("linear", error, seconds))
    header, payload = frames.to_payload()
    header = json.loads(json.dumps(header))
    assert Frames.from_payload(header, memoryview(payload), "linear") == frames


def test_only_what_the_full_vae_did_not_draw_is_told() -> None:
    assert not Decoding().note
    assert not Decoding("exact").note
    assert Decoding("tiny").note == "x̂0 pictures are previews"
    assert (
        Decoding("linear", 38.7).note
        == "x̂0 pictures are previews, about 39 of 255 off (RMS on samples)"
    )
    assert "older version" in Decoding("hindsight").note


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"x0": [2, 2]},
        {"x0": [2, 2], "final": 3},
        {"x0": [5, -1], "final": 2},
        {"x0": [0, 4], "final": 2},
        {"x0": [4.0], "final": 2},
        {"x0": [True, 3], "final": 2},
        {"x0": "four", "final": 6},
        {"x0": None, "final": 6},
        {"x0": [2, 2], "final": 10**30},
        {"x0": [2, 2], "final": 2, "error": "large"},
    ],
)
def test_a_header_that_does_not_describe_its_payload_is_refused(header: dict[str, object]) -> None:
    with pytest.raises(Damaged, match="frames"):
        Frames.from_payload(header, b"abcdef")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A tiny PNG whose header claims any size."""
    size = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = saved(plain(1, (4, 4)), "PNG")
    return png[:12] + size + struct.pack(">I", zlib.crc32(size)) + png[33:]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        saved(plain(1), "JPEG"),
        saved(plain(1), "PNG")[:-30],
        saved(plain(1), "WEBP")[:-30],
        saved(plain(1), "WEBP", save_all=True, append_images=[plain(2)]),
        saved(plain(1), "PNG", save_all=True, append_images=[plain(2)]),
        saved(plain(1, (LARGEST_SIDE + 1, 1)), "PNG"),
        claiming(20_000, 4),
        claiming(200_000, 200_000),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decode_refuses_what_is_not_one_whole_picture_of_sane_size(data: bytes) -> None:
    with pytest.raises(Damaged, match="picture"):
        decode(data)


def test_equal_sheets_give_equal_bytes() -> None:
    first, second = (to_png(draw_grid(grid()), Texts("{}", "a")) for _ in range(2))
    assert first == second


# --- the grid -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (1, 1), (4, 4), (8, 12), (1, 64)])
def test_every_cell_is_on_the_sheet_in_reading_order(rows: int, columns: int) -> None:
    sheet = Seen(draw_grid(grid(tuple(range(1, rows + 1)), columns)))
    boxes = [sheet.box(number) for number in range(rows * columns)]
    assert all((right - left, low - top) == (128, 128) for left, top, right, low in boxes)
    assert [(top, left) for left, top, _, _ in boxes] == sorted((b[1], b[0]) for b in boxes)
    assert sheet.box(2000)[1] >= max((box[3] for box in boxes), default=0)


@pytest.mark.slow
@pytest.mark.parametrize(("rows", "columns"), [(2, 64), (20, 6)])
def test_no_sheet_is_larger_than_can_be_opened(
    rows: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert figures.MOST_PIXELS < Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(figures, "MOST_PIXELS", 2_500_000)
    drawn = draw_grid(grid(tuple(range(1, rows + 1)), columns, size=(512, 512)))
    assert drawn.width * drawn.height <= figures.MOST_PIXELS
    sheet = Seen(drawn)
    assert len({sheet.box(number)[:2] for number in range(rows * columns)}) == rows * columns


def test_more_than_eight_columns_go_on_in_even_lines() -> None:
    sheet = Seen(draw_grid(grid((1,), 12)))
    boxes = [sheet.box(number) for number in range(12)]
    assert len({box[1] for box in boxes}) == 2
    assert len({box[0] for box in boxes}) == 6


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((128, 128), (128, 128)),
        ((32, 32), (128, 128)),
        ((512, 512), (192, 192)),
        ((768, 512), (192, 128)),
        ((64, 128), (64, 128)),
    ],
)
def test_cells_keep_their_proportions(size: tuple[int, int], shown: tuple[int, int]) -> None:
    sheet = Seen(draw_grid(grid((1,), 2, size=size)))
    left, top, right, bottom = sheet.box(1)
    assert (right - left, bottom - top) == shown


def test_the_path_that_the_focus_left_is_ringed() -> None:
    followed = Seen(draw_grid(grid((1, 5), 4, path=(Fork(5, 2),))))
    left, top, right, bottom = followed.box(6)  # row 5, branch 2
    assert followed.find(FORMER) == (left - 5, top - 5, right + 5, bottom + 5)
    assert Seen(draw_grid(grid((1, 5), 4))).find(FORMER) is None


def test_a_cell_that_is_not_sampled_yet_is_blank() -> None:
    whole = grid((1,), 2)
    assert Seen(draw_grid(whole)).find(EMPTY) is None
    row = Row(whole.rows[0].trunk, (Cell((Fork(1, 0),), None), whole.rows[0].cells[1]))
    sheet = Seen(draw_grid(GridSheet("", RECIPE, (row,), plain(2000), (), FOOTER)))
    blank, sampled = sheet.find(EMPTY), sheet.box(1)
    assert blank
    assert blank[2] < sampled[0]
    assert blank[1::2] == sampled[1::2]


def test_the_trunks_guess_at_each_row_hangs_above_the_finished_picture() -> None:
    sheet = Seen(draw_grid(GridSheet("", RECIPE, grid((3, 7), 2).rows, plain(2000), (), FOOTER)))
    first, second, final = sheet.box(1003), sheet.box(1007), sheet.box(2000)
    assert first[3] < second[1] < second[3] < final[1]
    assert first[0] + first[2] == second[0] + second[2] == final[0] + final[2]


def test_a_long_strip_keeps_its_ends_and_every_row() -> None:
    sheet = Seen(draw_grid(grid((1, 37, 38), 2, length=300)))
    final = sheet.box(2000)
    below = [i for i in range(300) if (box := sheet.find(color(1000 + i))) and box[3] > final[3]]
    assert {0, 1, 37, 38, 299} <= set(below)
    assert np.diff(below).max() < 50


PROMPTS = {
    "empty": "",
    "words": "a green monster with horns and " * 60,
    "one word": "m" * 2000,
    "no spaces": "緑色のモンスター" * 200,
    "control characters": "a\nb\tc\x00d\u202ee" * 50,
    "right to left": "وحش أخضر " * 100,
}


@pytest.mark.slow
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_a_prompt_never_leaves_its_place(prompt: str) -> None:
    plain_recipe = draw_grid(grid((1,), 1))
    for recipe in (RECIPE, ("1.0/" * 80, "negative " + prompt)):
        pixels = np.asarray(draw_grid(grid((1,), 1, prompt=prompt, recipe=recipe)))
        assert pixels.shape[1] == plain_recipe.width
        assert pixels.shape[0] < plain_recipe.height + 100
        assert (pixels[:, -MARGIN + 6 :] == BACKGROUND).all()


def test_an_empty_prompt_is_said_and_spaces_do_not_count() -> None:
    empty, spaces = draw_grid(grid(prompt="")), draw_grid(grid(prompt=" \n "))
    assert empty == spaces
    assert draw_grid(grid(prompt="a  b")) == draw_grid(grid(prompt=" a\nb "))
    assert empty != draw_grid(grid(prompt="."))


@pytest.mark.parametrize(
    ("one", "other"), [("é", "ü"), ("η", "ε"), ("ж", "д"), ("ạ", "ễ"), ("×", "–")]
)
def test_letters_beyond_ascii_are_drawn_and_not_boxes(one: str, other: str) -> None:
    assert draw_grid(grid((), prompt=one)) != draw_grid(grid((), prompt=other))


# --- the strip ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("length", "bands"), [(1, 1), (25, 1), (26, 2), (60, 3)])
def test_lanes_are_aligned_and_wrap_to_bands(length: int, bands: int) -> None:
    sheet = Seen(draw_strip(strip(length, noisy=True)))
    guesses = [sheet.box(1000 + i) for i in range(length)] + [sheet.box(2000)]
    noisy = [sheet.box(3000 + i) for i in range(length + 1)]
    assert [box[::2] for box in guesses] == [box[::2] for box in noisy]
    assert len({box[1] for box in guesses}) == len({box[1] for box in noisy}) == bands


@pytest.mark.slow
def test_a_very_long_strip_leaves_steps_out_but_no_fork() -> None:
    sheet = Seen(draw_strip(strip(1000, path=(Fork(8, 2), Fork(501, 0)))))
    shown = [i for i in range(1000) if sheet.find(color(1000 + i))]
    assert len(shown) == 103
    assert {0, 8, 501} <= set(shown)
    assert np.diff(shown).max() < 20


def test_forks_are_marked() -> None:
    def marked(path: Path) -> int:
        return int((np.asarray(draw_strip(strip(path=path))) == ACCENT).all(-1).sum())

    assert marked(()) < marked((Fork(8, 2),)) < marked((Fork(8, 2), Fork(14, 0)))


def test_latents_are_mapped_by_sign_whatever_their_scale() -> None:
    def of(values: float) -> StripSheet:
        filled = np.full((2, 1, 4, 4), values, np.float32)
        return StripSheet("", RECIPE, (), filled, (Moment(0, 1.0, None),), None, "")

    positive, negative = Seen(draw_strip(of(0.1))), Seen(draw_strip(of(-0.1)))
    assert positive.find(POSITIVE) == negative.find(NEGATIVE) is not None
    assert positive.find(NEGATIVE) is None
    assert draw_strip(of(0.1)) == draw_strip(of(50.0))


@pytest.mark.parametrize("values", [0.0, np.nan, np.inf])
def test_broken_latents_still_make_a_picture(values: float) -> None:
    filled = np.full((2, 4, 8, 8), values, np.float32)
    sheet = StripSheet("", RECIPE, (), filled, (Moment(0, 1.0, None),), None, "")
    assert draw_strip(sheet).width > 700


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 16])
def test_any_number_of_channels_fits_its_column(channels: int) -> None:
    sheet = draw_strip(strip(25, channels=channels))
    assert (np.asarray(sheet)[:, -MARGIN + 6 :] == BACKGROUND).all()
    assert sheet.width == draw_strip(strip(25)).width
