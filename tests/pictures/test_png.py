"""Text beside a PNG's pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from diffgrid.pictures.png import Texts, with_texts
from diffgrid.records.frames import encode

NOISE = np.random.default_rng(7).integers(0, 256, (9, 5, 3), np.uint8)
PLAIN = encode(Image.fromarray(NOISE), format="PNG")


@pytest.mark.parametrize("parameters", ["a monster\nSteps: 4", "ein Ungeheuer für 怪", ""])
def test_a_picture_says_what_it_was_told_and_its_pixels_stay(parameters: str) -> None:
    written = with_texts(PLAIN, Texts('{"a": 1}', parameters))
    with Image.open(io.BytesIO(written)) as image:
        assert image.info == {"diffgrid": '{"a": 1}', "parameters": parameters}
        assert np.array_equal(np.asarray(image), NOISE)
    added = len(written) - len(PLAIN)
    assert written[:33] + written[33 + added :] == PLAIN


def test_the_recipe_stands_in_one_international_chunk() -> None:
    written = with_texts(PLAIN, Texts("{}", "é"))
    assert written.count(b"iTXtdiffgrid\0") == 1
    assert written.count(b"diffgrid\0") == 1
    assert written.count(b"tEXtparameters\0\xe9") == 1
