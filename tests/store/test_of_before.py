"""A cache that 0.1 wrote opens: every row is listed and read, and nothing is deleted.

tests/fixtures holds the cache, what it listed and the sha256 of its arrays, and the keys of a
checkpoint and of labels, all written down by 0.1 itself.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from diffgrid.records.frames import Frames, decode
from diffgrid.spec.path import format_path
from diffgrid.store.forgiving import TrajectoryStore

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONFIGURATIONS = json.loads((FIXTURES / "addresses.json").read_bytes())["configurations"]
LISTED = json.loads((FIXTURES / "listing.json").read_bytes())
OTHERS = json.loads((FIXTURES / "others.json").read_bytes())


@pytest.fixture
def of_before(tmp_path: Path) -> Iterator[TrajectoryStore]:
    with tarfile.open(FIXTURES / "cache-of-0.1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    opened = TrajectoryStore(tmp_path / "cache")
    yield opened
    opened.close()


def sha256(array: NDArray[Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def test_every_run_is_listed(of_before: TrajectoryStore) -> None:
    found = {info.key: info for info in of_before.runs()}
    assert list(found) == [was["key"] for was in LISTED]  # the newest first
    for was in LISTED:
        info = found[was["key"]]
        config = json.dumps(CONFIGURATIONS[was["spec"]["scheduler_config"]])
        spec = type(info.spec).from_dict({**was["spec"], "scheduler_config": config})
        assert info.spec == spec
        assert (format_path(info.path), info.size) == (was["path"], was["size"])
        assert (info.saved, info.note, info.has_frames) == (was["saved"], was["note"], True)


def test_every_array_is_what_it_was(of_before: TrajectoryStore) -> None:
    for was in LISTED:
        run = of_before.get(was["key"])
        assert run is not None
        assert (run.key, run.done, format_path(run.path)) == (was["key"], True, was["path"])
        assert (sha256(run.latents), sha256(run.model_outputs)) == (was["latents"], was["outputs"])


def test_frames_labels_and_a_checkpoint_are_read(of_before: TrajectoryStore) -> None:
    for was in LISTED:
        header, payload = of_before.get_frames(was["key"], OTHERS["frames"]) or ({}, b"")
        pictures = Frames.from_payload(header, payload)
        run = of_before.get(was["key"])
        assert run is not None
        assert len(pictures.x0) == run.steps
        assert decode(pictures.final).size == (was["spec"]["width"], was["spec"]["height"])
    assert of_before.get_labels(OTHERS["labels"], "probe-of-a-test")
    checkpoint = of_before.get_partial(OTHERS["partial"])
    assert checkpoint is not None
    assert not checkpoint.done
    assert checkpoint.key == OTHERS["partial"]


def test_nothing_of_it_is_damaged(of_before: TrajectoryStore) -> None:
    before = of_before.size()
    assert of_before.verify() == []
    assert of_before.size() == before
