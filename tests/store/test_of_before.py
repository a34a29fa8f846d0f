"""A cache that 0.1 or 0.2 wrote opens: every row is listed and read, and nothing is deleted.

tests/fixtures holds the cache, what it listed and the sha256 of its arrays, and the keys of a
checkpoint and of labels, all written down by 0.1 itself; and a cache of 0.2, which could begin with
a photo. The last tests fail where this version
writes or names a run otherwise than all that is there, until its own is there too.
"""

import contextlib
import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from diffgrid.errors import StoreError
from diffgrid.records.codec import LAYOUT, seal
from diffgrid.records.frames import Frames, decode
from diffgrid.records.shared_run import SharedRun
from diffgrid.records.trajectories import Trajectory, to_bytes
from diffgrid.sharing.photo import from_png
from diffgrid.spec import options
from diffgrid.spec.options import Option
from diffgrid.spec.path import format_path, parse_path
from diffgrid.spec.run import key
from diffgrid.spec.schedulers import SCHEDULERS
from diffgrid.store.forgiving import TrajectoryStore
from diffgrid.store.runs import _OPENERS, RunInfo, _opener, _seal_meta
from tests.store.made import SPEC

FIXTURES = Path(__file__).parents[1] / "fixtures"
CONFIGURATIONS = json.loads((FIXTURES / "addresses.json").read_bytes())["configurations"]
LISTED = json.loads((FIXTURES / "listing.json").read_bytes())
KEYS = json.loads((FIXTURES / "keys.json").read_bytes())
OTHERS = json.loads((FIXTURES / "others.json").read_bytes())


CLIP_SKIP = Option("clip_skip", int, "layers of the text encoder to leave out", 0, low=0, high=12)


@contextlib.contextmanager
def unpacked(archive: Path, into: Path) -> Iterator[TrajectoryStore]:
    with tarfile.open(archive) as packed:
        packed.extractall(into, filter="data")
    opened = TrajectoryStore(into / "cache")
    yield opened
    opened.close()


@pytest.fixture(params=[(), (CLIP_SKIP,)], ids=["as it is", "an option is added"])
def of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[TrajectoryStore]:
    monkeypatch.setattr(options, "OPTIONS", (*options.OPTIONS, *request.param))
    with unpacked(FIXTURES / "cache-of-0.1.tar.gz", tmp_path) as opened:
        yield opened


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


def test_it_had_no_imported_runs_and_takes_some(of_before: TrajectoryStore) -> None:
    assert not any(info.imported for info in of_before.runs())
    made = of_before.get(LISTED[0]["key"])
    assert made is not None
    theirs = replace(made, latents=made.latents + 1)
    pictures = Frames.from_payload(*(of_before.get_frames(made.key, OTHERS["frames"]) or ({}, b"")))
    assert of_before.add_imported([SharedRun(theirs, pictures)], "0.2.0") == [made.key]
    found, imported = of_before.get(made.key), of_before.get_imported(made.key)
    assert found is not None
    assert imported is not None
    assert to_bytes(found) == to_bytes(made)
    assert to_bytes(imported) == to_bytes(theirs)
    assert len(of_before.runs()) == len(LISTED)


def test_a_photo_and_the_run_that_begins_with_it_are_read(tmp_path: Path) -> None:
    with unpacked(FIXTURES / "cache-of-0.2.tar.gz", tmp_path) as opened:
        [info] = opened.runs()
        assert (info.saved, info.spec.option("strength")) == ("from a photo", 0.5)
        run, kept = opened.get(info.key), opened.get_photo(info.spec.photo)
        assert run is not None
        assert run.done
        assert kept is not None
        assert from_png(kept, info.spec.photo).size == (info.spec.width, info.spec.height)
        assert opened.verify() == []


def written_today(row: str, value: bytes) -> bytes | None:
    """What this version writes for what it reads there; None where it reads nothing."""
    try:
        match _opener(row)(row, value):
            case Trajectory() as run:
                return to_bytes(run)
            case RunInfo() as info:
                return _seal_meta(info)
            case dict() as header, memoryview() as payload:
                return seal(row.split("/")[1], header, payload)
    except StoreError:
        pass
    return None


def test_what_this_version_writes_is_in_a_cache_of_before(tmp_path: Path) -> None:
    kept = set()
    for archive in FIXTURES.glob("cache-of-*.tar.gz"):
        with unpacked(archive, tmp_path / archive.name) as opened:
            for shelf in (opened._runs, opened._saved):
                for row in shelf:
                    value = shelf.look(row) or b""
                    if written_today(row, value) == value:
                        kept.add(row[65:].split("/")[0])
    missing = ", ".join(f"KEY/{kind}".rstrip("/") for kind in sorted(_OPENERS.keys() - kept))
    assert not missing, (
        f"Rows {missing} are written otherwise now (layout {LAYOUT}) than in any cache in "
        "tests/fixtures: keep those and read them, have this version write another, "
        "cache-of-VERSION.tar.gz, and test here that it is read as that of 0.1 is."
    )


@pytest.mark.parametrize("name", sorted({kind.class_name for kind in SCHEDULERS}))
def test_this_versions_keys_are_among_those_of_before(name: str) -> None:
    kind = next(kind for kind in SCHEDULERS if kind.class_name == name)
    spec = replace(SPEC, scheduler=name, eta=1.0 if kind.takes_eta else None)
    today = {path: key(spec, parse_path(path)) for path in ("trunk", "1.0", "2.0-1")}
    assert KEYS.get(name, {}).get(str(kind.version)) == today, (
        f"Runs of {name} {kind.version} have other keys now than in tests/fixtures/keys.json, so "
        "that all that is stored is missed. Where its numbers are as they were, undo that (a new "
        "field of a run is a row of diffgrid/spec/options.py); where they are not, raise its "
        f"version, and add to the file, beside the older: {json.dumps(today)}."
    )
