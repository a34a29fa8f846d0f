"""What stands in a model's folder may be anything: each is one sentence, at once."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from diffgrid.errors import BadInput
from diffgrid.models.json_file import DEEPEST, LARGEST, read_json

KINDS: dict[str, Any] = {
    "prompt": str,
    "steps": int,
    "guidance": float,
    "factors": dict[str, list[str]],
    "sentence": {"noun": str, "parts": list[str]},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.json"


def test_an_object_of_the_right_kinds_is_read(file: Path) -> None:
    content = {
        "prompt": "a cat",
        "steps": 3,
        "guidance": 2,
        "factors": {"colour": ["red"]},
        "sentence": {"noun": "cat", "parts": [], "more": None},
        "others": [None],
    }
    file.write_text(json.dumps(content))
    assert read_json(file, **KINDS) == content


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"prompt": None}, "None as its prompt, not text"),
        ({"steps": True}, "True as its steps, not a whole number"),
        ({"steps": 2.5}, "2.5 as its steps, not a whole number"),
        ({"guidance": "3"}, "'3' as its guidance, not a number"),
        ({"factors": {"colour": "red"}}, "as its factors, not a dict"),
        ({"factors": [["red"]]}, "as its factors, not a dict"),
        ({"sentence": {"noun": "cat"}}, "as its sentence, not an object with noun, parts"),
    ],
)
def test_a_value_of_another_kind_is_named(file: Path, told: object, said: str) -> None:
    file.write_text(json.dumps(told))
    with pytest.raises(BadInput, match=f"model file .*config.json has .*{said}"):
        read_json(file, **KINDS)


def test_a_pipe_and_a_device_are_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    with pytest.raises(BadInput, match="no regular file"):
        read_json(file)
    file.unlink()
    file.symlink_to("/dev/zero")
    with pytest.raises(BadInput, match="no regular file"):
        read_json(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 1_000_000, "cannot be read"),
        ('{"a":' * 1_000_000, "cannot be read"),
        ('{"a":' * DEEPEST + "[]" + "}" * DEEPEST, "levels deep"),
        ("[]", "is no JSON object"),
        ("", "cannot be read as JSON"),
        ('{"a": ' + "9" * 5000 + "}", "cannot be read as JSON"),
    ],
)
def test_what_is_no_flat_object_is_refused(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(BadInput, match=said):
        read_json(file)


def test_a_file_that_is_too_large_is_not_read(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(LARGEST + 1)  # sparse: takes no room
    with pytest.raises(BadInput, match="more than 4,194,304 bytes"):
        read_json(file)


def test_a_folder_and_a_file_that_is_not_there_are_told(file: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_json(file)
    file.mkdir()
    with pytest.raises(BadInput, match="Is a directory"):
        read_json(file)
